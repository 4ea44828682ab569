/* cluster.h — the workers as one thing that takes steps and gives results.
 *
 * One event loop, driven by bn_cluster_poll, which the caller must call at least every second:
 * it joins workers, hears heartbeats, notices losses and hands results out. Between _form and
 * the end the cluster either serves or has failed; a failed one names who was lost and stays so.
 *
 * Memory:  all messages are decoded into one reserved struct; nothing is allocated per step.
 * Threads: one.
 * Errors:  BN_ERR_PEER_LOST with a text naming the worker; BN_ERR_INTERRUPTED when a signal came
 *          while the cluster was being formed.
 */
#ifndef BN_COORDINATOR_CLUSTER_H
#define BN_COORDINATOR_CLUSTER_H

#include "coordinator/formation.h"

typedef struct bn_cluster_config {
    const char *listen_url;
    bn_cluster_key key;
    bool is_insecure;
    bool is_local;            /* the workers are started here: no advice on how to start them */
    bool keeps_workers;       /* at the end they are released, not shut down */
    const char *model_path;   /* absolute: workers without --model open it */
    uint32_t n_workers;       /* 0: the size of the MPI job, 1 without one */
    uint32_t join_timeout_ms; /* 0: for ever */
    uint32_t stall_timeout_ms;
    bn_formation_config formation;

    /* Called a few times a second; a failure ends the wait it happened in. May be NULL. */
    bn_status (*check)(void *context);
    void *check_context;
} bn_cluster_config;

typedef struct bn_cluster_events {
    bn_status (*on_result)(void *context, const bn_result *result);
    bn_status (*on_logits)(void *context, const bn_logits *logits, const float *values);
    void *context;
} bn_cluster_events;

typedef struct bn_cluster bn_cluster;

/* Listens. The config's pointers must stay valid. */
BN_CHECKED bn_status bn_cluster_open(const bn_cluster_config *config, bn_cluster **cluster_out);
/* Sends the workers home and closes. */
void bn_cluster_close(bn_cluster *cluster);

const char *bn_cluster_url(const bn_cluster *cluster);

/* Waits for the workers, plans, has them load and connect. */
BN_CHECKED bn_status bn_cluster_form(bn_cluster *cluster);

void bn_cluster_set_events(bn_cluster *cluster, const bn_cluster_events *events);

/* Handles what has come, sleeping at most timeout_ms for it or for a descriptor (bit i of
 * *ready_out); an interrupt ends the sleep too. A status from an event is passed on. */
BN_CHECKED bn_status bn_cluster_poll(bn_cluster *cluster, const int *fds, uint32_t n_fds,
                                     uint32_t timeout_ms, uint32_t *ready_out);

/* Sends a step (its epoch is filled in); wakes the workers if they rest. */
BN_CHECKED bn_status bn_cluster_send(bn_cluster *cluster, bn_step *step);
/* Nothing is outstanding and nothing follows at once: the workers may sleep. */
BN_CHECKED bn_status bn_cluster_rest(bn_cluster *cluster);
/* Advice that steps of `slot` up to `last_step` need no arithmetic. */
BN_CHECKED bn_status bn_cluster_abort(bn_cluster *cluster, uint32_t slot, uint64_t last_step);

/* Asks every worker for its counters and waits for them. */
BN_CHECKED bn_status bn_cluster_collect_stats(bn_cluster *cluster, uint32_t timeout_ms);

const bn_formation *bn_cluster_formation(const bn_cluster *cluster);
uint32_t bn_cluster_epoch(const bn_cluster *cluster);

#endif
