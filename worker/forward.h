/* forward.h — one step through the layers of one stage.
 *
 * The stage's own part of the model: the embedding when it has it, its layers, the final norm and
 * the head when it has them. Which parts and which facts is data; there is one path for all.
 * All tokens of a step go through the matrix products together; attention is per token.
 *
 * Memory:  scratch for the largest step is taken by _create; _run allocates nothing.
 * Threads: the main thread only.
 * Errors:  BN_ERR_BAD_MESSAGE for a step that breaks the coordinator's contract (its text names
 *          entry, slot and counts); what the callbacks return; what the device returns.
 */
#ifndef BN_WORKER_FORWARD_H
#define BN_WORKER_FORWARD_H

#include "proto/step.h"
#include "worker/device.h"
#include "worker/dump.h"
#include "worker/weights.h"

typedef struct bn_forward bn_forward;

/* Called several times per layer; another status than BN_OK ends the step. */
typedef bn_status bn_forward_progress(void *context);

/* All logits of one wanted position; `logits` is readable during the call only. */
typedef bn_status bn_forward_logits(void *context, const bn_step *step, uint32_t entry,
                                    uint32_t position, const float *logits, uint32_t n_logits);

typedef struct bn_forward_config {
    const bn_model_config *model;
    const bn_weights *weights;
    bn_kv_cache *kv;
    bn_device *device;
    bn_stage_limits limits;
    bn_arena *arena;
    bn_dump *dump; /* NULL: none */
    bn_forward_progress *on_progress;
    bn_forward_logits *on_logits;
    void *context;
} bn_forward_config;

BN_CHECKED bn_status bn_forward_create(const bn_forward_config *config, bn_forward **forward_out);
void bn_forward_destroy(bn_forward *forward);

/* Executes the step's commands and entries. `activations` is [step->n_tokens][hidden]: what the
 * previous stage computed (unused with the embedding), replaced by what the next one needs.
 * `result` is filled by the stage with the head and may be NULL on others. */
BN_CHECKED bn_status bn_forward_run(bn_forward *forward, const bn_step *step, float *activations,
                                    bn_result *result);

/* Time spent in the head so far. */
uint64_t bn_forward_head_ns(const bn_forward *forward);

#endif
