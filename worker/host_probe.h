/* host_probe.h — what this machine can do, measured at start in a few dozen milliseconds.
 *
 * Bytes read per second by all threads together from memory beyond the caches, and ternary
 * multiply-adds per second. Rough figures: they decide how layers are shared between unlike
 * machines, nothing else.
 *
 * Memory:  borrows BN_HOST_PROBE_BYTES and gives them back.
 * Threads: the pool's creator.
 */
#ifndef BN_WORKER_HOST_PROBE_H
#define BN_WORKER_HOST_PROBE_H

#include "common/thread_pool.h"
#include "kernels/kernels.h"

#define BN_HOST_PROBE_BYTES (48u << 20)

typedef struct bn_host_probe {
    double bandwidth; /* bytes per second */
    double compute;   /* multiply-adds per second */
} bn_host_probe;

BN_CHECKED bn_status bn_host_probe_run(bn_thread_pool *pool, const bn_kernels *kernels,
                                       bn_host_probe *probe_out);

#endif
