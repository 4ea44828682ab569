/* tokenizer_shared_test.c
 * What: the published Llama-3, Llama-2 and GPT-2 vocabularies give the published ids, and the ids
 *       give the text back.
 * How:  test strings and ids of the reference, kept outside the repository (BN_SHARED, or ../shared
 *       beside it); without them the test is skipped. The Llama-3 file is derived from the list of
 *       ranked tokens; its 280,147 merges are as many as the published model file has.
 */
#include "common/alloc.h"
#include "common/log.h"
#include "coordinator/tokenizer.h"
#include "tests/common/cmocka_all.h"
#include "tests/coordinator/tiktoken.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SEPARATOR "\n__ggml_vocab_test__\n"
#define MERGES_OF_LLAMA_3 280147
#define EXIT_SKIPPED 77

static char folder[512];

static char *read_file(const char *name, size_t *n_out)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "rb");
    if (file == NULL) fail_msg("cannot open %s", path);
    char *text = bn_alloc(1u << 20, 1);
    assert_non_null(text);
    *n_out = fread(text, 1, (1u << 20) - 1, file);
    fclose(file);
    return text;
}

static void check_round_trip(const bn_tokenizer *tokenizer, const char *text, size_t n,
                             const bn_token_list *ids)
{
    char *back = bn_alloc(n + 16, 1);
    char out[BN_TOKEN_PIECE_MAX + 4];
    size_t n_back = 0;
    bn_detokenizer detokenizer;
    bn_detokenizer_init(&detokenizer, tokenizer, false);
    for (size_t i = 0; i < ids->n; i++) {
        size_t n_out = bn_detokenizer_push(&detokenizer, ids->ids[i], out);
        assert_true(n_back + n_out <= n + 16);
        memcpy(back + n_back, out, n_out);
        n_back += n_out;
    }
    assert_int_equal(bn_detokenizer_flush(&detokenizer, out), 0);
    assert_int_equal(n_back, n);
    assert_memory_equal(back, text, n);
    bn_free(back);
}

/* One test string against one line of ids; returns the line after it. */
static const char *check_string(const bn_tokenizer *tokenizer, const char *text, size_t n,
                                const char *line)
{
    bn_token_list ids = {0};
    assert_int_equal(bn_tokenizer_encode(tokenizer, text, n, false, true, &ids), BN_OK);
    for (size_t i = 0; i < ids.n; i++) {
        char *end;
        unsigned long wanted = strtoul(line, &end, 10);
        if (end == line || wanted != ids.ids[i])
            fail_msg("'%.*s': id %zu is %u, not %lu", (int)n, text, i, ids.ids[i], wanted);
        line = end;
    }
    if (*line != '\n' && *line != '\0') fail_msg("'%.*s': ids are missing", (int)n, text);
    check_round_trip(tokenizer, text, n, &ids);
    bn_token_list_fini(&ids);
    return *line == '\n' ? line + 1 : line;
}

static void check_all(const bn_tokenizer *tokenizer, const char *name)
{
    char file[64];
    size_t n_text, n_ids, n_strings = 0;
    snprintf(file, sizeof file, "%s.inp", name);
    char *text = read_file(file, &n_text);
    snprintf(file, sizeof file, "%s.out", name);
    char *ids = read_file(file, &n_ids);
    const char *line = ids;
    for (char *at = text; at != NULL; n_strings++) {
        char *end = strstr(at, SEPARATOR);
        size_t n = end != NULL ? (size_t)(end - at) : strlen(at);
        line = check_string(tokenizer, at, n, line);
        at = end != NULL ? end + strlen(SEPARATOR) : NULL;
    }
    assert_true(n_strings > 40);
    bn_free(text);
    bn_free(ids);
}

static void check_file(const char *name)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/%s.gguf", folder, name);
    bn_gguf *file = NULL;
    bn_tokenizer *tokenizer = NULL;
    assert_int_equal(bn_gguf_open(path, &file), BN_OK);
    assert_int_equal(bn_tokenizer_create(file, NULL, &tokenizer), BN_OK);
    bn_gguf_close(file);
    check_all(tokenizer, name);
    bn_tokenizer_destroy(tokenizer);
}

static void test_llama_2_matches(void **state)
{
    (void)state;
    check_file("llama-spm");
}

static void test_gpt_2_matches(void **state)
{
    (void)state;
    check_file("gpt-2");
}

static void check_llama_3(const char *pre)
{
    char path[1024];
    size_t n_merges;
    snprintf(path, sizeof path, "%s/llama3.tiktoken", folder);
    bn_gguf *file = tiktoken_llama_3(path, pre, &n_merges);
    assert_int_equal(n_merges, MERGES_OF_LLAMA_3);
    bn_tokenizer *tokenizer = NULL;
    assert_int_equal(bn_tokenizer_create(file, NULL, &tokenizer), BN_OK);
    bn_gguf_close(file);
    assert_true(bn_tokenizer_adds_bos(tokenizer));
    assert_int_equal(bn_tokenizer_bos(tokenizer), 128000);
    assert_true(bn_tokenizer_is_stop(tokenizer, 128001));
    assert_true(bn_tokenizer_is_stop(tokenizer, 128009));
    check_all(tokenizer, "llama-bpe");
    bn_tokenizer_destroy(tokenizer);
}

static void test_llama_3_matches(void **state)
{
    (void)state;
    check_llama_3("llama-bpe");
}

/* The published 2B-4T file has no key for the pre-tokenizer. */
static void test_llama_3_is_known_without_the_key(void **state)
{
    (void)state;
    check_llama_3(NULL);
}

int main(void)
{
    const char *shared = getenv("BN_SHARED");
    const char *source = getenv("BN_SOURCE_DIR");
    if (shared != NULL)
        snprintf(folder, sizeof folder, "%s/data/tokenizer", shared);
    else
        snprintf(folder, sizeof folder, "%s/../shared/data/tokenizer",
                 source != NULL ? source : ".");
    if (access(folder, R_OK) != 0) {
        printf("skipped: no folder %s (set BN_SHARED)\n", folder);
        return EXIT_SKIPPED;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_llama_2_matches),
        cmocka_unit_test(test_gpt_2_matches),
        cmocka_unit_test(test_llama_3_matches),
        cmocka_unit_test(test_llama_3_is_known_without_the_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
