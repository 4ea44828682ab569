/* cluster_internal.h — the cluster's state, shared by cluster.c (the loop), cluster_form.c (from
 * listening to serving) and cluster_loss.c (who is to blame). */
#ifndef BN_COORDINATOR_CLUSTER_INTERNAL_H
#define BN_COORDINATOR_CLUSTER_INTERNAL_H

#include "coordinator/cluster.h"
#include "common/progress.h"

typedef enum bn_cluster_phase {
    BN_CLUSTER_JOINING,
    BN_CLUSTER_LOADING,
    BN_CLUSTER_CONNECTING,
    BN_CLUSTER_SERVING,
} bn_cluster_phase;

struct bn_cluster {
    bn_cluster_config config;
    bn_cluster_phase phase;
    bn_status failure; /* BN_OK while all is well */
    bn_channel *channel;
    bn_membership membership;
    bn_formation formation;
    bn_cluster_events events;
    uint32_t epoch;
    bool is_awake;
    uint64_t last_step; /* sent */
    uint64_t last_result;
    uint64_t moved_ms; /* when a step was sent or a result came */
    uint64_t polled_ms, checked_ms;
    uint64_t trouble_ms; /* when the first sign of a loss was seen; 0: none */
    bool trouble_is_goodbye;
    uint64_t refusals_ms; /* when the present window of their log lines began */
    uint32_t n_refusals;  /* in it */
    char trouble_text[BN_TEXT_MAX + BN_MEMBER_NAME_MAX];
    bn_message in, out;
    float *logits; /* aligned copy of a raw frame */
    uint32_t vocab;
};

/* Sends cluster->out. A peer that is gone is noted, not an error. */
bn_status bn_cluster_post(bn_cluster *cluster, bn_member *member);

/* Marks the cluster failed, with the text said by bn_fail before; returns `status`. */
bn_status bn_cluster_failed(bn_cluster *cluster, bn_status status);

/* cluster_loss.c */
void bn_cluster_suspect(bn_cluster *cluster, const bn_member *member, bool is_goodbye,
                        const char *text);
bn_status bn_cluster_check_losses(bn_cluster *cluster, uint64_t now_ms);

#endif
