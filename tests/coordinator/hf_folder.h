/* hf_folder.h — a tokenizer from a folder as bn_hf_tokenizer_write and a file in /tmp make it. */
#ifndef BN_TESTS_COORDINATOR_HF_FOLDER_H
#define BN_TESTS_COORDINATOR_HF_FOLDER_H

#include "coordinator/tokenizer.h"
#include "model/gguf.h"

/* Translates and opens the folder's keys; the caller closes the file. */
BN_CHECKED bn_status hf_folder_open(const char *folder, uint32_t vocab, bn_gguf **file_out);

/* A new folder in /tmp, removed with everything in it by hf_folder_remove. */
void hf_folder_make(char path[64]);
void hf_folder_put(const char *path, const char *name, const void *bytes, size_t n);
void hf_folder_remove(const char *path);

#endif
