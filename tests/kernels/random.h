/* random.h — seeded numbers for the kernel tests: the same run everywhere. */
#ifndef BN_TESTS_KERNELS_RANDOM_H
#define BN_TESTS_KERNELS_RANDOM_H

#include <stdint.h>

typedef struct random_state {
    uint64_t state;
} random_state;

/* splitmix64 */
static inline uint64_t random_u64(random_state *random)
{
    uint64_t z = random->state += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

static inline uint32_t random_below(random_state *random, uint32_t n)
{
    return (uint32_t)((random_u64(random) >> 32) * n >> 32);
}

/* Uniform in [-1, 1). */
static inline float random_float(random_state *random)
{
    return (float)(int32_t)(random_u64(random) >> 40) * 0x1p-23f - 1.0f;
}

#endif
