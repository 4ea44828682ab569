/* wire_fuzz.c
 * What: bytes from a peer are refused, or give a message that we would send ourselves.
 * How:  unpack; what passes must pack, and unpack to the same again.
 */
#include "proto/wire.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static bn_wire *wire;
static bn_message first, second;
static uint8_t packed[BN_ENVELOPE_MAX];

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    if (wire == NULL && bn_wire_create(&wire) != BN_OK) abort();
    memset(&first, 0, sizeof first);
    if (bn_wire_unpack_quietly(wire, bytes, n, &first) != BN_OK) return 0;
    size_t n_packed;
    if (bn_wire_pack(wire, &first, packed, &n_packed) != BN_OK) abort();
    memset(&second, 0, sizeof second);
    if (bn_wire_unpack_quietly(wire, packed, n_packed, &second) != BN_OK) abort();
    if (memcmp(&first, &second, sizeof first) != 0) abort();
    return 0;
}
