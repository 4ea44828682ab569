/* scheduler.c — micro-batches first, then prompts.
 *
 * A step is filled under many budgets at once (entries, tokens, wanted positions, exact ids,
 * candidates, bytes of raw logits); an entry that does not fit waits for the next step. Continued
 * sequences are looked through from where the last step stopped, so none starves.
 */
#include "coordinator/scheduler.h"

#include "common/alloc.h"
#include "common/log.h"
#include "coordinator/kv_pages.h"

#include <string.h>

#define RAW_BYTES_MAX (64u << 20) /* raw logits of one step */
#define PREFILL_CHUNK_AUTO_MIN 16u

typedef struct flight_entry {
    bn_sequence *sequence;
    uint32_t position, n_tokens, want_from;
    uint32_t n_best, n_ids;
    bool wants_lse, wants_all;
} flight_entry;

typedef struct flight {
    uint64_t step_id;
    uint32_t n_entries;
    bool has_decode;
    flight_entry entries[BN_STEP_ENTRIES_MAX];
} flight;

struct bn_scheduler {
    bn_scheduler_config config;
    bn_kv_pages pages;
    bn_sequence *sequences[BN_SLOTS_MAX * 2]; /* in order of _add; those without a slot wait */
    uint32_t n_sequences;
    uint32_t cursor; /* where the search for continued sequences goes on */
    bool is_decode_held;
    bn_kv_command pending[BN_STEP_COMMANDS_MAX];
    uint32_t n_pending;
    uint64_t last_step;
    flight flights[BN_STEPS_IN_FLIGHT_MAX]; /* a ring */
    uint32_t flight_begin, n_flights;
    bn_scheduler_counts counts;
};

/* What is left of a step's budgets. */
typedef struct budget {
    uint32_t tokens, wanted, ids, candidates, raw_positions;
} budget;

bn_status bn_scheduler_create(const bn_scheduler_config *config, bn_scheduler **scheduler_out)
{
    BN_ASSERT(config->n_stages > 0 && config->vocab > 0);
    BN_ASSERT(config->step_tokens > 0 && config->step_tokens <= BN_STEP_TOKENS_MAX);
    BN_ASSERT(config->steps_in_flight > 0 && config->steps_in_flight <= BN_STEPS_IN_FLIGHT_MAX);
    bn_scheduler *scheduler = bn_alloc(1, sizeof *scheduler);
    if (scheduler == NULL)
        return bn_fail(BN_ERR_NO_MEMORY, "SCHEDULER-MEMORY", "no memory for the scheduler");
    scheduler->config = *config;
    bn_kv_pages_init(&scheduler->pages, config->slots, config->kv_pages);
    *scheduler_out = scheduler;
    return BN_OK;
}

void bn_scheduler_destroy(bn_scheduler *scheduler)
{
    bn_free(scheduler);
}

void bn_scheduler_hold_decode(bn_scheduler *scheduler, bool is_held)
{
    scheduler->is_decode_held = is_held;
}

bn_status bn_scheduler_add(bn_scheduler *scheduler, bn_sequence *sequence)
{
    BN_ASSERT(!sequence->is_added);
    if (scheduler->n_sequences == BN_SLOTS_MAX * 2)
        return bn_fail(BN_ERR_LIMIT, "SCHEDULER-FULL", "more than %u sequences at once",
                       BN_SLOTS_MAX * 2);
    if (bn_kv_pages_for(sequence->tokens_max) > scheduler->config.kv_pages)
        return bn_fail(BN_ERR_LIMIT, "SCHEDULER-PAGES",
                       "a sequence of %u tokens does not fit into the %u pages of the KV cache",
                       sequence->tokens_max, scheduler->config.kv_pages);
    scheduler->sequences[scheduler->n_sequences++] = sequence;
    sequence->is_added = true;
    return BN_OK;
}

/* One command waits per slot at most; with one ALLOC per entry a step has room for all. */
static void push_pending(bn_scheduler *scheduler, const bn_kv_command *command)
{
    for (uint32_t i = 0; i < scheduler->n_pending; i++) {
        bn_kv_command *old = &scheduler->pending[i];
        if (old->slot != command->slot) continue;
        *old = *command; /* the later of truncate, truncate and free says all */
        return;
    }
    BN_ASSERT(scheduler->n_pending < BN_SLOTS_MAX);
    scheduler->pending[scheduler->n_pending++] = *command;
}

void bn_scheduler_remove(bn_scheduler *scheduler, bn_sequence *sequence)
{
    BN_ASSERT(sequence->is_added && sequence->steps_in_flight == 0);
    uint32_t at = 0;
    while (scheduler->sequences[at] != sequence) {
        at++;
        BN_ASSERT(at < scheduler->n_sequences);
    }
    scheduler->n_sequences--;
    memmove(&scheduler->sequences[at], &scheduler->sequences[at + 1],
            (scheduler->n_sequences - at) * sizeof scheduler->sequences[0]);
    if (at < scheduler->cursor) scheduler->cursor--;
    if (sequence->has_slot) {
        bn_kv_command command;
        if (bn_kv_pages_release(&scheduler->pages, sequence->slot, &command))
            push_pending(scheduler, &command);
    }
    sequence->is_added = sequence->has_slot = false;
}

void bn_scheduler_forget(bn_scheduler *scheduler, bn_sequence *sequence)
{
    sequence->steps_in_flight = 0;
    scheduler->n_flights = 0;
    bn_scheduler_remove(scheduler, sequence);
}

void bn_scheduler_pause(bn_scheduler *scheduler, bn_sequence *sequence)
{
    (void)scheduler;
    sequence->is_paused = true;
}

void bn_scheduler_resume(bn_scheduler *scheduler, bn_sequence *sequence)
{
    (void)scheduler;
    sequence->is_paused = false;
}

void bn_scheduler_rewind(bn_scheduler *scheduler, bn_sequence *sequence, uint32_t n_computed,
                         uint32_t n_tokens)
{
    BN_ASSERT(sequence->steps_in_flight == 0);
    BN_ASSERT(n_tokens <= sequence->n_tokens && n_computed <= n_tokens);
    sequence->n_tokens = n_tokens;
    if (sequence->n_prompt > n_tokens) sequence->n_prompt = n_tokens;
    if (sequence->n_scheduled <= n_computed) return;
    sequence->n_scheduled = sequence->n_returned = n_computed;
    if (!sequence->has_slot) return;
    bn_kv_command command;
    bn_kv_pages_truncate(&scheduler->pages, sequence->slot, n_computed, &command);
    push_pending(scheduler, &command);
}

uint32_t bn_scheduler_in_flight(const bn_scheduler *scheduler)
{
    return scheduler->n_flights;
}

uint64_t bn_scheduler_last_step(const bn_scheduler *scheduler)
{
    return scheduler->last_step;
}

const bn_scheduler_counts *bn_scheduler_counted(const bn_scheduler *scheduler)
{
    return &scheduler->counts;
}

static void give_slots(bn_scheduler *scheduler)
{
    for (uint32_t i = 0; i < scheduler->n_sequences; i++) {
        bn_sequence *sequence = scheduler->sequences[i];
        if (sequence->has_slot) continue;
        /* In order: a long one is not overtaken for ever by short ones. */
        if (!bn_kv_pages_acquire(&scheduler->pages, sequence->tokens_max, &sequence->slot)) return;
        sequence->has_slot = true;
    }
}

/* Its prompt has been put into steps: what follows is drawn token by token. */
static bool is_continued(const bn_sequence *sequence)
{
    return sequence->has_slot && sequence->n_scheduled >= sequence->n_prompt;
}

static bool is_pending(const bn_sequence *sequence)
{
    return sequence->has_slot && !sequence->is_paused && sequence->n_scheduled < sequence->n_tokens;
}

static bool is_reading(const bn_sequence *sequence)
{
    return is_pending(sequence) && sequence->n_scheduled < sequence->n_prompt;
}

static uint32_t least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* How many wanted positions of this kind still fit. */
static uint32_t wanted_that_fit(const budget *left, const bn_wants *wants, uint32_t n_ids)
{
    uint32_t n = left->wanted;
    if (n_ids > 0) n = least(n, left->ids / n_ids);
    if (wants->n_best > 0) n = least(n, left->candidates / wants->n_best);
    if (wants->wants_all) n = least(n, left->raw_positions);
    return n;
}

static void add_ids(bn_step *step, bn_step_entry *entry, const bn_wants *wants)
{
    for (uint32_t t = entry->want_from; t < entry->n_tokens; t++) {
        for (uint32_t i = 0; i < entry->n_ids; i++) {
            uint32_t id =
                wants->targets != NULL ? wants->targets[entry->position + t] : wants->ids[i];
            step->ids[step->n_ids++] = id;
        }
    }
}

/* Adds up to `tokens_max` pending tokens of the sequence; returns how many. */
static uint32_t add_entry(bn_scheduler *scheduler, bn_step *step, flight *flown, budget *left,
                          bn_sequence *sequence, uint32_t tokens_max)
{
    if (step->n_entries == BN_STEP_ENTRIES_MAX || step->n_commands == BN_STEP_COMMANDS_MAX)
        return 0;
    const bn_wants *wants = &sequence->wants;
    uint32_t n_ids = wants->targets != NULL ? 1 : wants->n_ids;
    uint32_t position = sequence->n_scheduled;
    uint32_t n = least(sequence->n_tokens - position, least(tokens_max, left->tokens));
    uint32_t unwanted = wants->begin > position ? wants->begin - position : 0;
    uint32_t fitting = wanted_that_fit(left, wants, n_ids);
    if (n > unwanted && n - unwanted > fitting) n = unwanted + fitting;
    if (n == 0) return 0;

    uint32_t want_from = least(unwanted, n), n_wanted = n - want_from;
    bn_step_entry *entry = &step->entries[step->n_entries];
    *entry = (bn_step_entry){
        .slot = sequence->slot,
        .position = position,
        .n_tokens = n,
        .token_begin = step->n_tokens,
        .want_from = want_from,
        .id_begin = step->n_ids,
    };
    if (n_wanted > 0) {
        entry->n_best = wants->n_best;
        entry->n_ids = n_ids;
        entry->wants_lse = wants->wants_lse;
        entry->wants_all = wants->wants_all;
        add_ids(step, entry, wants);
    }
    memcpy(&step->tokens[step->n_tokens], &sequence->tokens[position], n * sizeof *step->tokens);
    step->n_tokens += n;
    flown->entries[step->n_entries++] = (flight_entry){
        .sequence = sequence,
        .position = position,
        .n_tokens = n,
        .want_from = want_from,
        .n_best = entry->n_best,
        .n_ids = entry->n_ids,
        .wants_lse = entry->wants_lse,
        .wants_all = entry->wants_all,
    };
    bn_kv_command command;
    if (bn_kv_pages_grow(&scheduler->pages, sequence->slot, position + n, &command))
        step->commands[step->n_commands++] = command;

    left->tokens -= n;
    left->wanted -= n_wanted;
    left->ids -= n_wanted * n_ids;
    left->candidates -= n_wanted * wants->n_best;
    if (wants->wants_all) left->raw_positions -= n_wanted;
    sequence->n_scheduled += n;
    sequence->steps_in_flight++;
    return n;
}

/* One micro-batch: at most as many as keep every stage busy with another one. */
static void add_continued(bn_scheduler *scheduler, bn_step *step, flight *flown, budget *left)
{
    uint32_t n_continued = 0, n_unread = 0, n_batches = 0;
    for (uint32_t i = 0; i < scheduler->n_sequences; i++) {
        bn_sequence *sequence = scheduler->sequences[i];
        if (is_continued(sequence) && !sequence->is_paused) n_continued++;
        if (sequence->n_returned < sequence->n_prompt) n_unread++;
    }
    for (uint32_t i = 0; i < scheduler->n_flights; i++) {
        uint32_t at = (scheduler->flight_begin + i) % BN_STEPS_IN_FLIGHT_MAX;
        if (scheduler->flights[at].has_decode) n_batches++;
    }
    if (n_continued == 0 || (scheduler->is_decode_held && n_unread > 0)) return;
    uint32_t batches = least(scheduler->config.n_stages, n_continued);
    if (n_batches >= batches) return;
    uint32_t size = (n_continued + batches - 1) / batches;
    uint32_t begin = scheduler->cursor % scheduler->n_sequences;
    for (uint32_t i = 0; i < scheduler->n_sequences && step->n_entries < size; i++) {
        uint32_t at = (begin + i) % scheduler->n_sequences;
        bn_sequence *sequence = scheduler->sequences[at];
        if (!is_continued(sequence) || !is_pending(sequence)) continue;
        if (add_entry(scheduler, step, flown, left, sequence, UINT32_MAX) == 0) break;
        flown->has_decode = true;
        scheduler->cursor = at + 1;
    }
}

/* Small enough that every stage gets a part of this prompt, large enough to be worth a step. */
static uint32_t automatic_chunk(const bn_scheduler *scheduler, const bn_sequence *sequence)
{
    uint32_t pieces = scheduler->config.n_stages > 1 ? 2 * scheduler->config.n_stages : 1;
    uint32_t chunk = sequence->n_prompt / pieces + (sequence->n_prompt % pieces != 0);
    if (chunk < PREFILL_CHUNK_AUTO_MIN) chunk = PREFILL_CHUNK_AUTO_MIN;
    return least(chunk, BN_PREFILL_CHUNK_AUTO_MAX);
}

static void add_prompts(bn_scheduler *scheduler, bn_step *step, flight *flown, budget *left)
{
    uint32_t chunk = scheduler->config.prefill_chunk;
    uint32_t room = chunk != 0 ? chunk : BN_PREFILL_CHUNK_AUTO_MAX;
    for (uint32_t i = 0; i < scheduler->n_sequences && room > 0; i++) {
        bn_sequence *sequence = scheduler->sequences[i];
        if (!is_reading(sequence)) continue;
        uint32_t n = least(room, chunk != 0 ? chunk : automatic_chunk(scheduler, sequence));
        n = least(n, sequence->n_prompt - sequence->n_scheduled);
        uint32_t added = add_entry(scheduler, step, flown, left, sequence, n);
        if (added == 0) break;
        room -= added;
    }
}

bool bn_scheduler_next(bn_scheduler *scheduler, bn_step *step_out)
{
    const bn_scheduler_config *config = &scheduler->config;
    if (scheduler->n_flights == config->steps_in_flight) return false;
    give_slots(scheduler);

    uint32_t at = (scheduler->flight_begin + scheduler->n_flights) % BN_STEPS_IN_FLIGHT_MAX;
    flight *flown = &scheduler->flights[at];
    flown->has_decode = false;
    budget left = {
        .tokens = config->step_tokens,
        .wanted = BN_STEP_WANTED_MAX,
        .ids = BN_STEP_IDS_MAX,
        .candidates = BN_STEP_CANDIDATES_MAX,
        .raw_positions = RAW_BYTES_MAX / (4 * config->vocab),
    };
    step_out->epoch = 0;
    step_out->id = scheduler->last_step + 1;
    step_out->n_entries = step_out->n_tokens = step_out->n_ids = 0;
    step_out->n_commands = scheduler->n_pending;
    memcpy(step_out->commands, scheduler->pending,
           scheduler->n_pending * sizeof scheduler->pending[0]);

    add_continued(scheduler, step_out, flown, &left);
    add_prompts(scheduler, step_out, flown, &left);
    /* Pages go back at once when nothing else is under way that could take the command along. */
    bool has_only_commands = step_out->n_commands > 0 && scheduler->n_flights == 0;
    if (step_out->n_entries == 0 && !has_only_commands) return false;

    scheduler->n_pending = 0;
    scheduler->last_step++;
    scheduler->n_flights++;
    flown->step_id = step_out->id;
    flown->n_entries = step_out->n_entries;
    bn_scheduler_counts *counts = &scheduler->counts;
    counts->steps++;
    counts->tokens += step_out->n_tokens;
    counts->in_flight_sum += scheduler->n_flights;
    if (scheduler->n_flights > counts->in_flight_max) counts->in_flight_max = scheduler->n_flights;
    if (step_out->n_entries > counts->entries_max) counts->entries_max = step_out->n_entries;
    if (step_out->n_tokens > counts->tokens_max) counts->tokens_max = step_out->n_tokens;
    return true;
}

bn_sequence *bn_scheduler_sequence_of(const bn_scheduler *scheduler, uint64_t step_id,
                                      uint32_t entry)
{
    for (uint32_t i = 0; i < scheduler->n_flights; i++) {
        uint32_t at = (scheduler->flight_begin + i) % BN_STEPS_IN_FLIGHT_MAX;
        const flight *flown = &scheduler->flights[at];
        if (flown->step_id == step_id)
            return entry < flown->n_entries ? flown->entries[entry].sequence : NULL;
    }
    return NULL;
}

static bn_status bad_result(const bn_result *result, const char *what)
{
    return bn_fail(BN_ERR_BAD_MESSAGE, "RESULT-DIFFERS",
                   "the result of step %llu is not what was asked for: %s",
                   (unsigned long long)result->step_id, what);
}

static bn_status check_position(const bn_result *result, const bn_result_position *position,
                                const flight_entry *entry, uint32_t vocab)
{
    if (position->is_void) return BN_OK;
    uint32_t n_best = least(entry->n_best, vocab);
    if (position->n_candidates != n_best || position->n_exact != entry->n_ids)
        return bad_result(result, "number of candidates or exact logits");
    if (position->candidate_begin > result->n_candidates ||
        position->n_candidates > result->n_candidates - position->candidate_begin ||
        position->exact_begin > result->n_exact ||
        position->n_exact > result->n_exact - position->exact_begin)
        return bad_result(result, "candidates outside the result");
    if (entry->wants_lse && !position->has_lse) return bad_result(result, "no log-sum-exp");
    if (entry->wants_all && !position->has_all) return bad_result(result, "no logits");
    for (uint32_t i = 0; i < position->n_candidates; i++)
        if (result->candidates[position->candidate_begin + i].id >= vocab)
            return bad_result(result, "a candidate outside the vocabulary");
    return BN_OK;
}

static bn_status check_result(const bn_scheduler *scheduler, const bn_result *result,
                              const flight *flown)
{
    if (result->step_id != flown->step_id) return bad_result(result, "another step was due");
    uint32_t at = 0;
    for (uint32_t e = 0; e < flown->n_entries; e++) {
        const flight_entry *entry = &flown->entries[e];
        for (uint32_t t = entry->want_from; t < entry->n_tokens; t++, at++) {
            if (at >= result->n_positions) return bad_result(result, "too few positions");
            const bn_result_position *position = &result->positions[at];
            if (position->entry != e || position->position != entry->position + t)
                return bad_result(result, "another position");
            BN_TRY(check_position(result, position, entry, scheduler->config.vocab));
        }
    }
    if (at != result->n_positions) return bad_result(result, "too many positions");
    return BN_OK;
}

bn_status bn_scheduler_result(bn_scheduler *scheduler, const bn_result *result,
                              bn_scheduler_visit *visit, void *context)
{
    if (scheduler->n_flights == 0) return bad_result(result, "no step is in flight");
    const flight *flown = &scheduler->flights[scheduler->flight_begin];
    BN_TRY(check_result(scheduler, result, flown));
    for (uint32_t e = 0; e < flown->n_entries; e++) {
        const flight_entry *entry = &flown->entries[e];
        entry->sequence->n_returned = entry->position + entry->n_tokens;
        entry->sequence->steps_in_flight--;
    }
    scheduler->flight_begin = (scheduler->flight_begin + 1) % BN_STEPS_IN_FLIGHT_MAX;
    scheduler->n_flights--;
    for (uint32_t i = 0; i < result->n_positions; i++) {
        const bn_result_position *position = &result->positions[i];
        BN_TRY(visit(context, flown->entries[position->entry].sequence, position, result));
    }
    return BN_OK;
}
