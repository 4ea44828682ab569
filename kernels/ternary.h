/* ternary.h — the two layouts that every kernel shares: packed trits and int8 panels.
 *
 * Weights, layout R16: rows in groups of 16, columns in blocks of 16; a block is 64 bytes.
 * Byte 4·r + b of a block, bits 2f and 2f+1, hold trit + 1 of row r, column 4f + b
 * (r 0…15, f 0…3, b 0…3). Blocks of a group follow each other along the columns, groups
 * follow each other. So one 512-bit load is 16 rows, and no horizontal sum is ever needed.
 * Rows past n_rows and columns past n_cols hold trit 0 (code 1).
 *
 * Scales: one for the tensor, or one for every row and `group_cols` columns. The latter stand
 * beside the blocks, sixteen rows at once: of each group of rows, in the order of the columns,
 * sixteen floats (0 for rows past n_rows).
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
#define BN_Q8_PART_COLS 64             /* columns that have a Σq of their own */

typedef struct bn_ternary {
    const uint8_t *blocks; /* 64-byte aligned */
    uint32_t n_rows, n_cols;
    float scale;         /* of the tensor, when `scales` is NULL */
    float post_scale;    /* the optional `.scale` tensor; 1 when absent */
    const float *scales; /* 64-byte aligned; NULL: one for the tensor */
    uint32_t group_cols; /* that share a scale: 64, 128, 256, or n_cols and more: the row */
} bn_ternary;

/* Quantised activations of n_tokens tokens. */
typedef struct bn_q8 {
    int8_t *panels;    /* 64-byte aligned */
    float *scale;      /* [n_tokens] s; with group_cols [n_tokens][groups] 1/s */
    int32_t *sum;      /* [n_tokens] Σq; unused when all products go by groups */
    int32_t *part_sum; /* [n_tokens][parts] Σq of BN_Q8_PART_COLS columns; may be NULL when no
                        * product goes by groups */
    uint32_t n_tokens, n_cols;
    uint32_t group_cols; /* that share a scale: 64, 128, 256; 0: all of the token */
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

/* Runs of `cols` columns in a row; the last may be shorter. */
static inline uint32_t bn_ternary_runs(uint32_t n_cols, uint32_t cols)
{
    return (n_cols - 1) / cols + 1;
}

static inline size_t bn_ternary_scale_bytes(uint32_t n_rows, uint32_t n_cols, uint32_t group_cols)
{
    return (size_t)bn_ternary_groups(n_rows) * BN_TERNARY_GROUP_ROWS *
           bn_ternary_runs(n_cols, group_cols) * sizeof(float);
}

/* A product whose sums are taken run by run, each of the finer group of the two sides. */
typedef struct bn_ternary_steps {
    uint32_t cols, n;
    bool has_weight_groups, has_token_groups;
    uint32_t weight_shift, token_shift; /* step i lies in group i >> shift */
} bn_ternary_steps;

static inline uint32_t bn_ternary_shift(uint32_t group_cols, uint32_t cols)
{
    uint32_t shift = 0;
    while (cols << shift < group_cols)
        shift++;
    return shift;
}

/* .n is 0 when neither has groups of columns. */
static inline bn_ternary_steps bn_ternary_steps_of(const bn_ternary *w, const bn_q8 *x)
{
    uint32_t of_w = w->scales != NULL && w->group_cols < w->n_cols ? w->group_cols : 0;
    uint32_t of_x = x->group_cols;
    bn_ternary_steps steps = {.cols = of_w == 0 || (of_x != 0 && of_x < of_w) ? of_x : of_w};
    if (steps.cols == 0) return steps;
    steps.n = bn_ternary_runs(w->n_cols, steps.cols);
    steps.has_weight_groups = of_w != 0;
    steps.has_token_groups = of_x != 0;
    steps.weight_shift = bn_ternary_shift(of_w, steps.cols);
    steps.token_shift = bn_ternary_shift(of_x, steps.cols);
    return steps;
}

/* Σq of one token over step `i`. */
static inline int32_t bn_q8_step_sum(const int32_t *part_sum, const bn_ternary_steps *steps,
                                     uint32_t n_cols, uint32_t i)
{
    uint32_t n_parts = bn_ternary_runs(n_cols, BN_Q8_PART_COLS);
    uint32_t per_step = steps->cols / BN_Q8_PART_COLS, begin = i * per_step;
    uint32_t end = n_parts - begin < per_step ? n_parts : begin + per_step;
    int32_t sum = 0;
    for (uint32_t part = begin; part < end; part++)
        sum += part_sum[part];
    return sum;
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

/* Packs n_rows rows of codes (trit + 1, a byte each, row after row) that begin at the first row of
 * a group: `blocks` is that group's. The last group is filled up with trit 0. */
void bn_ternary_pack_codes(const uint8_t *codes, uint32_t n_rows, uint32_t n_cols, uint8_t *blocks);

/* The scales of the same rows, scales[row · runs + run], to their place beside the blocks. */
void bn_ternary_pack_scales(const float *scales, uint32_t n_rows, uint32_t n_runs, float *out);

/* The trit (−1, 0, 1) at [row][col]: for tests and tools. */
int bn_ternary_at(const bn_ternary *w, uint32_t row, uint32_t col);

#endif
