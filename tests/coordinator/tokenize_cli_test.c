/* tokenize_cli_test.c
 * What: tokenize and detokenize read stdin, write stdout, and leave with 0, 1 or 2 and a message
 *       that names what is wrong.
 * How:  both are called with stdin from a file and their output captured.
 */
#include "coordinator/tokenize_cli.h"

#include "common/log.h"
#include "tests/common/capture.h"
#include "tests/common/cmocka_all.h"
#include "tests/coordinator/small_vocabulary.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ARGUMENTS_MAX 8

static const small_token tokens[] = {{"ab", 1, 0}, {"<|eot_id|>", 3, 0}, {NULL, 0, 0}};
static const char *const merges[] = {"a b", NULL};
static char model[64], model_without_bos[64], not_a_model[] = "/nonexistent/model.gguf";

static bn_capture capture;

static void give_input(const char *input)
{
    FILE *file = tmpfile();
    assert_non_null(file);
    fputs(input, file);
    rewind(file);
    assert_true(dup2(fileno(file), STDIN_FILENO) >= 0);
    fclose(file);
    clearerr(stdin);
    assert_int_equal(fseek(stdin, 0, SEEK_SET), 0);
}

static int call(int (*entry)(int, char **), const char *const *arguments, const char *input)
{
    char *argv[ARGUMENTS_MAX + 1] = {NULL};
    int argc = 0;
    for (; arguments[argc] != NULL; argc++)
        argv[argc] = (char *)arguments[argc];
    give_input(input);
    bn_capture_begin(&capture);
    int code = entry(argc, argv);
    bn_capture_end(&capture);
    return code;
}

#define CALL(entry, input, ...) call(entry, (const char *const[]){__VA_ARGS__, NULL}, input)

static void test_text_to_ids(void **state)
{
    (void)state;
    assert_int_equal(CALL(bn_tokenize_main, "ab\n", "tokenize", "--model", model), 0);
    assert_string_equal(capture.out, "[256, 10]\n");
    assert_int_equal(CALL(bn_tokenize_main, "", "tokenize", "--model", model), 0);
    assert_string_equal(capture.out, "[]\n");
    assert_int_equal(CALL(bn_tokenize_main, "a", "tokenize", "--model", model, "--bos"), 0);
    assert_string_equal(capture.out, "[257, 97]\n");
    assert_int_equal(
        CALL(bn_tokenize_main, "<|eot_id|>", "tokenize", "--model", model, "--special"), 0);
    assert_string_equal(capture.out, "[257]\n");
    assert_int_equal(CALL(bn_tokenize_main, "ab", "tokenize", "--model", model, "--pre", "gpt-2"),
                     0);
    assert_string_equal(capture.out, "[256]\n");
}

static void test_ids_to_text(void **state)
{
    (void)state;
    assert_int_equal(
        CALL(bn_detokenize_main, "[256, 257, 195, 169]", "detokenize", "--model", model), 0);
    assert_string_equal(capture.out, "ab\xC3\xA9");
    assert_int_equal(
        CALL(bn_detokenize_main, "[257, 195]", "detokenize", "--model", model, "--special"), 0);
    assert_string_equal(capture.out, "<|eot_id|>\xEF\xBF\xBD");
}

static void test_wrong_work_is_1(void **state)
{
    (void)state;
    assert_int_equal(CALL(bn_tokenize_main, "a", "tokenize", "--model", not_a_model), 1);
    assert_non_null(strstr(capture.err, not_a_model));
    assert_int_equal(CALL(bn_tokenize_main, "a", "tokenize", "--model", model_without_bos, "--bos"),
                     1);
    assert_non_null(strstr(capture.err, "bos_token_id"));
    assert_int_equal(CALL(bn_detokenize_main, "[1, 258]", "detokenize", "--model", model), 1);
    assert_non_null(strstr(capture.err, "entry 1"));
    assert_non_null(strstr(capture.err, "258"));
    assert_int_equal(CALL(bn_detokenize_main, "[1, -3]", "detokenize", "--model", model), 1);
    assert_non_null(strstr(capture.err, "entry 1"));
    assert_int_equal(CALL(bn_detokenize_main, "[1, \"x\"]", "detokenize", "--model", model), 1);
    assert_int_equal(CALL(bn_detokenize_main, "{}", "detokenize", "--model", model), 1);
    assert_non_null(strstr(capture.err, "array"));
    assert_int_equal(CALL(bn_detokenize_main, "[1,", "detokenize", "--model", model), 1);
}

static void test_wrong_usage_is_2(void **state)
{
    (void)state;
    assert_int_equal(CALL(bn_tokenize_main, "a", "tokenize"), 2);
    assert_non_null(strstr(capture.err, "--model"));
    assert_int_equal(CALL(bn_tokenize_main, "a", "tokenize", "--model", model, "text"), 2);
    assert_non_null(strstr(capture.err, "'text'"));
    assert_int_equal(CALL(bn_detokenize_main, "", "detokenize", "--nonsense"), 2);
    assert_int_equal(CALL(bn_tokenize_main, "a", "tokenize", "--model", model, "--pre", "x"), 2);
    assert_non_null(strstr(capture.err, "llama-bpe"));
    assert_int_equal(CALL(bn_tokenize_main, "", "tokenize", "--help"), 0);
    assert_non_null(strstr(capture.out, "--special"));
}

static int call_into(const char *path, int (*entry)(int, char **), const char *subcommand)
{
    char *argv[] = {(char *)subcommand, (char *)"--model", model, NULL};
    give_input("[97]");
    fflush(stdout);
    int saved = dup(STDOUT_FILENO);
    FILE *target = path != NULL ? fopen(path, "w") : NULL;
    if (path != NULL)
        dup2(fileno(target), STDOUT_FILENO);
    else
        close(STDOUT_FILENO);
    bn_log_set_quiet(true);
    int code = entry(3, argv);
    bn_log_set_quiet(false);
    clearerr(stdout);
    dup2(saved, STDOUT_FILENO);
    close(saved);
    if (target != NULL) fclose(target);
    return code;
}

static void test_closed_or_full_output_is_1(void **state)
{
    (void)state;
    assert_int_equal(call_into(NULL, bn_tokenize_main, "tokenize"), 1);
    assert_int_equal(call_into(NULL, bn_detokenize_main, "detokenize"), 1);
    assert_int_equal(call_into("/dev/full", bn_tokenize_main, "tokenize"), 1);
    assert_int_equal(call_into("/dev/full", bn_detokenize_main, "detokenize"), 1);
}

int main(void)
{
    small_vocabulary v = {.model = "gpt2",
                          .pre = "gpt-2",
                          .tokens = tokens,
                          .merges = merges,
                          .has_bytes = 1,
                          .bos_plus_1 = 258};
    unsetenv("BITNET_MODEL");
    small_vocabulary_save(&v, model);
    v.bos_plus_1 = 0;
    small_vocabulary_save(&v, model_without_bos);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text_to_ids),
        cmocka_unit_test(test_ids_to_text),
        cmocka_unit_test(test_wrong_work_is_1),
        cmocka_unit_test(test_wrong_usage_is_2),
        cmocka_unit_test(test_closed_or_full_output_is_1),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(model);
    unlink(model_without_bos);
    return failed;
}
