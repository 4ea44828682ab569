/* kernels.c — which table this processor may use.
 *
 * The processor's word is not enough: the operating system must also save the wide registers
 * (XCR0), or a table would fault in some virtual machines.
 */
#include "kernels/kernels.h"

#include "common/status.h"
#include "kernels/tables.h"

#include <stdlib.h>

const char *const bn_isa_names[BN_ISA_COUNT + 1] = {"auto", "scalar", "avx2", "avx512", NULL};

#ifdef BN_KERNELS_X86
#include <cpuid.h>

#define XCR0_AVX 0x06u    /* xmm, ymm */
#define XCR0_AVX512 0xE6u /* and opmask, zmm */

static uint32_t read_xcr0(void)
{
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

static const bn_kernels *x86_table(bn_isa isa)
{
    uint32_t a, b, c, d, b7, c7;
    if (__get_cpuid(1, &a, &b, &c, &d) == 0 || (c & bit_OSXSAVE) == 0) return NULL;
    bool has_fma_f16c = (c & bit_FMA) != 0 && (c & bit_F16C) != 0;
    uint32_t xcr0 = read_xcr0();
    if (__get_cpuid_count(7, 0, &a, &b7, &c7, &d) == 0) return NULL;
    bool has_avx2 = (b7 & bit_AVX2) != 0 && has_fma_f16c && (xcr0 & XCR0_AVX) == XCR0_AVX;
    uint32_t wanted = bit_AVX512F | bit_AVX512BW | bit_AVX512VL | bit_AVX512DQ;
    bool has_avx512 = has_avx2 && (b7 & wanted) == wanted && (c7 & bit_AVX512VNNI) != 0 &&
                      (xcr0 & XCR0_AVX512) == XCR0_AVX512;
    if (isa == BN_ISA_AVX2) return has_avx2 ? &bn_kernels_avx2 : NULL;
    return has_avx512 ? &bn_kernels_avx512 : NULL;
}
#else
static const bn_kernels *x86_table(bn_isa isa)
{
    (void)isa;
    return NULL;
}
#endif

const bn_kernels *bn_kernels_get(bn_isa isa)
{
    switch (isa) {
    case BN_ISA_SCALAR: return &bn_kernels_scalar;
    case BN_ISA_AVX2:
    case BN_ISA_AVX512: return x86_table(isa);
    case BN_ISA_AUTO:
        for (bn_isa best = BN_ISA_AVX512; best > BN_ISA_SCALAR; best--) {
            const bn_kernels *table = x86_table(best);
            if (table != NULL) return table;
        }
        return &bn_kernels_scalar;
    case BN_ISA_COUNT: break;
    }
    bn_assert_failed("isa < BN_ISA_COUNT", __FILE__, __LINE__);
}
