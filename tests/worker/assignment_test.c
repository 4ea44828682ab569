/* assignment_test.c
 * What: a possible Assign becomes span, limits and bytes; an impossible one is refused before
 *       anything is reserved, with the field or the missing bytes in the text.
 * How:  one right message, and copies of it with one thing wrong.
 */
#include "worker/assignment.h"
#include "common/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static bn_model *model;

static bn_assign right_assign(void)
{
    return (bn_assign){
        .epoch = 5,
        .stage = 1,
        .n_stages = 3,
        .layer_begin = 1,
        .layer_end = 2,
        .context = 512,
        .slots = 4,
        .kv_pages = 32,
        .step_tokens = 64,
        .steps_in_flight = 4,
        .link = BN_LINK_ZMQ,
        .has_previous = true,
        .has_next = true,
    };
}

static const bn_assignment_host host = {
    .threads = 2, .memory_bytes = 1u << 30, .limited_by = "--memory"};

static void test_a_possible_assignment_is_taken(void **unused)
{
    (void)unused;
    bn_assign assign = right_assign();
    bn_assignment out;
    bn_stage_bytes bytes;
    assert_int_equal(bn_assignment_check(&assign, model, &host, &out), BN_OK);
    assert_int_equal(out.span.layer_begin, 1);
    assert_int_equal(out.span.layer_end, 2);
    assert_int_equal(out.limits.threads, 2);
    assert_int_equal(out.limits.kv_pages, 32);
    bn_model_stage_bytes(model, out.span, &out.limits, &bytes);
    assert_memory_equal(&out.bytes, &bytes, sizeof bytes);
}

static void expect_refused(const bn_assign *assign, const bn_assignment_host *on, bn_status status,
                           const char *word)
{
    bn_assignment out;
    assert_int_equal(bn_assignment_check(assign, model, on, &out), status);
    if (strstr(bn_log_last_error(), word) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", bn_log_last_error(), word);
}

static void test_impossible_ones_are_refused_by_field(void **unused)
{
    (void)unused;
    static const struct {
        size_t offset;
        uint32_t value;
        const char *word;
    } cases[] = {
        {offsetof(bn_assign, n_stages), 0, "number of stages"},
        {offsetof(bn_assign, n_stages), 257, "number of stages"},
        {offsetof(bn_assign, stage), 3, "the stage"},
        {offsetof(bn_assign, layer_end), 4, "end of its layers"},
        {offsetof(bn_assign, layer_begin), 3, "first of its layers"},
        {offsetof(bn_assign, context), 0, "context"},
        {offsetof(bn_assign, context), BN_CONTEXT_MAX + 1, "context"},
        {offsetof(bn_assign, slots), 0, "slots"},
        {offsetof(bn_assign, slots), BN_SLOTS_MAX + 1, "slots"},
        {offsetof(bn_assign, kv_pages), 0, "KV pages"},
        {offsetof(bn_assign, kv_pages), 33, "KV pages"},
        {offsetof(bn_assign, step_tokens), 0, "tokens of a step"},
        {offsetof(bn_assign, step_tokens), BN_STEP_TOKENS_MAX + 1, "tokens of a step"},
        {offsetof(bn_assign, steps_in_flight), 0, "steps in flight"},
        {offsetof(bn_assign, steps_in_flight), 17, "steps in flight"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        bn_assign assign = right_assign();
        memcpy((uint8_t *)&assign + cases[i].offset, &cases[i].value, sizeof cases[i].value);
        expect_refused(&assign, &host, BN_ERR_BAD_MESSAGE, cases[i].word);
    }
    bn_assign assign = right_assign();
    assign.wants_dump = true;
    assign.slots = 2;
    expect_refused(&assign, &host, BN_ERR_BAD_MESSAGE, "slots of a dump");
    assign = right_assign();
    assign.has_head = true;
    expect_refused(&assign, &host, BN_ERR_BAD_MESSAGE, "has_head");
    assign = right_assign();
    assign.has_embedding = true;
    expect_refused(&assign, &host, BN_ERR_BAD_MESSAGE, "has_embedding");
    assign = right_assign();
    assign.has_previous = false;
    expect_refused(&assign, &host, BN_ERR_BAD_MESSAGE, "has_previous");
    assign = right_assign();
    assign.stage = 2;
    assign.has_next = false;
    assign.has_head = true;
    expect_refused(&assign, &host, BN_ERR_BAD_MESSAGE, "last stage");
}

static void test_what_does_not_fit_is_refused_with_figures(void **unused)
{
    (void)unused;
    bn_assign assign = right_assign();
    bn_assignment out;
    char missing[64];
    assert_int_equal(bn_assignment_check(&assign, model, &host, &out), BN_OK);
    uint64_t needed = out.bytes.weights + out.bytes.kv + out.bytes.buffers;
    bn_assignment_host small = host;
    small.memory_bytes = needed;
    assert_int_equal(bn_assignment_check(&assign, model, &small, &out), BN_OK);
    small.memory_bytes = needed - 12345;
    snprintf(missing, sizeof missing, ": %d are missing", 12345);
    expect_refused(&assign, &small, BN_ERR_LIMIT, missing);
    expect_refused(&assign, &small, BN_ERR_LIMIT, "--memory");
}

static int open_model(void **unused)
{
    (void)unused;
    char path[1024];
    const char *root = getenv("BN_SOURCE_DIR");
    snprintf(path, sizeof path, "%s/tests/golden/models/bitnet-silu.gguf",
             root != NULL ? root : ".");
    bn_log_set_quiet(true);
    assert_int_equal(bn_model_open(path, BN_ACTIVATION_FROM_FILE, &model), BN_OK);
    assert_int_equal(model->config.n_layers, 3);
    return 0;
}

static int close_model(void **unused)
{
    (void)unused;
    bn_model_close(model);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_possible_assignment_is_taken),
        cmocka_unit_test(test_impossible_ones_are_refused_by_field),
        cmocka_unit_test(test_what_does_not_fit_is_refused_with_figures),
    };
    return cmocka_run_group_tests(tests, open_model, close_model);
}
