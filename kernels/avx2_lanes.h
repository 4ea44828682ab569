/* avx2_lanes.h — what several AVX2 files need: the sixteen lanes of the contract as two registers.
 *
 * Included by the avx2 sources only, which are compiled for AVX2, FMA and F16C.
 */
#ifndef BN_KERNELS_AVX2_LANES_H
#define BN_KERNELS_AVX2_LANES_H

#include "kernels/exp_f32.h"
#include "kernels/unroll.h"

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Lanes 0 … 7 and 8 … 15. */
typedef struct lanes_16 {
    __m256 low, high;
} lanes_16;

/* All bits in the first n lanes (n ≤ 0: none, n ≥ 8: all). */
INLINE __m256i first_lanes(int n)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

/* Up to 8 floats; the other lanes are 0 and their memory is not touched. */
INLINE __m256 load_first(const float *x, size_t n)
{
    return n >= 8 ? _mm256_loadu_ps(x) : _mm256_maskload_ps(x, first_lanes((int)n));
}

INLINE void store_first(float *x, size_t n, __m256 value)
{
    if (n >= 8)
        _mm256_storeu_ps(x, value);
    else
        _mm256_maskstore_ps(x, first_lanes((int)n), value);
}

INLINE __m256 widen_8(const uint16_t *h)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)h));
}

/* Up to 8 halves; the other lanes are 0. */
INLINE __m256 widen_first(const uint16_t *h, size_t n)
{
    if (n >= 8) return widen_8(h);
    uint16_t padded[8] = {0};
    memcpy(padded, h, n * sizeof *h);
    return widen_8(padded);
}

/* acc + a·b in the first n lanes; the others stay (adding zero could turn −0 into +0). */
INLINE __m256 fmadd_first(__m256 a, __m256 b, __m256 acc, int n)
{
    return _mm256_blendv_ps(acc, _mm256_fmadd_ps(a, b, acc), _mm256_castsi256_ps(first_lanes(n)));
}

/* bn_exp_f32 in every lane. */
INLINE __m256 exp_8(__m256 x)
{
    __m256 c = _mm256_min_ps(_mm256_set1_ps(BN_EXP_MAX), x); /* the second operand when NaN */
    __m256 round = _mm256_set1_ps(BN_EXP_ROUND);
    __m256 t = _mm256_fmadd_ps(c, _mm256_set1_ps(BN_EXP_LOG2E), round);
    __m256 n = _mm256_sub_ps(t, round);
    __m256 r = _mm256_fmadd_ps(n, _mm256_set1_ps(-BN_EXP_LN2_HI), c);
    r = _mm256_fmadd_ps(n, _mm256_set1_ps(-BN_EXP_LN2_LO), r);
    __m256 p = _mm256_fmadd_ps(_mm256_set1_ps(BN_EXP_C6), r, _mm256_set1_ps(BN_EXP_C5));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(BN_EXP_C4));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(BN_EXP_C3));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(BN_EXP_C2));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f));
    __m256i power = _mm256_add_epi32(_mm256_slli_epi32(_mm256_castps_si256(t), 23),
                                     _mm256_set1_epi32(0x3F800000));
    __m256 is_kept = _mm256_cmp_ps(x, _mm256_set1_ps(BN_EXP_MIN), _CMP_NLT_UQ);
    return _mm256_and_ps(is_kept, _mm256_mul_ps(p, _mm256_castsi256_ps(power)));
}

/* The tree 8, 4, 2, 1. */
INLINE float reduce_lanes(lanes_16 a)
{
    __m256 a8 = _mm256_add_ps(a.low, a.high);
    __m128 a4 = _mm_add_ps(_mm256_castps256_ps128(a8), _mm256_extractf128_ps(a8, 1));
    __m128 a2 = _mm_add_ps(a4, _mm_movehl_ps(a4, a4));
    return _mm_cvtss_f32(_mm_add_ss(a2, _mm_movehdup_ps(a2)));
}

INLINE __m256 fold_4(__m256 a, __m256 b)
{
    return _mm256_add_ps(_mm256_permute2f128_ps(a, b, 0x20), _mm256_permute2f128_ps(a, b, 0x31));
}

INLINE __m256 fold_2(__m256 a, __m256 b)
{
    return _mm256_add_ps(_mm256_shuffle_ps(a, b, 0x44), _mm256_shuffle_ps(a, b, 0xEE));
}

INLINE __m256 fold_1(__m256 a, __m256 b)
{
    return _mm256_add_ps(_mm256_shuffle_ps(a, b, 0x88), _mm256_shuffle_ps(a, b, 0xDD));
}

/* Lane i is the tree's sum of v[i], where v[i] is already low + high. */
INLINE __m256 reduce_8(const __m256 v[8])
{
    __m256 a = fold_2(fold_4(v[0], v[4]), fold_4(v[1], v[5]));
    __m256 b = fold_2(fold_4(v[2], v[6]), fold_4(v[3], v[7]));
    return fold_1(a, b);
}

#endif
