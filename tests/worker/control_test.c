/* control_test.c
 * What: a worker's control thread joins, beats, hands messages over in order, and leaves or comes
 *       back as the coordinator, its absence or a signal says.
 * How:  this test is the coordinator, over a real channel on a free port; every wait has a
 *       deadline.
 */
#include "worker/control.h"
#include "common/alloc.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/version.h"
#include "worker/join_notice.h"

#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define DEADLINE_MS 6000u

static bn_message in, out;
static bn_peer peer;
static bn_channel *coordinator;
static bn_control *control;
static char url[BN_URL_MAX];

static void listen_at(const char *where)
{
    assert_int_equal(bn_channel_listen(where, NULL, false, &coordinator), BN_OK);
    snprintf(url, sizeof url, "%s", bn_channel_url(coordinator));
}

static void start_control(uint32_t join_timeout_s, uint32_t rejoin_s)
{
    static bn_hello hello;
    hello = (bn_hello){
        .protocol_major = BN_PROTOCOL_MAJOR,
        .protocol_minor = BN_PROTOCOL_MINOR,
        .numerics = BN_NUMERICS_VERSION,
        .incarnation = {7, 8},
        .node = "here",
        .threads = 1,
        .cores = 1,
        .isa = "scalar",
    };
    bn_control_config config = {
        .url = url,
        .join_timeout_s = join_timeout_s,
        .rejoin_s = rejoin_s,
        .hello = &hello,
    };
    sigemptyset(&config.signals);
    sigaddset(&config.signals, SIGTERM);
    assert_int_equal(bn_control_create(&config, &control), BN_OK);
}

/* The next message of this kind; heartbeats and others before it are skipped. */
static const void *expect(bn_message_kind kind)
{
    const void *raw = NULL;
    size_t n_raw = 0;
    uint64_t deadline_ms = bn_clock_ms() + DEADLINE_MS;
    while (bn_clock_ms() < deadline_ms)
        if (bn_channel_receive(coordinator, 100, &peer, &in, &raw, &n_raw) == BN_OK &&
            in.kind == kind)
            return raw;
    fail_msg("no %s came", bn_message_kind_name(kind));
    return NULL;
}

static void say(bn_message_kind kind)
{
    out.kind = kind;
    assert_int_equal(bn_channel_send(coordinator, &peer, &out, NULL, 0), BN_OK);
}

static const bn_control_event *next_event(void)
{
    uint64_t deadline_ms = bn_clock_ms() + DEADLINE_MS;
    const bn_control_event *event;
    while ((event = bn_control_next(control)) == NULL && bn_clock_ms() < deadline_ms) {
        struct pollfd fd = {.fd = bn_control_fd(control), .events = POLLIN};
        poll(&fd, 1, 100);
        bn_control_hush(control);
    }
    assert_non_null(event);
    return event;
}

static void expect_quit(int exit_code, bool is_orderly)
{
    const bn_control_event *event;
    while ((event = next_event())->kind != BN_CONTROL_QUIT)
        bn_control_done(control);
    assert_int_equal(event->exit_code, exit_code);
    assert_int_equal(event->is_orderly, is_orderly);
    bn_control_done(control);
}

static uint64_t join(void)
{
    expect(BN_MESSAGE_HELLO);
    assert_int_equal(in.hello.incarnation[1], 8);
    memset(&out, 0, sizeof out);
    out.welcome.is_accepted = true;
    out.welcome.worker_id = 3;
    say(BN_MESSAGE_WELCOME);
    const bn_control_event *event = next_event();
    assert_int_equal(event->kind, BN_CONTROL_MESSAGE);
    assert_int_equal(event->message.kind, BN_MESSAGE_WELCOME);
    assert_int_equal(event->message.welcome.worker_id, 3);
    uint64_t session = event->session;
    bn_control_done(control);
    return session;
}

static int begin(void **unused)
{
    (void)unused;
    listen_at("tcp://127.0.0.1:*");
    return 0;
}

static int end(void **unused)
{
    (void)unused;
    bn_control_destroy(control);
    bn_channel_destroy(coordinator);
    control = NULL;
    coordinator = NULL;
    return 0;
}

static void make_step(uint64_t id)
{
    memset(&out, 0, sizeof out);
    out.step.epoch = 9;
    out.step.id = id;
    out.step.n_entries = 1;
    out.step.n_tokens = 2;
    out.step.entries[0] = (bn_step_entry){.slot = 4, .n_tokens = 2, .want_from = 1, .n_best = 1};
    out.step.tokens[0] = 11;
    out.step.tokens[1] = (uint32_t)id;
    say(BN_MESSAGE_STEP);
}

static void test_messages_pass_in_order_and_heartbeats_tell_the_state(void **unused)
{
    (void)unused;
    start_control(30, 30);
    uint64_t session = join();
    bn_control_report(control, BN_WORKER_READY, 9, 42);
    do
        expect(BN_MESSAGE_HEARTBEAT);
    while (in.heartbeat.state != BN_WORKER_READY);
    assert_int_equal(in.heartbeat.epoch, 9);
    assert_int_equal(in.heartbeat.last_step, 42);
    uint64_t progress = in.heartbeat.progress;
    bn_control_progress(control);
    expect(BN_MESSAGE_HEARTBEAT);
    assert_true(in.heartbeat.progress > progress);

    for (uint64_t id = 1; id <= 20; id++)
        make_step(id);
    for (uint64_t id = 1; id <= 20; id++) {
        const bn_control_event *event = next_event();
        assert_int_equal(event->message.kind, BN_MESSAGE_STEP);
        assert_int_equal(event->message.step.id, id);
        assert_int_equal(event->message.step.tokens[1], id);
        assert_int_equal(event->message.step.entries[0].slot, 4);
        assert_true(bn_control_steps_waiting(control) >= 1);
        bn_control_done(control);
    }
    assert_int_equal(bn_control_steps_waiting(control), 0);

    static bn_message result;
    result.kind = BN_MESSAGE_RESULT;
    result.result.epoch = 9;
    result.result.step_id = 20;
    result.result.vocab_end = 100;
    result.result.n_positions = result.result.n_candidates = 1;
    result.result.positions[0] = (bn_result_position){.position = 1, .n_candidates = 1};
    result.result.candidates[0] = (bn_candidate){.id = 99, .logit = 1.5f};
    static float row[100];
    row[99] = 1.5f;
    _Atomic bool is_sent;
    bn_logits logits = {.epoch = 9, .step_id = 20, .position = 1, .n_logits = 100};
    assert_int_equal(bn_control_send_logits(control, session, &logits, row, &is_sent), BN_OK);
    assert_int_equal(bn_control_send(control, session, &result), BN_OK);
    const void *raw = expect(BN_MESSAGE_LOGITS);
    assert_int_equal(in.logits.n_logits, 100);
    assert_memory_equal(raw, row, sizeof row);
    expect(BN_MESSAGE_RESULT);
    assert_int_equal(in.result.candidates[0].id, 99);
    bn_control_forget_logits(control, &is_sent, 1);
}

static void test_what_ends_the_work_is_known_before_it_is_read(void **unused)
{
    (void)unused;
    start_control(30, 30);
    join();
    assert_false(bn_control_is_cancelled(control));
    make_step(1);
    memset(&out, 0, sizeof out);
    out.epoch_only.epoch = 9;
    say(BN_MESSAGE_RELEASE);
    uint64_t deadline_ms = bn_clock_ms() + DEADLINE_MS;
    while (!bn_control_is_cancelled(control) && bn_clock_ms() < deadline_ms)
        bn_clock_sleep_ns(1000000);
    assert_true(bn_control_is_cancelled(control));
    assert_int_equal(next_event()->message.kind, BN_MESSAGE_STEP);
    bn_control_done(control);
    assert_int_equal(next_event()->message.kind, BN_MESSAGE_RELEASE);
    assert_false(bn_control_is_cancelled(control));
    bn_control_done(control);
}

static void test_an_abort_holds_for_its_epoch_only(void **unused)
{
    (void)unused;
    start_control(30, 30);
    join();
    memset(&out, 0, sizeof out);
    out.assign = (bn_assign){.epoch = 9,
                             .n_stages = 1,
                             .layer_end = 1,
                             .context = 1,
                             .slots = 1,
                             .kv_pages = 1,
                             .step_tokens = 1,
                             .steps_in_flight = 1,
                             .link = BN_LINK_SELF,
                             .has_embedding = true,
                             .has_head = true};
    say(BN_MESSAGE_ASSIGN);
    out.abort = (bn_abort){.epoch = 8, .slot = 5, .last_step = 70};
    say(BN_MESSAGE_ABORT);
    out.abort = (bn_abort){.epoch = 9, .slot = 6, .last_step = 71};
    say(BN_MESSAGE_ABORT);
    uint64_t deadline_ms = bn_clock_ms() + DEADLINE_MS;
    while (bn_control_abort_until(control, 6) == 0 && bn_clock_ms() < deadline_ms)
        bn_clock_sleep_ns(1000000);
    assert_int_equal(bn_control_abort_until(control, 6), 71);
    assert_int_equal(bn_control_abort_until(control, 5), 0);
    const bn_control_event *event = next_event();
    assert_int_equal(event->message.kind, BN_MESSAGE_ASSIGN);
    assert_string_equal(event->local_address, "127.0.0.1");
}

static void test_a_refused_worker_leaves(void **unused)
{
    (void)unused;
    start_control(30, 30);
    expect(BN_MESSAGE_HELLO);
    memset(&out, 0, sizeof out);
    out.welcome.is_usage = true;
    snprintf(out.welcome.reason, sizeof out.welcome.reason, "another model");
    say(BN_MESSAGE_WELCOME);
    expect_quit(2, false);
}

static void test_told_to_shut_down_it_says_goodbye(void **unused)
{
    (void)unused;
    start_control(30, 30);
    join();
    memset(&out, 0, sizeof out);
    say(BN_MESSAGE_SHUTDOWN);
    expect_quit(0, true);
    expect(BN_MESSAGE_GOODBYE);
}

static void test_a_signal_becomes_a_goodbye(void **unused)
{
    (void)unused;
    start_control(30, 30);
    join();
    kill(getpid(), SIGTERM);
    expect_quit(0, false);
    bn_control_destroy(control); /* before it loses patience */
    control = NULL;
    expect(BN_MESSAGE_GOODBYE);
    assert_non_null(strstr(in.farewell.text, "Terminated"));
}

static void test_a_lost_coordinator_is_noticed_and_joined_again(void **unused)
{
    (void)unused;
    char again[BN_URL_MAX];
    start_control(30, 30);
    uint64_t session = join();
    snprintf(again, sizeof again, "%s", url);
    uint64_t lost_ms = bn_clock_ms();
    bn_channel_destroy(coordinator);
    coordinator = NULL;
    assert_int_equal(next_event()->kind, BN_CONTROL_LOST);
    assert_true(bn_clock_ms() - lost_ms < 5000);
    bn_control_done(control);
    listen_at(again);
    assert_true(join() > session);
}

static void test_without_a_coordinator_it_gives_up(void **unused)
{
    (void)unused;
    start_control(30, 1);
    join();
    bn_channel_destroy(coordinator);
    coordinator = NULL;
    expect_quit(1, false);
    bn_control_destroy(control);
    start_control(1, 30); /* nobody has listened there since */
    expect_quit(1, false);
}

static void test_the_advice_fits_the_trouble(void **unused)
{
    (void)unused;
    assert_non_null(strstr(bn_join_notice_advice(false, "connection refused"), "bitnet-coord"));
    assert_non_null(strstr(bn_join_notice_advice(false, "unknown host name"), "spelling"));
    assert_non_null(strstr(bn_join_notice_advice(false, "no route to host"), "network"));
    assert_non_null(
        strstr(bn_join_notice_advice(false, "the cluster key is not accepted"), "--cluster-key"));
    assert_non_null(strstr(bn_join_notice_advice(false, "not a coordinator (handshake failed)"),
                           "another program"));
    assert_non_null(strstr(bn_join_notice_advice(true, ""), "welcome"));
    assert_non_null(strstr(bn_join_notice_advice(false, ""), "firewall"));
}

int main(void)
{
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    bn_log_init("control_test", BN_LOG_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_messages_pass_in_order_and_heartbeats_tell_the_state,
                                        begin, end),
        cmocka_unit_test_setup_teardown(test_what_ends_the_work_is_known_before_it_is_read, begin,
                                        end),
        cmocka_unit_test_setup_teardown(test_an_abort_holds_for_its_epoch_only, begin, end),
        cmocka_unit_test_setup_teardown(test_a_refused_worker_leaves, begin, end),
        cmocka_unit_test_setup_teardown(test_told_to_shut_down_it_says_goodbye, begin, end),
        cmocka_unit_test_setup_teardown(test_a_signal_becomes_a_goodbye, begin, end),
        cmocka_unit_test_setup_teardown(test_a_lost_coordinator_is_noticed_and_joined_again, begin,
                                        end),
        cmocka_unit_test_setup_teardown(test_without_a_coordinator_it_gives_up, begin, end),
        cmocka_unit_test(test_the_advice_fits_the_trouble),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
