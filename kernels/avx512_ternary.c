/* avx512_ternary.c — ternary products with vpdpbusd (AVX-512 VNNI).
 *
 * One 512-bit load is 16 rows × 16 columns (ternary.h), so rows stay in lanes and nothing is ever
 * summed across. Codes are trit + 1: Σ code·q − Σq is the dot.
 *
 * Few tokens are bound by memory: the 2-bit fields are masked where they stand and meet the
 * activations unshifted; four accumulators hold 1, 4, 16 and 64 times their sums and are shifted
 * back once. (64·2 is 128: still a byte; vpdpbusd does not saturate.) Many tokens are bound by
 * vpdpbusd: fields are shifted, one accumulator per row group and token.
 */
#include "common/status.h"
#include "kernels/avx512.h"
#include "kernels/avx512_lanes.h"
#include "kernels/ternary_steps.h"

#include <string.h>

#define TOKENS BN_Q8_PANEL_TOKENS
#define PANELS_PER_PASS 16 /* activations of a pass stay in the second-level cache */

/* Bytes ahead of the load: about the latency of memory at its full speed. */
#define PREFETCH_BYTES 4096

INLINE __m512i broadcast_4(const int8_t *q)
{
    int32_t word;
    memcpy(&word, q, sizeof word);
    return _mm512_set1_epi32(word);
}

INLINE __m512i field_masked(__m512i x, int f)
{
    return _mm512_and_si512(x, _mm512_set1_epi8((char)(3 << (2 * f))));
}

/* acc += the products of four codes and activations. The empty asm keeps the accumulator in its
 * register: gcc copies it to another and back. */
INLINE void accumulate(__m512i *acc, __m512i codes, __m512i q)
{
    *acc = _mm512_dpbusd_epi32(*acc, codes, q);
    __asm__("" : "+v"(*acc));
}

INLINE __m512i fields_joined(const __m512i acc[4])
{
    __m512i low = _mm512_add_epi32(acc[0], _mm512_srai_epi32(acc[1], 2));
    __m512i high = _mm512_add_epi32(_mm512_srai_epi32(acc[2], 4), _mm512_srai_epi32(acc[3], 6));
    return _mm512_add_epi32(low, high);
}

/* Sums of codes of one group and n tokens, fields unshifted, `width` tokens to a panel; sets of
 * accumulators take turns, so that one token does not wait for vpdpbusd. One linear stream: with
 * two groups the prefetches of one row's end would fall into the other. */
INLINE void narrow_tile(int n, int n_sets, int width, const uint8_t *w, const int8_t *panel,
                        uint32_t n_blocks, __m512i *dots)
{
    __m512i acc[2][4][4];
    UNROLL
    for (int set = 0; set < n_sets; set++) {
        UNROLL
        for (int t = 0; t < n; t++) {
            UNROLL
            for (int f = 0; f < 4; f++)
                acc[set][t][f] = _mm512_setzero_si512();
        }
    }
    uint32_t block = 0;
    for (; block + (uint32_t)n_sets <= n_blocks; block += (uint32_t)n_sets) {
        UNROLL
        for (int set = 0; set < n_sets; set++) {
            _mm_prefetch((const char *)w + PREFETCH_BYTES, _MM_HINT_T0);
            __m512i x = _mm512_load_si512(w);
            UNROLL
            for (int f = 0; f < 4; f++) {
                UNROLL
                for (int t = 0; t < n; t++)
                    accumulate(&acc[set][t][f], field_masked(x, f),
                               broadcast_4(panel + (f * width + t) * 4));
            }
            w += BN_TERNARY_BLOCK_BYTES;
            panel += BN_TERNARY_BLOCK_COLS * width;
        }
    }
    if (n_sets == 2 && block < n_blocks) {
        __m512i x = _mm512_load_si512(w);
        UNROLL
        for (int f = 0; f < 4; f++) {
            UNROLL
            for (int t = 0; t < n; t++)
                accumulate(&acc[0][t][f], field_masked(x, f),
                           broadcast_4(panel + (f * width + t) * 4));
        }
    }
    UNROLL
    for (int t = 0; t < n; t++) {
        dots[t] = fields_joined(acc[0][t]);
        if (n_sets == 2) dots[t] = _mm512_add_epi32(dots[t], fields_joined(acc[1][t]));
    }
}

/* dots[g·n + t] of 1 or 2 groups and n tokens with shifted fields: one accumulator each. The same
 * place of the next groups is prefetched. */
INLINE void wide_tile(int n_groups, int n, const uint8_t *w, size_t group_bytes,
                      const int8_t *panel, uint32_t n_blocks, __m512i *dots)
{
    __m512i acc[2][TOKENS];
    UNROLL
    for (int g = 0; g < n_groups; g++) {
        UNROLL
        for (int t = 0; t < n; t++)
            acc[g][t] = _mm512_setzero_si512();
    }
    for (uint32_t block = 0; block < n_blocks; block++) {
        __m512i x[2];
        UNROLL
        for (int g = 0; g < n_groups; g++) {
            const uint8_t *p = w + group_bytes * (size_t)g;
            _mm_prefetch((const char *)p + group_bytes * (size_t)n_groups, _MM_HINT_T1);
            x[g] = _mm512_load_si512(p);
        }
        UNROLL
        for (int f = 0; f < 4; f++) {
            __m512i codes[2];
            UNROLL
            for (int g = 0; g < n_groups; g++)
                codes[g] = field_masked(_mm512_srli_epi32(x[g], (unsigned)(2 * f)), 0);
            UNROLL
            for (int t = 0; t < n; t++) {
                __m512i q = broadcast_4(panel + (f * TOKENS + t) * 4);
                UNROLL
                for (int g = 0; g < n_groups; g++)
                    accumulate(&acc[g][t], codes[g], q);
            }
        }
        w += BN_TERNARY_BLOCK_BYTES;
        panel += BN_TERNARY_BLOCK_COLS * TOKENS;
    }
    UNROLL
    for (int g = 0; g < n_groups; g++) {
        UNROLL
        for (int t = 0; t < n; t++)
            dots[g * n + t] = acc[g][t];
    }
}

typedef void tile_fn(const uint8_t *w, size_t group_bytes, const int8_t *panel, uint32_t n_blocks,
                     __m512i *dots);

#define DEFINE_NARROW(n, n_sets)                                                                   \
    static void tile_1_##n(const uint8_t *w, size_t group_bytes, const int8_t *panel,              \
                           uint32_t n_blocks, __m512i *dots)                                       \
    {                                                                                              \
        (void)group_bytes;                                                                         \
        narrow_tile(n, n_sets, TOKENS, w, panel, n_blocks, dots);                                  \
    }

#define DEFINE_WIDE(n_groups, n)                                                                   \
    static void tile_##n_groups##_##n(const uint8_t *w, size_t group_bytes, const int8_t *panel,   \
                                      uint32_t n_blocks, __m512i *dots)                            \
    {                                                                                              \
        wide_tile(n_groups, n, w, group_bytes, panel, n_blocks, dots);                             \
    }

DEFINE_NARROW(1, 2)
DEFINE_NARROW(2, 2)
DEFINE_NARROW(3, 1)
DEFINE_WIDE(1, 4)
DEFINE_WIDE(1, 5)
DEFINE_WIDE(1, 6)
DEFINE_WIDE(1, 7)
DEFINE_WIDE(1, 8)
DEFINE_WIDE(2, 4)
DEFINE_WIDE(2, 5)
DEFINE_WIDE(2, 6)
DEFINE_WIDE(2, 7)
DEFINE_WIDE(2, 8)

#define NARROW_TOKENS_MAX 3

/* tiles[groups − 1][tokens − 1]; few tokens go group by group. */
static tile_fn *const tiles[2][TOKENS] = {
    {tile_1_1, tile_1_2, tile_1_3, tile_1_4, tile_1_5, tile_1_6, tile_1_7, tile_1_8},
    {NULL, NULL, NULL, tile_2_4, tile_2_5, tile_2_6, tile_2_7, tile_2_8},
};

/* The rows of a group, each with its scale of run 0: of all columns when there are no runs. */
INLINE __m512 row_scales(const bn_ternary *w, uint32_t group)
{
    if (w->scales == NULL) return _mm512_set1_ps(w->scale);
    size_t n_runs = bn_ternary_runs(w->n_cols, w->group_cols);
    return _mm512_load_ps(w->scales + group * n_runs * BN_TERNARY_GROUP_ROWS);
}

INLINE void store_group(const bn_ternary *w, uint32_t group, __m512 value, float *y)
{
    uint32_t row = group * BN_TERNARY_GROUP_ROWS, left = w->n_rows - row;
    if (left >= BN_TERNARY_GROUP_ROWS)
        _mm512_storeu_ps(y + row, value);
    else
        _mm512_mask_storeu_ps(y + row, first_lanes(left), value);
}

/* y[group·16 …] of one token: (float(dot) ÷ s)·scale·post_scale. */
INLINE void store_rows(const bn_ternary *w, uint32_t group, __m512i codes, float scale, int32_t sum,
                       float *y)
{
    __m512i dot = _mm512_sub_epi32(codes, _mm512_set1_epi32(sum));
    __m512 value = _mm512_div_ps(_mm512_cvtepi32_ps(dot), _mm512_set1_ps(scale));
    value = _mm512_mul_ps(value, row_scales(w, group));
    value = _mm512_mul_ps(value, _mm512_set1_ps(w->post_scale));
    store_group(w, group, value, y);
}

static void matrix_vector(const bn_ternary *w, uint32_t group_begin, uint32_t group_end,
                          const bn_q8 *x, float *y)
{
    size_t group_bytes = bn_ternary_group_bytes(w->n_cols);
    uint32_t n_blocks = bn_ternary_padded_cols(w->n_cols) / BN_TERNARY_BLOCK_COLS;
    for (uint32_t group = group_begin; group < group_end; group++) {
        __m512i codes;
        narrow_tile(1, 2, 1, w->blocks + group_bytes * group, x->panels, n_blocks, &codes);
        store_rows(w, group, codes, x->scale[0], x->sum[0], y);
    }
}

/* One or two groups times the tokens of the panels [panel_begin, panel_end). */
static void strip_times_panels(const bn_ternary *w, uint32_t group, uint32_t n_groups,
                               const bn_q8 *x, uint32_t panel_begin, uint32_t panel_end, float *y,
                               size_t y_stride)
{
    size_t group_bytes = bn_ternary_group_bytes(w->n_cols);
    size_t panel_bytes = bn_q8_panel_bytes(w->n_cols, TOKENS);
    uint32_t n_blocks = bn_ternary_padded_cols(w->n_cols) / BN_TERNARY_BLOCK_COLS;
    for (uint32_t p = panel_begin; p < panel_end; p++) {
        uint32_t first = p * TOKENS,
                 n = x->n_tokens - first < TOKENS ? x->n_tokens - first : TOKENS;
        uint32_t step = n <= NARROW_TOKENS_MAX ? 1 : n_groups;
        for (uint32_t g = 0; g < n_groups; g += step) {
            __m512i dots[2 * TOKENS];
            tiles[step - 1][n - 1](w->blocks + group_bytes * (group + g), group_bytes,
                                   x->panels + panel_bytes * p, n_blocks, dots);
            for (uint32_t i = 0; i < step * n; i++)
                store_rows(w, group + g + i / n, dots[i], x->scale[first + i % n],
                           x->sum[first + i % n], y + (first + i % n) * y_stride);
        }
    }
}

/* --- groups of columns: exact within a step, steps added in ascending order ------------------ */

/* acc + the step's part of 16 rows and one token: fma(float(dot)·d, scale, acc), or
 * fma(float(dot), d, acc) when the weights have no groups. d is 1 when the activations have none,
 * which changes nothing. */
INLINE __m512 step_added(__m512i dot, float d, const float *scales, __m512 acc)
{
    __m512 value = _mm512_cvtepi32_ps(dot), factor = _mm512_set1_ps(d);
    if (scales == NULL) return _mm512_fmadd_ps(value, factor, acc);
    return _mm512_fmadd_ps(_mm512_mul_ps(value, factor), _mm512_load_ps(scales), acc);
}

INLINE void store_steps(const bn_ternary *w, const bn_q8 *x, const step_plan *plan, uint32_t group,
                        uint32_t t, __m512 value, float *y)
{
    if (!plan->steps.has_token_groups) value = _mm512_div_ps(value, _mm512_set1_ps(x->scale[t]));
    if (!plan->steps.has_weight_groups) value = _mm512_mul_ps(value, row_scales(w, group));
    store_group(w, group, _mm512_mul_ps(value, _mm512_set1_ps(w->post_scale)), y);
}

/* The dots of one group of rows and one token over n_blocks, whose Σq is `sum`. */
INLINE __m512i vector_step(const uint8_t *w, const int8_t *panel, uint32_t n_blocks, int32_t sum)
{
    __m512i acc[4];
    acc[0] = _mm512_set1_epi32(-sum);
    UNROLL
    for (int f = 1; f < 4; f++)
        acc[f] = _mm512_setzero_si512();
    for (uint32_t block = 0; block < n_blocks; block++) {
        _mm_prefetch((const char *)w + PREFETCH_BYTES, _MM_HINT_T0);
        __m512i x = _mm512_load_si512(w);
        UNROLL
        for (int f = 0; f < 4; f++)
            accumulate(&acc[f], field_masked(x, f), broadcast_4(panel + 4 * f));
        w += BN_TERNARY_BLOCK_BYTES;
        panel += BN_TERNARY_BLOCK_COLS;
    }
    return fields_joined(acc);
}

static void vector_by_steps(const bn_ternary *w, uint32_t group_begin, uint32_t group_end,
                            const bn_q8 *x, const step_plan *plan, float *y)
{
    const bn_ternary_steps *steps = &plan->steps;
    size_t group_bytes = bn_ternary_group_bytes(w->n_cols);
    for (uint32_t group = group_begin; group < group_end; group++) {
        const uint8_t *blocks = w->blocks + group_bytes * group;
        __m512 acc = _mm512_setzero_ps();
        for (uint32_t i = 0; i < steps->n; i++) {
            __m512i dot = vector_step(blocks + (size_t)i * steps->cols * 4,
                                      x->panels + (size_t)i * steps->cols, step_blocks(w, steps, i),
                                      bn_q8_step_sum(x->part_sum, steps, w->n_cols, i));
            acc = step_added(dot, *step_token_scales(x, plan, 0, i), step_scales(w, plan, group, i),
                             acc);
        }
        store_steps(w, x, plan, group, 0, acc, y);
    }
}

/* One or two groups of rows times one panel, whose first token is `first`. */
static void panel_by_steps(const bn_ternary *w, uint32_t group, uint32_t n_groups, const bn_q8 *x,
                           const step_plan *plan, uint32_t first, float *y, size_t y_stride)
{
    const bn_ternary_steps *steps = &plan->steps;
    size_t group_bytes = bn_ternary_group_bytes(w->n_cols);
    uint32_t n = x->n_tokens - first < TOKENS ? x->n_tokens - first : TOKENS;
    const uint8_t *blocks = w->blocks + group_bytes * group;
    const int8_t *panel = x->panels + bn_q8_panel_bytes(w->n_cols, TOKENS) * (first / TOKENS);
    __m512 acc[2 * TOKENS];
    for (uint32_t k = 0; k < n_groups * n; k++)
        acc[k] = _mm512_setzero_ps();
    for (uint32_t i = 0; i < steps->n; i++) {
        __m512i codes[2 * TOKENS];
        tiles[n_groups - 1][n - 1](blocks + (size_t)i * steps->cols * 4, group_bytes,
                                   panel + (size_t)i * steps->cols * TOKENS,
                                   step_blocks(w, steps, i), codes);
        const float *scales[2] = {step_scales(w, plan, group, i), NULL};
        if (n_groups == 2) scales[1] = step_scales(w, plan, group + 1, i);
        const float *d = step_token_scales(x, plan, first, i);
        for (uint32_t t = 0; t < n; t++) {
            const int32_t *part_sum = x->part_sum + (first + t) * plan->n_parts;
            __m512i sum = _mm512_set1_epi32(bn_q8_step_sum(part_sum, steps, w->n_cols, i));
            for (uint32_t g = 0; g < n_groups; g++) {
                uint32_t k = g * n + t;
                acc[k] = step_added(_mm512_sub_epi32(codes[k], sum), d[t * plan->n_token_scales],
                                    scales[g], acc[k]);
            }
        }
    }
    for (uint32_t g = 0; g < n_groups; g++)
        for (uint32_t t = 0; t < n; t++)
            store_steps(w, x, plan, group + g, first + t, acc[g * n + t],
                        y + (first + t) * y_stride);
}

static void matmul_by_steps(const bn_ternary *w, uint32_t group_begin, uint32_t group_end,
                            const bn_q8 *x, const bn_ternary_steps *steps, float *y,
                            size_t y_stride)
{
    step_plan plan = step_plan_of(w, x, *steps);
    if (x->n_tokens == 1) {
        vector_by_steps(w, group_begin, group_end, x, &plan, y);
        return;
    }
    const uint32_t pass = PANELS_PER_PASS * TOKENS;
    for (uint32_t begin = 0; begin < x->n_tokens; begin += pass) {
        uint32_t end = x->n_tokens - begin < pass ? x->n_tokens : begin + pass;
        for (uint32_t group = group_begin; group < group_end; group += 2) {
            uint32_t n_groups = group_end - group < 2 ? 1 : 2;
            for (uint32_t first = begin; first < end; first += TOKENS) {
                bool is_narrow = end - first <= NARROW_TOKENS_MAX;
                uint32_t step = is_narrow ? 1 : n_groups;
                for (uint32_t g = 0; g < n_groups; g += step)
                    panel_by_steps(w, group + g, step, x, &plan, first, y, y_stride);
            }
        }
    }
}

void bn_avx512_ternary_matmul(const bn_ternary *w, uint32_t group_begin, uint32_t group_end,
                              const bn_q8 *x, float *y, size_t y_stride)
{
    BN_ASSERT(w->n_cols == x->n_cols && w->n_cols <= BN_TERNARY_COLS_MAX);
    BN_ASSERT(group_end <= bn_ternary_groups(w->n_rows));
    bn_ternary_steps steps = bn_ternary_steps_of(w, x);
    if (steps.n > 0) {
        matmul_by_steps(w, group_begin, group_end, x, &steps, y, y_stride);
        return;
    }
    if (x->n_tokens == 1) {
        matrix_vector(w, group_begin, group_end, x, y);
        return;
    }
    uint32_t n_panels = (x->n_tokens + TOKENS - 1) / TOKENS;
    for (uint32_t begin = 0; begin < n_panels; begin += PANELS_PER_PASS) {
        uint32_t end = n_panels - begin < PANELS_PER_PASS ? n_panels : begin + PANELS_PER_PASS;
        for (uint32_t group = group_begin; group < group_end; group += 2) {
            uint32_t n_groups = group_end - group < 2 ? 1 : 2;
            strip_times_panels(w, group, n_groups, x, begin, end, y, y_stride);
        }
    }
}
