/* model_config.c — keys to shape, each bounded before anyone multiplies it. */
#include "model/model_config.h"

#include "common/log.h"
#include "model/arch.h"
#include "model/model_keys.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define ROPE_BASE_DEFAULT 10000.0f
#define ROPE_BASE_MAX 1e12f
#define ROPE_FACTOR_MAX 65536.0f
#define YARN_BETA_FAST_DEFAULT 32.0f
#define YARN_BETA_SLOW_DEFAULT 1.0f
#define YARN_BETA_MAX 1e6f
#define YARN_ATTN_FACTOR_MAX 1e3f
#define KEY_MAX 128

typedef struct reader {
    const bn_gguf *file;
    const bn_arch *arch;
    bn_status status; /* the first failure */
} reader;

static void key_of(const reader *r, const char *suffix, char key[KEY_MAX])
{
    snprintf(key, KEY_MAX, "%s.%s", r->arch->name, suffix);
}

/* False when the key is absent or an error stands. */
static bool get_u32(reader *r, const char *suffix, uint32_t *out)
{
    char key[KEY_MAX];
    key_of(r, suffix, key);
    return bn_gguf_get_u32(r->file, key, out, &r->status) && r->status == BN_OK;
}

static bool get_f32(reader *r, const char *suffix, float *out)
{
    char key[KEY_MAX];
    key_of(r, suffix, key);
    return bn_gguf_get_f32(r->file, key, out, &r->status) && r->status == BN_OK;
}

static void fail_missing(reader *r, const char *suffix)
{
    if (r->status == BN_OK)
        r->status = bn_fail(BN_ERR_BAD_FILE, "MODEL-KEY", "%s: key %s.%s is missing",
                            bn_gguf_path(r->file), r->arch->name, suffix);
}

static void fail_value(reader *r, bn_status status, const char *suffix, double value,
                       const char *needed)
{
    if (r->status == BN_OK)
        r->status =
            bn_fail(status, "MODEL-KEY",
                    value == floor(value) ? "%s: key %s.%s is %.0f; %s" : "%s: key %s.%s is %g; %s",
                    bn_gguf_path(r->file), r->arch->name, suffix, value, needed);
}

static void need_u32(reader *r, const char *suffix, uint32_t max, uint32_t *out)
{
    if (!get_u32(r, suffix, out)) {
        fail_missing(r, suffix);
        return;
    }
    char needed[48];
    snprintf(needed, sizeof needed, "1 to %" PRIu32 " can be used", max);
    if (*out < 1 || *out > max) fail_value(r, BN_ERR_BAD_FILE, suffix, *out, needed);
}

static void read_heads(reader *r, bn_model_config *config)
{
    need_u32(r, "attention.head_count", BN_HEADS_MAX, &config->n_heads);
    config->n_kv_heads = config->n_heads;
    (void)get_u32(r, "attention.head_count_kv", &config->n_kv_heads);
    if (r->status != BN_OK) return;
    uint32_t n_kv = config->n_kv_heads;
    if (n_kv < 1 || n_kv > config->n_heads || config->n_heads % n_kv != 0)
        fail_value(r, BN_ERR_BAD_FILE, "attention.head_count_kv", n_kv,
                   "the number of heads must be a multiple of it");
    else if (config->n_heads / n_kv > BN_ATTENTION_GROUP_MAX)
        fail_value(r, BN_ERR_UNSUPPORTED, "attention.head_count_kv", n_kv,
                   "more than 64 heads would share one key/value head");
}

static void read_head_size(reader *r, bn_model_config *config)
{
    uint32_t rotated = 0, value_length = 0, *size = &config->head_size;
    const char *from = "attention.key_length";
    bool has_rotated = get_u32(r, "rope.dimension_count", &rotated);
    if (!get_u32(r, from, size)) {
        from = has_rotated ? "rope.dimension_count" : "embedding_length";
        *size = has_rotated ? rotated : config->hidden / config->n_heads;
        if (!has_rotated && config->hidden % config->n_heads != 0)
            fail_value(r, BN_ERR_BAD_FILE, from, config->hidden,
                       "without attention.key_length it must be a multiple of the heads");
    }
    if (*size < 2 || *size > BN_HEAD_SIZE_MAX || *size % 2 != 0) {
        char needed[96];
        snprintf(needed, sizeof needed,
                 "so a head has %" PRIu32 " elements; an even number from 2 to %d is needed", *size,
                 BN_HEAD_SIZE_MAX);
        bool is_derived = strcmp(from, "embedding_length") == 0;
        fail_value(r, BN_ERR_BAD_FILE, from, is_derived ? config->hidden : *size, needed);
    }
    if (get_u32(r, "attention.value_length", &value_length) && value_length != *size)
        fail_value(r, BN_ERR_UNSUPPORTED, "attention.value_length", value_length,
                   "values as long as keys are needed");
    if (has_rotated && rotated != *size)
        fail_value(r, BN_ERR_UNSUPPORTED, "rope.dimension_count", rotated,
                   "it must be the size of a head: rotating a part of one is not supported");
    if (r->status == BN_OK && config->n_heads * *size > BN_HIDDEN_MAX)
        fail_value(r, BN_ERR_UNSUPPORTED, from, *size,
                   "heads times their size may be at most 65536");
}

/* The value of an optional key, or what it is without one; refused outside [min, max]. */
static float f32_within(reader *r, const char *suffix, float otherwise, float min, float max,
                        const char *needed)
{
    float value = otherwise;
    (void)get_f32(r, suffix, &value);
    if (!(value >= min && value <= max))
        fail_value(r, BN_ERR_UNSUPPORTED, suffix, (double)value, needed);
    return value;
}

/* Converters write Hugging Face's attention_factor, which replaces 0.1·ln factor + 1 there, as
 * yarn_attn_factor; llama.cpp has read it in several ways. It is taken where all agree. */
static void check_attention_factor(reader *r, const bn_rope_yarn *yarn)
{
    float value = 0.0f;
    double usual = 0.1 * log((double)yarn->factor) + 1.0;
    if (get_f32(r, "rope.scaling.yarn_attn_factor", &value) && fabs((double)value - usual) > 1e-4)
        fail_value(r, BN_ERR_UNSUPPORTED, "rope.scaling.yarn_attn_factor", (double)value,
                   "only 0.1·ln(rope.scaling.factor) + 1 is; say the multiple of that in "
                   "rope.scaling.attn_factor");
}

static void read_yarn(reader *r, bn_model_config *config)
{
    bn_rope_yarn *yarn = &config->yarn;
    if (!get_f32(r, "rope.scaling.factor", &yarn->factor)) {
        fail_missing(r, "rope.scaling.factor");
        return;
    }
    if (!(yarn->factor >= 1.0f && yarn->factor <= ROPE_FACTOR_MAX))
        fail_value(r, BN_ERR_UNSUPPORTED, "rope.scaling.factor", (double)yarn->factor,
                   "1 to 65536 can be used with yarn");
    yarn->original_context = config->context;
    (void)get_u32(r, "rope.scaling.original_context_length", &yarn->original_context);
    if (yarn->original_context < 1 || yarn->original_context > BN_CONTEXT_MAX)
        fail_value(r, BN_ERR_BAD_FILE, "rope.scaling.original_context_length",
                   yarn->original_context, "1 to 1048576 can be used");
    yarn->beta_fast = f32_within(r, "rope.scaling.yarn_beta_fast", YARN_BETA_FAST_DEFAULT, 1e-6f,
                                 YARN_BETA_MAX, "a number of turns up to 1e6 can be used");
    yarn->beta_slow = f32_within(r, "rope.scaling.yarn_beta_slow", YARN_BETA_SLOW_DEFAULT, 1e-6f,
                                 yarn->beta_fast, "it may be at most yarn_beta_fast");
    yarn->attn_factor = f32_within(r, "rope.scaling.attn_factor", 1.0f, 1e-3f, YARN_ATTN_FACTOR_MAX,
                                   "0.001 to 1000 can be used");
    (void)f32_within(r, "rope.scaling.yarn_ext_factor", 1.0f, 1.0f, 1.0f, "only 1 is supported");
    (void)f32_within(r, "rope.scaling.yarn_log_multiplier", 0.0f, 0.0f, 0.0f,
                     "only 0 is supported");
    check_attention_factor(r, yarn);
    if (config->rope_base == 1.0f)
        fail_value(r, BN_ERR_BAD_FILE, "rope.freq_base", 1.0, "yarn needs more than 1");
}

static void read_unscaled(reader *r)
{
    static const char *const factors[] = {"rope.scaling.factor", "rope.scale_linear"};
    float factor = 1.0f;
    for (int i = 0; i < 2; i++)
        if (get_f32(r, factors[i], &factor) && factor != 1.0f && factor != 0.0f)
            fail_value(r, BN_ERR_UNSUPPORTED, factors[i], (double)factor,
                       "only 1 (no scaling of positions) is supported without yarn");
    (void)f32_within(r, "rope.scaling.attn_factor", 1.0f, 1.0f, 1.0f,
                     "only 1 is supported without yarn");
}

static bool is_text(bn_gguf_string text, const char *word)
{
    return text.n == strlen(word) && memcmp(text.bytes, word, text.n) == 0;
}

static void read_rope(reader *r, bn_model_config *config)
{
    bn_gguf_string type = {"none", 4};
    char key[KEY_MAX];
    config->rope_base = ROPE_BASE_DEFAULT;
    (void)get_f32(r, "rope.freq_base", &config->rope_base);
    if (!(config->rope_base >= 1.0f && config->rope_base <= ROPE_BASE_MAX))
        fail_value(r, BN_ERR_BAD_FILE, "rope.freq_base", (double)config->rope_base,
                   "1 to 1e12 can be used");
    key_of(r, "rope.scaling.type", key);
    (void)bn_gguf_get_string(r->file, key, &type, &r->status);
    if (r->status != BN_OK) return;
    if (is_text(type, "yarn"))
        read_yarn(r, config);
    else if (is_text(type, "none") || is_text(type, "linear"))
        read_unscaled(r);
    else
        r->status =
            bn_fail(BN_ERR_UNSUPPORTED, "MODEL-KEY",
                    "%s: key %s is \"%.*s\"; none, linear (with a factor of 1) and yarn are "
                    "supported",
                    bn_gguf_path(r->file), key, (int)(type.n < 32 ? type.n : 32), type.bytes);
}

static void read_activation(reader *r, bn_activation_choice choice, bn_model_config *config)
{
    bn_gguf_string name;
    char key[KEY_MAX];
    key_of(r, "hidden_act", key);
    config->activation =
        bn_arch_activation(r->arch, config->n_layers, config->hidden, config->ffn, config->vocab);
    if (choice != BN_ACTIVATION_FROM_FILE)
        config->activation =
            choice == BN_ACTIVATION_FORCE_SILU ? BN_ACTIVATION_SILU : BN_ACTIVATION_RELU2;
    else if (!bn_gguf_get_string(r->file, key, &name, &r->status))
        return;
    else if (is_text(name, "silu"))
        config->activation = BN_ACTIVATION_SILU;
    else if (is_text(name, "relu2"))
        config->activation = BN_ACTIVATION_RELU2;
    else if (r->status == BN_OK)
        r->status = bn_fail(
            BN_ERR_UNSUPPORTED, "MODEL-KEY", "%s: key %s is \"%.*s\"; silu and relu2 are supported",
            bn_gguf_path(r->file), key, (int)(name.n < 32 ? name.n : 32), name.bytes);
}

static void check_vocab(reader *r, uint32_t vocab)
{
    static const char tokens_key[] = "tokenizer.ggml.tokens";
    uint32_t named = 0;
    bn_gguf_array tokens;
    if (get_u32(r, "vocab_size", &named) && named > vocab)
        fail_value(r, BN_ERR_BAD_FILE, "vocab_size", named,
                   "tensor token_embd.weight has fewer rows");
    if (bn_gguf_get_array(r->file, tokens_key, BN_GGUF_STRING, &tokens, &r->status) &&
        r->status == BN_OK && tokens.n > vocab)
        r->status = bn_fail(BN_ERR_BAD_FILE, "MODEL-KEY",
                            "%s: key %s has %" PRIu64
                            " tokens, but tensor token_embd.weight has %" PRIu32 " rows",
                            bn_gguf_path(r->file), tokens_key, tokens.n, vocab);
}

static bn_status find_arch(const bn_gguf *file, const bn_arch **arch_out)
{
    bn_gguf_string name;
    bn_status status = BN_OK;
    if (!bn_gguf_get_string(file, "general.architecture", &name, &status))
        return status != BN_OK
                   ? status
                   : bn_fail(BN_ERR_BAD_FILE, "MODEL-KEY",
                             "%s: key general.architecture is missing", bn_gguf_path(file));
    *arch_out = bn_arch_find(name.bytes, name.n);
    if (*arch_out == NULL)
        return bn_fail(BN_ERR_UNSUPPORTED, "MODEL-KEY",
                       "%s: key general.architecture is \"%.*s\"; supported are %s",
                       bn_gguf_path(file), (int)(name.n < 32 ? name.n : 32), name.bytes,
                       bn_arch_names());
    return BN_OK;
}

bn_status bn_model_config_read(const bn_gguf *file, bn_activation_choice activation, uint32_t vocab,
                               bn_model_config *config_out)
{
    reader r = {.file = file};
    bn_model_config config = {.vocab = vocab};
    BN_TRY(find_arch(file, &r.arch));
    config.arch = r.arch->name;
    config.rope_kind = r.arch->rope_kind;
    config.has_sub_norms = r.arch->has_sub_norms;
    config.has_qk_norms = r.arch->has_qk_norms;
    config.activation_group_cols = r.arch->activation_group_cols;
    need_u32(&r, "block_count", BN_LAYERS_MAX, &config.n_layers);
    need_u32(&r, "embedding_length", BN_HIDDEN_MAX, &config.hidden);
    need_u32(&r, "feed_forward_length", BN_FFN_MAX, &config.ffn);
    need_u32(&r, "context_length", BN_CONTEXT_MAX, &config.context);
    read_heads(&r, &config);
    if (r.status == BN_OK) read_head_size(&r, &config);
    if (!get_f32(&r, "attention.layer_norm_rms_epsilon", &config.rms_eps))
        fail_missing(&r, "attention.layer_norm_rms_epsilon");
    else if (!(config.rms_eps > 0.0f && config.rms_eps < 1.0f))
        fail_value(&r, BN_ERR_BAD_FILE, "attention.layer_norm_rms_epsilon", (double)config.rms_eps,
                   "it must lie between 0 and 1");
    if (r.status == BN_OK) read_rope(&r, &config);
    if (r.status == BN_OK) read_activation(&r, activation, &config);
    if (r.status == BN_OK) check_vocab(&r, vocab);
    if (r.status == BN_OK) r.status = bn_model_keys_check(file, config.arch);
    if (r.status == BN_OK) *config_out = config;
    return r.status;
}
