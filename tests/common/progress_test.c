/* progress_test.c
 * What: sizes read well; nothing is drawn where stderr is no terminal; a bar leaves no trace.
 * How:  a table of sizes; a captured run; a pseudo-terminal. */
#include "common/progress.h"

#include "common/clock.h"
#include "tests/common/capture.h"
#include "tests/common/cmocka_all.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void test_sizes_read_well(void **state)
{
    (void)state;
    static const struct {
        uint64_t bytes;
        const char *text;
    } cases[] = {
        {0, "0 B"},
        {1023, "1023 B"},
        {1024, "1.0 KiB"},
        {1536, "1.5 KiB"},
        {1048575, "1.0 MiB"},
        {(uint64_t)5 << 30, "5.0 GiB"},
        {UINT64_MAX, "16.0 EiB"},
    };
    for (size_t i = 0; i < BN_COUNT(cases); i++) {
        char text[16];
        bn_progress_bytes_text(cases[i].bytes, text);
        assert_string_equal(text, cases[i].text);
    }
}

static void run_for_250_ms(void)
{
    bn_progress progress;
    bn_progress_begin(&progress, "loading", 100);
    for (uint64_t i = 0; i <= 100; i++) {
        bn_progress_update(&progress, i);
        bn_clock_sleep_ns(2500000);
    }
    bn_progress_end(&progress);
}

static void test_silent_without_a_terminal(void **state)
{
    (void)state;
    static bn_capture capture;
    bn_capture_begin(&capture);
    run_for_250_ms();
    bn_capture_end(&capture);
    assert_string_equal(capture.err, "");
    assert_string_equal(capture.out, "");
}

static void test_bar_on_a_terminal_is_cleared(void **state)
{
    (void)state;
    int master = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    if (master < 0 || grantpt(master) != 0 || unlockpt(master) != 0) skip();
    int terminal = open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);
    assert_true(terminal >= 0);
    int saved = dup(STDERR_FILENO);
    dup2(terminal, STDERR_FILENO);
    run_for_250_ms();
    dup2(saved, STDERR_FILENO);
    close(saved);

    static char text[8192];
    size_t n = 0;
    for (ssize_t got; (got = read(master, text + n, sizeof text - 1 - n)) > 0;)
        n += (size_t)got;
    assert_true(n > 4);
    text[n] = '\0';
    assert_non_null(strstr(text, "loading ["));
    assert_non_null(strstr(text, "####"));
    assert_string_equal(text + n - 4, "\r\x1b[K");
    size_t n_draws = 0;
    for (const char *at = text; (at = strstr(at, "loading")) != NULL; at++)
        n_draws++;
    assert_in_range(n_draws, 1, 4);
    close(terminal);
    close(master);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes_read_well),
        cmocka_unit_test(test_silent_without_a_terminal),
        cmocka_unit_test(test_bar_on_a_terminal_is_cleared),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
