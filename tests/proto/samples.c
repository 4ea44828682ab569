/* samples.c — xorshift and one function per message. */
#include "tests/proto/samples.h"

#include "common/version.h"

#include <stdlib.h>
#include <string.h>

uint64_t bn_sample_next(uint64_t *state)
{
    uint64_t x = *state;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    *state = x;
    return x * 0x2545f4914f6cdd1dull;
}

uint64_t bn_sample_between(uint64_t *state, uint64_t low, uint64_t high)
{
    uint64_t span = high - low + 1;
    return span == 0 ? bn_sample_next(state) : low + bn_sample_next(state) % span;
}

void bn_sample_bytes(uint64_t *state, void *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        ((uint8_t *)bytes)[i] = (uint8_t)(bn_sample_next(state) >> 24);
    }
}

static uint32_t number(uint64_t *state, uint32_t high)
{
    return (uint32_t)bn_sample_between(state, 0, high);
}

static bool coin(uint64_t *state)
{
    return number(state, 1) != 0;
}

static void text(uint64_t *state, char *out, size_t capacity)
{
    size_t n = number(state, 2) == 0 ? capacity - 1 : number(state, (uint32_t)capacity - 1);
    for (size_t i = 0; i < n; i++) {
        uint8_t c = (uint8_t)bn_sample_between(state, 0x20, 0xff);
        out[i] = (char)(c == 0x7f ? 'x' : c);
    }
}

static double amount(uint64_t *state)
{
    return (double)(bn_sample_next(state) >> 11) * 1.25e-3;
}

static void sample_hello(uint64_t *state, bn_hello *hello)
{
    hello->protocol_major = number(state, 5);
    hello->protocol_minor = number(state, UINT32_MAX);
    hello->numerics = number(state, UINT32_MAX);
    text(state, hello->build, sizeof hello->build);
    hello->incarnation[0] = bn_sample_next(state);
    hello->incarnation[1] = bn_sample_next(state);
    hello->has_ranks = coin(state);
    hello->n_ranks = (uint32_t)bn_sample_between(state, 1, BN_WIRE_RANKS_MAX);
    hello->rank = number(state, hello->n_ranks - 1);
    hello->job = bn_sample_next(state);
    text(state, hello->node, sizeof hello->node);
    hello->process_id = bn_sample_next(state);
    hello->memory_bytes = bn_sample_next(state);
    hello->cores = number(state, BN_WIRE_THREADS_MAX);
    hello->threads = number(state, BN_WIRE_THREADS_MAX);
    text(state, hello->isa, sizeof hello->isa);
    hello->bandwidth = amount(state);
    hello->compute = amount(state);
    hello->has_mpi = coin(state);
    hello->has_model = coin(state);
    text(state, hello->model_path, sizeof hello->model_path);
    hello->model_identity.low = bn_sample_next(state);
    hello->model_identity.high = bn_sample_next(state);
}

static void sample_welcome(uint64_t *state, bn_welcome *welcome)
{
    welcome->is_accepted = coin(state);
    welcome->is_usage = coin(state);
    text(state, welcome->reason, sizeof welcome->reason);
    welcome->worker_id = number(state, UINT32_MAX);
    text(state, welcome->model_path, sizeof welcome->model_path);
    welcome->activation = number(state, 2);
}

static void sample_assign(uint64_t *state, bn_assign *assign)
{
    assign->epoch = number(state, UINT32_MAX);
    assign->n_stages = (uint32_t)bn_sample_between(state, 1, BN_WIRE_STAGES_MAX);
    assign->stage = number(state, assign->n_stages - 1);
    assign->layer_end = number(state, BN_WIRE_LAYERS_MAX);
    assign->layer_begin = number(state, assign->layer_end);
    assign->has_embedding = coin(state);
    assign->has_head = coin(state);
    assign->context = (uint32_t)bn_sample_between(state, 1, BN_STEP_POSITION_MAX);
    assign->slots = (uint32_t)bn_sample_between(state, 1, BN_SLOTS_MAX);
    assign->kv_pages = number(state, BN_WIRE_KV_PAGES_MAX);
    assign->step_tokens = (uint32_t)bn_sample_between(state, 1, BN_STEP_TOKENS_MAX);
    assign->steps_in_flight = (uint32_t)bn_sample_between(state, 1, BN_STEPS_IN_FLIGHT_MAX);
    assign->activation = number(state, 2);
    assign->link = (bn_link_kind)number(state, BN_LINK_SELF);
    bn_sample_bytes(state, assign->link_secret, sizeof assign->link_secret);
    assign->has_previous = coin(state);
    assign->has_next = coin(state);
    assign->previous_rank = number(state, BN_WIRE_RANKS_MAX - 1);
    assign->next_rank = number(state, BN_WIRE_RANKS_MAX - 1);
    text(state, assign->previous_name, sizeof assign->previous_name);
    text(state, assign->next_name, sizeof assign->next_name);
    assign->wants_dump = coin(state);
}

static void sample_stats(uint64_t *state, bn_stats *stats)
{
    stats->epoch = number(state, UINT32_MAX);
    stats->stage = number(state, BN_WIRE_STAGES_MAX - 1);
    stats->layer_begin = number(state, BN_WIRE_LAYERS_MAX);
    stats->layer_end = number(state, BN_WIRE_LAYERS_MAX);
    text(state, stats->link, sizeof stats->link);
    text(state, stats->isa, sizeof stats->isa);
    stats->threads = number(state, BN_WIRE_THREADS_MAX);
    stats->threads_working = number(state, BN_WIRE_THREADS_MAX);
    stats->entries_max = number(state, BN_STEP_ENTRIES_MAX);
    stats->tokens_max = number(state, BN_STEP_TOKENS_MAX);
    stats->queued_max = number(state, BN_STEPS_IN_FLIGHT_MAX);
    uint64_t *counters[] = {&stats->steps,          &stats->tokens,
                            &stats->link_bytes_in,  &stats->link_bytes_out,
                            &stats->link_frames_in, &stats->link_frames_out,
                            &stats->compute_ns,     &stats->wait_ns,
                            &stats->head_ns,        &stats->head_whole,
                            &stats->head_screened,  &stats->head_survivors,
                            &stats->resident_bytes, &stats->resident_peak_bytes};
    for (size_t i = 0; i < sizeof counters / sizeof counters[0]; i++) {
        *counters[i] = bn_sample_next(state);
    }
    stats->kv_pages_used = number(state, BN_WIRE_KV_PAGES_MAX);
    stats->kv_pages_total = number(state, BN_WIRE_KV_PAGES_MAX);
}

static void sample_entry(uint64_t *state, bn_step *step, uint32_t *wanted, uint32_t *candidates)
{
    uint32_t tokens_left = BN_STEP_TOKENS_MAX - step->n_tokens;
    bn_step_entry *entry = &step->entries[step->n_entries];
    entry->slot = number(state, BN_SLOTS_MAX - 1);
    entry->n_tokens = 1 + number(state, tokens_left > 40 ? 39 : tokens_left - 1);
    entry->position = number(state, BN_STEP_POSITION_MAX - entry->n_tokens);
    uint32_t wants = number(state, entry->n_tokens);
    if (wants > BN_STEP_WANTED_MAX - *wanted) wants = BN_STEP_WANTED_MAX - *wanted;
    entry->want_from = entry->n_tokens - wants;
    if (wants > 0) {
        uint32_t best_max = (BN_STEP_CANDIDATES_MAX - *candidates) / wants;
        uint32_t ids_max = (BN_STEP_IDS_MAX - step->n_ids) / wants;
        entry->n_best = number(state, best_max < BN_CANDIDATES_MAX ? best_max : BN_CANDIDATES_MAX);
        entry->n_ids = number(state, ids_max < 20 ? ids_max : 20);
    }
    entry->wants_lse = coin(state);
    entry->wants_all = coin(state);
    entry->is_void = coin(state);
    *wanted += wants;
    *candidates += wants * entry->n_best;
    step->n_tokens += entry->n_tokens;
    step->n_ids += wants * entry->n_ids;
    step->n_entries++;
}

static void sample_step(uint64_t *state, bn_step *step)
{
    uint32_t n_entries = number(state, 60), wanted = 0, candidates = 0;
    step->epoch = number(state, UINT32_MAX);
    step->id = bn_sample_between(state, 1, UINT64_MAX);
    for (uint32_t i = 0; i < n_entries && step->n_tokens < BN_STEP_TOKENS_MAX; i++) {
        sample_entry(state, step, &wanted, &candidates);
    }
    for (uint32_t i = 0; i < step->n_tokens; i++) {
        step->tokens[i] = number(state, BN_STEP_VOCAB_MAX - 1);
    }
    for (uint32_t i = 0; i < step->n_ids; i++)
        step->ids[i] = number(state, BN_STEP_VOCAB_MAX - 1);
    step->n_commands = number(state, 100);
    for (uint32_t i = 0; i < step->n_commands; i++) {
        step->commands[i] = (bn_kv_command){
            .kind = (bn_kv_command_kind)bn_sample_between(state, BN_KV_ALLOC, BN_KV_FREE),
            .slot = number(state, BN_SLOTS_MAX - 1),
            .source = number(state, BN_SLOTS_MAX - 1),
            .count = number(state, BN_STEP_POSITION_MAX),
        };
    }
    bn_step_complete(step);
}

static void sample_result(uint64_t *state, bn_result *result)
{
    result->epoch = number(state, UINT32_MAX);
    result->step_id = bn_sample_between(state, 1, UINT64_MAX);
    result->vocab_begin = number(state, 1000);
    result->vocab_end = BN_STEP_VOCAB_MAX - number(state, 1000);
    result->n_positions = number(state, 100);
    for (uint32_t i = 0; i < result->n_positions; i++) {
        bn_result_position *position = &result->positions[i];
        position->entry = i / 2;
        position->position = number(state, 1000) + (i % 2) * 1001;
        position->n_candidates = number(state, 40);
        position->n_exact = number(state, 40);
        bn_sample_bytes(state, &position->lse, sizeof position->lse); /* any bits, NaN too */
        position->has_lse = coin(state);
        position->has_all = coin(state);
        position->is_void = coin(state);
        result->n_candidates += position->n_candidates;
        result->n_exact += position->n_exact;
    }
    for (uint32_t i = 0; i < result->n_candidates; i++) {
        result->candidates[i].id =
            (uint32_t)bn_sample_between(state, result->vocab_begin, result->vocab_end - 1);
        bn_sample_bytes(state, &result->candidates[i].logit, sizeof(float));
    }
    bn_sample_bytes(state, result->exact, result->n_exact * sizeof(float));
    bn_result_complete(result);
}

static void sample_small(uint64_t *state, bn_message *message)
{
    switch (message->kind) {
    case BN_MESSAGE_LOAD_PROGRESS:
        message->load_progress = (bn_load_progress){number(state, UINT32_MAX),
                                                    bn_sample_next(state), bn_sample_next(state)};
        break;
    case BN_MESSAGE_LOADED:
        message->loaded.epoch = number(state, UINT32_MAX);
        text(state, message->loaded.link_url, sizeof message->loaded.link_url);
        message->loaded.weights_bytes = bn_sample_next(state);
        message->loaded.kv_bytes = bn_sample_next(state);
        message->loaded.buffers_bytes = bn_sample_next(state);
        message->loaded.resident_bytes = bn_sample_next(state);
        break;
    case BN_MESSAGE_CONNECT:
        message->connect.epoch = number(state, UINT32_MAX);
        text(state, message->connect.next_url, sizeof message->connect.next_url);
        break;
    case BN_MESSAGE_HEARTBEAT:
        message->heartbeat.epoch = number(state, UINT32_MAX);
        message->heartbeat.state =
            (bn_worker_state)bn_sample_between(state, BN_WORKER_JOINING, BN_WORKER_LEAVING);
        message->heartbeat.last_step = bn_sample_next(state);
        message->heartbeat.progress = bn_sample_next(state);
        break;
    case BN_MESSAGE_REST:
        message->rest.epoch = number(state, UINT32_MAX);
        message->rest.last_step = bn_sample_next(state);
        break;
    case BN_MESSAGE_LOGITS:
        message->logits.epoch = number(state, UINT32_MAX);
        message->logits.step_id = bn_sample_between(state, 1, UINT64_MAX);
        message->logits.entry = number(state, BN_STEP_ENTRIES_MAX - 1);
        message->logits.position = number(state, BN_STEP_POSITION_MAX - 1);
        message->logits.n_logits = (uint32_t)bn_sample_between(state, 1, BN_STEP_VOCAB_MAX);
        break;
    case BN_MESSAGE_ABORT:
        message->abort.epoch = number(state, UINT32_MAX);
        message->abort.slot = number(state, BN_SLOTS_MAX - 1);
        message->abort.last_step = bn_sample_next(state);
        break;
    case BN_MESSAGE_FAILURE:
        message->failure.epoch = number(state, UINT32_MAX);
        message->failure.code = -(int32_t)number(state, 12);
        text(state, message->failure.text, sizeof message->failure.text);
        break;
    case BN_MESSAGE_GOODBYE:
    case BN_MESSAGE_SHUTDOWN:
        text(state, message->farewell.text, sizeof message->farewell.text);
        break;
    case BN_MESSAGE_STATS_REQUEST: break;
    default: message->epoch_only.epoch = number(state, UINT32_MAX); break;
    }
}

void bn_sample_message(uint64_t *state, bn_message_kind kind, bn_message *message_out)
{
    memset(message_out, 0, sizeof *message_out);
    message_out->kind = kind;
    switch (kind) {
    case BN_MESSAGE_HELLO: sample_hello(state, &message_out->hello); break;
    case BN_MESSAGE_WELCOME: sample_welcome(state, &message_out->welcome); break;
    case BN_MESSAGE_ASSIGN: sample_assign(state, &message_out->assign); break;
    case BN_MESSAGE_STATS: sample_stats(state, &message_out->stats); break;
    case BN_MESSAGE_STEP: sample_step(state, &message_out->step); break;
    case BN_MESSAGE_RESULT: sample_result(state, &message_out->result); break;
    default: sample_small(state, message_out); break;
    }
}

void bn_sample_full_step(bn_message *message_out)
{
    memset(message_out, 0, sizeof *message_out);
    message_out->kind = BN_MESSAGE_STEP;
    bn_step *step = &message_out->step;
    step->epoch = UINT32_MAX;
    step->id = UINT64_MAX;
    step->n_entries = BN_STEP_ENTRIES_MAX;
    for (uint32_t i = 0; i < step->n_entries; i++) {
        /* 2 of 8 tokens wanted: 512 positions, 8 candidates and 8 ids each. */
        step->entries[i] = (bn_step_entry){
            .slot = BN_SLOTS_MAX - 1,
            .position = BN_STEP_POSITION_MAX - 8,
            .n_tokens = 8,
            .want_from = 6,
            .n_best = 8,
            .n_ids = 8,
            .wants_lse = true,
            .wants_all = true,
            .is_void = true,
        };
    }
    step->n_tokens = BN_STEP_TOKENS_MAX;
    for (uint32_t i = 0; i < step->n_tokens; i++)
        step->tokens[i] = BN_STEP_VOCAB_MAX - 1;
    step->n_ids = BN_STEP_IDS_MAX;
    for (uint32_t i = 0; i < step->n_ids; i++)
        step->ids[i] = BN_STEP_VOCAB_MAX - 1;
    step->n_commands = BN_STEP_COMMANDS_MAX;
    for (uint32_t i = 0; i < step->n_commands; i++) {
        step->commands[i] =
            (bn_kv_command){BN_KV_FREE, BN_SLOTS_MAX - 1, BN_SLOTS_MAX - 1, BN_STEP_POSITION_MAX};
    }
    bn_step_complete(step);
}

void bn_sample_full_result(bn_message *message_out)
{
    memset(message_out, 0, sizeof *message_out);
    message_out->kind = BN_MESSAGE_RESULT;
    bn_result *result = &message_out->result;
    result->epoch = UINT32_MAX;
    result->step_id = UINT64_MAX;
    result->vocab_begin = 1u << 19;
    result->vocab_end = BN_STEP_VOCAB_MAX;
    result->n_positions = BN_STEP_WANTED_MAX;
    for (uint32_t i = 0; i < result->n_positions; i++) {
        result->positions[i] = (bn_result_position){
            .entry = BN_STEP_ENTRIES_MAX - 1,
            .position = BN_STEP_POSITION_MAX - BN_STEP_WANTED_MAX + i,
            .n_candidates = 8,
            .n_exact = 8,
            .lse = -1e300,
            .has_lse = true,
            .has_all = true,
            .is_void = true,
        };
    }
    /* 15 × 256 + 497 × at most 1 candidates make the counts themselves two bytes long. */
    for (uint32_t i = 0; i < result->n_positions; i++) {
        result->positions[i].n_candidates = i < 15 ? BN_CANDIDATES_MAX : i < 271 ? 1 : 0;
        result->positions[i].n_exact = i < 32 ? 128 : 0;
    }
    result->n_candidates = BN_STEP_CANDIDATES_MAX;
    for (uint32_t i = 0; i < result->n_candidates; i++) {
        result->candidates[i] = (bn_candidate){BN_STEP_VOCAB_MAX - 1, -1e30f};
    }
    result->n_exact = BN_STEP_IDS_MAX;
    for (uint32_t i = 0; i < result->n_exact; i++)
        result->exact[i] = -1e30f;
    bn_result_complete(result);
}
