/* math.c — the elementary functions of the numeric contract.
 *
 * Short range reductions and plain polynomials: every operation is written out, so that a vector
 * table can repeat it lane by lane and a second implementation can be checked against the text
 * of docs/NUMERICS.md.
 */
#include "kernels/math.h"

#include "kernels/exp_f32.h"

#include <math.h>
#include <string.h>

static inline uint32_t bits_of_f32(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline float f32_of_bits(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static inline uint64_t bits_of_f64(double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline double f64_of_bits(uint64_t bits)
{
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

float bn_exp_f32(float x)
{
    if (x < BN_EXP_MIN) return 0.0f;
    float c = BN_EXP_MAX < x ? BN_EXP_MAX : x; /* NaN stays */
    float t = fmaf(c, BN_EXP_LOG2E, BN_EXP_ROUND);
    float n = t - BN_EXP_ROUND;
    float r = fmaf(n, -BN_EXP_LN2_HI, c);
    r = fmaf(n, -BN_EXP_LN2_LO, r);
    float p = fmaf(BN_EXP_C6, r, BN_EXP_C5);
    p = fmaf(p, r, BN_EXP_C4);
    p = fmaf(p, r, BN_EXP_C3);
    p = fmaf(p, r, BN_EXP_C2);
    p = fmaf(p, r, 1.0f);
    p = fmaf(p, r, 1.0f);
    /* The low bits of t are n: they go straight into the exponent of 1. */
    return p * f32_of_bits((bits_of_f32(t) << 23) + 0x3F800000u);
}

/* 2^k for k in [-1022, 1023]. */
static inline double power_of_2(int k)
{
    return f64_of_bits((uint64_t)(k + 1023) << 52);
}

#define F64_ROUND 0x1.8p52
#define F64_LN2_HI 0x1.62e42fee00000p-1 /* 32 bits: n·hi is exact */
#define F64_LN2_LO 0x1.a39ef35793c76p-33

double bn_exp_f64(double x)
{
    /* 1/k!, from k = 13 down to 2. */
    static const double c[] = {
        1.0 / 6227020800.0, 1.0 / 479001600.0, 1.0 / 39916800.0, 1.0 / 3628800.0,
        1.0 / 362880.0,     1.0 / 40320.0,     1.0 / 5040.0,     1.0 / 720.0,
        1.0 / 120.0,        1.0 / 24.0,        1.0 / 6.0,        0.5,
    };
    if (x != x) return x;
    if (x > 710.0) return HUGE_VAL;
    if (x < -746.0) return 0.0;
    double n = (x * 0x1.71547652b82fep+0 + F64_ROUND) - F64_ROUND;
    double r = (x - n * F64_LN2_HI) - n * F64_LN2_LO;
    double p = c[0];
    for (size_t i = 1; i < sizeof c / sizeof c[0]; i++)
        p = p * r + c[i];
    p = 1.0 + (r + (r * r) * p);
    int k = (int)n, half = k / 2;
    return (p * power_of_2(half)) * power_of_2(k - half);
}

double bn_log_f64(double x)
{
    /* 2/(2k+1), from k = 11 down to 1: log((1+s)/(1−s)) = 2s + s·Σ 2/(2k+1)·s^(2k). */
    static const double c[] = {
        2.0 / 23.0, 2.0 / 21.0, 2.0 / 19.0, 2.0 / 17.0, 2.0 / 15.0, 2.0 / 13.0,
        2.0 / 11.0, 2.0 / 9.0,  2.0 / 7.0,  2.0 / 5.0,  2.0 / 3.0,
    };
    if (x != x || x == HUGE_VAL) return x;
    if (x < 0.0) return f64_of_bits(0x7FF8000000000000u);
    if (x == 0.0) return -HUGE_VAL;
    int k = 0;
    if (x < 0x1p-1022) {
        x *= 0x1p54;
        k = -54;
    }
    /* x = 2^k·m with m in [√½, √2). */
    uint64_t bits = bits_of_f64(x) + (0x3FF0000000000000u - 0x3FE6A09E667F3BCDu);
    k += (int)(bits >> 52) - 1023;
    double m = f64_of_bits((bits & 0x000FFFFFFFFFFFFFu) + 0x3FE6A09E667F3BCDu);
    double f = m - 1.0, s = f / (2.0 + f), z = s * s;
    double series = c[0];
    for (size_t i = 1; i < sizeof c / sizeof c[0]; i++)
        series = series * z + c[i];
    series = z * series;
    /* 2s = f − s·f = f − f²/2 + s·f²/2: the large term f stays exact. */
    double h = 0.5 * f * f, n = (double)k;
    return n * F64_LN2_HI + (f - (h - (s * (h + series) + n * F64_LN2_LO)));
}

static float reduce_16(const float acc[16])
{
    float a8[8], a4[4];
    for (int j = 0; j < 8; j++)
        a8[j] = acc[j] + acc[j + 8];
    for (int j = 0; j < 4; j++)
        a4[j] = a8[j] + a8[j + 4];
    return (a4[0] + a4[2]) + (a4[1] + a4[3]);
}

float bn_dot16(const float *a, const float *b, size_t n)
{
    float acc[16] = {0};
    for (size_t i = 0; i < n; i++)
        acc[i % 16] = fmaf(a[i], b[i], acc[i % 16]);
    return reduce_16(acc);
}

float bn_sum16(const float *a, size_t n)
{
    float acc[16] = {0};
    for (size_t i = 0; i < n; i++)
        acc[i % 16] = acc[i % 16] + a[i];
    return reduce_16(acc);
}

uint16_t bn_f16_from_f32(float x)
{
    if (x != x) return 0x7E00;
    uint32_t sign = bits_of_f32(x) >> 16 & 0x8000u;
    uint32_t bits = bits_of_f32(x) & 0x7FFFFFFFu;
    if (bits > 0x477FE000u) bits = 0x477FE000u; /* 65504 */
    if (bits < 0x38800000u) {
        /* Subnormal: adding ½ leaves x·2^24, rounded, in the low bits. */
        bits = bits_of_f32(f32_of_bits(bits) + 0.5f) - 0x3F000000u;
        return (uint16_t)(sign | bits);
    }
    bits += 0xFFFu + (bits >> 13 & 1u);
    return (uint16_t)(sign | ((bits >> 13) - (112u << 10)));
}

float bn_f32_from_f16(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16;
    uint32_t exponent = h >> 10 & 31u, mantissa = h & 0x3FFu;
    if (exponent == 0) return f32_of_bits(sign | bits_of_f32((float)mantissa * 0x1p-24f));
    if (exponent == 31) {
        uint32_t quiet = mantissa != 0 ? 0x00400000u : 0;
        return f32_of_bits(sign | 0x7F800000u | quiet | mantissa << 13);
    }
    return f32_of_bits(sign | (exponent + 112u) << 23 | mantissa << 13);
}

float bn_f32_from_bf16(uint16_t h)
{
    return f32_of_bits((uint32_t)h << 16);
}

#define LOG_SUM_EXP_BLOCK 4096

double bn_log_sum_exp(const float *logits, size_t n)
{
    float max = -HUGE_VALF;
    for (size_t i = 0; i < n; i++)
        max = logits[i] > max ? logits[i] : max;
    double total = 0.0;
    for (size_t begin = 0; begin < n; begin += LOG_SUM_EXP_BLOCK) {
        size_t end = n - begin < LOG_SUM_EXP_BLOCK ? n : begin + LOG_SUM_EXP_BLOCK;
        double sum = 0.0;
        for (size_t i = begin; i < end; i++)
            sum += bn_exp_f64((double)logits[i] - (double)max);
        total += sum;
    }
    return (double)max + bn_log_f64(total);
}
