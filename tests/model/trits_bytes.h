/* trits_bytes.h — ternary tensors packed element by element, straight from the formats' formulas,
 * and files that hold one of them: for tests of what reads and writes them.
 *
 * Threads: one.
 */
#ifndef BN_TESTS_MODEL_TRITS_BYTES_H
#define BN_TESTS_MODEL_TRITS_BYTES_H

#include "model/gguf.h"

#include <stddef.h>
#include <stdint.h>

typedef struct matrix {
    uint32_t n_rows, n_cols;
    uint8_t *codes; /* [n_rows][n_cols], trit + 1 */
    float *scales;  /* [n_rows][n_cols / group] */
    uint32_t group;
} matrix;

/* Codes of a fixed pseudo-random pattern; scales f16 numbers that differ by group, or all 0.25. */
matrix matrix_make(uint32_t n_rows, uint32_t n_cols, uint32_t group, int scales_differ);
void matrix_free(matrix *m);

/* Bytes of a tensor of `type` (any that trits are read from but TL1 and TL2). */
size_t matrix_pack(const matrix *m, uint32_t type, uint8_t **bytes_out);

/* A file of one tensor "blk.0.attn_q.weight" of n bytes, opened. Types that exist only in memory
 * stand in it as bytes; the tensor to read is *tensor_out. */
bn_gguf *trits_file(uint32_t type, uint32_t n_cols, uint32_t n_rows, const uint8_t *bytes, size_t n,
                    bn_gguf_tensor *tensor_out);

/* Its path; the file is removed when the test ends. */
const char *trits_file_path(void);

#endif
