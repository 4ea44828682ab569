/* avx512_lanes.h — what several AVX-512 files need: sixteen lanes of the contract at once.
 *
 * Included by the avx512 sources only, which are compiled for that instruction set.
 */
#ifndef BN_KERNELS_AVX512_LANES_H
#define BN_KERNELS_AVX512_LANES_H

#include "kernels/exp_f32.h"
#include "kernels/unroll.h"

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

/* The first n lanes, n ≤ 16. */
INLINE __mmask16 first_lanes(size_t n)
{
    return (__mmask16)((1u << n) - 1);
}

/* bn_exp_f32 in every lane. */
INLINE __m512 exp_16(__m512 x)
{
    __m512 c = _mm512_min_ps(_mm512_set1_ps(BN_EXP_MAX), x); /* the second operand when NaN */
    __m512 round = _mm512_set1_ps(BN_EXP_ROUND);
    __m512 t = _mm512_fmadd_ps(c, _mm512_set1_ps(BN_EXP_LOG2E), round);
    __m512 n = _mm512_sub_ps(t, round);
    __m512 r = _mm512_fmadd_ps(n, _mm512_set1_ps(-BN_EXP_LN2_HI), c);
    r = _mm512_fmadd_ps(n, _mm512_set1_ps(-BN_EXP_LN2_LO), r);
    __m512 p = _mm512_fmadd_ps(_mm512_set1_ps(BN_EXP_C6), r, _mm512_set1_ps(BN_EXP_C5));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(BN_EXP_C4));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(BN_EXP_C3));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(BN_EXP_C2));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
    __m512i power = _mm512_add_epi32(_mm512_slli_epi32(_mm512_castps_si512(t), 23),
                                     _mm512_set1_epi32(0x3F800000));
    __mmask16 is_kept = _mm512_cmp_ps_mask(x, _mm512_set1_ps(BN_EXP_MIN), _CMP_NLT_UQ);
    return _mm512_maskz_mul_ps(is_kept, p, _mm512_castsi512_ps(power));
}

/* The tree 8, 4, 2, 1 over the lanes of one vector. */
INLINE float reduce_lanes(__m512 a)
{
    __m256 a8 = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    __m128 a4 = _mm_add_ps(_mm256_castps256_ps128(a8), _mm256_extractf128_ps(a8, 1));
    __m128 a2 = _mm_add_ps(a4, _mm_movehl_ps(a4, a4));
    return _mm_cvtss_f32(_mm_add_ss(a2, _mm_movehdup_ps(a2)));
}

INLINE __m512 fold_8(__m512 a, __m512 b)
{
    return _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xEE));
}

INLINE __m512 fold_4(__m512 a, __m512 b)
{
    return _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xDD));
}

INLINE __m512 fold_2(__m512 a, __m512 b)
{
    return _mm512_add_ps(_mm512_shuffle_ps(a, b, 0x44), _mm512_shuffle_ps(a, b, 0xEE));
}

INLINE __m512 fold_1(__m512 a, __m512 b)
{
    return _mm512_add_ps(_mm512_shuffle_ps(a, b, 0x88), _mm512_shuffle_ps(a, b, 0xDD));
}

/* Lane i is reduce_lanes(v[i]): the same tree, sixteen at a time. */
INLINE __m512 reduce_16(const __m512 v[16])
{
    __m512 a = fold_4(fold_8(v[0], v[4]), fold_8(v[8], v[12]));
    __m512 b = fold_4(fold_8(v[1], v[5]), fold_8(v[9], v[13]));
    __m512 c = fold_4(fold_8(v[2], v[6]), fold_8(v[10], v[14]));
    __m512 d = fold_4(fold_8(v[3], v[7]), fold_8(v[11], v[15]));
    return fold_1(fold_2(a, b), fold_2(c, d));
}

#endif
