/* trits_encode.h — codes of whole rows to the bytes of a GGUF type: what trits.h reads, back.
 *
 * I2_S, TL1 and TL2 hold one scale for the tensor, behind their codes; TQ1_0 and TQ2_0 an f16 for
 * 256 columns; F16 no scale, but weights. Rows are encoded in ranges, in any order, because a
 * tensor may be larger than memory.
 *
 * Threads: any, each with a buffer of its own.
 * Errors:  BN_ERR_UNSUPPORTED with a text that says what the type cannot hold.
 */
#ifndef BN_MODEL_TRITS_ENCODE_H
#define BN_MODEL_TRITS_ENCODE_H

#include "common/status.h"
#include "model/tl_tile.h"

#include <stddef.h>
#include <stdint.h>

#define BN_TRITS_PIECES_MAX 3u

typedef struct bn_trits_encoding {
    uint32_t type, n_rows, n_cols;
    uint32_t row_step; /* ranges begin at multiples of it, and end there or at the last row */
    bn_tl_tile tile;   /* of TL1 and TL2 */
} bn_trits_encoding;

/* Bytes that belong at `at` of the tensor. */
typedef struct bn_trits_piece {
    uint64_t at;
    const uint8_t *bytes;
    size_t n;
} bn_trits_piece;

/* Whether `type` can hold a matrix of this shape; `name` is the tensor's, for messages. */
BN_CHECKED bn_status bn_trits_encoding_make(const char *name, uint32_t type, uint32_t n_rows,
                                            uint32_t n_cols, const bn_tl_tile_list *tiles,
                                            bn_trits_encoding *encoding_out);

/* Columns for which the type has room for a scale of their own; 0: one for the tensor. */
uint32_t bn_trits_encoding_group(uint32_t type);

/* Bytes that a range of n_rows takes. */
size_t bn_trits_encoding_bytes(const bn_trits_encoding *encoding, uint32_t n_rows);

/* Encodes the rows [row_begin, row_begin + n_rows): codes as bn_trits_read gives them, and for the
 * types with scales within the rows scales[n_rows][n_cols / group_cols], which are F16 numbers.
 * Returns the number of pieces, which point into `out`. */
uint32_t bn_trits_encode(const bn_trits_encoding *encoding, uint32_t row_begin, uint32_t n_rows,
                         const uint8_t *codes, const float *scales, uint32_t group_cols,
                         uint8_t *out, bn_trits_piece pieces[BN_TRITS_PIECES_MAX]);

/* Where the scale of I2_S, TL1 and TL2 stands: an f32. */
uint64_t bn_trits_encoding_scale_at(const bn_trits_encoding *encoding);

#endif
