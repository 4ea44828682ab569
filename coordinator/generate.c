/* generate.c — the loop around scheduler, cluster and sampler.
 *
 * The last token drawn is in the log but not computed: it goes into a step only when the answer
 * (or the next question) goes on. So nothing is ever computed that the log does not hold.
 */
#include "coordinator/generate.h"

#include "common/alloc.h"
#include "common/clock.h"
#include "common/log.h"

#include <string.h>

#define DRAIN_POLL_MS 50u

struct bn_dialog {
    bn_sequence *sequence;
    bn_request request;
    bn_answer answer;
    bn_detokenizer detokenizer;
    bn_stop_strings stops;
    uint32_t asked_at; /* n_tokens before the question */
    uint32_t drawn;    /* from all logits, until the result comes */
    bool has_drawn;
    char text[2 * (BN_TOKEN_PIECE_MAX + 8) + BN_STOP_STRING_BYTES_MAX];
    char piece[BN_TOKEN_PIECE_MAX + 8];
};

struct bn_generate {
    bn_generate_config config;
    bn_scheduler *scheduler;
    bn_sampler *sampler;
    bool is_draining;
    bn_step step;
};

static bn_status on_result(void *context, const bn_result *result);
static bn_status on_logits(void *context, const bn_logits *logits, const float *values);

bn_status bn_generate_create(const bn_generate_config *config, bn_generate **generate_out)
{
    const bn_formation *formation = bn_cluster_formation(config->cluster);
    const bn_stage_limits *limits = &formation->limits;
    bn_generate *generate = bn_alloc(1, sizeof *generate);
    if (generate == NULL)
        return bn_fail(BN_ERR_NO_MEMORY, "GENERATE-MEMORY", "no memory for the engine");
    generate->config = *config;
    bn_scheduler_config scheduler_config = {
        .n_stages = formation->n_stages,
        .slots = limits->slots,
        .kv_pages = limits->kv_pages,
        .step_tokens = limits->step_tokens,
        .prefill_chunk = config->prefill_chunk,
        .steps_in_flight = limits->steps_in_flight,
        .vocab = config->vocab,
    };
    bn_status status = bn_scheduler_create(&scheduler_config, &generate->scheduler);
    if (status != BN_OK) goto err_free;
    status = bn_sampler_create(config->vocab, &generate->sampler);
    if (status != BN_OK) goto err_scheduler;
    bn_cluster_events events = {
        .on_result = on_result, .on_logits = on_logits, .context = generate};
    bn_cluster_set_events(config->cluster, &events);
    *generate_out = generate;
    return BN_OK;

err_scheduler:
    bn_scheduler_destroy(generate->scheduler);
err_free:
    bn_free(generate);
    return status;
}

void bn_generate_destroy(bn_generate *generate)
{
    if (generate == NULL) return;
    bn_sampler_destroy(generate->sampler);
    bn_scheduler_destroy(generate->scheduler);
    bn_free(generate);
}

bn_scheduler *bn_generate_scheduler(bn_generate *generate)
{
    return generate->scheduler;
}

const bn_answer *bn_dialog_answer(const bn_dialog *dialog)
{
    return &dialog->answer;
}

const bn_sequence *bn_dialog_sequence(const bn_dialog *dialog)
{
    return dialog->sequence;
}

bn_status bn_generate_open(bn_generate *generate, uint32_t tokens_max, bn_dialog **dialog_out)
{
    bn_dialog *dialog = bn_alloc(1, sizeof *dialog);
    if (dialog == NULL)
        return bn_fail(BN_ERR_NO_MEMORY, "GENERATE-MEMORY", "no memory for a dialog");
    bn_status status = bn_sequence_create(tokens_max, dialog, &dialog->sequence);
    if (status != BN_OK) goto err_free;
    status = bn_scheduler_add(generate->scheduler, dialog->sequence);
    if (status != BN_OK) goto err_sequence;
    bn_scheduler_pause(generate->scheduler, dialog->sequence);
    dialog->answer.finish = BN_FINISH_CANCELLED;
    *dialog_out = dialog;
    return BN_OK;

err_sequence:
    bn_sequence_destroy(dialog->sequence);
err_free:
    bn_free(dialog);
    return status;
}

void bn_generate_close(bn_generate *generate, bn_dialog *dialog)
{
    if (dialog == NULL) return;
    /* A failed cluster gives no results back: then the scheduler is not used any more either. */
    if (bn_generate_cancel(generate, dialog) == BN_OK)
        bn_scheduler_remove(generate->scheduler, dialog->sequence);
    else
        bn_scheduler_forget(generate->scheduler, dialog->sequence);
    bn_dialog_destroy(dialog);
}

void bn_dialog_destroy(bn_dialog *dialog)
{
    if (dialog == NULL) return;
    bn_sequence_destroy(dialog->sequence);
    bn_free(dialog);
}

bn_status bn_generate_ask(bn_generate *generate, bn_dialog *dialog, const uint32_t *tokens,
                          uint32_t n, const bn_request *request)
{
    bn_sequence *sequence = dialog->sequence;
    BN_ASSERT(n > 0 && dialog->answer.finish != BN_FINISH_NOT_YET);
    for (uint32_t i = 0; i < n; i++)
        if (tokens[i] >= generate->config.vocab)
            return bn_fail(BN_ERR_BAD_ARGUMENT, "TOKEN-RANGE",
                           "token %u is not in the vocabulary of %u", tokens[i],
                           generate->config.vocab);
    if (!request->is_scored && sequence->tokens_max - sequence->n_tokens <= n)
        return bn_fail(BN_ERR_LIMIT, "CONTEXT-FULL",
                       "%u tokens behind %u leave no room for an answer in a context of %u "
                       "(--context)",
                       n, sequence->n_tokens, sequence->tokens_max);
    BN_TRY(bn_stop_strings_init(&dialog->stops, request->stops, request->n_stops));
    dialog->asked_at = sequence->n_tokens;
    BN_TRY(bn_sequence_append(sequence, tokens, n));
    dialog->request = *request;
    dialog->has_drawn = false;
    dialog->answer = (bn_answer){.n_prompt = n, .began_ns = bn_clock_ns()};
    if (generate->config.tokenizer != NULL) {
        bn_detokenizer_init(&dialog->detokenizer, generate->config.tokenizer, false);
        dialog->detokenizer.is_start = false; /* the answer goes on from the prompt */
    }
    sequence->n_prompt = sequence->n_tokens;
    if (request->is_scored)
        sequence->wants = request->wants;
    else
        bn_sampler_wants(generate->sampler, &request->sampler, sequence->tokens, sequence->n_tokens,
                         &sequence->wants);
    bn_scheduler_resume(generate->scheduler, sequence);
    return BN_OK;
}

static bn_status emit(bn_dialog *dialog, const char *bytes, size_t n)
{
    const bn_request *request = &dialog->request;
    size_t n_text = bn_stop_strings_push(&dialog->stops, bytes, n, dialog->text);
    if (n_text == 0 || request->on_text == NULL) return BN_OK;
    return request->on_text(request->context, dialog->text, n_text);
}

static bn_status finish(bn_generate *generate, bn_dialog *dialog, bn_finish how)
{
    const bn_request *request = &dialog->request;
    dialog->answer.finish = how;
    dialog->answer.last_ns = bn_clock_ns();
    bn_scheduler_pause(generate->scheduler, dialog->sequence);
    if (generate->config.tokenizer == NULL || request->is_scored) return BN_OK;
    if (how == BN_FINISH_STOP_STRING) return BN_OK;
    BN_TRY(emit(dialog, dialog->piece, bn_detokenizer_flush(&dialog->detokenizer, dialog->piece)));
    size_t n = bn_stop_strings_flush(&dialog->stops, dialog->text);
    if (n == 0 || request->on_text == NULL) return BN_OK;
    return request->on_text(request->context, dialog->text, n);
}

/* Appends the token, hands it out, and decides whether the answer goes on. */
static bn_status take_token(bn_generate *generate, bn_dialog *dialog, uint32_t token)
{
    const bn_request *request = &dialog->request;
    const bn_tokenizer *tokenizer = generate->config.tokenizer;
    bn_sequence *sequence = dialog->sequence;
    bn_answer *answer = &dialog->answer;
    answer->last_ns = bn_clock_ns();
    if (answer->n_made++ == 0) answer->first_ns = answer->last_ns;
    if (request->on_token != NULL) BN_TRY(request->on_token(request->context, token));
    BN_TRY(bn_sequence_append(sequence, &token, 1));
    if (tokenizer != NULL && !request->ignores_stop_tokens &&
        bn_tokenizer_is_stop(tokenizer, token))
        return finish(generate, dialog, BN_FINISH_STOP_TOKEN);
    if (tokenizer != NULL) {
        size_t n = bn_detokenizer_push(&dialog->detokenizer, token, dialog->piece);
        BN_TRY(emit(dialog, dialog->piece, n));
    }
    if (dialog->stops.is_stopped) return finish(generate, dialog, BN_FINISH_STOP_STRING);
    if (request->n_max != 0 && answer->n_made == request->n_max)
        return finish(generate, dialog, BN_FINISH_LENGTH);
    if (sequence->n_tokens == sequence->tokens_max)
        return finish(generate, dialog, BN_FINISH_CONTEXT);
    bn_sampler_wants(generate->sampler, &request->sampler, sequence->tokens, sequence->n_tokens,
                     &sequence->wants);
    return BN_OK;
}

static bn_status on_position(void *context, bn_sequence *sequence,
                             const bn_result_position *position, const bn_result *result)
{
    bn_generate *generate = context;
    bn_dialog *dialog = sequence->owner;
    const bn_request *request = &dialog->request;
    if (dialog->answer.finish != BN_FINISH_NOT_YET) return BN_OK; /* cancelled */
    if (position->is_void)
        return bn_fail(BN_ERR_BAD_MESSAGE, "RESULT-VOID",
                       "a stage left out position %u that nobody aborted", position->position);
    if (request->is_scored) {
        if (dialog->answer.first_ns == 0) dialog->answer.first_ns = bn_clock_ns();
        if (request->on_position != NULL)
            BN_TRY(request->on_position(request->context, position, result));
        bool is_last = position->position + 1 == sequence->n_prompt;
        return is_last ? finish(generate, dialog, BN_FINISH_SCORED) : BN_OK;
    }
    uint32_t token = dialog->drawn;
    if (position->has_all && !dialog->has_drawn)
        return bn_fail(BN_ERR_BAD_MESSAGE, "LOGITS-MISSING",
                       "the logits of position %u did not come before their result",
                       position->position);
    if (!position->has_all)
        BN_TRY(bn_sampler_draw(generate->sampler, &request->sampler, sequence->tokens,
                               sequence->n_tokens, &result->candidates[position->candidate_begin],
                               position->n_candidates, &result->exact[position->exact_begin],
                               position->n_exact, &token));
    dialog->has_drawn = false;
    return take_token(generate, dialog, token);
}

static bn_status on_result(void *context, const bn_result *result)
{
    bn_generate *generate = context;
    return bn_scheduler_result(generate->scheduler, result, on_position, generate);
}

static bn_status on_logits(void *context, const bn_logits *logits, const float *values)
{
    bn_generate *generate = context;
    bn_sequence *sequence =
        bn_scheduler_sequence_of(generate->scheduler, logits->step_id, logits->entry);
    if (sequence == NULL || logits->position >= sequence->n_scheduled)
        return bn_fail(BN_ERR_BAD_MESSAGE, "LOGITS-UNKNOWN",
                       "logits came for entry %u of step %llu, which nobody asked for",
                       logits->entry, (unsigned long long)logits->step_id);
    bn_dialog *dialog = sequence->owner;
    const bn_request *request = &dialog->request;
    if (dialog->answer.finish != BN_FINISH_NOT_YET) return BN_OK;
    if (request->is_scored)
        return request->on_logits == NULL
                   ? BN_OK
                   : request->on_logits(request->context, logits->position, values);
    BN_TRY(bn_sampler_draw_all(generate->sampler, &request->sampler, sequence->tokens,
                               sequence->n_tokens, values, &dialog->drawn));
    dialog->has_drawn = true;
    return BN_OK;
}

static bn_status send_ready(bn_generate *generate)
{
    while (!generate->is_draining && bn_scheduler_next(generate->scheduler, &generate->step))
        BN_TRY(bn_cluster_send(generate->config.cluster, &generate->step));
    return BN_OK;
}

bn_status bn_generate_pump(bn_generate *generate, const int *fds, uint32_t n_fds,
                           uint32_t timeout_ms, uint32_t *ready_out)
{
    BN_TRY(send_ready(generate));
    BN_TRY(bn_cluster_poll(generate->config.cluster, fds, n_fds, timeout_ms, ready_out));
    BN_TRY(send_ready(generate));
    if (bn_scheduler_in_flight(generate->scheduler) > 0) return BN_OK;
    return bn_cluster_rest(generate->config.cluster);
}

bn_status bn_generate_cancel(bn_generate *generate, bn_dialog *dialog)
{
    bn_sequence *sequence = dialog->sequence;
    bool was_running = dialog->answer.finish == BN_FINISH_NOT_YET;
    uint32_t n_computed = sequence->n_returned;
    if (was_running) {
        dialog->answer.finish = BN_FINISH_CANCELLED;
        dialog->answer.last_ns = bn_clock_ns();
    }
    bn_scheduler_pause(generate->scheduler, sequence);
    if (sequence->steps_in_flight > 0)
        BN_TRY(bn_cluster_abort(generate->config.cluster, sequence->slot,
                                bn_scheduler_last_step(generate->scheduler)));
    while (sequence->steps_in_flight > 0)
        BN_TRY(bn_generate_pump(generate, NULL, 0, DRAIN_POLL_MS, NULL));
    if (!was_running) return BN_OK;
    /* What was in flight may have been left out by a stage: it counts as not computed. */
    uint32_t n_tokens = n_computed < sequence->n_prompt ? dialog->asked_at : sequence->n_tokens;
    if (n_computed > n_tokens) n_computed = n_tokens;
    bn_scheduler_rewind(generate->scheduler, sequence, n_computed, n_tokens);
    return BN_OK;
}

bn_status bn_generate_drain(bn_generate *generate, uint32_t timeout_ms)
{
    uint64_t deadline_ms = bn_clock_ms() + timeout_ms;
    bn_status status = BN_OK;
    generate->is_draining = true;
    while (status == BN_OK && bn_scheduler_in_flight(generate->scheduler) > 0) {
        status = bn_generate_pump(generate, NULL, 0, DRAIN_POLL_MS, NULL);
        if (status == BN_OK && bn_clock_ms() >= deadline_ms) status = BN_ERR_TIMED_OUT;
    }
    generate->is_draining = false;
    if (status != BN_OK) return status;
    return bn_cluster_rest(generate->config.cluster);
}
