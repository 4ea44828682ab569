/* hf_config.c — keys to facts; what would change the arithmetic is known by name.
 *
 * Hugging Face's code ignores keys that its model class does not have, so most unknown keys mean
 * nothing. Those listed here do something in one of the classes, or in code that ships with a
 * model; they must have the value that means "not used".
 */
#include "model/hf_config.h"

#include "common/alloc.h"
#include "common/json.h"
#include "common/log.h"
#include "kernels/math.h"
#include "model/model.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])
#define SHOWN_MAX 64
#define KEY_MAX 96

typedef struct reader {
    const char *path;
    const bn_json *root;
    const char *inside; /* "" or "rope_scaling." and the like, for messages */
    bn_status status;   /* the first failure */
} reader;

typedef struct family_fact {
    const char *architecture, *model_type, *other_model_type;
    bn_hf_family family;
    double rope_base; /* of its configuration class */
} family_fact;

/* 1bitLLM's configuration class calls itself llama. */
static const family_fact families[] = {
    {"BitNetForCausalLM", "bitnet", NULL, BN_HF_BITNET, 500000.0},
    {"BitnetForCausalLM", "llama", "bitnet", BN_HF_1BITLLM, 10000.0},
    {"LlamaForCausalLM", "llama", NULL, BN_HF_LLAMA, 10000.0},
    {"Qwen3ForCausalLM", "qwen3", NULL, BN_HF_QWEN3, 10000.0},
};

/* A short form of a value, for messages. */
static const char *shown(const bn_json *value, char text[SHOWN_MAX])
{
    const char *string = NULL;
    double number;
    bool truth;
    if (value == NULL) return "absent";
    if (bn_json_is_null(value)) return "null";
    if (bn_json_as_text(value, &string))
        snprintf(text, SHOWN_MAX, "\"%.40s\"", string);
    else if (bn_json_as_bool(value, &truth))
        snprintf(text, SHOWN_MAX, "%s", truth ? "true" : "false");
    else if (bn_json_as_double(value, &number))
        snprintf(text, SHOWN_MAX, "%.10g", number);
    else
        snprintf(text, SHOWN_MAX, "%s", bn_json_is_array(value) ? "a list" : "an object");
    return text;
}

static void refuse(reader *r, bn_status status, const char *key, const bn_json *value,
                   const char *needed)
{
    char text[SHOWN_MAX];
    if (r->status == BN_OK)
        r->status = bn_fail(status, "MODEL-KEY", "%s: key %s%s is %s; %s", r->path, r->inside, key,
                            shown(value, text), needed);
}

static bool is_absent(const bn_json *value)
{
    return value == NULL || bn_json_is_null(value);
}

static uint32_t need_u32(reader *r, const char *key, uint32_t max)
{
    const bn_json *value = bn_json_get(r->root, key);
    uint64_t number = 0;
    char needed[64];
    if (!bn_json_as_u64(value, &number) || number < 1 || number > max) {
        snprintf(needed, sizeof needed, "a whole number from 1 to %" PRIu32 " is needed", max);
        refuse(r, BN_ERR_BAD_FILE, key, value, needed);
        return 1;
    }
    return (uint32_t)number;
}

/* A finite number in (above, max]. */
static double need_number(reader *r, const bn_json *object, const char *key, double above,
                          double max)
{
    const bn_json *value = bn_json_get(object, key);
    double number = 0.0;
    char needed[80];
    if (!bn_json_as_double(value, &number) || !(number > above && number <= max)) {
        snprintf(needed, sizeof needed, "a number above %g, at most %g, is needed", above, max);
        refuse(r, BN_ERR_BAD_FILE, key, value, needed);
        return max;
    }
    return number;
}

static double number_or(reader *r, const bn_json *object, const char *key, double above, double max,
                        double otherwise)
{
    return is_absent(bn_json_get(object, key)) ? otherwise
                                               : need_number(r, object, key, above, max);
}

static bool text_is(const bn_json *value, const char *text)
{
    const char *string = NULL;
    return bn_json_as_text(value, &string) && strcmp(string, text) == 0;
}

static bool bool_or(reader *r, const bn_json *object, const char *key, bool otherwise)
{
    const bn_json *value = bn_json_get(object, key);
    if (!is_absent(value) && !bn_json_as_bool(value, &otherwise))
        refuse(r, BN_ERR_BAD_FILE, key, value, "true or false is needed");
    return otherwise;
}

static const family_fact *find_family(reader *r)
{
    const bn_json *names = bn_json_get(r->root, "architectures");
    const bn_json *name = bn_json_at(names, 0), *type = bn_json_get(r->root, "model_type");
    bool has_names = bn_json_is_array(names) && bn_json_length(names) > 0;
    if (has_names && bn_json_length(names) > 1)
        refuse(r, BN_ERR_UNSUPPORTED, "architectures", names, "one architecture is supported");
    for (size_t i = 0; i < COUNT(families); i++) {
        const family_fact *fact = &families[i];
        bool is_type = text_is(type, fact->model_type) ||
                       (fact->other_model_type != NULL && text_is(type, fact->other_model_type));
        if (has_names && !text_is(name, fact->architecture)) continue;
        if (has_names && !is_absent(type) && !is_type) {
            char needed[96];
            snprintf(needed, sizeof needed, "the key architectures says %s, which is %s",
                     fact->architecture, fact->model_type);
            refuse(r, BN_ERR_BAD_FILE, "model_type", type, needed);
        }
        if (has_names || text_is(type, fact->model_type)) return fact;
    }
    refuse(r, BN_ERR_UNSUPPORTED, has_names ? "architectures" : "model_type",
           has_names ? name : type,
           "BitNetForCausalLM, BitnetForCausalLM, LlamaForCausalLM and Qwen3ForCausalLM can run");
    return &families[0];
}

/* Keys that some model code knows and that must stay unused. */
static void check_unused(reader *r)
{
    static const char *const never[] = {
        "attention_bias",
        "mlp_bias",
        "qkv_bias",
        "use_bias",
        "use_qk_norm",
        "use_sliding_window",
        "alibi",
        "clip_qkv",
        "attn_logit_softcapping",
        "num_experts",
        "logit_scale",
        "rope_interleaved",
        "final_logit_softcapping",
        "dual_chunk_attention_config",
        "num_local_experts",
    };
    static const char *const one[] = {"partial_rotary_factor", "embedding_multiplier",
                                      "residual_multiplier", "logits_scaling"};
    for (size_t i = 0; i < COUNT(never); i++) {
        const bn_json *value = bn_json_get(r->root, never[i]);
        bool truth = true;
        double number = 1.0;
        if (is_absent(value) || (bn_json_as_bool(value, &truth) && !truth)) continue;
        if (bn_json_as_double(value, &number) && number == 0.0) continue;
        refuse(r, BN_ERR_UNSUPPORTED, never[i], value, "only models without it can run");
    }
    for (size_t i = 0; i < COUNT(one); i++) {
        const bn_json *value = bn_json_get(r->root, one[i]);
        double number;
        if (is_absent(value) || (bn_json_as_double(value, &number) && number == 1.0)) continue;
        refuse(r, BN_ERR_UNSUPPORTED, one[i], value, "only 1 is supported");
    }
    for (bn_json_member m = {0}; bn_json_next(r->root, &m);) {
        bool truth = true;
        if (strstr(m.name, "hadamard") == NULL || is_absent(m.value)) continue;
        if (bn_json_as_bool(m.value, &truth) && !truth) continue;
        char name[SHOWN_MAX];
        snprintf(name, sizeof name, "%.60s", m.name);
        refuse(r, BN_ERR_UNSUPPORTED, name, m.value, "rotated weights are not supported");
    }
}

static void check_windows(reader *r, bn_hf_family family)
{
    const bn_json *window = bn_json_get(r->root, "sliding_window");
    const bn_json *types = bn_json_get(r->root, "layer_types");
    /* Qwen3's class uses the window only where use_sliding_window says so, which is refused. */
    if (family != BN_HF_QWEN3 && !is_absent(window))
        refuse(r, BN_ERR_UNSUPPORTED, "sliding_window", window,
               "attention to all earlier positions is supported");
    for (size_t i = 0; i < bn_json_length(types); i++)
        if (!text_is(bn_json_at(types, i), "full_attention"))
            refuse(r, BN_ERR_UNSUPPORTED, "layer_types", bn_json_at(types, i),
                   "only full_attention is supported");
}

static void read_sizes(reader *r, bn_hf_config *config)
{
    config->n_layers = need_u32(r, "num_hidden_layers", BN_LAYERS_MAX);
    config->hidden = need_u32(r, "hidden_size", BN_HIDDEN_MAX);
    config->ffn = need_u32(r, "intermediate_size", BN_FFN_MAX);
    config->n_heads = need_u32(r, "num_attention_heads", BN_HEADS_MAX);
    config->vocab = need_u32(r, "vocab_size", BN_VOCAB_MAX);
    config->context = need_u32(r, "max_position_embeddings", BN_CONTEXT_MAX);
    config->n_kv_heads = config->n_heads;
    if (!is_absent(bn_json_get(r->root, "num_key_value_heads")))
        config->n_kv_heads = need_u32(r, "num_key_value_heads", config->n_heads);
    if (config->n_heads % config->n_kv_heads != 0)
        refuse(r, BN_ERR_BAD_FILE, "num_key_value_heads",
               bn_json_get(r->root, "num_key_value_heads"),
               "num_attention_heads must be a multiple of it");
    const bn_json *head = bn_json_get(r->root, "head_dim");
    config->has_head_size = !is_absent(head);
    if (config->has_head_size)
        config->head_size = need_u32(r, "head_dim", BN_HEAD_SIZE_MAX);
    else if (config->family == BN_HF_QWEN3)
        config->head_size = 128; /* its class does not derive it */
    else if (config->hidden % config->n_heads == 0)
        config->head_size = config->hidden / config->n_heads;
    else
        refuse(r, BN_ERR_BAD_FILE, "hidden_size", bn_json_get(r->root, "hidden_size"),
               "without head_dim it must be a multiple of num_attention_heads");
    if (config->head_size % 2 != 0 || config->head_size > BN_HEAD_SIZE_MAX)
        refuse(r, BN_ERR_UNSUPPORTED, "head_dim", head,
               "so a head has an odd number of elements, or more than 512");
    config->rms_eps = (float)need_number(r, r->root, "rms_norm_eps", 0.0, 0.999);
}

static void read_activation(reader *r, bn_hf_config *config)
{
    const bn_json *act = bn_json_get(r->root, "hidden_act");
    config->is_relu2 = text_is(act, "relu2");
    bool is_bitnet = config->family == BN_HF_BITNET || config->family == BN_HF_1BITLLM;
    if (!text_is(act, "silu") && !(config->is_relu2 && is_bitnet))
        refuse(r, BN_ERR_UNSUPPORTED, "hidden_act", act,
               is_bitnet ? "silu and relu2 are supported" : "silu is supported");
}

/* Members of the object that describes RoPE, other than those that every kind may have. */
static void check_rope_members(reader *r, const bn_json *rope, const char *const *allowed)
{
    for (bn_json_member m = {0}; bn_json_next(rope, &m);) {
        bool is_known = strcmp(m.name, "rope_type") == 0 || strcmp(m.name, "type") == 0 ||
                        strcmp(m.name, "rope_theta") == 0 || is_absent(m.value);
        for (size_t i = 0; allowed[i] != NULL; i++)
            is_known = is_known || strcmp(m.name, allowed[i]) == 0;
        char name[SHOWN_MAX];
        snprintf(name, sizeof name, "%.60s", m.name);
        if (!is_known) refuse(r, BN_ERR_UNSUPPORTED, name, m.value, "it is not supported here");
    }
}

static void read_rope_context(reader *r, const bn_json *rope, bn_hf_config *config)
{
    static const char key[] = "original_max_position_embeddings";
    const bn_json *value = bn_json_get(rope, key);
    uint64_t number = config->context;
    if (is_absent(value)) value = bn_json_get(r->root, key);
    if (!is_absent(value) &&
        (!bn_json_as_u64(value, &number) || number < 1 || number > BN_CONTEXT_MAX))
        refuse(r, BN_ERR_BAD_FILE, key, value, "a whole number from 1 to 1048576 is needed");
    config->rope_context = (uint32_t)number;
}

static void read_llama3(reader *r, const bn_json *rope, bn_hf_config *config)
{
    static const char *const members[] = {"factor", "low_freq_factor", "high_freq_factor",
                                          "original_max_position_embeddings", NULL};
    config->rope = BN_HF_ROPE_LLAMA3;
    check_rope_members(r, rope, members);
    config->rope_factor = need_number(r, rope, "factor", 0.0, 65536.0);
    config->rope_low = need_number(r, rope, "low_freq_factor", 0.0, 65536.0);
    config->rope_high = need_number(r, rope, "high_freq_factor", 0.0, 65536.0);
    read_rope_context(r, rope, config);
    if (config->rope_high <= config->rope_low)
        refuse(r, BN_ERR_BAD_FILE, "high_freq_factor", bn_json_get(rope, "high_freq_factor"),
               "it must be above low_freq_factor");
}

static void read_yarn(reader *r, const bn_json *rope, bn_hf_config *config)
{
    static const char *const members[] = {"factor",    "original_max_position_embeddings",
                                          "beta_fast", "beta_slow",
                                          "truncate",  "attention_factor",
                                          NULL};
    config->rope = BN_HF_ROPE_YARN;
    check_rope_members(r, rope, members);
    config->rope_factor = need_number(r, rope, "factor", 0.999999, 65536.0);
    config->rope_high = number_or(r, rope, "beta_fast", 0.0, 65536.0, BN_HF_YARN_BETA_FAST);
    config->rope_low = number_or(r, rope, "beta_slow", 0.0, 65536.0, BN_HF_YARN_BETA_SLOW);
    read_rope_context(r, rope, config);
    double made = 0.1 * bn_log_f64(config->rope_factor) + 1.0;
    config->rope_attention = number_or(r, rope, "attention_factor", 0.0, 1000.0, made) / made;
    if (!bool_or(r, rope, "truncate", true))
        refuse(r, BN_ERR_UNSUPPORTED, "truncate", bn_json_get(rope, "truncate"),
               "only true is supported");
}

static void read_rope_kind(reader *r, const bn_json *rope, bn_hf_config *config)
{
    static const char *const factor_only[] = {"factor", NULL}, *const none[] = {NULL};
    const bn_json *type = bn_json_get(rope, "rope_type");
    double factor = 1.0;
    if (is_absent(type)) type = bn_json_get(rope, "type");
    if (text_is(type, "llama3")) {
        read_llama3(r, rope, config);
    } else if (text_is(type, "yarn")) {
        read_yarn(r, rope, config);
    } else if (text_is(type, "linear")) {
        check_rope_members(r, rope, factor_only);
        if (!bn_json_as_double(bn_json_get(rope, "factor"), &factor) || factor != 1.0)
            refuse(r, BN_ERR_UNSUPPORTED, "factor", bn_json_get(rope, "factor"),
                   "only 1 (no scaling of positions) is supported with linear");
    } else if (is_absent(type) || text_is(type, "default")) {
        check_rope_members(r, rope, none);
    } else {
        refuse(r, BN_ERR_UNSUPPORTED, "rope_type", type,
               "default, linear, llama3 and yarn are supported");
    }
}

/* `rope_parameters` is the form of transformers 5, with rope_theta inside. */
static void read_rope(reader *r, double base_default, bn_hf_config *config)
{
    const bn_json *outer = bn_json_get(r->root, "rope_theta");
    const bn_json *rope = bn_json_get(r->root, "rope_parameters");
    const char *name = "rope_parameters";
    if (is_absent(rope)) {
        rope = bn_json_get(r->root, "rope_scaling");
        name = "rope_scaling";
    } else if (!is_absent(bn_json_get(r->root, "rope_scaling"))) {
        refuse(r, BN_ERR_BAD_FILE, "rope_scaling", bn_json_get(r->root, "rope_scaling"),
               "rope_parameters is there too: one of them is needed");
    }
    config->rope_base = number_or(r, r->root, "rope_theta", 0.999999, 1e12, base_default);
    if (is_absent(rope)) return;
    if (!bn_json_is_object(rope)) {
        refuse(r, BN_ERR_BAD_FILE, name, rope, "an object or null is needed");
        return;
    }
    char inside[KEY_MAX];
    snprintf(inside, sizeof inside, "%s.", name);
    r->inside = inside;
    double base = number_or(r, rope, "rope_theta", 0.999999, 1e12, config->rope_base);
    if (base != config->rope_base && !is_absent(outer))
        refuse(r, BN_ERR_BAD_FILE, "rope_theta", bn_json_get(rope, "rope_theta"),
               "the key rope_theta beside it says something else");
    config->rope_base = base;
    read_rope_kind(r, rope, config);
    r->inside = "";
}

/* Modules that hold no projection of a layer. */
static void check_kept_modules(reader *r, const bn_json *names)
{
    static const char *const known[] = {"lm_head", "embed_tokens", "model.embed_tokens"};
    if (!is_absent(names) && !bn_json_is_array(names))
        refuse(r, BN_ERR_BAD_FILE, "modules_to_not_convert", names, "a list is needed");
    for (size_t i = 0; i < bn_json_length(names); i++) {
        bool is_known = false;
        for (size_t k = 0; k < COUNT(known); k++)
            is_known = is_known || text_is(bn_json_at(names, i), known[k]);
        if (!is_known)
            refuse(r, BN_ERR_UNSUPPORTED, "modules_to_not_convert", bn_json_at(names, i),
                   "all projections must be ternary; lm_head and embed_tokens may be kept");
    }
}

static void read_weights(reader *r, bn_hf_config *config)
{
    const bn_json *quantization = bn_json_get(r->root, "quantization_config");
    bool is_bitnet = config->family == BN_HF_BITNET || config->family == BN_HF_1BITLLM;
    config->weights = is_bitnet ? BN_HF_MASTER : BN_HF_TERNARY_FLOATS;
    if (is_absent(quantization)) return;
    const bn_json *method = bn_json_get(quantization, "quant_method");
    const bn_json *linear = bn_json_get(quantization, "linear_class");
    const bn_json *mode = bn_json_get(quantization, "quantization_mode");
    r->inside = "quantization_config.";
    if (!text_is(method, "bitnet"))
        refuse(r, BN_ERR_UNSUPPORTED, "quant_method", method, "only \"bitnet\" is supported");
    if (!is_absent(linear) && !text_is(linear, "bitlinear") && !text_is(linear, "autobitlinear"))
        refuse(r, BN_ERR_UNSUPPORTED, "linear_class", linear,
               "\"bitlinear\" and \"autobitlinear\" are supported");
    if (!is_absent(mode) && !text_is(mode, "online") && !text_is(mode, "offline"))
        refuse(r, BN_ERR_UNSUPPORTED, "quantization_mode", mode,
               "\"online\" and \"offline\" are supported");
    if (bool_or(r, quantization, "use_rms_norm", false))
        refuse(r, BN_ERR_UNSUPPORTED, "use_rms_norm", bn_json_get(quantization, "use_rms_norm"),
               "a norm before each projection is not supported");
    check_kept_modules(r, bn_json_get(quantization, "modules_to_not_convert"));
    r->inside = "";
    /* The class "bitlinear" has no other mode than packed weights. */
    config->weights = !text_is(linear, "autobitlinear") ? BN_HF_PACKED_DIVIDED
                      : text_is(mode, "online")         ? BN_HF_MASTER
                                                        : BN_HF_PACKED_MULTIPLIED;
}

/* 1bitLLM's own keys. */
static void check_bits(reader *r)
{
    static const struct {
        const char *key, *needed;
        uint64_t bits;
    } keys[] = {{"weight_bits", "only 1 (ternary) is supported", 1},
                {"input_bits", "only 8 is supported", 8}};
    for (size_t i = 0; i < COUNT(keys); i++) {
        const bn_json *value = bn_json_get(r->root, keys[i].key);
        uint64_t bits = 0;
        if (!is_absent(value) && (!bn_json_as_u64(value, &bits) || bits != keys[i].bits))
            refuse(r, BN_ERR_UNSUPPORTED, keys[i].key, value, keys[i].needed);
    }
}

static bn_status read_config(const char *path, const bn_json *root, bn_hf_config *config_out)
{
    reader r = {.path = path, .root = root, .inside = ""};
    bn_hf_config config = {0};
    if (!bn_json_is_object(root))
        return bn_fail(BN_ERR_BAD_FILE, "MODEL-KEY", "%s: a JSON object is needed", path);
    const family_fact *family = find_family(&r);
    config.family = family->family;
    if (r.status == BN_OK) read_sizes(&r, &config);
    if (r.status == BN_OK) read_activation(&r, &config);
    if (r.status == BN_OK) read_rope(&r, family->rope_base, &config);
    if (r.status == BN_OK) read_weights(&r, &config);
    if (r.status == BN_OK) check_unused(&r);
    if (r.status == BN_OK) check_windows(&r, config.family);
    if (r.status == BN_OK) check_bits(&r);
    config.is_tied = bool_or(&r, root, "tie_word_embeddings", false);
    if (r.status == BN_OK) *config_out = config;
    return r.status;
}

bn_status bn_hf_config_read(const char *path, bn_hf_config *config_out)
{
    bn_json *root;
    BN_TRY(bn_json_read(path, BN_HF_CONFIG_BYTES_MAX, &root));
    bn_status status = read_config(path, root, config_out);
    bn_json_free(root);
    return status;
}
