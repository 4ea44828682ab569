/* hf_names.c — two tables. 1bitLLM's sub-norms have names of their own. */
#include "model/hf_names.h"

#define BITNETS (1u << BN_HF_BITNET | 1u << BN_HF_1BITLLM)
#define QWEN3 (1u << BN_HF_QWEN3)
#define ALL (BITNETS | 1u << BN_HF_LLAMA | QWEN3)

#define VOCAB BN_HF_SIZE_VOCAB
#define HIDDEN BN_HF_SIZE_HIDDEN
#define FFN BN_HF_SIZE_FFN
#define Q BN_HF_SIZE_Q
#define KV BN_HF_SIZE_KV
#define HEAD BN_HF_SIZE_HEAD

static const bn_hf_name model_names[] = {
    {"model.embed_tokens", NULL, "token_embd", BN_HF_ROLE_EMBEDDING, VOCAB, HIDDEN, ALL},
    {"model.norm", NULL, "output_norm", BN_HF_ROLE_NORM, HIDDEN, HIDDEN, ALL},
    {"lm_head", NULL, "output", BN_HF_ROLE_HEAD, VOCAB, HIDDEN, ALL},
};

static const bn_hf_name layer_names[] = {
    {"input_layernorm", NULL, "attn_norm", BN_HF_ROLE_NORM, HIDDEN, HIDDEN, ALL},
    {"self_attn.q_proj", NULL, "attn_q", BN_HF_ROLE_ROTATED, Q, HIDDEN, ALL},
    {"self_attn.k_proj", NULL, "attn_k", BN_HF_ROLE_ROTATED, KV, HIDDEN, ALL},
    {"self_attn.v_proj", NULL, "attn_v", BN_HF_ROLE_LINEAR, KV, HIDDEN, ALL},
    {"self_attn.q_norm", NULL, "attn_q_norm", BN_HF_ROLE_NORM, HEAD, HEAD, QWEN3},
    {"self_attn.k_norm", NULL, "attn_k_norm", BN_HF_ROLE_NORM, HEAD, HEAD, QWEN3},
    {"self_attn.attn_sub_norm", "self_attn.inner_attn_ln", "attn_sub_norm", BN_HF_ROLE_NORM, Q, Q,
     BITNETS},
    {"self_attn.o_proj", NULL, "attn_output", BN_HF_ROLE_LINEAR, HIDDEN, Q, ALL},
    {"post_attention_layernorm", NULL, "ffn_norm", BN_HF_ROLE_NORM, HIDDEN, HIDDEN, ALL},
    {"mlp.gate_proj", NULL, "ffn_gate", BN_HF_ROLE_LINEAR, FFN, HIDDEN, ALL},
    {"mlp.up_proj", NULL, "ffn_up", BN_HF_ROLE_LINEAR, FFN, HIDDEN, ALL},
    {"mlp.ffn_sub_norm", "mlp.ffn_layernorm", "ffn_sub_norm", BN_HF_ROLE_NORM, FFN, FFN, BITNETS},
    {"mlp.down_proj", NULL, "ffn_down", BN_HF_ROLE_LINEAR, HIDDEN, FFN, ALL},
};

const bn_hf_name *bn_hf_names_model(size_t index)
{
    return index < sizeof model_names / sizeof model_names[0] ? &model_names[index] : NULL;
}

const bn_hf_name *bn_hf_names_layer(size_t index)
{
    return index < sizeof layer_names / sizeof layer_names[0] ? &layer_names[index] : NULL;
}

uint64_t bn_hf_names_elements(const bn_hf_config *config, bn_hf_size size)
{
    switch (size) {
    case BN_HF_SIZE_VOCAB: return config->vocab;
    case BN_HF_SIZE_HIDDEN: return config->hidden;
    case BN_HF_SIZE_FFN: return config->ffn;
    case BN_HF_SIZE_Q: return (uint64_t)config->n_heads * config->head_size;
    case BN_HF_SIZE_KV: return (uint64_t)config->n_kv_heads * config->head_size;
    case BN_HF_SIZE_HEAD: return config->head_size;
    }
    return 0;
}

const char *bn_hf_names_keys(bn_hf_size size)
{
    switch (size) {
    case BN_HF_SIZE_VOCAB: return "vocab_size";
    case BN_HF_SIZE_HIDDEN: return "hidden_size";
    case BN_HF_SIZE_FFN: return "intermediate_size";
    case BN_HF_SIZE_Q: return "num_attention_heads × head_dim";
    case BN_HF_SIZE_KV: return "num_key_value_heads × head_dim";
    case BN_HF_SIZE_HEAD: return "head_dim";
    }
    return "";
}
