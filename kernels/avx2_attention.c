/* avx2_attention.c — one chunk of keys, and the merge of chunks.
 *
 * Up to four query heads share every widened key and value. A tile of scores is four dot products
 * (heads × keys), which is what the registers hold; two tiles end in one transposed reduction.
 */
#include "common/status.h"
#include "kernels/avx2.h"
#include "kernels/avx2_lanes.h"

#include <math.h>

#define HEADS_MAX 4

/* Scores, then probabilities, of up to four heads; rows may be written past the last key. */
typedef struct score_rows {
    _Alignas(32) float row[HEADS_MAX][BN_ATTENTION_CHUNK];
} score_rows;

INLINE const uint16_t *key_at(const bn_kv_view *kv, size_t offset, uint32_t position,
                              uint32_t head_size)
{
    return kv->pages[position / BN_KV_PAGE_POSITIONS] + offset +
           (size_t)(position % BN_KV_PAGE_POSITIONS) * head_size;
}

/* n_heads × n_keys = 4 dot products: sums[h·stride + k], low + high lanes added. */
INLINE void score_tile(int n_heads, int n_keys, const float *q, uint32_t head_size,
                       const uint16_t *const *keys, __m256 *sums, int stride)
{
    lanes_16 acc[4];
    UNROLL
    for (int i = 0; i < 4; i++)
        acc[i].low = acc[i].high = _mm256_setzero_ps();
    uint32_t d = 0;
    for (; d + 16 <= head_size; d += 16) {
        UNROLL
        for (int k = 0; k < n_keys; k++) {
            __m256 low = widen_8(keys[k] + d), high = widen_8(keys[k] + d + 8);
            UNROLL
            for (int h = 0; h < n_heads; h++) {
                const float *x = q + (size_t)h * head_size + d;
                lanes_16 *a = &acc[h * n_keys + k];
                a->low = _mm256_fmadd_ps(_mm256_loadu_ps(x), low, a->low);
                a->high = _mm256_fmadd_ps(_mm256_loadu_ps(x + 8), high, a->high);
            }
        }
    }
    for (; d < head_size; d += 8) {
        uint32_t left = head_size - d;
        UNROLL
        for (int k = 0; k < n_keys; k++) {
            __m256 key = widen_first(keys[k] + d, left);
            UNROLL
            for (int h = 0; h < n_heads; h++) {
                __m256 x = load_first(q + (size_t)h * head_size + d, left);
                lanes_16 *a = &acc[h * n_keys + k];
                if (d % 16 == 0)
                    a->low = fmadd_first(x, key, a->low, (int)left);
                else
                    a->high = fmadd_first(x, key, a->high, (int)left);
            }
        }
    }
    UNROLL
    for (int h = 0; h < n_heads; h++) {
        UNROLL
        for (int k = 0; k < n_keys; k++) {
            const lanes_16 *a = &acc[h * n_keys + k];
            sums[h * stride + k] = _mm256_add_ps(a->low, a->high);
        }
    }
}

/* All scores of n_heads heads, scaled. Keys past the last are computed as the last. */
INLINE void score_heads(int n_heads, const float *q, uint32_t head_size, const bn_kv_view *kv,
                        uint32_t key_begin, uint32_t n_keys, score_rows *scores)
{
    const int per_tile = 4 / n_heads, per_step = 2 * per_tile;
    __m256 scale = _mm256_set1_ps(1.0f / sqrtf((float)head_size));
    for (uint32_t begin = 0; begin < n_keys; begin += (uint32_t)per_step) {
        const uint16_t *keys[8];
        for (int k = 0; k < per_step; k++) {
            uint32_t index = begin + (uint32_t)k < n_keys ? begin + (uint32_t)k : n_keys - 1;
            keys[k] = key_at(kv, kv->k_offset, key_begin + index, head_size);
        }
        __m256 sums[8];
        score_tile(n_heads, per_tile, q, head_size, keys, sums, per_step);
        score_tile(n_heads, per_tile, q, head_size, keys + per_tile, sums + per_tile, per_step);
        float step[8];
        _mm256_storeu_ps(step, _mm256_mul_ps(reduce_8(sums), scale));
        for (int h = 0; h < n_heads; h++)
            memcpy(scores->row[h] + begin, step + h * per_step, (size_t)per_step * sizeof(float));
    }
}

static float max_of_row(const float *row, uint32_t n_keys)
{
    __m256 max = _mm256_set1_ps(-INFINITY);
    uint32_t k = 0;
    for (; k + 8 <= n_keys; k += 8) /* vmaxps gives its second operand when the first is NaN */
        max = _mm256_max_ps(_mm256_load_ps(row + k), max);
    float lanes[8], m = -INFINITY;
    _mm256_storeu_ps(lanes, max);
    for (int i = 0; i < 8; i++)
        m = lanes[i] > m ? lanes[i] : m;
    for (; k < n_keys; k++)
        m = row[k] > m ? row[k] : m;
    return m + 0.0f;
}

/* Turns the scores of one head into e_k (zero past the last key); gives m_c and l_c. */
static void exponentiate(float *row, uint32_t n_keys, float *max_out, float *sum_out)
{
    float m = max_of_row(row, n_keys);
    lanes_16 sum = {_mm256_setzero_ps(), _mm256_setzero_ps()};
    for (uint32_t k = 0; k < n_keys; k += 16) {
        __m256 low = exp_8(_mm256_sub_ps(_mm256_load_ps(row + k), _mm256_set1_ps(m)));
        __m256 high = exp_8(_mm256_sub_ps(_mm256_load_ps(row + k + 8), _mm256_set1_ps(m)));
        int left = (int)(n_keys - k);
        low = _mm256_and_ps(low, _mm256_castsi256_ps(first_lanes(left)));
        high = _mm256_and_ps(high, _mm256_castsi256_ps(first_lanes(left - 8)));
        sum.low = _mm256_add_ps(sum.low, low);
        sum.high = _mm256_add_ps(sum.high, high);
        _mm256_store_ps(row + k, low);
        _mm256_store_ps(row + k + 8, high);
    }
    *max_out = m;
    *sum_out = reduce_lanes(sum);
}

/* out[d …] for n_heads heads and n_vectors·8 elements (n_last of the last vector). */
INLINE void weigh_tile(int n_heads, int n_vectors, uint32_t n_last, uint32_t d, uint32_t head_size,
                       const bn_kv_view *kv, uint32_t key_begin, uint32_t n_keys,
                       const score_rows *e, float *out)
{
    __m256 acc[HEADS_MAX][8];
    UNROLL
    for (int h = 0; h < n_heads; h++) {
        UNROLL
        for (int v = 0; v < n_vectors; v++)
            acc[h][v] = _mm256_setzero_ps();
    }
    for (uint32_t page = 0; page < n_keys; page += BN_KV_PAGE_POSITIONS) {
        const uint16_t *value = key_at(kv, kv->v_offset, key_begin + page, head_size) + d;
        uint32_t left = n_keys - page;
        uint32_t end = page + (left < BN_KV_PAGE_POSITIONS ? left : BN_KV_PAGE_POSITIONS);
        for (uint32_t k = page; k < end; k++) {
            UNROLL
            for (int v = 0; v < n_vectors; v++) {
                __m256 x = n_last == 8 || v + 1 < n_vectors ? widen_8(value + 8 * v)
                                                            : widen_first(value + 8 * v, n_last);
                UNROLL
                for (int h = 0; h < n_heads; h++)
                    acc[h][v] = _mm256_fmadd_ps(_mm256_broadcast_ss(&e->row[h][k]), x, acc[h][v]);
            }
            value += head_size;
        }
    }
    UNROLL
    for (int h = 0; h < n_heads; h++) {
        UNROLL
        for (int v = 0; v < n_vectors; v++)
            store_first(out + (size_t)h * head_size + d + 8 * v, v + 1 < n_vectors ? 8 : n_last,
                        acc[h][v]);
    }
}

INLINE void weigh_heads(int n_heads, uint32_t head_size, const bn_kv_view *kv, uint32_t key_begin,
                        uint32_t n_keys, const score_rows *e, float *out)
{
    const int n_vectors = 8 / n_heads;
    uint32_t d = 0;
    for (; d + 8 * (uint32_t)n_vectors <= head_size; d += 8 * (uint32_t)n_vectors)
        weigh_tile(n_heads, n_vectors, 8, d, head_size, kv, key_begin, n_keys, e, out);
    for (; d + 8 <= head_size; d += 8)
        weigh_tile(n_heads, 1, 8, d, head_size, kv, key_begin, n_keys, e, out);
    if (d < head_size)
        weigh_tile(n_heads, 1, head_size - d, d, head_size, kv, key_begin, n_keys, e, out);
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

void bn_avx2_attention_chunk(const float *q, uint32_t n_heads, uint32_t head_size,
                             const bn_kv_view *kv, uint32_t key_begin, uint32_t key_end, float *out,
                             float *max_out, float *sum_out)
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

void bn_avx2_attention_merge(float *out, uint32_t head_size, const float *chunks,
                             size_t chunk_stride, const float *max, const float *sum,
                             size_t ml_stride, uint32_t n_chunks)
{
    BN_ASSERT(n_chunks > 0 && head_size <= BN_HEAD_SIZE_MAX);
    _Alignas(32) float o[BN_HEAD_SIZE_MAX];
    float m = -INFINITY, l = 0.0f;
    for (uint32_t c = 0; c < n_chunks; c++)
        m = max[c * ml_stride] > m ? max[c * ml_stride] : m;
    for (uint32_t d = 0; d < head_size; d += 8)
        _mm256_store_ps(o + d, _mm256_setzero_ps());
    for (uint32_t c = 0; c < n_chunks; c++) {
        __m256 f = exp_8(_mm256_set1_ps(max[c * ml_stride] - m));
        l = l + _mm256_cvtss_f32(f) * sum[c * ml_stride];
        for (uint32_t d = 0; d < head_size; d += 8) {
            __m256 x = load_first(chunks + c * chunk_stride + d, head_size - d);
            _mm256_store_ps(o + d, _mm256_add_ps(_mm256_load_ps(o + d), _mm256_mul_ps(f, x)));
        }
    }
    for (uint32_t d = 0; d < head_size; d += 8)
        store_first(out + d, head_size - d,
                    _mm256_div_ps(_mm256_load_ps(o + d), _mm256_set1_ps(l)));
}
