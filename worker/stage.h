/* stage.h — all that a worker holds for the part of the model that it was assigned.
 *
 * Reserves exactly what the plan promised (bn_model_stage_bytes): weights, KV pages, buffers; and
 * touches it, so that a machine without the memory says so now and not in the middle of an
 * answer.
 *
 * Memory:  three arenas, given back by _destroy. The model and the pool must outlive the stage.
 * Threads: the main thread only.
 * Errors:  those of loading; BN_ERR_NO_MEMORY; what the load callback returned.
 */
#ifndef BN_WORKER_STAGE_H
#define BN_WORKER_STAGE_H

#include "model/stage_bytes.h"
#include "worker/forward.h"
#include "worker/link.h"

typedef struct bn_stage_config {
    const bn_model *model;
    bn_stage_span span;
    bn_stage_limits limits; /* limits.threads is the pool's size */
    bn_thread_pool *pool;
    const bn_kernels *kernels;
    bn_head_mode head_mode;
    bn_device *(*wrap_device)(bn_device *device); /* NULL, or a test's; owned by the test */
    const char *dump_directory;                   /* NULL: no dump */
    bn_weights_progress *on_load;
    bn_forward_progress *on_progress;
    bn_forward_logits *on_logits;
    void *context; /* of the three */
} bn_stage_config;

typedef struct bn_stage {
    bn_stage_config config;
    bn_stage_bytes bytes; /* reserved */
    bn_weights *weights;
    bn_kv_cache *kv;
    bn_device *device;
    bn_dump *dump;
    bn_forward *forward;
    bn_arena *kv_arena, *buffers_arena;

    uint32_t n_frames; /* steps_in_flight + 1 */
    bn_link_frame frames[BN_STEPS_IN_FLIGHT_MAX + 1];
    float *logits_rows[BN_STAGE_LOGITS_QUEUED]; /* [vocab] each; NULL without the head */
} bn_stage;

BN_CHECKED bn_status bn_stage_create(const bn_stage_config *config, bn_stage **stage_out);
void bn_stage_destroy(bn_stage *stage);

#endif
