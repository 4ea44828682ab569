/* link_header.c — explicit offsets instead of a struct on the wire: no padding, no surprises.
 * Targets are little-endian (the build refuses others), so values are copied as they are.
 */
#include "proto/link_header.h"

#include <stdbool.h>
#include <string.h>

#define BN_LINK_VERSION 1u
#define BN_LINK_ACTIVATION_MAX (1ull << 40) /* receivers compare with their buffers besides */

static const uint8_t magic[4] = {'B', 'N', 'L', 'K'};
static const uint8_t zeros[16];

void bn_link_header_pack(const bn_link_header *header, uint8_t bytes_out[BN_LINK_HEADER_BYTES])
{
    uint16_t version = BN_LINK_VERSION, kind = (uint16_t)header->kind;
    memcpy(bytes_out, magic, 4);
    memcpy(bytes_out + 4, &version, 2);
    memcpy(bytes_out + 6, &kind, 2);
    memcpy(bytes_out + 8, &header->epoch, 4);
    memcpy(bytes_out + 12, &header->body_bytes, 4);
    memcpy(bytes_out + 16, header->secret, 16);
    memcpy(bytes_out + 32, &header->step_id, 8);
    memcpy(bytes_out + 40, &header->activation_bytes, 8);
    memcpy(bytes_out + 48, zeros, 16);
}

static const char *check(const bn_link_header *header)
{
    bool is_step = header->kind == BN_LINK_FRAME_STEP;
    bool is_empty =
        header->step_id == 0 && header->body_bytes == 0 && header->activation_bytes == 0;
    if (header->kind < BN_LINK_FRAME_PROBE || header->kind > BN_LINK_FRAME_STEP) {
        return "unknown kind of frame";
    }
    if (!is_step) return is_empty ? NULL : "a probe that carries something";
    if (header->step_id == 0) return "step id 0";
    if (header->body_bytes == 0 || header->body_bytes > BN_ENVELOPE_MAX) return "bad body size";
    if (header->activation_bytes % 4 != 0 || header->activation_bytes > BN_LINK_ACTIVATION_MAX) {
        return "bad activation size";
    }
    return NULL;
}

const char *bn_link_header_unpack(const uint8_t *bytes, size_t n, bn_link_header *header_out)
{
    bn_link_header header;
    uint16_t version, kind;
    if (n < BN_LINK_HEADER_BYTES) return "shorter than a header";
    if (memcmp(bytes, magic, 4) != 0) return "not a link frame";
    memcpy(&version, bytes + 4, 2);
    memcpy(&kind, bytes + 6, 2);
    memcpy(&header.epoch, bytes + 8, 4);
    memcpy(&header.body_bytes, bytes + 12, 4);
    memcpy(header.secret, bytes + 16, 16);
    memcpy(&header.step_id, bytes + 32, 8);
    memcpy(&header.activation_bytes, bytes + 40, 8);
    header.kind = (bn_link_frame_kind)kind;
    if (version != BN_LINK_VERSION) return "another version of the link protocol";
    if (memcmp(bytes + 48, zeros, 16) != 0) return "reserved bytes are not zero";
    const char *cause = check(&header);
    if (cause != NULL) return cause;
    *header_out = header;
    return NULL;
}

const char *bn_link_header_foreign(const bn_link_header *header, uint32_t epoch,
                                   const uint8_t secret[BN_LINK_SECRET_BYTES])
{
    if (header->epoch != epoch) return "another epoch";
    if (!bn_hash_secret_equal(header->secret, secret, BN_LINK_SECRET_BYTES)) return "wrong secret";
    return NULL;
}
