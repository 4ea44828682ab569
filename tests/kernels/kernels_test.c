/* kernels_test.c
 * What: the choice of a table, and the float environment every compute thread needs.
 * How:  names against tables; the environment spoiled on purpose must be noticed and repaired. */
#include "kernels/kernels.h"
#include "kernels/tables.h"

#include <fenv.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void test_tables_have_the_names_of_the_options(void **state)
{
    (void)state;
    for (bn_isa isa = BN_ISA_SCALAR; isa < BN_ISA_COUNT; isa++) {
        const bn_kernels *k = bn_kernels_get(isa);
        if (k != NULL) assert_string_equal(k->name, bn_isa_names[isa]);
    }
    assert_null(bn_isa_names[BN_ISA_COUNT]);
    assert_ptr_equal(bn_kernels_get(BN_ISA_SCALAR), &bn_kernels_scalar);
}

static void test_auto_is_the_best_there_is(void **state)
{
    (void)state;
    const bn_kernels *best = bn_kernels_get(BN_ISA_SCALAR);
    for (bn_isa isa = BN_ISA_AVX2; isa < BN_ISA_COUNT; isa++)
        if (bn_kernels_get(isa) != NULL) best = bn_kernels_get(isa);
    assert_ptr_equal(bn_kernels_get(BN_ISA_AUTO), best);
    /* A processor with AVX-512 as asked for has AVX2, FMA and F16C. */
    if (bn_kernels_get(BN_ISA_AVX512) != NULL) assert_non_null(bn_kernels_get(BN_ISA_AVX2));
}

static void test_no_table_has_a_hole(void **state)
{
    (void)state;
    for (bn_isa isa = BN_ISA_SCALAR; isa < BN_ISA_COUNT; isa++) {
        const bn_kernels *k = bn_kernels_get(isa);
        if (k == NULL) continue;
        void *entries[sizeof *k / sizeof(void *)];
        memcpy(entries, k, sizeof *k);
        for (size_t i = 0; i < sizeof entries / sizeof entries[0]; i++)
            assert_non_null(entries[i]);
    }
}

static volatile float tiny = 0x1p-140f, one = 1.0f;

#if defined(__x86_64__)

static void check_spoiled_mxcsr(void)
{
    static const unsigned spoiled[] = {0x8000u, 0x0040u}; /* flush to zero, denormals are zero */
    for (size_t i = 0; i < 2; i++) {
        __builtin_ia32_ldmxcsr(0x1F80u | spoiled[i]);
        assert_true(tiny * one == 0.0f);
        assert_false(bn_float_env_is_set());
        bn_float_env_set();
        assert_true(tiny * one == 0x1p-140f);
    }
}

#else

static void check_spoiled_mxcsr(void)
{
}

#endif

static void test_a_spoiled_environment_is_noticed_and_repaired(void **state)
{
    (void)state;
    bn_float_env_set();
    assert_true(bn_float_env_is_set());
    assert_true(tiny * one == 0x1p-140f);
    assert_int_equal(fesetround(FE_UPWARD), 0);
    assert_false(bn_float_env_is_set());
    bn_float_env_set();
    assert_true(bn_float_env_is_set());
    check_spoiled_mxcsr();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tables_have_the_names_of_the_options),
        cmocka_unit_test(test_auto_is_the_best_there_is),
        cmocka_unit_test(test_no_table_has_a_hole),
        cmocka_unit_test(test_a_spoiled_environment_is_noticed_and_repaired),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
