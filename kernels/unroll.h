/* unroll.h — what the vector sources ask of the compiler. */
#ifndef BN_KERNELS_UNROLL_H
#define BN_KERNELS_UNROLL_H

#define INLINE static inline __attribute__((always_inline))

/* Full unrolling of the short loop that follows: arrays of accumulators must become registers.
 * gcc leaves them on the stack without it; clang takes a count that is not the trip count amiss. */
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

#endif
