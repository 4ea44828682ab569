/* head_cpu.c — the whole head in one pass, the screened head in three: bounds, survivors, logits.
 *
 * The n_best-th largest lower bound is the threshold; whose upper bound reaches it survives. Every
 * pass is cut over threads anew, because survivors crowd where common tokens have their ids.
 */
#include "worker/head_cpu.h"

#include "common/alloc.h"
#include "common/log.h"
#include "kernels/math.h"
#include "kernels/screen.h"
#include "model/stage_bytes.h"
#include "worker/candidates.h"
#include "worker/reserve.h"

#define ROWS_MAX BN_STAGE_LOGITS_TOKENS

/* Without --head screen: what a screen must have to gain, and how long it rests after a row of
 * which too much survived. */
#define HEAD_BYTES_MIN ((uint64_t)4 << 20)
#define WANTED_SHARE 32u  /* of the vocabulary: candidates or ids of a row */
#define SURVIVED_SHARE 4u /* of the vocabulary */
#define RESTING_PASSES 15u

_Static_assert(BN_STAGE_CANDIDATES_MAX == BN_CANDIDATES_MAX, "the budget knows the wire's limit");
_Static_assert(ROWS_MAX <= BN_SCREEN_TOKENS_MAX, "one pass of the screen takes all rows");

struct bn_head_cpu {
    const bn_model_config *model;
    const bn_kernels *kernels;
    bn_thread_pool *pool;
    bn_head_mode mode;
    uint32_t n_threads, n_groups;
    bool *has_worked; /* [n_threads] */
    bn_device_head_counts counts;
    uint32_t n_resting;

    float *normed;       /* [ROWS_MAX][hidden] */
    float *logits;       /* [ROWS_MAX][vocab]; first the lower bounds when screened */
    bn_candidate *lists; /* [ROWS_MAX][n_threads][BN_CANDIDATES_MAX] */
    uint32_t *n_lists;   /* [ROWS_MAX][n_threads] */

    bn_screen_tokens tokens;
    float *upper;          /* [ROWS_MAX][n_groups] */
    uint32_t *survivors;   /* [ROWS_MAX][vocab]: a thread's ids stand where its rows begin */
    uint32_t *n_survivors; /* [ROWS_MAX][n_threads] */
    float thresholds[ROWS_MAX];
    bool is_bounded[ROWS_MAX];

    /* the operation under way */
    const bn_device_head *head;
    bool is_screened;
};

static bn_candidate *list_of(const bn_head_cpu *h, size_t row, uint32_t thread_index)
{
    return h->lists + (row * h->n_threads + thread_index) * BN_CANDIDATES_MAX;
}

/* Runs on this thread when there is one row: cheaper than waking the others. */
static void run_rows(bn_head_cpu *h, bn_thread_task *task)
{
    if (h->head->n_rows == 1)
        task(h, 0, 1);
    else
        bn_thread_pool_run(h->pool, task, h);
}

static void norm_rows_part(void *context, uint32_t thread_index, uint32_t n_threads)
{
    bn_head_cpu *h = context;
    uint32_t hidden = h->model->hidden;
    const float *x = (const float *)(const void *)h->head->x;
    size_t begin, end;
    bn_thread_part(h->head->n_rows, thread_index, n_threads, &begin, &end);
    for (size_t i = begin; i < end; i++) {
        float *normed = h->normed + i * hidden;
        h->kernels->rms_norm(normed, x + (size_t)h->head->rows[i].row * hidden, h->head->norm,
                             hidden, h->model->rms_eps);
        if (h->is_screened) h->is_bounded[i] = bn_screen_quantize(normed, (uint32_t)i, &h->tokens);
    }
}

/* ---- the whole head ------------------------------------------------------------------------ */

/* Logits of a range of the vocabulary, and the best of that range for each row. */
static void logits_part(void *context, uint32_t thread_index, uint32_t n_threads)
{
    bn_head_cpu *h = context;
    const bn_device_head *head = h->head;
    size_t vocab = head->weights->n_rows, begin, end;
    bn_thread_part(vocab, thread_index, n_threads, &begin, &end);
    if (begin < end) {
        h->kernels->dense_matmul(head->weights, (uint32_t)begin, (uint32_t)end, h->normed,
                                 h->model->hidden, head->n_rows, h->logits, vocab);
        h->has_worked[thread_index] = true;
    }
    for (uint32_t i = 0; i < head->n_rows; i++)
        h->n_lists[i * n_threads + thread_index] =
            bn_candidates_select(h->logits + i * vocab, (uint32_t)begin, (uint32_t)end,
                                 head->rows[i].n_best, list_of(h, i, thread_index));
}

static void merge_lists(bn_head_cpu *h, size_t i)
{
    bn_device_head_row *row = &h->head->rows[i];
    row->n_best_out =
        bn_candidates_merge(list_of(h, i, 0), BN_CANDIDATES_MAX, h->n_lists + i * h->n_threads,
                            h->n_threads, row->n_best, row->best_out);
}

static void finish_rows_part(void *context, uint32_t thread_index, uint32_t n_threads)
{
    bn_head_cpu *h = context;
    size_t vocab = h->head->weights->n_rows, begin, end;
    bn_thread_part(h->head->n_rows, thread_index, n_threads, &begin, &end);
    for (size_t i = begin; i < end; i++) {
        bn_device_head_row *row = &h->head->rows[i];
        float *logits = h->logits + i * vocab;
        merge_lists(h, i);
        if (h->is_screened)
            h->kernels->dense_gather(h->head->weights, row->ids, row->n_ids,
                                     h->normed + i * h->model->hidden, logits);
        for (uint32_t j = 0; j < row->n_ids; j++)
            row->exact_out[j] = logits[row->ids[j]];
        if (row->wants_lse) row->lse = bn_log_sum_exp(logits, vocab);
        row->logits = row->wants_all ? logits : NULL;
    }
}

/* ---- the screened head --------------------------------------------------------------------- */

/* The rows of a thread: whole groups. */
static void part_of_groups(const bn_head_cpu *h, uint32_t thread_index, uint32_t *group_begin,
                           uint32_t *group_end)
{
    size_t begin, end;
    bn_thread_part(h->n_groups, thread_index, h->n_threads, &begin, &end);
    *group_begin = (uint32_t)begin;
    *group_end = (uint32_t)end;
}

static uint32_t row_of_group(const bn_head_cpu *h, uint32_t group)
{
    uint32_t row = group * BN_SCREEN_GROUP_ROWS, vocab = h->head->weights->n_rows;
    return row < vocab ? row : vocab;
}

static void bounds_part(void *context, uint32_t thread_index, uint32_t n_threads)
{
    bn_head_cpu *h = context;
    size_t vocab = h->head->weights->n_rows;
    uint32_t begin, end;
    part_of_groups(h, thread_index, &begin, &end);
    if (begin < end) {
        h->kernels->screen_matmul(h->head->screen, begin, end, &h->tokens, h->logits, vocab,
                                  h->upper, h->n_groups);
        h->has_worked[thread_index] = true;
    }
    for (uint32_t i = 0; i < h->head->n_rows; i++)
        h->n_lists[i * n_threads + thread_index] = bn_candidates_select(
            h->logits + i * vocab, row_of_group(h, begin), row_of_group(h, end),
            h->head->rows[i].n_best, list_of(h, i, thread_index));
}

/* Ids of one row whose logit may reach the threshold, ascending. */
static uint32_t collect(const bn_head_cpu *h, uint32_t i, uint32_t group_begin, uint32_t group_end,
                        uint32_t *ids)
{
    const float *lower = h->logits + (size_t)i * h->head->weights->n_rows;
    const float *upper = h->upper + (size_t)i * h->n_groups;
    float threshold = h->thresholds[i];
    uint32_t n = 0;
    for (uint32_t group = group_begin; group < group_end; group++) {
        if (upper[group] < threshold) continue;
        for (uint32_t row = row_of_group(h, group); row < row_of_group(h, group + 1); row++) {
            float width = bn_screen_width(h->head->screen, row, &h->tokens, i);
            /* NaN, of infinite bounds, survives. */
            if (!(lower[row] + width < threshold)) ids[n++] = row;
        }
    }
    return n;
}

static void survivors_part(void *context, uint32_t thread_index, uint32_t n_threads)
{
    bn_head_cpu *h = context;
    size_t vocab = h->head->weights->n_rows;
    uint32_t begin, end;
    part_of_groups(h, thread_index, &begin, &end);
    for (uint32_t i = 0; i < h->head->n_rows; i++)
        h->n_survivors[i * n_threads + thread_index] =
            h->head->rows[i].n_best == 0
                ? 0
                : collect(h, i, begin, end, h->survivors + i * vocab + row_of_group(h, begin));
}

/* This thread's part of a row's survivors, which stand in as many lists as there are threads. */
static void compute_survivors(bn_head_cpu *h, uint32_t i, uint32_t thread_index)
{
    size_t vocab = h->head->weights->n_rows, first = 0, begin, end;
    const uint32_t *n_in = h->n_survivors + (size_t)i * h->n_threads;
    bn_candidate *best = list_of(h, i, thread_index);
    uint32_t n_best = 0;
    size_t n_all = 0;
    for (uint32_t list = 0; list < h->n_threads; list++)
        n_all += n_in[list];
    bn_thread_part(n_all, thread_index, h->n_threads, &begin, &end);
    for (uint32_t list = 0; list < h->n_threads; first += n_in[list++]) {
        size_t from = begin > first ? begin : first;
        size_t to = end < first + n_in[list] ? end : first + n_in[list];
        if (from >= to) continue;
        uint32_t group, group_end;
        part_of_groups(h, list, &group, &group_end);
        const uint32_t *ids = h->survivors + i * vocab + row_of_group(h, group) + (from - first);
        h->kernels->dense_gather(h->head->weights, ids, (uint32_t)(to - from),
                                 h->normed + (size_t)i * h->model->hidden, h->logits + i * vocab);
        n_best = bn_candidates_add(h->logits + i * vocab, ids, (uint32_t)(to - from),
                                   h->head->rows[i].n_best, best, n_best);
    }
    bn_candidates_sort(best, n_best);
    h->n_lists[i * h->n_threads + thread_index] = n_best;
}

static void exact_part(void *context, uint32_t thread_index, uint32_t n_threads)
{
    (void)n_threads;
    bn_head_cpu *h = context;
    for (uint32_t i = 0; i < h->head->n_rows; i++)
        compute_survivors(h, i, thread_index);
}

static bool may_screen(bn_head_cpu *h)
{
    const bn_device_head *head = h->head;
    uint32_t vocab = head->weights->n_rows;
    if (head->screen == NULL || h->mode == BN_HEAD_FULL) return false;
    for (uint32_t i = 0; i < head->n_rows; i++)
        if (head->rows[i].wants_lse || head->rows[i].wants_all) return false;
    if (h->mode == BN_HEAD_SCREEN) return true;
    if (head->weights->row_bytes * (uint64_t)vocab < HEAD_BYTES_MIN) return false;
    for (uint32_t i = 0; i < head->n_rows; i++)
        if (head->rows[i].n_best > vocab / WANTED_SHARE ||
            head->rows[i].n_ids > vocab / WANTED_SHARE)
            return false;
    if (h->n_resting == 0) return true;
    h->n_resting--;
    return false;
}

/* The n_best-th largest lower bound of each row. best_out serves until the candidates come. */
static void set_thresholds(bn_head_cpu *h)
{
    for (uint32_t i = 0; i < h->head->n_rows; i++) {
        const bn_device_head_row *row = &h->head->rows[i];
        if (row->n_best == 0) continue;
        merge_lists(h, i);
        BN_ASSERT(row->n_best_out == row->n_best);
        h->thresholds[i] = row->best_out[row->n_best - 1].logit;
    }
}

/* False when it does not pay, or cannot be done: then nothing has been given out. */
static bool run_screened(bn_head_cpu *h)
{
    uint64_t n_all = 0;
    for (uint32_t i = 0; i < h->head->n_rows; i++)
        if (!h->is_bounded[i]) return false;
    bn_thread_pool_run(h->pool, bounds_part, h);
    set_thresholds(h);
    bn_thread_pool_run(h->pool, survivors_part, h);
    for (uint32_t i = 0; i < h->head->n_rows; i++) {
        uint64_t n = 0;
        for (uint32_t thread = 0; thread < h->n_threads; thread++)
            n += h->n_survivors[i * h->n_threads + thread];
        if (h->mode == BN_HEAD_AUTO && n > h->head->weights->n_rows / SURVIVED_SHARE) {
            h->n_resting = RESTING_PASSES;
            return false;
        }
        n_all += n;
    }
    bn_thread_pool_run(h->pool, exact_part, h);
    h->counts.n_screened += h->head->n_rows;
    h->counts.n_survivors += n_all;
    return true;
}

void bn_head_cpu_run(bn_head_cpu *h, const bn_device_head *head)
{
    BN_ASSERT(head->n_rows >= 1 && head->n_rows <= ROWS_MAX);
    h->head = head;
    h->is_screened = may_screen(h);
    h->tokens.n_tokens = head->n_rows;
    h->tokens.n_cols = h->model->hidden;
    run_rows(h, norm_rows_part);
    h->is_screened = h->is_screened && run_screened(h);
    if (!h->is_screened) {
        bn_thread_pool_run(h->pool, logits_part, h);
        h->counts.n_whole += head->n_rows;
    }
    run_rows(h, finish_rows_part);
}

bn_device_head_counts bn_head_cpu_counted(const bn_head_cpu *head)
{
    return head->counts;
}

bool bn_head_cpu_has_worked(const bn_head_cpu *head, uint32_t thread_index)
{
    return head->has_worked[thread_index];
}

bn_status bn_head_cpu_create(const bn_device_config *config, bn_head_cpu **head_out)
{
    const bn_model_config *c = config->model;
    bn_head_cpu *h = bn_alloc(1, sizeof *h);
    if (h == NULL) return bn_fail(BN_ERR_NO_MEMORY, "DEVICE-CREATE", "no memory for the head");
    h->model = c;
    h->kernels = config->kernels;
    h->pool = config->pool;
    h->mode = config->head_mode;
    h->n_threads = bn_thread_pool_size(config->pool);
    h->n_groups = bn_screen_groups(c->vocab);
    bn_reserve reserve = {.arena = config->arena};
    size_t n_lists = (size_t)ROWS_MAX * h->n_threads;
    h->normed = bn_reserve_take(&reserve, (size_t)ROWS_MAX * c->hidden, sizeof *h->normed);
    h->logits = bn_reserve_take(&reserve, (size_t)ROWS_MAX * c->vocab, sizeof *h->logits);
    h->lists = bn_reserve_take(&reserve, n_lists * BN_CANDIDATES_MAX, sizeof *h->lists);
    h->n_lists = bn_reserve_take(&reserve, n_lists, sizeof *h->n_lists);
    if (config->has_screen) {
        h->tokens.panel = bn_reserve_take(&reserve, bn_screen_panel_bytes(c->hidden, ROWS_MAX), 1);
        h->upper = bn_reserve_take(&reserve, (size_t)ROWS_MAX * h->n_groups, sizeof *h->upper);
        h->survivors = bn_reserve_take(&reserve, (size_t)ROWS_MAX * c->vocab, sizeof *h->survivors);
        h->n_survivors = bn_reserve_take(&reserve, n_lists, sizeof *h->n_survivors);
    }
    h->has_worked = bn_alloc(h->n_threads, sizeof *h->has_worked);
    if (reserve.status == BN_OK && h->has_worked == NULL)
        reserve.status =
            bn_fail(BN_ERR_NO_MEMORY, "DEVICE-CREATE", "no memory for %u threads", h->n_threads);
    if (reserve.status != BN_OK) {
        bn_head_cpu_destroy(h);
        return reserve.status;
    }
    *head_out = h;
    return BN_OK;
}

void bn_head_cpu_destroy(bn_head_cpu *head)
{
    if (head == NULL) return;
    bn_free(head->has_worked);
    bn_free(head);
}
