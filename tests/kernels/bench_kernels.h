/* bench_kernels.h — how fast a kernel table is, beside what the machine can do. */
#ifndef BN_TESTS_KERNELS_BENCH_KERNELS_H
#define BN_TESTS_KERNELS_BENCH_KERNELS_H

#include "kernels/kernels.h"

/* Prints one line per kernel and shape, and the measured bounds; true (nothing can fail). */
bool bench_table(const bn_kernels *k);

/* Only the bounds: read bandwidth and multiply-adds of the best table, per thread count. */
void bench_machine(void);

#endif
