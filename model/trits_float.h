/* trits_float.h — widening rows of F32, F16 and BF16, for the families of floats.
 *
 * Threads: any.
 */
#ifndef BN_MODEL_TRITS_FLOAT_H
#define BN_MODEL_TRITS_FLOAT_H

#include "kernels/kernels.h"

#include <stdint.h>

/* Bytes of an element; `type` is one of the float or master types. */
uint32_t bn_trits_float_bytes(uint32_t type);

/* n elements; exact. */
void bn_trits_float_widen(const bn_kernels *kernels, uint32_t type, const uint8_t *in, uint32_t n,
                          float *out);

#endif
