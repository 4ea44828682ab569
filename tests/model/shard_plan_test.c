/* shard_plan_test.c
 * What: plans cover every layer once, are as fast as any plan can be, fit the workers' memory,
 *       and refuse what cannot be with the worker and the missing bytes named.
 * How:  a brute-force oracle tries every split of small models; the real shape's plans are
 *       compared with the figures that its bytes dictate.
 */
#include "common/log.h"
#include "model/shard_plan.h"
#include "model/stage_bytes.h"
#include "tests/model/shapes.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

static const shape shape_2b4t = {30, 2560, 6912, 20, 5, 128, 128256, BN_TENSOR_F16};
static const bn_stage_limits limits = {
    .context = 4096,
    .slots = 8,
    .kv_pages = 128,
    .step_tokens = 64,
    .steps_in_flight = 8,
    .threads = 2,
};

static uint64_t random_state = 20261122;

static uint64_t random_below(uint64_t n)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state % n;
}

static void expect_layers(const bn_shard_plan *plan, const char *expect)
{
    char text[1024] = "";
    for (uint32_t i = 0; i < plan->n_stages; i++) {
        const bn_stage_span *span = &plan->stages[i].span;
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s%u", i == 0 ? "" : ",",
                 span->layer_end - span->layer_begin);
        assert_int_equal(span->layer_begin, i == 0 ? 0 : plan->stages[i - 1].span.layer_end);
        assert_int_equal(span->has_embedding, i == 0);
        assert_int_equal(span->has_head, i == plan->n_stages - 1);
    }
    assert_string_equal(text, expect);
}

static void test_the_real_shape_over_equal_workers(void **state)
{
    (void)state;
    static const struct {
        uint32_t n;
        double bandwidths[4];
        bn_plan_goal goal;
        const char *expect;
    } cases[] = {
        {1, {0}, BN_PLAN_DECODE, "30"},
        {2, {0}, BN_PLAN_DECODE, "30,0"},
        {4, {0}, BN_PLAN_DECODE, "10,10,10,0"},
        {3, {0}, BN_PLAN_DECODE, "15,15,0"},
        {4, {10e9, 11e9, 12e9, 10.5e9}, BN_PLAN_DECODE, "10,10,10,0"},
        {2, {0, 20e9}, BN_PLAN_DECODE, "30,0"},
        {2, {10e9, 40e9}, BN_PLAN_DECODE, "13,17"},
        {2, {0}, BN_PLAN_PREFILL, "15,15"},
        {4, {0}, BN_PLAN_PREFILL, "8,8,7,7"},
        {1, {0}, BN_PLAN_SCREENED, "30"},
        {2, {0}, BN_PLAN_SCREENED, "24,6"},
        {4, {0}, BN_PLAN_SCREENED, "10,10,10,0"},
    };
    bn_model *model = shape_new(&shape_2b4t);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        bn_plan_worker workers[4] = {{0}};
        for (uint32_t w = 0; w < cases[i].n; w++)
            workers[w] = (bn_plan_worker){.name = "w", .bandwidth = cases[i].bandwidths[w]};
        bn_shard_plan plan;
        assert_int_equal(
            bn_shard_plan_make(model, &limits, workers, cases[i].n, cases[i].goal, &plan), BN_OK);
        expect_layers(&plan, cases[i].expect);
    }
    shape_free(model);
}

/* Time of one stage for equal or given speeds, straight from the model's public figures. */
static double stage_time(const bn_model *model, const bn_plan_worker *worker, bn_stage_span span)
{
    double bytes = span.has_head ? (double)bn_model_head_walk_bytes(model) : 0.0;
    for (uint32_t i = span.layer_begin; i < span.layer_end; i++)
        bytes += (double)bn_model_layer_walk_bytes(model, i);
    return bytes / worker->bandwidth;
}

typedef struct oracle {
    const bn_model *model;
    const bn_plan_worker *workers;
    uint32_t n_workers;
    double best; /* slowest stage of the best plan, infinite if none fits */
} oracle;

static void try_all(oracle *o, uint32_t stage, uint32_t begin, double slowest)
{
    bool is_last = stage == o->n_workers - 1;
    uint32_t n_layers = o->model->config.n_layers;
    for (uint32_t end = begin + (is_last ? 0 : 1); end <= n_layers; end++) {
        bn_stage_span span = {begin, end, stage == 0, is_last};
        bn_stage_bytes bytes;
        bn_model_stage_bytes(o->model, span, &limits, &bytes);
        if (o->workers[stage].memory != 0 &&
            bytes.weights + bytes.kv + bytes.buffers > o->workers[stage].memory)
            continue;
        double time = fmax(slowest, stage_time(o->model, &o->workers[stage], span));
        if (!is_last)
            try_all(o, stage + 1, end, time);
        else if (end == n_layers && time < o->best)
            o->best = time;
    }
}

static void test_no_plan_is_faster(void **state)
{
    (void)state;
    static const double speeds[] = {1e9, 1.5e9, 2.5e9, 6e9}; /* further apart than 25 % */
    uint32_t n_fit = 0, n_refused = 0;
    for (uint32_t round = 0; round < 300; round++) {
        shape s = {.n_layers = 1 + (uint32_t)random_below(9),
                   .hidden = 128,
                   .ffn = 256,
                   .n_heads = 4,
                   .n_kv_heads = 2,
                   .head_size = 32,
                   .vocab = 16 + (uint32_t)random_below(3000),
                   .head_type = BN_TENSOR_F16};
        bn_model *model = shape_new(&s);
        bn_plan_worker workers[4];
        uint32_t n = 1 + (uint32_t)random_below(s.n_layers < 3 ? s.n_layers + 1 : 4);
        bn_stage_bytes all;
        bn_model_stage_bytes(model, (bn_stage_span){0, s.n_layers, true, true}, &limits, &all);
        uint64_t part = (all.weights + all.kv) / n;
        for (uint32_t i = 0; i < n; i++) {
            workers[i] = (bn_plan_worker){.name = "w", .bandwidth = speeds[random_below(4)]};
            if (random_below(2) == 0)
                workers[i].memory = all.buffers + part / 2 + random_below(3 * part / 2);
        }
        oracle o = {model, workers, n, INFINITY};
        try_all(&o, 0, 0, 0.0);
        bn_shard_plan plan;
        bn_status status = bn_shard_plan_make(model, &limits, workers, n, BN_PLAN_DECODE, &plan);
        assert_int_equal(status, isinf(o.best) ? BN_ERR_LIMIT : BN_OK);
        n_fit += status == BN_OK;
        n_refused += status != BN_OK;
        if (status == BN_OK) {
            double slowest = 0;
            for (uint32_t i = 0; i < n; i++)
                slowest = fmax(slowest, stage_time(model, &workers[i], plan.stages[i].span));
            assert_true(fabs(slowest - o.best) <= 1e-9 * o.best);
            assert_true(fabs(plan.stages[plan.slowest].decode_s - slowest) <= 1e-9 * slowest);
            assert_int_equal(plan.stages[n - 1].span.layer_end, s.n_layers);
        }
        shape_free(model);
    }
    /* The rounds must have shown both. */
    assert_true(n_fit > 50 && n_refused > 20);
}

static void test_what_does_not_fit_names_worker_and_bytes(void **state)
{
    (void)state;
    bn_model *model = shape_new(&shape_2b4t);
    bn_plan_worker workers[2] = {{.name = "node1/0"}, {.name = "node2/1"}};
    bn_shard_plan plan;
    assert_int_equal(bn_shard_plan_make(model, &limits, workers, 2, BN_PLAN_DECODE, &plan), BN_OK);
    const bn_stage_bytes *b = &plan.stages[1].bytes;
    workers[1].memory = b->weights + b->kv + b->buffers;
    assert_int_equal(bn_shard_plan_make(model, &limits, workers, 2, BN_PLAN_DECODE, &plan), BN_OK);
    workers[1].memory -= 7;
    assert_int_equal(bn_shard_plan_make(model, &limits, workers, 2, BN_PLAN_DECODE, &plan),
                     BN_ERR_LIMIT);
    assert_non_null(strstr(bn_log_last_error(), "on node2/1"));
    assert_non_null(strstr(bn_log_last_error(), ": 7 bytes are missing"));
    shape_free(model);
}

static void test_too_many_stages_are_refused(void **state)
{
    (void)state;
    shape s = shape_2b4t;
    s.n_layers = 3;
    bn_model *model = shape_new(&s);
    bn_plan_worker workers[5] = {{.name = "w"}, {.name = "w"}, {.name = "w"}, {.name = "w"}};
    bn_shard_plan plan;
    assert_int_equal(bn_shard_plan_make(model, &limits, workers, 4, BN_PLAN_DECODE, &plan), BN_OK);
    expect_layers(&plan, "1,1,1,0");
    assert_int_equal(bn_shard_plan_make(model, &limits, workers, 5, BN_PLAN_DECODE, &plan),
                     BN_ERR_BAD_ARGUMENT);
    assert_non_null(strstr(bn_log_last_error(), "5 stages are not possible: a model of 3 layers"));
    assert_int_equal(bn_shard_plan_make(model, &limits, workers, 0, BN_PLAN_DECODE, &plan),
                     BN_ERR_BAD_ARGUMENT);
    shape_free(model);
}

static void test_layers_given_by_a_person(void **state)
{
    (void)state;
    static const struct {
        const char *layers, *expect;
    } cases[] = {
        {"10,10,10", NULL},
        {"10,20,0", NULL},
        {"30,0,0", "leaves stage 1 empty"},
        {"0,15,15", "leaves stage 0 empty"},
        {"10,10", "for 2 stages, but there are 3 workers"},
        {"10,10,10,0", "for 4 stages, but there are 3"},
        {"10,10,11", "add up to 31"},
        {"10,10,x", "not numbers"},
        {"10,,20", "not numbers"},
        {"", "not numbers"},
        {"10,10,-1", "not numbers"},
        {"99999999999999999999,1,1", "not numbers"},
        {"10 ,10,10", "not numbers"},
        {"10,10,10,", "not numbers"},
    };
    bn_model *model = shape_new(&shape_2b4t);
    bn_plan_worker workers[3] = {{.name = "a"}, {.name = "b"}, {.name = "c"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        bn_shard_plan plan;
        bn_status status = bn_shard_plan_fixed(model, &limits, workers, 3, cases[i].layers, &plan);
        if (cases[i].expect == NULL) {
            assert_int_equal(status, BN_OK);
            expect_layers(&plan, cases[i].layers);
        } else if (status != BN_ERR_BAD_ARGUMENT ||
                   strstr(bn_log_last_error(), cases[i].expect) == NULL) {
            fail_msg("\"%s\": status %d, \"%s\"", cases[i].layers, status, bn_log_last_error());
        }
    }
    shape_free(model);
}

static void test_the_parts_add_up_to_the_whole(void **state)
{
    (void)state;
    bn_model *model = shape_new(&shape_2b4t);
    bn_stage_bytes whole, empty, layer, first;
    bn_model_stage_bytes(model, (bn_stage_span){0, 30, true, true}, &limits, &whole);
    bn_model_stage_bytes(model, (bn_stage_span){0, 0, true, true}, &limits, &empty);
    bn_model_stage_bytes(model, (bn_stage_span){7, 8, false, false}, &limits, &layer);
    bn_model_stage_bytes(model, (bn_stage_span){0, 1, true, true}, &limits, &first);
    assert_int_equal(whole.weights, empty.weights + 30 * layer.weights);
    assert_int_equal(whole.kv, 30 * layer.kv);
    assert_int_equal(whole.buffers, first.buffers);
    assert_true(empty.buffers < first.buffers);
    assert_int_equal(empty.kv, 0);
    /* 2 084 044 800 trits in two bits each, 121 norms, an F16 head of 128256 × 2560, its screen of
     * one byte an element and three floats a row. */
    uint64_t norms = 30 * (2560 * 3 + 6912) * 4 + 2560 * 4, screen = 128256ull * (2560 + 3 * 4);
    assert_int_equal(whole.weights, 2084044800 / 4 + norms + 128256ull * 2560 * 2 + screen);
    assert_int_equal(bn_model_head_screen_bytes(model), screen);
    assert_int_equal(bn_model_head_walk_bytes(model), 128256ull * 2560 * 2 + 2560 * 4);
    assert_int_equal(layer.kv, 128ull * 64 * 5 * 128 * 2 * 2);
    assert_int_equal(whole.mapped, 128256ull * 2560 * 2);
    assert_int_equal(bn_model_layer_macs(model, 0) * 30, 2084044800);
    shape_free(model);
}

static void test_the_table_names_stages_and_limit(void **state)
{
    (void)state;
    bn_model *model = shape_new(&shape_2b4t);
    bn_plan_worker workers[2] = {{.name = "node1/0", .bandwidth = 10e9},
                                 {.name = "node2/1", .bandwidth = 10e9}};
    bn_shard_plan plan;
    assert_int_equal(bn_shard_plan_make(model, &limits, workers, 2, BN_PLAN_DECODE, &plan), BN_OK);
    char text[4096] = "";
    FILE *stream = fmemopen(text, sizeof text, "w");
    assert_non_null(stream);
    bn_shard_plan_print(&plan, workers, stream);
    fclose(stream);
    assert_non_null(strstr(text, "node1/0  0-29"));
    assert_non_null(strstr(text, "node2/1  head"));
    assert_non_null(strstr(text, "stage 1 on node2/1 limits (the head alone)"));
    assert_non_null(strstr(text, "65.67 ms")); /* 656.7 MB at 10 GB/s */
    shape_free(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_real_shape_over_equal_workers),
        cmocka_unit_test(test_no_plan_is_faster),
        cmocka_unit_test(test_what_does_not_fit_names_worker_and_bytes),
        cmocka_unit_test(test_too_many_stages_are_refused),
        cmocka_unit_test(test_layers_given_by_a_person),
        cmocka_unit_test(test_the_parts_add_up_to_the_whole),
        cmocka_unit_test(test_the_table_names_stages_and_limit),
    };
    bn_log_set_quiet(true);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
