/* health.h — reads every number of a model and says which tensors cannot be right.
 *
 * Ternary tensors: a single code, the unused code, scales that are zero, negative or not finite.
 * Norms, embedding and head: elements that are not finite, tensors of nothing but zeros.
 *
 * Memory:  some MiB per thread while it runs; bn_health_free frees the findings.
 * Errors:  those of reading (a file that shrinks, a type that is not known); what is found wrong
 *          is a finding, not an error.
 */
#ifndef BN_MODEL_HEALTH_H
#define BN_MODEL_HEALTH_H

#include "model/model.h"

#define BN_HEALTH_TEXT_MAX 160u

typedef struct bn_health_finding {
    const bn_gguf_tensor *tensor;
    char text[BN_HEALTH_TEXT_MAX]; /* "every weight is 0" */
} bn_health_finding;

typedef struct bn_health {
    uint32_t n_tensors; /* looked at */
    uint32_t n_findings;
    bn_health_finding *findings; /* at most one for a tensor, in the order of the layers */
} bn_health;

/* Uses `n_threads` threads; shows a bar on a terminal. `health_out` is freed also after failure. */
BN_CHECKED bn_status bn_health_check(const bn_model *model, uint32_t n_threads,
                                     bn_health *health_out);
void bn_health_free(bn_health *health);

#endif
