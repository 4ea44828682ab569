/* stage_bytes.c — sums of rounded parts. All counts are bounded (model.h), so that products of
 * them fit 64 bits. */
#include "model/stage_bytes.h"

#include "common/arena.h"
#include "kernels/screen.h"
#include "model/tensor_type.h"
#include "model/trits.h"

static uint64_t rounded(uint64_t bytes)
{
    return bn_arena_rounded((size_t)bytes);
}

static uint64_t max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

uint64_t bn_stage_bytes_scales(const bn_gguf_tensor *weight)
{
    uint64_t n_rows = weight->dims[1], n_scales = bn_trits_scales_max(weight);
    if (n_scales <= 1) return 0;
    return bn_ternary_groups((uint32_t)n_rows) * (uint64_t)BN_TERNARY_GROUP_ROWS *
           (n_scales / n_rows) * sizeof(float);
}

uint64_t bn_stage_bytes_linear(const bn_gguf_tensor *weight)
{
    return rounded(bn_ternary_bytes((uint32_t)weight->dims[1], (uint32_t)weight->dims[0])) +
           rounded(bn_stage_bytes_scales(weight));
}

static uint64_t norm_bytes(const bn_gguf_tensor *norm)
{
    return norm != NULL ? rounded(norm->dims[0] * sizeof(float)) : 0;
}

uint64_t bn_stage_bytes_layer(const bn_model *model, uint32_t layer_index)
{
    const bn_model_layer *layer = &model->layers[layer_index];
    return norm_bytes(layer->attn_norm) + norm_bytes(layer->ffn_norm) +
           norm_bytes(layer->attn_sub_norm) + norm_bytes(layer->ffn_sub_norm) +
           norm_bytes(layer->attn_q_norm) + norm_bytes(layer->attn_k_norm) +
           bn_stage_bytes_linear(layer->attn_q.weight) +
           bn_stage_bytes_linear(layer->attn_k.weight) +
           bn_stage_bytes_linear(layer->attn_v.weight) +
           bn_stage_bytes_linear(layer->attn_output.weight) +
           bn_stage_bytes_linear(layer->ffn_gate.weight) +
           bn_stage_bytes_linear(layer->ffn_up.weight) +
           bn_stage_bytes_linear(layer->ffn_down.weight);
}

static bool has_screen(const bn_model *model)
{
    uint32_t type = model->output->type;
    return type == BN_TENSOR_F32 || type == BN_TENSOR_F16 || type == BN_TENSOR_BF16;
}

uint64_t bn_stage_bytes_screen(const bn_model *model)
{
    uint32_t n_cols = (uint32_t)model->output->dims[0], n_rows = (uint32_t)model->output->dims[1];
    if (!has_screen(model)) return 0;
    return rounded(bn_screen_blocks_bytes(n_rows, n_cols)) +
           3 * rounded(bn_screen_vector_bytes(n_rows));
}

uint64_t bn_stage_bytes_head_rows(const bn_model *model)
{
    return norm_bytes(model->output_norm) + rounded(model->output->n_bytes);
}

uint64_t bn_stage_bytes_head(const bn_model *model)
{
    return bn_stage_bytes_head_rows(model) + bn_stage_bytes_screen(model);
}

uint64_t bn_stage_bytes_weights(const bn_model *model, bn_stage_span span)
{
    uint64_t bytes = span.has_head ? bn_stage_bytes_head(model) : 0;
    for (uint32_t i = span.layer_begin; i < span.layer_end; i++)
        bytes += bn_stage_bytes_layer(model, i);
    if (span.layer_begin < span.layer_end) bytes += norm_bytes(model->rope_freqs);
    return bytes;
}

uint64_t bn_stage_bytes_kv_page(const bn_model_config *config)
{
    return (uint64_t)BN_KV_PAGE_POSITIONS * config->n_kv_heads * config->head_size * 2 *
           sizeof(uint16_t);
}

uint64_t bn_stage_bytes_kv(const bn_model_config *config, uint32_t n_layers,
                           const bn_stage_limits *limits)
{
    return bn_stage_bytes_kv_page(config) * limits->kv_pages * n_layers;
}

/* Whose the pages are. */
static uint64_t kv_table_bytes(const bn_stage_limits *limits)
{
    uint64_t per_slot = (limits->context + BN_KV_PAGE_POSITIONS - 1) / BN_KV_PAGE_POSITIONS;
    uint64_t n_entries = per_slot * limits->slots;
    return rounded(n_entries * sizeof(void *)) + rounded(n_entries * sizeof(uint32_t)) +
           rounded(limits->slots * 2 * sizeof(uint32_t)) +
           2 * rounded(limits->kv_pages * sizeof(uint32_t));
}

uint32_t bn_stage_bytes_widest(const bn_model_config *c)
{
    return (uint32_t)max_u64(max_u64(c->hidden, (uint64_t)c->n_heads * c->head_size), c->ffn);
}

uint32_t bn_stage_bytes_token_scales(const bn_model_config *c)
{
    if (c->activation_group_cols == 0) return 1;
    return bn_ternary_runs(bn_stage_bytes_widest(c), c->activation_group_cols);
}

uint32_t bn_stage_bytes_token_parts(const bn_model_config *c)
{
    return bn_ternary_runs(bn_stage_bytes_widest(c), BN_Q8_PART_COLS);
}

/* What stands beside the int8 of n_tokens tokens. */
static uint64_t token_scale_bytes(const bn_model_config *c, uint64_t n_tokens)
{
    return rounded(n_tokens * bn_stage_bytes_token_scales(c) * sizeof(float)) +
           rounded(n_tokens * sizeof(int32_t)) +
           rounded(n_tokens * bn_stage_bytes_token_parts(c) * sizeof(int32_t));
}

uint64_t bn_stage_bytes_cell(const bn_model_config *c, uint32_t context)
{
    uint64_t n_chunks = (context + BN_ATTENTION_CHUNK - 1) / BN_ATTENTION_CHUNK;
    uint64_t group = c->n_heads / c->n_kv_heads;
    return rounded(n_chunks * group * (c->head_size + 2ull) * sizeof(float));
}

/* One step's arithmetic: q, k, v, attention out, projected, gate and up in f32, angles, and the
 * widest of them as int8. */
static uint64_t scratch_bytes(const bn_model_config *c, uint64_t n_tokens)
{
    uint64_t q_size = (uint64_t)c->n_heads * c->head_size;
    uint64_t kv_size = (uint64_t)c->n_kv_heads * c->head_size;
    uint64_t half = c->head_size / 2;
    return rounded(n_tokens * c->hidden * sizeof(float)) +
           2 * rounded(n_tokens * q_size * sizeof(float)) +
           2 * rounded(n_tokens * kv_size * sizeof(float)) +
           2 * rounded(n_tokens * c->ffn * sizeof(float)) + rounded(half * sizeof(double)) +
           2 * rounded(n_tokens * half * sizeof(float)) +
           rounded(bn_q8_bytes(bn_stage_bytes_widest(c), (uint32_t)n_tokens)) +
           token_scale_bytes(c, n_tokens);
}

/* Attention cells, and one panel of the widest row for each thread. */
static uint64_t thread_bytes(const bn_model_config *c, const bn_stage_limits *limits)
{
    uint64_t n_cells = (uint64_t)limits->threads * BN_STAGE_CELLS_PER_THREAD;
    uint64_t widest = bn_stage_bytes_widest(c);
    uint64_t panel = rounded(BN_Q8_PANEL_TOKENS * widest * sizeof(float)) +
                     rounded(bn_q8_panel_bytes((uint32_t)widest, BN_Q8_PANEL_TOKENS)) +
                     token_scale_bytes(c, BN_Q8_PANEL_TOKENS);
    return n_cells * bn_stage_bytes_cell(c, limits->context) +
           rounded((n_cells + 1) * sizeof(uint32_t)) + limits->threads * panel;
}

/* Of the screened head: panels, upper bounds of groups, survivors. */
static uint64_t screen_buffer_bytes(const bn_model_config *c, uint64_t n_rows, uint64_t n_lists)
{
    return rounded(bn_screen_panel_bytes(c->hidden, (uint32_t)n_rows)) +
           rounded(n_rows * bn_screen_groups(c->vocab) * sizeof(float)) +
           rounded(n_rows * c->vocab * sizeof(uint32_t)) + rounded(n_lists * sizeof(uint32_t));
}

static uint64_t head_buffer_bytes(const bn_model *model, const bn_stage_limits *limits)
{
    const bn_model_config *c = &model->config;
    uint64_t n_lists = (uint64_t)BN_STAGE_LOGITS_TOKENS * limits->threads;
    uint64_t n_rows = BN_STAGE_LOGITS_TOKENS;
    return rounded(n_rows * c->hidden * sizeof(float)) +
           rounded(n_rows * c->vocab * sizeof(float)) +
           rounded(n_lists * BN_STAGE_CANDIDATES_MAX * (sizeof(uint32_t) + sizeof(float))) +
           rounded(n_lists * sizeof(uint32_t)) +
           (has_screen(model) ? screen_buffer_bytes(c, n_rows, n_lists) : 0) +
           BN_STAGE_LOGITS_QUEUED * rounded(c->vocab * sizeof(float));
}

uint64_t bn_stage_bytes_buffers(const bn_model *model, bn_stage_span span,
                                const bn_stage_limits *limits)
{
    const bn_model_config *c = &model->config;
    uint64_t n_tokens = limits->step_tokens;
    uint64_t frame = rounded(BN_STAGE_STEP_BYTES) + rounded(n_tokens * c->hidden * sizeof(float));
    /* One frame more than steps, so that the next can arrive while all are under way. */
    uint64_t bytes = frame * (limits->steps_in_flight + 1ull) +
                     4 * rounded(n_tokens * sizeof(uint32_t)) + kv_table_bytes(limits);
    if (span.layer_begin < span.layer_end)
        bytes += scratch_bytes(c, n_tokens) + thread_bytes(c, limits);
    if (span.has_head) bytes += head_buffer_bytes(model, limits);
    return bytes;
}
