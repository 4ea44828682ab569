/* device.h — what forward.c asks of a processor: a handful of operations on opaque buffers.
 *
 * A device executes the operations of one stage in the order they are called. Every operation
 * works on the batch that was announced with begin: its tokens are the rows of every buffer. How
 * a device cuts an operation over threads never moves a bit (docs/NUMERICS.md).
 *
 * Memory:  buffers come from take, at creation; no operation allocates. Weights are the loader's.
 * Threads: the main thread only; a device has its own below it.
 * Errors:  those of the device itself (a CPU has none); a contract broken by the caller is a bug.
 */
#ifndef BN_WORKER_DEVICE_H
#define BN_WORKER_DEVICE_H

#include "common/arena.h"
#include "common/thread_pool.h"
#include "model/model.h"
#include "worker/kv_cache.h"

#define BN_DEVICE_WEIGHTS_MAX 3 /* matrices that share one input */

typedef struct bn_device_buffer bn_device_buffer; /* floats, wherever the device keeps them */

/* The tokens of one step that need arithmetic. */
typedef struct bn_device_batch {
    uint32_t n_tokens;
    const uint32_t *tokens; /* ids */
    const uint32_t *slots;
    const uint32_t *positions;
} bn_device_batch;

typedef enum bn_device_join {
    BN_DEVICE_JOIN_NONE,
    BN_DEVICE_JOIN_ADD,   /* residual += y[0] */
    BN_DEVICE_JOIN_GATED, /* y[0] = act(y[0])·y[1] */
} bn_device_join;

/* Normalise (unless norm is NULL), quantise, multiply by up to three matrices, join. */
typedef struct bn_device_projection {
    const bn_device_buffer *x; /* [n_tokens][n_cols] */
    const float *norm;         /* [n_cols] */
    uint32_t n_weights;
    const bn_ternary *weights[BN_DEVICE_WEIGHTS_MAX];
    bn_device_buffer *y[BN_DEVICE_WEIGHTS_MAX]; /* [n_tokens][n_rows] */
    bn_device_join join;
    bn_device_buffer *residual; /* for BN_DEVICE_JOIN_ADD */
} bn_device_projection;

/* Normalise every head of q and k (unless the norms are NULL) and rotate it, in place. */
typedef struct bn_device_rotation {
    bn_device_buffer *q, *k;
    const float *q_norm, *k_norm; /* [head_size] */
} bn_device_rotation;

/* What is wanted of one row of the batch; the `_out` and what follows them are filled. */
typedef struct bn_device_head_row {
    uint32_t row;
    uint32_t n_best;
    bn_candidate *best_out; /* [n_best] */
    uint32_t n_best_out;    /* fewer when the vocabulary is smaller */
    uint32_t n_ids;
    const uint32_t *ids;
    float *exact_out; /* [n_ids] */
    bool wants_lse, wants_all;
    double lse;
    const float *logits; /* with wants_all: [vocab], readable here until the next operation */
} bn_device_head_row;

typedef struct bn_device_head {
    const bn_device_buffer *x; /* [n_tokens][hidden] */
    const float *norm;
    const bn_dense *weights;
    const bn_screen *screen; /* of the weights; NULL: none */
    bn_device_head_row *rows;
    uint32_t n_rows; /* at most BN_STAGE_LOGITS_TOKENS */
} bn_device_head;

/* How the head is computed; all give the same candidates. */
typedef enum bn_head_mode {
    BN_HEAD_AUTO,   /* screened where that reads fewer bytes */
    BN_HEAD_FULL,   /* whole always */
    BN_HEAD_SCREEN, /* screened wherever that is possible */
} bn_head_mode;

/* Positions since creation, and the rows that were computed for the screened ones. */
typedef struct bn_device_head_counts {
    uint64_t n_whole, n_screened, n_survivors;
} bn_device_head_counts;

typedef struct bn_device bn_device;

typedef struct bn_device_ops {
    const char *name;
    void (*destroy)(bn_device *device);

    BN_CHECKED bn_status (*take)(bn_device *device, size_t n_floats, bn_device_buffer **buffer_out);

    /* `batch` must stay as it is until the step is over. */
    BN_CHECKED bn_status (*begin)(bn_device *device, const bn_device_batch *batch);

    /* The residual stream of the batch, from and to the caller's memory; a device that computes
     * there returns the same memory. */
    BN_CHECKED bn_status (*enter)(bn_device *device, float *activations, bn_device_buffer **x_out);
    BN_CHECKED bn_status (*leave)(bn_device *device, const bn_device_buffer *x, float *activations);

    BN_CHECKED bn_status (*embed)(bn_device *device, const bn_dense *embedding,
                                  bn_device_buffer *x);
    BN_CHECKED bn_status (*project)(bn_device *device, const bn_device_projection *projection);

    /* Then writes k and v into the cache at the batch's positions. */
    BN_CHECKED bn_status (*rotate_and_store)(bn_device *device, uint32_t layer,
                                             const bn_device_rotation *rotation,
                                             const bn_device_buffer *v);
    BN_CHECKED bn_status (*attend)(bn_device *device, uint32_t layer, const bn_device_buffer *q,
                                   bn_device_buffer *out);
    BN_CHECKED bn_status (*head)(bn_device *device, const bn_device_head *head);

    /* Threads that have computed a part since creation. */
    uint32_t (*threads_working)(const bn_device *device);

    bn_device_head_counts (*head_counts)(const bn_device *device);
} bn_device_ops;

struct bn_device {
    const bn_device_ops *ops; /* every device begins with it */
};

typedef struct bn_device_config {
    const bn_model_config *model;
    bn_stage_span span;
    bn_stage_limits limits;
    const float *rope_factors; /* NULL: all 1 */
    const bn_kv_cache *kv;
    const bn_kernels *kernels;
    bn_head_mode head_mode;
    bool has_screen;      /* the plan counted one (bn_stage_bytes_screen) */
    bn_thread_pool *pool; /* its threads have set the float environment */
    bn_arena *arena;
} bn_device_config;

BN_CHECKED bn_status bn_device_cpu_create(const bn_device_config *config, bn_device **device_out);

#endif
