/* avx512.c — the AVX-512 table and its element-wise entries.
 *
 * The sixteen accumulators of the contract are the lanes of one register. Tails go through masks
 * that leave the idle lanes alone: adding zero to them could turn −0 into +0.
 */
#include "kernels/avx512.h"

#include "common/status.h"
#include "kernels/avx512_lanes.h"
#include "kernels/quantize_groups.h"
#include "kernels/tables.h"

#include <math.h>
#include <string.h>

#define QUANTIZE_FLOOR_BITS 0x3727C5AC /* 1e-5f */

static float quantize_scale(const float *x, uint32_t n_cols)
{
    __m512i magnitude = _mm512_set1_epi32(0x7FFFFFFF);
    __m512i max = _mm512_set1_epi32(QUANTIZE_FLOOR_BITS);
    for (uint32_t c = 0; c < n_cols; c += 16) {
        __mmask16 lanes = n_cols - c < 16 ? first_lanes(n_cols - c) : 0xFFFF;
        __m512i bits = _mm512_maskz_loadu_epi32(lanes, x + c);
        max = _mm512_max_epu32(max, _mm512_and_si512(bits, magnitude));
    }
    uint32_t bits = _mm512_reduce_max_epu32(max);
    if (bits >= 0x7F800000u) bits = 0x7FC00000u;
    float a;
    memcpy(&a, &bits, sizeof a);
    return 127.0f / a;
}

/* One token into its lane of the panel; Σq. A void token (s NaN) is all zero. */
static int32_t quantize_token(const float *x, uint32_t n_cols, float s, uint32_t width,
                              int8_t *lane)
{
    __mmask16 is_valid = s == s ? 0xFFFF : 0;
    __m512i sum = _mm512_setzero_si512();
    for (uint32_t c = 0; c < n_cols; c += 16) {
        __mmask16 lanes = n_cols - c < 16 ? first_lanes(n_cols - c) : 0xFFFF;
        __m512 scaled = _mm512_mul_ps(_mm512_maskz_loadu_ps(lanes, x + c), _mm512_set1_ps(s));
        __m512i q = _mm512_maskz_mov_epi32(is_valid, _mm512_cvtps_epi32(scaled));
        sum = _mm512_add_epi32(sum, q); /* |x·s| ≤ 127: the clamp below never bites */
        int32_t words[4];
        _mm_storeu_si128((__m128i *)words, _mm512_cvtsepi32_epi8(q));
        for (uint32_t i = 0; i < 4; i++)
            memcpy(lane + (size_t)(c / 4 + i) * width * 4, &words[i], 4);
    }
    return _mm512_reduce_add_epi32(sum);
}

static void quantize_avx512(const float *x, size_t x_stride, uint32_t n_tokens, uint32_t n_cols,
                            uint32_t width, int8_t *panel, float *scale, int32_t *sum)
{
    BN_ASSERT(n_tokens >= 1 && n_tokens <= width);
    if (n_tokens < width) memset(panel, 0, bn_q8_panel_bytes(n_cols, width));
    for (uint32_t t = 0; t < n_tokens; t++) {
        scale[t] = quantize_scale(x + t * x_stride, n_cols);
        sum[t] = quantize_token(x + t * x_stride, n_cols, scale[t], width, panel + 4 * t);
    }
}

static void quantize_groups_avx512(const float *x, size_t x_stride, uint32_t n_tokens,
                                   uint32_t n_cols, uint32_t width, uint32_t group_cols,
                                   int8_t *panel, float *scale, int32_t *sum, int32_t *part_sum)
{
    bn_quantize_groups(quantize_scale, quantize_token, x, x_stride, n_tokens, n_cols, width,
                       group_cols, panel, scale, sum, part_sum);
}

static void rms_norm_avx512(float *y, const float *x, const float *w, uint32_t n, float eps)
{
    __m512 acc = _mm512_setzero_ps();
    uint32_t i = 0;
    for (; i + 16 <= n; i += 16) {
        __m512 a = _mm512_loadu_ps(x + i);
        acc = _mm512_fmadd_ps(a, a, acc);
    }
    __mmask16 rest = first_lanes(n - i);
    __m512 tail = _mm512_maskz_loadu_ps(rest, x + i);
    acc = _mm512_mask3_fmadd_ps(tail, tail, acc, rest);
    float mean = reduce_lanes(acc) / (float)n;
    __m512 r = _mm512_set1_ps(1.0f / sqrtf(mean + eps));
    for (i = 0; i + 16 <= n; i += 16) {
        __m512 scaled = _mm512_mul_ps(_mm512_loadu_ps(x + i), r);
        _mm512_storeu_ps(y + i, _mm512_mul_ps(scaled, _mm512_loadu_ps(w + i)));
    }
    tail = _mm512_mul_ps(tail, r);
    _mm512_mask_storeu_ps(y + i, rest, _mm512_mul_ps(tail, _mm512_maskz_loadu_ps(rest, w + i)));
}

static void add_avx512(float *x, const float *y, size_t n)
{
    for (size_t i = 0; i < n; i += 16) {
        __mmask16 lanes = n - i < 16 ? first_lanes(n - i) : 0xFFFF;
        __m512 sum =
            _mm512_add_ps(_mm512_maskz_loadu_ps(lanes, x + i), _mm512_maskz_loadu_ps(lanes, y + i));
        _mm512_mask_storeu_ps(x + i, lanes, sum);
    }
}

INLINE __m512 silu_16(__m512 g)
{
    __m512 negative = _mm512_xor_ps(g, _mm512_set1_ps(-0.0f));
    return _mm512_div_ps(g, _mm512_add_ps(_mm512_set1_ps(1.0f), exp_16(negative)));
}

INLINE __m512 relu2_16(__m512 g)
{
    __m512 r = _mm512_max_ps(_mm512_setzero_ps(), g); /* the second operand when NaN */
    return _mm512_mul_ps(r, r);
}

static void gated_avx512(bn_activation activation, float *out, const float *gate, const float *up,
                         size_t n)
{
    BN_ASSERT(activation == BN_ACTIVATION_SILU || activation == BN_ACTIVATION_RELU2);
    bool is_silu = activation == BN_ACTIVATION_SILU;
    for (size_t i = 0; i < n; i += 16) {
        __mmask16 lanes = n - i < 16 ? first_lanes(n - i) : 0xFFFF;
        __m512 g = _mm512_maskz_loadu_ps(lanes, gate + i);
        __m512 u = _mm512_maskz_loadu_ps(lanes, up + i);
        __m512 activated = is_silu ? silu_16(g) : relu2_16(g);
        _mm512_mask_storeu_ps(out + i, lanes, _mm512_mul_ps(activated, u));
    }
}

static void rope_neox(float *head, uint32_t half, const float *cos, const float *sin)
{
    for (uint32_t i = 0; i < half; i += 16) {
        __mmask16 lanes = half - i < 16 ? first_lanes(half - i) : 0xFFFF;
        __m512 x0 = _mm512_maskz_loadu_ps(lanes, head + i);
        __m512 x1 = _mm512_maskz_loadu_ps(lanes, head + half + i);
        __m512 c = _mm512_maskz_loadu_ps(lanes, cos + i);
        __m512 s = _mm512_maskz_loadu_ps(lanes, sin + i);
        __m512 y0 = _mm512_sub_ps(_mm512_mul_ps(x0, c), _mm512_mul_ps(x1, s));
        __m512 y1 = _mm512_add_ps(_mm512_mul_ps(x0, s), _mm512_mul_ps(x1, c));
        _mm512_mask_storeu_ps(head + i, lanes, y0);
        _mm512_mask_storeu_ps(head + half + i, lanes, y1);
    }
}

static void rope_norm(float *head, uint32_t half, const float *cos, const float *sin)
{
    const __m512i twice = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
    for (uint32_t i = 0; i < half; i += 8) {
        uint32_t n = half - i < 8 ? half - i : 8;
        __mmask16 pairs = first_lanes(n), lanes = first_lanes(2 * (size_t)n);
        __m512 x = _mm512_maskz_loadu_ps(lanes, head + 2 * i);
        __m512 c = _mm512_permutexvar_ps(twice, _mm512_maskz_loadu_ps(pairs, cos + i));
        __m512 s = _mm512_permutexvar_ps(twice, _mm512_maskz_loadu_ps(pairs, sin + i));
        __m512 a = _mm512_mul_ps(x, c);
        __m512 b = _mm512_mul_ps(_mm512_permute_ps(x, 0xB1), s);
        __m512 y = _mm512_mask_sub_ps(_mm512_add_ps(a, b), 0x5555, a, b);
        _mm512_mask_storeu_ps(head + 2 * i, lanes, y);
    }
}

static void rope_avx512(bn_rope_kind kind, float *x, uint32_t n_heads, uint32_t head_size,
                        const float *cos, const float *sin)
{
    for (uint32_t h = 0; h < n_heads; h++) {
        float *head = x + (size_t)h * head_size;
        if (kind == BN_ROPE_NEOX)
            rope_neox(head, head_size / 2, cos, sin);
        else
            rope_norm(head, head_size / 2, cos, sin);
    }
}

static void store_f16_avx512(uint16_t *out, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i += 16) {
        __mmask16 lanes = n - i < 16 ? first_lanes(n - i) : 0xFFFF;
        __m512 v = _mm512_maskz_loadu_ps(lanes, x + i);
        __mmask16 is_nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
        v = _mm512_min_ps(_mm512_set1_ps(65504.0f), v);
        v = _mm512_max_ps(_mm512_set1_ps(-65504.0f), v);
        enum { NEAREST = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC };
        __m256i h = _mm256_set_m128i(_mm256_cvtps_ph(_mm512_extractf32x8_ps(v, 1), NEAREST),
                                     _mm256_cvtps_ph(_mm512_castps512_ps256(v), NEAREST));
        h = _mm256_mask_mov_epi16(h, is_nan, _mm256_set1_epi16(0x7E00));
        _mm256_mask_storeu_epi16(out + i, lanes, h);
    }
}

const bn_kernels bn_kernels_avx512 = {
    .name = "avx512",
    .quantize = quantize_avx512,
    .quantize_groups = quantize_groups_avx512,
    .ternary_matmul = bn_avx512_ternary_matmul,
    .rms_norm = rms_norm_avx512,
    .add = add_avx512,
    .gated = gated_avx512,
    .rope = rope_avx512,
    .store_f16 = store_f16_avx512,
    .attention_chunk = bn_avx512_attention_chunk,
    .attention_merge = bn_avx512_attention_merge,
    .dense_row = bn_avx512_dense_row,
    .dense_matmul = bn_avx512_dense_matmul,
    .dense_gather = bn_avx512_dense_gather,
    .screen_matmul = bn_avx512_screen_matmul,
};
