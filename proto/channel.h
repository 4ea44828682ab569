/* channel.h — the control plane: a coordinator's ROUTER, a worker's DEALER, over ZeroMQ.
 *
 * The coordinator listens; workers connect and reconnect by themselves. With a cluster key
 * everything is encrypted and only holders of the same key get in (CURVE, one key pair for the
 * cluster, checked by an authenticator); without one only loopback addresses are allowed unless
 * the caller says is_insecure.
 *
 * Memory:  receive and send buffers are reserved at creation. A received raw frame stays valid
 *          until the next receive.
 * Threads: a channel belongs to the thread that uses it; bn_channel_context may be shared.
 * Errors:  BN_ERR_TIMED_OUT when nothing came; a malformed message from a peer is logged with
 *          its cause, counted and skipped, never returned.
 */
#ifndef BN_PROTO_CHANNEL_H
#define BN_PROTO_CHANNEL_H

#include "common/status.h"
#include "proto/cluster_key.h"
#include "proto/wire.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BN_PEER_ID_MAX 16u
#define BN_RAW_FRAME_MAX (4u * (1u << 20)) /* all logits of the largest vocabulary */

typedef struct bn_peer {
    uint8_t id[BN_PEER_ID_MAX];
    uint32_t n;
} bn_peer;

/* The mathematics of cluster_key.h: a new random pair; whether the public key belongs to the secret
 * one. */
BN_CHECKED bn_status bn_channel_make_key_pair(bn_cluster_key *key_out);
bool bn_channel_is_key_pair(const bn_cluster_key *key);

typedef struct bn_channel bn_channel;

/* Binds `url` (tcp://ADDRESS:PORT, port 0 or * takes a free one; bn_channel_url tells).
 * BN_ERR_REFUSED when the address is not loopback and there is neither key nor is_insecure;
 * BN_ERR_IO naming the URL when the port is in use. */
BN_CHECKED bn_status bn_channel_listen(const char *url, const bn_cluster_key *key, bool is_insecure,
                                       bn_channel **channel_out);

/* Starts connecting; returns at once. */
BN_CHECKED bn_status bn_channel_connect(const char *url, const bn_cluster_key *key,
                                        bn_channel **channel_out);
void bn_channel_destroy(bn_channel *channel);

const char *bn_channel_url(const bn_channel *channel);

/* For a connecting channel: what the connection is doing, by the transport's own events. */
typedef enum bn_channel_state {
    BN_CHANNEL_TRYING,
    BN_CHANNEL_CONNECTED,
    BN_CHANNEL_LOST /* was connected, trying again */
} bn_channel_state;
bn_channel_state bn_channel_state_now(bn_channel *channel);
/* The last reason in plain words: "connection refused", "no route to host", "unknown host name",
 * "not a coordinator (handshake failed)", "the cluster key is not accepted"; "" if none. */
const char *bn_channel_trouble(bn_channel *channel);
/* Number of times a connection has been lost; a change means: everything said before is void. */
uint64_t bn_channel_losses(bn_channel *channel);

/* The local IP address of the connection (without port), for binding a data socket to it. */
BN_CHECKED bn_status bn_channel_local_address(bn_channel *channel, char *text_out, size_t n);

/* Sends now or says why not: BN_ERR_PEER_LOST when the peer is gone, BN_ERR_LIMIT when its queue
 * is full. `peer` is NULL on a connecting channel. raw may be NULL. */
BN_CHECKED bn_status bn_channel_send(bn_channel *channel, const bn_peer *peer,
                                     const bn_message *message, const void *raw, size_t n_raw);

/* Next message. peer_out may be NULL on a connecting channel; raw_out may be NULL: then a raw
 * frame is dropped. */
BN_CHECKED bn_status bn_channel_receive(bn_channel *channel, uint32_t timeout_ms, bn_peer *peer_out,
                                        bn_message *message_out, const void **raw_out,
                                        size_t *n_raw_out);

/* Sleeps until a message (or connection event) may be there, one of the file descriptors is
 * readable (bit i of *ready_out), or the time is over. At most BN_CHANNEL_FDS_MAX descriptors. */
#define BN_CHANNEL_FDS_MAX 8
BN_CHECKED bn_status bn_channel_wait(bn_channel *channel, const int *fds, uint32_t n_fds,
                                     uint32_t timeout_ms, uint32_t *ready_out);

/* The ZeroMQ context, so that data sockets share it and its authenticator. */
void *bn_channel_context(bn_channel *channel);

uint64_t bn_channel_malformed(const bn_channel *channel);

#endif
