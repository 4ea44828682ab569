/* perplexity.c — a protocol says which tokens a window has and which of them it scores; a few
 * windows run at once, so that every stage has one to work on. */
#include "coordinator/perplexity.h"

#include "common/alloc.h"
#include "common/log.h"
#include "coordinator/lanes.h"
#include "kernels/math.h"

#include <math.h>
#include <string.h>

#define N_LANES (2 * BN_PERPLEXITY_WINDOWS)
#define LLAMA_CONTEXT_MIN 3u /* below it no token is in the scored half */

const char *const bn_perplexity_protocol_names[] = {"ours", "llama", "hf", NULL};

typedef struct window {
    bn_perplexity *owner;
    uint32_t *tokens; /* [context], the last is only scored */
    uint32_t n;       /* tokens */
    uint32_t first;   /* scored one */
    size_t score_at;  /* of it in `scores` */
} window;

struct bn_perplexity {
    bn_setup *setup;
    bn_perplexity_protocol protocol;
    uint32_t context, stride; /* known when it begins */
    uint32_t stride_wanted;
    bn_token_list ids; /* of the text; llama and hf: with BOS in front */
    uint32_t bos;      /* BN_TOKEN_NONE: the model adds none */
    size_t text_at;    /* the first token of the text */
    size_t next;       /* where the next window begins */
    size_t n_planned;  /* tokens that some window has, but for its BOS */
    double *scores;    /* in the order of the text */
    size_t n_scores, n_returned;
    uint64_t n_windows, n_bytes;
    window windows[N_LANES];
};

uint32_t bn_perplexity_context(bn_perplexity_protocol protocol)
{
    return protocol == BN_PERPLEXITY_HF ? 0 : BN_PERPLEXITY_CONTEXT;
}

/* ---- the protocols: each fills tokens, n and first of the next window; false: none is left ----
 */

static bool next_ours(bn_perplexity *m, window *w)
{
    uint32_t has_bos = m->bos != BN_TOKEN_NONE;
    size_t left = m->ids.n - m->next, room = m->context - has_bos;
    if (left + has_bos < 2) return false;
    size_t n_text = left < room ? left : room;
    if (has_bos) w->tokens[0] = m->bos;
    memcpy(w->tokens + has_bos, m->ids.ids + m->next, n_text * sizeof *w->tokens);
    w->n = (uint32_t)n_text + has_bos;
    w->first = 1;
    m->next += n_text;
    return true;
}

static bool next_llama(bn_perplexity *m, window *w)
{
    if (m->ids.n - m->next < m->context) return false;
    memcpy(w->tokens, m->ids.ids + m->next, m->context * sizeof *w->tokens);
    if (m->bos != BN_TOKEN_NONE) w->tokens[0] = m->bos;
    w->n = m->context;
    w->first = m->context / 2 + 1;
    m->next += m->context;
    return true;
}

static bool next_hf(bn_perplexity *m, window *w)
{
    size_t begin = m->next, left = m->ids.n - begin;
    size_t n = left < m->context ? left : m->context;
    size_t first = m->n_planned > begin ? m->n_planned - begin : 1;
    if (first >= n) return false; /* nothing that an earlier one has not scored */
    memcpy(w->tokens, m->ids.ids + begin, n * sizeof *w->tokens);
    w->n = (uint32_t)n;
    w->first = (uint32_t)first;
    m->n_planned = begin + n;
    m->next = m->n_planned == m->ids.n ? m->ids.n : begin + m->stride;
    return true;
}

static bool next_window(bn_perplexity *m, window *w)
{
    switch (m->protocol) {
    case BN_PERPLEXITY_OURS: return next_ours(m, w);
    case BN_PERPLEXITY_LLAMA: return next_llama(m, w);
    case BN_PERPLEXITY_HF: return next_hf(m, w);
    }
    return false;
}

/* ---- scoring --------------------------------------------------------------------------------- */

static bn_status on_position(void *context, const bn_result_position *position,
                             const bn_result *result)
{
    window *w = context;
    float logit = result->exact[position->exact_begin];
    double nll = position->lse - (double)logit;
    if (!(nll - nll == 0.0))
        return bn_fail(BN_ERR_BAD_MESSAGE, "SCORE-FINITE",
                       "the score of position %u is not a finite number", position->position);
    w->owner->scores[w->score_at + position->position + 1 - w->first] = nll;
    w->owner->n_returned++;
    return BN_OK;
}

/* The space that SPM puts in front of a text is not of the text. */
static void count_bytes(bn_perplexity *m, const window *w, size_t begin)
{
    for (uint32_t i = w->first; i < w->n; i++) {
        bool is_start = begin + i == m->text_at;
        m->n_bytes += bn_tokenizer_bytes(m->setup->tokenizer, w->tokens[i], is_start);
    }
}

static bn_status begin_window(void *context, uint32_t lane, bn_dialog **dialog_out)
{
    bn_perplexity *m = context;
    window *w = &m->windows[lane];
    size_t begin = m->next;
    if (!next_window(m, w)) return BN_OK;
    /* In ours BOS stands in front of the window's text, elsewhere it is one of the tokens. */
    if (m->protocol == BN_PERPLEXITY_OURS && m->bos != BN_TOKEN_NONE) begin--;
    w->owner = m;
    w->score_at = m->n_scores;
    m->n_scores += w->n - w->first;
    m->n_windows++;
    count_bytes(m, w, begin);
    bn_request request = {
        .is_scored = true,
        .wants = {.begin = w->first - 1, .targets = w->tokens + 1, .wants_lse = true},
        .on_position = on_position,
        .context = w,
    };
    BN_TRY(bn_generate_open(m->setup->generate, m->context, dialog_out));
    return bn_generate_ask(m->setup->generate, *dialog_out, w->tokens, w->n - 1, &request);
}

static bn_status end_window(void *context, uint32_t lane)
{
    (void)context;
    (void)lane;
    return BN_OK;
}

static uint64_t n_done(const void *context)
{
    const bn_perplexity *m = context;
    return m->n_returned;
}

/* The error that llama-perplexity prints: of the mean, carried over to its exponential. */
static double llama_error(const bn_perplexity *m, double mean, double perplexity)
{
    double squares = 0.0, n = (double)m->n_scores;
    for (size_t i = 0; i < m->n_scores; i++)
        squares += m->scores[i] * m->scores[i];
    double variance = squares / n - mean * mean;
    return variance > 0.0 && m->n_scores > 1 ? sqrt(variance / (n - 1.0)) * perplexity : NAN;
}

static void fill_score(const bn_perplexity *m, bn_perplexity_score *score_out)
{
    double sum = 0.0;
    for (size_t i = 0; i < m->n_scores; i++)
        sum += m->scores[i];
    double mean = sum / (double)m->n_scores, perplexity = bn_exp_f64(mean);
    bool is_llama = m->protocol == BN_PERPLEXITY_LLAMA;
    *score_out = (bn_perplexity_score){
        .n_windows = m->n_windows,
        .n_scored = m->n_scores,
        .n_bytes = m->n_bytes,
        .stride = m->stride,
        .nll_sum = sum,
        .perplexity = perplexity,
        .error = is_llama ? llama_error(m, mean, perplexity) : NAN,
        .bits_per_byte = m->n_bytes > 0 ? sum / bn_log_f64(2.0) / (double)m->n_bytes : NAN,
    };
}

static bn_status measure(bn_perplexity *m, bn_perplexity_score *score_out)
{
    for (uint32_t i = 0; i < N_LANES; i++) {
        m->windows[i].tokens = bn_alloc(m->context, sizeof(uint32_t));
        if (m->windows[i].tokens == NULL)
            return bn_fail(BN_ERR_NO_MEMORY, "SCORE-MEMORY", "no memory for a window");
    }
    m->scores = bn_alloc(m->ids.n, sizeof *m->scores);
    if (m->scores == NULL)
        return bn_fail(BN_ERR_NO_MEMORY, "SCORE-MEMORY", "no memory for %zu scores", m->ids.n);
    size_t half = m->protocol == BN_PERPLEXITY_LLAMA ? 2 : 1;
    bn_lanes_config lanes = {
        .generate = m->setup->generate,
        .n_lanes = N_LANES,
        .label = "scoring",
        .total = m->ids.n / half,
        .begin = begin_window,
        .end = end_window,
        .n_done = n_done,
        .context = m,
    };
    BN_TRY(bn_lanes_run(&lanes));
    fill_score(m, score_out);
    return BN_OK;
}

/* ---- the text ----------------------------------------------------------------------------------
 */

static bn_status tokenise(bn_perplexity *m, const char *text, size_t n_text)
{
    const bn_tokenizer *tokenizer = m->setup->tokenizer;
    if (bn_tokenizer_adds_bos(tokenizer)) m->bos = bn_tokenizer_bos(tokenizer);
    if (m->bos != BN_TOKEN_NONE && m->protocol != BN_PERPLEXITY_OURS) {
        BN_TRY(bn_token_list_push(&m->ids, m->bos));
        m->text_at = 1;
    }
    return bn_tokenizer_encode(tokenizer, text, n_text, false, true, &m->ids);
}

static bn_status check(const bn_perplexity *m)
{
    bool is_llama = m->protocol == BN_PERPLEXITY_LLAMA;
    size_t n = m->ids.n, bos_apart = m->protocol == BN_PERPLEXITY_OURS && m->bos != BN_TOKEN_NONE;
    if (m->stride > m->context)
        return bn_fail(BN_ERR_BAD_ARGUMENT, "SCORE-STRIDE",
                       "a --stride of %u is more than the --context of %u: text would be left out",
                       m->stride, m->context);
    if (n + bos_apart < 2 || m->context < (is_llama ? LLAMA_CONTEXT_MIN : 2))
        return bn_fail(BN_ERR_BAD_ARGUMENT, "SCORE-SHORT",
                       "the text has %zu tokens and the context %u: nothing to score", n,
                       m->context);
    if (is_llama && n < 2 * (size_t)m->context)
        return bn_fail(BN_ERR_BAD_ARGUMENT, "SCORE-SHORT",
                       "the text has %zu tokens; --protocol llama needs two windows of %u at least "
                       "(a longer text, or a smaller --context)",
                       n, m->context);
    return BN_OK;
}

static uint32_t stride_of(const bn_perplexity *m)
{
    if (m->protocol != BN_PERPLEXITY_HF) return 0;
    if (m->stride_wanted != 0) return m->stride_wanted;
    uint32_t half = m->context / 2 > 0 ? m->context / 2 : 1;
    return half < BN_PERPLEXITY_STRIDE ? half : BN_PERPLEXITY_STRIDE;
}

bn_status bn_perplexity_create(bn_setup *setup, const bn_perplexity_config *config,
                               const char *text, size_t n_text, bn_perplexity **perplexity_out)
{
    bn_perplexity *m = bn_alloc(1, sizeof *m);
    if (m == NULL) return bn_fail(BN_ERR_NO_MEMORY, "SCORE-MEMORY", "no memory for scoring");
    *m = (bn_perplexity){
        .setup = setup,
        .protocol = config->protocol,
        .stride_wanted = config->stride,
        .bos = BN_TOKEN_NONE,
    };
    bn_status status = tokenise(m, text, n_text);
    if (status != BN_OK) {
        bn_perplexity_destroy(m);
        return status;
    }
    *perplexity_out = m;
    return BN_OK;
}

void bn_perplexity_destroy(bn_perplexity *m)
{
    if (m == NULL) return;
    for (uint32_t i = 0; i < N_LANES; i++)
        bn_free(m->windows[i].tokens);
    bn_free(m->scores);
    bn_token_list_fini(&m->ids);
    bn_free(m);
}

bn_status bn_perplexity_measure(bn_perplexity *m, bn_perplexity_score *score_out)
{
    m->context = m->setup->context;
    m->stride = stride_of(m);
    BN_TRY(check(m));
    return measure(m, score_out);
}
