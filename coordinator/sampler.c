/* sampler.c — the chain in the order of docs/NUMERICS.md.
 *
 * Ties are broken by id, sums run in descending order of the logits, and nothing depends on how
 * the candidates arrived: they are sorted here again.
 */
#include "coordinator/sampler.h"

#include "common/alloc.h"
#include "common/log.h"
#include "kernels/math.h"

#include <stdlib.h>
#include <string.h>

typedef struct weighted {
    double logit; /* after penalties */
    double weight;
    uint32_t id;
} weighted;

typedef struct penalty {
    uint32_t id, count;
} penalty;

struct bn_sampler {
    uint32_t vocab;
    weighted *entries; /* [vocab + BN_SAMPLER_WINDOW] */
};

void bn_sampler_config_init(bn_sampler_config *config)
{
    *config = (bn_sampler_config){
        .temperature = 0.8f, .top_k = 40, .top_p = 0.95f, .min_p = 0.05f, .repeat_penalty = 1.0f};
}

bn_status bn_sampler_create(uint32_t vocab, bn_sampler **sampler_out)
{
    bn_sampler *sampler = bn_alloc(1, sizeof *sampler);
    if (sampler == NULL) return BN_ERR_NO_MEMORY;
    sampler->vocab = vocab;
    sampler->entries = bn_alloc((size_t)vocab + BN_SAMPLER_WINDOW, sizeof *sampler->entries);
    if (sampler->entries == NULL) {
        bn_free(sampler);
        return bn_fail(BN_ERR_NO_MEMORY, "SAMPLER-MEMORY",
                       "no memory for sampling from a vocabulary of %u", vocab);
    }
    *sampler_out = sampler;
    return BN_OK;
}

void bn_sampler_destroy(bn_sampler *sampler)
{
    if (sampler == NULL) return;
    bn_free(sampler->entries);
    bn_free(sampler);
}

static bool has_penalties(const bn_sampler_config *config)
{
    return config->repeat_penalty != 1.0f || config->frequency_penalty != 0.0f ||
           config->presence_penalty != 0.0f;
}

/* The distinct ids of the log's window, ascending, with their counts. */
static uint32_t collect_penalties(const bn_sampler_config *config, const uint32_t *log,
                                  uint32_t n_log, penalty penalties[BN_SAMPLER_WINDOW])
{
    if (!has_penalties(config)) return 0;
    uint32_t n = 0;
    uint32_t begin = n_log > BN_SAMPLER_WINDOW ? n_log - BN_SAMPLER_WINDOW : 0;
    for (uint32_t i = begin; i < n_log; i++) {
        uint32_t at = 0;
        while (at < n && penalties[at].id < log[i])
            at++;
        if (at < n && penalties[at].id == log[i]) {
            penalties[at].count++;
            continue;
        }
        memmove(&penalties[at + 1], &penalties[at], (n - at) * sizeof *penalties);
        penalties[at] = (penalty){.id = log[i], .count = 1};
        n++;
    }
    return n;
}

static double penalised(const bn_sampler_config *config, double logit, uint32_t count)
{
    double repeat = (double)config->repeat_penalty;
    logit = logit > 0.0 ? logit / repeat : logit * repeat;
    logit -= (double)config->frequency_penalty * (double)count;
    return logit - (double)config->presence_penalty;
}

void bn_sampler_wants(const bn_sampler *sampler, const bn_sampler_config *config,
                      const uint32_t *log, uint32_t n_log, bn_wants *wants)
{
    BN_ASSERT(n_log > 0);
    penalty penalties[BN_SAMPLER_WINDOW + 1];
    *wants = (bn_wants){.begin = n_log - 1};
    uint32_t n_penalties = collect_penalties(config, log, n_log, penalties);
    uint32_t top = config->temperature == 0.0f ? 1 : config->top_k;
    /* A penalised id may leave the top_k best, so as many more must be at hand. */
    uint64_t n_best = (uint64_t)top + n_penalties;
    if (n_best > sampler->vocab) n_best = sampler->vocab;
    if (top == 0 || n_best > BN_CANDIDATES_MAX) {
        wants->wants_all = true;
        return;
    }
    wants->n_best = (uint32_t)n_best;
    wants->n_ids = n_penalties;
    for (uint32_t i = 0; i < n_penalties; i++)
        wants->ids[i] = penalties[i].id;
}

double bn_sampler_random(uint64_t seed, uint32_t choice, uint32_t position)
{
    uint64_t keys[3] = {seed, choice, position};
    uint64_t h = 0;
    for (int i = 0; i < 3; i++) {
        /* A SplitMix64 step for each key: add the odd constant, then mix. */
        h = (h ^ keys[i]) + 0x9e3779b97f4a7c15u;
        h = (h ^ (h >> 30)) * 0xbf58476d1ce4e5b9u;
        h = (h ^ (h >> 27)) * 0x94d049bb133111ebu;
        h ^= h >> 31;
    }
    return (double)(h >> 11) * 0x1p-53;
}

static int compare_entries(const void *a, const void *b)
{
    const weighted *x = a, *y = b;
    if (x->logit != y->logit) return x->logit > y->logit ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

static bool is_finite(float x)
{
    return x - x == 0.0f;
}

static bn_status not_finite(uint32_t id)
{
    return bn_fail(BN_ERR_BAD_MESSAGE, "SAMPLER-FINITE",
                   "the logit of token %u is not a finite number: the model's weights or the "
                   "computation are broken",
                   id);
}

/* top-k, temperature, top-p, min-p, draw over `n` entries. */
static uint32_t draw_from(weighted *entries, uint32_t n, const bn_sampler_config *config,
                          uint32_t position)
{
    qsort(entries, n, sizeof *entries, compare_entries);
    if (config->temperature == 0.0f) return entries[0].id;
    if (config->top_k != 0 && n > config->top_k) n = config->top_k;

    double sum = 0.0;
    for (uint32_t i = 0; i < n; i++) {
        double z = (entries[i].logit - entries[0].logit) / (double)config->temperature;
        entries[i].weight = bn_exp_f64(z);
        sum += entries[i].weight;
    }
    if (config->top_p < 1.0f) {
        double enough = sum * (double)config->top_p, reached = 0.0;
        uint32_t kept = 0;
        while (kept < n && (kept == 0 || reached < enough))
            reached += entries[kept++].weight;
        n = kept;
    }
    double least = (double)config->min_p * entries[0].weight;
    uint32_t kept = 1;
    while (kept < n && entries[kept].weight >= least)
        kept++;
    n = kept;

    sum = 0.0;
    for (uint32_t i = 0; i < n; i++)
        sum += entries[i].weight;
    double target = bn_sampler_random(config->seed, config->choice, position) * sum;
    double reached = 0.0;
    for (uint32_t i = 0; i < n; i++) {
        reached += entries[i].weight;
        if (target < reached) return entries[i].id;
    }
    return entries[n - 1].id;
}

bn_status bn_sampler_draw(bn_sampler *sampler, const bn_sampler_config *config, const uint32_t *log,
                          uint32_t n_log, const bn_candidate *candidates, uint32_t n_candidates,
                          const float *exact, uint32_t n_exact, uint32_t *token_out)
{
    penalty penalties[BN_SAMPLER_WINDOW + 1];
    uint32_t n_penalties = collect_penalties(config, log, n_log, penalties);
    if (n_exact != n_penalties || n_candidates == 0 || n_candidates > sampler->vocab)
        return bn_fail(BN_ERR_BAD_MESSAGE, "SAMPLER-COUNTS",
                       "a result holds %u candidates and %u exact logits; asked for %u exact",
                       n_candidates, n_exact, n_penalties);
    uint32_t n = 0;
    for (uint32_t i = 0; i < n_candidates; i++) {
        if (!is_finite(candidates[i].logit)) return not_finite(candidates[i].id);
        uint32_t at = 0;
        while (at < n_penalties && penalties[at].id != candidates[i].id)
            at++;
        if (at < n_penalties) continue;
        sampler->entries[n++] =
            (weighted){.logit = (double)candidates[i].logit, .id = candidates[i].id};
    }
    for (uint32_t i = 0; i < n_penalties; i++) {
        if (!is_finite(exact[i])) return not_finite(penalties[i].id);
        double logit = penalised(config, (double)exact[i], penalties[i].count);
        sampler->entries[n++] = (weighted){.logit = logit, .id = penalties[i].id};
    }
    *token_out = draw_from(sampler->entries, n, config, n_log);
    return BN_OK;
}

bn_status bn_sampler_draw_all(bn_sampler *sampler, const bn_sampler_config *config,
                              const uint32_t *log, uint32_t n_log, const float *logits,
                              uint32_t *token_out)
{
    penalty penalties[BN_SAMPLER_WINDOW + 1];
    uint32_t n_penalties = collect_penalties(config, log, n_log, penalties);
    for (uint32_t id = 0; id < sampler->vocab; id++) {
        if (!is_finite(logits[id])) return not_finite(id);
        sampler->entries[id] = (weighted){.logit = (double)logits[id], .id = id};
    }
    for (uint32_t i = 0; i < n_penalties; i++) {
        BN_ASSERT(penalties[i].id < sampler->vocab);
        weighted *entry = &sampler->entries[penalties[i].id];
        entry->logit = penalised(config, entry->logit, penalties[i].count);
    }
    *token_out = draw_from(sampler->entries, sampler->vocab, config, n_log);
    return BN_OK;
}
