/* interrupt.c — the handler does what is safe in one: count, remember, write one byte. */
#include "coordinator/interrupt.h"

#include "common/log.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdio_ext.h>
#include <string.h>
#include <unistd.h>

static volatile sig_atomic_t n_interrupts, n_taken, last_signal, is_final;
static int pipe_fds[2] = {-1, -1};

static void on_signal(int signal_number)
{
    int saved = errno;
    n_interrupts++;
    last_signal = signal_number;
    if (signal_number != SIGINT) is_final = 1;
    if (write(pipe_fds[1], "!", 1) < 0) errno = 0; /* full: it is readable already */
    errno = saved;
}

bn_status bn_interrupt_init(void)
{
    if (pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK) != 0)
        return bn_fail(BN_ERR_IO, "INTERRUPT-PIPE", "cannot make a pipe: %s", strerror(errno));
    static const int caught[] = {SIGINT, SIGTERM, SIGHUP};
    struct sigaction action = {.sa_handler = on_signal};
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < sizeof caught / sizeof caught[0]; i++)
        sigaction(caught[i], &action, NULL);
    action.sa_handler = SIG_IGN;
    sigaction(SIGPIPE, &action, NULL);
    return BN_OK;
}

int bn_interrupt_fd(void)
{
    return pipe_fds[0];
}

uint32_t bn_interrupt_count(void)
{
    return is_final ? UINT32_MAX : (uint32_t)(n_interrupts - n_taken);
}

void bn_interrupt_take(void)
{
    char bytes[64];
    n_taken = n_interrupts;
    while (read(pipe_fds[0], bytes, sizeof bytes) > 0)
        continue;
}

int bn_interrupt_is_final(void)
{
    return is_final;
}

bool bn_interrupt_ended_write(void)
{
    if (errno != EINTR || bn_interrupt_count() == 0) return false;
    __fpurge(stdout);
    clearerr(stdout);
    return true;
}

int bn_interrupt_exit_code(void)
{
    return last_signal == 0 ? 0 : 128 + last_signal;
}
