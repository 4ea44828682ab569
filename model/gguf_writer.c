/* gguf_writer.c — a growing header, then plain writes. */
#include "model/gguf_writer.h"

#include "common/alloc.h"
#include "common/log.h"
#include "common/progress.h"
#include "model/gguf_parse.h"
#include "model/tensor_type.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ALIGNMENT 32u

typedef struct block {
    uint8_t *bytes;
    size_t n, capacity;
} block;

struct bn_gguf_writer {
    char *path, *partial;
    int fd;
    bn_status status;
    block keys, table, offsets; /* u64 offsets of the tensors in the data */
    uint64_t n_keys, n_tensors;
    uint64_t declared;   /* padded bytes of the tensors in the table */
    uint64_t written;    /* of the data */
    uint64_t file_bytes; /* header and data */
    uint64_t data_at;
    bool is_created, is_finished;
};

static bn_status io_error(const bn_gguf_writer *writer, const char *what)
{
    return bn_fail(BN_ERR_IO, "MODEL-WRITE", "cannot %s %s: %s%s", what, writer->path,
                   strerror(errno),
                   errno == ENOSPC || errno == EDQUOT ? "; the file is removed" : "");
}

static void fail_io(bn_gguf_writer *writer, const char *what)
{
    if (writer->status == BN_OK) writer->status = io_error(writer, what);
}

static bn_status check_place(const char *path)
{
    struct stat stat_now;
    if (stat(path, &stat_now) != 0 || S_ISREG(stat_now.st_mode)) return BN_OK;
    return bn_fail(BN_ERR_IO, "MODEL-WRITE", "%s exists and is not a regular file", path);
}

static bn_status create(const char *path, bn_gguf_writer **writer_out)
{
    bn_gguf_writer *writer = bn_alloc(1, sizeof *writer);
    if (writer == NULL) return bn_fail(BN_ERR_NO_MEMORY, "MODEL-WRITE", "%s: no memory", path);
    writer->fd = -1;
    writer->path = bn_strdup(path);
    writer->partial = bn_alloc(strlen(path) + sizeof ".partial", 1);
    if (writer->path == NULL || writer->partial == NULL) {
        bn_gguf_writer_destroy(writer);
        return bn_fail(BN_ERR_NO_MEMORY, "MODEL-WRITE", "%s: no memory", path);
    }
    snprintf(writer->partial, strlen(path) + sizeof ".partial", "%s.partial", path);
    *writer_out = writer;
    return BN_OK;
}

bn_status bn_gguf_writer_create_header(const char *name, bn_gguf_writer **writer_out)
{
    return create(name, writer_out);
}

bn_status bn_gguf_writer_create(const char *path, bn_gguf_writer **writer_out)
{
    bn_gguf_writer *writer = NULL;
    BN_TRY(check_place(path));
    BN_TRY(create(path, &writer));
    bn_status status = check_place(writer->partial);
    if (status == BN_OK) {
        writer->fd = open(writer->partial, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
        writer->is_created = writer->fd >= 0;
        if (!writer->is_created) fail_io(writer, "create");
        status = writer->status;
    }
    if (status != BN_OK) {
        bn_gguf_writer_destroy(writer);
        return status;
    }
    *writer_out = writer;
    return BN_OK;
}

void bn_gguf_writer_destroy(bn_gguf_writer *writer)
{
    if (writer == NULL) return;
    if (writer->fd >= 0) close(writer->fd);
    if (writer->is_created && !writer->is_finished) unlink(writer->partial);
    bn_free(writer->keys.bytes);
    bn_free(writer->table.bytes);
    bn_free(writer->offsets.bytes);
    bn_free(writer->path);
    bn_free(writer->partial);
    bn_free(writer);
}

const char *bn_gguf_writer_partial_path(const bn_gguf_writer *writer)
{
    return writer->partial;
}

static void put(bn_gguf_writer *writer, block *to, const void *bytes, size_t n)
{
    if (writer->status != BN_OK || n == 0) return;
    if (n > BN_GGUF_HEADER_BYTES_MAX - to->n) {
        writer->status = bn_fail(BN_ERR_LIMIT, "MODEL-WRITE", "%s: the header is longer than %llu",
                                 writer->path, BN_GGUF_HEADER_BYTES_MAX);
        return;
    }
    if (to->n + n > to->capacity) {
        size_t capacity = to->capacity == 0 ? 65536 : to->capacity;
        while (capacity < to->n + n)
            capacity *= 2;
        uint8_t *grown = bn_realloc(to->bytes, capacity, 1);
        if (grown == NULL) {
            writer->status = bn_fail(BN_ERR_NO_MEMORY, "MODEL-WRITE",
                                     "%s: no memory for its header", writer->path);
            return;
        }
        to->bytes = grown;
        to->capacity = capacity;
    }
    memcpy(to->bytes + to->n, bytes, n);
    to->n += n;
}

static void put_u32(bn_gguf_writer *writer, block *to, uint32_t value)
{
    put(writer, to, &value, sizeof value);
}

static void put_u64(bn_gguf_writer *writer, block *to, uint64_t value)
{
    put(writer, to, &value, sizeof value);
}

static void put_text(bn_gguf_writer *writer, block *to, const char *text, size_t n)
{
    put_u64(writer, to, n);
    put(writer, to, text, n);
}

static void begin_key(bn_gguf_writer *writer, const char *key, bn_gguf_type type)
{
    put_text(writer, &writer->keys, key, strlen(key));
    put_u32(writer, &writer->keys, (uint32_t)type);
    writer->n_keys++;
}

void bn_gguf_writer_key_u32(bn_gguf_writer *writer, const char *key, uint32_t value)
{
    begin_key(writer, key, BN_GGUF_U32);
    put_u32(writer, &writer->keys, value);
}

void bn_gguf_writer_key_f32(bn_gguf_writer *writer, const char *key, float value)
{
    begin_key(writer, key, BN_GGUF_F32);
    put(writer, &writer->keys, &value, sizeof value);
}

void bn_gguf_writer_key_bool(bn_gguf_writer *writer, const char *key, bool value)
{
    begin_key(writer, key, BN_GGUF_BOOL);
    put(writer, &writer->keys, &(uint8_t){value ? 1 : 0}, 1);
}

void bn_gguf_writer_key_text(bn_gguf_writer *writer, const char *key, const char *value)
{
    begin_key(writer, key, BN_GGUF_STRING);
    put_text(writer, &writer->keys, value, strlen(value));
}

static void begin_array(bn_gguf_writer *writer, const char *key, bn_gguf_type type, uint64_t n)
{
    begin_key(writer, key, BN_GGUF_ARRAY);
    put_u32(writer, &writer->keys, (uint32_t)type);
    put_u64(writer, &writer->keys, n);
}

void bn_gguf_writer_key_texts(bn_gguf_writer *writer, const char *key, const bn_text_list *texts)
{
    begin_array(writer, key, BN_GGUF_STRING, texts->n);
    for (uint32_t i = 0; i < texts->n; i++) {
        bn_gguf_string text = bn_text_list_at(texts, i);
        put_text(writer, &writer->keys, text.bytes, text.n);
    }
}

void bn_gguf_writer_key_i32s(bn_gguf_writer *writer, const char *key, const int32_t *values,
                             uint64_t n)
{
    begin_array(writer, key, BN_GGUF_I32, n);
    put(writer, &writer->keys, values, (size_t)n * sizeof *values);
}

void bn_gguf_writer_key_f32s(bn_gguf_writer *writer, const char *key, const float *values,
                             uint64_t n)
{
    begin_array(writer, key, BN_GGUF_F32, n);
    put(writer, &writer->keys, values, (size_t)n * sizeof *values);
}

void bn_gguf_writer_key_copy(bn_gguf_writer *writer, const bn_gguf *file, uint64_t index)
{
    bn_gguf_writer_key_copy_as(writer, file, index, bn_gguf_key_name(file, index));
}

void bn_gguf_writer_key_copy_as(bn_gguf_writer *writer, const bn_gguf *file, uint64_t index,
                                const char *name)
{
    BN_ASSERT(index < file->n_keys);
    const bn_gguf_key *key = &file->keys[index];
    const uint8_t *value = file->header + key->value_at;
    if (key->type == BN_GGUF_STRING) {
        begin_key(writer, name, key->type);
        put_text(writer, &writer->keys, (const char *)value, (size_t)key->n);
    } else if (key->type != BN_GGUF_ARRAY) {
        begin_key(writer, name, key->type);
        put(writer, &writer->keys, value, bn_gguf_parse_type_bytes(key->type));
    } else {
        begin_array(writer, name, key->element_type, key->n);
        for (uint64_t i = 0; i < key->n && key->strings != NULL; i++)
            put_text(writer, &writer->keys, key->strings[i].bytes, key->strings[i].n);
        if (key->element_type != BN_GGUF_STRING)
            put(writer, &writer->keys, value,
                (size_t)key->n * bn_gguf_parse_type_bytes(key->element_type));
    }
}

void bn_gguf_writer_tensor(bn_gguf_writer *writer, const char *name, uint32_t type, uint64_t n_cols,
                           uint64_t n_rows)
{
    uint64_t n_bytes = 0, n = n_cols * (n_rows == 0 ? 1 : n_rows);
    bool is_whole = bn_tensor_type_span(type, n_cols, n, &n_bytes);
    BN_ASSERT(is_whole && n_bytes > 0);
    put_text(writer, &writer->table, name, strlen(name));
    put_u32(writer, &writer->table, n_rows == 0 ? 1 : 2);
    put_u64(writer, &writer->table, n_cols);
    if (n_rows != 0) put_u64(writer, &writer->table, n_rows);
    put_u32(writer, &writer->table, type);
    put_u64(writer, &writer->table, writer->declared);
    put_u64(writer, &writer->offsets, writer->declared);
    writer->declared += (n_bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    writer->n_tensors++;
}

uint64_t bn_gguf_writer_file_bytes(const bn_gguf_writer *writer)
{
    return writer->file_bytes;
}

static void write_all(bn_gguf_writer *writer, const void *bytes, size_t n)
{
    const uint8_t *from = bytes;
    while (n > 0 && writer->status == BN_OK) {
        ssize_t done = write(writer->fd, from, n);
        if (done < 0 && errno == EINTR) continue;
        if (done < 0) {
            fail_io(writer, "write");
            return;
        }
        from += done;
        n -= (size_t)done;
    }
}

/* Says that the disk is full before minutes of work, where the file system can tell. */
static void claim_space(bn_gguf_writer *writer)
{
    uint64_t total = writer->file_bytes;
    if (writer->status != BN_OK || fallocate(writer->fd, 0, 0, (off_t)total) == 0) return;
    if (errno != ENOSPC && errno != EDQUOT && errno != EFBIG) return;
    char text[16];
    bn_progress_bytes_text(total, text);
    writer->status =
        bn_fail(BN_ERR_IO, "MODEL-WRITE", "cannot write %s: it needs %s (%" PRIu64 " bytes): %s",
                writer->path, text, total, strerror(errno));
}

/* Magic, counts, keys, tensor table and padding. */
static void put_header(bn_gguf_writer *writer, block *to)
{
    static const uint8_t zeros[ALIGNMENT];
    put(writer, to, "GGUF", 4);
    put_u32(writer, to, 3);
    put_u64(writer, to, writer->n_tensors);
    put_u64(writer, to, writer->n_keys);
    put(writer, to, writer->keys.bytes, writer->keys.n);
    put(writer, to, writer->table.bytes, writer->table.n);
    put(writer, to, zeros, (ALIGNMENT - to->n % ALIGNMENT) % ALIGNMENT);
}

bn_status bn_gguf_writer_take_header(bn_gguf_writer *writer, uint8_t **bytes_out, size_t *n_out)
{
    block header = {0};
    put_header(writer, &header);
    if (writer->status != BN_OK) {
        bn_free(header.bytes);
        return writer->status;
    }
    *bytes_out = header.bytes;
    *n_out = header.n;
    return BN_OK;
}

bn_status bn_gguf_writer_begin_data(bn_gguf_writer *writer)
{
    block header = {0};
    put_header(writer, &header);
    writer->data_at = header.n;
    writer->file_bytes = writer->data_at + writer->declared;
    claim_space(writer);
    write_all(writer, header.bytes, header.n);
    bn_free(header.bytes);
    return writer->status;
}

bn_status bn_gguf_writer_data(bn_gguf_writer *writer, const void *bytes, size_t n)
{
    BN_ASSERT(n <= writer->declared - writer->written);
    write_all(writer, bytes, n);
    writer->written += n;
    return writer->status;
}

bn_status bn_gguf_writer_end_tensor(bn_gguf_writer *writer)
{
    static const uint8_t zeros[ALIGNMENT];
    size_t padding = (size_t)((ALIGNMENT - writer->written % ALIGNMENT) % ALIGNMENT);
    return bn_gguf_writer_data(writer, zeros, padding);
}

bn_status bn_gguf_writer_begin_places(bn_gguf_writer *writer)
{
    BN_ASSERT(writer->written == 0);
    if (writer->status == BN_OK && ftruncate(writer->fd, (off_t)writer->file_bytes) != 0)
        fail_io(writer, "make room for");
    writer->written = writer->declared;
    return writer->status;
}

bn_status bn_gguf_writer_data_at(bn_gguf_writer *writer, uint64_t index, uint64_t at,
                                 const void *bytes, size_t n)
{
    uint64_t offset;
    BN_ASSERT(index < writer->n_tensors);
    memcpy(&offset, writer->offsets.bytes + index * sizeof offset, sizeof offset);
    BN_ASSERT(at <= writer->declared - offset && n <= writer->declared - offset - at);
    offset += writer->data_at + at;
    const uint8_t *from = bytes;
    while (n > 0) {
        ssize_t done = pwrite(writer->fd, from, n, (off_t)offset);
        if (done < 0 && errno == EINTR) continue;
        if (done < 0) return io_error(writer, "write");
        from += done;
        offset += (uint64_t)done;
        n -= (size_t)done;
    }
    return BN_OK;
}

bn_status bn_gguf_writer_finish(bn_gguf_writer *writer)
{
    BN_TRY(writer->status);
    BN_ASSERT(writer->written == writer->declared);
    /* Some file systems say only now that the disk was full. */
    int result = close(writer->fd);
    writer->fd = -1;
    if (result != 0) fail_io(writer, "write");
    if (writer->status == BN_OK && rename(writer->partial, writer->path) != 0)
        fail_io(writer, "rename the finished file to");
    writer->is_finished = writer->status == BN_OK;
    return writer->status;
}
