/* log.c — each line is put together in one buffer and written by one write(2),
 * so that lines of many processes on one terminal do not mix.
 *
 * Control characters become spaces: a message may quote a peer or a file, and
 * neither must be able to forge a line or steer the terminal.
 */
#include "common/log.h"

#include "common/clock.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LINE_BYTES_MAX 2048
#define NODE_BYTES_MAX 64

static _Atomic(const char *) program_name;
static atomic_int level_max = BN_LOG_INFO;
static atomic_bool is_quiet_mode;

static pthread_mutex_t node_lock = PTHREAD_MUTEX_INITIALIZER;
static char node_name[NODE_BYTES_MAX];

static _Thread_local char last_error[LINE_BYTES_MAX];

void bn_log_init(const char *program, bn_log_level level)
{
    atomic_store(&program_name, program);
    atomic_store(&level_max, (int)level);
}

void bn_log_set_node(const char *node)
{
    pthread_mutex_lock(&node_lock);
    snprintf(node_name, sizeof node_name, "%s", node);
    pthread_mutex_unlock(&node_lock);
}

void bn_log_set_quiet(bool is_quiet)
{
    atomic_store(&is_quiet_mode, is_quiet);
}

bool bn_log_is_on(bn_log_level level)
{
    return (int)level <= atomic_load_explicit(&level_max, memory_order_relaxed);
}

static const char *level_text(bn_log_level level)
{
    switch (level) {
    case BN_LOG_ERROR: return "error";
    case BN_LOG_WARN: return "warn";
    case BN_LOG_INFO: return "info";
    case BN_LOG_DEBUG: return "debug";
    case BN_LOG_TRACE: return "trace";
    }
    return "error";
}

/* Everything before the message; returns its length, at most `size` - 1. */
static size_t write_prefix(char *line, size_t size, bn_log_level level, const char *id)
{
    uint64_t unix_ms = bn_clock_unix_ms();
    time_t seconds = (time_t)(unix_ms / 1000);
    struct tm utc;
    gmtime_r(&seconds, &utc);
    const char *program = atomic_load(&program_name);

    pthread_mutex_lock(&node_lock);
    int n = snprintf(line, size, "%04d-%02d-%02dT%02d:%02d:%02d.%03uZ %s%s%s%s%s %s ",
                     utc.tm_year + 1900, utc.tm_mon + 1, utc.tm_mday, utc.tm_hour, utc.tm_min,
                     utc.tm_sec, (unsigned)(unix_ms % 1000), program != NULL ? program : "",
                     program != NULL ? " " : "", node_name, node_name[0] != '\0' ? " " : "",
                     level_text(level), id);
    pthread_mutex_unlock(&node_lock);
    if (n < 0) return 0;
    return (size_t)n < size ? (size_t)n : size - 1;
}

static void write_line(bn_log_level level, const char *id, const char *message)
{
    int saved_errno = errno;
    char line[LINE_BYTES_MAX + 256];
    size_t n = write_prefix(line, sizeof line - 1, level, id);
    size_t room = sizeof line - 1 - n;
    size_t message_bytes = strlen(message);
    if (message_bytes > room) message_bytes = room;
    for (size_t i = 0; i < message_bytes; i++) {
        unsigned char c = (unsigned char)message[i];
        line[n + i] = c < 0x20 || c == 0x7f ? ' ' : message[i];
    }
    n += message_bytes;
    line[n++] = '\n';
    /* Where stderr is gone there is nobody left to tell. */
    while (write(STDERR_FILENO, line, n) < 0 && errno == EINTR) {
    }
    errno = saved_errno;
}

void bn_log(bn_log_level level, const char *id, const char *format, ...)
{
    if (!bn_log_is_on(level)) return;
    char message[LINE_BYTES_MAX];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    write_line(level, id, message);
}

bn_status bn_fail(bn_status status, const char *id, const char *format, ...)
{
    /* Through a second buffer: the arguments may quote bn_log_last_error(). */
    char message[LINE_BYTES_MAX];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    memcpy(last_error, message, sizeof last_error);
    if (!atomic_load(&is_quiet_mode)) write_line(BN_LOG_ERROR, id, last_error);
    return status;
}

bn_status bn_fail_unlogged(bn_status status, const char *format, ...)
{
    char message[LINE_BYTES_MAX];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    memcpy(last_error, message, sizeof last_error);
    return status;
}

const char *bn_log_last_error(void)
{
    return last_error;
}
