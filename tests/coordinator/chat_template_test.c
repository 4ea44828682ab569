/* chat_template_test.c
 * What: each template puts markers, roles and texts where the published ones do; what people wrote
 *       cannot become a marker; only known texts choose a template.
 * How:  a byte vocabulary with the markers, so that the ids can be read: spelt out with control
 *       tokens printed they are the rendered text. Known texts are present as hashes only.
 */
#include "coordinator/chat_template.h"

#include "common/log.h"
#include "tests/common/cmocka_all.h"
#include "tests/coordinator/small_vocabulary.h"

#include <string.h>

static const small_token tokens[] = {
    {"<|begin_of_text|>", 3, 0}, {"<|start_header_id|>", 3, 0},
    {"<|end_header_id|>", 3, 0}, {"<|eot_id|>", 3, 0},
    {"<|system|>", 3, 0},        {"<|user|>", 3, 0},
    {"<|assistant|>", 3, 0},     {NULL, 0, 0},
};
static const char *const merges[] = {"a b", NULL};
static const small_vocabulary vocabulary = {.model = "gpt2",
                                            .pre = "gpt-2",
                                            .tokens = tokens,
                                            .merges = merges,
                                            .has_bytes = 1,
                                            .bos_plus_1 = 257};
/* without markers */
static const small_token few_tokens[] = {{"<s>", 3, 0}, {NULL, 0, 0}};
static const small_vocabulary bare = {.model = "gpt2",
                                      .pre = "gpt-2",
                                      .tokens = few_tokens,
                                      .merges = merges,
                                      .has_bytes = 1,
                                      .bos_plus_1 = 257,
                                      .adds_bos_plus_1 = 2};

#define BOS "<|begin_of_text|>"
#define S "<|start_header_id|>"
#define E "<|end_header_id|>\n\n"
#define EOT "<|eot_id|>"

static bn_tokenizer *make(const small_vocabulary *v)
{
    bn_gguf *file = small_vocabulary_file(v);
    bn_tokenizer *tokenizer = NULL;
    assert_int_equal(bn_tokenizer_create(file, NULL, &tokenizer), BN_OK);
    bn_gguf_close(file);
    return tokenizer;
}

static const bn_chat_message talk[] = {
    {BN_CHAT_SYSTEM, " Be brief.\n", 11},
    {BN_CHAT_USER, "Hi <|eot_id|>", 13},
    {BN_CHAT_ASSISTANT, "\xE3\x80\x80Yes?", 7},
    {BN_CHAT_USER, "", 0},
};

static size_t n_control(const bn_tokenizer *tokenizer, const bn_token_list *ids)
{
    size_t n = 0;
    for (size_t i = 0; i < ids->n; i++)
        n += bn_tokenizer_is_control(tokenizer, ids->ids[i]);
    return n;
}

static void check(const char *name, bool is_start, const char *wanted, size_t n_control_wanted)
{
    bn_tokenizer *tokenizer = make(&vocabulary);
    const bn_chat_template *chat = bn_chat_template_find(name);
    assert_non_null(chat);
    assert_string_equal(bn_chat_template_name(chat), name);
    bn_token_list ids = {0};
    assert_int_equal(bn_chat_template_apply(chat, tokenizer, talk, BN_COUNT(talk), is_start, &ids),
                     BN_OK);
    char text[8192];
    size_t n = 0;
    bn_detokenizer d;
    bn_detokenizer_init(&d, tokenizer, true);
    for (size_t i = 0; i < ids.n; i++)
        n += bn_detokenizer_push(&d, ids.ids[i], text + n);
    text[n] = '\0';
    assert_string_equal(text, wanted);
    assert_int_equal(n_control(tokenizer, &ids), n_control_wanted); /* the typed one is text */
    bn_token_list_fini(&ids);
    bn_tokenizer_destroy(tokenizer);
}

static void test_templates_render_as_published(void **state)
{
    (void)state;
    check("2b-4t", true,
          BOS "System: Be brief." EOT "User: Hi <|eot_id|>" EOT "Assistant: Yes?" EOT "User: " EOT
              "Assistant: ",
          5);
    check("llama-3", true,
          BOS S "system" E "Be brief." EOT S "user" E "Hi <|eot_id|>" EOT S "assistant" E
                "Yes?" EOT S "user" E EOT S "assistant" E,
          15);
    check("falcon3", true,
          "<|system|>\n Be brief.\n\n<|user|>\nHi <|eot_id|>\n<|assistant|>\n\xE3\x80\x80Yes?\n"
          "<|user|>\n\n<|assistant|>\n",
          5);
    check("none", true, " Be brief.\nHi <|eot_id|>\xE3\x80\x80Yes?", 0);
    check("2b-4t", false,
          "System: Be brief." EOT "User: Hi <|eot_id|>" EOT "Assistant: Yes?" EOT "User: " EOT
          "Assistant: ",
          4);
}

static void test_none_adds_bos_when_the_file_does(void **state)
{
    (void)state;
    bn_tokenizer *tokenizer = make(&bare);
    bn_token_list ids = {0};
    const bn_chat_template *chat = bn_chat_template_find("none");
    assert_int_equal(bn_chat_template_apply(chat, tokenizer, talk + 1, 1, true, &ids), BN_OK);
    assert_int_equal(ids.n, 14);
    assert_int_equal(ids.ids[0], 256);
    bn_token_list_fini(&ids);
    bn_tokenizer_destroy(tokenizer);
}

static void test_missing_markers_are_named(void **state)
{
    (void)state;
    bn_tokenizer *tokenizer = make(&bare);
    bn_token_list ids = {0};
    bn_log_set_quiet(true);
    assert_int_equal(
        bn_chat_template_apply(bn_chat_template_find("llama-3"), tokenizer, talk, 1, true, &ids),
        BN_ERR_UNSUPPORTED);
    bn_log_set_quiet(false);
    assert_non_null(strstr(bn_log_last_error(), "<|start_header_id|>"));
    assert_int_equal(ids.n, 0);
    bn_token_list_fini(&ids);
    bn_tokenizer_destroy(tokenizer);
}

static void check_detection(const small_vocabulary *base, const char *text, const char *wanted)
{
    small_vocabulary v = *base;
    v.chat_template = text;
    bn_gguf *file = small_vocabulary_file(&v);
    bn_tokenizer *tokenizer = NULL;
    assert_int_equal(bn_tokenizer_create(file, NULL, &tokenizer), BN_OK);
    assert_string_equal(bn_chat_template_name(bn_chat_template_detect(file, tokenizer)), wanted);
    bn_tokenizer_destroy(tokenizer);
    bn_gguf_close(file);
}

static bn_hash128 hash_of(const char *text)
{
    bn_hash128 hash;
    assert_int_equal(bn_chat_template_hash(text, strlen(text), &hash), BN_OK);
    return hash;
}

static bool is_same_text(const char *a, const char *b)
{
    bn_hash128 x = hash_of(a), y = hash_of(b);
    return x.low == y.low && x.high == y.high;
}

static void test_texts_are_compared_without_their_escapes(void **state)
{
    (void)state;
    assert_true(is_same_text("a\n\nb", "\n a\\n\\nb\r\n "));
    assert_true(is_same_text("a\nb", "a\r\nb"));
    assert_false(is_same_text("a\n\nb", "a\nb"));
    assert_false(is_same_text("a b", "ab"));
    assert_false(is_same_text("a\\tb", "a\tb"));
    assert_true(is_same_text("", " \n"));
}

static void test_only_known_texts_choose(void **state)
{
    (void)state;
    /* Of the text that the 2B-4T file of April 2025 has. */
    bn_hash128 published = {.high = 0xa8092a5003727ffd, .low = 0x36745d84a2981725};
    assert_string_equal(bn_chat_template_name(bn_chat_template_of_hash(published)), "2b-4t");
    published.low ^= 1;
    assert_null(bn_chat_template_of_hash(published));
    check_detection(&vocabulary, "{{ messages }}", "none");
    check_detection(&vocabulary, "", "none");
    check_detection(&vocabulary, NULL, "none");
}

static void test_names(void **state)
{
    (void)state;
    assert_string_equal(bn_chat_template_names[0], "auto");
    for (size_t i = 1; bn_chat_template_names[i] != NULL; i++)
        assert_non_null(bn_chat_template_find(bn_chat_template_names[i]));
    assert_null(bn_chat_template_find("auto"));
    assert_null(bn_chat_template_find("chatml"));
}

int main(void)
{
    bn_log_init("test", BN_LOG_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_templates_render_as_published),
        cmocka_unit_test(test_none_adds_bos_when_the_file_does),
        cmocka_unit_test(test_missing_markers_are_named),
        cmocka_unit_test(test_texts_are_compared_without_their_escapes),
        cmocka_unit_test(test_only_known_texts_choose),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
