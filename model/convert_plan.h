/* convert_plan.h — what becomes of each tensor and of the keys, settled before a byte is written.
 *
 * Memory:  _fini frees; names point into the file.
 * Threads: one.
 */
#ifndef BN_MODEL_CONVERT_PLAN_H
#define BN_MODEL_CONVERT_PLAN_H

#include "common/thread_pool.h"
#include "model/convert.h"
#include "model/gguf_writer.h"
#include "model/trits.h"
#include "model/trits_encode.h"

typedef enum bn_convert_action {
    BN_CONVERT_COPY,   /* byte for byte */
    BN_CONVERT_TRITS,  /* a ternary matrix */
    BN_CONVERT_VALUES, /* values to another type: a vector to F32, the embedding or head */
} bn_convert_action;

typedef struct bn_convert_item {
    const bn_gguf_tensor *tensor;
    bn_convert_action action;
    uint32_t type;    /* in the new file */
    uint64_t index;   /* row of the new file's table */
    uint64_t n_bytes; /* in the new file */
    bn_trits *trits;  /* of _TRITS, and of _VALUES that are ternary */
    bn_trits_encoding encoding;
    float held_scale;    /* what the type holds of the one scale */
    bool has_post_scale; /* a `.scale` tensor follows, at index + 1 */
    float post_scale;
    bn_trits_count count; /* filled by the conversion */
    float scale_min, scale_max;
} bn_convert_item;

typedef struct bn_convert_plan {
    const bn_gguf *file;
    bn_convert_item *items;
    uint64_t n_items;
    const char *arch_in, *arch_out; /* static */
    const char *hidden_act;         /* key to be added, or NULL */
} bn_convert_plan;

BN_CHECKED bn_status bn_convert_plan_make(const bn_convert_job *job, const bn_gguf *file,
                                          bn_thread_pool *pool, bn_convert_plan *plan_out);
void bn_convert_plan_fini(bn_convert_plan *plan);

/* Keys and tensor table of the new file. */
BN_CHECKED bn_status bn_convert_plan_declare(const bn_convert_job *job, const bn_convert_plan *plan,
                                             bn_gguf_writer *writer);

#endif
