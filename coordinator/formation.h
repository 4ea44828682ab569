/* formation.h — members into stages: order, link, shard plan, and what each is told.
 *
 * Pure: looks at the membership, decides, fills messages.
 *
 * Memory:  plain values. Threads: one at a time.
 * Errors:  BN_ERR_LIMIT, BN_ERR_BAD_ARGUMENT or BN_ERR_REFUSED with a text that names the worker
 *          and what to do.
 */
#ifndef BN_COORDINATOR_FORMATION_H
#define BN_COORDINATOR_FORMATION_H

#include "coordinator/membership.h"
#include "model/shard_plan.h"

#include <stdio.h>

typedef struct bn_formation_config {
    const bn_model *model;
    bn_stage_limits limits; /* threads and steps_in_flight 0: filled in by _make */
    bn_plan_goal goal;
    const char *layers; /* "10,10,10,0", NULL: planned */
    bn_link_kind link;  /* AUTO, MPI or ZMQ */
    uint32_t activation;
    bool wants_dump; /* every stage writes its layers' output */
} bn_formation_config;

typedef struct bn_formation {
    uint32_t n_stages;
    bn_member *stages[BN_STAGES_MAX];
    bn_plan_worker workers[BN_STAGES_MAX];
    char names[BN_STAGES_MAX][BN_MEMBER_NAME_MAX];
    bn_stage_limits limits;
    bn_link_kind link;
    bn_shard_plan plan;
    uint8_t secret[BN_LINK_SECRET_BYTES];
} bn_formation;

/* Gives every member a stage. Rank order when all are ranks of one job, else order of joining. */
BN_CHECKED bn_status bn_formation_make(bn_membership *membership, const bn_formation_config *config,
                                       bn_formation *formation_out);

void bn_formation_assign(const bn_formation *formation, const bn_formation_config *config,
                         uint32_t epoch, uint32_t stage, bn_assign *assign_out);

/* "mpi", "zmq", "self" */
const char *bn_formation_link_name(bn_link_kind link);

/* What each stage promised and what it measured, after loading. */
void bn_formation_print_memory(const bn_formation *formation, FILE *stream);

#endif
