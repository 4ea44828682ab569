/* id_list_test.c
 * What: lists of ids as people write them are taken whole or refused with the place.
 * How:  a table of texts; what is written can be read back as JSON.
 */
#include "coordinator/id_list.h"

#include "common/json.h"
#include "common/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define VOCAB 100

static const struct {
    const char *text;
    bn_status status;
    uint32_t n, last;
    const char *said;
} cases[] = {
    {"7", BN_OK, 1, 7, NULL},
    {"1,2,99", BN_OK, 3, 99, NULL},
    {" 1 , 2\n", BN_OK, 2, 2, NULL},
    {"", BN_ERR_BAD_ARGUMENT, 0, 0, "byte 0"},
    {"1,", BN_ERR_BAD_ARGUMENT, 0, 0, "byte 2"},
    {"1,,2", BN_ERR_BAD_ARGUMENT, 0, 0, "byte 2"},
    {"1 2", BN_ERR_BAD_ARGUMENT, 0, 0, "a comma"},
    {"-1", BN_ERR_BAD_ARGUMENT, 0, 0, "a number"},
    {"1,100", BN_ERR_BAD_ARGUMENT, 0, 0, "vocabulary"},
    {"18446744073709551617", BN_ERR_BAD_ARGUMENT, 0, 0, "vocabulary"},
    {"0x1", BN_ERR_BAD_ARGUMENT, 0, 0, "a comma"},
};

static void test_lists_are_taken_or_refused(void **state)
{
    (void)state;
    bn_log_set_quiet(true);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        bn_token_list ids = {0};
        assert_int_equal(bn_id_list_parse(cases[i].text, VOCAB, &ids), cases[i].status);
        if (cases[i].status == BN_OK) {
            assert_int_equal(ids.n, cases[i].n);
            assert_int_equal(ids.ids[ids.n - 1], cases[i].last);
        } else {
            assert_non_null(strstr(bn_log_last_error(), cases[i].said));
        }
        bn_token_list_fini(&ids);
    }
    bn_log_set_quiet(false);
}

static void test_random_ids_are_in_the_vocabulary_and_repeatable(void **state)
{
    (void)state;
    bn_token_list a = {0}, b = {0}, c = {0};
    assert_int_equal(bn_id_list_random(1, 500, VOCAB, &a), BN_OK);
    assert_int_equal(bn_id_list_random(1, 500, VOCAB, &b), BN_OK);
    assert_int_equal(bn_id_list_random(2, 500, VOCAB, &c), BN_OK);
    for (size_t i = 0; i < a.n; i++)
        assert_true(a.ids[i] < VOCAB);
    assert_memory_equal(a.ids, b.ids, 500 * sizeof *a.ids);
    assert_memory_not_equal(a.ids, c.ids, 500 * sizeof *a.ids);
    bn_token_list_fini(&a);
    bn_token_list_fini(&b);
    bn_token_list_fini(&c);
}

static void test_what_is_written_is_json(void **state)
{
    (void)state;
    char path[] = "/tmp/bn-id-list-XXXXXX", text[256];
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    static const uint32_t ids[] = {5, 0, 4294967295u};
    for (size_t n = 0; n <= 3; n += 3) {
        assert_int_equal(bn_id_list_write(path, ids, n), BN_OK);
        FILE *file = fopen(path, "r");
        assert_non_null(file);
        size_t n_text = fread(text, 1, sizeof text, file);
        fclose(file);
        bn_json *json;
        assert_int_equal(bn_json_parse(text, n_text, &json), BN_OK);
        assert_int_equal(bn_json_length(json), n);
        for (size_t i = 0; i < n; i++) {
            uint64_t value;
            assert_true(bn_json_as_u64(bn_json_at(json, i), &value));
            assert_int_equal(value, ids[i]);
        }
        bn_json_free(json);
    }
    unlink(path);
    bn_log_set_quiet(true);
    assert_int_equal(bn_id_list_write("/dev/full", ids, 3), BN_ERR_IO);
    assert_int_equal(bn_id_list_write("/nonexistent/x", ids, 3), BN_ERR_IO);
    bn_log_set_quiet(false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lists_are_taken_or_refused),
        cmocka_unit_test(test_random_ids_are_in_the_vocabulary_and_repeatable),
        cmocka_unit_test(test_what_is_written_is_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
