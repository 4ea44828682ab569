/* trits_master.c — master weights, made ternary by the absmean rule (docs/NUMERICS.md).
 *
 * As the training framework does it: weights widened to binary32, s = 1 ÷ max(mean |w|, 1e−5),
 * trit = w·s rounded to nearest even and clamped, scale = 1 ÷ s. The mean is the sum of all |w| in
 * binary64, row by row, so that threads do not matter.
 */
#include "common/alloc.h"
#include "common/log.h"
#include "model/trits_float.h"
#include "model/trits_internal.h"

#include <math.h>
#include <string.h>

#define MEAN_MIN 1e-5f
#define SUM_LANES 8u

static size_t scratch_master(const bn_trits *t, uint32_t n_rows)
{
    return (size_t)t->info.n_cols * sizeof(float) + (size_t)(n_rows * t->row_bytes);
}

/* Eight accumulators, then 4, 2, 1. */
static double sum_row(const float *row, uint32_t n)
{
    double sums[SUM_LANES] = {0};
    uint32_t i = 0;
    for (; i + SUM_LANES <= n; i += SUM_LANES)
        for (uint32_t k = 0; k < SUM_LANES; k++)
            sums[k] += (double)fabsf(row[i + k]);
    for (; i < n; i++)
        sums[i % SUM_LANES] += (double)fabsf(row[i]);
    for (uint32_t half = SUM_LANES / 2; half > 0; half /= 2)
        for (uint32_t k = 0; k < half; k++)
            sums[k] += sums[k + half];
    return sums[0];
}

static bn_status sum_range(const bn_trits *t, uint32_t thread_index, uint32_t row_begin,
                           uint32_t n_rows, void *scratch, uint8_t *codes, void *context)
{
    (void)thread_index, (void)codes;
    double *sums = context;
    float *row = scratch;
    const uint8_t *in = (const uint8_t *)(row + t->info.n_cols);
    BN_TRY(bn_trits_read_rows(t, row_begin, n_rows, row + t->info.n_cols));
    for (uint32_t i = 0; i < n_rows; i++, in += t->row_bytes) {
        bn_trits_float_widen(t->kernels, t->tensor->type, in, t->info.n_cols, row);
        sums[row_begin + i] = sum_row(row, t->info.n_cols);
        if (!isfinite(sums[row_begin + i]))
            return bn_trits_fail(t, "row %u holds a weight that is not finite", row_begin + i);
    }
    return BN_OK;
}

static bn_status open_master(bn_trits *t, const bn_trits_options *options)
{
    t->kernels = bn_kernels_get(BN_ISA_AUTO);
    t->row_bytes = (uint64_t)t->info.n_cols * bn_trits_float_bytes(t->tensor->type);
    double *sums = bn_alloc(t->info.n_rows, sizeof *sums);
    if (sums == NULL)
        return bn_fail(BN_ERR_NO_MEMORY, "MODEL-TENSOR", "no memory to read tensor %s of %s",
                       t->tensor->name, bn_gguf_path(t->file));
    bn_status status = bn_trits_walk(t, options->pool, sum_range, sums);
    double total = 0.0;
    for (uint32_t i = 0; i < t->info.n_rows; i++)
        total += sums[i];
    bn_free(sums);
    BN_TRY(status);
    float mean = (float)(total / ((double)t->info.n_rows * t->info.n_cols));
    t->master_inverse = 1.0f / (mean > MEAN_MIN ? mean : MEAN_MIN);
    t->info.scale = 1.0f / t->master_inverse;
    return BN_OK;
}

static bn_status read_master(const bn_trits *t, uint32_t row_begin, uint32_t n_rows, void *scratch,
                             uint8_t *codes, float *scales, double *deviation)
{
    (void)scales;
    uint32_t n_cols = t->info.n_cols;
    float *row = scratch;
    const uint8_t *in = (const uint8_t *)(row + n_cols);
    float s = t->master_inverse, scale = t->info.scale, largest = 0.0f;
    BN_TRY(bn_trits_read_rows(t, row_begin, n_rows, row + n_cols));
    for (uint32_t i = 0; i < n_rows; i++, in += t->row_bytes, codes += n_cols) {
        bn_trits_float_widen(t->kernels, t->tensor->type, in, n_cols, row);
        for (uint32_t k = 0; k < n_cols; k++) {
            /* Half and less rounds to 0 (even), above it to 1; clamping makes the rest 1. */
            float x = row[k] * s;
            codes[k] = (uint8_t)(1 + (x > 0.5f ? 1 : 0) - (x < -0.5f ? 1 : 0));
            float off = fabsf(row[k] - scale * (float)(codes[k] - 1));
            largest = off > largest ? off : largest;
        }
    }
    if (deviation != NULL && (double)largest > *deviation) *deviation = (double)largest;
    return BN_OK;
}

const bn_trits_family bn_trits_master = {"absmean", open_master, scratch_master, read_master};
