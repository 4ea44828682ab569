/* math.h — elementary functions whose every bit is ours (docs/NUMERICS.md).
 *
 * Built from + − × ÷ √ and, where written, fma; no libm. bn_exp_f32 is the
 * specification that the vector tables repeat lane by lane.
 */
#ifndef BN_KERNELS_MATH_H
#define BN_KERNELS_MATH_H

#include <stddef.h>
#include <stdint.h>

/* exp, binary32: x < −87 gives +0, x > 88 is taken as 88; NaN stays NaN. */
float bn_exp_f32(float x);

/* exp and natural logarithm, binary64, for log-sum-exp, sampling and perplexity. */
double bn_exp_f64(double x);
double bn_log_f64(double x);

/* 16 accumulators, then 8, 4, 2, 1: the order of every float sum of the contract. */
float bn_dot16(const float *a, const float *b, size_t n);
float bn_sum16(const float *a, size_t n);

/* IEEE binary16, nearest even; _from_f32 clamps to ±65504, NaN stays NaN. */
uint16_t bn_f16_from_f32(float x);
float bn_f32_from_f16(uint16_t h);
float bn_f32_from_bf16(uint16_t h);

/* log Σ exp(logits) in double, blocks of 4,096 ids ascending. */
double bn_log_sum_exp(const float *logits, size_t n);

#endif
