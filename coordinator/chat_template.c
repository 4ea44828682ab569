/* chat_template.c — templates as rows of a table; no template language.
 *
 * A message is: the opening of its role (at most a marker, a word, a marker), a head, the text, a
 * tail, an end marker. Head, text and tail are tokenised as one piece, as the models were trained
 * ("User: hello" has the token " hello"); markers come from the vocabulary, never from text.
 */
#include "coordinator/chat_template.h"

#include "common/alloc.h"
#include "common/hash.h"
#include "common/log.h"
#include "coordinator/unicode.h"

#include <string.h>

#define KEY_TEMPLATE "tokenizer.chat_template"
#define N_ROLES 3

typedef struct opening {
    const char *marker; /* NULL: none */
    const char *word;
    const char *marker_after;
    const char *head; /* in one piece with the text */
} opening;

struct bn_chat_template {
    const char *name;
    bool adds_bos; /* also when the file does not ask for it */
    bool trims;    /* white space around the text is dropped */
    bool has_turns;
    opening openings[N_ROLES];
    const char *tail;
    const char *end_marker;
};

#define HEADER_BEGIN "<|start_header_id|>"
#define HEADER_END "<|end_header_id|>"
#define TURN_END "<|eot_id|>"

static const bn_chat_template templates[] = {
    {.name = "none"},
    {
        .name = "2b-4t",
        .adds_bos = true,
        .trims = true,
        .has_turns = true,
        .openings = {{.head = "System: "}, {.head = "User: "}, {.head = "Assistant: "}},
        .tail = "",
        .end_marker = TURN_END,
    },
    {
        .name = "llama-3",
        .adds_bos = true,
        .trims = true,
        .has_turns = true,
        .openings = {{HEADER_BEGIN, "system", HEADER_END, "\n\n"},
                     {HEADER_BEGIN, "user", HEADER_END, "\n\n"},
                     {HEADER_BEGIN, "assistant", HEADER_END, "\n\n"}},
        .tail = "",
        .end_marker = TURN_END,
    },
    {
        .name = "falcon3",
        .has_turns = true,
        .openings = {{.marker = "<|system|>", .head = "\n"},
                     {.marker = "<|user|>", .head = "\n"},
                     {.marker = "<|assistant|>", .head = "\n"}},
        .tail = "\n",
    },
};

#define N_TEMPLATES (sizeof templates / sizeof *templates)
#define NONE (&templates[0])

const char *const bn_chat_template_names[] = {"auto", "none", "2b-4t", "llama-3", "falcon3", NULL};

/* Published texts, by bn_chat_template_hash. */
static const struct known {
    bn_hash128 hash;
    const char *name;
} known_texts[] = {
    /* microsoft/bitnet-b1.58-2B-4T, tokenizer_config.json */
    {{.high = 0x446318db47e141db, .low = 0x991358c0a79c6ffd}, "2b-4t"},
    /* microsoft/bitnet-b1.58-2B-4T-gguf: the "Human: … BITNETAssistant: " that the converter
     * (convert-ms-to-gguf-bitnet.py) writes and that the model was not trained on */
    {{.high = 0xa8092a5003727ffd, .low = 0x36745d84a2981725}, "2b-4t"},
    /* meta-llama/Meta-Llama-3-8B-Instruct: as released, and with add_generation_prompt */
    {{.high = 0x8f20b9eda669ce10, .low = 0xb97891b7adc1beb8}, "llama-3"},
    {{.high = 0x09facc0e4aa94318, .low = 0x9799ad6e2dea0594}, "llama-3"},
    /* the same, with a default for add_generation_prompt in front */
    {{.high = 0x1c3ab7d0683618d9, .low = 0xf6db71f9f4a22e96}, "llama-3"},
};

const bn_chat_template *bn_chat_template_find(const char *name)
{
    for (size_t i = 0; i < N_TEMPLATES; i++) {
        if (strcmp(templates[i].name, name) == 0) return &templates[i];
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

const bn_chat_template *bn_chat_template_of_hash(bn_hash128 hash)
{
    for (size_t i = 0; i < sizeof known_texts / sizeof *known_texts; i++) {
        if (known_texts[i].hash.low == hash.low && known_texts[i].hash.high == hash.high)
            return bn_chat_template_find(known_texts[i].name);
    }
    return NULL;
}

/* The first marker of the template that the vocabulary lacks; NULL when it has all. */
static const char *missing_marker(const bn_chat_template *chat, const bn_tokenizer *tokenizer)
{
    const char *markers[2 * N_ROLES + 1];
    size_t n = 0;
    for (size_t i = 0; i < N_ROLES; i++) {
        markers[n++] = chat->openings[i].marker;
        markers[n++] = chat->openings[i].marker_after;
    }
    markers[n++] = chat->end_marker;
    for (size_t i = 0; i < n; i++) {
        if (markers[i] != NULL && bn_tokenizer_find(tokenizer, markers[i]) == BN_TOKEN_NONE)
            return markers[i];
    }
    return NULL;
}

const bn_chat_template *bn_chat_template_detect(const bn_gguf *file, const bn_tokenizer *tokenizer)
{
    bn_status status = BN_OK;
    bn_gguf_string text;
    bn_hash128 hash;
    /* What fails here has been reported where it failed, and means a template that is not known. */
    if (!bn_gguf_get_string(file, KEY_TEMPLATE, &text, &status)) return NONE;
    if (bn_chat_template_hash(text.bytes, text.n, &hash) != BN_OK) return NONE;
    const bn_chat_template *chat = bn_chat_template_of_hash(hash);
    if (chat == NULL) {
        char digits[33];
        bn_hash128_text(hash, digits);
        bn_log_warn("CHAT-TEMPLATE",
                    "%s: the text of key " KEY_TEMPLATE " (hash %s) is not one that is known here; "
                    "messages are sent as they are (choose one with --chat-template)",
                    bn_gguf_path(file), digits);
        return NONE;
    }
    const char *missing = missing_marker(chat, tokenizer);
    if (missing != NULL) {
        bn_log_warn("CHAT-TEMPLATE",
                    "%s: the text of key " KEY_TEMPLATE " is the template %s, but the vocabulary "
                    "has no token %s; messages are sent as they are",
                    bn_gguf_path(file), chat->name, missing);
        return NONE;
    }
    return chat;
}

/* One call of _apply. */
typedef struct rendering {
    const bn_chat_template *chat;
    const bn_tokenizer *tokenizer;
    bn_token_list *ids;
    bool is_start; /* nothing but special tokens so far, or one just now */
} rendering;

static bn_status push_marker(rendering *job, const char *text)
{
    if (text == NULL) return BN_OK;
    uint32_t id = bn_tokenizer_find(job->tokenizer, text);
    if (id == BN_TOKEN_NONE)
        return bn_fail(BN_ERR_UNSUPPORTED, "CHAT-TEMPLATE",
                       "the chat template %s needs the token %s, which the model's vocabulary does "
                       "not have; choose another with --chat-template",
                       job->chat->name, text);
    job->is_start = true;
    return bn_token_list_push(job->ids, id);
}

static bn_status push_text(rendering *job, const char *text, size_t n)
{
    if (n == 0) return BN_OK;
    bool is_start = job->is_start;
    job->is_start = false;
    return bn_tokenizer_encode(job->tokenizer, text, n, false, is_start, job->ids);
}

/* Unicode white space at both ends, as the published templates' "trim" does. */
static void trim(const char **text, size_t *n)
{
    size_t begin = *n, end = 0;
    for (size_t at = 0; at < *n;) {
        uint32_t code;
        uint32_t length = bn_unicode_decode(*text + at, *n - at, &code);
        if (!(bn_unicode_classes(code) & BN_UNICODE_SPACE)) {
            if (begin == *n) begin = at;
            end = at + length;
        }
        at += length;
    }
    *text += begin;
    *n = end > begin ? end - begin : 0;
}

static bn_status push_joined(rendering *job, const char *head, const char *text, size_t n,
                             const char *tail)
{
    size_t n_head = strlen(head), n_tail = strlen(tail);
    if (n > BN_TOKENIZER_TEXT_MAX)
        return bn_fail(BN_ERR_LIMIT, "CHAT-TEMPLATE",
                       "a message has %zu bytes; at most %u can be tokenised at once", n,
                       BN_TOKENIZER_TEXT_MAX);
    char *joined = bn_alloc(n_head + n + n_tail + 1, 1);
    if (joined == NULL)
        return bn_fail(BN_ERR_NO_MEMORY, "CHAT-TEMPLATE", "no memory for a message of %zu bytes",
                       n);
    memcpy(joined, head, n_head);
    if (n > 0) memcpy(joined + n_head, text, n);
    memcpy(joined + n_head + n, tail, n_tail);
    bn_status status = push_text(job, joined, n_head + n + n_tail);
    bn_free(joined);
    return status;
}

static bn_status push_opening(rendering *job, const opening *role)
{
    BN_TRY(push_marker(job, role->marker));
    if (role->word != NULL) BN_TRY(push_text(job, role->word, strlen(role->word)));
    return push_marker(job, role->marker_after);
}

static bn_status push_message(rendering *job, const bn_chat_message *message)
{
    BN_ASSERT((unsigned)message->role < N_ROLES);
    const bn_chat_template *chat = job->chat;
    if (!chat->has_turns) return push_text(job, message->text, message->n);

    const opening *role = &chat->openings[message->role];
    const char *text = message->text;
    size_t n = message->n;
    if (chat->trims) trim(&text, &n);
    BN_TRY(push_opening(job, role));
    BN_TRY(push_joined(job, role->head, text, n, chat->tail));
    return push_marker(job, chat->end_marker);
}

static bn_status push_all(rendering *job, const bn_chat_message *messages, size_t n_messages)
{
    uint32_t bos = bn_tokenizer_bos(job->tokenizer);
    bool adds_bos = job->chat->adds_bos || bn_tokenizer_adds_bos(job->tokenizer);
    if (job->is_start && adds_bos && bos != BN_TOKEN_NONE)
        BN_TRY(bn_token_list_push(job->ids, bos));
    for (size_t i = 0; i < n_messages; i++)
        BN_TRY(push_message(job, &messages[i]));
    if (!job->chat->has_turns) return BN_OK;
    const opening *answer = &job->chat->openings[BN_CHAT_ASSISTANT];
    BN_TRY(push_opening(job, answer));
    return push_text(job, answer->head, strlen(answer->head));
}

bn_status bn_chat_template_apply(const bn_chat_template *chat, const bn_tokenizer *tokenizer,
                                 const bn_chat_message *messages, size_t n_messages, bool is_start,
                                 bn_token_list *ids)
{
    rendering job = {.chat = chat, .tokenizer = tokenizer, .ids = ids, .is_start = is_start};
    size_t n_before = ids->n;
    bn_status status = push_all(&job, messages, n_messages);
    if (status != BN_OK) ids->n = n_before;
    return status;
}
