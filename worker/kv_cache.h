/* kv_cache.h — the keys and values that one stage keeps for its live sequences.
 *
 * A table of pages per slot. A page holds BN_KV_PAGE_POSITIONS positions of all local layers,
 * [layer][K|V][kv_head][position][head_size] in F16, and belongs to the pool or to one or more
 * slots (a shared prefix). The coordinator is the only allocator: it sends commands, this module
 * executes them in order and refuses what the coordinator's own mirror would not allow.
 *
 * Memory:  pages and tables are taken from the arenas by _create; nothing is allocated
 *          afterwards.
 * Threads: commands and _extend by one thread; views may be read by all between them.
 * Errors:  BN_ERR_BAD_MESSAGE naming slot and counts when a command or a position breaks the
 *          contract; the cache is unchanged by the command that was refused.
 */
#ifndef BN_WORKER_KV_CACHE_H
#define BN_WORKER_KV_CACHE_H

#include "common/arena.h"
#include "common/status.h"
#include "kernels/kernels.h"
#include "proto/step.h"

#include <stddef.h>
#include <stdint.h>

typedef struct bn_kv_cache bn_kv_cache;

typedef struct bn_kv_cache_config {
    uint32_t n_layers; /* local ones; 0 is a stage that only counts pages */
    uint32_t n_kv_heads, head_size;
    uint32_t n_pages, n_slots;
    uint32_t context; /* positions that one slot may hold */
} bn_kv_cache_config;

/* Its pages live in one arena, its tables in the other (which may be the same). */
BN_CHECKED bn_status bn_kv_cache_create(const bn_kv_cache_config *config, bn_arena *page_arena,
                                        bn_arena *table_arena, bn_kv_cache **cache_out);
void bn_kv_cache_destroy(bn_kv_cache *cache);

BN_CHECKED bn_status bn_kv_cache_apply(bn_kv_cache *cache, const bn_kv_command *commands,
                                       uint32_t n_commands);

/* Announces that positions [position, position + n_tokens) of `slot` are about to be written:
 * their pages must be there and owned by this slot alone, and nothing before may be missing.
 * Positions past them are forgotten (their pages stay). */
BN_CHECKED bn_status bn_kv_cache_extend(bn_kv_cache *cache, uint32_t slot, uint32_t position,
                                        uint32_t n_tokens);

/* Valid until the slot's pages change. */
bn_kv_view bn_kv_cache_view(const bn_kv_cache *cache, uint32_t slot, uint32_t layer,
                            uint32_t kv_head);

/* Where key and value of one position stand. */
void bn_kv_cache_row(const bn_kv_cache *cache, uint32_t slot, uint32_t layer, uint32_t kv_head,
                     uint32_t position, uint16_t **key_out, uint16_t **value_out);

uint32_t bn_kv_cache_length(const bn_kv_cache *cache, uint32_t slot); /* positions */
uint32_t bn_kv_cache_held(const bn_kv_cache *cache, uint32_t slot);   /* pages */
uint32_t bn_kv_cache_pages_used(const bn_kv_cache *cache);
uint32_t bn_kv_cache_pages_total(const bn_kv_cache *cache);

#endif
