/* candidates.h — the best tokens of a row of logits.
 *
 * The order is total: logit descending, then id ascending; NaN stands behind every number. So the
 * best n of a row do not depend on how the row was cut over threads.
 *
 * Pure functions on the caller's buffers. Threads: re-entrant.
 */
#ifndef BN_WORKER_CANDIDATES_H
#define BN_WORKER_CANDIDATES_H

#include "proto/step.h"

#include <stdbool.h>
#include <stdint.h>

/* True when `a` stands before `b`. */
bool bn_candidates_before(bn_candidate a, bn_candidate b);

/* The best min(n_best, id_end − id_begin) of the ids [id_begin, id_end), in order; logits[id]
 * belongs to id. Returns how many there are. */
uint32_t bn_candidates_select(const float *logits, uint32_t id_begin, uint32_t id_end,
                              uint32_t n_best, bn_candidate *best_out);

/* The same over listed ids, ascending, into a list that already holds n_in of them in no order;
 * returns how many it holds now. bn_candidates_sort then puts it in order. */
uint32_t bn_candidates_add(const float *logits, const uint32_t *ids, uint32_t n_ids,
                           uint32_t n_best, bn_candidate *best, uint32_t n_in);
void bn_candidates_sort(bn_candidate *best, uint32_t n);

/* The best n_best of n_lists ordered lists, list i being n_in[i] entries at lists + i·stride. */
uint32_t bn_candidates_merge(const bn_candidate *lists, uint32_t stride, const uint32_t *n_in,
                             uint32_t n_lists, uint32_t n_best, bn_candidate *best_out);

#endif
