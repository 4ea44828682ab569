/* chat_template.c — texts by name, and renderings cut into what may be a control token and what
 * not.
 *
 * Text and template are tokenised in one go, since the pieces of a vocabulary do not end where a
 * message begins ("User: hello" has the token " hello"); the marks of the rendering tell which
 * bytes may spell a control token.
 */
#include "coordinator/chat_template.h"

#include "common/alloc.h"
#include "common/log.h"
#include "coordinator/jinja.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define KEY_TEMPLATE "tokenizer.chat_template"
#define MARK_TEXT 1u
#define MARK_ANSWER 2u /* of the answer that a conversation goes on from */
#define MARKER_MAX 64u
#define SHORTEST_MARKER 5u /* <|x|> */

struct bn_chat_template {
    char *name;
    bn_jinja *jinja; /* NULL: none */
    bool is_ours;    /* so every marker in its text must be a token */
    char bos[BN_TOKEN_PIECE_MAX + 1], eos[BN_TOKEN_PIECE_MAX + 1];
    bool has_bos, has_eos;
    bool adds_bos; /* also when the file does not ask for it */
};

static const struct {
    const char *name, *text;
} templates[] = {
    {"none", ""},
    /* microsoft/bitnet-b1.58-2B-4T */
    {"2b-4t", "{% for message in messages %}"
              "{{ message['role'] | capitalize + ': ' + message['content'] | trim + '<|eot_id|>' }}"
              "{% endfor %}{% if add_generation_prompt %}{{ 'Assistant: ' }}{% endif %}"},
    /* meta-llama/Meta-Llama-3-8B-Instruct */
    {"llama-3", "{% for message in messages %}{% if loop.first %}{{ bos_token }}{% endif %}"
                "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'"
                " + message['content'] | trim + '<|eot_id|>' }}{% endfor %}"
                "{% if add_generation_prompt %}"
                "{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"},
    /* tiiuae/Falcon3, without its branch for tools */
    {"falcon3", "{% for message in messages %}"
                "{{ '<|' + message['role'] + '|>\\n' + message['content'] }}"
                "{{ eos_token if message['role'] == 'assistant' }}"
                "{{ '\\n' if message['role'] != 'assistant' or not loop.last }}"
                "{{ '<|assistant|>\\n' if loop.last and add_generation_prompt }}{% endfor %}"},
    {"chatml",
     "{% for message in messages %}"
     "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
     "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"},
};

/* Published with tokenizers that put BOS first, which files made of them do not always say. */
static const char *const names_with_bos[] = {"2b-4t"};

/* Published texts that are wrong, by bn_chat_template_hash. */
static const struct {
    bn_hash128 hash;
    const char *name;
} wrong_texts[] = {
    /* microsoft/bitnet-b1.58-2B-4T-gguf: the "Human: … BITNETAssistant: " that the converter
     * (convert-ms-to-gguf-bitnet.py) writes and that the model was not trained on */
    {{.high = 0xa8092a5003727ffd, .low = 0x36745d84a2981725}, "2b-4t"},
};

const char *bn_chat_template_text(const char *name)
{
    for (size_t i = 0; i < sizeof templates / sizeof *templates; i++) {
        if (strcmp(templates[i].name, name) == 0) return templates[i].text;
    }
    return NULL;
}

const char *bn_chat_template_name(const bn_chat_template *chat)
{
    return chat->name;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* Into `out`, which has room for n bytes; returns the length. */
static size_t normalise(const char *text, size_t n, char *out)
{
    size_t begin = 0, end = n, n_out = 0;
    while (begin < end && is_blank(text[begin]))
        begin++;
    while (end > begin && is_blank(text[end - 1]))
        end--;
    for (size_t i = begin; i < end; i++) {
        char next = i + 1 < end ? text[i + 1] : '\0';
        bool is_newline = (text[i] == '\r' && next == '\n') || (text[i] == '\\' && next == 'n');
        out[n_out++] = is_newline ? '\n' : text[i];
        if (is_newline) i++;
    }
    return n_out;
}

bn_status bn_chat_template_hash(const char *text, size_t n, bn_hash128 *hash_out)
{
    char *normal = bn_alloc(n + 1, 1);
    if (normal == NULL)
        return bn_fail(BN_ERR_NO_MEMORY, "CHAT-TEMPLATE", "no memory for a template of %zu bytes",
                       n);
    *hash_out = bn_hash128_of(normal, normalise(text, n, normal));
    bn_free(normal);
    return BN_OK;
}

const char *bn_chat_template_replacement(bn_hash128 hash)
{
    for (size_t i = 0; i < sizeof wrong_texts / sizeof *wrong_texts; i++) {
        if (wrong_texts[i].hash.low == hash.low && wrong_texts[i].hash.high == hash.high)
            return wrong_texts[i].name;
    }
    return NULL;
}

/* The text of a token, as bos_token and eos_token have it. */
static bool copy_token(const bn_tokenizer *tokenizer, uint32_t id, char out[BN_TOKEN_PIECE_MAX + 1])
{
    size_t n = 0;
    if (id == BN_TOKEN_NONE) return false;
    const char *text = bn_tokenizer_text(tokenizer, id, &n);
    if (memchr(text, '\0', n) != NULL) return false;
    memcpy(out, text, n);
    out[n] = '\0';
    return true;
}

static bn_status fill(bn_chat_template *chat, const bn_tokenizer *tokenizer, const char *name,
                      const char *text, size_t n)
{
    chat->name = bn_strdup(name);
    if (chat->name == NULL)
        return bn_fail(BN_ERR_NO_MEMORY, "CHAT-TEMPLATE", "no memory for chat template %s", name);
    chat->has_bos = copy_token(tokenizer, bn_tokenizer_bos(tokenizer), chat->bos);
    chat->has_eos = copy_token(tokenizer, bn_tokenizer_eos(tokenizer), chat->eos);
    chat->is_ours = text == bn_chat_template_text(name);
    for (size_t i = 0; i < sizeof names_with_bos / sizeof *names_with_bos; i++)
        chat->adds_bos |= chat->is_ours && strcmp(name, names_with_bos[i]) == 0;
    return n == 0 ? BN_OK : bn_jinja_parse(name, text, n, &chat->jinja);
}

static bn_status create(const bn_tokenizer *tokenizer, const char *name, const char *text, size_t n,
                        bn_chat_template **chat_out)
{
    bn_chat_template *chat = bn_alloc(1, sizeof *chat);
    if (chat == NULL)
        return bn_fail(BN_ERR_NO_MEMORY, "CHAT-TEMPLATE", "no memory for chat template %s", name);
    bn_status status = fill(chat, tokenizer, name, text, n);
    if (status != BN_OK) {
        bn_chat_template_destroy(chat);
        return status;
    }
    *chat_out = chat;
    return BN_OK;
}

static bn_status create_named(const bn_tokenizer *tokenizer, const char *name,
                              bn_chat_template **chat_out)
{
    const char *text = bn_chat_template_text(name);
    return create(tokenizer, name, text, strlen(text), chat_out);
}

static bn_status create_from_model(const bn_gguf *file, const bn_tokenizer *tokenizer,
                                   bn_chat_template **chat_out)
{
    bn_status status = BN_OK;
    bn_gguf_string text;
    bn_hash128 hash;
    if (!bn_gguf_get_string(file, KEY_TEMPLATE, &text, &status) || text.n == 0) {
        if (status != BN_OK) return status;
        bn_log_warn("CHAT-TEMPLATE",
                    "%s has no key " KEY_TEMPLATE "; messages are sent as they are (choose a "
                    "template with --chat-template)",
                    bn_gguf_path(file));
        return create_named(tokenizer, "none", chat_out);
    }
    BN_TRY(bn_chat_template_hash(text.bytes, text.n, &hash));
    const char *replacement = bn_chat_template_replacement(hash);
    if (replacement != NULL) {
        bn_log_info("CHAT-TEMPLATE",
                    "%s: the text of key " KEY_TEMPLATE
                    " is not the one that the model was trained "
                    "on; the template %s replaces it",
                    bn_gguf_path(file), replacement);
        return create_named(tokenizer, replacement, chat_out);
    }
    status = create(tokenizer, "of the model", text.bytes, text.n, chat_out);
    if (status != BN_OK)
        bn_log_info("CHAT-TEMPLATE",
                    "--chat-template none sends messages as they are; a name (%s) "
                    "or a file replaces the model's template",
                    BN_CHAT_TEMPLATE_NAMES);
    return status;
}

static bn_status create_from_file(const char *path, const bn_tokenizer *tokenizer,
                                  bn_chat_template **chat_out)
{
    FILE *stream = fopen(path, "re");
    if (stream == NULL)
        return bn_fail(BN_ERR_BAD_ARGUMENT, "CHAT-TEMPLATE",
                       "there is no chat template %s: it is none of " BN_CHAT_TEMPLATE_NAMES
                       ", and as a file it cannot be opened (%s)",
                       path, strerror(errno));
    char *text = bn_alloc(BN_JINJA_TEXT_MAX + 1, 1);
    size_t n = text == NULL ? 0 : fread(text, 1, BN_JINJA_TEXT_MAX + 1, stream);
    bool is_read = text != NULL && !ferror(stream) && n > 0;
    fclose(stream);
    bn_status status =
        is_read ? create(tokenizer, path, text, n, chat_out)
                : bn_fail(BN_ERR_IO, "CHAT-TEMPLATE", "cannot read a chat template from %s", path);
    bn_free(text);
    return status;
}

bn_status bn_chat_template_create(const char *choice, const bn_gguf *file,
                                  const bn_tokenizer *tokenizer, bn_chat_template **chat_out)
{
    if (strcmp(choice, "auto") == 0) return create_from_model(file, tokenizer, chat_out);
    if (bn_chat_template_text(choice) != NULL) return create_named(tokenizer, choice, chat_out);
    return create_from_file(choice, tokenizer, chat_out);
}

void bn_chat_template_destroy(bn_chat_template *chat)
{
    if (chat == NULL) return;
    bn_free(chat->name);
    bn_jinja_destroy(chat->jinja);
    bn_free(chat);
}

/* The text from `begin` on has a marker of the template's own that is no token. */
static bool find_missing_marker(const bn_tokenizer *tokenizer, const bn_jinja_output *text,
                                size_t begin, char marker[MARKER_MAX])
{
    for (size_t at = begin; at + SHORTEST_MARKER <= text->n; at++) {
        if (memcmp(text->text + at, "<|", 2) != 0 || text->marks[at] != 0) continue;
        size_t n = 2;
        while (n < MARKER_MAX - 1 && at + n < text->n && text->marks[at + n] == 0 &&
               memcmp(text->text + at + n - 2, "|>", 2) != 0)
            n++;
        if (n < SHORTEST_MARKER || memcmp(text->text + at + n - 2, "|>", 2) != 0) continue;
        memcpy(marker, text->text + at, n);
        marker[n] = '\0';
        if (bn_tokenizer_find(tokenizer, marker) == BN_TOKEN_NONE) return true;
    }
    return false;
}

static bn_status push_rendering(const bn_chat_template *chat, const bn_tokenizer *tokenizer,
                                const bn_jinja_output *text, size_t begin, bn_token_list *ids)
{
    char marker[MARKER_MAX];
    if (chat->is_ours && find_missing_marker(tokenizer, text, begin, marker))
        return bn_fail(BN_ERR_UNSUPPORTED, "CHAT-TEMPLATE",
                       "the chat template %s needs the token %s, which the model's vocabulary does "
                       "not have; choose another with --chat-template",
                       chat->name, marker);
    return bn_tokenizer_encode_marked(tokenizer, text->text + begin, text->n - begin,
                                      text->marks + begin, begin == 0, ids);
}

/* `answer`: the message whose bytes get a mark of their own; n_messages for none. */
static bn_status render(const bn_chat_template *chat, const bn_chat_message *messages,
                        size_t n_messages, size_t answer, bn_jinja_output *output)
{
    static const char *const roles[] = {"system", "user", "assistant"};
    bn_jinja_message *own = bn_alloc(n_messages + 1, sizeof *own);
    if (own == NULL)
        return bn_fail(BN_ERR_NO_MEMORY, "CHAT-TEMPLATE", "no memory for %zu messages", n_messages);
    for (size_t i = 0; i < n_messages; i++) {
        BN_ASSERT((size_t)messages[i].role < sizeof roles / sizeof *roles);
        uint8_t mark = i == answer ? MARK_ANSWER : MARK_TEXT;
        own[i] = (bn_jinja_message){roles[messages[i].role], messages[i].text, messages[i].n, mark};
        /* An answer without a text has no place in the rendering to go on from. */
        if (i == answer && messages[i].n == 0) own[i].text = "x";
        if (i == answer && messages[i].n == 0) own[i].n = 1;
    }
    const bn_jinja_input input = {
        .messages = own,
        .n_messages = n_messages,
        .bos_token = chat->has_bos ? chat->bos : NULL,
        .eos_token = chat->has_eos ? chat->eos : NULL,
        .add_generation_prompt = true,
    };
    bn_status status = bn_jinja_render(chat->jinja, &input, output);
    bn_free(own);
    return status;
}

static bn_status push_plain(const bn_tokenizer *tokenizer, const bn_chat_message *messages,
                            size_t n_messages, bool is_start, bn_token_list *ids)
{
    if (is_start && bn_tokenizer_adds_bos(tokenizer))
        BN_TRY(bn_token_list_push(ids, bn_tokenizer_bos(tokenizer)));
    for (size_t i = 0; i < n_messages; i++)
        BN_TRY(bn_tokenizer_encode(tokenizer, messages[i].text, messages[i].n, false,
                                   is_start && i == 0, ids));
    return BN_OK;
}

/* Where the model wants BOS first and the template has not written it. */
static bn_status add_bos(const bn_chat_template *chat, const bn_tokenizer *tokenizer, size_t at,
                         bn_token_list *ids)
{
    uint32_t bos = bn_tokenizer_bos(tokenizer);
    bool is_wanted = chat->adds_bos || bn_tokenizer_adds_bos(tokenizer);
    if (!is_wanted || bos == BN_TOKEN_NONE || (at < ids->n && ids->ids[at] == bos)) return BN_OK;
    BN_TRY(bn_token_list_push(ids, bos));
    memmove(ids->ids + at + 1, ids->ids + at, (ids->n - 1 - at) * sizeof *ids->ids);
    ids->ids[at] = bos;
    return BN_OK;
}

bn_status bn_chat_template_apply(const bn_chat_template *chat, const bn_tokenizer *tokenizer,
                                 const bn_chat_message *messages, size_t n_messages,
                                 bn_token_list *ids)
{
    size_t n_before = ids->n;
    bn_jinja_output output = {0};
    bn_status status;
    if (chat->jinja == NULL) {
        status = push_plain(tokenizer, messages, n_messages, true, ids);
    } else {
        status = render(chat, messages, n_messages, n_messages, &output);
        if (status == BN_OK) status = push_rendering(chat, tokenizer, &output, 0, ids);
        if (status == BN_OK) status = add_bos(chat, tokenizer, n_before, ids);
        bn_jinja_output_fini(&output);
    }
    if (status != BN_OK) ids->n = n_before;
    return status;
}

/* The id at the front ends an answer that has ended already. */
static void drop_end(const bn_tokenizer *tokenizer, size_t at, uint32_t last, bn_token_list *ids)
{
    if (at == ids->n || !bn_tokenizer_is_stop(tokenizer, last) ||
        !bn_tokenizer_is_stop(tokenizer, ids->ids[at]))
        return;
    memmove(ids->ids + at, ids->ids + at + 1, (ids->n - at - 1) * sizeof *ids->ids);
    ids->n--;
}

bn_status bn_chat_template_continue(const bn_chat_template *chat, const bn_tokenizer *tokenizer,
                                    const bn_chat_message *messages, size_t n_messages,
                                    uint32_t last, bn_token_list *ids)
{
    BN_ASSERT(n_messages >= 2);
    size_t n_before = ids->n, begin;
    bn_jinja_output output = {0};
    if (chat->jinja == NULL) return push_plain(tokenizer, messages + n_messages - 1, 1, false, ids);
    bn_status status = render(chat, messages, n_messages, n_messages - 2, &output);
    if (status != BN_OK) return status;
    for (begin = output.n; begin > 0 && output.marks[begin - 1] != MARK_ANSWER; begin--)
        ;
    if (begin == 0)
        status = bn_fail(BN_ERR_UNSUPPORTED, "CHAT-TEMPLATE",
                         "the chat template %s does not show the last answer, so the conversation "
                         "cannot go on from it; /reset starts a new one",
                         chat->name);
    if (status == BN_OK) status = push_rendering(chat, tokenizer, &output, begin, ids);
    bn_jinja_output_fini(&output);
    if (status != BN_OK)
        ids->n = n_before;
    else
        drop_end(tokenizer, n_before, last, ids);
    return status;
}
