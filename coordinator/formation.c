/* formation.c — one decision after the other, each with its refusal. */
#include "coordinator/formation.h"

#include "common/hash.h"
#include "common/log.h"
#include "common/progress.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define PROTOCOL_MINOR_DUMP 1u /* Assign.wants_dump */

/* Two steps per stage keep the pipeline full; fewer than four starve the prefill of one. */
#define STEPS_IN_FLIGHT_LEAST 4u

const char *bn_formation_link_name(bn_link_kind link)
{
    switch (link) {
    case BN_LINK_MPI: return "mpi";
    case BN_LINK_ZMQ: return "zmq";
    case BN_LINK_SELF: return "self";
    default: return "auto";
    }
}

static int compare_ranks(const void *a, const void *b)
{
    const bn_member *x = *(bn_member *const *)a, *y = *(bn_member *const *)b;
    return x->hello.rank < y->hello.rank ? -1 : x->hello.rank > y->hello.rank;
}

static int compare_joined(const void *a, const void *b)
{
    const bn_member *x = *(bn_member *const *)a, *y = *(bn_member *const *)b;
    return x->joined < y->joined ? -1 : x->joined > y->joined;
}

/* Fills the stages in order; true when all are ranks of one whole job. */
static bool order_members(const bn_membership *membership, bn_formation *formation)
{
    bool is_one_job = true;
    for (uint32_t i = 0; i < BN_STAGES_MAX; i++) {
        bn_member *member = &membership->members[i];
        if (!member->is_used) continue;
        formation->stages[formation->n_stages++] = member;
        is_one_job =
            is_one_job && member->hello.has_ranks && member->hello.n_ranks == membership->n_members;
    }
    qsort(formation->stages, formation->n_stages, sizeof(bn_member *),
          is_one_job ? compare_ranks : compare_joined);
    return is_one_job;
}

static bn_status choose_link(const bn_formation_config *config, bool is_one_job,
                             bn_formation *formation)
{
    char name[BN_MEMBER_NAME_MAX];
    formation->link = BN_LINK_SELF;
    if (formation->n_stages == 1) return BN_OK;
    const bn_member *without = NULL;
    for (uint32_t i = 0; i < formation->n_stages; i++)
        if (!formation->stages[i]->hello.has_mpi) without = formation->stages[i];
    bool can_mpi = is_one_job && without == NULL;
    if (config->link == BN_LINK_MPI && !is_one_job)
        return bn_fail(BN_ERR_REFUSED, "LINK-MPI",
                       "--link mpi needs all workers in one MPI job: start them with mpirun -np %u "
                       "bitnet-worker",
                       formation->n_stages);
    if (config->link == BN_LINK_MPI && !can_mpi)
        return bn_fail(BN_ERR_REFUSED, "LINK-MPI",
                       "%s cannot link by MPI: it was built without MPI or started with --link zmq",
                       bn_member_name(without, name));
    formation->link = can_mpi && config->link != BN_LINK_ZMQ ? BN_LINK_MPI : BN_LINK_ZMQ;
    return BN_OK;
}

static bool is_alike(const bn_hello *a, const bn_hello *b)
{
    return strcmp(a->node, b->node) == 0 && strcmp(a->isa, b->isa) == 0 && a->threads == b->threads;
}

/* Workers of one host measure at the same time and so disturb each other: alike ones get the
 * average, so that equal ones are planned as equal. */
static void describe_workers(bn_formation *formation)
{
    for (uint32_t i = 0; i < formation->n_stages; i++) {
        const bn_hello *hello = &formation->stages[i]->hello;
        bn_plan_worker *worker = &formation->workers[i];
        double bandwidth = 0.0, compute = 0.0;
        uint32_t n_alike = 0;
        for (uint32_t k = 0; k < formation->n_stages; k++) {
            const bn_hello *other = &formation->stages[k]->hello;
            if (!is_alike(hello, other)) continue;
            bandwidth += other->bandwidth;
            compute += other->compute;
            n_alike++;
        }
        worker->bandwidth = bandwidth / n_alike;
        worker->compute = compute / n_alike;
        worker->memory = hello->memory_bytes;
        worker->name = bn_member_name(formation->stages[i], formation->names[i]);
    }
}

static void fill_limits(const bn_formation_config *config, bn_formation *formation)
{
    formation->limits = config->limits;
    for (uint32_t i = 0; i < formation->n_stages; i++)
        if (formation->stages[i]->hello.threads > formation->limits.threads)
            formation->limits.threads = formation->stages[i]->hello.threads;
    uint32_t *steps = &formation->limits.steps_in_flight;
    if (*steps == 0) *steps = 2 * formation->n_stages;
    if (*steps < STEPS_IN_FLIGHT_LEAST && config->limits.steps_in_flight == 0)
        *steps = STEPS_IN_FLIGHT_LEAST;
    if (*steps > BN_STEPS_IN_FLIGHT_MAX) *steps = BN_STEPS_IN_FLIGHT_MAX;
}

/* An older worker would pass over the wish. */
static bn_status check_dump(const bn_formation_config *config, const bn_formation *formation)
{
    for (uint32_t i = 0; i < formation->n_stages && config->wants_dump; i++)
        if (formation->stages[i]->hello.protocol_minor < PROTOCOL_MINOR_DUMP)
            return bn_fail(BN_ERR_UNSUPPORTED, "PLAN-DUMP",
                           "%s is an older build, which cannot dump: update it",
                           formation->names[i]);
    return BN_OK;
}

bn_status bn_formation_make(bn_membership *membership, const bn_formation_config *config,
                            bn_formation *formation_out)
{
    bn_formation *formation = formation_out;
    *formation = (bn_formation){0};
    bool is_one_job = order_members(membership, formation);
    BN_TRY(choose_link(config, is_one_job, formation));
    describe_workers(formation);
    fill_limits(config, formation);
    BN_TRY(check_dump(config, formation));
    if (config->layers != NULL)
        BN_TRY(bn_shard_plan_fixed(config->model, &formation->limits, formation->workers,
                                   formation->n_stages, config->layers, &formation->plan));
    else
        BN_TRY(bn_shard_plan_make(config->model, &formation->limits, formation->workers,
                                  formation->n_stages, config->goal, &formation->plan));
    BN_TRY(bn_hash_random(formation->secret, sizeof formation->secret));
    for (uint32_t i = 0; i < formation->n_stages; i++) {
        bn_member *member = formation->stages[i];
        member->has_stage = true;
        member->stage = i;
        member->span = formation->plan.stages[i].span;
    }
    membership->is_closed = true;
    return BN_OK;
}

void bn_formation_assign(const bn_formation *formation, const bn_formation_config *config,
                         uint32_t epoch, uint32_t stage, bn_assign *assign_out)
{
    const bn_stage_span *span = &formation->plan.stages[stage].span;
    const bn_stage_limits *limits = &formation->limits;
    *assign_out = (bn_assign){
        .epoch = epoch,
        .stage = stage,
        .n_stages = formation->n_stages,
        .layer_begin = span->layer_begin,
        .layer_end = span->layer_end,
        .has_embedding = span->has_embedding,
        .has_head = span->has_head,
        .context = limits->context,
        .slots = limits->slots,
        .kv_pages = limits->kv_pages,
        .step_tokens = limits->step_tokens,
        .steps_in_flight = limits->steps_in_flight,
        .activation = config->activation,
        .wants_dump = config->wants_dump,
        .link = formation->link,
        .has_previous = stage > 0,
        .has_next = stage + 1 < formation->n_stages,
    };
    memcpy(assign_out->link_secret, formation->secret, sizeof assign_out->link_secret);
    char name[BN_MEMBER_NAME_MAX];
    if (assign_out->has_previous) {
        const bn_member *previous = formation->stages[stage - 1];
        assign_out->previous_rank = previous->hello.rank;
        snprintf(assign_out->previous_name, sizeof assign_out->previous_name, "%s",
                 bn_member_name(previous, name));
    }
    if (assign_out->has_next) {
        const bn_member *next = formation->stages[stage + 1];
        assign_out->next_rank = next->hello.rank;
        snprintf(assign_out->next_name, sizeof assign_out->next_name, "%s",
                 bn_member_name(next, name));
    }
}

void bn_formation_print_memory(const bn_formation *formation, FILE *stream)
{
    fprintf(stream, "memory      promised   reserved   resident\n");
    for (uint32_t i = 0; i < formation->n_stages; i++) {
        const bn_stage_bytes *promised = &formation->plan.stages[i].bytes;
        const bn_loaded *loaded = &formation->stages[i]->loaded;
        char texts[3][16];
        bn_progress_bytes_text(promised->weights + promised->kv + promised->buffers, texts[0]);
        bn_progress_bytes_text(loaded->weights_bytes + loaded->kv_bytes + loaded->buffers_bytes,
                               texts[1]);
        bn_progress_bytes_text(loaded->resident_bytes, texts[2]);
        fprintf(stream, "stage %-3u %10s %10s %10s   %s\n", i, texts[0], texts[1], texts[2],
                formation->names[i]);
    }
}
