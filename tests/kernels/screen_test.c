/* screen_test.c
 * What: no logit lies outside the bounds of the screen, on any kind of matrix and token; every
 *       table gives the scalar table's bounds; tokens that cannot be bounded are refused.
 * How:  matrices of near ties, heavy tails, equal rows, zeros, subnormals, huge and broken rows,
 *       packed and multiplied in buffers that end at a forbidden page; each logit by DOT16.
 */
#include "kernels/screen.h"
#include "kernels/math.h"
#include "kernels/tables.h"
#include "tests/kernels/guarded.h"
#include "tests/kernels/random.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define COLS_MAX 2570u

typedef enum matrix_kind {
    MATRIX_PLAIN,
    MATRIX_NEAR_TIES,   /* rows one rounding apart */
    MATRIX_HEAVY_TAILS, /* a few elements a thousand times the others */
    MATRIX_EQUAL,
    MATRIX_ZERO,
    MATRIX_TINY,   /* subnormals */
    MATRIX_WIDE,   /* rows of magnitudes 2^-70 to 2^70 */
    MATRIX_BROKEN, /* infinities and NaNs among plain rows */
    MATRIX_KINDS
} matrix_kind;

typedef enum token_kind {
    TOKEN_PLAIN,
    TOKEN_SPIKES,
    TOKEN_ONES, /* the greatest sums of products */
    TOKEN_ZERO,
    TOKEN_TINY,
    TOKEN_LARGE,
    TOKEN_ROW, /* the first row itself */
    TOKEN_KINDS
} token_kind;

static float element(random_state *random, matrix_kind kind, uint32_t row, uint32_t col)
{
    float x = random_float(random);
    switch (kind) {
    case MATRIX_NEAR_TIES: {
        random_state fixed = {col};
        x = random_float(&fixed);
        return random_below(random, 9) == 0 ? nextafterf(x, 2.0f) : x;
    }
    case MATRIX_HEAVY_TAILS: return random_below(random, 500) == 0 ? x * 1000.0f : x;
    case MATRIX_EQUAL: return 0.75f;
    case MATRIX_ZERO: return random_below(random, 2) == 0 ? 0.0f : -0.0f;
    case MATRIX_TINY: return ldexpf(x, -135);
    case MATRIX_WIDE: return ldexpf(x, (int)(row * 29 % 141) - 70);
    case MATRIX_BROKEN:
        if (row % 5 == 0 && col == row % 16) return row % 2 == 0 ? NAN : INFINITY;
        return x;
    default: return x;
    }
}

static float token_element(random_state *random, token_kind kind, const float *row, uint32_t col)
{
    float x = random_float(random);
    switch (kind) {
    case TOKEN_SPIKES: return random_below(random, 300) == 0 ? x * 200.0f : x;
    case TOKEN_ONES: return 1.0f;
    case TOKEN_ZERO: return 0.0f;
    case TOKEN_TINY: return ldexpf(x, -140);
    case TOKEN_LARGE: return ldexpf(x, 50);
    case TOKEN_ROW: return isfinite(row[col]) ? row[col] : 1.0f;
    default: return x * 3.0f;
    }
}

typedef struct packed {
    guarded rows, blocks, vectors;
    bn_dense w;
    bn_screen screen;
} packed;

static float *floats_of(const guarded *buffer)
{
    return (float *)(void *)buffer->data;
}

static void pack(random_state *random, const bn_kernels *k, matrix_kind kind, uint32_t n_rows,
                 uint32_t n_cols, packed *p)
{
    size_t vector = bn_screen_vector_bytes(n_rows) / sizeof(float);
    static float scratch[BN_SCREEN_SCRATCH * COLS_MAX];
    p->rows = guarded_create((size_t)n_rows * n_cols * sizeof(float), 4);
    p->blocks = guarded_create(bn_screen_blocks_bytes(n_rows, n_cols), 64);
    p->vectors = guarded_create(3 * vector * sizeof(float), 4);
    for (uint32_t r = 0; r < n_rows; r++)
        for (uint32_t c = 0; c < n_cols; c++)
            floats_of(&p->rows)[(size_t)r * n_cols + c] = element(random, kind, r, c);
    p->w = (bn_dense){p->rows.data, BN_DENSE_F32, n_rows, n_cols, n_cols * sizeof(float)};
    float *vectors = floats_of(&p->vectors);
    bn_screen_parts parts = {p->blocks.data, vectors, vectors + vector, vectors + 2 * vector};
    uint32_t groups = bn_screen_groups(n_rows), cut = groups / 2;
    bn_screen_pack(k, &p->w, cut, groups, scratch, &parts);
    bn_screen_pack(k, &p->w, 0, cut, scratch, &parts);
    p->screen = (bn_screen){parts.blocks, parts.scale, parts.error, parts.norm, n_rows, n_cols};
    assert_true(guarded_is_intact(&p->blocks) && guarded_is_intact(&p->vectors));
}

static void release(packed *p)
{
    guarded_destroy(&p->rows);
    guarded_destroy(&p->blocks);
    guarded_destroy(&p->vectors);
}

/* The logit is between lower and lower + width, and not above its group's upper. */
static void check_bounds(const packed *p, const bn_screen_tokens *x, uint32_t t, const float *token,
                         const float *lower, const float *upper)
{
    for (uint32_t r = 0; r < p->w.n_rows; r++) {
        const float *row = floats_of(&p->rows) + (size_t)r * p->w.n_cols;
        float logit = bn_dot16(row, token, p->w.n_cols);
        float width = bn_screen_width(&p->screen, r, x, t);
        assert_false(lower[r] > logit);
        assert_false(lower[r] + width < logit);
        assert_false(upper[r / BN_SCREEN_GROUP_ROWS] < logit);
        if (isnan(logit) || isinf(logit)) { /* must always be looked at */
            assert_true(lower[r] == -INFINITY);
            assert_true(upper[r / BN_SCREEN_GROUP_ROWS] == INFINITY);
        }
    }
}

static void check_case(random_state *random, matrix_kind kind, uint32_t n_rows, uint32_t n_cols,
                       uint32_t n_tokens)
{
    packed p;
    static float tokens[BN_SCREEN_TOKENS_MAX][COLS_MAX];
    pack(random, bn_kernels_get(BN_ISA_AUTO), kind, n_rows, n_cols, &p);
    guarded panel = guarded_create(bn_screen_panel_bytes(n_cols, n_tokens), 4);
    bn_screen_tokens x = {.panel = (int8_t *)panel.data, .n_tokens = n_tokens, .n_cols = n_cols};
    for (uint32_t t = 0; t < n_tokens; t++) {
        token_kind token = (token_kind)random_below(random, TOKEN_KINDS);
        if (kind == MATRIX_WIDE && token == TOKEN_ROW) token = TOKEN_PLAIN;
        for (uint32_t c = 0; c < n_cols; c++)
            tokens[t][c] = token_element(random, token, floats_of(&p.rows), c);
        assert_true(bn_screen_quantize(tokens[t], t, &x));
    }
    assert_true(guarded_is_intact(&panel));
    size_t stride = n_rows + 3, groups = bn_screen_groups(n_rows), first_bytes = 0;
    guarded first_lower = {0}, first_upper = {0};
    for (bn_isa isa = BN_ISA_SCALAR; isa < BN_ISA_COUNT; isa++) {
        const bn_kernels *k = bn_kernels_get(isa);
        if (k == NULL) continue;
        guarded lower = guarded_create((stride * (n_tokens - 1) + n_rows) * sizeof(float), 4);
        guarded upper = guarded_create(((groups + 2) * (n_tokens - 1) + groups) * sizeof(float), 4);
        guarded_fill(&lower, 0x5B);
        guarded_fill(&upper, 0x5B);
        uint32_t cut = random_below(random, (uint32_t)groups + 1);
        k->screen_matmul(&p.screen, cut, (uint32_t)groups, &x, floats_of(&lower), stride,
                         floats_of(&upper), groups + 2);
        k->screen_matmul(&p.screen, 0, cut, &x, floats_of(&lower), stride, floats_of(&upper),
                         groups + 2);
        assert_true(guarded_is_intact(&lower) && guarded_is_intact(&upper));
        if (isa == BN_ISA_SCALAR) {
            for (uint32_t t = 0; t < n_tokens; t++)
                check_bounds(&p, &x, t, tokens[t], floats_of(&lower) + t * stride,
                             floats_of(&upper) + t * (groups + 2));
            first_lower = lower;
            first_upper = upper;
            first_bytes = lower.bytes;
            continue;
        }
        assert_memory_equal(lower.data, first_lower.data, first_bytes);
        assert_memory_equal(upper.data, first_upper.data, first_upper.bytes);
        guarded_destroy(&lower);
        guarded_destroy(&upper);
    }
    guarded_destroy(&first_lower);
    guarded_destroy(&first_upper);
    guarded_destroy(&panel);
    release(&p);
}

static void test_no_logit_lies_outside_its_bounds(void **unused)
{
    (void)unused;
    static const uint32_t cols[] = {1, 3, 16, 17, 64, 257, 640, COLS_MAX};
    random_state random = {1};
    bn_float_env_set();
    for (int kind = 0; kind < MATRIX_KINDS; kind++)
        for (size_t c = 0; c < sizeof cols / sizeof cols[0]; c++)
            for (uint32_t n_tokens = 1; n_tokens <= BN_SCREEN_TOKENS_MAX; n_tokens++)
                check_case(&random, (matrix_kind)kind, 1 + random_below(&random, 70), cols[c],
                           n_tokens);
}

/* A bound that is always infinite would pass the test above. */
static void test_bounds_are_narrow(void **unused)
{
    (void)unused;
    enum { ROWS = 64, COLS = 2560 };
    random_state random = {2};
    packed p;
    static float token[COLS], lower[ROWS], upper[ROWS / 16];
    static int8_t panel[COLS * 2];
    bn_float_env_set();
    pack(&random, bn_kernels_get(BN_ISA_AUTO), MATRIX_PLAIN, ROWS, COLS, &p);
    for (uint32_t c = 0; c < COLS; c++)
        token[c] = random_float(&random);
    bn_screen_tokens x = {.panel = panel, .n_tokens = 1, .n_cols = COLS};
    assert_true(bn_screen_quantize(token, 0, &x));
    bn_kernels_scalar.screen_matmul(&p.screen, 0, ROWS / 16, &x, lower, ROWS, upper, ROWS / 16);
    double deviation = sqrt(COLS) / 3.0; /* of the logits: elements are uniform in ±1 */
    for (uint32_t r = 0; r < ROWS; r++) {
        float logit = bn_dot16(floats_of(&p.rows) + (size_t)r * COLS, token, COLS);
        float width = bn_screen_width(&p.screen, r, &x, 0);
        assert_true((double)width < 0.5 * deviation);
        /* The middle is far nearer than the bound says. */
        assert_true(fabs((double)lower[r] + (double)width / 2 - (double)logit) < 0.05 * deviation);
    }
    release(&p);
}

static void test_tokens_without_bounds_are_refused(void **unused)
{
    (void)unused;
    static const float bad[] = {NAN, INFINITY, -INFINITY, 3e38f, -0x1p61f};
    int8_t panel[64];
    float token[32] = {1.0f};
    bn_screen_tokens x = {.panel = panel, .n_tokens = 1, .n_cols = 32};
    bn_float_env_set();
    assert_true(bn_screen_quantize(token, 0, &x));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        token[7] = bad[i];
        assert_false(bn_screen_quantize(token, 0, &x));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_logit_lies_outside_its_bounds),
        cmocka_unit_test(test_bounds_are_narrow),
        cmocka_unit_test(test_tokens_without_bounds_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
