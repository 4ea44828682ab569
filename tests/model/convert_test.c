/* convert_test.c
 * What: whatever the types, a model converted and converted back is the same file; heads are
 *       rounded as little as their types allow; what cannot be converted is refused by name and
 *       leaves nothing behind.
 * How:  small random models; bytes of files compared; single weights changed in place; a file
 *       size limit stands for the full disk.
 */
#include "model/convert.h"

#include "common/alloc.h"
#include "common/json.h"
#include "common/log.h"
#include "kernels/kernels.h"
#include "kernels/math.h"
#include "model/model.h"
#include "model/synth.h"
#include "model/tensor_type.h"
#include "model/trits.h"

#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include <cmocka.h>

#define FILE_MAX (16u << 20)

static char folder[] = "/tmp/bn-convert-XXXXXX";
static char in[64], out[64], back[64], report[64];

static const bn_synth_shape shapes[] = {
    {NULL, "bitnet-b1.58", 2, 256, 512, 4, 2, 64, 300, 512, 5e5f, true, BN_TENSOR_F16,
     BN_TENSOR_I2_S},
    {NULL, "bitnet", 1, 256, 768, 4, 4, 64, 300, 512, 1e4f, true, BN_TENSOR_BF16, BN_TENSOR_I2_S},
    {NULL, "llama", 1, 256, 512, 4, 2, 64, 300, 512, 1e4f, false, BN_TENSOR_F32, BN_TENSOR_I2_S},
};
#define N_SHAPES (sizeof shapes / sizeof shapes[0])

static const uint32_t types[] = {BN_TENSOR_I2_S,  BN_TENSOR_TL1,   BN_TENSOR_TL2,
                                 BN_TENSOR_TQ1_0, BN_TENSOR_TQ2_0, BN_TENSOR_F16};
#define N_TYPES (sizeof types / sizeof types[0])

static void synthesise(const bn_synth_shape *shape)
{
    bn_vocabulary vocab;
    uint64_t n_bytes;
    assert_int_equal(bn_vocabulary_make_printable(shape->vocab, &vocab), BN_OK);
    const bn_synth_job job = {.shape = *shape, .path = in, .seed = 7, .vocab = &vocab};
    assert_int_equal(bn_synth_write(&job, &n_bytes), BN_OK);
    bn_vocabulary_fini(&vocab);
}

/* Tiles for all matrices of the shapes. */
static bn_tl_tile_list tiles_for(uint32_t type)
{
    static const uint32_t sizes[][2] = {{256, 256}, {128, 256}, {512, 256},
                                        {256, 512}, {768, 256}, {256, 768}};
    bn_tl_tile_list list = {0};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        list.tiles[list.n++] =
            (bn_tl_tile){sizes[i][0], sizes[i][1], 64, type == BN_TENSOR_TL1 ? 128 : 96, 32};
    return list;
}

static bn_status convert(const char *from, const char *to, uint32_t type, uint32_t tile_type)
{
    bn_convert_result result;
    const bn_convert_job job = {
        .in = from, .out = to, .type = type, .tiles = tiles_for(tile_type), .n_threads = 3};
    return bn_convert_write(&job, &result);
}

static size_t read_file(const char *path, uint8_t **bytes_out)
{
    uint8_t *bytes = bn_alloc(FILE_MAX, 1);
    FILE *stream = fopen(path, "rb");
    assert_true(bytes != NULL && stream != NULL);
    size_t n = fread(bytes, 1, FILE_MAX, stream);
    assert_true(n < FILE_MAX);
    fclose(stream);
    *bytes_out = bytes;
    return n;
}

static void expect_same_files(const char *a, const char *b)
{
    uint8_t *a_bytes, *b_bytes;
    size_t a_n = read_file(a, &a_bytes), b_n = read_file(b, &b_bytes);
    assert_int_equal(a_n, b_n);
    for (size_t i = 0; i < a_n; i++)
        if (a_bytes[i] != b_bytes[i]) fail_msg("byte %zu of %s differs", i, b);
    bn_free(a_bytes);
    bn_free(b_bytes);
}

static void test_a_round_trip_through_every_type_is_the_identity(void **state)
{
    (void)state;
    for (size_t s = 0; s < N_SHAPES; s++) {
        synthesise(&shapes[s]);
        for (size_t i = 0; i < N_TYPES; i++) {
            assert_int_equal(convert(in, out, types[i], types[i]), BN_OK);
            assert_int_equal(convert(out, back, BN_TENSOR_I2_S, types[i]), BN_OK);
            expect_same_files(in, back);
        }
        /* From one to the next, and home. */
        assert_int_equal(convert(in, out, BN_TENSOR_TQ1_0, BN_TENSOR_TL1), BN_OK);
        assert_int_equal(convert(out, back, BN_TENSOR_F16, BN_TENSOR_TL1), BN_OK);
        assert_int_equal(convert(back, out, BN_TENSOR_TL1, BN_TENSOR_TL1), BN_OK);
        assert_int_equal(convert(out, back, BN_TENSOR_TQ2_0, BN_TENSOR_TL1), BN_OK);
        assert_int_equal(convert(back, out, BN_TENSOR_I2_S, BN_TENSOR_TL1), BN_OK);
        expect_same_files(in, out);
    }
}

/* The scale of the tensor times that of its `.scale`. */
static float whole_scale(const bn_gguf *file, const bn_gguf_tensor *tensor, const bn_trits *t)
{
    char name[BN_GGUF_NAME_MAX];
    float post = 1.0f;
    snprintf(name, sizeof name, "%.*s.scale", (int)(strlen(tensor->name) - strlen(".weight")),
             tensor->name);
    const bn_gguf_tensor *scale = bn_gguf_tensor_find(file, name);
    if (scale != NULL) assert_int_equal(bn_gguf_read(file, scale, 0, sizeof post, &post), BN_OK);
    assert_true(bn_trits_info_of(t)->is_one_scale);
    return bn_trits_info_of(t)->scale * post;
}

static uint8_t *codes_of(const bn_trits *t)
{
    const bn_trits_info *info = bn_trits_info_of(t);
    uint8_t *codes = bn_alloc((size_t)info->n_rows * info->n_cols, 1);
    void *scratch = bn_alloc(bn_trits_scratch_bytes(t, info->n_rows), 1);
    assert_int_equal(bn_trits_read(t, 0, info->n_rows, scratch, codes, NULL, NULL), BN_OK);
    bn_free(scratch);
    return codes;
}

static void test_trits_and_scales_are_those_of_the_source(void **state)
{
    (void)state;
    synthesise(&shapes[0]);
    for (size_t i = 0; i < N_TYPES; i++) {
        const bn_tl_tile_list tiles = tiles_for(types[i]);
        const bn_trits_options options = {.tl_tiles = &tiles};
        bn_gguf *a = NULL, *b = NULL;
        assert_int_equal(convert(in, out, types[i], types[i]), BN_OK);
        assert_int_equal(bn_gguf_open(in, &a), BN_OK);
        assert_int_equal(bn_gguf_open(out, &b), BN_OK);
        uint32_t n = 0;
        for (uint64_t k = 0; k < bn_gguf_n_tensors(a); k++) {
            const bn_gguf_tensor *x = bn_gguf_tensor_at(a, k);
            if (x->type != BN_TENSOR_I2_S) continue;
            const bn_gguf_tensor *y = bn_gguf_tensor_find(b, x->name);
            assert_non_null(y);
            assert_int_equal(y->type, types[i]);
            bn_trits *p = NULL, *q = NULL;
            assert_int_equal(bn_trits_open(a, x, NULL, &p), BN_OK);
            assert_int_equal(bn_trits_open(b, y, &options, &q), BN_OK);
            assert_true(whole_scale(a, x, p) == whole_scale(b, y, q));
            uint8_t *p_codes = codes_of(p), *q_codes = codes_of(q);
            assert_memory_equal(p_codes, q_codes, x->dims[0] * x->dims[1]);
            bn_free(p_codes);
            bn_free(q_codes);
            bn_trits_close(p);
            bn_trits_close(q);
            n++;
        }
        assert_int_equal(n, 14);
        bn_gguf_close(a);
        bn_gguf_close(b);
    }
}

/* Row `row` of the embedding of a file. */
static uint32_t embedding_row(const char *path, uint32_t row, float values[4096])
{
    bn_model *model = NULL;
    bn_dense dense;
    uint8_t *bytes = NULL;
    assert_int_equal(bn_model_open(path, BN_ACTIVATION_FROM_FILE, &model), BN_OK);
    const bn_gguf_tensor *tensor = model->token_embd;
    bytes = bn_alloc((size_t)tensor->n_bytes, 1);
    assert_int_equal(bn_gguf_read(model->file, tensor, 0, (size_t)tensor->n_bytes, bytes), BN_OK);
    assert_int_equal(bn_model_dense(model, tensor, bytes, &dense), BN_OK);
    bn_kernels_get(BN_ISA_SCALAR)->dense_row(&dense, row, values);
    uint32_t type = tensor->type;
    bn_free(bytes);
    bn_model_close(model);
    return type;
}

static void test_heads_are_rounded_as_little_as_their_types_allow(void **state)
{
    (void)state;
    static const struct {
        uint32_t type;
        double rms_max; /* of the error, against the largest of a block of 256 */
    } cases[] = {{BN_TENSOR_F16, 1e-9}, {BN_TENSOR_Q8_0, 0.0025}, {BN_TENSOR_Q6_K, 0.012}};
    synthesise(&shapes[0]);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        bn_convert_result result;
        const bn_convert_job job = {.in = in,
                                    .out = out,
                                    .type = BN_TENSOR_I2_S,
                                    .n_threads = 2,
                                    .has_head_type = true,
                                    .head_type = cases[i].type};
        assert_int_equal(bn_convert_write(&job, &result), BN_OK);
        for (uint32_t row = 0; row < 300; row += 23) {
            static float before[4096], after[4096];
            double sum = 0.0, largest = 0.0;
            assert_int_equal(embedding_row(in, row, before), BN_TENSOR_F16);
            assert_int_equal(embedding_row(out, row, after), cases[i].type);
            for (uint32_t k = 0; k < 256; k++) {
                sum += pow((double)before[k] - (double)after[k], 2);
                largest = fmax(largest, fabs((double)before[k]));
            }
            double rms = sqrt(sum / 256.0) / largest;
            if (rms > cases[i].rms_max) fail_msg("case %zu, row %u: %g", i, row, rms);
        }
    }
}

static void test_the_report_names_every_tensor(void **state)
{
    (void)state;
    synthesise(&shapes[0]);
    bn_convert_result result;
    bn_json *json = NULL;
    const bn_convert_job job = {
        .in = in, .out = out, .type = BN_TENSOR_TQ2_0, .report = report, .n_threads = 2};
    assert_int_equal(bn_convert_write(&job, &result), BN_OK);
    assert_int_equal(result.n_ternary, 14);
    assert_true(result.zeros > 0.49 && result.zeros < 0.51 && result.deviation == 0.0);
    assert_string_equal(result.arch, "bitnet");
    assert_int_equal(bn_json_read(report, 1 << 20, &json), BN_OK);
    const bn_json *tensors = bn_json_get(json, "tensors");
    assert_int_equal(bn_json_length(tensors), 2 + 2 * 11);
    uint64_t minus = 0, zero = 0, plus = 0, columns = 0, rows = 0;
    const bn_json *q = bn_json_at(tensors, 2);
    assert_true(bn_json_as_u64(bn_json_get(q, "minus"), &minus));
    assert_true(bn_json_as_u64(bn_json_get(q, "zero"), &zero));
    assert_true(bn_json_as_u64(bn_json_get(q, "plus"), &plus));
    assert_true(bn_json_as_u64(bn_json_get(q, "columns"), &columns));
    assert_true(bn_json_as_u64(bn_json_get(q, "rows"), &rows));
    assert_int_equal(minus + zero + plus, columns * rows);
    bn_json_free(json);
}

/* Overwrites n bytes at `at` of a tensor of the file. */
static void change(const char *path, const char *name, uint64_t at, const void *bytes, size_t n)
{
    bn_gguf *file = NULL;
    assert_int_equal(bn_gguf_open(path, &file), BN_OK);
    const bn_gguf_tensor *tensor = bn_gguf_tensor_find(file, name);
    assert_non_null(tensor);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    assert_int_equal(pwrite(fd, bytes, n, (off_t)(tensor->offset + at)), n);
    close(fd);
    bn_gguf_close(file);
}

static void expect_refused(const char *from, uint32_t type, const char *why)
{
    unlink(back);
    bn_status status = convert(from, back, type, type);
    assert_true(status == BN_ERR_BAD_FILE || status == BN_ERR_UNSUPPORTED);
    if (strstr(bn_log_last_error(), why) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", bn_log_last_error(), why);
    char partial[80];
    snprintf(partial, sizeof partial, "%s.partial", back);
    assert_int_not_equal(access(back, F_OK), 0);
    assert_int_not_equal(access(partial, F_OK), 0);
}

static void test_what_is_not_ternary_is_refused_by_name(void **state)
{
    (void)state;
    static const char name[] = "blk.1.ffn_up.weight";
    synthesise(&shapes[0]);
    assert_int_equal(convert(in, out, BN_TENSOR_F16, BN_TENSOR_F16), BN_OK);
    change(out, name, 2 * 777, &(uint16_t){0x3555}, 2);
    expect_refused(out, BN_TENSOR_I2_S, "tensor blk.1.ffn_up.weight: it is not ternary: element 7");
    synthesise(&shapes[0]);
    change(in, name, 5, &(uint8_t){0x0c}, 1);
    expect_refused(in, BN_TENSOR_TQ1_0, "tensor blk.1.ffn_up.weight: element 69 has an unused");
    synthesise(&shapes[0]);
    change(in, name, 512 * 256 / 4, &(float){INFINITY}, 4);
    expect_refused(in, BN_TENSOR_I2_S, "tensor blk.1.ffn_up.weight: the scale at element 0 is inf");
}

static void test_scales_of_groups_go_where_there_is_room(void **state)
{
    (void)state;
    synthesise(&shapes[0]);
    assert_int_equal(convert(in, out, BN_TENSOR_F16, BN_TENSOR_F16), BN_OK);
    /* The first 128 weights of a row become twice as large. */
    uint16_t weights[128];
    for (uint32_t i = 0; i < 128; i++)
        weights[i] = i % 3 == 0 ? 0x4000 : i % 3 == 1 ? 0xc000 : 0;
    change(out, "blk.0.attn_q.weight", 0, weights, sizeof weights);
    expect_refused(out, BN_TENSOR_I2_S,
                   "scale for every 128 columns, which I2_S cannot hold; use "
                   "--type f16");
    expect_refused(out, BN_TENSOR_TQ2_0, "which TQ2_0 cannot hold");
    assert_int_equal(convert(out, back, BN_TENSOR_F16, BN_TENSOR_F16), BN_OK);
    expect_same_files(out, back);
}

static void test_a_scale_that_nothing_can_hold_is_refused(void **state)
{
    (void)state;
    synthesise(&shapes[0]);
    assert_int_equal(convert(in, out, BN_TENSOR_TQ2_0, BN_TENSOR_TQ2_0), BN_OK);
    /* 1.5 in the blocks and a number of 24 bits beside them: I2_S keeps both, F16 too. */
    for (uint32_t block = 0; block < 512; block++)
        change(out, "blk.1.ffn_up.weight", 66 * block + 64, &(uint16_t){0x3e00}, 2);
    assert_int_equal(convert(out, back, BN_TENSOR_I2_S, BN_TENSOR_I2_S), BN_OK);
    assert_int_equal(convert(back, in, BN_TENSOR_TQ2_0, BN_TENSOR_TQ2_0), BN_OK);
    expect_same_files(out, in);
    /* Two numbers of 24 bits are one too many for TQ2_0. */
    change(back, "blk.1.ffn_up.weight", 512 * 256 / 4, &(float){0.1f}, 4);
    rename(back, in);
    expect_refused(in, BN_TENSOR_TQ2_0,
                   "its scale is no F16 number, and its .scale tensor is taken");
}

static void test_a_full_disk_leaves_nothing(void **state)
{
    (void)state;
    struct rlimit before, small;
    char partial[80];
    synthesise(&shapes[0]);
    unlink(out);
    snprintf(partial, sizeof partial, "%s.partial", out);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = before;
    small.rlim_cur = 100000;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    bn_status status = convert(in, out, BN_TENSOR_I2_S, BN_TENSOR_I2_S);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(status, BN_ERR_IO);
    assert_non_null(strstr(bn_log_last_error(), out));
    assert_int_not_equal(access(out, F_OK), 0);
    assert_int_not_equal(access(partial, F_OK), 0);
}

static int make_folder(void **state)
{
    (void)state;
    if (mkdtemp(folder) == NULL) return 1;
    snprintf(in, sizeof in, "%s/in.gguf", folder);
    snprintf(out, sizeof out, "%s/out.gguf", folder);
    snprintf(back, sizeof back, "%s/back.gguf", folder);
    snprintf(report, sizeof report, "%s/report.json", folder);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    unlink(in);
    unlink(out);
    unlink(back);
    unlink(report);
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_round_trip_through_every_type_is_the_identity),
        cmocka_unit_test(test_trits_and_scales_are_those_of_the_source),
        cmocka_unit_test(test_heads_are_rounded_as_little_as_their_types_allow),
        cmocka_unit_test(test_the_report_names_every_tensor),
        cmocka_unit_test(test_what_is_not_ternary_is_refused_by_name),
        cmocka_unit_test(test_scales_of_groups_go_where_there_is_room),
        cmocka_unit_test(test_a_scale_that_nothing_can_hold_is_refused),
        cmocka_unit_test(test_a_full_disk_leaves_nothing),
    };
    bn_log_set_quiet(true);
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
