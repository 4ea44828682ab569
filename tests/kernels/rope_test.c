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
} tables[] = {
    {500000.0, 128, 0x8984d35eb93aa4e2},
    {10000.0, 96, 0xb8a22f84acaf885a},
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
        for (uint32_t position = 0; position <= 131071; position++) {
            bn_rope_angles(position, inv_freq, n, cosines, sines);
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
            bn_rope_angles(position, inv_freq, n, cosines, sines);
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
    bn_rope_angles(0, inv_freq, 64, cosines, sines);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tables_have_the_pinned_bits),
        cmocka_unit_test(test_angles_agree_with_libm),
        cmocka_unit_test(test_position_zero_is_the_identity),
        cmocka_unit_test(test_factors_divide_the_frequencies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
