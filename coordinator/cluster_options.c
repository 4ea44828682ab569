/* cluster_options.c — one table; its order is the order of --help. */
#include "coordinator/cluster_options.h"

#include "common/log.h"
#include "coordinator/chat_template.h"
#include "model/shard_plan.h"
#include "proto/step.h"

#include <string.h>

static const char *const activation_names[] = {"auto", "silu", "relu2", NULL};
static const char *const link_names[] = {"auto", "mpi", "zmq", NULL}; /* as bn_link_kind */
static const char *const level_names[] = {"error", "warn", "info", "debug", "trace", NULL};

typedef bn_cluster_options options_t;

static uint32_t add_model_options(options_t *o, bn_option *table)
{
    const bn_option options[] = {
        {"Model", "model", BN_OPTION_STRING, &o->model, "FILE",
         "a GGUF file or a Hugging Face folder; workers without --model open the same path", NULL,
         0, 0, 'm', NULL},
        {"Model", "chat-template", BN_OPTION_STRING, &o->chat_template, "NAME|FILE",
         "how messages become tokens: " BN_CHAT_TEMPLATE_NAMES ",\n"
         "or a file with a template in Jinja; auto: as the model's file says",
         NULL, 0, 0, 0, NULL},
        {"Model", "activation", BN_OPTION_CHOICE, &o->activation, "NAME",
         "of the feed-forward part; auto: as the file says", activation_names, 0, 0, 0, NULL},
        {"Model", "context", BN_OPTION_U32, &o->context, "TOKENS",
         "positions per sequence; 0: the model's, at most 4096", NULL, 0, BN_CONTEXT_MAX, 'c',
         NULL},
        {"Model", "slots", BN_OPTION_U32, &o->slots, "N",
         "sequences at once, each with room for --context; 0: as many as the command needs", NULL,
         0, BN_SLOTS_MAX, 0, NULL},
    };
    memcpy(table, options, sizeof options);
    return sizeof options / sizeof options[0];
}

static uint32_t add_worker_options(options_t *o, bn_option *table)
{
    const bn_option options[] = {
        {"Workers", "listen", BN_OPTION_STRING, &o->listen, "URL",
         "where workers find this coordinator", NULL, 0, 0, 0, &o->listen_was_given},
        {"Workers", "workers", BN_OPTION_U32, &o->workers, "N",
         "wait for N workers; 0: as many as the MPI job has, 1 without MPI", NULL, 0, BN_STAGES_MAX,
         0, NULL},
        {"Workers", "local", BN_OPTION_U32, &o->local, "N",
         "start N workers on this machine and stop them at the end", NULL, 0, BN_STAGES_MAX, 0,
         NULL},
        {"Workers", "worker-threads", BN_OPTION_U32, &o->worker_threads, "N",
         "threads of each --local worker; 0: the cores divided by N", NULL, 0, 1024, 0, NULL},
        {"Workers", "worker-isa", BN_OPTION_CHOICE, &o->worker_isa, "NAME",
         "instruction set of --local workers", bn_isa_names, 0, 0, 0, NULL},
        {"Workers", "link", BN_OPTION_CHOICE, &o->link, "KIND",
         "between workers; auto: MPI when all are ranks of one job, else ZeroMQ", link_names, 0, 0,
         0, NULL},
        {"Workers", "cluster-key", BN_OPTION_STRING, &o->cluster_key, "FILE",
         "encrypt, and let only holders of this key in (made by: bitnet-coordinator keygen FILE)",
         NULL, 0, 0, 0, NULL},
        {"Workers", "insecure", BN_OPTION_FLAG, &o->is_insecure, NULL,
         "listen off loopback without a key: whoever reaches the port can join", NULL, 0, 0, 0,
         NULL},
        {"Workers", "keep-workers", BN_OPTION_FLAG, &o->keeps_workers, NULL,
         "at the end, leave the workers waiting for the next coordinator", NULL, 0, 0, 0, NULL},
        {"Workers", "join-timeout", BN_OPTION_U32, &o->join_timeout_s, "SECONDS",
         "give up when not all workers have joined; 0: never", NULL, 0, 86400, 0, NULL},
        {"Workers", "stall-timeout", BN_OPTION_U32, &o->stall_timeout_s, "SECONDS",
         "a worker that answers but does not advance is given up; 0: never", NULL, 0, 86400, 0,
         NULL},
    };
    memcpy(table, options, sizeof options);
    return sizeof options / sizeof options[0];
}

static uint32_t add_plan_options(options_t *o, bn_option *table)
{
    const bn_option options[] = {
        {"Plan", "layers", BN_OPTION_STRING, &o->layers, "N,N,...",
         "layers of each stage; else planned from what the workers measured", NULL, 0, 0, 0, NULL},
        {"Plan", "plan-for", BN_OPTION_CHOICE, &o->plan_for, "GOAL",
         "make the slowest stage fastest at this; screened: decode of sampled tokens, where the "
         "head "
         "is screened",
         bn_plan_goal_names, 0, 0, 0, NULL},
        {"Plan", "prefill-chunk", BN_OPTION_U32, &o->prefill_chunk, "TOKENS",
         "of a prompt in one step; 0: by length and stages, at most 128", NULL, 0,
         BN_STEP_TOKENS_MAX, 0, NULL},
        {"Plan", "steps-in-flight", BN_OPTION_U32, &o->steps_in_flight, "N",
         "most steps without a result; 0: two per stage, 4 to 16", NULL, 0, BN_STEPS_IN_FLIGHT_MAX,
         0, NULL},
        {"Testing", "companions", BN_OPTION_U32, &o->companions, "N",
         "random sequences that run beside (the answer must not change)", NULL, 0, 64, 0, NULL},
        {"Testing", "stats-out", BN_OPTION_STRING, &o->stats_out, "FILE",
         "write every worker's counters as JSON at the end", NULL, 0, 0, 0, NULL},
        {"Other", "log-level", BN_OPTION_CHOICE, &o->log_level, "LEVEL", "what goes to stderr",
         level_names, 0, 0, 0, NULL},
        {NULL, NULL, BN_OPTION_FLAG, NULL, NULL, NULL, NULL, 0, 0, 0, NULL},
    };
    memcpy(table, options, sizeof options);
    return sizeof options / sizeof options[0];
}

void bn_cluster_options_init(bn_cluster_options *options,
                             bn_option table_out[BN_CLUSTER_OPTIONS_MAX])
{
    *options = (bn_cluster_options){
        .listen = BN_LISTEN_DEFAULT,
        .join_timeout_s = 60,
        .stall_timeout_s = 30,
        .log_level = BN_LOG_INFO,
    };
    uint32_t n = add_model_options(options, table_out);
    n += add_worker_options(options, table_out + n);
    n += add_plan_options(options, table_out + n);
    BN_ASSERT(n <= BN_CLUSTER_OPTIONS_MAX);
}
