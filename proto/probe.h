/* probe.h — why a connection does not come about.
 *
 * ZeroMQ tells that it will try again, not why. A probe connects once more, without waiting, and
 * keeps the operating system's answer.
 *
 * Memory:  plain values; at most one open socket, closed by _end.
 * Threads: one at a time. Resolving a name may block as long as the system's resolver does.
 * Errors:  none; the result is a text.
 */
#ifndef BN_PROTO_PROBE_H
#define BN_PROTO_PROBE_H

#include "proto/address.h"

#include <stdint.h>

typedef struct bn_probe {
    bn_address address;
    int fd;              /* −1: no attempt under way */
    const char *verdict; /* known at once, until _result tells it; NULL: none */
    uint64_t began_ms;
    bool is_ipv6_only; /* the name has IPv6 addresses only */
} bn_probe;

void bn_probe_init(bn_probe *probe, const bn_address *address);

/* Starts an attempt unless one is under way or the last one is less than two seconds old. */
void bn_probe_begin(bn_probe *probe);

/* NULL: no news. Otherwise the attempt is over: "" it would work now, or why not. Static text. */
const char *bn_probe_result(bn_probe *probe);

void bn_probe_end(bn_probe *probe);

#endif
