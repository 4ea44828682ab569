/* scheduler_test.c
 * What: every token of every sequence is scheduled once and in order, no limit of a step or of the
 *       KV pages is ever passed, and every stage has a step to work on when there is enough to do.
 * How:  random loads against a simulated pipeline that executes the KV commands as a worker does
 *       and answers in order; each token is painted when it is scheduled.
 */
#include "coordinator/scheduler.h"

#include "common/log.h"
#include "coordinator/kv_pages.h"
#include "tests/kernels/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SEQUENCES 40
#define CONTEXT 300
#define VOCAB 1000

typedef struct load {
    bn_scheduler_config config;
    bn_scheduler *scheduler;
    bn_sequence *sequences[SEQUENCES];
    uint32_t n_sequences, n_made[SEQUENCES], make[SEQUENCES];
    uint32_t worker_pages[BN_SLOTS_MAX], worker_positions[BN_SLOTS_MAX], worker_used;
    bn_step in_flight[BN_STEPS_IN_FLIGHT_MAX];
    uint32_t n_in_flight;
    uint64_t n_starved; /* a step left, others were ready, and fewer in flight than stages */
} load;

/* What a worker does with a step; its counts are the truth that the mirror must match. */
static void execute(load *l, const bn_step *step)
{
    for (uint32_t i = 0; i < step->n_commands; i++) {
        const bn_kv_command *command = &step->commands[i];
        uint32_t *held = &l->worker_pages[command->slot];
        assert_true(command->slot < l->config.slots);
        l->worker_used -= *held;
        switch (command->kind) {
        case BN_KV_ALLOC:
            assert_true(command->count >= *held);
            *held = command->count;
            break;
        case BN_KV_TRUNCATE:
            if (command->count < l->worker_positions[command->slot])
                l->worker_positions[command->slot] = command->count;
            if (bn_kv_pages_for(command->count) < *held) *held = bn_kv_pages_for(command->count);
            break;
        case BN_KV_FREE: *held = l->worker_positions[command->slot] = 0; break;
        default: fail();
        }
        l->worker_used += *held;
        assert_true(l->worker_used <= l->config.kv_pages);
    }
    uint32_t tokens = 0;
    for (uint32_t i = 0; i < step->n_entries; i++) {
        const bn_step_entry *entry = &step->entries[i];
        assert_int_equal(entry->token_begin, tokens);
        assert_int_equal(entry->position, l->worker_positions[entry->slot]);
        tokens += entry->n_tokens;
        l->worker_positions[entry->slot] += entry->n_tokens;
        assert_true(bn_kv_pages_for(l->worker_positions[entry->slot]) <=
                    l->worker_pages[entry->slot]);
    }
    assert_int_equal(step->n_tokens, tokens);
}

static void check_limits(const load *l, const bn_step *step)
{
    uint32_t wanted = 0, ids = 0, candidates = 0, prompt = 0;
    for (uint32_t i = 0; i < step->n_entries; i++) {
        const bn_step_entry *entry = &step->entries[i];
        assert_true(entry->n_tokens >= 1 && entry->want_from <= entry->n_tokens);
        uint32_t n = bn_step_entry_wanted(entry);
        wanted += n;
        assert_int_equal(entry->id_begin, ids);
        ids += n * entry->n_ids;
        candidates += n * entry->n_best;
        if (entry->n_tokens > 1) prompt += entry->n_tokens;
    }
    assert_int_equal(step->n_ids, ids);
    assert_true(step->n_tokens <= l->config.step_tokens && step->n_entries <= BN_STEP_ENTRIES_MAX);
    assert_true(wanted <= BN_STEP_WANTED_MAX && ids <= BN_STEP_IDS_MAX);
    assert_true(candidates <= BN_STEP_CANDIDATES_MAX);
    if (l->config.prefill_chunk != 0) assert_true(prompt <= l->config.prefill_chunk);
}

static void send(load *l)
{
    while (l->n_in_flight < BN_STEPS_IN_FLIGHT_MAX &&
           bn_scheduler_next(l->scheduler, &l->in_flight[l->n_in_flight])) {
        const bn_step *step = &l->in_flight[l->n_in_flight++];
        check_limits(l, step);
        execute(l, step);
        for (uint32_t i = 0; i < step->n_entries; i++) {
            bn_sequence *sequence = bn_scheduler_sequence_of(l->scheduler, step->id, i);
            assert_non_null(sequence);
            const bn_step_entry *entry = &step->entries[i];
            assert_int_equal(entry->slot, sequence->slot);
            assert_memory_equal(&step->tokens[entry->token_begin],
                                &sequence->tokens[entry->position],
                                entry->n_tokens * sizeof *step->tokens);
        }
    }
    assert_true(l->n_in_flight <= l->config.steps_in_flight);
}

static void make_result(const bn_step *step, bn_result *result)
{
    *result = (bn_result){.step_id = step->id, .vocab_end = VOCAB};
    for (uint32_t e = 0; e < step->n_entries; e++) {
        const bn_step_entry *entry = &step->entries[e];
        for (uint32_t t = entry->want_from; t < entry->n_tokens; t++) {
            result->positions[result->n_positions++] = (bn_result_position){
                .entry = e,
                .position = entry->position + t,
                .candidate_begin = result->n_candidates,
                .n_candidates = entry->n_best,
                .exact_begin = result->n_exact,
                .n_exact = entry->n_ids,
                .has_lse = entry->wants_lse,
                .has_all = entry->wants_all,
            };
            for (uint32_t i = 0; i < entry->n_best; i++)
                result->candidates[result->n_candidates++] = (bn_candidate){.id = i};
            result->n_exact += entry->n_ids;
        }
    }
}

static bn_status on_position(void *context, bn_sequence *sequence,
                             const bn_result_position *position, const bn_result *result)
{
    load *l = context;
    (void)result;
    uint32_t index = (uint32_t)((bn_sequence **)sequence->owner - l->sequences);
    assert_int_equal(position->position, sequence->n_tokens - 1);
    if (l->n_made[index] < l->make[index]) {
        uint32_t token = position->position % VOCAB;
        l->n_made[index]++;
        assert_int_equal(bn_sequence_append(sequence, &token, 1), BN_OK);
        sequence->wants.begin = sequence->n_tokens - 1;
    }
    return BN_OK;
}

static bn_result the_result;

static void receive(load *l)
{
    make_result(&l->in_flight[0], &the_result);
    assert_int_equal(bn_scheduler_result(l->scheduler, &the_result, on_position, l), BN_OK);
    l->n_in_flight--;
    memmove(&l->in_flight[0], &l->in_flight[1], l->n_in_flight * sizeof l->in_flight[0]);
}

static void begin_load(load *l, const bn_scheduler_config *config)
{
    memset(l, 0, sizeof *l);
    l->config = *config;
    assert_int_equal(bn_scheduler_create(config, &l->scheduler), BN_OK);
}

static void add_sequence(load *l, uint32_t n_prompt, uint32_t make, const bn_wants *wants)
{
    uint32_t index = l->n_sequences++;
    bn_sequence *sequence;
    assert_int_equal(bn_sequence_create(CONTEXT, &l->sequences[index], &sequence), BN_OK);
    l->sequences[index] = sequence;
    l->make[index] = make;
    for (uint32_t i = 0; i < n_prompt; i++) {
        uint32_t token = (i * 7 + index) % VOCAB;
        assert_int_equal(bn_sequence_append(sequence, &token, 1), BN_OK);
    }
    sequence->n_prompt = n_prompt;
    sequence->wants = *wants;
    sequence->wants.begin = n_prompt - 1;
    assert_int_equal(bn_scheduler_add(l->scheduler, sequence), BN_OK);
}

static void end_load(load *l)
{
    for (uint32_t i = 0; i < l->n_sequences; i++) {
        if (l->sequences[i]->is_added) bn_scheduler_remove(l->scheduler, l->sequences[i]);
        bn_sequence_destroy(l->sequences[i]);
    }
    bn_scheduler_destroy(l->scheduler);
}

static bool remove_finished(load *l)
{
    bool is_all = true;
    for (uint32_t i = 0; i < l->n_sequences; i++) {
        bn_sequence *sequence = l->sequences[i];
        bool is_done = l->n_made[i] == l->make[i] && sequence->n_returned == sequence->n_tokens;
        if (is_done && sequence->is_added) bn_scheduler_remove(l->scheduler, sequence);
        is_all = is_all && is_done;
    }
    return is_all;
}

static load the_load;

static void test_random_loads_are_scheduled_once_and_in_order(void **state)
{
    (void)state;
    random_state random = {.state = 4};
    for (int round = 0; round < 60; round++) {
        uint32_t slots = 1 + random_below(&random, 12);
        static const uint32_t chunks[] = {0, 1, 7, 64, 300};
        bn_scheduler_config config = {
            .n_stages = 1 + random_below(&random, 5),
            .slots = slots,
            .kv_pages = bn_kv_pages_for(CONTEXT) * (1 + random_below(&random, slots)),
            .step_tokens = 100 + random_below(&random, 300),
            .prefill_chunk = chunks[random_below(&random, 5)],
            .steps_in_flight = 1 + random_below(&random, BN_STEPS_IN_FLIGHT_MAX),
            .vocab = VOCAB,
        };
        begin_load(&the_load, &config);
        uint32_t n = 1 + random_below(&random, SEQUENCES);
        for (uint32_t i = 0; i < n; i++) {
            bn_wants wants = {.n_best = random_below(&random, 257),
                              .n_ids = random_below(&random, 65),
                              .wants_lse = random_below(&random, 2) == 0};
            uint32_t n_prompt = 1 + random_below(&random, CONTEXT - 50);
            add_sequence(&the_load, n_prompt, random_below(&random, 50), &wants);
        }
        for (uint32_t turns = 0; !remove_finished(&the_load); turns++) {
            assert_true(turns < 100000);
            send(&the_load);
            assert_true(the_load.n_in_flight > 0); /* never stuck */
            uint32_t back = 1 + random_below(&random, the_load.n_in_flight);
            for (uint32_t i = 0; i < back; i++)
                receive(&the_load);
        }
        assert_int_equal(the_load.n_in_flight, 0);
        end_load(&the_load);
    }
}

static void test_every_stage_has_a_micro_batch(void **state)
{
    (void)state;
    static const struct {
        uint32_t stages, sequences, in_flight, entries;
    } cases[] = {{1, 8, 1, 8}, {2, 8, 2, 4}, {4, 8, 4, 2},
                 {4, 3, 3, 1}, {3, 8, 3, 3}, {4, 1, 1, 1}};
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        bn_scheduler_config config = {
            .n_stages = cases[c].stages,
            .slots = 8,
            .kv_pages = 8 * bn_kv_pages_for(CONTEXT),
            .step_tokens = 128,
            .steps_in_flight = 8,
            .vocab = VOCAB,
        };
        begin_load(&the_load, &config);
        bn_wants wants = {.n_best = 1};
        for (uint32_t i = 0; i < cases[c].sequences; i++)
            add_sequence(&the_load, 5, 100, &wants);
        for (int turn = 0; turn < 30; turn++) {
            send(&the_load);
            receive(&the_load);
        }
        for (int turn = 0; turn < 20; turn++) {
            send(&the_load);
            assert_int_equal(the_load.n_in_flight, cases[c].in_flight);
            assert_true(the_load.in_flight[0].n_entries <= cases[c].entries);
            receive(&the_load);
        }
        while (the_load.n_in_flight > 0)
            receive(&the_load);
        end_load(&the_load);
    }
}

static void test_chunks_of_a_prompt_follow_without_waiting(void **state)
{
    (void)state;
    static const struct {
        uint32_t chunk, stages, prompt, in_flight;
    } cases[] = {{7, 2, 28, 4}, {64, 4, 280, 5}, {0, 2, 280, 4}, {0, 4, 120, 8}, {300, 2, 280, 1}};
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        bn_scheduler_config config = {
            .n_stages = cases[c].stages,
            .slots = 1,
            .kv_pages = bn_kv_pages_for(CONTEXT),
            .step_tokens = 301,
            .prefill_chunk = cases[c].chunk,
            .steps_in_flight = 16,
            .vocab = VOCAB,
        };
        begin_load(&the_load, &config);
        bn_wants wants = {.n_best = 1};
        add_sequence(&the_load, cases[c].prompt, 1, &wants);
        send(&the_load);
        assert_int_equal(the_load.n_in_flight, cases[c].in_flight);
        assert_int_equal(bn_scheduler_counted(the_load.scheduler)->in_flight_max,
                         cases[c].in_flight);
        while (the_load.n_in_flight > 0)
            receive(&the_load);
        end_load(&the_load);
    }
}

static void test_raw_logits_are_bounded_per_step(void **state)
{
    (void)state;
    bn_scheduler_config config = {
        .n_stages = 1,
        .slots = 1,
        .kv_pages = bn_kv_pages_for(CONTEXT),
        .step_tokens = 301,
        .prefill_chunk = 301,
        .steps_in_flight = 16,
        .vocab = 1u << 20,
    };
    begin_load(&the_load, &config);
    bn_wants wants = {.wants_all = true};
    add_sequence(&the_load, 100, 0, &wants);
    the_load.sequences[0]->wants.begin = 0;
    bn_step *step = &the_load.in_flight[0];
    uint32_t scheduled = 0;
    for (uint32_t i = 0; i < 7; i++) {
        assert_true(bn_scheduler_next(the_load.scheduler, step));
        scheduled += step->n_tokens;
        assert_true(step->n_tokens <= 16); /* 64 MiB of logits */
        make_result(step, &the_result);
        the_result.n_positions--; /* sabotage: a position is missing */
        bn_log_set_quiet(true);
        assert_int_equal(bn_scheduler_result(the_load.scheduler, &the_result, NULL, NULL),
                         BN_ERR_BAD_MESSAGE);
        bn_log_set_quiet(false);
        the_load.sequences[0]->steps_in_flight = 0;
    }
    assert_int_equal(scheduled, 100);
    end_load(&the_load);
}

static void test_an_aborted_turn_is_forgotten(void **state)
{
    (void)state;
    bn_scheduler_config config = {
        .n_stages = 2,
        .slots = 2,
        .kv_pages = 2 * bn_kv_pages_for(CONTEXT),
        .step_tokens = 64,
        .prefill_chunk = 16,
        .steps_in_flight = 2,
        .vocab = VOCAB,
    };
    begin_load(&the_load, &config);
    bn_wants wants = {.n_best = 1};
    add_sequence(&the_load, 200, 0, &wants);
    bn_sequence *sequence = the_load.sequences[0];
    send(&the_load);
    assert_int_equal(sequence->n_scheduled, 32);
    bn_scheduler_pause(the_load.scheduler, sequence);
    while (the_load.n_in_flight > 0)
        receive(&the_load);
    assert_false(bn_scheduler_next(the_load.scheduler, &the_load.in_flight[0]));
    bn_scheduler_rewind(the_load.scheduler, sequence, 10, 10);
    bn_scheduler_resume(the_load.scheduler, sequence);
    assert_int_equal(sequence->n_tokens, 10);
    sequence->n_prompt = 10;
    uint32_t more[90] = {0};
    assert_int_equal(bn_sequence_append(sequence, more, 90), BN_OK);
    sequence->n_prompt = 100;
    sequence->wants.begin = 99;
    while (sequence->n_returned < 100) {
        send(&the_load); /* execute() checks that the positions go on at 10 */
        receive(&the_load);
    }
    end_load(&the_load);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_loads_are_scheduled_once_and_in_order),
        cmocka_unit_test(test_every_stage_has_a_micro_batch),
        cmocka_unit_test(test_chunks_of_a_prompt_follow_without_waiting),
        cmocka_unit_test(test_raw_logits_are_bounded_per_step),
        cmocka_unit_test(test_an_aborted_turn_is_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
