/* json_test.c
 * What: what is built prints as JSON in order; broken builds and closed outputs fail; texts and
 *       files are read; bad input is refused with its place.
 * How:  printed text is compared; tables of inputs; /dev/full plays the full disk. */
#include "common/json.h"

#include "common/alloc.h"
#include "common/log.h"
#include "tests/common/cmocka_all.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char printed[4096];

static bn_status print(const bn_json *value, uint32_t indent)
{
    FILE *stream = fmemopen(printed, sizeof printed, "w");
    bn_status status = bn_json_print(value, stream, indent);
    fclose(stream);
    return status;
}

static void test_values_print_in_order(void **state)
{
    (void)state;
    bn_json *object = bn_json_object();
    bn_json *array = bn_json_array();
    bn_json_set_u64(object, "z", 7);
    bn_json_set_bool(object, "yes", true);
    bn_json_set_double(object, "third", 1.0 / 3.0);
    bn_json_set_double(object, "nan", (double)NAN);
    bn_json_set_u64(object, "largest", UINT64_MAX);
    bn_json_add_u64(array, INT64_MAX);
    bn_json_add_text(array, "a\"b\\\n");
    bn_json_add(array, bn_json_object());
    bn_json_set(object, "a", array);
    assert_int_equal(print(object, 0), BN_OK);
    assert_string_equal(printed,
                        "{\"z\": 7, \"yes\": true, \"third\": 0.33333333333333331, \"nan\": null, "
                        "\"largest\": \"18446744073709551615\", "
                        "\"a\": [9223372036854775807, \"a\\\"b\\\\\\n\", {}]}\n");
    assert_int_equal(print(object, 2), BN_OK);
    assert_non_null(strstr(printed, "{\n  \"z\": 7,\n"));
    bn_json_free(object);
}

static void test_bytes_that_are_not_utf8_are_replaced(void **state)
{
    (void)state;
#define BAD "\xef\xbf\xbd"
    static const struct {
        const char *in, *out;
    } texts[] = {
        {"plain", "plain"},
        {"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"},
        {"a\xff"
         "b",
         "a" BAD "b"},
        {"\xc0\x80", BAD BAD},                 /* overlong */
        {"\xe0\x80\x80", BAD BAD BAD},         /* overlong */
        {"\xed\xa0\x80", BAD BAD BAD},         /* surrogate */
        {"\xf4\x90\x80\x80", BAD BAD BAD BAD}, /* beyond U+10FFFF */
        {"\xe2\x82", BAD BAD},                 /* cut */
        {"\xf0", BAD},
    };
    for (size_t i = 0; i < BN_COUNT(texts); i++) {
        char expected[128];
        bn_json *array = bn_json_array();
        bn_json_add_text(array, texts[i].in);
        assert_int_equal(print(array, 0), BN_OK);
        snprintf(expected, sizeof expected, "[\"%s\"]\n", texts[i].out);
        assert_string_equal(printed, expected);
        bn_json_free(array);
    }
}

static void test_a_missing_part_fails_the_print(void **state)
{
    (void)state;
    bn_log_set_quiet(true);
    bn_json *object = bn_json_object();
    bn_json *array = bn_json_array();
    bn_json_add(array, NULL);
    bn_json_set(object, "list", array);
    assert_int_equal(print(object, 0), BN_ERR_NO_MEMORY);
    bn_json_free(object);

    object = bn_json_object();
    bn_json_set(object, "part", NULL);
    assert_int_equal(print(object, 0), BN_ERR_NO_MEMORY);
    bn_json_free(object);

    bn_json_set_u64(NULL, "x", 1);
    assert_int_equal(print(NULL, 0), BN_ERR_NO_MEMORY);
    bn_json_free(NULL);
    /* One broken tree does not break the next. */
    object = bn_json_object();
    assert_int_equal(print(object, 0), BN_OK);
    bn_json_free(object);
}

static void test_a_full_disk_is_an_error(void **state)
{
    (void)state;
    FILE *stream = fopen("/dev/full", "w");
    if (stream == NULL) skip();
    bn_log_set_quiet(true);
    bn_json *object = bn_json_object();
    assert_int_equal(bn_json_print(object, stream, 0), BN_ERR_IO);
    bn_json_free(object);
    fclose(stream);
}

static void test_lists_of_ids_are_read(void **state)
{
    (void)state;
    static const char text[] = " [0, 128000, 9223372036854775807, -1, 1.5, \"7\", null]";
    static const bool is_id[] = {true, true, true, false, false, false, false};
    bn_json *value;
    uint64_t id;
    assert_int_equal(bn_json_parse(text, strlen(text), &value), BN_OK);
    assert_true(bn_json_is_array(value));
    assert_int_equal(bn_json_length(value), BN_COUNT(is_id));
    for (size_t i = 0; i < BN_COUNT(is_id); i++)
        assert_int_equal(bn_json_as_u64(bn_json_at(value, i), &id), is_id[i]);
    assert_null(bn_json_at(value, BN_COUNT(is_id)));
    assert_true(bn_json_as_u64(bn_json_at(value, 1), &id) && id == 128000);
    bn_json_free(value);
    assert_int_equal(bn_json_parse("5", 1, &value), BN_OK);
    assert_false(bn_json_is_array(value));
    assert_int_equal(bn_json_length(value), 0);
    bn_json_free(value);
}

static void test_bad_input_is_refused(void **state)
{
    (void)state;
    static char deep[200], brackets_in_text[200];
    memset(deep, '[', 65);
    memset(deep + 65, ']', 65);
    memset(brackets_in_text, '[', 190);
    memcpy(brackets_in_text, "[\"\\\"", 4);
    memcpy(brackets_in_text + 188, "\"]", 3);
    const struct {
        const char *text;
        bn_status status;
    } inputs[] = {
        {"", BN_ERR_BAD_MESSAGE},
        {"[1,", BN_ERR_BAD_MESSAGE},
        {"[1] x", BN_ERR_BAD_MESSAGE},
        {"{\"a\":}", BN_ERR_BAD_MESSAGE},
        {"{\"a\":1, \"a\":1}", BN_ERR_BAD_MESSAGE},
        {"[\"\\u0000\"]", BN_ERR_BAD_MESSAGE},
        {"[\"\xff\"]", BN_ERR_BAD_MESSAGE},
        {"[99999999999999999999]", BN_ERR_BAD_MESSAGE},
        {deep, BN_ERR_LIMIT},
        {deep + 1, BN_ERR_BAD_MESSAGE}, /* 64 opened, 65 closed */
        {brackets_in_text, BN_OK},
    };
    bn_log_set_quiet(true);
    for (size_t i = 0; i < BN_COUNT(inputs); i++) {
        bn_json *value = NULL;
        assert_int_equal(bn_json_parse(inputs[i].text, strlen(inputs[i].text), &value),
                         inputs[i].status);
        if (inputs[i].status == BN_ERR_BAD_MESSAGE)
            assert_non_null(strstr(bn_log_last_error(), "line "));
        bn_json_free(value);
    }
}

static void test_objects_are_walked_in_the_order_of_the_text(void **state)
{
    (void)state;
    static const char text[] =
        "{\"b\": 1.5, \"a\": true, \"c\": \"\\u00e9\", \"d\": null, \"e\": {\"f\": [7]}}";
    static const char *const names[] = {"b", "a", "c", "d", "e"};
    bn_json *value;
    assert_int_equal(bn_json_parse(text, strlen(text), &value), BN_OK);
    size_t n = 0;
    for (bn_json_member m = {0}; bn_json_next(value, &m); n++)
        assert_string_equal(m.name, names[n]);
    assert_int_equal(n, BN_COUNT(names));
    assert_int_equal(bn_json_length(value), n);
    double number = 0;
    bool truth = false;
    const char *shown = NULL;
    assert_true(bn_json_as_double(bn_json_get(value, "b"), &number) && number == 1.5);
    assert_true(bn_json_as_bool(bn_json_get(value, "a"), &truth) && truth);
    assert_true(bn_json_as_text(bn_json_get(value, "c"), &shown));
    assert_string_equal(shown, "\xc3\xa9");
    assert_true(bn_json_is_null(bn_json_get(value, "d")));
    uint64_t id = 0;
    const bn_json *list = bn_json_get(bn_json_get(value, "e"), "f");
    assert_true(bn_json_as_u64(bn_json_at(list, 0), &id) && id == 7);
    /* Paths that do not exist end in no value. */
    const bn_json *absent = bn_json_get(bn_json_get(bn_json_get(value, "x"), "y"), "z");
    bn_json_member nothing = {0};
    assert_null(absent);
    assert_null(bn_json_get(list, "f"));
    assert_false(bn_json_is_null(absent) || bn_json_is_object(absent) ||
                 bn_json_as_text(absent, &shown) || bn_json_as_bool(absent, &truth) ||
                 bn_json_as_double(absent, &number) || bn_json_next(list, &nothing));
    assert_false(bn_json_as_text(list, &shown) || bn_json_as_bool(list, &truth) ||
                 bn_json_as_double(list, &number));
    bn_json_free(value);
}

static void test_files_are_read_and_named_in_errors(void **state)
{
    (void)state;
    char path[] = "/tmp/json_test_XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    static char text[200000];
    memset(text, ' ', sizeof text);
    memcpy(text + sizeof text - 3, "[1]", 3);
    assert_int_equal(write(fd, text, sizeof text), sizeof text);
    bn_json *value = NULL;
    assert_int_equal(bn_json_read(path, sizeof text, &value), BN_OK);
    assert_int_equal(bn_json_length(value), 1);
    bn_json_free(value);
    bn_log_set_quiet(true);
    assert_int_equal(bn_json_read(path, sizeof text - 1, &value), BN_ERR_LIMIT);
    assert_non_null(strstr(bn_log_last_error(), path));
    assert_int_equal(ftruncate(fd, sizeof text - 1), 0);
    assert_int_equal(bn_json_read(path, sizeof text, &value), BN_ERR_BAD_FILE);
    assert_non_null(strstr(bn_log_last_error(), path));
    close(fd);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(bn_json_read(path, sizeof text, &value), BN_ERR_IO);
    assert_non_null(strstr(bn_log_last_error(), path));
    assert_int_equal(bn_json_read("/tmp", sizeof text, &value), BN_ERR_IO);
}

static void test_more_values_than_the_limit_are_refused_unparsed(void **state)
{
    (void)state;
    size_t n = 2 * (size_t)BN_JSON_VALUES_MAX + 2;
    char *text = bn_alloc(n, 1);
    assert_non_null(text);
    for (size_t i = 0; i < n; i += 2)
        memcpy(text + i, i == 0 ? "[0" : ",0", 2);
    bn_json *value = NULL;
    bn_log_set_quiet(true);
    assert_int_equal(bn_json_parse(text, n, &value), BN_ERR_LIMIT);
    assert_non_null(strstr(bn_log_last_error(), "values"));
    bn_free(text);
}

static void test_a_line_is_refused_by_its_name(void **state)
{
    (void)state;
    bn_json *value = NULL;
    bn_log_set_quiet(true);
    assert_int_equal(bn_json_parse_line("{\"a\": x}", 8, "f.jsonl, line 3", &value),
                     BN_ERR_BAD_FILE);
    assert_non_null(strstr(bn_log_last_error(), "f.jsonl, line 3, column 7: "));
    bn_log_set_quiet(false);
    assert_int_equal(bn_json_parse_line("[0.5]", 5, "f.jsonl, line 4", &value), BN_OK);
    assert_int_equal(bn_json_length(value), 1);
    bn_json_free(value);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values_print_in_order),
        cmocka_unit_test(test_a_line_is_refused_by_its_name),
        cmocka_unit_test(test_bytes_that_are_not_utf8_are_replaced),
        cmocka_unit_test(test_a_missing_part_fails_the_print),
        cmocka_unit_test(test_a_full_disk_is_an_error),
        cmocka_unit_test(test_lists_of_ids_are_read),
        cmocka_unit_test(test_bad_input_is_refused),
        cmocka_unit_test(test_objects_are_walked_in_the_order_of_the_text),
        cmocka_unit_test(test_files_are_read_and_named_in_errors),
        cmocka_unit_test(test_more_values_than_the_limit_are_refused_unparsed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
