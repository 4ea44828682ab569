/* alloc.h — the only way to the heap.
 *
 * Sizes are multiplied with an overflow check; failure is NULL, never an abort.
 * Memory is zeroed. The guard makes a forgotten allocation in the step loop
 * visible: between bn_alloc_guard_begin and _end an allocation by the same
 * thread is logged once, and aborts where the environment holds BN_ALLOC_GUARD=1
 * (as in every test).
 *
 * Memory:  the caller owns what it gets and gives it to bn_free.
 * Threads: any.
 */
#ifndef BN_COMMON_ALLOC_H
#define BN_COMMON_ALLOC_H

#include <stdbool.h>
#include <stddef.h>

void *bn_alloc(size_t n, size_t size);

/* Grows `memory` to n·size bytes, the new ones not zeroed; on failure NULL and `memory` stays. */
void *bn_realloc(void *memory, size_t n, size_t size);

char *bn_strdup(const char *text);

void bn_free(void *memory);

/* a·b and a+b in size_t; false on overflow, `out` untouched then. */
bool bn_mul_size(size_t a, size_t b, size_t *out);
bool bn_add_size(size_t a, size_t b, size_t *out);

void bn_alloc_guard_begin(const char *what);
void bn_alloc_guard_end(void);

#endif
