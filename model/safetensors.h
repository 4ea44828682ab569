/* safetensors.h — the tensor table of a safetensors file, or of the shards that an index lists.
 *
 * Opening reads the headers (an 8-byte length and JSON) and checks every name, type, shape and
 * range against the files; no tensor is touched and no file stays open. The bytes of a file's
 * tensors must follow each other without overlap or hole from the header to the end, as the
 * format demands.
 *
 * Memory:  the set owns all names and paths; valid until _close.
 * Threads: read-only after _open: any.
 * Errors:  BN_ERR_BAD_FILE, BN_ERR_LIMIT or BN_ERR_IO with a text that names file and tensor.
 * Source:  the safetensors format description; docs/FORMAT.md.
 */
#ifndef BN_MODEL_SAFETENSORS_H
#define BN_MODEL_SAFETENSORS_H

#include "common/status.h"

#include <stddef.h>
#include <stdint.h>

#define BN_SAFETENSORS_HEADER_BYTES_MAX (4u << 20)
#define BN_SAFETENSORS_INDEX_BYTES_MAX (8u << 20)
#define BN_SAFETENSORS_TENSORS_MAX 65536u
#define BN_SAFETENSORS_FILES_MAX 512u
#define BN_SAFETENSORS_NAME_MAX 256u /* of a tensor or a shard, with its NUL */
#define BN_SAFETENSORS_DIMS_MAX 8u

typedef enum bn_safetensors_dtype {
    BN_SAFETENSORS_BOOL,
    BN_SAFETENSORS_U8,
    BN_SAFETENSORS_I8,
    BN_SAFETENSORS_F8_E4M3,
    BN_SAFETENSORS_F8_E5M2,
    BN_SAFETENSORS_U16,
    BN_SAFETENSORS_I16,
    BN_SAFETENSORS_F16,
    BN_SAFETENSORS_BF16,
    BN_SAFETENSORS_U32,
    BN_SAFETENSORS_I32,
    BN_SAFETENSORS_F32,
    BN_SAFETENSORS_U64,
    BN_SAFETENSORS_I64,
    BN_SAFETENSORS_F64,
    BN_SAFETENSORS_DTYPE_COUNT,
} bn_safetensors_dtype;

typedef struct bn_safetensors_tensor {
    const char *name; /* NUL-terminated, without control bytes */
    bn_safetensors_dtype dtype;
    uint32_t n_dims;                        /* 0: one element */
    uint64_t dims[BN_SAFETENSORS_DIMS_MAX]; /* as in the file: the last one is contiguous */
    uint32_t file;
    uint64_t offset; /* from the start of the file */
    uint64_t n_bytes;
} bn_safetensors_tensor;

typedef struct bn_safetensors bn_safetensors;

/* A folder's model.safetensors, or else the shards of its model.safetensors.index.json. */
BN_CHECKED bn_status bn_safetensors_open(const char *folder, bn_safetensors **set_out);

/* One file, by its path. */
BN_CHECKED bn_status bn_safetensors_open_file(const char *path, bn_safetensors **set_out);

void bn_safetensors_close(bn_safetensors *set);

uint32_t bn_safetensors_n_files(const bn_safetensors *set);
const char *bn_safetensors_file_path(const bn_safetensors *set, uint32_t file);
/* Bytes that the file had when its header was checked. */
uint64_t bn_safetensors_file_bytes(const bn_safetensors *set, uint32_t file);

uint32_t bn_safetensors_n_tensors(const bn_safetensors *set);
const bn_safetensors_tensor *bn_safetensors_at(const bn_safetensors *set, uint32_t index);
/* NULL when absent. */
const bn_safetensors_tensor *bn_safetensors_find(const bn_safetensors *set, const char *name);

/* "BF16", as in the file. */
const char *bn_safetensors_dtype_name(bn_safetensors_dtype dtype);

#endif
