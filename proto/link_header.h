/* link_header.h — the 64 bytes before every frame between two stages.
 *
 *   0 magic "BNLK"   4 version u16   6 kind u16   8 epoch u32   12 body bytes u32
 *   16 secret [16]   32 step id u64  40 activation bytes u64    48 zero [16]
 *
 * Little-endian. The secret comes with `assign` and proves that the sender belongs to this cluster
 * and epoch; the rest lets a receiver refuse what does not fit before it looks at the body.
 *
 * Memory:  plain values.
 * Threads: any.
 * Errors:  a text, for the caller to say with the name of the peer.
 */
#ifndef BN_PROTO_LINK_HEADER_H
#define BN_PROTO_LINK_HEADER_H

#include "proto/wire.h"

#include <stddef.h>
#include <stdint.h>

#define BN_LINK_HEADER_BYTES 64u

typedef enum bn_link_frame_kind {
    BN_LINK_FRAME_PROBE = 1, /* joins: no step, no body, no activations */
    BN_LINK_FRAME_ANSWER,    /* to a probe */
    BN_LINK_FRAME_STEP,
} bn_link_frame_kind;

typedef struct bn_link_header {
    bn_link_frame_kind kind;
    uint32_t epoch;
    uint32_t body_bytes;
    uint64_t step_id;
    uint64_t activation_bytes;
    uint8_t secret[BN_LINK_SECRET_BYTES];
} bn_link_header;

void bn_link_header_pack(const bn_link_header *header, uint8_t bytes_out[BN_LINK_HEADER_BYTES]);

/* NULL, or why the n bytes are no header. Bodies over BN_ENVELOPE_MAX, activations that are not
 * whole floats and steps numbered 0 are refused here; header_out is set only on success. */
const char *bn_link_header_unpack(const uint8_t *bytes, size_t n, bn_link_header *header_out);

/* NULL, or why a sound header does not belong to this epoch and secret. */
const char *bn_link_header_foreign(const bn_link_header *header, uint32_t epoch,
                                   const uint8_t secret[BN_LINK_SECRET_BYTES]);

#endif
