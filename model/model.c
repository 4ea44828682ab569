/* model.c — finds every tensor by meaning and checks it once.
 *
 * A tensor that no rule takes is an error too: a bias or a norm that were left out silently would
 * give wrong answers.
 */
#include "model/model.h"

#include "common/alloc.h"
#include "common/log.h"
#include "kernels/math.h"
#include "model/model_config.h"
#include "model/stage_bytes.h"
#include "model/tensor_type.h"
#include "model/trits.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define I2S_BLOCK 128u

typedef struct finder {
    const bn_model *model;
    bool *is_used; /* [n_tensors] */
    bn_status status;
} finder;

uint64_t bn_model_n_elements(const bn_gguf_tensor *tensor)
{
    return tensor->dims[0] * tensor->dims[1] * tensor->dims[2] * tensor->dims[3];
}

static void fail_dims(finder *f, const bn_gguf_tensor *tensor, uint64_t n_cols, uint64_t n_rows)
{
    f->status =
        bn_fail(BN_ERR_BAD_FILE, "MODEL-TENSOR",
                "%s: tensor %s is %" PRIu64 " × %" PRIu64 "%s; the keys say %" PRIu64 " × %" PRIu64,
                bn_gguf_path(f->model->file), tensor->name, tensor->dims[0], tensor->dims[1],
                tensor->n_dims > 2 ? " × …" : "", n_cols, n_rows);
}

/* NULL when absent; else its dims are [n_cols, n_rows]. */
static const bn_gguf_tensor *find_optional(finder *f, const char *name, uint64_t n_cols,
                                           uint64_t n_rows)
{
    const bn_gguf_tensor *tensor = bn_gguf_tensor_find(f->model->file, name);
    if (tensor == NULL || f->status != BN_OK) return NULL;
    f->is_used[tensor - bn_gguf_tensor_at(f->model->file, 0)] = true;
    if (tensor->dims[0] != n_cols || tensor->dims[1] != n_rows || tensor->dims[2] != 1 ||
        tensor->dims[3] != 1) {
        fail_dims(f, tensor, n_cols, n_rows);
        return NULL;
    }
    return tensor;
}

static const bn_gguf_tensor *find_needed(finder *f, const char *name, uint64_t n_cols,
                                         uint64_t n_rows)
{
    const bn_gguf_tensor *tensor = find_optional(f, name, n_cols, n_rows);
    if (tensor == NULL && f->status == BN_OK)
        f->status = bn_fail(BN_ERR_BAD_FILE, "MODEL-TENSOR", "%s: tensor %s is missing",
                            bn_gguf_path(f->model->file), name);
    return tensor;
}

static void fail_type(finder *f, const bn_gguf_tensor *tensor, const char *needed)
{
    if (f->status == BN_OK)
        f->status =
            bn_fail(BN_ERR_UNSUPPORTED, "MODEL-TENSOR",
                    "%s: tensor %s is of type %s (%" PRIu32 "); %s", bn_gguf_path(f->model->file),
                    tensor->name, bn_tensor_type_name(tensor->type), tensor->type, needed);
}

static void check_f32(finder *f, const bn_gguf_tensor *tensor)
{
    if (tensor != NULL && tensor->type != BN_TENSOR_F32) fail_type(f, tensor, "F32 is needed");
}

static bool is_half(uint32_t type)
{
    return type == BN_TENSOR_F16 || type == BN_TENSOR_BF16;
}

static const bn_gguf_tensor *find_norm(finder *f, const char *name, uint64_t n)
{
    const bn_gguf_tensor *tensor = find_needed(f, name, n, 1);
    if (tensor != NULL && tensor->type != BN_TENSOR_F32 && !is_half(tensor->type))
        fail_type(f, tensor, "F32, F16 or BF16 is needed");
    return tensor;
}

bool bn_model_dense_type(uint32_t type, bn_dense_type *type_out)
{
    switch (type) {
    case BN_TENSOR_F32: *type_out = BN_DENSE_F32; return true;
    case BN_TENSOR_F16: *type_out = BN_DENSE_F16; return true;
    case BN_TENSOR_BF16: *type_out = BN_DENSE_BF16; return true;
    case BN_TENSOR_Q8_0: *type_out = BN_DENSE_Q8_0; return true;
    case BN_TENSOR_Q6_K: *type_out = BN_DENSE_Q6_K; return true;
    case BN_TENSOR_Q4_0: *type_out = BN_DENSE_Q4_0; return true;
    case BN_TENSOR_Q5_0: *type_out = BN_DENSE_Q5_0; return true;
    case BN_TENSOR_Q4_K: *type_out = BN_DENSE_Q4_K; return true;
    case BN_TENSOR_Q2_0: *type_out = BN_DENSE_Q2_0; return true;
    case BN_TENSOR_Q2_0_128:
    case BN_TENSOR_PQ2_0: *type_out = BN_DENSE_Q2_0_128; return true;
    case BN_TENSOR_TQ1_0: *type_out = BN_DENSE_TQ1_0; return true;
    case BN_TENSOR_PTQ1_0: *type_out = BN_DENSE_PTQ1_0; return true;
    case BN_TENSOR_TQ2_0: *type_out = BN_DENSE_TQ2_0; return true;
    default: return false;
    }
}

static void check_dense(finder *f, const bn_gguf_tensor *tensor)
{
    bn_dense_type type;
    if (tensor != NULL && !bn_model_dense_type(tensor->type, &type))
        fail_type(f, tensor,
                  "an embedding or head may be F32, F16, BF16, Q8_0, Q6_K, Q5_0, Q4_K, Q4_0, Q2_0, "
                  "PQ2_0, TQ2_0, TQ1_0 or PTQ1_0");
}

/* "blk.7.attn_q.weight" */
static void name_of(char name[BN_GGUF_NAME_MAX], uint32_t layer, const char *part,
                    const char *suffix)
{
    snprintf(name, BN_GGUF_NAME_MAX, "blk.%" PRIu32 ".%s.%s", layer, part, suffix);
}

static const bn_gguf_tensor *find_layer_norm(finder *f, uint32_t layer, const char *part,
                                             uint64_t n)
{
    char name[BN_GGUF_NAME_MAX];
    name_of(name, layer, part, "weight");
    return find_norm(f, name, n);
}

static bn_model_linear find_linear(finder *f, uint32_t layer, const char *part, uint64_t n_cols,
                                   uint64_t n_rows)
{
    char name[BN_GGUF_NAME_MAX];
    bn_model_linear linear = {0};
    name_of(name, layer, part, "weight");
    linear.weight = find_needed(f, name, n_cols, n_rows);
    if (linear.weight == NULL) return linear;
    if (!bn_trits_can_read(linear.weight->type))
        fail_type(
            f, linear.weight,
            "ternary weights may be I2_S, TL1, TL2, TQ1_0, TQ2_0, Q2_0, PQ2_0, PTQ1_0, IQ1_BN, "
            "IQ2_BN, F16, BF16 or F32");
    else if (linear.weight->type == BN_TENSOR_I2_S && n_cols * n_rows % I2S_BLOCK != 0)
        f->status = bn_fail(BN_ERR_UNSUPPORTED, "MODEL-TENSOR",
                            "%s: tensor %s has %" PRIu64 " × %" PRIu64
                            " elements, not a multiple of %u as I2_S needs",
                            bn_gguf_path(f->model->file), name, n_cols, n_rows, I2S_BLOCK);
    name_of(name, layer, part, "scale");
    linear.post_scale = find_optional(f, name, 1, 1);
    check_f32(f, linear.post_scale);
    return linear;
}

static void find_layer(finder *f, uint32_t i, bn_model_layer *layer)
{
    const bn_model_config *c = &f->model->config;
    uint64_t q_size = (uint64_t)c->n_heads * c->head_size;
    uint64_t kv_size = (uint64_t)c->n_kv_heads * c->head_size;
    layer->attn_norm = find_layer_norm(f, i, "attn_norm", c->hidden);
    layer->ffn_norm = find_layer_norm(f, i, "ffn_norm", c->hidden);
    if (c->has_sub_norms) {
        layer->attn_sub_norm = find_layer_norm(f, i, "attn_sub_norm", q_size);
        layer->ffn_sub_norm = find_layer_norm(f, i, "ffn_sub_norm", c->ffn);
    }
    if (c->has_qk_norms) {
        layer->attn_q_norm = find_layer_norm(f, i, "attn_q_norm", c->head_size);
        layer->attn_k_norm = find_layer_norm(f, i, "attn_k_norm", c->head_size);
    }
    layer->attn_q = find_linear(f, i, "attn_q", c->hidden, q_size);
    layer->attn_k = find_linear(f, i, "attn_k", c->hidden, kv_size);
    layer->attn_v = find_linear(f, i, "attn_v", c->hidden, kv_size);
    layer->attn_output = find_linear(f, i, "attn_output", q_size, c->hidden);
    layer->ffn_gate = find_linear(f, i, "ffn_gate", c->hidden, c->ffn);
    layer->ffn_up = find_linear(f, i, "ffn_up", c->hidden, c->ffn);
    layer->ffn_down = find_linear(f, i, "ffn_down", c->ffn, c->hidden);
}

static void check_all_used(finder *f)
{
    const bn_gguf *file = f->model->file;
    for (uint64_t i = 0; i < bn_gguf_n_tensors(file) && f->status == BN_OK; i++)
        if (!f->is_used[i])
            f->status = bn_fail(BN_ERR_UNSUPPORTED, "MODEL-TENSOR",
                                "%s: tensor %s is not part of architecture %s with %" PRIu32
                                " layers; leaving it out would change the answer",
                                bn_gguf_path(file), bn_gguf_tensor_at(file, i)->name,
                                f->model->config.arch, f->model->config.n_layers);
}

static bn_status find_tensors(bn_model *model)
{
    bn_model_config *c = &model->config;
    finder f = {.model = model};
    f.is_used = bn_alloc((size_t)bn_gguf_n_tensors(model->file) + 1, sizeof *f.is_used);
    model->layers = bn_alloc(c->n_layers, sizeof *model->layers);
    if (f.is_used == NULL || model->layers == NULL) {
        bn_free(f.is_used);
        return bn_fail(BN_ERR_NO_MEMORY, "MODEL-OPEN", "%s: no memory", bn_gguf_path(model->file));
    }
    model->token_embd = find_needed(&f, "token_embd.weight", c->hidden, c->vocab);
    check_dense(&f, model->token_embd);
    model->output_norm = find_norm(&f, "output_norm.weight", c->hidden);
    model->output = find_optional(&f, "output.weight", c->hidden, c->vocab);
    check_dense(&f, model->output);
    c->is_tied = model->output == NULL;
    if (c->is_tied) model->output = model->token_embd;
    model->rope_freqs = find_optional(&f, "rope_freqs.weight", c->head_size / 2, 1);
    check_f32(&f, model->rope_freqs);
    if (model->rope_freqs != NULL && c->yarn.original_context != 0 && f.status == BN_OK)
        f.status = bn_fail(BN_ERR_UNSUPPORTED, "MODEL-TENSOR",
                           "%s: tensor rope_freqs.weight beside key %s.rope.scaling.type \"yarn\": "
                           "only one way of scaling positions is supported",
                           bn_gguf_path(model->file), c->arch);
    for (uint32_t i = 0; i < c->n_layers && f.status == BN_OK; i++)
        find_layer(&f, i, &model->layers[i]);
    check_all_used(&f);
    bn_free(f.is_used);
    return f.status;
}

/* The rows of the embedding are the vocabulary: no key is needed for it. */
static bn_status vocab_of(const bn_gguf *file, uint32_t *vocab_out)
{
    const bn_gguf_tensor *tensor = bn_gguf_tensor_find(file, "token_embd.weight");
    *vocab_out = 0;
    if (tensor == NULL) return BN_OK; /* said later, after what is wrong with the keys */
    if (tensor->dims[1] > BN_VOCAB_MAX)
        return bn_fail(BN_ERR_UNSUPPORTED, "MODEL-TENSOR",
                       "%s: tensor token_embd.weight has %" PRIu64 " rows; at most %u can be used",
                       bn_gguf_path(file), tensor->dims[1], BN_VOCAB_MAX);
    *vocab_out = (uint32_t)tensor->dims[1];
    return BN_OK;
}

bn_status bn_model_open(const char *path, bn_activation_choice activation, bn_model **model_out)
{
    bn_model *model = bn_alloc(1, sizeof *model);
    if (model == NULL) return bn_fail(BN_ERR_NO_MEMORY, "MODEL-OPEN", "%s: no memory", path);
    uint32_t vocab = 0;
    bn_status status = bn_gguf_open(path, &model->file);
    if (status == BN_OK) status = vocab_of(model->file, &vocab);
    if (status == BN_OK)
        status = bn_model_config_read(model->file, activation, vocab, &model->config);
    if (status == BN_OK) status = find_tensors(model);
    if (status != BN_OK) {
        bn_model_close(model);
        return status;
    }
    *model_out = model;
    return BN_OK;
}

void bn_model_close(bn_model *model)
{
    if (model == NULL) return;
    bn_free(model->layers);
    bn_gguf_close(model->file);
    bn_free(model);
}

/* Halves that stand in the upper half of `values` become floats from its start on. */
static void widen(uint32_t type, uint64_t n, float *values)
{
    const uint8_t *from = (const uint8_t *)values + n * sizeof(uint16_t);
    for (uint64_t i = 0; i < n; i++) {
        uint16_t half;
        memcpy(&half, from + i * sizeof half, sizeof half);
        values[i] = type == BN_TENSOR_F16 ? bn_f32_from_f16(half) : bn_f32_from_bf16(half);
    }
}

bn_status bn_model_read_f32(const bn_model *model, const bn_gguf_tensor *tensor, float *out,
                            uint64_t n)
{
    bool is_halves = is_half(tensor->type);
    BN_ASSERT((tensor->type == BN_TENSOR_F32 || is_halves) && n == bn_model_n_elements(tensor));
    uint8_t *to = (uint8_t *)out + n * (is_halves ? sizeof(uint16_t) : 0);
    BN_TRY(bn_gguf_read(model->file, tensor, 0, (size_t)tensor->n_bytes, to));
    if (is_halves) widen(tensor->type, n, out);
    for (uint64_t i = 0; i < n; i++)
        if (!isfinite(out[i]))
            return bn_fail(BN_ERR_BAD_FILE, "MODEL-TENSOR",
                           "%s: element %" PRIu64 " of tensor %s is not finite",
                           bn_gguf_path(model->file), i, tensor->name);
    return BN_OK;
}

static bn_status check_scale(const bn_model *model, const bn_gguf_tensor *tensor, float scale)
{
    if (isfinite(scale) && scale > 0.0f) return BN_OK;
    return bn_fail(BN_ERR_BAD_FILE, "MODEL-TENSOR",
                   "%s: the scale of tensor %s is %g; it must be finite and above 0",
                   bn_gguf_path(model->file), tensor->name, (double)scale);
}

bn_status bn_model_i2s_scale(const bn_model *model, const bn_gguf_tensor *tensor, float *scale_out)
{
    BN_ASSERT(tensor->type == BN_TENSOR_I2_S);
    float scale;
    uint64_t at = tensor->n_bytes - BN_TENSOR_I2S_TAIL_BYTES;
    BN_TRY(bn_gguf_read(model->file, tensor, at, sizeof scale, &scale));
    BN_TRY(check_scale(model, tensor, scale));
    *scale_out = scale;
    return BN_OK;
}

bn_status bn_model_post_scale(const bn_model *model, const bn_model_linear *linear,
                              float *scale_out)
{
    float scale = 1.0f;
    if (linear->post_scale != NULL) {
        BN_TRY(bn_gguf_read(model->file, linear->post_scale, 0, sizeof scale, &scale));
        BN_TRY(check_scale(model, linear->post_scale, scale));
    }
    *scale_out = scale;
    return BN_OK;
}

bn_status bn_model_fail_code(const bn_model *model, const bn_gguf_tensor *tensor, uint64_t index)
{
    return bn_fail(BN_ERR_BAD_FILE, "MODEL-TENSOR",
                   "%s: element %" PRIu64
                   " of tensor %s has code 3; only −1, 0 and 1 exist: the file is damaged",
                   bn_gguf_path(model->file), index, tensor->name);
}

bn_status bn_model_dense(const bn_model *model, const bn_gguf_tensor *tensor, const void *rows,
                         bn_dense *dense_out)
{
    bn_dense_type type;
    if (!bn_model_dense_type(tensor->type, &type))
        return bn_fail(BN_ERR_UNSUPPORTED, "MODEL-TENSOR",
                       "%s: tensor %s is of type %s (%" PRIu32 "), not a dense one",
                       bn_gguf_path(model->file), tensor->name, bn_tensor_type_name(tensor->type),
                       tensor->type);
    BN_ASSERT(tensor->dims[0] <= BN_HIDDEN_MAX && tensor->dims[1] <= BN_VOCAB_MAX);
    *dense_out = (bn_dense){
        .rows = rows,
        .type = type,
        .n_rows = (uint32_t)tensor->dims[1],
        .n_cols = (uint32_t)tensor->dims[0],
        .row_bytes = (size_t)(tensor->n_bytes / tensor->dims[1]),
    };
    return BN_OK;
}

void bn_model_stage_bytes(const bn_model *model, bn_stage_span span, const bn_stage_limits *limits,
                          bn_stage_bytes *bytes_out)
{
    BN_ASSERT(span.layer_begin <= span.layer_end && span.layer_end <= model->config.n_layers);
    *bytes_out = (bn_stage_bytes){
        .weights = bn_stage_bytes_weights(model, span),
        .kv = bn_stage_bytes_kv(&model->config, span.layer_end - span.layer_begin, limits),
        .buffers = bn_stage_bytes_buffers(model, span, limits),
        .mapped = span.has_embedding ? model->token_embd->n_bytes : 0,
    };
}

uint64_t bn_model_layer_walk_bytes(const bn_model *model, uint32_t layer)
{
    return bn_stage_bytes_layer(model, layer);
}

uint64_t bn_model_head_walk_bytes(const bn_model *model)
{
    return bn_stage_bytes_head_rows(model);
}

uint64_t bn_model_head_screen_bytes(const bn_model *model)
{
    return bn_stage_bytes_screen(model);
}

static uint64_t macs_of(const bn_gguf_tensor *weight)
{
    return weight->dims[0] * weight->dims[1];
}

uint64_t bn_model_layer_macs(const bn_model *model, uint32_t layer_index)
{
    const bn_model_layer *layer = &model->layers[layer_index];
    return macs_of(layer->attn_q.weight) + macs_of(layer->attn_k.weight) +
           macs_of(layer->attn_v.weight) + macs_of(layer->attn_output.weight) +
           macs_of(layer->ffn_gate.weight) + macs_of(layer->ffn_up.weight) +
           macs_of(layer->ffn_down.weight);
}

uint64_t bn_model_head_macs(const bn_model *model)
{
    return macs_of(model->output);
}
