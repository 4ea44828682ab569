/* address.c — strict on purpose: what it does not understand is refused, not passed on. */
#include "proto/address.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool parse_port(const char *text, char port_out[BN_PORT_TEXT_MAX])
{
    size_t n = strlen(text);
    if (strcmp(text, "*") == 0) {
        memcpy(port_out, "0", 2);
        return true;
    }
    if (n == 0 || n >= BN_PORT_TEXT_MAX) return false;
    for (size_t i = 0; i < n; i++) {
        if (!isdigit((unsigned char)text[i])) return false;
    }
    if (strtoul(text, NULL, 10) > UINT16_MAX) return false;
    memcpy(port_out, text, n + 1);
    return true;
}

static bool is_host(const char *host, bool is_bracketed)
{
    if (is_bracketed) return bn_address_is_ipv6(host);
    for (const char *c = host; *c != '\0'; c++) {
        if (!isalnum((unsigned char)*c) && strchr("-_.*", *c) == NULL) return false;
    }
    return host[0] != '\0' && (strchr(host, '*') == NULL || strcmp(host, "*") == 0);
}

bn_status bn_address_parse(const char *url, bn_address *address_out)
{
    static const char scheme[] = "tcp://";
    bn_address address;
    if (strncmp(url, scheme, sizeof scheme - 1) != 0) return BN_ERR_BAD_ARGUMENT;
    const char *begin = url + sizeof scheme - 1;
    const char *colon = strrchr(begin, ':');
    if (colon == NULL || !parse_port(colon + 1, address.port)) return BN_ERR_BAD_ARGUMENT;
    size_t n = (size_t)(colon - begin);
    bool is_bracketed = n >= 2 && begin[0] == '[' && begin[n - 1] == ']';
    if (is_bracketed) {
        begin++;
        n -= 2;
    }
    if (n >= BN_HOST_MAX) return BN_ERR_BAD_ARGUMENT;
    memcpy(address.host, begin, n);
    address.host[n] = '\0';
    if (!is_host(address.host, is_bracketed)) return BN_ERR_BAD_ARGUMENT;
    *address_out = address;
    return BN_OK;
}

bool bn_address_print(const bn_address *address, char *url_out, size_t n)
{
    const char *format = bn_address_is_ipv6(address->host) ? "tcp://[%s]:%s" : "tcp://%s:%s";
    int length = snprintf(url_out, n, format, address->host, address->port);
    return length > 0 && (size_t)length < n;
}

bool bn_address_is_ipv4(const char *host)
{
    struct in_addr address;
    return inet_pton(AF_INET, host, &address) == 1;
}

/* A link-local address may carry its interface: fe80::1%eth0. */
bool bn_address_is_ipv6(const char *host)
{
    struct in6_addr address;
    char bare[INET6_ADDRSTRLEN];
    const char *zone = strchr(host, '%');
    size_t n = zone == NULL ? strlen(host) : (size_t)(zone - host);
    if (n >= sizeof bare) return false;
    memcpy(bare, host, n);
    bare[n] = '\0';
    return inet_pton(AF_INET6, bare, &address) == 1;
}

bool bn_address_is_loopback(const char *host)
{
    struct in_addr v4;
    struct in6_addr v6;
    if (inet_pton(AF_INET, host, &v4) == 1) return ntohl(v4.s_addr) >> 24 == 127;
    if (inet_pton(AF_INET6, host, &v6) == 1) {
        bool is_mapped = IN6_IS_ADDR_V4MAPPED(&v6) && v6.s6_addr[12] == 127;
        return IN6_IS_ADDR_LOOPBACK(&v6) || is_mapped;
    }
    return strcmp(host, "localhost") == 0;
}
