/* alloc.c — the C library's heap behind checks.
 *
 * The guard is a thread-local label: it costs a load per allocation. Whether a
 * violation aborts is asked of the environment only when one happens.
 */
#include "common/alloc.h"

#include "common/log.h"

#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static _Thread_local const char *guarded_by;
static atomic_flag is_reported = ATOMIC_FLAG_INIT;

static void check_guard(size_t bytes)
{
    if (guarded_by == NULL) return;
    const char *strict = getenv("BN_ALLOC_GUARD");
    if (strict != NULL && strcmp(strict, "1") == 0) {
        bn_log_error("ALLOC-GUARD", "%zu bytes allocated inside %s", bytes, guarded_by);
        abort();
    }
    if (!atomic_flag_test_and_set(&is_reported))
        bn_log_warn("ALLOC-GUARD", "%zu bytes allocated inside %s; told once", bytes, guarded_by);
}

void *bn_alloc(size_t n, size_t size)
{
    size_t bytes;
    if (!bn_mul_size(n, size, &bytes)) return NULL;
    check_guard(bytes);
    /* Never 0 bytes: then NULL would mean both "nothing" and "failed". */
    return calloc(1, bytes == 0 ? 1 : bytes);
}

void *bn_realloc(void *memory, size_t n, size_t size)
{
    size_t bytes;
    if (!bn_mul_size(n, size, &bytes)) return NULL;
    check_guard(bytes);
    return realloc(memory, bytes == 0 ? 1 : bytes);
}

char *bn_strdup(const char *text)
{
    size_t bytes = strlen(text) + 1;
    char *copy = bn_alloc(bytes, 1);
    if (copy != NULL) memcpy(copy, text, bytes);
    return copy;
}

void bn_free(void *memory)
{
    free(memory);
}

bool bn_mul_size(size_t a, size_t b, size_t *out)
{
    if (a != 0 && b > SIZE_MAX / a) return false;
    *out = a * b;
    return true;
}

bool bn_add_size(size_t a, size_t b, size_t *out)
{
    if (b > SIZE_MAX - a) return false;
    *out = a + b;
    return true;
}

void bn_alloc_guard_begin(const char *what)
{
    guarded_by = what;
}

void bn_alloc_guard_end(void)
{
    guarded_by = NULL;
}
