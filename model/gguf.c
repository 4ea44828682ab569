/* gguf.c — opening a file, looking keys and tensors up, reading and mapping their bytes. */
#include "model/gguf.h"

#include "common/alloc.h"
#include "common/log.h"
#include "model/gguf_parse.h"
#include "model/gguf_split.h"
#include "model/hf_folder.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static bn_status open_part(bn_gguf_part *part)
{
    /* O_NONBLOCK: a named pipe must not make us wait for its writer. */
    part->fd = open(part->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (part->fd < 0)
        return bn_fail(BN_ERR_IO, "MODEL-OPEN", "cannot open the model file %s: %s", part->path,
                       strerror(errno));
    struct stat stat;
    if (fstat(part->fd, &stat) != 0)
        return bn_fail(BN_ERR_IO, "MODEL-OPEN", "cannot inspect the model file %s: %s", part->path,
                       strerror(errno));
    if (!S_ISREG(stat.st_mode))
        return bn_fail(BN_ERR_BAD_FILE, "MODEL-OPEN", "%s is not a regular file%s", part->path,
                       S_ISDIR(stat.st_mode) ? " but a directory" : "");
    part->n_bytes = (uint64_t)stat.st_size;
    return BN_OK;
}

static bn_status reserve_part(bn_gguf *file, const char *path)
{
    uint32_t n = file->n_parts;
    char *copy = bn_strdup(path);
    bn_gguf_part *grown = bn_realloc(file->parts, n + 1, sizeof *grown);
    if (grown != NULL) file->parts = grown;
    if (copy == NULL || grown == NULL) {
        bn_free(copy);
        return bn_fail(BN_ERR_NO_MEMORY, "MODEL-OPEN", "%s: no memory", path);
    }
    file->parts[n] = (bn_gguf_part){.path = copy, .fd = -1};
    file->n_parts++;
    return BN_OK;
}

bn_status bn_gguf_add_part(bn_gguf *file, const char *path)
{
    BN_TRY(reserve_part(file, path));
    bn_gguf_part *part = &file->parts[file->n_parts - 1];
    BN_TRY(open_part(part));
    file->file_bytes += part->n_bytes;
    return BN_OK;
}

bn_status bn_gguf_add_memory(bn_gguf *file, const char *name, uint8_t *bytes, uint64_t n)
{
    bn_status status = reserve_part(file, name);
    if (status != BN_OK) {
        bn_free(bytes);
        return status;
    }
    bn_gguf_part *part = &file->parts[file->n_parts - 1];
    part->bytes = bytes;
    part->n_bytes = n;
    file->file_bytes += n;
    return BN_OK;
}

static bn_status open_any(bn_gguf *file)
{
    struct stat stat_now;
    if (stat(file->path, &stat_now) == 0 && S_ISDIR(stat_now.st_mode))
        return bn_hf_folder_open(file);
    BN_TRY(bn_gguf_add_part(file, file->path));
    BN_TRY(bn_gguf_parse(file));
    return bn_gguf_split_open(file);
}

bn_status bn_gguf_open(const char *path, bn_gguf **file_out)
{
    BN_ASSERT(path != NULL);
    bn_gguf *file = bn_alloc(1, sizeof *file);
    if (file == NULL) return bn_fail(BN_ERR_NO_MEMORY, "MODEL-OPEN", "%s: no memory", path);
    file->path = bn_strdup(path);
    bn_status status = file->path != NULL
                           ? open_any(file)
                           : bn_fail(BN_ERR_NO_MEMORY, "MODEL-OPEN", "%s: no memory", path);
    if (status != BN_OK) {
        bn_gguf_close(file);
        return status;
    }
    *file_out = file;
    return BN_OK;
}

void bn_gguf_close(bn_gguf *file)
{
    if (file == NULL) return;
    if (file->keys != NULL)
        for (uint64_t i = 0; i < file->n_keys; i++)
            bn_free(file->keys[i].strings);
    bn_free(file->keys);
    bn_free(file->key_index);
    bn_free(file->tensors);
    bn_free(file->tensor_index);
    bn_free(file->header);
    for (uint32_t i = 0; i < file->n_parts; i++) {
        if (file->parts[i].fd >= 0) close(file->parts[i].fd);
        bn_free(file->parts[i].path);
        bn_free(file->parts[i].bytes);
        bn_free(file->parts[i].names);
    }
    bn_free(file->parts);
    bn_free(file->places);
    bn_free(file->path);
    bn_free(file);
}

const char *bn_gguf_path(const bn_gguf *file)
{
    return file->path;
}

uint64_t bn_gguf_file_bytes(const bn_gguf *file)
{
    return file->file_bytes;
}

uint32_t bn_gguf_version(const bn_gguf *file)
{
    return file->version;
}

uint64_t bn_gguf_n_keys(const bn_gguf *file)
{
    return file->n_keys;
}

const char *bn_gguf_key_name(const bn_gguf *file, uint64_t index)
{
    BN_ASSERT(index < file->n_keys);
    return file->keys[index].name;
}

uint64_t bn_gguf_n_tensors(const bn_gguf *file)
{
    return file->n_tensors;
}

const bn_gguf_tensor *bn_gguf_tensor_at(const bn_gguf *file, uint64_t index)
{
    BN_ASSERT(index < file->n_tensors);
    return &file->tensors[index];
}

const bn_gguf_tensor *bn_gguf_tensor_find(const bn_gguf *file, const char *name)
{
    uint64_t at = bn_gguf_parse_find(file->tensor_index, file->n_tensors, name);
    return at == UINT64_MAX ? NULL : &file->tensors[at];
}

static const bn_gguf_key *find_key(const bn_gguf *file, const char *name)
{
    uint64_t at = bn_gguf_parse_find(file->key_index, file->n_keys, name);
    return at == UINT64_MAX ? NULL : &file->keys[at];
}

static void fail_type(const bn_gguf *file, const bn_gguf_key *key, const char *wanted,
                      bn_status *status_out)
{
    if (*status_out != BN_OK) return;
    bool is_array = key->type == BN_GGUF_ARRAY;
    *status_out =
        bn_fail(BN_ERR_BAD_FILE, "MODEL-KEY", "%s: key %s is %s%s, but %s is needed", file->path,
                key->name, is_array ? "an array of " : "",
                bn_gguf_parse_type_name(is_array ? key->element_type : key->type), wanted);
}

/* The value of an integer key, sign and magnitude; false when it is no integer. */
static bool read_integer(const bn_gguf *file, const bn_gguf_key *key, bool *is_negative_out,
                         uint64_t *value_out)
{
    const uint8_t *at = file->header + key->value_at;
    int64_t value;
    uint16_t half;
    switch (key->type) {
    case BN_GGUF_U8: value = at[0]; break;
    case BN_GGUF_I8: value = (int8_t)at[0]; break;
    case BN_GGUF_U16: memcpy(&half, at, 2), value = half; break;
    case BN_GGUF_I16: memcpy(&half, at, 2), value = (int16_t)half; break;
    case BN_GGUF_U32: value = bn_gguf_parse_u32(at); break;
    case BN_GGUF_I32: value = (int32_t)bn_gguf_parse_u32(at); break;
    case BN_GGUF_U64:
        *is_negative_out = false;
        *value_out = bn_gguf_parse_u64(at);
        return true;
    case BN_GGUF_I64: value = (int64_t)bn_gguf_parse_u64(at); break;
    default: return false;
    }
    *is_negative_out = value < 0;
    *value_out = (uint64_t)value;
    return true;
}

bool bn_gguf_number_at(const bn_gguf *file, uint64_t index, double *out)
{
    BN_ASSERT(index < file->n_keys);
    const bn_gguf_key *key = &file->keys[index];
    const uint8_t *at = file->header + key->value_at;
    bool is_negative = false;
    uint64_t value = 0;
    float narrow;
    if (key->type == BN_GGUF_F64) {
        memcpy(out, at, sizeof *out);
    } else if (key->type == BN_GGUF_F32) {
        memcpy(&narrow, at, sizeof narrow);
        *out = (double)narrow;
    } else if (key->type == BN_GGUF_BOOL) {
        *out = at[0] != 0 ? 1.0 : 0.0;
    } else if (read_integer(file, key, &is_negative, &value)) {
        *out = is_negative ? -(double)(0 - value) : (double)value;
    } else {
        return false;
    }
    return true;
}

void bn_gguf_value_text(const bn_gguf *file, uint64_t index, char text[BN_GGUF_VALUE_TEXT_MAX])
{
    BN_ASSERT(index < file->n_keys);
    const bn_gguf_key *key = &file->keys[index];
    const char *bytes = (const char *)file->header + key->value_at;
    double number = 0.0;
    if (bn_gguf_number_at(file, index, &number)) {
        if (key->type == BN_GGUF_BOOL)
            snprintf(text, BN_GGUF_VALUE_TEXT_MAX, "%s", number != 0.0 ? "true" : "false");
        else
            snprintf(text, BN_GGUF_VALUE_TEXT_MAX, "%.9g", number);
        return;
    }
    if (key->type == BN_GGUF_ARRAY) {
        snprintf(text, BN_GGUF_VALUE_TEXT_MAX, "an array of %" PRIu64, key->n);
        return;
    }
    size_t n = key->n < 32 ? (size_t)key->n : 32, k = 0;
    text[k++] = '"';
    for (size_t i = 0; i < n; i++)
        text[k++] = (unsigned char)bytes[i] < 0x20 || bytes[i] == 0x7f ? '?' : bytes[i];
    memcpy(text + k, key->n > n ? "…\"" : "\"", key->n > n ? sizeof "…\"" : 2);
}

bool bn_gguf_get_u32(const bn_gguf *file, const char *key_name, uint32_t *out,
                     bn_status *status_out)
{
    const bn_gguf_key *key = find_key(file, key_name);
    if (key == NULL) return false;
    bool is_negative = false;
    uint64_t value = 0;
    if (!read_integer(file, key, &is_negative, &value)) {
        fail_type(file, key, "an integer", status_out);
        return false;
    }
    if (is_negative || value > UINT32_MAX) {
        if (*status_out == BN_OK)
            *status_out =
                bn_fail(BN_ERR_BAD_FILE, "MODEL-KEY",
                        "%s: key %s is %s%" PRIu64 ", outside 0 to 4294967295", file->path,
                        key->name, is_negative ? "-" : "", is_negative ? 0 - value : value);
        return false;
    }
    *out = (uint32_t)value;
    return true;
}

bool bn_gguf_get_f32(const bn_gguf *file, const char *key_name, float *out, bn_status *status_out)
{
    const bn_gguf_key *key = find_key(file, key_name);
    if (key == NULL) return false;
    if (key->type == BN_GGUF_F32) {
        memcpy(out, file->header + key->value_at, sizeof *out);
        return true;
    }
    if (key->type == BN_GGUF_F64) {
        double wide;
        memcpy(&wide, file->header + key->value_at, sizeof wide);
        *out = (float)wide;
        return true;
    }
    fail_type(file, key, "f32", status_out);
    return false;
}

bool bn_gguf_get_bool(const bn_gguf *file, const char *key_name, bool *out, bn_status *status_out)
{
    const bn_gguf_key *key = find_key(file, key_name);
    if (key == NULL) return false;
    if (key->type != BN_GGUF_BOOL) {
        fail_type(file, key, "bool", status_out);
        return false;
    }
    *out = file->header[key->value_at] != 0;
    return true;
}

bool bn_gguf_get_string(const bn_gguf *file, const char *key_name, bn_gguf_string *out,
                        bn_status *status_out)
{
    const bn_gguf_key *key = find_key(file, key_name);
    if (key == NULL) return false;
    if (key->type != BN_GGUF_STRING) {
        fail_type(file, key, "a string", status_out);
        return false;
    }
    *out = (bn_gguf_string){(const char *)file->header + key->value_at, (size_t)key->n};
    return true;
}

bool bn_gguf_get_array(const bn_gguf *file, const char *key_name, bn_gguf_type type,
                       bn_gguf_array *out, bn_status *status_out)
{
    const bn_gguf_key *key = find_key(file, key_name);
    if (key == NULL) return false;
    if (key->type != BN_GGUF_ARRAY || key->element_type != type) {
        char wanted[32] = "an array of ";
        strncat(wanted, bn_gguf_parse_type_name(type), sizeof wanted - strlen(wanted) - 1);
        fail_type(file, key, wanted, status_out);
        return false;
    }
    *out = (bn_gguf_array){
        .type = type,
        .n = key->n,
        .data = type == BN_GGUF_STRING ? NULL : file->header + key->value_at,
        .strings = key->strings,
    };
    return true;
}

bn_status bn_gguf_part_read(const bn_gguf *file, uint32_t part_index, uint64_t offset, size_t n,
                            void *out)
{
    BN_ASSERT(part_index < file->n_parts);
    const bn_gguf_part *part = &file->parts[part_index];
    uint8_t *to = out;
    if (part->bytes != NULL) {
        BN_ASSERT(n <= part->n_bytes && offset <= part->n_bytes - n);
        memcpy(to, part->bytes + offset, n);
        return BN_OK;
    }
    for (size_t done = 0; done < n;) {
        ssize_t got = pread(part->fd, to + done, n - done, (off_t)(offset + done));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0)
            return bn_fail(BN_ERR_IO, "MODEL-READ",
                           "cannot read %zu bytes at %" PRIu64 " of %s: %s", n, offset, part->path,
                           strerror(errno));
        if (got == 0)
            return bn_fail(BN_ERR_BAD_FILE, "MODEL-READ",
                           "%s ends at byte %" PRIu64 "; it had %" PRIu64
                           " when it was opened: it has shrunk",
                           part->path, offset + done, part->n_bytes);
        done += (size_t)got;
    }
    return BN_OK;
}

bn_status bn_gguf_read(const bn_gguf *file, const bn_gguf_tensor *tensor, uint64_t at, size_t n,
                       void *out)
{
    BN_ASSERT(n <= tensor->n_bytes && at <= tensor->n_bytes - n);
    return bn_gguf_part_read(file, tensor->part, tensor->offset + at, n, out);
}

bn_status bn_gguf_map(const bn_gguf *file, const bn_gguf_tensor *tensor, const uint8_t **data_out,
                      void **base_out, size_t *length_out)
{
    const bn_gguf_part *part = &file->parts[tensor->part];
    struct stat stat;
    if (part->bytes != NULL) {
        *data_out = part->bytes + tensor->offset;
        *base_out = NULL;
        *length_out = 0;
        return BN_OK;
    }
    if (fstat(part->fd, &stat) != 0 || (uint64_t)stat.st_size < tensor->offset + tensor->n_bytes)
        return bn_fail(BN_ERR_BAD_FILE, "MODEL-READ",
                       "%s has shrunk since it was opened: tensor %s is no longer in it",
                       part->path, tensor->name);
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t begin = tensor->offset / page * page;
    size_t length = (size_t)(tensor->offset + tensor->n_bytes - begin);
    void *base = mmap(NULL, length, PROT_READ, MAP_SHARED, part->fd, (off_t)begin);
    if (base == MAP_FAILED)
        return bn_fail(BN_ERR_IO, "MODEL-READ", "cannot map %zu bytes of tensor %s of %s: %s",
                       length, tensor->name, part->path, strerror(errno));
    *data_out = (const uint8_t *)base + (tensor->offset - begin);
    *base_out = base;
    *length_out = length;
    return BN_OK;
}

void bn_gguf_unmap(void *base, size_t length)
{
    if (base != NULL) munmap(base, length);
}
