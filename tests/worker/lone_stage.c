#include "tests/worker/lone_stage.h"

#include "common/alloc.h"

#include <string.h>

static bn_status load_on(void *context, uint64_t done_bytes, uint64_t total_bytes)
{
    (void)context;
    BN_ASSERT(done_bytes <= total_bytes);
    return BN_OK;
}

static bn_status go_on(void *context)
{
    (void)context;
    return BN_OK;
}

static bn_status keep_logits(void *context, const bn_step *step, uint32_t entry, uint32_t position,
                             const float *logits, uint32_t n_logits)
{
    bn_lone_stage *lone = context;
    BN_ASSERT(step == lone->step && entry == 0);
    memcpy(lone->logits + (size_t)position * n_logits, logits, n_logits * sizeof *logits);
    return BN_OK;
}

static void set_float_env(void *context, uint32_t thread_index, uint32_t n_threads)
{
    (void)context;
    (void)thread_index;
    (void)n_threads;
    bn_float_env_set();
}

static uint32_t pages_of(uint32_t positions)
{
    return (positions + BN_KV_PAGE_POSITIONS - 1) / BN_KV_PAGE_POSITIONS;
}

void bn_lone_stage_open(const bn_model *model, bn_stage_span span, const bn_kernels *kernels,
                        uint32_t context, bn_lone_stage *lone)
{
    bn_thread_pool_config pool = {.n_threads = 1, .on_start = set_float_env};
    memset(lone, 0, sizeof *lone);
    BN_ASSERT(bn_thread_pool_create(&pool, &lone->pool) == BN_OK);
    lone->step = bn_alloc(1, sizeof *lone->step);
    lone->result = bn_alloc(1, sizeof *lone->result);
    lone->logits = bn_alloc((size_t)context * model->config.vocab, sizeof *lone->logits);
    BN_ASSERT(lone->step && lone->result && lone->logits);
    bn_stage_config config = {
        .model = model,
        .span = span,
        .limits = {.context = context,
                   .slots = 1,
                   .kv_pages = pages_of(context),
                   .step_tokens = context,
                   .steps_in_flight = 1,
                   .threads = 1},
        .pool = lone->pool,
        .kernels = kernels,
        .on_load = load_on,
        .on_progress = go_on,
        .on_logits = keep_logits,
        .context = lone,
    };
    BN_ASSERT(bn_stage_create(&config, &lone->stage) == BN_OK);
}

void bn_lone_stage_close(bn_lone_stage *lone)
{
    bn_stage_destroy(lone->stage);
    bn_thread_pool_destroy(lone->pool);
    bn_free(lone->step);
    bn_free(lone->result);
    bn_free(lone->logits);
}

void bn_lone_stage_run(bn_lone_stage *lone, const uint32_t *tokens, uint32_t position,
                       uint32_t n_tokens, float *activations)
{
    bn_step *step = lone->step;
    bool has_head = lone->stage->config.span.has_head;
    step->epoch = 1;
    step->id++;
    step->n_tokens = n_tokens;
    step->n_entries = 1;
    step->entries[0] = (bn_step_entry){.position = position,
                                       .n_tokens = n_tokens,
                                       .want_from = has_head ? 0 : n_tokens,
                                       .wants_all = has_head};
    step->n_commands = 1;
    step->commands[0] =
        (bn_kv_command){.kind = BN_KV_ALLOC, .count = pages_of(position + n_tokens)};
    memcpy(step->tokens, tokens, n_tokens * sizeof *tokens);
    BN_ASSERT(bn_forward_run(lone->stage->forward, step, activations,
                             has_head ? lone->result : NULL) == BN_OK);
}
