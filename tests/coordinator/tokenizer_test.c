/* tokenizer_test.c
 * What: special tokens, the space rules of SentencePiece, byte fallback, stop tokens; files that
 *       are wrong are refused by key, those that are only odd are read; detokenising gives whole
 *       characters only; long runs take no quadratic time.
 * How:  vocabularies small enough to work the ids out by hand; each wrong file differs from a
 *       right one in one place; random ids against the whole text decoded at once.
 */
#include "coordinator/tokenizer.h"

#include "common/alloc.h"
#include "common/clock.h"
#include "common/log.h"
#include "coordinator/unicode.h"
#include "tests/common/cmocka_all.h"
#include "tests/coordinator/small_vocabulary.h"

#include <math.h>
#include <string.h>

#define RUN_BYTES (1u << 20)
#define RUN_MS_MAX 10000
#define SEED 0x2545F4914F6CDD1Du
#define IDS(...) ((const uint32_t[]){__VA_ARGS__}), sizeof((const uint32_t[]){__VA_ARGS__}) / 4

/* BPE: bytes 0 … 255, then from 256: */
enum { HE = 256, LL, HELL, HELLO, G_W, TOOL, TOOL_LONG, EOT, USER };
static const small_token bpe_tokens[] = {
    {"he", 1, 0},  {"ll", 1, 0},   {"hell", 1, 0},       {"hello", 1, 0},    {"\xC4\xA0w", 1, 0},
    {"<t>", 4, 0}, {"<t>x", 4, 0}, {"<|eot_id|>", 3, 0}, {"<|user|>", 3, 0}, {NULL, 0, 0},
};
static const char *const bpe_merges[] = {"h e", "l l", "he ll", "hell o", "\xC4\xA0 w", NULL};
static const small_vocabulary bpe = {
    .model = "gpt2", .pre = "gpt-2", .tokens = bpe_tokens, .merges = bpe_merges, .has_bytes = 1};

/* SPM: bytes 0 … 255, then from 256: */
enum { S_UNK = 256, S_BOS, S_EOS, S_SPACE, S_A, S_B, S_AB, S_BA, S_SPACE_A, S_TOOL };
static const small_token spm_tokens[] = {
    {"<unk>", 2, 0},
    {"<s>", 3, 0},
    {"</s>", 3, 0},
    {"\xE2\x96\x81", 1, -9},
    {"a", 1, -8},
    {"b", 1, -8},
    {"ab", 1, -2},
    {"ba", 1, -2},
    {"\xE2\x96\x81"
     "a",
     1, -1},
    {"<t>", 4, 0},
    {NULL, 0, 0},
};
static const small_vocabulary spm = {.model = "llama", .tokens = spm_tokens, .has_bytes = 1};

static bn_tokenizer *make(const small_vocabulary *vocabulary)
{
    bn_gguf *file = small_vocabulary_file(vocabulary);
    bn_tokenizer *tokenizer = NULL;
    assert_int_equal(bn_tokenizer_create(file, NULL, &tokenizer), BN_OK);
    bn_gguf_close(file);
    return tokenizer;
}

static void check_ids(const bn_tokenizer *tokenizer, const char *text, bool parse_special,
                      bool is_start, const uint32_t *wanted, size_t n_wanted)
{
    bn_token_list ids = {0};
    assert_int_equal(
        bn_tokenizer_encode(tokenizer, text, strlen(text), parse_special, is_start, &ids), BN_OK);
    for (size_t i = 0; i < ids.n && i < n_wanted; i++) {
        if (ids.ids[i] != wanted[i])
            fail_msg("'%s': id %zu is %u, not %u", text, i, ids.ids[i], wanted[i]);
    }
    assert_int_equal(ids.n, n_wanted);
    bn_token_list_fini(&ids);
}

static void test_bpe_merges_by_rank(void **state)
{
    (void)state;
    bn_tokenizer *t = make(&bpe);
    check_ids(t, "hello w", false, true, IDS(HELLO, G_W));
    check_ids(t, "helllo", false, true, IDS(HELL, 'l', 'o'));
    check_ids(t, "\xC3\xA9", false, true, IDS(0xC3, 0xA9));
    check_ids(t, "\xFF", false, true, IDS(0xFF));
    assert_false(bn_tokenizer_adds_bos(t));
    assert_int_equal(bn_tokenizer_bos(t), BN_TOKEN_NONE);
    assert_int_equal(bn_tokenizer_find(t, "hello"), HELLO);
    assert_int_equal(bn_tokenizer_find(t, "nothing"), BN_TOKEN_NONE);
    assert_int_equal(bn_tokenizer_find(t, ""), BN_TOKEN_NONE);
    bn_tokenizer_destroy(t);
}

static void test_special_tokens_are_cut_out(void **state)
{
    (void)state;
    bn_tokenizer *t = make(&bpe);
    check_ids(t, "he<t>he", false, true, IDS(HE, TOOL, HE));
    check_ids(t, "<t>x<t>", false, true, IDS(TOOL_LONG, TOOL));
    check_ids(t, "he<|user|>he", true, true, IDS(HE, USER, HE));
    check_ids(t, "<|user|><|eot_id|>", true, true, IDS(USER, EOT));
    check_ids(t, "<|user|", true, true, IDS('<', '|', 'u', 's', 'e', 'r', '|'));
    bn_tokenizer_destroy(t);
}

/* Even a vocabulary whose merges or whole pieces spell a control token cannot be tricked. */
static void test_text_never_becomes_a_control_token(void **state)
{
    (void)state;
    static const small_token tokens[] = {
        {"EO", 1, 0}, {"EOT", 3, 0}, {"<EOT>", 1, 0}, {"hi", 3, 0}, {NULL, 0, 0}};
    static const char *const merges[] = {"E O", "EO T", "h i", NULL};
    small_vocabulary v = {
        .model = "gpt2", .pre = "llama-bpe", .tokens = tokens, .merges = merges, .has_bytes = 1};
    bn_tokenizer *t = make(&v);
    check_ids(t, "EOT", false, true, IDS(256, 'T'));
    check_ids(t, "hi", false, true, IDS('h', 'i'));
    check_ids(t, "<EOT>", false, true, IDS('<', 256, 'T', '>'));
    check_ids(t, "<EOT>", true, true, IDS(258));
    assert_true(bn_tokenizer_is_control(t, 258)); /* a usual end-of-turn token, whatever its type */
    assert_true(bn_tokenizer_is_stop(t, 258));
    bn_tokenizer_destroy(t);

    static const small_token spm_forge[] = {{"<unk>", 2, 0}, {"<s", 1, -1}, {"<s>", 3, 0},
                                            {"<", 1, -5},    {"s", 1, -5},  {">", 1, -5},
                                            {NULL, 0, 0}};
    v = (small_vocabulary){
        .model = "llama", .tokens = spm_forge, .has_bytes = 1, .adds_space_plus_1 = 1};
    t = make(&v);
    check_ids(t, "<s>", false, true, IDS(257, 261));
    bn_tokenizer_destroy(t);
}

/* Files that call a chat marker user-defined, which every text is searched for. */
static void test_turn_markers_are_control_tokens(void **state)
{
    (void)state;
    static const small_token tokens[] = {
        {"<|user|>", 4, 0}, {"<|start_header_id|>", 1, 0}, {NULL, 0, 0}};
    small_vocabulary v = {
        .model = "gpt2", .pre = "gpt-2", .tokens = tokens, .merges = bpe_merges, .has_bytes = 1};
    bn_tokenizer *t = make(&v);
    check_ids(t, "<|user|>", false, true, IDS('<', '|', 'u', 's', 'e', 'r', '|', '>'));
    check_ids(t, "<|user|>", true, true, IDS(256));
    assert_true(bn_tokenizer_is_control(t, 257));
    assert_false(bn_tokenizer_is_stop(t, 256));
    bn_tokenizer_destroy(t);
}

static void test_stop_tokens(void **state)
{
    (void)state;
    small_vocabulary v = bpe;
    v.eos_plus_1 = USER + 1;
    bn_tokenizer *t = make(&v);
    for (uint32_t id = 0; id < bn_tokenizer_size(t) + 2; id++)
        assert_int_equal(bn_tokenizer_is_stop(t, id), id == USER || id == EOT);
    assert_false(bn_tokenizer_is_stop(t, BN_TOKEN_NONE));
    assert_false(bn_tokenizer_is_control(t, BN_TOKEN_NONE));
    bn_tokenizer_destroy(t);
}

static void test_spm_spaces(void **state)
{
    (void)state;
    bn_tokenizer *t = make(&spm);
    check_ids(t, "a", false, true, IDS(S_SPACE_A));
    check_ids(t, "a", false, false, IDS(S_A));
    check_ids(t, " a", false, true, IDS(S_SPACE, S_SPACE_A));
    check_ids(t, "a<t>a", false, true, IDS(S_SPACE_A, S_TOOL, S_SPACE_A));
    check_ids(t, "a<t>a", false, false, IDS(S_A, S_TOOL, S_SPACE_A));
    check_ids(t, "<s>a", true, false, IDS(S_BOS, S_SPACE_A));
    assert_true(bn_tokenizer_adds_bos(t));
    assert_int_equal(bn_tokenizer_bos(t), S_BOS); /* by its text: the file has no key */
    assert_int_equal(bn_tokenizer_eos(t), S_EOS);
    bn_tokenizer_destroy(t);

    small_vocabulary v = spm;
    v.adds_space_plus_1 = 1;
    t = make(&v);
    check_ids(t, "a<t>a", false, true, IDS(S_A, S_TOOL, S_A));
    bn_tokenizer_destroy(t);
}

static void test_spm_merges_by_score_from_the_left(void **state)
{
    (void)state;
    bn_tokenizer *t = make(&spm);
    check_ids(t, "bab", false, false, IDS(S_BA, S_B)); /* "ba" and "ab" score the same */
    check_ids(t, "aba", false, false, IDS(S_AB, S_A));
    check_ids(t, "\xC3\xA9", false, false, IDS(0xC3, 0xA9));
    check_ids(t, "<0x41>", false, false, IDS('<', '0', 'x', '4', '1', '>'));
    bn_tokenizer_destroy(t);
}

/* A token with a space mark inside: words must not be merged alone then. */
static void test_spm_joins_across_spaces_where_tokens_do(void **state)
{
    (void)state;
    static const small_token tokens[] = {
        {"a", 1, -5}, {"\xE2\x96\x81", 1, -5}, {"a\xE2\x96\x81", 1, -1}, {NULL, 0, 0}};
    small_vocabulary v = {.model = "llama", .tokens = tokens, .has_bytes = 1};
    bn_tokenizer *t = make(&v);
    check_ids(t, "a a", false, false, IDS(258, 256));
    bn_tokenizer_destroy(t);
}

static void test_bytes_without_tokens(void **state)
{
    (void)state;
    small_vocabulary v = spm;
    v.has_bytes = 0;
    bn_tokenizer *t = make(&v);
    check_ids(t, "a\xC3\xA9", false, false, IDS(S_A - 256, S_UNK - 256)); /* one per character */
    bn_tokenizer_destroy(t);

    v = bpe;
    v.has_bytes = 0;
    t = make(&v);
    bn_token_list ids = {0};
    bn_log_set_quiet(true);
    assert_int_equal(bn_tokenizer_encode(t, "<t>hello", 8, false, true, &ids), BN_ERR_UNSUPPORTED);
    assert_non_null(strstr(bn_log_last_error(), "0x68"));
    assert_int_equal(ids.n, 0); /* nothing half done */
    assert_int_equal(
        bn_tokenizer_encode(t, "", (size_t)BN_TOKENIZER_TEXT_MAX + 1, false, true, &ids),
        BN_ERR_LIMIT);
    bn_log_set_quiet(false);
    bn_token_list_fini(&ids);
    bn_tokenizer_destroy(t);
}

static void refuse(const small_vocabulary *v, const char *pre, bn_status wanted, const char *word,
                   const char *other_word)
{
    bn_gguf *file = small_vocabulary_file(v);
    bn_tokenizer *tokenizer = NULL;
    bn_log_set_quiet(true);
    bn_status status = bn_tokenizer_create(file, pre, &tokenizer);
    bn_log_set_quiet(false);
    if (status != wanted) fail_msg("%s %s: status %d", word, other_word, status);
    assert_null(tokenizer);
    const char *text = bn_log_last_error();
    if (strstr(text, word) == NULL || strstr(text, other_word) == NULL)
        fail_msg("'%s' should say '%s' and '%s'", text, word, other_word);
    bn_gguf_close(file);
}

static void test_wrong_files_are_refused_by_key(void **state)
{
    (void)state;
    static const small_token bad_type[] = {{"a", 7, 0}, {NULL, 0, 0}};
    static const small_token negative_type[] = {{"a", -1, 0}, {NULL, 0, 0}};
    static const small_token bad_byte[] = {{"<0xG0>", 6, 0}, {NULL, 0, 0}};
    static const small_token no_number[] = {{"a", 1, NAN}, {NULL, 0, 0}};
    static const char *const one_word[] = {"h e", "hello", NULL};
    static const char *const no_right[] = {"h ", NULL};
    static const small_token none[] = {{NULL, 0, 0}};
#define CHANGED(base, ...) (&(small_vocabulary){.model = base, .has_bytes = 1, __VA_ARGS__})
    const small_vocabulary *const files[] = {
        CHANGED(NULL, .tokens = none),
        CHANGED("gpt2", .leaves_out_tokens = 1),
        CHANGED("gpt2", .tokens_are_numbers = 1),
        CHANGED("gpt2", .types_are_floats = 1),
        CHANGED("gpt2", .n_types = 200),
        CHANGED("gpt2", .n_scores = 200),
        CHANGED("gpt2", .tokens = bad_type),
        CHANGED("gpt2", .tokens = negative_type),
        CHANGED("gpt2", .tokens = bad_byte),
        CHANGED("gpt2", .pre = "gpt-2"),
        CHANGED("gpt2", .merges_are_numbers = 1),
        CHANGED("gpt2", .merges = one_word),
        CHANGED("gpt2", .merges = no_right),
        CHANGED("gpt2", .merges = bpe_merges, .bos_plus_1 = 1000),
        CHANGED("gpt2", .merges = bpe_merges, .eos_plus_1 = 257),
        CHANGED("gpt2", .merges = bpe_merges, .unknown_plus_1 = UINT32_MAX),
        CHANGED("gpt2", .merges = bpe_merges, .bos_is_text = 1),
        CHANGED("llama", .leaves_out_scores = 1),
        CHANGED("llama", .tokens = no_number),
        &(small_vocabulary){.model = "llama", .tokens = none},
    };
    static const char *const words[][2] = {
        {"tokenizer.ggml.model", "has no key"},
        {"tokenizer.ggml.tokens", "has no key"},
        {"tokenizer.ggml.tokens", "string"},
        {"tokenizer.ggml.token_type", "i32"},
        {"tokenizer.ggml.token_type", "200"},
        {"tokenizer.ggml.scores", "200"},
        {"tokenizer.ggml.token_type", "type 7"},
        {"tokenizer.ggml.token_type", "type -1"},
        {"tokenizer.ggml.tokens", "token 256"},
        {"tokenizer.ggml.merges", "has no key"},
        {"tokenizer.ggml.merges", "string"},
        {"tokenizer.ggml.merges", "entry 1"},
        {"tokenizer.ggml.merges", "entry 0"},
        {"tokenizer.ggml.bos_token_id", "999"},
        {"tokenizer.ggml.eos_token_id", "256"},
        {"tokenizer.ggml.unknown_token_id", "4294967294"},
        {"tokenizer.ggml.bos_token_id", "integer"},
        {"tokenizer.ggml.scores", "has no key"},
        {"tokenizer.ggml.scores", "token 256"},
        {"tokenizer.ggml.tokens", "0 entries"},
    };
    for (size_t i = 0; i < BN_COUNT(files); i++)
        refuse(files[i], NULL, BN_ERR_BAD_FILE, words[i][0], words[i][1]);
    refuse(CHANGED("bert", 0), NULL, BN_ERR_UNSUPPORTED, "tokenizer.ggml.model", "bert");
    refuse(CHANGED("gpt2", .pre = "falcon", .merges = bpe_merges), NULL, BN_ERR_UNSUPPORTED,
           "tokenizer.ggml.pre", "falcon");
    refuse(&bpe, "nonsense", BN_ERR_BAD_ARGUMENT, "nonsense", "llama-bpe");
    refuse(&spm, "gpt-2", BN_ERR_BAD_ARGUMENT, "llama", "pre-tokenizer");
}

static void test_overlong_tokens_are_refused(void **state)
{
    (void)state;
    static char text[BN_TOKEN_PIECE_MAX + 2];
    small_token tokens[] = {{text, 1, 0}, {NULL, 0, 0}};
    small_vocabulary v = {.model = "gpt2", .tokens = tokens, .merges = bpe_merges, .has_bytes = 1};
    memset(text, 'x', BN_TOKEN_PIECE_MAX + 1);
    refuse(&v, NULL, BN_ERR_BAD_FILE, "tokenizer.ggml.tokens", "token 256");
    memset(text, 0, sizeof text);
    memset(text, 0xFF, BN_TOKEN_PIECE_MAX / 2); /* could print as three bytes each */
    refuse(&v, NULL, BN_ERR_BAD_FILE, "tokenizer.ggml.tokens", "token 256");
}

static void test_odd_files_are_read(void **state)
{
    (void)state;
    /* Empty and repeated tokens; merges of what is no token; type 0; no types at all. */
    static const small_token odd[] = {
        {"", 1, 0}, {"he", 1, 0}, {"he", 0, 0}, {"zz", 5, 0}, {NULL, 0, 0}};
    static const char *const merges[] = {"h e", "q q", "he l", NULL};
    small_vocabulary v = {
        .model = "gpt2", .pre = "gpt-2", .tokens = odd, .merges = merges, .has_bytes = 1};
    bn_tokenizer *t = make(&v);
    check_ids(t, "hel", false, true, IDS(258, 'l')); /* the last of equal texts */
    bn_tokenizer_destroy(t);

    v = spm;
    v.leaves_out_types = 1;
    t = make(&v);
    check_ids(t, "\n", false, false, IDS('\n')); /* <0x0A> is a byte by its text */
    bn_tokenizer_destroy(t);

    v = bpe;
    v.adds_bos_plus_1 = 2; /* asked for, but there is none */
    t = make(&v);
    assert_false(bn_tokenizer_adds_bos(t));
    bn_tokenizer_destroy(t);
}

static size_t decode(const bn_tokenizer *tokenizer, const uint32_t *ids, size_t n,
                     bool prints_special, char *text)
{
    bn_detokenizer d;
    bn_detokenizer_init(&d, tokenizer, prints_special);
    size_t n_text = 0;
    for (size_t i = 0; i < n; i++) {
        size_t n_out = bn_detokenizer_push(&d, ids[i], text + n_text);
        assert_true(n_out <= BN_TOKEN_PIECE_MAX + 4);
        assert_true(bn_unicode_is_valid(text + n_text, n_out)); /* whole characters each time */
        n_text += n_out;
    }
    n_text += bn_detokenizer_flush(&d, text + n_text);
    text[n_text] = '\0';
    return n_text;
}

static void test_detokenizer_holds_half_characters(void **state)
{
    (void)state;
    const struct {
        const uint32_t *ids;
        size_t n;
        bool prints_special;
        const char *text;
    } cases[] = {
        {IDS(HELLO, G_W), false, "hello w"},
        {IDS(0xF0, 0x9F, 0x98, 0x80), false, "\xF0\x9F\x98\x80"},
        {IDS(0xF0, 0x9F, EOT, 0x98, 0x80), false, "\xF0\x9F\x98\x80"},
        {IDS(0xF0, 0x9F, HE), false, "\xEF\xBF\xBDhe"},
        {IDS(0xF0, 0x9F, 0x98), false, "\xEF\xBF\xBD"},
        {IDS(0xFF, 0x80, HE), false, "\xEF\xBF\xBD\xEF\xBF\xBDhe"},
        {IDS(HE, EOT, USER, TOOL), false, "he<t>"},
        {IDS(HE, EOT, USER, TOOL), true, "he<|eot_id|><|user|><t>"},
        {IDS(HE, 100000), false, "he\xEF\xBF\xBD"},
    };
    bn_tokenizer *t = make(&bpe);
    char text[65536];
    for (size_t i = 0; i < BN_COUNT(cases); i++) {
        decode(t, cases[i].ids, cases[i].n, cases[i].prints_special, text);
        assert_string_equal(text, cases[i].text);
    }
    bn_tokenizer_destroy(t);
}

static void test_detokenizer_drops_the_space_of_its_own(void **state)
{
    (void)state;
    bn_tokenizer *t = make(&spm);
    char text[65536];
    decode(t, IDS(S_BOS, S_SPACE_A, S_SPACE_A, S_UNK, 0xC3, 0xA9), false, text);
    assert_string_equal(text, "a a\xC3\xA9");
    decode(t, IDS(S_BOS, S_A), true, text);
    assert_string_equal(text, "<s>a");
    bn_detokenizer d;
    bn_detokenizer_init(&d, t, false);
    d.is_start = false; /* an answer goes on after its prompt */
    text[bn_detokenizer_push(&d, S_SPACE_A, text)] = '\0';
    assert_string_equal(text, " a");
    bn_tokenizer_destroy(t);
}

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* The bytes of the tokens, decoded at once with U+FFFD for what is not UTF-8. */
static size_t decode_at_once(const uint32_t *ids, size_t n, char *text)
{
    static const char *const pieces[] = {"he", "ll", "hell", "hello", " w", "<t>", "<t>x", "", ""};
    char bytes[4096];
    size_t n_bytes = 0, n_text = 0;
    for (size_t i = 0; i < n; i++) {
        if (ids[i] < 256)
            bytes[n_bytes++] = (char)ids[i];
        else
            for (const char *c = pieces[ids[i] - 256]; *c != '\0'; c++)
                bytes[n_bytes++] = *c;
    }
    for (size_t at = 0; at < n_bytes;) {
        uint32_t code, length = bn_unicode_decode(bytes + at, n_bytes - at, &code);
        n_text += bn_unicode_encode(code == BN_UNICODE_NONE ? 0xFFFD : code, text + n_text);
        at += length;
    }
    return n_text;
}

static void test_any_ids_give_whole_text(void **state)
{
    (void)state;
    bn_tokenizer *t = make(&bpe);
    uint64_t seed = SEED;
    for (int round = 0; round < 3000; round++) {
        uint32_t ids[64];
        char streamed[16384], whole[16384];
        size_t n = next_random(&seed) % BN_COUNT(ids);
        for (size_t i = 0; i < n; i++) { /* mostly bytes that begin or go on with characters */
            uint64_t kind = next_random(&seed) % 4;
            ids[i] = kind == 0 ? (uint32_t)(next_random(&seed) % (USER + 1))
                               : (uint32_t)(0x80 + next_random(&seed) % 0x80);
        }
        size_t n_streamed = decode(t, ids, n, false, streamed);
        assert_int_equal(n_streamed, decode_at_once(ids, n, whole));
        assert_memory_equal(streamed, whole, n_streamed);
    }
    bn_tokenizer_destroy(t);
}

static void test_long_runs_take_no_quadratic_time(void **state)
{
    (void)state;
    static const small_token as[] = {
        {"<unk>", 2, 0}, {"a", 1, -9}, {"aa", 1, -3}, {"aaaa", 1, -2}, {NULL, 0, 0}};
    static const char *const merges[] = {"a a", "aa aa", NULL};
    char *text = bn_alloc(RUN_BYTES, 1);
    assert_non_null(text);
    memset(text, 'a', RUN_BYTES);
    for (int is_spm = 0; is_spm < 2; is_spm++) {
        small_vocabulary v = {.model = is_spm ? "llama" : "gpt2",
                              .pre = "llama-bpe",
                              .tokens = as,
                              .merges = merges,
                              .has_bytes = 1};
        bn_tokenizer *t = make(&v);
        bn_token_list ids = {0};
        uint64_t began = bn_clock_ms();
        assert_int_equal(bn_tokenizer_encode(t, text, RUN_BYTES, true, false, &ids), BN_OK);
        assert_true(bn_clock_ms() - began < RUN_MS_MAX);
        assert_int_equal(ids.n, RUN_BYTES / 4);
        bn_token_list_fini(&ids);
        bn_tokenizer_destroy(t);
    }
    bn_free(text);
}

int main(void)
{
    bn_log_init("test", BN_LOG_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bpe_merges_by_rank),
        cmocka_unit_test(test_special_tokens_are_cut_out),
        cmocka_unit_test(test_text_never_becomes_a_control_token),
        cmocka_unit_test(test_turn_markers_are_control_tokens),
        cmocka_unit_test(test_stop_tokens),
        cmocka_unit_test(test_spm_spaces),
        cmocka_unit_test(test_spm_merges_by_score_from_the_left),
        cmocka_unit_test(test_spm_joins_across_spaces_where_tokens_do),
        cmocka_unit_test(test_bytes_without_tokens),
        cmocka_unit_test(test_wrong_files_are_refused_by_key),
        cmocka_unit_test(test_overlong_tokens_are_refused),
        cmocka_unit_test(test_odd_files_are_read),
        cmocka_unit_test(test_detokenizer_holds_half_characters),
        cmocka_unit_test(test_detokenizer_drops_the_space_of_its_own),
        cmocka_unit_test(test_any_ids_give_whole_text),
        cmocka_unit_test(test_long_runs_take_no_quadratic_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
