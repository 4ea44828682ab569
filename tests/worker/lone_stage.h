/* lone_stage.h — one stage in this process, without links or sockets, for tests of the forward
 * pass.
 *
 * Runs with one thread and the kernels given, so that a test may record what passes through them
 * or spoil them.
 *
 * Memory: bn_lone_stage_close frees all. Errors: any failure fails the test (BN_ASSERT).
 */
#ifndef BN_TESTS_WORKER_LONE_STAGE_H
#define BN_TESTS_WORKER_LONE_STAGE_H

#include "worker/stage.h"

typedef struct bn_lone_stage {
    bn_thread_pool *pool;
    bn_stage *stage;
    bn_step *step; /* of the run under way */
    bn_result *result;
    float *logits; /* [context][vocab] by position, with the head */
} bn_lone_stage;

/* `context` positions of one sequence. */
void bn_lone_stage_open(const bn_model *model, bn_stage_span span, const bn_kernels *kernels,
                        uint32_t context, bn_lone_stage *lone_out);
void bn_lone_stage_close(bn_lone_stage *lone);

/* n_tokens ids at `position`, which is where the last run ended; all logits are kept. */
void bn_lone_stage_run(bn_lone_stage *lone, const uint32_t *tokens, uint32_t position,
                       uint32_t n_tokens, float *activations);

#endif
