/* kv_pages_test.c
 * What: the mirror never promises more pages than there are, and its commands say what changed.
 * How:  a table of small cases, then random use against plain counting.
 */
#include "coordinator/kv_pages.h"

#include "tests/kernels/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void test_pages_are_rounded_up(void **state)
{
    (void)state;
    static const uint32_t cases[][2] = {{0, 0}, {1, 1}, {64, 1}, {65, 2}, {4096, 64}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_int_equal(bn_kv_pages_for(cases[i][0]), cases[i][1]);
}

static void test_commands_follow_the_needs_of_a_slot(void **state)
{
    (void)state;
    static bn_kv_pages pages;
    bn_kv_pages_init(&pages, 2, 4);
    uint32_t slot, other;
    bn_kv_command command;
    assert_true(bn_kv_pages_acquire(&pages, 200, &slot));
    assert_false(bn_kv_pages_acquire(&pages, 1, &other)); /* all four pages are promised */
    assert_true(bn_kv_pages_grow(&pages, slot, 65, &command));
    assert_int_equal(command.kind, BN_KV_ALLOC);
    assert_int_equal(command.count, 2);
    assert_false(bn_kv_pages_grow(&pages, slot, 128, &command));
    bn_kv_pages_truncate(&pages, slot, 10, &command);
    assert_int_equal(command.kind, BN_KV_TRUNCATE);
    assert_int_equal(command.count, 10);
    assert_int_equal(pages.n_held, 1);
    assert_true(bn_kv_pages_release(&pages, slot, &command));
    assert_int_equal(command.kind, BN_KV_FREE);
    assert_true(bn_kv_pages_acquire(&pages, 1, &other));
    assert_false(bn_kv_pages_release(&pages, other, &command)); /* it held nothing */
}

static void test_random_use_never_passes_the_total(void **state)
{
    (void)state;
    random_state random = {.state = 9};
    static bn_kv_pages pages;
    bn_kv_pages_init(&pages, 10, 30);
    uint32_t most[10], held[10];
    bool used[10] = {false};
    uint32_t refused = 0;
    for (int i = 0; i < 20000; i++) {
        bn_kv_command command;
        uint32_t slot = random_below(&random, 10), n = 1 + random_below(&random, 500);
        if (!used[slot]) {
            uint32_t got;
            if (!bn_kv_pages_acquire(&pages, n, &got)) {
                refused++;
                continue;
            }
            assert_false(used[got]);
            used[got] = true;
            most[got] = n;
            held[got] = 0;
        } else if (random_below(&random, 4) == 0) {
            assert_int_equal(bn_kv_pages_release(&pages, slot, &command), held[slot] > 0);
            used[slot] = false;
        } else {
            n = 1 + random_below(&random, most[slot]);
            bool has_grown = bn_kv_pages_grow(&pages, slot, n, &command);
            assert_int_equal(has_grown, bn_kv_pages_for(n) > held[slot]);
            if (has_grown) held[slot] = command.count;
        }
        uint32_t sum = 0;
        for (uint32_t s = 0; s < 10; s++)
            sum += used[s] ? held[s] : 0;
        assert_int_equal(sum, pages.n_held);
        assert_true(sum <= 30 && pages.n_held <= pages.n_reserved && pages.n_reserved <= 30);
    }
    assert_true(refused > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pages_are_rounded_up),
        cmocka_unit_test(test_commands_follow_the_needs_of_a_slot),
        cmocka_unit_test(test_random_use_never_passes_the_total),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
