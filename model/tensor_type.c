/* tensor_type.c — one table of facts. */
#include "model/tensor_type.h"

#include "model/gguf.h"

typedef struct type_fact {
    uint32_t id;
    const char *name;
    uint32_t block, block_bytes; /* 0: size not known */
} type_fact;

static const type_fact type_facts[] = {
    {BN_TENSOR_F32, "F32", 1, 4},
    {BN_TENSOR_F16, "F16", 1, 2},
    {2, "Q4_0", 32, 18},
    {3, "Q4_1", 0, 0},
    {6, "Q5_0", 32, 22},
    {7, "Q5_1", 0, 0},
    {BN_TENSOR_Q8_0, "Q8_0", 32, 34},
    {10, "Q2_K", 0, 0},
    {11, "Q3_K", 0, 0},
    {12, "Q4_K", 256, 144},
    {13, "Q5_K", 0, 0},
    {BN_TENSOR_Q6_K, "Q6_K", 256, 210},
    {20, "IQ4_NL", 0, 0},
    {23, "IQ4_XS", 0, 0},
    {24, "I8", 1, 1},
    {25, "I16", 1, 2},
    {26, "I32", 1, 4},
    {27, "I64", 1, 8},
    {28, "F64", 1, 8},
    {BN_TENSOR_BF16, "BF16", 1, 2},
    {34, "TQ1_0", 256, 54},
    {35, "TQ2_0", 256, 66},
    {BN_TENSOR_I2_S, "I2_S", 4, 1}, /* and the tail */
    {38, "TL1", 0, 0},
    {39, "TL2 or MXFP4", 0, 0},
    {134, "IQ1_BN", 0, 0},
    {135, "IQ2_BN", 0, 0},
};

static const type_fact *find_fact(uint32_t type)
{
    for (size_t i = 0; i < sizeof type_facts / sizeof type_facts[0]; i++)
        if (type_facts[i].id == type) return &type_facts[i];
    return NULL;
}

const char *bn_tensor_type_name(uint32_t type)
{
    const type_fact *fact = find_fact(type);
    return fact != NULL ? fact->name : "unknown";
}

uint32_t bn_tensor_type_block(uint32_t type)
{
    const type_fact *fact = find_fact(type);
    return fact != NULL ? fact->block : 0;
}

bool bn_tensor_type_span(uint32_t type, uint64_t n_cols, uint64_t n_elements, uint64_t *bytes_out)
{
    const type_fact *fact = find_fact(type);
    if (fact == NULL || fact->block == 0) {
        *bytes_out = 0;
        return true;
    }
    /* I2_S blocks run over the flattened tensor, all others along a row. */
    uint64_t blocked = type == BN_TENSOR_I2_S ? n_elements : n_cols;
    uint64_t tail = type == BN_TENSOR_I2_S ? BN_TENSOR_I2S_TAIL_BYTES : 0;
    uint64_t blocks = n_elements / fact->block;
    if (blocked % fact->block != 0 || blocks > (UINT64_MAX - tail) / fact->block_bytes)
        return false;
    *bytes_out = blocks * fact->block_bytes + tail;
    return true;
}
