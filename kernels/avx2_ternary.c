/* avx2_ternary.c — ternary products with vpmaddubsw.
 *
 * Half of a 64-byte block is eight rows, one per 32-bit lane. vpmaddubsw adds two products into an
 * int16; how many blocks fit before int16 would wrap is counted here, so sums stay exact.
 *
 * One token: fields 1 and 3 stay where they are after one shift, at four times their value, in
 * accumulators of their own. Panels of 8: all fields shifted, eight rows × n tokens.
 */
#include "common/status.h"
#include "kernels/avx2.h"
#include "kernels/avx2_lanes.h"
#include "kernels/ternary_steps.h"

#define TOKENS BN_Q8_PANEL_TOKENS
#define PANELS_PER_PASS 16 /* activations of a pass stay in the second-level cache */
#define PREFETCH_BYTES 2048

/* A product is at most 2·128, vpmaddubsw adds 2: 512. */
#define BLOCKS_UNSHIFTED 7 /* 2 fields · 4·512 each: 4096 a block */
#define BLOCKS_SHIFTED 15  /* 4 fields · 512 each: 2048 a block */

INLINE __m256i broadcast_4(const int8_t *q)
{
    int32_t word;
    memcpy(&word, q, sizeof word);
    return _mm256_set1_epi32(word);
}

INLINE __m256i masked(__m256i x, char mask)
{
    return _mm256_and_si256(x, _mm256_set1_epi8(mask));
}

/* acc += the products of four codes and activations, in pairs. The empty asm keeps the additions
 * in this order: gcc would pair them anew and run out of registers. */
INLINE void accumulate(__m256i *acc, __m256i codes, __m256i q)
{
    *acc = _mm256_add_epi16(*acc, _mm256_maddubs_epi16(codes, q));
    __asm__("" : "+x"(*acc));
}

/* Adds the int16 pairs of `sums` to acc. */
INLINE __m256i widened(__m256i acc, __m256i sums)
{
    return _mm256_add_epi32(acc, _mm256_madd_epi16(sums, _mm256_set1_epi16(1)));
}

/* Sums of codes of one group and one token: dots[0] rows 0 … 7, dots[1] rows 8 … 15. */
static void vector_tile(const uint8_t *w, const int8_t *panel, uint32_t n_blocks, __m256i dots[2])
{
    __m256i ones[2], fours[2]; /* sums at 1 and 4 times their value */
    UNROLL
    for (int h = 0; h < 2; h++)
        ones[h] = fours[h] = _mm256_setzero_si256();
    for (uint32_t begin = 0; begin < n_blocks; begin += BLOCKS_UNSHIFTED) {
        uint32_t n = n_blocks - begin < BLOCKS_UNSHIFTED ? n_blocks - begin : BLOCKS_UNSHIFTED;
        __m256i one[2], four[2];
        UNROLL
        for (int h = 0; h < 2; h++)
            one[h] = four[h] = _mm256_setzero_si256();
        for (uint32_t block = 0; block < n; block++) {
            _mm_prefetch((const char *)w + PREFETCH_BYTES, _MM_HINT_T0);
            __m256i q[4];
            UNROLL
            for (int f = 0; f < 4; f++)
                q[f] = broadcast_4(panel + 4 * f);
            UNROLL
            for (int h = 0; h < 2; h++) {
                __m256i x = _mm256_load_si256((const __m256i *)(const void *)(w + 32 * h));
                __m256i z = _mm256_srli_epi16(x, 4);
                accumulate(&one[h], masked(x, 0x03), q[0]);
                accumulate(&four[h], masked(x, 0x0C), q[1]);
                accumulate(&one[h], masked(z, 0x03), q[2]);
                accumulate(&four[h], masked(z, 0x0C), q[3]);
            }
            w += BN_TERNARY_BLOCK_BYTES;
            panel += BN_TERNARY_BLOCK_COLS;
        }
        UNROLL
        for (int h = 0; h < 2; h++) {
            ones[h] = widened(ones[h], one[h]);
            fours[h] = widened(fours[h], four[h]);
        }
    }
    UNROLL
    for (int h = 0; h < 2; h++)
        dots[h] = _mm256_add_epi32(ones[h], _mm256_srai_epi32(fours[h], 2));
}

/* Sums of codes of eight rows (w points at their half of the first block) and n tokens. */
INLINE void panel_tile(int n, const uint8_t *w, const int8_t *panel, uint32_t n_blocks,
                       __m256i *dots)
{
    UNROLL
    for (int t = 0; t < n; t++)
        dots[t] = _mm256_setzero_si256();
    for (uint32_t begin = 0; begin < n_blocks; begin += BLOCKS_SHIFTED) {
        uint32_t left = n_blocks - begin < BLOCKS_SHIFTED ? n_blocks - begin : BLOCKS_SHIFTED;
        __m256i acc[TOKENS];
        UNROLL
        for (int t = 0; t < n; t++)
            acc[t] = _mm256_setzero_si256();
        for (uint32_t block = 0; block < left; block++) {
            _mm_prefetch((const char *)w + PREFETCH_BYTES, _MM_HINT_T0);
            __m256i x = _mm256_load_si256((const __m256i *)(const void *)w);
            UNROLL
            for (int f = 0; f < 4; f++) {
                __m256i codes = masked(_mm256_srli_epi16(x, 2 * f), 0x03);
                UNROLL
                for (int t = 0; t < n; t++)
                    accumulate(&acc[t], codes, broadcast_4(panel + (f * TOKENS + t) * 4));
            }
            w += BN_TERNARY_BLOCK_BYTES;
            panel += BN_TERNARY_BLOCK_COLS * TOKENS;
        }
        UNROLL
        for (int t = 0; t < n; t++)
            dots[t] = widened(dots[t], acc[t]);
    }
}

typedef void tile_fn(const uint8_t *w, const int8_t *panel, uint32_t n_blocks, __m256i *dots);

#define DEFINE_TILE(n)                                                                             \
    static void tile_##n(const uint8_t *w, const int8_t *panel, uint32_t n_blocks, __m256i *dots)  \
    {                                                                                              \
        panel_tile(n, w, panel, n_blocks, dots);                                                   \
    }

DEFINE_TILE(1)
DEFINE_TILE(2)
DEFINE_TILE(3)
DEFINE_TILE(4)
DEFINE_TILE(5)
DEFINE_TILE(6)
DEFINE_TILE(7)
DEFINE_TILE(8)

static tile_fn *const tiles[TOKENS] = {tile_1, tile_2, tile_3, tile_4,
                                       tile_5, tile_6, tile_7, tile_8};

/* Eight rows, each with its scale of run 0: of all columns when there are no runs. */
INLINE __m256 row_scales(const bn_ternary *w, uint32_t row)
{
    if (w->scales == NULL) return _mm256_set1_ps(w->scale);
    size_t n_runs = bn_ternary_runs(w->n_cols, w->group_cols);
    return _mm256_load_ps(w->scales + row / BN_TERNARY_GROUP_ROWS * n_runs * BN_TERNARY_GROUP_ROWS +
                          row % BN_TERNARY_GROUP_ROWS);
}

/* y[row …] of eight rows and one token: (float(dot) ÷ s)·scale·post_scale. */
INLINE void store_rows(const bn_ternary *w, uint32_t row, __m256i codes, float scale, int32_t sum,
                       float *y)
{
    if (row >= w->n_rows) return;
    __m256i dot = _mm256_sub_epi32(codes, _mm256_set1_epi32(sum));
    __m256 value = _mm256_div_ps(_mm256_cvtepi32_ps(dot), _mm256_set1_ps(scale));
    value = _mm256_mul_ps(value, row_scales(w, row));
    value = _mm256_mul_ps(value, _mm256_set1_ps(w->post_scale));
    store_first(y + row, w->n_rows - row, value);
}

static void matrix_vector(const bn_ternary *w, uint32_t group_begin, uint32_t group_end,
                          const bn_q8 *x, float *y)
{
    size_t group_bytes = bn_ternary_group_bytes(w->n_cols);
    uint32_t n_blocks = bn_ternary_padded_cols(w->n_cols) / BN_TERNARY_BLOCK_COLS;
    for (uint32_t group = group_begin; group < group_end; group++) {
        __m256i dots[2];
        vector_tile(w->blocks + group_bytes * group, x->panels, n_blocks, dots);
        for (uint32_t h = 0; h < 2; h++)
            store_rows(w, group * BN_TERNARY_GROUP_ROWS + 8 * h, dots[h], x->scale[0], x->sum[0],
                       y);
    }
}

static void group_times_panels(const bn_ternary *w, uint32_t group, const bn_q8 *x,
                               uint32_t panel_begin, uint32_t panel_end, float *y, size_t y_stride)
{
    const uint8_t *blocks = w->blocks + bn_ternary_group_bytes(w->n_cols) * group;
    size_t panel_bytes = bn_q8_panel_bytes(w->n_cols, TOKENS);
    uint32_t n_blocks = bn_ternary_padded_cols(w->n_cols) / BN_TERNARY_BLOCK_COLS;
    for (uint32_t p = panel_begin; p < panel_end; p++) {
        uint32_t first = p * TOKENS, left = x->n_tokens - first, n = left < TOKENS ? left : TOKENS;
        for (uint32_t h = 0; h < 2; h++) {
            __m256i dots[TOKENS];
            tiles[n - 1](blocks + 32 * h, x->panels + panel_bytes * p, n_blocks, dots);
            for (uint32_t t = 0; t < n; t++)
                store_rows(w, group * BN_TERNARY_GROUP_ROWS + 8 * h, dots[t], x->scale[first + t],
                           x->sum[first + t], y + (first + t) * y_stride);
        }
    }
}

/* --- groups of columns: exact within a step, steps added in ascending order ------------------ */

/* acc + the step's part of 8 rows and one token: fma(float(dot)·d, scale, acc), or
 * fma(float(dot), d, acc) when the weights have no groups. d is 1 when the activations have none,
 * which changes nothing. */
INLINE __m256 step_added(__m256i dot, float d, const float *scales, __m256 acc)
{
    __m256 value = _mm256_cvtepi32_ps(dot), factor = _mm256_set1_ps(d);
    if (scales == NULL) return _mm256_fmadd_ps(value, factor, acc);
    return _mm256_fmadd_ps(_mm256_mul_ps(value, factor), _mm256_load_ps(scales), acc);
}

INLINE void store_steps(const bn_ternary *w, const bn_q8 *x, const step_plan *plan, uint32_t row,
                        uint32_t t, __m256 value, float *y)
{
    if (row >= w->n_rows) return;
    if (!plan->steps.has_token_groups) value = _mm256_div_ps(value, _mm256_set1_ps(x->scale[t]));
    if (!plan->steps.has_weight_groups) value = _mm256_mul_ps(value, row_scales(w, row));
    value = _mm256_mul_ps(value, _mm256_set1_ps(w->post_scale));
    store_first(y + row, w->n_rows - row, value);
}

static void vector_by_steps(const bn_ternary *w, uint32_t group_begin, uint32_t group_end,
                            const bn_q8 *x, const step_plan *plan, float *y)
{
    const bn_ternary_steps *steps = &plan->steps;
    size_t group_bytes = bn_ternary_group_bytes(w->n_cols);
    for (uint32_t group = group_begin; group < group_end; group++) {
        const uint8_t *blocks = w->blocks + group_bytes * group;
        uint32_t row = group * BN_TERNARY_GROUP_ROWS;
        __m256 acc[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
        for (uint32_t i = 0; i < steps->n; i++) {
            __m256i dots[2];
            __m256i sum = _mm256_set1_epi32(bn_q8_step_sum(x->part_sum, steps, w->n_cols, i));
            vector_tile(blocks + (size_t)i * steps->cols * 4, x->panels + (size_t)i * steps->cols,
                        step_blocks(w, steps, i), dots);
            float d = *step_token_scales(x, plan, 0, i);
            const float *scales = step_scales(w, plan, group, i);
            for (uint32_t h = 0; h < 2; h++)
                acc[h] = step_added(_mm256_sub_epi32(dots[h], sum), d,
                                    scales == NULL ? NULL : scales + 8 * h, acc[h]);
        }
        for (uint32_t h = 0; h < 2; h++)
            store_steps(w, x, plan, row + 8 * h, 0, acc[h], y);
    }
}

/* Eight rows times one panel, whose first token is `first`. */
static void panel_by_steps(const bn_ternary *w, uint32_t row, const bn_q8 *x, const step_plan *plan,
                           uint32_t first, float *y, size_t y_stride)
{
    const bn_ternary_steps *steps = &plan->steps;
    uint32_t n = x->n_tokens - first < TOKENS ? x->n_tokens - first : TOKENS;
    const uint8_t *blocks = w->blocks +
                            bn_ternary_group_bytes(w->n_cols) * (row / BN_TERNARY_GROUP_ROWS) +
                            4 * (row % BN_TERNARY_GROUP_ROWS);
    const int8_t *panel = x->panels + bn_q8_panel_bytes(w->n_cols, TOKENS) * (first / TOKENS);
    __m256 acc[TOKENS];
    for (uint32_t t = 0; t < n; t++)
        acc[t] = _mm256_setzero_ps();
    for (uint32_t i = 0; i < steps->n; i++) {
        __m256i codes[TOKENS];
        tiles[n - 1](blocks + (size_t)i * steps->cols * 4, panel + (size_t)i * steps->cols * TOKENS,
                     step_blocks(w, steps, i), codes);
        const float *d = step_token_scales(x, plan, first, i);
        const float *scales = step_scales(w, plan, row / BN_TERNARY_GROUP_ROWS, i);
        if (scales != NULL) scales += row % BN_TERNARY_GROUP_ROWS;
        for (uint32_t t = 0; t < n; t++) {
            const int32_t *part_sum = x->part_sum + (first + t) * plan->n_parts;
            __m256i sum = _mm256_set1_epi32(bn_q8_step_sum(part_sum, steps, w->n_cols, i));
            acc[t] = step_added(_mm256_sub_epi32(codes[t], sum), d[t * plan->n_token_scales],
                                scales, acc[t]);
        }
    }
    for (uint32_t t = 0; t < n; t++)
        store_steps(w, x, plan, row, first + t, acc[t], y + (first + t) * y_stride);
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
        for (uint32_t half = 2 * group_begin; half < 2 * group_end; half++)
            for (uint32_t first = begin; first < end; first += TOKENS)
                panel_by_steps(w, 8 * half, x, &plan, first, y, y_stride);
    }
}

void bn_avx2_ternary_matmul(const bn_ternary *w, uint32_t group_begin, uint32_t group_end,
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
        for (uint32_t group = group_begin; group < group_end; group++)
            group_times_panels(w, group, x, begin, end, y, y_stride);
    }
}
