/* safetensors_test.c
 * What: a right file, and right shards behind an index, are read as written; a wrong one is
 *       refused with a text that names file and tensor.
 * How:  headers are texts; each wrong one differs from the right one in one place, and every
 *       prefix of the right file is refused too.
 */
#include "model/safetensors.h"

#include "common/log.h"
#include "tests/common/cmocka_all.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DATA_BYTES 48u
#define MISALIGNED "} } "

static char folder[64];

/* Two of 16 bytes, then 8, 4, 4: 48 in all. */
static const char right[] = "{\"__metadata__\":{\"format\":\"pt\"},"
                            "\"a\":{\"dtype\":\"F32\",\"shape\":[2,2],\"data_offsets\":[0,16]},"
                            "\"b\":{\"dtype\":\"BF16\",\"shape\":[8],\"data_offsets\":[16,32]},"
                            "\"c\":{\"dtype\":\"I64\",\"shape\":[1],\"data_offsets\":[32,40]},"
                            "\"d\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[40,44]},"
                            "\"scalar\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[44,48]}}";

static void path_of(const char *name, char path[128])
{
    snprintf(path, 128, "%s/%s", folder, name);
}

static void write_bytes(const char *name, const void *bytes, size_t n)
{
    char path[128];
    path_of(name, path);
    FILE *stream = fopen(path, "wb");
    assert_non_null(stream);
    assert_int_equal(fwrite(bytes, 1, n, stream), n);
    assert_int_equal(fclose(stream), 0);
}

/* A file of a header and n bytes of data; returns its size. */
static size_t write_file(const char *name, const char *header, uint64_t length, size_t n_data)
{
    static uint8_t bytes[8192];
    size_t n = strlen(header);
    assert_true(8 + n + n_data <= sizeof bytes);
    memcpy(bytes, &length, 8);
    memcpy(bytes + 8, header, n);
    for (size_t i = 0; i < n_data; i++)
        bytes[8 + n + i] = (uint8_t)i;
    write_bytes(name, bytes, 8 + n + n_data);
    return 8 + n + n_data;
}

static void remove_file(const char *name)
{
    char path[128];
    path_of(name, path);
    unlink(path);
}

/* `from` in the text, which must be there, becomes `to`. */
static void replace(const char *text, const char *from, const char *to, char *out, size_t n)
{
    const char *at = strstr(text, from);
    assert_non_null(at);
    snprintf(out, n, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
}

/* Spaces after the header keep what follows aligned. */
static void pad(char *header)
{
    for (size_t n = strlen(header); n % 8 != 0; n++)
        memcpy(header + n, " ", 2);
}

static size_t write_right_file(void)
{
    char header[1024];
    snprintf(header, sizeof header, "%s", right);
    pad(header);
    return write_file("model.safetensors", header, strlen(header), DATA_BYTES);
}

static void expect_refused(bn_status status, const char *expected)
{
    if ((status != BN_ERR_BAD_FILE && status != BN_ERR_UNSUPPORTED && status != BN_ERR_LIMIT &&
         status != BN_ERR_IO) ||
        strstr(bn_log_last_error(), expected) == NULL ||
        strstr(bn_log_last_error(), folder) == NULL)
        fail_msg("expected \"%s\", got status %d, \"%s\"", expected, status, bn_log_last_error());
}

static void test_a_right_file_is_read_as_written(void **state)
{
    (void)state;
    bn_safetensors *set = NULL;
    size_t n = write_right_file();
    assert_int_equal(bn_safetensors_open(folder, &set), BN_OK);
    assert_int_equal(bn_safetensors_n_files(set), 1);
    assert_int_equal(bn_safetensors_n_tensors(set), 5);
    assert_int_equal(bn_safetensors_file_bytes(set, 0), n);
    const bn_safetensors_tensor *b = bn_safetensors_find(set, "b");
    assert_ptr_equal(b, bn_safetensors_at(set, 1));
    assert_int_equal(b->dtype, BN_SAFETENSORS_BF16);
    assert_string_equal(bn_safetensors_dtype_name(b->dtype), "BF16");
    assert_int_equal(b->n_dims, 1);
    assert_int_equal(b->dims[0], 8);
    assert_int_equal(b->offset, n - DATA_BYTES + 16);
    assert_int_equal(b->n_bytes, 16);
    assert_int_equal(bn_safetensors_find(set, "scalar")->n_dims, 0);
    assert_null(bn_safetensors_find(set, "__metadata__"));
    assert_null(bn_safetensors_find(set, "e"));
    bn_safetensors_close(set);
}

static void test_wrong_headers_are_refused_by_name(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to, *expected;
    } cases[] = {
        {"\"F32\",\"shape\":[2,2]", "\"F33\",\"shape\":[2,2]", "tensor a has the dtype \"F33\""},
        {"\"dtype\":\"F32\",", "\"dtype\":7,", "tensor a has no dtype"},
        {"[2,2]", "[2,3]", "tensor a takes 16 bytes by its data_offsets, but 24 by its shape"},
        {"[2,2]", "[2,0]", "dimension 1 of the shape of tensor a is impossible"},
        {"[2,2]", "[2,-2]", "dimension 1 of the shape of tensor a is impossible"},
        {"[2,2]", "[2,2.0]", "dimension 1 of the shape of tensor a is impossible"},
        {"[2,2]", "[4294967296,4294967296]", "dimension 1 of the shape of tensor a"},
        {"[2,2]", "[1,1,1,1,1,1,1,2,2]", "tensor a has no shape"},
        {"\"shape\":[2,2],", "", "tensor a has no shape"},
        {"[0,16]", "[0,16,0]", "tensor a has no data_offsets"},
        {"[0,16]", "[16,0]", "tensor a has no data_offsets"},
        {"[0,16]", "[-8,8]", "tensor a has no data_offsets"},
        {"[44,48]", "[45,49]",
         "cut short: tensor scalar ends at byte 49 of the data, which has 48"},
        {"[44,48]", "[9223372036854775803,9223372036854775807]", "cut short: tensor scalar"},
        {"[44,48]", "[99999999999999999999,4]", "too big integer"},
        {"[16,32]", "[8,24]", "tensors a and b overlap"},
        {"[8],\"data_offsets\":[16,32]", "[7],\"data_offsets\":[18,32]",
         "2 bytes before tensor b belong to no tensor"},
        {"\"F32\",\"shape\":[],\"data_offsets\":[44,48]",
         "\"U8\",\"shape\":[],\"data_offsets\":[44,45]", "the last 3 bytes belong to no tensor"},
        {"\"b\":{", "\"a\":{", "duplicate object key"},
        {"\"b\":{", "\"b\\n\":{", "a control byte"},
        {"\"b\":{", "\"\":{", "is empty"},
        {"\"b\":{", "\"b\":{\"more\":1,", "tensor b has the member \"more\""},
        {"{\"format\":\"pt\"}", "[]", "__metadata__ is no JSON object"},
        {"{\"dtype\":\"I64\",\"shape\":[1],\"data_offsets\":[32,40]}", "0",
         "tensor c is no JSON object"},
        {"\"a\":", "\"a\"", "model.safetensors: the header, column"},
        {"{\"__metadata__", " {\"__metadata__", "does not begin with \"{\""},
        /* One byte more of header: no F32 lies at a multiple of 4. */
        {"}}", MISALIGNED, "which is not a multiple of the 4 bytes of its dtype F32"},
    };
    for (size_t i = 0; i < BN_COUNT(cases); i++) {
        char header[4096];
        bn_safetensors *set = NULL;
        replace(right, cases[i].from, cases[i].to, header, sizeof header);
        pad(header);
        if (strcmp(cases[i].to, MISALIGNED) == 0) memcpy(header + strlen(header), " ", 2);
        write_file("model.safetensors", header, strlen(header), DATA_BYTES);
        expect_refused(bn_safetensors_open(folder, &set), cases[i].expected);
        assert_null(set);
    }
}

static void test_every_prefix_is_refused(void **state)
{
    (void)state;
    char path[128];
    size_t n = write_right_file(), n_header = n - DATA_BYTES;
    path_of("model.safetensors", path);
    for (size_t i = n; i-- > 0;) {
        bn_safetensors *set = NULL;
        assert_int_equal(truncate(path, (off_t)i), 0);
        expect_refused(bn_safetensors_open(folder, &set),
                       i < n_header ? "cut short" : "cut short: tensor");
    }
}

static void test_absurd_headers_are_refused(void **state)
{
    (void)state;
    static const uint64_t lengths[] = {0, 1, BN_SAFETENSORS_HEADER_BYTES_MAX + 1, UINT64_MAX};
    bn_safetensors *set = NULL;
    for (size_t i = 0; i < BN_COUNT(lengths); i++) {
        write_file("model.safetensors", right, lengths[i], DATA_BYTES);
        expect_refused(bn_safetensors_open(folder, &set), "bytes is announced");
    }
    write_file("model.safetensors", right, strlen(right) + DATA_BYTES + 1, DATA_BYTES);
    expect_refused(bn_safetensors_open(folder, &set), "cut short: its header");
    write_file("model.safetensors", "{}", 2, 0);
    expect_refused(bn_safetensors_open(folder, &set), "holds no tensors");
    write_file("model.safetensors", "[]", 2, 0);
    expect_refused(bn_safetensors_open(folder, &set), "does not begin with");
}

static void test_headers_have_limits(void **state)
{
    (void)state;
    /* Most of a header of brackets: no memory is taken for what is refused. */
    size_t n = BN_SAFETENSORS_HEADER_BYTES_MAX;
    char *bytes = malloc(8 + n);
    assert_non_null(bytes);
    uint64_t length = n;
    memcpy(bytes, &length, 8);
    memset(bytes + 8, '[', n);
    memcpy(bytes + 8, "{\"a\":", 5);
    write_bytes("model.safetensors", bytes, 8 + n);
    bn_safetensors *set = NULL;
    expect_refused(bn_safetensors_open(folder, &set), "nested deeper");
    /* More tensors than are possible, each of one byte. */
    size_t at = 8 + (size_t)snprintf(bytes + 8, 3, "{");
    uint32_t n_tensors = 0;
    for (; at + 80 < 8 + n && n_tensors <= BN_SAFETENSORS_TENSORS_MAX; n_tensors++)
        at += (size_t)snprintf(bytes + at, 80,
                               "%s\"%x\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[%u,%u]}",
                               n_tensors == 0 ? "" : ",", n_tensors, n_tensors, n_tensors + 1);
    bytes[at++] = '}';
    length = at - 8;
    memcpy(bytes, &length, 8);
    write_bytes("model.safetensors", bytes, at);
    expect_refused(bn_safetensors_open(folder, &set), n_tensors > BN_SAFETENSORS_TENSORS_MAX
                                                          ? "more than 65536 tensors"
                                                          : "cut short");
    free(bytes);
}

#define FIRST "model-00001-of-00002.safetensors"
#define SECOND "model-00002-of-00002.safetensors"

static const char first_header[] =
    "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
    "\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,16]}}";
static const char second_header[] =
    "{\"c\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}";
static const char right_index[] = "{\"metadata\":{\"total_size\":24},\"weight_map\":{\"a\":\"" FIRST
                                  "\",\"b\":\"" FIRST "\",\"c\":\"" SECOND "\"}}";

static void write_shards(const char *index)
{
    char header[512];
    remove_file("model.safetensors");
    snprintf(header, sizeof header, "%s", first_header);
    pad(header);
    write_file(FIRST, header, strlen(header), 16);
    snprintf(header, sizeof header, "%s", second_header);
    pad(header);
    write_file(SECOND, header, strlen(header), 8);
    write_bytes("model.safetensors.index.json", index, strlen(index));
}

static void test_right_shards_are_read(void **state)
{
    (void)state;
    bn_safetensors *set = NULL;
    write_shards(right_index);
    assert_int_equal(bn_safetensors_open(folder, &set), BN_OK);
    assert_int_equal(bn_safetensors_n_files(set), 2);
    assert_int_equal(bn_safetensors_n_tensors(set), 3);
    assert_int_equal(bn_safetensors_find(set, "b")->file, 0);
    assert_int_equal(bn_safetensors_find(set, "c")->file, 1);
    assert_non_null(strstr(bn_safetensors_file_path(set, 1), SECOND));
    bn_safetensors_close(set);
    remove_file(SECOND);
    expect_refused(bn_safetensors_open(folder, &set), SECOND " is missing");
}

static void test_wrong_indexes_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to, *expected;
    } cases[] = {
        {"\"c\":\"" SECOND "\"", "\"c\":\"../" SECOND "\"", "the shard name \"../" SECOND},
        {"\"c\":\"" SECOND "\"", "\"c\":\"/etc/passwd.safetensors\"", "not a path"},
        {"\"c\":\"" SECOND "\"", "\"c\":\".safetensors\"", "the shard name \".safetensors\""},
        {"\"c\":\"" SECOND "\"", "\"c\":\"model.bin\"", "the shard name \"model.bin\" is refused"},
        {"\"c\":\"" SECOND "\"", "\"c\":\"a\\u000a.safetensors\"", "is refused"},
        {"\"c\":\"" SECOND "\"", "\"c\":7", "names no file for tensor c"},
        {"\"c\":\"" SECOND "\"", "\"c\":\"other.safetensors\"", "other.safetensors is missing"},
        {"\"b\":\"" FIRST "\",", "", "holds tensor b, which"},
        {"\"b\":\"" FIRST, "\"b\":\"" SECOND, "holds tensor b, which"},
        {"\"b\":", "\"z\":\"" FIRST "\",\"b\":", "tensor z is listed in " FIRST},
        {"\"weight_map\"", "\"weights\"", "there is no weight_map"},
        {"}}", "}", "line 1"},
    };
    for (size_t i = 0; i < BN_COUNT(cases); i++) {
        char index[1024];
        bn_safetensors *set = NULL;
        replace(right_index, cases[i].from, cases[i].to, index, sizeof index);
        write_shards(index);
        expect_refused(bn_safetensors_open(folder, &set), cases[i].expected);
        assert_null(set);
    }
}

static void test_what_is_no_file_is_refused(void **state)
{
    (void)state;
    char path[128];
    bn_safetensors *set = NULL;
    remove_file("model.safetensors");
    remove_file("model.safetensors.index.json");
    expect_refused(bn_safetensors_open(folder, &set), "holds neither model.safetensors nor");
    path_of("model.safetensors", path);
    assert_int_equal(mkfifo(path, 0600), 0);
    expect_refused(bn_safetensors_open(folder, &set), "is not a regular file");
    unlink(path);
}

static int make_folder(void **state)
{
    (void)state;
    bn_log_set_quiet(true);
    snprintf(folder, sizeof folder, "/tmp/bn-safetensors-XXXXXX");
    return mkdtemp(folder) == NULL;
}

static int remove_folder(void **state)
{
    static const char *const names[] = {"model.safetensors", "model.safetensors.index.json", FIRST,
                                        SECOND};
    (void)state;
    for (size_t i = 0; i < BN_COUNT(names); i++)
        remove_file(names[i]);
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_right_file_is_read_as_written),
        cmocka_unit_test(test_wrong_headers_are_refused_by_name),
        cmocka_unit_test(test_every_prefix_is_refused),
        cmocka_unit_test(test_absurd_headers_are_refused),
        cmocka_unit_test(test_headers_have_limits),
        cmocka_unit_test(test_right_shards_are_read),
        cmocka_unit_test(test_wrong_indexes_are_refused),
        cmocka_unit_test(test_what_is_no_file_is_refused),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
