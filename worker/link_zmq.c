/* link_zmq.c — activations over ZeroMQ: a ROUTER towards the previous stage, a DEALER to the next.
 *
 * A ROUTER, because it tells who sent a frame and lets a probe be answered to its sender alone;
 * strangers that connect to the port get nothing and change nothing. The neighbour is the peer
 * whose probe carried this epoch's secret; from it everything must be right, from others
 * everything is dropped. ZeroMQ reconnects but does not redeliver, so a lost connection is a lost
 * link: the epoch ends and the coordinator decides.
 *
 * Small frames are copied. Activations are lent to the library's own thread, which says through
 * frame_sent that it is done with them; that callback is the only code here on another thread.
 */
#include "worker/link_frame.h"

#include "common/alloc.h"
#include "common/clock.h"
#include "common/log.h"
#include "proto/address.h"
#include "proto/channel.h"

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <zmq.h>

#define BN_LINK_COPY_MAX 16384u  /* below it a copy costs less than a callback */
#define BN_LINK_PROBE_MS 300u    /* a probe is repeated while unanswered */
#define BN_LINK_DESTROY_MS 5000u /* for the library to give lent buffers back */
#define BN_LINK_EVENTS_MAX 64
#define BN_LINK_PARTS_MAX 3
#define BN_LINK_PEER_MAX 16u

typedef struct outgoing {
    bn_link *link;
    bn_link_frame *frame; /* NULL: this place is free */
    atomic_bool is_done;
} outgoing;

struct bn_link {
    bn_link_ends ends;
    bool has_previous, has_next;
    void *context, *in, *in_monitor, *out, *out_monitor;
    int done_fd;       /* an eventfd, rung when a lent buffer comes back */
    bn_status failure; /* BN_OK, or what every later call returns */
    uint32_t frames_max, n_in;
    bn_link_frame **in_frames; /* lent for receiving, oldest first */
    outgoing *out_frames;      /* in the order of sending, a ring */
    uint32_t out_begin, n_out;
    uint32_t n_queued; /* the newest of n_out, which the library's full queue did not take yet */
    uint64_t n_lent;   /* buffers lent to the library, ever */
    atomic_uint_fast64_t n_returned;
    uint8_t peer[BN_LINK_PEER_MAX];
    size_t n_peer; /* 0: the previous stage has not joined */
    int peer_fd;
    bool is_connected, is_answered;
    const char *trouble; /* why the next stage is not connected */
    char url[BN_URL_MAX];
    bn_status (*on_joining)(void *context);
    void *joining_context;
};

/* ---- creation ---------------------------------------------------------------------------- */

static bn_status fail_zmq(const bn_link *link, const char *what)
{
    int cause = zmq_errno();
    return bn_fail(BN_ERR_IO, "LINK-ZMQ", "link of %s: %s: %s", link->ends.own, what,
                   zmq_strerror(cause));
}

static bn_status set_int(const bn_link *link, void *socket, int option, int value)
{
    if (zmq_setsockopt(socket, option, &value, sizeof value) == 0) return BN_OK;
    return fail_zmq(link, "socket option");
}

static bn_status set_key(const bn_link *link, void *socket, const bn_cluster_key *key)
{
    int is_server = socket == link->in;
    if (key == NULL || !key->is_set) return BN_OK;
    size_t n = BN_CLUSTER_KEY_CHARS + 1;
    int failed = zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, key->secret_key, n);
    if (is_server) {
        failed |= zmq_setsockopt(socket, ZMQ_CURVE_SERVER, &is_server, sizeof is_server);
        failed |= zmq_setsockopt(socket, ZMQ_ZAP_DOMAIN, "bitnet", 6);
    } else {
        failed |= zmq_setsockopt(socket, ZMQ_CURVE_PUBLICKEY, key->public_key, n);
        failed |= zmq_setsockopt(socket, ZMQ_CURVE_SERVERKEY, key->public_key, n);
    }
    return failed == 0 ? BN_OK : fail_zmq(link, "cluster key");
}

static bn_status set_options(const bn_link *link, void *socket, const bn_link_config *config)
{
    int queue_max = 2 * (int)config->frames_max + 8; /* more than credit allows: nothing drops */
    const struct {
        int option, value;
    } options[] = {
        {ZMQ_LINGER, 0},
        {ZMQ_SNDHWM, queue_max},
        {ZMQ_RCVHWM, queue_max},
        /* Slower than the control plane's, which notices a silent worker first: a pong waits for
         * the frame that is on its way, and a large one takes seconds on a slow network. */
        {ZMQ_HEARTBEAT_IVL, 1000},
        {ZMQ_HEARTBEAT_TIMEOUT, 10000},
        {ZMQ_HANDSHAKE_IVL, 3000},
        {ZMQ_RECONNECT_IVL, 100},
        {ZMQ_CONNECT_TIMEOUT, 2000},
        {socket == link->in ? ZMQ_ROUTER_MANDATORY : ZMQ_IMMEDIATE, 1},
    };
    size_t head_max = BN_LINK_HEADER_BYTES + BN_ENVELOPE_MAX;
    int64_t message_max =
        (int64_t)(config->activation_capacity > head_max ? config->activation_capacity : head_max);
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
        BN_TRY(set_int(link, socket, options[i].option, options[i].value));
    }
    if (zmq_setsockopt(socket, ZMQ_MAXMSGSIZE, &message_max, sizeof message_max) != 0) {
        return fail_zmq(link, "message size");
    }
    return set_key(link, socket, config->cluster_key);
}

static bn_status open_monitor(bn_link *link, void *socket, const char *side, void **monitor_out)
{
    char url[96];
    int events = ZMQ_EVENT_DISCONNECTED | ZMQ_EVENT_HANDSHAKE_SUCCEEDED |
                 ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL | ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL |
                 ZMQ_EVENT_HANDSHAKE_FAILED_AUTH | ZMQ_EVENT_CONNECT_RETRIED;
    /* The context outlives links: a name that was never used before. */
    snprintf(url, sizeof url, "inproc://bn-link-%s-%p-%llx", side, (void *)link,
             (unsigned long long)bn_clock_ns());
    if (zmq_socket_monitor(socket, url, events) != 0) return fail_zmq(link, "monitor");
    *monitor_out = zmq_socket(link->context, ZMQ_PAIR);
    if (*monitor_out == NULL || zmq_connect(*monitor_out, url) != 0) {
        return fail_zmq(link, "monitor");
    }
    return set_int(link, *monitor_out, ZMQ_LINGER, 0);
}

static bn_status bind_in(bn_link *link, const bn_link_config *config)
{
    bn_address address = {.port = "0"};
    char url[BN_URL_MAX];
    size_t n = sizeof link->url;
    uint32_t port = config->port_min;
    BN_ASSERT(config->local_address != NULL);
    snprintf(address.host, sizeof address.host, "%s", config->local_address);
    BN_TRY(set_int(link, link->in, ZMQ_IPV6, bn_address_is_ipv6(address.host)));
    do {
        snprintf(address.port, sizeof address.port, "%u", port & 0xffffu);
        int cause = EINVAL;
        if (bn_address_print(&address, url, sizeof url)) {
            cause = zmq_bind(link->in, url) == 0 ? 0 : zmq_errno();
        }
        if (cause == 0) break;
        if (cause != EADDRINUSE || port >= config->port_max) {
            return bn_fail(BN_ERR_IO, "LINK-LISTEN",
                           "link of %s: cannot listen on %s, ports %u to %u: %s", link->ends.own,
                           address.host, config->port_min, config->port_max, zmq_strerror(cause));
        }
    } while (++port <= config->port_max);
    if (zmq_getsockopt(link->in, ZMQ_LAST_ENDPOINT, link->url, &n) == 0) return BN_OK;
    return fail_zmq(link, "last endpoint");
}

static bn_status open_sockets(bn_link *link, const bn_link_config *config)
{
    link->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (link->done_fd < 0) {
        return bn_fail(BN_ERR_IO, "LINK-ZMQ", "no event descriptor: %s", strerror(errno));
    }
    if (config->has_previous) {
        link->in = zmq_socket(link->context, ZMQ_ROUTER);
        if (link->in == NULL) return fail_zmq(link, "socket");
        BN_TRY(set_options(link, link->in, config));
        BN_TRY(open_monitor(link, link->in, "in", &link->in_monitor));
        BN_TRY(bind_in(link, config));
    }
    if (config->has_next) {
        link->out = zmq_socket(link->context, ZMQ_DEALER);
        if (link->out == NULL) return fail_zmq(link, "socket");
        BN_TRY(set_options(link, link->out, config));
        BN_TRY(open_monitor(link, link->out, "out", &link->out_monitor));
    }
    return BN_OK;
}

static void close_socket(void *socket)
{
    if (socket == NULL) return;
    zmq_socket_monitor(socket, NULL, 0);
    zmq_close(socket);
}

static bool is_all_returned(bn_link *link)
{
    return atomic_load_explicit(&link->n_returned, memory_order_acquire) == link->n_lent;
}

static void destroy_zmq(bn_link *link)
{
    if (link == NULL) return;
    uint64_t deadline = bn_clock_ms() + BN_LINK_DESTROY_MS;
    close_socket(link->in);
    close_socket(link->out);
    if (link->in_monitor != NULL) zmq_close(link->in_monitor);
    if (link->out_monitor != NULL) zmq_close(link->out_monitor);
    /* The library's thread may still read a frame; afterwards the worker may free it. */
    while (!is_all_returned(link) && bn_clock_ms() < deadline)
        bn_clock_sleep_ns(200000);
    BN_ASSERT(is_all_returned(link));
    if (link->done_fd >= 0) close(link->done_fd);
    bn_free(link->in_frames);
    bn_free(link->out_frames);
    bn_free(link);
}

static bn_status create_zmq(const bn_link_config *config, bn_link **link_out)
{
    BN_ASSERT(config->zmq_context != NULL);
    BN_ASSERT(config->frames_max > 0);
    bn_link *link = bn_alloc(1, sizeof *link);
    if (link == NULL) return bn_fail(BN_ERR_NO_MEMORY, "LINK-MEMORY", "no memory for a link");
    bn_link_ends_init(&link->ends, config);
    link->has_previous = config->has_previous;
    link->has_next = config->has_next;
    link->context = config->zmq_context;
    link->frames_max = config->frames_max;
    link->on_joining = config->on_joining;
    link->joining_context = config->context;
    link->done_fd = link->peer_fd = -1;
    link->trouble = "not connected";
    link->in_frames = bn_alloc(config->frames_max, sizeof *link->in_frames);
    link->out_frames = bn_alloc(config->frames_max, sizeof *link->out_frames);
    bn_status status = BN_OK;
    if (link->in_frames == NULL || link->out_frames == NULL) {
        status = bn_fail(BN_ERR_NO_MEMORY, "LINK-MEMORY", "no memory for a link");
    }
    if (status == BN_OK) status = open_sockets(link, config);
    if (status != BN_OK) {
        destroy_zmq(link);
        return status;
    }
    *link_out = link;
    return BN_OK;
}

static const char *url_zmq(const bn_link *link)
{
    return link->url;
}

/* ---- connection events ------------------------------------------------------------------- */

static bn_status fail_in(bn_link *link, bn_status status, const char *cause)
{
    link->failure = bn_link_fail_in(&link->ends, status, cause);
    return link->failure;
}

static bn_status fail_out(bn_link *link, bn_status status, const char *cause)
{
    link->failure = bn_link_fail_out(&link->ends, status, cause);
    return link->failure;
}

static bool next_event(void *monitor, uint16_t *event_out, uint32_t *value_out)
{
    uint8_t frame[6], address[BN_URL_MAX];
    if (zmq_recv(monitor, frame, sizeof frame, ZMQ_DONTWAIT) != (int)sizeof frame) return false;
    zmq_recv(monitor, address, sizeof address, ZMQ_DONTWAIT);
    memcpy(event_out, frame, sizeof *event_out);
    memcpy(value_out, frame + 2, sizeof *value_out);
    return true;
}

static bn_status on_out_event(bn_link *link, uint16_t event)
{
    switch (event) {
    case ZMQ_EVENT_HANDSHAKE_SUCCEEDED: link->is_connected = true; return BN_OK;
    case ZMQ_EVENT_DISCONNECTED:
        link->is_connected = false;
        if (link->is_answered) return fail_out(link, BN_ERR_PEER_LOST, "the connection is gone");
        return BN_OK;
    case ZMQ_EVENT_CONNECT_RETRIED:
        if (!link->is_connected) link->trouble = "cannot connect";
        return BN_OK;
    default: link->trouble = "the handshake fails (is the cluster key the same?)"; return BN_OK;
    }
}

static bn_status drain_events(bn_link *link)
{
    uint16_t event;
    uint32_t value;
    for (int i = 0; link->in != NULL && i < BN_LINK_EVENTS_MAX; i++) {
        if (!next_event(link->in_monitor, &event, &value)) break;
        bool is_neighbour = link->n_peer > 0 && (int)value == link->peer_fd;
        if (event == ZMQ_EVENT_DISCONNECTED && is_neighbour) {
            return fail_in(link, BN_ERR_PEER_LOST, "the connection is gone");
        }
    }
    for (int i = 0; link->out != NULL && i < BN_LINK_EVENTS_MAX; i++) {
        if (!next_event(link->out_monitor, &event, &value)) break;
        BN_TRY(on_out_event(link, event));
    }
    return BN_OK;
}

/* ---- frames that arrive ------------------------------------------------------------------ */

typedef struct parcel {
    zmq_msg_t parts[BN_LINK_PARTS_MAX]; /* sender, head, activations */
    int n_parts;                        /* that came, also those that were too many */
} parcel;

static void parcel_close(parcel *box)
{
    int n = box->n_parts < BN_LINK_PARTS_MAX ? box->n_parts : BN_LINK_PARTS_MAX;
    for (int i = 0; i < n; i++)
        zmq_msg_close(&box->parts[i]);
}

/* False when nothing is there (or the context is going). Multipart messages arrive whole. */
static bool parcel_receive(void *socket, int begin, parcel *box)
{
    int has_more = 1;
    box->n_parts = begin;
    for (int i = 0; i < begin; i++)
        zmq_msg_init(&box->parts[i]);
    while (has_more) {
        zmq_msg_t extra,
            *part = box->n_parts < BN_LINK_PARTS_MAX ? &box->parts[box->n_parts] : &extra;
        zmq_msg_init(part);
        int n = zmq_msg_recv(part, socket, ZMQ_DONTWAIT);
        if (n < 0) {
            bool is_interrupted = zmq_errno() == EINTR;
            zmq_msg_close(part);
            if (is_interrupted) continue;
            return false;
        }
        has_more = zmq_msg_more(part);
        if (part == &extra) zmq_msg_close(part);
        box->n_parts++;
    }
    return true;
}

static bool is_from_neighbour(const bn_link *link, parcel *box)
{
    return link->n_peer > 0 && zmq_msg_size(&box->parts[0]) == link->n_peer &&
           memcmp(zmq_msg_data(&box->parts[0]), link->peer, link->n_peer) == 0;
}

static void answer_probe(const bn_link *link)
{
    uint8_t bytes[BN_LINK_HEADER_BYTES];
    bn_link_frame_probe(&link->ends, BN_LINK_FRAME_ANSWER, bytes);
    /* A sender that is gone by now is reported by the monitor. */
    if (zmq_send(link->in, link->peer, link->n_peer, ZMQ_SNDMORE | ZMQ_DONTWAIT) >= 0) {
        zmq_send(link->in, bytes, sizeof bytes, ZMQ_DONTWAIT);
    }
}

/* A stranger's frame: a probe with the secret makes it the neighbour, anything else is dropped. */
static void meet(bn_link *link, const bn_link_header *header, const char *cause, parcel *box)
{
    size_t n = zmq_msg_size(&box->parts[0]);
    if (cause == NULL) cause = bn_link_header_foreign(header, link->ends.epoch, link->ends.secret);
    if (cause == NULL && header->kind != BN_LINK_FRAME_PROBE) cause = "a step before a probe";
    if (cause == NULL && link->n_peer > 0) cause = "a second neighbour";
    if (cause == NULL && (n == 0 || n > BN_LINK_PEER_MAX)) cause = "unexpected identity";
    if (cause != NULL) {
        bn_link_frame_drop(&link->ends, cause);
        return;
    }
    memcpy(link->peer, zmq_msg_data(&box->parts[0]), n);
    link->n_peer = n;
    link->peer_fd = zmq_msg_get(&box->parts[1], ZMQ_SRCFD);
    answer_probe(link);
}

/* Copies the step from the neighbour into `frame`; ends->last_received grows when it was one. */
static bn_status take(bn_link *link, const bn_link_header *header, const char *cause, parcel *box,
                      bn_link_frame *frame)
{
    if (cause == NULL) cause = bn_link_header_foreign(header, link->ends.epoch, link->ends.secret);
    if (cause != NULL) return fail_in(link, BN_ERR_BAD_MESSAGE, cause);
    if (header->kind == BN_LINK_FRAME_PROBE && box->n_parts == 2) {
        answer_probe(link); /* repeated before our answer came */
        return BN_OK;
    }
    size_t n_head = zmq_msg_size(&box->parts[1]);
    size_t n_activations = box->n_parts == 3 ? zmq_msg_size(&box->parts[2]) : 0;
    if (box->n_parts != 3) return fail_in(link, BN_ERR_BAD_MESSAGE, "wrong number of frames");
    link->failure = bn_link_frame_accept(&link->ends, header, n_head, n_activations, frame);
    if (link->failure != BN_OK) return link->failure;
    memcpy(frame->head, zmq_msg_data(&box->parts[1]), n_head);
    memcpy(frame->activations, zmq_msg_data(&box->parts[2]), n_activations);
    return BN_OK;
}

/* Takes one message if there is one; *has_step_out when it filled `frame`. While connecting, no
 * frame is lent: `frame` is NULL and only probes may come. */
static bn_status receive_one(bn_link *link, bn_link_frame *frame, bool *has_message_out,
                             bool *has_step_out)
{
    parcel box;
    bn_link_header header = {.epoch = 0};
    uint64_t last_received = link->ends.last_received;
    bn_status status = BN_OK;
    *has_message_out = parcel_receive(link->in, 0, &box);
    if (*has_message_out) {
        const char *cause = "no header";
        if (box.n_parts >= 2) {
            cause = bn_link_header_unpack(zmq_msg_data(&box.parts[1]), zmq_msg_size(&box.parts[1]),
                                          &header);
        }
        if (!is_from_neighbour(link, &box)) {
            meet(link, &header, cause, &box);
        } else {
            status = take(link, &header, cause, &box, frame);
        }
    }
    parcel_close(&box);
    *has_step_out = link->ends.last_received != last_received;
    return status;
}

static bn_status receive_begin_zmq(bn_link *link, bn_link_frame *frame)
{
    BN_ASSERT(link->n_in < link->frames_max);
    link->in_frames[link->n_in++] = frame;
    return link->failure;
}

static bn_status receive_test_zmq(bn_link *link, bn_link_frame **frame_out)
{
    bool has_message = true, has_step = false;
    *frame_out = NULL;
    if (link->failure != BN_OK) return link->failure;
    while (link->in != NULL && link->n_in > 0 && has_message && !has_step) {
        BN_TRY(receive_one(link, link->in_frames[0], &has_message, &has_step));
    }
    if (!has_step) return drain_events(link); /* only after what came before the loss was taken */
    *frame_out = link->in_frames[0];
    link->n_in--;
    memmove(link->in_frames, link->in_frames + 1, link->n_in * sizeof link->in_frames[0]);
    return BN_OK;
}

/* ---- frames that leave ------------------------------------------------------------------- */

/* On the library's thread. */
static void frame_sent(void *data, void *hint)
{
    outgoing *place = hint;
    bn_link *link = place->link;
    uint64_t one = 1;
    (void)data;
    atomic_store_explicit(&place->is_done, true, memory_order_release);
    /* A full counter would mean that a wake-up is due anyway. */
    ssize_t n = write(link->done_fd, &one, sizeof one);
    (void)n;
    /* Last: destroy waits for it before the descriptor and the link go. */
    atomic_fetch_add_explicit(&link->n_returned, 1, memory_order_release);
}

/* After a send that failed: names the loss if there was one. */
static bn_status lost_out(bn_link *link)
{
    int cause = zmq_errno();
    BN_TRY(drain_events(link));
    return fail_out(link, BN_ERR_PEER_LOST,
                    cause == EAGAIN ? "the connection is gone" : zmq_strerror(cause));
}

/* *is_sent_out false when the queue is full, which only a frame's first part can meet. */
static bn_status send_head(bn_link *link, const bn_link_frame *frame, bool *is_sent_out)
{
    size_t n = BN_LINK_HEADER_BYTES + frame->body_bytes;
    *is_sent_out = false;
    while (zmq_send(link->out, frame->head, n, ZMQ_DONTWAIT | ZMQ_SNDMORE) < 0) {
        if (zmq_errno() == EINTR) continue;
        if (zmq_errno() == EAGAIN) {
            BN_TRY(drain_events(link));
            if (link->is_connected) return BN_OK;
        }
        return lost_out(link);
    }
    *is_sent_out = true;
    return BN_OK;
}

static bn_status send_activations(bn_link *link, outgoing *place)
{
    const bn_link_frame *frame = place->frame;
    zmq_msg_t part;
    bool is_lent = frame->activation_bytes > BN_LINK_COPY_MAX;
    if (is_lent) {
        link->n_lent++;
        zmq_msg_init_data(&part, frame->activations, frame->activation_bytes, frame_sent, place);
    } else if (zmq_msg_init_size(&part, frame->activation_bytes) != 0) {
        return bn_fail(BN_ERR_NO_MEMORY, "LINK-MEMORY", "no memory for a frame");
    } else {
        memcpy(zmq_msg_data(&part), frame->activations, frame->activation_bytes);
    }
    while (zmq_msg_send(&part, link->out, ZMQ_DONTWAIT) < 0) {
        if (zmq_errno() == EINTR) continue;
        bn_status status = lost_out(link);
        zmq_msg_close(&part);
        return status;
    }
    if (!is_lent) atomic_store_explicit(&place->is_done, true, memory_order_relaxed);
    return BN_OK;
}

/* Hands queued frames to the library, in order, as far as it takes them. */
static bn_status flush(bn_link *link)
{
    BN_TRY(link->failure);
    while (link->n_queued > 0) {
        uint32_t i = link->n_out - link->n_queued;
        outgoing *place = &link->out_frames[(link->out_begin + i) % link->frames_max];
        bool is_sent;
        BN_TRY(send_head(link, place->frame, &is_sent));
        if (!is_sent) return BN_OK;
        link->n_queued--;
        BN_TRY(send_activations(link, place));
    }
    return BN_OK;
}

static bn_status send_begin_zmq(bn_link *link, bn_link_frame *frame)
{
    BN_ASSERT(link->n_out < link->frames_max);
    outgoing *place = &link->out_frames[(link->out_begin + link->n_out) % link->frames_max];
    place->link = link;
    place->frame = frame;
    atomic_store_explicit(&place->is_done, link->out == NULL, memory_order_relaxed);
    link->n_out++;
    if (link->failure != BN_OK || link->out == NULL) return link->failure;
    link->failure = bn_link_frame_seal(&link->ends, frame);
    if (link->failure == BN_OK) link->n_queued++;
    return flush(link);
}

static bn_status send_test_zmq(bn_link *link, bn_link_frame **frame_out)
{
    outgoing *oldest = &link->out_frames[link->out_begin];
    *frame_out = NULL;
    BN_TRY(flush(link));
    if (link->n_out > 0 && atomic_load_explicit(&oldest->is_done, memory_order_acquire)) {
        *frame_out = oldest->frame;
        oldest->frame = NULL;
        link->out_begin = (link->out_begin + 1) % link->frames_max;
        link->n_out--;
        return BN_OK;
    }
    return link->failure != BN_OK ? link->failure : drain_events(link);
}

/* ---- joining and waiting ----------------------------------------------------------------- */

static bool send_probe(bn_link *link)
{
    uint8_t bytes[BN_LINK_HEADER_BYTES];
    bn_link_frame_probe(&link->ends, BN_LINK_FRAME_PROBE, bytes);
    return zmq_send(link->out, bytes, sizeof bytes, ZMQ_DONTWAIT) >= 0;
}

static void receive_answer(bn_link *link)
{
    parcel box;
    bn_link_header header;
    while (parcel_receive(link->out, 1, &box)) {
        const char *cause = bn_link_header_unpack(zmq_msg_data(&box.parts[1]),
                                                  zmq_msg_size(&box.parts[1]), &header);
        if (cause == NULL) {
            cause = bn_link_header_foreign(&header, link->ends.epoch, link->ends.secret);
        }
        if (cause == NULL && header.kind == BN_LINK_FRAME_ANSWER && box.n_parts == 2) {
            link->is_answered = true;
        }
        parcel_close(&box);
    }
    parcel_close(&box);
}

static bn_status poll_sockets(bn_link *link, int wake_fd, uint32_t timeout_ms)
{
    zmq_pollitem_t items[7];
    int n = 0;
    /* A socket that has something nobody can take yet would keep us from sleeping. */
    bool is_taking = link->n_in > 0 || link->n_peer == 0;
    void *const sockets[] = {is_taking ? link->in : NULL, link->in_monitor, link->out_monitor,
                             link->is_answered ? NULL : link->out};
    for (size_t i = 0; i < sizeof sockets / sizeof sockets[0]; i++) {
        if (sockets[i] == NULL) continue;
        items[n++] = (zmq_pollitem_t){.socket = sockets[i], .events = ZMQ_POLLIN};
    }
    if (link->n_queued > 0) {
        items[n++] = (zmq_pollitem_t){.socket = link->out, .events = ZMQ_POLLOUT};
    }
    items[n++] = (zmq_pollitem_t){.fd = link->done_fd, .events = ZMQ_POLLIN};
    if (wake_fd >= 0) items[n++] = (zmq_pollitem_t){.fd = wake_fd, .events = ZMQ_POLLIN};
    if (zmq_poll(items, n, (long)timeout_ms) < 0 && zmq_errno() != EINTR) {
        return fail_zmq(link, "wait");
    }
    uint64_t count;
    ssize_t n_read = read(link->done_fd, &count, sizeof count); /* empty unless it rang */
    (void)n_read;
    return BN_OK;
}

static bn_status join(bn_link *link, uint64_t deadline)
{
    uint64_t probed_ms = 0;
    for (;;) {
        bool has_message = true, has_step;
        uint64_t now = bn_clock_ms();
        BN_TRY(drain_events(link));
        while (link->in != NULL && link->n_peer == 0 && has_message) {
            BN_TRY(receive_one(link, NULL, &has_message, &has_step));
        }
        if (link->out != NULL) receive_answer(link);
        bool is_joined = link->in == NULL || link->n_peer > 0;
        bool is_answered = link->out == NULL || link->is_answered;
        if (is_joined && is_answered) return BN_OK;
        if (link->on_joining != NULL) BN_TRY(link->on_joining(link->joining_context));
        if (now >= deadline) {
            return is_answered ? fail_in(link, BN_ERR_TIMED_OUT, "it did not join in time")
                               : fail_out(link, BN_ERR_TIMED_OUT, link->trouble);
        }
        bool is_due = !is_answered && link->is_connected && now - probed_ms >= BN_LINK_PROBE_MS;
        if (is_due && send_probe(link)) probed_ms = now;
        uint64_t left = deadline - now;
        BN_TRY(poll_sockets(link, -1, left < 50 ? (uint32_t)left : 50));
    }
}

static bn_status connect_zmq(bn_link *link, const char *next_url, uint32_t timeout_ms)
{
    bn_address address;
    if (link->out != NULL) {
        if (next_url == NULL || bn_address_parse(next_url, &address) != BN_OK) {
            return fail_out(link, BN_ERR_BAD_ARGUMENT, "its address is malformed");
        }
        BN_TRY(set_int(link, link->out, ZMQ_IPV6, bn_address_is_ipv6(address.host)));
        if (zmq_connect(link->out, next_url) != 0) {
            return fail_out(link, BN_ERR_IO, zmq_strerror(zmq_errno()));
        }
    }
    return join(link, bn_clock_ms() + timeout_ms);
}

static bn_status progress_zmq(bn_link *link)
{
    return flush(link); /* the rest is the library's thread's */
}

static bn_status wait_zmq(bn_link *link, int wake_fd, bool is_awake, uint32_t timeout_ms)
{
    if (is_awake) {
        BN_TRY(link->failure);
        return poll_sockets(link, wake_fd, timeout_ms);
    }
    struct pollfd item = {.fd = wake_fd, .events = POLLIN};
    if (poll(&item, 1, (int)timeout_ms) >= 0 || errno == EINTR) return BN_OK;
    return bn_fail(BN_ERR_IO, "LINK-WAIT", "cannot wait: %s", strerror(errno));
}

static void counters_zmq(const bn_link *link, bn_link_counters *counters_out)
{
    *counters_out = link->ends.counters;
}

const bn_link_ops bn_link_zmq = {
    .name = "zmq",
    .create = create_zmq,
    .destroy = destroy_zmq,
    .url = url_zmq,
    .connect = connect_zmq,
    .receive_begin = receive_begin_zmq,
    .receive_test = receive_test_zmq,
    .send_begin = send_begin_zmq,
    .send_test = send_test_zmq,
    .progress = progress_zmq,
    .wait = wait_zmq,
    .counters = counters_zmq,
};
