/* dense_blocks.c — one loop per layout. */
#include "kernels/dense_blocks.h"

#include "common/status.h"
#include "kernels/math.h"

/* A multiple of it fits every type, so that a row may be widened in pieces. */
_Static_assert(BN_DENSE_BLOCK_COLS_MAX % 16 == 0, "sixteen sums take turns");

static const struct {
    uint32_t cols, bytes;
} sizes[] = {
    [BN_DENSE_F32] = {1, 4},         [BN_DENSE_F16] = {1, 2},      [BN_DENSE_BF16] = {1, 2},
    [BN_DENSE_Q8_0] = {32, 34},      [BN_DENSE_Q6_K] = {256, 210}, [BN_DENSE_Q4_0] = {32, 18},
    [BN_DENSE_Q5_0] = {32, 22},      [BN_DENSE_Q4_K] = {256, 144}, [BN_DENSE_Q2_0] = {64, 18},
    [BN_DENSE_Q2_0_128] = {128, 34}, [BN_DENSE_TQ1_0] = {256, 54}, [BN_DENSE_PTQ1_0] = {128, 28},
    [BN_DENSE_TQ2_0] = {256, 66},
};

uint32_t bn_dense_block_cols(bn_dense_type type)
{
    return sizes[type].cols;
}

size_t bn_dense_block_bytes(bn_dense_type type)
{
    return sizes[type].bytes;
}

static float half_at(const uint8_t *p)
{
    return bn_f32_from_f16((uint16_t)(p[0] | p[1] << 8));
}

/* F16 d, int8 q[32]. */
static void widen_q8_0(const uint8_t *block, float *out)
{
    float d = half_at(block);
    for (uint32_t i = 0; i < 32; i++)
        out[i] = d * (float)(int8_t)block[2 + i];
}

/* Low nibbles ql[128], high pairs qh[64], int8 scales[16], F16 d. */
static void widen_q6_k(const uint8_t *block, float *out)
{
    float d = half_at(block + 208);
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t half = i / 128, quarter = i % 128 / 32, l = i % 32;
        uint32_t low = block[64 * half + 32 * (quarter % 2) + l];
        uint32_t high = block[128 + 32 * half + l];
        low = low >> (4 * (quarter / 2)) & 15u;
        high = high >> (2 * quarter) & 3u;
        int32_t q = (int32_t)(low | high << 4) - 32;
        int32_t scale = (int8_t)block[192 + i / 16];
        out[i] = d * (float)(scale * q);
    }
}

/* F16 d, nibbles: byte j holds columns j and j + 16. */
static void widen_q4_0(const uint8_t *block, float *out)
{
    float d = half_at(block);
    for (uint32_t i = 0; i < 32; i++) {
        int32_t q = block[2 + i % 16] >> (4 * (i / 16)) & 15;
        out[i] = d * (float)(q - 8);
    }
}

/* F16 d, the fifth bits of 32 columns, nibbles as above. */
static void widen_q5_0(const uint8_t *block, float *out)
{
    float d = half_at(block);
    for (uint32_t i = 0; i < 32; i++) {
        int32_t low = block[6 + i % 16] >> (4 * (i / 16)) & 15;
        int32_t high = block[2 + i / 8] >> (i % 8) & 1;
        out[i] = d * (float)((low | high << 4) - 16);
    }
}

/* F16 d and dmin, 8 scales and 8 minima of 6 bits in 12 bytes, nibbles: 32 bytes hold columns c
 * and c + 32 of 64. */
static void widen_q4_k(const uint8_t *block, float *out)
{
    float d = half_at(block), dmin = half_at(block + 2);
    const uint8_t *packed = block + 4;
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t j = i / 32, scale, min;
        if (j < 4) {
            scale = packed[j] & 63u;
            min = packed[j + 4] & 63u;
        } else {
            scale = (packed[j + 4] & 15u) | (packed[j - 4] >> 6 & 3u) << 4;
            min = (packed[j + 4] >> 4 & 15u) | (packed[j] >> 6 & 3u) << 4;
        }
        uint32_t q = block[16 + i / 64 * 32 + i % 32] >> (4 * (j % 2)) & 15u;
        out[i] = d * (float)(scale * q) - dmin * (float)min;
    }
}

/* F16 d, codes of two bits in the order of the columns. */
static void widen_q2_0(const uint8_t *block, uint32_t n, float *out)
{
    float d = half_at(block);
    for (uint32_t i = 0; i < n; i++)
        out[i] = d * (float)((block[2 + i / 4] >> (2 * (i % 4)) & 3) - 1);
}

/* Two halves of 32 bytes: bits 2l of byte m hold column m + 32·l; F16 d. */
static void widen_tq2_0(const uint8_t *block, float *out)
{
    float d = half_at(block + 64);
    for (uint32_t i = 0; i < 256; i++)
        out[i] = d * (float)((block[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3) - 1);
}

/* n_bytes of n_digits trits each, the first the most significant: byte m holds m + n·n_bytes. */
static float *widen_base3(const uint8_t *bytes, uint32_t n_bytes, uint32_t n_digits, float d,
                          float *out)
{
    uint32_t power = 1;
    for (uint32_t n = 0; n < n_digits; n++, power *= 3)
        for (uint32_t m = 0; m < n_bytes; m++)
            *out++ = d * (float)((int32_t)((bytes[m] * power & 255u) * 3 >> 8) - 1);
    return out;
}

static void widen_tq1_0(const uint8_t *block, float *out)
{
    float d = half_at(block + 52);
    out = widen_base3(block, 32, 5, d, out);
    out = widen_base3(block + 32, 16, 5, d, out);
    widen_base3(block + 48, 4, 4, d, out);
}

static void widen_ptq1_0(const uint8_t *block, float *out)
{
    float d = half_at(block + 26);
    out = widen_base3(block, 16, 5, d, out);
    out = widen_base3(block + 16, 8, 5, d, out);
    widen_base3(block + 24, 2, 4, d, out);
}

void bn_dense_block_widen(bn_dense_type type, const uint8_t *block, float *out)
{
    switch (type) {
    case BN_DENSE_Q8_0: widen_q8_0(block, out); return;
    case BN_DENSE_Q6_K: widen_q6_k(block, out); return;
    case BN_DENSE_Q4_0: widen_q4_0(block, out); return;
    case BN_DENSE_Q5_0: widen_q5_0(block, out); return;
    case BN_DENSE_Q4_K: widen_q4_k(block, out); return;
    case BN_DENSE_Q2_0: widen_q2_0(block, 64, out); return;
    case BN_DENSE_Q2_0_128: widen_q2_0(block, 128, out); return;
    case BN_DENSE_TQ1_0: widen_tq1_0(block, out); return;
    case BN_DENSE_PTQ1_0: widen_ptq1_0(block, out); return;
    case BN_DENSE_TQ2_0: widen_tq2_0(block, out); return;
    case BN_DENSE_F32:
    case BN_DENSE_F16:
    case BN_DENSE_BF16: break;
    }
    bn_assert_failed("type has blocks", __FILE__, __LINE__);
}
