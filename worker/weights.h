/* weights.h — the weights of one stage: its own layers, packed, and the head.
 *
 * Loading reads tensor by tensor with pread and packs I2_S into R16 at once, every thread the
 * rows that it will compute, so that there are never two copies and pages lie near their thread.
 * The embedding is not copied: its rows are looked up in the mapped file.
 *
 * Memory:  one arena of exactly bn_model_stage_bytes' weights; a piece of staging memory per
 *          thread while loading. The model must outlive the weights.
 * Threads: loading uses the pool and is called by its creator; read-only afterwards: any.
 * Errors:  BN_ERR_BAD_FILE naming file and tensor: code 3, a scale that is not finite and above
 *          0, a norm that is not finite, a file that has shrunk. A file that shrinks while its
 *          embedding is mapped ends the process with exit code 1 and a message naming it.
 *          Tensors that hold one code throughout are named in one warning.
 */
#ifndef BN_WORKER_WEIGHTS_H
#define BN_WORKER_WEIGHTS_H

#include "common/thread_pool.h"
#include "model/model.h"

typedef struct bn_weights_layer {
    const float *attn_norm, *ffn_norm;
    const float *attn_sub_norm, *ffn_sub_norm; /* NULL when the model has none */
    const float *attn_q_norm, *attn_k_norm;    /* likewise; [head_size] */
    bn_ternary attn_q, attn_k, attn_v, attn_output;
    bn_ternary ffn_gate, ffn_up, ffn_down;
} bn_weights_layer;

typedef struct bn_weights {
    bn_stage_span span;
    bn_weights_layer *layers;  /* [layer_end − layer_begin] */
    const float *rope_factors; /* [head_size/2]; NULL when the model has none */
    const float *output_norm;  /* with span.has_head, else NULL */
    bn_dense head;             /* with span.has_head */
    bn_screen head_screen;     /* of the head, when one was made; else blocks is NULL */
    bn_dense embedding;        /* with span.has_embedding: rows of the mapped file */
} bn_weights;

/* Called between tensors; another status than BN_OK stops loading and is returned. */
typedef bn_status bn_weights_progress(void *context, uint64_t done_bytes, uint64_t total_bytes);

/* `screen_kernels` make the head's screen, if the model has one; NULL: it is not made, though its
 * memory stays reserved. */
BN_CHECKED bn_status bn_weights_load(const bn_model *model, bn_stage_span span,
                                     bn_thread_pool *pool, const bn_kernels *screen_kernels,
                                     bn_weights_progress *on_progress, void *progress_context,
                                     bn_weights **weights_out);
void bn_weights_destroy(bn_weights *weights);

/* Bytes reserved, and how many of them are taken (all, unless the budget was miscounted). */
size_t bn_weights_reserved_bytes(const bn_weights *weights);
size_t bn_weights_used_bytes(const bn_weights *weights);

#endif
