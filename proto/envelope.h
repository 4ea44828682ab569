/* envelope.h — a look at a message's top level, before the library parses it.
 *
 * Finds the protocol version and the number of the one body without unpacking anything, so that
 * a message of another version is refused by its version and not by what its fields became.
 *
 * Memory:  nothing is allocated or kept.
 * Threads: any.
 * Errors:  a text, for the caller to say.
 */
#ifndef BN_PROTO_ENVELOPE_H
#define BN_PROTO_ENVELOPE_H

#include <stddef.h>
#include <stdint.h>

#define BN_ENVELOPE_FIELDS_MAX 64u /* at the top level */

typedef struct bn_envelope {
    uint64_t major, minor;
    uint32_t body_tag; /* field number, 0 if there is no body */
} bn_envelope;

/* Bodies have field numbers body_begin … body_last. NULL, or why the bytes are no envelope. */
const char *bn_envelope_outline(const uint8_t *bytes, size_t n, uint32_t body_begin,
                                uint32_t body_last, bn_envelope *envelope_out);

#endif
