/* thread_pool_test.c
 * What: each run reaches every thread once and is over on return; idle threads sleep; parts
 *       cover all items.
 * How:  plain (not atomic) counters, so that a missing barrier shows as a wrong sum and under
 *       ThreadSanitizer; processor time measured across an idle stretch; brute force. */
#include "common/thread_pool.h"

#include "common/clock.h"
#include "common/host.h"
#include "common/log.h"
#include "tests/common/cmocka_all.h"

#include <pthread.h>
#include <signal.h>

#define THREADS_MAX 9
#define STRIDE 16 /* counters of two threads share no cache line */

typedef struct tally {
    uint64_t n_calls[THREADS_MAX * STRIDE];
    uint64_t n_starts[THREADS_MAX * STRIDE];
    uint32_t n_threads_seen;
} tally;

static void start(void *context, uint32_t thread_index, uint32_t n_threads)
{
    (void)n_threads;
    ((tally *)context)->n_starts[thread_index * STRIDE]++;
}

static void count(void *context, uint32_t thread_index, uint32_t n_threads)
{
    tally *sums = context;
    sums->n_calls[thread_index * STRIDE]++;
    if (thread_index == 0) sums->n_threads_seen = n_threads;
}

static bn_thread_pool *create(uint32_t n_threads, uint32_t spin_us, tally *sums)
{
    bn_thread_pool *pool = NULL;
    bn_thread_pool_config config = {n_threads, spin_us, start, sums};
    assert_int_equal(bn_thread_pool_create(&config, &pool), BN_OK);
    return pool;
}

static void test_each_run_reaches_every_thread_once(void **state)
{
    (void)state;
    static const uint32_t sizes[] = {1, 2, 3, THREADS_MAX};
    static const uint32_t spins[] = {0, 20};
    for (size_t i = 0; i < BN_COUNT(sizes) * BN_COUNT(spins); i++) {
        uint32_t n_threads = sizes[i / BN_COUNT(spins)];
        tally sums = {{0}, {0}, 0};
        bn_thread_pool *pool = create(n_threads, spins[i % BN_COUNT(spins)], &sums);
        assert_int_equal(bn_thread_pool_size(pool), n_threads);
        for (uint32_t t = 0; t < n_threads; t++)
            assert_int_equal(sums.n_starts[t * STRIDE], 1);
        for (uint64_t run = 1; run <= 500; run++) {
            bn_thread_pool_run(pool, count, &sums);
            for (uint32_t t = 0; t < n_threads; t++)
                assert_int_equal(sums.n_calls[t * STRIDE], run);
        }
        assert_int_equal(sums.n_threads_seen, n_threads);
        bn_thread_pool_destroy(pool);
    }
    bn_thread_pool_destroy(NULL);
}

static void test_pools_end_at_once(void **state)
{
    (void)state;
    for (int i = 0; i < 100; i++) {
        tally sums = {{0}, {0}, 0};
        bn_thread_pool_destroy(create(4, 0, &sums));
    }
}

/* One thread is slow: the caller must wait for it, asleep. */
static void dawdle(void *context, uint32_t thread_index, uint32_t n_threads)
{
    if (thread_index + 1 == n_threads) bn_clock_sleep_ns(100000000);
    count(context, thread_index, n_threads);
}

static void test_waiting_and_idling_cost_nothing(void **state)
{
    (void)state;
    tally sums = {{0}, {0}, 0};
    bn_thread_pool *pool = create(4, 50, &sums);
    bn_thread_pool_run(pool, count, &sums);
    bn_clock_sleep_ns(10000000);
    double before = bn_host_cpu_seconds();
    bn_thread_pool_run(pool, dawdle, &sums);
    bn_clock_sleep_ns(200000000);
    double used = bn_host_cpu_seconds() - before;
    assert_int_equal(sums.n_calls[3 * STRIDE], 2);
    bn_thread_pool_destroy(pool);
    /* Three spinning threads would use up to 0.6 s on two cores. */
    assert_true(used < 0.05);
}

static void note_blocked_signals(void *context, uint32_t thread_index, uint32_t n_threads)
{
    (void)n_threads;
    pthread_sigmask(SIG_BLOCK, NULL, &((sigset_t *)context)[thread_index]);
}

static void test_signals_go_to_the_caller(void **state)
{
    (void)state;
    tally sums = {{0}, {0}, 0};
    sigset_t masks[2];
    bn_thread_pool *pool = create(2, 0, &sums);
    bn_thread_pool_run(pool, note_blocked_signals, masks);
    bn_thread_pool_destroy(pool);
    assert_false(sigismember(&masks[0], SIGTERM));
    assert_true(sigismember(&masks[1], SIGTERM));
    assert_true(sigismember(&masks[1], SIGINT));
    assert_false(sigismember(&masks[1], SIGBUS));
}

static void test_impossible_sizes_are_refused(void **state)
{
    (void)state;
    static const uint32_t sizes[] = {0, BN_THREADS_MAX + 1};
    bn_log_set_quiet(true);
    for (size_t i = 0; i < BN_COUNT(sizes); i++) {
        bn_thread_pool *pool = NULL;
        bn_thread_pool_config config = {sizes[i], 0, NULL, NULL};
        assert_int_equal(bn_thread_pool_create(&config, &pool), BN_ERR_BAD_ARGUMENT);
        assert_null(pool);
    }
}

static void test_parts_cover_all_items(void **state)
{
    (void)state;
    static const size_t counts[] = {0, 1, 2, 7, 64, 1000, SIZE_MAX};
    for (size_t i = 0; i < BN_COUNT(counts); i++) {
        for (uint32_t n_threads = 1; n_threads <= 17; n_threads++) {
            size_t next = 0;
            for (uint32_t t = 0; t < n_threads; t++) {
                size_t begin, end;
                bn_thread_part(counts[i], t, n_threads, &begin, &end);
                assert_true(begin == next && end >= begin);
                assert_true(end - begin - counts[i] / n_threads <= 1);
                next = end;
            }
            assert_true(next == counts[i]);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_run_reaches_every_thread_once),
        cmocka_unit_test(test_pools_end_at_once),
        cmocka_unit_test(test_waiting_and_idling_cost_nothing),
        cmocka_unit_test(test_signals_go_to_the_caller),
        cmocka_unit_test(test_impossible_sizes_are_refused),
        cmocka_unit_test(test_parts_cover_all_items),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
