/* hf_config_write.c — the facts of a config.json as keys and as the tensor of frequencies. */
#include "common/log.h"
#include "kernels/rope.h"
#include "model/hf_config.h"
#include "model/model.h"

#include <stdio.h>

#define KEY_MAX 96
#define TWO_PI 0x1.921fb54442d18p+2

const char *bn_hf_config_arch(const bn_hf_config *config)
{
    if (config->family == BN_HF_LLAMA) return "llama";
    if (config->family == BN_HF_QWEN3) return "qwen3";
    return config->is_relu2 ? "bitnet-b1.58" : "bitnet";
}

static void write_u32(const bn_hf_config *config, bn_gguf_writer *writer, const char *suffix,
                      uint32_t value)
{
    char key[KEY_MAX];
    snprintf(key, sizeof key, "%s.%s", bn_hf_config_arch(config), suffix);
    bn_gguf_writer_key_u32(writer, key, value);
}

static void write_f32(const bn_hf_config *config, bn_gguf_writer *writer, const char *suffix,
                      double value)
{
    char key[KEY_MAX];
    snprintf(key, sizeof key, "%s.%s", bn_hf_config_arch(config), suffix);
    bn_gguf_writer_key_f32(writer, key, (float)value);
}

static void write_text(const bn_hf_config *config, bn_gguf_writer *writer, const char *suffix,
                       const char *value)
{
    char key[KEY_MAX];
    snprintf(key, sizeof key, "%s.%s", bn_hf_config_arch(config), suffix);
    bn_gguf_writer_key_text(writer, key, value);
}

static void write_rope(const bn_hf_config *config, bn_gguf_writer *writer)
{
    write_u32(config, writer, "rope.dimension_count", config->head_size);
    write_f32(config, writer, "rope.freq_base", config->rope_base);
    if (config->rope == BN_HF_ROPE_YARN) {
        write_text(config, writer, "rope.scaling.type", "yarn");
        write_f32(config, writer, "rope.scaling.factor", config->rope_factor);
        write_u32(config, writer, "rope.scaling.original_context_length", config->rope_context);
        if (config->rope_high != BN_HF_YARN_BETA_FAST)
            write_f32(config, writer, "rope.scaling.yarn_beta_fast", config->rope_high);
        if (config->rope_low != BN_HF_YARN_BETA_SLOW)
            write_f32(config, writer, "rope.scaling.yarn_beta_slow", config->rope_low);
        if (config->rope_attention != 1.0)
            write_f32(config, writer, "rope.scaling.attn_factor", config->rope_attention);
    } else if (config->family == BN_HF_BITNET || config->family == BN_HF_1BITLLM) {
        write_text(config, writer, "rope.scaling.type", "linear");
        write_f32(config, writer, "rope.scaling.factor", 1.0);
    }
}

void bn_hf_config_write(const bn_hf_config *config, bn_gguf_writer *writer)
{
    bn_gguf_writer_key_text(writer, "general.architecture", bn_hf_config_arch(config));
    write_u32(config, writer, "vocab_size", config->vocab);
    write_u32(config, writer, "context_length", config->context);
    write_u32(config, writer, "embedding_length", config->hidden);
    write_u32(config, writer, "block_count", config->n_layers);
    write_u32(config, writer, "feed_forward_length", config->ffn);
    write_u32(config, writer, "attention.head_count", config->n_heads);
    write_u32(config, writer, "attention.head_count_kv", config->n_kv_heads);
    write_f32(config, writer, "attention.layer_norm_rms_epsilon", (double)config->rms_eps);
    if (config->has_head_size || config->family == BN_HF_QWEN3) {
        write_u32(config, writer, "attention.key_length", config->head_size);
        write_u32(config, writer, "attention.value_length", config->head_size);
    }
    /* Architecture names do not tell the activation of BitNet models (docs/MODELS.md). */
    if (config->family == BN_HF_BITNET || config->family == BN_HF_1BITLLM)
        write_text(config, writer, "hidden_act", config->is_relu2 ? "relu2" : "silu");
    write_rope(config, writer);
}

void bn_hf_config_rope_freqs(const bn_hf_config *config, float *freqs_out)
{
    double inverse[BN_HEAD_SIZE_MAX / 2], context = (double)config->rope_context;
    BN_ASSERT(config->rope == BN_HF_ROPE_LLAMA3 && config->head_size <= BN_HEAD_SIZE_MAX);
    bn_rope_frequencies(config->rope_base, config->head_size, NULL, inverse);
    for (uint32_t i = 0; i < config->head_size / 2; i++) {
        double length = TWO_PI / inverse[i], factor = 1.0;
        if (length > context / config->rope_low) {
            factor = config->rope_factor;
        } else if (length >= context / config->rope_high) {
            double smooth =
                (context / length - config->rope_low) / (config->rope_high - config->rope_low);
            factor = 1.0 / ((1.0 - smooth) / config->rope_factor + smooth);
        }
        freqs_out[i] = (float)factor;
    }
}
