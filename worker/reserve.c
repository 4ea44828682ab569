/* reserve.c — see the header. */
#include "worker/reserve.h"

#include "common/alloc.h"
#include "common/log.h"

void *bn_reserve_take(bn_reserve *reserve, size_t n, size_t size)
{
    void *memory;
    size_t bytes;
    if (reserve->status != BN_OK) return NULL;
    if (!bn_mul_size(n, size, &bytes)) {
        reserve->status =
            bn_fail(BN_ERR_LIMIT, "RESERVE-SIZE", "%zu pieces of %zu bytes overflow", n, size);
        return NULL;
    }
    reserve->status = bn_arena_take(reserve->arena, bytes, &memory);
    return reserve->status == BN_OK ? memory : NULL;
}
