/* options_test.c
 * What: command line over environment over default; each mistake is named; help and version.
 * How:  a table of command lines with their expected values or messages. */
#include "common/options.h"

#include "tests/common/capture.h"
#include "tests/common/cmocka_all.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORDS_MAX 12

static bn_capture capture;
static const char *const link_kinds[] = {"auto", "mpi", "zmq", NULL};

static struct {
    uint32_t threads;
    uint64_t seed, memory;
    float temperature;
    bool is_verbose, has_threads;
    const char *model;
    uint32_t link;
    bn_option_list stops;
} values;

static const bn_option general[] = {
    {"Run", "threads", BN_OPTION_U32, &values.threads, "N", "how many threads", NULL, 1, 64, 't',
     &values.has_threads},
    {"Run", "temperature", BN_OPTION_F32, &values.temperature, "T", "sharpness", NULL, 0, 2, 0,
     NULL},
    {"Run", "seed", BN_OPTION_U64, &values.seed, "S", "seed", NULL, 0, 0, 0, NULL},
    {.name = NULL},
};
static const bn_option special[] = {
    {"Memory", "max-memory", BN_OPTION_BYTES, &values.memory, "MAX", "at most", NULL, 0, 0, 0,
     NULL},
    {"Model", "model", BN_OPTION_STRING, &values.model, "FILE", "a model", NULL, 0, 0, 'm', NULL},
    {"Model", "link", BN_OPTION_CHOICE, &values.link, "KIND", "a link", link_kinds, 0, 0, 0, NULL},
    {"Model", "stop", BN_OPTION_LIST, &values.stops, "TEXT", "a stop", NULL, 0, 0, 0, NULL},
    {"Model", "verbose", BN_OPTION_FLAG, &values.is_verbose, NULL, "talk", NULL, 0, 0, 'v', NULL},
    {.name = NULL},
};
static const bn_option *const tables[] = {general, special, NULL};
static const bn_program program = {"tool run",     "[options] FILE", "It teaches.",
                                   "  tool run x", tables,           NULL};

static bn_options_result result;
static char *arguments[WORDS_MAX + 1];

static bn_status parse(const char *const *words)
{
    int n = 0;
    memset(&values, 0, sizeof values);
    memset(&result, 0, sizeof result);
    values.threads = 4;
    values.memory = (uint64_t)4 << 30;
    values.temperature = 0.8f;
    arguments[n++] = (char *)(uintptr_t) "tool";
    for (; words[n - 1] != NULL; n++)
        arguments[n] = (char *)(uintptr_t)words[n - 1];
    bn_capture_begin(&capture);
    bn_status status = bn_options_parse(&program, n, arguments, &result);
    bn_capture_end(&capture);
    return status;
}

static void test_every_kind_is_stored(void **state)
{
    (void)state;
    const char *words[] = {"one",
                           "--threads=7",
                           "--seed",
                           "18446744073709551615",
                           "--max-memory",
                           "3GiB",
                           "--temperature",
                           "1.5",
                           "--link",
                           "zmq",
                           "-v",
                           NULL};
    assert_int_equal(parse(words), BN_OK);
    assert_int_equal(values.threads, 7);
    assert_true(values.has_threads);
    assert_true(values.seed == UINT64_MAX);
    assert_true(values.memory == (uint64_t)3 << 30);
    assert_true(values.temperature == 1.5f);
    assert_int_equal(values.link, 2);
    assert_true(values.is_verbose);
    assert_null(values.model);
    assert_int_equal(result.n_positionals, 1);
    assert_false(result.is_done);
}

static void test_positionals_keep_their_order(void **state)
{
    (void)state;
    const char *words[] = {"a", "-t", "2", "b", "-", "--model", "-x", "--", "--verbose", "c", NULL};
    static const char *const expected[] = {"a", "b", "-", "--verbose", "c"};
    assert_int_equal(parse(words), BN_OK);
    assert_int_equal(result.n_positionals, BN_COUNT(expected));
    for (size_t i = 0; i < BN_COUNT(expected); i++)
        assert_string_equal(result.positionals[i], expected[i]);
    assert_string_equal(values.model, "-x");
    assert_false(values.is_verbose);
}

static void test_lists_and_repeats(void **state)
{
    (void)state;
    const char *words[] = {"--stop", "a", "--stop=b=c",    "-t", "1",
                           "-t",     "2", "--verbose=off", NULL};
    assert_int_equal(parse(words), BN_OK);
    assert_int_equal(values.stops.n_values, 2);
    assert_string_equal(values.stops.values[1], "b=c");
    assert_int_equal(values.threads, 2);
    assert_false(values.is_verbose);
}

static void test_sizes(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t bytes;
    } sizes[] = {{"0", 0},
                 {"1000", 1000},
                 {"64K", 65536},
                 {"64k", 65536},
                 {"2MiB", (uint64_t)2 << 20},
                 {"2MB", (uint64_t)2 << 20},
                 {"1T", (uint64_t)1 << 40},
                 {"16777215T", (uint64_t)16777215 << 40}};
    for (size_t i = 0; i < BN_COUNT(sizes); i++) {
        const char *words[] = {"--max-memory", sizes[i].text, NULL};
        assert_int_equal(parse(words), BN_OK);
        assert_true(values.memory == sizes[i].bytes);
    }
}

static void test_mistakes_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *words[4];
        const char *message;
    } mistakes[] = {
        {{"--threads", "0"},
         "invalid value for --threads: '0' (must be a whole number from 1 to 64)"},
        {{"--threads", "65"}, "from 1 to 64"},
        {{"--threads", "-1"}, "invalid value for --threads: '-1'"},
        {{"--threads", "4x"}, "'4x'"},
        {{"--threads", ""}, "''"},
        {{"--threads", "99999999999999999999"}, "invalid value for --threads"},
        {{"--threads"}, "--threads needs a value: --threads N"},
        {{"-t"}, "--threads needs a value"},
        {{"--seed", "18446744073709551616"}, "invalid value for --seed"},
        {{"--temperature", "nan"}, "must be a number from 0 to 2"},
        {{"--temperature", "2.1"}, "must be a number from 0 to 2"},
        {{"--temperature", "1,5"}, "'1,5'"},
        {{"--max-memory", "3Q"}, "a size such as 512M or 4G"},
        {{"--max-memory", "16777216T"}, "invalid value for --max-memory"},
        {{"--max-memory", "3GG"}, "'3GG'"},
        {{"--link", "nccl"}, "invalid value for --link: 'nccl' (must be one of auto, mpi, zmq)"},
        {{"--verbose=maybe"}, "invalid value for --verbose: 'maybe' (must be true or false)"},
        {{"--threds", "3"}, "unknown option --threds (did you mean --threads?)"},
        {{"--something-else"}, "unknown option --something-else\n"},
        {{"-q"}, "unknown option -q"},
        {{"ok", "--thread", "3"}, "did you mean --threads?"},
    };
    for (size_t i = 0; i < BN_COUNT(mistakes); i++) {
        assert_int_equal(parse(mistakes[i].words), BN_ERR_BAD_ARGUMENT);
        assert_memory_equal(capture.err, "tool run: ", 10);
        if (strstr(capture.err, mistakes[i].message) == NULL)
            fail_msg("expected '%s' in: %s", mistakes[i].message, capture.err);
        assert_non_null(strstr(capture.err, "\ntry 'tool run --help'\n"));
        assert_string_equal(capture.out, "");
        assert_int_equal(values.threads, 4);
    }
}

static void test_environment_stands_between(void **state)
{
    (void)state;
    const char *none[] = {NULL};
    const char *given[] = {"--max-memory", "1G", NULL};
    setenv("BITNET_MAX_MEMORY", "2G", 1);
    setenv("BITNET_VERBOSE", "yes", 1);
    setenv("BITNET_STOP", "x", 1);
    setenv("BITNET_MODEL", "", 1);
    assert_int_equal(parse(none), BN_OK);
    assert_true(values.memory == (uint64_t)2 << 30);
    assert_true(values.is_verbose);
    assert_int_equal(values.stops.n_values, 1);
    assert_null(values.model);
    assert_int_equal(parse(given), BN_OK);
    assert_true(values.memory == (uint64_t)1 << 30);
    /* A bad variable is named, unless the command line overrides it. */
    setenv("BITNET_MAX_MEMORY", "lots", 1);
    assert_int_equal(parse(given), BN_OK);
    assert_int_equal(parse(none), BN_ERR_BAD_ARGUMENT);
    assert_non_null(strstr(capture.err, "invalid value for BITNET_MAX_MEMORY: 'lots'"));
    unsetenv("BITNET_MAX_MEMORY");
    unsetenv("BITNET_VERBOSE");
    unsetenv("BITNET_STOP");
    unsetenv("BITNET_MODEL");
}

static void test_help_shows_true_defaults(void **state)
{
    (void)state;
    const char *words[] = {"--threads", "9", "--help", NULL};
    setenv("BITNET_TEMPERATURE", "0.1", 1);
    assert_int_equal(parse(words), BN_OK);
    unsetenv("BITNET_TEMPERATURE");
    assert_true(result.is_done);
    assert_string_equal(capture.err, "");
    static const char *const wanted[] = {
        "usage: tool run [options] FILE\n",
        "It teaches.",
        "\nRun:\n",
        "  -t, --threads N",
        "(default 4)",
        "(default 0.8)",
        "(default 4G)",
        "auto|mpi|zmq]",
        "\nMemory:\n",
        "--version",
        "BITNET_",
        "Examples:\n  tool run x\n",
    };
    for (size_t i = 0; i < BN_COUNT(wanted); i++)
        if (strstr(capture.out, wanted[i]) == NULL) fail_msg("no '%s' in help", wanted[i]);
    for (const char *at = capture.out; at != NULL && *at != '\0'; at = strchr(at, '\n')) {
        at += *at == '\n';
        assert_in_range(strcspn(at, "\n"), 0, 100);
    }
}

static void test_help_and_version_end_the_parsing(void **state)
{
    (void)state;
    const char *version[] = {"--version", "--unknown", NULL};
    const char *value[] = {"--model", "--help", NULL};
    assert_int_equal(parse(version), BN_OK);
    assert_true(result.is_done);
    assert_memory_equal(capture.out, "tool run 0.", 11);
    /* As a value of another option it is a value. */
    assert_int_equal(parse(value), BN_OK);
    assert_false(result.is_done);
    assert_string_equal(values.model, "--help");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_kind_is_stored),
        cmocka_unit_test(test_positionals_keep_their_order),
        cmocka_unit_test(test_lists_and_repeats),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_mistakes_are_named),
        cmocka_unit_test(test_environment_stands_between),
        cmocka_unit_test(test_help_shows_true_defaults),
        cmocka_unit_test(test_help_and_version_end_the_parsing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
