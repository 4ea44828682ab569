/* avx512_dense.c — embedding rows and the head.
 *
 * One row is one chain of fma, so several rows run at once to hide its latency, and several
 * tokens share each widened vector. Four rows at a time keep the streams from memory few;
 * sixteen finished sums meet in one transposed reduction.
 */
#include "common/status.h"
#include "kernels/avx512.h"
#include "kernels/avx2_blocks.h"
#include "kernels/avx512_lanes.h"

#include <string.h>

/* Sixteen columns of a block of 32, from the u-th sixteen. */
INLINE __m512 widen_q8_0(const uint8_t *block, int u)
{
    return _mm512_mul_ps(_mm512_set1_ps(block_half(block)),
                         _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes_16(block + 2 + 16 * u))));
}

/* 64 values of a block of 256, their offset of 32 taken off: quarters 0 and 1 of a half, or 2
 * and 3. The shifts put each quarter's two high bits at 4 and 5; what else they move is masked
 * away. */
INLINE __m512i q6_k_values(const uint8_t *block, int half, int pair)
{
    const __m512i by_quarter = _mm512_inserti64x4(_mm512_setzero_si512(), _mm256_set1_epi16(2), 1);
    __m512i low = _mm512_loadu_si512(block + 64 * half);
    __m512i high = _mm512_broadcast_i64x4(
        _mm256_loadu_si256((const __m256i *)(const void *)(block + 128 + 32 * half)));
    if (pair == 0) {
        high = _mm512_sllv_epi16(high, _mm512_sub_epi16(_mm512_set1_epi16(4), by_quarter));
    } else {
        low = _mm512_srli_epi16(low, 4);
        high = _mm512_srlv_epi16(high, by_quarter);
    }
    __m512i q = _mm512_or_si512(_mm512_and_si512(low, _mm512_set1_epi8(0x0F)),
                                _mm512_and_si512(high, _mm512_set1_epi8(0x30)));
    return _mm512_sub_epi8(q, _mm512_set1_epi8(32));
}

/* The u-th sixteen columns of a block of 256. u is a constant where it counts, and the compiler
 * shares what four of them have in common. */
INLINE __m512 widen_q6_k(const uint8_t *block, int u)
{
    __m512i values = q6_k_values(block, u / 8, u % 8 / 4);
    __m256i bytes =
        u % 4 / 2 == 0 ? _mm512_castsi512_si256(values) : _mm512_extracti64x4_epi64(values, 1);
    __m256i scales =
        _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(const void *)(block + 192)));
    const __m512i two = _mm512_inserti64x4(_mm512_set1_epi16((short)(u / 2 * 2)),
                                           _mm256_set1_epi16((short)(u / 2 * 2 + 1)), 1);
    /* The product of the integers first: 0 has one sign there. */
    __m512i product = _mm512_mullo_epi16(
        _mm512_cvtepi8_epi16(bytes), _mm512_permutexvar_epi16(two, _mm512_castsi256_si512(scales)));
    __m256i words =
        u % 2 == 0 ? _mm512_castsi512_si256(product) : _mm512_extracti64x4_epi64(product, 1);
    return _mm512_mul_ps(_mm512_set1_ps(block_half(block + 208)),
                         _mm512_cvtepi32_ps(_mm512_cvtepi16_epi32(words)));
}

INLINE __m512 scaled_16(__m256i values, float d)
{
    return _mm512_mul_ps(_mm512_set1_ps(d), _mm512_cvtepi32_ps(_mm512_cvtepi16_epi32(values)));
}

INLINE __m512 widen_q4_k(const uint8_t *block, int u)
{
    uint32_t min;
    __m512 values = scaled_16(values_q4_k(block, u, &min), block_half(block));
    return _mm512_sub_ps(values, _mm512_set1_ps(block_half(block + 2) * (float)min));
}

INLINE __m512 widen_q2_0(const uint8_t *block, int u)
{
    const __m512i shifts =
        _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    __m512i codes = _mm512_srlv_epi32(_mm512_set1_epi32(codes_q2_0(block, u)), shifts);
    codes = _mm512_and_si512(codes, _mm512_set1_epi32(3));
    return _mm512_mul_ps(_mm512_set1_ps(block_half(block)),
                         _mm512_cvtepi32_ps(_mm512_sub_epi32(codes, _mm512_set1_epi32(1))));
}

INLINE __m512 widen_values(bn_dense_type type, const uint8_t *block, int u)
{
    float d;
    __m256i values = block_values(type, block, u, &d);
    return scaled_16(values, d);
}

/* The u-th sixteen columns of a block. */
INLINE __m512 widen_16(bn_dense_type type, const uint8_t *block, int u)
{
    switch (type) {
    case BN_DENSE_F32: return _mm512_loadu_ps(block);
    case BN_DENSE_F16:
        return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)block));
    case BN_DENSE_BF16:
        return _mm512_castsi512_ps(_mm512_slli_epi32(
            _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(const void *)block)), 16));
    case BN_DENSE_Q8_0: return widen_q8_0(block, u);
    case BN_DENSE_Q6_K: return widen_q6_k(block, u);
    case BN_DENSE_Q4_K: return widen_q4_k(block, u);
    case BN_DENSE_Q2_0:
    case BN_DENSE_Q2_0_128: return widen_q2_0(block, u);
    default: return widen_values(type, block, u);
    }
    __builtin_unreachable();
}

/* The last columns of a row whose length is no multiple of 16: never in the block types. */
INLINE __m512 widen_first(bn_dense_type type, const uint8_t *p, __mmask16 lanes)
{
    if (type == BN_DENSE_F32) return _mm512_maskz_loadu_ps(lanes, p);
    __m256i h = _mm256_maskz_loadu_epi16(lanes, p);
    if (type == BN_DENSE_F16) return _mm512_cvtph_ps(h);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
}

INLINE void widen_row(bn_dense_type type, const uint8_t *row, uint32_t n_cols, float *out)
{
    const uint32_t step = block_cols(type);
    uint32_t c = 0;
    for (; c + step <= n_cols; c += step) {
        for (int u = 0; u < (int)step / 16; u++)
            _mm512_storeu_ps(out + c + 16 * u, widen_16(type, row, u));
        row += block_bytes(type);
    }
    if (step == 16 && c < n_cols) {
        __mmask16 rest = first_lanes(n_cols - c);
        _mm512_mask_storeu_ps(out + c, rest, widen_first(type, row, rest));
    }
}

#define ROW_CASE(type)                                                                             \
    case type: widen_row(type, p, w->n_cols, out); break;

void bn_avx512_dense_row(const bn_dense *w, uint32_t row, float *out)
{
    BN_ASSERT(row < w->n_rows);
    const uint8_t *p = (const uint8_t *)w->rows + row * w->row_bytes;
    switch (w->type) {
        DENSE_TYPES(ROW_CASE)
    }
}

#define ROWS 4   /* of a tile */
#define TOKENS 4 /* of a tile, at most */
#define BATCH 16 /* rows whose weights are read once for all tokens */

/* The accumulators of 4 rows × n tokens, into sums[t·stride + r]. next[r] is fetched ahead; NULL:
 * the four rows that follow. */
INLINE void dense_tile(bn_dense_type type, int n, const bn_dense *w, const uint8_t *const *rows,
                       const uint8_t *const *next, const float *x, size_t x_stride, __m512 *sums,
                       size_t stride)
{
    __m512 acc[TOKENS][ROWS];
    UNROLL
    for (int t = 0; t < n; t++) {
        UNROLL
        for (int r = 0; r < ROWS; r++)
            acc[t][r] = _mm512_setzero_ps();
    }
    const size_t ahead = ROWS * w->row_bytes;
    const uint32_t step = block_cols(type);
    size_t at = 0; /* byte of the rows */
    uint32_t c = 0;
    for (; c + step <= w->n_cols; c += step, at += block_bytes(type)) {
        UNROLL
        for (int u = 0; u < (int)step / 16; u++) {
            __m512 tokens[TOKENS];
            UNROLL
            for (int t = 0; t < n; t++)
                tokens[t] = _mm512_loadu_ps(x + (size_t)t * x_stride + c + 16 * u);
            UNROLL
            for (int r = 0; r < ROWS; r++) {
                if (u % 4 == 0)
                    _mm_prefetch((const char *)(next != NULL ? next[r] : rows[r] + ahead) + at +
                                     16 * u,
                                 _MM_HINT_T0);
                __m512 weights = widen_16(type, rows[r] + at, u);
                UNROLL
                for (int t = 0; t < n; t++)
                    acc[t][r] = _mm512_fmadd_ps(weights, tokens[t], acc[t][r]);
            }
        }
    }
    if (step == 16 && c < w->n_cols) {
        __mmask16 rest = first_lanes(w->n_cols - c);
        UNROLL
        for (int r = 0; r < ROWS; r++) {
            __m512 weights = widen_first(type, rows[r] + at, rest);
            UNROLL
            for (int t = 0; t < n; t++) {
                __m512 tail = _mm512_maskz_loadu_ps(rest, x + (size_t)t * x_stride + c);
                acc[t][r] = _mm512_mask3_fmadd_ps(weights, tail, acc[t][r], rest);
            }
        }
    }
    UNROLL
    for (int t = 0; t < n; t++) {
        UNROLL
        for (int r = 0; r < ROWS; r++)
            sums[(size_t)t * stride + (size_t)r] = acc[t][r];
    }
}

/* 16/n rows × n tokens: sixteen sums. */
INLINE void dense_sixteen(bn_dense_type type, int n, const bn_dense *w, uint32_t row,
                          uint32_t row_end, const float *x, size_t x_stride, float *y,
                          size_t y_stride)
{
    const uint32_t n_rows = 16 / (uint32_t)n;
    __m512 sums[16];
    for (uint32_t r = 0; r < n_rows; r += ROWS) {
        /* From row_end on the last one again, so that nothing is read past it. */
        const uint8_t *rows[ROWS];
        for (uint32_t i = 0; i < ROWS; i++) {
            uint32_t index = row + r + i < row_end ? row + r + i : row_end - 1;
            rows[i] = (const uint8_t *)w->rows + index * w->row_bytes;
        }
        dense_tile(type, n, w, rows, NULL, x, x_stride, sums + r, n_rows);
    }
    float dots[16];
    _mm512_storeu_ps(dots, reduce_16(sums));
    uint32_t n_stored = row_end - row < n_rows ? row_end - row : n_rows;
    for (uint32_t t = 0; t < (uint32_t)n; t++)
        memcpy(y + t * y_stride + row, dots + t * n_rows, n_stored * sizeof(float));
}

INLINE void dense_batch(bn_dense_type type, int n, const bn_dense *w, uint32_t row_begin,
                        uint32_t row_end, const float *x, size_t x_stride, float *y,
                        size_t y_stride)
{
    for (uint32_t row = row_begin; row < row_end; row += 16 / (uint32_t)n)
        dense_sixteen(type, n, w, row, row_end, x, x_stride, y, y_stride);
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

void bn_avx512_dense_matmul(const bn_dense *w, uint32_t row_begin, uint32_t row_end, const float *x,
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
    for (uint32_t i = 0; i < n_rows; i += ROWS) {
        const uint8_t *now[ROWS], *next[ROWS];
        __m512 sums[ROWS];
        for (uint32_t r = 0; r < ROWS; r++) {
            uint32_t at = i + r < n_rows ? i + r : n_rows - 1;
            uint32_t after = i + r + ROWS < n_rows ? i + r + ROWS : at;
            now[r] = (const uint8_t *)w->rows + rows[at] * w->row_bytes;
            next[r] = (const uint8_t *)w->rows + rows[after] * w->row_bytes;
        }
        dense_tile(type, 1, w, now, next, x, 0, sums, ROWS);
        for (uint32_t r = 0; r < ROWS && i + r < n_rows; r++)
            y[rows[i + r]] = reduce_lanes(sums[r]);
    }
}

#define GATHER_CASE(type)                                                                          \
    case type: gather_rows(type, w, rows, n_rows, x, y); break;

void bn_avx512_dense_gather(const bn_dense *w, const uint32_t *rows, uint32_t n_rows,
                            const float *x, float *y)
{
    switch (w->type) {
        DENSE_TYPES(GATHER_CASE)
    }
}
