/* cluster_form.c — from listening to serving: join, plan, load, connect. */
#include "coordinator/cluster_internal.h"

#include "common/clock.h"
#include "common/host.h"
#include "common/log.h"
#include "coordinator/interrupt.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define NOTICE_INTERVAL_MS 5000u
#define POLL_MS 200u

static bool is_loopback(const char *url)
{
    return strncmp(url, "tcp://127.", 10) == 0 || strncmp(url, "tcp://[::1]", 11) == 0 ||
           strncmp(url, "tcp://localhost", 15) == 0;
}

/* What to type where, exactly. */
static void print_advice(const bn_cluster *cluster)
{
    const char *url = bn_cluster_url(cluster), *port = strrchr(url, ':');
    const char *key = cluster->config.key.is_set ? " --cluster-key KEYFILE" : "";
    bool is_wild = strncmp(url, "tcp://0.0.0.0:", 14) == 0 || strncmp(url, "tcp://*:", 8) == 0;
    char host[256];
    bn_host_name(host, sizeof host);
    fprintf(stderr, "listening on %s\n", url);
    if (cluster->config.is_local) return;
    fprintf(stderr, "start workers here:  bitnet-worker --coordinator %s%s%s\n",
            is_wild ? "tcp://127.0.0.1" : url, is_wild ? port : "", key);
    if (is_loopback(url))
        fprintf(stderr,
                "for another machine: bitnet-coordinator keygen KEYFILE, copy KEYFILE there, start "
                "this\n"
                "  coordinator with --listen 'tcp://0.0.0.0%s' --cluster-key KEYFILE, and there\n"
                "  bitnet-worker --coordinator tcp://%s%s --cluster-key KEYFILE\n",
                port, host, port);
    else if (is_wild)
        fprintf(stderr, "on other machines:   bitnet-worker --coordinator tcp://%s%s%s\n", host,
                port, key);
    else
        fprintf(stderr, "on other machines:   the same command\n");
}

/* "worker 0 (…), worker 1 (…)" */
static void list_members(const bn_cluster *cluster, char *text_out, size_t n)
{
    char name[BN_MEMBER_NAME_MAX];
    size_t at = 0;
    text_out[0] = '\0';
    for (uint32_t i = 0; i < BN_STAGES_MAX && at + 1 < n; i++) {
        const bn_member *member = &cluster->membership.members[i];
        if (!member->is_used) continue;
        int wrote = snprintf(text_out + at, n - at, "%s%s", at == 0 ? "" : ", ",
                             bn_member_name(member, name));
        if (wrote > 0) at += (size_t)wrote;
    }
}

static bn_status too_few(const bn_cluster *cluster)
{
    char list[1024];
    list_members(cluster, list, sizeof list);
    const bn_membership *membership = &cluster->membership;
    uint32_t waited_s = cluster->config.join_timeout_ms / 1000, n = membership->n_expected;
    if (membership->n_members == 0)
        return bn_fail(BN_ERR_TIMED_OUT, "WORKERS-MISSING",
                       "0 of %u workers have joined at %s in %u s: start them with mpirun -np %u "
                       "bitnet-worker, or here with --local %u",
                       n != 0 ? n : 1, bn_cluster_url(cluster), waited_s, n != 0 ? n : 4,
                       n != 0 ? n : 4);
    return bn_fail(BN_ERR_TIMED_OUT, "WORKERS-MISSING",
                   "only %u of %u workers have joined at %s in %u s: %s", membership->n_members, n,
                   bn_cluster_url(cluster), waited_s, list);
}

/* One turn of a wait, in which an interrupt counts. */
static bn_status wait_turn(bn_cluster *cluster)
{
    BN_TRY(bn_cluster_poll(cluster, NULL, 0, POLL_MS, NULL));
    return bn_interrupt_count() > 0 ? BN_ERR_INTERRUPTED : BN_OK;
}

static bn_status join(bn_cluster *cluster)
{
    const bn_membership *membership = &cluster->membership;
    uint64_t began_ms = bn_clock_ms(), notice_ms = began_ms;
    print_advice(cluster);
    while (!bn_membership_is_complete(membership)) {
        BN_TRY(wait_turn(cluster));
        uint64_t now_ms = bn_clock_ms();
        uint32_t limit_ms = cluster->config.join_timeout_ms;
        if (limit_ms != 0 && now_ms - began_ms >= limit_ms &&
            !bn_membership_is_complete(membership))
            return bn_cluster_failed(cluster, too_few(cluster));
        if (now_ms - notice_ms < NOTICE_INTERVAL_MS) continue;
        notice_ms = now_ms;
        if (membership->n_expected == 0)
            bn_log_info("WAITING", "waiting for workers at %s", bn_cluster_url(cluster));
        else
            bn_log_info("WAITING", "waiting for workers at %s: %u of %u are here",
                        bn_cluster_url(cluster), membership->n_members, membership->n_expected);
    }
    return BN_OK;
}

static bn_status load(bn_cluster *cluster)
{
    bn_formation *formation = &cluster->formation;
    cluster->phase = BN_CLUSTER_LOADING;
    cluster->moved_ms = bn_clock_ms();
    uint64_t total = 0;
    for (uint32_t i = 0; i < formation->n_stages; i++) {
        cluster->out.kind = BN_MESSAGE_ASSIGN;
        bn_formation_assign(formation, &cluster->config.formation, cluster->epoch, i,
                            &cluster->out.assign);
        BN_TRY(bn_cluster_post(cluster, formation->stages[i]));
        total += formation->plan.stages[i].bytes.weights;
    }
    bn_progress progress;
    bn_progress_begin(&progress, "loading", total);
    bn_status status = BN_OK;
    for (bool is_done = false; !is_done && status == BN_OK;) {
        status = wait_turn(cluster);
        uint64_t done = 0;
        is_done = true;
        for (uint32_t i = 0; i < formation->n_stages; i++) {
            const bn_member *member = formation->stages[i];
            is_done = is_done && member->is_loaded;
            done += member->is_loaded ? formation->plan.stages[i].bytes.weights
                                      : member->load_progress.done_bytes;
        }
        bn_progress_update(&progress, done < total ? done : total);
    }
    bn_progress_end(&progress);
    return status;
}

static bn_status connect_stages(bn_cluster *cluster)
{
    bn_formation *formation = &cluster->formation;
    cluster->phase = BN_CLUSTER_CONNECTING;
    cluster->moved_ms = bn_clock_ms();
    for (uint32_t i = 0; i < formation->n_stages; i++) {
        cluster->out.kind = BN_MESSAGE_CONNECT;
        cluster->out.connect = (bn_connect){.epoch = cluster->epoch};
        if (i + 1 < formation->n_stages)
            memcpy(cluster->out.connect.next_url, formation->stages[i + 1]->loaded.link_url,
                   sizeof cluster->out.connect.next_url);
        BN_TRY(bn_cluster_post(cluster, formation->stages[i]));
    }
    for (bool is_done = false; !is_done;) {
        BN_TRY(wait_turn(cluster));
        is_done = true;
        for (uint32_t i = 0; i < formation->n_stages; i++)
            is_done = is_done && formation->stages[i]->is_ready;
    }
    return BN_OK;
}

bn_status bn_cluster_form(bn_cluster *cluster)
{
    BN_ASSERT(cluster->phase == BN_CLUSTER_JOINING);
    BN_TRY(join(cluster));
    bn_formation *formation = &cluster->formation;
    bn_status status =
        bn_formation_make(&cluster->membership, &cluster->config.formation, formation);
    if (status != BN_OK) return bn_cluster_failed(cluster, status);
    /* Later than any epoch of an earlier coordinator that these workers may have served. */
    cluster->epoch = (uint32_t)(bn_clock_unix_ms() / 1000);
    bn_shard_plan_print(&formation->plan, formation->workers, stderr);
    BN_TRY(load(cluster));
    bn_formation_print_memory(formation, stderr);
    BN_TRY(connect_stages(cluster));
    cluster->phase = BN_CLUSTER_SERVING;
    bn_log_info("READY", "ready: %u stage%s, link %s, context %u, %u slot%s", formation->n_stages,
                formation->n_stages == 1 ? "" : "s", bn_formation_link_name(formation->link),
                formation->limits.context, formation->limits.slots,
                formation->limits.slots == 1 ? "" : "s");
    return BN_OK;
}
