/* hf_folder.h — a Hugging Face folder opened as the GGUF that its model would be.
 *
 * config.json and the tokenizer's files become the keys of a GGUF header in memory, the
 * tensors of the safetensors files the rows of its table; the ordinary parser reads that header
 * with all its checks. So nothing else knows of folders. Tensors stay in their files; names that
 * no rule takes, missing tensors and shapes that the config does not make are refused.
 *
 * Errors: BN_ERR_BAD_FILE, BN_ERR_UNSUPPORTED or BN_ERR_IO naming file, and tensor or key.
 */
#ifndef BN_MODEL_HF_FOLDER_H
#define BN_MODEL_HF_FOLDER_H

#include "model/gguf.h"

/* Fills a file object of which only the path, a directory, is set. */
BN_CHECKED bn_status bn_hf_folder_open(bn_gguf *file);

#endif
