/* rope.c — sine and cosine after a three-part reduction by π/2.
 *
 * Positions end at 2^20 and frequencies at 1 (divided by a factor), so n fits 21 bits and two
 * 33-bit parts of π/2 multiply exactly; no Payne–Hanek reduction is needed.
 */
#include "kernels/rope.h"

#include "common/status.h"
#include "kernels/math.h"

#include <stddef.h>

#define TWO_OVER_PI 0x1.45f306dc9c883p-1
#define HALF_PI_1 0x1.921fb54400000p+0
#define HALF_PI_2 0x1.0b4611a600000p-34
#define HALF_PI_3 0x1.3198a2e037073p-69
#define F64_ROUND 0x1.8p52
#define ANGLE_MAX 0x1p21
#define TWO_PI 0x1.921fb54442d18p+2
#define RAMP_MIN 0.001 /* the narrowest band between kept and divided frequencies */

/* sin on [−π/4, π/4]: r + r³·Σ, coefficients ±1/(2k+1)!. */
static double sin_small(double r)
{
    static const double c[] = {
        1.0 / 355687428096000.0, -1.0 / 1307674368000.0, 1.0 / 6227020800.0, -1.0 / 39916800.0,
        1.0 / 362880.0,          -1.0 / 5040.0,          1.0 / 120.0,        -1.0 / 6.0,
    };
    double z = r * r, p = c[0];
    for (size_t i = 1; i < sizeof c / sizeof c[0]; i++)
        p = p * z + c[i];
    return r + r * (z * p);
}

/* cos on [−π/4, π/4]: 1 − r²/2 + r⁴·Σ, coefficients ±1/(2k)!. */
static double cos_small(double r)
{
    static const double c[] = {
        1.0 / 6402373705728000.0, -1.0 / 20922789888000.0, 1.0 / 87178291200.0, -1.0 / 479001600.0,
        1.0 / 3628800.0,          -1.0 / 40320.0,          1.0 / 720.0,         -1.0 / 24.0,
    };
    double z = r * r, p = c[0];
    for (size_t i = 1; i < sizeof c / sizeof c[0]; i++)
        p = p * z + c[i];
    return 1.0 - (0.5 * z + z * z * p);
}

void bn_rope_frequencies(double base, uint32_t head_size, const float *factors, double *inv_freq)
{
    BN_ASSERT(base > 0.0 && head_size > 0 && head_size % 2 == 0);
    double log_base = bn_log_f64(base);
    for (uint32_t i = 0; i < head_size / 2; i++) {
        double power = bn_exp_f64(-((double)(2 * i) / (double)head_size) * log_base);
        inv_freq[i] = factors == NULL ? power : power / (double)factors[i];
    }
}

/* The pair, as a real number, that turns `n_turns` times in the original context; within
 * [0, head_size]. */
static double pair_of_turns(const bn_rope_yarn *yarn, double n_turns, double log_base,
                            uint32_t head_size)
{
    double turns = bn_log_f64((double)yarn->original_context / (n_turns * TWO_PI));
    double pair = ((double)head_size * turns) / (2.0 * log_base);
    return pair < 0.0 ? 0.0 : pair > (double)head_size ? (double)head_size : pair;
}

void bn_rope_yarn_frequencies(const bn_rope_yarn *yarn, double base, uint32_t head_size,
                              double *inv_freq)
{
    if (yarn->original_context == 0) return;
    BN_ASSERT(base > 1.0 && yarn->factor >= 1.0f);
    BN_ASSERT(yarn->beta_fast > 0.0f && yarn->beta_slow > 0.0f);
    double log_base = bn_log_f64(base);
    double first = pair_of_turns(yarn, (double)yarn->beta_fast, log_base, head_size);
    double last = pair_of_turns(yarn, (double)yarn->beta_slow, log_base, head_size);
    uint32_t low = (uint32_t)first, high = (uint32_t)last; /* rounded down */
    if ((double)high < last) high++;
    if (high > head_size - 1) high = head_size - 1;
    double width = (double)high - (double)low;
    if (width < RAMP_MIN) width = RAMP_MIN;
    for (uint32_t i = 0; i < head_size / 2; i++) {
        double divided = ((double)i - (double)low) / width;
        divided = divided < 0.0 ? 0.0 : divided > 1.0 ? 1.0 : divided;
        inv_freq[i] =
            (inv_freq[i] / (double)yarn->factor) * divided + inv_freq[i] * (1.0 - divided);
    }
}

double bn_rope_yarn_magnitude(const bn_rope_yarn *yarn)
{
    if (yarn->original_context == 0) return 1.0;
    return (0.1 * bn_log_f64((double)yarn->factor) + 1.0) * (double)yarn->attn_factor;
}

void bn_rope_angles(uint32_t position, const double *inv_freq, double magnitude, uint32_t n,
                    float *cos, float *sin)
{
    BN_ASSERT(position <= BN_ROPE_POSITION_MAX);
    for (uint32_t i = 0; i < n; i++) {
        double angle = (double)position * inv_freq[i];
        BN_ASSERT(angle >= -ANGLE_MAX && angle <= ANGLE_MAX);
        double quarter = (angle * TWO_OVER_PI + F64_ROUND) - F64_ROUND;
        double r = ((angle - quarter * HALF_PI_1) - quarter * HALF_PI_2) - quarter * HALF_PI_3;
        double s = magnitude * sin_small(r), c = magnitude * cos_small(r);
        switch ((int)quarter & 3) {
        case 0:
            cos[i] = (float)c;
            sin[i] = (float)s;
            break;
        case 1:
            cos[i] = (float)-s;
            sin[i] = (float)c;
            break;
        case 2:
            cos[i] = (float)-c;
            sin[i] = (float)-s;
            break;
        default: cos[i] = (float)s; sin[i] = (float)-c;
        }
    }
}
