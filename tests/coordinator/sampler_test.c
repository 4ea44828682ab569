/* sampler_test.c
 * What: the chain (penalties, top-k, temperature, top-p, min-p, draw) is the documented one, and a
 *       draw from what the sampler asks for equals the draw from all logits.
 * How:  a straightforward oracle over all logits in long double; random vocabularies with many
 *       equal logits; a broken oracle (sabotage) must be noticed.
 */
#include "coordinator/sampler.h"

#include "common/log.h"
#include "tests/kernels/random.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define VOCAB_MAX 500

typedef struct ranked {
    long double logit, weight;
    uint32_t id;
} ranked;

static int compare_ranked(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    if (x->logit != y->logit) return x->logit > y->logit ? -1 : 1;
    return x->id < y->id ? -1 : 1;
}

/* The cumulative distribution that the chain leaves, over ids in their order; returns its size. */
static uint32_t oracle(const bn_sampler_config *config, const uint32_t *log, uint32_t n_log,
                       const float *logits, uint32_t vocab, ranked *out)
{
    for (uint32_t id = 0; id < vocab; id++) {
        double logit = (double)logits[id];
        uint32_t count = 0;
        for (uint32_t i = n_log > 64 ? n_log - 64 : 0; i < n_log; i++)
            count += log[i] == id;
        if (count > 0) {
            double r = (double)config->repeat_penalty;
            logit = logit > 0.0 ? logit / r : logit * r;
            logit -= (double)config->frequency_penalty * count;
            logit -= (double)config->presence_penalty;
        }
        out[id] = (ranked){.logit = (long double)logit, .id = id};
    }
    qsort(out, vocab, sizeof *out, compare_ranked);
    uint32_t n = config->top_k != 0 && config->top_k < vocab ? config->top_k : vocab;
    if (config->temperature == 0.0f) n = 1;
    long double sum = 0.0L, reached = 0.0L;
    long double t = config->temperature == 0.0f ? 1.0L : (long double)config->temperature;
    for (uint32_t i = 0; i < n; i++) {
        out[i].weight = expl((out[i].logit - out[0].logit) / t);
        sum += out[i].weight;
    }
    uint32_t kept = 0;
    while (kept < n && (kept == 0 || reached < sum * (long double)config->top_p))
        reached += out[kept++].weight;
    if (config->top_p >= 1.0f) kept = n;
    n = kept;
    while (n > 1 && out[n - 1].weight < (long double)config->min_p * out[0].weight)
        n--;
    return n;
}

/* Whether `token` is what the random number picks; draws next to a boundary count as right. */
static bool is_right(const ranked *kept, uint32_t n, double random, uint32_t token)
{
    long double sum = 0.0L, reached = 0.0L;
    for (uint32_t i = 0; i < n; i++)
        sum += kept[i].weight;
    for (uint32_t i = 0; i < n; i++) {
        long double begin = reached / sum;
        reached += kept[i].weight;
        if (kept[i].id == token)
            return (long double)random > begin - 1e-12L &&
                   (long double)random < reached / sum + 1e-12L;
    }
    return false;
}

typedef struct trial {
    uint32_t vocab, n_log;
    float logits[VOCAB_MAX];
    uint32_t log[100];
    bn_sampler_config config;
} trial;

static void make_trial(random_state *random, trial *t)
{
    t->vocab = 2 + random_below(random, VOCAB_MAX - 2);
    t->n_log = 1 + random_below(random, 100);
    bool is_coarse = random_below(random, 2) == 0; /* many ties */
    for (uint32_t i = 0; i < t->vocab; i++) {
        float x = random_float(random) * 8.0f;
        t->logits[i] = is_coarse ? (float)(int)x : x;
    }
    uint32_t kinds = 1 + random_below(random, t->vocab);
    for (uint32_t i = 0; i < t->n_log; i++)
        t->log[i] = random_below(random, kinds);
    bn_sampler_config_init(&t->config);
    t->config.seed = random_u64(random);
    t->config.choice = random_below(random, 3);
    t->config.temperature =
        random_below(random, 5) == 0 ? 0.0f : 0.1f + fabsf(random_float(random));
    t->config.top_k = random_below(random, 4) == 0 ? 0 : 1 + random_below(random, 60);
    t->config.top_p = random_below(random, 3) == 0 ? 1.0f : fabsf(random_float(random));
    t->config.min_p = random_below(random, 3) == 0 ? 0.0f : fabsf(random_float(random)) * 0.3f;
    if (random_below(random, 2) == 0) {
        t->config.repeat_penalty = 0.7f + fabsf(random_float(random));
        t->config.frequency_penalty = random_float(random) * 0.5f;
        t->config.presence_penalty = random_float(random);
    }
}

/* What a worker would send: the n_best by logit, and the exact logits. */
static uint32_t draw_as_asked(bn_sampler *sampler, const trial *t, uint32_t *n_best_out)
{
    bn_wants wants;
    bn_sampler_wants(sampler, &t->config, t->log, t->n_log, &wants);
    assert_int_equal(wants.begin, t->n_log - 1);
    uint32_t token = UINT32_MAX;
    *n_best_out = wants.n_best;
    if (wants.wants_all) {
        assert_int_equal(
            bn_sampler_draw_all(sampler, &t->config, t->log, t->n_log, t->logits, &token), BN_OK);
        return token;
    }
    static ranked all[VOCAB_MAX];
    static bn_candidate candidates[BN_CANDIDATES_MAX];
    static float exact[BN_WANTS_IDS_MAX];
    for (uint32_t i = 0; i < t->vocab; i++)
        all[i] = (ranked){.logit = (long double)t->logits[i], .id = i};
    qsort(all, t->vocab, sizeof *all, compare_ranked);
    assert_true(wants.n_best <= t->vocab && wants.n_best <= BN_CANDIDATES_MAX);
    /* In reverse: the order of arrival must not matter. */
    for (uint32_t i = 0; i < wants.n_best; i++) {
        uint32_t id = all[wants.n_best - 1 - i].id;
        candidates[i] = (bn_candidate){.id = id, .logit = t->logits[id]};
    }
    for (uint32_t i = 0; i < wants.n_ids; i++)
        exact[i] = t->logits[wants.ids[i]];
    assert_int_equal(bn_sampler_draw(sampler, &t->config, t->log, t->n_log, candidates,
                                     wants.n_best, exact, wants.n_ids, &token),
                     BN_OK);
    return token;
}

static void test_draws_follow_the_chain(void **state)
{
    (void)state;
    random_state random = {.state = 20261122};
    static trial t;
    static ranked kept[VOCAB_MAX];
    uint32_t n_partial = 0, n_noticed = 0;
    for (int i = 0; i < 4000; i++) {
        make_trial(&random, &t);
        bn_sampler *sampler;
        assert_int_equal(bn_sampler_create(t.vocab, &sampler), BN_OK);
        uint32_t n_best, all_token;
        uint32_t token = draw_as_asked(sampler, &t, &n_best);
        assert_int_equal(
            bn_sampler_draw_all(sampler, &t.config, t.log, t.n_log, t.logits, &all_token), BN_OK);
        bn_sampler_destroy(sampler);
        assert_int_equal(token, all_token);
        n_partial += n_best > 0 && n_best < t.vocab;

        uint32_t n = oracle(&t.config, t.log, t.n_log, t.logits, t.vocab, kept);
        double u = bn_sampler_random(t.config.seed, t.config.choice, t.n_log);
        assert_true(is_right(kept, n, u, token));
        n_noticed += !is_right(kept, n, u < 0.5 ? u + 0.5 : u - 0.5, token);
    }
    assert_true(n_partial > 1000); /* most trials did not see the whole vocabulary */
    assert_true(n_noticed > 1000); /* and a wrong random number is noticed */
}

static void test_random_numbers_are_even_and_keyed(void **state)
{
    (void)state;
    uint32_t buckets[16] = {0};
    for (uint32_t position = 0; position < 16000; position++) {
        double u = bn_sampler_random(5, 0, position);
        assert_true(u >= 0.0 && u < 1.0);
        buckets[(uint32_t)(u * 16.0)]++;
    }
    for (int i = 0; i < 16; i++)
        assert_in_range(buckets[i], 850, 1150);
    assert_true(bn_sampler_random(5, 0, 7) == bn_sampler_random(5, 0, 7));
    assert_true(bn_sampler_random(5, 0, 7) != bn_sampler_random(6, 0, 7));
    assert_true(bn_sampler_random(5, 0, 7) != bn_sampler_random(5, 1, 7));
    assert_true(bn_sampler_random(5, 0, 7) != bn_sampler_random(5, 0, 8));
}

static void test_greedy_breaks_ties_by_id(void **state)
{
    (void)state;
    bn_sampler *sampler;
    assert_int_equal(bn_sampler_create(4, &sampler), BN_OK);
    bn_sampler_config config;
    bn_sampler_config_init(&config);
    config.temperature = 0.0f;
    float logits[4] = {1.0f, 3.0f, 3.0f, -1.0f};
    uint32_t log[1] = {0}, token;
    assert_int_equal(bn_sampler_draw_all(sampler, &config, log, 1, logits, &token), BN_OK);
    assert_int_equal(token, 1);
    bn_sampler_destroy(sampler);
}

static void test_logits_that_are_not_finite_are_refused(void **state)
{
    (void)state;
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    bn_log_set_quiet(true);
    bn_sampler *sampler;
    assert_int_equal(bn_sampler_create(3, &sampler), BN_OK);
    bn_sampler_config config;
    bn_sampler_config_init(&config);
    uint32_t log[1] = {0}, token;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        float logits[3] = {1.0f, 2.0f, bad[i]};
        bn_candidate candidates[2] = {{.id = 0, .logit = 1.0f}, {.id = 2, .logit = bad[i]}};
        assert_int_equal(bn_sampler_draw_all(sampler, &config, log, 1, logits, &token),
                         BN_ERR_BAD_MESSAGE);
        assert_int_equal(bn_sampler_draw(sampler, &config, log, 1, candidates, 2, NULL, 0, &token),
                         BN_ERR_BAD_MESSAGE);
    }
    assert_int_equal(bn_sampler_draw(sampler, &config, log, 1, NULL, 0, NULL, 0, &token),
                     BN_ERR_BAD_MESSAGE);
    bn_sampler_destroy(sampler);
    bn_log_set_quiet(false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_draws_follow_the_chain),
        cmocka_unit_test(test_random_numbers_are_even_and_keyed),
        cmocka_unit_test(test_greedy_breaks_ties_by_id),
        cmocka_unit_test(test_logits_that_are_not_finite_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
