/* weights.c — one pass over the stage's tensors. */
#include "worker/weights.h"

#include "common/alloc.h"
#include "common/arena.h"
#include "common/log.h"
#include "kernels/screen.h"
#include "model/stage_bytes.h"
#include "worker/map_guard.h"
#include "worker/packer.h"
#include "worker/reserve.h"

#include <inttypes.h>
#include <string.h>

#define RUN_BYTES (1u << 20) /* of head rows that a thread reads at once */
#define ERROR_TEXT_MAX 512u

typedef struct weights {
    bn_weights public_part; /* first: the two addresses are the same */
    bn_arena *arena;
    void *mapping;
    size_t mapping_bytes;
} weights;

typedef struct part_result {
    bn_status status;
    char text[ERROR_TEXT_MAX];
} part_result;

typedef struct loader {
    const bn_model *model;
    weights *weights;
    bn_thread_pool *pool;
    bn_packer *packer;
    const bn_kernels *screen_kernels;
    bn_screen_parts screen_parts;
    bn_weights_progress *on_progress;
    void *progress_context;
    uint64_t done_bytes, total_bytes;
    uint8_t *staging; /* [n_threads][staging_bytes] */
    size_t staging_bytes;
    part_result *results; /* [n_threads] */

    /* of the tensor under way */
    const bn_gguf_tensor *tensor;
    uint8_t *to;
} loader;

static bool makes_screen(const loader *l)
{
    return l->screen_kernels != NULL && bn_stage_bytes_screen(l->model) > 0;
}

static void copy_part(void *context, uint32_t thread_index, uint32_t n_threads)
{
    loader *l = context;
    part_result *result = &l->results[thread_index];
    size_t begin, end;
    bn_thread_part((size_t)l->tensor->n_bytes, thread_index, n_threads, &begin, &end);
    for (size_t at = begin; at < end && result->status == BN_OK; at += RUN_BYTES) {
        size_t n = end - at < RUN_BYTES ? end - at : RUN_BYTES;
        result->status = bn_gguf_read(l->model->file, l->tensor, at, n, l->to + at);
    }
    if (result->status != BN_OK) {
        memcpy(result->text, bn_log_last_error(),
               strnlen(bn_log_last_error(), sizeof result->text - 1));
    }
}

static bn_status add_progress(loader *l, uint64_t n_bytes)
{
    l->done_bytes += n_bytes;
    return l->on_progress(l->progress_context, l->done_bytes, l->total_bytes);
}

/* Runs `task` over the tensor and reports the first thread that failed. */
static bn_status run_task(loader *l, bn_thread_task *task, const bn_gguf_tensor *tensor, void *to)
{
    uint32_t n_threads = bn_thread_pool_size(l->pool);
    memset(l->results, 0, n_threads * sizeof *l->results);
    l->tensor = tensor;
    l->to = to;
    bn_thread_pool_run(l->pool, task, l);
    for (uint32_t i = 0; i < n_threads; i++) {
        const part_result *result = &l->results[i];
        if (result->status != BN_OK) {
            return bn_fail(result->status, "WEIGHTS-READ", "cannot load tensor %s: %s",
                           tensor->name, result->text);
        }
    }
    return add_progress(l, tensor->n_bytes);
}

static bn_status load_linear(loader *l, const bn_model_linear *linear, bn_ternary *ternary_out)
{
    const bn_gguf_tensor *tensor = linear->weight;
    size_t scale_bytes = (size_t)bn_stage_bytes_scales(tensor);
    void *blocks, *scales = NULL;
    size_t bytes = bn_ternary_bytes((uint32_t)tensor->dims[1], (uint32_t)tensor->dims[0]);
    BN_TRY(bn_arena_take(l->weights->arena, bytes, &blocks));
    if (scale_bytes > 0) BN_TRY(bn_arena_take(l->weights->arena, scale_bytes, &scales));
    BN_TRY(bn_packer_run(l->packer, tensor, blocks, scales, ternary_out));
    BN_TRY(bn_model_post_scale(l->model, linear, &ternary_out->post_scale));
    return add_progress(l, tensor->n_bytes);
}

/* Small vectors; *out stays NULL when there is no tensor. */
static bn_status load_f32(loader *l, const bn_gguf_tensor *tensor, const float **out)
{
    if (tensor == NULL) return BN_OK;
    uint64_t n = bn_model_n_elements(tensor);
    void *memory;
    BN_TRY(bn_arena_take(l->weights->arena, (size_t)n * sizeof(float), &memory));
    BN_TRY(bn_model_read_f32(l->model, tensor, memory, n));
    *out = memory;
    return BN_OK;
}

static bn_status load_layer(loader *l, const bn_model_layer *from, bn_weights_layer *to)
{
    BN_TRY(load_f32(l, from->attn_norm, &to->attn_norm));
    BN_TRY(load_f32(l, from->ffn_norm, &to->ffn_norm));
    BN_TRY(load_f32(l, from->attn_sub_norm, &to->attn_sub_norm));
    BN_TRY(load_f32(l, from->ffn_sub_norm, &to->ffn_sub_norm));
    BN_TRY(load_f32(l, from->attn_q_norm, &to->attn_q_norm));
    BN_TRY(load_f32(l, from->attn_k_norm, &to->attn_k_norm));
    BN_TRY(load_linear(l, &from->attn_q, &to->attn_q));
    BN_TRY(load_linear(l, &from->attn_k, &to->attn_k));
    BN_TRY(load_linear(l, &from->attn_v, &to->attn_v));
    BN_TRY(load_linear(l, &from->attn_output, &to->attn_output));
    BN_TRY(load_linear(l, &from->ffn_gate, &to->ffn_gate));
    BN_TRY(load_linear(l, &from->ffn_up, &to->ffn_up));
    return load_linear(l, &from->ffn_down, &to->ffn_down);
}

static void screen_part(void *context, uint32_t thread_index, uint32_t n_threads)
{
    loader *l = context;
    const bn_dense *head = &l->weights->public_part.head;
    float *scratch = (float *)(void *)(l->staging + thread_index * l->staging_bytes);
    size_t begin, end;
    bn_thread_part(bn_screen_groups(head->n_rows), thread_index, n_threads, &begin, &end);
    bn_screen_pack(l->screen_kernels, head, (uint32_t)begin, (uint32_t)end, scratch,
                   &l->screen_parts);
}

/* From the rows that were just loaded: no byte is read twice from the file. */
static bn_status make_screen(loader *l)
{
    bn_weights *w = &l->weights->public_part;
    uint32_t n_rows = w->head.n_rows, n_cols = w->head.n_cols;
    bn_reserve reserve = {.arena = l->weights->arena};
    size_t vector = bn_screen_vector_bytes(n_rows);
    l->screen_parts = (bn_screen_parts){
        .blocks = bn_reserve_take(&reserve, bn_screen_blocks_bytes(n_rows, n_cols), 1),
        .scale = bn_reserve_take(&reserve, vector, 1),
        .error = bn_reserve_take(&reserve, vector, 1),
        .norm = bn_reserve_take(&reserve, vector, 1),
    };
    BN_TRY(reserve.status);
    bn_thread_pool_run(l->pool, screen_part, l);
    w->head_screen = (bn_screen){
        .blocks = l->screen_parts.blocks,
        .scale = l->screen_parts.scale,
        .error = l->screen_parts.error,
        .norm = l->screen_parts.norm,
        .n_rows = n_rows,
        .n_cols = n_cols,
    };
    return add_progress(l, bn_stage_bytes_screen(l->model));
}

static bn_status load_head(loader *l)
{
    bn_weights *w = &l->weights->public_part;
    const bn_gguf_tensor *output = l->model->output;
    void *rows;
    if (output != l->model->token_embd || !w->span.has_embedding)
        BN_TRY(bn_packer_look(l->packer, output));
    BN_TRY(load_f32(l, l->model->output_norm, &w->output_norm));
    BN_TRY(bn_arena_take(l->weights->arena, (size_t)output->n_bytes, &rows));
    BN_TRY(run_task(l, copy_part, output, rows));
    BN_TRY(bn_model_dense(l->model, output, rows, &w->head));
    return makes_screen(l) ? make_screen(l) : BN_OK;
}

static bn_status map_embedding(loader *l)
{
    const bn_gguf_tensor *tensor = l->model->token_embd;
    const uint8_t *rows;
    BN_TRY(bn_gguf_map(l->model->file, tensor, &rows, &l->weights->mapping,
                       &l->weights->mapping_bytes));
    bn_map_guard_set(l->weights->mapping, l->weights->mapping_bytes, bn_gguf_path(l->model->file));
    return bn_model_dense(l->model, tensor, rows, &l->weights->public_part.embedding);
}

static bn_status load_all(loader *l)
{
    bn_weights *w = &l->weights->public_part;
    bn_stage_span span = w->span;
    if (span.has_embedding) BN_TRY(map_embedding(l));
    if (span.has_embedding) BN_TRY(bn_packer_look(l->packer, l->model->token_embd));
    if (span.layer_begin < span.layer_end) {
        BN_TRY(load_f32(l, l->model->rope_freqs, &w->rope_factors));
    }
    for (uint32_t i = span.layer_begin; i < span.layer_end; i++) {
        BN_TRY(load_layer(l, &l->model->layers[i], &w->layers[i - span.layer_begin]));
    }
    if (span.has_head) BN_TRY(load_head(l));
    return BN_OK;
}

static void count_linear(loader *l, const bn_model_linear *linear)
{
    l->total_bytes += linear->weight->n_bytes;
}

/* What will be read. */
static void count_bytes(loader *l)
{
    bn_stage_span span = l->weights->public_part.span;
    for (uint32_t i = span.layer_begin; i < span.layer_end; i++) {
        const bn_model_layer *layer = &l->model->layers[i];
        count_linear(l, &layer->attn_q);
        count_linear(l, &layer->attn_k);
        count_linear(l, &layer->attn_v);
        count_linear(l, &layer->attn_output);
        count_linear(l, &layer->ffn_gate);
        count_linear(l, &layer->ffn_up);
        count_linear(l, &layer->ffn_down);
    }
    if (span.has_head) l->total_bytes += l->model->output->n_bytes;
    if (!span.has_head || !makes_screen(l)) return;
    size_t scratch = (size_t)BN_SCREEN_SCRATCH * l->model->config.hidden * sizeof(float);
    if (scratch > l->staging_bytes) l->staging_bytes = scratch;
    l->total_bytes += bn_stage_bytes_screen(l->model);
}

static bn_status reserve(loader *l)
{
    bn_weights *w = &l->weights->public_part;
    uint32_t n_threads = bn_thread_pool_size(l->pool);
    bn_stage_limits no_limits = {.context = 1, .slots = 1, .step_tokens = 1, .threads = 1};
    bn_stage_bytes bytes;
    bn_model_stage_bytes(l->model, w->span, &no_limits, &bytes);
    count_bytes(l);
    w->layers = bn_alloc(w->span.layer_end - w->span.layer_begin + 1u, sizeof *w->layers);
    l->staging_bytes = bn_arena_rounded(l->staging_bytes + 1);
    l->staging = bn_alloc(n_threads, l->staging_bytes);
    l->results = bn_alloc(n_threads, sizeof *l->results);
    if (w->layers == NULL || l->staging == NULL || l->results == NULL) {
        return bn_fail(BN_ERR_NO_MEMORY, "WEIGHTS-RESERVE",
                       "no memory to load %s: %" PRIu32 " × %zu bytes of staging wanted",
                       bn_gguf_path(l->model->file), n_threads, l->staging_bytes);
    }
    BN_TRY(bn_packer_create(l->model, l->pool, &l->packer));
    return bn_arena_create("weights", (size_t)bytes.weights, &l->weights->arena);
}

bn_status bn_weights_load(const bn_model *model, bn_stage_span span, bn_thread_pool *pool,
                          const bn_kernels *screen_kernels, bn_weights_progress *on_progress,
                          void *progress_context, bn_weights **weights_out)
{
    weights *w = bn_alloc(1, sizeof *w);
    if (w == NULL) return bn_fail(BN_ERR_NO_MEMORY, "WEIGHTS-RESERVE", "no memory for weights");
    w->public_part.span = span;
    loader l = {
        .model = model,
        .weights = w,
        .pool = pool,
        .screen_kernels = screen_kernels,
        .on_progress = on_progress,
        .progress_context = progress_context,
    };
    bn_status status = reserve(&l);
    if (status == BN_OK) status = load_all(&l);
    if (status == BN_OK) bn_packer_warn(l.packer);
    bn_packer_destroy(l.packer);
    bn_free(l.staging);
    bn_free(l.results);
    if (status != BN_OK) {
        bn_weights_destroy(&w->public_part);
        return status;
    }
    *weights_out = &w->public_part;
    return BN_OK;
}

static const weights *whole(const bn_weights *public_part)
{
    return (const weights *)(const void *)public_part;
}

void bn_weights_destroy(bn_weights *public_part)
{
    if (public_part == NULL) return;
    weights *w = (weights *)(void *)public_part;
    if (w->mapping != NULL) {
        bn_map_guard_clear();
        bn_gguf_unmap(w->mapping, w->mapping_bytes);
    }
    bn_arena_destroy(w->arena);
    bn_free(w->public_part.layers);
    bn_free(w);
}

size_t bn_weights_reserved_bytes(const bn_weights *public_part)
{
    return bn_arena_capacity(whole(public_part)->arena);
}

size_t bn_weights_used_bytes(const bn_weights *public_part)
{
    return bn_arena_used(whole(public_part)->arena);
}
