/* avx512_attention.c — one chunk of keys, and the merge of chunks.
 *
 * Up to four query heads share every widened key and value. A tile of scores is always sixteen
 * accumulators (heads × keys), so that one transposed reduction ends it; the tree of DOT16 is
 * kept.
 */
#include "common/status.h"
#include "kernels/avx512.h"
#include "kernels/avx512_lanes.h"

#include <math.h>

#define HEADS_MAX 4

/* Scores, then probabilities, of up to four heads; rows may be written past the last key. */
typedef struct score_rows {
    _Alignas(64) float row[HEADS_MAX][BN_ATTENTION_CHUNK];
} score_rows;

INLINE const uint16_t *key_at(const bn_kv_view *kv, size_t offset, uint32_t position,
                              uint32_t head_size)
{
    return kv->pages[position / BN_KV_PAGE_POSITIONS] + offset +
           (size_t)(position % BN_KV_PAGE_POSITIONS) * head_size;
}

INLINE __m512 widen(const uint16_t *h)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)h));
}

INLINE __m512 widen_first(const uint16_t *h, __mmask16 lanes)
{
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(lanes, h));
}

/* n_heads × n_keys = 16 dot products; lane h·n_keys + k. */
INLINE __m512 score_tile(int n_heads, int n_keys, const float *q, uint32_t head_size,
                         const uint16_t *const *keys)
{
    __m512 acc[16];
    UNROLL
    for (int i = 0; i < 16; i++)
        acc[i] = _mm512_setzero_ps();
    uint32_t d = 0;
    for (; d + 16 <= head_size; d += 16) {
        __m512 x[HEADS_MAX];
        UNROLL
        for (int h = 0; h < n_heads; h++)
            x[h] = _mm512_loadu_ps(q + (size_t)h * head_size + d);
        UNROLL
        for (int k = 0; k < n_keys; k++) {
            __m512 key = widen(keys[k] + d);
            UNROLL
            for (int h = 0; h < n_heads; h++)
                acc[h * n_keys + k] = _mm512_fmadd_ps(x[h], key, acc[h * n_keys + k]);
        }
    }
    if (d < head_size) {
        __mmask16 rest = first_lanes(head_size - d);
        UNROLL
        for (int k = 0; k < n_keys; k++) {
            __m512 key = widen_first(keys[k] + d, rest);
            UNROLL
            for (int h = 0; h < n_heads; h++) {
                __m512 x = _mm512_maskz_loadu_ps(rest, q + (size_t)h * head_size + d);
                acc[h * n_keys + k] = _mm512_mask3_fmadd_ps(x, key, acc[h * n_keys + k], rest);
            }
        }
    }
    return reduce_16(acc);
}

/* All scores of n_heads heads, scaled. Keys past the last are computed as the last. */
INLINE void score_heads(int n_heads, const float *q, uint32_t head_size, const bn_kv_view *kv,
                        uint32_t key_begin, uint32_t n_keys, score_rows *scores)
{
    const int per_tile = 16 / n_heads;
    __m512 scale = _mm512_set1_ps(1.0f / sqrtf((float)head_size));
    for (uint32_t begin = 0; begin < n_keys; begin += (uint32_t)per_tile) {
        const uint16_t *keys[16];
        for (int k = 0; k < per_tile; k++) {
            uint32_t index = begin + (uint32_t)k < n_keys ? begin + (uint32_t)k : n_keys - 1;
            keys[k] = key_at(kv, kv->k_offset, key_begin + index, head_size);
        }
        _Alignas(64) float tile[16];
        _mm512_store_ps(tile,
                        _mm512_mul_ps(score_tile(n_heads, per_tile, q, head_size, keys), scale));
        UNROLL
        for (int h = 0; h < n_heads; h++)
            __builtin_memcpy(scores->row[h] + begin, tile + h * per_tile,
                             (size_t)per_tile * sizeof(float));
    }
}

/* Turns the scores of one head into e_k (zero past the last key); gives m_c and l_c. */
static void exponentiate(float *row, uint32_t n_keys, float *max_out, float *sum_out)
{
    __m512 max = _mm512_set1_ps(-INFINITY);
    for (uint32_t k = 0; k < n_keys; k += 16) {
        __mmask16 lanes = n_keys - k < 16 ? first_lanes(n_keys - k) : 0xFFFF;
        /* vmaxps gives its second operand when the first is NaN. */
        max = _mm512_mask_max_ps(max, lanes, _mm512_load_ps(row + k), max);
    }
    float m = _mm512_reduce_max_ps(max) + 0.0f;
    __m512 sum = _mm512_setzero_ps();
    for (uint32_t k = 0; k < n_keys; k += 16) {
        __mmask16 lanes = n_keys - k < 16 ? first_lanes(n_keys - k) : 0xFFFF;
        __m512 e = exp_16(_mm512_sub_ps(_mm512_load_ps(row + k), _mm512_set1_ps(m)));
        e = _mm512_maskz_mov_ps(lanes, e);
        sum = _mm512_add_ps(sum, e);
        _mm512_store_ps(row + k, e);
    }
    *max_out = m;
    *sum_out = reduce_lanes(sum);
}

/* out[d …] for n_heads heads and n_vectors·16 elements (the last vector cut to `last`). */
INLINE void weigh_tile(int n_heads, int n_vectors, __mmask16 last, uint32_t d, uint32_t head_size,
                       const bn_kv_view *kv, uint32_t key_begin, uint32_t n_keys,
                       const score_rows *e, float *out)
{
    __m512 acc[HEADS_MAX][8];
    UNROLL
    for (int h = 0; h < n_heads; h++) {
        UNROLL
        for (int v = 0; v < n_vectors; v++)
            acc[h][v] = _mm512_setzero_ps();
    }
    for (uint32_t page = 0; page < n_keys; page += BN_KV_PAGE_POSITIONS) {
        const uint16_t *value = key_at(kv, kv->v_offset, key_begin + page, head_size) + d;
        uint32_t left = n_keys - page;
        uint32_t end = page + (left < BN_KV_PAGE_POSITIONS ? left : BN_KV_PAGE_POSITIONS);
        for (uint32_t k = page; k < end; k++) {
            __m512 weight[HEADS_MAX];
            UNROLL
            for (int h = 0; h < n_heads; h++)
                weight[h] = _mm512_set1_ps(e->row[h][k]);
            UNROLL
            for (int v = 0; v < n_vectors; v++) {
                __m512 x =
                    v + 1 < n_vectors ? widen(value + 16 * v) : widen_first(value + 16 * v, last);
                UNROLL
                for (int h = 0; h < n_heads; h++)
                    acc[h][v] = _mm512_fmadd_ps(weight[h], x, acc[h][v]);
            }
            value += head_size;
        }
    }
    UNROLL
    for (int h = 0; h < n_heads; h++) {
        UNROLL
        for (int v = 0; v < n_vectors; v++)
            _mm512_mask_storeu_ps(out + (size_t)h * head_size + d + 16 * v,
                                  v + 1 < n_vectors ? (__mmask16)0xFFFF : last, acc[h][v]);
    }
}

INLINE void weigh_heads(int n_heads, uint32_t head_size, const bn_kv_view *kv, uint32_t key_begin,
                        uint32_t n_keys, const score_rows *e, float *out)
{
    const uint32_t step = n_heads == 4 ? 64 : 128;
    uint32_t d = 0;
    for (; d + step <= head_size; d += step)
        weigh_tile(n_heads, (int)step / 16, 0xFFFF, d, head_size, kv, key_begin, n_keys, e, out);
    for (; d < head_size; d += 16) {
        uint32_t left = head_size - d;
        weigh_tile(n_heads, 1, left < 16 ? first_lanes(left) : 0xFFFF, d, head_size, kv, key_begin,
                   n_keys, e, out);
    }
}

#define DEFINE_HEADS(n)                                                                            \
    static void attend_##n(const float *q, uint32_t head_size, const bn_kv_view *kv,               \
                           uint32_t key_begin, uint32_t n_keys, float *out, float *max_out,        \
                           float *sum_out)                                                         \
    {                                                                                              \
        score_rows scores;                                                                         \
        score_heads(n, q, head_size, kv, key_begin, n_keys, &scores);                              \
        for (int h = 0; h < n; h++)                                                                \
            exponentiate(scores.row[h], n_keys, max_out + h, sum_out + h);                         \
        weigh_heads(n, head_size, kv, key_begin, n_keys, &scores, out);                            \
    }

DEFINE_HEADS(1)
DEFINE_HEADS(2)
DEFINE_HEADS(4)

void bn_avx512_attention_chunk(const float *q, uint32_t n_heads, uint32_t head_size,
                               const bn_kv_view *kv, uint32_t key_begin, uint32_t key_end,
                               float *out, float *max_out, float *sum_out)
{
    BN_ASSERT(key_begin % BN_ATTENTION_CHUNK == 0 && key_begin < key_end);
    BN_ASSERT(key_end - key_begin <= BN_ATTENTION_CHUNK && head_size <= BN_HEAD_SIZE_MAX);
    uint32_t n_keys = key_end - key_begin;
    for (uint32_t h = 0; h < n_heads;) {
        size_t at = (size_t)h * head_size;
        uint32_t n = n_heads - h >= 4 ? 4 : n_heads - h >= 2 ? 2 : 1;
        if (n == 4)
            attend_4(q + at, head_size, kv, key_begin, n_keys, out + at, max_out + h, sum_out + h);
        else if (n == 2)
            attend_2(q + at, head_size, kv, key_begin, n_keys, out + at, max_out + h, sum_out + h);
        else
            attend_1(q + at, head_size, kv, key_begin, n_keys, out + at, max_out + h, sum_out + h);
        h += n;
    }
}

void bn_avx512_attention_merge(float *out, uint32_t head_size, const float *chunks,
                               size_t chunk_stride, const float *max, const float *sum,
                               size_t ml_stride, uint32_t n_chunks)
{
    BN_ASSERT(n_chunks > 0 && head_size <= BN_HEAD_SIZE_MAX);
    _Alignas(64) float o[BN_HEAD_SIZE_MAX];
    float m = -INFINITY, l = 0.0f;
    for (uint32_t c = 0; c < n_chunks; c++)
        m = max[c * ml_stride] > m ? max[c * ml_stride] : m;
    for (uint32_t d = 0; d < head_size; d += 16)
        _mm512_store_ps(o + d, _mm512_setzero_ps());
    for (uint32_t c = 0; c < n_chunks; c++) {
        __m512 f = exp_16(_mm512_set1_ps(max[c * ml_stride] - m));
        l = l + _mm512_cvtss_f32(f) * sum[c * ml_stride];
        for (uint32_t d = 0; d < head_size; d += 16) {
            __mmask16 lanes = head_size - d < 16 ? first_lanes(head_size - d) : 0xFFFF;
            __m512 x = _mm512_maskz_loadu_ps(lanes, chunks + c * chunk_stride + d);
            _mm512_store_ps(o + d, _mm512_add_ps(_mm512_load_ps(o + d), _mm512_mul_ps(f, x)));
        }
    }
    for (uint32_t d = 0; d < head_size; d += 16) {
        __mmask16 lanes = head_size - d < 16 ? first_lanes(head_size - d) : 0xFFFF;
        __m512 value = _mm512_div_ps(_mm512_load_ps(o + d), _mm512_set1_ps(l));
        _mm512_mask_storeu_ps(out + d, lanes, value);
    }
}
