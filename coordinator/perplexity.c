/* perplexity.c — a few windows at once, so that every stage has one to work on. */
#include "coordinator/perplexity.h"

#include "common/alloc.h"
#include "common/log.h"
#include "common/progress.h"
#include "coordinator/interrupt.h"
#include "kernels/math.h"

#include <string.h>

#define PUMP_MS 200u

typedef struct measurement measurement;

typedef struct window {
    measurement *owner;
    bn_dialog *dialog; /* NULL: unused */
    uint32_t *tokens;  /* BOS and text */
    uint32_t n;        /* tokens, the last is only scored */
    size_t score_at;   /* of its first scored token in `scores` */
} window;

struct measurement {
    bn_setup *setup;
    const uint32_t *tokens;
    size_t n_tokens, next; /* of the text; the next not in a window */
    uint32_t bos;          /* BN_TOKEN_NONE: none */
    double *scores;
    size_t n_scores, n_done;
    uint64_t n_windows;
    window windows[BN_PERPLEXITY_WINDOWS];
};

static bn_status on_position(void *context, const bn_result_position *position,
                             const bn_result *result)
{
    window *w = context;
    float logit = result->exact[position->exact_begin];
    double nll = position->lse - (double)logit;
    if (!(nll - nll == 0.0))
        return bn_fail(BN_ERR_BAD_MESSAGE, "SCORE-FINITE",
                       "the score of position %u is not a finite number", position->position);
    w->owner->scores[w->score_at + position->position] = nll;
    w->owner->n_done++;
    return BN_OK;
}

/* Fills and starts the next window of the text; leaves it unused when nothing is left to score. */
static bn_status begin_window(measurement *m, window *w)
{
    uint32_t context = m->setup->context, has_bos = m->bos != BN_TOKEN_NONE;
    size_t left = m->n_tokens - m->next;
    if (left + has_bos < 2) return BN_OK;
    uint32_t n_text = left < context - has_bos ? (uint32_t)left : context - has_bos;
    if (has_bos) w->tokens[0] = m->bos;
    memcpy(w->tokens + has_bos, m->tokens + m->next, n_text * sizeof *w->tokens);
    w->owner = m;
    w->n = n_text + has_bos;
    w->score_at = m->n_scores;
    m->next += n_text;
    m->n_scores += w->n - 1;
    m->n_windows++;
    bn_request request = {
        .is_scored = true,
        .wants = {.targets = w->tokens + 1, .wants_lse = true},
        .on_position = on_position,
        .context = w,
    };
    BN_TRY(bn_generate_open(m->setup->generate, context, &w->dialog));
    return bn_generate_ask(m->setup->generate, w->dialog, w->tokens, w->n - 1, &request);
}

static bn_status run_windows(measurement *m)
{
    bn_progress progress;
    bn_progress_begin(&progress, "scoring", m->n_tokens);
    bn_status status = BN_OK;
    for (bool is_busy = true; is_busy && status == BN_OK;) {
        is_busy = false;
        for (uint32_t i = 0; i < BN_PERPLEXITY_WINDOWS && status == BN_OK; i++) {
            window *w = &m->windows[i];
            if (w->dialog != NULL && bn_dialog_answer(w->dialog)->finish == BN_FINISH_SCORED) {
                bn_generate_close(m->setup->generate, w->dialog);
                w->dialog = NULL;
            }
            if (w->dialog == NULL) status = begin_window(m, w);
            is_busy = is_busy || w->dialog != NULL;
        }
        if (status == BN_OK && is_busy)
            status = bn_generate_pump(m->setup->generate, NULL, 0, PUMP_MS, NULL);
        if (status == BN_OK && bn_interrupt_count() > 0) status = BN_ERR_INTERRUPTED;
        bn_progress_update(&progress, m->n_done);
    }
    bn_progress_end(&progress);
    return status;
}

static bn_status measure(measurement *m, bn_perplexity_score *score_out)
{
    for (uint32_t i = 0; i < BN_PERPLEXITY_WINDOWS; i++) {
        m->windows[i].tokens = bn_alloc(m->setup->context, sizeof(uint32_t));
        if (m->windows[i].tokens == NULL)
            return bn_fail(BN_ERR_NO_MEMORY, "SCORE-MEMORY", "no memory for a window");
    }
    m->scores = bn_alloc(m->n_tokens, sizeof *m->scores);
    if (m->scores == NULL)
        return bn_fail(BN_ERR_NO_MEMORY, "SCORE-MEMORY", "no memory for %zu scores", m->n_tokens);
    BN_TRY(run_windows(m));
    double sum = 0.0;
    for (size_t i = 0; i < m->n_scores; i++)
        sum += m->scores[i];
    *score_out = (bn_perplexity_score){
        .n_windows = m->n_windows,
        .n_scored = m->n_scores,
        .nll_sum = sum,
        .perplexity = bn_exp_f64(sum / (double)m->n_scores),
    };
    return BN_OK;
}

bn_status bn_perplexity_measure(bn_setup *setup, const uint32_t *tokens, size_t n,
                                bn_perplexity_score *score_out)
{
    uint32_t bos = BN_TOKEN_NONE;
    if (bn_tokenizer_adds_bos(setup->tokenizer)) bos = bn_tokenizer_bos(setup->tokenizer);
    if (n + (bos != BN_TOKEN_NONE) < 2 || setup->context < 2)
        return bn_fail(BN_ERR_BAD_ARGUMENT, "SCORE-SHORT",
                       "the text has %zu tokens and the context %u: nothing to score", n,
                       setup->context);
    measurement *m = bn_alloc(1, sizeof *m);
    if (m == NULL) return bn_fail(BN_ERR_NO_MEMORY, "SCORE-MEMORY", "no memory for scoring");
    *m = (measurement){.setup = setup, .tokens = tokens, .n_tokens = n, .bos = bos};
    bn_status status = measure(m, score_out);
    for (uint32_t i = 0; i < BN_PERPLEXITY_WINDOWS; i++) {
        bn_generate_close(setup->generate, m->windows[i].dialog);
        bn_free(m->windows[i].tokens);
    }
    bn_free(m->scores);
    bn_free(m);
    return status;
}
