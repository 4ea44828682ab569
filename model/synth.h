/* synth.h — a model of random ternary weights, streamed to disk.
 *
 * The same shape, vocabulary and seed give the same bytes on every machine: integer
 * random numbers, and floats that come from them by + − × ÷ √ only. Scales are chosen so
 * that hidden values stay near 1 and logits within about ±10.
 *
 * Memory:  a few MiB, whatever the model's size; the vocabulary is the caller's.
 * Errors:  BN_ERR_BAD_ARGUMENT naming what cannot be, BN_ERR_IO naming file and cause.
 */
#ifndef BN_MODEL_SYNTH_H
#define BN_MODEL_SYNTH_H

#include "model/model.h"
#include "model/vocabulary.h"

typedef struct bn_synth_shape {
    const char *name; /* NULL: not one of the named shapes */
    const char *arch;
    uint32_t n_layers, hidden, ffn, n_heads, n_kv_heads, head_size;
    uint32_t vocab;
    uint32_t context;
    float rope_base;
    bool is_tied;
    uint32_t head_type;   /* bn_tensor_type of the head; of the embedding too when tied */
    uint32_t weight_type; /* of the projections: I2_S, or Q2_0 or TQ2_0 with scales that differ */
} bn_synth_shape;

/* The named shapes; the last has no name. */
extern const bn_synth_shape bn_synth_shapes[];

/* Case does not matter; NULL when unknown. */
const bn_synth_shape *bn_synth_shape_find(const char *name);

typedef struct bn_synth_job {
    bn_synth_shape shape;
    const char *path;
    uint64_t seed;
    const bn_vocabulary *vocab; /* or NULL */
    const bn_gguf *vocab_file;  /* or NULL: its tokenizer.* keys are copied */
    /* Called with the temporary name while it exists and with NULL when it does not, for a
     * signal handler; may be NULL. */
    void (*on_partial)(const char *partial_path);
} bn_synth_job;

/* Checks the shape by the rules of the loader. */
BN_CHECKED bn_status bn_synth_check(const bn_synth_shape *shape);

/* *bytes_out is the size of the file. */
BN_CHECKED bn_status bn_synth_write(const bn_synth_job *job, uint64_t *bytes_out);

#endif
