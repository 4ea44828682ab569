/* merger_test.c
 * What: joining by heap gives what the definition gives: lowest key first, leftmost among equals.
 * How:  random rows with random tables of pairs, against a quadratic restatement of the rule, of
 *       lengths on both sides of the switch from scan to heap.
 */
#include "coordinator/merger.h"
#include "tests/common/cmocka_all.h"

#include <string.h>

#define N_IDS 12
#define ROW_MAX 200
#define SEED 88172645463325252u

typedef struct table {
    uint32_t keys[N_IDS][N_IDS]; /* BN_MERGER_NONE: no join */
    uint32_t joined[N_IDS][N_IDS];
} table;

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static bool pair_of_table(const void *context, const bn_merger_symbol *left,
                          const bn_merger_symbol *right, uint32_t *key_out, uint32_t *id_out)
{
    const table *t = context;
    *key_out = t->keys[left->id][right->id];
    *id_out = t->joined[left->id][right->id];
    return *key_out != BN_MERGER_NONE;
}

static size_t join_plainly(const table *t, uint32_t *ids, size_t n)
{
    for (;;) {
        size_t best = n;
        uint32_t best_key = BN_MERGER_NONE;
        for (size_t i = 0; i + 1 < n; i++) {
            if (t->keys[ids[i]][ids[i + 1]] < best_key) {
                best_key = t->keys[ids[i]][ids[i + 1]];
                best = i;
            }
        }
        if (best == n) return n;
        ids[best] = t->joined[ids[best]][ids[best + 1]];
        memmove(ids + best + 1, ids + best + 2, (n - best - 2) * sizeof *ids);
        n--;
    }
}

static void check_row(bn_merger *merger, const table *t, uint32_t *ids, size_t n)
{
    assert_int_equal(bn_merger_reserve(merger, n), BN_OK);
    for (uint32_t i = 0; i < n; i++)
        bn_merger_add(merger, i, i + 1, ids[i]);
    bn_merger_run(merger, pair_of_table, t);
    size_t n_wanted = join_plainly(t, ids, n), at = 0;
    uint32_t end = 0;
    for (uint32_t i = 0; i != BN_MERGER_NONE; i = merger->symbols[i].next) {
        assert_true(at < n_wanted);
        assert_int_equal(merger->symbols[i].id, ids[at++]);
        assert_int_equal(merger->symbols[i].begin, end);
        end = merger->symbols[i].end;
    }
    assert_int_equal(at, n_wanted);
    assert_int_equal(end, n);
}

static void test_heap_and_scan_follow_the_rule(void **state)
{
    (void)state;
    uint64_t seed = SEED;
    bn_merger merger;
    bn_merger_init(&merger);
    for (int round = 0; round < 400; round++) {
        table t;
        uint64_t n_keys = 1 + next_random(&seed) % 40; /* few keys: many ties */
        for (size_t a = 0; a < N_IDS; a++) {
            for (size_t b = 0; b < N_IDS; b++) {
                bool joins = next_random(&seed) % 3 == 0;
                t.keys[a][b] = joins ? (uint32_t)(next_random(&seed) % n_keys) : BN_MERGER_NONE;
                t.joined[a][b] = (uint32_t)(next_random(&seed) % N_IDS);
            }
        }
        uint32_t ids[ROW_MAX];
        size_t n = 1 + next_random(&seed) % ROW_MAX;
        for (size_t i = 0; i < n; i++)
            ids[i] = (uint32_t)(next_random(&seed) % N_IDS);
        check_row(&merger, &t, ids, n);
    }
    bn_merger_fini(&merger);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_heap_and_scan_follow_the_rule)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
