/* join_notice.c — the words of bn_channel_trouble and what they usually mean. */
#include "worker/join_notice.h"

#include "common/log.h"

#include <inttypes.h>
#include <stddef.h>
#include <string.h>

static const struct {
    const char *word;
    const char *advice;
} advices[] = {
    {"refused", "nothing listens there yet: start bitnet-coordinator, or name its address with "
                "--coordinator (a coordinator on loopback is reachable from its own machine only)"},
    {"route", "that machine cannot be reached from here: check the address and the network"},
    {"unreachable", "that machine cannot be reached from here: check the address and the network"},
    {"unknown host", "the name is not known here: check its spelling, or give the IP address"},
    {"timed out", "the machine does not answer: check the address and its firewall"},
    {"key", "both sides need the same --cluster-key file"},
    {"not a coordinator", "another program listens on that port, or one side has a cluster key and "
                          "the other has not"},
    {"of protocol", "both sides must be of the same version"},
    {"not understood", "the other side is no coordinator, or one of another version"},
};

void bn_join_notice_reset(bn_join_notice *notice, uint64_t now_ms)
{
    notice->began_ms = notice->said_ms = now_ms;
}

const char *bn_join_notice_advice(bool is_connected, const char *trouble)
{
    for (size_t i = 0; i < sizeof advices / sizeof advices[0]; i++)
        if (strstr(trouble, advices[i].word) != NULL) return advices[i].advice;
    if (is_connected)
        return "the other side took the connection but does not welcome this worker: it may be "
               "busy, stopped, or no coordinator";
    return "the address may be wrong, or a firewall drops the packets";
}

void bn_join_notice_say(bn_join_notice *notice, uint64_t now_ms, const char *url, bool is_connected,
                        const char *trouble)
{
    if (now_ms - notice->said_ms < BN_JOIN_NOTICE_INTERVAL_MS) return;
    notice->said_ms = now_ms;
    const char *came_back = trouble[0] != '\0' ? trouble
                            : is_connected     ? "connected, no welcome yet"
                                               : "no answer";
    bn_log_warn("JOIN-WAITING", "not joined after %" PRIu64 " s; trying %s: %s; %s",
                (now_ms - notice->began_ms) / 1000, url, came_back,
                bn_join_notice_advice(is_connected, trouble));
}
