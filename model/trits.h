/* trits.h — the trits and scales of one ternary tensor, whatever type holds it.
 *
 * Whoever wants trits (a worker that packs, convert, inspect --check) opens a tensor here and
 * reads ranges of its rows as codes (trit + 1, a byte each, row by row) and scales. A weight is
 * scale · (code − 1). Opening settles the scales: where the type needs it (blocks with a scale
 * each, floats, master weights) it reads the whole tensor once. Scales are folded to one for
 * the tensor, or to one for a row, only when they are equal in every bit; a block of zeros whose
 * scale is 0 too agrees with any scale.
 *
 * Types: I2_S, TL1, TL2, TQ1_0, TQ2_0, IQ1_BN, IQ2_BN, Q2_0 and PQ2_0 and PTQ1_0, packed rows of
 * a Hugging Face folder, F32/F16/BF16 that are ternary times a scale, and master weights, which
 * the absmean rule of docs/NUMERICS.md makes ternary.
 *
 * Memory:  a few KiB; rows go to the caller's buffers through the caller's scratch.
 * Threads: after _open read-only: any, each with buffers and scratch of its own.
 * Errors:  BN_ERR_BAD_FILE or BN_ERR_UNSUPPORTED with a text that names file, tensor and element.
 */
#ifndef BN_MODEL_TRITS_H
#define BN_MODEL_TRITS_H

#include "common/status.h"
#include "common/thread_pool.h"
#include "model/gguf.h"
#include "model/tl_tile.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BN_TRITS_ROWS_MAX (1u << 20)
#define BN_TRITS_COLS_MAX (1u << 18)
#define BN_TRITS_GROUP_MIN 64u /* the fewest columns that share a scale */

typedef struct bn_trits bn_trits;

typedef struct bn_trits_options {
    bn_thread_pool *pool;            /* shares the pass of _open; NULL: the caller's thread alone */
    const bn_tl_tile_list *tl_tiles; /* before the table of known shapes; NULL: none */
    /* Refuses nothing but what cannot be read at all: bad scales and unused codes are counted by
     * _read instead. For who must name every damaged tensor. */
    bool is_lenient;
} bn_trits_options;

typedef struct bn_trits_info {
    uint32_t n_rows, n_cols;
    /* Columns that share a scale: 64, 128, 256, or n_cols (one per row). When is_one_scale it is
     * n_cols and `scale` stands for the whole tensor. Divides n_cols. */
    uint32_t group_cols;
    bool is_one_scale;
    float scale;       /* of the tensor when is_one_scale, else 0 */
    uint32_t row_step; /* ranges that begin and end at multiples of it read no byte twice */
    const char *rule;  /* "stored", "ternary floats" or "absmean": where the trits come from */
} bn_trits_info;

/* What _read saw; adds up over calls. */
typedef struct bn_trits_count {
    uint64_t n_codes[4];   /* of −1, 0, 1 and unused ones */
    uint64_t n_bad_scales; /* negative, not finite, or 0 with trits that are not */
    uint64_t bad_index;    /* flat index of the first unused code; valid when n_codes[3] > 0 */
    double deviation;      /* largest |w − scale · trit|; 0 unless the rule is absmean */
} bn_trits_count;

/* Whether tensors of this type are read here (F32, F16 and BF16 too: their values decide). */
bool bn_trits_can_read(uint32_t type);

/* The most scales that such a tensor can turn out to have: for reserving memory before _open. */
uint64_t bn_trits_scales_max(const bn_gguf_tensor *tensor);

/* `options` may be NULL. The file must stay open. */
BN_CHECKED bn_status bn_trits_open(const bn_gguf *file, const bn_gguf_tensor *tensor,
                                   const bn_trits_options *options, bn_trits **trits_out);
void bn_trits_close(bn_trits *trits);

const bn_trits_info *bn_trits_info_of(const bn_trits *trits);

/* Bytes of scratch that reading n_rows rows at once takes. */
size_t bn_trits_scratch_bytes(const bn_trits *trits, uint32_t n_rows);

/* Codes of the rows [row_begin, row_begin + n_rows) into codes_out[n_rows · n_cols], and their
 * scales into scales_out[n_rows · (n_cols / group_cols)], row by row (NULL, or nothing is
 * written when is_one_scale). `count` may be NULL. An unused code is an error that names the
 * element, unless lenient (then the code is 3). */
BN_CHECKED bn_status bn_trits_read(const bn_trits *trits, uint32_t row_begin, uint32_t n_rows,
                                   void *scratch, uint8_t *codes_out, float *scales_out,
                                   bn_trits_count *count);

#endif
