/* unicode_test.c
 * What: every character survives encoding and decoding, everything else is told apart from it, and
 *       classes are those of Unicode.
 * How:  all code points; all sequences of two bytes and a grid of three and four against a plain
 *       restatement of the rules; classes of characters picked by hand.
 */
#include "coordinator/unicode.h"
#include "tests/common/cmocka_all.h"

#include <string.h>

static void test_every_character_round_trips(void **state)
{
    (void)state;
    for (uint32_t code = 0; code <= 0x10FFFF; code++) {
        if (code >= 0xD800 && code <= 0xDFFF) continue;
        char bytes[BN_UNICODE_BYTES_MAX];
        uint32_t back, n = bn_unicode_encode(code, bytes);
        assert_int_equal(bn_unicode_decode(bytes, n, &back), n);
        assert_int_equal(back, code);
        assert_false(bn_unicode_is_unfinished(bytes, n));
        for (uint32_t cut = 1; cut < n; cut++) {
            assert_int_equal(bn_unicode_decode(bytes, cut, &back), cut);
            assert_int_equal(back, BN_UNICODE_NONE);
            assert_true(bn_unicode_is_unfinished(bytes, cut));
        }
    }
}

/* The value that the bit patterns say, ranges checked afterwards. */
static bool is_character(const unsigned char *b, uint32_t n)
{
    for (uint32_t i = 1; i < n; i++) {
        if ((b[i] & 0xC0) != 0x80) return false;
    }
    uint32_t code;
    if (n == 1)
        return b[0] < 0x80;
    else if (n == 2 && (b[0] & 0xE0) == 0xC0)
        code = (b[0] & 0x1Fu) << 6 | (b[1] & 0x3Fu);
    else if (n == 3 && (b[0] & 0xF0) == 0xE0)
        code = (b[0] & 0x0Fu) << 12 | (b[1] & 0x3Fu) << 6 | (b[2] & 0x3Fu);
    else if (n == 4 && (b[0] & 0xF8) == 0xF0)
        code = (b[0] & 7u) << 18 | (b[1] & 0x3Fu) << 12 | (b[2] & 0x3Fu) << 6 | (b[3] & 0x3Fu);
    else
        return false;
    uint32_t least = n == 2 ? 0x80 : n == 3 ? 0x800 : 0x10000;
    return code >= least && code <= 0x10FFFF && (code < 0xD800 || code > 0xDFFF);
}

static void check_bytes(const unsigned char *b, uint32_t n)
{
    uint32_t code, length = bn_unicode_decode((const char *)b, n, &code);
    bool begins_one = false;
    for (uint32_t k = 1; k <= n; k++) {
        if (!is_character(b, k)) continue;
        begins_one = true;
        assert_int_equal(length, k);
    }
    assert_int_equal(code != BN_UNICODE_NONE, begins_one);
    assert_true(length >= 1 && length <= n);
}

static void test_wrong_bytes_are_told_apart(void **state)
{
    (void)state;
    static const unsigned char edges[] = {0x00, 0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F,
                                          0xA0, 0xBF, 0xC0, 0xC2, 0xE0, 0xF4, 0xFF};
    for (uint32_t first = 0; first < 256; first++) {
        for (uint32_t second = 0; second < 256; second++) {
            unsigned char b[4] = {(unsigned char)first, (unsigned char)second};
            check_bytes(b, 2);
            for (size_t i = 0; i < BN_COUNT(edges); i++) {
                b[2] = edges[i];
                check_bytes(b, 3);
                for (size_t k = 0; k < BN_COUNT(edges); k++) {
                    b[3] = edges[k];
                    check_bytes(b, 4);
                }
            }
        }
    }
}

static void test_wrong_bytes_end_where_unicode_says(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        uint32_t length;
    } cases[] = {
        {"\xF0\x9F\x98x", 3},    {"\xE2\x82x", 2}, {"\xE0\x80\x80", 1}, {"\xED\xA0\x80", 1},
        {"\xF4\x90\x80\x80", 1}, {"\xC0\xAF", 1},  {"\x80\x80", 1},     {"\xFF\xFF", 1},
    };
    for (size_t i = 0; i < BN_COUNT(cases); i++) {
        uint32_t code;
        assert_int_equal(bn_unicode_decode(cases[i].bytes, strlen(cases[i].bytes), &code),
                         cases[i].length);
        assert_int_equal(code, BN_UNICODE_NONE);
        assert_false(bn_unicode_is_valid(cases[i].bytes, strlen(cases[i].bytes)));
    }
    assert_true(bn_unicode_is_valid("a\xE2\x82\xAC", 4));
    assert_true(bn_unicode_is_valid("", 0));
}

static void test_classes(void **state)
{
    (void)state;
    static const struct {
        uint32_t code, classes;
    } cases[] = {
        {'a', BN_UNICODE_LETTER | BN_UNICODE_LOWER},
        {0x416, BN_UNICODE_LETTER | BN_UNICODE_UPPER},
        {0x4E00, BN_UNICODE_LETTER},
        {0x2B0, BN_UNICODE_LETTER},
        {0x1C5, BN_UNICODE_LETTER | BN_UNICODE_UPPER},
        {'7', BN_UNICODE_NUMBER},
        {0xBD, BN_UNICODE_NUMBER},
        {0x2163, BN_UNICODE_NUMBER},
        {0x667, BN_UNICODE_NUMBER},
        {'_', BN_UNICODE_PUNCTUATION},
        {'!', BN_UNICODE_PUNCTUATION},
        {0xAB, BN_UNICODE_PUNCTUATION},
        {0x3002, BN_UNICODE_PUNCTUATION},
        {'$', 0},
        {'+', 0},
        {'`', 0},
        {0x301, BN_UNICODE_MARK},
        {0x903, BN_UNICODE_MARK},
        {0x20DD, BN_UNICODE_MARK},
        {0x1F600, 0},
        {0x200D, 0},
        {' ', BN_UNICODE_SPACE},
        {'\t', BN_UNICODE_SPACE},
        {0x85, BN_UNICODE_SPACE},
        {0xA0, BN_UNICODE_SPACE},
        {0x3000, BN_UNICODE_SPACE},
        {0x2028, BN_UNICODE_SPACE},
        {0x200B, 0},
        {0, 0},
        {0xE000, 0},
        {0x378, 0},
        {0xD800, 0},
        {0x110000, 0},
        {BN_UNICODE_NONE, 0},
    };
    for (size_t i = 0; i < BN_COUNT(cases); i++)
        assert_int_equal(bn_unicode_classes(cases[i].code), cases[i].classes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_character_round_trips),
        cmocka_unit_test(test_wrong_bytes_are_told_apart),
        cmocka_unit_test(test_wrong_bytes_end_where_unicode_says),
        cmocka_unit_test(test_classes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
