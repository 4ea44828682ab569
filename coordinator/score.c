/* score.c — read and tokenise all lines, then score several at once. */
#include "coordinator/score.h"

#include "common/alloc.h"
#include "common/log.h"
#include "coordinator/json_lines.h"
#include "coordinator/lanes.h"
#include "coordinator/unicode.h"

#include <string.h>

typedef struct score score;

typedef struct item {
    uint32_t line;
    uint32_t n, n_context; /* tokens: all, those in front */
    size_t token_at;       /* of the first in `ids` */
} item;

typedef struct lane {
    const score *owner;
    const item *of;
    double *logprobs; /* [longest] */
    bool is_greedy;
} lane;

struct score {
    bn_setup *setup;
    const char *path;
    FILE *out;
    item *items;
    uint32_t n_items, capacity;
    bn_token_list ids; /* of all items */
    uint32_t longest;  /* tokens of an item */
    uint32_t next, n_ended;
    uint32_t n_lanes;
    lane lanes[BN_LANES_MAX];
};

/* ---- reading --------------------------------------------------------------------------------- */

/* Where the white space at the end of the text begins. */
static size_t trimmed_length(const char *text, size_t n)
{
    size_t kept = 0;
    for (size_t at = 0; at < n;) {
        uint32_t code;
        at += bn_unicode_decode(text + at, n - at, &code);
        if ((bn_unicode_classes(code) & BN_UNICODE_SPACE) == 0) kept = at;
    }
    return kept;
}

static bn_status push_item(score *s, const item *new)
{
    if (s->n_items == s->capacity) {
        uint32_t capacity = s->capacity == 0 ? 256 : 2 * s->capacity;
        item *grown = bn_realloc(s->items, capacity, sizeof *grown);
        if (grown == NULL)
            return bn_fail(BN_ERR_NO_MEMORY, "SCORE-MEMORY", "no memory for %u lines", capacity);
        s->items = grown;
        s->capacity = capacity;
    }
    s->items[s->n_items++] = *new;
    if (new->n > s->longest) s->longest = new->n;
    return BN_OK;
}

/* What stands in front of everything: BOS, or with nothing else to go on any token that begins a
 * text. */
static bn_status push_front(score *s, const bn_json_lines *lines, bool has_context)
{
    const bn_tokenizer *tokenizer = s->setup->tokenizer;
    uint32_t front = bn_tokenizer_bos(tokenizer);
    if (has_context && !bn_tokenizer_adds_bos(tokenizer)) return BN_OK;
    if (front == BN_TOKEN_NONE) front = bn_tokenizer_eos(tokenizer);
    if (front != BN_TOKEN_NONE) return bn_token_list_push(&s->ids, front);
    return bn_json_lines_fail(lines, "an empty context needs a model with BOS or an end token");
}

/* Encodes the n bytes of `text`, of which n_context are the context. */
static bn_status add_text(score *s, const bn_json_lines *lines, const char *text, size_t n,
                          size_t n_context)
{
    const bn_tokenizer *tokenizer = s->setup->tokenizer;
    item new = {.line = bn_json_lines_number(lines), .token_at = s->ids.n};
    BN_TRY(push_front(s, lines, n_context > 0));
    size_t front = s->ids.n - new.token_at;
    BN_TRY(bn_tokenizer_encode(tokenizer, text, n_context, false, true, &s->ids));
    size_t context = s->ids.n - new.token_at;
    s->ids.n = new.token_at + front;
    BN_TRY(bn_tokenizer_encode(tokenizer, text, n, false, true, &s->ids));
    size_t all = s->ids.n - new.token_at;
    if (all <= context)
        return bn_json_lines_fail(
            lines,
            "the continuation has no token of its own: it melts into the context's last one");
    if (all > BN_CONTEXT_MAX) return bn_json_lines_fail(lines, "too many tokens");
    new.n = (uint32_t)all;
    new.n_context = (uint32_t)context;
    return push_item(s, &new);
}

static bn_status add_line(score *s, const bn_json_lines *lines)
{
    const char *context, *continuation;
    BN_TRY(bn_json_lines_text(lines, "context", &context));
    BN_TRY(bn_json_lines_text(lines, "continuation", &continuation));
    if (continuation[0] == '\0') return bn_json_lines_fail(lines, "the continuation is empty");
    size_t n_before = strlen(context), n_behind = strlen(continuation);
    char *text = bn_alloc(n_before + n_behind + 1, 1);
    if (text == NULL) return bn_fail(BN_ERR_NO_MEMORY, "SCORE-MEMORY", "no memory for a line");
    memcpy(text, context, n_before);
    memcpy(text + n_before, continuation, n_behind);
    bn_status status =
        add_text(s, lines, text, n_before + n_behind, trimmed_length(context, n_before));
    bn_free(text);
    return status;
}

static bn_status read_lines(score *s)
{
    bn_json_lines *lines;
    const bn_json *object = NULL;
    BN_TRY(bn_json_lines_open(s->path, &lines));
    bn_status status = bn_json_lines_next(lines, &object);
    while (status == BN_OK && object != NULL) {
        status = add_line(s, lines);
        if (status == BN_OK) status = bn_json_lines_next(lines, &object);
    }
    bn_json_lines_close(lines);
    if (status != BN_OK || s->n_items > 0) return status;
    return bn_fail(BN_ERR_BAD_FILE, "LINES-FILE", "%s has no lines", s->path);
}

static bn_status check_fit(const score *s)
{
    for (uint32_t i = 0; i < s->n_items; i++)
        if (s->items[i].n - 1 > s->setup->context)
            return bn_fail(BN_ERR_BAD_ARGUMENT, "CONTEXT-SMALL",
                           "%s, line %u: %u tokens do not fit a context of %u (--context)", s->path,
                           s->items[i].line, s->items[i].n, s->setup->context);
    return BN_OK;
}

/* ---- scoring --------------------------------------------------------------------------------- */

static bn_status on_position(void *context, const bn_result_position *position,
                             const bn_result *result)
{
    lane *l = context;
    const item *of = l->of;
    uint32_t target = position->position + 1;
    double logprob = (double)result->exact[position->exact_begin] - position->lse;
    if (!(logprob - logprob == 0.0))
        return bn_fail(BN_ERR_BAD_MESSAGE, "SCORE-FINITE",
                       "the score of position %u is not a finite number", position->position);
    l->logprobs[target - of->n_context] = logprob;
    uint32_t likeliest = result->candidates[position->candidate_begin].id;
    l->is_greedy = l->is_greedy && likeliest == l->owner->ids.ids[of->token_at + target];
    return BN_OK;
}

static bn_status begin_item(void *context, uint32_t index, bn_dialog **dialog_out)
{
    score *s = context;
    lane *l = &s->lanes[index];
    if (s->next == s->n_items) return BN_OK;
    const item *of = &s->items[s->next++];
    const uint32_t *ids = s->ids.ids + of->token_at;
    l->owner = s;
    l->of = of;
    l->is_greedy = true;
    bn_request request = {
        .is_scored = true,
        .wants = {.begin = of->n_context - 1, .n_best = 1, .targets = ids + 1, .wants_lse = true},
        .on_position = on_position,
        .context = l,
    };
    BN_TRY(bn_generate_open(s->setup->generate, of->n - 1, dialog_out));
    return bn_generate_ask(s->setup->generate, *dialog_out, ids, of->n - 1, &request);
}

static bn_status end_item(void *context, uint32_t index)
{
    score *s = context;
    const lane *l = &s->lanes[index];
    uint32_t n = l->of->n - l->of->n_context;
    bn_json *object = bn_json_object(), *logprobs = bn_json_array(), *tokens = bn_json_array();
    double sum = 0.0;
    for (uint32_t i = 0; i < n; i++) {
        sum += l->logprobs[i];
        bn_json_add_double(logprobs, l->logprobs[i]);
        bn_json_add_u64(tokens, s->ids.ids[l->of->token_at + l->of->n_context + i]);
    }
    bn_json_set_u64(object, "line", l->of->line);
    bn_json_set_double(object, "logprob", sum);
    bn_json_set_u64(object, "n_tokens", n);
    bn_json_set_bool(object, "is_greedy", l->is_greedy);
    bn_json_set(object, "logprobs", logprobs);
    bn_json_set(object, "tokens", tokens);
    bn_json_set_u64(object, "n_context_tokens", l->of->n_context);
    bn_status status = bn_json_print(object, s->out, 0);
    bn_json_free(object);
    s->n_ended++;
    return status;
}

static uint64_t n_done(const void *context)
{
    const score *s = context;
    return s->n_ended;
}

static bn_status run(score *s)
{
    uint32_t slots = bn_setup_slots_for(s->setup, s->n_items, BN_SCORE_SLOTS);
    BN_TRY(bn_setup_start(s->setup, slots, s->longest));
    BN_TRY(check_fit(s));
    s->n_lanes = bn_lanes_for(slots);
    for (uint32_t i = 0; i < s->n_lanes; i++) {
        s->lanes[i].logprobs = bn_alloc(s->longest, sizeof(double));
        if (s->lanes[i].logprobs == NULL)
            return bn_fail(BN_ERR_NO_MEMORY, "SCORE-MEMORY", "no memory for %u lanes", s->n_lanes);
    }
    bn_lanes_config lanes = {
        .generate = s->setup->generate,
        .n_lanes = s->n_lanes,
        .label = "scoring",
        .total = s->n_items,
        .begin = begin_item,
        .end = end_item,
        .n_done = n_done,
        .context = s,
    };
    BN_TRY(bn_lanes_run(&lanes));
    return bn_setup_finish(s->setup);
}

bn_status bn_score_file(bn_setup *setup, const char *path, FILE *out)
{
    score *s = bn_alloc(1, sizeof *s);
    if (s == NULL) return bn_fail(BN_ERR_NO_MEMORY, "SCORE-MEMORY", "no memory for scoring");
    *s = (score){.setup = setup, .path = path, .out = out};
    bn_status status = read_lines(s);
    if (status == BN_OK) status = run(s);
    for (uint32_t i = 0; i < BN_LANES_MAX; i++)
        bn_free(s->lanes[i].logprobs);
    bn_free(s->items);
    bn_token_list_fini(&s->ids);
    bn_free(s);
    return status;
}
