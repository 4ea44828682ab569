/* sequence.h — one conversation or text: its token log and how far it has been computed.
 *
 * The log is the truth: whatever a worker holds can be rebuilt from it. Tokens [0, n_scheduled)
 * have been put into steps, [0, n_returned) have come back. The first n_prompt tokens were given,
 * the rest was drawn (a further turn of a conversation moves n_prompt to the end again).
 *
 * Memory:  the log is reserved for tokens_max tokens by _create.
 * Threads: one at a time.
 */
#ifndef BN_COORDINATOR_SEQUENCE_H
#define BN_COORDINATOR_SEQUENCE_H

#include "common/status.h"

#include <stdbool.h>
#include <stdint.h>

#define BN_WANTS_IDS_MAX 64u

/* What is wanted of every position from `begin` on. */
typedef struct bn_wants {
    uint32_t begin; /* absolute; positions before it give no result */
    uint32_t n_best;
    uint32_t n_ids; /* exact logits of these, the same at each position */
    uint32_t ids[BN_WANTS_IDS_MAX];
    const uint32_t *targets; /* or, if not NULL: at position p the exact logit of targets[p] */
    bool wants_lse, wants_all;
} bn_wants;

typedef struct bn_sequence {
    uint32_t *tokens;
    uint32_t n_tokens, tokens_max;
    uint32_t n_prompt;
    uint32_t n_scheduled, n_returned;
    uint32_t steps_in_flight;
    bn_wants wants;
    void *owner; /* whoever gets the results */

    /* The scheduler's: */
    bool is_added, has_slot, is_paused;
    uint32_t slot;
} bn_sequence;

/* `tokens_max`: the most tokens that the log may ever hold. */
BN_CHECKED bn_status bn_sequence_create(uint32_t tokens_max, void *owner,
                                        bn_sequence **sequence_out);
void bn_sequence_destroy(bn_sequence *sequence);

/* BN_ERR_LIMIT when the log is full. */
BN_CHECKED bn_status bn_sequence_append(bn_sequence *sequence, const uint32_t *tokens, uint32_t n);

#endif
