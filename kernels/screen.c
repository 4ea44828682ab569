/* screen.c — packing the rows, and tokens, of a screen; what is proven of them stands in
 * docs/NUMERICS.md.
 *
 * Lengths are sums of squares, which floats add within their rounding: every stored length is
 * enlarged by more than that. Scales have 16 significant bits, so that scale·q is exact and the
 * remainder of a weight is one subtraction.
 */
#include "kernels/screen.h"

#include "common/status.h"

#include <math.h>
#include <string.h>

#define WEIGHT_MAX 127
#define TOKEN_MAX 16256.0   /* 127·128: fits the two signed bytes */
#define LENGTH_MAX 0x1p60   /* of rows and tokens: no product overflows */
#define LENGTH_MIN 0x1p-60  /* as large as what underflow can hide */
#define DOT_MAX 0x1.ccp30   /* 0.9·2^31, the rest is for rounding the token */
#define STEP_MIN 0x1p-120f  /* a normal number with room below it */
#define ROUND_F32 0x1.8p23f /* adding and subtracting it rounds to nearest even */
#define ROUND_F64 0x1.8p52

/* No less than x as a float. */
static float rounded_up(double x)
{
    return (float)(x * (1.0 + 0x1p-22));
}

/* DOT16 of a vector with itself. */
static float sum_of_squares(const bn_kernels *kernels, const float *x, uint32_t n)
{
    bn_dense row = {
        .rows = x, .type = BN_DENSE_F32, .n_rows = 1, .n_cols = n, .row_bytes = n * sizeof *x};
    float sum;
    kernels->dense_matmul(&row, 0, 1, x, n, 1, &sum, 1);
    return sum;
}

/* max |x| ÷ 127, up to 16 significant bits. */
static float scale_of_row(const float *x, uint32_t n)
{
    uint32_t max = 0, bits;
    for (uint32_t c = 0; c < n; c++) {
        memcpy(&bits, &x[c], sizeof bits);
        bits &= 0x7FFFFFFFu;
        max = bits > max ? bits : max;
    }
    float a;
    memcpy(&a, &max, sizeof a);
    a = a / (float)WEIGHT_MAX;
    memcpy(&bits, &a, sizeof bits);
    bits = (bits + 0x1FFu) & ~0xFFu; /* at least one more step: the division may have rounded */
    memcpy(&a, &bits, sizeof a);
    return a;
}

/* q and what is left of the row; the sum of q². */
static uint32_t quantize_row(const float *restrict x, float scale, uint32_t n, float *restrict rest,
                             uint8_t *restrict to)
{
    const float inverse = 1.0f / scale;
    uint32_t sum = 0;
    for (uint32_t c = 0; c < n; c++) {
        float q = x[c] * inverse;
        q = (q + ROUND_F32) - ROUND_F32;
        rest[c] = x[c] - scale * q;
        int32_t code = (int32_t)q;
        sum += (uint32_t)(code * code);
        to[c] = (uint8_t)(code + 128);
    }
    return sum;
}

static void store_row(const uint8_t *codes, uint32_t n_cols, uint8_t *block)
{
    for (uint32_t c = 0; c + 4 <= n_cols; c += 4, block += 64)
        memcpy(block, codes + c, 4);
    if (n_cols % 4 != 0) memcpy(block, codes + n_cols / 4 * 4, n_cols % 4);
}

static void pack_row(const bn_kernels *kernels, const bn_dense *w, uint32_t row, float *scratch,
                     const bn_screen_parts *parts)
{
    uint32_t n = w->n_cols;
    float *values = scratch, *rest = scratch + n;
    uint8_t *codes = (uint8_t *)(scratch + 2 * (size_t)n);
    parts->scale[row] = parts->error[row] = parts->norm[row] = 0.0f;
    kernels->dense_row(w, row, values);
    double length = sqrt((double)sum_of_squares(kernels, values, n));
    if (!(length < LENGTH_MAX)) { /* NaN too: always computed from the matrix */
        parts->error[row] = INFINITY;
        return;
    }
    float scale = scale_of_row(values, n);
    if (!(scale >= 0x1p-120f)) scale = 0x1p-120f; /* all of q is 0 or small */
    uint32_t squares = quantize_row(values, scale, n, rest, codes);
    store_row(codes, n,
              parts->blocks + bn_screen_group_bytes(n) * (row / BN_SCREEN_GROUP_ROWS) +
                  4 * (row % BN_SCREEN_GROUP_ROWS));
    double missing = sqrt((double)sum_of_squares(kernels, rest, n));
    double slack = ((n + 15) / 16 + 32) * 0x1p-22;
    parts->scale[row] = scale;
    parts->error[row] = rounded_up((missing + slack * length) * (1.0 + slack) + LENGTH_MIN);
    parts->norm[row] = rounded_up((double)scale * sqrt((double)squares));
}

void bn_screen_pack(const bn_kernels *kernels, const bn_dense *w, uint32_t group_begin,
                    uint32_t group_end, float *scratch, const bn_screen_parts *parts)
{
    BN_ASSERT(w->n_cols <= BN_TERNARY_COLS_MAX && group_end <= bn_screen_groups(w->n_rows));
    size_t group_bytes = bn_screen_group_bytes(w->n_cols);
    for (uint32_t group = group_begin; group < group_end; group++) {
        memset(parts->blocks + group_bytes * group, 128, group_bytes);
        for (uint32_t i = 0; i < BN_SCREEN_GROUP_ROWS; i++) {
            uint32_t row = group * BN_SCREEN_GROUP_ROWS + i;
            if (row < w->n_rows)
                pack_row(kernels, w, row, scratch, parts);
            else
                parts->scale[row] = parts->error[row] = parts->norm[row] = 0.0f;
        }
    }
}

bool bn_screen_quantize(const float *token, uint32_t t, bn_screen_tokens *x)
{
    uint32_t n = x->n_cols, padded = bn_screen_padded_cols(n), sum = 0;
    double squares = 0.0, max = 0.0, rest = 0.0;
    for (uint32_t c = 0; c < n; c++) {
        double value = (double)token[c], magnitude = fabs(value);
        squares += value * value;
        max = magnitude > max ? magnitude : max;
    }
    double length = sqrt(squares);
    if (!(length < LENGTH_MAX)) return false;
    /* No sum may reach 2^31: |Σq·p| ≤ |q|·|p|, and |q| ≤ 127·√n. */
    double least = length * WEIGHT_MAX * sqrt((double)n) / DOT_MAX;
    double wanted = max / TOKEN_MAX > least ? max / TOKEN_MAX : least;
    float step = wanted > (double)STEP_MIN ? rounded_up(wanted) : STEP_MIN;
    const double inverse = 1.0 / (double)step;
    for (uint32_t c = 0; c < padded; c++) {
        double value = c < n ? (double)token[c] : 0.0;
        double p = (value * inverse + ROUND_F64) - ROUND_F64;
        double left = value - (double)step * p;
        int32_t code = (int32_t)p;
        int32_t high = ((code + 64 + 16384) >> 7) - 128;
        int8_t *at = x->panel + ((size_t)(c / 4) * x->n_tokens + t) * 8 + c % 4;
        at[0] = (int8_t)high;
        at[4] = (int8_t)(code - 128 * high);
        rest += left * left;
        sum += (uint32_t)code;
    }
    x->step[t] = step;
    x->length[t] = rounded_up(length > LENGTH_MIN ? length : LENGTH_MIN);
    x->rest[t] = rounded_up(sqrt(rest));
    x->offset[t] = 128 * sum;
    return true;
}
