/* stop_strings.h — text up to the first stop string, and nothing after it.
 *
 * Text comes in pieces that need not end where characters or stop strings do. What may still be
 * the beginning of a stop string is held back.
 *
 * Memory:  the strings belong to the caller and must stay; held bytes are in the struct.
 * Threads: one at a time.
 */
#ifndef BN_COORDINATOR_STOP_STRINGS_H
#define BN_COORDINATOR_STOP_STRINGS_H

#include "common/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BN_STOP_STRINGS_MAX 16u
#define BN_STOP_STRING_BYTES_MAX 256u

typedef struct bn_stop_strings {
    const char *strings[BN_STOP_STRINGS_MAX];
    size_t lengths[BN_STOP_STRINGS_MAX];
    uint32_t n_strings;
    char held[BN_STOP_STRING_BYTES_MAX + 1];
    size_t n_held;
    bool is_stopped;
} bn_stop_strings;

/* BN_ERR_BAD_ARGUMENT for too many strings, an empty or a too long one. */
BN_CHECKED bn_status bn_stop_strings_init(bn_stop_strings *stops, const char *const *strings,
                                          uint32_t n_strings);

/* Takes n bytes, gives those that are certain: at most BN_STOP_STRING_BYTES_MAX + n, written to
 * `out`; returns their number. After a stop string nothing comes out any more. */
size_t bn_stop_strings_push(bn_stop_strings *stops, const char *bytes, size_t n, char *out);

/* The end of the text: what is held was no stop string. Returns the number written to `out`. */
size_t bn_stop_strings_flush(bn_stop_strings *stops, char *out);

#endif
