/* stop_strings_test.c
 * What: text up to the first stop string comes out, nothing of the stop or after it, however the
 *       text is cut into pieces.
 * How:  every cut of the text into two pieces and byte by byte, against strstr on the whole.
 */
#include "coordinator/stop_strings.h"

#include "common/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const struct {
    const char *stops[3];
    const char *text;
    const char *expected;
} cases[] = {
    {{"END"}, "hello END of it", "hello "},
    {{"END"}, "hello EN", "hello EN"},
    {{"END"}, "ENEND", "EN"},
    {{"aab"}, "aaab", "a"},
    {{"aba", "bb"}, "ababb", ""},
    {{"\n\n", "User:"}, "one\nUser: two", "one\n"},
    {{"abcd", "bc"}, "xabcd", "xa"},
    {{"\xe2\x82\xac"}, "5 \xe2\x82\xac", "5 "},
    {{NULL}, "anything", "anything"},
    {{"x"}, "", ""},
};

static void run_case(size_t index, size_t cut, size_t piece)
{
    bn_stop_strings stops;
    uint32_t n_stops = 0;
    while (n_stops < 3 && cases[index].stops[n_stops] != NULL)
        n_stops++;
    assert_int_equal(bn_stop_strings_init(&stops, cases[index].stops, n_stops), BN_OK);
    char out[1024];
    size_t n = 0, length = strlen(cases[index].text);
    for (size_t at = 0; at < length;) {
        size_t step = piece != 0 ? piece : (at < cut ? cut - at : length - at);
        if (step > length - at) step = length - at;
        n += bn_stop_strings_push(&stops, cases[index].text + at, step, out + n);
        at += step;
    }
    n += bn_stop_strings_flush(&stops, out + n);
    out[n] = '\0';
    assert_string_equal(out, cases[index].expected);
    assert_int_equal(stops.is_stopped, strcmp(cases[index].text, cases[index].expected) != 0);
}

static void test_text_ends_before_the_stop_however_it_is_cut(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        for (size_t cut = 0; cut <= strlen(cases[i].text); cut++)
            run_case(i, cut, 0);
        for (size_t piece = 1; piece <= 3; piece++)
            run_case(i, 0, piece);
    }
}

static void test_text_that_cannot_stop_is_not_held_back(void **state)
{
    (void)state;
    const char *strings[] = {"END"};
    bn_stop_strings stops;
    char out[64];
    assert_int_equal(bn_stop_strings_init(&stops, strings, 1), BN_OK);
    assert_int_equal(bn_stop_strings_push(&stops, "abc", 3, out), 3);
    assert_int_equal(bn_stop_strings_push(&stops, "E", 1, out), 0);
    assert_int_equal(bn_stop_strings_push(&stops, "x", 1, out), 2);
    assert_memory_equal(out, "Ex", 2);
}

static void test_unusable_strings_are_refused(void **state)
{
    (void)state;
    bn_log_set_quiet(true);
    char too_long[BN_STOP_STRING_BYTES_MAX + 2];
    memset(too_long, 'a', sizeof too_long);
    too_long[sizeof too_long - 1] = '\0';
    const char *empty[] = {""}, *lengthy[] = {too_long};
    bn_stop_strings stops;
    assert_int_equal(bn_stop_strings_init(&stops, empty, 1), BN_ERR_BAD_ARGUMENT);
    assert_int_equal(bn_stop_strings_init(&stops, lengthy, 1), BN_ERR_BAD_ARGUMENT);
    assert_int_equal(bn_stop_strings_init(&stops, empty, BN_STOP_STRINGS_MAX + 1),
                     BN_ERR_BAD_ARGUMENT);
    bn_log_set_quiet(false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text_ends_before_the_stop_however_it_is_cut),
        cmocka_unit_test(test_text_that_cannot_stop_is_not_held_back),
        cmocka_unit_test(test_unusable_strings_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
