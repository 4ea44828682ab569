/* exp_f32.h — the constants of exp in binary32, shared by scalar and vector code.
 *
 * exp(x) = 2^n·p(r), n = round(x/ln 2), r = x − n·ln 2 in [−ln2/2, ln2/2]; p of degree 6, minimax
 * (relative error 3.1e−9) with the first two coefficients fixed to 1, so that exp(0) is 1.
 */
#ifndef BN_KERNELS_EXP_F32_H
#define BN_KERNELS_EXP_F32_H

#define BN_EXP_MIN -87.0f /* below: +0 */
#define BN_EXP_MAX 88.0f  /* above: taken as this */
#define BN_EXP_LOG2E 0x1.715476p+0f
#define BN_EXP_ROUND 0x1.8p23f /* adding it rounds to an integer, nearest even */
#define BN_EXP_LN2_HI 0x1.62e43p-1f
#define BN_EXP_LN2_LO -0x1.05c61p-29f
#define BN_EXP_C2 0x1.fffffcp-2f
#define BN_EXP_C3 0x1.555492p-3f
#define BN_EXP_C4 0x1.5558f2p-5f
#define BN_EXP_C5 0x1.123a2p-7f
#define BN_EXP_C6 0x1.6a23dp-10f

#endif
