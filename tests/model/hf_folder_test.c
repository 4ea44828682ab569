/* hf_folder_test.c
 * What: a Hugging Face folder opens as the GGUF that its model would be: keys, names, types,
 *       places, scales of both senses, frequencies; one that is wrong is refused with a text that
 *       names file and key or tensor.
 * How:  tiny folders; each wrong one differs from a right one in one place.
 */
#include "common/log.h"
#include "kernels/math.h"
#include "model/model.h"
#include "tests/common/cmocka_all.h"
#include "tests/model/hf_files.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static bn_gguf *open_right(const hf_change *change)
{
    bn_gguf *file = NULL;
    if (bn_gguf_open(hf_files_make(change), &file) != BN_OK)
        fail_msg("refused: %s", bn_log_last_error());
    return file;
}

static void check_u32(const bn_gguf *file, const char *key, uint32_t expected)
{
    bn_status status = BN_OK;
    uint32_t value = 0;
    if (!bn_gguf_get_u32(file, key, &value, &status) || value != expected)
        fail_msg("key %s is %u, not %u", key, value, expected);
}

static void check_f32(const bn_gguf *file, const char *key, float expected)
{
    bn_status status = BN_OK;
    float value = 0;
    if (!bn_gguf_get_f32(file, key, &value, &status) || value != expected)
        fail_msg("key %s is %g, not %g", key, (double)value, (double)expected);
}

/* NULL: absent. */
static void check_text(const bn_gguf *file, const char *key, const char *expected)
{
    bn_status status = BN_OK;
    bn_gguf_string value = {"", 0};
    bool is_there = bn_gguf_get_string(file, key, &value, &status);
    if (is_there != (expected != NULL) ||
        (is_there && (value.n != strlen(expected) || memcmp(value.bytes, expected, value.n) != 0)))
        fail_msg("key %s is \"%.*s\"", key, (int)value.n, value.bytes);
}

static const bn_gguf_tensor *check_tensor(const bn_gguf *file, const char *gguf, const char *hf,
                                          uint32_t type, uint64_t n_cols, uint64_t n_rows)
{
    static uint8_t bytes[1 << 14];
    uint64_t n;
    const uint8_t *expected = hf_files_tensor(hf, &n);
    const bn_gguf_tensor *tensor = bn_gguf_tensor_find(file, gguf);
    if (tensor == NULL) fail_msg("no tensor %s", gguf);
    assert_int_equal(tensor->type, type);
    assert_int_equal(tensor->dims[0], n_cols);
    assert_int_equal(tensor->dims[1], n_rows);
    assert_int_equal(tensor->n_bytes, n);
    assert_true(n <= sizeof bytes);
    assert_int_equal(bn_gguf_read(file, tensor, 0, (size_t)n, bytes), BN_OK);
    assert_memory_equal(bytes, expected, n);
    return tensor;
}

static void test_a_packed_bitnet_is_read(void **state)
{
    (void)state;
    for (int is_sharded = 0; is_sharded < 2; is_sharded++) {
        bn_gguf *file = open_right(&(hf_change){.is_sharded = is_sharded != 0});
        check_text(file, "general.architecture", "bitnet-b1.58");
        check_u32(file, "bitnet-b1.58.block_count", 1);
        check_u32(file, "bitnet-b1.58.embedding_length", 32);
        check_u32(file, "bitnet-b1.58.feed_forward_length", 64);
        check_u32(file, "bitnet-b1.58.attention.head_count", 4);
        check_u32(file, "bitnet-b1.58.attention.head_count_kv", 2);
        check_u32(file, "bitnet-b1.58.context_length", 128);
        check_u32(file, "bitnet-b1.58.vocab_size", 16);
        check_u32(file, "bitnet-b1.58.rope.dimension_count", 8);
        check_f32(file, "bitnet-b1.58.rope.freq_base", 10000.0f);
        check_f32(file, "bitnet-b1.58.attention.layer_norm_rms_epsilon", 1e-5f);
        check_text(file, "bitnet-b1.58.hidden_act", "relu2");
        assert_int_equal(bn_gguf_n_tensors(file), 13);
        assert_null(bn_gguf_tensor_find(file, "output.weight"));
        (void)check_tensor(file, "token_embd.weight", "model.embed_tokens.weight", BN_TENSOR_BF16,
                           32, 16);
        (void)check_tensor(file, "blk.0.attn_sub_norm.weight",
                           "model.layers.0.self_attn.attn_sub_norm.weight", BN_TENSOR_BF16, 32, 1);
        const bn_gguf_tensor *down =
            check_tensor(file, "blk.0.ffn_down.weight", "model.layers.0.mlp.down_proj.weight",
                         BN_TENSOR_HF_TERNARY, 64, 32);
        assert_true(down->scale == 0.5f && down->head_rows == 0);
        assert_int_equal(bn_gguf_tensor_find(file, "blk.0.attn_q.weight")->head_rows, 0);
        bn_gguf_close(file);
    }
}

static void test_llama_divides_and_reorders(void **state)
{
    (void)state;
    static const float stored = 3.0f;
    bn_gguf *file =
        open_right(&(hf_change){.kind = HF_LLAMA,
                                .tensor = "model.layers.0.self_attn.q_proj.weight_scale",
                                .scale = &stored});
    check_text(file, "general.architecture", "llama");
    check_text(file, "llama.hidden_act", NULL);
    check_text(file, "llama.rope.scaling.type", NULL);
    const bn_gguf_tensor *q =
        check_tensor(file, "blk.0.attn_q.weight", "model.layers.0.self_attn.q_proj.weight",
                     BN_TENSOR_HF_TERNARY, 32, 32);
    assert_true(q->scale == 1.0f / 3.0f);
    assert_int_equal(q->head_rows, 8);
    const bn_gguf_tensor *k = bn_gguf_tensor_find(file, "blk.0.attn_k.weight");
    assert_true(k->scale == 2.0f);
    assert_int_equal(k->head_rows, 8);
    assert_int_equal(bn_gguf_tensor_find(file, "blk.0.attn_v.weight")->head_rows, 0);
    (void)check_tensor(file, "output.weight", "lm_head.weight", BN_TENSOR_BF16, 32, 16);
    bn_gguf_close(file);
    /* The same class of layers, the other sense. */
    file = open_right(&(hf_change){.kind = HF_LLAMA,
                                   .from = "\"modules_to_not_convert\": null",
                                   .to = "\"linear_class\": \"autobitlinear\"",
                                   .tensor = "model.layers.0.self_attn.q_proj.weight_scale",
                                   .scale = &stored,
                                   .dtype = "F32"});
    assert_true(bn_gguf_tensor_find(file, "blk.0.attn_q.weight")->scale == 3.0f);
    bn_gguf_close(file);
}

static void test_master_weights_are_read(void **state)
{
    (void)state;
    bn_gguf *file = open_right(&(hf_change){.kind = HF_1BITLLM});
    check_text(file, "general.architecture", "bitnet");
    check_text(file, "bitnet.hidden_act", "silu");
    (void)check_tensor(file, "blk.0.ffn_gate.weight", "model.layers.0.mlp.gate_proj.weight",
                       BN_TENSOR_MASTER_F16, 32, 64);
    (void)check_tensor(file, "blk.0.ffn_sub_norm.weight", "model.layers.0.mlp.ffn_layernorm.weight",
                       BN_TENSOR_F16, 64, 1);
    bn_gguf_close(file);
    file = open_right(&(hf_change){
        .kind = HF_1BITLLM, .tensor = "model.layers.0.mlp.up_proj.weight", .dtype = "F32"});
    assert_int_equal(bn_gguf_tensor_find(file, "blk.0.ffn_up.weight")->type, BN_TENSOR_MASTER_F32);
    bn_gguf_close(file);
    /* Weights that are quantised while the model runs. */
    file = open_right(&(hf_change){.kind = HF_1BITLLM,
                                   .from = "\"weight_bits\": 1",
                                   .to = "\"quantization_config\": {\"quant_method\": \"bitnet\", "
                                         "\"linear_class\": \"autobitlinear\", "
                                         "\"quantization_mode\": \"online\"}"});
    assert_int_equal(bn_gguf_tensor_find(file, "blk.0.ffn_up.weight")->type, BN_TENSOR_MASTER_F16);
    bn_gguf_close(file);
}

static void test_qwen3_with_yarn_is_read(void **state)
{
    (void)state;
    bn_gguf *file = open_right(&(hf_change){.kind = HF_QWEN3});
    check_text(file, "general.architecture", "qwen3");
    check_u32(file, "qwen3.attention.key_length", 8);
    check_u32(file, "qwen3.attention.value_length", 8);
    check_text(file, "qwen3.rope.scaling.type", "yarn");
    check_f32(file, "qwen3.rope.scaling.factor", 4.0f);
    check_u32(file, "qwen3.rope.scaling.original_context_length", 32);
    (void)check_tensor(file, "blk.0.attn_q_norm.weight", "model.layers.0.self_attn.q_norm.weight",
                       BN_TENSOR_F16, 8, 1);
    (void)check_tensor(file, "blk.0.attn_q.weight", "model.layers.0.self_attn.q_proj.weight",
                       BN_TENSOR_F16, 32, 32);
    assert_int_equal(bn_gguf_tensor_find(file, "blk.0.attn_q.weight")->head_rows, 0);
    bn_gguf_close(file);
    file = open_right(&(hf_change){.kind = HF_QWEN3,
                                   .from = "\"factor\": 4.0,",
                                   .to = "\"factor\": 4.0, \"beta_fast\": 16, \"beta_slow\": null, "
                                         "\"attention_factor\": 2.0,"});
    check_f32(file, "qwen3.rope.scaling.yarn_beta_fast", 16.0f);
    check_f32(file, "qwen3.rope.scaling.attn_factor", (float)(2.0 / (0.1 * bn_log_f64(4.0) + 1.0)));
    bn_gguf_close(file);
}

/* As torch computes it in f32 by the formula of the converter, for base 10000 and heads of 8. */
static void test_llama3_scaling_becomes_divisors(void **state)
{
    (void)state;
    static const float expected[] = {1.0f, 2.3391166f, 8.0f, 8.0f};
    bn_gguf *file = open_right(
        &(hf_change){.kind = HF_LLAMA,
                     .from = "\"rope_scaling\": null",
                     .to = "\"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": 8.0, "
                           "\"low_freq_factor\": 1.0, \"high_freq_factor\": 4.0, "
                           "\"original_max_position_embeddings\": 128}"});
    float values[4];
    const bn_gguf_tensor *tensor = bn_gguf_tensor_find(file, "rope_freqs.weight");
    assert_non_null(tensor);
    assert_int_equal(tensor->type, BN_TENSOR_F32);
    assert_int_equal(tensor->dims[0], 4);
    assert_int_equal(bn_gguf_read(file, tensor, 0, sizeof values, values), BN_OK);
    for (int i = 0; i < 4; i++)
        if (fabsf(values[i] - expected[i]) > 1e-5f * expected[i])
            fail_msg("divisor %d is %.9g, not %.9g", i, (double)values[i], (double)expected[i]);
    const uint8_t *mapped;
    void *base;
    size_t length;
    assert_int_equal(bn_gguf_map(file, tensor, &mapped, &base, &length), BN_OK);
    assert_memory_equal(mapped, values, sizeof values);
    bn_gguf_unmap(base, length);
    bn_gguf_close(file);
}

static void test_the_form_of_transformers_5_is_read(void **state)
{
    (void)state;
    bn_gguf *file = open_right(&(hf_change){
        .from = "\"rope_theta\": 10000.0,",
        .to = "\"rope_parameters\": {\"rope_theta\": 500000.0, \"rope_type\": \"default\"},"});
    check_f32(file, "bitnet-b1.58.rope.freq_base", 500000.0f);
    bn_gguf_close(file);
    file = open_right(&(hf_change){.from = "\"rope_theta\": 10000.0,", .to = ""});
    check_f32(file, "bitnet-b1.58.rope.freq_base", 500000.0f);
    bn_gguf_close(file);
}

static void test_identity_is_of_the_contents(void **state)
{
    (void)state;
    static const float other = 0.25f;
    const hf_change changes[] = {
        {0},
        {.from = "1e-05", .to = "1e-06"},
        {.tensor = "model.layers.0.mlp.up_proj.weight_scale", .scale = &other},
    };
    bn_hash128 first = {0}, identity;
    for (size_t i = 0; i <= BN_COUNT(changes); i++) {
        bn_gguf *file = open_right(&changes[i % BN_COUNT(changes)]);
        assert_int_equal(bn_gguf_identity(file, &identity), BN_OK);
        bn_gguf_close(file);
        if (i == 0) first = identity;
        assert_int_equal(memcmp(&first, &identity, sizeof first) == 0, i % BN_COUNT(changes) == 0);
    }
}

typedef struct refusal {
    hf_change change;
    const char *expected;
} refusal;

static void expect_refusals(const refusal *cases, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        bn_gguf *file = NULL;
        const char *folder = hf_files_make(&cases[i].change);
        bn_status status = bn_gguf_open(folder, &file);
        if ((status != BN_ERR_BAD_FILE && status != BN_ERR_UNSUPPORTED) ||
            strstr(bn_log_last_error(), cases[i].expected) == NULL ||
            strstr(bn_log_last_error(), folder) == NULL)
            fail_msg("expected \"%s\", got status %d, \"%s\"", cases[i].expected, status,
                     bn_log_last_error());
        assert_null(file);
    }
}

#define CONFIG(f, t)                                                                               \
    {                                                                                              \
        .from = (f), .to = (t)                                                                     \
    }
#define LLAMA(f, t)                                                                                \
    {                                                                                              \
        .kind = HF_LLAMA, .from = (f), .to = (t)                                                   \
    }
#define QWEN3(f, t)                                                                                \
    {                                                                                              \
        .kind = HF_QWEN3, .from = (f), .to = (t)                                                   \
    }

/* tidy: table */
static void test_wrong_configs_are_refused_by_key_and_value(void **state)
{
    (void)state;
    static const refusal cases[] = {
        {CONFIG("BitNetForCausalLM", "MambaForCausalLM"),
         "key architectures is \"MambaForCausalLM\""},
        {CONFIG("[\"BitNetForCausalLM\"]", "[\"BitNetForCausalLM\", \"X\"]"),
         "key architectures is a list; one"},
        {CONFIG("\"model_type\": \"bitnet\"", "\"model_type\": \"llama\""),
         "key model_type is \"llama\"; the key architectures says BitNetForCausalLM"},
        {CONFIG("\"architectures\": [\"BitNetForCausalLM\"], \"model_type\": \"bitnet\"",
                "\"model_type\": \"gpt2\""),
         "key model_type is \"gpt2\""},
        {CONFIG("\"hidden_act\": \"relu2\"", "\"hidden_act\": \"gelu\""),
         "key hidden_act is \"gelu\""},
        {LLAMA("\"hidden_act\": \"silu\"", "\"hidden_act\": \"relu2\""),
         "key hidden_act is \"relu2\""},
        {CONFIG("\"hidden_act\": \"relu2\", ", ""), "key hidden_act is absent"},
        {CONFIG("\"num_hidden_layers\": 1", "\"num_hidden_layers\": 0"),
         "key num_hidden_layers is 0; a whole number from 1 to 1024"},
        {CONFIG("\"num_hidden_layers\": 1", "\"num_hidden_layers\": 4000000000"),
         "key num_hidden_layers is 4000000000"},
        {CONFIG("\"num_hidden_layers\": 1", "\"num_hidden_layers\": \"1\""),
         "key num_hidden_layers is \"1\""},
        {CONFIG("\"hidden_size\": 32, ", ""), "key hidden_size is absent"},
        {CONFIG("\"hidden_size\": 32", "\"hidden_size\": 33"), "key hidden_size is 33; without"},
        {CONFIG("\"num_key_value_heads\": 2", "\"num_key_value_heads\": 3"),
         "key num_key_value_heads is 3"},
        {CONFIG("\"vocab_size\": 16", "\"vocab_size\": 99999999"), "key vocab_size is 99999999"},
        {CONFIG("1e-05", "0"), "key rms_norm_eps is 0"},
        {CONFIG("1e-05", "-1"), "key rms_norm_eps is -1"},
        {CONFIG("10000.0", "\"x\""), "key rope_theta is \"x\""},
        {LLAMA("\"attention_bias\": false", "\"attention_bias\": true"),
         "key attention_bias is true"},
        {LLAMA("\"attention_bias\": false", "\"sliding_window\": 64"), "key sliding_window is 64"},
        {LLAMA("\"attention_bias\": false", "\"partial_rotary_factor\": 0.5"),
         "key partial_rotary_factor is 0.5"},
        {LLAMA("\"attention_bias\": false", "\"layer_types\": [\"sliding_attention\"]"),
         "key layer_types is \"sliding_attention\""},
        {LLAMA("\"attention_bias\": false", "\"prism_hadamard_size\": 128"),
         "key prism_hadamard_size is 128"},
        {LLAMA("\"attention_bias\": false", "\"logit_scale\": 0.5"), "key logit_scale is 0.5"},
        {LLAMA("\"attention_bias\": false", "\"rope_interleaved\": true"),
         "key rope_interleaved is true"},
        {LLAMA("\"rope_scaling\": null", "\"rope_scaling\": 7"), "key rope_scaling is 7"},
        {LLAMA("\"rope_scaling\": null", "\"rope_scaling\": {\"rope_type\": \"longrope\"}"),
         "key rope_scaling.rope_type is \"longrope\""},
        {LLAMA("\"rope_scaling\": null",
               "\"rope_scaling\": {\"type\": \"linear\", \"factor\": 2.0}"),
         "key rope_scaling.factor is 2"},
        {LLAMA("\"rope_scaling\": null", "\"rope_scaling\": {\"type\": \"default\", \"x\": 1}"),
         "key rope_scaling.x is 1"},
        {LLAMA("\"rope_scaling\": null",
               "\"rope_scaling\": {\"type\": \"llama3\", \"factor\": 8, \"low_freq_factor\": 4, "
               "\"high_freq_factor\": 4}"),
         "key rope_scaling.high_freq_factor is 4"},
        {LLAMA("\"rope_scaling\": null",
               "\"rope_scaling\": {\"type\": \"default\"}, \"rope_parameters\": {\"rope_type\": "
               "\"default\"}"),
         "key rope_scaling is an object; rope_parameters is there too"},
        {LLAMA("\"rope_scaling\": null", "\"rope_parameters\": {\"rope_theta\": 5.0}"),
         "key rope_parameters.rope_theta is 5; the key rope_theta beside it"},
        {QWEN3("\"factor\": 4.0", "\"factor\": 0.5"), "key rope_scaling.factor is 0.5"},
        {QWEN3("\"factor\": 4.0", "\"factor\": 4.0, \"mscale\": 1.5"),
         "key rope_scaling.mscale is 1.5"},
        {QWEN3("\"factor\": 4.0", "\"factor\": 4.0, \"truncate\": false"),
         "key rope_scaling.truncate is false"},
        {QWEN3("\"use_sliding_window\": false", "\"use_sliding_window\": true"),
         "key use_sliding_window is true"},
        {CONFIG("\"quant_method\": \"bitnet\"", "\"quant_method\": \"gptq\""),
         "key quantization_config.quant_method is \"gptq\""},
        {CONFIG("\"autobitlinear\"", "\"other\""),
         "key quantization_config.linear_class is \"other\""},
        {CONFIG("\"offline\"", "\"later\""),
         "key quantization_config.quantization_mode is \"later\""},
        {CONFIG("\"offline\"", "\"offline\", \"use_rms_norm\": true"),
         "key quantization_config.use_rms_norm is true"},
        {CONFIG("\"offline\"",
                "\"offline\", \"modules_to_not_convert\": [\"lm_head\", \"q_proj\"]"),
         "key quantization_config.modules_to_not_convert is \"q_proj\""},
        {{.kind = HF_1BITLLM, .from = "\"weight_bits\": 1", .to = "\"weight_bits\": 2"},
         "key weight_bits is 2"},
        {{.kind = HF_1BITLLM, .from = "\"input_bits\": 8", .to = "\"input_bits\": 4"},
         "key input_bits is 4"},
        {CONFIG("\"tie_word_embeddings\": true", "\"tie_word_embeddings\": 1"),
         "key tie_word_embeddings is 1"},
        {CONFIG("{\"architectures\"", "[{\"architectures\""), "config.json, line 1"},
        {CONFIG("\"hidden_size\": 32", "\"hidden_size\": 32, \"hidden_size\": 32"),
         "duplicate object key"},
    };
    expect_refusals(cases, BN_COUNT(cases));
}

#define TENSOR(name, ...)                                                                          \
    {                                                                                              \
        .tensor = (name), __VA_ARGS__                                                              \
    }
#define UP "model.layers.0.mlp.up_proj.weight"

static void test_config_and_tensors_must_agree(void **state)
{
    (void)state;
    static const float zero = 1e-42f, negative = -1.0f, infinite = INFINITY, nan = NAN;
    static const refusal cases[] = {
        {TENSOR(UP, .rows = 15), "tensor " UP " has the shape [15, 32], but "},
        {TENSOR(UP, .rows = 15), "config.json says [16, 32] (intermediate_size ÷ 4, hidden_size)"},
        {CONFIG("\"intermediate_size\": 64", "\"intermediate_size\": 128"),
         "mlp.gate_proj.weight has the shape [16, 32], but "},
        {CONFIG("\"intermediate_size\": 64", "\"intermediate_size\": 66"),
         "packed four rows to a byte, but intermediate_size is 66"},
        {TENSOR("model.norm.weight", .cols = 2), "tensor model.norm.weight has the shape [32, 2]"},
        {TENSOR("model.embed_tokens.weight", .rows = 15), "config.json says [16, 32] (vocab_size"},
        {CONFIG("\"num_hidden_layers\": 1", "\"num_hidden_layers\": 2"),
         "tensor model.layers.1.input_layernorm.weight is missing"},
        {TENSOR("model.layers.0.mlp.ffn_sub_norm.weight", .drop = true),
         "tensor model.layers.0.mlp.ffn_sub_norm.weight is missing"},
        {TENSOR("model.embed_tokens.weight", .drop = true), "model.embed_tokens.weight is missing"},
        {{.extra = "model.layers.1.mlp.up_proj.weight"},
         "model.layers.1.mlp.up_proj.weight is not part"},
        {{.extra = "model.layers.0.self_attn.q_proj.bias"}, "q_proj.bias is not part"},
        {{.extra = "model.layers.0.self_attn.q_norm.weight"}, "q_norm.weight is not part"},
        {TENSOR(UP, .dtype = "F16"), "tensor " UP " has the dtype F16; the quantization_config of"},
        {{.kind = HF_1BITLLM, .tensor = UP, .dtype = "U8"},
         "tensor " UP " has the dtype U8; without an offline quantization_config"},
        {TENSOR("model.norm.weight", .dtype = "U8"), "tensor model.norm.weight has the dtype U8"},
        {TENSOR(UP "_scale", .drop = true), "but there is no tensor " UP "_scale beside it"},
        {{.kind = HF_1BITLLM, .extra = UP "_scale"}, UP "_scale has no meaning beside float"},
        {TENSOR(UP "_scale", .rows = 2), UP "_scale has more than one element"},
        {TENSOR(UP "_scale", .dtype = "U8"), UP "_scale has the dtype U8"},
        {TENSOR(UP "_scale", .scale = &zero), UP "_scale is 0; it must be finite and above 0"},
        {TENSOR(UP "_scale", .scale = &negative), UP "_scale is -1; it must be"},
        {TENSOR(UP "_scale", .scale = &infinite), UP "_scale is inf; it must be"},
        {TENSOR(UP "_scale", .scale = &nan), UP "_scale is nan; it must be"},
        {{.kind = HF_LLAMA, .tensor = UP "_scale", .scale = &infinite}, "_scale is inf; it must"},
        {{.kind = HF_LLAMA, .tensor = "lm_head.weight", .drop = true},
         "tensor lm_head.weight is missing, but the key tie_word_embeddings of"},
        {{.has_head = true, .head_differs = true},
         "lm_head.weight differs from model.embed_tokens.weight"},
        {{.has_head = true, .tensor = "lm_head.weight", .dtype = "F16", .head_differs = true},
         "lm_head.weight differs from model.embed_tokens.weight"},
    };
    expect_refusals(cases, BN_COUNT(cases));
}

static void test_a_head_that_repeats_a_tied_embedding_is_left_out(void **state)
{
    (void)state;
    bn_gguf *file = open_right(&(hf_change){.has_head = true});
    assert_null(bn_gguf_tensor_find(file, "output.weight"));
    bn_gguf_close(file);
}

static void test_folders_that_are_none_are_refused(void **state)
{
    (void)state;
    char path[160], slashed[96];
    bn_gguf *file = NULL;
    const char *folder = hf_files_make(&(hf_change){0});
    snprintf(slashed, sizeof slashed, "%s//", folder);
    assert_int_equal(bn_gguf_open(slashed, &file), BN_OK);
    assert_string_equal(bn_gguf_path(file), folder);
    bn_gguf_close(file);
    file = NULL;
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    unlink(path);
    assert_int_equal(bn_gguf_open(folder, &file), BN_ERR_IO);
    assert_non_null(strstr(bn_log_last_error(), "holds neither model.safetensors nor"));
    snprintf(path, sizeof path, "%s/config.json", folder);
    unlink(path);
    assert_int_equal(bn_gguf_open(folder, &file), BN_ERR_BAD_FILE);
    assert_non_null(strstr(bn_log_last_error(), "is a directory without config.json"));
    snprintf(path, sizeof path, "%s/only.gguf", folder);
    fclose(fopen(path, "wb"));
    assert_int_equal(bn_gguf_open(folder, &file), BN_ERR_BAD_FILE);
    assert_non_null(strstr(bn_log_last_error(), "give the .gguf file in it: "));
    assert_non_null(strstr(bn_log_last_error(), "/only.gguf"));
    unlink(path);
    assert_null(file);
}

static int quiet(void **state)
{
    (void)state;
    bn_log_set_quiet(true);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    hf_files_remove();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_packed_bitnet_is_read),
        cmocka_unit_test(test_llama_divides_and_reorders),
        cmocka_unit_test(test_master_weights_are_read),
        cmocka_unit_test(test_qwen3_with_yarn_is_read),
        cmocka_unit_test(test_llama3_scaling_becomes_divisors),
        cmocka_unit_test(test_the_form_of_transformers_5_is_read),
        cmocka_unit_test(test_identity_is_of_the_contents),
        cmocka_unit_test(test_wrong_configs_are_refused_by_key_and_value),
        cmocka_unit_test(test_config_and_tensors_must_agree),
        cmocka_unit_test(test_a_head_that_repeats_a_tied_embedding_is_left_out),
        cmocka_unit_test(test_folders_that_are_none_are_refused),
    };
    return cmocka_run_group_tests(tests, quiet, teardown);
}
