/* health_test.c
 * What: damaged tensors are found by name, right ones never, with any number of threads; the
 *       warning of a load names the first and counts all.
 * How:  a random model, into which each kind of damage is written byte by byte.
 */
#include "model/health.h"

#include "common/log.h"
#include "model/synth.h"
#include "model/trits_fault.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static char path[64];

static void write_model(bool is_tied)
{
    bn_synth_job job = {.shape = *bn_synth_shape_find("tiny"), .path = path, .seed = 7};
    uint64_t n_bytes;
    job.shape.n_layers = 2;
    job.shape.is_tied = is_tied;
    assert_int_equal(bn_synth_write(&job, &n_bytes), BN_OK);
}

static bn_model *open_model(void)
{
    bn_model *model = NULL;
    if (bn_model_open(path, BN_ACTIVATION_FROM_FILE, &model) != BN_OK)
        fail_msg("%s", bn_log_last_error());
    return model;
}

typedef struct damage {
    const char *tensor;
    uint64_t at; /* from the tensor's start */
    uint64_t n;  /* bytes to fill with `byte`; 0: to the end of the codes */
    uint8_t byte;
    float value; /* written as f32 when `is_value` */
    bool is_value;
    const char *expect;
} damage;

/* Codes of I2_S end 32 bytes before the tensor does. */
static void spoil(const damage *d)
{
    bn_model *model = open_model();
    const bn_gguf_tensor *tensor = bn_gguf_tensor_find(model->file, d->tensor);
    assert_non_null(tensor);
    uint64_t n = d->n != 0 ? d->n : tensor->n_bytes - 32;
    uint64_t at =
        tensor->offset + (d->is_value && d->at == UINT64_MAX ? tensor->n_bytes - 32 : d->at);
    bn_model_close(model);
    FILE *stream = fopen(path, "r+b");
    assert_non_null(stream);
    assert_int_equal(fseek(stream, (long)at, SEEK_SET), 0);
    if (d->is_value) assert_int_equal(fwrite(&d->value, sizeof d->value, 1, stream), 1);
    for (uint64_t i = 0; i < n && !d->is_value; i++)
        assert_int_equal(fputc(d->byte, stream), d->byte);
    assert_int_equal(fclose(stream), 0);
}

static void expect_findings(const damage *damages, size_t n, uint32_t n_threads)
{
    bn_health health;
    bn_model *model = open_model();
    assert_int_equal(bn_health_check(model, n_threads, &health), BN_OK);
    assert_int_equal(health.n_findings, n);
    for (size_t i = 0; i < n; i++) {
        assert_string_equal(health.findings[i].tensor->name, damages[i].tensor);
        if (strcmp(health.findings[i].text, damages[i].expect) != 0)
            fail_msg("%s: \"%s\", not \"%s\"", damages[i].tensor, health.findings[i].text,
                     damages[i].expect);
    }
    bn_health_free(&health);
    bn_model_close(model);
}

#define SCALE UINT64_MAX

static void test_each_kind_of_damage_is_named(void **state)
{
    (void)state;
    static const damage damages[] = {
        {"blk.0.attn_q.weight", 0, 0, 0x55, 0, false, "every weight is 0"},
        {"blk.0.attn_k.weight", 0, 0, 0x00, 0, false, "every weight is −1"},
        {"blk.0.attn_v.weight", 0, 0, 0xaa, 0, false, "every weight is 1"},
        {"blk.1.ffn_up.weight", 32 * 5 + 7, 1, 0x75, 0, false, /* 01 11 01 01: its second field */
         "the unused code occurs 1 times, first at element 679"},
        {"blk.1.ffn_down.weight", SCALE, 4, 0, NAN, true,
         "1 of its scales is zero, negative or not finite"},
        {"blk.1.ffn_gate.weight", SCALE, 4, 0, -1.0f, true,
         "1 of its scales is zero, negative or not finite"},
        {"blk.0.attn_norm.weight", 8, 4, 0, INFINITY, true, "element 2 is not finite"},
        {"output_norm.weight", 0, 1024, 0, 0, false, "every element is 0"},
    };
    for (size_t i = 0; i < sizeof damages / sizeof damages[0]; i++) {
        write_model(true);
        expect_findings(NULL, 0, 2);
        spoil(&damages[i]);
        for (uint32_t n_threads = 1; n_threads <= 3; n_threads++)
            expect_findings(&damages[i], 1, n_threads);
    }
}

static void test_a_head_that_is_not_finite(void **state)
{
    (void)state;
    /* Element 256 · 3 + 1 of 16 bits becomes an infinity. */
    static const damage low = {"output.weight", 2 * 769, 1, 0x00, 0, false, NULL};
    static const damage high = {
        "output.weight", 2 * 769 + 1, 1, 0x7c, 0, false, "element 769 is not finite"};
    write_model(false);
    spoil(&low);
    spoil(&high);
    expect_findings(&high, 1, 3);
}

static void test_findings_come_in_order_and_all(void **state)
{
    (void)state;
    static const damage damages[] = {
        {"blk.0.ffn_gate.weight", 0, 0, 0x55, 0, false, "every weight is 0"},
        {"blk.0.ffn_up.weight", 0, 0, 0x55, 0, false, "every weight is 0"},
        {"blk.0.ffn_down.weight", 0, 0, 0x55, 0, false, "every weight is 0"},
        {"blk.1.ffn_gate.weight", 0, 0, 0x55, 0, false, "every weight is 0"},
    };
    write_model(true);
    for (size_t i = 0; i < 4; i++)
        spoil(&damages[i]);
    expect_findings(damages, 4, 2);
}

static void test_codes_are_seen_in_bytes(void **state)
{
    (void)state;
    uint8_t bytes[37];
    static const struct {
        uint8_t fill;
        uint32_t seen;
    } cases[] = {{0x00, 1}, {0x55, 2}, {0xaa, 4}, {0xff, 8}, {0x1b, 15}, {0x24, 7}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        memset(bytes, cases[i].fill, sizeof bytes);
        for (size_t n = 1; n <= sizeof bytes; n++)
            assert_int_equal(bn_trits_fault_seen(bytes, n), cases[i].seen);
    }
    memset(bytes, 0x55, sizeof bytes);
    for (size_t at = 0; at < sizeof bytes; at++) {
        bytes[at] = 0x59; /* 01 01 10 01 */
        assert_int_equal(bn_trits_fault_seen(bytes, sizeof bytes), 6);
        bytes[at] = 0x55;
    }
    assert_int_equal(bn_trits_fault_seen(bytes, 0), 0);
    assert_null(bn_trits_fault_of(BN_TRITS_SEEN_ALL));
    assert_null(bn_trits_fault_of(5));
}

static void test_one_warning_names_the_first_and_counts_all(void **state)
{
    (void)state;
    bn_trits_faults faults = {0};
    char name[32];
    for (int i = 0; i < 90; i++) {
        snprintf(name, sizeof name, "blk.%d.ffn_up.weight", i);
        bn_trits_faults_add(&faults, name, "every weight is 0");
    }
    assert_int_equal(faults.n, 90);
    assert_true(faults.n_named > 5 && faults.n_named < 90);
    assert_true(strlen(faults.text) == faults.n_text);
    assert_non_null(strstr(faults.text, "blk.0.ffn_up.weight (every weight is 0), blk.1."));
    snprintf(name, sizeof name, "blk.%u.", faults.n_named);
    assert_null(strstr(faults.text, name));
}

static int setup(void **state)
{
    (void)state;
    snprintf(path, sizeof path, "/tmp/bn-health-%d.gguf", (int)getpid());
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    unlink(path);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_kind_of_damage_is_named),
        cmocka_unit_test(test_a_head_that_is_not_finite),
        cmocka_unit_test(test_findings_come_in_order_and_all),
        cmocka_unit_test(test_codes_are_seen_in_bytes),
        cmocka_unit_test(test_one_warning_names_the_first_and_counts_all),
    };
    bn_log_set_quiet(true);
    return cmocka_run_group_tests(tests, setup, teardown);
}
