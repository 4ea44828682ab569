/* local.h — workers that the coordinator starts on its own machine (--local N).
 *
 * Each is a process of its own in a process group of its own (Ctrl-C is the coordinator's), told
 * to die with its parent. They find the coordinator like any other worker.
 *
 * Memory:  the handle lives on the heap.
 * Threads: the main thread (a worker dies with the thread that started it).
 * Errors:  BN_ERR_IO when the program is not found or cannot be started; BN_ERR_PEER_LOST naming
 *          the worker and its exit code when one has ended.
 */
#ifndef BN_COORDINATOR_LOCAL_H
#define BN_COORDINATOR_LOCAL_H

#include "common/status.h"

#include <stdint.h>

typedef struct bn_local_config {
    uint32_t n_workers;
    const char *url;
    uint32_t threads; /* of each; 0: cores ÷ n_workers */
    const char *isa;
    const char *cluster_key; /* NULL: none */
    const char *dump;        /* where they may write their layers' output; NULL: nowhere */
    const char *log_level;
} bn_local_config;

typedef struct bn_local bn_local;

BN_CHECKED bn_status bn_local_start(const bn_local_config *config, bn_local **local_out);

/* BN_OK while all run. */
BN_CHECKED bn_status bn_local_check(bn_local *local);

/* Waits for them to leave, then makes them; all are reaped. NULL is allowed. */
void bn_local_stop(bn_local *local);

#endif
