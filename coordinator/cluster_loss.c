/* cluster_loss.c — who is to blame when something is missing.
 *
 * A dead rank takes its MPI job with it: the survivors are told to stop and say goodbye, and the
 * neighbours of a dead worker complain about their links. All of these are symptoms. So the first
 * sign only starts a short inquiry, in which everybody is asked for a word; named is the one whose
 * connection is closed without a goodbye, or who has been silent for too long.
 */
#include "coordinator/cluster_internal.h"

#include "common/log.h"

#include <stdio.h>
#include <string.h>

#define QUIET_MS 1200u           /* two heartbeats are missing: ask whether it is there */
#define INQUIRY_LEAST_MS 400u    /* goodbyes that are on the way must arrive first */
#define INQUIRY_GOODBYE_MS 1500u /* then a goodbye itself is the answer */
#define INQUIRY_LOSS_MS 4000u    /* longer than silence takes to be noticed */

void bn_cluster_suspect(bn_cluster *cluster, const bn_member *member, bool is_goodbye,
                        const char *text)
{
    if (cluster->trouble_ms != 0 || cluster->phase == BN_CLUSTER_JOINING) return;
    char name[BN_MEMBER_NAME_MAX];
    cluster->trouble_ms = cluster->polled_ms;
    cluster->trouble_is_goodbye = is_goodbye;
    snprintf(cluster->trouble_text, sizeof cluster->trouble_text, "%s %s: %.400s",
             bn_member_name(member, name), is_goodbye ? "was told to stop" : "reports a loss",
             text);
    bn_log_debug("LOSS-SUSPECTED", "%s", cluster->trouble_text);
}

static bn_status lost(bn_cluster *cluster, const bn_member *member, uint64_t now_ms)
{
    char name[BN_MEMBER_NAME_MAX];
    bn_member_name(member, name);
    double silent_s = (double)(now_ms - member->heard_ms) / 1000.0;
    if (member->is_gone)
        return bn_cluster_failed(cluster, bn_fail(BN_ERR_PEER_LOST, "WORKER-LOST",
                                                  "%s is gone: its connection closed without a "
                                                  "goodbye (last heard %.1f s ago)",
                                                  name, silent_s));
    return bn_cluster_failed(cluster, bn_fail(BN_ERR_PEER_LOST, "WORKER-LOST",
                                              "%s has not been heard for %.1f s", name, silent_s));
}

/* Asks everybody who has been quiet for so long; a closed connection shows at once. */
static bn_status ask_quiet(bn_cluster *cluster, uint64_t now_ms, uint32_t quiet_ms)
{
    for (uint32_t i = 0; i < cluster->formation.n_stages; i++) {
        bn_member *member = cluster->formation.stages[i];
        cluster->out.kind = BN_MESSAGE_STATS_REQUEST;
        if (member->is_gone || now_ms - member->heard_ms < quiet_ms) continue;
        BN_TRY(bn_cluster_post(cluster, member));
    }
    return BN_OK;
}

static bn_status inquire(bn_cluster *cluster, uint64_t now_ms)
{
    BN_TRY(ask_quiet(cluster, now_ms, 0));
    uint64_t elapsed_ms = now_ms - cluster->trouble_ms;
    if (elapsed_ms < INQUIRY_LEAST_MS) return BN_OK;
    for (uint32_t i = 0; i < cluster->formation.n_stages; i++) {
        const bn_member *member = cluster->formation.stages[i];
        if (member->is_gone && !member->has_said_goodbye) return lost(cluster, member, now_ms);
    }
    uint32_t limit_ms = cluster->trouble_is_goodbye ? INQUIRY_GOODBYE_MS : INQUIRY_LOSS_MS;
    if (elapsed_ms < limit_ms) return BN_OK;
    for (uint32_t i = 0; i < cluster->formation.n_stages; i++) {
        const bn_member *member = cluster->formation.stages[i];
        bool is_quiet = now_ms - member->heard_ms > QUIET_MS;
        if (is_quiet && !member->has_said_goodbye) return lost(cluster, member, now_ms);
    }
    return bn_cluster_failed(cluster,
                             bn_fail(BN_ERR_PEER_LOST, "WORKER-LOST", "%s", cluster->trouble_text));
}

/* Whose turn it is: the first stage that has not passed on what came to it. */
static const bn_member *slowest(const bn_cluster *cluster)
{
    uint64_t came = cluster->last_step;
    for (uint32_t i = 0; i < cluster->formation.n_stages; i++) {
        const bn_member *member = cluster->formation.stages[i];
        if (member->heartbeat.last_step < came) return member;
        came = member->heartbeat.last_step;
    }
    return cluster->formation.stages[cluster->formation.n_stages - 1];
}

static bn_status check_stall(bn_cluster *cluster, uint64_t now_ms)
{
    bool is_busy = cluster->phase == BN_CLUSTER_SERVING ? cluster->last_result < cluster->last_step
                                                        : cluster->phase != BN_CLUSTER_JOINING;
    if (!is_busy || cluster->config.stall_timeout_ms == 0) return BN_OK;
    uint64_t moved_ms = cluster->moved_ms;
    const bn_member *member = slowest(cluster);
    for (uint32_t i = 0; i < cluster->formation.n_stages; i++) {
        const bn_member *other = cluster->formation.stages[i];
        if (other->progress_ms > moved_ms) moved_ms = other->progress_ms;
        bool is_behind =
            cluster->phase == BN_CLUSTER_LOADING ? !other->is_loaded : !other->is_ready;
        if (cluster->phase != BN_CLUSTER_SERVING && is_behind) member = other;
    }
    if (now_ms - moved_ms < cluster->config.stall_timeout_ms) return BN_OK;
    char name[BN_MEMBER_NAME_MAX];
    return bn_cluster_failed(
        cluster, bn_fail(BN_ERR_PEER_LOST, "WORKER-STALLED",
                         "%s has stalled: it answers but nothing has moved for %.0f s "
                         "(--stall-timeout)",
                         bn_member_name(member, name), (double)(now_ms - moved_ms) / 1000.0));
}

/* Before stages are given out a loss only leaves a place free. */
static bn_status drop_silent(bn_cluster *cluster, uint64_t now_ms)
{
    for (uint32_t i = 0; i < BN_STAGES_MAX; i++) {
        bn_member *member = &cluster->membership.members[i];
        if (!member->is_used) continue;
        cluster->out.kind = BN_MESSAGE_STATS_REQUEST;
        if (now_ms - member->heard_ms > QUIET_MS) BN_TRY(bn_cluster_post(cluster, member));
        bool is_silent = now_ms - member->heard_ms > BN_MEMBER_SILENCE_MS;
        if (!is_silent && !member->is_gone && !member->has_said_goodbye) continue;
        char name[BN_MEMBER_NAME_MAX];
        bn_log_warn("WORKER-LEFT", "%s is gone before the start: %s", bn_member_name(member, name),
                    member->has_said_goodbye ? member->goodbye
                    : member->is_gone        ? "its connection is closed"
                                             : "it has not been heard for 3 s");
        bn_membership_drop(&cluster->membership, member);
    }
    return BN_OK;
}

bn_status bn_cluster_check_losses(bn_cluster *cluster, uint64_t now_ms)
{
    if (cluster->phase == BN_CLUSTER_JOINING) return drop_silent(cluster, now_ms);
    const bn_member *silent = NULL;
    for (uint32_t i = 0; i < cluster->formation.n_stages; i++) {
        const bn_member *member = cluster->formation.stages[i];
        if (now_ms - member->heard_ms <= BN_MEMBER_SILENCE_MS || member->has_said_goodbye) continue;
        if (silent == NULL || member->heard_ms < silent->heard_ms) silent = member;
    }
    if (silent != NULL) return lost(cluster, silent, now_ms);
    BN_TRY(ask_quiet(cluster, now_ms, QUIET_MS));
    if (cluster->trouble_ms != 0) return inquire(cluster, now_ms);
    return check_stall(cluster, now_ms);
}
