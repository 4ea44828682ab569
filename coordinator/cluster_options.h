/* cluster_options.h — the options that every command with workers shares.
 *
 * Memory: strings point into argv or the environment. Threads: any.
 */
#ifndef BN_COORDINATOR_CLUSTER_OPTIONS_H
#define BN_COORDINATOR_CLUSTER_OPTIONS_H

#include "common/options.h"

#define BN_CLUSTER_OPTIONS_MAX 32
#define BN_LISTEN_DEFAULT "tcp://127.0.0.1:7070"

typedef struct bn_cluster_options {
    const char *model;
    uint32_t activation;       /* bn_activation_choice */
    const char *chat_template; /* a name or a file */
    const char *listen;
    bool listen_was_given;
    uint32_t workers, local, worker_threads, worker_isa;
    uint32_t link; /* bn_link_kind */
    const char *cluster_key;
    bool is_insecure, keeps_workers;
    uint32_t join_timeout_s, stall_timeout_s;
    uint32_t context, slots, prefill_chunk, steps_in_flight;
    const char *layers;
    uint32_t plan_for; /* bn_plan_goal */
    const char *stats_out;
    uint32_t companions;
    uint32_t log_level;
} bn_cluster_options;

/* Fills defaults and the table that parses into `options`. */
void bn_cluster_options_init(bn_cluster_options *options,
                             bn_option table_out[BN_CLUSTER_OPTIONS_MAX]);

#endif
