/* model_test.c
 * What: a model file's keys and tensors become the right facts and shape; each wrong key or
 *       tensor is refused with a text that names it and the file.
 * How:  one small model per case, built byte by byte with one thing changed.
 */
#include "common/log.h"
#include "model/arch.h"
#include "model/model.h"
#include "tests/model/gguf_bytes.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

/* One thing that differs from the small right model: a key set to another value or dropped, a
 * tensor with another type, other dims or dropped, or one more tensor. */
typedef struct change {
    const char *arch;
    const char *key;
    enum { KEEP, U32, F32, TEXT, DROP } kind;
    uint32_t u32;
    float f32;
    const char *text;
    const char *tensor;
    uint32_t type;
    uint64_t cols, rows;
    bool drop_tensor;
    const char *more_tensor;
    uint64_t more_cols;
    uint32_t n_tokens;
    bool is_tied;
    float i2s_scale, norm;
    const char *general;   /* one more key, without the architecture before it */
    uint32_t yarn_context; /* not 0: YaRN with a factor of 4 */
} change;

static const struct {
    const char *name;
    uint32_t u32;
    float f32;
    const char *text;
} keys[] = {
    {.name = "block_count", .u32 = 2},
    {.name = "embedding_length", .u32 = 128},
    {.name = "feed_forward_length", .u32 = 256},
    {.name = "context_length", .u32 = 512},
    {.name = "attention.head_count", .u32 = 4},
    {.name = "attention.head_count_kv", .u32 = 2},
    {.name = "rope.dimension_count", .u32 = 32},
    {.name = "rope.freq_base", .f32 = 500000.0f},
    {.name = "attention.layer_norm_rms_epsilon", .f32 = 1e-5f},
    {.name = "rope.scaling.type", .text = "linear"},
    {.name = "rope.scaling.factor", .f32 = 1.0f},
};
#define N_KEYS (sizeof keys / sizeof keys[0])

static const struct {
    const char *name;
    uint64_t cols, rows;
    uint32_t type;
    bool is_sub_norm, is_qk_norm;
} parts[] = {
    {"attn_norm.weight", 128, 1, BN_TENSOR_F32, false, false},
    {"ffn_norm.weight", 128, 1, BN_TENSOR_F32, false, false},
    {"attn_sub_norm.weight", 128, 1, BN_TENSOR_F32, true, false},
    {"ffn_sub_norm.weight", 256, 1, BN_TENSOR_F32, true, false},
    {"attn_q_norm.weight", 32, 1, BN_TENSOR_F32, false, true},
    {"attn_k_norm.weight", 32, 1, BN_TENSOR_F32, false, true},
    {"attn_q.weight", 128, 128, BN_TENSOR_I2_S, false, false},
    {"attn_k.weight", 128, 64, BN_TENSOR_I2_S, false, false},
    {"attn_v.weight", 128, 64, BN_TENSOR_I2_S, false, false},
    {"attn_output.weight", 128, 128, BN_TENSOR_I2_S, false, false},
    {"ffn_gate.weight", 128, 256, BN_TENSOR_I2_S, false, false},
    {"ffn_up.weight", 128, 256, BN_TENSOR_I2_S, false, false},
    {"ffn_down.weight", 256, 128, BN_TENSOR_I2_S, false, false},
};

typedef struct builder {
    bytes rows;
    uint64_t n_tensors, data_bytes;
    const change *change;
} builder;

static uint64_t type_bytes(uint32_t type, uint64_t n)
{
    switch (type) {
    case BN_TENSOR_F32: return n * 4;
    case BN_TENSOR_I2_S: return n / 4 + 32;
    case BN_TENSOR_Q8_0: return n / 32 * 34;
    default: return n * 2;
    }
}

static void add_tensor(builder *t, const char *name, uint32_t type, uint64_t cols, uint64_t rows)
{
    const change *c = t->change;
    if (c->tensor != NULL && strcmp(c->tensor, name) == 0) {
        if (c->drop_tensor) return;
        type = c->type != 0 ? c->type : type;
        cols = c->cols != 0 ? c->cols : cols;
        rows = c->rows != 0 ? c->rows : rows;
    }
    tensor_row(&t->rows, name, type, (const uint64_t[]){cols, rows, 0}, t->data_bytes);
    t->n_tensors++;
    t->data_bytes += (type_bytes(type, cols * rows) + 31) / 32 * 32;
}

/* The facts of the change's architecture; those of bitnet for an unknown one. */
static const bn_arch *arch_of(const change *c)
{
    const char *name = c->arch != NULL ? c->arch : "bitnet";
    const bn_arch *arch = bn_arch_find(name, strlen(name));
    return arch != NULL ? arch : bn_arch_find("bitnet", 6);
}

static void add_tensors(builder *t, const bn_arch *arch)
{
    char name[64];
    add_tensor(t, "token_embd.weight", BN_TENSOR_F16, 128, 8);
    add_tensor(t, "output_norm.weight", BN_TENSOR_F32, 128, 1);
    if (!t->change->is_tied) add_tensor(t, "output.weight", BN_TENSOR_F16, 128, 8);
    for (int i = 0; i < 2; i++)
        for (size_t p = 0; p < sizeof parts / sizeof parts[0]; p++) {
            if (parts[p].is_sub_norm && !arch->has_sub_norms) continue;
            if (parts[p].is_qk_norm && !arch->has_qk_norms) continue;
            snprintf(name, sizeof name, "blk.%d.%s", i, parts[p].name);
            add_tensor(t, name, parts[p].type, parts[p].cols, parts[p].rows);
        }
    if (t->change->more_tensor != NULL)
        add_tensor(t, t->change->more_tensor, BN_TENSOR_F32, t->change->more_cols, 1);
}

static void put_changed_key(bytes *b, const char *name, const change *c)
{
    switch (c->kind) {
    case U32: key_u32(b, name, c->u32); break;
    case F32: key_f32(b, name, c->f32); break;
    default: key_text(b, name, c->text); break;
    }
}

static void put_keys(bytes *b, const char *arch, const change *c, uint64_t *n_out)
{
    char name[128];
    bool is_changed = c->kind == KEEP;
    uint64_t n = 1;
    key_text(b, "general.architecture", arch);
    for (size_t i = 0; i < N_KEYS; i++) {
        snprintf(name, sizeof name, "%s.%s", arch, keys[i].name);
        bool is_this = c->kind != KEEP && strcmp(c->key, keys[i].name) == 0;
        is_changed = is_changed || is_this;
        n++;
        if (is_this && c->kind == DROP)
            n--;
        else if (is_this)
            put_changed_key(b, name, c);
        else if (keys[i].text != NULL)
            key_text(b, name, c->yarn_context != 0 ? "yarn" : keys[i].text);
        else if (keys[i].u32 != 0)
            key_u32(b, name, keys[i].u32);
        else if (c->yarn_context != 0 && strcmp(keys[i].name, "rope.scaling.factor") == 0)
            key_f32(b, name, 4.0f);
        else
            key_f32(b, name, keys[i].f32);
    }
    if (!is_changed) { /* a key that the right model does not have */
        snprintf(name, sizeof name, "%s.%s", arch, c->key);
        put_changed_key(b, name, c);
        n++;
    }
    if (c->general != NULL) {
        key_text(b, c->general, "x");
        n++;
    }
    if (c->yarn_context != 0) {
        snprintf(name, sizeof name, "%s.rope.scaling.original_context_length", arch);
        key_u32(b, name, c->yarn_context);
        n++;
    }
    if (c->n_tokens != 0) {
        static const char *const words[16] = {"a", "b", "c", "d", "e", "f", "g", "h",
                                              "i", "j", "k", "l", "m", "n", "o", "p"};
        key_texts(b, "tokenizer.ggml.tokens", words, c->n_tokens);
        n++;
    }
    *n_out = n;
}

/* Data is zero, but each I2_S tensor has a scale and each norm's element 1 is c->norm. */
static void put_data(bytes *b, const builder *t)
{
    const change *c = t->change;
    float scale = c->i2s_scale != 0 ? c->i2s_scale : 0.5f;
    size_t data_at = b->n;
    static const uint8_t zeros[4096];
    for (uint64_t done = 0; done < t->data_bytes;) {
        uint64_t n = t->data_bytes - done < 4096 ? t->data_bytes - done : 4096;
        put(b, zeros, (size_t)n);
        done += n;
    }
    /* token_embd 8 × 128 F16, output_norm, [output], blk.0: four norms, attn_q. */
    size_t norm_at = data_at + 2048, q_at = norm_at + 512 + (c->is_tied ? 0 : 2048);
    const bn_arch *arch = arch_of(c);
    q_at += 2 * 512 + 128u * 128 / 4;
    q_at += (arch->has_sub_norms ? 512u + 1024u : 0) + (arch->has_qk_norms ? 2 * 128u : 0);
    memcpy(b->data + norm_at + 4, &c->norm, sizeof c->norm);
    memcpy(b->data + q_at, &scale, sizeof scale);
}

static bytes model_file(const change *c)
{
    const char *arch = c->arch != NULL ? c->arch : "bitnet";
    bytes b = bytes_new(), body = bytes_new();
    builder t = {.rows = bytes_new(), .change = c};
    uint64_t n_keys;
    add_tensors(&t, arch_of(c));
    put_keys(&body, arch, c, &n_keys);
    put_head(&b, 3, t.n_tensors, n_keys);
    put(&b, body.data, body.n);
    put(&b, t.rows.data, t.rows.n);
    pad(&b, 32);
    put_data(&b, &t);
    bytes_free(&body);
    bytes_free(&t.rows);
    return b;
}

static bn_status open_changed(const change *c, bn_activation_choice choice, bn_model **model_out)
{
    bytes b = model_file(c);
    bn_status status = bn_model_open(bytes_file(&b), choice, model_out);
    bytes_free(&b);
    return status;
}

static bn_model *open_right(const change *c, bn_activation_choice choice)
{
    bn_model *model = NULL;
    if (open_changed(c, choice, &model) != BN_OK) fail_msg("%s", bn_log_last_error());
    return model;
}

static void test_keys_become_the_shape(void **state)
{
    (void)state;
    bn_model *model = open_right(&(change){0}, BN_ACTIVATION_FROM_FILE);
    const bn_model_config *c = &model->config;
    assert_string_equal(c->arch, "bitnet");
    assert_int_equal(c->n_layers, 2);
    assert_int_equal(c->hidden, 128);
    assert_int_equal(c->ffn, 256);
    assert_int_equal(c->n_heads, 4);
    assert_int_equal(c->n_kv_heads, 2);
    assert_int_equal(c->head_size, 32);
    assert_int_equal(c->vocab, 8);
    assert_int_equal(c->context, 512);
    assert_true(c->rms_eps == 1e-5f && c->rope_base == 500000.0f);
    assert_int_equal(c->rope_kind, BN_ROPE_NEOX);
    assert_true(c->has_sub_norms);
    assert_false(c->is_tied);
    assert_string_equal(model->layers[1].ffn_down.weight->name, "blk.1.ffn_down.weight");
    assert_null(model->layers[1].ffn_down.post_scale);
    assert_null(model->rope_freqs);
    bn_model_close(model);
}

static void test_absent_keys_have_defaults(void **state)
{
    (void)state;
    bn_model *model =
        open_right(&(change){.key = "rope.freq_base", .kind = DROP}, BN_ACTIVATION_FROM_FILE);
    assert_true(model->config.rope_base == 10000.0f);
    bn_model_close(model);
    model =
        open_right(&(change){.key = "rope.dimension_count", .kind = DROP}, BN_ACTIVATION_FROM_FILE);
    assert_int_equal(model->config.head_size, 32);
    bn_model_close(model);
    model = open_right(&(change){.is_tied = true, .n_tokens = 7}, BN_ACTIVATION_FROM_FILE);
    assert_true(model->config.is_tied);
    assert_ptr_equal(model->output, model->token_embd);
    bn_model_close(model);
    model = open_right(&(change){.arch = "llama"}, BN_ACTIVATION_FROM_FILE);
    assert_int_equal(model->config.rope_kind, BN_ROPE_NORM);
    assert_false(model->config.has_sub_norms);
    assert_null(model->layers[0].attn_sub_norm);
    bn_model_close(model);
}

static void test_norms_of_q_and_k_are_facts(void **state)
{
    (void)state;
    bn_model *model = open_right(&(change){.arch = "qwen3"}, BN_ACTIVATION_FROM_FILE);
    assert_true(model->config.has_qk_norms);
    assert_false(model->config.has_sub_norms);
    assert_int_equal(model->config.rope_kind, BN_ROPE_NEOX);
    assert_int_equal(model->config.activation_group_cols, 128);
    assert_int_equal(model->config.activation, BN_ACTIVATION_SILU);
    assert_string_equal(model->layers[1].attn_k_norm->name, "blk.1.attn_k_norm.weight");
    bn_model_close(model);
    model = open_right(&(change){0}, BN_ACTIVATION_FROM_FILE);
    assert_null(model->layers[0].attn_q_norm);
    bn_model_close(model);
}

static void test_yarn_is_read(void **state)
{
    (void)state;
    bn_model *model = open_right(&(change){0}, BN_ACTIVATION_FROM_FILE);
    assert_int_equal(model->config.yarn.original_context, 0);
    bn_model_close(model);
    model = open_right(&(change){.yarn_context = 128}, BN_ACTIVATION_FROM_FILE);
    const bn_rope_yarn *yarn = &model->config.yarn;
    assert_int_equal(yarn->original_context, 128);
    assert_true(yarn->factor == 4.0f && yarn->attn_factor == 1.0f);
    assert_true(yarn->beta_fast == 32.0f && yarn->beta_slow == 1.0f);
    bn_model_close(model);
    change changed = {.yarn_context = 128, .kind = F32};
    static const struct {
        const char *key;
        float value;
    } agreeing[] = {
        {"rope.scaling.yarn_attn_factor", 1.138629f}, /* 0.1·ln 4 + 1 */
        {"rope.scaling.yarn_ext_factor", 1.0f},       {"rope.scaling.yarn_log_multiplier", 0.0f},
        {"rope.scaling.yarn_beta_fast", 16.0f},       {"rope.scaling.attn_factor", 0.5f},
    };
    for (size_t i = 0; i < sizeof agreeing / sizeof agreeing[0]; i++) {
        changed.key = agreeing[i].key;
        changed.f32 = agreeing[i].value;
        model = open_right(&changed, BN_ACTIVATION_FROM_FILE);
        assert_int_equal(model->config.yarn.original_context, 128);
        bn_model_close(model);
    }
}

/* Keys that say that a thing is absent are no reason to refuse a file. */
static void test_absent_things_may_be_declared(void **state)
{
    (void)state;
    static const change declared[] = {
        {.key = "expert_count", .kind = U32, .u32 = 0},
        {.key = "attention.sliding_window", .kind = U32, .u32 = 0},
        {.key = "logit_scale", .kind = F32, .f32 = 1.0f},
        {.key = "tensor_data_layout", .kind = TEXT, .text = "Meta AI original pth"},
        {.key = "attention.key_length", .kind = U32, .u32 = 32},
        {.general = "general.license"},
        {.general = "bitnetx.block_count"},
    };
    for (size_t i = 0; i < sizeof declared / sizeof declared[0]; i++)
        bn_model_close(open_right(&declared[i], BN_ACTIVATION_FROM_FILE));
}

static void test_the_activation_follows_the_rule(void **state)
{
    (void)state;
    static const struct {
        change change;
        bn_activation_choice choice;
        bn_activation expect;
    } cases[] = {
        {{.arch = "bitnet"}, BN_ACTIVATION_FROM_FILE, BN_ACTIVATION_SILU},
        {{.arch = "bitnet-25"}, BN_ACTIVATION_FROM_FILE, BN_ACTIVATION_RELU2},
        {{.arch = "bitnet-b1.58"}, BN_ACTIVATION_FROM_FILE, BN_ACTIVATION_RELU2},
        {{.arch = "llama"}, BN_ACTIVATION_FROM_FILE, BN_ACTIVATION_SILU},
        {{.key = "hidden_act", .kind = TEXT, .text = "relu2"}, 0, BN_ACTIVATION_RELU2},
        {{.arch = "bitnet-25", .key = "hidden_act", .kind = TEXT, .text = "silu"},
         0,
         BN_ACTIVATION_SILU},
        {{.arch = "bitnet-25"}, BN_ACTIVATION_FORCE_SILU, BN_ACTIVATION_SILU},
        {{.arch = "llama"}, BN_ACTIVATION_FORCE_RELU2, BN_ACTIVATION_RELU2},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        bn_model *model = open_right(&cases[i].change, cases[i].choice);
        assert_int_equal(model->config.activation, cases[i].expect);
        bn_model_close(model);
    }
    const bn_arch *shared = bn_arch_find("bitnet-b1.58", 12);
    assert_int_equal(bn_arch_activation(shared, 30, 2560, 6912, 128256), BN_ACTIVATION_RELU2);
    assert_int_equal(bn_arch_activation(shared, 30, 2560, 6912, 32002), BN_ACTIVATION_SILU);
    assert_int_equal(bn_arch_activation(shared, 26, 3200, 8640, 32000), BN_ACTIVATION_SILU);
}

static void test_optional_tensors_are_found(void **state)
{
    (void)state;
    float scale = 0;
    bn_model *model = open_right(&(change){.more_tensor = "blk.1.ffn_up.scale", .more_cols = 1}, 0);
    assert_string_equal(model->layers[1].ffn_up.post_scale->name, "blk.1.ffn_up.scale");
    assert_int_equal(bn_model_post_scale(model, &model->layers[0].ffn_up, &scale), BN_OK);
    assert_true(scale == 1.0f);
    assert_int_equal(bn_model_post_scale(model, &model->layers[1].ffn_up, &scale), BN_ERR_BAD_FILE);
    assert_non_null(strstr(bn_log_last_error(), "the scale of tensor blk.1.ffn_up.scale is 0"));
    bn_model_close(model);
    model = open_right(&(change){.more_tensor = "rope_freqs.weight", .more_cols = 16}, 0);
    assert_non_null(model->rope_freqs);
    bn_model_close(model);
}

static void test_scales_and_norms_must_be_finite(void **state)
{
    (void)state;
    static const float bad_scales[] = {-1.0f, INFINITY, NAN};
    float scale = 0, norm[128];
    bn_model *model = open_right(&(change){.i2s_scale = 0.25f, .norm = 2.0f}, 0);
    assert_int_equal(bn_model_i2s_scale(model, model->layers[0].attn_q.weight, &scale), BN_OK);
    assert_true(scale == 0.25f);
    assert_int_equal(bn_model_read_f32(model, model->output_norm, norm, 128), BN_OK);
    assert_true(norm[0] == 0.0f && norm[1] == 2.0f);
    bn_model_close(model);
    /* The same bytes as halves: 2 is 0x4000 in both kinds. */
    static const uint32_t halves[] = {BN_TENSOR_F16, BN_TENSOR_BF16};
    for (size_t i = 0; i < 2; i++) {
        model = open_right(
            &(change){.tensor = "output_norm.weight", .type = halves[i], .norm = 2.0f}, 0);
        assert_int_equal(bn_model_read_f32(model, model->output_norm, norm, 128), BN_OK);
        assert_true(norm[2] == 0.0f && norm[3] == 2.0f && norm[127] == 0.0f);
        bn_model_close(model);
    }
    for (size_t i = 0; i < 3; i++) {
        model = open_right(&(change){.i2s_scale = bad_scales[i]}, 0);
        assert_int_equal(bn_model_i2s_scale(model, model->layers[0].attn_q.weight, &scale),
                         BN_ERR_BAD_FILE);
        assert_non_null(strstr(bn_log_last_error(), "the scale of tensor blk.0.attn_q.weight is"));
        bn_model_close(model);
    }
    model = open_right(&(change){.norm = NAN}, 0);
    assert_int_equal(bn_model_read_f32(model, model->output_norm, norm, 128), BN_ERR_BAD_FILE);
    assert_non_null(strstr(bn_log_last_error(), "element 1 of tensor output_norm.weight"));
    bn_model_close(model);
}

static void test_dense_views_have_the_rows_of_the_type(void **state)
{
    (void)state;
    bn_dense dense;
    bn_model *model = open_right(&(change){.tensor = "output.weight", .type = BN_TENSOR_Q8_0}, 0);
    assert_int_equal(bn_model_dense(model, model->output, model, &dense), BN_OK);
    assert_int_equal(dense.type, BN_DENSE_Q8_0);
    assert_int_equal(dense.n_rows, 8);
    assert_int_equal(dense.n_cols, 128);
    assert_int_equal(dense.row_bytes, 4 * 34);
    assert_int_equal(bn_model_dense(model, model->layers[0].attn_q.weight, model, &dense),
                     BN_ERR_UNSUPPORTED);
    bn_model_close(model);
}

#define KEY_U32(k, v)                                                                              \
    {                                                                                              \
        .key = (k), .kind = U32, .u32 = (v)                                                        \
    }
#define YARN_F32(k, v)                                                                             \
    {                                                                                              \
        .yarn_context = 128, .key = (k), .kind = F32, .f32 = (v)                                   \
    }
#define KEY_DROP(k)                                                                                \
    {                                                                                              \
        .key = (k), .kind = DROP                                                                   \
    }

typedef struct refusal {
    change change;
    const char *expect; /* in the message */
} refusal;

static void expect_refusals(const refusal *cases, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        bn_model *model = NULL;
        bn_status status = open_changed(&cases[i].change, BN_ACTIVATION_FROM_FILE, &model);
        if ((status != BN_ERR_BAD_FILE && status != BN_ERR_UNSUPPORTED) ||
            strstr(bn_log_last_error(), cases[i].expect) == NULL ||
            strstr(bn_log_last_error(), "/tmp/bn-gguf-") == NULL)
            fail_msg("expected \"%s\", got status %d, \"%s\"", cases[i].expect, status,
                     bn_log_last_error());
        assert_null(model);
    }
}

static void test_wrong_keys_are_refused_by_name_and_value(void **state)
{
    (void)state;
    static const refusal cases[] = {
        {{.arch = "gpt2"}, "general.architecture is \"gpt2\"; supported are bitnet,"},
        {KEY_DROP("block_count"), "key bitnet.block_count is missing"},
        {KEY_DROP("embedding_length"), "key bitnet.embedding_length is missing"},
        {KEY_DROP("context_length"), "key bitnet.context_length is missing"},
        {KEY_DROP("attention.layer_norm_rms_epsilon"), "rms_epsilon is missing"},
        {KEY_U32("block_count", 0), "bitnet.block_count is 0; 1 to 1024"},
        {KEY_U32("block_count", UINT32_MAX), "bitnet.block_count is 4294967295"},
        {KEY_U32("block_count", 1), "blk.1.attn_norm.weight is not part of"},
        {KEY_U32("block_count", 3), "tensor blk.2.attn_norm.weight is missing"},
        {KEY_U32("embedding_length", 64), "tensor token_embd.weight is 128 × 8; the keys say 64"},
        {KEY_U32("feed_forward_length", 384), "tensor blk.0.ffn_sub_norm.weight is 256"},
        {KEY_U32("attention.head_count", 0), "attention.head_count is 0"},
        {KEY_U32("attention.head_count_kv", 3), "head_count_kv is 3; the number of heads"},
        {KEY_U32("attention.head_count_kv", 0), "head_count_kv is 0"},
        {KEY_U32("attention.key_length", 31), "attention.key_length is 31; so a head has 31"},
        {KEY_U32("attention.key_length", 1024), "attention.key_length is 1024"},
        {KEY_U32("attention.key_length", 64), "rope.dimension_count is 32; it must be the size"},
        {KEY_U32("attention.value_length", 16), "attention.value_length is 16"},
        {KEY_U32("rope.dimension_count", 33), "rope.dimension_count is 33; so a head has 33"},
        {KEY_U32("vocab_size", 9), "vocab_size is 9; tensor token_embd.weight has fewer"},
        {{.key = "rope.freq_base", .kind = F32, .f32 = NAN}, "rope.freq_base is nan"},
        {{.key = "rope.freq_base", .kind = U32, .u32 = 7}, "rope.freq_base is u32, but f32"},
        {{.key = "attention.layer_norm_rms_epsilon", .kind = F32, .f32 = 0}, "epsilon is 0;"},
        {{.key = "rope.scaling.type", .kind = TEXT, .text = "longrope"}, "type is \"longrope\";"},
        {{.key = "rope.scaling.type", .kind = TEXT, .text = "llama3"}, "type is \"llama3\"; none,"},
        {{.key = "rope.scaling.factor", .kind = F32, .f32 = 4}, "scaling.factor is 4; only 1"},
        {{.key = "rope.scaling.attn_factor", .kind = F32, .f32 = 2}, "scaling.attn_factor is 2"},
        {{.yarn_context = 128, .key = "rope.scaling.factor", .kind = DROP}, "factor is missing"},
        {{.yarn_context = 128, .key = "rope.scaling.factor", .kind = F32, .f32 = NAN},
         "scaling.factor is nan; 1 to 65536"},
        {{.yarn_context = UINT32_MAX}, "original_context_length is 4294967295"},
        {{.yarn_context = 128, .key = "rope.freq_base", .kind = F32, .f32 = 1}, "freq_base is 1;"},
        {YARN_F32("rope.scaling.yarn_ext_factor", 0.5f), "yarn_ext_factor is 0.5; only 1"},
        {YARN_F32("rope.scaling.yarn_log_multiplier", 0.1f), "yarn_log_multiplier is 0.1; only 0"},
        {YARN_F32("rope.scaling.yarn_attn_factor", 1.0f), "yarn_attn_factor is 1; only 0.1·ln("},
        {YARN_F32("rope.scaling.yarn_beta_slow", 33.0f), "yarn_beta_slow is 33; it may be at most"},
        {YARN_F32("rope.scaling.yarn_beta_fast", 0.0f), "yarn_beta_fast is 0;"},
        {{.yarn_context = 128, .more_tensor = "rope_freqs.weight", .more_cols = 16},
         "tensor rope_freqs.weight beside key bitnet.rope.scaling.type"},
        {KEY_U32("attention.sliding_window", 4096), "sliding_window is 4096; only 0"},
        {KEY_U32("expert_count", 8), "bitnet.expert_count is 8; only 0 is supported"},
        {{.key = "logit_scale", .kind = F32, .f32 = 0.25f}, "logit_scale is 0.25; only 1"},
        {KEY_U32("attention.group_norm_groups", 2),
         "group_norm_groups is 2; this program does not"},
        {{.general = "prism.hadamard.block_size"}, "key prism.hadamard.block_size is \"x\"; what"},
        {{.general = "general.type"}, "key general.type is \"x\"; a file of type model"},
        {{.arch = "qwen35"}, "general.architecture is \"qwen35\"; supported are bitnet,"},
        {{.key = "hidden_act", .kind = TEXT, .text = "gelu"}, "hidden_act is \"gelu\""},
        {{.n_tokens = 9}, "tokenizer.ggml.tokens has 9 tokens, but"},
    };
    expect_refusals(cases, sizeof cases / sizeof cases[0]);
}

static void test_wrong_tensors_are_refused_by_name(void **state)
{
    (void)state;
    static const refusal cases[] = {
        {{.tensor = "token_embd.weight", .drop_tensor = true}, "token_embd.weight is missing"},
        {{.tensor = "output_norm.weight", .drop_tensor = true}, "output_norm.weight is missing"},
        {{.tensor = "blk.1.attn_v.weight", .drop_tensor = true}, "blk.1.attn_v.weight is missing"},
        {{.tensor = "blk.1.ffn_sub_norm.weight", .drop_tensor = true},
         "ffn_sub_norm.weight is mis"},
        {{.tensor = "output.weight", .rows = 9}, "tensor output.weight is 128 × 9"},
        {{.tensor = "output.weight", .type = BN_TENSOR_I2_S}, "output.weight is of type I2_S (36)"},
        {{.tensor = "output.weight", .type = 12}, "which do not fill blocks of Q4_K"},
        {{.tensor = "blk.0.attn_q.weight", .type = BN_TENSOR_Q4_0},
         "attn_q.weight is of type Q4_0"},
        {{.tensor = "blk.0.attn_q.weight", .type = 41}, "attn_q.weight is of type Q1_0 (41)"},
        {{.tensor = "blk.0.attn_q.weight", .rows = 127}, "attn_q.weight is 128 × 127"},
        {{.tensor = "blk.0.attn_norm.weight", .type = BN_TENSOR_Q8_0},
         "attn_norm.weight is of type"},
        {{.more_tensor = "blk.0.attn_q.bias", .more_cols = 128}, "blk.0.attn_q.bias is not part"},
        {{.more_tensor = "blk.0.attn_q.scale", .more_cols = 2}, "attn_q.scale is 2 × 1"},
        {{.more_tensor = "rope_freqs.weight", .more_cols = 8}, "rope_freqs.weight is 8 × 1"},
        {{.arch = "qwen3", .tensor = "blk.1.attn_k_norm.weight", .drop_tensor = true},
         "blk.1.attn_k_norm.weight is missing"},
        {{.more_tensor = "blk.0.attn_q_norm.weight", .more_cols = 32}, "q_norm.weight is not part"},
    };
    expect_refusals(cases, sizeof cases / sizeof cases[0]);
}

static int teardown(void **state)
{
    (void)state;
    unlink(bytes_file(&(bytes){0}));
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys_become_the_shape),
        cmocka_unit_test(test_absent_keys_have_defaults),
        cmocka_unit_test(test_norms_of_q_and_k_are_facts),
        cmocka_unit_test(test_yarn_is_read),
        cmocka_unit_test(test_absent_things_may_be_declared),
        cmocka_unit_test(test_the_activation_follows_the_rule),
        cmocka_unit_test(test_optional_tensors_are_found),
        cmocka_unit_test(test_scales_and_norms_must_be_finite),
        cmocka_unit_test(test_dense_views_have_the_rows_of_the_type),
        cmocka_unit_test(test_wrong_keys_are_refused_by_name_and_value),
        cmocka_unit_test(test_wrong_tensors_are_refused_by_name),
    };
    bn_log_set_quiet(true);
    return cmocka_run_group_tests(tests, NULL, teardown);
}
