/* address.h — tcp://HOST:PORT taken apart, and whether it stays on this machine.
 *
 * HOST is a name, an IPv4 address, an IPv6 address in brackets, or '*' for all interfaces.
 *
 * Memory:  plain values.
 * Threads: any.
 * Errors:  BN_ERR_BAD_ARGUMENT, not logged: the caller knows which option it came from.
 */
#ifndef BN_PROTO_ADDRESS_H
#define BN_PROTO_ADDRESS_H

#include "common/status.h"

#include <stdbool.h>
#include <stddef.h>

#define BN_HOST_MAX 200u /* NUL included */
#define BN_PORT_TEXT_MAX 6u

typedef struct bn_address {
    char host[BN_HOST_MAX];      /* without brackets */
    char port[BN_PORT_TEXT_MAX]; /* digits; "0" for '*' */
} bn_address;

BN_CHECKED bn_status bn_address_parse(const char *url, bn_address *address_out);

/* "tcp://HOST:PORT", an IPv6 address in brackets. False when it does not fit. */
bool bn_address_print(const bn_address *address, char *url_out, size_t n);

bool bn_address_is_ipv4(const char *host);
bool bn_address_is_ipv6(const char *host);

/* 127.0.0.0/8, ::1 and "localhost"; a name is not, since it may lead anywhere. */
bool bn_address_is_loopback(const char *host);

#endif
