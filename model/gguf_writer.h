/* gguf_writer.h — a GGUF version 3 file, written front to back in bounded memory.
 *
 * Keys and the tensor table are gathered in memory, then the data is streamed. The file
 * stands under a temporary name beside its place until _finish renames it, so a file under
 * the right name is always whole.
 *
 * Memory:  header in memory; data is not kept.
 * Threads: one, but for _data_at.
 * Errors:  the first error stays and is returned by _begin_data, _data and _finish; it names
 *          the file and the cause (disk full, …).
 */
#ifndef BN_MODEL_GGUF_WRITER_H
#define BN_MODEL_GGUF_WRITER_H

#include "model/gguf.h"
#include "model/text_list.h"

typedef struct bn_gguf_writer bn_gguf_writer;

/* Refuses a path that exists and is not a regular file. */
BN_CHECKED bn_status bn_gguf_writer_create(const char *path, bn_gguf_writer **writer_out);

/* A header in memory only: keys and tensors as usual, then _take_header; `name` is for messages. */
BN_CHECKED bn_status bn_gguf_writer_create_header(const char *name, bn_gguf_writer **writer_out);

/* The header with its padding, up to where the data would begin; the caller frees it. */
BN_CHECKED bn_status bn_gguf_writer_take_header(bn_gguf_writer *writer, uint8_t **bytes_out,
                                                size_t *n_out);

/* Frees; removes the temporary file unless _finish has succeeded. */
void bn_gguf_writer_destroy(bn_gguf_writer *writer);

/* The temporary name, for a signal handler that must remove it. */
const char *bn_gguf_writer_partial_path(const bn_gguf_writer *writer);

void bn_gguf_writer_key_u32(bn_gguf_writer *writer, const char *key, uint32_t value);
void bn_gguf_writer_key_f32(bn_gguf_writer *writer, const char *key, float value);
void bn_gguf_writer_key_bool(bn_gguf_writer *writer, const char *key, bool value);
void bn_gguf_writer_key_text(bn_gguf_writer *writer, const char *key, const char *value);
void bn_gguf_writer_key_texts(bn_gguf_writer *writer, const char *key, const bn_text_list *texts);
void bn_gguf_writer_key_i32s(bn_gguf_writer *writer, const char *key, const int32_t *values,
                             uint64_t n);
void bn_gguf_writer_key_f32s(bn_gguf_writer *writer, const char *key, const float *values,
                             uint64_t n);
/* Key `index` of another file, as it stands there, or under another name. */
void bn_gguf_writer_key_copy(bn_gguf_writer *writer, const bn_gguf *file, uint64_t index);
void bn_gguf_writer_key_copy_as(bn_gguf_writer *writer, const bn_gguf *file, uint64_t index,
                                const char *name);

/* The next row of the tensor table; n_rows 0 makes a vector. */
void bn_gguf_writer_tensor(bn_gguf_writer *writer, const char *name, uint32_t type, uint64_t n_cols,
                           uint64_t n_rows);

/* Writes the header and claims the disk space that the data will need. */
BN_CHECKED bn_status bn_gguf_writer_begin_data(bn_gguf_writer *writer);

/* Bytes that the whole file will have, known after _begin_data. */
uint64_t bn_gguf_writer_file_bytes(const bn_gguf_writer *writer);

/* Bytes of the tensors in table order; _end_tensor pads after each. */
BN_CHECKED bn_status bn_gguf_writer_data(bn_gguf_writer *writer, const void *bytes, size_t n);
BN_CHECKED bn_status bn_gguf_writer_end_tensor(bn_gguf_writer *writer);

/* After _begin_data, instead of _data and _end_tensor: tensors are written in any order by
 * _data_at, and what is not written is zeros. */
BN_CHECKED bn_status bn_gguf_writer_begin_places(bn_gguf_writer *writer);

/* Bytes at `at` of tensor `index` of the table. May be called by several threads at once; an
 * error is returned to its caller and does not stay. */
BN_CHECKED bn_status bn_gguf_writer_data_at(bn_gguf_writer *writer, uint64_t index, uint64_t at,
                                            const void *bytes, size_t n);

/* All is on disk and under its name. */
BN_CHECKED bn_status bn_gguf_writer_finish(bn_gguf_writer *writer);

#endif
