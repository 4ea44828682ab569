/* questions.c — read and tokenise all lines, then answer several at once. */
#include "coordinator/questions.h"

#include "common/alloc.h"
#include "common/log.h"
#include "coordinator/json_lines.h"
#include "coordinator/lanes.h"
#include "coordinator/unicode.h"

#include <string.h>

typedef struct item {
    uint32_t line;
    uint32_t n_prompt, n_max;
    size_t token_at; /* of the prompt's first in `ids` */
    char *prompt, *due;
} item;

typedef struct lane {
    const item *of;
    char *said;
    size_t n_said, capacity;
} lane;

typedef struct questions {
    bn_setup *setup;
    const bn_questions_config *config;
    item *items;
    uint32_t n_items, capacity;
    bn_token_list ids; /* of all prompts */
    uint32_t longest;  /* prompt and answer */
    uint32_t next;
    bn_questions_count count;
    lane lanes[BN_LANES_MAX];
} questions;

/* ---- reading --------------------------------------------------------------------------------- */

/* Cuts white space at both ends: moves *text_out, returns the length. */
static size_t trim(const char **text_out, size_t n)
{
    const char *text = *text_out;
    size_t begin = n, end = 0;
    for (size_t at = 0; at < n;) {
        uint32_t code;
        uint32_t length = bn_unicode_decode(text + at, n - at, &code);
        bool is_space = (bn_unicode_classes(code) & BN_UNICODE_SPACE) != 0;
        if (!is_space && begin == n) begin = at;
        at += length;
        if (!is_space) end = at;
    }
    *text_out = text + begin;
    return end > begin ? end - begin : 0;
}

static bn_status push_item(questions *q, const item *new)
{
    if (q->n_items == q->capacity) {
        uint32_t capacity = q->capacity == 0 ? 256 : 2 * q->capacity;
        item *grown = bn_realloc(q->items, capacity, sizeof *grown);
        if (grown == NULL)
            return bn_fail(BN_ERR_NO_MEMORY, "QUESTIONS-MEMORY", "no memory for %u lines",
                           capacity);
        q->items = grown;
        q->capacity = capacity;
    }
    q->items[q->n_items++] = *new;
    return BN_OK;
}

static bn_status tokenise_prompt(questions *q, const char *prompt)
{
    const bn_setup *setup = q->setup;
    bn_chat_message message = {.role = BN_CHAT_USER, .text = prompt, .n = strlen(prompt)};
    if (q->config->is_chat)
        return bn_chat_template_apply(setup->chat, setup->tokenizer, &message, 1, &q->ids);
    if (bn_tokenizer_adds_bos(setup->tokenizer))
        BN_TRY(bn_token_list_push(&q->ids, bn_tokenizer_bos(setup->tokenizer)));
    return bn_tokenizer_encode(setup->tokenizer, prompt, message.n, false, true, &q->ids);
}

static bn_status tokenise(questions *q, const bn_json_lines *lines, item *of)
{
    of->token_at = q->ids.n;
    BN_TRY(tokenise_prompt(q, of->prompt));
    size_t n = q->ids.n - of->token_at;
    if (n == 0) return bn_json_lines_fail(lines, "the prompt has no tokens");
    if (n + of->n_max > BN_CONTEXT_MAX) return bn_json_lines_fail(lines, "too many tokens");
    of->n_prompt = (uint32_t)n;
    if (of->n_prompt + of->n_max > q->longest) q->longest = of->n_prompt + of->n_max;
    return BN_OK;
}

static bn_status add_line(questions *q, const bn_json_lines *lines)
{
    const char *prompt, *due;
    item new = {.line = bn_json_lines_number(lines), .n_max = q->config->n_tokens};
    BN_TRY(bn_json_lines_text(lines, "prompt", &prompt));
    BN_TRY(bn_json_lines_text(lines, "answer", &due));
    BN_TRY(bn_json_lines_u32(lines, "max_tokens", 1, BN_QUESTIONS_TOKENS_MAX, &new.n_max));
    size_t n_due = trim(&due, strlen(due));
    new.prompt = bn_strdup(prompt);
    new.due = bn_alloc(n_due + 1, 1);
    bn_status status = BN_OK;
    if (new.prompt == NULL || new.due == NULL)
        status = bn_fail(BN_ERR_NO_MEMORY, "QUESTIONS-MEMORY", "no memory for a line");
    if (status == BN_OK) memcpy(new.due, due, n_due);
    if (status == BN_OK) status = tokenise(q, lines, &new);
    if (status == BN_OK) status = push_item(q, &new);
    if (status == BN_OK) return BN_OK;
    bn_free(new.prompt);
    bn_free(new.due);
    return status;
}

static bn_status read_lines(questions *q)
{
    bn_json_lines *lines;
    const bn_json *object = NULL;
    BN_TRY(bn_json_lines_open(q->config->path, &lines));
    bn_status status = bn_json_lines_next(lines, &object);
    while (status == BN_OK && object != NULL) {
        status = add_line(q, lines);
        if (status == BN_OK) status = bn_json_lines_next(lines, &object);
    }
    bn_json_lines_close(lines);
    if (status != BN_OK || q->n_items > 0) return status;
    return bn_fail(BN_ERR_BAD_FILE, "LINES-FILE", "%s has no lines", q->config->path);
}

static bn_status check_fit(const questions *q)
{
    for (uint32_t i = 0; i < q->n_items; i++) {
        const item *of = &q->items[i];
        if (of->n_prompt + of->n_max > q->setup->context)
            return bn_fail(BN_ERR_BAD_ARGUMENT, "CONTEXT-SMALL",
                           "%s, line %u: %u tokens and %u of an answer do not fit a context of %u "
                           "(--context, --n-tokens)",
                           q->config->path, of->line, of->n_prompt, of->n_max, q->setup->context);
    }
    return BN_OK;
}

/* ---- asking ---------------------------------------------------------------------------------- */

static bn_status on_text(void *context, const char *text, size_t n)
{
    lane *l = context;
    size_t room = BN_QUESTIONS_ANSWER_BYTES - l->n_said;
    if (n > room) n = room;
    if (l->n_said + n + 1 > l->capacity) {
        size_t capacity = 2 * (l->n_said + n + 1);
        char *grown = bn_realloc(l->said, capacity, 1);
        if (grown == NULL)
            return bn_fail(BN_ERR_NO_MEMORY, "QUESTIONS-MEMORY", "no memory for an answer");
        l->said = grown;
        l->capacity = capacity;
    }
    memcpy(l->said + l->n_said, text, n);
    l->n_said += n;
    l->said[l->n_said] = '\0';
    return BN_OK;
}

static bn_status begin_item(void *context, uint32_t index, bn_dialog **dialog_out)
{
    questions *q = context;
    lane *l = &q->lanes[index];
    if (q->next == q->n_items) return BN_OK;
    const item *of = &q->items[q->next++];
    l->of = of;
    l->n_said = 0;
    bn_request request = {
        .n_max = of->n_max,
        .stops = q->config->stops,
        .n_stops = q->config->n_stops,
        .on_text = on_text,
        .context = l,
    };
    bn_sampler_config_init(&request.sampler);
    request.sampler.temperature = 0.0f;
    BN_TRY(on_text(l, "", 0));
    BN_TRY(bn_generate_open(q->setup->generate, of->n_prompt + of->n_max, dialog_out));
    return bn_generate_ask(q->setup->generate, *dialog_out, q->ids.ids + of->token_at, of->n_prompt,
                           &request);
}

static bn_status end_item(void *context, uint32_t index)
{
    questions *q = context;
    lane *l = &q->lanes[index];
    const char *said = l->said;
    size_t n_said = trim(&said, l->n_said);
    l->said[(size_t)(said - l->said) + n_said] = '\0';
    bn_questions_answer answer = {
        .line = l->of->line,
        .prompt = l->of->prompt,
        .due = l->of->due,
        .said = said,
        .is_right = strlen(l->of->due) == n_said && memcmp(said, l->of->due, n_said) == 0,
    };
    q->count.n++;
    q->count.n_right += answer.is_right;
    return q->config->on_answer(q->config->context, &answer);
}

static uint64_t n_done(const void *context)
{
    const questions *q = context;
    return q->count.n;
}

static bn_status run(questions *q)
{
    uint32_t slots = bn_setup_slots_for(q->setup, q->n_items, BN_QUESTIONS_SLOTS);
    BN_TRY(bn_setup_start(q->setup, slots, q->longest));
    BN_TRY(check_fit(q));
    bn_lanes_config lanes = {
        .generate = q->setup->generate,
        .n_lanes = bn_lanes_for(slots),
        .label = "answering",
        .total = q->n_items,
        .begin = begin_item,
        .end = end_item,
        .n_done = n_done,
        .context = q,
    };
    BN_TRY(bn_lanes_run(&lanes));
    return bn_setup_finish(q->setup);
}

bn_status bn_questions_ask(bn_setup *setup, const bn_questions_config *config,
                           bn_questions_count *count_out)
{
    questions *q = bn_alloc(1, sizeof *q);
    if (q == NULL) return bn_fail(BN_ERR_NO_MEMORY, "QUESTIONS-MEMORY", "no memory for questions");
    *q = (questions){.setup = setup, .config = config};
    bn_status status = config->is_chat ? bn_setup_chat(setup) : BN_OK;
    if (status == BN_OK) status = read_lines(q);
    if (status == BN_OK) status = run(q);
    if (status == BN_OK) *count_out = q->count;
    for (uint32_t i = 0; i < BN_LANES_MAX; i++)
        bn_free(q->lanes[i].said);
    for (uint32_t i = 0; i < q->n_items; i++) {
        bn_free(q->items[i].prompt);
        bn_free(q->items[i].due);
    }
    bn_free(q->items);
    bn_token_list_fini(&q->ids);
    bn_free(q);
    return status;
}
