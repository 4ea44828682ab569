/* arena_test.c
 * What: pieces are aligned, zeroed, disjoint, and a miscounted budget is refused by name.
 * How:  an arena sized by bn_arena_rounded is filled to the last byte; one byte more fails. */
#include "common/arena.h"

#include "common/log.h"
#include "tests/common/cmocka_all.h"

#include <string.h>

static void test_exact_budget_fits_exactly(void **state)
{
    (void)state;
    static const size_t pieces[] = {1, 64, 65, 0, 1000, (size_t)3 << 20, 7};
    size_t budget = 0;
    for (size_t i = 0; i < BN_COUNT(pieces); i++)
        budget += bn_arena_rounded(pieces[i]);

    bn_arena *arena;
    assert_int_equal(bn_arena_create("weights", budget, &arena), BN_OK);
    assert_true(bn_arena_capacity(arena) == budget);
    uint8_t *end_before = NULL;
    for (size_t i = 0; i < BN_COUNT(pieces); i++) {
        void *memory;
        assert_int_equal(bn_arena_take(arena, pieces[i], &memory), BN_OK);
        assert_int_equal((uintptr_t)memory % 64, 0);
        assert_true((uint8_t *)memory >= end_before);
        for (size_t j = 0; j < pieces[i]; j++)
            assert_int_equal(((uint8_t *)memory)[j], 0);
        memset(memory, 0xff, pieces[i]);
        end_before = (uint8_t *)memory + pieces[i];
    }
    assert_true(bn_arena_used(arena) == budget);

    void *memory = NULL;
    bn_log_set_quiet(true);
    assert_int_equal(bn_arena_take(arena, 1, &memory), BN_ERR_LIMIT);
    assert_non_null(strstr(bn_log_last_error(), "weights"));
    assert_null(memory);
    bn_arena_destroy(arena);
}

static void test_empty_and_impossible_arenas(void **state)
{
    (void)state;
    bn_arena *arena = NULL;
    void *memory = NULL;
    bn_log_set_quiet(true);
    assert_int_equal(bn_arena_create("nothing", 0, &arena), BN_OK);
    assert_int_equal(bn_arena_take(arena, 0, &memory), BN_OK);
    assert_non_null(memory);
    assert_int_equal(bn_arena_take(arena, 1, &memory), BN_ERR_LIMIT);
    assert_int_equal(bn_arena_take(arena, SIZE_MAX, &memory), BN_ERR_LIMIT);
    bn_arena_destroy(arena);
    bn_arena_destroy(NULL);

    assert_int_equal(bn_arena_create("KV cache", SIZE_MAX, &arena), BN_ERR_NO_MEMORY);
    assert_non_null(strstr(bn_log_last_error(), "KV cache"));
    assert_int_equal(bn_arena_create("KV cache", SIZE_MAX / 2, &arena), BN_ERR_NO_MEMORY);
}

static void test_rounding(void **state)
{
    (void)state;
    assert_true(bn_arena_rounded(0) == 0);
    assert_true(bn_arena_rounded(1) == 64);
    assert_true(bn_arena_rounded(64) == 64);
    assert_true(bn_arena_rounded(65) == 128);
    assert_true(bn_arena_rounded(SIZE_MAX) == SIZE_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exact_budget_fits_exactly),
        cmocka_unit_test(test_empty_and_impossible_arenas),
        cmocka_unit_test(test_rounding),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
