/* gguf_bytes.h — GGUF files built byte by byte, so that tests can also build wrong ones.
 *
 * Memory:  a bytes object is static or on the stack; it holds at most BYTES_MAX.
 * Errors:  running out of room or disk fails the test.
 */
#ifndef BN_TESTS_MODEL_GGUF_BYTES_H
#define BN_TESTS_MODEL_GGUF_BYTES_H

#include <stddef.h>
#include <stdint.h>

#define BYTES_MAX (8u << 20)

typedef struct bytes {
    uint8_t *data;
    size_t n;
} bytes;

bytes bytes_new(void);
void bytes_free(bytes *b);

void put(bytes *b, const void *data, size_t n);
void put_u32(bytes *b, uint32_t value);
void put_u64(bytes *b, uint64_t value);
void put_text(bytes *b, const char *text);
void pad(bytes *b, size_t alignment);

/* "GGUF", version, counts. */
void put_head(bytes *b, uint32_t version, uint64_t n_tensors, uint64_t n_keys);

void key_u32(bytes *b, const char *name, uint32_t value);
void key_f32(bytes *b, const char *name, float value);
void key_bool(bytes *b, const char *name, uint8_t value);
void key_text(bytes *b, const char *name, const char *value);
void key_texts(bytes *b, const char *name, const char *const *values, uint64_t n);

/* A row of the tensor table; dims ends with 0. */
void tensor_row(bytes *b, const char *name, uint32_t type, const uint64_t *dims, uint64_t offset);

/* A temporary file with these bytes; the path is static and good until the next call. */
const char *bytes_file(const bytes *b);

#endif
