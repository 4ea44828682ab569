/* tables.h — the kernel tables that kernels.c chooses from.
 *
 * A table may be used only on a processor that has its instruction set; ask
 * bn_kernels_get, which checks.
 */
#ifndef BN_KERNELS_TABLES_H
#define BN_KERNELS_TABLES_H

#include "kernels/kernels.h"

extern const bn_kernels bn_kernels_scalar;

#ifdef BN_KERNELS_X86
extern const bn_kernels bn_kernels_avx2;   /* AVX2, FMA, F16C */
extern const bn_kernels bn_kernels_avx512; /* AVX-512 F, BW, VL, DQ, VNNI */
#endif

#endif
