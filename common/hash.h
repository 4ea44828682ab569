/* hash.h — 128-bit content hashes (XXH3) and random bytes.
 *
 * The hash tells apart, it does not authenticate: whoever can write the file
 * can forge it. Secrets come from bn_hash_random (the kernel's generator).
 *
 * Threads: a bn_hash belongs to one thread; the rest is re-entrant.
 */
#ifndef BN_COMMON_HASH_H
#define BN_COMMON_HASH_H

#include "common/status.h"

#include <stddef.h>
#include <stdint.h>

typedef struct bn_hash128 {
    uint64_t low, high;
} bn_hash128;

typedef struct bn_hash bn_hash;

BN_CHECKED bn_status bn_hash_create(bn_hash **hash_out);
void bn_hash_update(bn_hash *hash, const void *bytes, size_t n);
bn_hash128 bn_hash_digest(const bn_hash *hash);
void bn_hash_destroy(bn_hash *hash);

bn_hash128 bn_hash128_of(const void *bytes, size_t n);
uint64_t bn_hash64_of(const void *bytes, size_t n, uint64_t seed);

/* 32 hexadecimal digits and NUL. */
void bn_hash128_text(bn_hash128 hash, char text_out[33]);

BN_CHECKED bn_status bn_hash_random(void *bytes, size_t n);

/* Equal or not, in time that depends on n only: for secrets. */
int bn_hash_secret_equal(const void *a, const void *b, size_t n);

#endif
