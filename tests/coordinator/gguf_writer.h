/* gguf_writer.h — GGUF files that have keys and no tensors, for tokenizer tests.
 *
 * Memory:  grows on the heap; _finish frees it.
 * Errors:  running out of memory or disk fails the test.
 */
#ifndef BN_TESTS_COORDINATOR_GGUF_WRITER_H
#define BN_TESTS_COORDINATOR_GGUF_WRITER_H

#include "model/gguf.h"

#include <stddef.h>
#include <stdint.h>

typedef struct gguf_writer {
    unsigned char *bytes;
    size_t n, capacity;
    uint64_t n_keys;
} gguf_writer;

void gguf_writer_begin(gguf_writer *writer);

void gguf_writer_text(gguf_writer *writer, const char *key, const char *value);
void gguf_writer_u32(gguf_writer *writer, const char *key, uint32_t value);
void gguf_writer_bool(gguf_writer *writer, const char *key, int value);
void gguf_writer_texts(gguf_writer *writer, const char *key, const bn_gguf_string *values,
                       size_t n);
void gguf_writer_i32s(gguf_writer *writer, const char *key, const int32_t *values, size_t n);
void gguf_writer_f32s(gguf_writer *writer, const char *key, const float *values, size_t n);

/* Writes a temporary file, opens it and removes its name. */
bn_gguf *gguf_writer_finish(gguf_writer *writer);

/* The same, but the file stays at `path_out` (room for 64 bytes) until the caller removes it. */
void gguf_writer_save(gguf_writer *writer, char *path_out);

#endif
