/* vocabulary_tiktoken.h — a vocabulary from a tiktoken file (base64 of a token, space, rank).
 *
 * Such a file has no merges: the rank of a token is its priority. The merge that makes a
 * token is what BPE with all lower ranks leaves of it: two parts. Llama-3's 256 special
 * tokens follow the tokens of the file.
 *
 * Errors: BN_ERR_BAD_FILE naming file and line.
 */
#ifndef BN_MODEL_VOCABULARY_TIKTOKEN_H
#define BN_MODEL_VOCABULARY_TIKTOKEN_H

#include "model/vocabulary.h"

#define BN_VOCABULARY_TIKTOKEN_BYTES_MAX (64u << 20)
#define BN_VOCABULARY_TIKTOKEN_TOKEN_MAX 512u /* bytes of one token */

/* The caller calls bn_vocabulary_fini, also after an error. */
BN_CHECKED bn_status bn_vocabulary_tiktoken_read(const char *path, bn_vocabulary *vocab);

#endif
