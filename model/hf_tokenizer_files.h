/* hf_tokenizer_files.h — inside of hf_tokenizer: the two kinds of tokenizer file. */
#ifndef BN_MODEL_HF_TOKENIZER_FILES_H
#define BN_MODEL_HF_TOKENIZER_FILES_H

#include "model/hf_vocabulary.h"

/* `vocab` has been initialised; the caller calls _fini, also after an error. */
BN_CHECKED bn_status bn_hf_tokenizer_json_read(const char *path, bn_hf_vocabulary *vocab);

/* SentencePiece's own file. */
BN_CHECKED bn_status bn_hf_tokenizer_spm_read(const char *path, bn_hf_vocabulary *vocab);

#endif
