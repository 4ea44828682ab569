/* command_partial.c — what a signal leaves of a file that is not yet whole: nothing. */
#include "model/command.h"

#include <limits.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <unistd.h>

/* What a signal leaves behind must not look like a model, nor fill the disk. */
static char partial_path[PATH_MAX];

static void remove_partial(int signal_number)
{
    if (partial_path[0] != '\0') unlink(partial_path);
    _exit(128 + signal_number);
}

void bn_command_watch_partial(const char *path)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
    sigset_t set, before;
    sigemptyset(&set);
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
        sigaddset(&set, signals[i]);
    sigprocmask(SIG_BLOCK, &set, &before);
    snprintf(partial_path, sizeof partial_path, "%s", path != NULL ? path : "");
    struct sigaction action = {.sa_handler = path != NULL ? remove_partial : SIG_DFL};
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
        sigaction(signals[i], &action, NULL);
    sigprocmask(SIG_SETMASK, &before, NULL);
}
