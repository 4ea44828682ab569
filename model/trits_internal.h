/* trits_internal.h — what trits.c and the families of types agree on.
 *
 * A family knows how rows lie in the file. It delivers scales at the granularity in which they
 * are stored; trits.c folds equal ones, checks them and the codes, and reorders rows.
 */
#ifndef BN_MODEL_TRITS_INTERNAL_H
#define BN_MODEL_TRITS_INTERNAL_H

#include "kernels/kernels.h"
#include "model/trits.h"

typedef struct bn_trits_family {
    const char *rule;
    /* Sets stored_cols and row_step, or info.scale; may be NULL. */
    bn_status (*open)(bn_trits *t, const bn_trits_options *options);
    size_t (*scratch_bytes)(const bn_trits *t, uint32_t n_rows);
    /* Codes (may be NULL where scales are stored) with 3 for what is no code, and the stored
     * scales, row by row (NULL when there is one for the tensor). `deviation` may be NULL. */
    bn_status (*read)(const bn_trits *t, uint32_t row_begin, uint32_t n_rows, void *scratch,
                      uint8_t *codes, float *scales, double *deviation);
} bn_trits_family;

struct bn_trits {
    const bn_kernels *kernels; /* of master weights, which are widened */
    const bn_gguf *file;
    const bn_gguf_tensor *tensor;
    const bn_trits_family *family;
    bn_trits_info info;
    bool is_lenient;
    uint32_t stored_cols; /* columns of a stored scale; 0: one for the tensor, info.scale */
    uint64_t row_bytes;   /* where rows lie one after the other */
    uint32_t block_bytes; /* of stored_cols weights, where there are blocks */
    bn_tl_tile tile;      /* of TL1 and TL2 */
    float master_inverse; /* of master weights: what a weight is multiplied by */
};

extern const bn_trits_family bn_trits_i2s, bn_trits_hf, bn_trits_tq, bn_trits_q2, bn_trits_iq,
    bn_trits_tl, bn_trits_float, bn_trits_master;

/* Calls `visit` for ranges that cover all rows, on the pool's threads when there is one. Each
 * thread has scratch and n_codes bytes of codes for the rows of a range. */
typedef bn_status bn_trits_visit(const bn_trits *t, uint32_t thread_index, uint32_t row_begin,
                                 uint32_t n_rows, void *scratch, uint8_t *codes, void *context);
BN_CHECKED bn_status bn_trits_walk(const bn_trits *t, bn_thread_pool *pool, bn_trits_visit *visit,
                                   void *context);

/* Reads n_rows rows of row_bytes each. */
BN_CHECKED bn_status bn_trits_read_rows(const bn_trits *t, uint32_t row_begin, uint32_t n_rows,
                                        void *out);

/* "FILE: tensor NAME: what": BN_ERR_BAD_FILE. */
bn_status bn_trits_fail(const bn_trits *t, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The number 0 … 242 that a byte stands for when it is ceil(number · 256 / 243), as in the types
 * of five trits a byte; 243 when it is no such byte. */
static inline uint32_t bn_trits_base3(uint32_t byte)
{
    uint32_t q = byte * 243 / 256;
    return (q * 256 + 242) / 243 == byte ? q : 243;
}

static inline uint32_t bn_trits_stored_per_row(const bn_trits *t)
{
    return t->stored_cols == 0 ? 0 : t->info.n_cols / t->stored_cols;
}

#endif
