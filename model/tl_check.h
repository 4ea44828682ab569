/* tl_check.h — whether the tile by which a TL1 tensor is read can be the one it was written by.
 *
 * Every tile makes trits of the same bytes, so no code gives a wrong one away. But rows and columns
 * of trained matrices differ in how many zeros they have, and another order of the bytes mixes
 * them. Random matrices tell nothing and pass.
 *
 * Threads: any.
 */
#ifndef BN_MODEL_TL_CHECK_H
#define BN_MODEL_TL_CHECK_H

#include "model/trits.h"

/* BN_ERR_BAD_FILE naming the tile that explains the tensor far better than the one in use. */
BN_CHECKED bn_status bn_tl_check(const bn_trits *trits);

#endif
