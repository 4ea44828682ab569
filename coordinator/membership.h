/* membership.h — who has joined, who may, and who is still there.
 *
 * Pure bookkeeping: no sockets, no clock of its own. cluster.c feeds it messages and times and
 * sends what it answers.
 *
 * Memory:  one table of BN_STAGES_MAX members, owned by the membership.
 * Threads: one at a time.
 * Errors:  refusals are texts for both sides, not statuses.
 */
#ifndef BN_COORDINATOR_MEMBERSHIP_H
#define BN_COORDINATOR_MEMBERSHIP_H

#include "common/status.h"
#include "model/shard_plan.h"
#include "proto/channel.h"

#include <stdbool.h>
#include <stdint.h>

#define BN_MEMBER_SILENCE_MS 3000u /* without a word: lost */
#define BN_MEMBER_NAME_MAX 384u

typedef struct bn_member {
    bool is_used;
    uint32_t worker_id; /* its index in the table */
    uint64_t joined;    /* counts up: the order of joining */
    bn_peer peer;
    bn_hello hello;
    bool is_checked; /* has said which model it holds, and it is ours */
    uint64_t heard_ms;

    bn_heartbeat heartbeat;
    uint64_t progress_ms; /* when heartbeat.progress last changed */

    bool has_said_goodbye; /* told to stop: not the cause of a loss */
    bool is_gone;          /* its connection is closed */
    char goodbye[BN_TEXT_MAX];

    bool has_stage, is_loaded, is_ready, has_stats;
    uint32_t stage;
    bn_stage_span span;
    bn_load_progress load_progress;
    bn_loaded loaded;
    bn_stats stats;
} bn_member;

typedef struct bn_membership {
    bn_member *members; /* [BN_STAGES_MAX], by worker id */
    uint32_t n_members;
    uint32_t n_expected;    /* 0: not known yet */
    bool is_expected_fixed; /* --workers or --local said so; else the job's size */
    bool is_closed;         /* the stages are given out: nobody may join */
    uint64_t n_joined;
    const char *model_path;
    bn_hash128 model_identity;
    uint32_t activation;
} bn_membership;

/* `n_expected` 0: the size of the MPI job, 1 without one. */
BN_CHECKED bn_status bn_membership_init(bn_membership *membership, uint32_t n_expected,
                                        const char *model_path, bn_hash128 model_identity,
                                        uint32_t activation);
void bn_membership_fini(bn_membership *membership);

typedef enum bn_hello_verdict {
    BN_HELLO_JOINED,   /* a new member; welcome it */
    BN_HELLO_REPEATED, /* a member, again (with its model, or on a new connection) */
    BN_HELLO_REFUSED,
    BN_HELLO_RETURNED, /* a member that has lost what it was given: the cluster is broken */
} bn_hello_verdict;

/* Takes a Hello and fills the Welcome to answer with. `is_alive` tells whether a peer's connection
 * still stands. *member_out is NULL when refused. */
bn_hello_verdict bn_membership_hello(bn_membership *membership, const bn_peer *peer,
                                     const bn_hello *hello, uint64_t now_ms,
                                     bool (*is_alive)(void *context, const bn_peer *peer),
                                     void *context, bn_welcome *welcome_out,
                                     bn_member **member_out);

bn_member *bn_membership_find(bn_membership *membership, const bn_peer *peer);
void bn_membership_drop(bn_membership *membership, bn_member *member);

/* All that are expected have joined and hold the model. */
bool bn_membership_is_complete(const bn_membership *membership);

/* Notes that the member has been heard, and what its heartbeat says. */
void bn_member_beat(bn_member *member, const bn_heartbeat *heartbeat, uint64_t now_ms);

/* "worker 2 (rank 2 on node7, pid 1234, stage 1: layers 10-19)" */
const char *bn_member_name(const bn_member *member, char name_out[BN_MEMBER_NAME_MAX]);

#endif
