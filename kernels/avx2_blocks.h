/* avx2_blocks.h — the block types of dense rows, sixteen columns at a time, for AVX2 and AVX-512.
 *
 * Layouts are those of dense_blocks.c. `u` (which sixteen of the block) and the type are constants
 * where it counts, so that branches vanish and the compiler shares what several u have in common.
 *
 * Included by the avx2 and avx512 sources only.
 */
#ifndef BN_KERNELS_AVX2_BLOCKS_H
#define BN_KERNELS_AVX2_BLOCKS_H

#include "kernels/kernels.h"
#include "kernels/unroll.h"

#include <immintrin.h>
#include <string.h>

/* x(type) for every type: each has code of its own, so that a block is unrolled. */
#define DENSE_TYPES(x)                                                                             \
    x(BN_DENSE_F32) x(BN_DENSE_F16) x(BN_DENSE_BF16) x(BN_DENSE_Q8_0) x(BN_DENSE_Q6_K)             \
        x(BN_DENSE_Q4_0) x(BN_DENSE_Q5_0) x(BN_DENSE_Q4_K) x(BN_DENSE_Q2_0) x(BN_DENSE_Q2_0_128)   \
            x(BN_DENSE_TQ1_0) x(BN_DENSE_PTQ1_0) x(BN_DENSE_TQ2_0)

INLINE float block_half(const uint8_t *p)
{
    uint16_t h;
    memcpy(&h, p, sizeof h);
    return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(h)));
}

/* Columns of a block, and its bytes; plain types have blocks of 16 columns here. */
INLINE uint32_t block_cols(bn_dense_type type)
{
    switch (type) {
    case BN_DENSE_F32:
    case BN_DENSE_F16:
    case BN_DENSE_BF16: return 16;
    case BN_DENSE_Q8_0:
    case BN_DENSE_Q4_0:
    case BN_DENSE_Q5_0: return 32;
    case BN_DENSE_Q2_0: return 64;
    case BN_DENSE_Q2_0_128:
    case BN_DENSE_PTQ1_0: return 128;
    case BN_DENSE_Q6_K:
    case BN_DENSE_Q4_K:
    case BN_DENSE_TQ1_0:
    case BN_DENSE_TQ2_0: return 256;
    }
    __builtin_unreachable();
}

INLINE size_t block_bytes(bn_dense_type type)
{
    switch (type) {
    case BN_DENSE_F32: return 64;
    case BN_DENSE_F16:
    case BN_DENSE_BF16: return 32;
    case BN_DENSE_Q8_0: return 34;
    case BN_DENSE_Q6_K: return 210;
    case BN_DENSE_Q4_0: return 18;
    case BN_DENSE_Q5_0: return 22;
    case BN_DENSE_Q4_K: return 144;
    case BN_DENSE_Q2_0: return 18;
    case BN_DENSE_Q2_0_128: return 34;
    case BN_DENSE_TQ1_0: return 54;
    case BN_DENSE_PTQ1_0: return 28;
    case BN_DENSE_TQ2_0: return 66;
    }
    __builtin_unreachable();
}

INLINE __m128i bytes_16(const uint8_t *p)
{
    return _mm_loadu_si128((const __m128i *)(const void *)p);
}

INLINE __m128i bytes_4(const uint8_t *p)
{
    int32_t word;
    memcpy(&word, p, sizeof word);
    return _mm_set1_epi32(word);
}

/* The low or high nibbles of 16 bytes. */
INLINE __m128i nibbles(const uint8_t *p, int is_high)
{
    return _mm_and_si128(_mm_srli_epi16(bytes_16(p), 4 * is_high), _mm_set1_epi8(15));
}

INLINE __m256i values_q5_0(const uint8_t *block, int u)
{
    const __m128i bits = _mm_set1_epi64x((long long)0x8040201008040201ull);
    const __m128i which = _mm_set_epi64x(0x0101010101010101, 0);
    int16_t high;
    memcpy(&high, block + 2 + 2 * u, sizeof high);
    __m128i spread = _mm_shuffle_epi8(_mm_set1_epi16(high), which);
    __m128i fifth = _mm_cmpeq_epi8(_mm_and_si128(spread, bits), bits);
    __m128i q = _mm_or_si128(nibbles(block + 6, u), _mm_and_si128(fifth, _mm_set1_epi8(16)));
    return _mm256_cvtepi8_epi16(_mm_sub_epi8(q, _mm_set1_epi8(16)));
}

INLINE __m256i values_tq2_0(const uint8_t *block, int u)
{
    __m128i bytes = bytes_16(block + u / 8 * 32 + u % 2 * 16);
    __m128i q = _mm_and_si128(_mm_srli_epi16(bytes, u % 8 / 2 * 2), _mm_set1_epi8(3));
    return _mm256_cvtepi8_epi16(_mm_sub_epi8(q, _mm_set1_epi8(1)));
}

/* Trits of bytes in base 3: a power of 3 brings the digit up, and 3 carries it out. */
INLINE __m256i base3(__m128i bytes, __m256i powers)
{
    __m256i x = _mm256_mullo_epi16(_mm256_cvtepu8_epi16(bytes), powers);
    x = _mm256_and_si256(x, _mm256_set1_epi16(255));
    x = _mm256_srli_epi16(_mm256_add_epi16(x, _mm256_add_epi16(x, x)), 8);
    return _mm256_sub_epi16(x, _mm256_set1_epi16(1));
}

INLINE __m256i powers_of_3(int n)
{
    static const int16_t powers[] = {1, 3, 9, 27, 81};
    return _mm256_set1_epi16(powers[n]);
}

INLINE __m256i values_tq1_0(const uint8_t *block, int u)
{
    if (u < 10) return base3(bytes_16(block + u % 2 * 16), powers_of_3(u / 2));
    if (u < 15) return base3(bytes_16(block + 32), powers_of_3(u - 10));
    return base3(bytes_4(block + 48),
                 _mm256_setr_epi16(1, 1, 1, 1, 3, 3, 3, 3, 9, 9, 9, 9, 27, 27, 27, 27));
}

INLINE __m256i values_ptq1_0(const uint8_t *block, int u)
{
    if (u < 5) return base3(bytes_16(block), powers_of_3(u));
    __m128i eight = _mm_loadl_epi64((const __m128i *)(const void *)(block + 16));
    if (u < 7) {
        __m256i low = powers_of_3(2 * (u - 5)), high = powers_of_3(2 * (u - 5) + 1);
        return base3(_mm_unpacklo_epi64(eight, eight), _mm256_blend_epi32(low, high, 0xF0));
    }
    int16_t two;
    memcpy(&two, block + 24, sizeof two);
    return base3(_mm_unpacklo_epi64(eight, _mm_set1_epi16(two)),
                 _mm256_setr_epi16(81, 81, 81, 81, 81, 81, 81, 81, 1, 1, 3, 3, 9, 9, 27, 27));
}

/* Q4_K: scale · q of the u-th sixteen, and the minimum of their 32. */
INLINE __m256i values_q4_k(const uint8_t *block, int u, uint32_t *min_out)
{
    const uint8_t *packed = block + 4;
    const int j = u / 2;
    uint32_t scale;
    if (j < 4) {
        scale = packed[j] & 63u;
        *min_out = packed[j + 4] & 63u;
    } else {
        scale = (packed[j + 4] & 15u) | (packed[j - 4] >> 6 & 3u) << 4;
        *min_out = (packed[j + 4] >> 4 & 15u) | (packed[j] >> 6 & 3u) << 4;
    }
    __m128i q = nibbles(block + 16 + j / 2 * 32 + u % 2 * 16, j % 2);
    return _mm256_mullo_epi16(_mm256_cvtepi8_epi16(q), _mm256_set1_epi16((int16_t)scale));
}

/* The types whose values are d · q with q in 16 bits: q of the u-th sixteen columns, and d. */
INLINE __m256i block_values(bn_dense_type type, const uint8_t *block, int u, float *d_out)
{
    *d_out = block_half(block + (type == BN_DENSE_TQ1_0    ? 52
                                 : type == BN_DENSE_TQ2_0  ? 64
                                 : type == BN_DENSE_PTQ1_0 ? 26
                                                           : 0));
    switch (type) {
    case BN_DENSE_Q8_0: return _mm256_cvtepi8_epi16(bytes_16(block + 2 + 16 * u));
    case BN_DENSE_Q4_0:
        return _mm256_cvtepi8_epi16(_mm_sub_epi8(nibbles(block + 2, u), _mm_set1_epi8(8)));
    case BN_DENSE_Q5_0: return values_q5_0(block, u);
    case BN_DENSE_TQ1_0: return values_tq1_0(block, u);
    case BN_DENSE_PTQ1_0: return values_ptq1_0(block, u);
    case BN_DENSE_TQ2_0: return values_tq2_0(block, u);
    default: __builtin_unreachable();
    }
}

/* Q2_0: four bytes are sixteen codes; the k-th shift brings column k down. */
INLINE int32_t codes_q2_0(const uint8_t *block, int u)
{
    int32_t word;
    memcpy(&word, block + 2 + 4 * u, sizeof word);
    return word;
}

#endif
