/* weights_test.c
 * What: weights are packed from the file as they stand there, on any number of threads; a damaged
 *       tensor is refused by name; loading can be stopped.
 * How:  a golden model's trits decoded here from the file's bytes against bn_ternary_at; copies of
 *       the file with one byte changed.
 */
#include "worker/weights.h"
#include "common/alloc.h"
#include "common/log.h"
#include "model/tensor_type.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char model_path[1024];
static uint8_t *file_bytes;
static size_t n_file_bytes;

typedef struct load_state {
    uint64_t done_bytes, total_bytes;
    uint32_t n_calls, stop_at;
} load_state;

static bn_status on_load(void *context, uint64_t done_bytes, uint64_t total_bytes)
{
    load_state *state = context;
    assert_true(done_bytes > state->done_bytes && done_bytes <= total_bytes);
    state->done_bytes = done_bytes;
    state->total_bytes = total_bytes;
    return ++state->n_calls == state->stop_at ? BN_ERR_INTERRUPTED : BN_OK;
}

static bn_status load(const bn_model *model, uint32_t n_threads, load_state *state,
                      bn_weights **weights_out)
{
    bn_thread_pool *pool;
    bn_thread_pool_config config = {.n_threads = n_threads};
    bn_stage_span span = {0, model->config.n_layers, true, true};
    assert_int_equal(bn_thread_pool_create(&config, &pool), BN_OK);
    bn_status status = bn_weights_load(model, span, pool, bn_kernels_get(BN_ISA_AUTO), on_load,
                                       state, weights_out);
    bn_thread_pool_destroy(pool);
    return status;
}

static int trit_in_file(const bn_gguf_tensor *tensor, uint64_t index)
{
    const uint8_t *block = file_bytes + tensor->offset + index / 128 * 32;
    uint32_t j = (uint32_t)(index % 128);
    return (block[j % 32] >> (6 - 2 * (j / 32)) & 3) - 1;
}

static void check_linear(const bn_model_linear *linear, const bn_ternary *ternary)
{
    const bn_gguf_tensor *tensor = linear->weight;
    float scale;
    memcpy(&scale, file_bytes + tensor->offset + tensor->n_bytes - 32, sizeof scale);
    assert_true(ternary->scale == scale);
    assert_int_equal(ternary->n_rows, tensor->dims[1]);
    assert_int_equal(ternary->n_cols, tensor->dims[0]);
    for (uint32_t row = 0; row < ternary->n_rows; row++)
        for (uint32_t col = 0; col < ternary->n_cols; col++)
            assert_int_equal(bn_ternary_at(ternary, row, col),
                             trit_in_file(tensor, (uint64_t)row * ternary->n_cols + col));
}

static void test_trits_norms_and_head_are_those_of_the_file(void **unused)
{
    (void)unused;
    bn_model *model;
    bn_weights *weights;
    assert_int_equal(bn_model_open(model_path, BN_ACTIVATION_FROM_FILE, &model), BN_OK);
    for (uint32_t n_threads = 1; n_threads <= 4; n_threads += 3) {
        load_state state = {0};
        assert_int_equal(load(model, n_threads, &state, &weights), BN_OK);
        assert_true(state.done_bytes == state.total_bytes && state.total_bytes > 0);
        for (uint32_t i = 0; i < model->config.n_layers; i++) {
            const bn_model_layer *from = &model->layers[i];
            const bn_weights_layer *to = &weights->layers[i];
            check_linear(&from->attn_q, &to->attn_q);
            check_linear(&from->attn_k, &to->attn_k);
            check_linear(&from->attn_v, &to->attn_v);
            check_linear(&from->attn_output, &to->attn_output);
            check_linear(&from->ffn_gate, &to->ffn_gate);
            check_linear(&from->ffn_up, &to->ffn_up);
            check_linear(&from->ffn_down, &to->ffn_down);
            assert_memory_equal(to->ffn_norm, file_bytes + from->ffn_norm->offset,
                                from->ffn_norm->n_bytes);
        }
        assert_memory_equal(weights->head.rows, file_bytes + model->output->offset,
                            model->output->n_bytes);
        assert_memory_equal(weights->embedding.rows, file_bytes + model->token_embd->offset,
                            model->token_embd->n_bytes);
        assert_int_equal(bn_weights_used_bytes(weights), bn_weights_reserved_bytes(weights));
        bn_weights_destroy(weights);
    }
    bn_model_close(model);
}

static void test_loading_can_be_stopped(void **unused)
{
    (void)unused;
    bn_model *model;
    bn_weights *weights;
    load_state state = {.stop_at = 3};
    assert_int_equal(bn_model_open(model_path, BN_ACTIVATION_FROM_FILE, &model), BN_OK);
    assert_int_equal(load(model, 2, &state, &weights), BN_ERR_INTERRUPTED);
    assert_int_equal(state.n_calls, 3);
    bn_model_close(model);
}

static const char *write_copy(size_t n_bytes)
{
    static char path[64];
    strcpy(path, "/tmp/bn_weights_XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, file_bytes, n_bytes), (ssize_t)n_bytes);
    close(fd);
    return path;
}

/* Loads a copy of the file with n bytes at `offset` replaced; its error must name `word`. */
static void check_damaged(uint64_t offset, const void *bytes, size_t n, const char *word)
{
    uint8_t saved[8];
    bn_model *model;
    bn_weights *weights;
    load_state state = {0};
    memcpy(saved, file_bytes + offset, n);
    memcpy(file_bytes + offset, bytes, n);
    const char *path = write_copy(n_file_bytes);
    memcpy(file_bytes + offset, saved, n);
    assert_int_equal(bn_model_open(path, BN_ACTIVATION_FROM_FILE, &model), BN_OK);
    assert_int_equal(load(model, 2, &state, &weights), BN_ERR_BAD_FILE);
    assert_non_null(strstr(bn_log_last_error(), word));
    assert_non_null(strstr(bn_log_last_error(), path));
    bn_model_close(model);
    unlink(path);
}

static void test_damaged_tensors_are_refused_by_name(void **unused)
{
    (void)unused;
    bn_model *model;
    assert_int_equal(bn_model_open(model_path, BN_ACTIVATION_FROM_FILE, &model), BN_OK);
    const bn_model_layer *layer = &model->layers[model->config.n_layers - 1];
    const bn_gguf_tensor *down = layer->ffn_down.weight, *norm = layer->attn_norm;
    static const float bad_scales[] = {0.0f, -1.0f, INFINITY, NAN};
    const uint8_t code_3 = 0xC0;

    check_damaged(down->offset, &code_3, 1, down->name);
    check_damaged(down->offset + down->n_bytes - 33, &code_3, 1, "code 3");
    for (size_t i = 0; i < sizeof bad_scales / sizeof bad_scales[0]; i++)
        check_damaged(down->offset + down->n_bytes - BN_TENSOR_I2S_TAIL_BYTES, &bad_scales[i], 4,
                      down->name);
    check_damaged(norm->offset + 4, &bad_scales[3], 4, norm->name);
    check_damaged(norm->offset + norm->n_bytes - 4, &bad_scales[2], 4, norm->name);
    bn_model_close(model);
}

static void test_a_file_that_has_shrunk_is_refused(void **unused)
{
    (void)unused;
    bn_model *model;
    bn_weights *weights;
    load_state state = {0};
    const char *path = write_copy(n_file_bytes);
    assert_int_equal(bn_model_open(path, BN_ACTIVATION_FROM_FILE, &model), BN_OK);
    uint64_t end = model->layers[0].ffn_up.weight->offset + 100;
    uint64_t embedding_end = model->token_embd->offset + model->token_embd->n_bytes;
    assert_int_equal(truncate(path, (off_t)(end > embedding_end ? end : embedding_end)), 0);
    assert_int_equal(load(model, 2, &state, &weights), BN_ERR_BAD_FILE);
    assert_non_null(strstr(bn_log_last_error(), "shrunk"));
    bn_model_close(model);
    unlink(path);
}

static void test_a_file_that_shrinks_while_mapped_ends_the_process_with_its_name(void **unused)
{
    (void)unused;
    const char *path = write_copy(n_file_bytes);
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        bn_model *model;
        bn_weights *weights;
        load_state state = {0};
        dup2(ends[1], STDERR_FILENO);
        if (bn_model_open(path, BN_ACTIVATION_FROM_FILE, &model) != BN_OK) _exit(2);
        if (load(model, 1, &state, &weights) != BN_OK) _exit(3);
        if (truncate(path, 64) != 0) _exit(4);
        const volatile uint8_t *rows = weights->embedding.rows;
        _exit(rows[model->token_embd->n_bytes - 1] == 0 ? 5 : 6);
    }
    char text[1024] = "";
    int status;
    assert_true(read(ends[0], text, sizeof text - 1) > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 1);
    assert_non_null(strstr(text, path));
    assert_non_null(strstr(text, "shrunk"));
    close(ends[0]);
    close(ends[1]);
    unlink(path);
}

static int read_model(void **unused)
{
    (void)unused;
    const char *root = getenv("BN_SOURCE_DIR");
    snprintf(model_path, sizeof model_path, "%s/tests/golden/models/b158-relu2-straddling.gguf",
             root != NULL ? root : ".");
    FILE *file = fopen(model_path, "rb");
    assert_non_null(file);
    fseek(file, 0, SEEK_END);
    n_file_bytes = (size_t)ftell(file);
    rewind(file);
    file_bytes = bn_alloc(n_file_bytes, 1);
    assert_int_equal(fread(file_bytes, 1, n_file_bytes, file), n_file_bytes);
    fclose(file);
    return 0;
}

static int free_model(void **unused)
{
    (void)unused;
    bn_free(file_bytes);
    return 0;
}

int main(void)
{
    bn_log_set_quiet(true);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_trits_norms_and_head_are_those_of_the_file),
        cmocka_unit_test(test_loading_can_be_stopped),
        cmocka_unit_test(test_damaged_tensors_are_refused_by_name),
        cmocka_unit_test(test_a_file_that_has_shrunk_is_refused),
        cmocka_unit_test(test_a_file_that_shrinks_while_mapped_ends_the_process_with_its_name),
    };
    return cmocka_run_group_tests(tests, read_model, free_model);
}
