/* dense_encode.h — rows of floats to F32, F16, Q8_0 or Q6_K.
 *
 * Q8_0 as llama.cpp's reference does it: d = max|x| ÷ 127 as f16, q = x ÷ d rounded half away from
 * zero. Q6_K: each 16 weights get the scale of their largest one and then the one that leaves the
 * least square error; scales are 8-bit multiples of the block's f16.
 *
 * Threads: any; the caller has called bn_float_env_set on this thread.
 */
#ifndef BN_MODEL_DENSE_ENCODE_H
#define BN_MODEL_DENSE_ENCODE_H

#include <stdint.h>

/* n is a multiple of the type's block; `out` takes the bytes of bn_tensor_type_span. */
void bn_dense_encode(uint32_t type, const float *x, uint64_t n, uint8_t *out);

#endif
