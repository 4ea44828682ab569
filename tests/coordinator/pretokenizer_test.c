/* pretokenizer_test.c
 * What: each pre-tokenizer cuts text as its regular expressions do; pieces cover the text; time is
 *       linear in runs that make backtracking engines quadratic.
 * How:  pieces written out by hand with | between them; random bytes for coverage; megabyte runs.
 *       (500 strings against a real regular-expression engine are in tokenizer_golden_test.c.)
 */
#include "coordinator/pretokenizer.h"

#include "common/alloc.h"
#include "common/clock.h"
#include "tests/common/cmocka_all.h"

#include <string.h>

#define RUN_BYTES (1u << 20)
#define RUN_MS_MAX 5000
#define SEED 0x9E3779B97F4A7C15u

static void check_pieces(const char *name, const char *wanted)
{
    char text[512], found[1024];
    size_t n = 0, n_found = 0;
    for (const char *at = wanted; *at != '\0'; at++) {
        if (*at != '|') text[n++] = *at;
    }
    const bn_pretokenizer *pretokenizer = bn_pretokenizer_find(name, strlen(name));
    assert_non_null(pretokenizer);
    bn_pretokenizer_cursor cursor;
    bn_pretokenizer_begin(&cursor, pretokenizer, text, n);
    size_t begin, end;
    while (bn_pretokenizer_next(&cursor, &begin, &end)) {
        if (n_found > 0) found[n_found++] = '|';
        memcpy(found + n_found, text + begin, end - begin);
        n_found += end - begin;
    }
    found[n_found] = '\0';
    assert_string_equal(found, wanted);
}

static void test_llama_bpe_pieces(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "Hello|,| world|!",
        "it|'s| we|'LL| I|'M|'d|'x|,",
        " | two|  | four",
        "a|\n\n|b|  \n\n| | c",
        "tail|  ",
        "123|456|7| |890",
        "\tword| |\tword",
        "(word|)| $|5|.|00",
        "x|=|1|;| //| note|!!\n\n|next",
        "\xC2\xA0nbsp",
        "\xFFword| \xFF\xFE\n|\x80x",
        "'|12",
    };
    for (size_t i = 0; i < BN_COUNT(cases); i++)
        check_pieces("llama-bpe", cases[i]);
}

static void test_gpt_2_pieces(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "Hello|,| world|!", "it|'s| we|'|LL",  " | two|  | four", "\t|word",
        "a|\n|\n|b",        "123456| 7890|th", "x|!!|\n|next",    "tail|  ",
    };
    for (size_t i = 0; i < BN_COUNT(cases); i++)
        check_pieces("gpt-2", cases[i]);
}

static void test_default_pieces(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "Hello|,| world|!",   "it|'|s",          "a|+|b|=<|c| |$|5", "123|456|7",
        "x| |123|45\xC2\xBD", "12|\xE2\x82\xAC", " `|tick",          "12\xC2\xBD|345",
    };
    for (size_t i = 0; i < BN_COUNT(cases); i++)
        check_pieces("default", cases[i]);
}

static void test_qwen2_pieces(void **state)
{
    (void)state;
    static const char *const cases[] = {"we|'LL| pay|1|2|3|4", "a|\n\n|b|  \n\n| | c",
                                        "x|!!\n\n|y"};
    for (size_t i = 0; i < BN_COUNT(cases); i++)
        check_pieces("qwen2", cases[i]);
}

static void test_falcon_pieces(void **state)
{
    (void)state;
    static const char *const three[] = {
        "Hello|,| world|!?",
        "it|'|s| |`|tick",
        " |(|a|)| |1|2|3",
        /* each digit on its own, a space before the first of a run */
        "x|4|\xC2\xBD",
    };
    static const char *const spelt[] = {"caff\xC3|\xB2", "a|1|\xC2|\xBD|2"};
    static const char *const edge[] = {
        "Hello|World|HTTPServeri|Phone",
        " the| End|1|2|,| x",
        "\xE4\xB8\xAD\xE6\x96\x87",
        "\xE4\xB8\xAD|AB",
        "e\xCC\x81t\xC3\xA9| ok",
        " |+/|\n|end",
        "a|\n\n|b|  \n| | c",
        "tail|  ",
    };
    for (size_t i = 0; i < BN_COUNT(three); i++)
        check_pieces("falcon3", three[i]);
    for (size_t i = 0; i < BN_COUNT(spelt); i++)
        check_pieces("falcon3-spelt", spelt[i]);
    for (size_t i = 0; i < BN_COUNT(edge); i++)
        check_pieces("falcon-e", edge[i]);
}

static void test_names(void **state)
{
    (void)state;
    assert_ptr_equal(bn_pretokenizer_find("llama3", 6), bn_pretokenizer_find("llama-bpe", 9));
    assert_ptr_equal(bn_pretokenizer_find("llama-v3", 8), bn_pretokenizer_find("llama-bpe", 9));
    assert_ptr_equal(bn_pretokenizer_find("olmo", 4), bn_pretokenizer_find("gpt-2", 5));
    assert_ptr_equal(bn_pretokenizer_find("falcon-h1", 9), bn_pretokenizer_find("falcon_e", 8));
    assert_null(bn_pretokenizer_find("llama", 5));
    assert_null(bn_pretokenizer_find("", 0));
}

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static size_t n_pieces(const char *name, const char *text, size_t n)
{
    bn_pretokenizer_cursor cursor;
    bn_pretokenizer_begin(&cursor, bn_pretokenizer_find(name, strlen(name)), text, n);
    size_t begin, end, at = 0, count = 0;
    for (; bn_pretokenizer_next(&cursor, &begin, &end); count++) {
        assert_int_equal(begin, at);
        assert_true(end > begin && end <= n);
        at = end;
    }
    assert_int_equal(at, n);
    return count;
}

static const char *const names[] = {"llama-bpe", "qwen2",         "gpt-2",    "smollm",
                                    "falcon3",   "falcon3-spelt", "falcon-e", "default"};

static void test_pieces_cover_any_bytes(void **state)
{
    (void)state;
    static const char letters[] = "a1 \n'.\xC3\xA9\xE2\x80\x83\xFF$s\t";
    uint64_t seed = SEED;
    for (int round = 0; round < 3000; round++) {
        char text[64];
        size_t n = next_random(&seed) % sizeof text;
        for (size_t i = 0; i < n; i++)
            text[i] = letters[next_random(&seed) % (sizeof letters - 1)];
        for (size_t k = 0; k < BN_COUNT(names); k++)
            n_pieces(names[k], text, n);
    }
}

static void test_long_runs_take_linear_time(void **state)
{
    (void)state;
    char *text = bn_alloc(RUN_BYTES, 1);
    assert_non_null(text);
    static const char *const patterns[] = {"a", " ", "\n", "9", "!", "9a", " \n", "\xF0\x9F\x98"};
    for (size_t p = 0; p < BN_COUNT(patterns); p++) {
        for (size_t i = 0; i < RUN_BYTES; i++)
            text[i] = patterns[p][i % strlen(patterns[p])];
        for (size_t k = 0; k < BN_COUNT(names); k++) {
            uint64_t began = bn_clock_ms();
            n_pieces(names[k], text, RUN_BYTES);
            assert_true(bn_clock_ms() - began < RUN_MS_MAX);
        }
    }
    bn_free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_llama_bpe_pieces),
        cmocka_unit_test(test_gpt_2_pieces),
        cmocka_unit_test(test_default_pieces),
        cmocka_unit_test(test_qwen2_pieces),
        cmocka_unit_test(test_falcon_pieces),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_pieces_cover_any_bytes),
        cmocka_unit_test(test_long_runs_take_linear_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
