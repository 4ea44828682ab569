/* hf_config.h — a Hugging Face folder's config.json as the keys that a GGUF would have.
 *
 * Three families: BitNet with sub-norms (BitNetForCausalLM, and 1bitLLM's BitnetForCausalLM),
 * Llama, Qwen3. A key that would change the arithmetic to something we do not do is refused
 * by its name and value; defaults of absent keys are those of the family's own code.
 *
 * Memory:  plain values.
 * Threads: any.
 * Errors:  BN_ERR_BAD_FILE or BN_ERR_UNSUPPORTED with a text that names file, key and value.
 * Source:  docs/FORMAT.md; the configuration classes of Hugging Face transformers.
 */
#ifndef BN_MODEL_HF_CONFIG_H
#define BN_MODEL_HF_CONFIG_H

#include "model/gguf_writer.h"

#include <stdbool.h>
#include <stdint.h>

#define BN_HF_CONFIG_BYTES_MAX (1u << 20)
#define BN_HF_YARN_BETA_FAST 32.0 /* when absent */
#define BN_HF_YARN_BETA_SLOW 1.0

typedef enum bn_hf_family {
    BN_HF_BITNET,
    BN_HF_1BITLLM,
    BN_HF_LLAMA,
    BN_HF_QWEN3,
} bn_hf_family;

/* What the projections' tensors hold. */
typedef enum bn_hf_weights {
    BN_HF_PACKED_DIVIDED,    /* packed trits; their product is divided by weight_scale */
    BN_HF_PACKED_MULTIPLIED, /* packed trits; it is multiplied by weight_scale */
    BN_HF_MASTER,            /* floats, made ternary by the absmean rule */
    BN_HF_TERNARY_FLOATS,    /* floats that are trits times scales already */
} bn_hf_weights;

typedef enum bn_hf_rope {
    BN_HF_ROPE_PLAIN,
    BN_HF_ROPE_LLAMA3, /* divisors of the frequencies: bn_hf_config_rope_freqs */
    BN_HF_ROPE_YARN,
} bn_hf_rope;

typedef struct bn_hf_config {
    bn_hf_family family;
    bn_hf_weights weights;
    uint32_t n_layers, hidden, ffn, n_heads, n_kv_heads, head_size, vocab, context;
    bool has_head_size; /* head_dim was given, not derived */
    float rms_eps;
    double rope_base;
    bn_hf_rope rope;
    double rope_factor, rope_low,
        rope_high;         /* low and high: of llama3; beta_slow, _fast: of YaRN */
    double rope_attention; /* of YaRN: attention_factor ÷ (0.1·ln(factor) + 1) */
    uint32_t rope_context; /* original_max_position_embeddings */
    bool is_relu2;
    bool is_tied;
} bn_hf_config;

/* Reads the file at `path`. */
BN_CHECKED bn_status bn_hf_config_read(const char *path, bn_hf_config *config_out);

/* general.architecture: "bitnet" (SiLU), "bitnet-b1.58" (squared ReLU), "llama", "qwen3". */
const char *bn_hf_config_arch(const bn_hf_config *config);

/* Adds the model's keys; errors stay with the writer. */
void bn_hf_config_write(const bn_hf_config *config, bn_gguf_writer *writer);

/* rope_freqs.weight of a llama3 scaling: freqs_out[head_size / 2]. */
void bn_hf_config_rope_freqs(const bn_hf_config *config, float *freqs_out);

#endif
