/* score.h — how likely a model finds given continuations of given contexts.
 *
 * In: lines {"context": "...", "continuation": "..."}. Out, in the same order, one object per line:
 * the line's number, the log-probability of the continuation in sum and per token, its tokens, and
 * whether greedy generation would have said it.
 *
 * Where the tokens of the continuation begin is lm-evaluation-harness's rule: white space at the
 * end of the context is moved to the front of the continuation; context and continuation are
 * encoded as one text; what lies behind the length of the encoded context is the continuation.
 * BOS goes in front where the model adds one; an empty context is BOS (else the end-of-text token)
 * whether the model adds it or not.
 *
 * Memory:  all lines, as tokens, before the first worker starts.
 * Threads: one.
 * Errors:  BN_ERR_BAD_FILE and BN_ERR_LIMIT naming file and line.
 */
#ifndef BN_COORDINATOR_SCORE_H
#define BN_COORDINATOR_SCORE_H

#include "coordinator/setup.h"

#include <stdio.h>

#define BN_SCORE_SLOTS 16u /* at once, when nobody says (--slots) */

/* The setup has been opened with its tokenizer; is started here. Results go to `out`. */
BN_CHECKED bn_status bn_score_file(bn_setup *setup, const char *path, FILE *out);

#endif
