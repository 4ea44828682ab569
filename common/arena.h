/* arena.h — one mapping per lifetime, cut from the front, freed as a whole.
 *
 * Anonymous memory, advised for huge pages when large; pages are touched by
 * whoever writes first (so NUMA first touch is the writer's choice).
 *
 * Memory:  everything from _take dies with _destroy; nothing is freed singly.
 * Threads: one at a time.
 * Errors:  full arena is BN_ERR_LIMIT: a miscounted budget, named by the arena's label.
 */
#ifndef BN_COMMON_ARENA_H
#define BN_COMMON_ARENA_H

#include "common/status.h"

#include <stddef.h>

typedef struct bn_arena bn_arena;

/* `label` is kept by reference. capacity 0 is allowed. */
BN_CHECKED bn_status bn_arena_create(const char *label, size_t capacity_bytes,
                                     bn_arena **arena_out);
void bn_arena_destroy(bn_arena *arena);

/* 64-byte aligned, zeroed. */
BN_CHECKED bn_status bn_arena_take(bn_arena *arena, size_t bytes, void **memory_out);

/* What _take will consume for `bytes`: rounded up to the alignment. */
size_t bn_arena_rounded(size_t bytes);

size_t bn_arena_used(const bn_arena *arena);
size_t bn_arena_capacity(const bn_arena *arena);

#endif
