/* trits_float.c — floats that are ternary times a scale: every weight of a group is 0 or ± one
 * number. What is not is refused by its element: rounding it would make another model.
 */
#include "common/log.h"
#include "kernels/math.h"
#include "model/trits_float.h"
#include "model/trits_internal.h"

#include <inttypes.h>
#include <string.h>

#define SIGN 0x80000000u

uint32_t bn_trits_float_bytes(uint32_t type)
{
    return type == BN_TENSOR_F32 || type == BN_TENSOR_MASTER_F32 ? 4 : 2;
}

void bn_trits_float_widen(uint32_t type, const uint8_t *in, size_t n, float *out)
{
    bool is_f16 = type == BN_TENSOR_F16 || type == BN_TENSOR_MASTER_F16;
    if (bn_trits_float_bytes(type) == 4) {
        memcpy(out, in, n * sizeof *out);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        uint16_t half;
        memcpy(&half, in + 2 * i, sizeof half);
        out[i] = is_f16 ? bn_f32_from_f16(half) : bn_f32_from_bf16(half);
    }
}

static bn_status open_float(bn_trits *t, const bn_trits_options *options)
{
    (void)options;
    t->stored_cols = t->info.n_cols % BN_TRITS_GROUP_MIN == 0 ? BN_TRITS_GROUP_MIN : t->info.n_cols;
    t->row_bytes = (uint64_t)t->info.n_cols * bn_trits_float_bytes(t->tensor->type);
    return BN_OK;
}

/* One row widened, then the rows as they stand. */
static size_t scratch_float(const bn_trits *t, uint32_t n_rows)
{
    return (size_t)t->info.n_cols * sizeof(float) + (size_t)(n_rows * t->row_bytes);
}

static uint32_t magnitude_of(const float *x)
{
    uint32_t bits;
    memcpy(&bits, x, sizeof bits);
    return bits & ~SIGN;
}

/* The number that all weights but 0 have; false when there are two, *at_out being the second. */
static bool find_scale(const float *x, uint32_t n, float *scale_out, uint32_t *at_out)
{
    uint32_t scale = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t magnitude = magnitude_of(&x[i]);
        if (magnitude == 0 || magnitude == scale) continue;
        *at_out = i;
        if (scale != 0) return false;
        scale = magnitude;
    }
    memcpy(scale_out, &scale, sizeof *scale_out);
    return true;
}

static bn_status read_float(const bn_trits *t, uint32_t row_begin, uint32_t n_rows, void *scratch,
                            uint8_t *codes, float *scales, double *deviation)
{
    (void)deviation;
    uint32_t n_cols = t->info.n_cols, per_row = bn_trits_stored_per_row(t), at = 0;
    float *row = scratch;
    const uint8_t *in = (const uint8_t *)(row + n_cols);
    BN_TRY(bn_trits_read_rows(t, row_begin, n_rows, (float *)scratch + n_cols));
    for (uint32_t i = 0; i < n_rows; i++, in += t->row_bytes) {
        bn_trits_float_widen(t->tensor->type, in, n_cols, row);
        for (uint32_t g = 0; g < per_row; g++) {
            const float *group = row + (size_t)g * t->stored_cols;
            if (!find_scale(group, t->stored_cols, &scales[(size_t)i * per_row + g], &at))
                return bn_trits_fail(
                    t,
                    "it is not ternary: element %" PRIu64 " is %g, but others of its %" PRIu32
                    " columns are 0 or ±%g; master weights come as a Hugging Face folder whose "
                    "config.json says that they are to be quantised",
                    ((uint64_t)row_begin + i) * n_cols + (uint64_t)g * t->stored_cols + at,
                    (double)group[at], t->stored_cols, (double)scales[(size_t)i * per_row + g]);
        }
        for (uint32_t k = 0; codes != NULL && k < n_cols; k++)
            codes[(size_t)i * n_cols + k] =
                (uint8_t)(1 + (row[k] > 0.0f ? 1 : 0) - (row[k] < 0.0f ? 1 : 0));
    }
    return BN_OK;
}

const bn_trits_family bn_trits_float = {"ternary floats", open_float, scratch_float, read_float};
