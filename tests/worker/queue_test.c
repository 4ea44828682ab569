/* queue_test.c
 * What: items arrive once, in order and whole; a full queue says so; the descriptor rings.
 * How:  two threads, many more items than places, each item filled with its own number.
 */
#include "worker/queue.h"

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdbool.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define N_ITEMS 20000u
#define ITEM_WORDS 40u
#define CAPACITY 7u

static void *produce(void *context)
{
    bn_queue *queue = context;
    for (uint32_t i = 0; i < N_ITEMS; i++) {
        uint32_t *item;
        while ((item = bn_queue_back(queue)) == NULL)
            sched_yield();
        for (uint32_t j = 0; j < ITEM_WORDS; j++)
            item[j] = i + j;
        bn_queue_push(queue);
    }
    return NULL;
}

static bool rings(const bn_queue *queue, int timeout_ms)
{
    struct pollfd fd = {.fd = bn_queue_fd(queue), .events = POLLIN};
    return poll(&fd, 1, timeout_ms) == 1;
}

static void test_items_arrive_once_in_order_and_whole(void **unused)
{
    (void)unused;
    bn_queue *queue;
    pthread_t thread;
    assert_int_equal(bn_queue_create(ITEM_WORDS * sizeof(uint32_t), CAPACITY, &queue), BN_OK);
    assert_int_equal(pthread_create(&thread, NULL, produce, queue), 0);
    for (uint32_t i = 0; i < N_ITEMS;) {
        assert_true(rings(queue, 10000));
        bn_queue_hush(queue);
        const uint32_t *item;
        while ((item = bn_queue_front(queue)) != NULL) {
            for (uint32_t j = 0; j < ITEM_WORDS; j++)
                assert_int_equal(item[j], i + j);
            bn_queue_pop(queue);
            i++;
        }
    }
    pthread_join(thread, NULL);
    assert_null(bn_queue_front(queue));
    bn_queue_destroy(queue);
}

static void test_a_full_queue_says_so_and_a_hushed_one_is_quiet(void **unused)
{
    (void)unused;
    bn_queue *queue;
    assert_int_equal(bn_queue_create(8, CAPACITY, &queue), BN_OK);
    assert_false(rings(queue, 0));
    for (uint32_t i = 0; i < CAPACITY; i++) {
        assert_int_equal(bn_queue_n_free(queue), CAPACITY - i);
        assert_non_null(bn_queue_back(queue));
        bn_queue_push(queue);
    }
    assert_null(bn_queue_back(queue));
    assert_true(rings(queue, 0));
    bn_queue_hush(queue);
    assert_false(rings(queue, 0));
    bn_queue_pop(queue);
    assert_non_null(bn_queue_back(queue));
    bn_queue_ring(queue);
    assert_true(rings(queue, 0));
    bn_queue_destroy(queue);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_items_arrive_once_in_order_and_whole),
        cmocka_unit_test(test_a_full_queue_says_so_and_a_hushed_one_is_quiet),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
