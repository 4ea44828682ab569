/* log_test.c
 * What: the shape of a line, levels, the kept error text, one write per line, no forged lines.
 * How:  lines are captured and compared; a pipe read by packets shows each write. */
#include "common/log.h"

#include "tests/common/capture.h"
#include "tests/common/cmocka_all.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

static bn_capture capture;

/* True when text has the shape 2026-11-22T09:15:03.123Z followed by a blank. */
static bool begins_with_time(const char *text)
{
    static const char shape[] = "dddd-dd-ddTdd:dd:dd.dddZ ";
    for (size_t i = 0; shape[i] != '\0'; i++) {
        bool is_digit = text[i] >= '0' && text[i] <= '9';
        if (shape[i] == 'd' ? !is_digit : text[i] != shape[i]) return false;
    }
    return true;
}

static void test_shape_of_a_line(void **state)
{
    (void)state;
    bn_log_init("worker", BN_LOG_INFO);
    bn_log_set_node("2");
    bn_capture_begin(&capture);
    errno = EAGAIN;
    bn_log_warn("PEER-TIMEOUT", "no heartbeat for %d ms", 5003);
    int errno_after = errno;
    bn_capture_end(&capture);
    assert_int_equal(errno_after, EAGAIN);
    assert_true(begins_with_time(capture.err));
    assert_string_equal(capture.err + 25, "worker 2 warn PEER-TIMEOUT no heartbeat for 5003 ms\n");
    assert_string_equal(capture.out, "");
}

static void test_levels(void **state)
{
    (void)state;
    static const bn_log_level levels[] = {BN_LOG_ERROR, BN_LOG_WARN, BN_LOG_INFO, BN_LOG_DEBUG,
                                          BN_LOG_TRACE};
    static const char *const names[] = {" error ", " warn ", " info ", " debug ", " trace "};
    for (size_t i = 0; i < BN_COUNT(levels); i++) {
        bn_log_init("test", levels[i]);
        bn_capture_begin(&capture);
        for (size_t j = 0; j < BN_COUNT(levels); j++)
            bn_log(levels[j], "X", "y");
        bn_capture_end(&capture);
        for (size_t j = 0; j < BN_COUNT(levels); j++) {
            assert_int_equal(bn_log_is_on(levels[j]), j <= i);
            assert_int_equal(strstr(capture.err, names[j]) != NULL, j <= i);
        }
    }
}

static void test_fail_keeps_its_text(void **state)
{
    (void)state;
    bn_capture_begin(&capture);
    assert_int_equal(bn_fail(BN_ERR_BAD_FILE, "GGUF", "%s: truncated", "m.gguf"), BN_ERR_BAD_FILE);
    bn_log_set_quiet(true);
    bn_status status = bn_fail(BN_ERR_IO, "IO", "worker 3 reports: %s", bn_log_last_error());
    bn_log_set_quiet(false);
    bn_capture_end(&capture);
    assert_int_equal(status, BN_ERR_IO);
    assert_non_null(strstr(capture.err, "error GGUF m.gguf: truncated\n"));
    assert_null(strstr(capture.err, "reports"));
    assert_string_equal(bn_log_last_error(), "worker 3 reports: m.gguf: truncated");
}

static void *fail_elsewhere(void *argument)
{
    (void)argument;
    bool was_empty = bn_log_last_error()[0] == '\0';
    bn_log_set_quiet(true);
    (void)bn_fail(BN_ERR_IO, "X", "elsewhere");
    bn_log_set_quiet(false);
    return was_empty ? (void *)fail_elsewhere : NULL;
}

static void test_error_text_belongs_to_its_thread(void **state)
{
    (void)state;
    bn_log_set_quiet(true);
    (void)bn_fail(BN_ERR_IO, "X", "here");
    pthread_t thread;
    void *result = NULL;
    assert_int_equal(pthread_create(&thread, NULL, fail_elsewhere, NULL), 0);
    pthread_join(thread, &result);
    assert_non_null(result);
    assert_string_equal(bn_log_last_error(), "here");
}

static void test_messages_cannot_forge_lines_or_overflow(void **state)
{
    (void)state;
    static char longest[10000];
    memset(longest, 'a', sizeof longest - 1);
    bn_capture_begin(&capture);
    bn_log_error("X", "one\ntwo\r\x1b[2Jthree\tfour \xc3\xa9");
    bn_log_error("X", "%s", longest);
    bn_log_set_node(longest);
    bn_log_error("X", "named");
    bn_log_set_node("");
    bn_capture_end(&capture);
    assert_non_null(strstr(capture.err, "error X one two  [2Jthree four \xc3\xa9\n"));
    size_t n_lines = 0;
    for (const char *at = capture.err; *at != '\0'; at++)
        n_lines += *at == '\n';
    assert_int_equal(n_lines, 3);
    assert_non_null(strstr(capture.err, "a error X named\n"));
}

static void test_a_line_is_one_write(void **state)
{
    (void)state;
    int fds[2];
    int saved = dup(STDERR_FILENO);
    /* In packet mode a read returns what one write wrote. */
    assert_int_equal(pipe2(fds, O_DIRECT | O_CLOEXEC), 0);
    dup2(fds[1], STDERR_FILENO);
    bn_log_init("worker", BN_LOG_INFO);
    bn_log_error("A", "first");
    bn_log_error("B", "second");
    dup2(saved, STDERR_FILENO);
    close(saved);
    for (int i = 0; i < 2; i++) {
        char packet[4096];
        ssize_t n = read(fds[0], packet, sizeof packet - 1);
        assert_true(n > 0);
        packet[n] = '\0';
        assert_true(begins_with_time(packet));
        assert_string_equal(packet + 25,
                            i == 0 ? "worker error A first\n" : "worker error B second\n");
    }
    close(fds[0]);
    close(fds[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shape_of_a_line),
        cmocka_unit_test(test_levels),
        cmocka_unit_test(test_fail_keeps_its_text),
        cmocka_unit_test(test_error_text_belongs_to_its_thread),
        cmocka_unit_test(test_messages_cannot_forge_lines_or_overflow),
        cmocka_unit_test(test_a_line_is_one_write),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
