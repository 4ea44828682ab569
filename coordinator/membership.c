/* membership.c — a Hello is answered by a row of checks, each with a text for both sides. */
#include "coordinator/membership.h"

#include "common/alloc.h"
#include "common/log.h"
#include "common/version.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

bn_status bn_membership_init(bn_membership *membership, uint32_t n_expected, const char *model_path,
                             bn_hash128 model_identity, uint32_t activation)
{
    *membership = (bn_membership){
        .n_expected = n_expected,
        .is_expected_fixed = n_expected != 0,
        .model_path = model_path,
        .model_identity = model_identity,
        .activation = activation,
    };
    membership->members = bn_alloc(BN_STAGES_MAX, sizeof *membership->members);
    if (membership->members == NULL)
        return bn_fail(BN_ERR_NO_MEMORY, "MEMBERSHIP-MEMORY", "no memory for the worker table");
    return BN_OK;
}

void bn_membership_fini(bn_membership *membership)
{
    bn_free(membership->members);
    membership->members = NULL;
}

bn_member *bn_membership_find(bn_membership *membership, const bn_peer *peer)
{
    for (uint32_t i = 0; i < BN_STAGES_MAX; i++) {
        bn_member *member = &membership->members[i];
        if (member->is_used && member->peer.n == peer->n &&
            memcmp(member->peer.id, peer->id, peer->n) == 0)
            return member;
    }
    return NULL;
}

void bn_membership_drop(bn_membership *membership, bn_member *member)
{
    BN_ASSERT(member->is_used);
    *member = (bn_member){0};
    membership->n_members--;
    if (membership->n_members == 0 && !membership->is_expected_fixed) membership->n_expected = 0;
}

bool bn_membership_is_complete(const bn_membership *membership)
{
    if (membership->n_expected == 0 || membership->n_members < membership->n_expected) return false;
    for (uint32_t i = 0; i < BN_STAGES_MAX; i++)
        if (membership->members[i].is_used && !membership->members[i].is_checked) return false;
    return true;
}

void bn_member_beat(bn_member *member, const bn_heartbeat *heartbeat, uint64_t now_ms)
{
    if (heartbeat->progress != member->heartbeat.progress) member->progress_ms = now_ms;
    member->heartbeat = *heartbeat;
    member->heard_ms = now_ms;
}

const char *bn_member_name(const bn_member *member, char name_out[BN_MEMBER_NAME_MAX])
{
    char rank[32] = "", stage[96] = "";
    if (member->hello.has_ranks) snprintf(rank, sizeof rank, "rank %u on ", member->hello.rank);
    if (member->has_stage && member->span.layer_begin == member->span.layer_end)
        snprintf(stage, sizeof stage, ", stage %u: norm and head", member->stage);
    else if (member->has_stage)
        snprintf(stage, sizeof stage, ", stage %u: layers %u-%u", member->stage,
                 member->span.layer_begin, member->span.layer_end - 1);
    snprintf(name_out, BN_MEMBER_NAME_MAX, "worker %u (%s%.200s, pid %" PRIu64 "%s)",
             member->worker_id, rank, member->hello.node, member->hello.process_id, stage);
    return name_out;
}

static bn_hello_verdict refuse(bn_welcome *welcome, bool is_usage, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static bn_hello_verdict refuse(bn_welcome *welcome, bool is_usage, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(welcome->reason, sizeof welcome->reason, format, arguments);
    va_end(arguments);
    welcome->is_usage = is_usage;
    return BN_HELLO_REFUSED;
}

/* The versions and the model: what must be equal on both sides. */
static bn_hello_verdict check_equal(const bn_membership *membership, const bn_hello *hello,
                                    bn_welcome *welcome)
{
    if (hello->protocol_major != BN_PROTOCOL_MAJOR)
        return refuse(
            welcome, false,
            "the coordinator speaks protocol %d.%d (build %.80s), the worker %u.%u (build "
            "%.80s): use the same version of both",
            BN_PROTOCOL_MAJOR, BN_PROTOCOL_MINOR, bn_version_commit(), hello->protocol_major,
            hello->protocol_minor, hello->build);
    if (hello->numerics != BN_NUMERICS_VERSION)
        return refuse(
            welcome, false,
            "the coordinator computes by numeric contract %d (build %.80s), the worker by "
            "%u (build %.80s): use the same version of both",
            BN_NUMERICS_VERSION, bn_version_commit(), hello->numerics, hello->build);
    const bn_hash128 *ours = &membership->model_identity, *theirs = &hello->model_identity;
    if (hello->has_model && (ours->low != theirs->low || ours->high != theirs->high)) {
        char our_text[33], their_text[33];
        bn_hash128_text(*ours, our_text);
        bn_hash128_text(*theirs, their_text);
        return refuse(
            welcome, false,
            "the models differ: %.120s (%s) at the coordinator, %.120s (%s) at the worker "
            "on %.60s: give both the same file, or the worker no --model",
            membership->model_path, our_text, hello->model_path, their_text, hello->node);
    }
    return BN_HELLO_JOINED;
}

static bn_hello_verdict check_room(bn_membership *membership, const bn_hello *hello,
                                   bn_welcome *welcome)
{
    char name[BN_MEMBER_NAME_MAX];
    for (uint32_t i = 0; hello->has_ranks && i < BN_STAGES_MAX; i++) {
        const bn_member *member = &membership->members[i];
        if (!member->is_used || !member->hello.has_ranks) continue;
        if (member->hello.job != hello->job || member->hello.n_ranks != hello->n_ranks ||
            member->hello.rank == hello->rank)
            return refuse(
                welcome, false,
                "%.200s is here already: the same worker twice, or a second MPI job (rank "
                "%u of %u, pid %" PRIu64 " on %.60s) at this coordinator",
                bn_member_name(member, name), hello->rank, hello->n_ranks, hello->process_id,
                hello->node);
    }
    if (hello->has_ranks && hello->n_ranks > BN_STAGES_MAX)
        return refuse(welcome, true,
                      "%u ranks were started, a cluster has at most %u workers: use mpirun -np %u "
                      "or fewer",
                      hello->n_ranks, BN_STAGES_MAX, BN_STAGES_MAX);
    if (!membership->is_closed && hello->has_ranks && membership->is_expected_fixed &&
        hello->n_ranks > membership->n_expected)
        return refuse(welcome, true,
                      "%u ranks were started but the coordinator takes %u workers: use mpirun -np "
                      "%u, or start the coordinator with --workers %u",
                      hello->n_ranks, membership->n_expected, membership->n_expected,
                      hello->n_ranks);
    if (membership->is_closed ||
        (membership->n_expected != 0 && membership->n_members >= membership->n_expected))
        return refuse(welcome, false,
                      "the cluster is complete with %u workers: start the coordinator with "
                      "--workers %u to have one more",
                      membership->n_members, membership->n_members + 1);
    if (membership->n_members == BN_STAGES_MAX)
        return refuse(welcome, false, "a cluster has at most %u workers", BN_STAGES_MAX);
    return BN_HELLO_JOINED;
}

static bn_member *take_place(bn_membership *membership, const bn_hello *hello)
{
    uint32_t id = 0;
    if (hello->has_ranks && hello->rank < BN_STAGES_MAX &&
        !membership->members[hello->rank].is_used)
        id = hello->rank;
    while (membership->members[id].is_used)
        id++;
    bn_member *member = &membership->members[id];
    *member = (bn_member){.is_used = true, .worker_id = id, .joined = membership->n_joined++};
    membership->n_members++;
    return member;
}

static bn_member *find_incarnation(bn_membership *membership, const bn_hello *hello)
{
    for (uint32_t i = 0; i < BN_STAGES_MAX; i++) {
        bn_member *member = &membership->members[i];
        if (member->is_used && member->hello.incarnation[0] == hello->incarnation[0] &&
            member->hello.incarnation[1] == hello->incarnation[1])
            return member;
    }
    return NULL;
}

bn_hello_verdict bn_membership_hello(bn_membership *membership, const bn_peer *peer,
                                     const bn_hello *hello, uint64_t now_ms,
                                     bool (*is_alive)(void *context, const bn_peer *peer),
                                     void *context, bn_welcome *welcome_out, bn_member **member_out)
{
    *welcome_out = (bn_welcome){.activation = membership->activation};
    *member_out = NULL;
    if (check_equal(membership, hello, welcome_out) == BN_HELLO_REFUSED) return BN_HELLO_REFUSED;

    bn_hello_verdict verdict = BN_HELLO_REPEATED;
    bn_member *member = find_incarnation(membership, hello);
    if (member == NULL) {
        if (check_room(membership, hello, welcome_out) == BN_HELLO_REFUSED) return BN_HELLO_REFUSED;
        member = take_place(membership, hello);
        verdict = BN_HELLO_JOINED;
    } else if (bn_membership_find(membership, peer) != member) {
        char name[BN_MEMBER_NAME_MAX];
        if (is_alive(context, &member->peer))
            return refuse(welcome_out, false, "%.200s is connected already: the same worker twice",
                          bn_member_name(member, name));
        if (member->has_stage) verdict = BN_HELLO_RETURNED;
    }
    member->peer = *peer;
    member->hello = *hello;
    member->is_checked = hello->has_model;
    member->heard_ms = now_ms;
    member->progress_ms = now_ms;
    member->is_gone = false;
    if (membership->n_expected == 0) membership->n_expected = hello->has_ranks ? hello->n_ranks : 1;

    welcome_out->is_accepted = true;
    welcome_out->worker_id = member->worker_id;
    if (!hello->has_model)
        snprintf(welcome_out->model_path, sizeof welcome_out->model_path, "%s",
                 membership->model_path);
    *member_out = member;
    return verdict;
}
