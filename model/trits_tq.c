/* trits_tq.c — TQ1_0, TQ2_0 and PTQ1_0: blocks along a row with an f16 scale behind the codes.
 *
 * TQ1_0 and PTQ1_0 hold five trits in a byte, the first the most significant digit of a number
 * in base 3 that is stretched to 256: ceil(q · 256 / 243). So multiplying by 3^n modulo 256 and
 * by 3 carries digit n out. Bytes that no five trits make are not codes.
 */
#include "kernels/math.h"
#include "model/tensor_type.h"
#include "model/trits_internal.h"

#include <string.h>

typedef struct base3_part {
    uint32_t at, n_bytes, n_digits; /* of the block; byte m holds elements m + n · n_bytes */
} base3_part;

static const base3_part parts_tq1[] = {{0, 32, 5}, {32, 16, 5}, {48, 4, 4}, {0, 0, 0}};
static const base3_part parts_ptq1[] = {{0, 16, 5}, {16, 8, 5}, {24, 2, 4}, {0, 0, 0}};

static bn_status open_tq(bn_trits *t, const bn_trits_options *options)
{
    (void)options;
    t->stored_cols = bn_tensor_type_block(t->tensor->type);
    t->row_bytes = t->tensor->n_bytes / t->info.n_rows;
    t->block_bytes = (uint32_t)(t->row_bytes / bn_trits_stored_per_row(t));
    return BN_OK;
}

static size_t scratch_rows(const bn_trits *t, uint32_t n_rows)
{
    return (size_t)(n_rows * t->row_bytes);
}

static void decode_base3(const base3_part *part, const uint8_t *block, uint8_t *out)
{
    for (; part->n_bytes > 0; part++) {
        const uint8_t *in = block + part->at;
        uint32_t power = 1;
        for (uint32_t n = 0; n < part->n_digits; n++, power *= 3)
            for (uint32_t m = 0; m < part->n_bytes; m++)
                out[n * part->n_bytes + m] = (uint8_t)((in[m] * power & 255) * 3 >> 8);
        for (uint32_t m = 0; m < part->n_bytes; m++) {
            uint32_t q = bn_trits_base3(in[m]); /* of four digits: three times their number */
            if (q == 243 || (part->n_digits == 4 && q % 3 != 0)) out[m] = 3;
        }
        out += part->n_digits * part->n_bytes;
    }
}

static void decode_tq2(const uint8_t *block, uint8_t *out)
{
    for (uint32_t half = 0; half < 2; half++, block += 32, out += 128)
        for (uint32_t m = 0; m < 32; m++) {
            out[m] = block[m] & 3;
            out[m + 32] = block[m] >> 2 & 3;
            out[m + 64] = block[m] >> 4 & 3;
            out[m + 96] = block[m] >> 6;
        }
}

static bn_status read_tq(const bn_trits *t, uint32_t row_begin, uint32_t n_rows, void *scratch,
                         uint8_t *codes, float *scales, double *deviation)
{
    (void)deviation;
    BN_TRY(bn_trits_read_rows(t, row_begin, n_rows, scratch));
    const uint8_t *block = scratch;
    size_t n_blocks = (size_t)n_rows * bn_trits_stored_per_row(t);
    for (size_t i = 0; i < n_blocks; i++, block += t->block_bytes) {
        uint16_t d;
        memcpy(&d, block + t->block_bytes - sizeof d, sizeof d);
        scales[i] = bn_f32_from_f16(d);
        if (codes == NULL) continue;
        uint8_t *out = codes + i * t->stored_cols;
        if (t->tensor->type == BN_TENSOR_TQ2_0)
            decode_tq2(block, out);
        else
            decode_base3(t->tensor->type == BN_TENSOR_TQ1_0 ? parts_tq1 : parts_ptq1, block, out);
    }
    return BN_OK;
}

const bn_trits_family bn_trits_tq = {"stored", open_tq, scratch_rows, read_tq};
