/* synth_test.c
 * What: a synthesised model is a right model of its shape, the same bytes for the same seed on any
 *       machine; a full disk is an error that leaves nothing behind.
 * How:  files are opened by the loader and checked whole; a hash fixed here stands for the bytes
 *       of all compilers and machines; a file size limit stands for the full disk.
 */
#include "common/alloc.h"
#include "common/log.h"
#include "kernels/math.h"
#include "model/gguf_writer.h"
#include "model/inspect.h"
#include "model/synth.h"
#include "model/tensor_type.h"
#include "tests/model/gguf_bytes.h"

#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

/* XXH3-128 of the whole file of shape tiny, seed 1, printable vocabulary of 512. */
#define TINY_HASH "6cd327da0bc79911203901a95bd1ef32"

static char path[64], partial[80];

static bn_status write_shape(const bn_synth_shape *shape, uint64_t seed, bool has_vocab)
{
    bn_vocabulary vocab = {0};
    uint64_t n_bytes;
    if (has_vocab) assert_int_equal(bn_vocabulary_make_printable(shape->vocab, &vocab), BN_OK);
    bn_synth_job job = {
        .shape = *shape, .path = path, .seed = seed, .vocab = has_vocab ? &vocab : NULL};
    bn_status status = bn_synth_write(&job, &n_bytes);
    struct stat stat_now;
    if (status == BN_OK) {
        assert_int_equal(stat(path, &stat_now), 0);
        assert_int_equal(stat_now.st_size, n_bytes);
    }
    bn_vocabulary_fini(&vocab);
    return status;
}

static void file_hash(char text[33])
{
    static uint8_t buffer[65536];
    bn_hash *hash;
    size_t n;
    FILE *stream = fopen(path, "rb");
    assert_non_null(stream);
    assert_int_equal(bn_hash_create(&hash), BN_OK);
    while ((n = fread(buffer, 1, sizeof buffer, stream)) > 0)
        bn_hash_update(hash, buffer, n);
    fclose(stream);
    bn_hash128_text(bn_hash_digest(hash), text);
    bn_hash_destroy(hash);
}

static void test_same_seed_same_bytes(void **state)
{
    (void)state;
    char first[33], again[33], other[33];
    const bn_synth_shape *tiny = bn_synth_shape_find("tiny");
    assert_int_equal(write_shape(tiny, 1, true), BN_OK);
    file_hash(first);
    assert_int_equal(write_shape(tiny, 1, true), BN_OK);
    file_hash(again);
    assert_int_equal(write_shape(tiny, 2, true), BN_OK);
    file_hash(other);
    assert_string_equal(first, again);
    assert_string_not_equal(first, other);
    assert_string_equal(first, TINY_HASH);
}

static bn_model *open_checked(void)
{
    bn_model *model = NULL;
    bn_health health = {0};
    if (bn_model_open(path, BN_ACTIVATION_FROM_FILE, &model) != BN_OK ||
        bn_inspect_check(model) != BN_OK || bn_health_check(model, 1, &health) != BN_OK)
        fail_msg("%s", bn_log_last_error());
    for (uint32_t i = 0; i < health.n_findings; i++)
        fail_msg("%s: %s", health.findings[i].tensor->name, health.findings[i].text);
    bn_health_free(&health);
    return model;
}

static void test_every_variant_is_a_right_model(void **state)
{
    (void)state;
    static const uint32_t heads[] = {BN_TENSOR_F16, BN_TENSOR_F32, BN_TENSOR_BF16, BN_TENSOR_Q8_0,
                                     BN_TENSOR_Q6_K};
    static const uint32_t weights[] = {BN_TENSOR_I2_S, BN_TENSOR_Q2_0, BN_TENSOR_TQ2_0};
    static const char *const archs[] = {"bitnet", "bitnet-b1.58", "bitnet-25", "llama", "qwen3"};
    for (size_t i = 0; i < 20; i++) {
        bn_synth_shape shape = *bn_synth_shape_find("tiny");
        shape.head_type = heads[i % 5];
        shape.arch = archs[i % 4 + (i >= 16)];
        shape.is_tied = i % 3 == 0;
        shape.weight_type = weights[i % 3];
        shape.n_layers = 1;
        assert_int_equal(write_shape(&shape, i, i % 2 == 0), BN_OK);
        bn_model *model = open_checked();
        assert_int_equal(model->config.hidden, 256);
        assert_int_equal(model->config.is_tied, shape.is_tied);
        assert_int_equal(model->output->type, shape.head_type);
        assert_string_equal(model->config.arch, shape.arch);
        assert_int_equal(model->layers[0].ffn_down.weight->type, shape.weight_type);
        bn_model_close(model);
    }
}

static void test_named_shapes_are_possible(void **state)
{
    (void)state;
    for (const bn_synth_shape *shape = bn_synth_shapes; shape->name != NULL; shape++)
        assert_int_equal(bn_synth_check(shape), BN_OK);
    assert_string_equal(bn_synth_shape_find("100b")->name, "100B");
    assert_null(bn_synth_shape_find("3B"));
}

static void test_impossible_shapes_are_refused(void **state)
{
    (void)state;
    static const struct {
        uint32_t heads, kv_heads, head_size, hidden, head_type;
        const char *arch, *expect;
    } cases[] = {
        {8, 2, 31, 256, BN_TENSOR_F16, "llama", "the head size is 31"},
        {8, 3, 32, 256, BN_TENSOR_F16, "llama", "multiple of the key/value heads"},
        {8, 2, 32, 255, BN_TENSOR_F16, "llama", "a multiple of 128"},
        {8, 2, 32, 320, BN_TENSOR_Q6_K, "llama", "the hidden size is 320; a head of Q6_K"},
        {8, 2, 32, 256, BN_TENSOR_F16, "gpt2", "the architecture \"gpt2\" is not known"},
        {0, 2, 32, 256, BN_TENSOR_F16, "llama", "the number of heads is 0"},
        {1024, 1, 32, 256, BN_TENSOR_F16, "llama", "heads per key/value head is 1024"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        bn_synth_shape shape = *bn_synth_shape_find("tiny");
        shape.n_heads = cases[i].heads;
        shape.n_kv_heads = cases[i].kv_heads;
        shape.head_size = cases[i].head_size;
        shape.hidden = cases[i].hidden;
        shape.head_type = cases[i].head_type;
        shape.arch = cases[i].arch;
        assert_int_equal(bn_synth_check(&shape), BN_ERR_BAD_ARGUMENT);
        if (strstr(bn_log_last_error(), cases[i].expect) == NULL)
            fail_msg("expected \"%s\", got \"%s\"", cases[i].expect, bn_log_last_error());
    }
}

static void test_blocks_need_whole_rows(void **state)
{
    (void)state;
    bn_synth_shape shape = *bn_synth_shape_find("tiny");
    shape.weight_type = BN_TENSOR_TQ2_0;
    shape.ffn = 384;
    assert_int_equal(bn_synth_check(&shape), BN_ERR_BAD_ARGUMENT);
    assert_non_null(strstr(bn_log_last_error(), "a row of weights is 384; rows of TQ2_0 need"));
    shape.weight_type = BN_TENSOR_Q2_0;
    assert_int_equal(bn_synth_check(&shape), BN_OK);
}

/* −1, 0, 0, 1 in equal parts, and scales that keep a product at the size of its input. */
static void test_weights_have_the_promised_size(void **state)
{
    (void)state;
    assert_int_equal(write_shape(bn_synth_shape_find("tiny"), 7, false), BN_OK);
    bn_model *model = open_checked();
    const bn_gguf_tensor *weight = model->layers[2].ffn_up.weight;
    static uint8_t codes[256 * 512 / 4];
    uint32_t counts[4] = {0};
    float scale;
    assert_int_equal(bn_gguf_read(model->file, weight, 0, sizeof codes, codes), BN_OK);
    for (size_t i = 0; i < sizeof codes; i++)
        for (int k = 0; k < 8; k += 2)
            counts[codes[i] >> k & 3]++;
    assert_int_equal(counts[3], 0);
    for (int c = 0; c < 3; c++) {
        double expect = 256 * 512 * (c == 1 ? 0.5 : 0.25);
        assert_true(fabs(counts[c] - expect) < 5 * sqrt(expect));
    }
    assert_int_equal(bn_model_i2s_scale(model, weight, &scale), BN_OK);
    assert_true(scale == (float)sqrt(2.0 / 256));
    uint16_t row[256];
    double sum = 0;
    assert_int_equal(bn_gguf_read(model->file, model->output, 0, sizeof row, row), BN_OK);
    for (int i = 0; i < 256; i++)
        sum += (double)bn_f32_from_f16(row[i]) * (double)bn_f32_from_f16(row[i]);
    assert_true(sqrt(sum) > 2.4 && sqrt(sum) < 3.6); /* logits of size 3 */
    bn_model_close(model);
}

/* A llama of one layer whose attn_q has 24 × 8 elements. */
static void test_ternary_tensors_must_fill_blocks(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        uint32_t type, n_cols, n_rows;
    } tensors[] = {
        {"token_embd.weight", BN_TENSOR_F16, 24, 4},
        {"output_norm.weight", BN_TENSOR_F32, 24, 0},
        {"blk.0.attn_norm.weight", BN_TENSOR_F32, 24, 0},
        {"blk.0.ffn_norm.weight", BN_TENSOR_F32, 24, 0},
        {"blk.0.attn_q.weight", BN_TENSOR_I2_S, 24, 8},
    };
    static const uint8_t zeros[256];
    bn_gguf_writer *writer;
    bn_model *model = NULL;
    assert_int_equal(bn_gguf_writer_create(path, &writer), BN_OK);
    bn_gguf_writer_key_text(writer, "general.architecture", "llama");
    bn_gguf_writer_key_u32(writer, "llama.block_count", 1);
    bn_gguf_writer_key_u32(writer, "llama.embedding_length", 24);
    bn_gguf_writer_key_u32(writer, "llama.feed_forward_length", 32);
    bn_gguf_writer_key_u32(writer, "llama.context_length", 32);
    bn_gguf_writer_key_u32(writer, "llama.attention.head_count", 1);
    bn_gguf_writer_key_u32(writer, "llama.attention.key_length", 8);
    bn_gguf_writer_key_f32(writer, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    for (size_t i = 0; i < sizeof tensors / sizeof tensors[0]; i++)
        bn_gguf_writer_tensor(writer, tensors[i].name, tensors[i].type, tensors[i].n_cols,
                              tensors[i].n_rows);
    assert_int_equal(bn_gguf_writer_begin_data(writer), BN_OK);
    for (size_t i = 0; i < sizeof tensors / sizeof tensors[0]; i++) {
        uint64_t n_bytes,
            n = (uint64_t)tensors[i].n_cols * (tensors[i].n_rows + !tensors[i].n_rows);
        assert_true(bn_tensor_type_span(tensors[i].type, tensors[i].n_cols, n, &n_bytes));
        assert_int_equal(bn_gguf_writer_data(writer, zeros, (size_t)n_bytes), BN_OK);
        assert_int_equal(bn_gguf_writer_end_tensor(writer), BN_OK);
    }
    assert_int_equal(bn_gguf_writer_finish(writer), BN_OK);
    bn_gguf_writer_destroy(writer);
    assert_int_equal(bn_model_open(path, BN_ACTIVATION_FROM_FILE, &model), BN_ERR_UNSUPPORTED);
    assert_non_null(strstr(bn_log_last_error(), "blk.0.attn_q.weight has 24 × 8 elements"));
}

static void test_a_vocabulary_is_copied_whole(void **state)
{
    (void)state;
    static const char *const words[] = {"x", "", "long"};
    bytes b = bytes_new();
    bn_gguf *from = NULL;
    bn_model *model = NULL;
    bn_gguf_array tokens;
    bn_gguf_string text;
    bn_status status = BN_OK;
    uint32_t bos = 0;
    uint64_t n_bytes;
    bool add_bos = false;
    put_head(&b, 3, 0, 5);
    key_text(&b, "general.architecture", "any");
    key_text(&b, "tokenizer.ggml.model", "llama");
    key_texts(&b, "tokenizer.ggml.tokens", words, 3);
    key_u32(&b, "tokenizer.ggml.bos_token_id", 2);
    key_bool(&b, "tokenizer.ggml.add_bos_token", 1);
    assert_int_equal(bn_gguf_open(bytes_file(&b), &from), BN_OK);
    bn_synth_job job = {.shape = *bn_synth_shape_find("tiny"), .path = path, .vocab_file = from};
    job.shape.vocab = 5;
    assert_int_equal(bn_synth_write(&job, &n_bytes), BN_OK);
    bn_gguf_close(from);
    model = open_checked();
    assert_string_equal(model->config.arch, "bitnet-b1.58");
    assert_int_equal(model->config.vocab, 5);
    assert_true(
        bn_gguf_get_array(model->file, "tokenizer.ggml.tokens", BN_GGUF_STRING, &tokens, &status));
    assert_int_equal(tokens.n, 3);
    assert_memory_equal(tokens.strings[2].bytes, "long", 4);
    assert_true(bn_gguf_get_string(model->file, "tokenizer.ggml.model", &text, &status));
    assert_memory_equal(text.bytes, "llama", 5);
    assert_true(bn_gguf_get_u32(model->file, "tokenizer.ggml.bos_token_id", &bos, &status));
    assert_int_equal(bos, 2);
    assert_true(bn_gguf_get_bool(model->file, "tokenizer.ggml.add_bos_token", &add_bos, &status));
    assert_true(add_bos);
    bn_model_close(model);
    unlink(bytes_file(&(bytes){0}));
    bytes_free(&b);
}

static void test_a_full_disk_leaves_nothing(void **state)
{
    (void)state;
    struct rlimit before, small;
    unlink(path);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = before;
    small.rlim_cur = 100000;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    bn_status status = write_shape(bn_synth_shape_find("tiny"), 1, true);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(status, BN_ERR_IO);
    assert_non_null(strstr(bn_log_last_error(), path));
    assert_non_null(strstr(bn_log_last_error(), "File too large"));
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(access(partial, F_OK), -1);
}

static void test_places_that_cannot_be_written(void **state)
{
    (void)state;
    bn_synth_job job = {.shape = *bn_synth_shape_find("tiny"), .path = "/tmp"};
    uint64_t n_bytes;
    assert_int_equal(bn_synth_write(&job, &n_bytes), BN_ERR_IO);
    assert_non_null(strstr(bn_log_last_error(), "/tmp exists and is not a regular file"));
    job.path = "/dev/full";
    assert_int_equal(bn_synth_write(&job, &n_bytes), BN_ERR_IO);
    job.path = "/tmp/bn-absent-folder/model.gguf";
    assert_int_equal(bn_synth_write(&job, &n_bytes), BN_ERR_IO);
    assert_non_null(strstr(bn_log_last_error(), "No such file or directory"));
}

static int teardown(void **state)
{
    (void)state;
    unlink(path);
    unlink(partial);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_seed_same_bytes),
        cmocka_unit_test(test_every_variant_is_a_right_model),
        cmocka_unit_test(test_named_shapes_are_possible),
        cmocka_unit_test(test_impossible_shapes_are_refused),
        cmocka_unit_test(test_blocks_need_whole_rows),
        cmocka_unit_test(test_weights_have_the_promised_size),
        cmocka_unit_test(test_ternary_tensors_must_fill_blocks),
        cmocka_unit_test(test_a_vocabulary_is_copied_whole),
        cmocka_unit_test(test_a_full_disk_leaves_nothing),
        cmocka_unit_test(test_places_that_cannot_be_written),
    };
    snprintf(path, sizeof path, "/tmp/bn-synth-%ld.gguf", (long)getpid());
    snprintf(partial, sizeof partial, "%s.partial", path);
    bn_log_set_quiet(true);
    return cmocka_run_group_tests(tests, NULL, teardown);
}
