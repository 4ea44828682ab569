/* rope.h — the angles of rotary position embedding, from + − × ÷ only.
 *
 * libm's sin, cos and pow differ between versions and processors; these do not.
 * All in binary64, rounded once to f32: up to position 2^20 within half an f32 ulp plus 1e-9.
 *
 * Errors: none; a factor so small that an angle leaves ±2^21 is a bug (the model's reader
 *         bounds them).
 */
#ifndef BN_KERNELS_ROPE_H
#define BN_KERNELS_ROPE_H

#include <stdint.h>

#define BN_ROPE_POSITION_MAX (1u << 20)

/* inv_freq[i] = base^(−2i/head_size) ÷ factors[i], i < head_size/2; factors may be NULL (all 1). */
void bn_rope_frequencies(double base, uint32_t head_size, const float *factors, double *inv_freq);

/* cos and sin of position·inv_freq[i], i < n. */
void bn_rope_angles(uint32_t position, const double *inv_freq, uint32_t n, float *cos, float *sin);

#endif
