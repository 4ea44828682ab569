/* step.c — the rules that a step and a result must keep, in one place.
 *
 * Checked before packing, so that a bug is found where it is made, and after unpacking, so that
 * nobody indexes with a peer's numbers. Sums cannot overflow: every count is compared with its
 * maximum before it is added.
 */
#include "proto/step.h"

#include <stdarg.h>
#include <stdio.h>

typedef struct cause {
    char *text;
    size_t n;
} cause;

static bn_status refuse(const cause *why, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static bn_status refuse(const cause *why, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(why->text, why->n, format, arguments);
    va_end(arguments);
    return BN_ERR_BAD_MESSAGE;
}

static bn_status check_count(cause *why, const char *what, uint32_t n, uint32_t max)
{
    if (n <= max) return BN_OK;
    return refuse(why, "%s: %u, at most %u are allowed", what, n, max);
}

static bn_status check_below(cause *why, const char *what, uint32_t index, const char *name,
                             uint64_t value, uint64_t end)
{
    if (value < end) return BN_OK;
    return refuse(why, "%s %u: %s %llu is not below %llu", what, index, name,
                  (unsigned long long)value, (unsigned long long)end);
}

static bn_status check_values(cause *why, const char *what, const uint32_t *values, uint32_t n,
                              uint32_t end)
{
    for (uint32_t i = 0; i < n; i++) {
        if (values[i] >= end) return check_below(why, what, i, "value", values[i], end);
    }
    return BN_OK;
}

static bn_status check_command(cause *why, const bn_kv_command *command, uint32_t index)
{
    const char *what = "step: command";
    if (command->kind < BN_KV_ALLOC || command->kind > BN_KV_FREE) {
        return refuse(why, "%s %u: unknown kind %u", what, index, (unsigned)command->kind);
    }
    BN_TRY(check_below(why, what, index, "slot", command->slot, BN_SLOTS_MAX));
    BN_TRY(check_below(why, what, index, "source", command->source, BN_SLOTS_MAX));
    return check_below(why, what, index, "count", command->count, BN_STEP_POSITION_MAX + 1ull);
}

typedef struct step_sums {
    uint32_t tokens, ids, wanted, candidates;
} step_sums;

static bn_status check_entry(cause *why, const bn_step_entry *entry, uint32_t index,
                             step_sums *sums)
{
    const char *what = "step: entry";
    BN_TRY(check_below(why, what, index, "slot", entry->slot, BN_SLOTS_MAX));
    if (entry->n_tokens == 0) return refuse(why, "%s %u: no tokens", what, index);
    BN_TRY(check_below(why, what, index, "n_tokens", entry->n_tokens, BN_STEP_TOKENS_MAX + 1u));
    BN_TRY(check_below(why, what, index, "end position",
                       (uint64_t)entry->position + entry->n_tokens, BN_STEP_POSITION_MAX + 1u));
    BN_TRY(check_below(why, what, index, "want_from", entry->want_from, entry->n_tokens + 1u));
    BN_TRY(check_below(why, what, index, "n_best", entry->n_best, BN_CANDIDATES_MAX + 1u));
    BN_TRY(check_below(why, what, index, "n_ids", entry->n_ids, BN_STEP_IDS_MAX + 1u));

    uint32_t wanted = bn_step_entry_wanted(entry);
    if (entry->token_begin != sums->tokens) {
        return refuse(why, "%s %u: tokens begin at %u, not at %u", what, index, entry->token_begin,
                      sums->tokens);
    }
    if (wanted * entry->n_ids > 0 && entry->id_begin != sums->ids) {
        return refuse(why, "%s %u: ids begin at %u, not at %u", what, index, entry->id_begin,
                      sums->ids);
    }
    /* None can overflow: 256 entries, each term at most 2048 · 4096. */
    sums->tokens += entry->n_tokens;
    sums->ids += wanted * entry->n_ids;
    sums->wanted += wanted;
    sums->candidates += wanted * entry->n_best;
    return BN_OK;
}

bn_status bn_step_check(const bn_step *step, char *why_out, size_t n)
{
    cause in = {why_out, n}, *why = &in;
    step_sums sums = {0, 0, 0, 0};
    if (step->id == 0) return refuse(why, "step: id 0 (the first is 1)");
    BN_TRY(check_count(why, "step: entries", step->n_entries, BN_STEP_ENTRIES_MAX));
    BN_TRY(check_count(why, "step: tokens", step->n_tokens, BN_STEP_TOKENS_MAX));
    BN_TRY(check_count(why, "step: ids", step->n_ids, BN_STEP_IDS_MAX));
    BN_TRY(check_count(why, "step: commands", step->n_commands, BN_STEP_COMMANDS_MAX));
    for (uint32_t i = 0; i < step->n_entries; i++) {
        BN_TRY(check_entry(why, &step->entries[i], i, &sums));
    }
    if (sums.tokens != step->n_tokens || sums.ids != step->n_ids) {
        return refuse(why, "step: entries take %u tokens and %u ids, not %u and %u", sums.tokens,
                      sums.ids, step->n_tokens, step->n_ids);
    }
    if (sums.wanted > BN_STEP_WANTED_MAX || sums.candidates > BN_STEP_CANDIDATES_MAX) {
        return refuse(why, "step: %u wanted positions with %u candidates, at most %u and %u",
                      sums.wanted, sums.candidates, BN_STEP_WANTED_MAX, BN_STEP_CANDIDATES_MAX);
    }
    for (uint32_t i = 0; i < step->n_commands; i++) {
        BN_TRY(check_command(why, &step->commands[i], i));
    }
    BN_TRY(check_values(why, "step: token", step->tokens, step->n_tokens, BN_STEP_VOCAB_MAX));
    return check_values(why, "step: id", step->ids, step->n_ids, BN_STEP_VOCAB_MAX);
}

static bn_status check_position(cause *why, const bn_result *result, uint32_t index,
                                uint32_t *candidates, uint32_t *exact)
{
    const char *what = "result: position";
    const bn_result_position *position = &result->positions[index];
    BN_TRY(check_below(why, what, index, "entry", position->entry, BN_STEP_ENTRIES_MAX));
    BN_TRY(check_below(why, what, index, "position", position->position, BN_STEP_POSITION_MAX));
    BN_TRY(check_below(why, what, index, "n_candidates", position->n_candidates,
                       BN_CANDIDATES_MAX + 1u));
    BN_TRY(check_below(why, what, index, "n_exact", position->n_exact, BN_STEP_IDS_MAX + 1u));
    if ((position->n_candidates > 0 && position->candidate_begin != *candidates) ||
        (position->n_exact > 0 && position->exact_begin != *exact)) {
        return refuse(why, "%s %u: candidates or exact logits do not follow each other", what,
                      index);
    }
    if (index > 0) {
        const bn_result_position *before = position - 1;
        if (position->entry < before->entry ||
            (position->entry == before->entry && position->position <= before->position)) {
            return refuse(why, "%s %u: out of order", what, index);
        }
    }
    *candidates += position->n_candidates; /* at most 512 · 256 */
    *exact += position->n_exact;           /* at most 512 · 4096 */
    return BN_OK;
}

bn_status bn_result_check(const bn_result *result, char *why_out, size_t n)
{
    cause in = {why_out, n}, *why = &in;
    uint32_t candidates = 0, exact = 0;
    if (result->step_id == 0) return refuse(why, "result: step id 0 (the first is 1)");
    if (result->vocab_end > BN_STEP_VOCAB_MAX || result->vocab_begin > result->vocab_end) {
        return refuse(why, "result: bad vocabulary range %u … %u", result->vocab_begin,
                      result->vocab_end);
    }
    BN_TRY(check_count(why, "result: positions", result->n_positions, BN_STEP_WANTED_MAX));
    for (uint32_t i = 0; i < result->n_positions; i++) {
        BN_TRY(check_position(why, result, i, &candidates, &exact));
    }
    if (candidates > BN_STEP_CANDIDATES_MAX || candidates != result->n_candidates ||
        exact > BN_STEP_IDS_MAX || exact != result->n_exact) {
        return refuse(why, "result: positions take %u candidates and %u exact logits, not %u, %u",
                      candidates, exact, result->n_candidates, result->n_exact);
    }
    for (uint32_t i = 0; i < result->n_candidates; i++) {
        uint32_t id = result->candidates[i].id;
        if (id < result->vocab_begin || id >= result->vocab_end) {
            return refuse(why, "result: candidate %u: id %u is outside %u … %u", i, id,
                          result->vocab_begin, result->vocab_end);
        }
    }
    return BN_OK;
}

void bn_step_complete(bn_step *step)
{
    uint32_t token_begin = 0, id_begin = 0;
    for (uint32_t i = 0; i < step->n_entries; i++) {
        bn_step_entry *entry = &step->entries[i];
        entry->token_begin = token_begin;
        entry->id_begin = id_begin;
        token_begin += entry->n_tokens;
        id_begin += bn_step_entry_wanted(entry) * entry->n_ids;
    }
}

void bn_result_complete(bn_result *result)
{
    uint32_t candidate_begin = 0, exact_begin = 0;
    for (uint32_t i = 0; i < result->n_positions; i++) {
        bn_result_position *position = &result->positions[i];
        position->candidate_begin = candidate_begin;
        position->exact_begin = exact_begin;
        candidate_begin += position->n_candidates;
        exact_begin += position->n_exact;
    }
}
