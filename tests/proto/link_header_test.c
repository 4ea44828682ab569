/* link_header_test.c
 * What: a header survives packing; anything else is refused before its sizes are used.
 * How:  random headers, every flipped bit, a table of what must not pass.
 */
#include "proto/link_header.h"
#include "tests/common/cmocka_all.h"
#include "tests/proto/samples.h"

#include <string.h>

static bn_link_header sample(uint64_t *random)
{
    bn_link_header header = {
        .kind = BN_LINK_FRAME_STEP,
        .epoch = (uint32_t)bn_sample_next(random),
        .body_bytes = (uint32_t)bn_sample_between(random, 1, BN_ENVELOPE_MAX),
        .step_id = bn_sample_between(random, 1, UINT64_MAX),
        .activation_bytes = 4 * bn_sample_between(random, 0, 1u << 26),
    };
    bn_sample_bytes(random, header.secret, sizeof header.secret);
    return header;
}

static void test_headers_survive_and_flipped_bits_never_widen(void **state)
{
    uint64_t random = 0x452821e638d01377ull;
    (void)state;
    for (uint32_t round = 0; round < 100; round++) {
        bn_link_header sent = sample(&random), got;
        uint8_t bytes[BN_LINK_HEADER_BYTES];
        bn_link_header_pack(&sent, bytes);
        assert_null(bn_link_header_unpack(bytes, sizeof bytes, &got));
        assert_true(got.kind == sent.kind && got.epoch == sent.epoch);
        assert_true(got.body_bytes == sent.body_bytes && got.step_id == sent.step_id);
        assert_true(got.activation_bytes == sent.activation_bytes);
        assert_memory_equal(sent.secret, got.secret, sizeof sent.secret);
        assert_null(bn_link_header_foreign(&got, sent.epoch, sent.secret));
        for (size_t bit = 0; bit < 8 * sizeof bytes; bit++) {
            bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
            if (bn_link_header_unpack(bytes, sizeof bytes, &got) == NULL) {
                assert_true(got.body_bytes <= BN_ENVELOPE_MAX && got.activation_bytes % 4 == 0);
                bool is_ours = bn_link_header_foreign(&got, sent.epoch, sent.secret) == NULL;
                bool is_identity = (bit >= 64 && bit < 96) || (bit >= 128 && bit < 256);
                assert_true(is_ours != is_identity);
            }
            bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
    }
}

static void test_bad_headers_are_refused(void **state)
{
    static const struct {
        size_t offset;
        uint8_t value;
        const char *text;
    } cases[] = {
        {0, 'X', "not a link frame"}, {4, 2, "another version"},      {6, 0, "unknown kind"},
        {6, 4, "unknown kind"},       {6, 1, "a probe that carries"}, {14, 2, "bad body size"},
        {40, 1, "bad activation"},    {46, 0xff, "bad activation"},   {63, 1, "reserved"},
    };
    bn_link_header header = {.kind = BN_LINK_FRAME_STEP, .body_bytes = 5, .step_id = 1}, got;
    uint8_t bytes[BN_LINK_HEADER_BYTES];
    (void)state;
    for (size_t i = 0; i < BN_COUNT(cases); i++) {
        bn_link_header_pack(&header, bytes);
        bytes[cases[i].offset] = cases[i].value;
        const char *cause = bn_link_header_unpack(bytes, sizeof bytes, &got);
        if (cause == NULL || strstr(cause, cases[i].text) == NULL) {
            fail_msg("%s: %s", cases[i].text, cause == NULL ? "passed" : cause);
        }
    }
    bn_link_header_pack(&header, bytes);
    assert_non_null(bn_link_header_unpack(bytes, sizeof bytes - 1, &got));
    assert_non_null(bn_link_header_unpack(bytes, 0, &got));
    header.step_id = 0;
    bn_link_header_pack(&header, bytes);
    assert_non_null(bn_link_header_unpack(bytes, sizeof bytes, &got));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_headers_survive_and_flipped_bits_never_widen),
        cmocka_unit_test(test_bad_headers_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
