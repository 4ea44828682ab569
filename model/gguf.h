/* gguf.h — a GGUF file (version 2 or 3): its keys, its tensor table, its bytes.
 *
 * It may be split into several files (…-00001-of-00003.gguf: open the first). A Hugging Face
 * folder opens as the GGUF that its model would be (model/hf_folder.h).
 *
 * Opening reads header, keys and tensor table and checks every count, length, offset
 * and span against the file; tensor data is not touched. Data is then read with
 * pread (bn_gguf_read) or mapped range by range (bn_gguf_map). A model may lie in several files,
 * its parts; each tensor lies in one of them.
 *
 * Memory:  strings and arrays point into the file object; valid until _close.
 * Threads: after _open read-only: any; _read and _map too.
 * Errors:  BN_ERR_BAD_FILE with a text that names file, and key or tensor.
 * Source:  the GGUF specification; docs/FORMAT.md.
 */
#ifndef BN_MODEL_GGUF_H
#define BN_MODEL_GGUF_H

#include "common/hash.h"
#include "common/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BN_GGUF_KEYS_MAX 65536u
#define BN_GGUF_TENSORS_MAX 1048576u
#define BN_GGUF_STRING_MAX (1u << 24)
#define BN_GGUF_ARRAY_MAX (1u << 24)
#define BN_GGUF_HEADER_BYTES_MAX (1ull << 27)
#define BN_GGUF_KEY_NAME_MAX 65535u
#define BN_GGUF_NAME_MAX 64 /* of a tensor, with its NUL */
#define BN_GGUF_ALIGNMENT_MAX (1u << 20)

typedef enum bn_gguf_type {
    BN_GGUF_U8,
    BN_GGUF_I8,
    BN_GGUF_U16,
    BN_GGUF_I16,
    BN_GGUF_U32,
    BN_GGUF_I32,
    BN_GGUF_F32,
    BN_GGUF_BOOL,
    BN_GGUF_STRING,
    BN_GGUF_ARRAY,
    BN_GGUF_U64,
    BN_GGUF_I64,
    BN_GGUF_F64,
    BN_GGUF_TYPE_COUNT,
} bn_gguf_type;

/* Tensor types by their id in the file; those we do not compute with keep their id. */
typedef enum bn_tensor_type {
    BN_TENSOR_F32 = 0,
    BN_TENSOR_F16 = 1,
    BN_TENSOR_Q4_0 = 2,
    BN_TENSOR_Q5_0 = 6,
    BN_TENSOR_Q8_0 = 8,
    BN_TENSOR_Q4_K = 12,
    BN_TENSOR_Q6_K = 14,
    BN_TENSOR_BF16 = 30,
    BN_TENSOR_TQ1_0 = 34,
    BN_TENSOR_TQ2_0 = 35,
    BN_TENSOR_I2_S = 36, /* 36, 38 and 39 as in Microsoft's fork */
    BN_TENSOR_TL1 = 38,
    BN_TENSOR_TL2 = 39, /* MXFP4 in mainline; the bytes that a tensor has tell */
    BN_TENSOR_Q2_0 = 42,
    BN_TENSOR_IQ1_BN = 134,
    BN_TENSOR_IQ2_BN = 135,
    BN_TENSOR_PQ2_0 = 142,
    BN_TENSOR_PTQ1_0 = 143,
    BN_TENSOR_IQ2_BN_R4 = 335,
    /* In memory only, for the tensors of a Hugging Face folder: packed trits, four rows a byte
     * (bits 2j of packed row p hold trit + 1 of row p + j·rows/4), and weights that are yet to be
     * made ternary by the absmean rule. */
    BN_TENSOR_MEMORY_ONLY = 0x10000, /* from here on */
    BN_TENSOR_HF_TERNARY = 0x10000,
    BN_TENSOR_MASTER_F32,
    BN_TENSOR_MASTER_F16,
    BN_TENSOR_MASTER_BF16,
    /* In memory only, for ids that stand for two layouts: 42 with 128 weights in 34 bytes (files
     * of early 2026), 39 of mainline. */
    BN_TENSOR_Q2_0_128 = 0x10010,
    BN_TENSOR_MXFP4,
} bn_tensor_type;

typedef struct bn_gguf_string {
    const char *bytes; /* not NUL-terminated */
    size_t n;
} bn_gguf_string;

typedef struct bn_gguf_tensor {
    const char *name; /* NUL-terminated */
    uint32_t type;    /* bn_tensor_type or another id */
    uint32_t n_dims;
    uint64_t dims[4]; /* dims[0] is contiguous (columns); unused ones are 1 */
    uint64_t offset;  /* from the start of its part */
    uint64_t n_bytes; /* span in the part; 0 when the type is unknown to us */
    uint32_t part;    /* which file it lies in */
    float scale;      /* of BN_TENSOR_HF_TERNARY: what a trit is multiplied by; else 0 */
    /* Not 0: rows are stored head by head with the two halves of a head behind each other and are
     * read with the halves interleaved (row 2i is row i, row 2i + 1 is row i + head_rows / 2). */
    uint32_t head_rows;
} bn_gguf_tensor;

typedef struct bn_gguf bn_gguf;

/* `path`: a file, the first file of a split one, or a folder with config.json and safetensors. */
BN_CHECKED bn_status bn_gguf_open(const char *path, bn_gguf **file_out);
void bn_gguf_close(bn_gguf *file);

const char *bn_gguf_path(const bn_gguf *file);
uint64_t bn_gguf_file_bytes(const bn_gguf *file);
uint32_t bn_gguf_version(const bn_gguf *file);

uint64_t bn_gguf_n_keys(const bn_gguf *file);
const char *bn_gguf_key_name(const bn_gguf *file, uint64_t index);

uint64_t bn_gguf_n_tensors(const bn_gguf *file);
const bn_gguf_tensor *bn_gguf_tensor_at(const bn_gguf *file, uint64_t index);
/* NULL when absent. */
const bn_gguf_tensor *bn_gguf_tensor_find(const bn_gguf *file, const char *name);

/* Reading keys: false when absent. A key of another type is an error: *status_out, if not
 * BN_OK, is never overwritten, so that many reads need one check. Integers accept every
 * integer type whose value fits. */
bool bn_gguf_get_u32(const bn_gguf *file, const char *key, uint32_t *out, bn_status *status_out);
bool bn_gguf_get_f32(const bn_gguf *file, const char *key, float *out, bn_status *status_out);
bool bn_gguf_get_bool(const bn_gguf *file, const char *key, bool *out, bn_status *status_out);
bool bn_gguf_get_string(const bn_gguf *file, const char *key, bn_gguf_string *out,
                        bn_status *status_out);

/* The value of key `index` as a number; false for strings and arrays. */
bool bn_gguf_number_at(const bn_gguf *file, uint64_t index, double *out);

#define BN_GGUF_VALUE_TEXT_MAX 64u

/* The value of key `index` for a message: "7", "\"yarn\"", "an array of 3"; cut, and nothing in it
 * steers a terminal. */
void bn_gguf_value_text(const bn_gguf *file, uint64_t index, char text[BN_GGUF_VALUE_TEXT_MAX]);

typedef struct bn_gguf_array {
    bn_gguf_type type; /* of the elements */
    uint64_t n;
    const void *data;              /* for scalar types: the elements, maybe unaligned */
    const bn_gguf_string *strings; /* for BN_GGUF_STRING */
} bn_gguf_array;

bool bn_gguf_get_array(const bn_gguf *file, const char *key, bn_gguf_type type, bn_gguf_array *out,
                       bn_status *status_out);

/* Reads n bytes of the tensor, `at` bytes after its start. A file that has shrunk is
 * BN_ERR_BAD_FILE. */
BN_CHECKED bn_status bn_gguf_read(const bn_gguf *file, const bn_gguf_tensor *tensor, uint64_t at,
                                  size_t n, void *out);

/* Maps the tensor's bytes read-only. *base_out and *length_out go to bn_gguf_unmap. */
BN_CHECKED bn_status bn_gguf_map(const bn_gguf *file, const bn_gguf_tensor *tensor,
                                 const uint8_t **data_out, void **base_out, size_t *length_out);
void bn_gguf_unmap(void *base, size_t length);

/* The model's identity: header, tensor table, and of every tensor its first, last and 14 seeded
 * 4-KiB blocks. */
BN_CHECKED bn_status bn_gguf_identity(const bn_gguf *file, bn_hash128 *identity_out);

/* Names, types and values of the keys whose name begins with `prefix`, whatever their order. */
BN_CHECKED bn_status bn_gguf_keys_hash(const bn_gguf *file, const char *prefix,
                                       bn_hash128 *hash_out);

#endif
