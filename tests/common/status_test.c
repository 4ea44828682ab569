/* status_test.c
 * What: every status has a text of its own; a failed assertion names itself and aborts.
 * How:  a walk over the table; a child process that asserts. */
#include "common/status.h"

#include "common/log.h"
#include "tests/common/capture.h"
#include "tests/common/cmocka_all.h"

#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void test_every_status_has_its_own_text(void **state)
{
    (void)state;
    static const bn_status all[] = {BN_OK,
#define LIST(name, value, text) BN_ERR_##name,
                                    BN_STATUS_MAP(LIST)
#undef LIST
    };
    for (size_t i = 0; i < BN_COUNT(all); i++) {
        assert_true(i == 0 ? all[i] == 0 : all[i] < 0);
        assert_string_not_equal(bn_status_text(all[i]), "unknown status");
        for (size_t j = 0; j < i; j++)
            assert_string_not_equal(bn_status_text(all[i]), bn_status_text(all[j]));
    }
    assert_string_equal(bn_status_text((bn_status)12345), "unknown status");
}

static bn_status pass_on(bn_status status, int *n_calls)
{
    ++*n_calls;
    return status;
}

static bn_status try_it(bn_status status, int *n_calls)
{
    BN_TRY(pass_on(status, n_calls));
    ++*n_calls;
    return BN_OK;
}

static void test_try_evaluates_once(void **state)
{
    (void)state;
    int n_calls = 0;
    assert_int_equal(try_it(BN_ERR_IO, &n_calls), BN_ERR_IO);
    assert_int_equal(n_calls, 1);
    assert_int_equal(try_it(BN_OK, &n_calls), BN_OK);
    assert_int_equal(n_calls, 3);
}

static void test_assert_names_itself_and_aborts(void **state)
{
    (void)state;
    static bn_capture capture;
    int result = 0;
    bn_capture_begin(&capture);
    pid_t child = fork();
    if (child == 0) {
        bn_log_init("worker", BN_LOG_ERROR);
        bn_log_set_node("node7/2");
        BN_ASSERT(1 + 1 == 3);
        _exit(0);
    }
    waitpid(child, &result, 0);
    bn_capture_end(&capture);
    assert_true(WIFSIGNALED(result));
    assert_int_equal(WTERMSIG(result), SIGABRT);
    assert_non_null(strstr(capture.err, "worker node7/2 error BUG"));
    assert_non_null(strstr(capture.err, "status_test.c"));
    assert_non_null(strstr(capture.err, "1 + 1 == 3"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_status_has_its_own_text),
        cmocka_unit_test(test_try_evaluates_once),
        cmocka_unit_test(test_assert_names_itself_and_aborts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
