/* trits_hf.c — packed rows of a Hugging Face folder: bits 2j of packed row p are row
 * p + j · packed rows, so four rows far apart share a byte. */
#include "model/trits_internal.h"

static uint32_t packed_rows(const bn_trits *t)
{
    return (t->info.n_rows + 3) / 4;
}

static bn_status open_hf(bn_trits *t, const bn_trits_options *options)
{
    (void)options;
    t->info.scale = t->tensor->scale;
    return BN_OK;
}

static size_t scratch_hf(const bn_trits *t, uint32_t n_rows)
{
    return (size_t)n_rows * t->info.n_cols;
}

static void decode(const uint8_t *in, size_t n, uint32_t shift, uint8_t *out)
{
    for (size_t i = 0; i < n; i++)
        out[i] = (uint8_t)(in[i] >> shift) & 3;
}

static bn_status read_hf(const bn_trits *t, uint32_t row_begin, uint32_t n_rows, void *scratch,
                         uint8_t *codes, float *scales, double *deviation)
{
    (void)scales, (void)deviation;
    uint32_t n_packed = packed_rows(t), end = row_begin + n_rows;
    for (uint32_t row = row_begin; row < end;) {
        uint32_t plane = row / n_packed, packed = row % n_packed;
        uint32_t n = n_packed - packed < end - row ? n_packed - packed : end - row;
        size_t n_bytes = (size_t)n * t->info.n_cols;
        BN_TRY(
            bn_gguf_read(t->file, t->tensor, (uint64_t)packed * t->info.n_cols, n_bytes, scratch));
        decode(scratch, n_bytes, 2 * plane, codes);
        codes += n_bytes;
        row += n;
    }
    return BN_OK;
}

const bn_trits_family bn_trits_hf = {"stored", open_hf, scratch_hf, read_hf};
