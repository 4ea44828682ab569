/* control.c — one loop: connection, outgoing, incoming, clocks.
 *
 * The channel reconnects by itself. A change of its loss counter means that everything said
 * before is void: the main thread is told to forget its stage, and a new session begins with a
 * new hello. Messages that the main thread sent for an older session are dropped here.
 */
#include "worker/control.h"

#include "common/alloc.h"
#include "common/clock.h"
#include "common/log.h"
#include "worker/join_notice.h"
#include "worker/queue.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define EVENTS_MAX 64u
#define EVENTS_KEPT 2u /* room for LOST, which needs a Welcome before it comes again, and QUIT */
#define MESSAGES_MAX 64u
#define HEARTBEAT_MS 500u
#define RETRY_MS 5u              /* a full queue on either side */
#define SEND_TIMEOUT_MS 30000u   /* the coordinator takes nothing */
#define SIGNAL_GRACE_MS 900u     /* from goodbye to a forced end: launchers kill soon after */
#define SHUTDOWN_GRACE_MS 30000u /* a layer of a long step ends first: MPI wants order */
#define WAIT_SLICE_NS 100000u

typedef struct outgoing {
    uint64_t session;
    bn_message message;
    const float *row;
    _Atomic bool *is_sent;
} outgoing;

struct bn_control {
    bn_control_config config;
    bn_hello hello;
    bn_channel *channel;
    void *zmq_context;
    pthread_t thread;
    bool has_thread;
    int signal_fd;
    bn_queue *events;   /* control → main */
    bn_queue *messages; /* main → control */

    /* the control thread's own */
    uint64_t session, losses;
    bool is_connected, is_joined, has_joined_once, has_said_goodbye;
    bn_join_notice notice;
    uint64_t deadline_base_ms; /* joining or rejoining since */
    uint64_t beat_ms;
    uint64_t leave_by_ms; /* 0: no signal yet */
    bn_message in, out;
    uint32_t epoch; /* of the last Assign */

    bool is_front_seen; /* the main thread's own */

    /* shared */
    _Atomic bool is_ending, has_quit, is_forgetting;
    _Atomic uint32_t n_cancels, n_cancels_seen;
    _Atomic uint32_t n_steps, n_steps_done;
    _Atomic uint64_t abort_until[BN_SLOTS_MAX];
    _Atomic uint32_t state, beat_epoch;
    _Atomic uint64_t last_step, progress;
};

/* ---- control thread: events for the main thread ----------------------------------------- */

/* Makes the work under way pointless. */
static bool is_cancelling(const bn_control_event *event)
{
    if (event->kind != BN_CONTROL_MESSAGE) return true;
    return event->message.kind == BN_MESSAGE_ASSIGN || event->message.kind == BN_MESSAGE_RELEASE;
}

/* Copies what the message uses: a whole bn_message is 80 KiB. */
static void copy_message(bn_message *to, const bn_message *from)
{
    if (from->kind == BN_MESSAGE_STEP) {
        const bn_step *step = &from->step;
        to->kind = from->kind;
        to->step.epoch = step->epoch;
        to->step.id = step->id;
        to->step.n_entries = step->n_entries;
        to->step.n_tokens = step->n_tokens;
        to->step.n_commands = step->n_commands;
        to->step.n_ids = step->n_ids;
        memcpy(to->step.entries, step->entries, step->n_entries * sizeof step->entries[0]);
        memcpy(to->step.tokens, step->tokens, step->n_tokens * sizeof step->tokens[0]);
        memcpy(to->step.commands, step->commands, step->n_commands * sizeof step->commands[0]);
        memcpy(to->step.ids, step->ids, step->n_ids * sizeof step->ids[0]);
        return;
    }
    if (from->kind == BN_MESSAGE_RESULT) {
        const bn_result *result = &from->result;
        size_t head_bytes = offsetof(bn_message, result) + offsetof(bn_result, positions);
        memcpy(to, from, head_bytes);
        memcpy(to->result.positions, result->positions,
               result->n_positions * sizeof result->positions[0]);
        memcpy(to->result.candidates, result->candidates,
               result->n_candidates * sizeof result->candidates[0]);
        memcpy(to->result.exact, result->exact, result->n_exact * sizeof result->exact[0]);
        return;
    }
    _Static_assert(sizeof(bn_hello) < 4096 && sizeof(bn_assign) < 4096 &&
                       sizeof(bn_welcome) < 4096 && sizeof(bn_failure) < 4096,
                   "all other messages are small");
    memcpy(to, from, 4096);
}

static void push_event(bn_control *c, bn_control_event_kind kind, int exit_code, bool is_orderly)
{
    bn_control_event *event = bn_queue_back(c->events);
    BN_ASSERT(event != NULL);
    event->kind = kind;
    event->exit_code = exit_code;
    event->is_orderly = is_orderly;
    event->session = c->session;
    event->local_address[0] = '\0';
    if (kind == BN_CONTROL_MESSAGE) {
        copy_message(&event->message, &c->in);
        if (c->in.kind == BN_MESSAGE_STEP) atomic_fetch_add(&c->n_steps, 1);
        if (c->in.kind == BN_MESSAGE_ASSIGN &&
            bn_channel_local_address(c->channel, event->local_address,
                                     sizeof event->local_address) != BN_OK)
            event->local_address[0] = '\0';
    }
    if (is_cancelling(event)) atomic_fetch_add(&c->n_cancels, 1);
    bn_queue_push(c->events);
}

static void quit(bn_control *c, int exit_code, bool is_orderly)
{
    if (atomic_exchange(&c->has_quit, true)) return;
    push_event(c, BN_CONTROL_QUIT, exit_code, is_orderly);
}

/* ---- control thread: talking ------------------------------------------------------------- */

static bn_status send_out(bn_control *c)
{
    return bn_channel_send(c->channel, NULL, &c->out, NULL, 0);
}

static void say_goodbye(bn_control *c, const char *why)
{
    if (c->has_said_goodbye) return;
    c->has_said_goodbye = true;
    if (!c->is_connected) return;
    c->out.kind = BN_MESSAGE_GOODBYE;
    snprintf(c->out.farewell.text, sizeof c->out.farewell.text, "%s", why);
    if (send_out(c) != BN_OK) bn_log_debug("GOODBYE-LOST", "the goodbye could not be sent");
}

static void say_hello(bn_control *c)
{
    c->out.kind = BN_MESSAGE_HELLO;
    c->out.hello = c->hello;
    if (send_out(c) != BN_OK) bn_log_debug("HELLO-LOST", "the hello could not be sent");
}

static void beat(bn_control *c, uint64_t now_ms)
{
    if (!c->is_joined || now_ms - c->beat_ms < HEARTBEAT_MS) return;
    c->beat_ms = now_ms;
    c->out.kind = BN_MESSAGE_HEARTBEAT;
    c->out.heartbeat = (bn_heartbeat){
        .epoch = atomic_load(&c->beat_epoch),
        .state = (bn_worker_state)atomic_load(&c->state),
        .last_step = atomic_load(&c->last_step),
        .progress = atomic_load(&c->progress),
    };
    if (send_out(c) != BN_OK) bn_log_debug("HEARTBEAT-LOST", "a heartbeat could not be sent");
}

/* False when the coordinator's queue is full: try again soon. */
static bool send_message(bn_control *c, outgoing *item)
{
    bn_status status = BN_OK;
    if (item->row != NULL && atomic_load(&c->is_forgetting)) {
        bn_log_debug("LOGITS-DROPPED", "dropped logits of a stage that is over");
    } else if (item->session == c->session && c->is_joined) {
        size_t n_raw = item->row != NULL ? item->message.logits.n_logits * sizeof(float) : 0;
        status = bn_channel_send(c->channel, NULL, &item->message, item->row, n_raw);
    }
    if (status == BN_ERR_LIMIT) return false;
    if (item->is_sent != NULL) atomic_store(item->is_sent, true);
    return true;
}

/* True when everything could be sent. */
static bool send_messages(bn_control *c)
{
    bn_queue_hush(c->messages);
    outgoing *item;
    while ((item = bn_queue_front(c->messages)) != NULL) {
        if (!send_message(c, item)) return false;
        bn_queue_pop(c->messages);
    }
    return true;
}

static void on_welcome(bn_control *c)
{
    const bn_welcome *welcome = &c->in.welcome;
    if (!welcome->is_accepted) {
        bn_log_error("JOIN-REFUSED", "the coordinator at %s refuses this worker: %s", c->config.url,
                     welcome->reason);
        c->has_said_goodbye = true; /* it does not know us */
        quit(c, welcome->is_usage ? 2 : 1, false);
        return;
    }
    if (!c->is_joined) {
        bn_log_info("JOINED", "joined the coordinator at %s as worker %" PRIu32, c->config.url,
                    welcome->worker_id);
        c->is_joined = c->has_joined_once = true;
    }
    push_event(c, BN_CONTROL_MESSAGE, 0, false);
}

static void on_assign(bn_control *c)
{
    c->epoch = c->in.assign.epoch;
    for (uint32_t i = 0; i < BN_SLOTS_MAX; i++)
        atomic_store(&c->abort_until[i], 0);
    push_event(c, BN_CONTROL_MESSAGE, 0, false);
}

static void on_message(bn_control *c)
{
    switch (c->in.kind) {
    case BN_MESSAGE_WELCOME: on_welcome(c); return;
    case BN_MESSAGE_ASSIGN: on_assign(c); return;
    case BN_MESSAGE_ABORT:
        if (c->in.abort.epoch == c->epoch && c->in.abort.slot < BN_SLOTS_MAX)
            atomic_store(&c->abort_until[c->in.abort.slot], c->in.abort.last_step);
        return;
    case BN_MESSAGE_SHUTDOWN:
        bn_log_info("SHUTDOWN", "told to leave: %s", c->in.farewell.text);
        say_goodbye(c, "as told");
        quit(c, 0, true);
        c->leave_by_ms = bn_clock_ms() + SHUTDOWN_GRACE_MS;
        return;
    case BN_MESSAGE_CONNECT:
    case BN_MESSAGE_WAKE:
    case BN_MESSAGE_REST:
    case BN_MESSAGE_STEP:
    case BN_MESSAGE_STATS_REQUEST:
    case BN_MESSAGE_RELEASE: push_event(c, BN_CONTROL_MESSAGE, 0, false); return;
    default:
        bn_log_warn("MESSAGE-UNEXPECTED", "the coordinator sent a %s, which is not for a worker",
                    bn_message_kind_name(c->in.kind));
    }
}

/* False when the main thread must first make room. */
static bool receive_messages(bn_control *c)
{
    while (!atomic_load(&c->has_quit)) {
        if (bn_queue_n_free(c->events) <= EVENTS_KEPT) return false;
        if (bn_channel_receive(c->channel, 0, NULL, &c->in, NULL, NULL) != BN_OK) return true;
        on_message(c);
    }
    return true;
}

/* ---- control thread: connection and clocks ----------------------------------------------- */

static void on_loss(bn_control *c, uint64_t now_ms)
{
    bool was_joined = c->is_joined;
    c->is_connected = c->is_joined = false;
    c->session++;
    bn_join_notice_reset(&c->notice, now_ms);
    if (!was_joined || atomic_load(&c->has_quit)) return;
    c->deadline_base_ms = now_ms;
    bn_log_warn("COORDINATOR-LOST",
                "the coordinator at %s is gone; freeing its sequences and waiting %" PRIu32
                " s for it to come back",
                c->config.url, c->config.rejoin_s);
    push_event(c, BN_CONTROL_LOST, 0, false);
}

static void watch_connection(bn_control *c, uint64_t now_ms)
{
    bn_channel_state state = bn_channel_state_now(c->channel);
    uint64_t losses = bn_channel_losses(c->channel);
    if (losses != c->losses) {
        c->losses = losses;
        on_loss(c, now_ms);
    }
    if (state != BN_CHANNEL_CONNECTED || c->is_connected) return;
    c->is_connected = true;
    say_hello(c);
}

static void watch_clocks(bn_control *c, uint64_t now_ms)
{
    if (c->is_joined || atomic_load(&c->has_quit)) return;
    bn_join_notice_say(&c->notice, now_ms, c->config.url, c->is_connected,
                       bn_channel_trouble(c->channel));
    uint64_t waited_ms = now_ms - c->deadline_base_ms;
    if (c->has_joined_once && waited_ms >= (uint64_t)c->config.rejoin_s * 1000) {
        bn_log_error("REJOIN-TIMEOUT",
                     "the coordinator at %s has not come back for %" PRIu32 " s (--rejoin)",
                     c->config.url, c->config.rejoin_s);
        quit(c, 1, false);
    } else if (!c->has_joined_once && c->config.join_timeout_s != 0 &&
               waited_ms >= (uint64_t)c->config.join_timeout_s * 1000) {
        const char *trouble = bn_channel_trouble(c->channel);
        bn_log_error("JOIN-TIMEOUT",
                     "no coordinator answered at %s for %" PRIu32 " s (--join-timeout): %s",
                     c->config.url, c->config.join_timeout_s,
                     trouble[0] != '\0' ? trouble : "connected, but no welcome came");
        quit(c, 1, false);
    }
}

static void on_signal(bn_control *c, uint64_t now_ms)
{
    struct signalfd_siginfo info;
    if (read(c->signal_fd, &info, sizeof info) != (ssize_t)sizeof info) return;
    const char *name = strsignal((int)info.ssi_signo);
    bn_log_info("SIGNAL", "told to stop (%s)", name);
    say_goodbye(c, name); /* the coordinator says who was told to stop */
    quit(c, 0, false);
    uint64_t leave_by_ms = now_ms + SIGNAL_GRACE_MS;
    if (c->leave_by_ms == 0 || c->leave_by_ms > leave_by_ms) c->leave_by_ms = leave_by_ms;
}

/* The main thread may be inside a long operation or a foreign library when it is time to leave;
 * the goodbye has left long ago, so nothing is lost by leaving without it. Nothing is closed: that
 * would wait for the main thread's sockets. */
static void leave_if_late(bn_control *c, uint64_t now_ms)
{
    if (c->leave_by_ms == 0 || now_ms < c->leave_by_ms) return;
    _Exit(0);
}

static void *control_main(void *argument)
{
    bn_control *c = argument;
    uint64_t now_ms = bn_clock_ms();
    c->deadline_base_ms = now_ms;
    bn_join_notice_reset(&c->notice, now_ms);
    const int fds[] = {bn_queue_fd(c->messages), c->signal_fd};
    while (!atomic_load(&c->is_ending)) {
        now_ms = bn_clock_ms();
        watch_connection(c, now_ms);
        watch_clocks(c, now_ms);
        beat(c, now_ms);
        bool is_flowing = send_messages(c);
        is_flowing = receive_messages(c) && is_flowing;
        leave_if_late(c, now_ms);
        uint32_t timeout_ms = is_flowing ? HEARTBEAT_MS / 2 : RETRY_MS;
        uint32_t ready = 0;
        /* With the events full, messages that wait would make every wait return at once. */
        if (!is_flowing) bn_clock_sleep_ns(WAIT_SLICE_NS);
        if (bn_channel_wait(c->channel, fds, 2, timeout_ms, &ready) != BN_OK) continue;
        if ((ready & 2) != 0) on_signal(c, bn_clock_ms());
    }
    say_goodbye(c, "leaving");
    return NULL;
}

/* ---- main thread ------------------------------------------------------------------------- */

static bn_status start(bn_control *c)
{
    BN_TRY(bn_queue_create(sizeof(bn_control_event), EVENTS_MAX, &c->events));
    BN_TRY(bn_queue_create(sizeof(outgoing), MESSAGES_MAX, &c->messages));
    c->signal_fd = signalfd(-1, &c->config.signals, SFD_NONBLOCK | SFD_CLOEXEC);
    if (c->signal_fd < 0)
        return bn_fail(BN_ERR_IO, "CONTROL-START", "cannot watch for signals: %s", strerror(errno));
    BN_TRY(bn_channel_connect(c->config.url, c->config.key, &c->channel));
    c->zmq_context = bn_channel_context(c->channel);
    int cause = pthread_create(&c->thread, NULL, control_main, c);
    if (cause != 0)
        return bn_fail(BN_ERR_NO_MEMORY, "CONTROL-START", "cannot start the control thread: %s",
                       strerror(cause));
    c->has_thread = true;
    return BN_OK;
}

bn_status bn_control_create(const bn_control_config *config, bn_control **control_out)
{
    bn_control *c = bn_alloc(1, sizeof *c);
    if (c == NULL) return bn_fail(BN_ERR_NO_MEMORY, "CONTROL-START", "no memory for control");
    c->config = *config;
    c->hello = *config->hello;
    c->signal_fd = -1;
    c->session = 1;
    atomic_store(&c->state, BN_WORKER_JOINING);
    bn_status status = start(c);
    if (status != BN_OK) {
        bn_control_destroy(c);
        return status;
    }
    *control_out = c;
    return BN_OK;
}

void bn_control_destroy(bn_control *c)
{
    if (c == NULL) return;
    atomic_store(&c->is_ending, true);
    if (c->has_thread) {
        bn_queue_ring(c->messages);
        pthread_join(c->thread, NULL);
    }
    bn_channel_destroy(c->channel);
    if (c->signal_fd >= 0) close(c->signal_fd);
    bn_queue_destroy(c->messages);
    bn_queue_destroy(c->events);
    bn_free(c);
}

int bn_control_fd(const bn_control *c)
{
    return bn_queue_fd(c->events);
}

void bn_control_hush(bn_control *c)
{
    bn_queue_hush(c->events);
}

const bn_control_event *bn_control_next(bn_control *c)
{
    const bn_control_event *event = bn_queue_front(c->events);
    if (event != NULL && !c->is_front_seen) {
        c->is_front_seen = true;
        if (is_cancelling(event)) atomic_fetch_add(&c->n_cancels_seen, 1);
    }
    return event;
}

void bn_control_done(bn_control *c)
{
    const bn_control_event *event = bn_queue_front(c->events);
    BN_ASSERT(event != NULL);
    if (event->kind == BN_CONTROL_MESSAGE && event->message.kind == BN_MESSAGE_STEP)
        atomic_fetch_add(&c->n_steps_done, 1);
    c->is_front_seen = false;
    bn_queue_pop(c->events);
}

bool bn_control_is_cancelled(const bn_control *c)
{
    return atomic_load(&c->n_cancels) != atomic_load(&c->n_cancels_seen);
}

uint32_t bn_control_steps_waiting(const bn_control *c)
{
    return atomic_load(&c->n_steps) - atomic_load(&c->n_steps_done);
}

uint64_t bn_control_abort_until(const bn_control *c, uint32_t slot)
{
    return atomic_load_explicit(&c->abort_until[slot], memory_order_relaxed);
}

/* A free place in the outgoing queue, within the time. */
static bn_status wait_for_place(bn_control *c, outgoing **item_out)
{
    uint64_t deadline_ms = bn_clock_ms() + SEND_TIMEOUT_MS;
    while ((*item_out = bn_queue_back(c->messages)) == NULL) {
        if (bn_control_is_cancelled(c)) return BN_ERR_INTERRUPTED;
        if (bn_clock_ms() >= deadline_ms)
            return bn_fail(BN_ERR_TIMED_OUT, "CONTROL-FULL",
                           "the coordinator at %s has taken no message for %u ms", c->config.url,
                           SEND_TIMEOUT_MS);
        bn_clock_sleep_ns(WAIT_SLICE_NS);
    }
    return BN_OK;
}

bn_status bn_control_send(bn_control *c, uint64_t session, const bn_message *message)
{
    outgoing *item;
    BN_TRY(wait_for_place(c, &item));
    item->session = session;
    item->row = NULL;
    item->is_sent = NULL;
    copy_message(&item->message, message);
    bn_queue_push(c->messages);
    return BN_OK;
}

bn_status bn_control_send_logits(bn_control *c, uint64_t session, const bn_logits *logits,
                                 const float *row, _Atomic bool *is_sent_out)
{
    outgoing *item;
    BN_TRY(wait_for_place(c, &item));
    item->session = session;
    item->row = row;
    item->is_sent = is_sent_out;
    item->message.kind = BN_MESSAGE_LOGITS;
    item->message.logits = *logits;
    atomic_store(is_sent_out, false);
    bn_queue_push(c->messages);
    return BN_OK;
}

void bn_control_forget_logits(bn_control *c, const _Atomic bool *is_sent, uint32_t n_rows)
{
    atomic_store(&c->is_forgetting, true);
    bn_queue_ring(c->messages);
    for (uint32_t i = 0; i < n_rows; i++)
        while (!atomic_load(&is_sent[i]))
            bn_clock_sleep_ns(WAIT_SLICE_NS);
    atomic_store(&c->is_forgetting, false);
}

void bn_control_report(bn_control *c, bn_worker_state state, uint32_t epoch, uint64_t last_step)
{
    atomic_store(&c->state, (uint32_t)state);
    atomic_store(&c->beat_epoch, epoch);
    atomic_store(&c->last_step, last_step);
    bn_control_progress(c);
}

void bn_control_progress(bn_control *c)
{
    atomic_fetch_add_explicit(&c->progress, 1, memory_order_relaxed);
}

void *bn_control_zmq_context(const bn_control *c)
{
    return c->zmq_context;
}
