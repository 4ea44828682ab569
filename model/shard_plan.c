/* shard_plan.c — dynamic programming over (stages, layers given out).
 *
 * Two passes. The first finds the least possible time of the slowest stage. Many plans reach it
 * when one stage cannot be made smaller (a head of 128k ids); the second, bound to that time,
 * takes the one with the least sum of squares, which spreads the rest evenly.
 */
#include "model/shard_plan.h"

#include "common/alloc.h"
#include "common/log.h"
#include "common/progress.h"
#include "model/stage_bytes.h"

#include <inttypes.h>
#include <math.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define EQUAL_WITHIN 1.25
#define SLACK (1.0 + 1e-9) /* of the first pass's optimum, for rounding in the second */

const char *const bn_plan_goal_names[] = {"decode", "prefill", "screened", NULL};

typedef struct problem {
    const bn_model *model;
    const bn_stage_limits *limits;
    const bn_plan_worker *workers;
    uint32_t n_workers, n_layers;
    bn_plan_goal goal;
    double speed[BN_STAGES_MAX]; /* work per second; 1 when nothing is known */
    double *work;                /* [n_layers + 1] sums over layers */
    double head_work;
    uint64_t *bytes;  /* [n_layers + 1] sums over layers: weights and KV */
    double *best[2];  /* [n_layers + 1] of the stage before and of this one */
    uint16_t *choice; /* [n_workers][n_layers + 1]: where the stage begins */
} problem;

static bn_stage_span span_of(const problem *p, uint32_t stage, uint32_t begin, uint32_t end)
{
    return (bn_stage_span){
        .layer_begin = begin,
        .layer_end = end,
        .has_embedding = stage == 0,
        .has_head = stage == p->n_workers - 1,
    };
}

static uint64_t total_bytes(const bn_stage_bytes *bytes)
{
    return bytes->weights + bytes->kv + bytes->buffers;
}

static int compare_speeds_down(const void *a, const void *b)
{
    double x = **(double *const *)a, y = **(double *const *)b;
    return x < y ? 1 : -(x > y);
}

/* Speeds within 25 % of the fastest of their group become its mean: such differences are noise of
 * the measurement, and must not make a lopsided plan. */
static void make_equal(double **order, uint32_t n)
{
    qsort(order, n, sizeof *order, compare_speeds_down);
    for (uint32_t begin = 0, end; begin < n; begin = end) {
        double fastest = *order[begin], sum = 0;
        for (end = begin; end < n && *order[end] * EQUAL_WITHIN >= fastest; end++)
            sum += *order[end];
        for (uint32_t i = begin; i < end; i++)
            *order[i] = sum / (end - begin);
    }
}

static void fill_speeds(problem *p)
{
    double *known[BN_STAGES_MAX], sum = 0;
    uint32_t n_known = 0;
    for (uint32_t i = 0; i < p->n_workers; i++) {
        const bn_plan_worker *worker = &p->workers[i];
        p->speed[i] = p->goal == BN_PLAN_PREFILL ? worker->compute : worker->bandwidth;
        if (!(p->speed[i] > 0.0 && isfinite(p->speed[i])))
            p->speed[i] = 0.0;
        else
            known[n_known++] = &p->speed[i];
    }
    make_equal(known, n_known);
    for (uint32_t i = 0; i < n_known; i++)
        sum += *known[i];
    for (uint32_t i = 0; i < p->n_workers; i++)
        if (p->speed[i] == 0.0) p->speed[i] = n_known > 0 ? sum / n_known : 1.0;
}

/* What survives the screen is not counted: a few rows. */
static uint64_t head_walk_bytes(const problem *p)
{
    uint64_t screen = bn_model_head_screen_bytes(p->model);
    if (p->goal == BN_PLAN_SCREENED && screen > 0) return screen;
    return bn_model_head_walk_bytes(p->model);
}

static void fill_work(problem *p)
{
    uint64_t kv = bn_stage_bytes_kv(&p->model->config, 1, p->limits);
    bool is_decode = p->goal != BN_PLAN_PREFILL;
    for (uint32_t i = 0; i < p->n_layers; i++) {
        p->work[i + 1] = p->work[i] + (double)(is_decode ? bn_model_layer_walk_bytes(p->model, i)
                                                         : bn_model_layer_macs(p->model, i));
        p->bytes[i + 1] = p->bytes[i] + bn_stage_bytes_layer(p->model, i) + kv;
    }
    /* Prefill asks the head for one position of a whole chunk. */
    p->head_work = is_decode ? (double)head_walk_bytes(p)
                             : (double)bn_model_head_macs(p->model) / p->limits->step_tokens;
}

static double cost_of(const problem *p, uint32_t stage, uint32_t begin, uint32_t end)
{
    double work = p->work[end] - p->work[begin];
    if (stage == p->n_workers - 1) work += p->head_work;
    return work / p->speed[stage];
}

static bool fits(const problem *p, uint32_t stage, uint64_t fixed, uint32_t begin, uint32_t end)
{
    uint64_t memory = p->workers[stage].memory;
    return memory == 0 || fixed + p->bytes[end] - p->bytes[begin] <= memory;
}

/* What a stage needs besides its layers: [0] when it has none, [1] when it has some. */
static void fixed_bytes(const problem *p, uint32_t stage, uint64_t fixed[2])
{
    bn_stage_bytes none, one;
    bn_model_stage_bytes(p->model, span_of(p, stage, 0, 0), p->limits, &none);
    bn_model_stage_bytes(p->model, span_of(p, stage, 0, 1), p->limits, &one);
    fixed[0] = total_bytes(&none);
    fixed[1] = total_bytes(&one) - p->bytes[1];
}

/* The best value of stages 0 … `stage` holding layers [0, end), for every end. The value is the
 * slowest stage's time, or the sum of squares when is_even. Infinite when impossible. */
static void solve_stage(problem *p, uint32_t stage, double limit, bool is_even, bool is_bounded)
{
    const double *before = p->best[0];
    double *after = p->best[1];
    uint16_t *choice = p->choice + (size_t)stage * (p->n_layers + 1);
    bool is_last = stage == p->n_workers - 1;
    uint64_t fixed[2];
    fixed_bytes(p, stage, fixed);
    for (uint32_t end = 0; end <= p->n_layers; end++) {
        after[end] = INFINITY;
        if (is_last && end != p->n_layers) continue;
        /* Downwards, so that of equal plans the last stage has the fewest layers. */
        for (uint32_t begin = is_last ? end + 1 : end; begin-- > 0;) {
            double cost = cost_of(p, stage, begin, end);
            if (cost > limit) break;
            if (isinf(before[begin]) ||
                (is_bounded && !fits(p, stage, fixed[begin < end], begin, end)))
                continue;
            double value = is_even ? before[begin] + cost * cost : fmax(before[begin], cost);
            if (value < after[end]) {
                after[end] = value;
                choice[end] = (uint16_t)begin;
            }
        }
    }
}

/* Fills `choice`; the value of the best plan, infinite when there is none. */
static double solve(problem *p, double limit, bool is_even, bool is_bounded)
{
    for (uint32_t i = 0; i <= p->n_layers; i++)
        p->best[0][i] = i == 0 ? 0.0 : INFINITY;
    for (uint32_t stage = 0; stage < p->n_workers; stage++) {
        solve_stage(p, stage, limit, is_even, is_bounded);
        double *swap = p->best[0];
        p->best[0] = p->best[1];
        p->best[1] = swap;
    }
    return p->best[0][p->n_layers];
}

static void fill_stage(const problem *p, uint32_t stage, uint32_t begin, uint32_t end,
                       bn_plan_stage *out)
{
    const bn_plan_worker *worker = &p->workers[stage];
    uint64_t bytes = 0, macs = 0;
    *out = (bn_plan_stage){.span = span_of(p, stage, begin, end)};
    bn_model_stage_bytes(p->model, out->span, p->limits, &out->bytes);
    for (uint32_t i = begin; i < end; i++) {
        bytes += bn_model_layer_walk_bytes(p->model, i);
        macs += bn_model_layer_macs(p->model, i);
    }
    if (out->span.has_head) bytes += head_walk_bytes(p);
    if (worker->bandwidth > 0.0) out->decode_s = (double)bytes / worker->bandwidth;
    if (worker->compute > 0.0)
        out->prefill_s_per_token =
            ((double)macs + (out->span.has_head
                                 ? (double)bn_model_head_macs(p->model) / p->limits->step_tokens
                                 : 0.0)) /
            worker->compute;
}

/* The plan with stage i holding [ends[i - 1], ends[i]). */
static void fill_plan(const problem *p, const uint32_t *ends, bn_shard_plan *plan)
{
    double sum = 0, slowest = 0;
    *plan = (bn_shard_plan){.n_stages = p->n_workers};
    for (uint32_t i = 0; i < p->n_workers; i++) {
        uint32_t begin = i == 0 ? 0 : ends[i - 1];
        double cost = cost_of(p, i, begin, ends[i]);
        fill_stage(p, i, begin, ends[i], &plan->stages[i]);
        sum += cost;
        if (cost > slowest) {
            slowest = cost;
            plan->slowest = i;
        }
    }
    plan->efficiency = slowest > 0.0 ? sum / (slowest * p->n_workers) : 1.0;
}

static void read_choice(const problem *p, uint32_t *ends)
{
    uint32_t end = p->n_layers;
    for (uint32_t stage = p->n_workers; stage-- > 0;) {
        ends[stage] = end;
        end = p->choice[(size_t)stage * (p->n_layers + 1) + end];
    }
}

static bn_status check_memory(const problem *p, const bn_shard_plan *plan)
{
    for (uint32_t i = 0; i < plan->n_stages; i++) {
        uint64_t needed = total_bytes(&plan->stages[i].bytes), memory = p->workers[i].memory;
        if (memory == 0 || needed <= memory) continue;
        const bn_stage_span *span = &plan->stages[i].span;
        char needed_text[16], memory_text[16], layers[40] = "no layers";
        if (span->layer_begin < span->layer_end)
            snprintf(layers, sizeof layers, "layers %" PRIu32 "-%" PRIu32, span->layer_begin,
                     span->layer_end - 1);
        bn_progress_bytes_text(needed, needed_text);
        bn_progress_bytes_text(memory, memory_text);
        return bn_fail(
            BN_ERR_LIMIT, "PLAN-MEMORY",
            "the model does not fit: stage %" PRIu32 " on %s (%s%s) needs %s, but may use %s: "
            "%" PRIu64 " bytes are missing; give it more memory, add a worker, or lower --context "
            "or --slots",
            i, p->workers[i].name, layers, span->has_head ? " and the head" : "", needed_text,
            memory_text, needed - memory);
    }
    return BN_OK;
}

static void free_problem(problem *p)
{
    bn_free(p->work);
    bn_free(p->bytes);
    bn_free(p->best[0]);
    bn_free(p->best[1]);
    bn_free(p->choice);
}

static bn_status make_problem(const bn_model *model, const bn_stage_limits *limits,
                              const bn_plan_worker *workers, uint32_t n_workers, bn_plan_goal goal,
                              problem *p)
{
    uint32_t n_layers = model->config.n_layers;
    BN_ASSERT(limits->step_tokens > 0);
    *p = (problem){
        .model = model,
        .limits = limits,
        .workers = workers,
        .n_workers = n_workers,
        .n_layers = n_layers,
        .goal = goal,
    };
    if (n_workers == 0 || n_workers > BN_STAGES_MAX || n_workers > n_layers + 1)
        return bn_fail(BN_ERR_BAD_ARGUMENT, "PLAN-STAGES",
                       "%" PRIu32 " stages are not possible: a model of %" PRIu32
                       " layers can have 1 to %" PRIu32,
                       n_workers, n_layers,
                       n_layers + 1 < BN_STAGES_MAX ? n_layers + 1 : BN_STAGES_MAX);
    size_t n = (size_t)n_layers + 1;
    p->work = bn_alloc(n, sizeof *p->work);
    p->bytes = bn_alloc(n, sizeof *p->bytes);
    p->best[0] = bn_alloc(n, sizeof *p->best[0]);
    p->best[1] = bn_alloc(n, sizeof *p->best[1]);
    p->choice = bn_alloc(n * n_workers, sizeof *p->choice);
    if (p->work == NULL || p->bytes == NULL || p->best[0] == NULL || p->best[1] == NULL ||
        p->choice == NULL) {
        free_problem(p);
        return bn_fail(BN_ERR_NO_MEMORY, "PLAN-STAGES", "no memory to plan %" PRIu32 " stages",
                       n_workers);
    }
    fill_speeds(p);
    fill_work(p);
    return BN_OK;
}

bn_status bn_shard_plan_make(const bn_model *model, const bn_stage_limits *limits,
                             const bn_plan_worker *workers, uint32_t n_workers, bn_plan_goal goal,
                             bn_shard_plan *plan_out)
{
    problem p;
    uint32_t ends[BN_STAGES_MAX];
    BN_TRY(make_problem(model, limits, workers, n_workers, goal, &p));
    bool is_bounded = true;
    double slowest = solve(&p, INFINITY, false, is_bounded);
    if (isinf(slowest)) { /* the plan that more memory would allow says what is missing */
        is_bounded = false;
        slowest = solve(&p, INFINITY, false, is_bounded);
    }
    (void)solve(&p, slowest * SLACK, true, is_bounded);
    read_choice(&p, ends);
    fill_plan(&p, ends, plan_out);
    bn_status status = check_memory(&p, plan_out);
    free_problem(&p);
    return status;
}

/* "10,10,10,0" → where each stage ends. */
static bn_status parse_layers(const problem *p, const char *layers, uint32_t *ends)
{
    uint64_t sum = 0;
    uint32_t n = 0;
    const char *at = layers;
    for (;; at++, n++) {
        char *end;
        unsigned long value = *at >= '0' && *at <= '9' ? strtoul(at, &end, 10) : ULONG_MAX;
        if (value > BN_LAYERS_MAX || (*end != ',' && *end != '\0'))
            return bn_fail(BN_ERR_BAD_ARGUMENT, "PLAN-LAYERS",
                           "--layers %s: not numbers with commas between, as 10,10,10,0", layers);
        sum += value;
        if (n < p->n_workers) ends[n] = (uint32_t)(sum < UINT32_MAX ? sum : UINT32_MAX);
        if (value == 0 && (n + 1 < p->n_workers || (n == 0 && p->n_layers > 0)))
            return bn_fail(BN_ERR_BAD_ARGUMENT, "PLAN-LAYERS",
                           "--layers %s leaves stage %" PRIu32
                           " empty; only the last of several may hold none",
                           layers, n);
        at = end;
        if (*at == '\0') break;
    }
    if (n + 1 != p->n_workers)
        return bn_fail(BN_ERR_BAD_ARGUMENT, "PLAN-LAYERS",
                       "--layers %s is for %" PRIu32 " stage%s, but there %s %" PRIu32 " worker%s",
                       layers, n + 1, n == 0 ? "" : "s", p->n_workers == 1 ? "is" : "are",
                       p->n_workers, p->n_workers == 1 ? "" : "s");
    if (sum != p->n_layers)
        return bn_fail(BN_ERR_BAD_ARGUMENT, "PLAN-LAYERS",
                       "--layers %s: they add up to %" PRIu64 ", but the model has %" PRIu32,
                       layers, sum, p->n_layers);
    return BN_OK;
}

bn_status bn_shard_plan_fixed(const bn_model *model, const bn_stage_limits *limits,
                              const bn_plan_worker *workers, uint32_t n_workers, const char *layers,
                              bn_shard_plan *plan_out)
{
    problem p;
    uint32_t ends[BN_STAGES_MAX];
    BN_TRY(make_problem(model, limits, workers, n_workers, BN_PLAN_DECODE, &p));
    bn_status status = parse_layers(&p, layers, ends);
    if (status == BN_OK) {
        fill_plan(&p, ends, plan_out);
        status = check_memory(&p, plan_out);
    }
    free_problem(&p);
    return status;
}

static void layers_text(const bn_stage_span *span, char *text, size_t n)
{
    if (span->layer_end == span->layer_begin)
        snprintf(text, n, "head");
    else
        snprintf(text, n, "%" PRIu32 "-%" PRIu32 "%s", span->layer_begin, span->layer_end - 1,
                 span->has_head ? ", head" : "");
}

static void time_text(double seconds, double factor, const char *unit, char *text, size_t n)
{
    if (seconds > 0.0)
        snprintf(text, n, "%.2f %s", seconds * factor, unit);
    else
        snprintf(text, n, "?");
}

/* Columns of the widest name, so that the table stays a table. */
static int name_width(const bn_shard_plan *plan, const bn_plan_worker *workers)
{
    size_t width = strlen("worker");
    for (uint32_t i = 0; i < plan->n_stages; i++) {
        size_t n = strlen(workers[i].name);
        width = n > width ? n : width;
    }
    return (int)width;
}

void bn_shard_plan_print(const bn_shard_plan *plan, const bn_plan_worker *workers, FILE *stream)
{
    double total_s = 0;
    bool is_known = true;
    int width = name_width(plan, workers);
    fprintf(stream, "%-5s  %-*s  %-11s  %10s  %10s  %10s  %10s  %14s\n", "stage", width, "worker",
            "layers", "weights", "KV", "buffers", "decode", "prefill");
    for (uint32_t i = 0; i < plan->n_stages; i++) {
        const bn_plan_stage *stage = &plan->stages[i];
        char layers[32], weights[16], kv[16], buffers[16], decode[32], prefill[32];
        layers_text(&stage->span, layers, sizeof layers);
        bn_progress_bytes_text(stage->bytes.weights, weights);
        bn_progress_bytes_text(stage->bytes.kv, kv);
        bn_progress_bytes_text(stage->bytes.buffers, buffers);
        time_text(stage->decode_s, 1e3, "ms", decode, sizeof decode);
        time_text(stage->prefill_s_per_token, 1e3, "ms/token", prefill, sizeof prefill);
        fprintf(stream, "%-5" PRIu32 "  %-*s  %-11s  %10s  %10s  %10s  %10s  %14s\n", i, width,
                workers[i].name, layers, weights, kv, buffers, decode, prefill);
        total_s += stage->decode_s;
        is_known = is_known && stage->decode_s > 0.0;
    }
    const bn_plan_stage *slowest = &plan->stages[plan->slowest];
    bool is_head = slowest->span.layer_end == slowest->span.layer_begin;
    fprintf(stream, "predicted: stages busy %.0f %% of the time; stage %" PRIu32 " on %s limits",
            plan->efficiency * 100.0, plan->slowest, workers[plan->slowest].name);
    fprintf(stream, is_head ? " (the head alone)\n" : "\n");
    if (is_known)
        fprintf(
            stream,
            "predicted: one sequence %.1f tok/s at most, %.1f steps/s when all stages are full\n",
            1.0 / total_s, 1.0 / slowest->decode_s);
}
