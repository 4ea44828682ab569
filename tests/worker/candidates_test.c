/* candidates_test.c
 * What: the best n of a row are those that a full sort would give, ties, NaN and infinities
 *       included, and cutting the row into ranges changes nothing.
 * How:  brute force: a candidate's rank is the number of ids that stand before it.
 */
#include "worker/candidates.h"
#include "tests/worker/random.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define ROW_MAX 700

static void fill_row(uint64_t *state, float *row, uint32_t n, uint32_t flavour)
{
    for (uint32_t i = 0; i < n; i++) {
        row[i] = random_float(state);
        if (flavour == 1) row[i] = (float)random_below(state, 5); /* many ties */
        if (flavour == 2 && random_below(state, 3) == 0) row[i] = NAN;
        if (flavour == 3) row[i] = random_below(state, 2) == 0 ? 0.0f : -0.0f;
        if (flavour == 4 && random_below(state, 4) == 0) row[i] = -INFINITY;
        if (flavour == 5) row[i] = NAN;
    }
}

static uint32_t rank_of(const float *row, uint32_t n, uint32_t id)
{
    uint32_t rank = 0;
    for (uint32_t other = 0; other < n; other++) {
        bool is_nan = isnan(row[id]), other_is_nan = isnan(row[other]);
        if (is_nan != other_is_nan) {
            rank += is_nan;
        } else if (!is_nan && row[other] != row[id]) {
            rank += row[other] > row[id];
        } else {
            rank += other < id;
        }
    }
    return rank;
}

static void check_best(const float *row, uint32_t n, const bn_candidate *best, uint32_t n_best)
{
    for (uint32_t i = 0; i < n_best; i++) {
        assert_true(best[i].id < n);
        assert_int_equal(rank_of(row, n, best[i].id), i);
        assert_memory_equal(&best[i].logit, &row[best[i].id], sizeof(float));
    }
}

static void test_the_best_are_those_of_a_full_sort(void **unused)
{
    (void)unused;
    uint64_t state = 1;
    float row[ROW_MAX];
    bn_candidate best[BN_CANDIDATES_MAX];
    for (uint32_t round = 0; round < 300; round++) {
        uint32_t n = 1 + random_below(&state, ROW_MAX);
        uint32_t n_best = random_below(&state, BN_CANDIDATES_MAX + 1);
        fill_row(&state, row, n, round % 6);
        uint32_t got = bn_candidates_select(row, 0, n, n_best, best);
        assert_int_equal(got, n < n_best ? n : n_best);
        check_best(row, n, best, got);
    }
}

static void test_cutting_the_row_changes_nothing(void **unused)
{
    (void)unused;
    uint64_t state = 2;
    float row[ROW_MAX];
    static bn_candidate lists[8 * BN_CANDIDATES_MAX], whole[BN_CANDIDATES_MAX],
        merged[BN_CANDIDATES_MAX];
    for (uint32_t round = 0; round < 200; round++) {
        uint32_t n = 8 + random_below(&state, ROW_MAX - 8);
        uint32_t n_best = 1 + random_below(&state, BN_CANDIDATES_MAX);
        uint32_t n_lists = 1 + random_below(&state, 8), n_in[8];
        fill_row(&state, row, n, round % 6);
        for (uint32_t i = 0; i < n_lists; i++) {
            n_in[i] = bn_candidates_select(row, n * i / n_lists, n * (i + 1) / n_lists, n_best,
                                           lists + i * BN_CANDIDATES_MAX);
        }
        uint32_t n_whole = bn_candidates_select(row, 0, n, n_best, whole);
        uint32_t n_merged =
            bn_candidates_merge(lists, BN_CANDIDATES_MAX, n_in, n_lists, n_best, merged);
        assert_int_equal(n_merged, n_whole);
        assert_memory_equal(merged, whole, n_whole * sizeof whole[0]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_best_are_those_of_a_full_sort),
        cmocka_unit_test(test_cutting_the_row_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
