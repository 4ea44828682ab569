/* gguf_layout.h — which of two layouts a tensor has when its type id stands for both.
 *
 * Id 39 is TL2 in Microsoft's fork and MXFP4 in mainline; id 42 is Q2_0, of 64 weights in 18
 * bytes in mainline and of 128 in 34 in the files that came before. Nothing but the room that a
 * tensor has, up to the next one or to the end of the data, tells them apart.
 *
 * Threads: any; nothing is kept.
 * Errors:  BN_ERR_BAD_FILE naming file and tensor when neither or both layouts fit.
 */
#ifndef BN_MODEL_GGUF_LAYOUT_H
#define BN_MODEL_GGUF_LAYOUT_H

#include "model/gguf.h"

bool bn_gguf_layout_is_double(uint32_t type);

/* Sets type and n_bytes of the tensors of such ids. Offsets count from the start of the data,
 * which has data_bytes; `path` is for messages. */
BN_CHECKED bn_status bn_gguf_layout_settle(const char *path, bn_gguf_tensor *tensors, uint64_t n,
                                           uint64_t data_bytes, uint32_t alignment);

#endif
