/* kv_pages.h — the coordinator's mirror of every stage's page table.
 *
 * All stages hold the same pages per slot, so one mirror stands for all of them. The coordinator
 * is the only allocator: what it counts here is what the workers execute. A sequence reserves its
 * worst case when it gets a slot, so that a step never runs out of pages.
 *
 * Memory:  plain values. Threads: one at a time. Errors: a violated count is a bug (BN_ASSERT).
 */
#ifndef BN_COORDINATOR_KV_PAGES_H
#define BN_COORDINATOR_KV_PAGES_H

#include "proto/step.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct bn_kv_pages {
    uint32_t n_slots, n_pages;
    uint32_t n_held, n_reserved;
    uint32_t held[BN_SLOTS_MAX];     /* pages that the workers' slot holds */
    uint32_t reserved[BN_SLOTS_MAX]; /* pages promised to the slot, ≥ held once it is in use */
    bool is_used[BN_SLOTS_MAX];
} bn_kv_pages;

void bn_kv_pages_init(bn_kv_pages *pages, uint32_t n_slots, uint32_t n_pages);

/* Pages that `n_positions` need. */
uint32_t bn_kv_pages_for(uint32_t n_positions);

/* Gives an unused, empty slot with room for `n_positions`; false: none, or too few pages. */
bool bn_kv_pages_acquire(bn_kv_pages *pages, uint32_t n_positions, uint32_t *slot_out);

/* True and an ALLOC command when the slot needs more pages to hold `n_positions`. */
bool bn_kv_pages_grow(bn_kv_pages *pages, uint32_t slot, uint32_t n_positions,
                      bn_kv_command *command_out);

/* The command that keeps `n_positions` only. */
void bn_kv_pages_truncate(bn_kv_pages *pages, uint32_t slot, uint32_t n_positions,
                          bn_kv_command *command_out);

/* The slot is unused from now on; true and a FREE command when it held pages. */
bool bn_kv_pages_release(bn_kv_pages *pages, uint32_t slot, bn_kv_command *command_out);

#endif
