/* channel_test.c
 * What: messages pass both ways; strangers do not get in; garbage is counted and skipped; what a
 *       connection is doing and why it fails is told in plain words; a lost peer comes back.
 * How:  both ends in this process, raw sockets and bare ZeroMQ sockets as bad peers, ephemeral
 *       ports on loopback, deadlines everywhere.
 */
#include "common/alloc.h"
#include "common/clock.h"
#include "common/log.h"
#include "proto/channel.h"
#include "tests/common/cmocka_all.h"
#include "tests/proto/samples.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>
#include <zmq.h>

#define DEADLINE_MS 8000u

static bn_message sent, received;
static float logits[BN_RAW_FRAME_MAX / sizeof(float)];
static bn_cluster_key key, other_key;

static int setup(void **state)
{
    (void)state;
    bn_log_set_quiet(true);
    bool has_keys =
        bn_channel_make_key_pair(&key) == BN_OK && bn_channel_make_key_pair(&other_key) == BN_OK;
    return has_keys ? 0 : -1;
}

static bn_channel *listener(const char *url, const bn_cluster_key *with)
{
    bn_channel *channel;
    if (bn_channel_listen(url, with, false, &channel) != BN_OK) fail_msg("%s", bn_log_last_error());
    return channel;
}

static bn_channel *connector(const char *url, const bn_cluster_key *with)
{
    bn_channel *channel;
    if (bn_channel_connect(url, with, &channel) != BN_OK) fail_msg("%s", bn_log_last_error());
    return channel;
}

static void expect_state(bn_channel *channel, bn_channel_state state)
{
    uint64_t deadline = bn_clock_ms() + DEADLINE_MS;
    while (bn_channel_state_now(channel) != state && bn_clock_ms() < deadline) {
        uint32_t ready;
        assert_int_equal(bn_channel_wait(channel, NULL, 0, 50, &ready), BN_OK);
    }
    if (bn_channel_state_now(channel) != state)
        fail_msg("trouble: %s", bn_channel_trouble(channel));
}

static void expect_trouble(bn_channel *channel, const char *text)
{
    uint64_t deadline = bn_clock_ms() + DEADLINE_MS;
    while (strstr(bn_channel_trouble(channel), text) == NULL && bn_clock_ms() < deadline) {
        uint32_t ready;
        assert_int_equal(bn_channel_wait(channel, NULL, 0, 50, &ready), BN_OK);
    }
    if (strstr(bn_channel_trouble(channel), text) == NULL) {
        fail_msg("trouble is \"%s\", not \"%s\"", bn_channel_trouble(channel), text);
    }
    assert_int_not_equal(bn_channel_state_now(channel), BN_CHANNEL_CONNECTED);
}

static void say_goodbye(bn_channel *channel, const bn_peer *peer, const char *text)
{
    memset(&sent, 0, sizeof sent);
    sent.kind = BN_MESSAGE_GOODBYE;
    snprintf(sent.farewell.text, sizeof sent.farewell.text, "%s", text);
    assert_int_equal(bn_channel_send(channel, peer, &sent, NULL, 0), BN_OK);
}

static void expect_goodbye(bn_channel *channel, bn_peer *peer, const char *text)
{
    const void *raw;
    size_t n_raw;
    assert_int_equal(bn_channel_receive(channel, DEADLINE_MS, peer, &received, &raw, &n_raw),
                     BN_OK);
    assert_int_equal(received.kind, BN_MESSAGE_GOODBYE);
    assert_string_equal(received.farewell.text, text);
    assert_null(raw);
}

/* ---- the two ends ------------------------------------------------------------------------ */

static void exchange(const bn_cluster_key *with)
{
    bn_channel *there = listener("tcp://127.0.0.1:0", with);
    bn_channel *here = connector(bn_channel_url(there), with);
    bn_peer peer;
    char address[64];
    expect_state(here, BN_CHANNEL_CONNECTED);
    assert_string_equal(bn_channel_trouble(here), "");
    assert_int_equal(bn_channel_local_address(here, address, sizeof address), BN_OK);
    assert_string_equal(address, "127.0.0.1");
    assert_int_equal(bn_channel_local_address(here, address, 4), BN_ERR_LIMIT);

    say_goodbye(here, NULL, "up");
    expect_goodbye(there, &peer, "up");
    say_goodbye(there, &peer, "down");
    expect_goodbye(here, NULL, "down");
    assert_int_equal(bn_channel_receive(there, 0, &peer, &received, NULL, NULL), BN_ERR_TIMED_OUT);
    assert_int_equal(bn_channel_malformed(there), 0);
    bn_channel_destroy(here);
    bn_channel_destroy(there);
}

static void test_messages_pass_both_ways(void **state)
{
    (void)state;
    exchange(NULL);
}

static void test_messages_pass_encrypted(void **state)
{
    (void)state;
    exchange(&key);
}

static void test_steps_and_logits_pass_whole(void **state)
{
    bn_channel *there = listener("tcp://127.0.0.1:*", NULL);
    bn_channel *here = connector(bn_channel_url(there), NULL);
    uint64_t random = 0x13198a2e03707344ull;
    bn_peer peer;
    const void *raw;
    size_t n_raw;
    (void)state;
    expect_state(here, BN_CHANNEL_CONNECTED);
    bn_sample_full_step(&sent);
    assert_int_equal(bn_channel_send(here, NULL, &sent, NULL, 0), BN_OK);
    memset(&received, 0, sizeof received);
    assert_int_equal(bn_channel_receive(there, DEADLINE_MS, &peer, &received, NULL, NULL), BN_OK);
    assert_memory_equal(&sent, &received, sizeof sent);

    static const size_t sizes[] = {4, 12, 4 * 1000, 4 * 128256, sizeof logits};
    bn_sample_bytes(&random, logits, sizeof logits);
    for (size_t i = 0; i < BN_COUNT(sizes); i++) {
        bn_sample_message(&random, BN_MESSAGE_LOGITS, &sent);
        assert_int_equal(bn_channel_send(here, NULL, &sent, logits, sizes[i]), BN_OK);
        assert_int_equal(bn_channel_receive(there, DEADLINE_MS, &peer, &received, &raw, &n_raw),
                         BN_OK);
        assert_int_equal(n_raw, sizes[i]);
        assert_memory_equal(raw, logits, n_raw);
        assert_int_equal((uintptr_t)raw % 16, 0);
    }
    bn_channel_destroy(here);
    bn_channel_destroy(there);
}

static void test_waiting_also_watches_descriptors(void **state)
{
    bn_channel *there = listener("tcp://127.0.0.1:0", NULL);
    bn_channel *here = connector(bn_channel_url(there), NULL);
    int fds[2] = {eventfd(0, EFD_CLOEXEC), eventfd(0, EFD_CLOEXEC)};
    uint64_t one = 1;
    uint32_t ready = 7;
    bn_peer peer;
    (void)state;
    expect_state(here, BN_CHANNEL_CONNECTED);
    uint64_t begin = bn_clock_ms();
    assert_int_equal(bn_channel_wait(here, fds, 2, 60, &ready), BN_OK);
    assert_int_equal(ready, 0);
    assert_in_range(bn_clock_ms() - begin, 50, 5000);
    assert_int_equal(write(fds[1], &one, sizeof one), sizeof one);
    assert_int_equal(bn_channel_wait(here, fds, 2, DEADLINE_MS, &ready), BN_OK);
    assert_int_equal(ready, 2);
    say_goodbye(here, NULL, "x");
    assert_int_equal(bn_channel_wait(there, NULL, 0, DEADLINE_MS, &ready), BN_OK);
    expect_goodbye(there, &peer, "x");
    close(fds[0]);
    close(fds[1]);
    bn_channel_destroy(here);
    bn_channel_destroy(there);
}

/* ---- addresses --------------------------------------------------------------------------- */

static void test_other_addresses_need_a_key_or_consent(void **state)
{
    static const char *const urls[] = {"tcp://0.0.0.0:0", "tcp://*:0", "tcp://[::]:0",
                                       "tcp://10.1.2.3:0"};
    bn_channel *channel;
    (void)state;
    for (size_t i = 0; i < BN_COUNT(urls); i++) {
        assert_int_equal(bn_channel_listen(urls[i], NULL, false, &channel), BN_ERR_REFUSED);
        assert_non_null(strstr(bn_log_last_error(), "--cluster-key"));
        assert_non_null(strstr(bn_log_last_error(), urls[i]));
    }
    assert_int_equal(bn_channel_listen("tcp://0.0.0.0:0", NULL, true, &channel), BN_OK);
    bn_channel_destroy(channel);
    assert_int_equal(bn_channel_listen("tcp://0.0.0.0:0", &key, false, &channel), BN_OK);
    bn_channel_destroy(channel);
    assert_int_equal(bn_channel_listen("tcp://localhost:0", NULL, false, &channel), BN_OK);
    bn_channel_destroy(channel);
}

static void test_malformed_urls_are_refused(void **state)
{
    bn_channel *channel;
    (void)state;
    assert_int_equal(bn_channel_listen("127.0.0.1:7070", NULL, false, &channel),
                     BN_ERR_BAD_ARGUMENT);
    assert_int_equal(bn_channel_connect("tcp://*:7070", NULL, &channel), BN_ERR_BAD_ARGUMENT);
    assert_int_equal(bn_channel_connect("tcp://a:0", NULL, &channel), BN_ERR_BAD_ARGUMENT);
    assert_int_equal(bn_channel_connect("nonsense", NULL, &channel), BN_ERR_BAD_ARGUMENT);
}

static void test_a_port_in_use_is_named(void **state)
{
    bn_channel *first = listener("tcp://127.0.0.1:0", NULL), *second;
    (void)state;
    assert_int_equal(bn_channel_listen(bn_channel_url(first), NULL, false, &second), BN_ERR_IO);
    assert_non_null(strstr(bn_log_last_error(), bn_channel_url(first)));
    assert_non_null(strstr(bn_log_last_error(), "in use"));
    bn_channel_destroy(first);
}

/* ---- trouble ----------------------------------------------------------------------------- */

/* A port of this machine on which nobody listens. */
static void free_port(char *url, size_t n)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &length), 0);
    close(fd);
    snprintf(url, n, "tcp://127.0.0.1:%u", ntohs(address.sin_port));
}

static void test_a_refused_connection_is_told(void **state)
{
    char url[64];
    (void)state;
    free_port(url, sizeof url);
    bn_channel *channel = connector(url, NULL);
    expect_trouble(channel, "connection refused");
    assert_int_equal(bn_channel_state_now(channel), BN_CHANNEL_TRYING);
    memset(&sent, 0, sizeof sent);
    sent.kind = BN_MESSAGE_GOODBYE;
    assert_int_equal(bn_channel_send(channel, NULL, &sent, NULL, 0), BN_ERR_PEER_LOST);
    bn_channel_destroy(channel);
}

static void test_an_unknown_host_is_told(void **state)
{
    (void)state;
    bn_channel *channel = connector("tcp://no-such-host.invalid:7070", NULL);
    expect_trouble(channel, "unknown host name");
    bn_channel_destroy(channel);
}

static void test_a_wrong_key_is_refused(void **state)
{
    const struct {
        const bn_cluster_key *there, *here;
    } cases[] = {{&key, &other_key}, {&key, NULL}, {NULL, &key}};
    (void)state;
    for (size_t i = 0; i < BN_COUNT(cases); i++) {
        bn_channel *there = listener("tcp://127.0.0.1:0", cases[i].there);
        bn_channel *here = connector(bn_channel_url(there), cases[i].here);
        bn_peer peer;
        expect_trouble(here, "cluster key");
        assert_int_equal(bn_channel_receive(there, 50, &peer, &received, NULL, NULL),
                         BN_ERR_TIMED_OUT);
        bn_channel_destroy(here);
        bn_channel_destroy(there);
    }
}

/* Knows the cluster's public key but has a pair of its own: only the authenticator can tell. */
static void test_the_authenticator_admits_only_our_key(void **state)
{
    bn_channel *there = listener("tcp://127.0.0.1:0", &key);
    void *context = zmq_ctx_new(), *dealer = zmq_socket(context, ZMQ_DEALER);
    bn_peer peer;
    int linger = 0;
    (void)state;
    zmq_setsockopt(dealer, ZMQ_LINGER, &linger, sizeof linger);
    zmq_setsockopt(dealer, ZMQ_CURVE_SERVERKEY, key.public_key, BN_CLUSTER_KEY_CHARS + 1);
    zmq_setsockopt(dealer, ZMQ_CURVE_PUBLICKEY, other_key.public_key, BN_CLUSTER_KEY_CHARS + 1);
    zmq_setsockopt(dealer, ZMQ_CURVE_SECRETKEY, other_key.secret_key, BN_CLUSTER_KEY_CHARS + 1);
    assert_int_equal(zmq_connect(dealer, bn_channel_url(there)), 0);
    zmq_send(dealer, "hello", 5, ZMQ_DONTWAIT);
    uint64_t deadline = bn_clock_ms() + DEADLINE_MS;
    while (bn_channel_malformed(there) == 0 && bn_clock_ms() < deadline) {
        assert_int_equal(bn_channel_receive(there, 50, &peer, &received, NULL, NULL),
                         BN_ERR_TIMED_OUT);
    }
    assert_true(bn_channel_malformed(there) > 0);
    zmq_close(dealer);
    zmq_ctx_term(context);
    bn_channel_destroy(there);
}

static void test_a_port_that_is_no_coordinator_is_told(void **state)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    char url[64];
    (void)state;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(fd, 4), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &length), 0);
    snprintf(url, sizeof url, "tcp://127.0.0.1:%u", ntohs(address.sin_port));
    bn_channel *channel = connector(url, NULL);
    int peer = accept(fd, NULL, NULL);
    assert_true(peer >= 0);
    close(peer);
    expect_trouble(channel, "not a coordinator");
    bn_channel_destroy(channel);
    close(fd);
}

static void test_a_lost_listener_is_noticed_and_found_again(void **state)
{
    char url[BN_URL_MAX];
    bn_peer peer;
    (void)state;
    bn_channel *there = listener("tcp://127.0.0.1:0", NULL);
    snprintf(url, sizeof url, "%s", bn_channel_url(there));
    bn_channel *here = connector(url, NULL);
    expect_state(here, BN_CHANNEL_CONNECTED);
    say_goodbye(here, NULL, "first");
    expect_goodbye(there, &peer, "first");
    bn_channel_destroy(there);
    expect_state(here, BN_CHANNEL_LOST);
    assert_int_equal(bn_channel_losses(here), 1);
    there = listener(url, NULL);
    expect_state(here, BN_CHANNEL_CONNECTED);
    say_goodbye(here, NULL, "second");
    expect_goodbye(there, &peer, "second");
    bn_channel_destroy(here);
    uint64_t deadline = bn_clock_ms() + DEADLINE_MS;
    bn_status status = BN_OK;
    while (status == BN_OK && bn_clock_ms() < deadline) {
        status = bn_channel_send(there, &peer, &sent, NULL, 0);
        bn_clock_sleep_ns(10000000);
    }
    assert_int_equal(status, BN_ERR_PEER_LOST);
    bn_channel_destroy(there);
}

/* ---- garbage ----------------------------------------------------------------------------- */

static int raw_connection(const char *url)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    address.sin_port = htons((uint16_t)strtoul(strrchr(url, ':') + 1, NULL, 10));
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

/* Nothing of what strangers do may keep a worker from being heard. */
static void expect_still_works(bn_channel *there)
{
    bn_channel *here = connector(bn_channel_url(there), NULL);
    bn_peer peer;
    expect_state(here, BN_CHANNEL_CONNECTED);
    say_goodbye(here, NULL, "still here");
    expect_goodbye(there, &peer, "still here");
    bn_channel_destroy(here);
}

static void test_random_bytes_at_the_port_do_no_harm(void **state)
{
    bn_channel *there = listener("tcp://127.0.0.1:0", NULL);
    uint64_t random = 0xa4093822299f31d0ull;
    uint8_t bytes[4096];
    (void)state;
    for (int i = 0; i < 20; i++) {
        int fd = raw_connection(bn_channel_url(there));
        bn_sample_bytes(&random, bytes, sizeof bytes);
        bytes[0] = i % 2 == 0 ? 0xff : bytes[0]; /* the first byte of a real greeting */
        if (i % 4 == 0) memcpy(bytes, "GET / HTTP/1.1\r\n\r\n", 18);
        assert_true(send(fd, bytes, sizeof bytes, MSG_NOSIGNAL) != 0);
        close(fd);
    }
    expect_still_works(there);
    assert_true(bn_channel_malformed(there) > 0);
    bn_channel_destroy(there);
}

static void test_malformed_messages_are_counted_and_skipped(void **state)
{
    bn_channel *there = listener("tcp://127.0.0.1:0", NULL);
    void *context = zmq_ctx_new(), *dealer = zmq_socket(context, ZMQ_DEALER);
    uint64_t random = 0x082efa98ec4e6c89ull;
    int linger = 1000;
    (void)state;
    zmq_setsockopt(dealer, ZMQ_LINGER, &linger, sizeof linger);
    assert_int_equal(zmq_connect(dealer, bn_channel_url(there)), 0);
    for (uint64_t i = 0; i < 50; i++) {
        bn_sample_bytes(&random, logits, 70000);
        assert_true(zmq_send(dealer, logits, i == 7 ? 70000 : (size_t)(i * 3), 0) >= 0);
    }
    for (int i = 0; i < 5; i++) {
        assert_true(zmq_send(dealer, logits, 9, i < 4 ? ZMQ_SNDMORE : 0) >= 0);
    }
    bn_peer peer;
    uint64_t deadline = bn_clock_ms() + DEADLINE_MS;
    while (bn_channel_malformed(there) < 51 && bn_clock_ms() < deadline) {
        assert_int_equal(bn_channel_receive(there, 20, &peer, &received, NULL, NULL),
                         BN_ERR_TIMED_OUT);
    }
    assert_int_equal(bn_channel_malformed(there), 51);
    expect_still_works(there);
    zmq_close(dealer);
    zmq_ctx_term(context);
    bn_channel_destroy(there);
}

static void test_oversized_frames_and_foreign_identities_are_refused(void **state)
{
    bn_channel *there = listener("tcp://127.0.0.1:0", NULL);
    void *context = zmq_ctx_new(), *big = zmq_socket(context, ZMQ_DEALER);
    void *named = zmq_socket(context, ZMQ_DEALER);
    size_t n = BN_RAW_FRAME_MAX + 1;
    uint8_t *bytes = bn_alloc(n, 1);
    int linger = 0;
    bn_peer peer;
    (void)state;
    assert_non_null(bytes);
    zmq_setsockopt(big, ZMQ_LINGER, &linger, sizeof linger);
    zmq_setsockopt(named, ZMQ_LINGER, &linger, sizeof linger);
    zmq_setsockopt(named, ZMQ_IDENTITY, "seventeen letters", 17);
    assert_int_equal(zmq_connect(big, bn_channel_url(there)), 0);
    assert_int_equal(zmq_connect(named, bn_channel_url(there)), 0);
    assert_true(zmq_send(big, bytes, n, 0) >= 0);
    assert_true(zmq_send(named, bytes, 4, 0) >= 0);
    assert_int_equal(bn_channel_receive(there, 500, &peer, &received, NULL, NULL),
                     BN_ERR_TIMED_OUT);
    assert_int_equal(bn_channel_malformed(there), 1); /* the other never got to us */
    expect_still_works(there);
    zmq_close(big);
    zmq_close(named);
    zmq_ctx_term(context);
    bn_free(bytes);
    bn_channel_destroy(there);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_messages_pass_both_ways),
        cmocka_unit_test(test_messages_pass_encrypted),
        cmocka_unit_test(test_steps_and_logits_pass_whole),
        cmocka_unit_test(test_waiting_also_watches_descriptors),
        cmocka_unit_test(test_other_addresses_need_a_key_or_consent),
        cmocka_unit_test(test_malformed_urls_are_refused),
        cmocka_unit_test(test_a_port_in_use_is_named),
        cmocka_unit_test(test_a_refused_connection_is_told),
        cmocka_unit_test(test_an_unknown_host_is_told),
        cmocka_unit_test(test_a_wrong_key_is_refused),
        cmocka_unit_test(test_the_authenticator_admits_only_our_key),
        cmocka_unit_test(test_a_port_that_is_no_coordinator_is_told),
        cmocka_unit_test(test_a_lost_listener_is_noticed_and_found_again),
        cmocka_unit_test(test_random_bytes_at_the_port_do_no_harm),
        cmocka_unit_test(test_malformed_messages_are_counted_and_skipped),
        cmocka_unit_test(test_oversized_frames_and_foreign_identities_are_refused),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
