/* wire_test.c
 * What: every message survives the wire bit for bit; nothing malformed gets through, crashes or
 *       yields a number that could not be used as an index.
 * How:  random valid messages (seed printed), the largest ones, each limit broken by one, every
 *       truncation and every flipped bit of packed samples, hand-made hostile envelopes.
 */
#include "common/alloc.h"
#include "common/log.h"
#include "common/version.h"
#include "tests/common/cmocka_all.h"
#include "tests/proto/samples.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct fixture {
    bn_wire *wire;
    uint64_t random;
    bn_message sent, received;
    uint8_t bytes[BN_ENVELOPE_MAX + 1], broken[BN_ENVELOPE_MAX + 1];
    size_t n;
} fixture;

static int setup(void **state)
{
    fixture *f = bn_alloc(1, sizeof *f);
    const char *seed = getenv("BN_SEED");
    f->random = seed == NULL ? 0x9e3779b97f4a7c15ull : strtoull(seed, NULL, 0) | 1u;
    printf("BN_SEED=%llu\n", (unsigned long long)f->random);
    if (bn_wire_create(&f->wire) != BN_OK) return -1;
    bn_log_set_quiet(true);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    fixture *f = *state;
    bn_wire_destroy(f->wire);
    bn_free(f);
    return 0;
}

static void pack(fixture *f)
{
    if (bn_wire_pack(f->wire, &f->sent, f->bytes, &f->n) != BN_OK) {
        fail_msg("%s", bn_log_last_error());
    }
    assert_true(f->n <= BN_ENVELOPE_MAX);
}

static void expect_round_trip(fixture *f)
{
    pack(f);
    memset(&f->received, 0, sizeof f->received);
    if (bn_wire_unpack(f->wire, f->bytes, f->n, &f->received) != BN_OK) {
        fail_msg("%s", bn_log_last_error());
    }
    assert_memory_equal(&f->sent, &f->received, sizeof f->sent);
}

static void test_every_message_survives_a_round_trip(void **state)
{
    fixture *f = *state;
    for (uint32_t round = 0; round < 100; round++) {
        for (uint32_t kind = BN_MESSAGE_HELLO; kind < BN_MESSAGE_KIND_END; kind++) {
            bn_sample_message(&f->random, (bn_message_kind)kind, &f->sent);
            expect_round_trip(f);
        }
    }
}

static void test_largest_step_and_result_fit_an_envelope(void **state)
{
    fixture *f = *state;
    bn_sample_full_step(&f->sent);
    expect_round_trip(f);
    printf("largest step: %zu bytes\n", f->n);
    bn_sample_full_result(&f->sent);
    expect_round_trip(f);
    printf("largest result: %zu bytes\n", f->n);
}

static void test_special_floats_keep_their_bits(void **state)
{
    fixture *f = *state;
    static const uint32_t bits[] = {0x7fc00001u, 0xffbfffffu, 0x80000000u, 0x00000001u,
                                    0x7f800000u, 0xff800000u, 0x7f7fffffu};
    memset(&f->sent, 0, sizeof f->sent);
    f->sent.kind = BN_MESSAGE_RESULT;
    f->sent.result.step_id = 1;
    f->sent.result.n_positions = 1;
    f->sent.result.n_exact = f->sent.result.positions[0].n_exact = (uint32_t)BN_COUNT(bits);
    memcpy(f->sent.result.exact, bits, sizeof bits);
    f->sent.result.positions[0].lse = (double)NAN;
    expect_round_trip(f);
}

/* ---- limits ------------------------------------------------------------------------------ */

typedef struct limit_case {
    const char *name;
    void (*damage)(bn_message *message);
    const char *text; /* in the error */
} limit_case;

static void step_entries(bn_message *m)
{
    m->step.n_entries = BN_STEP_ENTRIES_MAX + 1;
}
static void step_tokens(bn_message *m)
{
    m->step.n_tokens = BN_STEP_TOKENS_MAX + 1;
}
static void step_ids(bn_message *m)
{
    m->step.n_ids = BN_STEP_IDS_MAX + 1;
}
static void step_commands(bn_message *m)
{
    m->step.n_commands = BN_STEP_COMMANDS_MAX + 1;
}
static void step_id(bn_message *m)
{
    m->step.id = 0;
}
static void step_slot(bn_message *m)
{
    m->step.entries[3].slot = BN_SLOTS_MAX;
}
static void step_token(bn_message *m)
{
    m->step.tokens[7] = BN_STEP_VOCAB_MAX;
}
static void step_exact_id(bn_message *m)
{
    m->step.ids[7] = BN_STEP_VOCAB_MAX;
}
static void step_empty_entry(bn_message *m)
{
    m->step.entries[0].n_tokens = 0;
}
static void step_gap(bn_message *m)
{
    m->step.entries[1].token_begin++;
}
static void step_id_gap(bn_message *m)
{
    m->step.entries[1].id_begin++;
}
static void step_want(bn_message *m)
{
    m->step.entries[0].want_from = 9;
}
static void step_best(bn_message *m)
{
    m->step.entries[0].n_best = BN_CANDIDATES_MAX + 1;
}
static void step_candidates(bn_message *m)
{
    m->step.entries[0].n_best = 9;
}
static void step_position(bn_message *m)
{
    m->step.entries[0].position = BN_STEP_POSITION_MAX;
}
static void step_kind(bn_message *m)
{
    m->step.commands[5].kind = (bn_kv_command_kind)5;
}
static void step_source(bn_message *m)
{
    m->step.commands[5].source = BN_SLOTS_MAX;
}
static void step_count(bn_message *m)
{
    m->step.commands[5].count = BN_STEP_POSITION_MAX + 1;
}
static void result_positions(bn_message *m)
{
    m->result.n_positions = BN_STEP_WANTED_MAX + 1;
}
static void result_order(bn_message *m)
{
    m->result.positions[1].position--;
}
static void result_entry(bn_message *m)
{
    m->result.positions[0].entry = BN_STEP_ENTRIES_MAX;
}
static void result_sum(bn_message *m)
{
    m->result.n_candidates--;
}
static void result_id(bn_message *m)
{
    m->result.candidates[0].id = 0;
}
static void result_range(bn_message *m)
{
    m->result.vocab_end = BN_STEP_VOCAB_MAX + 1;
}
static void result_exact(bn_message *m)
{
    m->result.positions[40].n_exact = 1;
}

static const limit_case step_cases[] = {
    {"entries", step_entries, "entries: 257"},
    {"tokens", step_tokens, "tokens: 2049"},
    {"ids", step_ids, "ids: 4097"},
    {"commands", step_commands, "commands: 513"},
    {"id", step_id, "id 0"},
    {"slot", step_slot, "entry 3: slot 256"},
    {"token", step_token, "token 7: value"},
    {"exact id", step_exact_id, "id 7: value"},
    {"empty entry", step_empty_entry, "entry 0: no tokens"},
    {"gap", step_gap, "entry 1: tokens begin"},
    {"id gap", step_id_gap, "entry 1: ids begin"},
    {"want", step_want, "entry 0: want_from 9"},
    {"best", step_best, "n_best 257"},
    {"candidates", step_candidates, "4098 candidates"},
    {"position", step_position, "end position"},
    {"kind", step_kind, "command 5: unknown kind 5"},
    {"source", step_source, "command 5: source"},
    {"count", step_count, "command 5: count"},
};

static const limit_case result_cases[] = {
    {"positions", result_positions, "positions: 513"},
    {"order", result_order, "position 1: out of order"},
    {"entry", result_entry, "position 0: entry 256"},
    {"sum", result_sum, "4096 candidates"},
    {"id", result_id, "candidate 0: id 0"},
    {"range", result_range, "vocabulary range"},
    {"exact", result_exact, "exact logits"},
};

static void expect_refused(fixture *f, const limit_case *row)
{
    row->damage(&f->sent);
    if (bn_wire_pack(f->wire, &f->sent, f->bytes, &f->n) != BN_ERR_BAD_MESSAGE) {
        fail_msg("%s was packed", row->name);
    }
    if (strstr(bn_wire_trouble(f->wire), row->text) == NULL) {
        fail_msg("%s: \"%s\" does not say \"%s\"", row->name, bn_wire_trouble(f->wire), row->text);
    }
}

static void test_broken_steps_and_results_are_not_packed(void **state)
{
    fixture *f = *state;
    for (size_t i = 0; i < BN_COUNT(step_cases); i++) {
        bn_sample_full_step(&f->sent);
        expect_refused(f, &step_cases[i]);
    }
    for (size_t i = 0; i < BN_COUNT(result_cases); i++) {
        bn_sample_full_result(&f->sent);
        expect_refused(f, &result_cases[i]);
    }
}

static void hello_rank(bn_message *m)
{
    m->hello.rank = m->hello.n_ranks;
}
static void hello_nan(bn_message *m)
{
    m->hello.bandwidth = (double)NAN;
}
static void hello_text(bn_message *m)
{
    memset(m->hello.node, 'x', sizeof m->hello.node);
}
static void assign_stage(bn_message *m)
{
    m->assign.stage = m->assign.n_stages;
}
static void assign_layers(bn_message *m)
{
    m->assign.layer_begin = m->assign.layer_end + 1;
}
static void assign_link(bn_message *m)
{
    m->assign.link = (bn_link_kind)4;
}
static void heartbeat_state(bn_message *m)
{
    m->heartbeat.state = (bn_worker_state)0;
}
static void failure_code(bn_message *m)
{
    m->failure.code = 1;
}

static void test_broken_scalars_are_not_packed(void **state)
{
    static const struct {
        bn_message_kind kind;
        limit_case row;
    } cases[] = {
        {BN_MESSAGE_HELLO, {"rank", hello_rank, "hello: rank"}},
        {BN_MESSAGE_HELLO, {"nan", hello_nan, "is not a finite amount from 1 to 1e+18"}},
        {BN_MESSAGE_HELLO, {"text", hello_text, "hello: node is not terminated"}},
        {BN_MESSAGE_ASSIGN, {"stage", assign_stage, "assign: stage"}},
        {BN_MESSAGE_ASSIGN, {"layers", assign_layers, "assign: layers"}},
        {BN_MESSAGE_ASSIGN, {"link", assign_link, "assign: link 4"}},
        {BN_MESSAGE_HEARTBEAT, {"state", heartbeat_state, "heartbeat: state 0"}},
        {BN_MESSAGE_FAILURE, {"code", failure_code, "failure: code 1"}},
    };
    fixture *f = *state;
    for (size_t i = 0; i < BN_COUNT(cases); i++) {
        do {
            bn_sample_message(&f->random, cases[i].kind, &f->sent);
        } while (cases[i].kind == BN_MESSAGE_HELLO && !f->sent.hello.has_ranks);
        expect_refused(f, &cases[i].row);
    }
}

static void test_unknown_kinds_are_not_packed(void **state)
{
    fixture *f = *state;
    memset(&f->sent, 0, sizeof f->sent);
    assert_int_equal(bn_wire_pack(f->wire, &f->sent, f->bytes, &f->n), BN_ERR_BAD_MESSAGE);
    f->sent.kind = BN_MESSAGE_KIND_END;
    assert_int_equal(bn_wire_pack(f->wire, &f->sent, f->bytes, &f->n), BN_ERR_BAD_MESSAGE);
    assert_string_equal(bn_message_kind_name(BN_MESSAGE_KIND_END), "unknown");
    assert_string_equal(bn_message_kind_name(BN_MESSAGE_STATS_REQUEST), "stats request");
}

/* ---- damage ------------------------------------------------------------------------------ */

/* A message that passes must be one that we would send: whatever is in it is in range. */
static void expect_refused_or_sound(fixture *f, const uint8_t *bytes, size_t n)
{
    memset(&f->received, 0x5a, sizeof f->received);
    if (bn_wire_unpack_quietly(f->wire, bytes, n, &f->received) != BN_OK) {
        assert_true(bn_wire_trouble(f->wire)[0] != '\0');
        return;
    }
    size_t n_again;
    if (bn_wire_pack(f->wire, &f->received, f->bytes, &n_again) != BN_OK) {
        fail_msg("passed, but %s", bn_wire_trouble(f->wire));
    }
}

static void small_sample(fixture *f, bn_message_kind kind)
{
    do {
        bn_sample_message(&f->random, kind, &f->sent);
        pack(f);
    } while (f->n > 3000);
    memcpy(f->broken, f->bytes, f->n);
}

static void test_truncated_messages_are_refused_or_sound(void **state)
{
    fixture *f = *state;
    for (uint32_t kind = BN_MESSAGE_HELLO; kind < BN_MESSAGE_KIND_END; kind++) {
        small_sample(f, (bn_message_kind)kind);
        size_t n = f->n;
        for (size_t cut = 0; cut < n; cut++) {
            /* The body is the last field, and its length no longer matches. */
            assert_int_not_equal(bn_wire_unpack_quietly(f->wire, f->broken, cut, &f->received),
                                 BN_OK);
        }
    }
}

static void test_flipped_bits_are_refused_or_sound(void **state)
{
    fixture *f = *state;
    for (uint32_t kind = BN_MESSAGE_HELLO; kind < BN_MESSAGE_KIND_END; kind++) {
        small_sample(f, (bn_message_kind)kind);
        size_t n = f->n;
        for (size_t i = 0; i < n; i++) {
            for (uint32_t bit = 0; bit < 8; bit++) {
                f->broken[i] ^= (uint8_t)(1u << bit);
                expect_refused_or_sound(f, f->broken, n);
                f->broken[i] ^= (uint8_t)(1u << bit);
            }
            uint8_t kept = f->broken[i];
            f->broken[i] ^= 0xffu;
            expect_refused_or_sound(f, f->broken, n);
            f->broken[i] = kept;
        }
    }
}

static void test_random_bytes_are_refused_or_sound(void **state)
{
    fixture *f = *state;
    for (uint32_t round = 0; round < 2000; round++) {
        size_t n = (size_t)bn_sample_between(&f->random, 0, 400);
        bn_sample_bytes(&f->random, f->broken, n);
        expect_refused_or_sound(f, f->broken, n);
    }
}

static void expect_trouble(fixture *f, size_t n, const char *text)
{
    assert_int_equal(bn_wire_unpack(f->wire, f->broken, n, &f->received), BN_ERR_BAD_MESSAGE);
    if (strstr(bn_wire_trouble(f->wire), text) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", bn_wire_trouble(f->wire), text);
    }
}

static void test_oversized_and_empty_envelopes_are_refused(void **state)
{
    fixture *f = *state;
    memset(f->broken, 0, sizeof f->broken);
    expect_trouble(f, BN_ENVELOPE_MAX + 1, "65537 bytes");
    expect_trouble(f, 0, "protocol 0.0");
}

/* A body of many one-byte values would take four times its size. */
static void test_bytes_that_unfold_are_refused(void **state)
{
    fixture *f = *state;
    size_t n_values = 65000, at = 0;
    const uint8_t head[] = {0x08, BN_PROTOCOL_MAJOR, 0xd2, 0x01}; /* major; field 26, counted */
    memcpy(f->broken, head, sizeof head);
    at = sizeof head;
    size_t body = n_values + 4;
    for (size_t rest = body; rest > 0; rest >>= 7) {
        f->broken[at++] = (uint8_t)((rest & 0x7fu) | (rest >= 0x80u ? 0x80u : 0u));
    }
    f->broken[at++] = 0x52; /* field 10: tokens, counted */
    for (size_t rest = n_values; rest > 0; rest >>= 7) {
        f->broken[at++] = (uint8_t)((rest & 0x7fu) | (rest >= 0x80u ? 0x80u : 0u));
    }
    memset(f->broken + at, 1, n_values);
    expect_trouble(f, at + n_values, "unfolds into too many values");
}

static void test_two_bodies_are_refused(void **state)
{
    fixture *f = *state;
    memset(&f->sent, 0, sizeof f->sent);
    f->sent.kind = BN_MESSAGE_WAKE;
    f->sent.epoch_only.epoch = 7;
    pack(f);
    memcpy(f->broken, f->bytes, f->n);
    memcpy(f->broken + f->n, f->bytes, f->n);
    expect_trouble(f, 2 * f->n, "more than one body");
}

/* ---- versions ---------------------------------------------------------------------------- */

static void test_another_major_is_refused_naming_both(void **state)
{
    fixture *f = *state;
    for (uint32_t kind = BN_MESSAGE_ASSIGN; kind < BN_MESSAGE_KIND_END; kind++) {
        small_sample(f, (bn_message_kind)kind);
        assert_int_equal(f->broken[0], 0x08); /* field 1 */
        assert_int_equal(f->broken[1], BN_PROTOCOL_MAJOR);
        f->broken[1] = BN_PROTOCOL_MAJOR + 1;
        char trouble[BN_TEXT_MAX];
        snprintf(trouble, sizeof trouble, "message of protocol %d.%d, this side speaks %d.%d",
                 BN_PROTOCOL_MAJOR + 1, BN_PROTOCOL_MINOR, BN_PROTOCOL_MAJOR, BN_PROTOCOL_MINOR);
        expect_trouble(f, f->n, trouble);
    }
}

static void test_hello_of_another_major_is_read(void **state)
{
    fixture *f = *state;
    bn_sample_message(&f->random, BN_MESSAGE_HELLO, &f->sent);
    f->sent.hello.protocol_major = 9;
    f->sent.hello.protocol_minor = 4;
    expect_round_trip(f);
    assert_int_equal(f->received.hello.protocol_major, 9);
}

static void test_only_a_refusal_of_another_major_is_read(void **state)
{
    fixture *f = *state;
    bn_sample_message(&f->random, BN_MESSAGE_WELCOME, &f->sent);
    for (int is_accepted = 0; is_accepted < 2; is_accepted++) {
        f->sent.welcome.is_accepted = is_accepted != 0;
        pack(f);
        memcpy(f->broken, f->bytes, f->n);
        f->broken[1] = BN_PROTOCOL_MAJOR + 1;
        bn_status status = bn_wire_unpack(f->wire, f->broken, f->n, &f->received);
        assert_int_equal(status, is_accepted ? BN_ERR_BAD_MESSAGE : BN_OK);
    }
}

static void test_control_characters_become_spaces(void **state)
{
    fixture *f = *state;
    memset(&f->sent, 0, sizeof f->sent);
    f->sent.kind = BN_MESSAGE_GOODBYE;
    strcpy(f->sent.farewell.text, "a\nb\033[31mc\x7f");
    pack(f);
    assert_int_equal(bn_wire_unpack(f->wire, f->bytes, f->n, &f->received), BN_OK);
    assert_string_equal(f->received.farewell.text, "a b [31mc ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_message_survives_a_round_trip),
        cmocka_unit_test(test_largest_step_and_result_fit_an_envelope),
        cmocka_unit_test(test_special_floats_keep_their_bits),
        cmocka_unit_test(test_broken_steps_and_results_are_not_packed),
        cmocka_unit_test(test_broken_scalars_are_not_packed),
        cmocka_unit_test(test_unknown_kinds_are_not_packed),
        cmocka_unit_test(test_truncated_messages_are_refused_or_sound),
        cmocka_unit_test(test_flipped_bits_are_refused_or_sound),
        cmocka_unit_test(test_random_bytes_are_refused_or_sound),
        cmocka_unit_test(test_oversized_and_empty_envelopes_are_refused),
        cmocka_unit_test(test_bytes_that_unfold_are_refused),
        cmocka_unit_test(test_two_bodies_are_refused),
        cmocka_unit_test(test_another_major_is_refused_naming_both),
        cmocka_unit_test(test_hello_of_another_major_is_read),
        cmocka_unit_test(test_only_a_refusal_of_another_major_is_read),
        cmocka_unit_test(test_control_characters_become_spaces),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
