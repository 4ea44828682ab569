/* check_kernels.c
 * What: every kernel table of this processor gives the bits of the scalar table.
 * How:  random and adversarial input in buffers that end at a forbidden page; whole outputs are
 *       compared, gaps between rows included; two spoiled tables prove that a difference is seen.
 *       With --bench the same program measures (bench_kernels.c), with --machine only the
 *       bounds of the best table. --table NAME restricts. */
#include "common/status.h"
#include "kernels/dense_blocks.h"
#include "kernels/kernels.h"
#include "kernels/math.h"
#include "kernels/tables.h"
#include "tests/kernels/bench_kernels.h"
#include "tests/kernels/guarded.h"
#include "tests/kernels/random.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define SEED 20261122u

static bool is_quiet; /* a spoiled table is expected to differ */

static const float specials[] = {0.0f,       -0.0f,     1.0f,      -1.0f,      0x1p-149f,
                                 -0x1p-149f, 0x1p-127f, 0x1p-126f, -0x1p-126f, 1e-30f,
                                 65504.0f,   65520.0f,  -65536.0f, 88.5f,      -87.5f,
                                 3e38f,      -3e38f,    INFINITY,  -INFINITY,  NAN};

typedef enum input_kind {
    INPUT_PLAIN,    /* uniform in ±1 */
    INPUT_WIDE,     /* magnitudes from 2^-24 to 2^24 */
    INPUT_TIES,     /* multiples of ½, so that the quantiser meets ties */
    INPUT_ZERO,     /* all zero */
    INPUT_TINY,     /* subnormals */
    INPUT_FINITE,   /* plain with finite specials strewn in */
    INPUT_SPECIALS, /* specials, infinities and NaN among them */
    INPUT_KINDS
} input_kind;

static void fill_floats(random_state *random, input_kind kind, float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float u = random_float(random);
        switch (kind) {
        case INPUT_WIDE: u = ldexpf(u, (int)random_below(random, 48) - 24); break;
        case INPUT_TIES: u = (float)((int)random_below(random, 509) - 254) * 0.5f; break;
        case INPUT_ZERO: u = random_below(random, 2) == 0 ? 0.0f : -0.0f; break;
        case INPUT_TINY: u = ldexpf(u, -130); break;
        case INPUT_FINITE:
            if (random_below(random, 5) == 0) u = specials[random_below(random, 10)];
            break;
        case INPUT_SPECIALS:
            if (random_below(random, 9) == 0) u = specials[random_below(random, COUNT(specials))];
            break;
        default: break;
        }
        x[i] = u;
    }
    if (kind == INPUT_TIES && n > 0) x[random_below(random, (uint32_t)n)] = 127.0f;
}

static guarded floats(size_t n)
{
    return guarded_create(n * sizeof(float), sizeof(float));
}

static float *as_floats(const guarded *buffer)
{
    return (float *)(void *)buffer->data;
}

/* Equal bits, or both NaN. */
static bool same_floats(const guarded *a, const guarded *b, const char *what)
{
    const float *x = as_floats(a), *y = as_floats(b);
    for (size_t i = 0; i < a->bytes / sizeof(float); i++) {
        if (memcmp(x + i, y + i, sizeof(float)) == 0 || (x[i] != x[i] && y[i] != y[i])) continue;
        if (!is_quiet)
            fprintf(stderr, "%s: element %zu is %a, scalar says %a\n", what, i, (double)y[i],
                    (double)x[i]);
        return false;
    }
    if (!guarded_is_intact(b)) {
        fprintf(stderr, "%s: wrote outside its output\n", what);
        return false;
    }
    return true;
}

static bool same_bytes(const guarded *a, const guarded *b, const char *what)
{
    if (memcmp(a->data, b->data, a->bytes) == 0 && guarded_is_intact(b)) return true;
    if (!is_quiet) fprintf(stderr, "%s: bytes differ from scalar\n", what);
    return false;
}

/* Two outputs of the same size: the scalar one and the candidate's. */
typedef struct output_pair {
    guarded expected, actual;
} output_pair;

static output_pair pair_create(size_t bytes, size_t alignment)
{
    output_pair pair = {guarded_create(bytes, alignment), guarded_create(bytes, alignment)};
    guarded_fill(&pair.expected, 0x5B);
    guarded_fill(&pair.actual, 0x5B);
    return pair;
}

static void pair_destroy(output_pair *pair)
{
    guarded_destroy(&pair->expected);
    guarded_destroy(&pair->actual);
}

static bool check_quantize_case(const bn_kernels *k, random_state *random, input_kind kind,
                                uint32_t n_cols, uint32_t n_tokens, uint32_t width)
{
    char what[96];
    snprintf(what, sizeof what, "%s quantize cols %u tokens %u width %u input %d", k->name, n_cols,
             n_tokens, width, (int)kind);
    size_t stride = n_cols + 3;
    guarded x = floats(stride * (n_tokens - 1) + n_cols);
    fill_floats(random, kind, as_floats(&x), x.bytes / sizeof(float));
    output_pair panel = pair_create(bn_q8_panel_bytes(n_cols, width), 64);
    output_pair scale = pair_create(n_tokens * sizeof(float), 4);
    output_pair sum = pair_create(n_tokens * sizeof(int32_t), 4);
    bn_kernels_scalar.quantize(as_floats(&x), stride, n_tokens, n_cols, width,
                               (int8_t *)panel.expected.data, as_floats(&scale.expected),
                               (int32_t *)(void *)sum.expected.data);
    k->quantize(as_floats(&x), stride, n_tokens, n_cols, width, (int8_t *)panel.actual.data,
                as_floats(&scale.actual), (int32_t *)(void *)sum.actual.data);
    bool ok = same_bytes(&panel.expected, &panel.actual, what) &&
              same_floats(&scale.expected, &scale.actual, what) &&
              same_bytes(&sum.expected, &sum.actual, what);
    guarded_destroy(&x);
    pair_destroy(&panel);
    pair_destroy(&scale);
    pair_destroy(&sum);
    return ok;
}

static bool check_quantize_groups_case(const bn_kernels *k, random_state *random, input_kind kind,
                                       uint32_t n_cols, uint32_t n_tokens, uint32_t width,
                                       uint32_t group_cols)
{
    char what[112];
    snprintf(what, sizeof what, "%s quantize_groups of %u cols %u tokens %u width %u input %d",
             k->name, group_cols, n_cols, n_tokens, width, (int)kind);
    size_t stride = n_cols + 3, n_parts = bn_ternary_runs(n_cols, BN_Q8_PART_COLS);
    size_t n_groups = group_cols == 0 ? 1 : bn_ternary_runs(n_cols, group_cols);
    guarded x = floats(stride * (n_tokens - 1) + n_cols);
    fill_floats(random, kind, as_floats(&x), x.bytes / sizeof(float));
    output_pair panel = pair_create(bn_q8_panel_bytes(n_cols, width), 64);
    output_pair scale = pair_create(n_tokens * n_groups * sizeof(float), 4);
    output_pair sum = pair_create(n_tokens * sizeof(int32_t), 4);
    output_pair part_sum = pair_create(n_tokens * n_parts * sizeof(int32_t), 4);
    bn_kernels_scalar.quantize_groups(as_floats(&x), stride, n_tokens, n_cols, width, group_cols,
                                      (int8_t *)panel.expected.data, as_floats(&scale.expected),
                                      (int32_t *)(void *)sum.expected.data,
                                      (int32_t *)(void *)part_sum.expected.data);
    k->quantize_groups(as_floats(&x), stride, n_tokens, n_cols, width, group_cols,
                       (int8_t *)panel.actual.data, as_floats(&scale.actual),
                       (int32_t *)(void *)sum.actual.data, (int32_t *)(void *)part_sum.actual.data);
    bool ok = same_bytes(&panel.expected, &panel.actual, what) &&
              same_floats(&scale.expected, &scale.actual, what) &&
              same_bytes(&sum.expected, &sum.actual, what) &&
              same_bytes(&part_sum.expected, &part_sum.actual, what);
    guarded_destroy(&x);
    pair_destroy(&panel);
    pair_destroy(&scale);
    pair_destroy(&sum);
    pair_destroy(&part_sum);
    return ok;
}

static bool check_quantize_groups(const bn_kernels *k)
{
    static const uint32_t cols[] = {1, 60, 64, 65, 128, 200, 250, 256, 320, 1000, 2560};
    static const uint32_t groups[] = {0, 64, 128, 256};
    random_state random = {SEED + 9};
    for (size_t c = 0; c < COUNT(cols); c++)
        for (size_t g = 0; g < COUNT(groups); g++)
            for (int kind = 0; kind < INPUT_KINDS; kind++)
                if (!check_quantize_groups_case(k, &random, (input_kind)kind, cols[c], 1, 1,
                                                groups[g]) ||
                    !check_quantize_groups_case(k, &random, (input_kind)kind, cols[c],
                                                1 + random_below(&random, 8), 8, groups[g]))
                    return false;
    return true;
}

static bool check_quantize(const bn_kernels *k)
{
    static const uint32_t cols[] = {1, 3, 4, 15, 16, 17, 31, 47, 63, 64, 65, 100, 128, 200, 2560};
    random_state random = {SEED};
    for (size_t c = 0; c < COUNT(cols); c++)
        for (int kind = 0; kind < INPUT_KINDS; kind++) {
            if (!check_quantize_case(k, &random, (input_kind)kind, cols[c], 1, 1)) return false;
            for (uint32_t n_tokens = 1; n_tokens <= 8; n_tokens++)
                if (!check_quantize_case(k, &random, (input_kind)kind, cols[c], n_tokens, 8))
                    return false;
        }
    return true;
}

/* kernels.md-style vectors: what the trits and the activations hold. */
typedef enum ternary_kind {
    TERNARY_RANDOM,
    TERNARY_ONES_127,
    TERNARY_ONES_MINUS_128,
    TERNARY_MINUS_ONES_ALTERNATING,
    TERNARY_FIRST_COLUMN,
    TERNARY_LAST_COLUMN,
    TERNARY_ZERO,
    TERNARY_VOID_TOKEN, /* a scale that is NaN */
    TERNARY_KINDS
} ternary_kind;

static int trit_of(random_state *random, ternary_kind kind, uint32_t col, uint32_t n_cols)
{
    switch (kind) {
    case TERNARY_ONES_127:
    case TERNARY_ONES_MINUS_128: return 1;
    case TERNARY_MINUS_ONES_ALTERNATING: return -1;
    case TERNARY_FIRST_COLUMN: return col == 0 ? -1 : 0;
    case TERNARY_LAST_COLUMN: return col == n_cols - 1 ? 1 : 0;
    case TERNARY_ZERO: return 0;
    default: return (int)random_below(random, 3) - 1;
    }
}

static int activation_of(random_state *random, ternary_kind kind, uint32_t col)
{
    switch (kind) {
    case TERNARY_ONES_127: return 127;
    case TERNARY_ONES_MINUS_128: return -128;
    case TERNARY_MINUS_ONES_ALTERNATING: return col % 2 == 0 ? 127 : -127;
    default: return (int)random_below(random, 256) - 128;
    }
}

/* Rows past n_rows and columns past n_cols hold trit 0, as ternary.h says. */
static void fill_blocks(random_state *random, ternary_kind kind, const bn_ternary *w,
                        uint8_t *blocks)
{
    memset(blocks, 0x55, bn_ternary_bytes(w->n_rows, w->n_cols));
    for (uint32_t r = 0; r < w->n_rows; r++)
        for (uint32_t c = 0; c < w->n_cols; c++) {
            size_t at = bn_ternary_group_bytes(w->n_cols) * (r / 16) + (size_t)(c / 16) * 64 +
                        4 * (r % 16) + c % 4;
            uint32_t shift = 2 * (c % 16 / 4);
            uint32_t code = (uint32_t)(trit_of(random, kind, c, w->n_cols) + 1);
            blocks[at] = (uint8_t)((blocks[at] & ~(3u << shift)) | code << shift);
        }
}

static void fill_panels(random_state *random, ternary_kind kind, bn_q8 *x)
{
    uint32_t width = bn_q8_width(x->n_tokens);
    uint32_t n_parts = bn_ternary_runs(x->n_cols, BN_Q8_PART_COLS);
    uint32_t n_groups = x->group_cols == 0 ? 1 : bn_ternary_runs(x->n_cols, x->group_cols);
    memset(x->panels, 0, bn_q8_bytes(x->n_cols, x->n_tokens));
    memset(x->part_sum, 0, (size_t)x->n_tokens * n_parts * sizeof *x->part_sum);
    for (uint32_t t = 0; t < x->n_tokens; t++) {
        int8_t *panel = x->panels + t / width * bn_q8_panel_bytes(x->n_cols, width);
        uint32_t void_group = kind == TERNARY_VOID_TOKEN && t % 3 == 0 ? t % n_groups : UINT32_MAX;
        x->sum[t] = 0;
        for (uint32_t g = 0; g < n_groups; g++) {
            float s = 127.0f / (0.01f + fabsf(random_float(random)));
            x->scale[t * n_groups + g] = g == void_group ? NAN : n_groups == 1 ? s : 1.0f / s;
        }
        for (uint32_t c = 0; c < x->n_cols; c++) {
            int q = activation_of(random, kind, c);
            if (void_group == (x->group_cols == 0 ? 0 : c / x->group_cols)) q = 0;
            panel[((size_t)(c / 4) * width + t % width) * 4 + c % 4] = (int8_t)q;
            x->sum[t] += q;
            x->part_sum[(size_t)t * n_parts + c / BN_Q8_PART_COLS] += q;
        }
    }
}

/* Scales of all magnitudes that files have, some negative; 0 in the rows that fill a group up. */
static void fill_scales(random_state *random, const bn_ternary *w, float *scales)
{
    uint32_t n_runs = bn_ternary_runs(w->n_cols, w->group_cols);
    for (uint32_t row = 0; row < bn_ternary_groups(w->n_rows) * 16; row++)
        for (uint32_t run = 0; run < n_runs; run++)
            scales[((size_t)(row / 16) * n_runs + run) * 16 + row % 16] =
                row < w->n_rows ? ldexpf(random_float(random), (int)random_below(random, 12) - 10)
                                : 0.0f;
}

/* Columns that share a scale. */
typedef struct granularity {
    uint32_t weights;     /* 0: all of the tensor; ROW */
    uint32_t activations; /* 0: all of the token */
} granularity;

#define ROW UINT32_MAX

static bool check_ternary_case(const bn_kernels *k, random_state *random, ternary_kind kind,
                               granularity scales_of, uint32_t n_rows, uint32_t n_cols,
                               uint32_t n_tokens)
{
    char what[128];
    snprintf(what, sizeof what, "%s ternary %ux%u tokens %u vector %d scales of %u and %u", k->name,
             n_rows, n_cols, n_tokens, (int)kind, scales_of.weights, scales_of.activations);
    bool has_scales = scales_of.weights != 0;
    uint32_t group_cols = scales_of.weights == ROW ? n_cols : scales_of.weights;
    size_t n_groups =
        scales_of.activations == 0 ? 1 : bn_ternary_runs(n_cols, scales_of.activations);
    guarded blocks = guarded_create(bn_ternary_bytes(n_rows, n_cols), 64);
    guarded scales =
        guarded_create(has_scales ? bn_ternary_scale_bytes(n_rows, n_cols, group_cols) : 64, 64);
    guarded panels = guarded_create(bn_q8_bytes(n_cols, n_tokens), 64);
    guarded scale = floats(n_tokens * n_groups);
    guarded sum = guarded_create(n_tokens * sizeof(int32_t), 4);
    guarded part_sum =
        guarded_create(n_tokens * bn_ternary_runs(n_cols, BN_Q8_PART_COLS) * sizeof(int32_t), 4);
    bn_ternary w = {.blocks = blocks.data,
                    .n_rows = n_rows,
                    .n_cols = n_cols,
                    .scale = 0.731f,
                    .post_scale = n_tokens % 2 == 0 ? 1.0f : 1.37f,
                    .scales = has_scales ? as_floats(&scales) : NULL,
                    .group_cols = group_cols};
    bn_q8 x = {.panels = (int8_t *)panels.data,
               .scale = as_floats(&scale),
               .sum = (int32_t *)(void *)sum.data,
               .part_sum = (int32_t *)(void *)part_sum.data,
               .n_tokens = n_tokens,
               .n_cols = n_cols,
               .group_cols = scales_of.activations};
    fill_blocks(random, kind, &w, blocks.data);
    if (has_scales) fill_scales(random, &w, as_floats(&scales));
    fill_panels(random, kind, &x);
    size_t stride = n_rows + 5;
    output_pair y = pair_create((stride * (n_tokens - 1) + n_rows) * sizeof(float), 4);
    uint32_t groups = bn_ternary_groups(n_rows), cut = random_below(random, groups + 1);
    bn_kernels_scalar.ternary_matmul(&w, 0, groups, &x, as_floats(&y.expected), stride);
    k->ternary_matmul(&w, cut, groups, &x, as_floats(&y.actual), stride);
    k->ternary_matmul(&w, 0, cut, &x, as_floats(&y.actual), stride);
    bool ok = same_floats(&y.expected, &y.actual, what);
    guarded *owned[] = {&blocks, &scales, &panels, &scale, &sum, &part_sum};
    for (size_t i = 0; i < COUNT(owned); i++)
        guarded_destroy(owned[i]);
    pair_destroy(&y);
    return ok;
}

static const granularity one_scale = {0, 0};

static bool check_ternary_groups(const bn_kernels *k)
{
    static const granularity kinds[] = {{ROW, 0},   {64, 0},    {128, 0},  {256, 0},  {0, 64},
                                        {0, 128},   {ROW, 128}, {64, 64},  {64, 128}, {128, 128},
                                        {256, 128}, {64, 256},  {256, 256}};
    static const struct {
        uint32_t n_rows, n_cols;
    } shapes[] = {{1, 1},    {16, 64},  {17, 128},  {33, 100}, {48, 256},
                  {31, 496}, {64, 640}, {40, 1000}, {50, 1100}};
    random_state random = {SEED + 10};
    for (size_t g = 0; g < COUNT(kinds); g++) {
        for (size_t s = 0; s < COUNT(shapes); s++)
            for (int kind = 0; kind < TERNARY_KINDS; kind++)
                for (uint32_t n_tokens = 1; n_tokens <= 17; n_tokens += n_tokens < 9 ? 1 : 2)
                    if (!check_ternary_case(k, &random, (ternary_kind)kind, kinds[g],
                                            shapes[s].n_rows, shapes[s].n_cols, n_tokens))
                        return false;
        /* More tokens than one cache block. */
        if (!check_ternary_case(k, &random, TERNARY_RANDOM, kinds[g], 20, 300, 150)) return false;
    }
    return true;
}

static bool check_ternary(const bn_kernels *k)
{
    static const struct {
        uint32_t n_rows, n_cols;
    } shapes[] = {{1, 1},    {16, 16},  {16, 128}, {33, 20},   {48, 100},
                  {80, 272}, {31, 496}, {64, 640}, {50, 1000}, {17, 2560}};
    random_state random = {SEED + 1};
    for (size_t s = 0; s < COUNT(shapes); s++)
        for (int kind = 0; kind < TERNARY_KINDS; kind++)
            for (uint32_t n_tokens = 1; n_tokens <= 17; n_tokens++)
                if (!check_ternary_case(k, &random, (ternary_kind)kind, one_scale, shapes[s].n_rows,
                                        shapes[s].n_cols, n_tokens))
                    return false;
    /* The longest rows that models have, at the extremes of the sums. */
    for (int kind = TERNARY_RANDOM; kind <= TERNARY_MINUS_ONES_ALTERNATING; kind++)
        for (uint32_t n_tokens = 1; n_tokens <= 4; n_tokens++)
            if (!check_ternary_case(k, &random, (ternary_kind)kind, one_scale, 40, 45568,
                                    n_tokens) ||
                !check_ternary_case(k, &random, (ternary_kind)kind, one_scale, 16,
                                    BN_TERNARY_COLS_MAX, n_tokens * 4 - 3))
                return false;
    /* More tokens than one cache block. */
    return check_ternary_case(k, &random, TERNARY_RANDOM, one_scale, 40, 300, 150);
}

static bool check_rms_norm(const bn_kernels *k)
{
    random_state random = {SEED + 2};
    for (uint32_t n = 1; n <= 300; n += n < 70 ? 1 : 23)
        for (int kind = 0; kind < INPUT_KINDS; kind++) {
            guarded x = floats(n), w = floats(n);
            fill_floats(&random, (input_kind)kind, as_floats(&x), n);
            fill_floats(&random, INPUT_PLAIN, as_floats(&w), n);
            output_pair y = pair_create(n * sizeof(float), 4);
            bn_kernels_scalar.rms_norm(as_floats(&y.expected), as_floats(&x), as_floats(&w), n,
                                       1e-5f);
            k->rms_norm(as_floats(&y.actual), as_floats(&x), as_floats(&w), n, 1e-5f);
            bool ok = same_floats(&y.expected, &y.actual, k->name);
            k->rms_norm(as_floats(&x), as_floats(&x), as_floats(&w), n, 1e-5f);
            ok = ok && same_floats(&y.expected, &x, k->name);
            guarded_destroy(&x);
            guarded_destroy(&w);
            pair_destroy(&y);
            if (!ok) return false;
        }
    return true;
}

static bool check_gated_and_add(const bn_kernels *k)
{
    random_state random = {SEED + 3};
    for (uint32_t n = 1; n <= 700; n += n < 70 ? 1 : 171)
        for (int kind = 0; kind < INPUT_KINDS; kind++) {
            guarded gate = floats(n), up = floats(n);
            fill_floats(&random, (input_kind)kind, as_floats(&gate), n);
            fill_floats(&random, n % 2 == 0 ? INPUT_PLAIN : INPUT_FINITE, as_floats(&up), n);
            if (kind == INPUT_PLAIN)
                for (uint32_t i = 0; i < n; i++)
                    as_floats(&gate)[i] *= 100.0f; /* the whole range of exp */
            output_pair y = pair_create(n * sizeof(float), 4);
            bool ok = true;
            for (int a = BN_ACTIVATION_SILU; a <= BN_ACTIVATION_RELU2; a++) {
                bn_kernels_scalar.gated((bn_activation)a, as_floats(&y.expected), as_floats(&gate),
                                        as_floats(&up), n);
                k->gated((bn_activation)a, as_floats(&y.actual), as_floats(&gate), as_floats(&up),
                         n);
                ok = ok && same_floats(&y.expected, &y.actual, k->name);
            }
            bn_kernels_scalar.add(as_floats(&y.expected), as_floats(&gate), n);
            k->add(as_floats(&y.actual), as_floats(&gate), n);
            ok = ok && same_floats(&y.expected, &y.actual, k->name);
            memcpy(y.expected.data, gate.data, gate.bytes);
            bn_kernels_scalar.gated(BN_ACTIVATION_SILU, as_floats(&y.expected),
                                    as_floats(&y.expected), as_floats(&up), n);
            k->gated(BN_ACTIVATION_SILU, as_floats(&gate), as_floats(&gate), as_floats(&up), n);
            ok = ok && same_floats(&y.expected, &gate, k->name);
            guarded_destroy(&gate);
            guarded_destroy(&up);
            pair_destroy(&y);
            if (!ok) return false;
        }
    return true;
}

static bool check_rope(const bn_kernels *k)
{
    static const uint32_t sizes[] = {2, 6, 16, 20, 32, 64, 80, 96, 128, 256};
    random_state random = {SEED + 4};
    for (size_t s = 0; s < COUNT(sizes); s++)
        for (uint32_t n_heads = 1; n_heads <= 5; n_heads++)
            for (int kind = BN_ROPE_NEOX; kind <= BN_ROPE_NORM; kind++) {
                uint32_t n = n_heads * sizes[s];
                guarded cosines = floats(sizes[s] / 2), sines = floats(sizes[s] / 2);
                fill_floats(&random, INPUT_PLAIN, as_floats(&cosines), sizes[s] / 2);
                fill_floats(&random, INPUT_PLAIN, as_floats(&sines), sizes[s] / 2);
                output_pair x = pair_create(n * sizeof(float), 4);
                fill_floats(&random, (input_kind)random_below(&random, INPUT_KINDS),
                            as_floats(&x.expected), n);
                memcpy(x.actual.data, x.expected.data, x.expected.bytes);
                bn_kernels_scalar.rope((bn_rope_kind)kind, as_floats(&x.expected), n_heads,
                                       sizes[s], as_floats(&cosines), as_floats(&sines));
                k->rope((bn_rope_kind)kind, as_floats(&x.actual), n_heads, sizes[s],
                        as_floats(&cosines), as_floats(&sines));
                bool ok = same_floats(&x.expected, &x.actual, k->name);
                guarded_destroy(&cosines);
                guarded_destroy(&sines);
                pair_destroy(&x);
                if (!ok) return false;
            }
    return true;
}

static bool check_store_f16(const bn_kernels *k)
{
    random_state random = {SEED + 5};
    for (uint32_t round = 0; round < 400; round++) {
        uint32_t n = 1 + random_below(&random, 200);
        guarded x = floats(n);
        fill_floats(&random, (input_kind)(round % INPUT_KINDS), as_floats(&x), n);
        if (round % 2 == 0)
            for (uint32_t i = 0; i < n; i++) {
                uint32_t bits = (uint32_t)random_u64(&random);
                memcpy(as_floats(&x) + i, &bits, sizeof bits);
            }
        output_pair h = pair_create(n * sizeof(uint16_t), 2);
        bn_kernels_scalar.store_f16((uint16_t *)(void *)h.expected.data, as_floats(&x), n);
        k->store_f16((uint16_t *)(void *)h.actual.data, as_floats(&x), n);
        bool ok = same_bytes(&h.expected, &h.actual, k->name);
        guarded_destroy(&x);
        pair_destroy(&h);
        if (!ok) return false;
    }
    return true;
}

#define KV_PAGES_MAX 8 /* two chunks */

static bool check_attention_case(const bn_kernels *k, random_state *random, input_kind kind,
                                 uint32_t n_heads, uint32_t head_size, uint32_t key_begin,
                                 uint32_t n_keys)
{
    char what[96];
    snprintf(what, sizeof what, "%s attention heads %u size %u keys %u+%u input %d", k->name,
             n_heads, head_size, key_begin, n_keys, (int)kind);
    /* The last page ends with the last value: K first, V behind it, nothing after. */
    uint32_t n_pages = (key_begin + n_keys + BN_KV_PAGE_POSITIONS - 1) / BN_KV_PAGE_POSITIONS;
    uint32_t in_last = key_begin + n_keys - (n_pages - 1) * BN_KV_PAGE_POSITIONS;
    size_t half = (size_t)BN_KV_PAGE_POSITIONS * head_size;
    guarded pages[KV_PAGES_MAX];
    uint16_t *page_table[KV_PAGES_MAX];
    for (uint32_t p = 0; p < n_pages; p++) {
        size_t n = half + (p + 1 == n_pages ? (size_t)in_last * head_size : half);
        pages[p] = guarded_create(n * sizeof(uint16_t), 2);
        page_table[p] = (uint16_t *)(void *)pages[p].data;
        for (size_t i = 0; i < n; i++) {
            float x;
            fill_floats(random, kind, &x, 1);
            page_table[p][i] = kind == INPUT_SPECIALS && random_below(random, 50) == 0
                                   ? (uint16_t)random_u64(random)
                                   : bn_f16_from_f32(x);
        }
    }
    bn_kv_view kv = {.pages = page_table, .k_offset = 0, .v_offset = half};
    size_t n = (size_t)n_heads * head_size;
    guarded q = floats(n);
    fill_floats(random, kind == INPUT_SPECIALS ? INPUT_FINITE : kind, as_floats(&q), n);
    output_pair out = pair_create(n * sizeof(float), 4);
    output_pair max = pair_create(n_heads * sizeof(float), 4);
    output_pair sum = pair_create(n_heads * sizeof(float), 4);
    bn_kernels_scalar.attention_chunk(as_floats(&q), n_heads, head_size, &kv, key_begin,
                                      key_begin + n_keys, as_floats(&out.expected),
                                      as_floats(&max.expected), as_floats(&sum.expected));
    k->attention_chunk(as_floats(&q), n_heads, head_size, &kv, key_begin, key_begin + n_keys,
                       as_floats(&out.actual), as_floats(&max.actual), as_floats(&sum.actual));
    bool ok = same_floats(&max.expected, &max.actual, what) &&
              same_floats(&sum.expected, &sum.actual, what) &&
              same_floats(&out.expected, &out.actual, what);
    for (uint32_t p = 0; p < n_pages; p++)
        guarded_destroy(&pages[p]);
    guarded_destroy(&q);
    pair_destroy(&out);
    pair_destroy(&max);
    pair_destroy(&sum);
    return ok;
}

static bool check_attention_chunk(const bn_kernels *k)
{
    static const uint32_t sizes[] = {2, 16, 20, 64, 80, 96, 128, 256, 512};
    static const uint32_t keys[] = {1, 2, 3, 5, 15, 16, 17, 33, 63, 64, 65, 200, 255, 256};
    random_state random = {SEED + 6};
    for (size_t s = 0; s < COUNT(sizes); s++)
        for (size_t n = 0; n < COUNT(keys); n++) {
            uint32_t n_heads = 1 + random_below(&random, 9);
            input_kind kind = (input_kind)random_below(&random, INPUT_KINDS);
            uint32_t begin = random_below(&random, 2) * BN_ATTENTION_CHUNK;
            if (!check_attention_case(k, &random, kind, n_heads, sizes[s], begin, keys[n]) ||
                !check_attention_case(k, &random, INPUT_PLAIN, n_heads, sizes[s], 0, keys[n]))
                return false;
        }
    for (uint32_t n_heads = 1; n_heads <= BN_ATTENTION_GROUP_MAX; n_heads += n_heads < 9 ? 1 : 11)
        if (!check_attention_case(k, &random, INPUT_PLAIN, n_heads, 64, 256, 77)) return false;
    return true;
}

static bool check_attention_merge(const bn_kernels *k)
{
    random_state random = {SEED + 7};
    for (uint32_t round = 0; round < 300; round++) {
        uint32_t head_size = 1 + random_below(&random, 200), n_chunks = 1 + round % 9;
        size_t stride = head_size + 7, ml_stride = 1 + round % 3;
        guarded chunks = floats(stride * (n_chunks - 1) + head_size);
        guarded max = floats(ml_stride * (n_chunks - 1) + 1);
        guarded sum = floats(ml_stride * (n_chunks - 1) + 1);
        input_kind kind = (input_kind)(round % INPUT_KINDS);
        fill_floats(&random, kind, as_floats(&chunks), chunks.bytes / sizeof(float));
        fill_floats(&random, kind, as_floats(&max), max.bytes / sizeof(float));
        fill_floats(&random, INPUT_PLAIN, as_floats(&sum), sum.bytes / sizeof(float));
        output_pair out = pair_create(head_size * sizeof(float), 4);
        bn_kernels_scalar.attention_merge(as_floats(&out.expected), head_size, as_floats(&chunks),
                                          stride, as_floats(&max), as_floats(&sum), ml_stride,
                                          n_chunks);
        k->attention_merge(as_floats(&out.actual), head_size, as_floats(&chunks), stride,
                           as_floats(&max), as_floats(&sum), ml_stride, n_chunks);
        bool ok = same_floats(&out.expected, &out.actual, k->name);
        guarded_destroy(&chunks);
        guarded_destroy(&max);
        guarded_destroy(&sum);
        pair_destroy(&out);
        if (!ok) return false;
    }
    return true;
}

/* Random bytes are random weights in the block types; floats are drawn as floats. */
static void fill_dense(random_state *random, const bn_dense *w, uint8_t *rows, size_t bytes,
                       bool is_wild)
{
    for (size_t i = 0; i < bytes; i++)
        rows[i] = (uint8_t)random_u64(random);
    if (is_wild) return;
    uint32_t block_cols = bn_dense_block_cols(w->type);
    size_t block_bytes = bn_dense_block_bytes(w->type);
    for (uint32_t r = 0; r < w->n_rows; r++)
        for (uint32_t c = 0; c < w->n_cols; c += block_cols) {
            uint8_t *block = rows + r * w->row_bytes + c / block_cols * block_bytes;
            float x = random_float(random);
            uint16_t h = bn_f16_from_f32(x * 0.01f), min = bn_f16_from_f32(x * 0.07f), b;
            memcpy(&b, (uint8_t *)&x + 2, sizeof b);
            switch (w->type) {
            case BN_DENSE_F32: memcpy(block, &x, 4); break;
            case BN_DENSE_BF16: memcpy(block, &b, 2); break;
            case BN_DENSE_Q6_K:
            case BN_DENSE_TQ1_0:
            case BN_DENSE_PTQ1_0:
            case BN_DENSE_TQ2_0: memcpy(block + block_bytes - 2, &h, 2); break;
            case BN_DENSE_Q4_K: memcpy(block + 2, &min, 2); /* fall through */
            default: memcpy(block, &h, 2); break;
            }
        }
}

static bool check_dense_case(const bn_kernels *k, random_state *random, bn_dense_type type,
                             uint32_t n_rows, uint32_t n_cols, uint32_t n_tokens, bool is_wild)
{
    char what[96];
    snprintf(what, sizeof what, "%s dense type %d %ux%u tokens %u", k->name, (int)type, n_rows,
             n_cols, n_tokens);
    size_t row_bytes = n_cols / bn_dense_block_cols(type) * bn_dense_block_bytes(type);
    guarded rows = guarded_create(row_bytes * n_rows, 1);
    bn_dense w = {.rows = rows.data,
                  .type = type,
                  .n_rows = n_rows,
                  .n_cols = n_cols,
                  .row_bytes = row_bytes};
    fill_dense(random, &w, rows.data, rows.bytes, is_wild);
    size_t x_stride = n_cols + 1, y_stride = n_rows + 2;
    guarded x = floats(x_stride * (n_tokens - 1) + n_cols);
    fill_floats(random, INPUT_WIDE, as_floats(&x), x.bytes / sizeof(float));
    output_pair y = pair_create((y_stride * (n_tokens - 1) + n_rows) * sizeof(float), 4);
    output_pair row = pair_create(n_cols * sizeof(float), 4);
    uint32_t cut = random_below(random, n_rows + 1);
    bn_kernels_scalar.dense_matmul(&w, 0, n_rows, as_floats(&x), x_stride, n_tokens,
                                   as_floats(&y.expected), y_stride);
    k->dense_matmul(&w, 0, cut, as_floats(&x), x_stride, n_tokens, as_floats(&y.actual), y_stride);
    k->dense_matmul(&w, cut, n_rows, as_floats(&x), x_stride, n_tokens, as_floats(&y.actual),
                    y_stride);
    bool ok = same_floats(&y.expected, &y.actual, what);
    uint32_t some[7];
    for (size_t i = 0; i < COUNT(some); i++)
        some[i] = random_below(random, n_rows);
    memset(y.expected.data, 0, y.expected.bytes);
    memset(y.actual.data, 0, y.actual.bytes);
    bn_kernels_scalar.dense_gather(&w, some, n_tokens % COUNT(some) + 1, as_floats(&x),
                                   as_floats(&y.expected));
    k->dense_gather(&w, some, n_tokens % COUNT(some) + 1, as_floats(&x), as_floats(&y.actual));
    ok = ok && same_floats(&y.expected, &y.actual, what);
    bn_kernels_scalar.dense_row(&w, n_rows - 1, as_floats(&row.expected));
    k->dense_row(&w, n_rows - 1, as_floats(&row.actual));
    ok = ok && same_floats(&row.expected, &row.actual, what);
    guarded_destroy(&rows);
    guarded_destroy(&x);
    pair_destroy(&y);
    pair_destroy(&row);
    return ok;
}

static bool check_dense(const bn_kernels *k)
{
    static const uint32_t cols[] = {1, 7, 16, 33, 64, 250, 2560};
    random_state random = {SEED + 8};
    for (int type = BN_DENSE_F32; type < BN_DENSE_TYPES; type++)
        for (size_t c = 0; c < COUNT(cols); c++) {
            uint32_t block = bn_dense_block_cols((bn_dense_type)type);
            uint32_t n_cols = (cols[c] + block - 1) / block * block;
            for (uint32_t n_tokens = 1; n_tokens <= 9; n_tokens++) {
                uint32_t n_rows = 1 + random_below(&random, 40);
                if (!check_dense_case(k, &random, (bn_dense_type)type, n_rows, n_cols, n_tokens,
                                      n_tokens % 4 == 0))
                    return false;
            }
        }
    return true;
}

static const struct {
    const char *name;
    bool (*run)(const bn_kernels *k);
} checks[] = {
    {"quantize", check_quantize},
    {"quantize_groups", check_quantize_groups},
    {"ternary_matmul", check_ternary},
    {"ternary_matmul by groups", check_ternary_groups},
    {"rms_norm", check_rms_norm},
    {"gated, add", check_gated_and_add},
    {"rope", check_rope},
    {"store_f16", check_store_f16},
    {"attention_chunk", check_attention_chunk},
    {"attention_merge", check_attention_merge},
    {"dense", check_dense},
};

static bool check_table(const bn_kernels *k)
{
    bool ok = true;
    for (size_t i = 0; i < COUNT(checks); i++) {
        bool passed = checks[i].run(k);
        printf("%-7s %-24s %s\n", k->name, checks[i].name, passed ? "same bits" : "DIFFERS");
        ok = ok && passed;
    }
    return ok;
}

/* RMSNorm with the order of its sum spoiled. */
static void rms_norm_spoiled(float *y, const float *x, const float *w, uint32_t n, float eps)
{
    float sum = 0.0f;
    for (uint32_t i = 0; i < n; i++)
        sum = fmaf(x[i], x[i], sum);
    float r = 1.0f / sqrtf(sum / (float)n + eps);
    for (uint32_t i = 0; i < n; i++)
        y[i] = (x[i] * r) * w[i];
}

/* Writes one byte too many between two rows. */
static void ternary_matmul_spoiled(const bn_ternary *w, uint32_t group_begin, uint32_t group_end,
                                   const bn_q8 *x, float *y, size_t y_stride)
{
    bn_kernels_scalar.ternary_matmul(w, group_begin, group_end, x, y, y_stride);
    if (x->n_tokens > 1) ((uint8_t *)(y + w->n_rows))[0] = 0;
}

static bool check_sabotage_is_seen(void)
{
    bn_kernels spoiled = bn_kernels_scalar;
    spoiled.name = "spoiled";
    spoiled.rms_norm = rms_norm_spoiled;
    spoiled.ternary_matmul = ternary_matmul_spoiled;
    is_quiet = true;
    bool is_seen = !check_rms_norm(&spoiled) && !check_ternary(&spoiled);
    is_quiet = false;
    printf("spoiled tables            %s\n", is_seen ? "are seen" : "PASS UNSEEN");
    return is_seen;
}

int main(int argc, char **argv)
{
    const char *only = NULL;
    bool is_bench = false;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--bench") == 0) {
            is_bench = true;
        } else if (strcmp(argv[i], "--machine") == 0) {
            bench_machine();
            return 0;
        } else if (strcmp(argv[i], "--table") == 0 && i + 1 < argc) {
            only = argv[++i];
        } else {
            fprintf(stderr, "usage: check_kernels [--bench | --machine] [--table NAME]\n");
            return 2;
        }
    }
    bn_float_env_set();
    BN_ASSERT(bn_float_env_is_set());
    bool ok = check_sabotage_is_seen();
    for (bn_isa isa = BN_ISA_AVX2; isa < BN_ISA_COUNT; isa++) {
        const bn_kernels *k = bn_kernels_get(isa);
        if (only != NULL && strcmp(only, bn_isa_names[isa]) != 0) continue;
        if (k == NULL) {
            printf("%-7s not on this processor\n", bn_isa_names[isa]);
            continue;
        }
        ok = (is_bench ? bench_table(k) : check_table(k)) && ok;
    }
    return ok ? 0 : 1;
}
