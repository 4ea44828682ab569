/* perplexity.h — how surprised the model is by a text, by the rules of three protocols.
 *
 * ours:   windows of the context's length, side by side, each beginning with BOS where the model
 *         adds one; every later token of a window is scored.
 * llama:  as llama-perplexity does. The text is tokenised once, with BOS in front where the model
 *         adds one, and cut into windows of the context's length n; what does not fill one is
 *         dropped. In each the first token is replaced by BOS (where the model adds one) and the
 *         tokens n/2 + 1 … n − 1 are scored: the second half.
 * hf:     as the sliding window of the Hugging Face documentation. The text is tokenised once, with
 *         one BOS in front where the model adds one (later windows begin as the text goes on);
 *         windows begin every `stride` tokens and score what no earlier one did, but never their
 *         first token. The sum is over tokens, each with the same weight.
 *
 * A token is scored from its exact logit and the log-sum-exp; the scores are summed in double in
 * the order of the text, so the result does not depend on how many windows ran at once.
 *
 * Memory:  one double per token. Threads: one.
 * Errors:  BN_ERR_BAD_ARGUMENT when the text is too short for the protocol.
 */
#ifndef BN_COORDINATOR_PERPLEXITY_H
#define BN_COORDINATOR_PERPLEXITY_H

#include "coordinator/setup.h"

#define BN_PERPLEXITY_CONTEXT 512u
#define BN_PERPLEXITY_STRIDE 512u /* but at most half of the context */
#define BN_PERPLEXITY_WINDOWS 4u  /* at once */

typedef enum bn_perplexity_protocol {
    BN_PERPLEXITY_OURS,
    BN_PERPLEXITY_LLAMA,
    BN_PERPLEXITY_HF,
} bn_perplexity_protocol;

/* "ours", "llama", "hf", NULL: for the option table. */
extern const char *const bn_perplexity_protocol_names[];

typedef struct bn_perplexity_config {
    bn_perplexity_protocol protocol;
    uint32_t stride; /* hf only, at most the context; 0: as above */
} bn_perplexity_config;

typedef struct bn_perplexity_score {
    uint64_t n_windows, n_scored;
    uint64_t n_bytes;     /* of the scored tokens' text */
    uint32_t stride;      /* hf only */
    double nll_sum;       /* Σ −log p, natural logarithm */
    double perplexity;    /* exp(nll_sum ÷ n_scored) */
    double error;         /* llama's estimate, llama only; NaN when there is none */
    double bits_per_byte; /* nll_sum ÷ log 2 ÷ n_bytes */
} bn_perplexity_score;

/* What --context is when nobody says: 512, and for hf the model's own, at most 4096 (0 here). */
uint32_t bn_perplexity_context(bn_perplexity_protocol protocol);

typedef struct bn_perplexity bn_perplexity;

/* Tokenises; the setup has been opened with its tokenizer. */
BN_CHECKED bn_status bn_perplexity_create(bn_setup *setup, const bn_perplexity_config *config,
                                          const char *text, size_t n_text,
                                          bn_perplexity **perplexity_out);
void bn_perplexity_destroy(bn_perplexity *perplexity);

/* Once; the setup has been started with BN_PERPLEXITY_WINDOWS slots. */
BN_CHECKED bn_status bn_perplexity_measure(bn_perplexity *perplexity,
                                           bn_perplexity_score *score_out);

#endif
