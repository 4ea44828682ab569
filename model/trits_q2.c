/* trits_q2.c — Q2_0 with groups of 64 or 128, and PQ2_0: an f16 scale, then two bits a weight in
 * order. Their fourth code, 2, is no trit. */
#include "kernels/math.h"
#include "model/tensor_type.h"
#include "model/trits_internal.h"

#include <string.h>

#define SCALE_BYTES 2u

static bn_status open_q2(bn_trits *t, const bn_trits_options *options)
{
    (void)options;
    t->stored_cols = bn_tensor_type_block(t->tensor->type);
    t->row_bytes = t->tensor->n_bytes / t->info.n_rows;
    t->block_bytes = t->stored_cols / 4 + SCALE_BYTES;
    return BN_OK;
}

static size_t scratch_q2(const bn_trits *t, uint32_t n_rows)
{
    return (size_t)(n_rows * t->row_bytes);
}

/* Four codes of a byte to four bytes. */
static void spread(uint8_t byte, uint8_t *out)
{
    uint32_t x = byte;
    x = (x | x << 12) & 0x000f000fu;
    x = (x | x << 6) & 0x03030303u;
    memcpy(out, &x, sizeof x);
}

static bn_status read_q2(const bn_trits *t, uint32_t row_begin, uint32_t n_rows, void *scratch,
                         uint8_t *codes, float *scales, double *deviation)
{
    (void)deviation;
    BN_TRY(bn_trits_read_rows(t, row_begin, n_rows, scratch));
    const uint8_t *block = scratch;
    size_t n_blocks = (size_t)n_rows * bn_trits_stored_per_row(t);
    for (size_t i = 0; i < n_blocks; i++, block += t->block_bytes) {
        uint16_t d;
        memcpy(&d, block, sizeof d);
        scales[i] = bn_f32_from_f16(d);
        if (codes == NULL) continue;
        uint8_t *out = codes + i * t->stored_cols;
        for (uint32_t k = 0; k < t->stored_cols / 4; k++)
            spread(block[SCALE_BYTES + k], out + 4 * (size_t)k);
    }
    return BN_OK;
}

const bn_trits_family bn_trits_q2 = {"stored", open_q2, scratch_q2, read_q2};
