#include "tests/model/shapes.h"

#include "common/alloc.h"
#include "model/tensor_type.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static const bn_gguf_tensor *tensor_new(uint32_t type, uint64_t n_cols, uint64_t n_rows)
{
    bn_gguf_tensor *tensor = bn_alloc(1, sizeof *tensor);
    assert_non_null(tensor);
    *tensor = (bn_gguf_tensor){.name = "t", .type = type, .n_dims = 2};
    tensor->dims[0] = n_cols;
    tensor->dims[1] = n_rows;
    tensor->dims[2] = tensor->dims[3] = 1;
    assert_true(bn_tensor_type_span(type, n_cols, n_cols * n_rows, &tensor->n_bytes));
    return tensor;
}

static bn_model_linear linear_new(uint64_t n_cols, uint64_t n_rows)
{
    return (bn_model_linear){.weight = tensor_new(BN_TENSOR_I2_S, n_cols, n_rows)};
}

bn_model *shape_new(const shape *s)
{
    uint64_t q = (uint64_t)s->n_heads * s->head_size, kv = (uint64_t)s->n_kv_heads * s->head_size;
    bn_model *model = bn_alloc(1, sizeof *model);
    assert_non_null(model);
    model->config = (bn_model_config){
        .arch = "bitnet",
        .n_layers = s->n_layers,
        .hidden = s->hidden,
        .ffn = s->ffn,
        .n_heads = s->n_heads,
        .n_kv_heads = s->n_kv_heads,
        .head_size = s->head_size,
        .vocab = s->vocab,
        .has_sub_norms = true,
    };
    model->token_embd = tensor_new(s->head_type, s->hidden, s->vocab);
    model->output = model->token_embd;
    model->output_norm = tensor_new(BN_TENSOR_F32, s->hidden, 1);
    model->layers = bn_alloc(s->n_layers, sizeof *model->layers);
    assert_non_null(model->layers);
    bn_model_layer layer = {
        .attn_norm = model->output_norm,
        .ffn_norm = model->output_norm,
        .attn_sub_norm = tensor_new(BN_TENSOR_F32, q, 1),
        .ffn_sub_norm = tensor_new(BN_TENSOR_F32, s->ffn, 1),
        .attn_q = linear_new(s->hidden, q),
        .attn_k = linear_new(s->hidden, kv),
        .attn_v = linear_new(s->hidden, kv),
        .attn_output = linear_new(q, s->hidden),
        .ffn_gate = linear_new(s->hidden, s->ffn),
        .ffn_up = linear_new(s->hidden, s->ffn),
        .ffn_down = linear_new(s->ffn, s->hidden),
    };
    for (uint32_t i = 0; i < s->n_layers; i++)
        model->layers[i] = layer; /* all layers share their tensors */
    return model;
}

static void tensor_free(const bn_gguf_tensor *tensor)
{
    bn_free((bn_gguf_tensor *)(uintptr_t)tensor);
}

void shape_free(bn_model *model)
{
    const bn_model_layer *layer = &model->layers[0];
    tensor_free(model->token_embd);
    tensor_free(model->output_norm);
    tensor_free(layer->attn_sub_norm);
    tensor_free(layer->ffn_sub_norm);
    const bn_model_linear linears[] = {layer->attn_q,      layer->attn_k,   layer->attn_v,
                                       layer->attn_output, layer->ffn_gate, layer->ffn_up,
                                       layer->ffn_down};
    for (size_t i = 0; i < sizeof linears / sizeof linears[0]; i++)
        tensor_free(linears[i].weight);
    bn_free(model->layers);
    bn_free(model);
}
