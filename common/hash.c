/* hash.c — XXH3 in its frozen form (xxhash ≥ 0.8.0), so hashes may be stored. */
#include "common/hash.h"

#include "common/alloc.h"
#include "common/log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <xxhash.h>

#if XXH_VERSION_NUMBER < 800
#error "xxhash 0.8.0 or later is needed: XXH3 was not stable before"
#endif

struct bn_hash {
    XXH3_state_t *state;
};

bn_status bn_hash_create(bn_hash **hash_out)
{
    bn_hash *hash = bn_alloc(1, sizeof *hash);
    if (hash == NULL) return bn_fail(BN_ERR_NO_MEMORY, "HASH", "no memory for a hash");
    hash->state = XXH3_createState();
    if (hash->state == NULL || XXH3_128bits_reset(hash->state) != XXH_OK) {
        bn_hash_destroy(hash);
        return bn_fail(BN_ERR_NO_MEMORY, "HASH", "no memory for a hash");
    }
    *hash_out = hash;
    return BN_OK;
}

void bn_hash_update(bn_hash *hash, const void *bytes, size_t n)
{
    if (n == 0) return;
    XXH_errorcode code = XXH3_128bits_update(hash->state, bytes, n);
    BN_ASSERT(code == XXH_OK);
}

static bn_hash128 from_xxh(XXH128_hash_t hash)
{
    return (bn_hash128){.low = hash.low64, .high = hash.high64};
}

bn_hash128 bn_hash_digest(const bn_hash *hash)
{
    return from_xxh(XXH3_128bits_digest(hash->state));
}

void bn_hash_destroy(bn_hash *hash)
{
    if (hash == NULL) return;
    XXH3_freeState(hash->state);
    bn_free(hash);
}

bn_hash128 bn_hash128_of(const void *bytes, size_t n)
{
    return from_xxh(XXH3_128bits(bytes, n));
}

uint64_t bn_hash64_of(const void *bytes, size_t n, uint64_t seed)
{
    return XXH3_64bits_withSeed(bytes, n, seed);
}

void bn_hash128_text(bn_hash128 hash, char text_out[33])
{
    snprintf(text_out, 33, "%016" PRIx64 "%016" PRIx64, hash.high, hash.low);
}

bn_status bn_hash_random(void *bytes, size_t n)
{
    uint8_t *at = bytes;
    while (n > 0) {
        ssize_t got = getrandom(at, n, 0);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0)
            return bn_fail(BN_ERR_IO, "RANDOM", "the kernel gives no random bytes: %s",
                           strerror(errno));
        at += got;
        n -= (size_t)got;
    }
    return BN_OK;
}

int bn_hash_secret_equal(const void *a, const void *b, size_t n)
{
    const volatile uint8_t *left = a;
    const volatile uint8_t *right = b;
    uint8_t difference = 0;
    for (size_t i = 0; i < n; i++)
        difference = (uint8_t)(difference | (left[i] ^ right[i]));
    return difference == 0;
}
