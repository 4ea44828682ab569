/* rope.h — the angles of rotary position embedding, from + − × ÷ only.
 *
 * libm's sin, cos and pow differ between versions and processors; these do not.
 * All in binary64, rounded once to f32: up to position 2^20 within half an f32 ulp plus 1e-9.
 * YaRN (arXiv 2309.00071) stretches the low frequencies for contexts longer than the trained one.
 *
 * Errors: none; a factor so small that an angle leaves ±2^21 is a bug (the model's reader
 *         bounds them).
 */
#ifndef BN_KERNELS_ROPE_H
#define BN_KERNELS_ROPE_H

#include <stdint.h>

#define BN_ROPE_POSITION_MAX (1u << 20)

/* A pair that turns more than beta_fast times in the original context keeps its frequency, one
 * that turns less than beta_slow times has it divided by the factor, those between lie between. */
typedef struct bn_rope_yarn {
    uint32_t original_context; /* 0: no YaRN */
    float factor;              /* at least 1 */
    float beta_fast, beta_slow;
    float attn_factor; /* on top of what the factor makes of cos and sin */
} bn_rope_yarn;

/* inv_freq[i] = base^(−2i/head_size) ÷ factors[i], i < head_size/2; factors may be NULL (all 1). */
void bn_rope_frequencies(double base, uint32_t head_size, const float *factors, double *inv_freq);

/* YaRN upon frequencies that bn_rope_frequencies has given; base above 1. Nothing without YaRN. */
void bn_rope_yarn_frequencies(const bn_rope_yarn *yarn, double base, uint32_t head_size,
                              double *inv_freq);

/* What cos and sin are multiplied by: (0.1·ln factor + 1)·attn_factor; 1 without YaRN. */
double bn_rope_yarn_magnitude(const bn_rope_yarn *yarn);

/* magnitude·cos and magnitude·sin of position·inv_freq[i], i < n. */
void bn_rope_angles(uint32_t position, const double *inv_freq, double magnitude, uint32_t n,
                    float *cos, float *sin);

#endif
