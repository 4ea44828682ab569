/* gguf_layout_test.c
 *
 * What: spans of the ternary types, and which of two layouts a tensor of id 39 or 42 has.
 * How:  sizes that bitnet.cpp's formula gives for the shapes of published models; tables of
 *       tensors laid out one after the other, as every known writer does.
 */
#include "model/gguf_layout.h"

#include "common/log.h"
#include "model/tensor_type.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#define ALIGNMENT 32u

static void test_spans_are_those_of_the_formats(void **state)
{
    (void)state;
    static const struct {
        uint32_t type;
        uint64_t n_cols, n_rows, n_bytes; /* 0: refused */
    } cases[] = {
        {BN_TENSOR_I2_S, 1536, 1536, 589856},
        {BN_TENSOR_TL1, 1536, 4096, 1572896},
        {BN_TENSOR_TL2, 1536, 1536, 507936},
        {BN_TENSOR_TL2, 1536, 4096, 1354464},
        {BN_TENSOR_TL2, 4096, 1536, 1327136},
        {BN_TENSOR_TL2, 3200, 3200, 2167520},
        {BN_TENSOR_TL2, 3200, 8640, 5852192},
        {BN_TENSOR_TL2, 8640, 3200, 5794176},
        {BN_TENSOR_TL2, 4096, 14336, 12386336},
        {BN_TENSOR_TL2, 14336, 4096, 12277120},
        {BN_TENSOR_TL2, 4096, 1024, 884768},
        {BN_TENSOR_TL2, 128, 128, 0},
        {BN_TENSOR_TQ1_0, 512, 3, 6 * 54},
        {BN_TENSOR_TQ2_0, 512, 3, 6 * 66},
        {BN_TENSOR_TQ2_0, 3200, 3, 0},
        {BN_TENSOR_IQ1_BN, 128, 3, 3 * (2 + 2 * 13)},
        {BN_TENSOR_IQ2_BN, 128, 3, 3 * (4 + 2 * 16)},
        {BN_TENSOR_IQ2_BN, 96, 3, 0},
        {BN_TENSOR_IQ2_BN_R4, 128, 8, 8 * (4 + 2 * 16)},
        {BN_TENSOR_IQ2_BN_R4, 128, 6, 0},
        {BN_TENSOR_PQ2_0, 256, 3, 6 * 34},
        {BN_TENSOR_PTQ1_0, 256, 3, 6 * 28},
        {BN_TENSOR_HF_TERNARY, 5, 9, 15},
        {BN_TENSOR_MASTER_BF16, 5, 9, 90},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint64_t n_bytes = 0;
        bool is_whole = bn_tensor_type_span(cases[i].type, cases[i].n_cols,
                                            cases[i].n_cols * cases[i].n_rows, &n_bytes);
        if (is_whole != (cases[i].n_bytes != 0) || (is_whole && n_bytes != cases[i].n_bytes))
            fail_msg("case %zu: %s gives %lu", i, bn_tensor_type_name(cases[i].type),
                     (unsigned long)n_bytes);
    }
}

typedef struct laid {
    bn_gguf_tensor tensors[3];
    uint64_t data_bytes;
} laid;

/* Three tensors of `id` with the spans of `real`, one after the other. */
static laid lay(uint32_t id, const uint32_t real[3], uint64_t n_cols, uint64_t n_rows)
{
    static const char *const names[] = {"a", "b", "c"};
    laid l = {0};
    for (size_t i = 0; i < 3; i++) {
        uint64_t n_bytes;
        assert_true(bn_tensor_type_span(real[i], n_cols, n_cols * n_rows, &n_bytes));
        l.tensors[2 - i] = (bn_gguf_tensor){.name = names[i],
                                            .type = id,
                                            .n_dims = 2,
                                            .dims = {n_cols, n_rows, 1, 1},
                                            .offset = l.data_bytes};
        l.data_bytes += (n_bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    }
    return l;
}

static void expect_settled(uint32_t id, uint32_t real, uint64_t n_cols, uint64_t n_rows)
{
    laid l = lay(id, (const uint32_t[]){real, real, real}, n_cols, n_rows);
    assert_int_equal(bn_gguf_layout_settle("f", l.tensors, 3, l.data_bytes, ALIGNMENT), BN_OK);
    for (size_t i = 0; i < 3; i++) {
        uint64_t n_bytes;
        assert_true(bn_tensor_type_span(real, n_cols, n_cols * n_rows, &n_bytes));
        assert_int_equal(l.tensors[i].type, real);
        assert_int_equal(l.tensors[i].n_bytes, n_bytes);
    }
}

static void test_the_room_of_tensors_tells_the_layout(void **state)
{
    (void)state;
    expect_settled(42, BN_TENSOR_Q2_0, 256, 64);
    expect_settled(42, BN_TENSOR_Q2_0, 64, 64);
    expect_settled(42, BN_TENSOR_Q2_0_128, 256, 64);
    expect_settled(39, BN_TENSOR_TL2, 512, 256);
    expect_settled(39, BN_TENSOR_MXFP4, 512, 256);
    expect_settled(39, BN_TENSOR_MXFP4, 64, 256);
}

static void expect_refused(laid *l, const char *why)
{
    bn_status status = bn_gguf_layout_settle("f", l->tensors, 3, l->data_bytes, ALIGNMENT);
    assert_int_equal(status, BN_ERR_BAD_FILE);
    if (strstr(bn_log_last_error(), why) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", bn_log_last_error(), why);
}

static void test_what_no_layout_explains_is_refused(void **state)
{
    (void)state;
    const uint32_t mixed[] = {BN_TENSOR_Q2_0, BN_TENSOR_Q2_0_128, BN_TENSOR_Q2_0};
    laid l = lay(42, mixed, 256, 64);
    expect_refused(&l, "one file has one of them");
    const uint32_t other[] = {BN_TENSOR_Q8_0, BN_TENSOR_Q8_0, BN_TENSOR_Q8_0};
    l = lay(42, other, 256, 64);
    expect_refused(&l, "tells neither groups of 64");
    const uint32_t small[] = {BN_TENSOR_Q2_0, BN_TENSOR_Q2_0, BN_TENSOR_Q2_0};
    l = lay(42, small, 128, 1); /* 36 and 34 bytes both take 64 with their padding */
    expect_refused(&l, "tells neither groups of 64");
    const uint32_t thin[] = {BN_TENSOR_F32, BN_TENSOR_F32, BN_TENSOR_F32};
    l = lay(39, thin, 65, 4);
    expect_refused(&l, "fit neither");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_spans_are_those_of_the_formats),
        cmocka_unit_test(test_the_room_of_tensors_tells_the_layout),
        cmocka_unit_test(test_what_no_layout_explains_is_refused),
    };
    bn_log_set_quiet(true);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
