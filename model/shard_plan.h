/* shard_plan.h — which layers go where.
 *
 * Contiguous stages in worker order; every stage but the last has at least one layer, the
 * last may hold only norm and head. The plan minimises the slowest stage's time: bytes ÷
 * bandwidth for decode, multiply-adds ÷ compute for prefill, within each worker's memory.
 * Equal processors (bandwidth within 25 %) count as equal.
 *
 * Pure: no I/O, no clock. Memory: plain values, nothing allocated is returned.
 */
#ifndef BN_MODEL_SHARD_PLAN_H
#define BN_MODEL_SHARD_PLAN_H

#include "model/model.h"

#include <stdio.h>

#define BN_STAGES_MAX 256u

typedef enum bn_plan_goal {
    BN_PLAN_DECODE, /* the head counted whole, as log-probabilities and all logits walk it */
    BN_PLAN_PREFILL,
    BN_PLAN_SCREENED, /* decode with the head screened, as sampled tokens have it */
} bn_plan_goal;

/* "decode", "prefill", "screened", NULL: for the option tables. */
extern const char *const bn_plan_goal_names[];

typedef struct bn_plan_worker {
    double bandwidth; /* bytes per second, measured; 0: unknown, taken as equal */
    double compute;   /* multiply-adds per second; 0: unknown */
    uint64_t memory;  /* usable bytes; 0: unknown, not checked */
    const char *name; /* for messages */
} bn_plan_worker;

typedef struct bn_plan_stage {
    bn_stage_span span;
    bn_stage_bytes bytes;
    double decode_s, prefill_s_per_token; /* predicted; 0 when unknown */
} bn_plan_stage;

typedef struct bn_shard_plan {
    uint32_t n_stages;
    bn_plan_stage stages[BN_STAGES_MAX];
    double efficiency; /* Σ time ÷ (n·slowest) */
    uint32_t slowest;
} bn_shard_plan;

/* BN_ERR_LIMIT, naming the worker and the missing bytes, when it does not fit; BN_ERR_BAD_ARGUMENT
 * when there are more stages than layers + 1. */
BN_CHECKED bn_status bn_shard_plan_make(const bn_model *model, const bn_stage_limits *limits,
                                        const bn_plan_worker *workers, uint32_t n_workers,
                                        bn_plan_goal goal, bn_shard_plan *plan_out);

/* Layers per stage as given by a person ("10,10,10,0"); must sum to the model's. */
BN_CHECKED bn_status bn_shard_plan_fixed(const bn_model *model, const bn_stage_limits *limits,
                                         const bn_plan_worker *workers, uint32_t n_workers,
                                         const char *layers, bn_shard_plan *plan_out);

/* A table for people: stage, worker, layers, weights, KV, buffers, predicted time; what limits. */
void bn_shard_plan_print(const bn_shard_plan *plan, const bn_plan_worker *workers, FILE *stream);

#endif
