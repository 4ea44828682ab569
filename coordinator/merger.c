/* merger.c — a heap for long pieces, a scan for words.
 *
 * A heap entry is one number, key and place; it is stale when the symbol at that place has another
 * key now. Nothing else must be kept: whatever pair has this key at this place is the one to join.
 */
#include "coordinator/merger.h"

#include "common/alloc.h"
#include "common/log.h"

/* Below this many symbols looking at all of them is faster than a heap. */
#define SCAN_SYMBOLS_MAX 24

void bn_merger_init(bn_merger *merger)
{
    *merger = (bn_merger){0};
}

void bn_merger_fini(bn_merger *merger)
{
    bn_free(merger->symbols);
    bn_free(merger->heap);
    *merger = (bn_merger){0};
}

static bn_status no_memory(size_t n_symbols)
{
    return bn_fail(BN_ERR_NO_MEMORY, "TOKENIZER-MEMORY",
                   "no memory to tokenise a run of %zu symbols", n_symbols);
}

bn_status bn_merger_reserve(bn_merger *merger, size_t n_symbols)
{
    BN_ASSERT(n_symbols < BN_MERGER_NONE);
    merger->n_symbols = 0;
    merger->n_heap = 0;
    if (n_symbols > merger->symbol_capacity) {
        size_t capacity = n_symbols < 64 ? 64 : n_symbols;
        void *symbols = bn_realloc(merger->symbols, capacity, sizeof *merger->symbols);
        if (symbols == NULL) return no_memory(n_symbols);
        merger->symbols = symbols;
        merger->symbol_capacity = (uint32_t)capacity;
    }
    /* A join takes one entry out and puts at most two in; there are fewer joins than symbols. */
    if (n_symbols > SCAN_SYMBOLS_MAX && 2 * n_symbols > merger->heap_capacity) {
        void *heap = bn_realloc(merger->heap, 2 * n_symbols, sizeof *merger->heap);
        if (heap == NULL) return no_memory(n_symbols);
        merger->heap = heap;
        merger->heap_capacity = 2 * n_symbols;
    }
    return BN_OK;
}

void bn_merger_add(bn_merger *merger, uint32_t begin, uint32_t end, uint32_t id)
{
    BN_ASSERT(merger->n_symbols < merger->symbol_capacity);
    uint32_t i = merger->n_symbols++;
    merger->symbols[i] = (bn_merger_symbol){
        .begin = begin,
        .end = end,
        .id = id,
        .previous = i == 0 ? BN_MERGER_NONE : i - 1,
        .next = BN_MERGER_NONE,
        .key = BN_MERGER_NONE,
    };
    if (i > 0) merger->symbols[i - 1].next = i;
}

static void rate(bn_merger *merger, uint32_t left, bn_merger_pair *pair, const void *context)
{
    bn_merger_symbol *symbol = &merger->symbols[left];
    symbol->key = BN_MERGER_NONE;
    if (symbol->next == BN_MERGER_NONE) return;
    uint32_t key, joined;
    if (!pair(context, symbol, &merger->symbols[symbol->next], &key, &joined)) return;
    BN_ASSERT(key != BN_MERGER_NONE);
    symbol->key = key;
    symbol->joined = joined;
}

/* Joins `left` with its next symbol and rates the two pairs that changed. */
static void join(bn_merger *merger, uint32_t left, bn_merger_pair *pair, const void *context)
{
    bn_merger_symbol *symbol = &merger->symbols[left];
    bn_merger_symbol *gone = &merger->symbols[symbol->next];
    symbol->end = gone->end;
    symbol->id = symbol->joined;
    symbol->next = gone->next;
    gone->key = BN_MERGER_NONE;
    if (symbol->next != BN_MERGER_NONE) merger->symbols[symbol->next].previous = left;
    rate(merger, left, pair, context);
    if (symbol->previous != BN_MERGER_NONE) rate(merger, symbol->previous, pair, context);
}

static void run_scanning(bn_merger *merger, bn_merger_pair *pair, const void *context)
{
    for (;;) {
        uint32_t best = 0;
        for (uint32_t i = 0; i != BN_MERGER_NONE; i = merger->symbols[i].next) {
            if (merger->symbols[i].key < merger->symbols[best].key) best = i;
        }
        if (merger->symbols[best].key == BN_MERGER_NONE) return;
        join(merger, best, pair, context);
    }
}

static void sift_down(uint64_t *heap, uint32_t n, uint32_t at)
{
    uint64_t entry = heap[at];
    for (;;) {
        uint64_t child = 2 * (uint64_t)at + 1;
        if (child >= n) break;
        if (child + 1 < n && heap[child + 1] < heap[child]) child++;
        if (heap[child] >= entry) break;
        heap[at] = heap[child];
        at = (uint32_t)child;
    }
    heap[at] = entry;
}

static void heap_push(bn_merger *merger, uint32_t left)
{
    uint32_t key = merger->symbols[left].key;
    if (key == BN_MERGER_NONE) return;
    uint64_t entry = (uint64_t)key << 32 | left;
    BN_ASSERT(merger->n_heap < merger->heap_capacity);
    uint32_t at = merger->n_heap++;
    while (at > 0 && merger->heap[(at - 1) / 2] > entry) {
        merger->heap[at] = merger->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    merger->heap[at] = entry;
}

static uint64_t heap_pop(bn_merger *merger)
{
    uint64_t top = merger->heap[0];
    merger->heap[0] = merger->heap[--merger->n_heap];
    if (merger->n_heap > 0) sift_down(merger->heap, merger->n_heap, 0);
    return top;
}

static void run_with_heap(bn_merger *merger, bn_merger_pair *pair, const void *context)
{
    for (uint32_t i = 0; i + 1 < merger->n_symbols; i++) {
        if (merger->symbols[i].key == BN_MERGER_NONE) continue;
        merger->heap[merger->n_heap++] = (uint64_t)merger->symbols[i].key << 32 | i;
    }
    for (uint32_t i = merger->n_heap / 2; i-- > 0;)
        sift_down(merger->heap, merger->n_heap, i);

    while (merger->n_heap > 0) {
        uint64_t top = heap_pop(merger);
        uint32_t left = (uint32_t)top;
        if (merger->symbols[left].key != (uint32_t)(top >> 32)) continue;
        join(merger, left, pair, context);
        heap_push(merger, left);
        uint32_t previous = merger->symbols[left].previous;
        if (previous != BN_MERGER_NONE) heap_push(merger, previous);
    }
}

void bn_merger_run(bn_merger *merger, bn_merger_pair *pair, const void *context)
{
    if (merger->n_symbols < 2) return;
    for (uint32_t i = 0; i + 1 < merger->n_symbols; i++)
        rate(merger, i, pair, context);
    if (merger->n_symbols <= SCAN_SYMBOLS_MAX)
        run_scanning(merger, pair, context);
    else
        run_with_heap(merger, pair, context);
}
