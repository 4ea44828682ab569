/* tensor_type.c — one table of facts. */
#include "model/tensor_type.h"

#include "model/gguf.h"

typedef struct type_fact {
    uint32_t id;
    const char *name;
    uint32_t block, block_bytes; /* 0: size not known */
    uint32_t row_bytes;          /* before the blocks of a row */
    uint32_t rows;               /* of which there must be a multiple; 0: any number */
} type_fact;

static const type_fact type_facts[] = {
    {BN_TENSOR_F32, "F32", 1, 4, 0, 0},
    {BN_TENSOR_F16, "F16", 1, 2, 0, 0},
    {BN_TENSOR_Q4_0, "Q4_0", 32, 18, 0, 0},
    {3, "Q4_1", 0, 0, 0, 0},
    {BN_TENSOR_Q5_0, "Q5_0", 32, 22, 0, 0},
    {7, "Q5_1", 0, 0, 0, 0},
    {BN_TENSOR_Q8_0, "Q8_0", 32, 34, 0, 0},
    {10, "Q2_K", 0, 0, 0, 0},
    {11, "Q3_K", 0, 0, 0, 0},
    {BN_TENSOR_Q4_K, "Q4_K", 256, 144, 0, 0},
    {13, "Q5_K", 0, 0, 0, 0},
    {BN_TENSOR_Q6_K, "Q6_K", 256, 210, 0, 0},
    {20, "IQ4_NL", 0, 0, 0, 0},
    {23, "IQ4_XS", 0, 0, 0, 0},
    {24, "I8", 1, 1, 0, 0},
    {25, "I16", 1, 2, 0, 0},
    {26, "I32", 1, 4, 0, 0},
    {27, "I64", 1, 8, 0, 0},
    {28, "F64", 1, 8, 0, 0},
    {BN_TENSOR_BF16, "BF16", 1, 2, 0, 0},
    {BN_TENSOR_TQ1_0, "TQ1_0", 256, 54, 0, 0},
    {BN_TENSOR_TQ2_0, "TQ2_0", 256, 66, 0, 0},
    {BN_TENSOR_I2_S, "I2_S", 4, 1, 0, 0}, /* and the tail */
    {BN_TENSOR_TL1, "TL1", 4, 1, 0, 0},   /* and the tail */
    {BN_TENSOR_TL2, "TL2", 1, 1, 0, 0},   /* by a formula of its own */
    {40, "NVFP4", 0, 0, 0, 0},
    {41, "Q1_0", 128, 18, 0, 0},
    {BN_TENSOR_Q2_0, "Q2_0", 64, 18, 0, 0},
    {BN_TENSOR_IQ1_BN, "IQ1_BN", 64, 13, 2, 0},
    {BN_TENSOR_IQ2_BN, "IQ2_BN", 64, 16, 4, 0},
    {BN_TENSOR_PQ2_0, "PQ2_0", 128, 34, 0, 0},
    {BN_TENSOR_PTQ1_0, "PTQ1_0", 128, 28, 0, 0},
    {BN_TENSOR_IQ2_BN_R4, "IQ2_BN_R4", 64, 16, 4, 4},
    {BN_TENSOR_HF_TERNARY, "packed uint8", 1, 1, 0, 0}, /* four rows a byte */
    {BN_TENSOR_MASTER_F32, "F32 master weights", 1, 4, 0, 0},
    {BN_TENSOR_MASTER_F16, "F16 master weights", 1, 2, 0, 0},
    {BN_TENSOR_MASTER_BF16, "BF16 master weights", 1, 2, 0, 0},
    {BN_TENSOR_Q2_0_128, "Q2_0 of groups of 128", 128, 34, 0, 0},
    {BN_TENSOR_MXFP4, "MXFP4", 32, 17, 0, 0},
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

/* Microsoft's formula: five bits for three weights of all columns but 256, four for two of those;
 * divisions round down one by one. Less than the codes of fewer columns would take. */
static bool tl2_span(uint64_t n_cols, uint64_t n_rows, uint64_t *bytes_out)
{
    if (n_cols < 256 || n_rows > UINT64_MAX / 4 / n_cols) return false;
    uint64_t codes = (n_cols - 256) * n_rows / 3 * 5 / 8 + 256 * n_rows / 2 * 4 / 8;
    *bytes_out = (codes + 31) / 32 * 32 + BN_TENSOR_I2S_TAIL_BYTES;
    return true;
}

bool bn_tensor_type_span(uint32_t type, uint64_t n_cols, uint64_t n_elements, uint64_t *bytes_out)
{
    const type_fact *fact = find_fact(type);
    if (fact == NULL || fact->block == 0) {
        *bytes_out = 0;
        return true;
    }
    uint64_t n_rows = n_elements / n_cols;
    if (type == BN_TENSOR_TL2) return tl2_span(n_cols, n_rows, bytes_out);
    if (type == BN_TENSOR_HF_TERNARY) {
        *bytes_out = (n_rows + 3) / 4 * n_cols;
        return true;
    }
    /* I2_S and TL1 blocks run over the flattened tensor, all others along a row. */
    bool is_flat = type == BN_TENSOR_I2_S || type == BN_TENSOR_TL1;
    uint64_t blocked = is_flat ? n_elements : n_cols;
    uint64_t blocks = n_elements / fact->block;
    if (blocked % fact->block != 0 || (fact->rows != 0 && n_rows % fact->rows != 0) ||
        blocks > UINT64_MAX / 2 / fact->block_bytes)
        return false;
    /* At most n_elements / 64 · 4 more bytes, which the bound above leaves room for. */
    *bytes_out = blocks * fact->block_bytes + n_rows * fact->row_bytes +
                 (is_flat ? BN_TENSOR_I2S_TAIL_BYTES : 0);
    return true;
}
