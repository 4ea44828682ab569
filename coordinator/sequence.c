/* sequence.c — the token log. */
#include "coordinator/sequence.h"

#include "common/alloc.h"
#include "common/log.h"

#include <string.h>

bn_status bn_sequence_create(uint32_t tokens_max, void *owner, bn_sequence **sequence_out)
{
    bn_sequence *sequence = bn_alloc(1, sizeof *sequence);
    if (sequence == NULL) return BN_ERR_NO_MEMORY;
    sequence->tokens = bn_alloc(tokens_max, sizeof *sequence->tokens);
    if (sequence->tokens == NULL) {
        bn_free(sequence);
        return bn_fail(BN_ERR_NO_MEMORY, "SEQUENCE-MEMORY", "no memory for a log of %u tokens",
                       tokens_max);
    }
    sequence->tokens_max = tokens_max;
    sequence->owner = owner;
    *sequence_out = sequence;
    return BN_OK;
}

void bn_sequence_destroy(bn_sequence *sequence)
{
    if (sequence == NULL) return;
    bn_free(sequence->tokens);
    bn_free(sequence);
}

bn_status bn_sequence_append(bn_sequence *sequence, const uint32_t *tokens, uint32_t n)
{
    if (n > sequence->tokens_max - sequence->n_tokens)
        return bn_fail(BN_ERR_LIMIT, "SEQUENCE-FULL",
                       "%u tokens do not fit behind %u: the context holds %u (--context)", n,
                       sequence->n_tokens, sequence->tokens_max);
    if (n > 0) memcpy(&sequence->tokens[sequence->n_tokens], tokens, n * sizeof *tokens);
    sequence->n_tokens += n;
    return BN_OK;
}
