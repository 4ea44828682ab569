/* pipeline.h — stages of one model side by side in one process, for tests.
 *
 * Runs steps through all stages in order, handing activations on by copying, and keeps the logits
 * of every wanted position.
 *
 * Memory: pipeline_destroy frees all. Errors: fail the test (BN_ASSERT).
 */
#ifndef BN_TESTS_WORKER_PIPELINE_H
#define BN_TESTS_WORKER_PIPELINE_H

#include "worker/stage.h"

#define PIPELINE_STAGES_MAX 4u
#define PIPELINE_POSITIONS_MAX 600u

typedef struct pipeline_config {
    const char *path;
    uint32_t n_stages, layers[PIPELINE_STAGES_MAX];
    uint32_t n_threads;
    bn_isa isa;
    bn_head_mode head_mode;
    uint32_t context, slots, step_tokens;
} pipeline_config;

typedef struct pipeline {
    bn_model *model;
    bn_thread_pool *pool;
    uint32_t n_stages;
    bn_stage *stages[PIPELINE_STAGES_MAX];
    bn_result result;
    uint32_t n_progress; /* calls */

    /* Logits of slot `kept_slot`, by position. */
    uint32_t kept_slot;
    float *logits; /* [PIPELINE_POSITIONS_MAX][vocab] */
} pipeline;

void pipeline_create(const pipeline_config *config, pipeline *pipeline_out);
void pipeline_destroy(pipeline *p);

bn_status pipeline_run(pipeline *p, const bn_step *step);

/* Adds an entry to a step; all logits of every token wanted when `wants`. */
bn_step_entry *pipeline_add(bn_step *step, uint32_t slot, uint32_t position, const uint32_t *tokens,
                            uint32_t n_tokens, bool wants);
void pipeline_command(bn_step *step, bn_kv_command_kind kind, uint32_t slot, uint32_t source,
                      uint32_t count);

/* A whole sequence in slot 0, `chunk` tokens per step. */
void pipeline_evaluate(pipeline *p, const uint32_t *tokens, uint32_t n_tokens, uint32_t chunk);

#endif
