/* scheduler.h — which tokens of which sequences go into the next step.
 *
 * Pure: no clock, no I/O. Chunks of a prompt follow each other without waiting for results;
 * sequences that are being continued are split into as many micro-batches as there are stages, so
 * that every stage has one to work on. A step holds a micro-batch and, beside it, chunks of
 * prompts. Every token of a sequence is scheduled exactly once, in order.
 *
 * Memory:  everything is reserved by _create. Sequences belong to the caller and must stay until
 *          _remove.
 * Threads: one at a time.
 * Errors:  BN_ERR_BAD_MESSAGE naming what differs when a result is not what its step asked for.
 */
#ifndef BN_COORDINATOR_SCHEDULER_H
#define BN_COORDINATOR_SCHEDULER_H

#include "common/status.h"
#include "coordinator/sequence.h"
#include "proto/step.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct bn_scheduler_config {
    uint32_t n_stages;
    uint32_t slots, kv_pages;
    uint32_t step_tokens;     /* most tokens in a step */
    uint32_t prefill_chunk;   /* most prompt tokens in a step; 0: by length and stages */
    uint32_t steps_in_flight; /* most steps without a result */
    uint32_t vocab;
} bn_scheduler_config;

#define BN_PREFILL_CHUNK_AUTO_MAX 128u /* of an automatic chunk */

typedef struct bn_scheduler_counts {
    uint64_t steps, tokens; /* sent */
    uint64_t in_flight_sum; /* over steps, each counted with itself: ÷ steps is the average */
    uint32_t in_flight_max;
    uint32_t entries_max, tokens_max; /* of one step */
} bn_scheduler_counts;

typedef struct bn_scheduler bn_scheduler;

BN_CHECKED bn_status bn_scheduler_create(const bn_scheduler_config *config,
                                         bn_scheduler **scheduler_out);
void bn_scheduler_destroy(bn_scheduler *scheduler);

/* While true, no sequence is continued before every prompt has been read: for measurements. */
void bn_scheduler_hold_decode(bn_scheduler *scheduler, bool is_held);

/* From now on the sequence's tokens are scheduled, as soon as a slot is free (in order of _add). */
BN_CHECKED bn_status bn_scheduler_add(bn_scheduler *scheduler, bn_sequence *sequence);

/* Gives the slot back. The sequence has no step in flight. */
void bn_scheduler_remove(bn_scheduler *scheduler, bn_sequence *sequence);

/* The same when the cluster has failed: whatever is in flight never comes back. */
void bn_scheduler_forget(bn_scheduler *scheduler, bn_sequence *sequence);

/* Nothing more of the log is scheduled until _resume. */
void bn_scheduler_pause(bn_scheduler *scheduler, bn_sequence *sequence);
void bn_scheduler_resume(bn_scheduler *scheduler, bn_sequence *sequence);

/* Forgets the log from n_tokens on and what was computed from n_computed on (≤ n_tokens). The
 * sequence has no step in flight. */
void bn_scheduler_rewind(bn_scheduler *scheduler, bn_sequence *sequence, uint32_t n_computed,
                         uint32_t n_tokens);

/* Fills the next step (all but its epoch); false: nothing can be sent now. */
bool bn_scheduler_next(bn_scheduler *scheduler, bn_step *step_out);

uint32_t bn_scheduler_in_flight(const bn_scheduler *scheduler);
uint64_t bn_scheduler_last_step(const bn_scheduler *scheduler);
const bn_scheduler_counts *bn_scheduler_counted(const bn_scheduler *scheduler);

/* The sequence that an entry of a step in flight belongs to; NULL when there is none. */
bn_sequence *bn_scheduler_sequence_of(const bn_scheduler *scheduler, uint64_t step_id,
                                      uint32_t entry);

/* Checks the result against the oldest step in flight and accounts for it. `visit` is then called
 * for each position in order; it may append to logs and change wants, but neither add nor remove.
 */
typedef bn_status bn_scheduler_visit(void *context, bn_sequence *sequence,
                                     const bn_result_position *position, const bn_result *result);
BN_CHECKED bn_status bn_scheduler_result(bn_scheduler *scheduler, const bn_result *result,
                                         bn_scheduler_visit *visit, void *context);

#endif
