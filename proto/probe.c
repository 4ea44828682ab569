/* probe.c — a non-blocking connect, looked at whenever somebody asks. */
#include "proto/probe.h"

#include "common/clock.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BN_PROBE_PAUSE_MS 2000u
#define BN_PROBE_TIMEOUT_MS 1500u

static const char *text_of(int cause)
{
    switch (cause) {
    case 0: return "";
    case ECONNREFUSED: return "connection refused";
    case EHOSTUNREACH:
    case ENETUNREACH: return "no route to host";
    case ETIMEDOUT: return "no answer (host down, or a firewall drops packets)";
    case EACCES:
    case EPERM: return "connection forbidden by a local firewall";
    default: return "connection failed";
    }
}

void bn_probe_init(bn_probe *probe, const bn_address *address)
{
    *probe = (bn_probe){.address = *address, .fd = -1};
}

static struct addrinfo *resolve(bn_probe *probe)
{
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *list = NULL;
    if (getaddrinfo(probe->address.host, probe->address.port, &hints, &list) != 0) return NULL;
    struct addrinfo *chosen = list;
    while (chosen != NULL && chosen->ai_family != AF_INET)
        chosen = chosen->ai_next;
    probe->is_ipv6_only = chosen == NULL && list != NULL;
    return list;
}

void bn_probe_begin(bn_probe *probe)
{
    uint64_t now = bn_clock_ms();
    if (probe->fd >= 0 || (probe->began_ms > 0 && now - probe->began_ms < BN_PROBE_PAUSE_MS)) {
        return;
    }
    probe->began_ms = now;
    struct addrinfo *list = resolve(probe);
    if (list == NULL) {
        probe->verdict = "unknown host name";
        return;
    }
    struct addrinfo *to = list;
    while (!probe->is_ipv6_only && to->ai_family != AF_INET)
        to = to->ai_next;
    probe->fd = socket(to->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (probe->fd >= 0 && connect(probe->fd, to->ai_addr, to->ai_addrlen) != 0 &&
        errno != EINPROGRESS) {
        probe->verdict = text_of(errno);
        bn_probe_end(probe);
    }
    freeaddrinfo(list);
}

const char *bn_probe_result(bn_probe *probe)
{
    const char *verdict = probe->verdict;
    int cause = 0;
    probe->verdict = NULL;
    if (verdict != NULL || probe->fd < 0) return verdict;
    struct pollfd item = {.fd = probe->fd, .events = POLLOUT};
    if (poll(&item, 1, 0) <= 0) {
        if (bn_clock_ms() - probe->began_ms < BN_PROBE_TIMEOUT_MS) return NULL;
        cause = ETIMEDOUT;
    } else {
        socklen_t n = sizeof cause;
        if (getsockopt(probe->fd, SOL_SOCKET, SO_ERROR, &cause, &n) != 0) cause = errno;
    }
    bn_probe_end(probe);
    return text_of(cause);
}

void bn_probe_end(bn_probe *probe)
{
    if (probe->fd >= 0) close(probe->fd);
    probe->fd = -1;
}
