/* trits_i2s.c — I2_S: one flat vector in blocks of 128 codes, the scale behind them. */
#include "model/tensor_type.h"
#include "model/trits_internal.h"

#include <string.h>

#define BLOCK_CODES 128u
#define BLOCK_BYTES 32u

static bn_status open_i2s(bn_trits *t, const bn_trits_options *options)
{
    (void)options;
    uint64_t n = (uint64_t)t->info.n_rows * t->info.n_cols;
    if (n % BLOCK_CODES != 0)
        return bn_trits_fail(t, "%lu elements are not a multiple of %u as I2_S needs",
                             (unsigned long)n, BLOCK_CODES);
    /* The fewest rows that fill blocks. */
    while ((uint64_t)t->info.row_step * t->info.n_cols % BLOCK_CODES != 0)
        t->info.row_step *= 2;
    return bn_gguf_read(t->file, t->tensor, n / 4, sizeof t->info.scale, &t->info.scale);
}

/* Bytes of the blocks that rows touch: one more at each end. */
static size_t scratch_i2s(const bn_trits *t, uint32_t n_rows)
{
    return (size_t)((uint64_t)n_rows * t->info.n_cols / 4 + 2 * BLOCK_BYTES);
}

static void decode_block(const uint8_t *in, uint8_t *out)
{
    for (size_t i = 0; i < BLOCK_BYTES; i++) {
        uint8_t b = in[i];
        out[i] = b >> 6;
        out[i + 32] = b >> 4 & 3;
        out[i + 64] = b >> 2 & 3;
        out[i + 96] = b & 3;
    }
}

static bn_status read_i2s(const bn_trits *t, uint32_t row_begin, uint32_t n_rows, void *scratch,
                          uint8_t *codes, float *scales, double *deviation)
{
    (void)scales, (void)deviation;
    uint64_t begin = (uint64_t)row_begin * t->info.n_cols;
    uint64_t end = begin + (uint64_t)n_rows * t->info.n_cols;
    uint64_t first = begin / BLOCK_CODES, last = (end + BLOCK_CODES - 1) / BLOCK_CODES;
    BN_TRY(bn_gguf_read(t->file, t->tensor, first * BLOCK_BYTES,
                        (size_t)((last - first) * BLOCK_BYTES), scratch));
    const uint8_t *in = scratch;
    for (uint64_t block = first; block < last; block++, in += BLOCK_BYTES) {
        uint64_t at = block * BLOCK_CODES;
        if (at >= begin && at + BLOCK_CODES <= end) {
            decode_block(in, codes + (at - begin));
            continue;
        }
        uint8_t whole[BLOCK_CODES];
        decode_block(in, whole);
        uint64_t from = at < begin ? begin : at;
        uint64_t to = at + BLOCK_CODES > end ? end : at + BLOCK_CODES;
        memcpy(codes + (from - begin), whole + (from - at), (size_t)(to - from));
    }
    return BN_OK;
}

const bn_trits_family bn_trits_i2s = {"stored", open_i2s, scratch_i2s, read_i2s};
