/* reference.h — the same model evaluated the plainest way: one token, one layer, in binary64.
 *
 * Shares no arithmetic with kernels/ and worker/: it reads the file's bytes with decoders of its
 * own and uses libm. Only the rounding points of docs/NUMERICS.md that change what is computed are
 * kept: activations quantised to int8 with binary32 arithmetic, keys and values stored as F16.
 *
 * A value on the edge between two codes may fall to either side in two right programs, and
 * everything after it differs. So the reference can be given what the other program chose
 * (bn_reference_choices): it measures how far each choice lies from its own value, counts those
 * that it would have rounded otherwise, and goes on with them. What follows is then tight.
 *
 * Memory:  bn_reference_close frees all. Threads: none. Errors: a status, logged.
 */
#ifndef BN_TESTS_WORKER_REFERENCE_H
#define BN_TESTS_WORKER_REFERENCE_H

#include "common/status.h"

#include <stdbool.h>
#include <stdint.h>

#define BN_REFERENCE_QUANTISATIONS 4 /* per layer: attention in, its output, FFN in, FFN down */

typedef struct bn_reference bn_reference;

/* What the other program rounded to in one layer at one position. */
typedef struct bn_reference_choices {
    const int8_t *codes[BN_REFERENCE_QUANTISATIONS];
    const uint16_t *key, *value; /* F16, [kv_heads][head_size], after RoPE */
    double worst_code;   /* out: largest distance of a value from its code; 0.5 is an edge */
    double worst_half;   /* out: how far keys and values lie beyond half a unit of the F16's last
                          * place, at most, as a part of the row's largest element */
    uint32_t n, n_flips; /* out, counting up: choices, and those that are not the reference's */
} bn_reference_choices;

typedef struct bn_reference_shape {
    uint32_t n_layers, hidden, ffn, vocab;
    uint32_t attention, kv; /* heads · head size, kv heads · head size */
} bn_reference_shape;

/* Keys and values are kept for `context` positions of one sequence. */
BN_CHECKED bn_status bn_reference_open(const char *path, uint32_t context,
                                       bn_reference **reference_out);
void bn_reference_close(bn_reference *reference);
/* Activations are quantised in groups of columns (0: token by token) instead of as the file's
 * architecture says. */
void bn_reference_group_activations(bn_reference *reference, uint32_t group_cols);
bn_reference_shape bn_reference_shape_of(const bn_reference *reference);

/* x[hidden] of a token. */
void bn_reference_embed(const bn_reference *reference, uint32_t token, double *x);

/* x[hidden] through one layer, in place; positions must come in order from 0. NULL `choices`: the
 * reference rounds for itself. */
void bn_reference_layer(bn_reference *reference, uint32_t layer, uint32_t position, double *x,
                        bn_reference_choices *choices);

/* Final norm and head: logits[vocab]. */
void bn_reference_head(const bn_reference *reference, const double *x, double *logits);

#endif
