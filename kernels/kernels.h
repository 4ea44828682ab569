/* kernels.h — the arithmetic of one stage, as a table of pure functions.
 *
 * scalar.c is the specification (docs/NUMERICS.md); every other table gives the
 * same bits for every input, so a caller may mix tables freely. Functions work on
 * the caller's buffers and on ranges, so that a device can cut work over threads
 * in any way without moving a bit.
 *
 * Memory:  nothing is allocated, nothing is kept. Buffers are 64-byte aligned where
 *          it says so; rows need no alignment and no padding unless stated.
 * Threads: re-entrant; the caller has called bn_float_env_set on this thread.
 * Errors:  none; a violated contract is a bug (BN_ASSERT).
 */
#ifndef BN_KERNELS_KERNELS_H
#define BN_KERNELS_KERNELS_H

#include "kernels/ternary.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BN_HEAD_SIZE_MAX 512
#define BN_ATTENTION_CHUNK 256    /* keys; a constant of the numeric contract */
#define BN_KV_PAGE_POSITIONS 64   /* positions in a page; divides the chunk */
#define BN_ATTENTION_GROUP_MAX 64 /* query heads that share one key/value head */

typedef enum bn_activation { BN_ACTIVATION_SILU, BN_ACTIVATION_RELU2 } bn_activation;
typedef enum bn_rope_kind { BN_ROPE_NEOX, BN_ROPE_NORM } bn_rope_kind;

/* Element types of dense rows (embedding and head); block layouts: docs/FORMAT.md. */
typedef enum bn_dense_type {
    BN_DENSE_F32,
    BN_DENSE_F16,
    BN_DENSE_BF16,
    BN_DENSE_Q8_0,     /* n_cols a multiple of 32 */
    BN_DENSE_Q6_K,     /* n_cols a multiple of 256 */
    BN_DENSE_Q4_0,     /* of 32 */
    BN_DENSE_Q5_0,     /* of 32 */
    BN_DENSE_Q4_K,     /* of 256 */
    BN_DENSE_Q2_0,     /* of 64 */
    BN_DENSE_Q2_0_128, /* of 128 */
    BN_DENSE_TQ1_0,    /* of 256 */
    BN_DENSE_PTQ1_0,   /* of 128 */
    BN_DENSE_TQ2_0,    /* of 256 */
} bn_dense_type;

#define BN_DENSE_TYPES (BN_DENSE_TQ2_0 + 1)

/* A dense matrix W[n_rows][n_cols], rows `row_bytes` apart, read in place. */
typedef struct bn_dense {
    const void *rows;
    bn_dense_type type;
    uint32_t n_rows, n_cols;
    size_t row_bytes;
} bn_dense;

#define BN_SCREEN_GROUP_ROWS 16
#define BN_SCREEN_TOKENS_MAX 8
#define BN_SCREEN_FLOOR 0x1p-100f /* added to every bound: more than what underflow can lose */

/* A dense matrix as rows of int8, to tell which rows may be among the best (kernels/screen.h).
 * Rows in groups of 16, columns in fours: a block is 64 bytes, byte 4·r + b is column b of row r,
 * q + 128. Blocks of a group follow each other along the columns, padded to a multiple of 16;
 * groups follow each other. Padding holds q = 0 and zeros in the three vectors, which have an
 * element for each of the padded rows. */
typedef struct bn_screen {
    const uint8_t *blocks; /* 64-byte aligned */
    const float *scale;    /* d: the row is about d·q */
    const float *error;    /* E: more than the length of what is missing; infinite: unknown */
    const float *norm;     /* N: at least the length of d·q */
    uint32_t n_rows, n_cols;
} bn_screen;

/* Tokens as integers p of 15 bits, in two signed bytes: p = 128·high + low. Columns in fours:
 * the 8 bytes at (c/4·n_tokens + t)·8 are four high and four low bytes of token t. */
typedef struct bn_screen_tokens {
    int8_t *panel;
    float step[BN_SCREEN_TOKENS_MAX];      /* s: the token is about s·p */
    float length[BN_SCREEN_TOKENS_MAX];    /* X: at least the length of the token, above 0 */
    float rest[BN_SCREEN_TOKENS_MAX];      /* D: at least the length of the token − s·p */
    uint32_t offset[BN_SCREEN_TOKENS_MAX]; /* 128·Σp modulo 2^32 */
    uint32_t n_tokens, n_cols;
} bn_screen_tokens;

/* Keys and values of one sequence and one key/value head, in F16:
 * position p, element d of K is pages[p / 64][k_offset + (p % 64)·head_size + d]. */
typedef struct bn_kv_view {
    uint16_t *const *pages;
    size_t k_offset, v_offset; /* in elements */
} bn_kv_view;

typedef struct bn_kernels {
    const char *name; /* "scalar", "avx2", "avx512" */

    /* One panel of activations: n_tokens (1 … width) rows x[t·x_stride …] of n_cols floats become
     * int8 in `panel` (layout: ternary.h), their scale s and their sum Σq. Columns up to
     * bn_ternary_padded_cols(n_cols) and tokens up to width are written as 0. A token that holds
     * an infinity or a NaN is void: scale NaN, all 0, so that its products are NaN. */
    void (*quantize)(const float *x, size_t x_stride, uint32_t n_tokens, uint32_t n_cols,
                     uint32_t width, int8_t *panel, float *scale, int32_t *sum);

    /* The same with Σq of every BN_Q8_PART_COLS columns in part_sum[t][part], `sum` as above. With
     * group_cols (64, 128 or 256) every group of columns is quantised for itself and
     * scale[t][group] holds 1/s; with 0 the token is, and scale[t] holds s. */
    void (*quantize_groups)(const float *x, size_t x_stride, uint32_t n_tokens, uint32_t n_cols,
                            uint32_t width, uint32_t group_cols, int8_t *panel, float *scale,
                            int32_t *sum, int32_t *part_sum);

    /* y[t·y_stride + r] = ((float)dot / s[t]) · scale · post_scale for every token of `x` and the
     * rows r of the groups [group_begin, group_end); dot is the exact int32 Σ trit·q. When weights
     * or activations have groups of columns, the sum of groups of docs/NUMERICS.md. */
    void (*ternary_matmul)(const bn_ternary *w, uint32_t group_begin, uint32_t group_end,
                           const bn_q8 *x, float *y, size_t y_stride);

    /* y = (x · r) · w with r = 1/√(DOT16(x, x)/n + eps). y may be x. */
    void (*rms_norm)(float *y, const float *x, const float *w, uint32_t n, float eps);

    /* x += y. */
    void (*add)(float *x, const float *y, size_t n);

    /* out = act(gate)·up. out may be gate. */
    void (*gated)(bn_activation activation, float *out, const float *gate, const float *up,
                  size_t n);

    /* Rotates n_heads consecutive heads of x in place; cos and sin hold head_size/2 floats. */
    void (*rope)(bn_rope_kind kind, float *x, uint32_t n_heads, uint32_t head_size,
                 const float *cos, const float *sin);

    /* F16, nearest even, clamped to ±65504; NaN stays NaN. */
    void (*store_f16)(uint16_t *out, const float *x, size_t n);

    /* One chunk of the attention of n_heads query heads (q[h·head_size …]) that share a key/value
     * head, over keys [key_begin, key_end), key_begin a multiple of BN_ATTENTION_CHUNK and at most
     * BN_ATTENTION_CHUNK keys: out[h·head_size …] = o_c, max_out[h] = m_c, sum_out[h] = l_c. */
    void (*attention_chunk)(const float *q, uint32_t n_heads, uint32_t head_size,
                            const bn_kv_view *kv, uint32_t key_begin, uint32_t key_end, float *out,
                            float *max_out, float *sum_out);

    /* out[head_size] = Σ f_c·o_c ÷ Σ f_c·l_c over n_chunks in ascending order; o_c stands at
     * chunks[c·chunk_stride …], m_c at max[c·ml_stride], l_c at sum[c·ml_stride]. */
    void (*attention_merge)(float *out, uint32_t head_size, const float *chunks,
                            size_t chunk_stride, const float *max, const float *sum,
                            size_t ml_stride, uint32_t n_chunks);

    /* out[n_cols] = row `row` widened to f32 (quantised types with one rounding). */
    void (*dense_row)(const bn_dense *w, uint32_t row, float *out);

    /* y[t·y_stride + r] = DOT16(W[r], x[t·x_stride …]) for r in [row_begin, row_end). */
    void (*dense_matmul)(const bn_dense *w, uint32_t row_begin, uint32_t row_end, const float *x,
                         size_t x_stride, uint32_t n_tokens, float *y, size_t y_stride);

    /* y[r] = DOT16(W[r], x) for each r of rows[n_rows]. */
    void (*dense_gather)(const bn_dense *w, const uint32_t *rows, uint32_t n_rows, const float *x,
                         float *y);

    /* For every token and the rows of the groups [group_begin, group_end): approx =
     * (float)Σq·p · (d·s) and bound = fma(E, X, fma(N, D, BN_SCREEN_FLOOR));
     * lower[t·lower_stride + r] = approx − bound, upper[t·upper_stride + group] = the largest
     * approx + bound of the group, padding included. */
    void (*screen_matmul)(const bn_screen *w, uint32_t group_begin, uint32_t group_end,
                          const bn_screen_tokens *x, float *lower, size_t lower_stride,
                          float *upper, size_t upper_stride);
} bn_kernels;

typedef enum bn_isa { BN_ISA_AUTO, BN_ISA_SCALAR, BN_ISA_AVX2, BN_ISA_AVX512, BN_ISA_COUNT } bn_isa;

/* "auto", "scalar", "avx2", "avx512", NULL: for the option tables. */
extern const char *const bn_isa_names[BN_ISA_COUNT + 1];

/* The table for `isa` (AUTO: the best this processor runs), NULL when the processor lacks it. */
const bn_kernels *bn_kernels_get(bn_isa isa);

/* Binary32 nearest-even with subnormals kept, on this thread; checked by _is_set. */
void bn_float_env_set(void);
bool bn_float_env_is_set(void);

#endif
