/* thread_pool.c — one counter starts a run, another ends it; both are futexes.
 *
 * A sleeper announces itself before it sleeps and the waker looks for sleepers
 * after it has changed the counter. Both orders are sequentially consistent, so
 * one of the two always sees the other: no wake is lost, and a run that finds
 * everybody spinning makes no system call.
 */
#include "common/thread_pool.h"

#include "common/alloc.h"
#include "common/clock.h"
#include "common/log.h"

#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CACHE_LINE_BYTES 64
#define SPINS_PER_CLOCK 64

typedef struct member {
    bn_thread_pool *pool;
    pthread_t thread;
    uint32_t index;
} member;

struct bn_thread_pool {
    bn_thread_pool_config config;
    member *members; /* [n_threads]; member 0 is the caller and has no thread */
    bn_thread_task *task;
    void *context;
    bool is_ending; /* published by `generation`, like task and context */

    /* What the caller writes and what the others write stay on lines of their own. */
    uint8_t padding_before[CACHE_LINE_BYTES];
    _Atomic uint32_t generation;
    _Atomic uint32_t n_sleepers;
    uint8_t padding_between[CACHE_LINE_BYTES];
    _Atomic uint32_t n_running;
    _Atomic uint32_t is_caller_asleep;
};

#if defined(__x86_64__)
static void relax_processor(void)
{
    __builtin_ia32_pause();
}
#elif defined(__aarch64__)
static void relax_processor(void)
{
    __asm__ volatile("yield");
}
#else
static void relax_processor(void)
{
}
#endif

static void futex_sleep(_Atomic uint32_t *word, uint32_t while_equal)
{
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, while_equal, NULL, NULL, 0);
}

static void futex_wake(_Atomic uint32_t *word, int n_threads)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, n_threads, NULL, NULL, 0);
}

/* Spins until *word differs from `value` (true) or spin_us have passed (false). */
static bool spin_while_equal(_Atomic uint32_t *word, uint32_t value, uint32_t spin_us)
{
    if (atomic_load_explicit(word, memory_order_acquire) != value) return true;
    if (spin_us == 0) return false;
    uint64_t end_ns = bn_clock_ns() + (uint64_t)spin_us * 1000;
    do {
        for (uint32_t i = 0; i < SPINS_PER_CLOCK; i++) {
            if (atomic_load_explicit(word, memory_order_acquire) != value) return true;
            relax_processor();
        }
    } while (bn_clock_ns() < end_ns);
    return false;
}

static void wait_for_generation(bn_thread_pool *pool, uint32_t seen)
{
    if (spin_while_equal(&pool->generation, seen, pool->config.spin_us)) return;
    atomic_fetch_add(&pool->n_sleepers, 1);
    while (atomic_load(&pool->generation) == seen)
        futex_sleep(&pool->generation, seen);
    atomic_fetch_sub(&pool->n_sleepers, 1);
}

static void start_generation(bn_thread_pool *pool)
{
    atomic_store(&pool->n_running, pool->config.n_threads - 1);
    atomic_fetch_add(&pool->generation, 1);
    if (atomic_load(&pool->n_sleepers) > 0) futex_wake(&pool->generation, INT_MAX);
}

static void report_done(bn_thread_pool *pool)
{
    if (atomic_fetch_sub(&pool->n_running, 1) == 1 && atomic_load(&pool->is_caller_asleep) != 0)
        futex_wake(&pool->n_running, 1);
}

static void wait_until_done(bn_thread_pool *pool)
{
    uint64_t end_ns = bn_clock_ns() + (uint64_t)pool->config.spin_us * 1000;
    uint32_t n_running = atomic_load_explicit(&pool->n_running, memory_order_acquire);
    while (n_running != 0 && bn_clock_ns() < end_ns) {
        spin_while_equal(&pool->n_running, n_running, 1);
        n_running = atomic_load_explicit(&pool->n_running, memory_order_acquire);
    }
    if (n_running == 0) return;
    atomic_store(&pool->is_caller_asleep, 1);
    while ((n_running = atomic_load(&pool->n_running)) != 0)
        futex_sleep(&pool->n_running, n_running);
    atomic_store(&pool->is_caller_asleep, 0);
}

static void *member_main(void *argument)
{
    member *self = argument;
    bn_thread_pool *pool = self->pool;
    uint32_t n_threads = pool->config.n_threads;
    uint32_t seen = 0;
    for (;;) {
        wait_for_generation(pool, seen);
        seen++;
        if (pool->is_ending) return NULL;
        pool->task(pool->context, self->index, n_threads);
        report_done(pool);
    }
}

/* Signals go to the threads that expect them, never to a computing one; those
 * that name a fault stay, because only the faulting thread can get them. */
static void block_signals(sigset_t *before_out)
{
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP};
    sigset_t all;
    sigfillset(&all);
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++)
        sigdelset(&all, faults[i]);
    pthread_sigmask(SIG_BLOCK, &all, before_out);
}

/* Ends and joins members 1 … n_started - 1. */
static void end_members(bn_thread_pool *pool, uint32_t n_started)
{
    pool->is_ending = true;
    start_generation(pool);
    for (uint32_t i = 1; i < n_started; i++)
        pthread_join(pool->members[i].thread, NULL);
}

static bn_status start_members(bn_thread_pool *pool)
{
    sigset_t before;
    block_signals(&before);
    uint32_t i = 1;
    int code = 0;
    for (; i < pool->config.n_threads; i++) {
        pool->members[i] = (member){.pool = pool, .index = i};
        code = pthread_create(&pool->members[i].thread, NULL, member_main, &pool->members[i]);
        if (code != 0) break;
        pthread_setname_np(pool->members[i].thread, "bn-pool");
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (code == 0) return BN_OK;
    end_members(pool, i);
    return bn_fail(BN_ERR_LIMIT, "THREAD-START", "cannot start thread %u of %u: %s; ask for fewer",
                   (unsigned)i + 1, (unsigned)pool->config.n_threads, strerror(code));
}

bn_status bn_thread_pool_create(const bn_thread_pool_config *config, bn_thread_pool **pool_out)
{
    if (config->n_threads < 1 || config->n_threads > BN_THREADS_MAX)
        return bn_fail(BN_ERR_BAD_ARGUMENT, "THREAD-START", "%u threads are not in 1 … %d",
                       (unsigned)config->n_threads, BN_THREADS_MAX);
    bn_thread_pool *pool = bn_alloc(1, sizeof *pool);
    member *members = bn_alloc(config->n_threads, sizeof *members);
    if (pool == NULL || members == NULL) {
        bn_free(members);
        bn_free(pool);
        return bn_fail(BN_ERR_NO_MEMORY, "THREAD-START", "no memory for %u threads",
                       (unsigned)config->n_threads);
    }
    pool->config = *config;
    pool->members = members;
    bn_status status = start_members(pool);
    if (status != BN_OK) {
        bn_free(members);
        bn_free(pool);
        return status;
    }
    if (config->on_start != NULL)
        bn_thread_pool_run(pool, config->on_start, config->on_start_context);
    *pool_out = pool;
    return BN_OK;
}

void bn_thread_pool_destroy(bn_thread_pool *pool)
{
    if (pool == NULL) return;
    end_members(pool, pool->config.n_threads);
    bn_free(pool->members);
    bn_free(pool);
}

uint32_t bn_thread_pool_size(const bn_thread_pool *pool)
{
    return pool->config.n_threads;
}

void bn_thread_pool_run(bn_thread_pool *pool, bn_thread_task *task, void *context)
{
    uint32_t n_threads = pool->config.n_threads;
    if (n_threads == 1) {
        task(context, 0, 1);
        return;
    }
    pool->task = task;
    pool->context = context;
    start_generation(pool);
    task(context, 0, n_threads);
    wait_until_done(pool);
}

void bn_thread_part(size_t n, uint32_t thread_index, uint32_t n_threads, size_t *begin_out,
                    size_t *end_out)
{
    size_t share = n / n_threads;
    size_t n_longer = n % n_threads; /* the first parts hold one item more */
    size_t begin = share * thread_index + (thread_index < n_longer ? thread_index : n_longer);
    *begin_out = begin;
    *end_out = begin + share + (thread_index < n_longer ? 1 : 0);
}
