/* json_lines_test.c
 * What: objects come line by line with their numbers; what is wrong is refused with file, line and
 *       field; a line and the number of lines are bounded.
 * How:  a table of texts read from memory.
 */
#include "coordinator/json_lines.h"

#include "common/alloc.h"
#include "common/log.h"
#include "tests/common/cmocka_all.h"

#include <string.h>

static bn_json_lines *open_text(const char *text, size_t n)
{
    bn_json_lines *lines;
    FILE *stream = fmemopen((void *)(uintptr_t)text, n, "r");
    assert_non_null(stream);
    assert_int_equal(bn_json_lines_from("f.jsonl", stream, &lines), BN_OK);
    return lines;
}

static const struct {
    const char *text;
    bn_status status;
    const char *said;
} cases[] = {
    {"{\"a\": \"x\"}\n{\"a\": \"y\"}", BN_OK, NULL},
    {"\n \t\r\n{\"a\": \"\"}\r\n\n", BN_OK, NULL},
    {"\n{\"b\": 1}", BN_ERR_BAD_FILE, "f.jsonl, line 2: there is no \"a\""},
    {"{\"a\": 1}", BN_ERR_BAD_FILE, "f.jsonl, line 1: not a text: \"a\""},
    {"{\"a\": null}", BN_ERR_BAD_FILE, "not a text"},
    {"{\"a\": \"x\"}\n{\"a\": ", BN_ERR_BAD_FILE, "f.jsonl, line 2, column"},
    {"{\"a\": \"\\u0000\"}", BN_ERR_BAD_FILE, "f.jsonl, line 1"},
    {"{\"a\": \"\xff\"}", BN_ERR_BAD_FILE, "f.jsonl, line 1"},
    {"{\"a\": \"x\", \"a\": \"y\"}", BN_ERR_BAD_FILE, "f.jsonl, line 1"},
    {"[\"a\"]", BN_ERR_BAD_FILE, "f.jsonl, line 1: an object"},
    {"{\"a\": \"x\"} {}", BN_ERR_BAD_FILE, "f.jsonl, line 1"},
    {"{\"a\": \"x\", \"n\": -1}", BN_ERR_BAD_FILE, "\"n\" must be an integer from 2 to 9"},
    {"{\"a\": \"x\", \"n\": 10}", BN_ERR_BAD_FILE, "\"n\" must be"},
    {"{\"a\": \"x\", \"n\": 2.0}", BN_ERR_BAD_FILE, "\"n\" must be"},
};

static bn_status read_all(bn_json_lines *lines, uint32_t *n_out)
{
    const bn_json *object = NULL;
    for (*n_out = 0;; ++*n_out) {
        const char *text;
        uint32_t n = 5;
        BN_TRY(bn_json_lines_next(lines, &object));
        if (object == NULL) return BN_OK;
        BN_TRY(bn_json_lines_text(lines, "a", &text));
        BN_TRY(bn_json_lines_u32(lines, "n", 2, 9, &n));
    }
}

static void test_lines_are_read_or_refused(void **state)
{
    (void)state;
    bn_log_set_quiet(true);
    for (size_t i = 0; i < BN_COUNT(cases); i++) {
        uint32_t n = 0;
        bn_json_lines *lines = open_text(cases[i].text, strlen(cases[i].text));
        assert_int_equal(read_all(lines, &n), cases[i].status);
        if (cases[i].said != NULL && strstr(bn_log_last_error(), cases[i].said) == NULL)
            fail_msg("\"%s\" does not say \"%s\"", bn_log_last_error(), cases[i].said);
        bn_json_lines_close(lines);
    }
    bn_log_set_quiet(false);
}

static void test_values_and_numbers(void **state)
{
    (void)state;
    static const char text[] = "{\"a\": \"x\", \"n\": 7}\n\n{\"a\": \"\\u00e4\\n\"}\n";
    bn_json_lines *lines = open_text(text, strlen(text));
    const bn_json *object;
    const char *a;
    uint32_t n = 1;
    assert_int_equal(bn_json_lines_next(lines, &object), BN_OK);
    assert_int_equal(bn_json_lines_number(lines), 1);
    assert_int_equal(bn_json_lines_text(lines, "a", &a), BN_OK);
    assert_string_equal(a, "x");
    assert_int_equal(bn_json_lines_u32(lines, "n", 0, 9, &n), BN_OK);
    assert_int_equal(n, 7);
    assert_int_equal(bn_json_lines_next(lines, &object), BN_OK);
    assert_int_equal(bn_json_lines_number(lines), 3);
    assert_int_equal(bn_json_lines_text(lines, "a", &a), BN_OK);
    assert_string_equal(a, "\xc3\xa4\n");
    assert_int_equal(bn_json_lines_u32(lines, "n", 0, 9, &n), BN_OK);
    assert_int_equal(n, 7); /* absent: as it was */
    assert_int_equal(bn_json_lines_next(lines, &object), BN_OK);
    assert_null(object);
    bn_json_lines_close(lines);
}

static void test_a_line_is_bounded(void **state)
{
    (void)state;
    static const char front[] = "{\"a\": \"", back[] = "\"}";
    size_t n = BN_JSON_LINE_BYTES_MAX + 1;
    char *text = bn_alloc(n, 1);
    bn_log_set_quiet(true);
    for (size_t size = n - 1; size <= n; size++) {
        uint32_t n_lines = 0;
        memset(text, 'x', size);
        memcpy(text, front, strlen(front));
        memcpy(text + size - strlen(back), back, strlen(back));
        bn_json_lines *lines = open_text(text, size);
        bool is_too_long = size > BN_JSON_LINE_BYTES_MAX;
        assert_int_equal(read_all(lines, &n_lines), is_too_long ? BN_ERR_LIMIT : BN_OK);
        assert_int_equal(n_lines, is_too_long ? 0 : 1);
        bn_json_lines_close(lines);
    }
    memset(text, '\n', n); /* one more than BN_JSON_LINES_MAX of them */
    uint32_t n_lines = 0;
    bn_json_lines *lines = open_text(text, n);
    assert_int_equal(read_all(lines, &n_lines), BN_ERR_LIMIT);
    bn_json_lines_close(lines);
    bn_log_set_quiet(false);
    bn_free(text);
}

static void test_a_missing_file_is_named(void **state)
{
    (void)state;
    bn_json_lines *lines;
    bn_log_set_quiet(true);
    assert_int_equal(bn_json_lines_open("/nonexistent/q.jsonl", &lines), BN_ERR_IO);
    assert_non_null(strstr(bn_log_last_error(), "/nonexistent/q.jsonl"));
    bn_log_set_quiet(false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines_are_read_or_refused),
        cmocka_unit_test(test_values_and_numbers),
        cmocka_unit_test(test_a_line_is_bounded),
        cmocka_unit_test(test_a_missing_file_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
