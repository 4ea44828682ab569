/* packer.h — ternary tensors of the file into R16, on the threads that will compute them.
 *
 * Every type goes through the trits of model/trits.h as codes of a byte each; I2_S, the type of
 * most files, is packed from its own codes. Each thread packs the rows of its part, so that pages
 * lie near it, and there are never two copies of a tensor.
 *
 * Memory:  staging per thread, as large as the largest tensor so far asks for (about 1 MiB of codes
 *          at a time); blocks and scales are the caller's.
 * Threads: the creator of the pool.
 * Errors:  BN_ERR_BAD_FILE or BN_ERR_UNSUPPORTED naming file and tensor.
 */
#ifndef BN_WORKER_PACKER_H
#define BN_WORKER_PACKER_H

#include "common/thread_pool.h"
#include "model/model.h"

typedef struct bn_packer bn_packer;

BN_CHECKED bn_status bn_packer_create(const bn_model *model, bn_thread_pool *pool,
                                      bn_packer **packer_out);
void bn_packer_destroy(bn_packer *packer);

/* Packs the tensor into `blocks` (bn_ternary_bytes) and, when its scales are more than one, into
 * `scales` (bn_stage_bytes_scales; NULL when that is 0); fills *ternary_out but for post_scale. */
BN_CHECKED bn_status bn_packer_run(bn_packer *packer, const bn_gguf_tensor *tensor, uint8_t *blocks,
                                   float *scales, bn_ternary *ternary_out);

/* Reads a ternary tensor that stays as it is in the file (an embedding, a head) and refuses it as
 * one that is packed. Floats and dense blocks are nothing for it: BN_OK. */
BN_CHECKED bn_status bn_packer_look(bn_packer *packer, const bn_gguf_tensor *tensor);

/* One warning of the tensors packed so far whose codes cannot be right (model/trits_fault.h). */
void bn_packer_warn(const bn_packer *packer);

#endif
