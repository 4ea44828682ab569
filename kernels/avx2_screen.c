/* avx2_screen.c — the screen's integer products with vpmaddwd.
 *
 * A block of 16 rows × 4 columns is widened to 16 bits in four registers of 4 rows, which keep two
 * partial sums for each row. A token's bytes are joined to p = 128·high + low by one vpmaddubsw.
 * Two tokens at a time fill the registers; the group stays in the second-level cache for the next
 * two.
 */
#include "common/status.h"
#include "kernels/avx2.h"
#include "kernels/avx2_lanes.h"
#include "kernels/screen.h"

#define BLOCK_BYTES 64
#define PREFETCH_BYTES 2048

/* p of four columns, four times over. */
INLINE __m256i join_bytes(const int8_t *p)
{
    int64_t bytes;
    memcpy(&bytes, p, sizeof bytes);
    const __m256i pairs = _mm256_setr_epi8(4, 0, 5, 1, 6, 2, 7, 3, 4, 0, 5, 1, 6, 2, 7, 3, 4, 0, 5,
                                           1, 6, 2, 7, 3, 4, 0, 5, 1, 6, 2, 7, 3);
    const __m256i factors = _mm256_set1_epi16((short)0x8001); /* 1 and 128, unsigned */
    return _mm256_maddubs_epi16(factors, _mm256_shuffle_epi8(_mm256_set1_epi64x(bytes), pairs));
}

/* dots[t·16 + row] = Σ(q + 128)·p of one group and the n tokens from panel on. */
INLINE void screen_tile(int n, const uint8_t *w, const int8_t *panel, uint32_t panel_step,
                        uint32_t n_blocks, int32_t *dots)
{
    __m256i acc[2][4];
    UNROLL
    for (int t = 0; t < n; t++) {
        UNROLL
        for (int i = 0; i < 4; i++)
            acc[t][i] = _mm256_setzero_si256();
    }
    for (uint32_t block = 0; block < n_blocks; block++) {
        __m256i p[2];
        _mm_prefetch((const char *)w + PREFETCH_BYTES, _MM_HINT_T0);
        UNROLL
        for (int t = 0; t < n; t++)
            p[t] = join_bytes(panel + t * 8);
        UNROLL
        for (int i = 0; i < 4; i++) {
            __m256i codes =
                _mm256_cvtepu8_epi16(_mm_load_si128((const __m128i *)(const void *)(w + 16 * i)));
            UNROLL
            for (int t = 0; t < n; t++) {
                acc[t][i] = _mm256_add_epi32(acc[t][i], _mm256_madd_epi16(codes, p[t]));
                /* In this order: gcc widens all four first, and has no registers left. */
                __asm__("" : "+x"(acc[t][i]));
            }
        }
        w += BLOCK_BYTES;
        panel += panel_step;
    }
    UNROLL
    for (int t = 0; t < n; t++) {
        UNROLL
        for (int i = 0; i < 4; i += 2) {
            /* Rows 0 1 4 5 | 2 3 6 7 of eight, put in order. */
            __m256i sums = _mm256_hadd_epi32(acc[t][i], acc[t][i + 1]);
            sums = _mm256_permute4x64_epi64(sums, 0xD8);
            _mm256_storeu_si256((__m256i *)(void *)(dots + t * 16 + i * 4), sums);
        }
    }
}

/* Eight rows of one token; the largest upper bound of each lane. */
INLINE __m256 store_bounds(const bn_screen *w, uint32_t row, const int32_t *dots,
                           const bn_screen_tokens *x, uint32_t t, float *lower)
{
    __m256i dot = _mm256_loadu_si256((const __m256i *)(const void *)dots);
    dot = _mm256_sub_epi32(dot, _mm256_set1_epi32((int32_t)x->offset[t]));
    __m256 scale = _mm256_mul_ps(_mm256_loadu_ps(w->scale + row), _mm256_set1_ps(x->step[t]));
    __m256 approx = _mm256_mul_ps(_mm256_cvtepi32_ps(dot), scale);
    __m256 bound = _mm256_fmadd_ps(_mm256_loadu_ps(w->norm + row), _mm256_set1_ps(x->rest[t]),
                                   _mm256_set1_ps(BN_SCREEN_FLOOR));
    bound = _mm256_fmadd_ps(_mm256_loadu_ps(w->error + row), _mm256_set1_ps(x->length[t]), bound);
    if (row < w->n_rows) store_first(lower + row, w->n_rows - row, _mm256_sub_ps(approx, bound));
    return _mm256_add_ps(approx, bound);
}

INLINE float max_of_lanes(__m256 a)
{
    __m128 m = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    m = _mm_max_ps(m, _mm_movehl_ps(m, m));
    return _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
}

void bn_avx2_screen_matmul(const bn_screen *w, uint32_t group_begin, uint32_t group_end,
                           const bn_screen_tokens *x, float *lower, size_t lower_stride,
                           float *upper, size_t upper_stride)
{
    BN_ASSERT(w->n_cols == x->n_cols && x->n_tokens >= 1 && x->n_tokens <= BN_SCREEN_TOKENS_MAX);
    BN_ASSERT(group_end <= bn_screen_groups(w->n_rows));
    size_t group_bytes = bn_screen_group_bytes(w->n_cols);
    uint32_t n_blocks = bn_screen_padded_cols(w->n_cols) / 4;
    for (uint32_t group = group_begin; group < group_end; group++) {
        const uint8_t *blocks = w->blocks + group_bytes * group;
        int32_t dots[16 * BN_SCREEN_TOKENS_MAX];
        uint32_t row = group * BN_SCREEN_GROUP_ROWS, t = 0;
        for (; t + 2 <= x->n_tokens; t += 2)
            screen_tile(2, blocks, x->panel + t * 8, x->n_tokens * 8, n_blocks, dots + t * 16);
        if (t < x->n_tokens)
            screen_tile(1, blocks, x->panel + t * 8, x->n_tokens * 8, n_blocks, dots + t * 16);
        for (t = 0; t < x->n_tokens; t++) {
            float *to = lower + t * lower_stride;
            __m256 low = store_bounds(w, row, dots + t * 16, x, t, to);
            __m256 high = store_bounds(w, row + 8, dots + t * 16 + 8, x, t, to);
            upper[t * upper_stride + group] = max_of_lanes(_mm256_max_ps(low, high));
        }
    }
}
