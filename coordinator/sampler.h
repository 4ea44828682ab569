/* sampler.h — logits into one token.
 *
 * A fixed chain: penalties over the last tokens of the log, top-k, temperature, top-p, min-p,
 * draw. Everything is computed in double from the logit bits with our own exp; random numbers
 * are a function of (seed, choice, position of the token drawn). So the token is a pure function
 * of the token log: slots, batch mix, order of arrival and retries never enter.
 *
 * The sampler says what it needs (bn_sampler_wants): the top_k best and as many more as ids are
 * penalised, and the exact logits of those ids. Drawing from these gives the same token as drawing
 * from all logits.
 *
 * Memory:  scratch for one vocabulary, taken at creation; nothing is allocated afterwards.
 * Threads: one at a time.
 * Errors:  BN_ERR_BAD_MESSAGE when a logit is not finite or there are none.
 */
#ifndef BN_COORDINATOR_SAMPLER_H
#define BN_COORDINATOR_SAMPLER_H

#include "common/status.h"
#include "coordinator/sequence.h"
#include "proto/step.h"

#include <stdint.h>

#define BN_SAMPLER_WINDOW 64u /* tokens of the log that penalties look at */

typedef struct bn_sampler_config {
    float temperature;       /* 0: always the best */
    uint32_t top_k;          /* 0: all */
    float top_p;             /* 1: off */
    float min_p;             /* 0: off */
    float repeat_penalty;    /* divides positive logits of recent ids; 1: off */
    float frequency_penalty; /* subtracted per occurrence; 0: off */
    float presence_penalty;  /* subtracted once; 0: off */
    uint64_t seed;
    uint32_t choice; /* index among the answers of one request */
} bn_sampler_config;

/* 0.8, 40, 0.95, 0.05, no penalties, seed 0. */
void bn_sampler_config_init(bn_sampler_config *config);

typedef struct bn_sampler bn_sampler;

BN_CHECKED bn_status bn_sampler_create(uint32_t vocab, bn_sampler **sampler_out);
void bn_sampler_destroy(bn_sampler *sampler);

/* What to ask of the position of the log's last token; `wants->begin` becomes that position. */
void bn_sampler_wants(const bn_sampler *sampler, const bn_sampler_config *config,
                      const uint32_t *log, uint32_t n_log, bn_wants *wants);

/* Draws the token that follows the log, from what bn_sampler_wants asked for: `exact` belongs to
 * wants->ids in their order. */
BN_CHECKED bn_status bn_sampler_draw(bn_sampler *sampler, const bn_sampler_config *config,
                                     const uint32_t *log, uint32_t n_log,
                                     const bn_candidate *candidates, uint32_t n_candidates,
                                     const float *exact, uint32_t n_exact, uint32_t *token_out);

/* The same from all logits of the vocabulary. */
BN_CHECKED bn_status bn_sampler_draw_all(bn_sampler *sampler, const bn_sampler_config *config,
                                         const uint32_t *log, uint32_t n_log, const float *logits,
                                         uint32_t *token_out);

/* The random number of the draw, in [0, 1). */
double bn_sampler_random(uint64_t seed, uint32_t choice, uint32_t position);

#endif
