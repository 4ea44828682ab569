/* tokenizer_spm.h — SentencePiece-style merging: characters joined by the score of the result, or,
 * where the file says so (tokenizer.merges_by_rank), by a list of merges.
 *
 * Memory:  keeps a reference to the vocabulary; each call has a buffer of its own for the text.
 * Threads: read-only after _create: any, each with its own merger.
 * Errors:  BN_ERR_BAD_FILE naming file and key; BN_ERR_UNSUPPORTED for a byte without a token.
 */
#ifndef BN_COORDINATOR_TOKENIZER_SPM_H
#define BN_COORDINATOR_TOKENIZER_SPM_H

#include "coordinator/merger.h"
#include "coordinator/tokenizer.h"
#include "coordinator/vocab.h"

typedef struct bn_tokenizer_spm bn_tokenizer_spm;

/* The bytes of a token's text, with spaces for U+2581: a bn_vocab_piece_of. */
size_t bn_tokenizer_spm_piece(const char *text, size_t n, char *out);

/* `unknown`: the token for bytes that have none, or BN_TOKEN_NONE. */
BN_CHECKED bn_status bn_tokenizer_spm_create(const bn_gguf *file, const bn_vocab *vocab,
                                             uint32_t unknown, bn_tokenizer_spm **spm_out);
void bn_tokenizer_spm_destroy(bn_tokenizer_spm *spm);

/* Appends the ids of n ≤ BN_TOKENIZER_TEXT_MAX bytes without special tokens in them, after a
 * space of our own if `has_prefix`. */
BN_CHECKED bn_status bn_tokenizer_spm_encode(const bn_tokenizer_spm *spm, bn_merger *merger,
                                             const char *text, size_t n, bool has_prefix,
                                             bn_token_list *ids);

#endif
