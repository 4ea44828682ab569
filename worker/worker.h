/* worker.h — the main loop of a worker: one process, one stage.
 *
 * Follows the coordinator's word through JOINING, WAITING, LOADING, LOADED and READY; executes
 * steps in step-id order and passes them on; sleeps between Rest and Wake without touching the
 * transport. An error ends the stage, never the worker: it is reported, everything of the stage
 * is freed, and the worker waits for the next assignment.
 *
 * Memory:  a few messages; the rest belongs to the stage.
 * Threads: the main thread, which owns MPI and is thread 0 of the pool.
 */
#ifndef BN_WORKER_WORKER_H
#define BN_WORKER_WORKER_H

#include "worker/control.h"
#include "worker/stage.h"

typedef struct bn_worker_config {
    bn_control *control;
    bn_hello hello; /* as it was given to the control */
    bn_thread_pool *pool;
    const bn_kernels *kernels;
    bn_head_mode head_mode;
    const char *model_path;     /* NULL: the coordinator's Welcome names it */
    bn_model *model;            /* open when model_path was given; the worker's from now on */
    const char *dump_directory; /* NULL: none is allowed */
    uint64_t memory_max;        /* 0: what the machine has */
    bn_link_kind link;          /* AUTO, or the only kind allowed */
    uint32_t port_min, port_max;
    const bn_cluster_key *key; /* NULL: none */
    bn_device *(*wrap_device)(bn_device *device);
} bn_worker_config;

typedef struct bn_worker bn_worker;

BN_CHECKED bn_status bn_worker_create(const bn_worker_config *config, bn_worker **worker_out);
void bn_worker_destroy(bn_worker *worker);

/* Runs until told to leave; returns the exit code. *is_orderly_out: all workers leave together. */
int bn_worker_run(bn_worker *worker, bool *is_orderly_out);

/* Fills the hello's model fields. */
BN_CHECKED bn_status bn_worker_introduce(bn_hello *hello, const bn_model *model);

#endif
