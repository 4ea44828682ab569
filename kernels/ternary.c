/* ternary.c — packing into R16.
 *
 * Byte codes pack four columns to a dword as they stand; I2_S is packed without unpacking it:
 * sixteen consecutive columns that start at a multiple of 16 lie in one plane of one I2_S block:
 * four words of four codes, all at the same shift. So a dword of R16 is four shifts, and rows may
 * begin anywhere in a block (n_cols 8640). Only n_cols % 16 != 0 goes code by code.
 */
#include "kernels/ternary.h"

#include "common/status.h"

#include <string.h>

#define I2S_BLOCK_CODES 128
#define I2S_BLOCK_BYTES 32
#define ZERO_TRITS 0x55555555u /* code 1 in every field */

static inline uint32_t i2s_code(const uint8_t *codes, uint64_t index)
{
    uint64_t j = index % I2S_BLOCK_CODES;
    const uint8_t *block = codes + index / I2S_BLOCK_CODES * I2S_BLOCK_BYTES;
    return (uint32_t)block[j % 32] >> (6 - 2 * (j / 32)) & 3u;
}

/* Codes [index, index + 16), index a multiple of 16, as one dword of R16. */
static inline uint32_t i2s_dword(const uint8_t *codes, uint64_t index)
{
    uint64_t j = index % I2S_BLOCK_CODES;
    uint32_t words[4];
    memcpy(words, codes + index / I2S_BLOCK_CODES * I2S_BLOCK_BYTES + j % 32, sizeof words);
    uint32_t shift = (uint32_t)(6 - 2 * (j / 32));
    return (words[0] >> shift & 0x03030303u) | (words[1] >> shift & 0x03030303u) << 2 |
           (words[2] >> shift & 0x03030303u) << 4 | (words[3] >> shift & 0x03030303u) << 6;
}

/* The same for any index; n_codes (1 … 16) count, the rest are trit 0. */
static uint32_t i2s_dword_partial(const uint8_t *codes, uint64_t index, uint32_t n_codes)
{
    uint32_t dword = ZERO_TRITS;
    for (uint32_t i = 0; i < n_codes; i++) {
        uint32_t shift = 8 * (i % 4) + 2 * (i / 4);
        dword ^= (1u ^ i2s_code(codes, index + i)) << shift;
    }
    return dword;
}

/* One row into its lane; returns a word that is not 0 when code 3 occurred. */
static uint32_t pack_row(const uint8_t *codes, uint64_t index, uint32_t n_cols, uint8_t *lane)
{
    uint32_t bad = 0;
    for (uint32_t col = 0; col < n_cols; col += BN_TERNARY_BLOCK_COLS) {
        uint32_t dword;
        if (n_cols % BN_TERNARY_BLOCK_COLS == 0) {
            dword = i2s_dword(codes, index + col);
        } else {
            uint32_t left = n_cols - col;
            dword = i2s_dword_partial(codes, index + col, left < 16 ? left : 16);
        }
        bad |= dword & dword >> 1 & ZERO_TRITS;
        memcpy(lane, &dword, sizeof dword);
        lane += BN_TERNARY_BLOCK_BYTES;
    }
    return bad;
}

static uint64_t find_code_3(const uint8_t *codes, uint64_t begin, uint64_t end)
{
    while (begin < end && i2s_code(codes, begin) != 3)
        begin++;
    return begin;
}

static void pack_zeros(size_t group_bytes, uint8_t *lane)
{
    for (size_t i = 0; i < group_bytes; i += BN_TERNARY_BLOCK_BYTES)
        memset(lane + i, 0x55, 4);
}

bool bn_ternary_pack_i2s(const uint8_t *codes, uint32_t n_rows, uint32_t n_cols,
                         uint32_t group_begin, uint32_t group_end, uint8_t *blocks,
                         uint64_t *bad_index_out)
{
    BN_ASSERT(n_cols > 0 && group_end <= bn_ternary_groups(n_rows));
    size_t group_bytes = bn_ternary_group_bytes(n_cols);
    for (uint32_t group = group_begin; group < group_end; group++) {
        uint8_t *out = blocks + group_bytes * group;
        for (uint32_t r = 0; r < BN_TERNARY_GROUP_ROWS; r++) {
            uint32_t row = group * BN_TERNARY_GROUP_ROWS + r;
            if (row >= n_rows) {
                pack_zeros(group_bytes, out + 4 * r);
                continue;
            }
            uint64_t index = (uint64_t)row * n_cols;
            if (pack_row(codes, index, n_cols, out + 4 * r) != 0) {
                *bad_index_out = find_code_3(codes, index, index + n_cols);
                return false;
            }
        }
    }
    return true;
}

/* Sixteen codes as one dword of R16. */
static inline uint32_t dword_of_codes(const uint8_t *codes)
{
    uint32_t words[4];
    memcpy(words, codes, sizeof words);
    return words[0] | words[1] << 2 | words[2] << 4 | words[3] << 6;
}

/* One row of byte codes into its lane. */
static void pack_codes_of_row(const uint8_t *codes, uint32_t n_cols, uint8_t *lane)
{
    uint32_t n_whole = n_cols / BN_TERNARY_BLOCK_COLS * BN_TERNARY_BLOCK_COLS;
    for (uint32_t col = 0; col < n_whole; col += BN_TERNARY_BLOCK_COLS) {
        uint32_t dword = dword_of_codes(codes + col);
        memcpy(lane, &dword, sizeof dword);
        lane += BN_TERNARY_BLOCK_BYTES;
    }
    if (n_whole == n_cols) return;
    uint8_t rest[BN_TERNARY_BLOCK_COLS];
    memset(rest, 1, sizeof rest);
    memcpy(rest, codes + n_whole, n_cols - n_whole);
    uint32_t dword = dword_of_codes(rest);
    memcpy(lane, &dword, sizeof dword);
}

void bn_ternary_pack_codes(const uint8_t *codes, uint32_t n_rows, uint32_t n_cols, uint8_t *blocks)
{
    BN_ASSERT(n_cols > 0);
    size_t group_bytes = bn_ternary_group_bytes(n_cols);
    for (uint32_t group = 0; group < bn_ternary_groups(n_rows); group++) {
        uint8_t *out = blocks + group_bytes * group;
        for (uint32_t r = 0; r < BN_TERNARY_GROUP_ROWS; r++) {
            uint32_t row = group * BN_TERNARY_GROUP_ROWS + r;
            if (row < n_rows)
                pack_codes_of_row(codes + (size_t)row * n_cols, n_cols, out + 4 * r);
            else
                pack_zeros(group_bytes, out + 4 * r);
        }
    }
}

void bn_ternary_pack_scales(const float *scales, uint32_t n_rows, uint32_t n_runs, float *out)
{
    uint32_t padded = bn_ternary_groups(n_rows) * BN_TERNARY_GROUP_ROWS;
    for (uint32_t row = 0; row < padded; row++) {
        float *lane = out + (size_t)(row / BN_TERNARY_GROUP_ROWS) * n_runs * BN_TERNARY_GROUP_ROWS +
                      row % BN_TERNARY_GROUP_ROWS;
        for (uint32_t run = 0; run < n_runs; run++)
            lane[(size_t)run * BN_TERNARY_GROUP_ROWS] =
                row < n_rows ? scales[(size_t)row * n_runs + run] : 0.0f;
    }
}

int bn_ternary_at(const bn_ternary *w, uint32_t row, uint32_t col)
{
    BN_ASSERT(row < w->n_rows && col < w->n_cols);
    const uint8_t *block = w->blocks +
                           bn_ternary_group_bytes(w->n_cols) * (row / BN_TERNARY_GROUP_ROWS) +
                           (size_t)(col / BN_TERNARY_BLOCK_COLS) * BN_TERNARY_BLOCK_BYTES;
    uint32_t r = row % BN_TERNARY_GROUP_ROWS, c = col % BN_TERNARY_BLOCK_COLS;
    return (int)(block[4 * r + c % 4] >> (2 * (c / 4)) & 3) - 1;
}
