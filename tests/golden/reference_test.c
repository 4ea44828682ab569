/* reference_test.c
 * What: the two references, in C and in numpy, are the same function; so are their readers.
 * How:  every golden model through tests/worker/reference.c; its logits against the golden file,
 *       which reference.py wrote. Both are binary64, so only the file's rounding to binary32 and
 *       libm's last bit divide them; a wrong code anywhere would show as 1e-3 and more. */
#include "common/alloc.h"
#include "tests/golden/golden.h"
#include "tests/worker/reference.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define TOLERANCE 1e-6 /* of the logit range */

static double worst_of_model(const bn_golden *golden, uint32_t spoilt_token)
{
    bn_reference *reference;
    assert_int_equal(bn_reference_open(golden->model_path, golden->n_tokens, &reference), BN_OK);
    bn_reference_shape shape = bn_reference_shape_of(reference);
    assert_int_equal(shape.vocab, golden->vocab);
    double *x = bn_alloc(shape.hidden, sizeof *x), *logits = bn_alloc(shape.vocab, sizeof *logits);
    float *rounded = bn_alloc(shape.vocab, sizeof *rounded);
    assert_true(x && logits && rounded);
    double worst = 0.0;
    for (uint32_t position = 0, n = 0; position < golden->n_tokens; position++) {
        uint32_t token = golden->tokens[position];
        bn_reference_embed(reference, position == spoilt_token ? token ^ 1u : token, x);
        for (uint32_t layer = 0; layer < shape.n_layers; layer++)
            bn_reference_layer(reference, layer, position, x, NULL);
        if (n == golden->n_positions || golden->positions[n] != position) continue;
        bn_reference_head(reference, x, logits);
        for (uint32_t i = 0; i < shape.vocab; i++)
            rounded[i] = (float)logits[i];
        bn_golden_difference d =
            bn_golden_compare(rounded, golden->logits + (size_t)n++ * golden->vocab, golden->vocab);
        worst = d.worst > worst ? d.worst : worst;
    }
    bn_free(x);
    bn_free(logits);
    bn_free(rounded);
    bn_reference_close(reference);
    return worst;
}

static void test_both_references_give_the_golden_logits(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < bn_golden_n_names; i++) {
        bn_golden golden;
        bn_golden_open(bn_golden_names[i], &golden);
        double worst = worst_of_model(&golden, UINT32_MAX);
        print_message("%s: %u positions, worst %.1e of the logit range\n", bn_golden_names[i],
                      golden.n_positions, worst);
        assert_true(worst < TOLERANCE);
        bn_golden_close(&golden);
    }
}

/* Proves that the comparison can fail: one other token in the past moves the logits. */
static void test_another_token_is_noticed(void **state)
{
    (void)state;
    bn_golden golden;
    bn_golden_open(bn_golden_names[0], &golden);
    assert_true(worst_of_model(&golden, 3) > 100 * TOLERANCE);
    bn_golden_close(&golden);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_both_references_give_the_golden_logits),
        cmocka_unit_test(test_another_token_is_noticed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
