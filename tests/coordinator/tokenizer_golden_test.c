/* tokenizer_golden_test.c
 * What: two small vocabularies give, for 500 strings of many scripts, the ids of independent
 *       tokenizers, with each pre-tokenizer; the ids give the text back.
 * How:  tests/golden/make_vocabularies.py trained the vocabularies and wrote the ids with the
 *       packages `tokenizers` (BPE) and `sentencepiece`. One id changed must be noticed.
 */
#include "common/alloc.h"
#include "common/log.h"
#include "coordinator/tokenizer.h"
#include "tests/common/cmocka_all.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE_MAX_BYTES 65536
#define N_STRINGS 500

/* Which line of a block of five has the ids. */
enum { LLAMA_BPE = 1, GPT_2, DEFAULT, SPM, LINES_PER_STRING };

static void golden_path(const char *name, char *path, size_t size)
{
    const char *source = getenv("BN_SOURCE_DIR");
    snprintf(path, size, "%s/tests/golden/%s", source != NULL ? source : ".", name);
}

static bn_tokenizer *open_vocabulary(const char *name, const char *pre)
{
    char path[1024];
    golden_path(name, path, sizeof path);
    bn_gguf *file = NULL;
    bn_tokenizer *tokenizer = NULL;
    assert_int_equal(bn_gguf_open(path, &file), BN_OK);
    assert_int_equal(bn_tokenizer_create(file, pre, &tokenizer), BN_OK);
    bn_gguf_close(file);
    return tokenizer;
}

/* \n \t \r \\ \xNN and the | at the end; in place. */
static size_t unescape(char *line)
{
    char *end = strrchr(line, '|');
    assert_non_null(end);
    char *to = line;
    for (char *at = line; at < end; at++) {
        if (*at != '\\') {
            *to++ = *at;
            continue;
        }
        at++;
        if (*at == 'x') {
            char digits[3] = {at[1], at[2], '\0'};
            *to++ = (char)strtoul(digits, NULL, 16);
            at += 2;
        } else {
            *to++ = *at == 'n' ? '\n' : *at == 't' ? '\t' : *at == 'r' ? '\r' : '\\';
        }
    }
    return (size_t)(to - line);
}

static bool ids_match(const char *line, const bn_token_list *ids)
{
    for (size_t i = 0; i < ids->n; i++) {
        char *end;
        unsigned long wanted = strtoul(line, &end, 10);
        if (end == line || wanted != ids->ids[i]) return false;
        line = end;
    }
    return *line == '\n' || *line == '\0';
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
    if (n_back != n || memcmp(back, text, n) != 0)
        fail_msg("'%.*s' comes back as '%.*s'", (int)n, text, (int)n_back, back);
    bn_free(back);
}

/* A space and its mark look the same once tokenised. */
static bool has_space_mark(const char *text, size_t n)
{
    return memmem(text, n, "\xE2\x96\x81", 3) != NULL;
}

static void check_strings(const bn_tokenizer *tokenizer, int wanted_line)
{
    static char lines[LINES_PER_STRING][LINE_MAX_BYTES];
    char path[1024];
    golden_path("tokenizer_ids.txt", path, sizeof path);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    int n_strings = 0, n_wrong = 0;
    while (fgets(lines[0], LINE_MAX_BYTES, file) != NULL) {
        for (int i = 1; i < LINES_PER_STRING; i++)
            assert_non_null(fgets(lines[i], LINE_MAX_BYTES, file));
        size_t n = unescape(lines[0]);
        bn_token_list ids = {0};
        assert_int_equal(bn_tokenizer_encode(tokenizer, lines[0], n, false, true, &ids), BN_OK);
        if (!ids_match(lines[wanted_line], &ids)) {
            n_wrong++;
            printf("string %d '%.*s' has other ids\n", n_strings, (int)n, lines[0]);
        }
        if (ids.n > 0) {
            ids.ids[ids.n / 2]++;
            assert_false(ids_match(lines[wanted_line], &ids));
            ids.ids[ids.n / 2]--;
        }
        if (wanted_line != SPM || !has_space_mark(lines[0], n))
            check_round_trip(tokenizer, lines[0], n, &ids);
        bn_token_list_fini(&ids);
        n_strings++;
    }
    fclose(file);
    assert_int_equal(n_strings, N_STRINGS);
    assert_int_equal(n_wrong, 0);
}

static void check_vocabulary(const char *name, const char *pre, int line)
{
    bn_tokenizer *tokenizer = open_vocabulary(name, pre);
    check_strings(tokenizer, line);
    bn_tokenizer_destroy(tokenizer);
}

static void test_llama_bpe_matches(void **state)
{
    (void)state;
    check_vocabulary("vocabulary-bpe.gguf", NULL, LLAMA_BPE);
}

static void test_gpt_2_matches(void **state)
{
    (void)state;
    check_vocabulary("vocabulary-bpe.gguf", "gpt-2", GPT_2);
}

static void test_default_matches(void **state)
{
    (void)state;
    check_vocabulary("vocabulary-bpe.gguf", "default", DEFAULT);
}

static void test_spm_matches(void **state)
{
    (void)state;
    check_vocabulary("vocabulary-spm.gguf", NULL, SPM);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_llama_bpe_matches),
        cmocka_unit_test(test_gpt_2_matches),
        cmocka_unit_test(test_default_matches),
        cmocka_unit_test(test_spm_matches),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
