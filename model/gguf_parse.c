/* gguf_parse.c — header, keys and tensor table, read with distrust.
 *
 * The length of the header is not written anywhere, so a cursor reads the file front to back and
 * grows its buffer by doubling; positions stay offsets until the buffer has stopped moving. Each
 * count is compared with the bytes that its elements would need at least before memory is taken
 * for it. A name is moved one byte to the left, over its own length field, to make room for its
 * NUL: so names need no second copy, and whoever wants the file's true bytes reads the file.
 */
#include "model/gguf_parse.h"

#include "common/alloc.h"
#include "common/log.h"
#include "model/gguf_layout.h"
#include "model/tensor_type.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_READ_BYTES (1u << 16)
#define KEY_BYTES_MIN 13     /* empty name, type, one byte */
#define TENSOR_BYTES_MIN 32  /* empty name, one dimension */
#define ALIGNMENT_DEFAULT 32 /* of the specification */
#define ALIGNMENT_MIN 8      /* rows are read in place as f32 */

static const char *const type_names[BN_GGUF_TYPE_COUNT] = {
    "u8", "i8", "u16", "i16", "u32", "i32", "f32", "bool", "string", "array", "u64", "i64", "f64",
};
static const uint8_t type_bytes[BN_GGUF_TYPE_COUNT] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

typedef struct cursor {
    bn_gguf *file;
    uint64_t at;     /* next byte */
    uint64_t filled; /* bytes of the header in memory */
    uint64_t capacity;
    const char *what; /* what is being read, for messages */
    uint64_t index;
} cursor;

const char *bn_gguf_parse_type_name(bn_gguf_type type)
{
    return (unsigned)type < BN_GGUF_TYPE_COUNT ? type_names[type] : "unknown";
}

size_t bn_gguf_parse_type_bytes(bn_gguf_type type)
{
    return (unsigned)type < BN_GGUF_TYPE_COUNT ? type_bytes[type] : 0;
}

uint64_t bn_gguf_parse_u64(const uint8_t *bytes)
{
    uint64_t value;
    memcpy(&value, bytes, sizeof value);
    return value;
}

uint32_t bn_gguf_parse_u32(const uint8_t *bytes)
{
    uint32_t value;
    memcpy(&value, bytes, sizeof value);
    return value;
}

/* Makes n bytes from the cursor on readable. */
static bn_status need(cursor *c, uint64_t n)
{
    bn_gguf *file = c->file;
    uint64_t file_bytes = file->parts[0].n_bytes;
    if (n > file_bytes || c->at > file_bytes - n)
        return bn_fail(BN_ERR_BAD_FILE, "MODEL-FILE",
                       "%s: the file is cut short: %s %" PRIu64 " needs %" PRIu64
                       " bytes at offset %" PRIu64 ", but the file has %" PRIu64,
                       file->path, c->what, c->index, n, c->at, file_bytes);
    uint64_t end = c->at + n;
    if (end > BN_GGUF_HEADER_BYTES_MAX)
        return bn_fail(BN_ERR_BAD_FILE, "MODEL-FILE",
                       "%s: the header is longer than %llu bytes (at %s %" PRIu64 ")", file->path,
                       BN_GGUF_HEADER_BYTES_MAX, c->what, c->index);
    if (end <= c->filled) return BN_OK;
    if (end > c->capacity) {
        uint64_t capacity = c->capacity == 0 ? FIRST_READ_BYTES : c->capacity;
        while (capacity < end)
            capacity *= 2;
        if (capacity > file_bytes) capacity = file_bytes;
        uint8_t *grown = bn_realloc(file->header, (size_t)capacity, 1);
        if (grown == NULL)
            return bn_fail(BN_ERR_NO_MEMORY, "MODEL-FILE",
                           "%s: no memory for %" PRIu64 " bytes of header", file->path, capacity);
        file->header = grown;
        c->capacity = capacity;
    }
    BN_TRY(bn_gguf_part_read(file, 0, c->filled, (size_t)(c->capacity - c->filled),
                             file->header + c->filled));
    c->filled = c->capacity;
    return BN_OK;
}

static bn_status take_u32(cursor *c, uint32_t *out)
{
    BN_TRY(need(c, 4));
    *out = bn_gguf_parse_u32(c->file->header + c->at);
    c->at += 4;
    return BN_OK;
}

static bn_status take_u64(cursor *c, uint64_t *out)
{
    BN_TRY(need(c, 8));
    *out = bn_gguf_parse_u64(c->file->header + c->at);
    c->at += 8;
    return BN_OK;
}

/* Length and place of a string; the cursor ends after it. */
static bn_status take_string(cursor *c, uint64_t max, uint64_t *at_out, uint64_t *n_out)
{
    uint64_t n;
    BN_TRY(take_u64(c, &n));
    if (n > max)
        return bn_fail(BN_ERR_BAD_FILE, "MODEL-FILE",
                       "%s: %s %" PRIu64 " has a string of %" PRIu64 " bytes at offset %" PRIu64
                       ", more than %" PRIu64,
                       c->file->path, c->what, c->index, n, c->at - 8, max);
    BN_TRY(need(c, n));
    *at_out = c->at;
    *n_out = n;
    c->at += n;
    return BN_OK;
}

/* A name: NUL-terminated in place, at *at_out afterwards. */
static bn_status take_name(cursor *c, uint64_t max, uint64_t *at_out)
{
    uint64_t at, n;
    BN_TRY(take_string(c, max, &at, &n));
    uint8_t *bytes = c->file->header + at;
    if (n == 0)
        return bn_fail(BN_ERR_BAD_FILE, "MODEL-FILE", "%s: %s %" PRIu64 " has an empty name",
                       c->file->path, c->what, c->index);
    for (uint64_t i = 0; i < n; i++)
        if (bytes[i] < 0x20 || bytes[i] == 0x7f)
            return bn_fail(BN_ERR_BAD_FILE, "MODEL-FILE",
                           "%s: the name of %s %" PRIu64 " holds the control byte 0x%02x",
                           c->file->path, c->what, c->index, bytes[i]);
    memmove(bytes - 1, bytes, (size_t)n);
    *(bytes + n - 1) = 0;
    *at_out = at - 1;
    return BN_OK;
}

/* Passes over the values of one scalar, string or array; fills key->n and value_at. */
static bn_status take_array(cursor *c, bn_gguf_key *key)
{
    uint32_t element;
    BN_TRY(take_u32(c, &element));
    BN_TRY(take_u64(c, &key->n));
    const char *path = c->file->path, *name = (const char *)c->file->header + (uintptr_t)key->name;
    if (element >= BN_GGUF_TYPE_COUNT || element == BN_GGUF_ARRAY)
        return bn_fail(BN_ERR_BAD_FILE, "MODEL-FILE",
                       "%s: key %s is an array of elements of type %" PRIu32
                       ", which is not supported",
                       path, name, element);
    if (key->n > BN_GGUF_ARRAY_MAX)
        return bn_fail(BN_ERR_BAD_FILE, "MODEL-FILE",
                       "%s: key %s has %" PRIu64 " elements, more than %u", path, name, key->n,
                       BN_GGUF_ARRAY_MAX);
    key->element_type = (bn_gguf_type)element;
    key->value_at = c->at;
    if (element != BN_GGUF_STRING) {
        BN_TRY(need(c, key->n * type_bytes[element]));
        c->at += key->n * type_bytes[element];
        return BN_OK;
    }
    for (uint64_t i = 0; i < key->n; i++) {
        uint64_t at, n;
        BN_TRY(take_string(c, BN_GGUF_STRING_MAX, &at, &n));
    }
    return BN_OK;
}

static bn_status take_key(cursor *c, bn_gguf_key *key)
{
    uint64_t name_at;
    uint32_t type;
    BN_TRY(take_name(c, BN_GGUF_KEY_NAME_MAX, &name_at));
    key->name = (const char *)(uintptr_t)name_at; /* an offset until finish_keys */
    BN_TRY(take_u32(c, &type));
    if (type >= BN_GGUF_TYPE_COUNT)
        return bn_fail(BN_ERR_BAD_FILE, "MODEL-FILE",
                       "%s: key %s has the unknown value type %" PRIu32, c->file->path,
                       (const char *)c->file->header + name_at, type);
    key->type = (bn_gguf_type)type;
    if (type == BN_GGUF_ARRAY) return take_array(c, key);
    if (type == BN_GGUF_STRING) return take_string(c, BN_GGUF_STRING_MAX, &key->value_at, &key->n);
    BN_TRY(need(c, type_bytes[type]));
    key->n = 1;
    key->value_at = c->at;
    c->at += type_bytes[type];
    return BN_OK;
}

static bn_status take_tensor(cursor *c, bn_gguf_tensor *tensor)
{
    uint64_t name_at, n_elements = 1;
    const char *path = c->file->path;
    BN_TRY(take_name(c, BN_GGUF_NAME_MAX - 1, &name_at));
    tensor->name = (const char *)(uintptr_t)name_at; /* an offset until finish_tensors */
    BN_TRY(take_u32(c, &tensor->n_dims));
    if (tensor->n_dims < 1 || tensor->n_dims > 4)
        return bn_fail(BN_ERR_BAD_FILE, "MODEL-FILE",
                       "%s: tensor %s has %" PRIu32 " dimensions; 1 to 4 are possible", path,
                       (const char *)c->file->header + name_at, tensor->n_dims);
    for (uint32_t i = 0; i < 4; i++) {
        tensor->dims[i] = 1;
        if (i < tensor->n_dims) BN_TRY(take_u64(c, &tensor->dims[i]));
        if (tensor->dims[i] == 0 || tensor->dims[i] > (uint64_t)INT64_MAX / n_elements)
            return bn_fail(BN_ERR_BAD_FILE, "MODEL-FILE",
                           "%s: tensor %s has the impossible dimension %" PRIu64, path,
                           (const char *)c->file->header + name_at, tensor->dims[i]);
        n_elements *= tensor->dims[i];
    }
    BN_TRY(take_u32(c, &tensor->type));
    BN_TRY(take_u64(c, &tensor->offset));
    if (tensor->type >= BN_TENSOR_MEMORY_ONLY && c->file->places == NULL)
        return bn_fail(BN_ERR_BAD_FILE, "MODEL-FILE",
                       "%s: tensor %s has the type %" PRIu32 ", which no file can have", path,
                       (const char *)c->file->header + name_at, tensor->type);
    if (bn_gguf_layout_is_double(tensor->type)) return BN_OK; /* settled by finish_tensors */
    if (!bn_tensor_type_span(tensor->type, tensor->dims[0], n_elements, &tensor->n_bytes))
        return bn_fail(BN_ERR_BAD_FILE, "MODEL-FILE",
                       "%s: tensor %s has %" PRIu64 " columns, which do not fill blocks of %s",
                       path, (const char *)c->file->header + name_at, tensor->dims[0],
                       bn_tensor_type_name(tensor->type));
    return BN_OK;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const bn_gguf_index *)a)->name, ((const bn_gguf_index *)b)->name);
}

/* Sorts an index whose names are set; equal names are an error. */
static bn_status finish_index(const bn_gguf *file, bn_gguf_index *index, uint64_t n,
                              const char *what)
{
    qsort(index, (size_t)n, sizeof *index, compare_names);
    for (uint64_t i = 1; i < n; i++)
        if (strcmp(index[i - 1].name, index[i].name) == 0)
            return bn_fail(BN_ERR_BAD_FILE, "MODEL-FILE", "%s: %s %s occurs twice", file->path,
                           what, index[i].name);
    return BN_OK;
}

uint64_t bn_gguf_parse_find(const bn_gguf_index *index, uint64_t n, const char *name)
{
    uint64_t begin = 0, end = n;
    while (begin < end) {
        uint64_t middle = begin + (end - begin) / 2;
        int order = strcmp(index[middle].name, name);
        if (order == 0) return index[middle].at;
        if (order < 0)
            begin = middle + 1;
        else
            end = middle;
    }
    return UINT64_MAX;
}

/* The strings of an array, now that the buffer stays where it is. */
static bn_status finish_strings(const bn_gguf *file, bn_gguf_key *key)
{
    if (key->type != BN_GGUF_ARRAY || key->element_type != BN_GGUF_STRING || key->n == 0)
        return BN_OK;
    key->strings = bn_alloc((size_t)key->n, sizeof *key->strings);
    if (key->strings == NULL)
        return bn_fail(BN_ERR_NO_MEMORY, "MODEL-FILE",
                       "%s: no memory for the %" PRIu64 " strings of key %s", file->path, key->n,
                       key->name);
    const uint8_t *bytes = file->header + key->value_at;
    for (uint64_t i = 0; i < key->n; i++) {
        key->strings[i].n = (size_t)bn_gguf_parse_u64(bytes);
        key->strings[i].bytes = (const char *)bytes + 8;
        bytes += 8 + key->strings[i].n;
    }
    return BN_OK;
}

static bn_status finish_keys(bn_gguf *file)
{
    for (uint64_t i = 0; i < file->n_keys; i++) {
        bn_gguf_key *key = &file->keys[i];
        key->name = (const char *)file->header + (uintptr_t)key->name;
        file->key_index[i] = (bn_gguf_index){key->name, i};
        BN_TRY(finish_strings(file, key));
        if (key->type == BN_GGUF_BOOL && file->header[key->value_at] > 1)
            return bn_fail(BN_ERR_BAD_FILE, "MODEL-FILE", "%s: key %s is a bool with the value %u",
                           file->path, key->name, file->header[key->value_at]);
    }
    return finish_index(file, file->key_index, file->n_keys, "key");
}

static int compare_offsets(const void *a, const void *b)
{
    const bn_gguf_tensor *x = *(const bn_gguf_tensor *const *)a;
    const bn_gguf_tensor *y = *(const bn_gguf_tensor *const *)b;
    if (x->part != y->part) return x->part < y->part ? -1 : 1;
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

/* No two tensors may share bytes; one of unknown size is taken as one byte long. */
static bn_status check_overlaps(const bn_gguf *file)
{
    if (file->n_tensors == 0) return BN_OK;
    const bn_gguf_tensor **order = bn_alloc((size_t)file->n_tensors, sizeof *order);
    if (order == NULL)
        return bn_fail(BN_ERR_NO_MEMORY, "MODEL-FILE", "%s: no memory to check %" PRIu64 " tensors",
                       file->path, file->n_tensors);
    for (uint64_t i = 0; i < file->n_tensors; i++)
        order[i] = &file->tensors[i];
    qsort(order, (size_t)file->n_tensors, sizeof *order, compare_offsets);
    bn_status status = BN_OK;
    for (uint64_t i = 1; i < file->n_tensors && status == BN_OK; i++) {
        const bn_gguf_tensor *a = order[i - 1], *b = order[i];
        uint64_t a_bytes = a->n_bytes == 0 ? 1 : a->n_bytes;
        if (a->part == b->part && b->offset - a->offset < a_bytes)
            status = bn_fail(BN_ERR_BAD_FILE, "MODEL-FILE",
                             "%s: tensors %s and %s overlap at offset %" PRIu64, file->path,
                             a->name, b->name, b->offset);
    }
    bn_free(order);
    return status;
}

static bn_status alignment_of(const bn_gguf *file, uint32_t *alignment_out)
{
    bn_status status = BN_OK;
    *alignment_out = ALIGNMENT_DEFAULT;
    bool is_given = bn_gguf_get_u32(file, "general.alignment", alignment_out, &status);
    uint32_t a = *alignment_out;
    if (is_given && status == BN_OK &&
        (a < ALIGNMENT_MIN || a > BN_GGUF_ALIGNMENT_MAX || (a & (a - 1)) != 0))
        return bn_fail(BN_ERR_BAD_FILE, "MODEL-FILE",
                       "%s: key general.alignment is %" PRIu32
                       "; a power of two from %d to %u is needed",
                       file->path, a, ALIGNMENT_MIN, BN_GGUF_ALIGNMENT_MAX);
    return status;
}

bn_status bn_gguf_parse_index_tensors(bn_gguf *file)
{
    for (uint64_t i = 0; i < file->n_tensors; i++)
        file->tensor_index[i] = (bn_gguf_index){file->tensors[i].name, i};
    return finish_index(file, file->tensor_index, file->n_tensors, "tensor");
}

/* Places that were settled before: the header's own offsets mean nothing. */
static bn_status place_tensors(bn_gguf *file)
{
    for (uint64_t i = 0; i < file->n_tensors; i++) {
        bn_gguf_tensor *tensor = &file->tensors[i];
        const bn_gguf_place *place = &file->places[i];
        BN_ASSERT(place->part < file->n_parts);
        uint64_t room = file->parts[place->part].n_bytes;
        if (place->offset > room || tensor->n_bytes > room - place->offset)
            return bn_fail(BN_ERR_BAD_FILE, "MODEL-FILE",
                           "%s: the file is cut short: tensor %s needs %" PRIu64
                           " bytes at %" PRIu64 ", but the file has %" PRIu64,
                           file->parts[place->part].path, tensor->name, tensor->n_bytes,
                           place->offset, room);
        tensor->offset = place->offset;
        tensor->part = place->part;
        tensor->scale = place->scale;
        tensor->head_rows = place->head_rows;
    }
    return BN_OK;
}

/* Absolute offsets and spans of a file's tensors, whose data begin at `data_at`. */
static bn_status check_places(bn_gguf *file, uint64_t data_at, uint32_t alignment)
{
    uint64_t file_bytes = file->parts[0].n_bytes;
    uint64_t room = file_bytes > data_at ? file_bytes - data_at : 0;
    BN_TRY(bn_gguf_layout_settle(file->path, file->tensors, file->n_tensors, room, alignment));
    for (uint64_t i = 0; i < file->n_tensors; i++) {
        bn_gguf_tensor *tensor = &file->tensors[i];
        if (tensor->offset % alignment != 0)
            return bn_fail(BN_ERR_BAD_FILE, "MODEL-FILE",
                           "%s: the offset %" PRIu64 " of tensor %s is not a multiple of %" PRIu32,
                           file->path, tensor->offset, tensor->name, alignment);
        if (tensor->offset >= room || tensor->n_bytes > room - tensor->offset)
            return bn_fail(BN_ERR_BAD_FILE, "MODEL-FILE",
                           "%s: the file is cut short: tensor %s needs %" PRIu64
                           " bytes at %" PRIu64 " of the data, which has %" PRIu64,
                           file->path, tensor->name, tensor->n_bytes, tensor->offset, room);
        tensor->offset += data_at;
    }
    return BN_OK;
}

/* Names, places and spans; `header_end` is where the tensor table ends. */
static bn_status finish_tensors(bn_gguf *file, uint64_t header_end)
{
    uint32_t alignment;
    BN_TRY(alignment_of(file, &alignment));
    uint64_t data_at = (header_end + alignment - 1) / alignment * alignment;
    for (uint64_t i = 0; i < file->n_tensors; i++)
        file->tensors[i].name = (const char *)file->header + (uintptr_t)file->tensors[i].name;
    BN_TRY(file->places != NULL ? place_tensors(file) : check_places(file, data_at, alignment));
    BN_TRY(bn_gguf_parse_index_tensors(file));
    return check_overlaps(file);
}

static bn_status take_head(cursor *c)
{
    bn_gguf *file = c->file;
    BN_TRY(need(c, 8));
    if (memcmp(file->header, "GGUF", 4) != 0) {
        bool is_swapped = memcmp(file->header, "FUGG", 4) == 0;
        return bn_fail(BN_ERR_BAD_FILE, "MODEL-FILE",
                       is_swapped ? "%s: a GGUF file for machines of the other byte order"
                                  : "%s: not a GGUF file: it does not begin with \"GGUF\"",
                       file->path);
    }
    file->version = bn_gguf_parse_u32(file->header + 4);
    if ((file->version & 0xffff) == 0 && file->version != 0)
        return bn_fail(BN_ERR_BAD_FILE, "MODEL-FILE",
                       "%s: a GGUF file for machines of the other byte order", file->path);
    if (file->version < 2 || file->version > 3)
        return bn_fail(BN_ERR_BAD_FILE, "MODEL-FILE",
                       "%s: GGUF version %" PRIu32 "; versions 2 and 3 can be read", file->path,
                       file->version);
    c->at = 8;
    BN_TRY(take_u64(c, &file->n_tensors));
    BN_TRY(take_u64(c, &file->n_keys));
    uint64_t room = file->parts[0].n_bytes - c->at;
    if (file->n_tensors > BN_GGUF_TENSORS_MAX || file->n_keys > BN_GGUF_KEYS_MAX ||
        file->n_tensors * TENSOR_BYTES_MIN + file->n_keys * KEY_BYTES_MIN > room) {
        bn_status status =
            bn_fail(BN_ERR_BAD_FILE, "MODEL-FILE",
                    "%s: the header counts %" PRIu64 " tensors and %" PRIu64
                    " keys, which a file of %" PRIu64 " bytes cannot hold",
                    file->path, file->n_tensors, file->n_keys, file->parts[0].n_bytes);
        file->n_tensors = file->n_keys = 0;
        return status;
    }
    return BN_OK;
}

static bn_status reserve_tables(bn_gguf *file)
{
    size_t n_keys = (size_t)file->n_keys + 1, n_tensors = (size_t)file->n_tensors + 1;
    file->keys = bn_alloc(n_keys, sizeof *file->keys);
    file->key_index = bn_alloc(n_keys, sizeof *file->key_index);
    file->tensors = bn_alloc(n_tensors, sizeof *file->tensors);
    file->tensor_index = bn_alloc(n_tensors, sizeof *file->tensor_index);
    if (file->keys == NULL || file->key_index == NULL || file->tensors == NULL ||
        file->tensor_index == NULL)
        return bn_fail(BN_ERR_NO_MEMORY, "MODEL-FILE",
                       "%s: no memory for %" PRIu64 " keys and %" PRIu64 " tensors", file->path,
                       file->n_keys, file->n_tensors);
    return BN_OK;
}

bn_status bn_gguf_parse(bn_gguf *file)
{
    cursor c = {.file = file, .what = "the header, part"};
    BN_TRY(take_head(&c));
    BN_TRY(reserve_tables(file));
    c.what = "key";
    for (c.index = 0; c.index < file->n_keys; c.index++)
        BN_TRY(take_key(&c, &file->keys[c.index]));
    c.what = "tensor";
    for (c.index = 0; c.index < file->n_tensors; c.index++)
        BN_TRY(take_tensor(&c, &file->tensors[c.index]));
    file->header_bytes = file->parts[0].header_bytes = c.at;
    BN_TRY(finish_keys(file));
    return finish_tensors(file, c.at);
}
