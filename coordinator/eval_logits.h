/* eval_logits.h — the logits of every position of given tokens: hashed, and written where wanted.
 *
 * A dump is a directory of .npy files: tokens.npy and logits.npy are written here, the layers by
 * the workers that hold them (worker/dump.h), which must dump into the same directory or be asked
 * for theirs afterwards.
 *
 * Memory:  one position at a time. Threads: one.
 * Errors:  BN_ERR_IO naming the file; BN_ERR_BAD_ARGUMENT when the tokens do not fit.
 */
#ifndef BN_COORDINATOR_EVAL_LOGITS_H
#define BN_COORDINATOR_EVAL_LOGITS_H

#include "coordinator/setup.h"

typedef struct bn_eval_logits_config {
    const char *tokens;   /* "1,2,3"; or */
    const char *text;     /* tokenised, BOS in front where the model adds one */
    const char *raw_path; /* little-endian f32 [positions][vocab]; NULL: none */
    const char *dump;     /* the directory, made when missing; NULL: none */
} bn_eval_logits_config;

typedef struct bn_eval_logits_result {
    uint32_t n_positions;
    char hash[33]; /* XXH3 of all logits */
} bn_eval_logits_result;

/* Opens and starts the setup, and finishes it. */
BN_CHECKED bn_status bn_eval_logits(bn_setup *setup, const bn_eval_logits_config *config,
                                    bn_eval_logits_result *result_out);

#endif
