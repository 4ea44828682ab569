/* model.h — what a model is: facts, shape and semantic tensors.
 *
 * Architectures are rows of one table (model/arch.c); the forward pass asks for facts
 * (norm places, activation, RoPE kind), never for a name. Tensors are addressed by meaning
 * (layers[i].attn_q), found and checked (type, dims, span) once, at open.
 *
 * Memory:  the model owns the file; everything is valid until _close.
 * Threads: read-only after _open: any.
 * Errors:  BN_ERR_BAD_FILE or BN_ERR_UNSUPPORTED with a text naming file, key or tensor.
 */
#ifndef BN_MODEL_MODEL_H
#define BN_MODEL_MODEL_H

#include "kernels/kernels.h"
#include "kernels/rope.h"
#include "model/gguf.h"

#define BN_LAYERS_MAX 1024u
#define BN_HIDDEN_MAX 65536u
#define BN_FFN_MAX 262144u
#define BN_HEADS_MAX 1024u
#define BN_VOCAB_MAX (1u << 20)
#define BN_CONTEXT_MAX (1u << 20)

typedef struct bn_model_config {
    const char *arch; /* as in the file */
    uint32_t n_layers;
    uint32_t hidden; /* size of the residual stream */
    uint32_t ffn;
    uint32_t n_heads, n_kv_heads, head_size;
    uint32_t vocab;   /* rows of the head */
    uint32_t context; /* trained length */
    float rms_eps;
    float rope_base;
    bn_rope_kind rope_kind;
    bn_rope_yarn yarn;
    bn_activation activation;
    /* Columns of a token that are quantised together before a ternary product: 64, 128 or 256; 0:
     * the whole token, as BitNet models are made. */
    uint32_t activation_group_cols;
    bool has_sub_norms; /* attn_sub_norm and ffn_sub_norm */
    bool has_qk_norms;  /* attn_q_norm and attn_k_norm */
    bool is_tied;       /* the head is the embedding */
} bn_model_config;

typedef struct bn_model_linear {
    const bn_gguf_tensor *weight;
    const bn_gguf_tensor *post_scale; /* NULL when absent */
} bn_model_linear;

typedef struct bn_model_layer {
    const bn_gguf_tensor *attn_norm, *ffn_norm;
    const bn_gguf_tensor *attn_sub_norm, *ffn_sub_norm; /* NULL when the facts say so */
    const bn_gguf_tensor *attn_q_norm, *attn_k_norm;    /* likewise */
    bn_model_linear attn_q, attn_k, attn_v, attn_output;
    bn_model_linear ffn_gate, ffn_up, ffn_down;
} bn_model_layer;

typedef struct bn_model {
    bn_gguf *file;
    bn_model_config config;
    bn_model_layer *layers; /* [n_layers] */
    const bn_gguf_tensor *token_embd;
    const bn_gguf_tensor *output_norm;
    const bn_gguf_tensor *output;     /* token_embd when tied */
    const bn_gguf_tensor *rope_freqs; /* NULL when absent */
} bn_model;

typedef enum bn_activation_choice {
    BN_ACTIVATION_FROM_FILE,
    BN_ACTIVATION_FORCE_SILU,
    BN_ACTIVATION_FORCE_RELU2,
} bn_activation_choice;

BN_CHECKED bn_status bn_model_open(const char *path, bn_activation_choice activation,
                                   bn_model **model_out);
void bn_model_close(bn_model *model);

/* All n elements of an F32, F16 or BF16 tensor (a norm, rope_freqs) into out[n], widened; each must
 * be finite. */
BN_CHECKED bn_status bn_model_read_f32(const bn_model *model, const bn_gguf_tensor *tensor,
                                       float *out, uint64_t n);

/* The scale that an I2_S tensor holds behind its codes; finite and above 0. */
BN_CHECKED bn_status bn_model_i2s_scale(const bn_model *model, const bn_gguf_tensor *tensor,
                                        float *scale_out);

/* The value of the optional `.scale` tensor, finite and above 0; 1 when there is none. */
BN_CHECKED bn_status bn_model_post_scale(const bn_model *model, const bn_model_linear *linear,
                                         float *scale_out);

/* The error for code 3 at flat index `index` of an I2_S tensor, found by who packs it. */
BN_CHECKED bn_status bn_model_fail_code(const bn_model *model, const bn_gguf_tensor *tensor,
                                        uint64_t index);

/* Elements of a tensor. */
uint64_t bn_model_n_elements(const bn_gguf_tensor *tensor);

/* Whether an embedding or head may be of this tensor type. */
bool bn_model_dense_type(uint32_t type, bn_dense_type *type_out);

/* Dense view of an embedding or head tensor whose bytes stand at `rows`. */
BN_CHECKED bn_status bn_model_dense(const bn_model *model, const bn_gguf_tensor *tensor,
                                    const void *rows, bn_dense *dense_out);

/* Bytes that one stage needs; the same arithmetic as the worker's reservations. */
typedef struct bn_stage_bytes {
    uint64_t weights; /* packed trits, norms, head; the embedding stays in the mapped file */
    uint64_t kv;
    uint64_t buffers; /* activations of the steps in flight, scratch, logits */
    uint64_t mapped;  /* embedding rows read in place, not counted as the stage's own */
} bn_stage_bytes;

typedef struct bn_stage_span {
    uint32_t layer_begin, layer_end;
    bool has_embedding, has_head;
} bn_stage_span;

/* What the coordinator decides for all stages alike. */
typedef struct bn_stage_limits {
    uint32_t context;     /* positions per slot */
    uint32_t slots;       /* sequences at once */
    uint32_t kv_pages;    /* pages of BN_KV_PAGE_POSITIONS, shared by all slots */
    uint32_t step_tokens; /* most tokens in one step */
    uint32_t steps_in_flight;
    uint32_t threads;
} bn_stage_limits;

void bn_model_stage_bytes(const bn_model *model, bn_stage_span span, const bn_stage_limits *limits,
                          bn_stage_bytes *bytes_out);

/* Ternary multiply-adds of one token in one layer, and those of the head. */
uint64_t bn_model_layer_macs(const bn_model *model, uint32_t layer);
uint64_t bn_model_head_macs(const bn_model *model);

/* Bytes of weights that decoding one token walks in one layer, and in norm and head. */
uint64_t bn_model_layer_walk_bytes(const bn_model *model, uint32_t layer);
uint64_t bn_model_head_walk_bytes(const bn_model *model);

/* Bytes that the screened head walks instead, before it reads the rows that survive; 0: there is
 * no screen. */
uint64_t bn_model_head_screen_bytes(const bn_model *model);

#endif
