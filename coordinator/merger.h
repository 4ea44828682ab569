/* merger.h — joins neighbouring symbols of one piece of text, best pair first.
 *
 * A row of symbols, and a function that says whether two neighbours may join and how early; the
 * pair with the lowest key joins first, of equal ones the leftmost, until none may. Both kinds of
 * tokenizer are this, with another function.
 *
 * Memory:  buffers grow to the longest piece (44 bytes a symbol) and are kept until _fini.
 * Threads: one per merger.
 * Errors:  BN_ERR_NO_MEMORY from _reserve only.
 * Time:    O(n log n) for n symbols.
 */
#ifndef BN_COORDINATOR_MERGER_H
#define BN_COORDINATOR_MERGER_H

#include "common/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BN_MERGER_NONE UINT32_MAX

typedef struct bn_merger_symbol {
    uint32_t begin, end; /* bytes of the text it stands for */
    uint32_t id;         /* its token, or BN_MERGER_NONE */
    uint32_t previous, next;
    uint32_t key;    /* of joining with the next one; BN_MERGER_NONE: may not */
    uint32_t joined; /* the token it would become */
} bn_merger_symbol;

typedef struct bn_merger {
    bn_merger_symbol *symbols;
    uint64_t *heap; /* key in the high half, symbol index in the low half */
    uint32_t n_symbols, symbol_capacity;
    uint32_t n_heap;
    size_t heap_capacity;
} bn_merger;

/* Sets *key_out (below BN_MERGER_NONE) and *id_out when left and right may join. */
typedef bool bn_merger_pair(const void *context, const bn_merger_symbol *left,
                            const bn_merger_symbol *right, uint32_t *key_out, uint32_t *id_out);

void bn_merger_init(bn_merger *merger);
void bn_merger_fini(bn_merger *merger);

/* Empties the row and makes room for n_symbols < BN_MERGER_NONE. */
BN_CHECKED bn_status bn_merger_reserve(bn_merger *merger, size_t n_symbols);

/* Appends to the row; within what was reserved. */
void bn_merger_add(bn_merger *merger, uint32_t begin, uint32_t end, uint32_t id);

/* After it the row is the chain from symbol 0 along `next`, which ends with BN_MERGER_NONE. */
void bn_merger_run(bn_merger *merger, bn_merger_pair *pair, const void *context);

#endif
