/* channel.c — ROUTER and DEALER, one monitor each, and one authenticator per context.
 *
 * Nothing here waits for the network: sends say why not, receives have a deadline. What a
 * connection is doing comes from the socket's monitor; why it does not come about, from a probe,
 * since the monitor does not tell. Heartbeats between the libraries notice a dead host or a
 * stopped process within two seconds, where TCP alone may take half an hour. ROUTER_HANDOVER
 * stays off: nobody can take over another's identity, and a worker that reconnects says hello.
 */
#include "proto/channel.h"

#include "common/alloc.h"
#include "common/clock.h"
#include "common/hash.h"
#include "common/log.h"
#include "proto/address.h"
#include "proto/probe.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <zmq.h>

#define BN_CHANNEL_MONITOR_URL "inproc://bn-channel-monitor"
#define BN_CHANNEL_ZAP_URL "inproc://zeromq.zap.01"
#define BN_CHANNEL_ZAP_DOMAIN "bitnet"
#define BN_CHANNEL_ZAP_PARTS 7
#define BN_CHANNEL_KEY_BYTES 32u
#define BN_CHANNEL_LINGER_MS 500
#define BN_CHANNEL_EVENTS_MAX 256 /* monitor events handled in one go */
#define BN_CHANNEL_LOG_LINES 5u   /* about malformed messages, per window */
#define BN_CHANNEL_LOG_WINDOW_MS 10000u

/* Messages that may wait for one peer. The credit of the steps in flight keeps results and logits
 * below it, so that a full queue means a peer that has stopped reading. */
#define BN_CHANNEL_QUEUE_MAX ((int)(BN_STEPS_IN_FLIGHT_MAX * (BN_STEP_WANTED_MAX + 1u) + 256u))

struct bn_channel {
    void *context, *socket, *monitor;
    bool is_listening, has_authenticator, has_tcp;
    bn_cluster_key key;
    pthread_t authenticator;
    void *authenticator_socket;
    uint8_t admitted_key[BN_CHANNEL_KEY_BYTES];
    bn_wire *wire;
    uint8_t *packed; /* BN_ENVELOPE_MAX */
    uint8_t *raw;    /* BN_RAW_FRAME_MAX, touched only when raw frames come */
    bn_channel_state state;
    uint64_t losses, malformed;
    uint64_t log_window_ms;
    uint32_t log_lines;
    bn_probe probe;
    char connect_url[BN_URL_MAX];
    char url[BN_URL_MAX];
    char trouble[BN_TEXT_MAX];
    char local_address[BN_HOST_MAX];
};

static bn_status status_from_zmq(int cause)
{
    switch (cause) {
    case ENOMEM: return BN_ERR_NO_MEMORY;
    case EAGAIN: return BN_ERR_LIMIT;
    case EHOSTUNREACH: return BN_ERR_PEER_LOST;
    default: return BN_ERR_IO;
    }
}

static bn_status fail_zmq(const char *what)
{
    int cause = zmq_errno();
    return bn_fail(status_from_zmq(cause), "CHANNEL-ZMQ", "%s: %s", what, zmq_strerror(cause));
}

/* ---- keys -------------------------------------------------------------------------------- */

bn_status bn_channel_make_key_pair(bn_cluster_key *key_out)
{
    key_out->is_set = true;
    if (zmq_curve_keypair(key_out->public_key, key_out->secret_key) == 0) return BN_OK;
    return bn_fail(BN_ERR_UNSUPPORTED, "KEY-MAKE",
                   "this build of ZeroMQ has no encryption (CURVE needs libsodium)");
}

bool bn_channel_is_key_pair(const bn_cluster_key *key)
{
    char public_key[BN_CLUSTER_KEY_CHARS + 1];
    return zmq_curve_public(public_key, key->secret_key) == 0 &&
           strcmp(public_key, key->public_key) == 0;
}

/* ---- authenticator ----------------------------------------------------------------------- */

static bool reply_part(void *socket, const void *bytes, size_t n, bool is_last)
{
    return zmq_send(socket, bytes, n, is_last ? 0 : ZMQ_SNDMORE) >= 0;
}

/* Without a verdict from here every client that knows the server's public key would be let in. */
static bool judge(const bn_channel *channel, zmq_msg_t *parts, int n_parts)
{
    if (n_parts != BN_CHANNEL_ZAP_PARTS) return false;
    zmq_msg_t *mechanism = &parts[5], *key = &parts[6];
    return zmq_msg_size(mechanism) == 5 && memcmp(zmq_msg_data(mechanism), "CURVE", 5) == 0 &&
           zmq_msg_size(key) == BN_CHANNEL_KEY_BYTES &&
           bn_hash_secret_equal(zmq_msg_data(key), channel->admitted_key, BN_CHANNEL_KEY_BYTES);
}

/* One request and its reply (RFC 27); false when the context is going. */
static bool authenticate(const bn_channel *channel)
{
    void *socket = channel->authenticator_socket;
    zmq_msg_t parts[BN_CHANNEL_ZAP_PARTS], extra;
    int n_parts = 0;
    bool is_alive = true, has_more = true;
    while (is_alive && has_more) {
        zmq_msg_t *part = n_parts < BN_CHANNEL_ZAP_PARTS ? &parts[n_parts] : &extra;
        zmq_msg_init(part);
        is_alive = zmq_msg_recv(part, socket, 0) >= 0;
        has_more = is_alive && zmq_msg_more(part) != 0;
        if (part == &extra) {
            zmq_msg_close(part);
        } else {
            n_parts++;
        }
    }
    if (is_alive) {
        bool is_admitted = judge(channel, parts, n_parts);
        const char *code = is_admitted ? "200" : "400", *text = is_admitted ? "OK" : "not our key";
        bool has_id = n_parts > 1;
        is_alive = reply_part(socket, "1.0", 3, false) &&
                   reply_part(socket, has_id ? zmq_msg_data(&parts[1]) : "",
                              has_id ? zmq_msg_size(&parts[1]) : 0, false) &&
                   reply_part(socket, code, 3, false) &&
                   reply_part(socket, text, strlen(text), false) &&
                   reply_part(socket, "", 0, false) && reply_part(socket, "", 0, true);
    }
    for (int i = 0; i < n_parts; i++)
        zmq_msg_close(&parts[i]);
    return is_alive;
}

static void *authenticator_run(void *argument)
{
    bn_channel *channel = argument;
    while (authenticate(channel)) {
    }
    zmq_close(channel->authenticator_socket);
    return NULL;
}

static bn_status authenticator_begin(bn_channel *channel)
{
    sigset_t all, before;
    if (zmq_z85_decode(channel->admitted_key, channel->key.public_key) == NULL) {
        return bn_fail(BN_ERR_BAD_ARGUMENT, "KEY-FILE", "the cluster key is malformed");
    }
    channel->authenticator_socket = zmq_socket(channel->context, ZMQ_REP);
    if (channel->authenticator_socket == NULL) return fail_zmq("authenticator");
    if (zmq_bind(channel->authenticator_socket, BN_CHANNEL_ZAP_URL) != 0) {
        bn_status status = fail_zmq("authenticator");
        zmq_close(channel->authenticator_socket);
        return status;
    }
    sigfillset(&all); /* signals are the program's business, not this thread's */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int cause = pthread_create(&channel->authenticator, NULL, authenticator_run, channel);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (cause != 0) {
        zmq_close(channel->authenticator_socket);
        return bn_fail(BN_ERR_NO_MEMORY, "CHANNEL-THREAD", "no thread: %s", strerror(cause));
    }
    channel->has_authenticator = true;
    return BN_OK;
}

/* ---- creation ---------------------------------------------------------------------------- */

static bn_status set_int(void *socket, int option, int value)
{
    if (zmq_setsockopt(socket, option, &value, sizeof value) == 0) return BN_OK;
    return fail_zmq("socket option");
}

static bn_status set_text(void *socket, int option, const char *text)
{
    if (zmq_setsockopt(socket, option, text, strlen(text)) == 0) return BN_OK;
    return fail_zmq("socket option");
}

static bn_status set_options(const bn_channel *channel)
{
    const struct {
        int option, value;
    } common[] = {
        {ZMQ_LINGER, BN_CHANNEL_LINGER_MS}, {ZMQ_SNDHWM, BN_CHANNEL_QUEUE_MAX},
        {ZMQ_RCVHWM, BN_CHANNEL_QUEUE_MAX}, {ZMQ_HEARTBEAT_IVL, 500},
        {ZMQ_HEARTBEAT_TIMEOUT, 1500},      {ZMQ_HANDSHAKE_IVL, 3000},
        {ZMQ_RECONNECT_IVL, 100},           {ZMQ_RECONNECT_IVL_MAX, 2000},
        {ZMQ_CONNECT_TIMEOUT, 2000},
    };
    void *socket = channel->socket;
    int64_t message_max = BN_RAW_FRAME_MAX;
    for (size_t i = 0; i < sizeof common / sizeof common[0]; i++) {
        BN_TRY(set_int(socket, common[i].option, common[i].value));
    }
    if (zmq_setsockopt(socket, ZMQ_MAXMSGSIZE, &message_max, sizeof message_max) != 0) {
        return fail_zmq("socket option");
    }
    if (!channel->key.is_set) return BN_OK;
    BN_TRY(set_text(socket, ZMQ_CURVE_SECRETKEY, channel->key.secret_key));
    if (channel->is_listening) {
        BN_TRY(set_int(socket, ZMQ_CURVE_SERVER, 1));
        return set_text(socket, ZMQ_ZAP_DOMAIN, BN_CHANNEL_ZAP_DOMAIN);
    }
    BN_TRY(set_text(socket, ZMQ_CURVE_PUBLICKEY, channel->key.public_key));
    return set_text(socket, ZMQ_CURVE_SERVERKEY, channel->key.public_key);
}

static bn_status open_monitor(bn_channel *channel)
{
    int events = ZMQ_EVENT_CONNECTED | ZMQ_EVENT_CONNECT_RETRIED | ZMQ_EVENT_DISCONNECTED |
                 ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL |
                 ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH;
    if (zmq_socket_monitor(channel->socket, BN_CHANNEL_MONITOR_URL, events) != 0) {
        return fail_zmq("monitor");
    }
    channel->monitor = zmq_socket(channel->context, ZMQ_PAIR);
    if (channel->monitor == NULL || zmq_connect(channel->monitor, BN_CHANNEL_MONITOR_URL) != 0) {
        return fail_zmq("monitor");
    }
    return set_int(channel->monitor, ZMQ_LINGER, 0);
}

static bn_status open_sockets(bn_channel *channel)
{
    channel->context = zmq_ctx_new();
    if (channel->context == NULL) return fail_zmq("context");
    if (channel->key.is_set) {
        zmq_ctx_set(channel->context, ZMQ_IO_THREADS, 2); /* encryption takes one */
        BN_TRY(authenticator_begin(channel));
    }
    channel->socket = zmq_socket(channel->context, channel->is_listening ? ZMQ_ROUTER : ZMQ_DEALER);
    if (channel->socket == NULL) return fail_zmq("socket");
    BN_TRY(set_options(channel));
    BN_TRY(
        set_int(channel->socket, channel->is_listening ? ZMQ_ROUTER_MANDATORY : ZMQ_IMMEDIATE, 1));
    return open_monitor(channel);
}

static bn_status channel_create(bool is_listening, const bn_cluster_key *key,
                                bn_channel **channel_out)
{
    bn_channel *channel = bn_alloc(1, sizeof *channel);
    if (channel == NULL) goto err_memory;
    channel->is_listening = is_listening;
    channel->probe.fd = -1;
    if (key != NULL && key->is_set) channel->key = *key;
    channel->packed = bn_alloc(BN_ENVELOPE_MAX, 1);
    channel->raw = bn_alloc(BN_RAW_FRAME_MAX, 1);
    if (channel->packed == NULL || channel->raw == NULL) goto err_memory;
    bn_status status = bn_wire_create(&channel->wire);
    if (status == BN_OK) status = open_sockets(channel);
    if (status != BN_OK) {
        bn_channel_destroy(channel);
        return status;
    }
    *channel_out = channel;
    return BN_OK;

err_memory:
    bn_channel_destroy(channel);
    return bn_fail(BN_ERR_NO_MEMORY, "CHANNEL-MEMORY", "no memory for a channel");
}

void bn_channel_destroy(bn_channel *channel)
{
    if (channel == NULL) return;
    bn_probe_end(&channel->probe);
    if (channel->monitor != NULL) zmq_close(channel->monitor);
    if (channel->socket != NULL) zmq_close(channel->socket);
    if (channel->context != NULL) {
        zmq_ctx_shutdown(channel->context); /* the authenticator returns */
        if (channel->has_authenticator) pthread_join(channel->authenticator, NULL);
        while (zmq_ctx_term(channel->context) != 0 && zmq_errno() == EINTR) {
        }
    }
    bn_wire_destroy(channel->wire);
    bn_free(channel->packed);
    bn_free(channel->raw);
    explicit_bzero(&channel->key, sizeof channel->key);
    bn_free(channel);
}

/* Names resolve to IPv4 unless they have IPv6 addresses only (which a probe finds out): the other
 * side may listen on an IPv4 address, and ZeroMQ tries only the first address of a name. */
static bool wants_ipv6(const char *host)
{
    return bn_address_is_ipv6(host) || strcmp(host, "*") == 0;
}

/* The address as ZeroMQ is given it: it would take "localhost" for an interface or for ::1. */
static bn_status real_url(const char *url, bn_address *address_out, char *url_out, size_t n)
{
    if (bn_address_parse(url, address_out) != BN_OK) {
        return bn_fail(BN_ERR_BAD_ARGUMENT, "CHANNEL-URL",
                       "'%s' is not an address like tcp://127.0.0.1:7070", url);
    }
    if (strcmp(address_out->host, "localhost") == 0) memcpy(address_out->host, "127.0.0.1", 10);
    if (bn_address_print(address_out, url_out, n)) return BN_OK;
    return bn_fail(BN_ERR_BAD_ARGUMENT, "CHANNEL-URL", "address '%s' is too long", url);
}

static bn_status bind_channel(bn_channel *channel, const bn_address *address, const char *url)
{
    BN_TRY(set_int(channel->socket, ZMQ_IPV6, wants_ipv6(address->host)));
    if (zmq_bind(channel->socket, url) != 0) {
        int cause = zmq_errno();
        if (cause == EADDRINUSE) {
            return bn_fail(BN_ERR_IO, "CHANNEL-LISTEN",
                           "cannot listen on %s: the port is in use, perhaps by another "
                           "coordinator; stop it or choose another port",
                           url);
        }
        return bn_fail(BN_ERR_IO, "CHANNEL-LISTEN", "cannot listen on %s: %s", url,
                       zmq_strerror(cause));
    }
    size_t n = sizeof channel->url;
    if (zmq_getsockopt(channel->socket, ZMQ_LAST_ENDPOINT, channel->url, &n) == 0) return BN_OK;
    return fail_zmq("last endpoint");
}

bn_status bn_channel_listen(const char *url, const bn_cluster_key *key, bool is_insecure,
                            bn_channel **channel_out)
{
    bn_address address;
    bn_channel *channel;
    char bind_url[BN_URL_MAX];
    BN_TRY(real_url(url, &address, bind_url, sizeof bind_url));
    bool is_exposed = !bn_address_is_loopback(address.host) && (key == NULL || !key->is_set);
    if (is_exposed && !is_insecure) {
        return bn_fail(BN_ERR_REFUSED, "CHANNEL-EXPOSED",
                       "%s can be reached from other machines: give --cluster-key FILE (make one "
                       "with: bitnet-coordinator keygen FILE), or --insecure",
                       url);
    }
    BN_TRY(channel_create(true, key, &channel));
    bn_status status = bind_channel(channel, &address, bind_url);
    if (status != BN_OK) {
        bn_channel_destroy(channel);
        return status;
    }
    if (is_exposed) {
        bn_log_warn("CHANNEL-INSECURE",
                    "%s is open to other machines without a key: anyone who reaches it can read "
                    "and steer this cluster",
                    channel->url);
    }
    *channel_out = channel;
    return BN_OK;
}

bn_status bn_channel_connect(const char *url, const bn_cluster_key *key, bn_channel **channel_out)
{
    bn_address address;
    bn_channel *channel;
    char connect_url[BN_URL_MAX];
    BN_TRY(real_url(url, &address, connect_url, sizeof connect_url));
    if (strcmp(address.host, "*") == 0 || strcmp(address.port, "0") == 0) {
        return bn_fail(BN_ERR_BAD_ARGUMENT, "CHANNEL-URL",
                       "'%s' names no host and port to connect to", url);
    }
    BN_TRY(channel_create(false, key, &channel));
    bn_probe_init(&channel->probe, &address);
    snprintf(channel->url, sizeof channel->url, "%s", url);
    memcpy(channel->connect_url, connect_url, sizeof connect_url);
    bn_status status = set_int(channel->socket, ZMQ_IPV6, wants_ipv6(address.host));
    if (status == BN_OK && zmq_connect(channel->socket, connect_url) != 0) {
        status = bn_fail(BN_ERR_BAD_ARGUMENT, "CHANNEL-URL", "cannot connect to %s: %s", url,
                         zmq_strerror(zmq_errno()));
    }
    if (status != BN_OK) {
        bn_channel_destroy(channel);
        return status;
    }
    *channel_out = channel;
    return BN_OK;
}

const char *bn_channel_url(const bn_channel *channel)
{
    return channel->url;
}

void *bn_channel_context(bn_channel *channel)
{
    return channel->context;
}

uint64_t bn_channel_malformed(const bn_channel *channel)
{
    return channel->malformed;
}

/* ---- connection events ------------------------------------------------------------------- */

static void set_trouble(bn_channel *channel, const char *text)
{
    snprintf(channel->trouble, sizeof channel->trouble, "%s", text);
}

/* Anyone may send garbage; the log must not grow as fast as it comes. */
static void count_malformed(bn_channel *channel, const char *what, const char *cause)
{
    uint64_t now = bn_clock_ms();
    channel->malformed++;
    if (channel->log_lines == 0 || now - channel->log_window_ms >= BN_CHANNEL_LOG_WINDOW_MS) {
        channel->log_window_ms = now;
        channel->log_lines = 0;
    }
    if (channel->log_lines++ >= BN_CHANNEL_LOG_LINES) return;
    bn_log_warn("CHANNEL-MALFORMED", "%s: %s: %s (%llu so far)", channel->url, what, cause,
                (unsigned long long)channel->malformed);
}

static void note_local_address(bn_channel *channel, int fd)
{
    struct sockaddr_storage address;
    socklen_t n = sizeof address;
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&address;
    channel->local_address[0] = '\0';
    if (getsockname(fd, (struct sockaddr *)&address, &n) != 0) return;
    if (address.ss_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr)) {
        struct sockaddr_in v4 = {.sin_family = AF_INET};
        memcpy(&v4.sin_addr, v6->sin6_addr.s6_addr + 12, 4);
        memcpy(&address, &v4, sizeof v4);
        n = sizeof v4;
    }
    if (getnameinfo((struct sockaddr *)&address, n, channel->local_address,
                    sizeof channel->local_address, NULL, 0, NI_NUMERICHOST) != 0) {
        channel->local_address[0] = '\0';
    }
}

static const char *handshake_trouble(const bn_channel *channel, uint16_t event, uint32_t value)
{
    if (event == ZMQ_EVENT_HANDSHAKE_FAILED_AUTH) return "the cluster key is not accepted";
    if (event == ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL) {
        if (value == ZMQ_PROTOCOL_ERROR_ZMTP_CRYPTOGRAPHIC) {
            return "the cluster key is not accepted";
        }
        if (value == ZMQ_PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH) {
            return channel->key.is_set ? "the cluster key is not accepted (it uses none)"
                                       : "the cluster key is not accepted (it asks for one: "
                                         "--cluster-key FILE)";
        }
        return "not a coordinator (handshake failed)";
    }
    return channel->key.is_set ? "the cluster key is not accepted, or not a coordinator "
                                 "(handshake failed)"
                               : "not a coordinator (handshake failed)";
}

static void on_handshake_failure(bn_channel *channel, uint16_t event, uint32_t value)
{
    if (!channel->is_listening) {
        bool is_vague = event == ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL;
        if (!is_vague || channel->trouble[0] == '\0') {
            set_trouble(channel, handshake_trouble(channel, event, value));
        }
        return;
    }
    /* Without detail it is a peer that left while shaking hands: a port scan, a probe. */
    if (event == ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL) return;
    count_malformed(channel, "refused a peer",
                    event == ZMQ_EVENT_HANDSHAKE_FAILED_AUTH
                        ? "it has another cluster key"
                        : "handshake failed (another cluster key, or no worker)");
}

static void on_disconnect(bn_channel *channel)
{
    if (channel->is_listening) return;
    if (channel->state == BN_CHANNEL_CONNECTED) {
        channel->state = BN_CHANNEL_LOST;
        channel->losses++;
        set_trouble(channel, "the connection was lost");
    } else if (channel->trouble[0] == '\0') {
        set_trouble(channel, handshake_trouble(channel, ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL, 0));
    }
}

static void on_event(bn_channel *channel, uint16_t event, uint32_t value)
{
    switch (event) {
    case ZMQ_EVENT_CONNECTED:
        channel->has_tcp = true;
        note_local_address(channel, (int)value);
        break;
    case ZMQ_EVENT_HANDSHAKE_SUCCEEDED:
        if (channel->is_listening) break;
        channel->state = BN_CHANNEL_CONNECTED;
        channel->trouble[0] = '\0';
        break;
    case ZMQ_EVENT_CONNECT_RETRIED: /* also announced after a connection that ended */
        if (!channel->has_tcp) bn_probe_begin(&channel->probe);
        channel->has_tcp = false;
        break;
    case ZMQ_EVENT_DISCONNECTED: on_disconnect(channel); break;
    default: on_handshake_failure(channel, event, value); break;
    }
}

static void check_probe(bn_channel *channel)
{
    const char *cause = bn_probe_result(&channel->probe);
    if (cause == NULL || channel->state == BN_CHANNEL_CONNECTED) return;
    if (cause[0] != '\0') set_trouble(channel, cause);
    if (channel->probe.is_ipv6_only && !wants_ipv6(channel->probe.address.host)) {
        int is_on = 1;
        zmq_disconnect(channel->socket, channel->connect_url);
        zmq_setsockopt(channel->socket, ZMQ_IPV6, &is_on, sizeof is_on);
        zmq_connect(channel->socket, channel->connect_url);
        channel->probe.is_ipv6_only = false;
    }
}

/* Takes what the monitor has to tell; an event is two frames: numbers, and the address. */
static void drain_events(bn_channel *channel)
{
    for (int i = 0; i < BN_CHANNEL_EVENTS_MAX; i++) {
        uint8_t frame[6], address[BN_URL_MAX];
        uint16_t event;
        uint32_t value;
        int n = zmq_recv(channel->monitor, frame, sizeof frame, ZMQ_DONTWAIT);
        if (n != (int)sizeof frame) break;
        zmq_recv(channel->monitor, address, sizeof address, ZMQ_DONTWAIT);
        memcpy(&event, frame, sizeof event);
        memcpy(&value, frame + 2, sizeof value);
        on_event(channel, event, value);
    }
    if (!channel->is_listening) check_probe(channel);
}

bn_channel_state bn_channel_state_now(bn_channel *channel)
{
    drain_events(channel);
    return channel->state;
}

const char *bn_channel_trouble(bn_channel *channel)
{
    drain_events(channel);
    return channel->trouble;
}

uint64_t bn_channel_losses(bn_channel *channel)
{
    drain_events(channel);
    return channel->losses;
}

bn_status bn_channel_local_address(bn_channel *channel, char *text_out, size_t n)
{
    drain_events(channel);
    if (channel->state != BN_CHANNEL_CONNECTED || channel->local_address[0] == '\0') {
        return BN_ERR_PEER_LOST;
    }
    int length = snprintf(text_out, n, "%s", channel->local_address);
    return length >= 0 && (size_t)length < n ? BN_OK : BN_ERR_LIMIT;
}

/* ---- messages ---------------------------------------------------------------------------- */

static bn_status send_part(bn_channel *channel, const void *bytes, size_t n, bool is_last)
{
    int flags = ZMQ_DONTWAIT | (is_last ? 0 : ZMQ_SNDMORE);
    int n_sent;
    do {
        n_sent = zmq_send(channel->socket, bytes, n, flags);
    } while (n_sent < 0 && zmq_errno() == EINTR);
    if (n_sent >= 0) return BN_OK;
    bn_status status = status_from_zmq(zmq_errno());
    if (status != BN_ERR_LIMIT || channel->is_listening) return status;
    /* A DEALER has no queue at all while it is not connected. */
    return bn_channel_state_now(channel) == BN_CHANNEL_CONNECTED ? BN_ERR_LIMIT : BN_ERR_PEER_LOST;
}

bn_status bn_channel_send(bn_channel *channel, const bn_peer *peer, const bn_message *message,
                          const void *raw, size_t n_raw)
{
    size_t n;
    BN_ASSERT((peer != NULL) == channel->is_listening);
    BN_ASSERT(n_raw <= BN_RAW_FRAME_MAX);
    BN_TRY(bn_wire_pack(channel->wire, message, channel->packed, &n));
    if (peer != NULL) BN_TRY(send_part(channel, peer->id, peer->n, false));
    BN_TRY(send_part(channel, channel->packed, n, raw == NULL));
    return raw == NULL ? BN_OK : send_part(channel, raw, n_raw, true);
}

typedef struct parcel {
    zmq_msg_t parts[3]; /* peer (listening only), envelope, raw */
    int n_parts;        /* that came, also those that were too many */
} parcel;

static bn_status receive_parcel(bn_channel *channel, parcel *box)
{
    int has_more = 1, limit = channel->is_listening ? 3 : 2;
    while (has_more) {
        zmq_msg_t extra, *part = box->n_parts < limit ? &box->parts[box->n_parts] : &extra;
        zmq_msg_init(part);
        int n = zmq_msg_recv(part, channel->socket, ZMQ_DONTWAIT);
        int cause = n < 0 ? zmq_errno() : 0;
        has_more = n >= 0 && zmq_msg_more(part);
        if (part == &extra || n < 0) zmq_msg_close(part);
        if (cause == EINTR) {
            has_more = 1;
            continue;
        }
        if (cause == EAGAIN) return BN_ERR_TIMED_OUT;
        if (cause != 0) return fail_zmq("receive");
        box->n_parts++;
    }
    return BN_OK;
}

/* NULL, or why the parcel is no message. */
static const char *open_parcel(bn_channel *channel, parcel *box, bn_peer *peer, bn_message *message,
                               size_t *n_raw)
{
    int first = channel->is_listening ? 1 : 0, n_parts = box->n_parts - first;
    if (n_parts < 1 || n_parts > 2) return "wrong number of frames";
    zmq_msg_t *envelope = &box->parts[first];
    if (channel->is_listening) {
        size_t n = zmq_msg_size(&box->parts[0]);
        if (n == 0 || n > BN_PEER_ID_MAX) return "unexpected identity";
        memcpy(peer->id, zmq_msg_data(&box->parts[0]), n);
        peer->n = (uint32_t)n;
    }
    if (n_parts == 2) {
        zmq_msg_t *raw = &box->parts[first + 1];
        if (zmq_msg_size(raw) > BN_RAW_FRAME_MAX) return "raw frame too large";
        *n_raw = zmq_msg_size(raw); /* copied: the library's buffers are not aligned for floats */
        memcpy(channel->raw, zmq_msg_data(raw), *n_raw);
    }
    bn_status status = bn_wire_unpack_quietly(channel->wire, zmq_msg_data(envelope),
                                              zmq_msg_size(envelope), message);
    return status == BN_OK ? NULL : bn_wire_trouble(channel->wire);
}

/* Whoever connected wants to know what is wrong with the other side: another version, mostly. */
static void note_not_understood(bn_channel *channel, const char *cause)
{
    if (channel->is_listening) return;
    snprintf(channel->trouble, sizeof channel->trouble, "connected, but not understood: %.400s",
             cause);
}

/* One attempt: BN_ERR_TIMED_OUT when there is nothing, BN_ERR_BAD_MESSAGE when one was skipped. */
static bn_status receive_now(bn_channel *channel, bn_peer *peer, bn_message *message, size_t *n_raw,
                             bool *has_raw)
{
    parcel box = {.n_parts = 0};
    int first = channel->is_listening ? 1 : 0;
    bn_status status = receive_parcel(channel, &box);
    if (status == BN_OK) {
        const char *cause = open_parcel(channel, &box, peer, message, n_raw);
        *has_raw = box.n_parts - first == 2;
        if (cause != NULL) {
            count_malformed(channel, "skipped a message", cause);
            note_not_understood(channel, cause);
            status = BN_ERR_BAD_MESSAGE;
        }
    }
    int n_kept = box.n_parts < first + 2 ? box.n_parts : first + 2;
    for (int i = 0; i < n_kept; i++)
        zmq_msg_close(&box.parts[i]);
    return status;
}

bn_status bn_channel_receive(bn_channel *channel, uint32_t timeout_ms, bn_peer *peer_out,
                             bn_message *message_out, const void **raw_out, size_t *n_raw_out)
{
    uint64_t deadline = bn_clock_ms() + timeout_ms;
    bn_peer unused, *peer = peer_out == NULL ? &unused : peer_out;
    BN_ASSERT(peer_out != NULL || !channel->is_listening);
    for (;;) {
        size_t n_raw = 0;
        bool has_raw = false;
        bn_status status = receive_now(channel, peer, message_out, &n_raw, &has_raw);
        if (status == BN_OK) {
            if (raw_out != NULL) *raw_out = has_raw ? channel->raw : NULL;
            if (n_raw_out != NULL) *n_raw_out = n_raw;
            return BN_OK;
        }
        if (status != BN_ERR_TIMED_OUT && status != BN_ERR_BAD_MESSAGE) return status;
        drain_events(channel);
        uint64_t now = bn_clock_ms();
        if (now >= deadline) return BN_ERR_TIMED_OUT;
        uint32_t ready;
        if (status == BN_ERR_TIMED_OUT) {
            BN_TRY(bn_channel_wait(channel, NULL, 0, (uint32_t)(deadline - now), &ready));
        }
    }
}

bn_status bn_channel_wait(bn_channel *channel, const int *fds, uint32_t n_fds, uint32_t timeout_ms,
                          uint32_t *ready_out)
{
    zmq_pollitem_t items[2 + BN_CHANNEL_FDS_MAX] = {
        {.socket = channel->socket, .events = ZMQ_POLLIN},
        {.socket = channel->monitor, .events = ZMQ_POLLIN},
    };
    BN_ASSERT(n_fds <= BN_CHANNEL_FDS_MAX);
    for (uint32_t i = 0; i < n_fds; i++) {
        items[2 + i] = (zmq_pollitem_t){.fd = fds[i], .events = ZMQ_POLLIN};
    }
    *ready_out = 0;
    int n_ready = zmq_poll(items, (int)(2 + n_fds), (long)timeout_ms);
    if (n_ready < 0 && zmq_errno() != EINTR) return fail_zmq("wait");
    if (n_ready <= 0) return BN_OK; /* a signal handler ran: let the caller look at its flags */
    for (uint32_t i = 0; i < n_fds; i++) {
        if (items[2 + i].revents != 0) *ready_out |= 1u << i;
    }
    if (items[1].revents != 0) drain_events(channel);
    return BN_OK;
}
