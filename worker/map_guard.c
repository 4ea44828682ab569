/* map_guard.c — the message is made when the range is set, because a signal handler may do no
 * more than write it.
 */
#include "worker/map_guard.h"

#include "common/log.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MESSAGE_MAX 4608u

static char message[MESSAGE_MAX];
static _Atomic uintptr_t range_begin, range_end;

static void on_bus_error(int number, siginfo_t *info, void *context)
{
    (void)context;
    uintptr_t at = (uintptr_t)info->si_addr;
    if (at >= atomic_load(&range_begin) && at < atomic_load(&range_end)) {
        ssize_t ignored = write(STDERR_FILENO, message, strlen(message));
        (void)ignored;
        _Exit(1); /* the one way out that is safe here */
    }
    /* Returning runs the faulting instruction again, now with the default action. */
    signal(number, SIG_DFL);
}

void bn_map_guard_set(const void *base, size_t length, const char *path)
{
    bn_map_guard_clear();
    snprintf(message, sizeof message,
             "bitnet-worker: %s has shrunk while it was in use: its embedding can no longer be "
             "read; restore the file and start again\n",
             path);
    atomic_store(&range_begin, (uintptr_t)base);
    atomic_store(&range_end, (uintptr_t)base + length);
    struct sigaction action = {.sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO};
    sigemptyset(&action.sa_mask);
    if (sigaction(SIGBUS, &action, NULL) != 0)
        bn_log_warn("MAP-GUARD", "cannot watch for a shrinking model file");
}

void bn_map_guard_clear(void)
{
    atomic_store(&range_end, 0);
    atomic_store(&range_begin, 0);
}
