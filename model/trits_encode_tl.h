/* trits_encode_tl.h — whole tiles of TL1 and TL2, for trits_encode.c.
 *
 * Threads: any.
 */
#ifndef BN_MODEL_TRITS_ENCODE_TL_H
#define BN_MODEL_TRITS_ENCODE_TL_H

#include "model/trits_encode.h"

/* As bn_trits_encode; the range is whole tiles. */
uint32_t bn_trits_encode_tl(const bn_trits_encoding *encoding, uint32_t row_begin, uint32_t n_rows,
                            const uint8_t *codes, uint8_t *out,
                            bn_trits_piece pieces[BN_TRITS_PIECES_MAX]);

/* Bytes of all codes of a TL2 tensor, without padding and scale. */
uint64_t bn_trits_encode_tl2_bytes(const bn_trits_encoding *encoding);

#endif
