/* hf_tokenizer_test.c
 * What: the keys that a Hugging Face folder becomes; and that whatever is malformed, too large or
 *       not of a known kind is refused by file and entry.
 * How:  a small folder written out here, with one part replaced per case. (Ids beside independent
 *       tokenizers: tests/coordinator/hf_golden_test.c.)
 */
#include "model/hf_tokenizer.h"

#include "common/alloc.h"
#include "common/json.h"
#include "common/log.h"
#include "tests/common/cmocka_all.h"
#include "tests/coordinator/hf_folder.h"

#include <stdio.h>
#include <string.h>

#define N_ROWS 12u

/* The parts of a tokenizer.json; NULL takes the plain one. */
typedef struct parts {
    const char *vocab, *merges, *added, *pre, *normalizer, *post, *model;
} parts;

static const parts plain = {
    .vocab = "{\"a\":0,\"b\":1,\"c\":2,\"ab\":3,\"abc\":4}",
    .merges = "[\"a b\",[\"ab\",\"c\"]]",
    .added = "[{\"id\":5,\"content\":\"<s>\",\"special\":true},"
             "{\"id\":6,\"content\":\"</s>\",\"special\":true},"
             "{\"id\":8,\"content\":\"<tool>\",\"special\":false}]",
    .pre = "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":true}",
    .normalizer = "null",
    .post = "null",
    .model = "\"type\":\"BPE\"",
};

#define SPM_VOCAB                                                                                  \
    "{\"<unk>\":0,\"<0x41>\":1,\"a\":2,\"b\":3,\"\xE2\x96\x81\":4,\"ab\":7,\"\xE2\x96\x81"         \
    "ab\":9}"
#define SPM_MODEL "\"type\":\"BPE\",\"unk_token\":\"<unk>\",\"byte_fallback\":true"
#define PREPEND "{\"type\":\"Prepend\",\"prepend\":\"\xE2\x96\x81\"}"
#define REPLACE "{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"\xE2\x96\x81\"}"
#define SPM_STEPS "{\"type\":\"Sequence\",\"normalizers\":[" PREPEND "," REPLACE "]}"
#define METASPACE(more) "{\"type\":\"Metaspace\",\"replacement\":\"\xE2\x96\x81\"," more "}"

static const char *or_plain(const char *part, const char *plain_part)
{
    return part != NULL ? part : plain_part;
}

static void put_text(const char *folder, const char *name, const char *text)
{
    hf_folder_put(folder, name, text, strlen(text));
}

static void put_tokenizer(const char *folder, const parts *p)
{
    char text[8192];
    snprintf(text, sizeof text,
             "{\"added_tokens\":%s,\"normalizer\":%s,\"pre_tokenizer\":%s,\"post_processor\":%s,"
             "\"model\":{%s,\"vocab\":%s,\"merges\":%s}}",
             or_plain(p->added, plain.added), or_plain(p->normalizer, plain.normalizer),
             or_plain(p->pre, plain.pre), or_plain(p->post, plain.post),
             or_plain(p->model, plain.model), or_plain(p->vocab, plain.vocab),
             or_plain(p->merges, plain.merges));
    put_text(folder, "tokenizer.json", text);
}

static bn_gguf *open_folder(const char *folder)
{
    bn_gguf *file = NULL;
    assert_int_equal(hf_folder_open(folder, N_ROWS, &file), BN_OK);
    return file;
}

static uint32_t u32_of(const bn_gguf *file, const char *key)
{
    uint32_t value = UINT32_MAX;
    bn_status status = BN_OK;
    bn_gguf_get_u32(file, key, &value, &status);
    assert_int_equal(status, BN_OK);
    return value;
}

static void check_text(const bn_gguf *file, const char *key, const char *wanted)
{
    bn_gguf_string text = {0};
    bn_status status = BN_OK;
    bool is_there = bn_gguf_get_string(file, key, &text, &status);
    assert_int_equal(is_there, wanted != NULL);
    if (wanted == NULL) return;
    assert_int_equal(text.n, strlen(wanted));
    assert_memory_equal(text.bytes, wanted, text.n);
}

static void check_i32s(const bn_gguf *file, const char *key, const int32_t *wanted, size_t n)
{
    bn_gguf_array array = {0};
    bn_status status = BN_OK;
    assert_true(bn_gguf_get_array(file, key, BN_GGUF_I32, &array, &status));
    assert_int_equal(array.n, n);
    assert_memory_equal(array.data, wanted, n * sizeof *wanted);
}

static void check_strings(const bn_gguf *file, const char *key, const char *const *wanted, size_t n)
{
    bn_gguf_array array = {0};
    bn_status status = BN_OK;
    assert_true(bn_gguf_get_array(file, key, BN_GGUF_STRING, &array, &status));
    assert_int_equal(array.n, n);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(array.strings[i].n, strlen(wanted[i]));
        assert_memory_equal(array.strings[i].bytes, wanted[i], array.strings[i].n);
    }
}

static void check_bool(const bn_gguf *file, const char *key, bool wanted)
{
    bool value = !wanted;
    bn_status status = BN_OK;
    assert_true(bn_gguf_get_bool(file, key, &value, &status));
    assert_int_equal(value, wanted);
}

static void test_a_folder_becomes_keys(void **state)
{
    (void)state;
    char folder[64];
    hf_folder_make(folder);
    put_tokenizer(folder, &plain);
    put_text(
        folder, "tokenizer_config.json",
        "{\"bos_token\":{\"content\":\"<s>\"},\"eos_token\":\"</s>\",\"chat_template\":"
        "[{\"name\":\"rag\",\"template\":\"x\"},{\"name\":\"default\",\"template\":\"{{1}}\"}]}");
    put_text(folder, "special_tokens_map.json", "{\"pad_token\":\"<tool>\",\"eos_token\":\"c\"}");
    put_text(folder, "generation_config.json", "{\"eos_token_id\":[6,4],\"bos_token_id\":5}");
    put_text(folder, "config.json", "{\"eos_token_id\":2,\"bos_token_id\":null}");
    bn_log_set_quiet(true);
    bn_gguf *file = open_folder(folder);
    static const char *const tokens[N_ROWS] = {"a",      "b",      "c",       "ab",
                                               "abc",    "<s>",    "</s>",    "[PAD7]",
                                               "<tool>", "[PAD9]", "[PAD10]", "[PAD11]"};
    static const int32_t types[N_ROWS] = {1, 1, 1, 1, 1, 3, 3, 5, 4, 5, 5, 5};
    static const int32_t stops[] = {6, 4, 2};
    static const char *const merges[] = {"a b", "ab c"};
    check_text(file, "tokenizer.ggml.model", "gpt2");
    check_text(file, "tokenizer.ggml.pre", "gpt-2");
    check_strings(file, "tokenizer.ggml.tokens", tokens, N_ROWS);
    check_i32s(file, "tokenizer.ggml.token_type", types, N_ROWS);
    check_strings(file, "tokenizer.ggml.merges", merges, 2);
    check_i32s(file, "tokenizer.ggml.eos_token_ids", stops, 3);
    assert_int_equal(u32_of(file, "tokenizer.ggml.bos_token_id"), 5);
    assert_int_equal(u32_of(file, "tokenizer.ggml.eos_token_id"), 6);
    assert_int_equal(u32_of(file, "tokenizer.ggml.padding_token_id"), 8);
    assert_int_equal(u32_of(file, "tokenizer.ggml.unknown_token_id"), UINT32_MAX);
    check_bool(file, "tokenizer.ggml.add_bos_token", false);
    check_text(file, "tokenizer.chat_template", "{{1}}");
    bn_gguf_close(file);

    /* A template of its own file, and what the post-processor says of BOS. */
    put_text(folder, "chat_template.jinja", "{{2}}\n");
    parts p = {.post = "{\"type\":\"Sequence\",\"processors\":[{\"type\":\"ByteLevel\"},"
                       "{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":"
                       "{\"id\":\"<s>\"}},{\"Sequence\":{\"id\":\"A\"}}]}]}"};
    put_tokenizer(folder, &p);
    file = open_folder(folder);
    check_text(file, "tokenizer.chat_template", "{{2}}\n");
    check_bool(file, "tokenizer.ggml.add_bos_token", true);
    bn_gguf_close(file);
    put_text(folder, "tokenizer_config.json", "{\"add_bos_token\":false,\"bos_token\":\"<s>\"}");
    file = open_folder(folder);
    check_bool(file, "tokenizer.ggml.add_bos_token", false);
    bn_gguf_close(file);
    hf_folder_remove(folder);
}

static void test_sentencepiece_keys(void **state)
{
    (void)state;
    static const struct {
        const char *merges, *normalizer, *pre;
        const char *space;
        bool has_prefix, by_rank;
    } cases[] = {
        /* every pair that makes a token: scores say it all */
        {"[\"a b\",\"\xE2\x96\x81 ab\"]", SPM_STEPS, "null", NULL, true, false},
        {"[\"a b\"]", SPM_STEPS, "null", NULL, true, true},
        {"[\"a b\",\"\xE2\x96\x81 ab\"]", REPLACE, "null", NULL, false, false},
        {"[\"a b\"]", "null", METASPACE("\"prepend_scheme\":\"first\",\"split\":false"), "first",
         true, true},
        {"[\"a b\"]", "null", METASPACE("\"prepend_scheme\":\"always\",\"split\":false"),
         "unless-space", true, true},
        {"[\"a b\"]", "null", METASPACE("\"prepend_scheme\":\"never\",\"split\":false"), NULL,
         false, true},
    };
    char folder[64];
    hf_folder_make(folder);
    bn_log_set_quiet(true);
    for (size_t i = 0; i < BN_COUNT(cases); i++) {
        parts p = {.vocab = SPM_VOCAB,
                   .model = SPM_MODEL,
                   .merges = cases[i].merges,
                   .normalizer = cases[i].normalizer,
                   .pre = cases[i].pre,
                   .added = "[{\"id\":0,\"content\":\"<unk>\",\"special\":true}]"};
        put_tokenizer(folder, &p);
        bn_gguf *file = open_folder(folder);
        static const int32_t types[N_ROWS] = {2, 6, 1, 1, 1, 5, 5, 1, 5, 1, 5, 5};
        check_text(file, "tokenizer.ggml.model", "llama");
        check_i32s(file, "tokenizer.ggml.token_type", types, N_ROWS);
        check_text(file, BN_HF_TOKENIZER_KEY_SPACE, cases[i].space);
        check_bool(file, "tokenizer.ggml.add_space_prefix", cases[i].has_prefix);
        assert_int_equal(u32_of(file, "tokenizer.ggml.unknown_token_id"), 0);
        bool by_rank = false;
        bn_status status = BN_OK;
        bn_gguf_get_bool(file, BN_HF_TOKENIZER_KEY_RANKS, &by_rank, &status);
        assert_int_equal(by_rank, cases[i].by_rank);
        bn_gguf_close(file);
    }
    hf_folder_remove(folder);
}

static void check_refused(const char *folder, bn_status wanted, const char *named)
{
    bn_gguf *file = NULL;
    bn_status status = hf_folder_open(folder, N_ROWS, &file);
    if (status != wanted || strstr(bn_log_last_error(), named) == NULL)
        fail_msg("%d (%d wanted): '%s' does not name '%s'", (int)status, (int)wanted,
                 bn_log_last_error(), named);
    assert_non_null(strstr(bn_log_last_error(), folder));
}

static void test_bad_tokenizers_are_refused_by_name(void **state)
{
    (void)state;
    static const struct {
        parts p;
        bn_status status;
        const char *named;
    } cases[] = {
        {{.vocab = "{\"a\":0,\"b\":12}"}, BN_ERR_BAD_FILE, "token b has the id 12"},
        {{.vocab = "{\"a\":0,\"b\":99999999999}"}, BN_ERR_BAD_FILE, "99999999999"},
        {{.vocab = "{\"a\":0,\"b\":-1}"}, BN_ERR_BAD_FILE, "token b is not a number"},
        {{.vocab = "{\"a\":0,\"b\":\"1\"}"}, BN_ERR_BAD_FILE, "token b is not a number"},
        {{.vocab = "{\"a\":0,\"b\":0}"}, BN_ERR_BAD_FILE, "id 0 has two tokens, a and b"},
        {{.vocab = "{\"a\":0,\"a\":1}"}, BN_ERR_BAD_FILE, "duplicate"},
        {{.vocab = "{\"\":0}"}, BN_ERR_BAD_FILE, "0 bytes"},
        {{.vocab = "[1]"}, BN_ERR_BAD_FILE, "model.vocab is not an object"},
        {{.merges = "{}"}, BN_ERR_BAD_FILE, "model.merges is not an array"},
        {{.merges = "[\"a x\"]"}, BN_ERR_BAD_FILE, "entry 0 names no token"},
        {{.merges = "[\"a b\",\"b a\"]"}, BN_ERR_BAD_FILE, "entry 1 names no token"},
        {{.merges = "[\"ab\"]"}, BN_ERR_BAD_FILE, "entry 0 is not two tokens"},
        {{.merges = "[\"a b c\"]"}, BN_ERR_BAD_FILE, "entry 0 is not two tokens"},
        {{.merges = "[[\"a\"]]"}, BN_ERR_BAD_FILE, "entry 0 is not two texts"},
        {{.merges = "[[\"a\",1]]"}, BN_ERR_BAD_FILE, "entry 0 is not two texts"},
        {{.merges = "[[\"a \",\"b\"]]"}, BN_ERR_BAD_FILE, "space in it"},
        {{.added = "[{\"id\":5}]"}, BN_ERR_BAD_FILE, "added_tokens: entry 0"},
        {{.added = "[{\"id\":12,\"content\":\"<s>\"}]"}, BN_ERR_BAD_FILE, "id 12"},
        {{.added = "[{\"id\":1,\"content\":\"<s>\"}]"}, BN_ERR_BAD_FILE, "two tokens"},
        {{.added = "[{\"id\":5,\"content\":\"ab\"}]"}, BN_ERR_BAD_FILE, "has two ids, 3 and 5"},
        {{.added = "[{\"id\":5,\"content\":\"x\",\"rstrip\":true}]"}, BN_ERR_UNSUPPORTED, "rstrip"},
        {{.model = "\"type\":\"Unigram\""}, BN_ERR_UNSUPPORTED, "Unigram"},
        {{.model = "\"type\":\"WordPiece\""}, BN_ERR_UNSUPPORTED, "WordPiece"},
        {{.model = "\"dropout\":0.1"}, BN_ERR_UNSUPPORTED, "dropout"},
        {{.model = "\"continuing_subword_prefix\":\"##\""}, BN_ERR_UNSUPPORTED, "##"},
        {{.model = "\"end_of_word_suffix\":\"</w>\""}, BN_ERR_UNSUPPORTED, "</w>"},
        {{.model = "\"unk_token\":\"<none>\""}, BN_ERR_BAD_FILE, "<none>"},
        {{.model = "\"ignore_merges\":true"}, BN_ERR_UNSUPPORTED, "ByteLevel regex"},
        {{.pre = "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":"
                 "{\"Regex\":\"[xyz]+\"},\"behavior\":\"Isolated\"},{\"type\":\"ByteLevel\","
                 "\"add_prefix_space\":false,\"use_regex\":false}]}"},
         BN_ERR_UNSUPPORTED,
         "Split [xyz]+ Isolated"},
        {{.pre = "{\"type\":\"ByteLevel\"}"}, BN_ERR_UNSUPPORTED, "add_prefix_space"},
        {{.normalizer = "{\"type\":\"Lowercase\"}"}, BN_ERR_UNSUPPORTED, "Lowercase"},
        {{.pre = "{\"type\":\"Whitespace\"}"}, BN_ERR_UNSUPPORTED, "Whitespace"},
        {{.pre = "null"}, BN_ERR_UNSUPPORTED, "normalizer is null"},
        {{.pre = "null", .normalizer = SPM_STEPS}, BN_ERR_UNSUPPORTED, "byte_fallback"},
        {{.pre = METASPACE("\"prepend_scheme\":\"first\"")}, BN_ERR_UNSUPPORTED, "split"},
        {{.pre = METASPACE("\"split\":false,\"prepend_scheme\":\"odd\"")},
         BN_ERR_UNSUPPORTED,
         "odd"},
    };
    char folder[64];
    hf_folder_make(folder);
    bn_log_set_quiet(true);
    for (size_t i = 0; i < BN_COUNT(cases); i++) {
        put_tokenizer(folder, &cases[i].p);
        check_refused(folder, cases[i].status, cases[i].named);
    }
    put_text(folder, "tokenizer.json", "[]");
    check_refused(folder, BN_ERR_BAD_FILE, "no object \"model\"");
    put_text(folder, "tokenizer.json", "{\"model\": ");
    check_refused(folder, BN_ERR_BAD_FILE, "line 1");
    hf_folder_remove(folder);
}

static void test_bad_small_files_are_refused_by_name(void **state)
{
    (void)state;
    static const struct {
        const char *file, *text;
        bn_status status;
        const char *named;
    } cases[] = {
        {"tokenizer_config.json", "{\"eos_token\":\"<none>\"}", BN_ERR_BAD_FILE, "<none>"},
        {"special_tokens_map.json", "{\"bos_token\":\"<none>\"}", BN_ERR_BAD_FILE, "<none>"},
        {"tokenizer_config.json", "[]", BN_ERR_BAD_FILE, "not a JSON object"},
        {"generation_config.json", "{\"eos_token_id\":12}", BN_ERR_BAD_FILE, "eos_token_id is 12"},
        {"generation_config.json", "{\"eos_token_id\":[1,\"x\"]}", BN_ERR_BAD_FILE, "eos_token_id"},
        {"config.json", "{\"bos_token_id\":-3}", BN_ERR_BAD_FILE, "bos_token_id"},
        {"generation_config.json", "{\"eos_token_id\":[0,1,2,3,4,5,6,7,8,9,10,11]}", BN_OK, ""},
        {"chat_template.json", "{\"chat_template\"", BN_ERR_BAD_FILE, "chat_template.json"},
    };
    bn_log_set_quiet(true);
    for (size_t i = 0; i < BN_COUNT(cases); i++) {
        char folder[64];
        hf_folder_make(folder);
        put_tokenizer(folder, &plain);
        put_text(folder, cases[i].file, cases[i].text);
        if (cases[i].status == BN_OK)
            bn_gguf_close(open_folder(folder));
        else
            check_refused(folder, cases[i].status, cases[i].named);
        hf_folder_remove(folder);
    }
    char folder[64];
    hf_folder_make(folder);
    assert_false(bn_hf_tokenizer_exists(folder));
    check_refused(folder, BN_ERR_BAD_FILE, "neither tokenizer.json nor tokenizer.model");
    put_tokenizer(folder, &plain);
    assert_true(bn_hf_tokenizer_exists(folder));
    put_text(folder, "chat_template.jinja", "x");
    hf_folder_put(folder, "chat_template.jinja", "a\0b", 3);
    check_refused(folder, BN_ERR_BAD_FILE, "chat_template.jinja is not a text");
    bn_gguf *file = NULL;
    assert_int_equal(hf_folder_open(folder, 0, &file), BN_ERR_LIMIT);
    assert_int_equal(hf_folder_open(folder, BN_HF_TOKENIZER_TOKENS_MAX + 1, &file), BN_ERR_LIMIT);
    hf_folder_remove(folder);
}

/* Pieces a, b, ab; then trainer and normaliser as given. */
static size_t spm_bytes(char *out, const char *more, size_t n_more)
{
    static const char pieces[] = "\x0a\x0e\x0a\x05<unk>\x15\x00\x00\x00\x00\x18\x02"
                                 "\x0a\x03\x0a\x01"
                                 "a"
                                 "\x0a\x03\x0a\x01"
                                 "b"
                                 "\x0a\x09\x0a\x02"
                                 "ab\x15\x00\x00\x80\xbf";
    memcpy(out, pieces, sizeof pieces - 1);
    memcpy(out + sizeof pieces - 1, more, n_more);
    return sizeof pieces - 1 + n_more;
}

static void test_sentencepiece_files(void **state)
{
    (void)state;
#define TRAINER_BPE "\x12\x02\x18\x02"
#define NORMALIZER_PLAIN "\x1a\x02\x20\x00"
#define CASE(more, status, named)                                                                  \
    {                                                                                              \
        more, sizeof(more) - 1, status, named                                                      \
    }
    static const struct {
        const char *more;
        size_t n;
        bn_status status;
        const char *named;
    } cases[] = {
        CASE(TRAINER_BPE NORMALIZER_PLAIN, BN_OK, ""),
        CASE(TRAINER_BPE NORMALIZER_PLAIN "\x42\x01x\x4d\1\2\3\4\x49\1\2\3\4\5\6\7\0", BN_OK, ""),
        CASE(NORMALIZER_PLAIN, BN_ERR_UNSUPPORTED, "Unigram"),
        CASE("\x12\x02\x18\x03" NORMALIZER_PLAIN, BN_ERR_UNSUPPORTED, "words or characters"),
        CASE("\x12\x05\x18\x02\xc0\x01\x01" NORMALIZER_PLAIN, BN_ERR_UNSUPPORTED, "suffix"),
        CASE(TRAINER_BPE "\x1a\x00", BN_ERR_UNSUPPORTED, "remove_extra_whitespaces"),
        CASE(TRAINER_BPE "\x1a\x04\x20\x00\x28\x00", BN_ERR_UNSUPPORTED, "escape_whitespaces"),
        CASE(TRAINER_BPE "\x1a\x0b\x0a\x04nmt_\x12\x01z\x20\x00", BN_ERR_UNSUPPORTED, "nmt_"),
        CASE(TRAINER_BPE, BN_ERR_BAD_FILE, "normalizer_spec"),
        CASE(TRAINER_BPE NORMALIZER_PLAIN "\x0a\x7f", BN_ERR_BAD_FILE, "cut off"),
        CASE(TRAINER_BPE NORMALIZER_PLAIN "\x0a\x03\x0a\x05x", BN_ERR_BAD_FILE, "a piece"),
        CASE(TRAINER_BPE NORMALIZER_PLAIN "\x0a\x03\x0a\x01"
                                          "a",
             BN_ERR_BAD_FILE, "two ids"),
        CASE(TRAINER_BPE NORMALIZER_PLAIN "\x0a\x05\x0a\x01x\x18\x09", BN_ERR_BAD_FILE, "type 9"),
        CASE(TRAINER_BPE NORMALIZER_PLAIN "\x0a\x08\x0a\x01x\x15\x00\x00\xc0\x7f", BN_ERR_BAD_FILE,
             "not a number"),
        CASE(TRAINER_BPE NORMALIZER_PLAIN "\x0a\x00", BN_ERR_BAD_FILE, "0 bytes"),
        CASE(TRAINER_BPE NORMALIZER_PLAIN "\x0b", BN_ERR_BAD_FILE, "cut off"),
        CASE(TRAINER_BPE NORMALIZER_PLAIN "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
             BN_ERR_BAD_FILE, "cut off"),
    };
    char folder[64], bytes[256];
    hf_folder_make(folder);
    bn_log_set_quiet(true);
    for (size_t i = 0; i < BN_COUNT(cases); i++) {
        size_t n = spm_bytes(bytes, cases[i].more, cases[i].n);
        hf_folder_put(folder, "tokenizer.model", bytes, n);
        if (cases[i].status == BN_OK)
            bn_gguf_close(open_folder(folder));
        else
            check_refused(folder, cases[i].status, cases[i].named);
    }
    size_t n = spm_bytes(bytes, TRAINER_BPE NORMALIZER_PLAIN, 8);
    hf_folder_put(folder, "tokenizer.model", bytes, n);
    put_text(folder, "added_tokens.json", "{\"<pad>\":4}");
    put_text(folder, "tokenizer_config.json",
             "{\"added_tokens_decoder\":{\"0\":{\"content\":\"<unk>\",\"special\":true},"
             "\"5\":{\"content\":\"<x>\",\"special\":true}}}");
    bn_gguf *file = open_folder(folder);
    static const int32_t types[N_ROWS] = {2, 1, 1, 1, 4, 3, 5, 5, 5, 5, 5, 5};
    check_i32s(file, "tokenizer.ggml.token_type", types, N_ROWS);
    check_bool(file, "tokenizer.ggml.add_bos_token", true);
    check_bool(file, "tokenizer.ggml.add_space_prefix", true);
    bn_gguf_close(file);
    put_text(folder, "added_tokens.json", "{\"<pad>\":\"4\"}");
    check_refused(folder, BN_ERR_BAD_FILE, "added_tokens.json");
    put_text(folder, "added_tokens.json", "{}");
    put_text(folder, "tokenizer_config.json", "{\"added_tokens_decoder\":{\"x\":{}}}");
    check_refused(folder, BN_ERR_BAD_FILE, "added_tokens_decoder");
    hf_folder_remove(folder);
}

static void test_more_than_the_limits_is_refused(void **state)
{
    (void)state;
    char folder[64];
    hf_folder_make(folder);
    bn_log_set_quiet(true);
    size_t n = BN_HF_TOKENIZER_BYTES_MAX + 1u;
    char *bytes = bn_alloc(n, 1);
    assert_non_null(bytes);
    hf_folder_put(folder, "tokenizer.model", bytes, n);
    check_refused(folder, BN_ERR_LIMIT, "tokenizer.model");
    hf_folder_put(folder, "tokenizer.json", bytes, n);
    check_refused(folder, BN_ERR_LIMIT, "tokenizer.json");
    bn_free(bytes);
    /* A file that is small enough, with more values than memory is for. */
    n = 3 * (size_t)BN_JSON_VALUES_MAX;
    bytes = bn_alloc(n, 1);
    assert_non_null(bytes);
    for (size_t i = 0; i + 3 <= n; i += 3)
        memcpy(bytes + i, i == 0 ? "[[]" : ",[]", 3);
    hf_folder_put(folder, "tokenizer.json", bytes, n);
    check_refused(folder, BN_ERR_LIMIT, "values");
    bn_free(bytes);
    hf_folder_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_folder_becomes_keys),
        cmocka_unit_test(test_sentencepiece_keys),
        cmocka_unit_test(test_bad_tokenizers_are_refused_by_name),
        cmocka_unit_test(test_bad_small_files_are_refused_by_name),
        cmocka_unit_test(test_sentencepiece_files),
        cmocka_unit_test(test_more_than_the_limits_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
