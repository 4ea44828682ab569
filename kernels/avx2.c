/* avx2.c — the AVX2 table and its element-wise entries.
 *
 * The sixteen accumulators of the contract are two registers. Tails go through masked loads and
 * stores; idle lanes are left alone.
 */
#include "kernels/avx2.h"

#include "common/status.h"
#include "kernels/avx2_lanes.h"
#include "kernels/quantize_groups.h"
#include "kernels/tables.h"

#include <math.h>

#define QUANTIZE_FLOOR_BITS 0x3727C5AC /* 1e-5f */

static float quantize_scale(const float *x, uint32_t n_cols)
{
    __m256i magnitude = _mm256_set1_epi32(0x7FFFFFFF);
    __m256i max = _mm256_set1_epi32(QUANTIZE_FLOOR_BITS);
    for (uint32_t c = 0; c < n_cols; c += 8) {
        __m256i bits = _mm256_castps_si256(load_first(x + c, n_cols - c));
        max = _mm256_max_epu32(max, _mm256_and_si256(bits, magnitude));
    }
    uint32_t lanes[8], bits = 0;
    _mm256_storeu_si256((__m256i *)(void *)lanes, max);
    for (int i = 0; i < 8; i++)
        bits = lanes[i] > bits ? lanes[i] : bits;
    if (bits >= 0x7F800000u) bits = 0x7FC00000u;
    float a;
    memcpy(&a, &bits, sizeof a);
    return 127.0f / a;
}

/* Up to 8 columns as int32, nearest even (the rounding of the thread). */
INLINE __m256i quantize_8(const float *x, uint32_t c, uint32_t n_cols, float s, __m256i is_valid)
{
    if (c >= n_cols) return _mm256_setzero_si256();
    __m256 scaled = _mm256_mul_ps(load_first(x + c, n_cols - c), _mm256_set1_ps(s));
    return _mm256_and_si256(_mm256_cvtps_epi32(scaled), is_valid);
}

/* One token into its lane of the panel; Σq. A void token (s NaN) is all zero. */
static int32_t quantize_token(const float *x, uint32_t n_cols, float s, uint32_t width,
                              int8_t *lane)
{
    __m256i is_valid = _mm256_set1_epi32(s == s ? -1 : 0);
    __m256i sum = _mm256_setzero_si256();
    for (uint32_t c = 0; c < n_cols; c += 16) {
        __m256i a = quantize_8(x, c, n_cols, s, is_valid);
        __m256i b = quantize_8(x, c + 8, n_cols, s, is_valid);
        sum = _mm256_add_epi32(sum, _mm256_add_epi32(a, b)); /* |x·s| ≤ 127: nothing is clamped */
        __m256i packed = _mm256_packs_epi32(a, b);           /* per half: 4 of a, 4 of b */
        packed = _mm256_packs_epi16(packed, packed);
        int32_t words[8];
        _mm256_storeu_si256((__m256i *)(void *)words, packed);
        static const int order[4] = {0, 4, 1, 5};
        for (uint32_t i = 0; i < 4; i++)
            memcpy(lane + (size_t)(c / 4 + i) * width * 4, &words[order[i]], 4);
    }
    int32_t lanes[8], total = 0;
    _mm256_storeu_si256((__m256i *)(void *)lanes, sum);
    for (int i = 0; i < 8; i++)
        total += lanes[i];
    return total;
}

static void quantize_avx2(const float *x, size_t x_stride, uint32_t n_tokens, uint32_t n_cols,
                          uint32_t width, int8_t *panel, float *scale, int32_t *sum)
{
    BN_ASSERT(n_tokens >= 1 && n_tokens <= width);
    if (n_tokens < width) memset(panel, 0, bn_q8_panel_bytes(n_cols, width));
    for (uint32_t t = 0; t < n_tokens; t++) {
        scale[t] = quantize_scale(x + t * x_stride, n_cols);
        sum[t] = quantize_token(x + t * x_stride, n_cols, scale[t], width, panel + 4 * t);
    }
}

static void quantize_groups_avx2(const float *x, size_t x_stride, uint32_t n_tokens,
                                 uint32_t n_cols, uint32_t width, uint32_t group_cols,
                                 int8_t *panel, float *scale, int32_t *sum, int32_t *part_sum)
{
    bn_quantize_groups(quantize_scale, quantize_token, x, x_stride, n_tokens, n_cols, width,
                       group_cols, panel, scale, sum, part_sum);
}

static void rms_norm_avx2(float *y, const float *x, const float *w, uint32_t n, float eps)
{
    lanes_16 acc = {_mm256_setzero_ps(), _mm256_setzero_ps()};
    uint32_t i = 0;
    for (; i + 16 <= n; i += 16) {
        __m256 a = _mm256_loadu_ps(x + i), b = _mm256_loadu_ps(x + i + 8);
        acc.low = _mm256_fmadd_ps(a, a, acc.low);
        acc.high = _mm256_fmadd_ps(b, b, acc.high);
    }
    if (i < n) {
        __m256 a = load_first(x + i, n - i);
        acc.low = fmadd_first(a, a, acc.low, (int)(n - i));
    }
    if (i + 8 < n) {
        __m256 b = load_first(x + i + 8, n - i - 8);
        acc.high = fmadd_first(b, b, acc.high, (int)(n - i - 8));
    }
    float mean = reduce_lanes(acc) / (float)n;
    __m256 r = _mm256_set1_ps(1.0f / sqrtf(mean + eps));
    for (i = 0; i < n; i += 8) {
        __m256 scaled = _mm256_mul_ps(load_first(x + i, n - i), r);
        store_first(y + i, n - i, _mm256_mul_ps(scaled, load_first(w + i, n - i)));
    }
}

static void add_avx2(float *x, const float *y, size_t n)
{
    for (size_t i = 0; i < n; i += 8)
        store_first(x + i, n - i,
                    _mm256_add_ps(load_first(x + i, n - i), load_first(y + i, n - i)));
}

INLINE __m256 silu_8(__m256 g)
{
    __m256 negative = _mm256_xor_ps(g, _mm256_set1_ps(-0.0f));
    return _mm256_div_ps(g, _mm256_add_ps(_mm256_set1_ps(1.0f), exp_8(negative)));
}

INLINE __m256 relu2_8(__m256 g)
{
    __m256 r = _mm256_max_ps(_mm256_setzero_ps(), g); /* the second operand when NaN */
    return _mm256_mul_ps(r, r);
}

static void gated_avx2(bn_activation activation, float *out, const float *gate, const float *up,
                       size_t n)
{
    BN_ASSERT(activation == BN_ACTIVATION_SILU || activation == BN_ACTIVATION_RELU2);
    bool is_silu = activation == BN_ACTIVATION_SILU;
    for (size_t i = 0; i < n; i += 8) {
        __m256 g = load_first(gate + i, n - i);
        __m256 activated = is_silu ? silu_8(g) : relu2_8(g);
        store_first(out + i, n - i, _mm256_mul_ps(activated, load_first(up + i, n - i)));
    }
}

static void rope_neox(float *head, uint32_t half, const float *cos, const float *sin)
{
    for (uint32_t i = 0; i < half; i += 8) {
        uint32_t n = half - i;
        __m256 x0 = load_first(head + i, n), x1 = load_first(head + half + i, n);
        __m256 c = load_first(cos + i, n), s = load_first(sin + i, n);
        __m256 y0 = _mm256_sub_ps(_mm256_mul_ps(x0, c), _mm256_mul_ps(x1, s));
        __m256 y1 = _mm256_add_ps(_mm256_mul_ps(x0, s), _mm256_mul_ps(x1, c));
        store_first(head + i, n, y0);
        store_first(head + half + i, n, y1);
    }
}

static void rope_norm(float *head, uint32_t half, const float *cos, const float *sin)
{
    const __m256i twice = _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3);
    for (uint32_t i = 0; i < half; i += 4) {
        uint32_t n = half - i < 4 ? half - i : 4;
        __m256 x = load_first(head + 2 * i, 2 * (size_t)n);
        __m256 c = _mm256_permutevar8x32_ps(load_first(cos + i, n), twice);
        __m256 s = _mm256_permutevar8x32_ps(load_first(sin + i, n), twice);
        __m256 a = _mm256_mul_ps(x, c);
        __m256 b = _mm256_mul_ps(_mm256_permute_ps(x, 0xB1), s);
        /* Even lanes subtract, odd lanes add: each is one rounding. */
        store_first(head + 2 * i, 2 * (size_t)n, _mm256_addsub_ps(a, b));
    }
}

static void rope_avx2(bn_rope_kind kind, float *x, uint32_t n_heads, uint32_t head_size,
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

INLINE __m128i narrow_8(__m256 v)
{
    __m256i is_nan = _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q));
    v = _mm256_min_ps(_mm256_set1_ps(65504.0f), v);
    v = _mm256_max_ps(_mm256_set1_ps(-65504.0f), v);
    __m128i h = _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m128i nan_halves =
        _mm_packs_epi32(_mm256_castsi256_si128(is_nan), _mm256_extracti128_si256(is_nan, 1));
    return _mm_blendv_epi8(h, _mm_set1_epi16(0x7E00), nan_halves);
}

static void store_f16_avx2(uint16_t *out, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i += 8) {
        __m128i h = narrow_8(load_first(x + i, n - i));
        memcpy(out + i, &h, (n - i < 8 ? n - i : 8) * sizeof *out);
    }
}

const bn_kernels bn_kernels_avx2 = {
    .name = "avx2",
    .quantize = quantize_avx2,
    .quantize_groups = quantize_groups_avx2,
    .ternary_matmul = bn_avx2_ternary_matmul,
    .rms_norm = rms_norm_avx2,
    .add = add_avx2,
    .gated = gated_avx2,
    .rope = rope_avx2,
    .store_f16 = store_f16_avx2,
    .attention_chunk = bn_avx2_attention_chunk,
    .attention_merge = bn_avx2_attention_merge,
    .dense_row = bn_avx2_dense_row,
    .dense_matmul = bn_avx2_dense_matmul,
    .dense_gather = bn_avx2_dense_gather,
    .screen_matmul = bn_avx2_screen_matmul,
};
