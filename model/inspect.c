/* inspect.c — facts gathered once, then printed. */
#include "model/inspect.h"

#include "common/alloc.h"
#include "common/log.h"
#include "common/progress.h"
#include "model/tensor_type.h"

#include <inttypes.h>
#include <string.h>

bn_status bn_inspect_tokenizer_read(const bn_gguf *file, bn_inspect_tokenizer *out)
{
    bn_inspect_tokenizer t = {0};
    bn_gguf_array array;
    bn_gguf_string text;
    bn_status status = BN_OK;
    t.is_present = bn_gguf_get_string(file, "tokenizer.ggml.model", &t.model, &status);
    (void)bn_gguf_get_string(file, "tokenizer.ggml.pre", &t.pre, &status);
    if (bn_gguf_get_array(file, "tokenizer.ggml.tokens", BN_GGUF_STRING, &array, &status))
        t.n_tokens = array.n;
    if (bn_gguf_get_array(file, "tokenizer.ggml.merges", BN_GGUF_STRING, &array, &status))
        t.n_merges = array.n;
    t.has_bos = bn_gguf_get_u32(file, "tokenizer.ggml.bos_token_id", &t.bos, &status);
    t.has_eos = bn_gguf_get_u32(file, "tokenizer.ggml.eos_token_id", &t.eos, &status);
    t.has_add_bos = bn_gguf_get_bool(file, "tokenizer.ggml.add_bos_token", &t.add_bos, &status);
    t.has_template = bn_gguf_get_string(file, "tokenizer.chat_template", &text, &status);
    if (status == BN_OK) *out = t;
    return status;
}

static bn_status check_norm(const bn_model *model, const bn_gguf_tensor *norm)
{
    if (norm == NULL) return BN_OK;
    uint64_t n = bn_model_n_elements(norm);
    float *values = bn_alloc((size_t)n, sizeof *values);
    if (values == NULL)
        return bn_fail(BN_ERR_NO_MEMORY, "MODEL-TENSOR", "no memory for tensor %s", norm->name);
    bn_status status = bn_model_read_f32(model, norm, values, n);
    bn_free(values);
    return status;
}

static bn_status check_linear(const bn_model *model, const bn_model_linear *linear)
{
    float scale;
    if (linear->weight->type == BN_TENSOR_I2_S)
        BN_TRY(bn_model_i2s_scale(model, linear->weight, &scale));
    return bn_model_post_scale(model, linear, &scale);
}

bn_status bn_inspect_check(const bn_model *model)
{
    bn_status status = check_norm(model, model->output_norm);
    if (status == BN_OK) status = check_norm(model, model->rope_freqs);
    for (uint32_t i = 0; i < model->config.n_layers && status == BN_OK; i++) {
        const bn_model_layer *layer = &model->layers[i];
        const bn_gguf_tensor *norms[] = {layer->attn_norm,     layer->ffn_norm,
                                         layer->attn_sub_norm, layer->ffn_sub_norm,
                                         layer->attn_q_norm,   layer->attn_k_norm};
        const bn_model_linear *linears[] = {&layer->attn_q,      &layer->attn_k,   &layer->attn_v,
                                            &layer->attn_output, &layer->ffn_gate, &layer->ffn_up,
                                            &layer->ffn_down};
        for (size_t k = 0; k < sizeof norms / sizeof norms[0] && status == BN_OK; k++)
            status = check_norm(model, norms[k]);
        for (size_t k = 0; k < sizeof linears / sizeof linears[0] && status == BN_OK; k++)
            status = check_linear(model, linears[k]);
    }
    return status;
}

uint32_t bn_inspect_types(const bn_gguf *file, bn_inspect_type types[BN_INSPECT_TYPES_MAX])
{
    uint32_t n = 0;
    for (uint64_t i = 0; i < bn_gguf_n_tensors(file); i++) {
        const bn_gguf_tensor *tensor = bn_gguf_tensor_at(file, i);
        uint32_t k = 0;
        while (k < n && types[k].type != tensor->type)
            k++;
        if (k == BN_INSPECT_TYPES_MAX) continue;
        if (k == n) types[n++] = (bn_inspect_type){.type = tensor->type};
        types[k].n_tensors++;
        types[k].n_bytes += tensor->n_bytes;
    }
    return n;
}

/* A text from the file: cut, and nothing in it may steer a terminal. */
static void print_text(const char *label, bn_gguf_string text, FILE *stream)
{
    fputs(label, stream);
    for (size_t i = 0; i < text.n && i < 64; i++)
        fputc((unsigned char)text.bytes[i] < 0x20 || text.bytes[i] == 0x7f ? '?' : text.bytes[i],
              stream);
}

static void print_tokenizer(const bn_inspect_tokenizer *t, FILE *stream)
{
    if (!t->is_present) {
        fprintf(stream, "tokenizer     none: eval --tokens and bench only\n");
        return;
    }
    print_text("tokenizer     ", t->model, stream);
    if (t->pre.n > 0) print_text(", pre ", t->pre, stream);
    fprintf(stream, ", %" PRIu64 " tokens, %" PRIu64 " merges", t->n_tokens, t->n_merges);
    if (t->has_bos) fprintf(stream, ", bos %" PRIu32, t->bos);
    if (t->has_eos) fprintf(stream, ", eos %" PRIu32, t->eos);
    if (t->has_add_bos) fprintf(stream, ", add bos %s", t->add_bos ? "yes" : "no");
    fprintf(stream, ", chat template %s\n", t->has_template ? "yes" : "no");
}

static void print_types(const bn_gguf *file, FILE *stream)
{
    bn_inspect_type types[BN_INSPECT_TYPES_MAX];
    uint32_t n = bn_inspect_types(file, types);
    for (uint32_t i = 0; i < n; i++) {
        char bytes[16];
        bn_progress_bytes_text(types[i].n_bytes, bytes);
        fprintf(stream, "%-14s%" PRIu64 " × %s, %s\n", i == 0 ? "tensors" : "", types[i].n_tensors,
                bn_tensor_type_name(types[i].type), types[i].n_bytes != 0 ? bytes : "size unknown");
    }
}

static void print_model(const bn_model *model, FILE *stream)
{
    const bn_model_config *c = &model->config;
    char layers[16], head[16], total[16];
    uint64_t layer_bytes = 0, macs = 0;
    for (uint32_t i = 0; i < c->n_layers; i++) {
        layer_bytes += bn_model_layer_walk_bytes(model, i);
        macs += bn_model_layer_macs(model, i);
    }
    uint64_t head_bytes = bn_model_head_walk_bytes(model);
    bn_progress_bytes_text(layer_bytes, layers);
    bn_progress_bytes_text(head_bytes, head);
    bn_progress_bytes_text(layer_bytes + head_bytes, total);
    char quantised[32] = "per token";
    if (c->activation_group_cols != 0)
        snprintf(quantised, sizeof quantised, "per %" PRIu32 " columns", c->activation_group_cols);
    fprintf(stream, "architecture  %s: %s rope, %s, %s%s, int8 activations %s\n", c->arch,
            c->rope_kind == BN_ROPE_NEOX ? "neox" : "norm",
            c->activation == BN_ACTIVATION_SILU ? "SiLU" : "squared ReLU",
            c->has_sub_norms ? "sub-norms" : "no sub-norms",
            c->has_qk_norms ? ", norms of q and k" : "", quantised);
    fprintf(stream,
            "shape         %" PRIu32 " layers, hidden %" PRIu32 ", ffn %" PRIu32 ", %" PRIu32
            " heads of %" PRIu32 ", %" PRIu32 " key/value heads\n",
            c->n_layers, c->hidden, c->ffn, c->n_heads, c->head_size, c->n_kv_heads);
    fprintf(stream, "vocabulary    %" PRIu32 " rows, %s head of type %s\n", c->vocab,
            c->is_tied ? "tied" : "separate", bn_tensor_type_name(model->output->type));
    fprintf(stream, "context       %" PRIu32 " positions, rope base %g%s, rms eps %g\n", c->context,
            (double)c->rope_base, model->rope_freqs != NULL ? " with frequency factors" : "",
            (double)c->rms_eps);
    if (c->yarn.original_context != 0)
        fprintf(stream,
                "yarn          factor %g on %" PRIu32
                " positions, turns %g to %g, cos and sin times %.6g\n",
                (double)c->yarn.factor, c->yarn.original_context, (double)c->yarn.beta_slow,
                (double)c->yarn.beta_fast, bn_rope_yarn_magnitude(&c->yarn));
    fprintf(stream,
            "per token     %s read in decoding: %s of layers, %s of norm and head; %" PRIu64
            " ternary multiply-adds\n",
            total, layers, head, macs);
    if (bn_model_head_screen_bytes(model) > 0) {
        bn_progress_bytes_text(bn_model_head_screen_bytes(model), head);
        bn_progress_bytes_text(layer_bytes + bn_model_head_screen_bytes(model), total);
        fprintf(stream,
                "              %s when the head is screened: %s of int8 rows, and the few rows "
                "that survive\n",
                total, head);
    }
}

static void print_tensors(const bn_gguf *file, FILE *stream)
{
    fprintf(stream, "\n%-32s  %-8s  %-20s  %14s  %14s\n", "tensor", "type", "dimensions", "offset",
            "bytes");
    for (uint64_t i = 0; i < bn_gguf_n_tensors(file); i++) {
        const bn_gguf_tensor *tensor = bn_gguf_tensor_at(file, i);
        char dims[96], type[24];
        size_t n = 0;
        for (uint32_t k = 0; k < tensor->n_dims; k++)
            n += (size_t)snprintf(dims + n, sizeof dims - n, "%s%" PRIu64, k == 0 ? "" : " x ",
                                  tensor->dims[k]);
        snprintf(type, sizeof type, "%s", bn_tensor_type_name(tensor->type));
        if (strcmp(type, "unknown") == 0) snprintf(type, sizeof type, "id %" PRIu32, tensor->type);
        fprintf(stream, "%-32s  %-8s  %-20s  %14" PRIu64 "  %14" PRIu64 "\n", tensor->name, type,
                dims, tensor->offset, tensor->n_bytes);
    }
}

static void print_health(const bn_health *health, FILE *stream)
{
    if (health->n_findings == 0) {
        fprintf(stream, "check         %" PRIu32 " tensors read, nothing wrong\n",
                health->n_tensors);
        return;
    }
    fprintf(stream, "check         %" PRIu32 " of %" PRIu32 " tensors cannot be right:\n",
            health->n_findings, health->n_tensors);
    for (uint32_t i = 0; i < health->n_findings; i++)
        fprintf(stream, "              %s: %s\n", health->findings[i].tensor->name,
                health->findings[i].text);
}

void bn_inspect_print(const bn_inspect_report *report, FILE *stream)
{
    char bytes[16], identity[33];
    bn_progress_bytes_text(bn_gguf_file_bytes(report->file), bytes);
    bn_hash128_text(report->identity, identity);
    fprintf(stream, "file          %s\n", bn_gguf_path(report->file));
    fprintf(stream,
            "              %s, GGUF version %" PRIu32 ", %" PRIu64 " keys, %" PRIu64 " tensors\n",
            bytes, bn_gguf_version(report->file), bn_gguf_n_keys(report->file),
            bn_gguf_n_tensors(report->file));
    fprintf(stream, "identity      %s\n", identity);
    if (report->model != NULL)
        print_model(report->model, stream);
    else
        fprintf(stream, "model         none: the file holds no tensors\n");
    print_tokenizer(&report->tokenizer, stream);
    print_types(report->file, stream);
    if (report->health != NULL) print_health(report->health, stream);
    if (report->lists_tensors) print_tensors(report->file, stream);
    if (report->plan == NULL) return;
    fprintf(stream,
            "\n%" PRIu32 " stages with %" PRIu32 " slots of %" PRIu32 " positions, %" PRIu32
            " tokens in a step, %" PRIu32 " threads each\n",
            report->plan->n_stages, report->limits.slots, report->limits.context,
            report->limits.step_tokens, report->limits.threads);
    bn_shard_plan_print(report->plan, report->workers, stream);
}
