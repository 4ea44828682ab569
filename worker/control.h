/* control.h — the thread that speaks with the coordinator.
 *
 * It owns the control channel: connects, says hello, beats, and passes messages between the
 * coordinator and the main thread through two bounded queues. While it has not joined it says
 * every few seconds what it tries and why that fails. It decides when the worker leaves: refused,
 * told to shut down, no coordinator for too long, a signal.
 *
 * Memory:  queues and messages are reserved by _create.
 * Threads: everything here is called by the main thread; the control thread is inside.
 * Errors:  a lost coordinator is an event, not a status.
 */
#ifndef BN_WORKER_CONTROL_H
#define BN_WORKER_CONTROL_H

#include "proto/channel.h"

#include <signal.h>
#include <stdbool.h>

#define BN_CONTROL_ADDRESS_MAX 64u

typedef struct bn_control bn_control;

typedef struct bn_control_config {
    const char *url;
    const bn_cluster_key *key; /* NULL: none */
    uint32_t join_timeout_s;   /* 0: wait for ever */
    uint32_t rejoin_s;         /* after a loss */
    const bn_hello *hello;     /* copied */
    sigset_t signals;          /* blocked in every thread: these mean goodbye */
} bn_control_config;

typedef enum bn_control_event_kind {
    BN_CONTROL_MESSAGE,
    BN_CONTROL_LOST, /* the coordinator is gone: all it gave is void; rejoining goes on by itself */
    BN_CONTROL_QUIT, /* leave with exit_code */
} bn_control_event_kind;

typedef struct bn_control_event {
    bn_control_event_kind kind;
    int exit_code;
    bool is_orderly;  /* QUIT: everybody leaves, at the coordinator's word */
    uint64_t session; /* counts connections; answers belong to the session that asked */
    char local_address[BN_CONTROL_ADDRESS_MAX]; /* of the connection to the coordinator */
    bn_message message;
} bn_control_event;

BN_CHECKED bn_status bn_control_create(const bn_control_config *config, bn_control **control_out);

/* Says goodbye if that has not happened, and ends the thread. */
void bn_control_destroy(bn_control *control);

/* Readable when an event may be there; call _hush before looking. */
int bn_control_fd(const bn_control *control);
void bn_control_hush(bn_control *control);

/* The oldest event, NULL when there is none; it stays until _done. */
const bn_control_event *bn_control_next(bn_control *control);
void bn_control_done(bn_control *control);

/* True while an event that makes the work under way pointless waits to be read. */
bool bn_control_is_cancelled(const bn_control *control);

/* Steps handed over and not yet done, the one in hand included. */
uint32_t bn_control_steps_waiting(const bn_control *control);

/* Entries of `slot` in steps up to this one need no arithmetic. */
uint64_t bn_control_abort_until(const bn_control *control, uint32_t slot);

/* Sends a message (copied) of `session`; dropped when that session is over. BN_ERR_TIMED_OUT when
 * the coordinator takes nothing for long, BN_ERR_INTERRUPTED when cancelled meanwhile. A HELLO
 * replaces the one that is said at every connection. */
BN_CHECKED bn_status bn_control_send(bn_control *control, uint64_t session,
                                     const bn_message *message);

/* Sends logits; `row` (of bn_control's caller) stays untouched until *is_sent_out becomes true. */
BN_CHECKED bn_status bn_control_send_logits(bn_control *control, uint64_t session,
                                            const bn_logits *logits, const float *row,
                                            _Atomic bool *is_sent_out);

/* Returns when no row of logits is with the control thread any more (which is soon: it never
 * waits), those not yet sent being dropped. */
void bn_control_forget_logits(bn_control *control, const _Atomic bool *is_sent, uint32_t n_rows);

/* What the heartbeats say. */
void bn_control_report(bn_control *control, bn_worker_state state, uint32_t epoch,
                       uint64_t last_step);
void bn_control_progress(bn_control *control);

/* For data sockets. */
void *bn_control_zmq_context(const bn_control *control);

#endif
