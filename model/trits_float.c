/* trits_float.c — floats that are ternary times a scale: every weight of a group is 0 or ± one
 * number. What is not is refused by its element: rounding it would make another model.
 */
#include "common/log.h"
#include "kernels/math.h"
#include "model/trits_float.h"
#include "model/trits_internal.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

uint32_t bn_trits_float_bytes(uint32_t type)
{
    return type == BN_TENSOR_F32 || type == BN_TENSOR_MASTER_F32 ? 4 : 2;
}

static bool is_f16(uint32_t type)
{
    return type == BN_TENSOR_F16 || type == BN_TENSOR_MASTER_F16;
}

void bn_trits_float_widen(const bn_kernels *kernels, uint32_t type, const uint8_t *in, uint32_t n,
                          float *out)
{
    const bn_dense row = {
        .rows = in,
        .type = bn_trits_float_bytes(type) == 4 ? BN_DENSE_F32
                : is_f16(type)                  ? BN_DENSE_F16
                                                : BN_DENSE_BF16,
        .n_rows = 1,
        .n_cols = n,
        .row_bytes = (size_t)n * bn_trits_float_bytes(type),
    };
    kernels->dense_row(&row, 0, out);
}

/* One number from its bits. */
static float number_of(uint32_t type, uint32_t bits)
{
    float x;
    if (bn_trits_float_bytes(type) == 2)
        return is_f16(type) ? bn_f32_from_f16((uint16_t)bits) : bn_f32_from_bf16((uint16_t)bits);
    memcpy(&x, &bits, sizeof x);
    return x;
}

static bn_status open_float(bn_trits *t, const bn_trits_options *options)
{
    (void)options;
    t->stored_cols = t->info.n_cols % BN_TRITS_GROUP_MIN == 0 ? BN_TRITS_GROUP_MIN : t->info.n_cols;
    t->row_bytes = (uint64_t)t->info.n_cols * bn_trits_float_bytes(t->tensor->type);
    return BN_OK;
}

static size_t scratch_float(const bn_trits *t, uint32_t n_rows)
{
    return (size_t)(n_rows * t->row_bytes);
}

/* Magnitudes are compared as bits, so no rounding and no NaN slips through. A group's weights are
 * 0 or have its scale's bits; both loops have no way out, so that they run as vectors. */
static bool decode_16(const uint8_t *in, uint32_t n, uint32_t *scale_out, uint8_t *codes)
{
    uint16_t scale = 0, others = 0;
    uint32_t first = 0;
    for (uint16_t half = 0; first < n && (half & 0x7fff) == 0; first++)
        memcpy(&half, in + 2 * (size_t)first, 2), scale = half & 0x7fff;
    for (uint32_t i = 0; i < n; i++) {
        uint16_t half;
        memcpy(&half, in + 2 * (size_t)i, 2);
        uint16_t magnitude = half & 0x7fff;
        uint16_t is_weight = magnitude != 0 ? 0xffff : 0;
        others = (uint16_t)(others | (is_weight & (magnitude ^ scale)));
        if (codes != NULL) codes[i] = (uint8_t)(1 + (is_weight & (1 - 2 * (half >> 15))));
    }
    *scale_out = scale;
    return others == 0;
}

static bool decode_32(const uint8_t *in, uint32_t n, uint32_t *scale_out, uint8_t *codes)
{
    uint32_t scale = 0, others = 0, first = 0;
    for (uint32_t word = 0; first < n && (word & 0x7fffffff) == 0; first++)
        memcpy(&word, in + 4 * (size_t)first, 4), scale = word & 0x7fffffff;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t word;
        memcpy(&word, in + 4 * (size_t)i, 4);
        uint32_t magnitude = word & 0x7fffffff, is_weight = magnitude != 0 ? UINT32_MAX : 0;
        others |= is_weight & (magnitude ^ scale);
        if (codes != NULL) codes[i] = (uint8_t)(1 + (is_weight & (1 - 2 * (word >> 31))));
    }
    *scale_out = scale;
    return others == 0;
}

/* The first weight of a group that is neither 0 nor ± the one that came first. */
static bn_status fail_group(const bn_trits *t, uint64_t element, const uint8_t *in)
{
    uint32_t width = bn_trits_float_bytes(t->tensor->type), i = 0;
    float scale = 0.0f, value = 0.0f;
    for (; i < t->stored_cols; i++) {
        uint32_t bits = 0;
        memcpy(&bits, in + (size_t)i * width, width);
        value = number_of(t->tensor->type, bits);
        if (value == 0.0f || fabsf(value) == scale) continue;
        if (scale != 0.0f) break;
        scale = fabsf(value);
    }
    return bn_trits_fail(t,
                         "it is not ternary: element %" PRIu64 " is %g, but others of its %" PRIu32
                         " columns are 0 or ±%g; master weights come as a Hugging Face folder "
                         "whose config.json says that they are to be quantised",
                         element + i, (double)value, t->stored_cols, (double)scale);
}

static bn_status read_float(const bn_trits *t, uint32_t row_begin, uint32_t n_rows, void *scratch,
                            uint8_t *codes, float *scales, double *deviation)
{
    (void)deviation;
    uint32_t width = bn_trits_float_bytes(t->tensor->type), cols = t->stored_cols;
    const uint8_t *in = scratch;
    BN_TRY(bn_trits_read_rows(t, row_begin, n_rows, scratch));
    size_t n_groups = (size_t)n_rows * bn_trits_stored_per_row(t);
    for (size_t g = 0; g < n_groups; g++, in += (size_t)cols * width) {
        uint32_t bits;
        uint8_t *out = codes != NULL ? codes + g * cols : NULL;
        if (!(width == 2 ? decode_16 : decode_32)(in, cols, &bits, out))
            return fail_group(t, (uint64_t)row_begin * t->info.n_cols + g * cols, in);
        scales[g] = number_of(t->tensor->type, bits);
    }
    return BN_OK;
}

const bn_trits_family bn_trits_float = {"ternary floats", open_float, scratch_float, read_float};
