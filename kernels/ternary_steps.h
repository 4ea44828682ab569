/* ternary_steps.h — what the vector sources share of products by groups of columns. */
#ifndef BN_KERNELS_TERNARY_STEPS_H
#define BN_KERNELS_TERNARY_STEPS_H

#include "common/status.h"
#include "kernels/ternary.h"

/* What all steps of a product share. */
typedef struct step_plan {
    bn_ternary_steps steps;
    size_t n_parts, n_token_scales; /* of a token; the latter 0: one that is applied at the end */
    size_t n_runs;                  /* scales of a row; 0: one for the tensor */
} step_plan;

static inline step_plan step_plan_of(const bn_ternary *w, const bn_q8 *x, bn_ternary_steps steps)
{
    BN_ASSERT(steps.cols % BN_Q8_PART_COLS == 0 && x->part_sum != NULL);
    return (step_plan){
        .steps = steps,
        .n_parts = bn_ternary_runs(w->n_cols, BN_Q8_PART_COLS),
        .n_token_scales = x->group_cols == 0 ? 0 : bn_ternary_runs(w->n_cols, x->group_cols),
        .n_runs = w->scales == NULL ? 0 : bn_ternary_runs(w->n_cols, w->group_cols),
    };
}

/* Blocks of step `i`; the last may have fewer. */
static inline uint32_t step_blocks(const bn_ternary *w, const bn_ternary_steps *steps, uint32_t i)
{
    uint32_t left = w->n_cols - i * steps->cols;
    return bn_ternary_padded_cols(left < steps->cols ? left : steps->cols) / BN_TERNARY_BLOCK_COLS;
}

/* The scales of step `i` for 16 rows; NULL when the weights have no groups. */
static inline const float *step_scales(const bn_ternary *w, const step_plan *plan, uint32_t group,
                                       uint32_t i)
{
    if (!plan->steps.has_weight_groups) return NULL;
    size_t run = group * plan->n_runs + (i >> plan->steps.weight_shift);
    return w->scales + run * BN_TERNARY_GROUP_ROWS;
}

/* d of step `i` for token t, whose place in x->scale moves by n_token_scales; 1 when activations
 * have no groups. */
static inline const float *step_token_scales(const bn_q8 *x, const step_plan *plan, uint32_t t,
                                             uint32_t i)
{
    static const float one = 1.0f;
    if (!plan->steps.has_token_groups) return &one;
    return x->scale + t * plan->n_token_scales + (i >> plan->steps.token_shift);
}

#endif
