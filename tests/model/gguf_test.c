/* gguf_test.c
 * What: a right GGUF file is read as written; a wrong one is refused with a text that names the
 *       file and the key or tensor.
 * How:  files are built byte by byte; each wrong one differs from the right one in one place, and
 *       every prefix of the right one is refused too.
 */
#include "common/log.h"
#include "model/gguf.h"
#include "tests/model/gguf_bytes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#define DIMS(...) ((const uint64_t[]){__VA_ARGS__, 0})
#define I2S_BYTES (256 * 4 / 4 + 32)
#define F32_BYTES (8 * 4)

/* What one test may change about the right file; zero means as it is. */
typedef struct change {
    uint32_t version;
    const char *magic;
    uint64_t n_tensors, n_keys;
    uint32_t alignment;
    const char *second_key, *second_tensor;
    uint64_t second_offset;
    uint64_t columns;
    uint32_t second_type;
    uint32_t n_dims_at_least;
    uint8_t bool_value;
    uint64_t text_length;
    uint32_t element_type;
} change;

static void put_keys(bytes *b, const change *c)
{
    static const char *const words[] = {"a", "", "long enough"};
    key_u32(b, "general.alignment", c->alignment != 0 ? c->alignment : 32);
    key_text(b, c->second_key != NULL ? c->second_key : "text", "hello");
    if (c->text_length != 0) memcpy(b->data + b->n - 13, &c->text_length, 8);
    key_f32(b, "float", 1.5f);
    key_bool(b, "bool", c->bool_value != 0 ? c->bool_value : 1);
    key_texts(b, "words", words, 3);
    put_text(b, "numbers");
    put_u32(b, 9);
    put_u32(b, c->element_type != 0 ? c->element_type : 5);
    put_u64(b, 2);
    put_u32(b, 7);
    put_u32(b, UINT32_MAX);
    put_text(b, "small");
    put_u32(b, 1);
    put(b, "\xff", 1);
    put_text(b, "wide");
    put_u32(b, 10);
    put_u64(b, 1ull << 40);
}

static bytes right_file(const change *c)
{
    bytes b = bytes_new();
    put(&b, c->magic != NULL ? c->magic : "GGUF", 4);
    put_u32(&b, c->version != 0 ? c->version : 3);
    put_u64(&b, c->n_tensors != 0 ? c->n_tensors : 2);
    put_u64(&b, c->n_keys != 0 ? c->n_keys : 8);
    put_keys(&b, c);
    tensor_row(&b, "blk.0.weight", BN_TENSOR_I2_S, DIMS(c->columns != 0 ? c->columns : 256, 4), 0);
    uint64_t offset = c->second_offset != 0 ? c->second_offset : I2S_BYTES;
    tensor_row(&b, c->second_tensor != NULL ? c->second_tensor : "norm",
               c->second_type != 0 ? c->second_type : BN_TENSOR_F32, DIMS(8), offset);
    pad(&b, 32);
    for (size_t i = 0; i < I2S_BYTES + F32_BYTES; i++)
        put(&b, &(uint8_t){(uint8_t)i}, 1);
    return b;
}

static void check_keys(const bn_gguf *file)
{
    bn_status status = BN_OK;
    uint32_t number = 0;
    float real = 0;
    bool is_true = false;
    bn_gguf_string text;
    bn_gguf_array array;
    assert_int_equal(bn_gguf_n_keys(file), 8);
    assert_string_equal(bn_gguf_key_name(file, 1), "text");
    assert_true(bn_gguf_get_u32(file, "general.alignment", &number, &status));
    assert_int_equal(number, 32);
    assert_true(bn_gguf_get_f32(file, "float", &real, &status));
    assert_true(real == 1.5f);
    assert_true(bn_gguf_get_bool(file, "bool", &is_true, &status) && is_true);
    assert_true(bn_gguf_get_string(file, "text", &text, &status));
    assert_int_equal(text.n, 5);
    assert_memory_equal(text.bytes, "hello", 5);
    assert_true(bn_gguf_get_array(file, "words", BN_GGUF_STRING, &array, &status));
    assert_int_equal(array.n, 3);
    assert_int_equal(array.strings[1].n, 0);
    assert_memory_equal(array.strings[2].bytes, "long enough", 11);
    assert_true(bn_gguf_get_array(file, "numbers", BN_GGUF_I32, &array, &status));
    assert_int_equal(array.n, 2);
    assert_memory_equal(array.data, "\x07\0\0\0\xff\xff\xff\xff", 8);
    assert_false(bn_gguf_get_u32(file, "absent", &number, &status));
    assert_int_equal(status, BN_OK);
}

static void test_a_right_file_is_read_as_written(void **state)
{
    (void)state;
    for (uint32_t version = 2; version <= 3; version++) {
        bytes b = right_file(&(change){.version = version});
        bn_gguf *file = NULL;
        assert_int_equal(bn_gguf_open(bytes_file(&b), &file), BN_OK);
        assert_int_equal(bn_gguf_version(file), version);
        assert_int_equal(bn_gguf_file_bytes(file), b.n);
        check_keys(file);
        assert_int_equal(bn_gguf_n_tensors(file), 2);
        const bn_gguf_tensor *tensor = bn_gguf_tensor_find(file, "blk.0.weight");
        assert_non_null(tensor);
        assert_ptr_equal(tensor, bn_gguf_tensor_at(file, 0));
        assert_int_equal(tensor->n_bytes, I2S_BYTES);
        assert_int_equal(tensor->n_dims, 2);
        assert_int_equal(tensor->dims[0], 256);
        assert_int_equal(tensor->dims[1], 4);
        assert_int_equal(tensor->dims[3], 1);
        assert_null(bn_gguf_tensor_find(file, "blk.1.weight"));
        const uint8_t *data;
        void *base;
        size_t length;
        uint8_t read[I2S_BYTES];
        assert_int_equal(bn_gguf_map(file, tensor, &data, &base, &length), BN_OK);
        assert_int_equal(bn_gguf_read(file, tensor, 0, I2S_BYTES, read), BN_OK);
        assert_memory_equal(data, read, I2S_BYTES);
        assert_int_equal(read[200], 200);
        bn_gguf_unmap(base, length);
        bn_gguf_close(file);
        bytes_free(&b);
    }
}

static void test_a_key_of_another_type_is_an_error_that_stays(void **state)
{
    (void)state;
    static const struct {
        const char *key, *expect;
    } cases[] = {
        {"text", "key text is string, but an integer is needed"},
        {"numbers", "key numbers is an array of i32, but an integer is needed"},
        {"small", "key small is -1, outside 0 to 4294967295"},
        {"wide", "key wide is 1099511627776, outside"},
    };
    bytes b = right_file(&(change){0});
    bn_gguf *file = NULL;
    assert_int_equal(bn_gguf_open(bytes_file(&b), &file), BN_OK);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        bn_status status = BN_OK;
        uint32_t number = 0;
        assert_false(bn_gguf_get_u32(file, cases[i].key, &number, &status));
        assert_int_equal(status, BN_ERR_BAD_FILE);
        assert_non_null(strstr(bn_log_last_error(), cases[i].expect));
        assert_true(bn_gguf_get_u32(file, "general.alignment", &number, &status));
        assert_int_equal(status, BN_ERR_BAD_FILE);
    }
    bn_gguf_close(file);
    bytes_free(&b);
}

static void expect_refused(const bytes *b, const char *expect)
{
    bn_gguf *file = NULL;
    bn_status status = bn_gguf_open(bytes_file(b), &file);
    if (status != BN_ERR_BAD_FILE || strstr(bn_log_last_error(), expect) == NULL ||
        strstr(bn_log_last_error(), "/tmp/bn-gguf-") == NULL)
        fail_msg("expected \"%s\", got status %d, \"%s\"", expect, status, bn_log_last_error());
    assert_null(file);
}

static void test_wrong_files_are_refused_by_name(void **state)
{
    (void)state;
    static const struct {
        change change;
        const char *expect;
    } cases[] = {
        {{.magic = "GGML"}, "not a GGUF file"},
        {{.magic = "FUGG"}, "other byte order"},
        {{.version = 1}, "GGUF version 1; versions 2 and 3"},
        {{.version = 4}, "GGUF version 4"},
        {{.version = 0x03000000}, "other byte order"},
        {{.n_tensors = 3}, "tensor 2"},
        {{.n_tensors = UINT64_MAX}, "counts 18446744073709551615 tensors"},
        {{.n_keys = 1ull << 40}, "1099511627776 keys"},
        {{.n_keys = 60}, "cannot hold"},
        {{.alignment = 24}, "general.alignment is 24"},
        {{.alignment = 1u << 30}, "general.alignment"},
        {{.alignment = 64}, "of tensor norm is not a multiple of 64"},
        {{.second_key = "float"}, "key float occurs twice"},
        {{.second_key = ""}, "key 1 has an empty name"},
        {{.second_key = "a\nb"}, "control byte 0x0a"},
        {{.second_tensor = "blk.0.weight"}, "tensor blk.0.weight occurs twice"},
        {{.second_tensor = "0123456789012345678901234567890123456789012345678901234567890123"},
         "tensor 1 has a string of 64 bytes"},
        {{.second_offset = 256}, "tensors blk.0.weight and norm overlap"},
        {{.second_offset = 33}, "not a multiple of 32"},
        {{.second_offset = 1ull << 50}, "cut short: tensor norm"},
        {{.second_offset = UINT64_MAX - 31}, "cut short: tensor norm"},
        {{.columns = 1ull << 40}, "cut short: tensor blk.0.weight"},
        {{.columns = 1ull << 62}, "impossible dimension"},
        {{.columns = 257ull << 50}, "cut short"},
        {{.second_type = BN_TENSOR_Q8_0}, "8 columns, which do not fill blocks of Q8_0"},
        {{.bool_value = 2}, "key bool is a bool with the value 2"},
        {{.text_length = 1ull << 30}, "string of 1073741824 bytes"},
        {{.text_length = 1u << 23}, "cut short: key 1"},
        {{.element_type = 9}, "key numbers is an array of elements of type 9"},
        {{.element_type = 13}, "key numbers is an array of elements of type 13"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        bytes b = right_file(&cases[i].change);
        expect_refused(&b, cases[i].expect);
        bytes_free(&b);
    }
}

static void test_a_dimension_of_zero_is_refused(void **state)
{
    (void)state;
    bytes b = bytes_new();
    put_head(&b, 3, 1, 0);
    put_text(&b, "empty");
    put_u32(&b, 1);
    put_u64(&b, 0);
    put_u32(&b, 0);
    put_u64(&b, 0);
    pad(&b, 64);
    expect_refused(&b, "tensor empty has the impossible dimension 0");
    b.n = 24;
    put_text(&b, "five");
    put_u32(&b, 5);
    pad(&b, 128);
    expect_refused(&b, "tensor five has 5 dimensions");
    bytes_free(&b);
}

static void test_every_prefix_is_refused(void **state)
{
    (void)state;
    bytes b = right_file(&(change){0});
    for (size_t n = 0; n < b.n; n++)
        expect_refused(&(bytes){b.data, n}, "");
    bytes_free(&b);
}

static void test_an_unknown_tensor_type_is_kept(void **state)
{
    (void)state;
    bytes b = right_file(&(change){.second_type = 777});
    bn_gguf *file = NULL;
    assert_int_equal(bn_gguf_open(bytes_file(&b), &file), BN_OK);
    assert_int_equal(bn_gguf_tensor_find(file, "norm")->type, 777);
    assert_int_equal(bn_gguf_tensor_find(file, "norm")->n_bytes, 0);
    bn_gguf_close(file);
    bytes_free(&b);
}

static void test_what_is_no_file_is_refused(void **state)
{
    (void)state;
    bn_gguf *file = NULL;
    char path[64];
    assert_int_equal(bn_gguf_open("/tmp/bn-gguf-absent", &file), BN_ERR_IO);
    assert_non_null(strstr(bn_log_last_error(), "/tmp/bn-gguf-absent: No such file"));
    assert_int_equal(bn_gguf_open("/tmp", &file), BN_ERR_BAD_FILE);
    assert_non_null(strstr(bn_log_last_error(), "a directory"));
    snprintf(path, sizeof path, "/tmp/bn-gguf-pipe-%ld", (long)getpid());
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(bn_gguf_open(path, &file), BN_ERR_BAD_FILE);
    unlink(path);
    assert_null(file);
}

static void test_a_file_that_shrinks_is_an_error(void **state)
{
    (void)state;
    bytes b = right_file(&(change){0});
    bn_gguf *file = NULL;
    const char *path = bytes_file(&b);
    assert_int_equal(bn_gguf_open(path, &file), BN_OK);
    const bn_gguf_tensor *tensor = bn_gguf_tensor_find(file, "norm");
    assert_int_equal(truncate(path, (off_t)tensor->offset + 4), 0);
    float values[8];
    const uint8_t *data;
    void *base;
    size_t length;
    bn_hash128 identity;
    assert_int_equal(bn_gguf_read(file, tensor, 0, 32, values), BN_ERR_BAD_FILE);
    assert_non_null(strstr(bn_log_last_error(), "has shrunk"));
    assert_int_equal(bn_gguf_map(file, tensor, &data, &base, &length), BN_ERR_BAD_FILE);
    assert_int_equal(bn_gguf_identity(file, &identity), BN_ERR_BAD_FILE);
    bn_gguf_close(file);
    bytes_free(&b);
}

static bn_hash128 identity_of(const bytes *b)
{
    bn_gguf *file = NULL;
    bn_hash128 identity = {0};
    assert_int_equal(bn_gguf_open(bytes_file(b), &file), BN_OK);
    assert_int_equal(bn_gguf_identity(file, &identity), BN_OK);
    bn_gguf_close(file);
    return identity;
}

static void test_identity_sees_header_and_tensors(void **state)
{
    (void)state;
    bytes b = right_file(&(change){0});
    bn_hash128 first = identity_of(&b), again = identity_of(&b);
    assert_memory_equal(&first, &again, sizeof first);
    /* The name of a key, the first code of a tensor, the last byte of the file. */
    const size_t places[] = {24 + 8 + 8 + 9, b.n - I2S_BYTES - F32_BYTES, b.n - 1};
    for (size_t i = 0; i < 3; i++) {
        b.data[places[i]] ^= 1;
        bn_hash128 changed = identity_of(&b);
        assert_memory_not_equal(&first, &changed, sizeof first);
        b.data[places[i]] ^= 1;
    }
    bytes_free(&b);
}

static int teardown(void **state)
{
    (void)state;
    unlink(bytes_file(&(bytes){0}));
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_right_file_is_read_as_written),
        cmocka_unit_test(test_a_key_of_another_type_is_an_error_that_stays),
        cmocka_unit_test(test_wrong_files_are_refused_by_name),
        cmocka_unit_test(test_a_dimension_of_zero_is_refused),
        cmocka_unit_test(test_every_prefix_is_refused),
        cmocka_unit_test(test_an_unknown_tensor_type_is_kept),
        cmocka_unit_test(test_what_is_no_file_is_refused),
        cmocka_unit_test(test_a_file_that_shrinks_is_an_error),
        cmocka_unit_test(test_identity_sees_header_and_tensors),
    };
    bn_log_set_quiet(true);
    return cmocka_run_group_tests(tests, NULL, teardown);
}
