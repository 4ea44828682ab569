/* stage_bytes.h — how many bytes a stage reserves: the one place for this arithmetic.
 *
 * The plan promises these figures and the worker sizes its arenas with the same
 * functions, so that what is promised is what is reserved. Every part is rounded as
 * bn_arena_take rounds it.
 *
 * Threads: any; pure.
 */
#ifndef BN_MODEL_STAGE_BYTES_H
#define BN_MODEL_STAGE_BYTES_H

#include "model/model.h"

/* Result positions whose logits a head stage holds at once. */
#define BN_STAGE_LOGITS_TOKENS 8u

/* Header and entries of one step on a link. */
#define BN_STAGE_STEP_BYTES 65536u

/* One linear layer packed as R16. */
uint64_t bn_stage_bytes_linear(const bn_gguf_tensor *weight);

/* Packed trits and norms of one layer. */
uint64_t bn_stage_bytes_layer(const bn_model *model, uint32_t layer);

/* The final norm and the head's rows, copied at their width in the file. */
uint64_t bn_stage_bytes_head(const bn_model *model);

uint64_t bn_stage_bytes_weights(const bn_model *model, bn_stage_span span);

/* Keys and values of BN_KV_PAGE_POSITIONS positions of one layer, F16. */
uint64_t bn_stage_bytes_kv_page(const bn_model_config *config);

/* All pages of `n_layers` layers. */
uint64_t bn_stage_bytes_kv(const bn_model_config *config, uint32_t n_layers,
                           const bn_stage_limits *limits);

/* Step buffers, scratch of one step, attention partials, logits, rope and page tables. Does not
 * depend on the number of layers. */
uint64_t bn_stage_bytes_buffers(const bn_model *model, bn_stage_span span,
                                const bn_stage_limits *limits);

#endif
