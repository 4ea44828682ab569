/* hf_golden_test.c
 * What: a tokenizer folder of every kind gives, for 260 strings of many scripts, the ids of the
 *       packages that such folders are made for; the ids give the text back; random bytes, too.
 * How:  tests/golden/make_hf_tokenizers.py wrote the folders and the ids with `tokenizers` and
 *       `sentencepiece`. One id changed must be noticed.
 */
#include "common/alloc.h"
#include "common/log.h"
#include "coordinator/tokenizer_state.h"
#include "coordinator/unicode.h"
#include "tests/common/cmocka_all.h"
#include "tests/coordinator/hf_folder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE_MAX_BYTES 65536
#define N_STRINGS 260
#define N_ROWS 1024 /* of the embedding: more than there are tokens */
#define N_RANDOM 400
#define SEED 0x9E3779B97F4A7C15u

typedef struct kind {
    const char *name;
    bool is_spm;
    bool spares_space; /* a space in front is lost: the kind makes no difference there */
    bool parses_special;
} kind;

static const kind kinds[] = {
    {"llama-bpe", false, false, true},     {"smaug-bpe", false, false, true},
    {"qwen2", false, false, true},         {"gpt-2", false, false, true},
    {"smollm", false, false, true},        {"falcon3", false, false, true},
    {"falcon3-spelt", false, false, true}, {"falcon-e", false, false, true},
    {"spm-each", true, false, true},       {"spm-none", true, false, true},
    {"spm-first", true, true, true},       {"spm-always", true, true, true},
    {"spm-complete", true, false, true},   {"spm-model", true, false, false},
};

static void golden_path(const char *kind_name, const char *name, char *path, size_t size)
{
    const char *source = getenv("BN_SOURCE_DIR");
    snprintf(path, size, "%s/tests/golden/hf/%s%s", source != NULL ? source : ".", kind_name, name);
}

static bn_tokenizer *open_kind(const char *name)
{
    char path[1024];
    golden_path(name, "", path, sizeof path);
    bn_gguf *file = NULL;
    bn_tokenizer *tokenizer = NULL;
    assert_int_equal(hf_folder_open(path, N_ROWS, &file), BN_OK);
    assert_int_equal(bn_tokenizer_create(file, NULL, &tokenizer), BN_OK);
    bn_gguf_close(file);
    assert_int_equal(bn_tokenizer_size(tokenizer), N_ROWS);
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

static void check_strings(const kind *k, const bn_tokenizer *tokenizer)
{
    static char text[LINE_MAX_BYTES], line[LINE_MAX_BYTES];
    char path[1024];
    golden_path("", "strings.txt", path, sizeof path);
    FILE *texts = fopen(path, "rb");
    golden_path(k->name, "/ids.txt", path, sizeof path);
    FILE *rows = fopen(path, "rb");
    assert_true(texts != NULL && rows != NULL);
    int n_strings = 0, n_wrong = 0;
    while (fgets(text, sizeof text, texts) != NULL) {
        assert_non_null(fgets(line, sizeof line, rows));
        size_t n = unescape(text);
        bn_token_list ids = {0};
        assert_int_equal(bn_tokenizer_encode(tokenizer, text, n, k->parses_special, true, &ids),
                         BN_OK);
        if (!ids_match(line, &ids)) {
            n_wrong++;
            printf("%s: string %d '%.*s' has other ids\n", k->name, n_strings, (int)n, text);
        }
        if (ids.n > 0) {
            ids.ids[ids.n / 2]++;
            assert_false(ids_match(line, &ids));
        }
        bn_token_list_fini(&ids);
        n_strings++;
    }
    fclose(texts);
    fclose(rows);
    assert_int_equal(n_strings, N_STRINGS);
    assert_int_equal(n_wrong, 0);
}

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* Characters of every length, runs of spaces, and (for bytes) whatever a byte can be. */
static size_t random_text(uint64_t *state, bool is_bytes, char *out, size_t n_max)
{
    size_t n = 0, n_characters = next_random(state) % 40;
    for (size_t i = 0; i < n_characters && n + BN_UNICODE_BYTES_MAX <= n_max; i++) {
        uint32_t kind_of = (uint32_t)(next_random(state) % 8);
        uint32_t range = kind_of < 3    ? 0x80
                         : kind_of == 3 ? 0x800
                         : kind_of == 4 ? 0x3000
                         : kind_of == 5 ? 0x10000
                                        : 0x110000;
        uint32_t code = (uint32_t)(next_random(state) % range);
        if (kind_of == 7) code = (uint32_t) " \t\n'~"[code % 5];
        if (code >= 0xD800 && code <= 0xDFFF) code = 'x';
        if (code == 0x2581) code = 'y'; /* SPM's own mark comes back as a space */
        if (is_bytes && kind_of == 6)
            out[n++] = (char)next_random(state);
        else
            n += bn_unicode_encode(code, out + n);
    }
    return n;
}

/* The bytes of the pieces, without the detokenizer's care for whole characters. */
static void check_round_trip(const kind *k, const bn_tokenizer *tokenizer, const char *text,
                             size_t n)
{
    static char back[4 * LINE_MAX_BYTES];
    char out[BN_TOKEN_PIECE_MAX + 4];
    size_t n_back = 0;
    bn_token_list ids = {0};
    assert_int_equal(bn_tokenizer_encode(tokenizer, text, n, false, true, &ids), BN_OK);
    bn_detokenizer detokenizer;
    bn_detokenizer_init(&detokenizer, tokenizer, false);
    for (size_t i = 0; i < ids.n; i++) {
        size_t n_out = bn_detokenizer_push(&detokenizer, ids.ids[i], out);
        memcpy(back + n_back, out, n_out);
        n_back += n_out;
    }
    n_back += bn_detokenizer_flush(&detokenizer, back + n_back);
    if (n_back != n || memcmp(back, text, n) != 0)
        fail_msg("%s: '%.*s' comes back as '%.*s'", k->name, (int)n, text, (int)n_back, back);
    bn_token_list_fini(&ids);
}

static void check_random(const kind *k, const bn_tokenizer *tokenizer)
{
    uint64_t state = SEED;
    char text[512];
    for (int i = 0; i < N_RANDOM; i++) {
        size_t n = random_text(&state, false, text, sizeof text);
        bool is_lost = k->spares_space && n > 0 && text[0] == ' ';
        if (!is_lost) check_round_trip(k, tokenizer, text, n);
    }
}

/* Bytes that are not UTF-8 cannot be shown; that every byte is in some token can. */
static void check_bytes(const kind *k, const bn_tokenizer *tokenizer)
{
    uint64_t state = SEED;
    char text[512];
    for (int i = 0; i < N_RANDOM; i++) {
        size_t n = random_text(&state, true, text, sizeof text);
        bool is_lost = k->spares_space && n > 0 && text[0] == ' ';
        bn_token_list ids = {0};
        assert_int_equal(bn_tokenizer_encode(tokenizer, text, n, false, true, &ids), BN_OK);
        size_t n_back = 0;
        for (size_t t = 0; t < ids.n; t++) {
            size_t n_piece;
            const char *piece = bn_vocab_piece(tokenizer->vocab, ids.ids[t], &n_piece);
            bool drops = t == 0 && k->is_spm && n_piece > 0 && piece[0] == ' ' &&
                         strcmp(k->name, "spm-none") != 0;
            if (is_lost) break;
            assert_true(n_back + n_piece - drops <= n);
            assert_memory_equal(text + n_back, piece + drops, n_piece - drops);
            n_back += n_piece - drops;
        }
        if (!is_lost) assert_int_equal(n_back, n);
        bn_token_list_fini(&ids);
    }
}

static void test_every_kind(void **state)
{
    (void)state;
    for (size_t i = 0; i < BN_COUNT(kinds); i++) {
        bn_tokenizer *tokenizer = open_kind(kinds[i].name);
        check_strings(&kinds[i], tokenizer);
        check_random(&kinds[i], tokenizer);
        check_bytes(&kinds[i], tokenizer);
        bn_tokenizer_destroy(tokenizer);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_kind)};
    bn_log_init("test", BN_LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
