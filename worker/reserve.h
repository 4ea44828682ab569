/* reserve.h — takes many pieces from an arena with one check at the end.
 *
 * After the first piece that does not fit all others are NULL and status says why.
 * Plain value; threads: one at a time.
 */
#ifndef BN_WORKER_RESERVE_H
#define BN_WORKER_RESERVE_H

#include "common/arena.h"

#include <stddef.h>

typedef struct bn_reserve {
    bn_arena *arena;
    bn_status status; /* BN_OK to begin with */
} bn_reserve;

/* n·size bytes, zeroed, 64-byte aligned. */
void *bn_reserve_take(bn_reserve *reserve, size_t n, size_t size);

#endif
