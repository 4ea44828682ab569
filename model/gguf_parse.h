/* gguf_parse.h — inside of a bn_gguf, and the reader of its header; for model/gguf*.c only.
 *
 * Memory:  the file object owns all; names and strings point into `header`.
 * Threads: parsing belongs to one thread; afterwards nothing changes.
 * Errors:  BN_ERR_BAD_FILE naming file and key or tensor; BN_ERR_NO_MEMORY; BN_ERR_IO.
 */
#ifndef BN_MODEL_GGUF_PARSE_H
#define BN_MODEL_GGUF_PARSE_H

#include "model/gguf.h"

typedef struct bn_gguf_key {
    const char *name; /* NUL-terminated */
    bn_gguf_type type;
    bn_gguf_type element_type; /* of an array */
    uint64_t n;                /* elements of an array, bytes of a string, else 1 */
    uint64_t value_at;         /* offset in the header */
    bn_gguf_string *strings;   /* [n] of an array of strings */
} bn_gguf_key;

/* Names in order: lookup that no choice of names can slow down. */
typedef struct bn_gguf_index {
    const char *name;
    uint64_t at;
} bn_gguf_index;

typedef struct bn_gguf_part {
    char *path;
    int fd; /* −1: not open */
    uint64_t n_bytes;
    uint8_t *bytes;        /* all of them, of a part that is no file; else NULL */
    uint8_t *names;        /* the header that the names of a later part's tensors point into */
    uint64_t header_bytes; /* of a part that begins with a GGUF header */
} bn_gguf_part;

/* Where a tensor lies when the table of the header does not say it. */
typedef struct bn_gguf_place {
    uint64_t offset;
    uint32_t part, head_rows;
    float scale;
} bn_gguf_place;

struct bn_gguf {
    char *path;          /* as given, for messages */
    bn_gguf_part *parts; /* [n_parts]; the header is that of the first */
    uint32_t n_parts;
    uint64_t file_bytes; /* of all parts */
    uint32_t version;
    uint8_t *header; /* the file's first header_bytes; name lengths are overwritten, see .c */
    uint64_t header_bytes;
    uint64_t n_keys, n_tensors;
    bn_gguf_key *keys;
    bn_gguf_tensor *tensors;
    bn_gguf_index *key_index, *tensor_index;
    bn_gguf_place *places; /* [n_tensors] of a folder; NULL: as the header says */
};

/* Fills version, header, keys, tensors and indexes of a file whose first part is open. When
 * `places` is set it must have as many elements as the header has tensors, and their parts must be
 * open. On failure the caller closes the file, which frees what was made. */
BN_CHECKED bn_status bn_gguf_parse(bn_gguf *file);

/* Opens one more file of the model; it is part n_parts − 1 afterwards. */
BN_CHECKED bn_status bn_gguf_add_part(bn_gguf *file, const char *path);

/* Adds a part that is not a file; takes over `bytes`, which bn_alloc gave, also on failure. `name`
 * is for messages. */
BN_CHECKED bn_status bn_gguf_add_memory(bn_gguf *file, const char *name, uint8_t *bytes,
                                        uint64_t n);

/* The index of `tensors`, anew; a name that occurs twice is an error. */
BN_CHECKED bn_status bn_gguf_parse_index_tensors(bn_gguf *file);

/* Reads n bytes at `offset` of a part. */
BN_CHECKED bn_status bn_gguf_part_read(const bn_gguf *file, uint32_t part, uint64_t offset,
                                       size_t n, void *out);

/* A value in the header, at any alignment. */
uint64_t bn_gguf_parse_u64(const uint8_t *bytes);
uint32_t bn_gguf_parse_u32(const uint8_t *bytes);

/* Position of `name`, or UINT64_MAX. */
uint64_t bn_gguf_parse_find(const bn_gguf_index *index, uint64_t n, const char *name);

const char *bn_gguf_parse_type_name(bn_gguf_type type);

/* Bytes of a scalar; 0 for strings and arrays. */
size_t bn_gguf_parse_type_bytes(bn_gguf_type type);

#endif
