#include "tests/model/gguf_bytes.h"

#include "common/alloc.h"

#include <fcntl.h>
#include <stdarg.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

bytes bytes_new(void)
{
    bytes b = {.data = bn_alloc(BYTES_MAX, 1), .n = 0};
    assert_non_null(b.data);
    return b;
}

void bytes_free(bytes *b)
{
    bn_free(b->data);
    *b = (bytes){0};
}

void put(bytes *b, const void *data, size_t n)
{
    assert_true(n <= BYTES_MAX - b->n);
    if (n > 0) memcpy(b->data + b->n, data, n);
    b->n += n;
}

void put_u32(bytes *b, uint32_t value)
{
    put(b, &value, sizeof value);
}

void put_u64(bytes *b, uint64_t value)
{
    put(b, &value, sizeof value);
}

void put_text(bytes *b, const char *text)
{
    put_u64(b, strlen(text));
    put(b, text, strlen(text));
}

void pad(bytes *b, size_t alignment)
{
    while (b->n % alignment != 0)
        put(b, "", 1);
}

void put_head(bytes *b, uint32_t version, uint64_t n_tensors, uint64_t n_keys)
{
    put(b, "GGUF", 4);
    put_u32(b, version);
    put_u64(b, n_tensors);
    put_u64(b, n_keys);
}

void key_u32(bytes *b, const char *name, uint32_t value)
{
    put_text(b, name);
    put_u32(b, 4);
    put_u32(b, value);
}

void key_f32(bytes *b, const char *name, float value)
{
    put_text(b, name);
    put_u32(b, 6);
    put(b, &value, sizeof value);
}

void key_bool(bytes *b, const char *name, uint8_t value)
{
    put_text(b, name);
    put_u32(b, 7);
    put(b, &value, 1);
}

void key_text(bytes *b, const char *name, const char *value)
{
    put_text(b, name);
    put_u32(b, 8);
    put_text(b, value);
}

void key_texts(bytes *b, const char *name, const char *const *values, uint64_t n)
{
    put_text(b, name);
    put_u32(b, 9);
    put_u32(b, 8);
    put_u64(b, n);
    for (uint64_t i = 0; i < n; i++)
        put_text(b, values[i]);
}

void tensor_row(bytes *b, const char *name, uint32_t type, const uint64_t *dims, uint64_t offset)
{
    uint32_t n_dims = 0;
    while (n_dims < 4 && dims[n_dims] != 0)
        n_dims++;
    put_text(b, name);
    put_u32(b, n_dims);
    for (uint32_t i = 0; i < n_dims; i++)
        put_u64(b, dims[i]);
    put_u32(b, type);
    put_u64(b, offset);
}

const char *bytes_file(const bytes *b)
{
    static char path[64];
    snprintf(path, sizeof path, "/tmp/bn-gguf-%ld.gguf", (long)getpid());
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    for (size_t done = 0; done < b->n;) {
        ssize_t n = write(fd, b->data + done, b->n - done);
        assert_true(n > 0);
        done += (size_t)n;
    }
    close(fd);
    return path;
}
