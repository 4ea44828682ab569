/* kv_pages.c — counts only: which page is which is each worker's own business. */
#include "coordinator/kv_pages.h"

#include "common/status.h"
#include "model/model.h"

void bn_kv_pages_init(bn_kv_pages *pages, uint32_t n_slots, uint32_t n_pages)
{
    BN_ASSERT(n_slots > 0 && n_slots <= BN_SLOTS_MAX);
    *pages = (bn_kv_pages){.n_slots = n_slots, .n_pages = n_pages};
}

uint32_t bn_kv_pages_for(uint32_t n_positions)
{
    return n_positions / BN_KV_PAGE_POSITIONS + (n_positions % BN_KV_PAGE_POSITIONS != 0);
}

bool bn_kv_pages_acquire(bn_kv_pages *pages, uint32_t n_positions, uint32_t *slot_out)
{
    uint32_t n = bn_kv_pages_for(n_positions);
    if (n > pages->n_pages - pages->n_reserved) return false;
    for (uint32_t slot = 0; slot < pages->n_slots; slot++) {
        if (pages->is_used[slot]) continue;
        BN_ASSERT(pages->held[slot] == 0);
        pages->is_used[slot] = true;
        pages->reserved[slot] = n;
        pages->n_reserved += n;
        *slot_out = slot;
        return true;
    }
    return false;
}

bool bn_kv_pages_grow(bn_kv_pages *pages, uint32_t slot, uint32_t n_positions,
                      bn_kv_command *command_out)
{
    BN_ASSERT(slot < pages->n_slots && pages->is_used[slot]);
    uint32_t n = bn_kv_pages_for(n_positions);
    if (n <= pages->held[slot]) return false;
    BN_ASSERT(n <= pages->reserved[slot]);
    pages->n_held += n - pages->held[slot];
    BN_ASSERT(pages->n_held <= pages->n_pages);
    pages->held[slot] = n;
    *command_out = (bn_kv_command){.kind = BN_KV_ALLOC, .slot = slot, .count = n};
    return true;
}

void bn_kv_pages_truncate(bn_kv_pages *pages, uint32_t slot, uint32_t n_positions,
                          bn_kv_command *command_out)
{
    BN_ASSERT(slot < pages->n_slots && pages->is_used[slot]);
    uint32_t n = bn_kv_pages_for(n_positions);
    if (n < pages->held[slot]) {
        pages->n_held -= pages->held[slot] - n;
        pages->held[slot] = n;
    }
    *command_out = (bn_kv_command){.kind = BN_KV_TRUNCATE, .slot = slot, .count = n_positions};
}

bool bn_kv_pages_release(bn_kv_pages *pages, uint32_t slot, bn_kv_command *command_out)
{
    BN_ASSERT(slot < pages->n_slots && pages->is_used[slot]);
    bool was_held = pages->held[slot] > 0;
    pages->n_held -= pages->held[slot];
    pages->n_reserved -= pages->reserved[slot];
    pages->held[slot] = pages->reserved[slot] = 0;
    pages->is_used[slot] = false;
    *command_out = (bn_kv_command){.kind = BN_KV_FREE, .slot = slot};
    return was_held;
}
