/* vocabulary_test.c
 * What: a vocabulary made here has exactly the asked number of distinct tokens, and BPE with its
 *       merges reaches every one of them; a tiktoken file becomes tokens and merges.
 * How:  a plain BPE of our own merges the bytes of each token; wrong tiktoken files are refused
 *       by line; the real Llama-3 file is tried when it is there.
 */
#include "common/alloc.h"
#include "common/hash.h"
#include "common/log.h"
#include "model/model.h"
#include "model/vocabulary_tiktoken.h"
#include "tests/model/gguf_bytes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

/* Texts by content: position + 1 in the list, 0 free. */
typedef struct lookup {
    const bn_text_list *list;
    uint32_t *slots, n_slots;
} lookup;

static uint32_t find(const lookup *l, const char *text, size_t n)
{
    uint32_t slot = (uint32_t)bn_hash64_of(text, n, 1) & (l->n_slots - 1);
    for (; l->slots[slot] != 0; slot = (slot + 1) & (l->n_slots - 1)) {
        bn_gguf_string entry = bn_text_list_at(l->list, l->slots[slot] - 1);
        if (entry.n == n && memcmp(entry.bytes, text, n) == 0) return l->slots[slot] - 1;
    }
    return UINT32_MAX;
}

static lookup lookup_new(const bn_text_list *list)
{
    lookup l = {.list = list, .n_slots = 1024};
    while (l.n_slots < 2 * list->n)
        l.n_slots *= 2;
    l.slots = bn_alloc(l.n_slots, sizeof *l.slots);
    assert_non_null(l.slots);
    for (uint32_t i = 0; i < list->n; i++) {
        bn_gguf_string text = bn_text_list_at(list, i);
        assert_int_equal(find(&l, text.bytes, text.n), UINT32_MAX); /* distinct */
        uint32_t slot = (uint32_t)bn_hash64_of(text.bytes, text.n, 1) & (l.n_slots - 1);
        while (l.slots[slot] != 0)
            slot = (slot + 1) & (l.n_slots - 1);
        l.slots[slot] = i + 1;
    }
    return l;
}

/* Parts that BPE leaves of a token of at most 64 characters. */
static size_t bpe_parts(const lookup *merges, bn_gguf_string token)
{
    size_t ends[128], n = 0;
    assert_true(token.n < 128);
    for (size_t i = 0; i < token.n; i++)
        if (i + 1 == token.n || ((unsigned char)token.bytes[i + 1] & 0xc0) != 0x80)
            ends[n++] = i + 1;
    for (;;) {
        uint32_t best = UINT32_MAX;
        size_t best_at = 0;
        for (size_t i = 0; i + 1 < n; i++) {
            char pair[256];
            size_t begin = i == 0 ? 0 : ends[i - 1];
            int length =
                snprintf(pair, sizeof pair, "%.*s %.*s", (int)(ends[i] - begin),
                         token.bytes + begin, (int)(ends[i + 1] - ends[i]), token.bytes + ends[i]);
            uint32_t rank = find(merges, pair, (size_t)length);
            if (rank < best) {
                best = rank;
                best_at = i;
            }
        }
        if (best == UINT32_MAX) return n;
        n--;
        memmove(&ends[best_at], &ends[best_at + 1], (n - best_at) * sizeof ends[0]);
    }
}

static void test_every_printable_token_is_reached(void **state)
{
    (void)state;
    static const uint32_t sizes[] = {BN_VOCABULARY_PRINTABLE_MIN, 512, 6000, 32002};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        bn_vocabulary vocab;
        assert_int_equal(bn_vocabulary_make_printable(sizes[i], &vocab), BN_OK);
        assert_int_equal(vocab.tokens.n, sizes[i]);
        assert_int_equal(vocab.merges.n, sizes[i] - BN_VOCABULARY_PRINTABLE_MIN);
        assert_int_equal(vocab.n_normal, sizes[i] - 3);
        lookup tokens = lookup_new(&vocab.tokens), merges = lookup_new(&vocab.merges);
        for (uint32_t t = 0; t < vocab.n_normal; t++)
            if (bpe_parts(&merges, bn_text_list_at(&vocab.tokens, t)) != 1)
                fail_msg("of %u tokens, %u is not reached", sizes[i], t);
        /* Sabotage: the oracle must notice a missing merge. */
        if (vocab.merges.n > 0) {
            vocab.merges.bytes[0] = '?';
            assert_true(bpe_parts(&merges, bn_text_list_at(&vocab.tokens, 256)) == 2);
        }
        bn_free(tokens.slots);
        bn_free(merges.slots);
        bn_vocabulary_fini(&vocab);
    }
}

static void test_the_largest_vocabulary_is_possible(void **state)
{
    (void)state;
    bn_vocabulary vocab;
    assert_int_equal(bn_vocabulary_make_printable(BN_VOCAB_MAX, &vocab), BN_OK);
    assert_int_equal(vocab.tokens.n, BN_VOCAB_MAX);
    lookup tokens = lookup_new(&vocab.tokens);
    bn_free(tokens.slots);
    bn_vocabulary_fini(&vocab);
}

static void test_bytes_map_to_the_alphabet_of_gpt2(void **state)
{
    (void)state;
    char out[16];
    size_t n = bn_vocabulary_map_bytes((const uint8_t *)"a \n\x7f\xa0\xad\xff", 7, out);
    assert_int_equal(n, 13);
    assert_memory_equal(out, "a\xc4\xa0\xc4\x8a\xc4\xa1\xc5\x82\xc5\x83\xc3\xbf", 13);
}

static void put_base64(bytes *b, const char *text, size_t n, uint32_t rank)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char line[64];
    size_t at = 0;
    for (size_t i = 0; i < n; i += 3) {
        uint32_t bits = 0;
        for (size_t k = 0; k < 3; k++)
            bits = bits << 8 | (i + k < n ? (unsigned char)text[i + k] : 0);
        for (int k = 3; k >= 0; k--)
            line[at++] = digits[bits >> (6 * k) & 63];
        if (i + 2 >= n) line[at - 1] = '=';
        if (i + 1 >= n) line[at - 2] = '=';
    }
    at += (size_t)snprintf(line + at, sizeof line - at, " %u\n", rank);
    put(b, line, at);
}

/* 256 bytes in another order than their values, then words. */
static bytes tiktoken_bytes(void)
{
    static const char *const words[] = {"he", "ll", "hell", "hello", " w", "xyz"};
    bytes b = bytes_new();
    for (uint32_t i = 0; i < 256; i++)
        put_base64(&b, &(char){(char)(255 - i)}, 1, i);
    for (uint32_t i = 0; i < 6; i++)
        put_base64(&b, words[i], strlen(words[i]), 256 + i);
    return b;
}

static void expect_text(const bn_text_list *list, uint32_t index, const char *text)
{
    bn_gguf_string entry = bn_text_list_at(list, index);
    assert_int_equal(entry.n, strlen(text));
    assert_memory_equal(entry.bytes, text, entry.n);
}

static void test_ranks_become_merges(void **state)
{
    (void)state;
    bytes b = tiktoken_bytes();
    bn_vocabulary vocab;
    assert_int_equal(bn_vocabulary_tiktoken_read(bytes_file(&b), &vocab), BN_OK);
    assert_int_equal(vocab.tokens.n, 262 + 256);
    expect_text(&vocab.tokens, 255 - 'a', "a");
    expect_text(&vocab.tokens, 258, "hell");
    expect_text(&vocab.tokens, 260, "\xc4\xa0w");
    expect_text(&vocab.tokens, 262, "<|begin_of_text|>");
    expect_text(&vocab.tokens, 264, "<|reserved_special_token_0|>");
    expect_text(&vocab.tokens, 262 + 6, "<|start_header_id|>");
    expect_text(&vocab.tokens, 262 + 9, "<|eot_id|>");
    expect_text(&vocab.tokens, 262 + 255, "<|reserved_special_token_250|>");
    assert_int_equal(vocab.bos, 262);
    assert_int_equal(vocab.eot, 271);
    /* xyz has no token of two of its letters, so nothing merges into it. */
    assert_int_equal(vocab.merges.n, 5);
    expect_text(&vocab.merges, 2, "he ll");
    expect_text(&vocab.merges, 3, "hell o");
    expect_text(&vocab.merges, 4, "\xc4\xa0 w");
    bn_vocabulary_fini(&vocab);
    bytes_free(&b);
}

static void test_wrong_tiktoken_files_are_refused_by_line(void **state)
{
    (void)state;
    static const struct {
        const char *line, *expect;
    } cases[] = {
        {"YQ==\n", "line 263: not a token in base64, a space and its rank"},
        {"YQ== \n", "line 263: not a token"},
        {"YQ= 262\n", "line 263: the token is not base64"},
        {"Y*== 262\n", "line 263: the token is not base64"},
        {" 262\n", "line 263: the token is not base64"},
        {"YWE= 26x\n", "line 263: the rank is not a number"},
        {"YWE= 263\n", "line 263: ranks must count up"},
        {"aGU= 262\n", "line 263: the token occurs twice"},
        {"YWE= 99999999999999999999999\n", "line 263: the rank is not a number"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        bytes b = tiktoken_bytes();
        bn_vocabulary vocab;
        put(&b, cases[i].line, strlen(cases[i].line));
        bn_status status = bn_vocabulary_tiktoken_read(bytes_file(&b), &vocab);
        if (status != BN_ERR_BAD_FILE || strstr(bn_log_last_error(), cases[i].expect) == NULL)
            fail_msg("expected \"%s\", got %d, \"%s\"", cases[i].expect, status,
                     bn_log_last_error());
        bn_vocabulary_fini(&vocab);
        bytes_free(&b);
    }
    bytes b = bytes_new();
    bn_vocabulary vocab;
    put_base64(&b, "a", 1, 0);
    assert_int_equal(bn_vocabulary_tiktoken_read(bytes_file(&b), &vocab), BN_ERR_BAD_FILE);
    assert_non_null(strstr(bn_log_last_error(), "at least 256"));
    bn_vocabulary_fini(&vocab);
    assert_int_equal(bn_vocabulary_tiktoken_read("/tmp/bn-absent", &vocab), BN_ERR_IO);
    bn_vocabulary_fini(&vocab);
    bytes_free(&b);
}

static void test_the_vocabulary_of_llama_3(void **state)
{
    (void)state;
    char path[4096];
    const char *shared = getenv("BN_SHARED"), *source = getenv("BN_SOURCE_DIR");
    if (shared != NULL)
        snprintf(path, sizeof path, "%s/data/tokenizer/llama3.tiktoken", shared);
    else
        snprintf(path, sizeof path, "%s/../shared/data/tokenizer/llama3.tiktoken",
                 source != NULL ? source : ".");
    if (access(path, R_OK) != 0) {
        print_message("skipped: no %s\n", path);
        skip();
    }
    bn_vocabulary vocab;
    assert_int_equal(bn_vocabulary_tiktoken_read(path, &vocab), BN_OK);
    assert_int_equal(vocab.tokens.n, 128256);
    assert_int_equal(vocab.bos, 128000);
    assert_int_equal(vocab.eos, 128001);
    expect_text(&vocab.tokens, 128009, "<|eot_id|>");
    expect_text(&vocab.merges, 0, "\xc4\xa0 \xc4\xa0");
    assert_in_range(vocab.merges.n, 127000, 127744);
    bn_vocabulary_fini(&vocab);
}

static int teardown(void **state)
{
    (void)state;
    unlink(bytes_file(&(bytes){0}));
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_printable_token_is_reached),
        cmocka_unit_test(test_the_largest_vocabulary_is_possible),
        cmocka_unit_test(test_bytes_map_to_the_alphabet_of_gpt2),
        cmocka_unit_test(test_ranks_become_merges),
        cmocka_unit_test(test_wrong_tiktoken_files_are_refused_by_line),
        cmocka_unit_test(test_the_vocabulary_of_llama_3),
    };
    bn_log_set_quiet(true);
    return cmocka_run_group_tests(tests, NULL, teardown);
}
