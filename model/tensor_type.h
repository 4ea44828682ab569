/* tensor_type.h — the tensor types of GGUF files: their names and how many bytes they take.
 *
 * Ids are those of Microsoft's fork where mainline differs: 36 is I2_S. Types that the
 * project does not compute with are known by name, and by size where that is fixed.
 *
 * Threads: any; nothing is kept.
 */
#ifndef BN_MODEL_TENSOR_TYPE_H
#define BN_MODEL_TENSOR_TYPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes that an I2_S, TL1 or TL2 tensor has after its codes: an f32 scale and 28 unused ones. */
#define BN_TENSOR_I2S_TAIL_BYTES 32

/* "F16", "I2_S"; "type 41" is "unknown" here: callers print the id too. */
const char *bn_tensor_type_name(uint32_t type);

/* Elements in one block of a row, 0 when the type's size is not known to us. */
uint32_t bn_tensor_type_block(uint32_t type);

/* Bytes of a tensor of n_elements whose rows have n_cols. False when a row is not a whole number
 * of blocks or the product overflows; *bytes_out is 0 for a type of unknown size. */
bool bn_tensor_type_span(uint32_t type, uint64_t n_cols, uint64_t n_elements, uint64_t *bytes_out);

#endif
