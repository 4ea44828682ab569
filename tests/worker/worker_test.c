/* worker_test.c
 * What: a worker follows the coordinator's word from Assign to READY, answers steps, drops what is
 *       old, reports what is impossible and waits for the next assignment.
 * How:  the worker's main loop in a thread, alone with its stage (link self); this test is its
 *       coordinator, over a real channel. The logits must be those of the golden file.
 */
#include "worker/worker.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/version.h"
#include "tests/golden/golden.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define DEADLINE_MS 10000u
#define EPOCH 70u

static bn_message in, out;
static bn_peer peer;
static bn_channel *coordinator;
static bn_golden golden;
static pthread_t thread;
static int exit_code;
static bool is_orderly;
static uint64_t memory_max;

static void start_thread(void *context, uint32_t thread_index, uint32_t n_threads)
{
    (void)context;
    (void)thread_index;
    (void)n_threads;
    bn_float_env_set();
}

static void *worker_main(void *unused)
{
    (void)unused;
    bn_hello hello = {
        .protocol_major = BN_PROTOCOL_MAJOR,
        .protocol_minor = BN_PROTOCOL_MINOR,
        .numerics = BN_NUMERICS_VERSION,
        .incarnation = {1, 2},
        .node = "here",
        .cores = 2,
        .threads = 2,
        .isa = "scalar",
    };
    bn_control_config control = {
        .url = bn_channel_url(coordinator), .join_timeout_s = 20, .rejoin_s = 1, .hello = &hello};
    sigemptyset(&control.signals);
    bn_thread_pool_config pool = {.n_threads = 2, .on_start = start_thread};
    bn_worker_config config = {
        .hello = hello,
        .kernels = bn_kernels_get(BN_ISA_SCALAR),
        .memory_max = memory_max,
    };
    bn_worker *worker;
    BN_ASSERT(bn_thread_pool_create(&pool, &config.pool) == BN_OK);
    BN_ASSERT(bn_control_create(&control, &config.control) == BN_OK);
    BN_ASSERT(bn_worker_create(&config, &worker) == BN_OK);
    exit_code = bn_worker_run(worker, &is_orderly);
    bn_worker_destroy(worker);
    bn_control_destroy(config.control);
    bn_thread_pool_destroy(config.pool);
    return NULL;
}

/* The next message of this kind; heartbeats and progress before it are skipped. */
static const void *expect(bn_message_kind kind)
{
    const void *raw = NULL;
    size_t n_raw = 0;
    uint64_t deadline_ms = bn_clock_ms() + DEADLINE_MS;
    while (bn_clock_ms() < deadline_ms) {
        if (bn_channel_receive(coordinator, 100, &peer, &in, &raw, &n_raw) != BN_OK) continue;
        if (in.kind == kind) return raw;
        if (in.kind == BN_MESSAGE_FAILURE) fail_msg("the worker reports: %s", in.failure.text);
    }
    fail_msg("no %s came", bn_message_kind_name(kind));
    return NULL;
}

static void say(bn_message_kind kind)
{
    out.kind = kind;
    assert_int_equal(bn_channel_send(coordinator, &peer, &out, NULL, 0), BN_OK);
    memset(&out, 0, sizeof out);
}

static void welcome(void)
{
    size_t n = strlen(golden.model_path);
    assert_true(n < sizeof out.welcome.model_path);
    out.welcome.is_accepted = true;
    memcpy(out.welcome.model_path, golden.model_path, n);
    say(BN_MESSAGE_WELCOME);
}

static int begin(void **unused)
{
    (void)unused;
    memory_max = 0;
    bn_golden_open("bitnet-silu", &golden);
    assert_int_equal(bn_channel_listen("tcp://127.0.0.1:*", NULL, false, &coordinator), BN_OK);
    assert_int_equal(pthread_create(&thread, NULL, worker_main, NULL), 0);
    expect(BN_MESSAGE_HELLO);
    assert_false(in.hello.has_model);
    welcome();
    expect(BN_MESSAGE_HELLO);
    assert_true(in.hello.has_model);
    welcome();
    return 0;
}

static int end(void **unused)
{
    (void)unused;
    say(BN_MESSAGE_SHUTDOWN);
    expect(BN_MESSAGE_GOODBYE);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(exit_code, 0);
    assert_true(is_orderly);
    bn_channel_destroy(coordinator);
    bn_golden_close(&golden);
    return 0;
}

static bn_assign right_assign(uint32_t epoch)
{
    return (bn_assign){
        .epoch = epoch,
        .n_stages = 1,
        .layer_end = 3,
        .has_embedding = true,
        .has_head = true,
        .context = 64,
        .slots = 2,
        .kv_pages = 2,
        .step_tokens = 16,
        .steps_in_flight = 3,
        .link = BN_LINK_SELF,
    };
}

static void make_ready(uint32_t epoch)
{
    out.assign = right_assign(epoch);
    say(BN_MESSAGE_ASSIGN);
    expect(BN_MESSAGE_LOADED);
    assert_int_equal(in.loaded.epoch, epoch);
    assert_true(in.loaded.weights_bytes > 0 && in.loaded.kv_bytes > 0);
    out.connect.epoch = epoch;
    say(BN_MESSAGE_CONNECT);
    expect(BN_MESSAGE_READY);
    out.epoch_only.epoch = epoch;
    say(BN_MESSAGE_WAKE);
}

static void say_step(uint32_t epoch, uint64_t id, uint32_t position)
{
    out.step.epoch = epoch;
    out.step.id = id;
    out.step.n_entries = out.step.n_tokens = 1;
    out.step.entries[0] = (bn_step_entry){
        .slot = 1, .position = position, .n_tokens = 1, .n_best = 2, .wants_all = true};
    out.step.tokens[0] = golden.tokens[position];
    if (position == 0) {
        out.step.n_commands = 1;
        out.step.commands[0] = (bn_kv_command){.kind = BN_KV_ALLOC, .slot = 1, .count = 1};
    }
    say(BN_MESSAGE_STEP);
}

/* Worst difference of the logits that come next, over the range of those expected. */
static double worst_of_logits(uint32_t position)
{
    const void *raw = expect(BN_MESSAGE_LOGITS);
    static float logits[65536];
    assert_int_equal(in.logits.position, position);
    memcpy(logits, raw, golden.vocab * sizeof(float));
    for (uint32_t i = 0; i < golden.n_positions; i++)
        if (golden.positions[i] == position)
            return bn_golden_compare(logits, golden.logits + (size_t)i * golden.vocab, golden.vocab)
                .worst;
    return 0.0;
}

static void test_steps_are_answered_with_the_golden_logits(void **unused)
{
    (void)unused;
    make_ready(EPOCH);
    say_step(EPOCH - 1, 1, 0); /* of an old epoch: dropped without a word */
    for (uint32_t position = 0; position < golden.n_tokens; position++)
        say_step(EPOCH, position + 1, position);
    for (uint32_t position = 0; position < golden.n_tokens; position++) {
        assert_true(worst_of_logits(position) < 1e-5);
        expect(BN_MESSAGE_RESULT);
        assert_int_equal(in.result.epoch, EPOCH);
        assert_int_equal(in.result.step_id, position + 1);
        assert_int_equal(in.result.n_candidates, 2);
        assert_true(in.result.candidates[0].logit >= in.result.candidates[1].logit);
    }
    out.rest = (bn_rest){.epoch = EPOCH, .last_step = golden.n_tokens};
    say(BN_MESSAGE_REST);
    say(BN_MESSAGE_STATS_REQUEST);
    expect(BN_MESSAGE_STATS);
    assert_int_equal(in.stats.steps, golden.n_tokens);
    assert_int_equal(in.stats.tokens_max, 1);
    assert_int_equal(in.stats.kv_pages_used, 1);
    assert_int_equal(in.stats.threads_working, 2);
    assert_string_equal(in.stats.link, "self");
    assert_string_equal(in.stats.isa, "scalar");
}

static void test_a_new_assignment_begins_anew(void **unused)
{
    (void)unused;
    make_ready(EPOCH);
    say_step(EPOCH, 1, 0);
    worst_of_logits(0);
    out.epoch_only.epoch = EPOCH;
    say(BN_MESSAGE_RELEASE);
    make_ready(EPOCH + 1);
    say_step(EPOCH + 1, 1, 0); /* the slot is empty again, or the page could not be given */
    assert_true(worst_of_logits(0) < 1e-5);
    make_ready(EPOCH + 2);
    say_step(EPOCH + 2, 1, 0);
    assert_true(worst_of_logits(0) < 1e-5);
}

static void expect_failure(const char *word)
{
    uint64_t deadline_ms = bn_clock_ms() + DEADLINE_MS;
    while (bn_clock_ms() < deadline_ms) {
        if (bn_channel_receive(coordinator, 100, &peer, &in, NULL, NULL) != BN_OK) continue;
        if (in.kind != BN_MESSAGE_FAILURE) continue;
        if (strstr(in.failure.text, word) == NULL)
            fail_msg("\"%s\" does not say \"%s\"", in.failure.text, word);
        return;
    }
    fail_msg("no failure came for \"%s\"", word);
}

static void test_what_is_impossible_is_reported_and_the_worker_waits(void **unused)
{
    (void)unused;
    out.assign = right_assign(EPOCH);
    out.assign.layer_end = 2;
    say(BN_MESSAGE_ASSIGN);
    expect_failure("last stage");
    assert_int_equal(in.failure.epoch, EPOCH);

    out.assign = right_assign(EPOCH);
    out.assign.link = BN_LINK_MPI;
    say(BN_MESSAGE_ASSIGN);
    expect_failure("link");

    make_ready(EPOCH + 1);
    say_step(EPOCH + 1, 2, 0);
    expect_failure("step 2 came after step 0");

    make_ready(EPOCH + 2);
    say_step(EPOCH + 2, 1, 5);
    expect_failure("slot 1");

    out.assign = right_assign(EPOCH + 3);
    out.assign.context = 1u << 20;
    out.assign.slots = 256;
    out.assign.kv_pages = 1u << 22;
    say(BN_MESSAGE_ASSIGN);
    expect_failure("are missing");

    make_ready(EPOCH + 4);
    say_step(EPOCH + 4, 1, 0);
    assert_true(worst_of_logits(0) < 1e-5);
}

static void test_an_aborted_sequence_is_not_computed(void **unused)
{
    (void)unused;
    make_ready(EPOCH);
    out.abort = (bn_abort){.epoch = EPOCH, .slot = 1, .last_step = 2};
    say(BN_MESSAGE_ABORT);
    for (uint32_t i = 0; i < 3; i++)
        say_step(EPOCH, i + 1, i);
    for (uint32_t i = 0; i < 3; i++) {
        expect(BN_MESSAGE_RESULT);
        assert_int_equal(in.result.step_id, i + 1);
        assert_int_equal(in.result.positions[0].is_void, i < 2);
    }
}

int main(void)
{
    bn_log_init("worker_test", BN_LOG_ERROR);
    bn_log_set_quiet(true);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_steps_are_answered_with_the_golden_logits, begin, end),
        cmocka_unit_test_setup_teardown(test_a_new_assignment_begins_anew, begin, end),
        cmocka_unit_test_setup_teardown(test_what_is_impossible_is_reported_and_the_worker_waits,
                                        begin, end),
        cmocka_unit_test_setup_teardown(test_an_aborted_sequence_is_not_computed, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
