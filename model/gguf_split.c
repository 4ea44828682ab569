/* gguf_split.c — each part is parsed as a file of its own, then its tensors move to the first. */
#include "model/gguf_split.h"

#include "common/alloc.h"
#include "common/log.h"
#include "model/gguf_parse.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define ENDING_BYTES 20u /* "-00001-of-00003.gguf" */

typedef struct split {
    uint32_t number, count, n_tensors;
    bool has_total; /* n_tensors was given */
} split;

static bn_status read_split(const bn_gguf *file, split *split_out)
{
    bn_status status = BN_OK;
    split s = {.count = 1};
    (void)bn_gguf_get_u32(file, "split.no", &s.number, &status);
    (void)bn_gguf_get_u32(file, "split.count", &s.count, &status);
    s.has_total = bn_gguf_get_u32(file, "split.tensors.count", &s.n_tensors, &status);
    *split_out = s;
    return status;
}

/* The path of part `number` (from 0) beside the first; false when the first's name has another
 * form. */
static bool path_of(const char *first, uint32_t number, uint32_t count, char *path, size_t n)
{
    char ending[ENDING_BYTES + 16];
    size_t length = strlen(first);
    snprintf(ending, sizeof ending, "-%05u-of-%05" PRIu32 ".gguf", 1u, count);
    if (length < ENDING_BYTES || strcmp(first + length - ENDING_BYTES, ending) != 0) return false;
    snprintf(path, n, "%.*s-%05" PRIu32 "-of-%05" PRIu32 ".gguf", (int)(length - ENDING_BYTES),
             first, number + 1, count);
    return true;
}

static bn_status fail_part(const bn_gguf *part, const char *key, uint32_t value, uint32_t needed)
{
    return bn_fail(BN_ERR_BAD_FILE, "MODEL-FILE",
                   "%s: key %s is %" PRIu32 ", but %" PRIu32
                   " is needed: the file is no part of this model",
                   part->path, key, value, needed);
}

static bn_status reserve_tensors(bn_gguf *file, const bn_gguf *part)
{
    uint64_t n = file->n_tensors + part->n_tensors;
    if (n > BN_GGUF_TENSORS_MAX)
        return bn_fail(BN_ERR_LIMIT, "MODEL-FILE", "%s: more than %u tensors", part->path,
                       BN_GGUF_TENSORS_MAX);
    bn_gguf_tensor *tensors = bn_realloc(file->tensors, (size_t)n + 1, sizeof *tensors);
    if (tensors != NULL) file->tensors = tensors;
    bn_gguf_index *index = bn_realloc(file->tensor_index, (size_t)n + 1, sizeof *index);
    if (index != NULL) file->tensor_index = index;
    if (tensors == NULL || index == NULL)
        return bn_fail(BN_ERR_NO_MEMORY, "MODEL-FILE", "%s: no memory for its tensors", part->path);
    return BN_OK;
}

/* Tensors, their names and the open file itself change hands. */
static bn_status adopt(bn_gguf *file, bn_gguf *part)
{
    uint32_t index = file->n_parts;
    BN_TRY(reserve_tensors(file, part));
    bn_gguf_part *grown = bn_realloc(file->parts, index + 1, sizeof *grown);
    if (grown == NULL) return bn_fail(BN_ERR_NO_MEMORY, "MODEL-FILE", "%s: no memory", part->path);
    file->parts = grown;
    for (uint64_t i = 0; i < part->n_tensors; i++) {
        bn_gguf_tensor *tensor = &file->tensors[file->n_tensors++];
        *tensor = part->tensors[i];
        tensor->part = index;
    }
    file->parts[index] = part->parts[0];
    file->parts[index].names = part->header;
    file->n_parts++;
    file->file_bytes += part->file_bytes;
    part->n_parts = 0;
    part->header = NULL;
    return BN_OK;
}

static bn_status add_part(bn_gguf *file, uint32_t number, uint32_t count, const char *path)
{
    split s = {0};
    bn_gguf *part = bn_alloc(1, sizeof *part);
    if (part == NULL) return bn_fail(BN_ERR_NO_MEMORY, "MODEL-OPEN", "%s: no memory", path);
    part->path = bn_strdup(path);
    bn_status status = part->path != NULL
                           ? bn_gguf_add_part(part, path)
                           : bn_fail(BN_ERR_NO_MEMORY, "MODEL-OPEN", "%s: no memory", path);
    if (status == BN_OK) status = bn_gguf_parse(part);
    if (status == BN_OK) status = read_split(part, &s);
    if (status == BN_OK && s.count != count)
        status = fail_part(part, "split.count", s.count, count);
    if (status == BN_OK && s.number != number)
        status = fail_part(part, "split.no", s.number, number);
    if (status == BN_OK) status = adopt(file, part);
    bn_gguf_close(part);
    return status;
}

static bn_status check_first(const bn_gguf *file, const split *s, char *path, size_t n)
{
    if (s->count > BN_GGUF_SPLIT_MAX)
        return bn_fail(BN_ERR_LIMIT, "MODEL-FILE",
                       "%s: key split.count is %" PRIu32 "; at most %u parts can be read",
                       file->path, s->count, BN_GGUF_SPLIT_MAX);
    if (s->number != 0)
        return bn_fail(BN_ERR_BAD_FILE, "MODEL-OPEN",
                       "%s is part %" PRIu32 " of %" PRIu32
                       " of a model: give the first, whose name ends in -00001-of-%05" PRIu32
                       ".gguf",
                       file->path, s->number + 1, s->count, s->count);
    if (!path_of(file->path, 1, s->count, path, n))
        return bn_fail(BN_ERR_BAD_FILE, "MODEL-OPEN",
                       "%s is the first of %" PRIu32
                       " parts of a model, so its name must end in -00001-of-%05" PRIu32
                       ".gguf for the others to be found beside it",
                       file->path, s->count, s->count);
    return BN_OK;
}

bn_status bn_gguf_split_open(bn_gguf *file)
{
    split s;
    BN_TRY(read_split(file, &s));
    if (s.count <= 1) return BN_OK;
    size_t n = strlen(file->path) + 16;
    char *path = bn_alloc(n, 1);
    if (path == NULL) return bn_fail(BN_ERR_NO_MEMORY, "MODEL-OPEN", "%s: no memory", file->path);
    bn_status status = check_first(file, &s, path, n);
    for (uint32_t i = 1; i < s.count && status == BN_OK; i++) {
        (void)path_of(file->path, i, s.count, path, n);
        status = add_part(file, i, s.count, path);
    }
    bn_free(path);
    if (status != BN_OK) return status;
    if (s.has_total && file->n_tensors != s.n_tensors)
        return bn_fail(BN_ERR_BAD_FILE, "MODEL-FILE",
                       "%s: key split.tensors.count is %" PRIu32 ", but the %" PRIu32
                       " parts hold %" PRIu64,
                       file->path, s.n_tensors, s.count, file->n_tensors);
    return bn_gguf_parse_index_tensors(file);
}
