/* assignment.c — every count is bounded here before anything is multiplied with it. */
#include "worker/assignment.h"

#include "common/log.h"
#include "kernels/rope.h"
#include "proto/step.h"

#include <inttypes.h>

static bn_status refuse(const char *what, uint64_t value, uint64_t least, uint64_t most)
{
    return bn_fail(BN_ERR_BAD_MESSAGE, "ASSIGN-REFUSED",
                   "assignment refused: %s is %" PRIu64 ", possible are %" PRIu64 " to %" PRIu64,
                   what, value, least, most);
}

static bn_status check_range(const char *what, uint64_t value, uint64_t least, uint64_t most)
{
    return value >= least && value <= most ? BN_OK : refuse(what, value, least, most);
}

static bn_status check_span(const bn_assign *a, const bn_model_config *c)
{
    bool is_first = a->stage == 0, is_last = a->stage + 1 == a->n_stages;
    BN_TRY(check_range("the number of stages", a->n_stages, 1, BN_WIRE_STAGES_MAX));
    BN_TRY(check_range("the stage", a->stage, 0, a->n_stages - 1));
    BN_TRY(check_range("the end of its layers", a->layer_end, 0, c->n_layers));
    BN_TRY(check_range("the first of its layers", a->layer_begin, 0, a->layer_end));
    if (is_first) BN_TRY(check_range("the first layer of the first stage", a->layer_begin, 0, 0));
    if (is_last)
        BN_TRY(check_range("the end of the last stage's layers", a->layer_end, c->n_layers,
                           c->n_layers));
    BN_TRY(check_range("has_embedding", a->has_embedding, is_first, is_first));
    BN_TRY(check_range("has_head", a->has_head, is_last, is_last));
    BN_TRY(check_range("has_previous", a->has_previous, !is_first, !is_first));
    return check_range("has_next", a->has_next, !is_last, !is_last);
}

static bn_status check_limits(const bn_assign *a)
{
    uint64_t context_max =
        BN_CONTEXT_MAX < BN_ROPE_POSITION_MAX ? BN_CONTEXT_MAX : BN_ROPE_POSITION_MAX;
    BN_TRY(check_range("the context", a->context, 1, context_max));
    BN_TRY(check_range("the number of slots", a->slots, 1, BN_SLOTS_MAX));
    if (a->wants_dump) BN_TRY(check_range("the number of slots of a dump", a->slots, 1, 1));
    uint64_t per_slot = ((uint64_t)a->context + BN_KV_PAGE_POSITIONS - 1) / BN_KV_PAGE_POSITIONS;
    BN_TRY(check_range("the number of KV pages", a->kv_pages, 1, per_slot * a->slots));
    BN_TRY(check_range("the tokens of a step", a->step_tokens, 1, BN_STEP_TOKENS_MAX));
    return check_range("the number of steps in flight", a->steps_in_flight, 1,
                       BN_STEPS_IN_FLIGHT_MAX);
}

static bn_status check_fit(const bn_assign *a, const bn_assignment_host *host,
                           const bn_assignment *out)
{
    uint64_t needed = out->bytes.weights + out->bytes.kv + out->bytes.buffers;
    if (needed <= host->memory_bytes) return BN_OK;
    return bn_fail(BN_ERR_LIMIT, "ASSIGN-TOO-LARGE",
                   "stage %" PRIu32 " (layers %" PRIu32 " to %" PRIu32 "%s) needs %" PRIu64
                   " bytes: weights %" PRIu64 ", KV %" PRIu64 " (context %" PRIu32 ", %" PRIu32
                   " pages), buffers %" PRIu64 "; %" PRIu64 " are usable here (%s): %" PRIu64
                   " are missing; use more workers, or a smaller --context or --slots",
                   a->stage, a->layer_begin, a->layer_end, a->has_head ? " and head" : "", needed,
                   out->bytes.weights, out->bytes.kv, a->context, a->kv_pages, out->bytes.buffers,
                   host->memory_bytes, host->limited_by, needed - host->memory_bytes);
}

bn_status bn_assignment_check(const bn_assign *assign, const bn_model *model,
                              const bn_assignment_host *host, bn_assignment *assignment_out)
{
    BN_TRY(check_span(assign, &model->config));
    BN_TRY(check_limits(assign));
    bn_assignment out = {
        .span = {.layer_begin = assign->layer_begin,
                 .layer_end = assign->layer_end,
                 .has_embedding = assign->has_embedding,
                 .has_head = assign->has_head},
        .limits = {.context = assign->context,
                   .slots = assign->slots,
                   .kv_pages = assign->kv_pages,
                   .step_tokens = assign->step_tokens,
                   .steps_in_flight = assign->steps_in_flight,
                   .threads = host->threads},
    };
    bn_model_stage_bytes(model, out.span, &out.limits, &out.bytes);
    BN_TRY(check_fit(assign, host, &out));
    *assignment_out = out;
    return BN_OK;
}
