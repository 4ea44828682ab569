/* dense_blocks.h — the block types of dense rows: how many columns and bytes, and what they mean.
 *
 * Plain code that is the specification (docs/NUMERICS.md section 7, layouts in docs/FORMAT.md); the
 * vector files have their own.
 *
 * Threads: any; nothing is kept. Errors: none; a type that has no blocks is a bug (BN_ASSERT).
 */
#ifndef BN_KERNELS_DENSE_BLOCKS_H
#define BN_KERNELS_DENSE_BLOCKS_H

#include "kernels/kernels.h"

#define BN_DENSE_BLOCK_COLS_MAX 256

/* 1 for the plain types. */
uint32_t bn_dense_block_cols(bn_dense_type type);
size_t bn_dense_block_bytes(bn_dense_type type);

/* All columns of one block to out[bn_dense_block_cols]. */
void bn_dense_block_widen(bn_dense_type type, const uint8_t *block, float *out);

#endif
