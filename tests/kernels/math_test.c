/* math_test.c
 * What: exp, log, binary16 and the canonical sums are what docs/NUMERICS.md says.
 * How:  against libm in long double within the stated ulps; all 65,536 halves; sums against the
 *       order written out by hand. */
#include "kernels/math.h"
#include "tests/kernels/random.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static float f32_of_bits(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static uint32_t bits_of_f32(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

/* |value − exact| in ulps of a binary format with `precision` bits. */
static long double ulps(long double value, long double exact, int precision)
{
    return fabsl(value - exact) / ldexpl(1.0L, ilogbl(exact) - precision + 1);
}

static void test_exp_f32_is_within_one_ulp(void **state)
{
    (void)state;
    long double worst = 0.0L;
    for (uint32_t i = 0; i < 2; i++) {
        uint32_t last = bits_of_f32(i == 0 ? 88.0f : -87.0f);
        for (uint32_t bits = i << 31; bits <= last; bits += 313) {
            float x = f32_of_bits(bits);
            long double error = ulps(bn_exp_f32(x), expl(x), 24);
            worst = error > worst ? error : worst;
        }
    }
    print_message("exp_f32: worst %.4Lf ulp\n", worst);
    assert_true(worst < 1.0L);
}

static void test_exp_f32_at_the_edges(void **state)
{
    (void)state;
    assert_true(bn_exp_f32(0.0f) == 1.0f && bn_exp_f32(-0.0f) == 1.0f);
    assert_true(bn_exp_f32(-87.0f) > 0.0f);
    assert_int_equal(bits_of_f32(bn_exp_f32(nextafterf(-87.0f, -88.0f))), 0);
    assert_int_equal(bits_of_f32(bn_exp_f32(-INFINITY)), 0);
    assert_true(bn_exp_f32(INFINITY) == bn_exp_f32(88.0f) && bn_exp_f32(1e9f) == bn_exp_f32(88.0f));
    assert_true(isnan(bn_exp_f32(NAN)));
}

static void test_exp_f64_and_log_f64_are_within_one_ulp(void **state)
{
    (void)state;
    random_state random = {1};
    long double worst_exp = 0.0L, worst_log = 0.0L;
    for (int i = 0; i < 1000000; i++) {
        double x = ((double)(random_u64(&random) >> 11) * 0x1p-53 - 0.5) * 1400.0;
        if (i % 2 == 0) x /= 700.0;
        long double error = ulps(bn_exp_f64(x), expl(x), 53);
        worst_exp = error > worst_exp ? error : worst_exp;
        double y = i % 2 == 0 ? exp(x) : fabs(x);
        if (i % 3 == 0) y = 1.0 + x * 0x1p-12;
        if (y == 1.0 || y == 0.0) continue;
        error = ulps(bn_log_f64(y), logl(y), 53);
        worst_log = error > worst_log ? error : worst_log;
    }
    print_message("exp_f64: worst %.4Lf ulp, log_f64: %.4Lf ulp\n", worst_exp, worst_log);
    assert_true(worst_exp < 1.0L && worst_log < 1.0L);
}

static void test_exp_f64_and_log_f64_at_the_edges(void **state)
{
    (void)state;
    assert_true(bn_exp_f64(0.0) == 1.0 && bn_exp_f64(-1000.0) == 0.0);
    assert_true(isinf(bn_exp_f64(1000.0)) && isinf(bn_exp_f64(709.79)) && isnan(bn_exp_f64(NAN)));
    assert_true(isfinite(bn_exp_f64(709.78)) && bn_exp_f64(-745.1) == 0x1p-1074);
    assert_true(bn_log_f64(1.0) == 0.0 && bn_log_f64(0.0) == -INFINITY);
    assert_true(isnan(bn_log_f64(-1.0)) && isnan(bn_log_f64(NAN)));
    assert_true(bn_log_f64(INFINITY) == INFINITY);
    assert_true(ulps(bn_log_f64(0x1p-1074), logl(0x1p-1074L), 53) < 1.0L);
}

static long double value_of_f16(uint32_t h)
{
    long double sign = (h & 0x8000u) != 0 ? -1.0L : 1.0L;
    int exponent = (int)(h >> 10 & 31u);
    long double mantissa = (long double)(h & 1023u);
    if (exponent == 0) return sign * ldexpl(mantissa, -24);
    return sign * ldexpl(1024.0L + mantissa, exponent - 25);
}

static void test_every_f16_widens_and_comes_back(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 65536; h++) {
        float x = bn_f32_from_f16((uint16_t)h);
        if ((h & 0x7C00u) != 0x7C00u) {
            assert_true((long double)x == value_of_f16(h));
            assert_int_equal(signbit(x) != 0, h >> 15);
            assert_int_equal(bn_f16_from_f32(x), h);
        } else if ((h & 0x3FFu) != 0) {
            assert_true(isnan(x));
            assert_int_equal(bits_of_f32(x),
                             (h & 0x8000u) << 16 | 0x7FC00000u | (h & 0x3FFu) << 13);
            assert_int_equal(bn_f16_from_f32(x), 0x7E00);
        } else {
            assert_true(isinf(x));
            assert_int_equal(bn_f16_from_f32(x), (h & 0x8000u) | 0x7BFF);
        }
    }
}

static void check_f16_is_nearest(float x)
{
    uint32_t h = bn_f16_from_f32(x) & 0x7FFFu;
    long double exact = fabsl((long double)x);
    long double here = fabsl(exact - value_of_f16(h));
    if (h > 0) {
        long double below = fabsl(exact - value_of_f16(h - 1));
        assert_true(here < below || (here == below && h % 2 == 0));
    }
    if (h < 0x7BFF) {
        long double above = fabsl(exact - value_of_f16(h + 1));
        assert_true(here < above || (here == above && h % 2 == 0));
    }
}

static void test_f16_rounds_to_nearest_even(void **state)
{
    (void)state;
    random_state random = {2};
    for (uint32_t h = 0; h < 0x7BFF; h++) {
        float middle = (bn_f32_from_f16((uint16_t)h) + bn_f32_from_f16((uint16_t)(h + 1))) * 0.5f;
        check_f16_is_nearest(middle);
        check_f16_is_nearest(nextafterf(middle, 0.0f));
        check_f16_is_nearest(-nextafterf(middle, 1e9f));
    }
    for (int i = 0; i < 200000; i++) {
        float x = f32_of_bits((uint32_t)random_u64(&random));
        if (fabsf(x) < 65504.0f) check_f16_is_nearest(x);
        if (fabsf(x) >= 65504.0f) assert_int_equal(bn_f16_from_f32(x) & 0x7FFF, 0x7BFF);
    }
    assert_int_equal(bn_f16_from_f32(65519.9f), 0x7BFF);
    assert_int_equal(bn_f16_from_f32(-65520.0f), 0xFBFF);
}

static void test_dot16_keeps_its_order(void **state)
{
    (void)state;
    random_state random = {6};
    float a[77], b[77];
    for (int i = 0; i < 77; i++) {
        a[i] = random_float(&random) * powf(10.0f, (float)(i % 5));
        b[i] = random_float(&random);
    }
    float lanes[16], sums[16];
    for (int j = 0; j < 16; j++) {
        lanes[j] = sums[j] = 0.0f;
        for (int i = j; i < 77; i += 16) {
            lanes[j] = fmaf(a[i], b[i], lanes[j]);
            sums[j] += a[i];
        }
    }
    for (int step = 8; step > 0; step /= 2)
        for (int j = 0; j < step; j++) {
            lanes[j] += lanes[j + step];
            sums[j] += sums[j + step];
        }
    assert_int_equal(bits_of_f32(bn_dot16(a, b, 77)), bits_of_f32(lanes[0]));
    assert_int_equal(bits_of_f32(bn_sum16(a, 77)), bits_of_f32(sums[0]));
    assert_int_equal(bits_of_f32(bn_dot16(a, b, 0)), 0);
    /* The order matters for these numbers, or the test would prove nothing. */
    float plain = 0.0f;
    for (int i = 0; i < 77; i++)
        plain += a[i];
    assert_int_not_equal(bits_of_f32(plain), bits_of_f32(sums[0]));
}

static void test_log_sum_exp(void **state)
{
    (void)state;
    random_state random = {4};
    static float logits[10000];
    long double sum = 0.0L;
    for (int i = 0; i < 10000; i++) {
        logits[i] = random_float(&random) * 30.0f;
        sum += expl(logits[i]);
    }
    assert_true(fabsl(bn_log_sum_exp(logits, 10000) - logl(sum)) < 1e-13L);
    assert_true(bn_log_sum_exp(logits, 1) == (double)logits[0]);
    logits[5000] = NAN;
    assert_true(isnan(bn_log_sum_exp(logits, 10000)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exp_f32_is_within_one_ulp),
        cmocka_unit_test(test_exp_f32_at_the_edges),
        cmocka_unit_test(test_exp_f64_and_log_f64_are_within_one_ulp),
        cmocka_unit_test(test_exp_f64_and_log_f64_at_the_edges),
        cmocka_unit_test(test_every_f16_widens_and_comes_back),
        cmocka_unit_test(test_f16_rounds_to_nearest_even),
        cmocka_unit_test(test_dot16_keeps_its_order),
        cmocka_unit_test(test_log_sum_exp),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
