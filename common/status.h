/* status.h — what a function returns when something can go wrong.
 *
 * Three kinds of failure, three mechanisms: a bug stops the process (BN_ASSERT,
 * on in every build); an operating error is a bn_status returned to the caller,
 * logged once by the function that knows the exact cause (bn_fail in log.h);
 * bad usage is a message on stderr and exit code 2, from main.c only.
 *
 * Threads: everything here may be called from any thread.
 */
#ifndef BN_COMMON_STATUS_H
#define BN_COMMON_STATUS_H

#define BN_STATUS_MAP(X)                                                                           \
    X(NO_MEMORY, -1, "out of memory")                                                              \
    X(BAD_FILE, -2, "file is malformed")                                                           \
    X(BAD_MESSAGE, -3, "peer sent a malformed message")                                            \
    X(TIMED_OUT, -4, "deadline passed")                                                            \
    X(PEER_LOST, -5, "peer is gone")                                                               \
    X(LIMIT, -6, "a limit was reached")                                                            \
    X(UNSUPPORTED, -7, "not supported")                                                            \
    X(BAD_ARGUMENT, -8, "bad argument")                                                            \
    X(IO, -9, "input or output failed")                                                            \
    X(REFUSED, -10, "refused")                                                                     \
    X(INTERRUPTED, -11, "interrupted")                                                             \
    X(MISMATCH, -12, "the two sides differ")

typedef enum bn_status {
    BN_OK = 0,
#define BN_STATUS_ENUM(name, value, text) BN_ERR_##name = (value),
    BN_STATUS_MAP(BN_STATUS_ENUM)
#undef BN_STATUS_ENUM
} bn_status;

#define BN_CHECKED __attribute__((warn_unused_result))

/* A short text for `status`; never NULL, static memory. */
const char *bn_status_text(bn_status status);

/* Prints expression, place and node to stderr, then aborts. */
_Noreturn void bn_assert_failed(const char *expression, const char *file, int line);

#define BN_ASSERT(expression)                                                                      \
    do {                                                                                           \
        if (!(expression)) bn_assert_failed(#expression, __FILE__, __LINE__);                      \
    } while (0)

/* Evaluates once, returns on failure. Only where nothing needs undoing. */
#define BN_TRY(call)                                                                               \
    do {                                                                                           \
        bn_status try_status_ = (call);                                                            \
        if (try_status_ != BN_OK) return try_status_;                                              \
    } while (0)

#endif
