/* chat_history_test.c
 * What: messages keep their texts while others come; the last grows; what is cut is gone.
 * How:  texts of many lengths, appended in pieces and compared.
 */
#include "coordinator/chat_history.h"

#include "common/log.h"
#include "tests/common/cmocka_all.h"

#include <stdio.h>
#include <string.h>

static void check_message(const bn_chat_history *history, size_t i, bn_chat_role role,
                          const char *text)
{
    assert_int_equal(history->messages[i].role, role);
    assert_int_equal(history->messages[i].n, strlen(text));
    if (*text != '\0') assert_memory_equal(history->messages[i].text, text, strlen(text));
}

static void test_messages_grow_and_go(void **state)
{
    (void)state;
    bn_chat_history history = {0};
    char wanted[4096] = "";
    for (int i = 0; i < 40; i++)
        assert_int_equal(bn_chat_history_add(&history, BN_CHAT_USER, "abc", 3), BN_OK);
    assert_int_equal(bn_chat_history_add(&history, BN_CHAT_ASSISTANT, "", 0), BN_OK);
    for (int i = 0; i < 600; i++) {
        char piece[16];
        int n = snprintf(piece, sizeof piece, "%d,", i);
        assert_int_equal(bn_chat_history_append(&history, piece, (size_t)n), BN_OK);
        strncat(wanted, piece, sizeof wanted - strlen(wanted) - 1);
    }
    check_message(&history, 40, BN_CHAT_ASSISTANT, wanted);
    for (size_t i = 0; i < 40; i++)
        check_message(&history, i, BN_CHAT_USER, "abc");
    bn_chat_history_cut(&history, 1);
    assert_int_equal(history.n, 1);
    /* One that was not the last may grow again. */
    assert_int_equal(bn_chat_history_append(&history, wanted, strlen(wanted)), BN_OK);
    assert_int_equal(history.messages[0].n, 3 + strlen(wanted));
    assert_memory_equal(history.messages[0].text, "abc", 3);
    bn_chat_history_cut(&history, 5);
    assert_int_equal(history.n, 1);
    bn_chat_history_fini(&history);
    assert_int_equal(history.n, 0);
}

static void test_more_messages_than_the_limit_are_refused(void **state)
{
    (void)state;
    bn_chat_history history = {0};
    for (uint32_t i = 0; i < BN_CHAT_HISTORY_MAX; i++)
        assert_int_equal(bn_chat_history_add(&history, BN_CHAT_USER, "", 0), BN_OK);
    bn_log_set_quiet(true);
    assert_int_equal(bn_chat_history_add(&history, BN_CHAT_USER, "", 0), BN_ERR_LIMIT);
    assert_non_null(strstr(bn_log_last_error(), "/reset"));
    bn_chat_history_fini(&history);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_messages_grow_and_go),
        cmocka_unit_test(test_more_messages_than_the_limit_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
