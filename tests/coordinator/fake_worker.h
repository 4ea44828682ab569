/* fake_worker.h — workers that speak the protocol but compute nothing: threads in the test.
 *
 * Their "model" is a hash: the logit of an id after a token at a position. So the right answer can
 * be told without any of the code under test. Steps go through all fake stages of one crew in
 * order, by memory instead of links.
 *
 * Threads: one per worker; the crew is shared under its mutex.
 */
#ifndef BN_TESTS_COORDINATOR_FAKE_WORKER_H
#define BN_TESTS_COORDINATOR_FAKE_WORKER_H

#include "proto/channel.h"

#include <pthread.h>
#include <stdatomic.h>

#define FAKE_STAGES_MAX 8u

typedef enum fake_fault {
    FAKE_NONE,
    FAKE_OTHER_MODEL, /* says hello with another model */
    FAKE_OTHER_NUMERICS,
    FAKE_DIES,         /* after `fault_step` its connection closes */
    FAKE_FALLS_SILENT, /* its connection stays, it says nothing */
    FAKE_IS_STOPPED,   /* says goodbye, then its connection closes */
    FAKE_STALLS,       /* beats, but does not compute */
    FAKE_REPORTS,      /* sends a failure */
} fake_fault;

typedef struct fake_crew {
    pthread_mutex_t mutex;
    bn_step steps[64]; /* a ring: what stage 0 has got */
    _Atomic uint64_t n_steps;
    _Atomic uint64_t n_passed[FAKE_STAGES_MAX];
    uint32_t vocab;
    bn_hash128 identity;
    char url[BN_URL_MAX];
    _Atomic bool is_ending;
} fake_crew;

typedef struct fake_worker {
    fake_crew *crew;
    fake_fault fault;
    uint64_t fault_step; /* steps that it passes on before its fault shows */
    bool has_ranks, has_mpi;
    uint32_t rank, n_ranks;
    uint64_t job;
    uint64_t number; /* makes its incarnation */
    uint32_t process_id;

    pthread_t thread;
    /* What happened, readable after fake_worker_join. */
    _Atomic bool was_refused, was_shut_down;
    bool was_usage;
    char reason[BN_TEXT_MAX];
    uint32_t n_wakes, n_rests, n_aborts;
    bn_assign assign;
} fake_worker;

void fake_crew_init(fake_crew *crew, uint32_t vocab, bn_hash128 identity);
void fake_worker_start(fake_worker *worker);
void fake_worker_join(fake_worker *worker);

/* The logit of `id` after `token` at `position`. */
float fake_logit(uint32_t token, uint32_t position, uint32_t id);

#endif
