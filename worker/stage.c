/* stage.c — reserve, touch, load, in this order: what does not fit fails before the long part. */
#include "worker/stage.h"

#include "common/alloc.h"
#include "common/log.h"
#include "worker/reserve.h"

#define TOUCH_BYTES 4096u
#define TOUCH_SLICE_BYTES ((size_t)64 << 20) /* between two looks at whether it is still wanted */

_Static_assert(BN_STAGE_STEP_BYTES == BN_LINK_HEADER_BYTES + BN_ENVELOPE_MAX,
               "the budget knows the frame's size");

typedef struct touch_range {
    volatile uint8_t *memory;
    size_t bytes;
} touch_range;

static void touch_part(void *context, uint32_t thread_index, uint32_t n_threads)
{
    const touch_range *range = context;
    size_t begin, end;
    bn_thread_part((range->bytes + TOUCH_BYTES - 1) / TOUCH_BYTES, thread_index, n_threads, &begin,
                   &end);
    for (size_t page = begin; page < end; page++)
        range->memory[page * TOUCH_BYTES] = 0;
}

/* In slices: hundreds of gigabytes take minutes, and a farewell must be heard meanwhile. */
static bn_status touch(const bn_stage *stage, void *memory, size_t bytes)
{
    const bn_stage_config *config = &stage->config;
    for (size_t at = 0; at < bytes; at += TOUCH_SLICE_BYTES) {
        touch_range range = {
            .memory = (volatile uint8_t *)memory + at,
            .bytes = bytes - at < TOUCH_SLICE_BYTES ? bytes - at : TOUCH_SLICE_BYTES,
        };
        bn_thread_pool_run(config->pool, touch_part, &range);
        if (config->on_load != NULL)
            BN_TRY(config->on_load(config->context, 0, stage->bytes.weights));
    }
    return BN_OK;
}

/* An arena whose memory is really there. */
static bn_status make_arena(const bn_stage *stage, const char *label, uint64_t bytes,
                            bn_arena **arena_out)
{
    BN_TRY(bn_arena_create(label, (size_t)bytes, arena_out));
    if (bytes == 0) return BN_OK;
    void *base;
    BN_TRY(bn_arena_take(*arena_out, 0, &base));
    return touch(stage, base, (size_t)bytes);
}

static bn_status create_kv(bn_stage *stage)
{
    const bn_model_config *c = &stage->config.model->config;
    const bn_stage_limits *limits = &stage->config.limits;
    bn_kv_cache_config config = {
        .n_layers = stage->config.span.layer_end - stage->config.span.layer_begin,
        .n_kv_heads = c->n_kv_heads,
        .head_size = c->head_size,
        .n_pages = limits->kv_pages,
        .n_slots = limits->slots,
        .context = limits->context,
    };
    BN_TRY(make_arena(stage, "kv cache", stage->bytes.kv, &stage->kv_arena));
    return bn_kv_cache_create(&config, stage->kv_arena, stage->buffers_arena, &stage->kv);
}

static bn_status create_frames(bn_stage *stage)
{
    const bn_stage_limits *limits = &stage->config.limits;
    bn_reserve reserve = {.arena = stage->buffers_arena};
    size_t n_floats = (size_t)limits->step_tokens * stage->config.model->config.hidden;
    stage->n_frames = limits->steps_in_flight + 1;
    for (uint32_t i = 0; i < stage->n_frames; i++) {
        bn_link_frame *frame = &stage->frames[i];
        frame->head = bn_reserve_take(&reserve, BN_STAGE_STEP_BYTES, 1);
        frame->activations = bn_reserve_take(&reserve, n_floats, sizeof(float));
        frame->activation_capacity = n_floats * sizeof(float);
    }
    for (uint32_t i = 0; i < BN_STAGE_LOGITS_QUEUED && stage->config.span.has_head; i++)
        stage->logits_rows[i] =
            bn_reserve_take(&reserve, stage->config.model->config.vocab, sizeof(float));
    return reserve.status;
}

static bn_status create_forward(bn_stage *stage)
{
    const bn_stage_config *config = &stage->config;
    bn_device_config device_config = {
        .model = &config->model->config,
        .span = config->span,
        .limits = config->limits,
        .rope_factors = stage->weights->rope_factors,
        .kv = stage->kv,
        .kernels = config->kernels,
        .head_mode = config->head_mode,
        .has_screen = bn_stage_bytes_screen(config->model) > 0,
        .pool = config->pool,
        .arena = stage->buffers_arena,
    };
    BN_TRY(bn_device_cpu_create(&device_config, &stage->device));
    if (config->dump_directory != NULL)
        BN_TRY(bn_dump_create(config->dump_directory, config->span, config->model->config.hidden,
                              &stage->dump));
    bn_forward_config forward_config = {
        .model = &config->model->config,
        .weights = stage->weights,
        .kv = stage->kv,
        .device = stage->device,
        .limits = config->limits,
        .arena = stage->buffers_arena,
        .dump = stage->dump,
        .on_progress = config->on_progress,
        .on_logits = config->on_logits,
        .context = config->context,
    };
    if (config->wrap_device != NULL) forward_config.device = config->wrap_device(stage->device);
    return bn_forward_create(&forward_config, &stage->forward);
}

static bn_status create_parts(bn_stage *stage)
{
    const bn_stage_config *config = &stage->config;
    BN_TRY(make_arena(stage, "step buffers", stage->bytes.buffers, &stage->buffers_arena));
    BN_TRY(create_kv(stage));
    BN_TRY(create_frames(stage));
    BN_TRY(bn_weights_load(config->model, config->span, config->pool,
                           config->head_mode == BN_HEAD_FULL ? NULL : config->kernels,
                           config->on_load, config->context, &stage->weights));
    return create_forward(stage);
}

bn_status bn_stage_create(const bn_stage_config *config, bn_stage **stage_out)
{
    bn_stage *stage = bn_alloc(1, sizeof *stage);
    if (stage == NULL) return bn_fail(BN_ERR_NO_MEMORY, "STAGE-CREATE", "no memory for the stage");
    stage->config = *config;
    bn_model_stage_bytes(config->model, config->span, &config->limits, &stage->bytes);
    bn_status status = create_parts(stage);
    if (status != BN_OK) {
        bn_stage_destroy(stage);
        return status;
    }
    *stage_out = stage;
    return BN_OK;
}

void bn_stage_destroy(bn_stage *stage)
{
    if (stage == NULL) return;
    bn_forward_destroy(stage->forward);
    bn_dump_destroy(stage->dump);
    if (stage->device != NULL) stage->device->ops->destroy(stage->device);
    bn_kv_cache_destroy(stage->kv);
    bn_weights_destroy(stage->weights);
    bn_arena_destroy(stage->buffers_arena);
    bn_arena_destroy(stage->kv_arena);
    bn_free(stage);
}
