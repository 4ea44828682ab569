/* arch.h — the table of facts about architectures; nothing else asks for a name.
 *
 * Threads: any; the table is constant.
 */
#ifndef BN_MODEL_ARCH_H
#define BN_MODEL_ARCH_H

#include "kernels/kernels.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum bn_arch_activation_rule {
    BN_ARCH_SILU,
    BN_ARCH_RELU2,
    /* Squared ReLU, but SiLU for 1bitLLM's models, which share the name. */
    BN_ARCH_RELU2_OR_1BITLLM,
} bn_arch_activation_rule;

typedef struct bn_arch {
    const char *name; /* value of general.architecture and prefix of the keys */
    bn_rope_kind rope_kind;
    bool has_sub_norms; /* attn_sub_norm and ffn_sub_norm in every layer */
    bool has_qk_norms;  /* attn_q_norm and attn_k_norm: of every head, before it is rotated */
    uint32_t activation_group_cols; /* columns of a token quantised together; 0: the token */
    bn_arch_activation_rule activation_rule;
} bn_arch;

/* NULL when unknown. `name` has n bytes. */
const bn_arch *bn_arch_find(const char *name, size_t n);

/* "bitnet, bitnet-b1.58, …": for messages. */
const char *bn_arch_names(void);

bn_activation bn_arch_activation(const bn_arch *arch, uint32_t n_layers, uint32_t hidden,
                                 uint32_t ffn, uint32_t vocab);

#endif
