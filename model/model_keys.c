/* model_keys.c — two tables of names, and a walk over the keys. */
#include "model/model_keys.h"

#include "common/log.h"

#include <string.h>

/* Read by model_config.c, or without a bearing on the arithmetic. */
static const char *const read_keys[] = {
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.layer_norm_rms_epsilon",
    "attention.value_length",
    "block_count",
    "context_length",
    "embedding_length",
    "feed_forward_length",
    "hidden_act",
    "pooling_type", /* what an embedding server makes of the last layer */
    "rope.dimension_count",
    "rope.freq_base",
    "rope.scale_linear",
    "rope.scaling.attn_factor",
    "rope.scaling.factor",
    "rope.scaling.finetuned",
    "rope.scaling.original_context_length",
    "rope.scaling.type",
    "rope.scaling.yarn_attn_factor",
    "rope.scaling.yarn_beta_fast",
    "rope.scaling.yarn_beta_slow",
    "rope.scaling.yarn_ext_factor",
    "rope.scaling.yarn_log_multiplier",
    "tensor_data_layout", /* where the converter found the weights */
    "vocab_size",
};

/* Things that are not computed here, with the value that says that they are not there. */
static const struct {
    const char *suffix;
    double absent;
} absent_keys[] = {
    {"attention.causal", 1},
    {"attention.clamp_kqv", 0},
    {"attention.max_alibi_bias", 0},
    {"attention.scale", 0},
    {"attention.sliding_window", 0},
    {"attn_logit_softcapping", 0},
    {"embedding_scale", 1},
    {"expert_count", 0},
    {"expert_shared_count", 0},
    {"expert_used_count", 0},
    {"final_logit_softcapping", 0},
    {"leading_dense_block_count", 0},
    {"logit_scale", 1},
    {"nextn_predict_layers", 0},
    {"residual_scale", 1},
    {"use_parallel_residual", 0},
};

/* Whole families, whatever the architecture: weights in another basis, parts of a model. */
static const char *const refused_families[] = {"prism.", "adapter.", "clip."};

static bool begins_with(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

static bool is_read(const char *suffix)
{
    for (size_t i = 0; i < sizeof read_keys / sizeof read_keys[0]; i++)
        if (strcmp(read_keys[i], suffix) == 0) return true;
    return false;
}

static bn_status refuse(const bn_gguf *file, uint64_t index, const char *why)
{
    char value[BN_GGUF_VALUE_TEXT_MAX];
    bn_gguf_value_text(file, index, value);
    return bn_fail(BN_ERR_UNSUPPORTED, "MODEL-KEY", "%s: key %s is %s; %s", bn_gguf_path(file),
                   bn_gguf_key_name(file, index), value, why);
}

static bn_status check_suffix(const bn_gguf *file, uint64_t index, const char *suffix)
{
    double value;
    if (is_read(suffix)) return BN_OK;
    for (size_t i = 0; i < sizeof absent_keys / sizeof absent_keys[0]; i++) {
        if (strcmp(absent_keys[i].suffix, suffix) != 0) continue;
        if (bn_gguf_number_at(file, index, &value) && value == absent_keys[i].absent) return BN_OK;
        return refuse(file, index,
                      absent_keys[i].absent == 0 ? "only 0 is supported" : "only 1 is supported");
    }
    return refuse(file, index, "this program does not know the key, and it may change the answer");
}

bn_status bn_model_keys_check(const bn_gguf *file, const char *arch)
{
    static const char general_type[] = "general.type";
    size_t n_arch = strlen(arch);
    for (uint64_t i = 0; i < bn_gguf_n_keys(file); i++) {
        const char *name = bn_gguf_key_name(file, i);
        if (strncmp(name, arch, n_arch) == 0 && name[n_arch] == '.')
            BN_TRY(check_suffix(file, i, name + n_arch + 1));
        for (size_t k = 0; k < sizeof refused_families / sizeof refused_families[0]; k++)
            if (begins_with(name, refused_families[k]))
                return refuse(file, i, "what such keys declare is not supported");
        if (strcmp(name, general_type) != 0) continue;
        char value[BN_GGUF_VALUE_TEXT_MAX];
        bn_gguf_value_text(file, i, value);
        if (strcmp(value, "\"model\"") != 0)
            return refuse(file, i, "a file of type model is needed");
    }
    return BN_OK;
}
