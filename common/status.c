/* status.c — the texts of the one table, and the last words of a bug. */
#include "common/status.h"

#include "common/log.h"

#include <stdlib.h>

const char *bn_status_text(bn_status status)
{
    switch (status) {
    case BN_OK: return "ok";
#define BN_STATUS_CASE(name, value, text)                                                          \
    case BN_ERR_##name: return text;
        BN_STATUS_MAP(BN_STATUS_CASE)
#undef BN_STATUS_CASE
    }
    return "unknown status";
}

void bn_assert_failed(const char *expression, const char *file, int line)
{
    bn_log_error("BUG", "%s:%d: assertion failed: %s", file, line, expression);
    abort();
}
