/* alloc_test.c
 * What: sizes are checked, memory is zeroed, the guard stops an allocation.
 * How:  tables of factors around SIZE_MAX; a child process runs into the guard. */
#include "common/alloc.h"

#include "tests/common/cmocka_all.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void test_products_and_sums_are_checked(void **state)
{
    (void)state;
    static const struct {
        size_t a, b;
        bool is_product, is_sum;
    } cases[] = {
        {0, 0, true, true},
        {0, SIZE_MAX, true, true},
        {SIZE_MAX, 0, true, true},
        {1, SIZE_MAX, true, false},
        {SIZE_MAX, 1, true, false},
        {2, SIZE_MAX / 2, true, true},
        {2, SIZE_MAX / 2 + 1, false, true},
        {(size_t)1 << 32, (size_t)1 << 32, false, true},
        {(size_t)1 << 32, ((size_t)1 << 32) - 1, true, true},
        {SIZE_MAX, SIZE_MAX, false, false},
    };
    for (size_t i = 0; i < BN_COUNT(cases); i++) {
        size_t product = 7, sum = 7;
        assert_int_equal(bn_mul_size(cases[i].a, cases[i].b, &product), cases[i].is_product);
        assert_int_equal(bn_add_size(cases[i].a, cases[i].b, &sum), cases[i].is_sum);
        assert_true(product == (cases[i].is_product ? cases[i].a * cases[i].b : 7));
        assert_true(sum == (cases[i].is_sum ? cases[i].a + cases[i].b : 7));
    }
}

static void test_overflowing_sizes_give_null(void **state)
{
    (void)state;
    volatile size_t huge = SIZE_MAX;
    assert_null(bn_alloc(huge, 2));
    char *memory = bn_alloc(4, 1);
    assert_non_null(memory);
    memcpy(memory, "abc", 4);
    assert_null(bn_realloc(memory, huge / 2, 3));
    assert_string_equal(memory, "abc");
    bn_free(memory);
}

static void test_memory_is_zeroed_and_grows(void **state)
{
    (void)state;
    static const unsigned char zeros[1000];
    unsigned char *memory = bn_alloc(1000, 1);
    assert_non_null(memory);
    assert_memory_equal(memory, zeros, sizeof zeros);
    memset(memory, 5, 1000);
    memory = bn_realloc(memory, 100000, 1);
    assert_non_null(memory);
    assert_int_equal(memory[999], 5);
    bn_free(memory);

    void *nothing = bn_alloc(0, 8);
    assert_non_null(nothing);
    bn_free(nothing);
    bn_free(NULL);
    char *copy = bn_strdup("text");
    assert_string_equal(copy, "text");
    bn_free(copy);
}

/* The signal that ends a child which allocates, guarded or not. */
static int signal_of_child(bool is_guarded)
{
    pid_t child = fork();
    if (child == 0) {
        close(STDERR_FILENO);
        setenv("BN_ALLOC_GUARD", "1", 1);
        bn_alloc_guard_begin("a step");
        if (!is_guarded) bn_alloc_guard_end();
        bn_free(bn_alloc(1, 1));
        _exit(0);
    }
    int result = 0;
    assert_int_equal(waitpid(child, &result, 0), child);
    return WIFSIGNALED(result) ? WTERMSIG(result) : 0;
}

static void test_guard_aborts_when_asked(void **state)
{
    (void)state;
    assert_int_equal(signal_of_child(true), SIGABRT);
    assert_int_equal(signal_of_child(false), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_products_and_sums_are_checked),
        cmocka_unit_test(test_overflowing_sizes_give_null),
        cmocka_unit_test(test_memory_is_zeroed_and_grows),
        cmocka_unit_test(test_guard_aborts_when_asked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
