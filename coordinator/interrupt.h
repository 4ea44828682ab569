/* interrupt.h — Ctrl-C and the other ways to be told to stop, as something one can wait for.
 *
 * SIGINT, SIGTERM and SIGHUP are counted by a handler that also writes to a pipe; SIGPIPE is
 * ignored, so that a closed standard output is an error of write and not a death.
 *
 * Memory:  process-wide state: one handler. Threads: the main thread only.
 */
#ifndef BN_COORDINATOR_INTERRUPT_H
#define BN_COORDINATOR_INTERRUPT_H

#include "common/status.h"

#include <stdbool.h>
#include <stdint.h>

BN_CHECKED bn_status bn_interrupt_init(void);

/* Readable while an interrupt has not been taken. */
int bn_interrupt_fd(void);

/* Interrupts since the last call to _take; a TERM or HUP counts until the end. */
uint32_t bn_interrupt_count(void);
void bn_interrupt_take(void);

/* SIGTERM or SIGHUP has come: leave, do not ask. */
int bn_interrupt_is_final(void);

/* After a failed write to standard output: true when an interrupt ended a wait for its reader; then
 * what was not written is dropped. */
bool bn_interrupt_ended_write(void);

/* 128 + the signal that came last, 0 if none: the exit code of a program that stops for it. */
int bn_interrupt_exit_code(void);

#endif
