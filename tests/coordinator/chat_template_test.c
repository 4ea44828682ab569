/* chat_template_test.c
 * What: each template puts markers, roles and texts where the published ones do; what people wrote
 *       cannot become a marker; a conversation that goes on has the tokens of one that is told
 *       anew; a file's own template is used, a wrong one replaced.
 * How:  a byte vocabulary with the markers, so that the ids can be read: spelt out with control
 *       tokens printed they are the rendered text. Texts of jinja2 in tests/golden/chat.
 */
#include "coordinator/chat_template.h"

#include "common/json.h"
#include "common/log.h"
#include "coordinator/jinja.h"
#include "tests/common/cmocka_all.h"
#include "tests/coordinator/small_vocabulary.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const small_token tokens[] = {
    {"<|begin_of_text|>", 3, 0},
    {"<|start_header_id|>", 3, 0},
    {"<|end_header_id|>", 3, 0},
    {"<|eot_id|>", 3, 0},
    {"<|system|>", 3, 0},
    {"<|user|>", 3, 0},
    {"<|assistant|>", 3, 0},
    {"<|im_start|>", 3, 0},
    {"<|im_end|>", 3, 0},
    {"<|end_of_text|>", 3, 0},
    {NULL, 0, 0},
};
static const char *const merges[] = {"a b", NULL};
static const small_vocabulary vocabulary = {.model = "gpt2",
                                            .pre = "gpt-2",
                                            .tokens = tokens,
                                            .merges = merges,
                                            .has_bytes = 1,
                                            .bos_plus_1 = 257,
                                            .eos_plus_1 = 266};
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

/* The conversation's ids spelt out, control tokens included; returns how many of those there are.
 */
static size_t spell(const bn_tokenizer *tokenizer, const bn_token_list *ids, char *text)
{
    size_t n = 0;
    bn_detokenizer d;
    bn_detokenizer_init(&d, tokenizer, true);
    for (size_t i = 0; i < ids->n; i++)
        n += bn_detokenizer_push(&d, ids->ids[i], text + n);
    text[n] = '\0';
    return n_control(tokenizer, ids);
}

static bn_chat_template *open_chat(const char *choice, const small_vocabulary *v,
                                   const bn_tokenizer *tokenizer)
{
    bn_gguf *file = small_vocabulary_file(v);
    bn_chat_template *chat = NULL;
    assert_int_equal(bn_chat_template_create(choice, file, tokenizer, &chat), BN_OK);
    bn_gguf_close(file);
    return chat;
}

static void check(const char *name, const char *wanted, size_t n_control_wanted)
{
    bn_tokenizer *tokenizer = make(&vocabulary);
    bn_chat_template *chat = open_chat(name, &vocabulary, tokenizer);
    assert_string_equal(bn_chat_template_name(chat), name);
    bn_token_list ids = {0};
    assert_int_equal(bn_chat_template_apply(chat, tokenizer, talk, BN_COUNT(talk), &ids), BN_OK);
    char text[8192];
    size_t n = spell(tokenizer, &ids, text);
    assert_string_equal(text, wanted);
    assert_int_equal(n, n_control_wanted); /* the typed one is text */
    bn_token_list_fini(&ids);
    bn_chat_template_destroy(chat);
    bn_tokenizer_destroy(tokenizer);
}

static void test_templates_render_as_published(void **state)
{
    (void)state;
    check("2b-4t",
          BOS "System: Be brief." EOT "User: Hi <|eot_id|>" EOT "Assistant: Yes?" EOT "User: " EOT
              "Assistant: ",
          5);
    check("llama-3",
          BOS S "system" E "Be brief." EOT S "user" E "Hi <|eot_id|>" EOT S "assistant" E
                "Yes?" EOT S "user" E EOT S "assistant" E,
          15);
    check("falcon3",
          "<|system|>\n Be brief.\n\n<|user|>\nHi <|eot_id|>\n<|assistant|>\n\xE3\x80\x80Yes?"
          "<|end_of_text|>\n<|user|>\n\n<|assistant|>\n",
          6);
    check("chatml",
          "<|im_start|>system\n Be brief.\n<|im_end|>\n<|im_start|>user\nHi <|eot_id|><|im_end|>\n"
          "<|im_start|>assistant\n\xE3\x80\x80Yes?<|im_end|>\n<|im_start|>user\n<|im_end|>\n"
          "<|im_start|>assistant\n",
          9);
    check("none", " Be brief.\nHi <|eot_id|>\xE3\x80\x80Yes?", 0);
}

/* The short texts of ours beside the published ones. */
static void test_names_render_as_their_models_templates(void **state)
{
    (void)state;
    static const char *const names[] = {"2b-4t", "llama-3", "falcon3", "chatml"};
    char path[1024];
    const char *source = getenv("BN_SOURCE_DIR");
    snprintf(path, sizeof path, "%s/tests/golden/chat/rendered.json",
             source != NULL ? source : ".");
    bn_json *golden = NULL;
    assert_int_equal(bn_json_read(path, 1u << 20, &golden), BN_OK);
    const bn_json *conversations = bn_json_get(golden, "conversations");
    for (size_t k = 0; k < BN_COUNT(names); k++) {
        const char *text = bn_chat_template_text(names[k]);
        bn_jinja *jinja = NULL;
        assert_int_equal(bn_jinja_parse(names[k], text, strlen(text), &jinja), BN_OK);
        for (size_t c = 0; c < bn_json_length(conversations); c++) {
            bn_jinja_message messages[16];
            const bn_json *conversation = bn_json_at(conversations, c);
            size_t n = bn_json_length(conversation);
            for (size_t i = 0; i < n; i++) {
                const char *role = NULL, *content = NULL;
                bn_json_as_text(bn_json_get(bn_json_at(conversation, i), "role"), &role);
                bn_json_as_text(bn_json_get(bn_json_at(conversation, i), "content"), &content);
                messages[i] = (bn_jinja_message){role, content, strlen(content), 1};
            }
            const bn_jinja_input input = {messages, n, BOS, "<|end_of_text|>", true};
            bn_jinja_output output;
            const char *wanted = NULL;
            const bn_json *rows = bn_json_get(bn_json_get(golden, "rendered"), names[k]);
            bn_json_as_text(bn_json_get(bn_json_at(rows, 2 * c + 1), "text"), &wanted);
            assert_int_equal(bn_jinja_render(jinja, &input, &output), BN_OK);
            assert_int_equal(output.n, strlen(wanted));
            assert_memory_equal(output.text, wanted, output.n);
            bn_jinja_output_fini(&output);
        }
        bn_jinja_destroy(jinja);
    }
    bn_json_free(golden);
}

/* Tokens of a first question, an answer as the model makes it, and what continues it, beside the
 * whole conversation told at once. */
static void check_continuation(const char *name, const char *answer, const char *end, bool is_cut)
{
    bn_tokenizer *tokenizer = make(&vocabulary);
    bn_chat_template *chat = open_chat(name, &vocabulary, tokenizer);
    const bn_chat_message messages[] = {
        {BN_CHAT_SYSTEM, "Be brief.", 9},
        {BN_CHAT_USER, "Hi", 2},
        {BN_CHAT_ASSISTANT, answer, strlen(answer)},
        {BN_CHAT_USER, "And <|im_end|>?", 15},
    };
    bn_token_list ids = {0}, whole = {0};
    char text[2][4096];
    assert_int_equal(bn_chat_template_apply(chat, tokenizer, messages, 4, &whole), BN_OK);
    assert_int_equal(bn_chat_template_apply(chat, tokenizer, messages, 2, &ids), BN_OK);
    assert_int_equal(bn_tokenizer_encode(tokenizer, answer, strlen(answer), false, false, &ids),
                     BN_OK);
    if (!is_cut)
        assert_int_equal(bn_token_list_push(&ids, bn_tokenizer_find(tokenizer, end)), BN_OK);
    assert_int_equal(
        bn_chat_template_continue(chat, tokenizer, messages, 4, ids.ids[ids.n - 1], &ids), BN_OK);
    assert_int_equal(spell(tokenizer, &ids, text[0]), spell(tokenizer, &whole, text[1]));
    assert_string_equal(text[0], text[1]);
    bn_token_list_fini(&ids);
    bn_token_list_fini(&whole);
    bn_chat_template_destroy(chat);
    bn_tokenizer_destroy(tokenizer);
}

static void test_a_conversation_goes_on_where_it_was(void **state)
{
    (void)state;
    for (int is_cut = 0; is_cut < 2; is_cut++) {
        check_continuation("2b-4t", "Yes.", EOT, is_cut);
        check_continuation("2b-4t", "", EOT, is_cut);
        check_continuation("llama-3", "Yes.", EOT, is_cut);
        check_continuation("falcon3", "Yes.\n", "<|end_of_text|>", is_cut);
        check_continuation("chatml", "", "<|im_end|>", is_cut);
        check_continuation("chatml", " Yes ", "<|im_end|>", is_cut);
    }
    /* without turns: the new text alone */
    bn_tokenizer *tokenizer = make(&vocabulary);
    bn_chat_template *chat = open_chat("none", &vocabulary, tokenizer);
    bn_token_list ids = {0};
    assert_int_equal(bn_chat_template_continue(chat, tokenizer, talk, 2, 5, &ids), BN_OK);
    assert_int_equal(ids.n, 13);
    bn_token_list_fini(&ids);
    bn_chat_template_destroy(chat);
    bn_tokenizer_destroy(tokenizer);
}

static void test_none_adds_bos_when_the_file_does(void **state)
{
    (void)state;
    bn_tokenizer *tokenizer = make(&bare);
    bn_chat_template *chat = open_chat("none", &bare, tokenizer);
    bn_token_list ids = {0};
    assert_int_equal(bn_chat_template_apply(chat, tokenizer, talk + 1, 1, &ids), BN_OK);
    assert_int_equal(ids.n, 14);
    assert_int_equal(ids.ids[0], 256);
    bn_token_list_fini(&ids);
    bn_chat_template_destroy(chat);
    bn_tokenizer_destroy(tokenizer);
}

static void test_missing_markers_are_named(void **state)
{
    (void)state;
    bn_tokenizer *tokenizer = make(&bare);
    bn_chat_template *chat = open_chat("llama-3", &bare, tokenizer);
    bn_token_list ids = {0};
    bn_log_set_quiet(true);
    assert_int_equal(bn_chat_template_apply(chat, tokenizer, talk, 1, &ids), BN_ERR_UNSUPPORTED);
    bn_log_set_quiet(false);
    assert_non_null(strstr(bn_log_last_error(), "<|start_header_id|>"));
    assert_int_equal(ids.n, 0);
    /* One that a person typed is no marker of the template's. */
    bn_chat_template_destroy(chat);
    const bn_chat_message typed = {BN_CHAT_USER, "<|missing|>", 11};
    bn_tokenizer *whole = make(&vocabulary);
    chat = open_chat("llama-3", &vocabulary, whole);
    assert_int_equal(bn_chat_template_apply(chat, whole, &typed, 1, &ids), BN_OK);
    bn_token_list_fini(&ids);
    bn_chat_template_destroy(chat);
    bn_tokenizer_destroy(whole);
    bn_tokenizer_destroy(tokenizer);
}

static void check_choice(const char *choice, const char *text_of_file, bn_status wanted,
                         const char *named, const char *rendered)
{
    small_vocabulary v = vocabulary;
    v.chat_template = text_of_file;
    bn_gguf *file = small_vocabulary_file(&v);
    bn_tokenizer *tokenizer = make(&vocabulary);
    bn_chat_template *chat = NULL;
    bn_token_list ids = {0};
    bn_status status = bn_chat_template_create(choice, file, tokenizer, &chat);
    assert_int_equal(status, wanted);
    if (status == BN_OK) {
        char text[4096];
        assert_string_equal(bn_chat_template_name(chat), named);
        assert_int_equal(bn_chat_template_apply(chat, tokenizer, talk, 2, &ids), BN_OK);
        spell(tokenizer, &ids, text);
        assert_string_equal(text, rendered);
    } else {
        assert_non_null(strstr(bn_log_last_error(), named));
    }
    bn_token_list_fini(&ids);
    bn_chat_template_destroy(chat);
    bn_tokenizer_destroy(tokenizer);
    bn_gguf_close(file);
}

static void test_what_the_file_says_is_used(void **state)
{
    (void)state;
    bn_log_set_quiet(true);
    check_choice("auto", "{% for m in messages %}<|user|>{{ m.content }}{% endfor %}", BN_OK,
                 "of the model", "<|user|> Be brief.\n<|user|>Hi <|eot_id|>");
    check_choice("auto", NULL, BN_OK, "none", " Be brief.\nHi <|eot_id|>");
    check_choice("auto", "", BN_OK, "none", " Be brief.\nHi <|eot_id|>");
    check_choice("auto", "a\n{% macro x() %}", BN_ERR_UNSUPPORTED,
                 "chat template of the model, line 2: the statement macro", NULL);
    check_choice("none", "{% macro x() %}", BN_OK, "none", " Be brief.\nHi <|eot_id|>");
    check_choice("2b-4t", "{{ 1 }}", BN_OK, "2b-4t",
                 BOS "System: Be brief." EOT "User: Hi <|eot_id|>" EOT "Assistant: ");
    check_choice("/nowhere/x.jinja", NULL, BN_ERR_BAD_ARGUMENT, "/nowhere/x.jinja", NULL);
    check_choice("chatmll", NULL, BN_ERR_BAD_ARGUMENT, "2b-4t", NULL);

    char path[] = "/tmp/chat_template_XXXXXX";
    int fd = mkstemp(path);
    static const char text[] = "{{ messages[1].content }}|{{ bos_token }}{{ eos_token }}";
    assert_int_equal(write(fd, text, sizeof text - 1), sizeof text - 1);
    check_choice(path, "{{ 1 }}", BN_OK, path, "Hi <|eot_id|>|" BOS "<|end_of_text|>");
    close(fd);
    unlink(path);
    bn_log_set_quiet(false);
}

/* The 2B-4T file of April 2025 has a text that its model was not trained on. */
static void test_a_wrong_text_is_replaced(void **state)
{
    (void)state;
    check_choice("auto",
                 "{% for message in messages %}{% if loop.first %}{{ bos_token }}{% endif %}"
                 "{% if message['role'] == 'user' %}{{ 'Human: ' + message['content'] + "
                 "'\\n\\nBITNETAssistant: ' + eos_token }}{% elif message['role'] == 'assistant' %}"
                 "{{ message['content'] + eos_token }}{% endif %}{% endfor %}",
                 BN_OK, "2b-4t",
                 BOS "System: Be brief." EOT "User: Hi <|eot_id|>" EOT "Assistant: ");
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

static void test_names(void **state)
{
    (void)state;
    static const char *const names[] = {"none", "2b-4t", "llama-3", "falcon3", "chatml"};
    for (size_t i = 0; i < BN_COUNT(names); i++) {
        assert_non_null(bn_chat_template_text(names[i]));
        assert_non_null(strstr(BN_CHAT_TEMPLATE_NAMES, names[i]));
    }
    assert_null(bn_chat_template_text("auto"));
    bn_hash128 hash = {.high = 0xa8092a5003727ffd, .low = 0x36745d84a2981725};
    assert_string_equal(bn_chat_template_replacement(hash), "2b-4t");
    hash.low ^= 1;
    assert_null(bn_chat_template_replacement(hash));
}

static void test_bos_is_put_first_once(void **state)
{
    (void)state;
    small_vocabulary v = vocabulary;
    v.adds_bos_plus_1 = 2;
    static const char *const texts[] = {"{{ messages[0].content }}",
                                        "{{ bos_token }}{{ messages[0].content }}"};
    for (size_t i = 0; i < BN_COUNT(texts); i++) {
        v.chat_template = texts[i];
        bn_tokenizer *tokenizer = make(&v);
        bn_chat_template *chat = open_chat("auto", &v, tokenizer);
        bn_token_list ids = {0};
        char text[256];
        assert_int_equal(bn_chat_template_apply(chat, tokenizer, talk + 1, 1, &ids), BN_OK);
        assert_int_equal(spell(tokenizer, &ids, text), 1);
        assert_string_equal(text, BOS "Hi <|eot_id|>");
        bn_token_list_fini(&ids);
        bn_chat_template_destroy(chat);
        bn_tokenizer_destroy(tokenizer);
    }
}

int main(void)
{
    bn_log_init("test", BN_LOG_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_templates_render_as_published),
        cmocka_unit_test(test_none_adds_bos_when_the_file_does),
        cmocka_unit_test(test_missing_markers_are_named),
        cmocka_unit_test(test_texts_are_compared_without_their_escapes),
        cmocka_unit_test(test_what_the_file_says_is_used),
        cmocka_unit_test(test_a_wrong_text_is_replaced),
        cmocka_unit_test(test_names_render_as_their_models_templates),
        cmocka_unit_test(test_a_conversation_goes_on_where_it_was),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_bos_is_put_first_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
