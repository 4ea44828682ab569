/* avx2_dense.c — embedding rows and the head.
 *
 * A tile is four dot products, which fill half the registers: four rows for one token, two for
 * two, one for four. Two tiles end in one transposed reduction.
 */
#include "common/status.h"
#include "kernels/avx2.h"
#include "kernels/avx2_blocks.h"
#include "kernels/avx2_lanes.h"

/* Sixteen int16 as floats times d. */
INLINE lanes_16 scaled_16(__m256i values, float d)
{
    __m256i low = _mm256_cvtepi16_epi32(_mm256_castsi256_si128(values));
    __m256i high = _mm256_cvtepi16_epi32(_mm256_extracti128_si256(values, 1));
    __m256 scale = _mm256_set1_ps(d);
    return (lanes_16){_mm256_mul_ps(scale, _mm256_cvtepi32_ps(low)),
                      _mm256_mul_ps(scale, _mm256_cvtepi32_ps(high))};
}

/* u is a constant where it counts, so the shifts are too. */
INLINE lanes_16 widen_q6_k(const uint8_t *block, int u)
{
    const int half = u / 8, quarter = u % 8 / 2, l = 16 * (u % 2);
    const uint8_t *ql = block + 64 * half + 32 * (quarter % 2) + l;
    const uint8_t *qh = block + 128 + 32 * half + l;
    __m128i low = _mm_loadu_si128((const __m128i *)(const void *)ql);
    __m128i high = _mm_loadu_si128((const __m128i *)(const void *)qh);
    low = _mm_and_si128(_mm_srli_epi16(low, 4 * (quarter / 2)), _mm_set1_epi8(15));
    high = _mm_and_si128(_mm_srli_epi16(high, 2 * quarter), _mm_set1_epi8(3));
    __m128i q = _mm_or_si128(low, _mm_slli_epi16(high, 4));
    q = _mm_sub_epi8(q, _mm_set1_epi8(32));
    /* The product of the integers first: 0 has one sign there. */
    __m256i scale = _mm256_set1_epi16((int8_t)block[192 + u]);
    return scaled_16(_mm256_mullo_epi16(_mm256_cvtepi8_epi16(q), scale), block_half(block + 208));
}

INLINE __m256 widen_bf16(const uint8_t *p)
{
    __m128i h = _mm_loadu_si128((const __m128i *)(const void *)p);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16));
}

INLINE lanes_16 widen_q4_k(const uint8_t *block, int u)
{
    uint32_t min;
    lanes_16 values = scaled_16(values_q4_k(block, u, &min), block_half(block));
    __m256 offset = _mm256_set1_ps(block_half(block + 2) * (float)min);
    return (lanes_16){_mm256_sub_ps(values.low, offset), _mm256_sub_ps(values.high, offset)};
}

INLINE __m256 widen_q2_0(const uint8_t *block, int u, __m256i shifts)
{
    __m256i codes = _mm256_srlv_epi32(_mm256_set1_epi32(codes_q2_0(block, u)), shifts);
    codes = _mm256_and_si256(codes, _mm256_set1_epi32(3));
    return _mm256_mul_ps(_mm256_set1_ps(block_half(block)),
                         _mm256_cvtepi32_ps(_mm256_sub_epi32(codes, _mm256_set1_epi32(1))));
}

INLINE lanes_16 widen_values(bn_dense_type type, const uint8_t *block, int u)
{
    float d;
    __m256i values = block_values(type, block, u, &d);
    return scaled_16(values, d);
}

/* The u-th sixteen columns of a block. */
INLINE lanes_16 widen_16(bn_dense_type type, const uint8_t *block, int u)
{
    const float *floats = (const float *)(const void *)block;
    const uint16_t *halves = (const uint16_t *)(const void *)block;
    switch (type) {
    case BN_DENSE_F32: return (lanes_16){_mm256_loadu_ps(floats), _mm256_loadu_ps(floats + 8)};
    case BN_DENSE_F16: return (lanes_16){widen_8(halves), widen_8(halves + 8)};
    case BN_DENSE_BF16: return (lanes_16){widen_bf16(block), widen_bf16(block + 16)};
    case BN_DENSE_Q6_K: return widen_q6_k(block, u);
    case BN_DENSE_Q4_K: return widen_q4_k(block, u);
    case BN_DENSE_Q2_0:
    case BN_DENSE_Q2_0_128:
        return (lanes_16){widen_q2_0(block, u, _mm256_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14)),
                          widen_q2_0(block, u, _mm256_setr_epi32(16, 18, 20, 22, 24, 26, 28, 30))};
    default: return widen_values(type, block, u);
    }
    __builtin_unreachable();
}

/* The last n columns of a row whose length is no multiple of 16: never in the block types. */
INLINE lanes_16 widen_tail(bn_dense_type type, const uint8_t *p, uint32_t n)
{
    uint8_t padded[64] = {0};
    memcpy(padded, p, (type == BN_DENSE_F32 ? 4 : 2) * (size_t)n);
    return widen_16(type, padded, 0);
}

INLINE void widen_row(bn_dense_type type, const uint8_t *row, uint32_t n_cols, float *out)
{
    const uint32_t step = block_cols(type);
    uint32_t c = 0;
    for (; c + step <= n_cols; c += step) {
        for (int u = 0; u < (int)step / 16; u++) {
            lanes_16 value = widen_16(type, row, u);
            _mm256_storeu_ps(out + c + 16 * u, value.low);
            _mm256_storeu_ps(out + c + 16 * u + 8, value.high);
        }
        row += block_bytes(type);
    }
    if (step == 16 && c < n_cols) {
        lanes_16 value = widen_tail(type, row, n_cols - c);
        store_first(out + c, n_cols - c, value.low);
        if (n_cols - c > 8) store_first(out + c + 8, n_cols - c - 8, value.high);
    }
}

#define ROW_CASE(type)                                                                             \
    case type: widen_row(type, p, w->n_cols, out); break;

void bn_avx2_dense_row(const bn_dense *w, uint32_t row, float *out)
{
    BN_ASSERT(row < w->n_rows);
    const uint8_t *p = (const uint8_t *)w->rows + row * w->row_bytes;
    switch (w->type) {
        DENSE_TYPES(ROW_CASE)
    }
}

#define TOKENS 4 /* of a tile, at most */
#define BATCH 16 /* rows whose weights are read once for all tokens */

/* acc += the n_cols % 16 last products. */
INLINE void add_tail(lanes_16 *acc, lanes_16 weights, const float *x, uint32_t n)
{
    acc->low = fmadd_first(weights.low, load_first(x, n), acc->low, (int)n);
    if (n > 8)
        acc->high = fmadd_first(weights.high, load_first(x + 8, n - 8), acc->high, (int)n - 8);
}

/* 4/n rows × n tokens into sums[t·stride + r], low + high lanes added. next[r] is fetched ahead;
 * NULL: the rows that follow. */
INLINE void dense_tile(bn_dense_type type, int n, const bn_dense *w, const uint8_t *const *rows,
                       const uint8_t *const *next, const float *x, size_t x_stride, __m256 *sums,
                       int stride)
{
    const int n_rows = 4 / n;
    lanes_16 acc[4];
    UNROLL
    for (int i = 0; i < 4; i++)
        acc[i].low = acc[i].high = _mm256_setzero_ps();
    const size_t ahead = (size_t)n_rows * w->row_bytes;
    const uint32_t step = block_cols(type);
    size_t at = 0; /* byte of the rows */
    uint32_t c = 0;
    for (; c + step <= w->n_cols; c += step, at += block_bytes(type)) {
        UNROLL
        for (int u = 0; u < (int)step / 16; u++) {
            UNROLL
            for (int r = 0; r < n_rows; r++) {
                if (u % 4 == 0)
                    _mm_prefetch((const char *)(next != NULL ? next[r] : rows[r] + ahead) + at +
                                     16 * u,
                                 _MM_HINT_T0);
                lanes_16 weights = widen_16(type, rows[r] + at, u);
                UNROLL
                for (int t = 0; t < n; t++) {
                    const float *token = x + (size_t)t * x_stride + c + 16 * u;
                    lanes_16 *a = &acc[t * n_rows + r];
                    a->low = _mm256_fmadd_ps(weights.low, _mm256_loadu_ps(token), a->low);
                    a->high = _mm256_fmadd_ps(weights.high, _mm256_loadu_ps(token + 8), a->high);
                }
            }
        }
    }
    if (step == 16 && c < w->n_cols) {
        UNROLL
        for (int r = 0; r < n_rows; r++) {
            lanes_16 weights = widen_tail(type, rows[r] + at, w->n_cols - c);
            UNROLL
            for (int t = 0; t < n; t++)
                add_tail(&acc[t * n_rows + r], weights, x + (size_t)t * x_stride + c,
                         w->n_cols - c);
        }
    }
    UNROLL
    for (int i = 0; i < 4; i++)
        sums[i / n_rows * stride + i % n_rows] = _mm256_add_ps(acc[i].low, acc[i].high);
}

/* 8/n rows × n tokens: eight sums. */
INLINE void dense_eight(bn_dense_type type, int n, const bn_dense *w, uint32_t row,
                        uint32_t row_end, const float *x, size_t x_stride, float *y,
                        size_t y_stride)
{
    const uint32_t n_rows = 8 / (uint32_t)n, in_tile = n_rows / 2;
    const uint8_t *rows[8];
    __m256 sums[8];
    for (uint32_t r = 0; r < n_rows; r++) {
        /* From row_end on the last one again, so that nothing is read past it. */
        uint32_t index = row + r < row_end ? row + r : row_end - 1;
        rows[r] = (const uint8_t *)w->rows + index * w->row_bytes;
    }
    dense_tile(type, n, w, rows, NULL, x, x_stride, sums, (int)n_rows);
    dense_tile(type, n, w, rows + in_tile, NULL, x, x_stride, sums + in_tile, (int)n_rows);
    float dots[8];
    _mm256_storeu_ps(dots, reduce_8(sums));
    uint32_t n_stored = row_end - row < n_rows ? row_end - row : n_rows;
    for (uint32_t t = 0; t < (uint32_t)n; t++)
        memcpy(y + t * y_stride + row, dots + t * n_rows, n_stored * sizeof(float));
}

INLINE void dense_batch(bn_dense_type type, int n, const bn_dense *w, uint32_t row_begin,
                        uint32_t row_end, const float *x, size_t x_stride, float *y,
                        size_t y_stride)
{
    for (uint32_t row = row_begin; row < row_end; row += 8 / (uint32_t)n)
        dense_eight(type, n, w, row, row_end, x, x_stride, y, y_stride);
}

INLINE void dense_rows(bn_dense_type type, const bn_dense *w, uint32_t row_begin, uint32_t row_end,
                       const float *x, size_t x_stride, uint32_t n_tokens, float *y,
                       size_t y_stride)
{
    for (uint32_t row = row_begin; row < row_end; row += BATCH) {
        uint32_t end = row_end - row < BATCH ? row_end : row + BATCH;
        uint32_t t = 0;
        for (; t + 4 <= n_tokens; t += 4)
            dense_batch(type, 4, w, row, end, x + t * x_stride, x_stride, y + t * y_stride,
                        y_stride);
        for (; t + 2 <= n_tokens; t += 2)
            dense_batch(type, 2, w, row, end, x + t * x_stride, x_stride, y + t * y_stride,
                        y_stride);
        if (t < n_tokens)
            dense_batch(type, 1, w, row, end, x + t * x_stride, x_stride, y + t * y_stride,
                        y_stride);
    }
}

#define DENSE_CASE(type)                                                                           \
    case type: dense_rows(type, w, row_begin, row_end, x, x_stride, n_tokens, y, y_stride); break;

void bn_avx2_dense_matmul(const bn_dense *w, uint32_t row_begin, uint32_t row_end, const float *x,
                          size_t x_stride, uint32_t n_tokens, float *y, size_t y_stride)
{
    BN_ASSERT(row_end <= w->n_rows);
    switch (w->type) {
        DENSE_TYPES(DENSE_CASE)
    }
}

INLINE void gather_rows(bn_dense_type type, const bn_dense *w, const uint32_t *rows,
                        uint32_t n_rows, const float *x, float *y)
{
    for (uint32_t i = 0; i < n_rows; i += 4) {
        const uint8_t *now[4], *next[4];
        __m256 sums[8];
        for (uint32_t r = 0; r < 4; r++) {
            uint32_t at = i + r < n_rows ? i + r : n_rows - 1;
            uint32_t after = i + r + 4 < n_rows ? i + r + 4 : at;
            now[r] = (const uint8_t *)w->rows + rows[at] * w->row_bytes;
            next[r] = (const uint8_t *)w->rows + rows[after] * w->row_bytes;
            sums[4 + r] = _mm256_setzero_ps();
        }
        dense_tile(type, 1, w, now, next, x, 0, sums, 4);
        float dots[8];
        _mm256_storeu_ps(dots, reduce_8(sums));
        for (uint32_t r = 0; r < 4 && i + r < n_rows; r++)
            y[rows[i + r]] = dots[r];
    }
}

#define GATHER_CASE(type)                                                                          \
    case type: gather_rows(type, w, rows, n_rows, x, y); break;

void bn_avx2_dense_gather(const bn_dense *w, const uint32_t *rows, uint32_t n_rows, const float *x,
                          float *y)
{
    switch (w->type) {
        DENSE_TYPES(GATHER_CASE)
    }
}
