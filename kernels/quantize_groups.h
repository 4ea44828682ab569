/* quantize_groups.h — the groups of a panel, around what an instruction set does with a run of one
 * token. */
#ifndef BN_KERNELS_QUANTIZE_GROUPS_H
#define BN_KERNELS_QUANTIZE_GROUPS_H

#include "common/status.h"
#include "kernels/ternary.h"
#include "kernels/unroll.h"

#include <string.h>

/* s of n columns. */
typedef float bn_quantize_scale_fn(const float *x, uint32_t n_cols);

/* n columns into their places of the panel, from the lane of the first one; Σq. */
typedef int32_t bn_quantize_token_fn(const float *x, uint32_t n_cols, float s, uint32_t width,
                                     int8_t *lane);

/* One token; all of it is one group when group_cols is n_cols. Σq. */
INLINE int32_t bn_quantize_runs(bn_quantize_scale_fn *scale_of, bn_quantize_token_fn *quantize,
                                const float *x, uint32_t n_cols, uint32_t width,
                                uint32_t group_cols, int8_t *lane, float *scale, int32_t *part_sum)
{
    int32_t sum = 0;
    float s = 0.0f;
    for (uint32_t c = 0, part = 0; c < n_cols; c += BN_Q8_PART_COLS, part++) {
        uint32_t left = n_cols - c;
        if (c % group_cols == 0) {
            s = scale_of(x + c, left < group_cols ? left : group_cols);
            *scale++ = s;
        }
        part_sum[part] = quantize(x + c, left < BN_Q8_PART_COLS ? left : BN_Q8_PART_COLS, s, width,
                                  lane + (size_t)c * width);
        sum += part_sum[part];
    }
    return sum;
}

INLINE void bn_quantize_groups(bn_quantize_scale_fn *scale_of, bn_quantize_token_fn *quantize,
                               const float *x, size_t x_stride, uint32_t n_tokens, uint32_t n_cols,
                               uint32_t width, uint32_t group_cols, int8_t *panel, float *scale,
                               int32_t *sum, int32_t *part_sum)
{
    uint32_t n_parts = bn_ternary_runs(n_cols, BN_Q8_PART_COLS);
    uint32_t n_groups = group_cols == 0 ? 1 : bn_ternary_runs(n_cols, group_cols);
    BN_ASSERT(n_tokens >= 1 && n_tokens <= width && group_cols % BN_Q8_PART_COLS == 0);
    if (n_tokens < width) memset(panel, 0, bn_q8_panel_bytes(n_cols, width));
    for (uint32_t t = 0; t < n_tokens; t++) {
        float *s = scale + (size_t)t * n_groups;
        sum[t] = bn_quantize_runs(scale_of, quantize, x + t * x_stride, n_cols, width,
                                  group_cols == 0 ? n_cols : group_cols, panel + 4 * t, s,
                                  part_sum + (size_t)t * n_parts);
        for (uint32_t g = 0; g < n_groups && group_cols != 0; g++)
            s[g] = 1.0f / s[g];
    }
}

#endif
