/* clock_test.c
 * What: the clock never goes back, its units agree, a sleep is never too short.
 * How:  many readings in a row; a sleep that a timer's signals interrupt. */
#include "common/clock.h"

#include "tests/common/cmocka_all.h"

#include <signal.h>
#include <sys/time.h>

static volatile sig_atomic_t n_signals;

static void count_signal(int number)
{
    (void)number;
    n_signals++;
}

static void test_time_never_goes_back(void **state)
{
    (void)state;
    uint64_t before = bn_clock_ns();
    for (int i = 0; i < 10000; i++) {
        uint64_t now = bn_clock_ns();
        assert_true(now >= before);
        before = now;
    }
}

static void test_units_agree(void **state)
{
    (void)state;
    uint64_t ms_before = bn_clock_ms();
    uint64_t ns = bn_clock_ns();
    uint64_t ms_after = bn_clock_ms();
    assert_in_range(ns / 1000000, ms_before, ms_after);
    /* A clock in seconds or microseconds would lie outside the years 2020 … 2200. */
    assert_in_range(bn_clock_unix_ms(), 1577836800000u, 7258118400000u);
}

static void test_signals_do_not_shorten_a_sleep(void **state)
{
    (void)state;
    struct sigaction action = {.sa_handler = count_signal};
    struct itimerval each_5_ms = {{0, 5000}, {0, 5000}}, off = {{0, 0}, {0, 0}};
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &each_5_ms, NULL);
    uint64_t begin = bn_clock_ns();
    bn_clock_sleep_ns(40000000);
    uint64_t slept_ns = bn_clock_ns() - begin;
    setitimer(ITIMER_REAL, &off, NULL);
    assert_true(slept_ns >= 40000000);
    assert_true(n_signals > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_time_never_goes_back),
        cmocka_unit_test(test_units_agree),
        cmocka_unit_test(test_signals_do_not_shorten_a_sleep),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
