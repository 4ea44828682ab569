/* perplexity.h — how surprised the model is by a text.
 *
 * The text is cut into windows of the context's length, without overlap, each beginning with BOS
 * where the model adds one. Every later token of a window is scored from its exact logit and the
 * log-sum-exp; the scores are summed in double in the order of the text, so the result does not
 * depend on how many windows ran at once.
 *
 * Memory: one double per token. Threads: one.
 */
#ifndef BN_COORDINATOR_PERPLEXITY_H
#define BN_COORDINATOR_PERPLEXITY_H

#include "coordinator/setup.h"

#define BN_PERPLEXITY_CONTEXT 512u
#define BN_PERPLEXITY_WINDOWS 4u /* at once */

typedef struct bn_perplexity_score {
    uint64_t n_windows, n_scored;
    double nll_sum;    /* Σ −log p, natural logarithm */
    double perplexity; /* exp(nll_sum ÷ n_scored) */
} bn_perplexity_score;

/* The setup has been opened with its tokenizer and started with BN_PERPLEXITY_WINDOWS slots. */
BN_CHECKED bn_status bn_perplexity_measure(bn_setup *setup, const uint32_t *tokens, size_t n,
                                           bn_perplexity_score *score_out);

#endif
