/* arena.c — the mapping begins at a huge-page boundary when it is large enough
 * to hold one, because the kernel gives huge pages only to aligned ranges.
 */
#include "common/arena.h"

#include "common/alloc.h"
#include "common/log.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#define ALIGNMENT 64u
#define HUGE_PAGE_BYTES ((size_t)2 << 20)

/* The base of an arena of capacity 0. */
static _Alignas(ALIGNMENT) uint8_t nothing[ALIGNMENT];

struct bn_arena {
    const char *label;
    void *mapping; /* NULL when capacity is 0 */
    size_t mapping_bytes;
    uint8_t *base;
    size_t used;
    size_t capacity;
};

/* SIZE_MAX when rounding would overflow, so that no budget can hold it. */
size_t bn_arena_rounded(size_t bytes)
{
    if (bytes > SIZE_MAX - (ALIGNMENT - 1)) return SIZE_MAX;
    return (bytes + (ALIGNMENT - 1)) / ALIGNMENT * ALIGNMENT;
}

static bn_status map_memory(bn_arena *arena)
{
    bool is_large = arena->capacity >= HUGE_PAGE_BYTES;
    size_t bytes = arena->capacity;
    if (is_large && !bn_add_size(bytes, HUGE_PAGE_BYTES, &bytes))
        return bn_fail(BN_ERR_NO_MEMORY, "ARENA-MAP", "%s: %zu bytes exceed the address space",
                       arena->label, arena->capacity);
    void *mapping = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapping == MAP_FAILED)
        return bn_fail(BN_ERR_NO_MEMORY, "ARENA-MAP", "cannot reserve %zu bytes for %s: %s",
                       arena->capacity, arena->label, strerror(errno));
    arena->mapping = mapping;
    arena->mapping_bytes = bytes;
    arena->base = mapping;
    if (is_large) {
        uintptr_t start = (uintptr_t)mapping;
        arena->base += (HUGE_PAGE_BYTES - start % HUGE_PAGE_BYTES) % HUGE_PAGE_BYTES;
        /* Advice only: without huge pages it is slower, not wrong. */
        (void)madvise(arena->base, arena->capacity, MADV_HUGEPAGE);
    }
    return BN_OK;
}

bn_status bn_arena_create(const char *label, size_t capacity_bytes, bn_arena **arena_out)
{
    bn_arena *arena = bn_alloc(1, sizeof *arena);
    if (arena == NULL) return bn_fail(BN_ERR_NO_MEMORY, "ARENA-MAP", "no memory for %s", label);
    arena->label = label;
    arena->capacity = capacity_bytes;
    arena->base = nothing;
    if (capacity_bytes > 0) {
        bn_status status = map_memory(arena);
        if (status != BN_OK) {
            bn_free(arena);
            return status;
        }
    }
    *arena_out = arena;
    return BN_OK;
}

void bn_arena_destroy(bn_arena *arena)
{
    if (arena == NULL) return;
    if (arena->mapping != NULL) munmap(arena->mapping, arena->mapping_bytes);
    bn_free(arena);
}

bn_status bn_arena_take(bn_arena *arena, size_t bytes, void **memory_out)
{
    /* The last piece need not be rounded up: exact budgets fit exactly. */
    if (bytes > arena->capacity - arena->used)
        return bn_fail(BN_ERR_LIMIT, "ARENA-FULL",
                       "%s: %zu bytes wanted, %zu of %zu left (its budget was miscounted)",
                       arena->label, bytes, arena->capacity - arena->used, arena->capacity);
    *memory_out = arena->base + arena->used;
    size_t rounded = bn_arena_rounded(bytes);
    size_t left = arena->capacity - arena->used;
    arena->used += rounded < left ? rounded : left;
    return BN_OK;
}

size_t bn_arena_used(const bn_arena *arena)
{
    return arena->used;
}

size_t bn_arena_capacity(const bn_arena *arena)
{
    return arena->capacity;
}
