/* screen.h — a dense matrix made small enough to say quickly which rows cannot be the best.
 *
 * A screen holds every row as int8 with one scale (a quarter to a half of the row's own bytes) and
 * a bound on how far a logit may lie from what the int8 row gives (docs/NUMERICS.md, the screened
 * head). Rows whose upper bound reaches the n-th largest lower bound are computed again from the
 * matrix itself, so that nothing of the screen is ever seen in a result.
 *
 * Memory:  nothing is allocated, nothing is kept.
 * Threads: re-entrant; the caller has called bn_float_env_set on this thread.
 * Errors:  none; a violated contract is a bug (BN_ASSERT).
 */
#ifndef BN_KERNELS_SCREEN_H
#define BN_KERNELS_SCREEN_H

#include "kernels/kernels.h"

static inline uint32_t bn_screen_padded_cols(uint32_t n_cols)
{
    return (n_cols + 15) / 16 * 16;
}

static inline uint32_t bn_screen_groups(uint32_t n_rows)
{
    return (n_rows + BN_SCREEN_GROUP_ROWS - 1) / BN_SCREEN_GROUP_ROWS;
}

static inline size_t bn_screen_group_bytes(uint32_t n_cols)
{
    return (size_t)bn_screen_padded_cols(n_cols) * BN_SCREEN_GROUP_ROWS;
}

static inline size_t bn_screen_blocks_bytes(uint32_t n_rows, uint32_t n_cols)
{
    return bn_screen_group_bytes(n_cols) * bn_screen_groups(n_rows);
}

/* Of each of the three vectors. */
static inline size_t bn_screen_vector_bytes(uint32_t n_rows)
{
    return (size_t)bn_screen_groups(n_rows) * BN_SCREEN_GROUP_ROWS * sizeof(float);
}

static inline size_t bn_screen_panel_bytes(uint32_t n_cols, uint32_t n_tokens)
{
    return (size_t)bn_screen_padded_cols(n_cols) * n_tokens * 2;
}

#define BN_SCREEN_SCRATCH 3u

/* Where bn_screen_pack writes: the parts of a bn_screen. */
typedef struct bn_screen_parts {
    uint8_t *blocks;
    float *scale, *error, *norm;
} bn_screen_parts;

/* Packs the groups [group_begin, group_end) of `w`. `scratch` holds
 * BN_SCREEN_SCRATCH·n_cols floats; the table gives its speed only. */
void bn_screen_pack(const bn_kernels *kernels, const bn_dense *w, uint32_t group_begin,
                    uint32_t group_end, float *scratch, const bn_screen_parts *parts);

/* Token t of x->n_tokens from n_cols floats. False when it cannot be screened, because it holds a
 * NaN, an infinity or huge numbers; its place in the panel is then not written. */
bool bn_screen_quantize(const float *token, uint32_t t, bn_screen_tokens *x);

/* Twice the bound of a row, so that lower + width is no less than its logit. */
static inline float bn_screen_width(const bn_screen *w, uint32_t row, const bn_screen_tokens *x,
                                    uint32_t t)
{
    return 2.0f * (w->error[row] * x->length[t] + (w->norm[row] * x->rest[t] + BN_SCREEN_FLOOR));
}

#endif
