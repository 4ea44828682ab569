/* link_mpi_test.c
 * What: frames pass whole, in order and once over MPI; a large send arrives while its sender
 *       computes; leftovers of an epoch with the same tags are dropped; joining needs the secret
 *       and has a deadline; an idle wait costs nothing.
 * How:  two ranks under mpirun, each running the same tests in the same order.
 */
#include "common/clock.h"
#include "common/host.h"
#include "common/log.h"
#include "tests/common/cmocka_all.h"
#include "tests/worker/link_frames.h"
#include "worker/mpi_world.h"

#include <mpi.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define CAPACITY (4u << 20)
#define DEADLINE_MS 10000u

static const uint8_t secret[BN_LINK_SECRET_BYTES] = "0123456789abcde";
static uint32_t rank;
static int wake_fd;
static const bn_link_ops *ops;
static link_pool in_pool, out_pool;

/* Rank 0 sends to rank 1, and also the other way round when it is a ring. */
static bn_link_config config_of(uint32_t epoch, bool is_ring)
{
    bn_link_config config = {
        .epoch = epoch,
        .has_previous = is_ring || rank == 1,
        .has_next = is_ring || rank == 0,
        .previous_rank = 1 - rank,
        .next_rank = 1 - rank,
        .own_name = rank == 0 ? "a" : "b",
        .previous_name = rank == 0 ? "b" : "a",
        .next_name = rank == 0 ? "b" : "a",
        .frames_max = LINK_FRAMES,
        .activation_capacity = CAPACITY,
    };
    memcpy(config.secret, secret, sizeof secret);
    return config;
}

static bn_link *joined(uint32_t epoch, bool is_ring)
{
    bn_link_config config = config_of(epoch, is_ring);
    bn_link *link;
    assert_int_equal(ops->create(&config, &link), BN_OK);
    assert_string_equal(ops->url(link), "");
    if (ops->connect(link, "", DEADLINE_MS) != BN_OK) fail_msg("%s", bn_log_last_error());
    return link;
}

static void leave(bn_link *link)
{
    ops->destroy(link);
    memset(in_pool.is_used, 0, sizeof in_pool.is_used);
    memset(out_pool.is_used, 0, sizeof out_pool.is_used);
    MPI_Barrier(MPI_COMM_WORLD);
}

static void test_frames_pass_whole_both_ways(void **state)
{
    enum { N = 1000 };
    bn_link *link = joined(3, true);
    uint64_t n_sent = 0, n_out = 0, n_in = 0, deadline = bn_clock_ms() + 60000;
    bn_link_frame *frame;
    bn_link_counters counters;
    (void)state;
    while ((n_in < N || n_out < N) && bn_clock_ms() < deadline) {
        while ((frame = link_pool_take(&in_pool)) != NULL) {
            assert_int_equal(ops->receive_begin(link, frame), BN_OK);
        }
        while (n_sent < N && (frame = link_pool_take(&out_pool)) != NULL) {
            link_frame_fill(frame, rank, ++n_sent);
            assert_int_equal(ops->send_begin(link, frame), BN_OK);
        }
        assert_int_equal(ops->receive_test(link, &frame), BN_OK);
        if (frame != NULL) {
            assert_int_equal(frame->step_id, ++n_in);
            assert_true(link_frame_is_filled(frame, 1 - rank));
            link_pool_give(&in_pool, frame);
            continue;
        }
        assert_int_equal(ops->send_test(link, &frame), BN_OK);
        if (frame != NULL) {
            n_out++;
            memset(frame->activations, 0xee, frame->activation_bytes);
            link_pool_give(&out_pool, frame);
            continue;
        }
        assert_int_equal(ops->wait(link, wake_fd, true, 1000), BN_OK);
    }
    ops->counters(link, &counters);
    assert_int_equal(counters.frames_in, N);
    assert_int_equal(counters.frames_out, N);
    leave(link);
}

static void compute_for(bn_link *link, uint64_t ms, bool has_progress)
{
    uint64_t end = bn_clock_ns() + ms * 1000000u, layer = bn_clock_ns();
    volatile float sum = 0.0f;
    while (bn_clock_ns() < end) {
        for (int i = 0; i < 1000; i++)
            sum = sum + 1.0f;
        if (has_progress && bn_clock_ns() - layer > 5000000u) {
            assert_int_equal(ops->progress(link), BN_OK);
            layer = bn_clock_ns();
        }
    }
}

/* Milliseconds until a frame of 4 MiB had arrived at rank 1, whose sender computes for two seconds;
 * at rank 0 the time is its own and means nothing. */
static uint64_t send_while_computing(uint32_t epoch, bool has_progress)
{
    bn_link *link = joined(epoch, false);
    bn_link_frame *frame, *done = NULL;
    if (rank == 1) {
        assert_int_equal(ops->receive_begin(link, link_pool_take(&in_pool)), BN_OK);
    }
    MPI_Barrier(MPI_COMM_WORLD);
    uint64_t begin = bn_clock_ms(), deadline = begin + DEADLINE_MS;
    if (rank == 0) {
        frame = link_pool_take(&out_pool);
        frame->step_id = 1;
        frame->body_bytes = 100;
        frame->activation_bytes = CAPACITY;
        memset(frame->activations, 0x5c, CAPACITY);
        assert_int_equal(ops->send_begin(link, frame), BN_OK);
        compute_for(link, 2000, has_progress);
    }
    while (done == NULL && bn_clock_ms() < deadline) {
        assert_int_equal(rank == 0 ? ops->send_test(link, &done) : ops->receive_test(link, &done),
                         BN_OK);
        if (done == NULL) assert_int_equal(ops->wait(link, wake_fd, true, 100), BN_OK);
    }
    uint64_t elapsed = bn_clock_ms() - begin;
    assert_non_null(done);
    if (rank == 1) {
        assert_int_equal(done->activation_bytes, CAPACITY);
        const uint8_t *bytes = (const uint8_t *)done->activations;
        assert_int_equal(bytes[0], 0x5c);
        assert_memory_equal(bytes, bytes + 1, CAPACITY - 1);
    }
    leave(link);
    return elapsed;
}

static void test_a_large_send_arrives_while_its_sender_computes(void **state)
{
    (void)state;
    uint64_t with = send_while_computing(4, true), without = send_while_computing(5, false);
    if (rank == 0) return;
    printf("4 MiB arrived after %llu ms of a 2000 ms step, %llu ms without progress()\n",
           (unsigned long long)with, (unsigned long long)without);
    assert_true(with < 1000);
}

/* Epochs 7 and 8007 share their tags. A frame of the first is left behind. */
static void test_leftovers_of_another_epoch_are_dropped(void **state)
{
    bn_link *link = joined(7, false);
    bn_link_frame *frame;
    bn_link_counters counters;
    (void)state;
    if (rank == 0) {
        frame = link_pool_take(&out_pool);
        link_frame_fill(frame, 99, 1);
        frame->activation_bytes = 400;
        frame->body_bytes = 40;
        assert_int_equal(ops->send_begin(link, frame), BN_OK);
        for (int i = 0; i < 100; i++)
            assert_int_equal(ops->progress(link), BN_OK);
    }
    leave(link);
    link = joined(8007, false);
    for (uint64_t id = 1; id <= 3; id++) {
        bn_link_frame *done = NULL;
        uint64_t deadline = bn_clock_ms() + DEADLINE_MS;
        frame = rank == 0 ? link_pool_take(&out_pool) : link_pool_take(&in_pool);
        if (rank == 0) link_frame_fill(frame, 1, id);
        assert_int_equal(rank == 0 ? ops->send_begin(link, frame) : ops->receive_begin(link, frame),
                         BN_OK);
        while (done == NULL && bn_clock_ms() < deadline) {
            bn_status status =
                rank == 0 ? ops->send_test(link, &done) : ops->receive_test(link, &done);
            if (status != BN_OK) fail_msg("%s", bn_log_last_error());
            if (done == NULL) assert_int_equal(ops->wait(link, wake_fd, true, 100), BN_OK);
        }
        assert_ptr_equal(done, frame);
        if (rank == 1) assert_true(link_frame_is_filled(done, 1) && done->step_id == id);
    }
    ops->counters(link, &counters);
    assert_int_equal(counters.frames_dropped, rank == 1 ? 1 : 0);
    leave(link);
}

static void test_joining_needs_the_secret_and_has_a_deadline(void **state)
{
    bn_link_config config = config_of(9, false);
    bn_link *link;
    (void)state;
    config.secret[0] ^= (uint8_t)rank;
    assert_int_equal(ops->create(&config, &link), BN_OK);
    uint64_t begin = bn_clock_ms();
    assert_int_equal(ops->connect(link, "", 300), BN_ERR_TIMED_OUT);
    assert_non_null(strstr(bn_log_last_error(), "link from a to b"));
    assert_true(bn_clock_ms() - begin < 5000);
    leave(link);
    config.next_rank = config.previous_rank = 2;
    assert_int_equal(ops->create(&config, &link), BN_ERR_BAD_ARGUMENT);
}

static void test_waiting_is_cheap(void **state)
{
    bn_link *link = joined(10, true);
    uint64_t one = 1;
    (void)state;
    assert_int_equal(ops->receive_begin(link, link_pool_take(&in_pool)), BN_OK);
    double cpu = bn_host_cpu_seconds();
    uint64_t begin = bn_clock_ms();
    assert_int_equal(ops->wait(link, wake_fd, false, 500), BN_OK);
    assert_true(bn_clock_ms() - begin >= 490);
    double idle = bn_host_cpu_seconds() - cpu;
    cpu = bn_host_cpu_seconds();
    assert_int_equal(ops->wait(link, wake_fd, true, 500), BN_OK);
    printf("waiting 500 ms took %.1f ms of processor time asleep, %.1f ms awake\n", idle * 1e3,
           (bn_host_cpu_seconds() - cpu) * 1e3);
    assert_true(idle < 0.01);
    assert_int_equal(write(wake_fd, &one, sizeof one), sizeof one);
    begin = bn_clock_ms();
    assert_int_equal(ops->wait(link, wake_fd, false, DEADLINE_MS), BN_OK);
    assert_int_equal(ops->wait(link, wake_fd, true, DEADLINE_MS), BN_OK);
    assert_true(bn_clock_ms() - begin < 2000);
    assert_int_equal(read(wake_fd, &one, sizeof one), sizeof one);
    leave(link);
}

static void test_the_world_is_the_launchers(void **state)
{
    (void)state;
    assert_int_equal(bn_mpi_world_size(), 2);
    assert_int_equal(bn_mpi_world_local_size(), 2);
    assert_true(rank < 2);
    assert_true(strlen(bn_mpi_world_library()) > 0);
}

int main(int argc, char **argv)
{
    bool has_world;
    bn_log_set_quiet(true);
    if (bn_mpi_world_init(&argc, &argv, &has_world) != BN_OK) return 1;
    if (!has_world || bn_mpi_world_size() != 2) {
        fprintf(stderr, "run me with: mpirun -np 2\n");
        return 77;
    }
    rank = bn_mpi_world_rank();
    ops = bn_link_mpi_get();
    wake_fd = eventfd(0, EFD_CLOEXEC);
    link_pool_init(&in_pool, CAPACITY);
    link_pool_init(&out_pool, CAPACITY);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_world_is_the_launchers),
        cmocka_unit_test(test_frames_pass_whole_both_ways),
        cmocka_unit_test(test_a_large_send_arrives_while_its_sender_computes),
        cmocka_unit_test(test_leftovers_of_another_epoch_are_dropped),
        cmocka_unit_test(test_joining_needs_the_secret_and_has_a_deadline),
        cmocka_unit_test(test_waiting_is_cheap),
    };
    int n_failed = cmocka_run_group_tests(tests, NULL, NULL);
    link_pool_fini(&in_pool);
    link_pool_fini(&out_pool);
    close(wake_fd);
    bn_mpi_world_fini(n_failed == 0); /* a failed rank does not keep the other waiting */
    return n_failed == 0 ? 0 : 1;
}
