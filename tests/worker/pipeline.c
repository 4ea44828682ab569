#include "tests/worker/pipeline.h"

#include "common/alloc.h"

#include <string.h>

static void start_thread(void *context, uint32_t thread_index, uint32_t n_threads)
{
    (void)context;
    (void)thread_index;
    (void)n_threads;
    bn_float_env_set();
    BN_ASSERT(bn_float_env_is_set());
}

static bn_status on_load(void *context, uint64_t done_bytes, uint64_t total_bytes)
{
    (void)context;
    BN_ASSERT(done_bytes <= total_bytes);
    return BN_OK;
}

static bn_status on_progress(void *context)
{
    pipeline *p = context;
    p->n_progress++;
    return BN_OK;
}

static bn_status on_logits(void *context, const bn_step *step, uint32_t entry, uint32_t position,
                           const float *logits, uint32_t n_logits)
{
    pipeline *p = context;
    if (step->entries[entry].slot != p->kept_slot) return BN_OK;
    BN_ASSERT(position < PIPELINE_POSITIONS_MAX);
    memcpy(p->logits + (size_t)position * n_logits, logits, n_logits * sizeof(float));
    return BN_OK;
}

void pipeline_create(const pipeline_config *config, pipeline *p)
{
    memset(p, 0, sizeof *p);
    p->n_stages = config->n_stages;
    BN_ASSERT(bn_model_open(config->path, BN_ACTIVATION_FROM_FILE, &p->model) == BN_OK);
    bn_thread_pool_config pool = {.n_threads = config->n_threads, .on_start = start_thread};
    BN_ASSERT(bn_thread_pool_create(&pool, &p->pool) == BN_OK);
    p->logits = bn_alloc((size_t)PIPELINE_POSITIONS_MAX * p->model->config.vocab, sizeof(float));
    BN_ASSERT(p->logits != NULL);
    uint32_t pages = (config->context + BN_KV_PAGE_POSITIONS - 1) / BN_KV_PAGE_POSITIONS;
    bn_stage_config stage = {
        .model = p->model,
        .limits = {.context = config->context,
                   .slots = config->slots,
                   .kv_pages = pages * config->slots,
                   .step_tokens = config->step_tokens,
                   .steps_in_flight = 2,
                   .threads = config->n_threads},
        .pool = p->pool,
        .kernels = bn_kernels_get(config->isa),
        .head_mode = config->head_mode,
        .on_load = on_load,
        .on_progress = on_progress,
        .on_logits = on_logits,
        .context = p,
    };
    for (uint32_t i = 0; i < config->n_stages; i++) {
        stage.span.layer_begin = stage.span.layer_end;
        stage.span.layer_end += config->layers[i];
        stage.span.has_embedding = i == 0;
        stage.span.has_head = i + 1 == config->n_stages;
        BN_ASSERT(bn_stage_create(&stage, &p->stages[i]) == BN_OK);
    }
    BN_ASSERT(stage.span.layer_end == p->model->config.n_layers);
}

void pipeline_destroy(pipeline *p)
{
    for (uint32_t i = 0; i < p->n_stages; i++)
        bn_stage_destroy(p->stages[i]);
    bn_thread_pool_destroy(p->pool);
    bn_model_close(p->model);
    bn_free(p->logits);
}

bn_status pipeline_run(pipeline *p, const bn_step *step)
{
    size_t n_floats = (size_t)step->n_tokens * p->model->config.hidden;
    for (uint32_t i = 0; i < p->n_stages; i++) {
        float *activations = p->stages[i]->frames[0].activations;
        if (i > 0 && n_floats * sizeof(float) <= p->stages[i]->frames[0].activation_capacity)
            memcpy(activations, p->stages[i - 1]->frames[0].activations, n_floats * sizeof(float));
        BN_TRY(bn_forward_run(p->stages[i]->forward, step, activations, &p->result));
    }
    return BN_OK;
}

bn_step_entry *pipeline_add(bn_step *step, uint32_t slot, uint32_t position, const uint32_t *tokens,
                            uint32_t n_tokens, bool wants)
{
    bn_step_entry *entry = &step->entries[step->n_entries++];
    *entry = (bn_step_entry){
        .slot = slot,
        .position = position,
        .n_tokens = n_tokens,
        .token_begin = step->n_tokens,
        .want_from = wants ? 0 : n_tokens,
        .wants_all = wants,
    };
    memcpy(step->tokens + step->n_tokens, tokens, n_tokens * sizeof *tokens);
    step->n_tokens += n_tokens;
    return entry;
}

void pipeline_command(bn_step *step, bn_kv_command_kind kind, uint32_t slot, uint32_t source,
                      uint32_t count)
{
    step->commands[step->n_commands++] =
        (bn_kv_command){.kind = kind, .slot = slot, .source = source, .count = count};
}

void pipeline_evaluate(pipeline *p, const uint32_t *tokens, uint32_t n_tokens, uint32_t chunk)
{
    static bn_step step;
    for (uint32_t position = 0; position < n_tokens; position += chunk) {
        uint32_t n = n_tokens - position < chunk ? n_tokens - position : chunk;
        step.id++;
        step.n_entries = step.n_tokens = step.n_commands = step.n_ids = 0;
        pipeline_command(&step, BN_KV_ALLOC, 0, 0,
                         (position + n + BN_KV_PAGE_POSITIONS - 1) / BN_KV_PAGE_POSITIONS);
        pipeline_add(&step, 0, position, tokens + position, n, true);
        BN_ASSERT(pipeline_run(p, &step) == BN_OK);
    }
}
