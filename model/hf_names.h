/* hf_names.h — the tensors of a Hugging Face folder by the names that they have in a GGUF.
 *
 * Two tables: tensors of the model, and those of each layer. A projection stands without its
 * ".weight", because it may have a ".weight_scale" beside it.
 *
 * Threads: any; the tables are constant.
 */
#ifndef BN_MODEL_HF_NAMES_H
#define BN_MODEL_HF_NAMES_H

#include "model/hf_config.h"

#include <stddef.h>

#define BN_HF_NAME_MAX 128u /* of a tensor that we look for, with its NUL */

typedef enum bn_hf_role {
    BN_HF_ROLE_EMBEDDING,
    BN_HF_ROLE_HEAD,
    BN_HF_ROLE_NORM,
    BN_HF_ROLE_LINEAR,
    BN_HF_ROLE_ROTATED, /* the projections of q and k */
} bn_hf_role;

typedef enum bn_hf_size {
    BN_HF_SIZE_VOCAB,
    BN_HF_SIZE_HIDDEN,
    BN_HF_SIZE_FFN,
    BN_HF_SIZE_Q,
    BN_HF_SIZE_KV,
    BN_HF_SIZE_HEAD,
} bn_hf_size;

typedef struct bn_hf_name {
    const char *name, *other; /* in the folder; two spellings, or NULL */
    const char *gguf;
    bn_hf_role role;
    bn_hf_size rows, cols; /* of a norm: cols */
    uint32_t families;     /* bits 1 << bn_hf_family */
} bn_hf_name;

/* NULL past the end. */
const bn_hf_name *bn_hf_names_model(size_t index);
const bn_hf_name *bn_hf_names_layer(size_t index);

uint64_t bn_hf_names_elements(const bn_hf_config *config, bn_hf_size size);

/* The keys of config.json that make the size: "num_attention_heads × head_dim". */
const char *bn_hf_names_keys(bn_hf_size size);

#endif
