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
#define BN_STAGE_STEP_BYTES (64u + 65536u)

/* Cells of partial attention results, per thread: with fewer pairs of token and key/value head
 * than cells, threads share the chunks of a pair. */
#define BN_STAGE_CELLS_PER_THREAD 4u

/* Candidates that a position may ask for. */
#define BN_STAGE_CANDIDATES_MAX 256u

/* All logits of a position on their way to the coordinator: rows waiting. */
#define BN_STAGE_LOGITS_QUEUED 4u

/* The scales beside one packed linear layer, as many as its type can hold: how many of them differ
 * is known only when all are read. 0: one for the tensor. */
uint64_t bn_stage_bytes_scales(const bn_gguf_tensor *weight);

/* One linear layer packed as R16, scales included. */
uint64_t bn_stage_bytes_linear(const bn_gguf_tensor *weight);

/* Packed trits and norms of one layer. */
uint64_t bn_stage_bytes_layer(const bn_model *model, uint32_t layer);

/* The final norm and the head's rows, copied at their width in the file. */
uint64_t bn_stage_bytes_head_rows(const bn_model *model);

/* The int8 screen beside the rows; 0 when rows are too small for one to save bytes. */
uint64_t bn_stage_bytes_screen(const bn_model *model);

/* Both. */
uint64_t bn_stage_bytes_head(const bn_model *model);

uint64_t bn_stage_bytes_weights(const bn_model *model, bn_stage_span span);

/* Keys and values of BN_KV_PAGE_POSITIONS positions of one layer, F16. */
uint64_t bn_stage_bytes_kv_page(const bn_model_config *config);

/* All pages of `n_layers` layers. */
uint64_t bn_stage_bytes_kv(const bn_model_config *config, uint32_t n_layers,
                           const bn_stage_limits *limits);

/* The widest row that is quantised. */
uint32_t bn_stage_bytes_widest(const bn_model_config *config);

/* Scales and partial sums of one quantised token of the widest row. */
uint32_t bn_stage_bytes_token_scales(const bn_model_config *config);
uint32_t bn_stage_bytes_token_parts(const bn_model_config *config);

/* One cell: a group of heads, all chunks of a full context. */
uint64_t bn_stage_bytes_cell(const bn_model_config *config, uint32_t context);

/* Step frames, scratch of one step, attention partials, page tables, logits. Depends on whether
 * there are layers, not on how many. */
uint64_t bn_stage_bytes_buffers(const bn_model *model, bn_stage_span span,
                                const bn_stage_limits *limits);

#endif
