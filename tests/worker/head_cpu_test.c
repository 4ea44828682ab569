/* head_cpu_test.c
 * What: the screened head returns the candidates, values, order and exact logits of the whole
 *       head, bit for bit; it falls back where it must, and does screen where it may.
 * How:  adversarial matrices of every type, rows and wants through a device twice: whole, screened.
 */
#include "common/alloc.h"
#include "kernels/math.h"
#include "kernels/screen.h"
#include "model/stage_bytes.h"
#include "tests/worker/random.h"
#include "worker/head_cpu.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define VOCAB_MAX 5000u
#define HIDDEN 256u
#define IDS 9u

typedef enum rows_kind {
    ROWS_PLAIN,
    ROWS_NEAR_TIES, /* families of 64 that differ in a last bit or not at all */
    ROWS_HEAVY_TAILS,
    ROWS_EQUAL,
    ROWS_ZERO, /* many zero rows among others */
    ROWS_TINY,
    ROWS_HUGE,
    ROWS_BROKEN, /* infinities and NaNs */
    ROWS_KINDS
} rows_kind;

static float weight(uint64_t *state, rows_kind kind, uint32_t row, uint32_t col)
{
    float x = random_float(state);
    switch (kind) {
    case ROWS_NEAR_TIES: {
        uint64_t family = row / 64 * 1000 + col;
        x = random_float(&family);
        return random_below(state, 99) == 0 ? x * (1.0f + 0x1p-10f) : x;
    }
    case ROWS_HEAVY_TAILS: return random_below(state, 100) == 0 ? x * 50.0f : x;
    case ROWS_EQUAL: return col % 2 == 0 ? 0.5f : -0.25f;
    case ROWS_ZERO: return row % 3 != 0 ? 0.0f : x;
    case ROWS_TINY: return x * 0x1p-14f; /* subnormal as F16 */
    case ROWS_HUGE: return row % 7 == 0 ? x * 60000.0f : x;
    case ROWS_BROKEN:
        if (row % 11 == 0 && col == 3) return row % 2 == 0 ? INFINITY : NAN;
        return x;
    default: return x;
    }
}

/* A block's integers at random; its scale small. */
static void fill_blocks(uint64_t *state, bn_dense_type type, uint8_t *bytes, size_t n_bytes)
{
    size_t block = type == BN_DENSE_Q8_0 ? 34 : 210, scale = type == BN_DENSE_Q8_0 ? 0 : 208;
    for (size_t i = 0; i < n_bytes; i++)
        bytes[i] = (uint8_t)random_below(state, 256);
    for (size_t i = 0; i < n_bytes; i += block) {
        uint16_t h = bn_f16_from_f32(0.01f * (1.0f + fabsf(random_float(state))));
        memcpy(bytes + i + scale, &h, sizeof h);
    }
}

static size_t row_bytes_of(bn_dense_type type)
{
    switch (type) {
    case BN_DENSE_F32: return HIDDEN * 4;
    case BN_DENSE_Q8_0: return HIDDEN / 32 * 34;
    case BN_DENSE_Q6_K: return HIDDEN / 256 * 210;
    default: return HIDDEN * 2;
    }
}

static void fill_rows(uint64_t *state, rows_kind kind, const bn_dense *w, uint8_t *bytes)
{
    if (w->type == BN_DENSE_Q8_0 || w->type == BN_DENSE_Q6_K) {
        fill_blocks(state, w->type, bytes, w->row_bytes * w->n_rows);
        return;
    }
    for (uint32_t r = 0; r < w->n_rows; r++)
        for (uint32_t c = 0; c < HIDDEN; c++) {
            float x = weight(state, kind, r, c);
            uint8_t *at = bytes + r * w->row_bytes + c * (w->type == BN_DENSE_F32 ? 4 : 2);
            uint32_t bits;
            memcpy(&bits, &x, sizeof bits);
            uint16_t h = (uint16_t)(bits >> 16);
            if (w->type == BN_DENSE_F16) h = isinf(x) ? 0x7C00 : bn_f16_from_f32(x);
            memcpy(at, w->type == BN_DENSE_F32 ? (void *)&x : (void *)&h,
                   w->type == BN_DENSE_F32 ? 4 : 2);
        }
}

typedef struct bench {
    bn_thread_pool *pool;
    bn_arena *arena;
    bn_head_cpu *whole, *screened;
    bn_dense w;
    bn_screen screen;
    uint8_t *rows, *blocks;
    float *vectors;
    bn_model_config model;
} bench;

static void set_float_env(void *context, uint32_t thread_index, uint32_t n_threads)
{
    (void)context;
    (void)thread_index;
    (void)n_threads;
    bn_float_env_set();
}

static void open_bench(bench *b, bn_dense_type type, rows_kind kind, uint32_t vocab,
                       uint32_t n_threads, const bn_kernels *kernels, bn_head_mode mode,
                       uint64_t *state)
{
    static float scratch[BN_SCREEN_SCRATCH * HIDDEN];
    size_t vector = bn_screen_vector_bytes(vocab) / sizeof(float);
    bn_thread_pool_config pool = {.n_threads = n_threads, .on_start = set_float_env};
    memset(b, 0, sizeof *b);
    assert_int_equal(bn_thread_pool_create(&pool, &b->pool), BN_OK);
    assert_int_equal(bn_arena_create("test", (size_t)8 << 20, &b->arena), BN_OK);
    b->model = (bn_model_config){.hidden = HIDDEN, .vocab = vocab, .rms_eps = 1e-6f};
    bn_device_config config = {
        .model = &b->model,
        .kernels = kernels,
        .pool = b->pool,
        .arena = b->arena,
        .head_mode = BN_HEAD_FULL,
    };
    assert_int_equal(bn_head_cpu_create(&config, &b->whole), BN_OK);
    config.head_mode = mode;
    config.has_screen = true;
    assert_int_equal(bn_head_cpu_create(&config, &b->screened), BN_OK);
    b->w = (bn_dense){NULL, type, vocab, HIDDEN, row_bytes_of(type)};
    b->rows = bn_alloc(vocab, b->w.row_bytes);
    b->blocks = aligned_alloc(64, bn_screen_blocks_bytes(vocab, HIDDEN));
    b->vectors = bn_alloc(3 * vector, sizeof(float));
    assert_true(b->rows != NULL && b->blocks != NULL && b->vectors != NULL);
    b->w.rows = b->rows;
    fill_rows(state, kind, &b->w, b->rows);
    bn_screen_parts parts = {b->blocks, b->vectors, b->vectors + vector, b->vectors + 2 * vector};
    bn_screen_pack(kernels, &b->w, 0, bn_screen_groups(vocab), scratch, &parts);
    b->screen = (bn_screen){parts.blocks, parts.scale, parts.error, parts.norm, vocab, HIDDEN};
}

static void close_bench(bench *b)
{
    bn_head_cpu_destroy(b->whole);
    bn_head_cpu_destroy(b->screened);
    bn_arena_destroy(b->arena);
    bn_thread_pool_destroy(b->pool);
    bn_free(b->rows);
    free(b->blocks);
    bn_free(b->vectors);
}

typedef struct answer {
    bn_candidate best[BN_STAGE_LOGITS_TOKENS][BN_CANDIDATES_MAX];
    float exact[BN_STAGE_LOGITS_TOKENS][IDS];
    bn_device_head_row rows[BN_STAGE_LOGITS_TOKENS];
} answer;

static void run(bench *b, bn_head_cpu *head, const float *x, uint32_t n_rows,
                const uint32_t *n_best, const uint32_t *ids, bool wants_lse, answer *out)
{
    static const float norm[HIDDEN] = {[0 ... HIDDEN - 1] = 1.0f};
    memset(out, 0, sizeof *out);
    for (uint32_t i = 0; i < n_rows; i++)
        out->rows[i] = (bn_device_head_row){
            .row = n_rows - 1 - i,
            .n_best = n_best[i] < b->w.n_rows ? n_best[i] : b->w.n_rows,
            .best_out = out->best[i],
            .n_ids = IDS,
            .ids = ids,
            .exact_out = out->exact[i],
            .wants_lse = wants_lse && i == n_rows / 2,
        };
    bn_head_cpu_run(head, &(bn_device_head){
                              .x = (const bn_device_buffer *)(const void *)x,
                              .norm = norm,
                              .weights = &b->w,
                              .screen = &b->screen,
                              .rows = out->rows,
                              .n_rows = n_rows,
                          });
}

/* Bits of logits; NaNs have any. */
static void check_equal(const answer *a, const answer *b, uint32_t n_rows)
{
    for (uint32_t i = 0; i < n_rows; i++) {
        assert_int_equal(a->rows[i].n_best_out, b->rows[i].n_best_out);
        for (uint32_t j = 0; j < a->rows[i].n_best_out; j++) {
            assert_int_equal(a->best[i][j].id, b->best[i][j].id);
            if (isnan(a->best[i][j].logit) && isnan(b->best[i][j].logit)) continue;
            assert_memory_equal(&a->best[i][j].logit, &b->best[i][j].logit, sizeof(float));
        }
        for (uint32_t j = 0; j < IDS; j++)
            if (!isnan(a->exact[i][j]) || !isnan(b->exact[i][j]))
                assert_memory_equal(&a->exact[i][j], &b->exact[i][j], sizeof(float));
        if (a->rows[i].wants_lse) assert_true(a->rows[i].lse == b->rows[i].lse);
    }
}

/* Rows of the batch: at random, in line with a row of the head, or all zero. */
static void fill_tokens(uint64_t *state, const bench *b, float *x, uint32_t n_rows)
{
    for (uint32_t t = 0; t < n_rows; t++) {
        float *token = x + (size_t)t * HIDDEN;
        uint32_t what = random_below(state, 5);
        for (uint32_t c = 0; c < HIDDEN; c++)
            token[c] = what == 4 ? 0.0f : random_float(state);
        if (what == 3) {
            bn_kernels_get(BN_ISA_SCALAR)
                ->dense_row(&b->w, random_below(state, b->w.n_rows), token);
            for (uint32_t c = 0; c < HIDDEN; c++)
                token[c] = isfinite(token[c]) ? token[c] + 0.01f * random_float(state) : 1.0f;
        }
    }
}

static void check_bench(bench *b, uint64_t *state, uint32_t n_rounds)
{
    static answer whole, screened;
    static float x[BN_STAGE_LOGITS_TOKENS * HIDDEN];
    static const uint32_t wanted[] = {1, 2, 3, 7, 40, 63, 64, 65, 255, 256, 0};
    for (uint32_t round = 0; round < n_rounds; round++) {
        uint32_t n_rows = 1 + random_below(state, BN_STAGE_LOGITS_TOKENS);
        uint32_t n_best[BN_STAGE_LOGITS_TOKENS], ids[IDS];
        for (uint32_t i = 0; i < n_rows; i++)
            n_best[i] = wanted[random_below(state, sizeof wanted / sizeof wanted[0])];
        for (uint32_t i = 0; i < IDS; i++)
            ids[i] = random_below(state, b->w.n_rows);
        ids[IDS - 1] = ids[0];
        fill_tokens(state, b, x, n_rows);
        run(b, b->whole, x, n_rows, n_best, ids, false, &whole);
        run(b, b->screened, x, n_rows, n_best, ids, false, &screened);
        check_equal(&whole, &screened, n_rows);
    }
}

static void test_screened_candidates_are_those_of_the_whole_head(void **unused)
{
    (void)unused;
    uint64_t state = 1;
    for (int type = BN_DENSE_F32; type <= BN_DENSE_Q6_K; type++)
        for (int kind = 0; kind < ROWS_KINDS; kind++) {
            if (type >= BN_DENSE_Q8_0 && kind > 0) continue; /* their rows have one kind */
            for (bn_isa isa = BN_ISA_SCALAR; isa < BN_ISA_COUNT; isa++) {
                bench b;
                const bn_kernels *kernels = bn_kernels_get(isa);
                if (kernels == NULL) continue;
                uint32_t vocab = isa == BN_ISA_SCALAR ? 333 : 1 + random_below(&state, VOCAB_MAX);
                open_bench(&b, (bn_dense_type)type, (rows_kind)kind, vocab,
                           1 + random_below(&state, 3), kernels, BN_HEAD_SCREEN, &state);
                check_bench(&b, &state, isa == BN_ISA_SCALAR ? 2 : 8);
                bn_device_head_counts counts = bn_head_cpu_counted(b.screened);
                assert_true(counts.n_screened > 0 && counts.n_whole == 0);
                assert_int_equal(bn_head_cpu_counted(b.whole).n_screened, 0);
                close_bench(&b);
            }
        }
}

/* Nothing of the above would notice a screen that keeps every row. */
static void test_few_rows_survive(void **unused)
{
    (void)unused;
    bench b;
    static answer whole, screened;
    static float x[BN_STAGE_LOGITS_TOKENS * HIDDEN];
    uint32_t n_best[BN_STAGE_LOGITS_TOKENS], ids[IDS] = {0};
    uint64_t state = 2;
    open_bench(&b, BN_DENSE_F16, ROWS_PLAIN, VOCAB_MAX, 2, bn_kernels_get(BN_ISA_AUTO),
               BN_HEAD_SCREEN, &state);
    for (uint32_t i = 0; i < BN_STAGE_LOGITS_TOKENS; i++)
        n_best[i] = 10;
    for (uint32_t i = 0; i < BN_STAGE_LOGITS_TOKENS * HIDDEN; i++)
        x[i] = random_float(&state);
    run(&b, b.whole, x, BN_STAGE_LOGITS_TOKENS, n_best, ids, false, &whole);
    run(&b, b.screened, x, BN_STAGE_LOGITS_TOKENS, n_best, ids, false, &screened);
    check_equal(&whole, &screened, BN_STAGE_LOGITS_TOKENS);
    bn_device_head_counts counts = bn_head_cpu_counted(b.screened);
    assert_int_equal(counts.n_screened, BN_STAGE_LOGITS_TOKENS);
    assert_true(counts.n_survivors >= 10 * BN_STAGE_LOGITS_TOKENS);
    assert_true(counts.n_survivors < 20 * BN_STAGE_LOGITS_TOKENS);
    close_bench(&b);
}

static void test_what_cannot_be_screened_takes_the_whole_head(void **unused)
{
    (void)unused;
    bench b;
    static answer whole, screened;
    static float x[2 * HIDDEN];
    const uint32_t n_best[2] = {5, 5}, many[2] = {5, 200}, ids[IDS] = {1, 2, 3};
    uint64_t state = 3;
    open_bench(&b, BN_DENSE_F32, ROWS_PLAIN, VOCAB_MAX, 2, bn_kernels_get(BN_ISA_AUTO),
               BN_HEAD_AUTO, &state);
    for (uint32_t i = 0; i < 2 * HIDDEN; i++)
        x[i] = random_float(&state);
    run(&b, b.screened, x, 2, n_best, ids, false, &screened);
    assert_int_equal(bn_head_cpu_counted(b.screened).n_screened, 2);
    run(&b, b.screened, x, 2, n_best, ids, true, &screened); /* log-sum-exp */
    run(&b, b.whole, x, 2, n_best, ids, true, &whole);
    check_equal(&whole, &screened, 2);
    run(&b, b.screened, x, 2, many, ids, false, &screened); /* does not pay */
    assert_int_equal(bn_head_cpu_counted(b.screened).n_whole, 4);
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        x[HIDDEN + 5] = bad[i];
        run(&b, b.whole, x, 2, n_best, ids, false, &whole);
        run(&b, b.screened, x, 2, n_best, ids, false, &screened);
        check_equal(&whole, &screened, 2);
    }
    assert_int_equal(bn_head_cpu_counted(b.screened).n_whole, 10);
    assert_int_equal(bn_head_cpu_counted(b.screened).n_screened, 2);
    close_bench(&b);
}

/* Rows that are all equal all survive: after the first such pass the screen rests for a while. */
static void test_a_useless_screen_rests(void **unused)
{
    (void)unused;
    bench b;
    static answer whole, screened;
    static float x[HIDDEN];
    const uint32_t n_best[1] = {3}, ids[IDS] = {0};
    uint64_t state = 4;
    open_bench(&b, BN_DENSE_F32, ROWS_EQUAL, VOCAB_MAX, 1, bn_kernels_get(BN_ISA_AUTO),
               BN_HEAD_AUTO, &state);
    x[0] = 1.0f;
    for (uint32_t i = 0; i < 40; i++) {
        run(&b, b.whole, x, 1, n_best, ids, false, &whole);
        run(&b, b.screened, x, 1, n_best, ids, false, &screened);
        check_equal(&whole, &screened, 1);
        assert_int_equal(screened.best[0][2].id, 2);
    }
    assert_int_equal(bn_head_cpu_counted(b.screened).n_whole, 40);
    close_bench(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_screened_candidates_are_those_of_the_whole_head),
        cmocka_unit_test(test_few_rows_survive),
        cmocka_unit_test(test_what_cannot_be_screened_takes_the_whole_head),
        cmocka_unit_test(test_a_useless_screen_rests),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
