/* assignment.h — is an Assign possible for this model and this machine?
 *
 * Pure: looks, decides, fills. Memory: plain values. Threads: any.
 * Errors:  BN_ERR_BAD_MESSAGE for what cannot be meant, BN_ERR_LIMIT, with the figures, for what
 *          does not fit.
 */
#ifndef BN_WORKER_ASSIGNMENT_H
#define BN_WORKER_ASSIGNMENT_H

#include "model/model.h"
#include "proto/wire.h"

typedef struct bn_assignment {
    bn_stage_span span;
    bn_stage_limits limits;
    bn_stage_bytes bytes;
} bn_assignment;

typedef struct bn_assignment_host {
    uint32_t threads;
    uint64_t memory_bytes;  /* that the stage may take */
    const char *limited_by; /* what says so: "--memory", "cgroup memory limit" */
} bn_assignment_host;

BN_CHECKED bn_status bn_assignment_check(const bn_assign *assign, const bn_model *model,
                                         const bn_assignment_host *host,
                                         bn_assignment *assignment_out);

#endif
