/* safetensors.c — headers and an index, read with distrust.
 *
 * The JSON of a file stays in memory because it holds the names. Tensors are sorted by name once
 * all files are read: so they can be found, and a name that occurs twice is noticed.
 */
#include "model/safetensors.h"

#include "common/alloc.h"
#include "common/json.h"
#include "common/log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LENGTH_BYTES 8u
#define SHARD_SUFFIX ".safetensors"
#define ONE_FILE "model.safetensors"
#define INDEX_FILE "model.safetensors.index.json"

static const struct {
    const char *name;
    uint8_t bytes;
} dtypes[BN_SAFETENSORS_DTYPE_COUNT] = {
    {"BOOL", 1}, {"U8", 1},  {"I8", 1},  {"F8_E4M3", 1}, {"F8_E5M2", 1},
    {"U16", 2},  {"I16", 2}, {"F16", 2}, {"BF16", 2},    {"U32", 4},
    {"I32", 4},  {"F32", 4}, {"U64", 8}, {"I64", 8},     {"F64", 8},
};

typedef struct shard {
    char *path;
    const char *name; /* in the index; NULL when there is none */
    uint64_t n_bytes;
    uint64_t data_at; /* where the header ends */
    bn_json *header;
} shard;

struct bn_safetensors {
    shard *files; /* [n_files] */
    uint32_t n_files;
    bn_safetensors_tensor *tensors; /* [n_tensors], by name when all are read */
    uint32_t n_tensors, capacity;
    bn_json *index;
};

static bn_status fail_memory(const char *path)
{
    return bn_fail(BN_ERR_NO_MEMORY, "MODEL-OPEN", "%s: no memory for its header", path);
}

const char *bn_safetensors_dtype_name(bn_safetensors_dtype dtype)
{
    return (unsigned)dtype < BN_SAFETENSORS_DTYPE_COUNT ? dtypes[dtype].name : "unknown";
}

/* Names go into messages and into paths: no control bytes, a bounded length. */
static bool is_good_name(const char *name)
{
    size_t n = strlen(name);
    if (n == 0 || n >= BN_SAFETENSORS_NAME_MAX) return false;
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)name[i] < 0x20 || name[i] == 0x7f) return false;
    return true;
}

static bn_status check_name(const char *path, const char *name)
{
    if (is_good_name(name)) return BN_OK;
    return bn_fail(BN_ERR_BAD_FILE, "MODEL-FILE",
                   "%s: a tensor's name is empty, longer than %u bytes or holds a control byte",
                   path, BN_SAFETENSORS_NAME_MAX - 1);
}

static bn_status fail_tensor(const shard *file, const char *name, const char *why)
{
    return bn_fail(BN_ERR_BAD_FILE, "MODEL-FILE", "%s: tensor %s %s", file->path, name, why);
}

static bn_status take_dtype(const shard *file, const bn_json *value, bn_safetensors_tensor *tensor)
{
    const char *text = NULL;
    if (!bn_json_as_text(value, &text)) return fail_tensor(file, tensor->name, "has no dtype");
    for (uint32_t i = 0; i < BN_SAFETENSORS_DTYPE_COUNT; i++)
        if (strcmp(dtypes[i].name, text) == 0) {
            tensor->dtype = (bn_safetensors_dtype)i;
            return BN_OK;
        }
    return bn_fail(BN_ERR_UNSUPPORTED, "MODEL-FILE",
                   "%s: tensor %s has the dtype \"%.32s\", which is not known", file->path,
                   tensor->name, text);
}

static bn_status take_shape(const shard *file, const bn_json *value, bn_safetensors_tensor *tensor,
                            uint64_t *n_bytes_out)
{
    uint64_t n = dtypes[tensor->dtype].bytes;
    size_t n_dims = bn_json_length(value);
    if (!bn_json_is_array(value) || n_dims > BN_SAFETENSORS_DIMS_MAX)
        return fail_tensor(file, tensor->name, "has no shape of at most 8 dimensions");
    tensor->n_dims = (uint32_t)n_dims;
    for (uint32_t i = 0; i < n_dims; i++) {
        uint64_t dim;
        if (!bn_json_as_u64(bn_json_at(value, i), &dim) || dim == 0 || dim > INT64_MAX / n)
            return bn_fail(BN_ERR_BAD_FILE, "MODEL-FILE",
                           "%s: dimension %" PRIu32 " of the shape of tensor %s is impossible",
                           file->path, i, tensor->name);
        tensor->dims[i] = dim;
        n *= dim;
    }
    *n_bytes_out = n;
    return BN_OK;
}

static bn_status take_range(const shard *file, const bn_json *value, uint64_t n_bytes,
                            bn_safetensors_tensor *tensor)
{
    uint64_t begin, end, room = file->n_bytes - file->data_at;
    if (bn_json_length(value) != 2 || !bn_json_as_u64(bn_json_at(value, 0), &begin) ||
        !bn_json_as_u64(bn_json_at(value, 1), &end) || begin > end)
        return fail_tensor(file, tensor->name, "has no data_offsets [begin, end]");
    if (end > room)
        return bn_fail(BN_ERR_BAD_FILE, "MODEL-FILE",
                       "%s: the file is cut short: tensor %s ends at byte %" PRIu64
                       " of the data, which has %" PRIu64,
                       file->path, tensor->name, end, room);
    if (end - begin != n_bytes)
        return bn_fail(BN_ERR_BAD_FILE, "MODEL-FILE",
                       "%s: tensor %s takes %" PRIu64 " bytes by its data_offsets, but %" PRIu64
                       " by its shape and dtype %s",
                       file->path, tensor->name, end - begin, n_bytes, dtypes[tensor->dtype].name);
    tensor->offset = file->data_at + begin;
    tensor->n_bytes = n_bytes;
    if (tensor->offset % dtypes[tensor->dtype].bytes != 0)
        return bn_fail(BN_ERR_BAD_FILE, "MODEL-FILE",
                       "%s: tensor %s lies at byte %" PRIu64
                       ", which is not a multiple of the %u bytes of its dtype %s; saving the file "
                       "again with the safetensors library aligns it",
                       file->path, tensor->name, tensor->offset, dtypes[tensor->dtype].bytes,
                       dtypes[tensor->dtype].name);
    return BN_OK;
}

static bn_status take_tensor(const shard *file, const bn_json *value, bn_safetensors_tensor *tensor)
{
    static const char *const known[] = {"dtype", "shape", "data_offsets"};
    uint64_t n_bytes = 0;
    if (!bn_json_is_object(value)) return fail_tensor(file, tensor->name, "is no JSON object");
    for (bn_json_member m = {0}; bn_json_next(value, &m);) {
        bool is_known = false;
        for (int i = 0; i < 3; i++)
            is_known = is_known || strcmp(m.name, known[i]) == 0;
        if (!is_known)
            return bn_fail(BN_ERR_UNSUPPORTED, "MODEL-FILE",
                           "%s: tensor %s has the member \"%.32s\", which is not known", file->path,
                           tensor->name, m.name);
    }
    BN_TRY(take_dtype(file, bn_json_get(value, "dtype"), tensor));
    BN_TRY(take_shape(file, bn_json_get(value, "shape"), tensor, &n_bytes));
    return take_range(file, bn_json_get(value, "data_offsets"), n_bytes, tensor);
}

static int by_offset(const void *a, const void *b)
{
    uint64_t x = ((const bn_safetensors_tensor *)a)->offset;
    uint64_t y = ((const bn_safetensors_tensor *)b)->offset;
    return x < y ? -1 : x > y;
}

/* From the header to the end every byte belongs to exactly one tensor. */
static bn_status check_ranges(const shard *file, bn_safetensors_tensor *tensors, uint32_t n)
{
    qsort(tensors, n, sizeof *tensors, by_offset);
    uint64_t end = file->data_at;
    for (uint32_t i = 0; i < n; i++) {
        const bn_safetensors_tensor *t = &tensors[i];
        if (t->offset < end)
            return bn_fail(BN_ERR_BAD_FILE, "MODEL-FILE",
                           "%s: tensors %s and %s overlap at byte %" PRIu64, file->path,
                           tensors[i - 1].name, t->name, t->offset);
        if (t->offset > end)
            return bn_fail(BN_ERR_BAD_FILE, "MODEL-FILE",
                           "%s: %" PRIu64 " bytes before tensor %s belong to no tensor", file->path,
                           t->offset - end, t->name);
        end = t->offset + t->n_bytes;
    }
    if (end != file->n_bytes)
        return bn_fail(BN_ERR_BAD_FILE, "MODEL-FILE",
                       "%s: the last %" PRIu64 " bytes belong to no tensor", file->path,
                       file->n_bytes - end);
    return BN_OK;
}

static bn_status reserve(bn_safetensors *set, const shard *file, size_t n)
{
    if (n > BN_SAFETENSORS_TENSORS_MAX - set->n_tensors)
        return bn_fail(BN_ERR_LIMIT, "MODEL-FILE", "%s: more than %u tensors", file->path,
                       BN_SAFETENSORS_TENSORS_MAX);
    uint32_t wanted = set->n_tensors + (uint32_t)n;
    if (wanted <= set->capacity) return BN_OK;
    bn_safetensors_tensor *grown = bn_realloc(set->tensors, wanted, sizeof *grown);
    if (grown == NULL) return fail_memory(file->path);
    set->tensors = grown;
    set->capacity = wanted;
    return BN_OK;
}

static bn_status take_tensors(bn_safetensors *set, uint32_t file_index)
{
    shard *file = &set->files[file_index];
    if (!bn_json_is_object(file->header))
        return bn_fail(BN_ERR_BAD_FILE, "MODEL-FILE", "%s: the header is no JSON object",
                       file->path);
    BN_TRY(reserve(set, file, bn_json_length(file->header)));
    uint32_t first = set->n_tensors;
    for (bn_json_member m = {0}; bn_json_next(file->header, &m);) {
        if (strcmp(m.name, "__metadata__") == 0) {
            if (!bn_json_is_object(m.value)) return fail_tensor(file, m.name, "is no JSON object");
            continue;
        }
        BN_TRY(check_name(file->path, m.name));
        bn_safetensors_tensor *tensor = &set->tensors[set->n_tensors];
        *tensor = (bn_safetensors_tensor){.name = m.name, .file = file_index};
        BN_TRY(take_tensor(file, m.value, tensor));
        set->n_tensors++;
    }
    if (set->n_tensors == first)
        return bn_fail(BN_ERR_BAD_FILE, "MODEL-FILE", "%s: the file holds no tensors", file->path);
    return check_ranges(file, &set->tensors[first], set->n_tensors - first);
}

static bn_status read_bytes(const shard *file, int fd, uint64_t at, void *out, size_t n)
{
    uint8_t *to = out;
    for (size_t done = 0; done < n;) {
        ssize_t got = pread(fd, to + done, n - done, (off_t)(at + done));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0)
            return bn_fail(BN_ERR_IO, "MODEL-READ", "cannot read the header of %s: %s", file->path,
                           strerror(errno));
        if (got == 0)
            return bn_fail(BN_ERR_BAD_FILE, "MODEL-READ", "%s shrank while it was read",
                           file->path);
        done += (size_t)got;
    }
    return BN_OK;
}

static bn_status parse_header(shard *file, const char *text, size_t n)
{
    char what[512];
    if (text[0] != '{')
        return bn_fail(BN_ERR_BAD_FILE, "MODEL-FILE",
                       "%s: not a safetensors file: its header does not begin with \"{\"",
                       file->path);
    snprintf(what, sizeof what, "%.400s: the header", file->path);
    return bn_json_parse_line(text, n, what, &file->header);
}

static bn_status read_header(shard *file, int fd)
{
    uint64_t n;
    if (file->n_bytes < LENGTH_BYTES)
        return bn_fail(BN_ERR_BAD_FILE, "MODEL-FILE",
                       "%s: the file is cut short: it has %" PRIu64
                       " bytes, fewer than the %u of a header's length",
                       file->path, file->n_bytes, LENGTH_BYTES);
    BN_TRY(read_bytes(file, fd, 0, &n, sizeof n));
    if (n < 2 || n > BN_SAFETENSORS_HEADER_BYTES_MAX)
        return bn_fail(BN_ERR_BAD_FILE, "MODEL-FILE",
                       "%s: a header of %" PRIu64
                       " bytes is announced; 2 to %u are possible: damaged, or not a safetensors "
                       "file",
                       file->path, n, BN_SAFETENSORS_HEADER_BYTES_MAX);
    if (n > file->n_bytes - LENGTH_BYTES)
        return bn_fail(BN_ERR_BAD_FILE, "MODEL-FILE",
                       "%s: the file is cut short: its header takes %" PRIu64
                       " bytes, but the file has %" PRIu64,
                       file->path, n, file->n_bytes);
    char *text = bn_alloc((size_t)n, 1);
    if (text == NULL) return fail_memory(file->path);
    bn_status status = read_bytes(file, fd, LENGTH_BYTES, text, (size_t)n);
    if (status == BN_OK) status = parse_header(file, text, (size_t)n);
    bn_free(text);
    file->data_at = LENGTH_BYTES + n;
    return status;
}

static bn_status open_shard(shard *file)
{
    struct stat stat;
    /* O_NONBLOCK: a named pipe must not make us wait for its writer. */
    int fd = open(file->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 && file->name != NULL && errno == ENOENT)
        return bn_fail(BN_ERR_IO, "MODEL-OPEN",
                       "%s is missing: the index lists tensors in it; download it too", file->path);
    if (fd < 0 || fstat(fd, &stat) != 0) {
        int code = errno;
        if (fd >= 0) close(fd);
        return bn_fail(BN_ERR_IO, "MODEL-OPEN", "cannot open %s: %s", file->path, strerror(code));
    }
    bn_status status = BN_OK;
    if (!S_ISREG(stat.st_mode))
        status = bn_fail(BN_ERR_BAD_FILE, "MODEL-OPEN", "%s is not a regular file", file->path);
    file->n_bytes = (uint64_t)stat.st_size;
    if (status == BN_OK) status = read_header(file, fd);
    close(fd);
    return status;
}

static bn_status add_file(bn_safetensors *set, const char *folder, const char *name, bool is_listed)
{
    size_t n = strlen(folder) + strlen(name) + 2;
    char *path = bn_alloc(n, 1);
    shard *grown = bn_realloc(set->files, set->n_files + 1, sizeof *grown);
    if (grown != NULL) set->files = grown;
    if (path == NULL || grown == NULL) {
        bn_free(path);
        return fail_memory(folder);
    }
    if (folder[0] == '\0')
        snprintf(path, n, "%s", name);
    else
        snprintf(path, n, "%s/%s", folder, name);
    set->files[set->n_files++] = (shard){.path = path, .name = is_listed ? name : NULL};
    return BN_OK;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const bn_safetensors_tensor *)a)->name,
                  ((const bn_safetensors_tensor *)b)->name);
}

/* Reads the files that have been added. */
static bn_status read_files(bn_safetensors *set)
{
    for (uint32_t i = 0; i < set->n_files; i++) {
        BN_TRY(open_shard(&set->files[i]));
        BN_TRY(take_tensors(set, i));
    }
    qsort(set->tensors, set->n_tensors, sizeof *set->tensors, by_name);
    for (uint32_t i = 1; i < set->n_tensors; i++) {
        const bn_safetensors_tensor *a = &set->tensors[i - 1], *b = &set->tensors[i];
        if (strcmp(a->name, b->name) == 0)
            return bn_fail(BN_ERR_BAD_FILE, "MODEL-FILE", "tensor %s is in %s and in %s", a->name,
                           set->files[a->file].path, set->files[b->file].path);
    }
    return BN_OK;
}

/* A shard is a plain file of the same folder: the name must not lead elsewhere. */
static bn_status check_shard_name(const char *path, const char *name)
{
    size_t n = strlen(name), n_suffix = strlen(SHARD_SUFFIX);
    bool is_plain = is_good_name(name) && name[0] != '.' && strchr(name, '/') == NULL &&
                    strchr(name, '\\') == NULL;
    if (is_plain && n > n_suffix && strcmp(name + n - n_suffix, SHARD_SUFFIX) == 0) return BN_OK;
    return bn_fail(BN_ERR_BAD_FILE, "MODEL-FILE",
                   "%s: the shard name \"%.64s\" is refused: a name ending in %s in the same "
                   "folder is needed, not a path",
                   path, is_good_name(name) ? name : "…", SHARD_SUFFIX);
}

/* The files that the map names, each once. */
static bn_status add_shards(bn_safetensors *set, const char *folder, const char *path,
                            const bn_json *map)
{
    uint32_t last = 0;
    for (bn_json_member m = {0}; bn_json_next(map, &m);) {
        const char *name = NULL;
        BN_TRY(check_name(path, m.name));
        if (!bn_json_as_text(m.value, &name))
            return bn_fail(BN_ERR_BAD_FILE, "MODEL-FILE",
                           "%s: the weight_map names no file for tensor %s", path, m.name);
        if (set->n_files > 0 && strcmp(set->files[last].name, name) == 0) continue;
        for (last = 0; last < set->n_files; last++)
            if (strcmp(set->files[last].name, name) == 0) break;
        if (last < set->n_files) continue;
        BN_TRY(check_shard_name(path, name));
        if (set->n_files == BN_SAFETENSORS_FILES_MAX)
            return bn_fail(BN_ERR_LIMIT, "MODEL-FILE", "%s: more than %u shards", path,
                           BN_SAFETENSORS_FILES_MAX);
        BN_TRY(add_file(set, folder, name, true));
    }
    return BN_OK;
}

/* The map and the shards hold the same tensors, each in the same shard. */
static bn_status check_map(const bn_safetensors *set, const char *path, const bn_json *map)
{
    for (uint32_t i = 0; i < set->n_tensors; i++) {
        const bn_safetensors_tensor *tensor = &set->tensors[i];
        const shard *file = &set->files[tensor->file];
        const char *name = NULL;
        if (!bn_json_as_text(bn_json_get(map, tensor->name), &name))
            return bn_fail(BN_ERR_BAD_FILE, "MODEL-FILE",
                           "%s holds tensor %s, which %s does not list", file->path, tensor->name,
                           path);
        if (strcmp(name, file->name) != 0)
            return bn_fail(BN_ERR_BAD_FILE, "MODEL-FILE",
                           "%s holds tensor %s, which %s lists in %s", file->path, tensor->name,
                           path, name);
    }
    for (bn_json_member m = {0}; bn_json_next(map, &m);) {
        const char *name = "";
        if (bn_safetensors_find(set, m.name) != NULL) continue;
        (void)bn_json_as_text(m.value, &name);
        return bn_fail(BN_ERR_BAD_FILE, "MODEL-FILE",
                       "%s: tensor %s is listed in %s, which does not hold it", path, m.name, name);
    }
    return BN_OK;
}

static bn_status read_index(bn_safetensors *set, const char *folder, const char *path)
{
    BN_TRY(bn_json_read(path, BN_SAFETENSORS_INDEX_BYTES_MAX, &set->index));
    const bn_json *map = bn_json_get(set->index, "weight_map");
    if (!bn_json_is_object(map) || bn_json_length(map) == 0)
        return bn_fail(BN_ERR_BAD_FILE, "MODEL-FILE",
                       "%s: there is no weight_map that lists tensors", path);
    if (bn_json_length(map) > BN_SAFETENSORS_TENSORS_MAX)
        return bn_fail(BN_ERR_LIMIT, "MODEL-FILE", "%s: the weight_map lists more than %u tensors",
                       path, BN_SAFETENSORS_TENSORS_MAX);
    BN_TRY(add_shards(set, folder, path, map));
    BN_TRY(read_files(set));
    return check_map(set, path, map);
}

static bool has_file(const char *folder, const char *name, char *path, size_t n)
{
    snprintf(path, n, "%s/%s", folder, name);
    return access(path, F_OK) == 0;
}

static bn_status read_folder(bn_safetensors *set, const char *folder)
{
    size_t n = strlen(folder) + sizeof INDEX_FILE + 1;
    char *path = bn_alloc(n, 1);
    if (path == NULL) return fail_memory(folder);
    bn_status status;
    if (has_file(folder, ONE_FILE, path, n)) {
        status = add_file(set, folder, ONE_FILE, false);
        if (status == BN_OK) status = read_files(set);
    } else if (has_file(folder, INDEX_FILE, path, n)) {
        status = read_index(set, folder, path);
    } else {
        status =
            bn_fail(BN_ERR_IO, "MODEL-OPEN",
                    "%s holds neither " ONE_FILE " nor " INDEX_FILE
                    "; weights in other formats (.bin, .pt) must be saved as safetensors first",
                    folder);
    }
    bn_free(path);
    return status;
}

static bn_status create(const char *path, bn_safetensors **set_out)
{
    *set_out = bn_alloc(1, sizeof **set_out);
    return *set_out != NULL ? BN_OK : fail_memory(path);
}

bn_status bn_safetensors_open(const char *folder, bn_safetensors **set_out)
{
    bn_safetensors *set;
    BN_TRY(create(folder, &set));
    bn_status status = read_folder(set, folder);
    if (status == BN_OK)
        *set_out = set;
    else
        bn_safetensors_close(set);
    return status;
}

bn_status bn_safetensors_open_file(const char *path, bn_safetensors **set_out)
{
    bn_safetensors *set;
    BN_TRY(create(path, &set));
    bn_status status = add_file(set, "", path, false);
    if (status == BN_OK) status = read_files(set);
    if (status == BN_OK)
        *set_out = set;
    else
        bn_safetensors_close(set);
    return status;
}

void bn_safetensors_close(bn_safetensors *set)
{
    if (set == NULL) return;
    for (uint32_t i = 0; i < set->n_files; i++) {
        bn_json_free(set->files[i].header);
        bn_free(set->files[i].path);
    }
    bn_json_free(set->index);
    bn_free(set->files);
    bn_free(set->tensors);
    bn_free(set);
}

uint32_t bn_safetensors_n_files(const bn_safetensors *set)
{
    return set->n_files;
}

const char *bn_safetensors_file_path(const bn_safetensors *set, uint32_t file)
{
    BN_ASSERT(file < set->n_files);
    return set->files[file].path;
}

uint64_t bn_safetensors_file_bytes(const bn_safetensors *set, uint32_t file)
{
    BN_ASSERT(file < set->n_files);
    return set->files[file].n_bytes;
}

uint32_t bn_safetensors_n_tensors(const bn_safetensors *set)
{
    return set->n_tensors;
}

const bn_safetensors_tensor *bn_safetensors_at(const bn_safetensors *set, uint32_t index)
{
    BN_ASSERT(index < set->n_tensors);
    return &set->tensors[index];
}

const bn_safetensors_tensor *bn_safetensors_find(const bn_safetensors *set, const char *name)
{
    const bn_safetensors_tensor key = {.name = name};
    if (set->n_tensors == 0) return NULL;
    return bsearch(&key, set->tensors, set->n_tensors, sizeof key, by_name);
}
