/* envelope.c — the few lines of protobuf's wire format that the top level needs.
 *
 * More than one body is refused here: the library would merge them, a path that nobody uses and
 * that need not be trusted. Fields it does not know may come from a newer minor version.
 */
#include "proto/envelope.h"

#include <stdbool.h>

enum { TYPE_VARINT = 0, TYPE_8_BYTES = 1, TYPE_COUNTED = 2, TYPE_4_BYTES = 5 };
enum { FIELD_MAJOR = 1, FIELD_MINOR = 2 };

static bool read_varint(const uint8_t *bytes, size_t n, size_t *at, uint64_t *value_out)
{
    uint64_t value = 0;
    for (uint32_t shift = 0; shift < 64 && *at < n; shift += 7) {
        uint8_t byte = bytes[(*at)++];
        value |= (uint64_t)(byte & 0x7fu) << shift;
        if (byte < 0x80u) {
            *value_out = value;
            return true;
        }
    }
    return false;
}

/* Skips one field's value; for a number also gives it. */
static bool read_value(const uint8_t *bytes, size_t n, size_t *at, uint32_t type,
                       uint64_t *number_out)
{
    uint64_t size;
    switch (type) {
    case TYPE_VARINT: return read_varint(bytes, n, at, number_out);
    case TYPE_8_BYTES: size = 8; break;
    case TYPE_4_BYTES: size = 4; break;
    case TYPE_COUNTED:
        if (!read_varint(bytes, n, at, &size)) return false;
        break;
    default: return false;
    }
    if (size > n - *at) return false;
    *at += (size_t)size;
    return true;
}

const char *bn_envelope_outline(const uint8_t *bytes, size_t n, uint32_t body_begin,
                                uint32_t body_last, bn_envelope *envelope_out)
{
    bn_envelope found = {0, 0, 0};
    size_t at = 0;
    for (uint32_t i = 0; at < n; i++) {
        uint64_t key, number = 0;
        if (i == BN_ENVELOPE_FIELDS_MAX) return "too many fields";
        if (!read_varint(bytes, n, &at, &key) || key > UINT32_MAX) return "malformed field number";
        uint32_t type = (uint32_t)(key & 7u), tag = (uint32_t)(key >> 3);
        if (!read_value(bytes, n, &at, type, &number)) return "malformed or cut-off field";
        if (type == TYPE_VARINT && tag == FIELD_MAJOR) found.major = number;
        if (type == TYPE_VARINT && tag == FIELD_MINOR) found.minor = number;
        if (tag < body_begin || tag > body_last) continue;
        if (type != TYPE_COUNTED || found.body_tag != 0) return "more than one body";
        found.body_tag = tag;
    }
    *envelope_out = found;
    return NULL;
}
