/* cluster.c — one channel, one loop.
 *
 * Messages are handled as they come; whatever needs a clock (silence, stalls, suspicions) is
 * looked at a few times a second. A coordinator that was itself stopped for a while forgives: it
 * starts to count silence again when it goes on.
 */
#include "coordinator/cluster_internal.h"

#include "common/alloc.h"
#include "common/clock.h"
#include "common/log.h"
#include "coordinator/interrupt.h"

#include <stdio.h>
#include <string.h>

#define CHECK_INTERVAL_MS 200u
#define PAUSE_MS 1500u /* between two polls: we were stopped, not they silent */
#define MESSAGES_PER_POLL 256u
#define REFUSALS_LOGGED 20u
#define REFUSALS_WINDOW_MS 10000u
#define GOODBYE_WAIT_MS 1000u /* at the end; a worker in a long step may take longer to leave */
#define RELEASE_WAIT_MS 100u  /* nobody answers a release */

bn_status bn_cluster_failed(bn_cluster *cluster, bn_status status)
{
    if (cluster->failure == BN_OK) cluster->failure = status;
    return cluster->failure;
}

bn_status bn_cluster_open(const bn_cluster_config *config, bn_cluster **cluster_out)
{
    const bn_model *model = config->formation.model;
    bn_cluster *cluster = bn_alloc(1, sizeof *cluster);
    if (cluster == NULL)
        return bn_fail(BN_ERR_NO_MEMORY, "CLUSTER-MEMORY", "no memory for the cluster's state");
    cluster->config = *config;
    cluster->vocab = model->config.vocab;
    bn_hash128 identity;
    bn_status status = bn_gguf_identity(model->file, &identity);
    if (status != BN_OK) goto err_free;
    cluster->logits = bn_alloc(cluster->vocab, sizeof *cluster->logits);
    if (cluster->logits == NULL) {
        status =
            bn_fail(BN_ERR_NO_MEMORY, "CLUSTER-MEMORY", "no memory for %u logits", cluster->vocab);
        goto err_free;
    }
    status = bn_membership_init(&cluster->membership, config->n_workers, config->model_path,
                                identity, config->formation.activation);
    if (status != BN_OK) goto err_logits;
    status =
        bn_channel_listen(config->listen_url, &config->key, config->is_insecure, &cluster->channel);
    if (status != BN_OK) goto err_membership;
    cluster->polled_ms = bn_clock_ms();
    *cluster_out = cluster;
    return BN_OK;

err_membership:
    bn_membership_fini(&cluster->membership);
err_logits:
    bn_free(cluster->logits);
err_free:
    bn_free(cluster);
    return status;
}

/* Sends the farewell to all that can hear it; returns how many. */
static uint32_t send_home(bn_cluster *cluster, bool is_release)
{
    uint32_t n_sent = 0;
    for (uint32_t i = 0; i < BN_STAGES_MAX; i++) {
        bn_member *member = &cluster->membership.members[i];
        if (!member->is_used || member->is_gone || member->has_said_goodbye) continue;
        if (is_release) {
            cluster->out.kind = BN_MESSAGE_RELEASE;
            cluster->out.epoch_only.epoch = cluster->epoch;
        } else {
            cluster->out.kind = BN_MESSAGE_SHUTDOWN;
            snprintf(cluster->out.farewell.text, sizeof cluster->out.farewell.text,
                     "the coordinator is done");
        }
        n_sent += bn_cluster_post(cluster, member) == BN_OK && !member->is_gone;
    }
    return n_sent;
}

/* Reads until as many goodbyes have come. A connection that is closed with unread bytes is reset,
 * and a reset may destroy our farewell before the other side has read it. */
static void hear_goodbyes(bn_cluster *cluster, uint32_t n_expected, uint32_t timeout_ms)
{
    uint64_t now_ms = bn_clock_ms(), deadline_ms = now_ms + timeout_ms;
    for (uint32_t n = 0; n < n_expected && now_ms < deadline_ms; now_ms = bn_clock_ms()) {
        bn_peer peer;
        bn_status status = bn_channel_receive(cluster->channel, (uint32_t)(deadline_ms - now_ms),
                                              &peer, &cluster->in, NULL, NULL);
        if (status != BN_OK) return;
        if (cluster->in.kind != BN_MESSAGE_GOODBYE) continue;
        n += bn_membership_find(&cluster->membership, &peer) != NULL;
    }
}

void bn_cluster_close(bn_cluster *cluster)
{
    if (cluster == NULL) return;
    bool is_release = cluster->config.keeps_workers && cluster->failure == BN_OK;
    uint32_t n_sent = send_home(cluster, is_release);
    hear_goodbyes(cluster, n_sent, is_release ? RELEASE_WAIT_MS : GOODBYE_WAIT_MS);
    bn_channel_destroy(cluster->channel);
    bn_membership_fini(&cluster->membership);
    bn_free(cluster->logits);
    bn_free(cluster);
}

const char *bn_cluster_url(const bn_cluster *cluster)
{
    return bn_channel_url(cluster->channel);
}

void bn_cluster_set_events(bn_cluster *cluster, const bn_cluster_events *events)
{
    cluster->events = *events;
}

const bn_formation *bn_cluster_formation(const bn_cluster *cluster)
{
    return &cluster->formation;
}

uint32_t bn_cluster_epoch(const bn_cluster *cluster)
{
    return cluster->epoch;
}

bn_status bn_cluster_post(bn_cluster *cluster, bn_member *member)
{
    bn_status status = bn_channel_send(cluster->channel, &member->peer, &cluster->out, NULL, 0);
    if (status != BN_ERR_PEER_LOST) return status;
    member->is_gone = true;
    bn_cluster_suspect(cluster, member, false, "its connection is closed");
    return BN_OK;
}

static bn_status post_to_all(bn_cluster *cluster)
{
    for (uint32_t i = 0; i < cluster->formation.n_stages; i++)
        BN_TRY(bn_cluster_post(cluster, cluster->formation.stages[i]));
    return BN_OK;
}

bn_status bn_cluster_send(bn_cluster *cluster, bn_step *step)
{
    if (cluster->failure != BN_OK) return cluster->failure;
    BN_ASSERT(cluster->phase == BN_CLUSTER_SERVING && step->id == cluster->last_step + 1);
    if (!cluster->is_awake) {
        cluster->out.kind = BN_MESSAGE_WAKE;
        cluster->out.epoch_only.epoch = cluster->epoch;
        BN_TRY(post_to_all(cluster));
        cluster->is_awake = true;
    }
    step->epoch = cluster->epoch;
    cluster->out.kind = BN_MESSAGE_STEP;
    cluster->out.step = *step;
    BN_TRY(bn_cluster_post(cluster, cluster->formation.stages[0]));
    cluster->last_step = step->id;
    cluster->moved_ms = bn_clock_ms();
    return BN_OK;
}

bn_status bn_cluster_rest(bn_cluster *cluster)
{
    if (cluster->failure != BN_OK) return cluster->failure;
    if (!cluster->is_awake) return BN_OK;
    cluster->out.kind = BN_MESSAGE_REST;
    cluster->out.rest = (bn_rest){.epoch = cluster->epoch, .last_step = cluster->last_step};
    cluster->is_awake = false;
    return post_to_all(cluster);
}

bn_status bn_cluster_abort(bn_cluster *cluster, uint32_t slot, uint64_t last_step)
{
    if (cluster->failure != BN_OK) return cluster->failure;
    cluster->out.kind = BN_MESSAGE_ABORT;
    cluster->out.abort = (bn_abort){.epoch = cluster->epoch, .slot = slot, .last_step = last_step};
    return post_to_all(cluster);
}

static bool is_connected(void *context, const bn_peer *peer)
{
    bn_cluster *cluster = context;
    cluster->out.kind = BN_MESSAGE_STATS_REQUEST;
    return bn_channel_send(cluster->channel, peer, &cluster->out, NULL, 0) != BN_ERR_PEER_LOST;
}

/* Anyone may say hello, again and again: the log must not grow as fast. */
static void log_refusal(bn_cluster *cluster, const char *reason, uint64_t now_ms)
{
    const bn_hello *hello = &cluster->in.hello;
    if (now_ms - cluster->refusals_ms >= REFUSALS_WINDOW_MS) {
        cluster->refusals_ms = now_ms;
        cluster->n_refusals = 0;
    }
    uint32_t n = ++cluster->n_refusals;
    if (n > REFUSALS_LOGGED) return;
    bn_log_warn("WORKER-REFUSED", "refused a worker on %s (pid %llu): %s%s", hello->node,
                (unsigned long long)hello->process_id, reason,
                n == REFUSALS_LOGGED ? "; more such lines are left out for a while" : "");
}

static bn_status handle_hello(bn_cluster *cluster, const bn_peer *peer, uint64_t now_ms)
{
    bn_welcome welcome;
    bn_member *member;
    char name[BN_MEMBER_NAME_MAX];
    bn_hello_verdict verdict =
        bn_membership_hello(&cluster->membership, peer, &cluster->in.hello, now_ms, is_connected,
                            cluster, &welcome, &member);
    if (verdict == BN_HELLO_REFUSED) log_refusal(cluster, welcome.reason, now_ms);
    if (verdict == BN_HELLO_JOINED)
        bn_log_info("WORKER-JOINED", "%s has joined: %u thread%s, %s", bn_member_name(member, name),
                    member->hello.threads, member->hello.threads == 1 ? "" : "s",
                    member->hello.isa);
    if (verdict == BN_HELLO_RETURNED) {
        bn_status status = bn_fail(BN_ERR_PEER_LOST, "WORKER-RETURNED",
                                   "%s lost its connection in the middle of the work and came back",
                                   bn_member_name(member, name));
        return bn_cluster_failed(cluster, status);
    }
    cluster->out.kind = BN_MESSAGE_WELCOME;
    cluster->out.welcome = welcome;
    if (member != NULL) return bn_cluster_post(cluster, member);
    bn_status status = bn_channel_send(cluster->channel, peer, &cluster->out, NULL, 0);
    return status == BN_ERR_PEER_LOST ? BN_OK : status;
}

static bn_status handle_failure(bn_cluster *cluster, bn_member *member)
{
    char name[BN_MEMBER_NAME_MAX];
    const bn_failure *failure = &cluster->in.failure;
    /* A neighbour's complaint about a lost peer is a symptom: first see who is missing. */
    if (failure->code == BN_ERR_PEER_LOST && cluster->phase != BN_CLUSTER_JOINING) {
        bn_cluster_suspect(cluster, member, false, failure->text);
        return BN_OK;
    }
    bn_status status = failure->code < 0 ? (bn_status)failure->code : BN_ERR_PEER_LOST;
    return bn_cluster_failed(cluster, bn_fail(status, "WORKER-FAILED", "%s reports: %s",
                                              bn_member_name(member, name), failure->text));
}

static bn_status handle_result(bn_cluster *cluster, const bn_member *member)
{
    const bn_result *result = &cluster->in.result;
    if (result->epoch != cluster->epoch) return BN_OK;
    char name[BN_MEMBER_NAME_MAX];
    if (member->stage + 1 != cluster->formation.n_stages ||
        result->step_id != cluster->last_result + 1 || result->step_id > cluster->last_step)
        return bn_cluster_failed(
            cluster,
            bn_fail(BN_ERR_BAD_MESSAGE, "RESULT-ORDER",
                    "%s sent the result of step %llu; step %llu of stage %u was due",
                    bn_member_name(member, name), (unsigned long long)result->step_id,
                    (unsigned long long)cluster->last_result + 1, cluster->formation.n_stages - 1));
    cluster->last_result = result->step_id;
    cluster->moved_ms = bn_clock_ms();
    return cluster->events.on_result(cluster->events.context, result);
}

static bn_status handle_logits(bn_cluster *cluster, const bn_member *member, const void *raw,
                               size_t n_raw)
{
    const bn_logits *logits = &cluster->in.logits;
    if (logits->epoch != cluster->epoch) return BN_OK;
    char name[BN_MEMBER_NAME_MAX];
    if (logits->n_logits != cluster->vocab || n_raw != 4 * (size_t)cluster->vocab)
        return bn_cluster_failed(cluster,
                                 bn_fail(BN_ERR_BAD_MESSAGE, "LOGITS-SIZE",
                                         "%s sent %u logits in %zu bytes; the vocabulary has %u",
                                         bn_member_name(member, name), logits->n_logits, n_raw,
                                         cluster->vocab));
    memcpy(cluster->logits, raw, n_raw);
    cluster->moved_ms = bn_clock_ms();
    return cluster->events.on_logits(cluster->events.context, logits, cluster->logits);
}

static bn_status handle(bn_cluster *cluster, const bn_peer *peer, const void *raw, size_t n_raw,
                        uint64_t now_ms)
{
    const bn_message *in = &cluster->in;
    if (in->kind == BN_MESSAGE_HELLO) return handle_hello(cluster, peer, now_ms);
    bn_member *member = bn_membership_find(&cluster->membership, peer);
    if (member == NULL) {
        bn_log_debug("STRANGER", "ignored a message (%s) from somebody who has not joined",
                     bn_message_kind_name(in->kind));
        return BN_OK;
    }
    member->heard_ms = now_ms;
    bool is_serving = cluster->phase == BN_CLUSTER_SERVING;
    switch (in->kind) {
    case BN_MESSAGE_HEARTBEAT: bn_member_beat(member, &in->heartbeat, now_ms); return BN_OK;
    case BN_MESSAGE_FAILURE: return handle_failure(cluster, member);
    case BN_MESSAGE_GOODBYE:
        member->has_said_goodbye = true;
        memcpy(member->goodbye, in->farewell.text, sizeof member->goodbye);
        bn_cluster_suspect(cluster, member, true, in->farewell.text);
        return BN_OK;
    case BN_MESSAGE_LOAD_PROGRESS:
        if (in->load_progress.epoch == cluster->epoch) member->load_progress = in->load_progress;
        member->progress_ms = now_ms;
        return BN_OK;
    case BN_MESSAGE_LOADED:
        if (in->loaded.epoch != cluster->epoch || !member->has_stage) return BN_OK;
        member->loaded = in->loaded;
        member->is_loaded = true;
        return BN_OK;
    case BN_MESSAGE_READY:
        if (in->epoch_only.epoch == cluster->epoch && member->is_loaded) member->is_ready = true;
        return BN_OK;
    case BN_MESSAGE_STATS:
        if (in->stats.epoch != cluster->epoch) return BN_OK;
        member->stats = in->stats;
        member->has_stats = true;
        return BN_OK;
    case BN_MESSAGE_RESULT: return is_serving ? handle_result(cluster, member) : BN_OK;
    case BN_MESSAGE_LOGITS: return is_serving ? handle_logits(cluster, member, raw, n_raw) : BN_OK;
    default:
        bn_log_debug("UNEXPECTED", "ignored a message (%s) that a worker should not send",
                     bn_message_kind_name(in->kind));
        return BN_OK;
    }
}

static bn_status drain(bn_cluster *cluster, bool *had_any_out)
{
    for (uint32_t i = 0; i < MESSAGES_PER_POLL; i++) {
        bn_peer peer;
        const void *raw = NULL;
        size_t n_raw = 0;
        bn_status status =
            bn_channel_receive(cluster->channel, 0, &peer, &cluster->in, &raw, &n_raw);
        if (status == BN_ERR_TIMED_OUT) return BN_OK;
        if (status != BN_OK) return bn_cluster_failed(cluster, status);
        *had_any_out = true;
        BN_TRY(handle(cluster, &peer, raw, n_raw, bn_clock_ms()));
    }
    return BN_OK;
}

/* After a long pause of our own nobody has been silent: their messages are still queued. */
static void forgive_own_pause(bn_cluster *cluster, uint64_t now_ms)
{
    if (now_ms - cluster->polled_ms > PAUSE_MS) {
        for (uint32_t i = 0; i < BN_STAGES_MAX; i++)
            cluster->membership.members[i].heard_ms = now_ms;
        cluster->moved_ms = now_ms;
    }
    cluster->polled_ms = now_ms;
}

bn_status bn_cluster_poll(bn_cluster *cluster, const int *fds, uint32_t n_fds, uint32_t timeout_ms,
                          uint32_t *ready_out)
{
    if (ready_out != NULL) *ready_out = 0;
    if (cluster->failure != BN_OK) return cluster->failure;
    forgive_own_pause(cluster, bn_clock_ms());
    bool had_any = false;
    BN_TRY(drain(cluster, &had_any));

    int all[BN_CHANNEL_FDS_MAX];
    BN_ASSERT(n_fds < BN_CHANNEL_FDS_MAX);
    if (n_fds > 0) memcpy(all, fds, n_fds * sizeof *fds);
    all[n_fds] = bn_interrupt_fd();
    uint32_t n_all = n_fds + (all[n_fds] >= 0), ready = 0;
    uint32_t sleep_ms = timeout_ms < CHECK_INTERVAL_MS ? timeout_ms : CHECK_INTERVAL_MS;
    if (had_any) sleep_ms = 0; /* the caller may have something to do about it */
    bn_status status = bn_channel_wait(cluster->channel, all, n_all, sleep_ms, &ready);
    if (status != BN_OK && status != BN_ERR_TIMED_OUT && status != BN_ERR_INTERRUPTED)
        return bn_cluster_failed(cluster, status);
    if (ready_out != NULL) *ready_out = ready & ((1u << n_fds) - 1u);
    BN_TRY(drain(cluster, &had_any));

    uint64_t now_ms = bn_clock_ms();
    if (now_ms - cluster->checked_ms < CHECK_INTERVAL_MS) return BN_OK;
    cluster->checked_ms = now_ms;
    if (cluster->config.check != NULL) {
        status = cluster->config.check(cluster->config.check_context);
        if (status != BN_OK) return bn_cluster_failed(cluster, status);
    }
    return bn_cluster_check_losses(cluster, now_ms);
}

bn_status bn_cluster_collect_stats(bn_cluster *cluster, uint32_t timeout_ms)
{
    if (cluster->failure != BN_OK) return cluster->failure;
    for (uint32_t i = 0; i < cluster->formation.n_stages; i++)
        cluster->formation.stages[i]->has_stats = false;
    cluster->out.kind = BN_MESSAGE_STATS_REQUEST;
    BN_TRY(post_to_all(cluster));
    uint64_t deadline_ms = bn_clock_ms() + timeout_ms;
    for (;;) {
        bn_member *missing = NULL;
        for (uint32_t i = 0; i < cluster->formation.n_stages; i++)
            if (!cluster->formation.stages[i]->has_stats) missing = cluster->formation.stages[i];
        if (missing == NULL) return BN_OK;
        char name[BN_MEMBER_NAME_MAX];
        if (bn_clock_ms() >= deadline_ms)
            return bn_fail(BN_ERR_TIMED_OUT, "STATS-LATE", "%s has not sent its counters for %u ms",
                           bn_member_name(missing, name), timeout_ms);
        BN_TRY(bn_cluster_poll(cluster, NULL, 0, CHECK_INTERVAL_MS, NULL));
    }
}
