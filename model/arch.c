/* arch.c — one row per architecture. A new one is a new row, if its facts are these. */
#include "model/arch.h"

#include <string.h>

static const bn_arch archs[] = {
    {"bitnet", BN_ROPE_NEOX, true, false, 0, BN_ARCH_SILU},
    {"bitnet-b1.58", BN_ROPE_NEOX, true, false, 0, BN_ARCH_RELU2_OR_1BITLLM},
    {"bitnet-25", BN_ROPE_NEOX, true, false, 0, BN_ARCH_RELU2},
    /* Its converter has reordered the rows of q and k, so pairs are adjacent. */
    {"llama", BN_ROPE_NORM, false, false, 0, BN_ARCH_SILU},
    /* Trained without quantised activations; groups lose the least. */
    {"qwen3", BN_ROPE_NEOX, false, true, 128, BN_ARCH_SILU},
};

/* bitnet_b1_58-large, -xl and -3B, which newer converters also call bitnet-b1.58. */
#define VOCAB_1BITLLM 32002u
static const struct {
    uint32_t n_layers, hidden, ffn;
} shapes_1bitllm[] = {{24, 1536, 4096}, {24, 2048, 5460}, {26, 3200, 8640}};

const bn_arch *bn_arch_find(const char *name, size_t n)
{
    for (size_t i = 0; i < sizeof archs / sizeof archs[0]; i++)
        if (strlen(archs[i].name) == n && memcmp(archs[i].name, name, n) == 0) return &archs[i];
    return NULL;
}

const char *bn_arch_names(void)
{
    return "bitnet, bitnet-b1.58, bitnet-25, llama, qwen3";
}

bn_activation bn_arch_activation(const bn_arch *arch, uint32_t n_layers, uint32_t hidden,
                                 uint32_t ffn, uint32_t vocab)
{
    if (arch->activation_rule == BN_ARCH_SILU) return BN_ACTIVATION_SILU;
    if (arch->activation_rule == BN_ARCH_RELU2) return BN_ACTIVATION_RELU2;
    if (vocab == VOCAB_1BITLLM) return BN_ACTIVATION_SILU;
    for (size_t i = 0; i < sizeof shapes_1bitllm / sizeof shapes_1bitllm[0]; i++)
        if (n_layers == shapes_1bitllm[i].n_layers && hidden == shapes_1bitllm[i].hidden &&
            ffn == shapes_1bitllm[i].ffn)
            return BN_ACTIVATION_SILU;
    return BN_ACTIVATION_RELU2;
}
