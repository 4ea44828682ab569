/* local.c — fork, exec, reap.
 *
 * Everything the child needs is prepared before fork: between fork and exec only calls are made
 * that are safe there, because ZeroMQ's threads run already.
 */
#include "coordinator/local.h"

#include "common/alloc.h"
#include "common/clock.h"
#include "common/host.h"
#include "common/log.h"
#include "model/shard_plan.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define WORKER_PROGRAM "bitnet-worker"
#define LEAVE_MS 1000u /* after the farewell; one that had not joined has not heard it */
#define TERM_MS 2500u
#define POLL_NS 10000000u
#define ENVIRONMENT_MAX 4096u
#define ARGUMENTS_MAX 17u

extern char **environ;

struct bn_local {
    uint32_t n_workers;
    pid_t pids[BN_STAGES_MAX]; /* 0: reaped */
};

typedef struct launch {
    char program[PATH_MAX];
    char threads[16], memory[24];
    char *arguments[ARGUMENTS_MAX + 1];
    char *environment[ENVIRONMENT_MAX + 2];
} launch;

/* Beside our own executable, else somewhere in PATH. */
static bn_status find_program(char path_out[PATH_MAX])
{
    char self[PATH_MAX - sizeof WORKER_PROGRAM - 1];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n > 0) {
        self[n] = '\0';
        char *slash = strrchr(self, '/');
        if (slash != NULL) *slash = '\0';
        snprintf(path_out, PATH_MAX, "%s/%s", self, WORKER_PROGRAM);
        if (access(path_out, X_OK) == 0) return BN_OK;
    }
    const char *at = getenv("PATH");
    while (at != NULL && *at != '\0') {
        size_t length = strcspn(at, ":");
        snprintf(path_out, PATH_MAX, "%.*s/%s", (int)(length < 2000 ? length : 2000), at,
                 WORKER_PROGRAM);
        if (access(path_out, X_OK) == 0) return BN_OK;
        at += length + (at[length] == ':');
    }
    return bn_fail(BN_ERR_IO, "LOCAL-PROGRAM",
                   "--local needs the program %s beside bitnet-coordinator or in PATH",
                   WORKER_PROGRAM);
}

/* What belongs to a launcher that started the coordinator, or would override our arguments. */
static bool is_withheld(const char *variable)
{
    static const char *const prefixes[] = {"OMPI_COMM_", "OMPI_MCA_ess", "PMIX_", "PMI_",
                                           "BITNET_MODEL="};
    for (size_t i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++)
        if (strncmp(variable, prefixes[i], strlen(prefixes[i])) == 0) return true;
    return false;
}

static bn_status prepare(const bn_local_config *config, launch *prepared)
{
    BN_TRY(find_program(prepared->program));
    uint32_t threads = config->threads;
    if (threads == 0) threads = bn_host_usable_cores() / config->n_workers;
    snprintf(prepared->threads, sizeof prepared->threads, "%u", threads > 0 ? threads : 1);
    /* Each looks at the same machine: together they may take what is usable, not each. */
    snprintf(prepared->memory, sizeof prepared->memory, "%" PRIu64,
             bn_host_usable_memory(NULL) / config->n_workers);
    const char *arguments[ARGUMENTS_MAX] = {
        prepared->program,
        "--coordinator",
        config->url,
        "--threads",
        prepared->threads,
        "--memory",
        prepared->memory,
        "--isa",
        config->isa,
        "--link",
        "zmq",
        "--log-level",
        config->log_level,
    };
    size_t n = 13;
    if (config->cluster_key != NULL) {
        arguments[n++] = "--cluster-key";
        arguments[n++] = config->cluster_key;
    }
    if (config->dump != NULL) {
        arguments[n++] = "--dump";
        arguments[n++] = config->dump;
    }
    for (size_t i = 0; i < n; i++)
        memcpy(&prepared->arguments[i], &arguments[i], sizeof(char *));
    size_t kept = 0;
    for (char **at = environ; *at != NULL && kept < ENVIRONMENT_MAX; at++)
        if (!is_withheld(*at)) prepared->environment[kept++] = *at;
    prepared->environment[kept] = NULL;
    return BN_OK;
}

_Noreturn static void run_child(launch *prepared, pid_t parent)
{
    prctl(PR_SET_PDEATHSIG, SIGTERM); /* it outlives execve */
    if (getppid() != parent) _exit(1);
    setpgid(0, 0);
    int null_fd = open("/dev/null", O_RDONLY);
    if (null_fd >= 0) dup2(null_fd, STDIN_FILENO);
    /* Its words are log lines: they belong to stderr. */
    dup2(STDERR_FILENO, STDOUT_FILENO);
    signal(SIGPIPE, SIG_DFL);
    execve(prepared->program, prepared->arguments, prepared->environment);
    _exit(127);
}

bn_status bn_local_start(const bn_local_config *config, bn_local **local_out)
{
    BN_ASSERT(config->n_workers > 0 && config->n_workers <= BN_STAGES_MAX);
    launch *prepared = bn_alloc(1, sizeof *prepared);
    bn_local *local = bn_alloc(1, sizeof *local);
    bn_status status = BN_ERR_NO_MEMORY;
    if (prepared == NULL || local == NULL) goto err;
    status = prepare(config, prepared);
    if (status != BN_OK) goto err;
    pid_t parent = getpid();
    while (local->n_workers < config->n_workers) {
        pid_t pid = fork();
        if (pid == 0) run_child(prepared, parent);
        if (pid < 0) {
            status = bn_fail(BN_ERR_IO, "LOCAL-FORK", "cannot start worker %u of %u: %s",
                             local->n_workers + 1, config->n_workers, strerror(errno));
            goto err;
        }
        local->pids[local->n_workers++] = pid;
    }
    bn_free(prepared);
    *local_out = local;
    return BN_OK;

err:
    bn_free(prepared);
    bn_local_stop(local);
    return status;
}

bn_status bn_local_check(bn_local *local)
{
    for (uint32_t i = 0; i < local->n_workers; i++) {
        int how;
        pid_t pid = local->pids[i];
        if (pid == 0 || waitpid(pid, &how, WNOHANG) != pid) continue;
        local->pids[i] = 0;
        if (WIFSIGNALED(how))
            return bn_fail(BN_ERR_PEER_LOST, "LOCAL-ENDED",
                           "worker process %u of %u (pid %ld, started by --local) was killed by "
                           "signal %d (%s)",
                           i + 1, local->n_workers, (long)pid, WTERMSIG(how),
                           strsignal(WTERMSIG(how)));
        return bn_fail(BN_ERR_PEER_LOST, "LOCAL-ENDED",
                       "worker process %u of %u (pid %ld, started by --local) ended with exit code "
                       "%d; its own message stands above",
                       i + 1, local->n_workers, (long)pid, WEXITSTATUS(how));
    }
    return BN_OK;
}

/* True when all have been reaped within the time. */
static bool reap(bn_local *local, uint32_t timeout_ms)
{
    uint64_t deadline_ms = bn_clock_ms() + timeout_ms;
    for (;;) {
        bool is_done = true;
        for (uint32_t i = 0; i < local->n_workers; i++) {
            if (local->pids[i] == 0) continue;
            pid_t pid = waitpid(local->pids[i], NULL, WNOHANG);
            if (pid == local->pids[i] || (pid < 0 && errno == ECHILD))
                local->pids[i] = 0;
            else
                is_done = false;
        }
        if (is_done) return true;
        if (bn_clock_ms() >= deadline_ms) return false;
        bn_clock_sleep_ns(POLL_NS);
    }
}

static void kill_all(bn_local *local, int signal_number)
{
    for (uint32_t i = 0; i < local->n_workers; i++)
        if (local->pids[i] != 0) kill(local->pids[i], signal_number);
}

void bn_local_stop(bn_local *local)
{
    if (local == NULL) return;
    if (!reap(local, LEAVE_MS)) {
        kill_all(local, SIGTERM);
        if (!reap(local, TERM_MS)) {
            kill_all(local, SIGKILL);
            (void)reap(local, TERM_MS);
        }
    }
    bn_free(local);
}
