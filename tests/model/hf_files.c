#include "tests/model/hf_files.h"

#include "tests/common/cmocka_all.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TENSORS_MAX 32
#define DATA_MAX (1u << 17)
#define HIDDEN 32u
#define Q 32u
#define KV 16u
#define HEAD 8u
#define FFN 64u
#define VOCAB 16u

#define SIZES                                                                                      \
    "\"num_hidden_layers\": 1, \"hidden_size\": 32, \"intermediate_size\": 64, "                   \
    "\"num_attention_heads\": 4, \"num_key_value_heads\": 2, \"vocab_size\": 16, "                 \
    "\"max_position_embeddings\": 128, \"rms_norm_eps\": 1e-05, \"rope_theta\": 10000.0, "

static const char *const configs[] = {
    [HF_BITNET] = "{\"architectures\": [\"BitNetForCausalLM\"], \"model_type\": \"bitnet\", " SIZES
                  "\"hidden_act\": \"relu2\", \"tie_word_embeddings\": true, "
                  "\"quantization_config\": {\"quant_method\": \"bitnet\", \"linear_class\": "
                  "\"autobitlinear\", \"quantization_mode\": \"offline\"}}",
    [HF_1BITLLM] = "{\"architectures\": [\"BitnetForCausalLM\"], \"model_type\": \"llama\", " SIZES
                   "\"hidden_act\": \"silu\", \"tie_word_embeddings\": true, \"weight_bits\": 1, "
                   "\"input_bits\": 8, \"rope_scaling\": null}",
    [HF_LLAMA] = "{\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": \"llama\", " SIZES
                 "\"hidden_act\": \"silu\", \"tie_word_embeddings\": false, \"rope_scaling\": "
                 "null, \"attention_bias\": false, \"quantization_config\": {\"quant_method\": "
                 "\"bitnet\", \"modules_to_not_convert\": null}}",
    [HF_QWEN3] = "{\"architectures\": [\"Qwen3ForCausalLM\"], \"model_type\": \"qwen3\", " SIZES
                 "\"hidden_act\": \"silu\", \"head_dim\": 8, \"tie_word_embeddings\": true, "
                 "\"use_sliding_window\": false, \"sliding_window\": 4096, \"rope_scaling\": "
                 "{\"rope_type\": \"yarn\", \"factor\": 4.0, "
                 "\"original_max_position_embeddings\": 32}}",
};

typedef struct tensor {
    char name[96];
    const char *dtype;
    uint64_t dims[2];
    uint32_t n_dims;
    float value; /* of a weight_scale */
    uint64_t at, n_bytes;
} tensor;

static char folder[64];
static tensor tensors[TENSORS_MAX];
static uint32_t n_tensors;
static uint8_t data[DATA_MAX];
static uint64_t n_data;

static tensor *add(const char *name, const char *dtype, uint64_t rows, uint64_t cols)
{
    tensor *t = &tensors[n_tensors++];
    assert_true(n_tensors <= TENSORS_MAX);
    *t = (tensor){.dtype = dtype, .dims = {rows, cols}, .n_dims = cols == 0 ? 1 : 2};
    snprintf(t->name, sizeof t->name, "%s", name);
    return t;
}

static void add_linear(hf_kind kind, const char *name, uint64_t rows, uint64_t cols)
{
    char full[96];
    bool is_packed = kind == HF_BITNET || kind == HF_LLAMA;
    snprintf(full, sizeof full, "model.layers.0.%s.weight", name);
    (void)add(full, is_packed ? "U8" : "F16", is_packed ? rows / 4 : rows, cols);
    snprintf(full, sizeof full, "model.layers.0.%s.weight_scale", name);
    if (is_packed) add(full, "BF16", 1, 0)->value = 0.5f;
}

static void add_norm(hf_kind kind, const char *name, uint64_t n)
{
    (void)add(name, kind == HF_BITNET || kind == HF_LLAMA ? "BF16" : "F16", n, 0);
}

static void add_all(const hf_change *change)
{
    hf_kind kind = change->kind;
    const char *dtype = kind == HF_BITNET || kind == HF_LLAMA ? "BF16" : "F16";
    (void)add("model.embed_tokens.weight", dtype, VOCAB, HIDDEN);
    add_norm(kind, "model.layers.0.input_layernorm.weight", HIDDEN);
    add_norm(kind, "model.layers.0.post_attention_layernorm.weight", HIDDEN);
    add_norm(kind, "model.norm.weight", HIDDEN);
    add_linear(kind, "self_attn.q_proj", Q, HIDDEN);
    add_linear(kind, "self_attn.k_proj", KV, HIDDEN);
    add_linear(kind, "self_attn.v_proj", KV, HIDDEN);
    add_linear(kind, "self_attn.o_proj", HIDDEN, Q);
    add_linear(kind, "mlp.gate_proj", FFN, HIDDEN);
    add_linear(kind, "mlp.up_proj", FFN, HIDDEN);
    add_linear(kind, "mlp.down_proj", HIDDEN, FFN);
    if (kind == HF_BITNET) {
        add_norm(kind, "model.layers.0.self_attn.attn_sub_norm.weight", Q);
        add_norm(kind, "model.layers.0.mlp.ffn_sub_norm.weight", FFN);
    } else if (kind == HF_1BITLLM) {
        add_norm(kind, "model.layers.0.self_attn.inner_attn_ln.weight", Q);
        add_norm(kind, "model.layers.0.mlp.ffn_layernorm.weight", FFN);
        (void)add("model.layers.0.self_attn.rotary_emb.inv_freq", "F32", HEAD / 2, 0);
    } else if (kind == HF_QWEN3) {
        add_norm(kind, "model.layers.0.self_attn.q_norm.weight", HEAD);
        add_norm(kind, "model.layers.0.self_attn.k_norm.weight", HEAD);
    }
    if (kind == HF_LLAMA || change->has_head) (void)add("lm_head.weight", dtype, VOCAB, HIDDEN);
    if (change->extra != NULL) (void)add(change->extra, "F16", 4, 0);
}

static void apply(const hf_change *change)
{
    if (change->tensor == NULL) return;
    uint32_t i = 0;
    while (i < n_tensors && strcmp(tensors[i].name, change->tensor) != 0)
        i++;
    if (i == n_tensors) fail_msg("no tensor %s to change", change->tensor);
    tensor *t = &tensors[i];
    if (change->dtype != NULL) t->dtype = change->dtype;
    if (change->scale != NULL) t->value = *change->scale;
    if (change->rows != 0) t->dims[0] = change->rows;
    if (change->cols != 0) t->dims[1] = change->cols, t->n_dims = 2;
    if (change->rename != NULL) snprintf(t->name, sizeof t->name, "%s", change->rename);
    if (change->drop) *t = tensors[--n_tensors];
}

static uint32_t element_bytes(const char *dtype)
{
    return strcmp(dtype, "U8") == 0 ? 1 : strcmp(dtype, "F32") == 0 ? 4 : 2;
}

/* Legal codes, small floats, the value of a scale. */
static void fill(const tensor *t, bool head_differs)
{
    uint8_t *to = data + t->at;
    if (t->value != 0.0f) {
        uint32_t bits;
        memcpy(&bits, &t->value, sizeof bits);
        for (uint64_t i = 0; i + 1 < t->n_bytes; i += 2) {
            to[i] = (uint8_t)(bits >> 16);
            to[i + 1] = (uint8_t)(bits >> 24);
        }
        if (strcmp(t->dtype, "F32") == 0) memcpy(to, &bits, sizeof bits);
        return;
    }
    for (uint64_t i = 0; i < t->n_bytes; i++)
        to[i] = strcmp(t->dtype, "U8") == 0 ? (uint8_t)((i % 3) | (i / 3 % 3) << 2 | 2u << 4)
                : i % 2 == 0                ? (uint8_t)i
                                            : 0x3c;
    if (head_differs && strcmp(t->name, "lm_head.weight") == 0) to[t->n_bytes - 2] ^= 1;
}

/* F32 first, bytes last, so that all are aligned. */
static void place(const hf_change *change, uint32_t begin, uint32_t end)
{
    for (uint32_t bytes = 4; bytes > 0; bytes /= 2)
        for (uint32_t i = begin; i < end; i++) {
            tensor *t = &tensors[i];
            if (element_bytes(t->dtype) != bytes) continue;
            t->at = n_data;
            t->n_bytes = t->dims[0] * (t->n_dims == 2 ? t->dims[1] : 1) * bytes;
            assert_true(t->n_bytes <= DATA_MAX - n_data);
            n_data += t->n_bytes;
            fill(t, change->head_differs);
        }
}

static FILE *create(const char *name)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *stream = fopen(path, "wb");
    assert_non_null(stream);
    return stream;
}

static void write_shard(const hf_change *change, const char *name, uint32_t begin, uint32_t end)
{
    char header[8192];
    uint64_t first = n_data, n = 0;
    place(change, begin, end);
    for (uint32_t i = begin; i < end; i++) {
        const tensor *t = &tensors[i];
        n += (uint64_t)snprintf(header + n, sizeof header - n,
                                "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[%" PRIu64,
                                i == begin ? "{" : ",", t->name, t->dtype, t->dims[0]);
        if (t->n_dims == 2)
            n += (uint64_t)snprintf(header + n, sizeof header - n, ",%" PRIu64, t->dims[1]);
        n += (uint64_t)snprintf(header + n, sizeof header - n,
                                "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}", t->at - first,
                                t->at - first + t->n_bytes);
    }
    header[n++] = '}';
    while (n % 8 != 0)
        header[n++] = ' ';
    FILE *stream = create(name);
    assert_int_equal(fwrite(&n, 8, 1, stream), 1);
    assert_int_equal(fwrite(header, 1, n, stream), n);
    assert_int_equal(fwrite(data + first, 1, n_data - first, stream), n_data - first);
    assert_int_equal(fclose(stream), 0);
}

static void write_config(const hf_change *change)
{
    const char *text = configs[change->kind];
    FILE *stream = create("config.json");
    const char *at = change->from == NULL ? text + strlen(text) : strstr(text, change->from);
    if (at == NULL) fail_msg("no %s in the config", change->from);
    fprintf(stream, "%.*s", (int)(at - text), text);
    if (change->from != NULL) fprintf(stream, "%s%s", change->to, at + strlen(change->from));
    assert_int_equal(fclose(stream), 0);
}

#define FIRST "model-00001-of-00002.safetensors"
#define SECOND "model-00002-of-00002.safetensors"

const char *hf_files_make(const hf_change *change)
{
    hf_files_remove();
    snprintf(folder, sizeof folder, "/tmp/bn-hf-files-%ld-XXXXXX", (long)getpid());
    assert_non_null(mkdtemp(folder));
    n_tensors = 0;
    n_data = 0;
    add_all(change);
    apply(change);
    write_config(change);
    if (!change->is_sharded) {
        write_shard(change, "model.safetensors", 0, n_tensors);
        return folder;
    }
    uint32_t half = n_tensors / 2;
    write_shard(change, FIRST, 0, half);
    write_shard(change, SECOND, half, n_tensors);
    FILE *stream = create("model.safetensors.index.json");
    fprintf(stream, "{\"weight_map\":{");
    for (uint32_t i = 0; i < n_tensors; i++)
        fprintf(stream, "%s\"%s\":\"%s\"", i == 0 ? "" : ",", tensors[i].name,
                i < half ? FIRST : SECOND);
    fprintf(stream, "}}");
    assert_int_equal(fclose(stream), 0);
    return folder;
}

void hf_files_remove(void)
{
    static const char *const names[] = {"config.json", "model.safetensors", FIRST, SECOND,
                                        "model.safetensors.index.json"};
    char path[128];
    if (folder[0] == '\0') return;
    for (size_t i = 0; i < BN_COUNT(names); i++) {
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        unlink(path);
    }
    rmdir(folder);
    folder[0] = '\0';
}

const uint8_t *hf_files_tensor(const char *name, uint64_t *n_out)
{
    for (uint32_t i = 0; i < n_tensors; i++)
        if (strcmp(tensors[i].name, name) == 0) {
            *n_out = tensors[i].n_bytes;
            return data + tensors[i].at;
        }
    fail_msg("no tensor %s", name);
    return NULL;
}
