/* rope_test.c
 * What: the rotary angles are right and are the same bits with every compiler.
 * How:  against libm in long double; a hash of the whole table to position 131,071, pinned here:
 *       gcc and clang, -O0 and -O3, must all give it. */
#include "kernels/rope.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define PAIRS_MAX 64

static const struct {
    double base;
    uint32_t head_size;
    uint64_t hash;
    bn_rope_yarn yarn;
} tables[] = {
    {500000.0, 128, 0x8984d35eb93aa4e2, {0}},
    {10000.0, 96, 0xb8a22f84acaf885a, {0}},
    {1000000.0, 128, 0xdbfb6ee8f2be8ef9, {16384, 4.0f, 32.0f, 1.0f, 1.0f}},
};

static uint64_t hash_words(uint64_t hash, const float *values, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, values + i, sizeof bits);
        hash = (hash ^ bits) * 0x100000001B3u;
    }
    return hash;
}

static void test_tables_have_the_pinned_bits(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++) {
        double inv_freq[PAIRS_MAX];
        float cosines[PAIRS_MAX], sines[PAIRS_MAX];
        uint32_t n = tables[i].head_size / 2;
        uint64_t hash = 0xCBF29CE484222325u;
        bn_rope_frequencies(tables[i].base, tables[i].head_size, NULL, inv_freq);
        bn_rope_yarn_frequencies(&tables[i].yarn, tables[i].base, tables[i].head_size, inv_freq);
        double magnitude = bn_rope_yarn_magnitude(&tables[i].yarn);
        for (uint32_t position = 0; position <= 131071; position++) {
            bn_rope_angles(position, inv_freq, magnitude, n, cosines, sines);
            hash = hash_words(hash, cosines, n);
            hash = hash_words(hash, sines, n);
        }
        print_message("base %.0f, head size %u: 0x%016llx\n", tables[i].base, tables[i].head_size,
                      (unsigned long long)hash);
        assert_true(hash == tables[i].hash);
    }
}

static long double half_ulp(float x)
{
    return ldexpl(0.5L, ilogbf(x) - 23);
}

static void test_angles_agree_with_libm(void **state)
{
    (void)state;
    long double worst = 0.0L;
    for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++) {
        double inv_freq[PAIRS_MAX];
        float cosines[PAIRS_MAX], sines[PAIRS_MAX];
        uint32_t n = tables[i].head_size / 2;
        bn_rope_frequencies(tables[i].base, tables[i].head_size, NULL, inv_freq);
        for (uint32_t position = 1; position <= BN_ROPE_POSITION_MAX; position += 4093) {
            bn_rope_angles(position, inv_freq, 1.0, n, cosines, sines);
            for (uint32_t k = 0; k < n; k++) {
                long double exponent = -2.0L * k / tables[i].head_size;
                long double angle = position * powl(tables[i].base, exponent);
                long double c = fabsl(cosines[k] - cosl(angle)) - half_ulp(cosines[k]);
                long double s = fabsl(sines[k] - sinl(angle)) - half_ulp(sines[k]);
                worst = c > worst ? c : worst;
                worst = s > worst ? s : worst;
            }
        }
    }
    print_message("beyond half an ulp: %.3Le\n", worst);
    assert_true(worst < 1e-9L);
}

static void test_position_zero_is_the_identity(void **state)
{
    (void)state;
    double inv_freq[PAIRS_MAX];
    float cosines[PAIRS_MAX], sines[PAIRS_MAX];
    bn_rope_frequencies(500000.0, 128, NULL, inv_freq);
    assert_true(inv_freq[0] == 1.0);
    bn_rope_angles(0, inv_freq, 1.0, 64, cosines, sines);
    for (int k = 0; k < 64; k++)
        assert_true(cosines[k] == 1.0f && sines[k] == 0.0f);
}

static void test_factors_divide_the_frequencies(void **state)
{
    (void)state;
    double plain[4], divided[4];
    const float factors[4] = {1.0f, 2.0f, 8.0f, 3.0f};
    bn_rope_frequencies(10000.0, 8, NULL, plain);
    bn_rope_frequencies(10000.0, 8, factors, divided);
    for (int k = 0; k < 4; k++)
        assert_true(divided[k] == plain[k] / (double)factors[k]);
}

/* Against the formula of the paper in long double: what turns often is kept, what turns seldom is
 * divided, the pairs between lie on a line. */
static void test_yarn_bends_the_frequencies(void **state)
{
    (void)state;
    static const struct {
        bn_rope_yarn yarn;
        double base;
        uint32_t head_size;
    } cases[] = {
        {{16384, 4.0f, 32.0f, 1.0f, 1.0f}, 1e6, 128}, {{32768, 2.5f, 32.0f, 1.0f, 0.5f}, 1e6, 64},
        {{64, 4.0f, 32.0f, 1.0f, 1.0f}, 1e6, 64},     /* nothing turns 32 times */
        {{1 << 20, 8.0f, 1.0f, 1.0f, 1.0f}, 2.0, 64}, /* everything turns: none is divided */
        {{1, 8.0f, 32.0f, 1.0f, 1.0f}, 1e4, 64},      /* nothing turns once */
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const bn_rope_yarn *yarn = &cases[i].yarn;
        uint32_t n = cases[i].head_size;
        double plain[PAIRS_MAX], bent[PAIRS_MAX];
        long double bounds[2] = {yarn->beta_fast, yarn->beta_slow};
        for (int k = 0; k < 2; k++)
            bounds[k] = n * logl(yarn->original_context / (bounds[k] * 2.0L * acosl(-1.0L))) /
                        (2.0L * logl(cases[i].base));
        long double low = fmaxl(floorl(bounds[0]), 0), high = fminl(ceill(bounds[1]), n - 1);
        bn_rope_frequencies(cases[i].base, n, NULL, plain);
        bn_rope_frequencies(cases[i].base, n, NULL, bent);
        bn_rope_yarn_frequencies(yarn, cases[i].base, n, bent);
        for (uint32_t k = 0; k < n / 2; k++) {
            long double ramp = fminl(1, fmaxl(0, (k - low) / fmaxl(high - low, 0.001L)));
            long double expected = plain[k] / yarn->factor * ramp + plain[k] * (1 - ramp);
            assert_true(fabsl(bent[k] - expected) <= 1e-15L * expected);
        }
        double magnitude = bn_rope_yarn_magnitude(yarn);
        double expected = (0.1 * log((double)yarn->factor) + 1.0) * (double)yarn->attn_factor;
        assert_true(fabs(magnitude - expected) < 1e-15 * expected);
    }
    assert_true(bn_rope_yarn_magnitude(&(bn_rope_yarn){0}) == 1.0);
}

static void test_the_magnitude_is_rounded_once(void **state)
{
    (void)state;
    double inv_freq[PAIRS_MAX];
    float plain[2][PAIRS_MAX], scaled[2][PAIRS_MAX];
    double magnitude = 1.1386294361119891;
    bn_rope_frequencies(1e6, 128, NULL, inv_freq);
    for (uint32_t position = 0; position < 5000; position += 7) {
        bn_rope_angles(position, inv_freq, 1.0, 64, plain[0], plain[1]);
        bn_rope_angles(position, inv_freq, magnitude, 64, scaled[0], scaled[1]);
        for (int k = 0; k < 64; k++) {
            long double c = magnitude * cosl(position * (long double)inv_freq[k]);
            assert_true(fabsl(scaled[0][k] - c) <= half_ulp(scaled[0][k]) + 1e-9L);
            assert_true(fabs((double)scaled[1][k] - magnitude * (double)plain[1][k]) < 2e-7);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tables_have_the_pinned_bits),
        cmocka_unit_test(test_angles_agree_with_libm),
        cmocka_unit_test(test_position_zero_is_the_identity),
        cmocka_unit_test(test_factors_divide_the_frequencies),
        cmocka_unit_test(test_yarn_bends_the_frequencies),
        cmocka_unit_test(test_the_magnitude_is_rounded_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
