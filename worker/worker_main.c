/* worker_main.c — options, then signals, MPI, threads, probe, model, control, the loop; and back.
 *
 * Signals are blocked before anything starts a thread, so that only the control thread, which
 * waits for them, ever sees one.
 */
#include "worker/worker_main.h"

#include "common/alloc.h"
#include "common/hash.h"
#include "common/host.h"
#include "common/log.h"
#include "common/options.h"
#include "common/version.h"
#include "proto/cluster_key.h"
#include "worker/host_probe.h"
#include "worker/mpi_world.h"
#include "worker/worker.h"

#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SPIN_US 50u
#define EXIT_FAILED 1
#define EXIT_USAGE 2

typedef struct settings {
    const char *coordinator, *model, *cluster_key, *link_ports, *dump;
    uint32_t threads, link, isa, head, join_timeout_s, rejoin_s, log_level;
    uint64_t memory;
    uint32_t port_min, port_max;
} settings;

static settings options = {
    .coordinator = "tcp://127.0.0.1:7070",
    .join_timeout_s = 60,
    .rejoin_s = 30,
    .log_level = BN_LOG_INFO,
};

static const char *const link_names[] = {"auto", "mpi", "zmq", NULL};          /* as bn_link_kind */
static const char *const head_mode_names[] = {"auto", "full", "screen", NULL}; /* bn_head_mode */
static const char *const log_level_names[] = {"error", "warn", "info", "debug", "trace", NULL};

static const bn_option option_table[] = {
    {.group = "Cluster",
     .name = "coordinator",
     .kind = BN_OPTION_STRING,
     .target = &options.coordinator,
     .value_name = "URL",
     .help = "the coordinator's address"},
    {.group = "Cluster",
     .name = "cluster-key",
     .kind = BN_OPTION_STRING,
     .target = &options.cluster_key,
     .value_name = "FILE",
     .help = "the cluster's key (bitnet-coordinator keygen); encrypts control and links"},
    {.group = "Cluster",
     .name = "link",
     .kind = BN_OPTION_CHOICE,
     .target = &options.link,
     .value_name = "KIND",
     .help = "how activations travel: auto lets the coordinator choose",
     .choices = link_names},
    {.group = "Cluster",
     .name = "link-ports",
     .kind = BN_OPTION_STRING,
     .target = &options.link_ports,
     .value_name = "A-B",
     .help = "ports for data sockets; any free one by default"},
    {.group = "Cluster",
     .name = "join-timeout",
     .kind = BN_OPTION_U32,
     .target = &options.join_timeout_s,
     .value_name = "S",
     .help = "seconds to wait for a coordinator at start; 0 waits for ever",
     .max = 1e6},
    {.group = "Cluster",
     .name = "rejoin",
     .kind = BN_OPTION_U32,
     .target = &options.rejoin_s,
     .value_name = "S",
     .help = "seconds to wait for a coordinator that was lost",
     .max = 1e6},
    {.group = "Machine",
     .name = "model",
     .kind = BN_OPTION_STRING,
     .target = &options.model,
     .value_name = "FILE",
     .help = "the model file or folder here; by default the path that the coordinator names"},
    {.group = "Machine",
     .name = "threads",
     .kind = BN_OPTION_U32,
     .target = &options.threads,
     .value_name = "N",
     .help = "computing threads; by default the usable cores shared by the ranks of this node",
     .max = BN_THREADS_MAX},
    {.group = "Machine",
     .name = "memory",
     .kind = BN_OPTION_BYTES,
     .target = &options.memory,
     .value_name = "MAX",
     .help = "most memory that the stage may take; by default what is usable"},
    {.group = "Machine",
     .name = "isa",
     .kind = BN_OPTION_CHOICE,
     .target = &options.isa,
     .value_name = "ISA",
     .help = "instruction set; all give the same bits",
     .choices = bn_isa_names},
    {.group = "Machine",
     .name = "head",
     .kind = BN_OPTION_CHOICE,
     .target = &options.head,
     .value_name = "HOW",
     .help = "the last stage's logits: all of them (full), or those that an int8 copy of the head "
             "cannot rule out (screen); both give the same candidates",
     .choices = head_mode_names},
    {.group = "Output",
     .name = "dump",
     .kind = BN_OPTION_STRING,
     .target = &options.dump,
     .value_name = "DIR",
     .help = "lets 'bitnet-coordinator eval --dump' have this worker write the output of its "
             "layers there, as layer_NNN.npy"},
    {.group = "Output",
     .name = "log-level",
     .kind = BN_OPTION_CHOICE,
     .target = &options.log_level,
     .value_name = "LEVEL",
     .help = "how much goes to stderr",
     .choices = log_level_names},
    {.name = NULL},
};

static void print_version(void)
{
    char features[320];
    size_t n = 0;
    for (bn_isa isa = BN_ISA_SCALAR; isa < BN_ISA_COUNT && n < sizeof features; isa++)
        if (bn_kernels_get(isa) != NULL)
            n += (size_t)snprintf(features + n, sizeof features - n, "%s ", bn_isa_names[isa]);
    const char *mpi = bn_mpi_world_library();
    if (n < sizeof features)
        snprintf(features + n, sizeof features - n, "zmq curve%s%s%s",
                 mpi[0] != '\0' ? " mpi (" : "", mpi, mpi[0] != '\0' ? ")" : "");
    bn_version_print("bitnet-worker", features, stdout);
}

static const bn_option *const option_tables[] = {option_table, NULL};

static const bn_program program = {
    .name = "bitnet-worker",
    .synopsis = "[options]",
    .about = "Holds and computes a contiguous part of a model's layers for a coordinator.",
    .examples = "  mpirun -np 4 bitnet-worker\n"
                "  bitnet-worker --coordinator tcp://node1:7070 --cluster-key cluster.key",
    .tables = option_tables,
    .print_version = print_version,
};

/* "A-B" */
static bool parse_ports(const char *text, uint32_t *min_out, uint32_t *max_out)
{
    char *end;
    if (text == NULL) return true;
    if (text[0] < '0' || text[0] > '9') return false;
    unsigned long min = strtoul(text, &end, 10);
    if (*end != '-' || end[1] < '0' || end[1] > '9') return false;
    unsigned long max = strtoul(end + 1, &end, 10);
    if (*end != '\0' || min == 0 || min > max || max > UINT16_MAX) return false;
    *min_out = (uint32_t)min;
    *max_out = (uint32_t)max;
    return true;
}

static bn_status check_options(const bn_options_result *result)
{
    if (result->n_positionals > 0)
        return bn_options_usage_error(&program, "unexpected argument '%s'", result->positionals[0]);
    if (!parse_ports(options.link_ports, &options.port_min, &options.port_max))
        return bn_options_usage_error(
            &program, "invalid value for --link-ports: %s (two ports, as in 7100-7199)",
            options.link_ports);
    if (bn_kernels_get((bn_isa)options.isa) == NULL)
        return bn_options_usage_error(&program,
                                      "--isa %s: this processor does not have it; the best it "
                                      "runs is %s (--isa auto)",
                                      bn_isa_names[options.isa], bn_kernels_get(BN_ISA_AUTO)->name);
    if (strlen(options.coordinator) >= BN_URL_MAX)
        return bn_options_usage_error(&program, "--coordinator: the URL is too long");
    return BN_OK;
}

/* ---- what main holds --------------------------------------------------------------------- */

typedef struct process {
    const bn_worker_hooks *hooks;
    const bn_kernels *kernels;
    bool has_world;
    sigset_t signals;
    bn_cluster_key key;
    bn_thread_pool *pool;
    bn_model *model; /* until the worker takes it */
    bn_hello hello;
    bn_control *control;
    bn_worker *worker;
    bool is_orderly;
    int exit_code;
} process;

static void block_signals(sigset_t *signals_out)
{
    sigemptyset(signals_out);
    sigaddset(signals_out, SIGTERM);
    sigaddset(signals_out, SIGINT);
    sigaddset(signals_out, SIGHUP);
    pthread_sigmask(SIG_BLOCK, signals_out, NULL);
    signal(SIGPIPE, SIG_IGN);
}

/* A worker started by a coordinator leaves with it. */
static void start_thread(void *context, uint32_t thread_index, uint32_t n_threads)
{
    (void)context;
    (void)thread_index;
    (void)n_threads;
    bn_float_env_set();
    BN_ASSERT(bn_float_env_is_set());
}

static bn_status start_pool(process *p)
{
    uint32_t cores = bn_host_usable_cores(), n_ranks = bn_mpi_world_local_size();
    uint32_t n_threads = options.threads;
    if (n_threads == 0) n_threads = cores / n_ranks > 0 ? cores / n_ranks : 1;
    if (n_threads > BN_THREADS_MAX) n_threads = BN_THREADS_MAX;
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    if (p->has_world && cores == 1 && online > 1 && options.threads != 1)
        bn_log_warn("THREADS-BOUND",
                    "the launcher bound this rank to one of %ld cores; use mpirun --bind-to none "
                    "(or --map-by ppr:1:numa --bind-to numa)",
                    online);
    bn_thread_pool_config config = {
        .n_threads = n_threads,
        .spin_us = (uint64_t)n_threads * n_ranks > cores ? 0 : SPIN_US,
        .on_start = start_thread,
    };
    p->hello.cores = cores;
    p->hello.threads = n_threads;
    return bn_thread_pool_create(&config, &p->pool);
}

static bn_status fill_hello(process *p)
{
    bn_hello *hello = &p->hello;
    bn_host_probe probe;
    BN_TRY(bn_host_probe_run(p->pool, p->kernels, &probe));
    BN_TRY(bn_hash_random(hello->incarnation, sizeof hello->incarnation));
    hello->protocol_major = BN_PROTOCOL_MAJOR;
    hello->protocol_minor = BN_PROTOCOL_MINOR;
    hello->numerics = BN_NUMERICS_VERSION;
    snprintf(hello->build, sizeof hello->build, "%s %s", BN_VERSION, bn_version_commit());
    hello->has_ranks = p->has_world;
    hello->rank = p->has_world ? bn_mpi_world_rank() : 0;
    hello->n_ranks = p->has_world ? bn_mpi_world_size() : 0;
    hello->job = bn_mpi_world_job();
    bn_host_name(hello->node, sizeof hello->node);
    hello->process_id = (uint64_t)getpid();
    /* Ranks of one node share its memory. */
    hello->memory_bytes = bn_host_usable_memory(NULL) / bn_mpi_world_local_size();
    if (options.memory != 0 && options.memory < hello->memory_bytes)
        hello->memory_bytes = options.memory;
    snprintf(hello->isa, sizeof hello->isa, "%s", p->kernels->name);
    hello->bandwidth = probe.bandwidth;
    hello->compute = probe.compute;
    hello->has_mpi = options.link != BN_LINK_ZMQ && bn_link_mpi_get() != NULL;
    if (p->model != NULL) return bn_worker_introduce(hello, p->model);
    return BN_OK;
}

static bn_status start(process *p)
{
    if (options.cluster_key != NULL) BN_TRY(bn_cluster_key_read(options.cluster_key, &p->key));
    if (options.model != NULL)
        BN_TRY(bn_model_open(options.model, BN_ACTIVATION_FROM_FILE, &p->model));
    BN_TRY(start_pool(p));
    BN_TRY(fill_hello(p));
    bn_control_config control = {
        .url = options.coordinator,
        .key = p->key.is_set ? &p->key : NULL,
        .join_timeout_s = options.join_timeout_s,
        .rejoin_s = options.rejoin_s,
        .hello = &p->hello,
        .signals = p->signals,
    };
    BN_TRY(bn_control_create(&control, &p->control));
    bn_worker_config worker = {
        .control = p->control,
        .hello = p->hello,
        .pool = p->pool,
        .kernels = p->kernels,
        .head_mode = (bn_head_mode)options.head,
        .model_path = options.model,
        .model = p->model,
        .dump_directory = options.dump,
        .memory_max = options.memory,
        .link = (bn_link_kind)options.link,
        .port_min = options.port_min,
        .port_max = options.port_max,
        .key = p->key.is_set ? &p->key : NULL,
        .wrap_device = p->hooks->wrap_device,
    };
    BN_TRY(bn_worker_create(&worker, &p->worker));
    p->model = NULL;
    return BN_OK;
}

static void run(process *p)
{
    const bn_kernels *kernels = bn_kernels_get((bn_isa)options.isa);
    p->kernels = p->hooks->replace_kernels != NULL ? p->hooks->replace_kernels(kernels) : kernels;
    p->exit_code = EXIT_FAILED;
    if (options.link == BN_LINK_MPI && bn_link_mpi_get() == NULL) {
        (void)bn_options_usage_error(&program, "--link mpi: %s",
                                     bn_mpi_world_library()[0] == '\0'
                                         ? "this build has no MPI"
                                         : "not started by an MPI launcher (mpirun, srun)");
        p->exit_code = EXIT_USAGE;
        return;
    }
    if (start(p) == BN_OK) p->exit_code = bn_worker_run(p->worker, &p->is_orderly);
    bn_worker_destroy(p->worker);
    bn_control_destroy(p->control);
    bn_thread_pool_destroy(p->pool);
    bn_model_close(p->model);
}

int bn_worker_main(int argc, char **argv, const bn_worker_hooks *hooks)
{
    static const bn_worker_hooks no_hooks;
    static process p;
    bn_options_result parsed;
    bn_log_init("worker", BN_LOG_INFO);
    if (bn_options_parse(&program, argc, argv, &parsed) != BN_OK) return EXIT_USAGE;
    if (parsed.is_done) return 0;
    if (check_options(&parsed) != BN_OK) return EXIT_USAGE;
    bn_log_init("worker", (bn_log_level)options.log_level);
    p.hooks = hooks != NULL ? hooks : &no_hooks;
    block_signals(&p.signals);
    if (bn_mpi_world_init(&argc, &argv, &p.has_world) != BN_OK) return EXIT_FAILED;
    run(&p);
    bn_mpi_world_fini(p.is_orderly);
    return p.exit_code;
}
