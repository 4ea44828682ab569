/* link_zmq_test.c
 * What: frames pass whole, in order and once, both ways; foreign, old and forged frames change
 *       nothing; a gap, a repeat, a truncated frame or a dead neighbour ends the link, with both
 *       names in the text; an idle link does not look at the network.
 * How:  a ring of two links on two threads with frames of random sizes; bare ZeroMQ sockets as
 *       bad neighbours; the self link beside them.
 */
#include "common/clock.h"
#include "common/log.h"
#include "proto/channel.h"
#include "tests/common/cmocka_all.h"
#include "tests/worker/link_frames.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <zmq.h>

#define CAPACITY (1u << 20)
#define DEADLINE_MS 10000u
#define EPOCH 7u

static const uint8_t secret[BN_LINK_SECRET_BYTES] = "0123456789abcde";
static void *context;

static int setup(void **state)
{
    (void)state;
    bn_log_set_quiet(true);
    context = zmq_ctx_new();
    return context == NULL ? -1 : 0;
}

static int teardown(void **state)
{
    (void)state;
    return zmq_ctx_term(context);
}

static bn_link_config config_of(const char *own, const char *previous, const char *next)
{
    bn_link_config config = {
        .epoch = EPOCH,
        .has_previous = previous != NULL,
        .has_next = next != NULL,
        .own_name = own,
        .previous_name = previous,
        .next_name = next,
        .frames_max = LINK_FRAMES,
        .activation_capacity = CAPACITY,
        .local_address = "127.0.0.1",
        .zmq_context = context,
    };
    memcpy(config.secret, secret, sizeof secret);
    return config;
}

/* ---- two links --------------------------------------------------------------------------- */

typedef struct end {
    bn_link *link;
    const char *next_url;
    uint64_t seed_in, seed_out, n_steps;
    link_pool in, out; /* outlive the link */
    bn_status status;
    char error[512];
    bn_link_counters counters;
} end;

static bn_status pump(end *e, int wake_fd)
{
    const bn_link_ops *ops = &bn_link_zmq;
    link_pool *in = &e->in, *out = &e->out;
    uint64_t n_sent = 0, n_out = 0, n_in = 0, deadline = bn_clock_ms() + 60000;
    bn_link_frame *frame;
    while ((n_in < e->n_steps || n_out < e->n_steps) && bn_clock_ms() < deadline) {
        while ((frame = link_pool_take(in)) != NULL)
            BN_TRY(ops->receive_begin(e->link, frame));
        while (n_sent < e->n_steps && (frame = link_pool_take(out)) != NULL) {
            link_frame_fill(frame, e->seed_out, ++n_sent);
            BN_TRY(ops->send_begin(e->link, frame));
        }
        BN_TRY(ops->progress(e->link));
        BN_TRY(ops->receive_test(e->link, &frame));
        if (frame != NULL) {
            if (frame->step_id != ++n_in || !link_frame_is_filled(frame, e->seed_in)) {
                return bn_fail(BN_ERR_BAD_MESSAGE, "TEST", "step %llu is not what was sent",
                               (unsigned long long)n_in);
            }
            link_pool_give(in, frame);
            continue;
        }
        BN_TRY(ops->send_test(e->link, &frame));
        if (frame != NULL) {
            n_out++;
            memset(frame->activations, 0xee, frame->activation_bytes); /* ours again */
            link_pool_give(out, frame);
            continue;
        }
        BN_TRY(ops->wait(e->link, wake_fd, true, 1000));
    }
    return n_in == e->n_steps && n_out == e->n_steps ? BN_OK : BN_ERR_TIMED_OUT;
}

static void *run_end(void *argument)
{
    end *e = argument;
    int wake_fd = eventfd(0, EFD_CLOEXEC);
    link_pool_init(&e->in, CAPACITY);
    link_pool_init(&e->out, CAPACITY);
    e->status = bn_link_zmq.connect(e->link, e->next_url, DEADLINE_MS);
    if (e->status == BN_OK) e->status = pump(e, wake_fd);
    if (e->status != BN_OK) snprintf(e->error, sizeof e->error, "%s", bn_log_last_error());
    bn_link_zmq.counters(e->link, &e->counters);
    close(wake_fd);
    return NULL;
}

static void exchange(uint64_t n_steps, void *zmq_context, const bn_cluster_key *key)
{
    bn_link_config configs[2] = {config_of("a", "b", "b"), config_of("b", "a", "a")};
    static end ends[2];
    pthread_t threads[2];
    ends[0] = (end){.seed_in = 1, .seed_out = 2};
    ends[1] = (end){.seed_in = 2, .seed_out = 1};
    for (int i = 0; i < 2; i++) {
        configs[i].zmq_context = zmq_context;
        configs[i].cluster_key = key;
        ends[i].n_steps = n_steps;
        assert_int_equal(bn_link_zmq.create(&configs[i], &ends[i].link), BN_OK);
    }
    for (int i = 0; i < 2; i++) {
        ends[i].next_url = bn_link_zmq.url(ends[1 - i].link);
        assert_int_equal(pthread_create(&threads[i], NULL, run_end, &ends[i]), 0);
    }
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < 2; i++) {
        if (ends[i].status != BN_OK) fail_msg("end %d: %s", i, ends[i].error);
        assert_int_equal(ends[i].counters.frames_in, n_steps);
        assert_int_equal(ends[i].counters.frames_out, n_steps);
        assert_int_equal(ends[i].counters.bytes_in, ends[1 - i].counters.bytes_out);
        assert_int_equal(ends[i].counters.frames_dropped, 0);
    }
    for (int i = 0; i < 2; i++) {
        bn_link_zmq.destroy(ends[i].link);
        link_pool_fini(&ends[i].in);
        link_pool_fini(&ends[i].out);
    }
}

static void test_frames_pass_whole_both_ways(void **state)
{
    (void)state;
    exchange(2000, context, NULL);
}

static void test_frames_pass_encrypted(void **state)
{
    bn_cluster_key key;
    bn_channel *channel;
    (void)state;
    assert_int_equal(bn_channel_make_key_pair(&key), BN_OK);
    assert_int_equal(bn_channel_listen("tcp://127.0.0.1:0", &key, false, &channel), BN_OK);
    exchange(60, bn_channel_context(channel), &key);
    bn_channel_destroy(channel);
}

/* ---- a hand-made neighbour --------------------------------------------------------------- */

typedef struct bench {
    bn_link *link; /* "b", whose previous stage is "a" */
    link_pool pool;
    void *a;
} bench;

static void *dealer(const char *url)
{
    int linger = 0;
    void *socket = zmq_socket(context, ZMQ_DEALER);
    zmq_setsockopt(socket, ZMQ_LINGER, &linger, sizeof linger);
    assert_int_equal(zmq_connect(socket, url), 0);
    return socket;
}

static bn_link_header header_of(bn_link_frame_kind kind, uint64_t step_id)
{
    bn_link_header header = {.kind = kind, .epoch = EPOCH, .step_id = step_id};
    memcpy(header.secret, secret, sizeof secret);
    return header;
}

static void send_probe(void *socket, const bn_link_header *header)
{
    uint8_t bytes[BN_LINK_HEADER_BYTES];
    bn_link_header_pack(header, bytes);
    assert_true(zmq_send(socket, bytes, sizeof bytes, 0) >= 0);
}

/* A step of 5 body bytes and 8 bytes of activations, of which so many are really sent. */
static void send_step(void *socket, bn_link_header header, size_t n_body, int n_activations)
{
    uint8_t bytes[BN_LINK_HEADER_BYTES + 5] = {0};
    header.body_bytes = 5;
    header.activation_bytes = 8;
    bn_link_header_pack(&header, bytes);
    int flags = n_activations < 0 ? 0 : ZMQ_SNDMORE;
    assert_true(zmq_send(socket, bytes, BN_LINK_HEADER_BYTES + n_body, flags) >= 0);
    if (n_activations >= 0)
        assert_true(zmq_send(socket, "12345678", (size_t)n_activations, 0) >= 0);
}

static void bench_init(bench *b)
{
    bn_link_config config = config_of("b", "a", NULL);
    assert_int_equal(bn_link_zmq.create(&config, &b->link), BN_OK);
    link_pool_init(&b->pool, CAPACITY);
    b->a = dealer(bn_link_zmq.url(b->link));
    bn_link_header probe = header_of(BN_LINK_FRAME_PROBE, 0);
    send_probe(b->a, &probe);
    assert_int_equal(bn_link_zmq.connect(b->link, NULL, DEADLINE_MS), BN_OK);
    assert_int_equal(bn_link_zmq.receive_begin(b->link, link_pool_take(&b->pool)), BN_OK);
}

static void bench_fini(bench *b)
{
    if (b->a != NULL) zmq_close(b->a);
    bn_link_zmq.destroy(b->link);
    link_pool_fini(&b->pool);
}

/* Waits until the link has something to say: a frame (lent again at once), or an error. */
static bn_status next_step(bench *b, uint64_t *step_id_out)
{
    uint64_t deadline = bn_clock_ms() + DEADLINE_MS;
    int wake_fd = eventfd(0, EFD_CLOEXEC);
    bn_link_frame *frame = NULL;
    bn_status status = BN_OK;
    while (status == BN_OK && frame == NULL && bn_clock_ms() < deadline) {
        status = bn_link_zmq.receive_test(b->link, &frame);
        if (status == BN_OK && frame == NULL) {
            status = bn_link_zmq.wait(b->link, wake_fd, true, 100);
        }
    }
    close(wake_fd);
    if (frame == NULL) return status == BN_OK ? BN_ERR_TIMED_OUT : status;
    *step_id_out = frame->step_id;
    return bn_link_zmq.receive_begin(b->link, frame);
}

static void expect_failure(bench *b, bn_status expected, const char *text)
{
    uint64_t step_id = 0;
    bn_status status;
    do {
        status = next_step(b, &step_id);
    } while (status == BN_OK);
    assert_int_equal(status, expected);
    const char *error = bn_log_last_error();
    if (strstr(error, text) == NULL || strstr(error, "from a to b") == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", error, text);
    }
    bn_link_frame *frame; /* and it stays failed */
    assert_int_equal(bn_link_zmq.receive_test(b->link, &frame), expected);
    assert_int_equal(bn_link_zmq.progress(b->link), expected);
}

static void test_a_repeat_is_a_failure(void **state)
{
    bench b;
    (void)state;
    bench_init(&b);
    send_step(b.a, header_of(BN_LINK_FRAME_STEP, 1), 5, 8);
    send_step(b.a, header_of(BN_LINK_FRAME_STEP, 1), 5, 8);
    expect_failure(&b, BN_ERR_BAD_MESSAGE, "step 1 came after step 1 (a repeat)");
    bench_fini(&b);
}

static void test_a_gap_is_a_failure(void **state)
{
    bench b;
    (void)state;
    bench_init(&b);
    send_step(b.a, header_of(BN_LINK_FRAME_STEP, 1), 5, 8);
    send_step(b.a, header_of(BN_LINK_FRAME_STEP, 3), 5, 8);
    expect_failure(&b, BN_ERR_BAD_MESSAGE, "step 3 came after step 1 (a gap)");
    bench_fini(&b);
}

static void test_a_truncated_frame_is_a_failure(void **state)
{
    static const struct {
        size_t n_body;
        int n_activations;
        const char *text;
    } cases[] = {{4, 8, "truncated"}, {5, 4, "truncated"}, {5, -1, "number of frames"}};
    (void)state;
    for (size_t i = 0; i < BN_COUNT(cases); i++) {
        bench b;
        bench_init(&b);
        send_step(b.a, header_of(BN_LINK_FRAME_STEP, 1), cases[i].n_body, cases[i].n_activations);
        expect_failure(&b, BN_ERR_BAD_MESSAGE, cases[i].text);
        bench_fini(&b);
    }
}

static void test_a_neighbour_of_another_epoch_is_a_failure(void **state)
{
    bench b;
    bn_link_header header = header_of(BN_LINK_FRAME_STEP, 1);
    (void)state;
    bench_init(&b);
    header.epoch = EPOCH - 1;
    send_step(b.a, header, 5, 8);
    expect_failure(&b, BN_ERR_BAD_MESSAGE, "another epoch");
    bench_fini(&b);
}

static void test_a_dead_neighbour_is_a_failure_after_what_it_sent(void **state)
{
    bench b;
    uint64_t step_id = 0;
    (void)state;
    bench_init(&b);
    send_step(b.a, header_of(BN_LINK_FRAME_STEP, 1), 5, 8);
    assert_int_equal(next_step(&b, &step_id), BN_OK);
    assert_int_equal(step_id, 1);
    uint64_t begin = bn_clock_ms();
    zmq_close(b.a);
    b.a = NULL;
    expect_failure(&b, BN_ERR_PEER_LOST, "the connection is gone");
    assert_true(bn_clock_ms() - begin < 3000);
    bench_fini(&b);
}

/* Strangers with frames of every wrong kind, while the neighbour's steps go on. */
static void test_foreign_frames_change_nothing(void **state)
{
    bench b;
    uint64_t step_id = 0, random = 5;
    uint8_t bytes[300];
    bn_link_counters counters;
    (void)state;
    bench_init(&b);
    void *stranger = dealer(bn_link_zmq.url(b.link));
    bn_link_header old = header_of(BN_LINK_FRAME_PROBE, 0), wrong = old;
    old.epoch--;
    wrong.secret[15] ^= 1;
    send_probe(stranger, &old);
    send_probe(stranger, &wrong);
    bn_link_header second = header_of(BN_LINK_FRAME_PROBE, 0);
    send_probe(stranger, &second);                               /* right, but not the first */
    send_step(stranger, header_of(BN_LINK_FRAME_STEP, 1), 5, 8); /* forged */
    send_step(stranger, header_of(BN_LINK_FRAME_STEP, 1), 2, -1);
    for (size_t i = 0; i < 20; i++) {
        for (size_t j = 0; j < sizeof bytes; j++)
            bytes[j] = (uint8_t)(random = random * 75 + 74);
        assert_true(zmq_send(stranger, bytes, i * 15, i % 3 == 0 ? ZMQ_SNDMORE : 0) >= 0);
    }
    assert_true(zmq_send(stranger, "end", 3, 0) >= 0);
    uint64_t deadline = bn_clock_ms() + DEADLINE_MS;
    bn_link_frame *frame;
    do {
        assert_int_equal(bn_link_zmq.receive_test(b.link, &frame), BN_OK);
        assert_null(frame);
        bn_clock_sleep_ns(1000000);
        bn_link_zmq.counters(b.link, &counters);
    } while (counters.frames_dropped < 5 + 14 && bn_clock_ms() < deadline);
    assert_int_equal(counters.frames_dropped, 5 + 14);
    for (uint64_t id = 1; id <= 3; id++) {
        send_step(b.a, header_of(BN_LINK_FRAME_STEP, id), 5, 8);
        assert_int_equal(next_step(&b, &step_id), BN_OK);
        assert_int_equal(step_id, id);
    }
    zmq_close(stranger); /* and its leaving is nobody's loss */
    bn_clock_sleep_ns(100000000);
    send_step(b.a, header_of(BN_LINK_FRAME_STEP, 4), 5, 8);
    assert_int_equal(next_step(&b, &step_id), BN_OK);
    bench_fini(&b);
}

static void test_joining_has_a_deadline_and_needs_the_secret(void **state)
{
    bn_link_config config = config_of("b", "a", NULL);
    bn_link *link;
    (void)state;
    assert_int_equal(bn_link_zmq.create(&config, &link), BN_OK);
    void *stranger = dealer(bn_link_zmq.url(link));
    bn_link_header probe = header_of(BN_LINK_FRAME_PROBE, 0);
    probe.secret[0] ^= 1;
    send_probe(stranger, &probe);
    assert_int_equal(bn_link_zmq.connect(link, NULL, 200), BN_ERR_TIMED_OUT);
    assert_non_null(strstr(bn_log_last_error(), "link from a to b"));
    zmq_close(stranger);
    bn_link_zmq.destroy(link);

    config = config_of("a", NULL, "b");
    assert_int_equal(bn_link_zmq.create(&config, &link), BN_OK);
    assert_int_equal(bn_link_zmq.connect(link, "tcp://127.0.0.1:1", 200), BN_ERR_TIMED_OUT);
    assert_non_null(strstr(bn_log_last_error(), "link from a to b: cannot connect"));
    bn_link_zmq.destroy(link);
    assert_int_equal(bn_link_zmq.create(&config, &link), BN_OK);
    assert_int_equal(bn_link_zmq.connect(link, "nonsense", 200), BN_ERR_BAD_ARGUMENT);
    bn_link_zmq.destroy(link);
}

/* ---- ports and sleep --------------------------------------------------------------------- */

static bn_status interrupt(void *counter)
{
    uint32_t *n_calls = counter;
    return ++*n_calls < 3 ? BN_OK : BN_ERR_INTERRUPTED;
}

static void test_joining_ends_when_it_is_told_to(void **state)
{
    (void)state;
    uint32_t n_calls = 0;
    bn_link_config config = config_of("b", "a", NULL);
    config.on_joining = interrupt;
    config.context = &n_calls;
    bn_link *link;
    assert_int_equal(bn_link_zmq.create(&config, &link), BN_OK);
    uint64_t began_ms = bn_clock_ms();
    assert_int_equal(bn_link_zmq.connect(link, "", 20000), BN_ERR_INTERRUPTED);
    assert_true(bn_clock_ms() - began_ms < 5000);
    bn_link_zmq.destroy(link);
}

static void test_ports_come_from_the_range(void **state)
{
    bn_link_config config = config_of("b", "a", NULL);
    bn_link *first, *second, *third;
    (void)state;
    assert_int_equal(bn_link_zmq.create(&config, &first), BN_OK);
    uint32_t port = (uint32_t)strtoul(strrchr(bn_link_zmq.url(first), ':') + 1, NULL, 10);
    config.port_min = port;
    config.port_max = port + 40;
    assert_int_equal(bn_link_zmq.create(&config, &second), BN_OK);
    uint32_t other = (uint32_t)strtoul(strrchr(bn_link_zmq.url(second), ':') + 1, NULL, 10);
    assert_in_range(other, port + 1, port + 40);
    config.port_max = port;
    assert_int_equal(bn_link_zmq.create(&config, &third), BN_ERR_IO);
    assert_non_null(strstr(bn_log_last_error(), "ports"));
    bn_link_zmq.destroy(first);
    bn_link_zmq.destroy(second);
}

static void test_an_idle_link_wakes_for_its_descriptor_only(void **state)
{
    bench b;
    uint64_t one = 1, step_id;
    int wake_fd = eventfd(0, EFD_CLOEXEC);
    (void)state;
    bench_init(&b);
    send_step(b.a, header_of(BN_LINK_FRAME_STEP, 1), 5, 8);
    bn_clock_sleep_ns(50000000);
    uint64_t begin = bn_clock_ms();
    assert_int_equal(bn_link_zmq.wait(b.link, wake_fd, false, 150), BN_OK);
    assert_true(bn_clock_ms() - begin >= 140);
    begin = bn_clock_ms();
    assert_int_equal(bn_link_zmq.wait(b.link, wake_fd, true, DEADLINE_MS), BN_OK);
    assert_int_equal(next_step(&b, &step_id), BN_OK);
    assert_int_equal(write(wake_fd, &one, sizeof one), sizeof one);
    assert_int_equal(bn_link_zmq.wait(b.link, wake_fd, false, DEADLINE_MS), BN_OK);
    assert_int_equal(bn_link_zmq.wait(b.link, wake_fd, true, DEADLINE_MS), BN_OK);
    assert_true(bn_clock_ms() - begin < DEADLINE_MS / 2);
    close(wake_fd);
    bench_fini(&b);
}

static void test_the_self_link_sends_at_once_and_receives_nothing(void **state)
{
    bn_link_config config = config_of("a", NULL, NULL);
    bn_link *link;
    link_pool pool;
    bn_link_frame *frame, *other = NULL;
    int wake_fd = eventfd(1, EFD_CLOEXEC);
    (void)state;
    link_pool_init(&pool, 64);
    assert_int_equal(bn_link_self.create(&config, &link), BN_OK);
    assert_string_equal(bn_link_self.url(link), "");
    assert_int_equal(bn_link_self.connect(link, "", 0), BN_OK);
    assert_int_equal(bn_link_self.receive_begin(link, link_pool_take(&pool)), BN_OK);
    assert_int_equal(bn_link_self.receive_test(link, &frame), BN_OK);
    assert_null(frame);
    frame = link_pool_take(&pool);
    assert_int_equal(bn_link_self.send_begin(link, frame), BN_OK);
    assert_int_equal(bn_link_self.send_test(link, &other), BN_OK);
    assert_ptr_equal(other, frame);
    assert_int_equal(bn_link_self.send_test(link, &other), BN_OK);
    assert_null(other);
    assert_int_equal(bn_link_self.wait(link, wake_fd, true, DEADLINE_MS), BN_OK);
    bn_link_self.destroy(link);
    link_pool_fini(&pool);
    close(wake_fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_frames_pass_whole_both_ways),
        cmocka_unit_test(test_frames_pass_encrypted),
        cmocka_unit_test(test_a_repeat_is_a_failure),
        cmocka_unit_test(test_a_gap_is_a_failure),
        cmocka_unit_test(test_a_truncated_frame_is_a_failure),
        cmocka_unit_test(test_a_neighbour_of_another_epoch_is_a_failure),
        cmocka_unit_test(test_a_dead_neighbour_is_a_failure_after_what_it_sent),
        cmocka_unit_test(test_foreign_frames_change_nothing),
        cmocka_unit_test(test_joining_has_a_deadline_and_needs_the_secret),
        cmocka_unit_test(test_joining_ends_when_it_is_told_to),
        cmocka_unit_test(test_ports_come_from_the_range),
        cmocka_unit_test(test_an_idle_link_wakes_for_its_descriptor_only),
        cmocka_unit_test(test_the_self_link_sends_at_once_and_receives_nothing),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
