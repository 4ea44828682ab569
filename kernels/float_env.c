/* float_env.c — the rounding mode and the subnormals of the calling thread.
 *
 * Set by the register and not by <fenv.h>: flush-to-zero is no part of that interface, and it is
 * what other libraries in the process (or -ffast-math start-up code) like to switch on.
 */
#include "kernels/kernels.h"

#if defined(__x86_64__)

/* All exceptions masked, nearest even, FTZ and DAZ off. */
#define MXCSR_WANTED 0x1F80u
#define MXCSR_CHECKED 0xE040u /* FTZ, rounding control, DAZ */

void bn_float_env_set(void)
{
    __builtin_ia32_ldmxcsr(MXCSR_WANTED);
}

bool bn_float_env_is_set(void)
{
    return (__builtin_ia32_stmxcsr() & MXCSR_CHECKED) == 0;
}

#elif defined(__aarch64__)

#define FPCR_CHECKED 0x07C80003ull /* AHP, DN, FZ, RMode, FZ16, FIZ, AH */

void bn_float_env_set(void)
{
    uint64_t fpcr;
    __asm__ volatile("mrs %0, fpcr" : "=r"(fpcr));
    fpcr &= ~(uint64_t)FPCR_CHECKED;
    __asm__ volatile("msr fpcr, %0" : : "r"(fpcr));
}

bool bn_float_env_is_set(void)
{
    uint64_t fpcr;
    __asm__ volatile("mrs %0, fpcr" : "=r"(fpcr));
    return (fpcr & FPCR_CHECKED) == 0;
}

#else
#error "bn_float_env: set nearest-even rounding and subnormals for this processor"
#endif
