/* dense_encode.c — the quantisers of embedding and head. */
#include "model/dense_encode.h"

#include "common/status.h"
#include "kernels/math.h"
#include "model/gguf.h"

#include <math.h>
#include <string.h>

#define Q8_COLS 32u
#define Q8_BYTES 34u
#define Q6_COLS 256u
#define Q6_BYTES 210u
#define Q6_GROUP 16u
#define Q6_GROUPS 16u

static void put_f16(uint8_t *out, float x)
{
    uint16_t half = bn_f16_from_f32(x);
    memcpy(out, &half, sizeof half);
}

static void encode_q8_0(const float *x, uint8_t *out)
{
    float largest = 0.0f;
    for (uint32_t i = 0; i < Q8_COLS; i++)
        largest = fabsf(x[i]) > largest ? fabsf(x[i]) : largest;
    float d = largest / 127.0f, inverse = d != 0.0f ? 1.0f / d : 0.0f;
    put_f16(out, d);
    for (uint32_t i = 0; i < Q8_COLS; i++) {
        int8_t q = (int8_t)roundf(x[i] * inverse);
        memcpy(out + 2 + i, &q, 1);
    }
}

/* x ÷ scale as one of −32 … 31. */
static int quantise_6(float x, float inverse)
{
    float q = nearbyintf(x * inverse);
    return q < -32.0f ? -32 : q > 31.0f ? 31 : (int)q;
}

/* The scale of 16 weights: the largest one becomes −32, then least squares for those codes. */
static float scale_of(const float *x)
{
    float largest = 0.0f, signed_largest = 0.0f;
    for (uint32_t i = 0; i < Q6_GROUP; i++)
        if (fabsf(x[i]) > largest) largest = fabsf(x[i]), signed_largest = x[i];
    float inverse = -32.0f / signed_largest;
    if (largest == 0.0f || !isfinite(inverse)) return 0.0f; /* so small that 0 is right */
    float xq = 0.0f, qq = 0.0f;
    for (uint32_t i = 0; i < Q6_GROUP; i++) {
        float q = (float)quantise_6(x[i], inverse);
        xq += x[i] * q;
        qq += q * q;
    }
    return xq / qq;
}

static void place_6(uint8_t *out, uint32_t i, uint32_t code)
{
    uint32_t half = i / 128, l = i % 32, quarter = i % 128 / 32;
    uint8_t *low = out + 64 * half + l + (quarter % 2 == 1 ? 32 : 0);
    uint8_t *high = out + 128 + 32 * half + l;
    *low = (uint8_t)(*low | (code & 15) << (quarter >= 2 ? 4 : 0));
    *high = (uint8_t)(*high | (code >> 4) << 2 * quarter);
}

static void encode_q6_k(const float *x, uint8_t *out)
{
    float scales[Q6_GROUPS], largest = 0.0f, signed_largest = 0.0f;
    memset(out, 0, Q6_BYTES);
    for (uint32_t g = 0; g < Q6_GROUPS; g++) {
        scales[g] = scale_of(x + (size_t)g * Q6_GROUP);
        if (fabsf(scales[g]) > largest) largest = fabsf(scales[g]), signed_largest = scales[g];
    }
    float inverse = largest > 0.0f ? -128.0f / signed_largest : 0.0f;
    if (!isfinite(inverse)) inverse = 0.0f;
    put_f16(out + 208, inverse != 0.0f ? 1.0f / inverse : 0.0f);
    uint16_t half;
    memcpy(&half, out + 208, sizeof half);
    float d = bn_f32_from_f16(half);
    for (uint32_t g = 0; g < Q6_GROUPS; g++) {
        float multiple = nearbyintf(scales[g] * inverse);
        int8_t held = (int8_t)(multiple > 127.0f ? 127.0f : multiple);
        memcpy(out + 192 + g, &held, 1);
        float scale = d * (float)held;
        for (uint32_t i = 0; i < Q6_GROUP; i++) {
            int q = scale != 0.0f ? quantise_6(x[g * Q6_GROUP + i], 1.0f / scale) : 0;
            place_6(out, g * Q6_GROUP + i, (uint32_t)(q + 32));
        }
    }
}

void bn_dense_encode(uint32_t type, const float *x, uint64_t n, uint8_t *out)
{
    switch (type) {
    case BN_TENSOR_F32: memcpy(out, x, n * sizeof *x); return;
    case BN_TENSOR_F16:
        for (uint64_t i = 0; i < n; i++)
            put_f16(out + 2 * i, x[i]);
        return;
    case BN_TENSOR_Q8_0:
        for (uint64_t i = 0; i < n; i += Q8_COLS, out += Q8_BYTES)
            encode_q8_0(x + i, out);
        return;
    default:
        BN_ASSERT(type == BN_TENSOR_Q6_K);
        for (uint64_t i = 0; i < n; i += Q6_COLS, out += Q6_BYTES)
            encode_q6_k(x + i, out);
    }
}
