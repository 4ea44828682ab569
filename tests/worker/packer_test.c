/* packer_test.c
 * What: tensors of every ternary type become the same trits and scales in R16 that the file holds,
 *       on any number of threads, in exactly the memory that was promised; a tensor with a code
 *       that is no trit is refused by name; one whose weights are all the same is warned of.
 * How:  golden models with a scale for every block, against trits.h row by row; copies of models
 *       with bytes of one tensor changed. */
#include "worker/packer.h"

#include "common/alloc.h"
#include "common/log.h"
#include "model/stage_bytes.h"
#include "model/trits.h"
#include "tests/common/capture.h"
#include "worker/weights.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static bn_capture capture;

static const char *golden_path(const char *name)
{
    static char path[1024];
    const char *root = getenv("BN_SOURCE_DIR");
    snprintf(path, sizeof path, "%s/tests/golden/models/%s.gguf", root != NULL ? root : ".", name);
    return path;
}

static bn_status ignore_progress(void *context, uint64_t done_bytes, uint64_t total_bytes)
{
    (void)context;
    assert_true(done_bytes <= total_bytes);
    return BN_OK;
}

static bn_status load(const bn_model *model, uint32_t n_threads, bn_weights **weights_out)
{
    bn_thread_pool *pool;
    bn_thread_pool_config config = {.n_threads = n_threads};
    bn_stage_span span = {0, model->config.n_layers, true, true};
    assert_int_equal(bn_thread_pool_create(&config, &pool), BN_OK);
    bn_status status = bn_weights_load(model, span, pool, bn_kernels_get(BN_ISA_AUTO),
                                       ignore_progress, NULL, weights_out);
    bn_thread_pool_destroy(pool);
    return status;
}

static float scale_at(const bn_ternary *w, uint32_t row, uint32_t run)
{
    uint32_t n_runs = bn_ternary_runs(w->n_cols, w->group_cols);
    return w->scales[((size_t)(row / 16) * n_runs + run) * 16 + row % 16];
}

/* All rows as trits.h reads them. `n_scaled` counts tensors with more than one scale. */
static void check_linear(const bn_model *model, const bn_model_linear *linear,
                         const bn_ternary *ternary, uint32_t *n_scaled)
{
    bn_trits *trits;
    assert_int_equal(bn_trits_open(model->file, linear->weight, NULL, &trits), BN_OK);
    const bn_trits_info *info = bn_trits_info_of(trits);
    uint32_t n_runs = info->is_one_scale ? 1 : info->n_cols / info->group_cols;
    void *scratch = bn_alloc(bn_trits_scratch_bytes(trits, 1), 1);
    uint8_t *codes = bn_alloc(info->n_cols, 1);
    float *scales = bn_alloc(n_runs, sizeof *scales);
    assert_true(scratch && codes && scales);
    assert_int_equal(ternary->n_rows, info->n_rows);
    assert_int_equal(ternary->n_cols, info->n_cols);
    assert_int_equal(ternary->scales == NULL, info->is_one_scale);
    for (uint32_t row = 0; row < info->n_rows; row++) {
        assert_int_equal(bn_trits_read(trits, row, 1, scratch, codes, scales, NULL), BN_OK);
        for (uint32_t col = 0; col < info->n_cols; col++)
            assert_int_equal(bn_ternary_at(ternary, row, col), (int)codes[col] - 1);
        for (uint32_t run = 0; run < n_runs && !info->is_one_scale; run++)
            assert_true(scale_at(ternary, row, run) == scales[run]);
    }
    if (info->is_one_scale) assert_true(ternary->scale == info->scale);
    *n_scaled += !info->is_one_scale;
    bn_free(scratch);
    bn_free(codes);
    bn_free(scales);
    bn_trits_close(trits);
}

static uint32_t check_layers(const bn_model *model, const bn_weights *weights)
{
    uint32_t n_scaled = 0;
    for (uint32_t i = 0; i < model->config.n_layers; i++) {
        const bn_model_layer *from = &model->layers[i];
        const bn_weights_layer *to = &weights->layers[i];
        check_linear(model, &from->attn_q, &to->attn_q, &n_scaled);
        check_linear(model, &from->attn_k, &to->attn_k, &n_scaled);
        check_linear(model, &from->attn_v, &to->attn_v, &n_scaled);
        check_linear(model, &from->attn_output, &to->attn_output, &n_scaled);
        check_linear(model, &from->ffn_gate, &to->ffn_gate, &n_scaled);
        check_linear(model, &from->ffn_up, &to->ffn_up, &n_scaled);
        check_linear(model, &from->ffn_down, &to->ffn_down, &n_scaled);
    }
    return n_scaled;
}

static void test_trits_and_scales_are_those_of_the_file(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        bool has_scales;
    } models[] = {{"bitnet-silu", false},
                  {"bitnet-tq2-groups", true},
                  {"qwen3-q2-groups", true},
                  {"llama-tq1-groups", true}};
    for (size_t i = 0; i < sizeof models / sizeof models[0]; i++) {
        bn_model *model;
        assert_int_equal(
            bn_model_open(golden_path(models[i].name), BN_ACTIVATION_FROM_FILE, &model), BN_OK);
        for (uint32_t n_threads = 1; n_threads <= 5; n_threads += 2) {
            bn_weights *weights;
            assert_int_equal(load(model, n_threads, &weights), BN_OK);
            uint32_t n_scaled = check_layers(model, weights);
            assert_int_equal(n_scaled, models[i].has_scales ? 7 * model->config.n_layers : 0);
            assert_int_equal(bn_weights_used_bytes(weights), bn_weights_reserved_bytes(weights));
            bn_weights_destroy(weights);
        }
        bn_model_close(model);
    }
}

/* A copy of the model whose tensor (NULL: blk.0.ffn_up.weight) is n_blocks times `block`. */
static const char *write_copy(const char *name, const char *tensor_name, const uint8_t *block,
                              size_t block_bytes, size_t n_blocks)
{
    static char path[64];
    bn_model *model;
    assert_int_equal(bn_model_open(golden_path(name), BN_ACTIVATION_FROM_FILE, &model), BN_OK);
    const bn_gguf_tensor *tensor = model->layers[0].ffn_up.weight;
    if (tensor_name != NULL) tensor = bn_gguf_tensor_find(model->file, tensor_name);
    assert_non_null(tensor);
    uint64_t at = tensor->offset;
    assert_true(n_blocks * block_bytes <= tensor->n_bytes);
    bn_model_close(model);
    FILE *in = fopen(golden_path(name), "rb");
    strcpy(path, "/tmp/bn_packer_XXXXXX");
    int fd = mkstemp(path);
    assert_true(in != NULL && fd >= 0);
    uint8_t bytes[4096];
    for (size_t n; (n = fread(bytes, 1, sizeof bytes, in)) > 0;)
        assert_int_equal(write(fd, bytes, n), (ssize_t)n);
    for (size_t i = 0; i < n_blocks; i++)
        assert_int_equal(pwrite(fd, block, block_bytes, (off_t)(at + i * block_bytes)),
                         (ssize_t)block_bytes);
    fclose(in);
    close(fd);
    return path;
}

static void test_a_code_that_is_no_trit_is_refused_by_name(void **state)
{
    (void)state;
    /* The fourth code of two bits; a byte that no five trits make. */
    static const struct {
        const char *name, *tensor;
        uint8_t bytes[3]; /* a scale may stand first */
    } cases[] = {{"bitnet-silu", "blk.0.ffn_up.weight", {0xFF, 0x55, 0x55}},
                 {"bitnet-tq2-groups", "blk.0.ffn_up.weight", {0xFF, 0x55, 0x55}},
                 {"llama-tq1-groups", "blk.0.ffn_up.weight", {1, 0, 0}},
                 {"qwen3-q2-groups", "token_embd.weight", {0x00, 0x3C, 0xFF}}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        bn_model *model;
        bn_weights *weights;
        const char *path = write_copy(cases[i].name, cases[i].tensor, cases[i].bytes, 3, 1);
        assert_int_equal(bn_model_open(path, BN_ACTIVATION_FROM_FILE, &model), BN_OK);
        assert_int_equal(load(model, 2, &weights), BN_ERR_BAD_FILE);
        assert_non_null(strstr(bn_log_last_error(), cases[i].tensor));
        assert_non_null(strstr(bn_log_last_error(), path));
        bn_model_close(model);
        unlink(path);
    }
}

static void test_weights_that_are_all_the_same_are_warned_of(void **state)
{
    (void)state;
    /* All codes 1; a block of Q2_0 with scale 1 and all codes 2; as they are. */
    static const uint8_t zeros[] = {0x55};
    static const uint8_t ones[18] = {0x00, 0x3C, 0xAA, 0xAA, 0xAA, 0xAA, 0xAA, 0xAA, 0xAA,
                                     0xAA, 0xAA, 0xAA, 0xAA, 0xAA, 0xAA, 0xAA, 0xAA, 0xAA};
    static const struct {
        const char *name;
        const uint8_t *block;
        size_t block_bytes, n_blocks;
    } cases[] = {{"bitnet-silu", zeros, 1, 256 * 128 / 4},
                 {"qwen3-q2-groups", ones, sizeof ones, 384 * 128 / 64},
                 {"bitnet-silu", zeros, 1, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        bn_model *model;
        bn_weights *weights;
        const char *path = write_copy(cases[i].name, NULL, cases[i].block, cases[i].block_bytes,
                                      cases[i].n_blocks);
        assert_int_equal(bn_model_open(path, BN_ACTIVATION_FROM_FILE, &model), BN_OK);
        bn_capture_begin(&capture);
        bn_log_set_quiet(false);
        assert_int_equal(load(model, 2, &weights), BN_OK);
        bn_log_set_quiet(true);
        bn_capture_end(&capture);
        assert_true((strstr(capture.err, "blk.0.ffn_up.weight (every") != NULL) ==
                    (cases[i].n_blocks > 0));
        bn_weights_destroy(weights);
        bn_model_close(model);
        unlink(path);
    }
}

int main(void)
{
    bn_log_set_quiet(true);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_trits_and_scales_are_those_of_the_file),
        cmocka_unit_test(test_a_code_that_is_no_trit_is_refused_by_name),
        cmocka_unit_test(test_weights_that_are_all_the_same_are_warned_of),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
