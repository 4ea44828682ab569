/* forward_reference_test.c
 * What: every layer of the forward pass computes what the double-precision reference computes.
 * How:  the golden models, each layer as a stage of its own. The reference gets the same input
 *       and takes over the choices that the stage made where a value may fall to either side
 *       (int8 codes, F16 keys and values; reference.h), after checking that each is a nearest
 *       one. So one flipped code never hides behind, or excuses, another difference, and what is
 *       left is the rounding of binary32.
 *       Tolerances: a layer adds some hundreds of products in binary32, each wrong by up to
 *       2^-24 = 6e-8 of its size, which norm, softmax and SiLU stretch a few times. The worst of
 *       all elements of these models was seen at 1.2e-6 of the layer's root mean square; a wrong
 *       last bit of one code moves it by 1e-3. Where cancellation makes an element small, its
 *       error stays that of the whole row, so nothing is measured against single elements.
 *       The test of the test: kernels spoilt in one small way each must be noticed. */
#include "common/alloc.h"
#include "tests/golden/golden.h"
#include "tests/worker/reference.h"
#include "tests/worker/lone_stage.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define HIDDEN_TOLERANCE 4e-6 /* of the root mean square of the layer's output */
#define LOGIT_TOLERANCE 2e-6  /* of the logit range */
#define CODE_EDGE 0.5003      /* distance of a value from its int8 code: 127 · 2e-6 over 1/2 */
#define HALF_EDGE 1e-6        /* keys and values beyond half a unit, of the row's largest */
#define TOKENS_MAX 288u

/* What the stage's kernels were asked to quantise in one run: codes[projection][token][column]. */
static struct recorder {
    const bn_kernels *kernels;
    int8_t *codes[BN_REFERENCE_QUANTISATIONS];
    uint32_t n_tokens; /* of the run */
    uint32_t projection, row;
} recorder;

static void record_panel(const int8_t *panel, uint32_t n_tokens, uint32_t n_cols, uint32_t width)
{
    BN_ASSERT(recorder.projection < BN_REFERENCE_QUANTISATIONS);
    for (uint32_t t = 0; t < n_tokens; t++, recorder.row++)
        for (uint32_t c = 0; c < n_cols; c++)
            recorder.codes[recorder.projection][(size_t)recorder.row * n_cols + c] =
                panel[((size_t)(c / 4) * width + t) * 4 + c % 4];
    if (recorder.row == recorder.n_tokens) {
        recorder.row = 0;
        recorder.projection++;
    }
}

static void record_quantize(const float *x, size_t x_stride, uint32_t n_tokens, uint32_t n_cols,
                            uint32_t width, int8_t *panel, float *scale, int32_t *sum)
{
    recorder.kernels->quantize(x, x_stride, n_tokens, n_cols, width, panel, scale, sum);
    record_panel(panel, n_tokens, n_cols, width);
}

static void record_quantize_groups(const float *x, size_t x_stride, uint32_t n_tokens,
                                   uint32_t n_cols, uint32_t width, uint32_t group_cols,
                                   int8_t *panel, float *scale, int32_t *sum, int32_t *part_sum)
{
    recorder.kernels->quantize_groups(x, x_stride, n_tokens, n_cols, width, group_cols, panel,
                                      scale, sum, part_sum);
    record_panel(panel, n_tokens, n_cols, width);
}

static void recorder_open(const bn_kernels *kernels, const bn_reference_shape *shape)
{
    size_t widest = shape->hidden + shape->ffn + shape->attention;
    recorder = (struct recorder){.kernels = kernels};
    for (uint32_t i = 0; i < BN_REFERENCE_QUANTISATIONS; i++) {
        recorder.codes[i] = bn_alloc(widest * TOKENS_MAX, 1);
        assert_non_null(recorder.codes[i]);
    }
}

static void recorder_close(void)
{
    for (uint32_t i = 0; i < BN_REFERENCE_QUANTISATIONS; i++)
        bn_free(recorder.codes[i]);
}

typedef struct findings {
    double worst_hidden, worst_logit, worst_code, worst_half;
    uint64_t n_choices, n_flips;
} findings;

static bool are_good(const findings *f)
{
    return f->worst_hidden < HIDDEN_TOLERANCE && f->worst_logit < LOGIT_TOLERANCE &&
           f->worst_code < CODE_EDGE && f->worst_half < HALF_EDGE;
}

/* One position of a layer that has just run: row `t` of the run, x_in → x_out. */
static void check_row(bn_reference *reference, const bn_lone_stage *lone, uint32_t layer,
                      uint32_t t, uint32_t position, const float *x_in, const float *x_out,
                      findings *f)
{
    bn_reference_shape shape = bn_reference_shape_of(reference);
    uint32_t widths[BN_REFERENCE_QUANTISATIONS] = {shape.hidden, shape.attention, shape.hidden,
                                                   shape.ffn};
    uint32_t head_size = lone->stage->config.model->config.head_size;
    uint16_t key[1024], value[1024];
    bn_reference_choices choices = {.key = key, .value = value};
    assert_true(shape.kv <= 1024 && shape.hidden <= 1024);
    for (uint32_t i = 0; i < BN_REFERENCE_QUANTISATIONS; i++)
        choices.codes[i] = recorder.codes[i] + (size_t)t * widths[i];
    for (uint32_t h = 0; h < shape.kv / head_size; h++) {
        uint16_t *k, *v;
        bn_kv_cache_row(lone->stage->kv, 0, 0, h, position, &k, &v);
        memcpy(key + h * head_size, k, head_size * sizeof *k);
        memcpy(value + h * head_size, v, head_size * sizeof *v);
    }
    double x[1024], square = 0.0, worst = 0.0;
    for (uint32_t i = 0; i < shape.hidden; i++)
        x[i] = (double)x_in[i];
    bn_reference_layer(reference, layer, position, x, &choices);
    for (uint32_t i = 0; i < shape.hidden; i++) {
        square += x[i] * x[i];
        worst = fmax(worst, fabs(x[i] - (double)x_out[i]));
    }
    f->worst_hidden = fmax(f->worst_hidden, worst / sqrt(square / shape.hidden));
    f->worst_code = fmax(f->worst_code, choices.worst_code);
    f->worst_half = fmax(f->worst_half, choices.worst_half);
    f->n_choices += choices.n;
    f->n_flips += choices.n_flips;
}

/* The embedding has at most 24 significant bits in every type: the stage's is exact. */
static void embed(const bn_reference *reference, const bn_golden *golden, float *x)
{
    bn_reference_shape shape = bn_reference_shape_of(reference);
    double row[1024];
    for (uint32_t t = 0; t < golden->n_tokens; t++) {
        bn_reference_embed(reference, golden->tokens[t], row);
        for (uint32_t i = 0; i < shape.hidden; i++)
            x[(size_t)t * shape.hidden + i] = (float)row[i];
    }
}

/* All tokens through one layer, `chunk` at a time; x is replaced by the stage's output. */
static void check_layer(bn_reference *reference, const bn_model *model, const bn_kernels *kernels,
                        uint32_t layer, const bn_golden *golden, uint32_t chunk, float *x,
                        float *x_in, findings *f)
{
    bn_lone_stage lone;
    bn_stage_span span = {
        .layer_begin = layer, .layer_end = layer + 1, .has_embedding = layer == 0};
    size_t hidden = model->config.hidden;
    memcpy(x_in, x, golden->n_tokens * hidden * sizeof *x);
    bn_lone_stage_open(model, span, kernels, golden->n_tokens, &lone);
    for (uint32_t position = 0; position < golden->n_tokens; position += chunk) {
        uint32_t n = golden->n_tokens - position < chunk ? golden->n_tokens - position : chunk;
        recorder.n_tokens = n;
        recorder.projection = recorder.row = 0;
        bn_lone_stage_run(&lone, golden->tokens + position, position, n, x + position * hidden);
        assert_int_equal(recorder.projection, BN_REFERENCE_QUANTISATIONS);
        for (uint32_t t = 0; t < n; t++)
            check_row(reference, &lone, layer, t, position + t, x_in + (position + t) * hidden,
                      x + (position + t) * hidden, f);
    }
    bn_lone_stage_close(&lone);
}

static void check_head(bn_reference *reference, const bn_model *model, const bn_kernels *kernels,
                       const bn_golden *golden, float *x, findings *f)
{
    bn_lone_stage lone;
    uint32_t n_layers = model->config.n_layers, hidden = model->config.hidden;
    bn_stage_span span = {.layer_begin = n_layers, .layer_end = n_layers, .has_head = true};
    double *in = bn_alloc(hidden, sizeof *in), *logits = bn_alloc(golden->vocab, sizeof *logits);
    float *rounded = bn_alloc(golden->vocab, sizeof *rounded);
    assert_true(in && logits && rounded);
    bn_lone_stage_open(model, span, kernels, golden->n_tokens, &lone);
    bn_lone_stage_run(&lone, golden->tokens, 0, golden->n_tokens, x);
    for (uint32_t t = 0; t < golden->n_tokens; t++) {
        for (uint32_t i = 0; i < hidden; i++)
            in[i] = (double)x[(size_t)t * hidden + i];
        bn_reference_head(reference, in, logits);
        for (uint32_t i = 0; i < golden->vocab; i++)
            rounded[i] = (float)logits[i];
        bn_golden_difference d =
            bn_golden_compare(lone.logits + (size_t)t * golden->vocab, rounded, golden->vocab);
        f->worst_logit = fmax(f->worst_logit, d.worst);
    }
    bn_lone_stage_close(&lone);
    bn_free(in);
    bn_free(logits);
    bn_free(rounded);
}

/* Activations are quantised as the architecture says, or in the groups given. */
static findings check_model(const char *name, const bn_kernels *base, uint32_t chunk,
                            const uint32_t *group_cols)
{
    bn_golden golden;
    bn_model *model;
    bn_reference *reference;
    findings f = {0};
    bn_golden_open(name, &golden);
    assert_true(golden.n_tokens <= TOKENS_MAX);
    if (chunk > golden.n_tokens) chunk = golden.n_tokens;
    assert_int_equal(bn_model_open(golden.model_path, BN_ACTIVATION_FROM_FILE, &model), BN_OK);
    assert_int_equal(bn_reference_open(golden.model_path, golden.n_tokens, &reference), BN_OK);
    if (group_cols != NULL) {
        model->config.activation_group_cols = *group_cols;
        bn_reference_group_activations(reference, *group_cols);
    }
    bn_reference_shape shape = bn_reference_shape_of(reference);
    recorder_open(base, &shape);
    bn_kernels kernels = *base;
    kernels.quantize = record_quantize;
    kernels.quantize_groups = record_quantize_groups;
    float *x = bn_alloc((size_t)golden.n_tokens * shape.hidden, sizeof *x);
    float *x_in = bn_alloc((size_t)golden.n_tokens * shape.hidden, sizeof *x_in);
    assert_true(x && x_in);
    embed(reference, &golden, x);
    for (uint32_t layer = 0; layer < shape.n_layers; layer++)
        check_layer(reference, model, &kernels, layer, &golden, chunk, x, x_in, &f);
    check_head(reference, model, &kernels, &golden, x, &f);
    bn_free(x);
    bn_free(x_in);
    recorder_close();
    bn_reference_close(reference);
    bn_model_close(model);
    bn_golden_close(&golden);
    return f;
}

static void test_every_layer_is_the_reference_layer(void **state)
{
    (void)state;
    static const uint32_t chunks[] = {1, 5, TOKENS_MAX};
    for (uint32_t i = 0; i < bn_golden_n_names; i++) {
        for (size_t c = 0; c < sizeof chunks / sizeof chunks[0]; c++) {
            findings f =
                check_model(bn_golden_names[i], bn_kernels_get(BN_ISA_AUTO), chunks[c], NULL);
            print_message("%s, chunk %u: layers within %.1e, logits %.1e, codes %.6f, F16 %.1e; "
                          "%llu of %llu roundings to the other side\n",
                          bn_golden_names[i], chunks[c], f.worst_hidden, f.worst_logit,
                          f.worst_code, f.worst_half, (unsigned long long)f.n_flips,
                          (unsigned long long)f.n_choices);
            assert_true(are_good(&f));
        }
    }
}

static void test_activations_quantised_in_groups(void **state)
{
    (void)state;
    static const uint32_t group_cols[] = {64, 128, 256};
    static const char *const names[] = {"bitnet-silu", "b158-relu2-straddling", "llama-q6k-gqa"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        for (size_t g = 0; g < sizeof group_cols / sizeof group_cols[0]; g++) {
            findings f =
                check_model(names[i], bn_kernels_get(BN_ISA_AUTO), g == 1 ? 1 : 7, &group_cols[g]);
            print_message("%s in groups of %u: layers within %.1e, codes %.6f\n", names[i],
                          group_cols[g], f.worst_hidden, f.worst_code);
            assert_true(are_good(&f));
        }
    }
}

/* --- kernels spoilt in one way each ---------------------------------------------------------- */

static const bn_kernels *right;

static void quantize_down(const float *x, size_t x_stride, uint32_t n_tokens, uint32_t n_cols,
                          uint32_t width, int8_t *panel, float *scale, int32_t *sum)
{
    right->quantize(x, x_stride, n_tokens, n_cols, width, panel, scale, sum);
    panel[0] = (int8_t)(panel[0] > 0 ? panel[0] - 1 : panel[0] + 1);
}

/* The second group of a token gets the scale of the first. */
static void quantize_one_scale_wrong(const float *x, size_t x_stride, uint32_t n_tokens,
                                     uint32_t n_cols, uint32_t width, uint32_t group_cols,
                                     int8_t *panel, float *scale, int32_t *sum, int32_t *part_sum)
{
    right->quantize_groups(x, x_stride, n_tokens, n_cols, width, group_cols, panel, scale, sum,
                           part_sum);
    if (n_cols > group_cols) scale[1] = scale[0];
}

static void rms_norm_without_eps(float *y, const float *x, const float *w, uint32_t n, float eps)
{
    right->rms_norm(y, x, w, n, eps * 3.0f);
}

static void rope_other_kind(bn_rope_kind kind, float *x, uint32_t n_heads, uint32_t head_size,
                            const float *cos, const float *sin)
{
    right->rope(kind == BN_ROPE_NEOX ? BN_ROPE_NORM : BN_ROPE_NEOX, x, n_heads, head_size, cos,
                sin);
}

static void gated_other_kind(bn_activation activation, float *out, const float *gate,
                             const float *up, size_t n)
{
    right->gated(activation == BN_ACTIVATION_SILU ? BN_ACTIVATION_RELU2 : BN_ACTIVATION_SILU, out,
                 gate, up, n);
}

static void attention_without_first_chunk(float *out, uint32_t head_size, const float *chunks,
                                          size_t chunk_stride, const float *max, const float *sum,
                                          size_t ml_stride, uint32_t n_chunks)
{
    uint32_t skip = n_chunks > 1;
    right->attention_merge(out, head_size, chunks + skip * chunk_stride, chunk_stride,
                           max + skip * ml_stride, sum + skip * ml_stride, ml_stride,
                           n_chunks - skip);
}

static void store_truncated(uint16_t *out, const float *x, size_t n)
{
    right->store_f16(out, x, n);
    out[n - 1] ^= 1u;
}

static void test_spoilt_kernels_are_noticed(void **state)
{
    (void)state;
    right = bn_kernels_get(BN_ISA_SCALAR);
    bn_kernels spoilt[6];
    for (size_t i = 0; i < sizeof spoilt / sizeof spoilt[0]; i++)
        spoilt[i] = *right;
    spoilt[0].quantize = quantize_down;
    spoilt[1].rms_norm = rms_norm_without_eps;
    spoilt[2].rope = rope_other_kind;
    spoilt[3].gated = gated_other_kind;
    spoilt[4].attention_merge = attention_without_first_chunk;
    spoilt[5].store_f16 = store_truncated;
    for (size_t i = 0; i < sizeof spoilt / sizeof spoilt[0]; i++) {
        findings f = check_model("bitnet-long", &spoilt[i], TOKENS_MAX, NULL);
        if (are_good(&f)) fail_msg("spoilt kernel %zu went unnoticed", i);
    }
    bn_kernels spoilt_groups = *right;
    const uint32_t group_cols = 64;
    spoilt_groups.quantize_groups = quantize_one_scale_wrong;
    findings f = check_model("bitnet-silu", &spoilt_groups, 4, &group_cols);
    assert_false(are_good(&f));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_layer_is_the_reference_layer),
        cmocka_unit_test(test_activations_quantised_in_groups),
        cmocka_unit_test(test_spoilt_kernels_are_noticed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
