/* inspect_json.c — the same facts for programs; bytes and counts as plain numbers. */
#include "common/alloc.h"
#include "model/inspect.h"
#include "model/tensor_type.h"

#include <string.h>

static void set_string(bn_json *object, const char *key, bn_gguf_string text)
{
    char *copy = bn_alloc(text.n + 1, 1);
    if (copy != NULL && text.n > 0) memcpy(copy, text.bytes, text.n);
    if (copy != NULL) bn_json_set_text(object, key, copy);
    bn_free(copy);
}

static bn_json *yarn_json(const bn_rope_yarn *yarn)
{
    bn_json *json = bn_json_object();
    bn_json_set_double(json, "factor", (double)yarn->factor);
    bn_json_set_u64(json, "original_context", yarn->original_context);
    bn_json_set_double(json, "beta_fast", (double)yarn->beta_fast);
    bn_json_set_double(json, "beta_slow", (double)yarn->beta_slow);
    bn_json_set_double(json, "attn_factor", (double)yarn->attn_factor);
    return json;
}

static bn_json *model_json(const bn_model *model)
{
    const bn_model_config *c = &model->config;
    bn_json *json = bn_json_object();
    uint64_t layer_bytes = 0, macs = 0;
    for (uint32_t i = 0; i < c->n_layers; i++) {
        layer_bytes += bn_model_layer_walk_bytes(model, i);
        macs += bn_model_layer_macs(model, i);
    }
    bn_json_set_text(json, "architecture", c->arch);
    bn_json_set_u64(json, "layers", c->n_layers);
    bn_json_set_u64(json, "hidden", c->hidden);
    bn_json_set_u64(json, "ffn", c->ffn);
    bn_json_set_u64(json, "heads", c->n_heads);
    bn_json_set_u64(json, "kv_heads", c->n_kv_heads);
    bn_json_set_u64(json, "head_size", c->head_size);
    bn_json_set_u64(json, "vocab", c->vocab);
    bn_json_set_u64(json, "context", c->context);
    bn_json_set_double(json, "rms_eps", (double)c->rms_eps);
    bn_json_set_double(json, "rope_base", (double)c->rope_base);
    bn_json_set_text(json, "rope", c->rope_kind == BN_ROPE_NEOX ? "neox" : "norm");
    bn_json_set_text(json, "activation", c->activation == BN_ACTIVATION_SILU ? "silu" : "relu2");
    bn_json_set_bool(json, "sub_norms", c->has_sub_norms);
    bn_json_set_bool(json, "qk_norms", c->has_qk_norms);
    bn_json_set_u64(json, "activation_group_cols", c->activation_group_cols);
    if (c->yarn.original_context != 0) bn_json_set(json, "yarn", yarn_json(&c->yarn));
    bn_json_set_bool(json, "tied", c->is_tied);
    bn_json_set_text(json, "head_type", bn_tensor_type_name(model->output->type));
    bn_json_set_u64(json, "layer_bytes_per_token", layer_bytes);
    bn_json_set_u64(json, "head_bytes_per_token", bn_model_head_walk_bytes(model));
    bn_json_set_u64(json, "head_screen_bytes_per_token", bn_model_head_screen_bytes(model));
    bn_json_set_u64(json, "bytes_per_token", layer_bytes + bn_model_head_walk_bytes(model));
    bn_json_set_u64(json, "ternary_macs_per_token", macs);
    return json;
}

static bn_json *tokenizer_json(const bn_inspect_tokenizer *t)
{
    bn_json *json = bn_json_object();
    set_string(json, "model", t->model);
    if (t->pre.n > 0) set_string(json, "pre", t->pre);
    bn_json_set_u64(json, "tokens", t->n_tokens);
    bn_json_set_u64(json, "merges", t->n_merges);
    if (t->has_bos) bn_json_set_u64(json, "bos", t->bos);
    if (t->has_eos) bn_json_set_u64(json, "eos", t->eos);
    if (t->has_add_bos) bn_json_set_bool(json, "add_bos", t->add_bos);
    bn_json_set_bool(json, "chat_template", t->has_template);
    return json;
}

static bn_json *types_json(const bn_gguf *file)
{
    bn_inspect_type types[BN_INSPECT_TYPES_MAX];
    uint32_t n = bn_inspect_types(file, types);
    bn_json *json = bn_json_array();
    for (uint32_t i = 0; i < n; i++) {
        bn_json *type = bn_json_object();
        bn_json_set_text(type, "type", bn_tensor_type_name(types[i].type));
        bn_json_set_u64(type, "id", types[i].type);
        bn_json_set_u64(type, "tensors", types[i].n_tensors);
        bn_json_set_u64(type, "bytes", types[i].n_bytes);
        bn_json_add(json, type);
    }
    return json;
}

static bn_json *tensors_json(const bn_gguf *file)
{
    bn_json *json = bn_json_array();
    for (uint64_t i = 0; i < bn_gguf_n_tensors(file); i++) {
        const bn_gguf_tensor *tensor = bn_gguf_tensor_at(file, i);
        bn_json *item = bn_json_object(), *dims = bn_json_array();
        for (uint32_t k = 0; k < tensor->n_dims; k++)
            bn_json_add_u64(dims, tensor->dims[k]);
        bn_json_set_text(item, "name", tensor->name);
        bn_json_set_text(item, "type", bn_tensor_type_name(tensor->type));
        bn_json_set_u64(item, "type_id", tensor->type);
        bn_json_set(item, "dims", dims);
        bn_json_set_u64(item, "offset", tensor->offset);
        bn_json_set_u64(item, "bytes", tensor->n_bytes);
        bn_json_add(json, item);
    }
    return json;
}

static bn_json *stages_json(const bn_shard_plan *plan)
{
    bn_json *json = bn_json_array();
    for (uint32_t i = 0; i < plan->n_stages; i++) {
        const bn_plan_stage *stage = &plan->stages[i];
        bn_json *item = bn_json_object();
        bn_json_set_u64(item, "layer_begin", stage->span.layer_begin);
        bn_json_set_u64(item, "layer_end", stage->span.layer_end);
        bn_json_set_bool(item, "embedding", stage->span.has_embedding);
        bn_json_set_bool(item, "head", stage->span.has_head);
        bn_json_set_u64(item, "weights", stage->bytes.weights);
        bn_json_set_u64(item, "kv", stage->bytes.kv);
        bn_json_set_u64(item, "buffers", stage->bytes.buffers);
        bn_json_set_u64(item, "mapped", stage->bytes.mapped);
        bn_json_add(json, item);
    }
    return json;
}

static bn_json *health_json(const bn_health *health)
{
    bn_json *json = bn_json_object(), *damaged = bn_json_array();
    for (uint32_t i = 0; i < health->n_findings; i++) {
        bn_json *item = bn_json_object();
        bn_json_set_text(item, "tensor", health->findings[i].tensor->name);
        bn_json_set_text(item, "finding", health->findings[i].text);
        bn_json_add(damaged, item);
    }
    bn_json_set_u64(json, "tensors", health->n_tensors);
    bn_json_set(json, "damaged", damaged);
    return json;
}

bn_json *bn_inspect_json(const bn_inspect_report *report)
{
    char identity[33];
    bn_json *json = bn_json_object();
    bn_hash128_text(report->identity, identity);
    bn_json_set_text(json, "file", bn_gguf_path(report->file));
    bn_json_set_u64(json, "bytes", bn_gguf_file_bytes(report->file));
    bn_json_set_u64(json, "gguf_version", bn_gguf_version(report->file));
    bn_json_set_u64(json, "keys", bn_gguf_n_keys(report->file));
    bn_json_set_text(json, "identity", identity);
    if (report->model != NULL) bn_json_set(json, "model", model_json(report->model));
    if (report->tokenizer.is_present)
        bn_json_set(json, "tokenizer", tokenizer_json(&report->tokenizer));
    bn_json_set(json, "types", types_json(report->file));
    if (report->health != NULL) bn_json_set(json, "check", health_json(report->health));
    if (report->lists_tensors) bn_json_set(json, "tensors", tensors_json(report->file));
    if (report->plan != NULL) bn_json_set(json, "stages", stages_json(report->plan));
    return json;
}
