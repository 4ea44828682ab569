/* guarded.h — buffers that notice a byte read or written outside them.
 *
 * A page without rights stands directly behind the buffer; what lies before it in its first page
 * is filled with a pattern that guarded_is_intact checks.
 */
#ifndef BN_TESTS_KERNELS_GUARDED_H
#define BN_TESTS_KERNELS_GUARDED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct guarded {
    uint8_t *map;  /* the whole mapping */
    uint8_t *data; /* the buffer */
    size_t bytes, map_bytes;
} guarded;

/* `alignment` (a power of two, at most a page) moves the start down, leaving a gap of less than
 * that before the forbidden page; it is filled and checked too. Aborts when memory is short. */
guarded guarded_create(size_t bytes, size_t alignment);
void guarded_destroy(guarded *buffer);
void guarded_fill(guarded *buffer, uint8_t value);
bool guarded_is_intact(const guarded *buffer);

#endif
