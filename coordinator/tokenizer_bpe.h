/* tokenizer_bpe.h — byte-level BPE: bytes spelt as visible characters, merged by rank.
 *
 * Memory:  owns its merge table; keeps a reference to the vocabulary.
 * Threads: read-only after _create: any, each with its own merger.
 * Errors:  BN_ERR_BAD_FILE naming file and key; BN_ERR_UNSUPPORTED for a byte without a token.
 */
#ifndef BN_COORDINATOR_TOKENIZER_BPE_H
#define BN_COORDINATOR_TOKENIZER_BPE_H

#include "coordinator/merge_table.h"
#include "coordinator/merger.h"
#include "coordinator/pretokenizer.h"
#include "coordinator/tokenizer.h"
#include "coordinator/vocab.h"

typedef struct bn_tokenizer_bpe bn_tokenizer_bpe;

/* The bytes of a token's text: a bn_vocab_piece_of. A text with a character that spells no byte
 * stands for itself. */
size_t bn_tokenizer_bpe_piece(const char *text, size_t n, char *out);

/* `unknown`: the token for bytes that have none, or BN_TOKEN_NONE. */
BN_CHECKED bn_status bn_tokenizer_bpe_create(const bn_gguf *file, const bn_vocab *vocab,
                                             const bn_pretokenizer *pretokenizer, uint32_t unknown,
                                             bn_tokenizer_bpe **bpe_out);
void bn_tokenizer_bpe_destroy(bn_tokenizer_bpe *bpe);

/* Appends the ids of n ≤ BN_TOKENIZER_TEXT_MAX bytes without special tokens in them. */
BN_CHECKED bn_status bn_tokenizer_bpe_encode(const bn_tokenizer_bpe *bpe, bn_merger *merger,
                                             const char *text, size_t n, bn_token_list *ids);

#endif
