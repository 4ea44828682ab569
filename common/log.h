/* log.h — one line per event on stderr.
 *
 *   2026-11-22T09:15:03.123Z worker 2 warn PEER-TIMEOUT no heartbeat for 5003 ms
 *
 * Ids are grep-able constants. The message is lowercase, without '=', and says
 * the exact cause, not a guess. Nothing per token above trace.
 *
 * Errors: bn_fail logs the cause where it is first known, keeps its text for
 * this thread (so that it can be sent to a peer or shown by main.c) and returns
 * the status, so that callers only pass it on.
 * Threads: any; a line is written by one write(2).
 */
#ifndef BN_COMMON_LOG_H
#define BN_COMMON_LOG_H

#include "common/status.h"

#include <stdbool.h>

typedef enum bn_log_level {
    BN_LOG_ERROR,
    BN_LOG_WARN,
    BN_LOG_INFO,
    BN_LOG_DEBUG,
    BN_LOG_TRACE,
} bn_log_level;

/* `program` is kept by reference ("worker"). Before this call lines go out at level info. */
void bn_log_init(const char *program, bn_log_level level);

/* Names this process in every later line ("2", "node7/2"). Copied, cut at 63 bytes. */
void bn_log_set_node(const char *node);

/* Quiet mode: the text of an error is kept by bn_fail but not printed (for tests and probes). */
void bn_log_set_quiet(bool is_quiet);

bool bn_log_is_on(bn_log_level level);

void bn_log(bn_log_level level, const char *id, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Logs an error, remembers its text for this thread, returns `status`. */
bn_status bn_fail(bn_status status, const char *id, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The same without a line: for failures that the caller may come to see as none, and else logs. */
bn_status bn_fail_unlogged(bn_status status, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The text of this thread's last bn_fail, "" if none. Valid until the next bn_fail. */
const char *bn_log_last_error(void);

#define bn_log_error(id, ...) bn_log(BN_LOG_ERROR, id, __VA_ARGS__)
#define bn_log_warn(id, ...) bn_log(BN_LOG_WARN, id, __VA_ARGS__)
#define bn_log_info(id, ...) bn_log(BN_LOG_INFO, id, __VA_ARGS__)
#define bn_log_debug(id, ...) bn_log(BN_LOG_DEBUG, id, __VA_ARGS__)
#define bn_log_trace(id, ...) bn_log(BN_LOG_TRACE, id, __VA_ARGS__)

#endif
