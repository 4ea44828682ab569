/* forward.c — reads from top to bottom like the paper: bn_forward_run, then run_layer.
 *
 * Void entries (after an abort) take part in the bookkeeping, so that every stage's cache agrees,
 * and in nothing else: their rows are left out of the batch.
 */
#include "worker/forward.h"

#include "common/alloc.h"
#include "common/clock.h"
#include "common/log.h"
#include "model/stage_bytes.h"
#include "proto/wire.h"
#include "worker/reserve.h"

#include <inttypes.h>
#include <string.h>

struct bn_forward {
    bn_forward_config config;
    bn_device *device;
    const bn_device_ops *ops;
    bn_stage_span span;

    bn_device_buffer *q, *k, *v, *attention;
    bn_device_buffer *gate, *up;
    bn_device_buffer *projected;

    /* The live tokens of the step, row by row. */
    bn_device_batch batch;
    uint32_t *tokens, *slots, *positions;
    uint32_t *rows; /* where each one's activations stand in the step */

    bn_device_head_row head_rows[BN_STAGE_LOGITS_TOKENS];
    uint32_t head_entries[BN_STAGE_LOGITS_TOKENS]; /* the entry of each */
    uint32_t head_results[BN_STAGE_LOGITS_TOKENS]; /* its position in the result */
    uint32_t n_head_rows;
    uint64_t head_ns;
};

static bn_status take(bn_forward *f, size_t n_tokens, size_t n_floats, bn_device_buffer **out)
{
    return f->ops->take(f->device, n_tokens * n_floats, out);
}

static bn_status take_layer_buffers(bn_forward *f)
{
    const bn_model_config *c = f->config.model;
    size_t n = f->config.limits.step_tokens;
    size_t q_size = (size_t)c->n_heads * c->head_size;
    size_t kv_size = (size_t)c->n_kv_heads * c->head_size;
    if (f->span.layer_begin == f->span.layer_end) return BN_OK;
    BN_TRY(take(f, n, q_size, &f->q));
    BN_TRY(take(f, n, kv_size, &f->k));
    BN_TRY(take(f, n, kv_size, &f->v));
    BN_TRY(take(f, n, q_size, &f->attention));
    BN_TRY(take(f, n, c->ffn, &f->gate));
    BN_TRY(take(f, n, c->ffn, &f->up));
    return take(f, n, c->hidden, &f->projected);
}

static bn_status take_batch(bn_forward *f)
{
    bn_reserve reserve = {.arena = f->config.arena};
    size_t n = f->config.limits.step_tokens;
    f->tokens = bn_reserve_take(&reserve, n, sizeof *f->tokens);
    f->slots = bn_reserve_take(&reserve, n, sizeof *f->slots);
    f->positions = bn_reserve_take(&reserve, n, sizeof *f->positions);
    f->rows = bn_reserve_take(&reserve, n, sizeof *f->rows);
    f->batch.tokens = f->tokens;
    f->batch.slots = f->slots;
    f->batch.positions = f->positions;
    return reserve.status;
}

bn_status bn_forward_create(const bn_forward_config *config, bn_forward **forward_out)
{
    bn_forward *f = bn_alloc(1, sizeof *f);
    if (f == NULL) return bn_fail(BN_ERR_NO_MEMORY, "FORWARD-CREATE", "no memory for the stage");
    f->config = *config;
    f->device = config->device;
    f->ops = config->device->ops;
    f->span = config->weights->span;
    bn_status status = take_layer_buffers(f);
    if (status == BN_OK) status = take_batch(f);
    if (status != BN_OK) {
        bn_free(f);
        return status;
    }
    *forward_out = f;
    return BN_OK;
}

void bn_forward_destroy(bn_forward *forward)
{
    bn_free(forward);
}

uint64_t bn_forward_head_ns(const bn_forward *forward)
{
    return forward->head_ns;
}

/* A step that contradicts what this stage was assigned. */
static bn_status refuse(const bn_step *step, uint32_t entry, const char *what, uint64_t value,
                        uint64_t limit)
{
    return bn_fail(BN_ERR_BAD_MESSAGE, "STEP-REFUSED",
                   "step %" PRIu64 ", entry %" PRIu32 ": %s %" PRIu64 ", the limit is %" PRIu64,
                   step->id, entry, what, value, limit);
}

static bn_status check_step(const bn_forward *f, const bn_step *step)
{
    const bn_stage_limits *limits = &f->config.limits;
    uint32_t vocab = f->config.model->vocab;
    char why[BN_TEXT_MAX];
    if (bn_step_check(step, why, sizeof why) != BN_OK)
        return bn_fail(BN_ERR_BAD_MESSAGE, "STEP-REFUSED", "step %" PRIu64 ": %s", step->id, why);
    if (step->n_tokens > limits->step_tokens)
        return refuse(step, 0, "tokens", step->n_tokens, limits->step_tokens);
    for (uint32_t i = 0; i < step->n_entries; i++) {
        const bn_step_entry *e = &step->entries[i];
        uint64_t end = (uint64_t)e->position + e->n_tokens;
        if (e->slot >= limits->slots) return refuse(step, i, "slot", e->slot, limits->slots - 1);
        if (end > limits->context) return refuse(step, i, "positions", end, limits->context);
    }
    for (uint32_t i = 0; i < step->n_tokens; i++)
        if (step->tokens[i] >= vocab) return refuse(step, 0, "token", step->tokens[i], vocab - 1);
    for (uint32_t i = 0; i < step->n_ids; i++)
        if (step->ids[i] >= vocab) return refuse(step, 0, "id", step->ids[i], vocab - 1);
    return BN_OK;
}

/* Every entry, void or not, so that the caches of all stages stay alike. A slot that comes again
 * must go on where it ended, for its rows are computed side by side. */
static bn_status extend_cache(bn_forward *f, const bn_step *step)
{
    bool is_seen[BN_SLOTS_MAX] = {false};
    for (uint32_t i = 0; i < step->n_entries; i++) {
        const bn_step_entry *e = &step->entries[i];
        uint32_t length = bn_kv_cache_length(f->config.kv, e->slot);
        if (is_seen[e->slot] && e->position != length)
            return refuse(step, i, "a slot twice, the second time at", e->position, length);
        is_seen[e->slot] = true;
        BN_TRY(bn_kv_cache_extend(f->config.kv, e->slot, e->position, e->n_tokens));
    }
    return BN_OK;
}

static void gather_batch(bn_forward *f, const bn_step *step)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < step->n_entries; i++) {
        const bn_step_entry *e = &step->entries[i];
        for (uint32_t j = 0; j < e->n_tokens && !e->is_void; j++, n++) {
            f->tokens[n] = step->tokens[e->token_begin + j];
            f->slots[n] = e->slot;
            f->positions[n] = e->position + j;
            f->rows[n] = e->token_begin + j;
        }
    }
    f->batch.n_tokens = n;
}

/* Live rows to the front, and back to where they belong. Rows only ever move to lower, then to
 * higher places, in that order. */
static void close_ranks(const bn_forward *f, float *activations)
{
    size_t hidden = f->config.model->hidden;
    for (size_t i = 0; i < f->batch.n_tokens; i++)
        if (f->rows[i] != i)
            memcpy(activations + i * hidden, activations + f->rows[i] * hidden,
                   hidden * sizeof(float));
}

static void open_ranks(const bn_forward *f, float *activations)
{
    size_t hidden = f->config.model->hidden;
    for (size_t i = f->batch.n_tokens; i-- > 0;)
        if (f->rows[i] != i)
            memcpy(activations + f->rows[i] * hidden, activations + i * hidden,
                   hidden * sizeof(float));
}

static bn_status project(bn_forward *f, const bn_device_projection *projection)
{
    BN_TRY(f->ops->project(f->device, projection));
    return f->config.on_progress(f->config.context);
}

static bn_status run_layer(bn_forward *f, uint32_t layer, bn_device_buffer *x)
{
    const bn_weights_layer *w = &f->config.weights->layers[layer];

    BN_TRY(project(f, &(bn_device_projection){
                          .x = x,
                          .norm = w->attn_norm,
                          .n_weights = 3,
                          .weights = {&w->attn_q, &w->attn_k, &w->attn_v},
                          .y = {f->q, f->k, f->v},
                      }));
    BN_TRY(f->ops->rotate_and_store(f->device, layer,
                                    &(bn_device_rotation){
                                        .q = f->q,
                                        .k = f->k,
                                        .q_norm = w->attn_q_norm,
                                        .k_norm = w->attn_k_norm,
                                    },
                                    f->v));
    BN_TRY(f->ops->attend(f->device, layer, f->q, f->attention));
    BN_TRY(project(f, &(bn_device_projection){
                          .x = f->attention,
                          .norm = w->attn_sub_norm,
                          .n_weights = 1,
                          .weights = {&w->attn_output},
                          .y = {f->projected},
                          .join = BN_DEVICE_JOIN_ADD,
                          .residual = x,
                      }));
    BN_TRY(project(f, &(bn_device_projection){
                          .x = x,
                          .norm = w->ffn_norm,
                          .n_weights = 2,
                          .weights = {&w->ffn_gate, &w->ffn_up},
                          .y = {f->gate, f->up},
                          .join = BN_DEVICE_JOIN_GATED,
                      }));
    return project(f, &(bn_device_projection){
                          .x = f->gate,
                          .norm = w->ffn_sub_norm,
                          .n_weights = 1,
                          .weights = {&w->ffn_down},
                          .y = {f->projected},
                          .join = BN_DEVICE_JOIN_ADD,
                          .residual = x,
                      });
}

/* The residual as it is now, after `layer` layers of the model. */
static bn_status dump_residual(bn_forward *f, const bn_step *step, uint32_t layer,
                               const bn_device_buffer *x, float *activations)
{
    const float *row = activations;
    if (f->config.dump == NULL) return BN_OK;
    BN_TRY(f->ops->leave(f->device, x, activations));
    for (uint32_t i = 0; i < step->n_entries; i++) {
        const bn_step_entry *e = &step->entries[i];
        if (e->is_void) continue;
        BN_TRY(bn_dump_write(f->config.dump, layer, e->position, e->n_tokens, row));
        row += (size_t)e->n_tokens * f->config.model->hidden;
    }
    return BN_OK;
}

static bn_status run_layers(bn_forward *f, const bn_step *step, bn_device_buffer *x,
                            float *activations)
{
    uint32_t begin = f->span.layer_begin;
    if (f->span.has_embedding) {
        BN_TRY(f->ops->embed(f->device, &f->config.weights->embedding, x));
        BN_TRY(dump_residual(f, step, 0, x, activations));
    }
    for (uint32_t layer = begin; layer < f->span.layer_end; layer++) {
        BN_TRY(run_layer(f, layer - begin, x));
        BN_TRY(dump_residual(f, step, layer + 1, x, activations));
    }
    return BN_OK;
}

/* Computes the rows collected so far and hands out what was wanted of them. */
static bn_status flush_head(bn_forward *f, const bn_step *step, const bn_device_buffer *x,
                            bn_result *result)
{
    if (f->n_head_rows == 0) return BN_OK;
    const bn_screen *screen = &f->config.weights->head_screen;
    uint64_t begin_ns = bn_clock_ns();
    BN_TRY(f->ops->head(f->device, &(bn_device_head){
                                       .x = x,
                                       .norm = f->config.weights->output_norm,
                                       .weights = &f->config.weights->head,
                                       .screen = screen->blocks != NULL ? screen : NULL,
                                       .rows = f->head_rows,
                                       .n_rows = f->n_head_rows,
                                   }));
    f->head_ns += bn_clock_ns() - begin_ns;
    for (uint32_t i = 0; i < f->n_head_rows; i++) {
        const bn_device_head_row *row = &f->head_rows[i];
        bn_result_position *position = &result->positions[f->head_results[i]];
        BN_ASSERT(row->n_best_out == position->n_candidates);
        position->has_lse = row->wants_lse;
        position->lse = row->wants_lse ? row->lse : 0.0;
        position->has_all = row->wants_all;
        if (row->wants_all)
            BN_TRY(f->config.on_logits(f->config.context, step, f->head_entries[i],
                                       position->position, row->logits, f->config.model->vocab));
    }
    f->n_head_rows = 0;
    return f->config.on_progress(f->config.context);
}

/* The next position of the result: entry `i`, its token `j`. */
static bn_status add_position(bn_forward *f, const bn_step *step, uint32_t i, uint32_t j,
                              uint32_t row, const bn_device_buffer *x, bn_result *result)
{
    const bn_step_entry *e = &step->entries[i];
    uint32_t vocab = f->config.model->vocab;
    uint32_t n_best = e->n_best < vocab ? e->n_best : vocab;
    bn_result_position *position = &result->positions[result->n_positions];
    *position = (bn_result_position){
        .entry = i,
        .position = e->position + j,
        .candidate_begin = result->n_candidates,
        .exact_begin = result->n_exact,
        .is_void = e->is_void,
    };
    if (!e->is_void) {
        position->n_candidates = n_best;
        position->n_exact = e->n_ids;
        f->head_results[f->n_head_rows] = result->n_positions;
        f->head_entries[f->n_head_rows] = i;
        f->head_rows[f->n_head_rows++] = (bn_device_head_row){
            .row = row,
            .n_best = n_best,
            .best_out = result->candidates + result->n_candidates,
            .n_ids = e->n_ids,
            .ids = step->ids + e->id_begin + (size_t)(j - e->want_from) * e->n_ids,
            .exact_out = result->exact + result->n_exact,
            .wants_lse = e->wants_lse,
            .wants_all = e->wants_all,
        };
    }
    result->n_positions++;
    result->n_candidates += position->n_candidates;
    result->n_exact += position->n_exact;
    return f->n_head_rows == BN_STAGE_LOGITS_TOKENS ? flush_head(f, step, x, result) : BN_OK;
}

static bn_status run_head(bn_forward *f, const bn_step *step, const bn_device_buffer *x,
                          bn_result *result)
{
    uint32_t row = 0; /* of the batch */
    result->epoch = step->epoch;
    result->step_id = step->id;
    result->vocab_begin = 0;
    result->vocab_end = f->config.model->vocab;
    result->n_positions = result->n_candidates = result->n_exact = 0;
    f->n_head_rows = 0;
    for (uint32_t i = 0; i < step->n_entries; i++) {
        const bn_step_entry *e = &step->entries[i];
        for (uint32_t j = e->want_from; j < e->n_tokens; j++)
            BN_TRY(add_position(f, step, i, j, row + j, x, result));
        if (!e->is_void) row += e->n_tokens;
    }
    return flush_head(f, step, x, result);
}

bn_status bn_forward_run(bn_forward *f, const bn_step *step, float *activations, bn_result *result)
{
    bn_device_buffer *x = NULL;
    BN_TRY(check_step(f, step));
    BN_TRY(bn_kv_cache_apply(f->config.kv, step->commands, step->n_commands));
    BN_TRY(extend_cache(f, step));
    gather_batch(f, step);

    if (f->batch.n_tokens > 0) {
        BN_TRY(f->ops->begin(f->device, &f->batch));
        if (!f->span.has_embedding) close_ranks(f, activations);
        BN_TRY(f->ops->enter(f->device, activations, &x));
        BN_TRY(run_layers(f, step, x, activations));
    }
    if (f->span.has_head) return run_head(f, step, x, result);
    if (f->batch.n_tokens > 0) {
        BN_TRY(f->ops->leave(f->device, x, activations));
        open_ranks(f, activations);
    }
    return BN_OK;
}
