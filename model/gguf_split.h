/* gguf_split.h — a GGUF file in several: NAME-00001-of-00003.gguf and those that follow.
 *
 * The first file has the model's keys; each has its own tensors and the keys split.no,
 * split.count and split.tensors.count.
 *
 * Errors: BN_ERR_BAD_FILE or BN_ERR_IO naming the part that is missing or does not fit.
 */
#ifndef BN_MODEL_GGUF_SPLIT_H
#define BN_MODEL_GGUF_SPLIT_H

#include "model/gguf.h"

#define BN_GGUF_SPLIT_MAX 512u

/* Adds the other parts of a file that has been parsed; nothing to do for one that is not split. */
BN_CHECKED bn_status bn_gguf_split_open(bn_gguf *file);

#endif
