/* link.h — how activations pass from one stage to the next.
 *
 * A link joins this stage to the one before it and the one after it. The kinds (MPI, ZeroMQ,
 * none for a single stage) are tables of functions; nothing in the forward pass asks which one
 * it has. A frame is one step on its way: a fixed header, the packed step, the activations.
 *
 * Without a previous stage nothing ever arrives; without a next one, what is sent has been sent.
 *
 * Memory:  frames belong to the worker, which lends them: from receive_begin until receive_test
 *          returns it, and from send_begin until send_test returns it, a frame is the link's.
 *          Nothing is allocated after connect.
 * Threads: the main thread only.
 * Errors:  a lost neighbour, a frame of another epoch or secret, a gap or repeat in step ids is
 *          BN_ERR_PEER_LOST or BN_ERR_BAD_MESSAGE, with both nodes' names in the text.
 */
#ifndef BN_WORKER_LINK_H
#define BN_WORKER_LINK_H

#include "proto/link_header.h"
#include "proto/wire.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct bn_link_frame {
    uint8_t *head; /* BN_LINK_HEADER_BYTES + BN_ENVELOPE_MAX: the link's header, then the step */
    size_t body_bytes;  /* of the packed step at head + BN_LINK_HEADER_BYTES */
    float *activations; /* [n_tokens][hidden], 64-byte aligned */
    size_t activation_bytes;
    size_t activation_capacity;
    uint64_t step_id;
} bn_link_frame;

typedef struct bn_link_config {
    uint32_t epoch;
    uint8_t secret[BN_LINK_SECRET_BYTES];
    bool has_previous, has_next;
    uint32_t previous_rank, next_rank;
    const char *own_name, *previous_name, *next_name;
    uint32_t frames_max;         /* frames lent at once, each way */
    size_t activation_capacity;  /* bytes */
    const char *local_address;   /* for a data socket */
    uint32_t port_min, port_max; /* 0, 0: any */
    void *zmq_context;
    const void *cluster_key; /* bn_cluster_key, or NULL */

    /* Called many times a second by connect, which ends with what fails here. May be NULL. */
    bn_status (*on_joining)(void *context);
    void *context;
} bn_link_config;

typedef struct bn_link_counters {
    uint64_t bytes_in, bytes_out, frames_in, frames_out; /* of steps, headers included */
    uint64_t frames_dropped;                             /* none of ours */
} bn_link_counters;

typedef struct bn_link bn_link; /* each kind has its own */

typedef struct bn_link_ops {
    const char *name; /* "mpi", "zmq", "self" */

    BN_CHECKED bn_status (*create)(const bn_link_config *config, bn_link **link_out);
    /* Frames still lent are the worker's again. */
    void (*destroy)(bn_link *link);

    /* Where the previous stage must connect; "" when it needs no address. */
    const char *(*url)(const bn_link *link);

    /* Joins the next stage and proves both sides with a probe frame, within the deadline. Call
     * on all stages; each returns when its own neighbours have answered. */
    BN_CHECKED bn_status (*connect)(bn_link *link, const char *next_url, uint32_t timeout_ms);

    /* Lends a frame to be filled by the next step that arrives. */
    BN_CHECKED bn_status (*receive_begin)(bn_link *link, bn_link_frame *frame);
    /* The oldest step that has arrived whole, or NULL. Steps arrive in step-id order. */
    BN_CHECKED bn_status (*receive_test)(bn_link *link, bn_link_frame **frame_out);

    /* Lends a frame (step_id, body_bytes, activation_bytes set) to be sent. */
    BN_CHECKED bn_status (*send_begin)(bn_link *link, bn_link_frame *frame);
    /* A frame whose sending is complete, or NULL. */
    BN_CHECKED bn_status (*send_test)(bn_link *link, bn_link_frame **frame_out);

    /* Moves transfers on; called at least once per layer while computing. */
    BN_CHECKED bn_status (*progress)(bn_link *link);

    /* Sleeps until `wake_fd` is readable, something may have arrived or been sent, or the time is
     * over. While !is_awake the transport is not touched at all: only wake_fd counts. */
    BN_CHECKED bn_status (*wait)(bn_link *link, int wake_fd, bool is_awake, uint32_t timeout_ms);

    void (*counters)(const bn_link *link, bn_link_counters *counters_out);
} bn_link_ops;

extern const bn_link_ops bn_link_self;
extern const bn_link_ops bn_link_zmq;

/* NULL in a build without MPI, or when this process was not started by a launcher. */
const bn_link_ops *bn_link_mpi_get(void);

#endif
