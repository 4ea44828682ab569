/* npy.h — the header of a NumPy .npy file (version 1.0): what shape the numbers behind it have.
 *
 * Always BN_NPY_HEADER_BYTES long, so that a file that grows can have its header written again.
 * The numbers follow in C order, little-endian.
 *
 * Memory: the caller's. Threads: any.
 * Source: the NEP 1 format description in NumPy's documentation.
 */
#ifndef BN_COMMON_NPY_H
#define BN_COMMON_NPY_H

#include <stdint.h>

#define BN_NPY_HEADER_BYTES 128u
#define BN_NPY_F32 "<f4"
#define BN_NPY_U32 "<u4"

/* `n_columns` 0: one dimension. */
void bn_npy_header(const char *type, uint64_t n_rows, uint64_t n_columns,
                   char header_out[BN_NPY_HEADER_BYTES]);

#endif
