/* trits_iq.c — IQ1_BN, IQ2_BN and IQ2_BN_R4: a scale for a row, then blocks of 64.
 *
 * IQ1_BN holds five trits in a byte like TQ1_0 but with the first the least significant digit;
 * the sixteenth of each 16 goes to the block's last byte. IQ2_BN_R4 interleaves four rows.
 */
#include "kernels/math.h"
#include "model/trits_internal.h"

#include <string.h>

#define BLOCK_COLS 64u
#define IQ1_BYTES 13u
#define IQ2_BYTES 16u
#define R4_ROWS 4u

static bn_status open_iq(bn_trits *t, const bn_trits_options *options)
{
    (void)options;
    t->stored_cols = t->info.n_cols;
    t->row_bytes = t->tensor->n_bytes / t->info.n_rows;
    if (t->tensor->type == BN_TENSOR_IQ2_BN_R4) t->info.row_step = R4_ROWS;
    return BN_OK;
}

static size_t scratch_iq(const bn_trits *t, uint32_t n_rows)
{
    return (size_t)((n_rows + 2 * R4_ROWS) * t->row_bytes);
}

/* Digit k (0 the least significant) of a byte that is ceil(q · 256 / 243). */
static uint8_t digit(uint32_t byte, uint32_t k)
{
    static const uint8_t powers[] = {81, 27, 9, 3, 1};
    return (uint8_t)((byte * powers[k] & 255) * 3 >> 8);
}

static void decode_iq1(const uint8_t *block, uint8_t *out)
{
    uint8_t extra = block[12];
    bool is_extra = bn_trits_base3(extra) < 81;
    for (uint32_t g = 0; g < 4; g++, out += 16) {
        for (uint32_t k = 0; k < 3; k++) {
            uint8_t byte = block[3 * g + k];
            bool is_code = bn_trits_base3(byte) < 243;
            for (uint32_t j = 0; j < 5; j++)
                out[5 * k + j] = is_code ? digit(byte, j) : 3;
        }
        out[15] = is_extra ? digit(extra, g) : 3;
    }
}

static void decode_iq2(const uint8_t *block, uint8_t *out)
{
    for (uint32_t j = 0; j < 16; j++) {
        out[j] = block[j] & 3;
        out[j + 16] = block[j] >> 2 & 3;
        out[j + 32] = block[j] >> 4 & 3;
        out[j + 48] = block[j] >> 6;
    }
}

static void decode_r4(const uint8_t *block, uint32_t row, uint8_t *out)
{
    for (uint32_t l = 0; l < 4; l++)
        for (uint32_t i = 0; i < 4; i++) {
            uint8_t byte = block[4 * row + i + 16 * l];
            for (uint32_t k = 0; k < 4; k++)
                out[16 * l + i + 4 * k] = byte >> 2 * k & 3;
        }
}

static bn_status read_r4(const bn_trits *t, uint32_t row_begin, uint32_t n_rows, void *scratch,
                         uint8_t *codes, float *scales)
{
    uint32_t first = row_begin / R4_ROWS * R4_ROWS;
    uint32_t end = (row_begin + n_rows + R4_ROWS - 1) / R4_ROWS * R4_ROWS;
    BN_TRY(bn_trits_read_rows(t, first, end - first, scratch));
    for (uint32_t row = row_begin; row < row_begin + n_rows; row++) {
        const uint8_t *four = (uint8_t *)scratch + (row - first) / R4_ROWS * R4_ROWS * t->row_bytes;
        memcpy(&scales[row - row_begin], four + sizeof(float) * (row % R4_ROWS), sizeof(float));
        const uint8_t *block = four + sizeof(float) * R4_ROWS;
        for (uint32_t col = 0; codes != NULL && col < t->info.n_cols; col += BLOCK_COLS) {
            decode_r4(block, row % R4_ROWS,
                      codes + (size_t)(row - row_begin) * t->info.n_cols + col);
            block += R4_ROWS * IQ2_BYTES;
        }
    }
    return BN_OK;
}

static bn_status read_iq(const bn_trits *t, uint32_t row_begin, uint32_t n_rows, void *scratch,
                         uint8_t *codes, float *scales, double *deviation)
{
    (void)deviation;
    if (t->tensor->type == BN_TENSOR_IQ2_BN_R4)
        return read_r4(t, row_begin, n_rows, scratch, codes, scales);
    bool is_iq1 = t->tensor->type == BN_TENSOR_IQ1_BN;
    BN_TRY(bn_trits_read_rows(t, row_begin, n_rows, scratch));
    for (uint32_t i = 0; i < n_rows; i++) {
        const uint8_t *block = (uint8_t *)scratch + i * t->row_bytes;
        if (is_iq1) {
            uint16_t half;
            memcpy(&half, block, sizeof half);
            scales[i] = bn_f32_from_f16(half);
        } else {
            memcpy(&scales[i], block, sizeof(float));
        }
        block += is_iq1 ? sizeof(uint16_t) : sizeof(float);
        uint8_t *out = codes != NULL ? codes + (size_t)i * t->info.n_cols : NULL;
        for (uint32_t col = 0; out != NULL && col < t->info.n_cols; col += BLOCK_COLS) {
            if (is_iq1)
                decode_iq1(block, out + col);
            else
                decode_iq2(block, out + col);
            block += is_iq1 ? IQ1_BYTES : IQ2_BYTES;
        }
    }
    return BN_OK;
}

const bn_trits_family bn_trits_iq = {"stored", open_iq, scratch_iq, read_iq};
