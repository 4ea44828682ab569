#include "tests/coordinator/gguf_writer.h"

#include "common/alloc.h"
#include "tests/common/cmocka_all.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void put(gguf_writer *writer, const void *bytes, size_t n)
{
    if (writer->n + n > writer->capacity) {
        writer->capacity = 2 * (writer->n + n);
        writer->bytes = bn_realloc(writer->bytes, writer->capacity, 1);
        assert_non_null(writer->bytes);
    }
    if (n > 0) memcpy(writer->bytes + writer->n, bytes, n);
    writer->n += n;
}

static void put_u32(gguf_writer *writer, uint32_t value)
{
    put(writer, &value, sizeof value);
}

static void put_u64(gguf_writer *writer, uint64_t value)
{
    put(writer, &value, sizeof value);
}

static void put_string(gguf_writer *writer, const char *bytes, size_t n)
{
    put_u64(writer, n);
    put(writer, bytes, n);
}

static void put_key(gguf_writer *writer, const char *key, bn_gguf_type type)
{
    put_string(writer, key, strlen(key));
    put_u32(writer, (uint32_t)type);
    writer->n_keys++;
}

static void put_array(gguf_writer *writer, const char *key, bn_gguf_type type, size_t n)
{
    put_key(writer, key, BN_GGUF_ARRAY);
    put_u32(writer, (uint32_t)type);
    put_u64(writer, n);
}

void gguf_writer_begin(gguf_writer *writer)
{
    *writer = (gguf_writer){0};
    put(writer, "GGUF", 4);
    put_u32(writer, 3);
    put_u64(writer, 0);
    put_u64(writer, 0); /* the number of keys, at the end */
}

void gguf_writer_text(gguf_writer *writer, const char *key, const char *value)
{
    put_key(writer, key, BN_GGUF_STRING);
    put_string(writer, value, strlen(value));
}

void gguf_writer_u32(gguf_writer *writer, const char *key, uint32_t value)
{
    put_key(writer, key, BN_GGUF_U32);
    put_u32(writer, value);
}

void gguf_writer_bool(gguf_writer *writer, const char *key, int value)
{
    put_key(writer, key, BN_GGUF_BOOL);
    put(writer, value ? "\1" : "\0", 1);
}

void gguf_writer_texts(gguf_writer *writer, const char *key, const bn_gguf_string *values, size_t n)
{
    put_array(writer, key, BN_GGUF_STRING, n);
    for (size_t i = 0; i < n; i++)
        put_string(writer, values[i].bytes, values[i].n);
}

void gguf_writer_i32s(gguf_writer *writer, const char *key, const int32_t *values, size_t n)
{
    put_array(writer, key, BN_GGUF_I32, n);
    put(writer, values, n * sizeof *values);
}

void gguf_writer_f32s(gguf_writer *writer, const char *key, const float *values, size_t n)
{
    put_array(writer, key, BN_GGUF_F32, n);
    put(writer, values, n * sizeof *values);
}

void gguf_writer_save(gguf_writer *writer, char *path_out)
{
    memcpy(writer->bytes + 16, &writer->n_keys, sizeof writer->n_keys);
    memcpy(path_out, "/tmp/bn-tokenizer-XXXXXX", sizeof "/tmp/bn-tokenizer-XXXXXX");
    int fd = mkstemp(path_out);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, writer->bytes, writer->n), (ssize_t)writer->n);
    close(fd);
    bn_free(writer->bytes);
    writer->bytes = NULL;
}

bn_gguf *gguf_writer_finish(gguf_writer *writer)
{
    char path[64];
    bn_gguf *file = NULL;
    gguf_writer_save(writer, path);
    assert_int_equal(bn_gguf_open(path, &file), BN_OK);
    unlink(path);
    return file;
}
