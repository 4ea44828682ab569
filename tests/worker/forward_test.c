/* forward_test.c
 * What: the forward pass gives the logits of the independent references, and the same bits over
 *       any number of stages, threads, chunk sizes, instruction sets and neighbours in a step.
 * How:  golden models through whole pipelines in one process; bits by memcmp with the plainest
 *       run (one stage, one thread, one token at a time, scalar), that run with the golden logits.
 */
#include "common/log.h"
#include "tests/golden/golden.h"
#include "tests/worker/pipeline.h"
#include "tests/worker/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/math.h"

/* The golden models have no activation on the edge between two codes; a single code that falls to
 * the other side shows as 1e-3. */
#define COSINE_MIN 0.999999
#define WORST_MAX 1e-5

static pipeline_config config_of(const bn_golden *golden)
{
    return (pipeline_config){
        .path = golden->model_path,
        .n_stages = 1,
        .n_threads = 1,
        .isa = BN_ISA_SCALAR,
        .context = golden->n_tokens + 70,
        .slots = 3,
        .step_tokens = 200,
    };
}

static uint32_t layers_of(const char *path)
{
    bn_model *model;
    assert_int_equal(bn_model_open(path, BN_ACTIVATION_FROM_FILE, &model), BN_OK);
    uint32_t n = model->config.n_layers;
    bn_model_close(model);
    return n;
}

static void create_plain(const bn_golden *golden, pipeline *p)
{
    pipeline_config config = config_of(golden);
    config.layers[0] = layers_of(golden->model_path);
    pipeline_create(&config, p);
}

static void test_logits_agree_with_independent_references(void **unused)
{
    (void)unused;
    for (uint32_t i = 0; i < bn_golden_n_names; i++) {
        bn_golden golden;
        static pipeline p;
        double worst = 0.0, cosine = 1.0;
        bn_golden_open(bn_golden_names[i], &golden);
        create_plain(&golden, &p);
        pipeline_evaluate(&p, golden.tokens, golden.n_tokens, 1);
        for (uint32_t n = 0; n < golden.n_positions; n++) {
            bn_golden_difference d =
                bn_golden_compare(p.logits + (size_t)golden.positions[n] * golden.vocab,
                                  golden.logits + (size_t)n * golden.vocab, golden.vocab);
            if (d.worst > worst) worst = d.worst;
            if (d.cosine < cosine) cosine = d.cosine;
        }
        print_message("%s: cosine %.9f, worst %.1e of the range\n", bn_golden_names[i], cosine,
                      worst);
        assert_true(cosine >= COSINE_MIN);
        assert_true(worst <= WORST_MAX);
        pipeline_destroy(&p);
        bn_golden_close(&golden);
    }
}

static const struct {
    uint32_t n_stages; /* cut evenly; the last one of 3 has only the head */
    uint32_t n_threads, chunk;
    bn_isa isa;
} layouts[] = {
    {1, 1, 7, BN_ISA_SCALAR},  {1, 2, 64, BN_ISA_AUTO}, {1, 3, 1, BN_ISA_AVX2},
    {2, 1, 64, BN_ISA_AVX512}, {2, 2, 1, BN_ISA_AUTO},  {2, 5, 7, BN_ISA_AVX2},
    {3, 2, 200, BN_ISA_AUTO},  {3, 1, 33, BN_ISA_AUTO}, {2, 3, 9, BN_ISA_SCALAR},
};

static void cut_layers(pipeline_config *config, uint32_t n_layers, uint32_t n_stages)
{
    config->n_stages = n_stages;
    config->layers[0] = n_stages == 1 ? n_layers : (n_layers + 1) / 2;
    config->layers[1] = n_layers - config->layers[0];
    config->layers[2] = 0;
}

static void test_every_layout_gives_the_same_bits(void **unused)
{
    (void)unused;
    for (uint32_t i = 0; i < bn_golden_n_names; i++) {
        bn_golden golden;
        static pipeline plain, p;
        bn_golden_open(bn_golden_names[i], &golden);
        create_plain(&golden, &plain);
        pipeline_evaluate(&plain, golden.tokens, golden.n_tokens, 1);
        for (size_t j = 0; j < sizeof layouts / sizeof layouts[0]; j++) {
            if (bn_kernels_get(layouts[j].isa) == NULL) continue;
            pipeline_config config = config_of(&golden);
            cut_layers(&config, plain.model->config.n_layers, layouts[j].n_stages);
            config.n_threads = layouts[j].n_threads;
            config.isa = layouts[j].isa;
            pipeline_create(&config, &p);
            pipeline_evaluate(&p, golden.tokens, golden.n_tokens, layouts[j].chunk);
            assert_memory_equal(p.logits, plain.logits,
                                (size_t)golden.n_tokens * golden.vocab * sizeof(float));
            assert_true(p.n_progress >= plain.model->config.n_layers);
            pipeline_destroy(&p);
        }
        pipeline_destroy(&plain);
        bn_golden_close(&golden);
    }
}

/* Slot 1 is the golden sequence, one to five tokens at a time; the other slots come and go, share
 * its prefix, are truncated, and are void now and then. */
static void run_among_others(pipeline *p, const bn_golden *golden, uint64_t seed)
{
    static bn_step step;
    uint64_t state = seed;
    uint32_t other_tokens[64];
    memset(&step, 0, sizeof step);
    step.id = 1;
    p->kept_slot = 1;
    for (uint32_t position = 0; position < golden->n_tokens;) {
        uint32_t n = 1 + random_below(&state, 5);
        if (n > golden->n_tokens - position) n = golden->n_tokens - position;
        step.id++;
        step.n_entries = step.n_tokens = step.n_commands = step.n_ids = 0;
        pipeline_command(&step, BN_KV_ALLOC, 1, 0, (position + n + 63) / 64);
        for (uint32_t i = 0; i < 64; i++)
            other_tokens[i] = random_below(&state, golden->vocab);
        pipeline_command(&step, BN_KV_FREE, 0, 0, 0);
        pipeline_command(&step, BN_KV_ALLOC, 0, 0, 1);
        pipeline_add(&step, 0, 0, other_tokens, 1 + random_below(&state, 60),
                     random_below(&state, 2) == 0)
            ->is_void = random_below(&state, 3) == 0;
        pipeline_add(&step, 1, position, golden->tokens + position, n, true);
        if (position >= 64) {
            pipeline_command(&step, BN_KV_FREE, 2, 0, 0);
            pipeline_command(&step, BN_KV_SHARE, 2, 1, 1);
            pipeline_command(&step, BN_KV_ALLOC, 2, 0, 2);
            pipeline_add(&step, 2, 64, other_tokens, 3, true)->is_void =
                random_below(&state, 4) == 0;
        }
        assert_int_equal(pipeline_run(p, &step), BN_OK);
        position += n;
    }
}

static void test_neighbours_and_void_entries_change_nothing(void **unused)
{
    (void)unused;
    const char *const names[] = {"bitnet-long", "llama-q6k-gqa"};
    for (size_t i = 0; i < 2; i++) {
        bn_golden golden;
        static pipeline plain, p;
        bn_golden_open(names[i], &golden);
        create_plain(&golden, &plain);
        pipeline_evaluate(&plain, golden.tokens, golden.n_tokens, 1);
        for (uint32_t n_stages = 1; n_stages <= 3; n_stages++) {
            pipeline_config config = config_of(&golden);
            cut_layers(&config, plain.model->config.n_layers, n_stages);
            config.n_threads = 2;
            config.isa = BN_ISA_AUTO;
            pipeline_create(&config, &p);
            run_among_others(&p, &golden, 11 * n_stages);
            assert_memory_equal(p.logits, plain.logits,
                                (size_t)golden.n_tokens * golden.vocab * sizeof(float));
            pipeline_destroy(&p);
        }
        pipeline_destroy(&plain);
        bn_golden_close(&golden);
    }
}

static void test_candidates_ids_and_lse_come_from_the_same_logits(void **unused)
{
    (void)unused;
    bn_golden golden;
    static pipeline p;
    static bn_step step;
    bn_golden_open("bitnet-silu", &golden);
    create_plain(&golden, &p);
    memset(&step, 0, sizeof step);
    step.id = 1;
    pipeline_command(&step, BN_KV_ALLOC, 0, 0, 1);
    bn_step_entry *entry = pipeline_add(&step, 0, 0, golden.tokens, 12, true);
    entry->want_from = 2;
    entry->n_best = 5;
    entry->n_ids = 3;
    entry->wants_lse = true;
    for (uint32_t i = 0; i < 10 * 3; i++)
        step.ids[step.n_ids++] = i * 7 % golden.vocab;
    assert_int_equal(pipeline_run(&p, &step), BN_OK);
    assert_int_equal(p.result.n_positions, 10);
    assert_int_equal(p.result.n_candidates, 50);
    assert_int_equal(p.result.n_exact, 30);
    assert_int_equal(p.result.vocab_end, golden.vocab);
    for (uint32_t i = 0; i < 10; i++) {
        const bn_result_position *position = &p.result.positions[i];
        const float *logits = p.logits + (size_t)(2 + i) * golden.vocab;
        assert_int_equal(position->position, 2 + i);
        assert_true(position->has_lse && position->has_all && !position->is_void);
        assert_true(position->lse == bn_log_sum_exp(logits, golden.vocab));
        for (uint32_t j = 0; j < 5; j++) {
            bn_candidate c = p.result.candidates[position->candidate_begin + j];
            assert_true(c.logit == logits[c.id]);
            for (uint32_t id = 0, n_above = 0; id < golden.vocab; id++) {
                n_above += logits[id] > c.logit;
                assert_true(n_above <= j);
            }
        }
        for (uint32_t j = 0; j < 3; j++)
            assert_true(p.result.exact[position->exact_begin + j] == logits[step.ids[i * 3 + j]]);
    }
    entry->is_void = true;
    entry->position = 12;
    step.n_commands = 0;
    assert_int_equal(pipeline_run(&p, &step), BN_OK);
    assert_int_equal(p.result.n_positions, 10);
    assert_int_equal(p.result.n_candidates, 0);
    assert_true(p.result.positions[9].is_void);
    pipeline_destroy(&p);
    bn_golden_close(&golden);
}

static void test_steps_that_break_the_contract_are_refused(void **unused)
{
    (void)unused;
    bn_golden golden;
    static pipeline p;
    static bn_step good, bad;
    bn_golden_open("bitnet-silu", &golden);
    create_plain(&golden, &p);
    memset(&good, 0, sizeof good);
    good.id = 1;
    pipeline_command(&good, BN_KV_ALLOC, 0, 0, 1);
    pipeline_command(&good, BN_KV_FREE, 0, 0, 0);
    pipeline_command(&good, BN_KV_ALLOC, 0, 0, 1);
    pipeline_add(&good, 0, 0, golden.tokens, 4, true);
    assert_int_equal(pipeline_run(&p, &good), BN_OK);
    for (uint32_t i = 0; i < 10; i++) {
        bad = good;
        bn_step_entry *entry = &bad.entries[0];
        switch (i) {
        case 0: entry->slot = 3; break;
        case 1: entry->position = 1; break;
        case 2: entry->n_tokens = 5; break;
        case 3: entry->token_begin = 1; break;
        case 4: bad.tokens[3] = golden.vocab; break;
        case 5: entry->n_ids = 1; break;
        case 6: entry->n_best = 257; break;
        case 7: bad.n_tokens = 201; break;
        case 8: entry->want_from = 5; break;
        default: bad.commands[2].count = 0; break;
        }
        assert_int_equal(pipeline_run(&p, &bad), BN_ERR_BAD_MESSAGE);
    }
    assert_int_equal(pipeline_run(&p, &good), BN_OK);
    pipeline_destroy(&p);
    bn_golden_close(&golden);
}

static void test_what_is_promised_is_what_is_reserved(void **unused)
{
    (void)unused;
    for (uint32_t i = 0; i < bn_golden_n_names; i++) {
        bn_golden golden;
        static pipeline p;
        bn_golden_open(bn_golden_names[i], &golden);
        for (uint32_t n_stages = 1; n_stages <= 3; n_stages++) {
            pipeline_config config = config_of(&golden);
            cut_layers(&config, layers_of(golden.model_path), n_stages);
            config.n_threads = 1 + n_stages;
            pipeline_create(&config, &p);
            for (uint32_t j = 0; j < n_stages; j++) {
                const bn_stage *stage = p.stages[j];
                assert_int_equal(bn_weights_used_bytes(stage->weights), stage->bytes.weights);
                assert_int_equal(bn_arena_used(stage->kv_arena), stage->bytes.kv);
                assert_int_equal(bn_arena_used(stage->buffers_arena), stage->bytes.buffers);
                assert_int_equal(bn_arena_capacity(stage->buffers_arena), stage->bytes.buffers);
            }
            pipeline_destroy(&p);
        }
        bn_golden_close(&golden);
    }
}

int main(void)
{
    bn_log_set_quiet(true);
    bn_float_env_set();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_logits_agree_with_independent_references),
        cmocka_unit_test(test_every_layout_gives_the_same_bits),
        cmocka_unit_test(test_neighbours_and_void_entries_change_nothing),
        cmocka_unit_test(test_candidates_ids_and_lse_come_from_the_same_logits),
        cmocka_unit_test(test_steps_that_break_the_contract_are_refused),
        cmocka_unit_test(test_what_is_promised_is_what_is_reserved),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
