/* thread_pool.h — a team that runs one function on all its threads.
 *
 * The caller of _run is thread 0. Between runs the others spin for `spin_us`
 * and then sleep on a futex, so an idle pool uses no processor.
 *
 * Memory:  created with its threads; nothing is allocated by _run.
 * Threads: _run is called by the creator only.
 */
#ifndef BN_COMMON_THREAD_POOL_H
#define BN_COMMON_THREAD_POOL_H

#include "common/status.h"

#include <stddef.h>
#include <stdint.h>

#define BN_THREADS_MAX 1024

typedef struct bn_thread_pool bn_thread_pool;

typedef void bn_thread_task(void *context, uint32_t thread_index, uint32_t n_threads);

typedef struct bn_thread_pool_config {
    uint32_t n_threads; /* the caller included, ≥ 1 */
    uint32_t spin_us;   /* 0 on an oversubscribed machine */
    /* Runs once on every thread, the caller's too, before the first task (float environment). */
    bn_thread_task *on_start;
    void *on_start_context;
} bn_thread_pool_config;

BN_CHECKED bn_status bn_thread_pool_create(const bn_thread_pool_config *config,
                                           bn_thread_pool **pool_out);
void bn_thread_pool_destroy(bn_thread_pool *pool);

uint32_t bn_thread_pool_size(const bn_thread_pool *pool);

/* Returns when `task` has returned on every thread. */
void bn_thread_pool_run(bn_thread_pool *pool, bn_thread_task *task, void *context);

/* The part [*begin_out, *end_out) of n items for one thread; parts differ by at most one item. */
void bn_thread_part(size_t n, uint32_t thread_index, uint32_t n_threads, size_t *begin_out,
                    size_t *end_out);

#endif
