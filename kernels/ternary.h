/* ternary.h — the two layouts that every kernel shares: packed trits and int8 panels.
 *
 * Weights, layout R16: rows in groups of 16, columns in blocks of 16; a block is 64 bytes.
 * Byte 4·r + b of a block, bits 2f and 2f+1, hold trit + 1 of row r, column 4f + b
 * (r 0…15, f 0…3, b 0…3). Blocks of a group follow each other along the columns, groups
 * follow each other. So one 512-bit load is 16 rows, and no horizontal sum is ever needed.
 * Rows past n_rows and columns past n_cols hold trit 0 (code 1).
 *
 * Activations, a panel: `width` tokens (1, or 8 when a step has more than one), columns in
 * fours: byte (c/4·width + t)·4 + c%4 is column c of token t. Panels follow each other.
 *
 * One layout for all instruction sets: a packed tensor never depends on the processor.
 */
#ifndef BN_KERNELS_TERNARY_H
#define BN_KERNELS_TERNARY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BN_TERNARY_GROUP_ROWS 16
#define BN_TERNARY_BLOCK_COLS 16
#define BN_TERNARY_BLOCK_BYTES 64
#define BN_Q8_PANEL_TOKENS 8
#define BN_TERNARY_COLS_MAX (1u << 18) /* int32 sums stay exact in every kernel */

typedef struct bn_ternary {
    const uint8_t *blocks; /* 64-byte aligned */
    uint32_t n_rows, n_cols;
    float scale;      /* of the tensor */
    float post_scale; /* the optional `.scale` tensor; 1 when absent */
} bn_ternary;

/* Quantised activations of n_tokens tokens. */
typedef struct bn_q8 {
    int8_t *panels; /* 64-byte aligned */
    float *scale;   /* [n_tokens] s */
    int32_t *sum;   /* [n_tokens] Σq */
    uint32_t n_tokens, n_cols;
} bn_q8;

static inline uint32_t bn_ternary_padded_cols(uint32_t n_cols)
{
    return (n_cols + BN_TERNARY_BLOCK_COLS - 1) / BN_TERNARY_BLOCK_COLS * BN_TERNARY_BLOCK_COLS;
}

static inline uint32_t bn_ternary_groups(uint32_t n_rows)
{
    return (n_rows + BN_TERNARY_GROUP_ROWS - 1) / BN_TERNARY_GROUP_ROWS;
}

static inline size_t bn_ternary_group_bytes(uint32_t n_cols)
{
    return (size_t)bn_ternary_padded_cols(n_cols) / BN_TERNARY_BLOCK_COLS * BN_TERNARY_BLOCK_BYTES;
}

static inline size_t bn_ternary_bytes(uint32_t n_rows, uint32_t n_cols)
{
    return bn_ternary_group_bytes(n_cols) * bn_ternary_groups(n_rows);
}

static inline uint32_t bn_q8_width(uint32_t n_tokens)
{
    return n_tokens == 1 ? 1 : BN_Q8_PANEL_TOKENS;
}

static inline size_t bn_q8_panel_bytes(uint32_t n_cols, uint32_t width)
{
    return (size_t)bn_ternary_padded_cols(n_cols) * width;
}

static inline size_t bn_q8_bytes(uint32_t n_cols, uint32_t n_tokens)
{
    uint32_t width = bn_q8_width(n_tokens);
    return bn_q8_panel_bytes(n_cols, width) * ((n_tokens + width - 1) / width);
}

/* Packs the groups [group_begin, group_end) of an I2_S tensor W[n_rows][n_cols] (flattened 128/32
 * layout, n_rows·n_cols a multiple of 128) from `codes` (n_rows·n_cols/4 bytes) into `blocks`.
 * False when code 3 occurs; *bad_index_out is then its flat index. */
bool bn_ternary_pack_i2s(const uint8_t *codes, uint32_t n_rows, uint32_t n_cols,
                         uint32_t group_begin, uint32_t group_end, uint8_t *blocks,
                         uint64_t *bad_index_out);

/* The trit (−1, 0, 1) at [row][col]: for tests and tools. */
int bn_ternary_at(const bn_ternary *w, uint32_t row, uint32_t col);

#endif
