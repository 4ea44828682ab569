/* vocab.h — the tokens of a file: their texts, kinds and scores, and the way from text to id.
 *
 * A token has two forms: its text, as the file spells it ("Ġthe", "▁the", "<0x0A>"), and its
 * piece, the bytes that it stands for (" the", " the", newline).
 *
 * Memory:  owns copies of everything.
 * Threads: read-only after _create: any.
 * Errors:  BN_ERR_BAD_FILE naming file, key and token.
 * Limits:  below; a file beyond them is refused.
 */
#ifndef BN_COORDINATOR_VOCAB_H
#define BN_COORDINATOR_VOCAB_H

#include "common/status.h"
#include "coordinator/tokenizer.h"
#include "model/gguf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BN_VOCAB_TOKENS_MAX (1u << 20)

/* tokenizer.ggml.token_type, as in the file; there 0 is "undefined", which we read as normal. */
typedef enum bn_vocab_kind {
    BN_VOCAB_NORMAL = 1,
    BN_VOCAB_UNKNOWN,
    BN_VOCAB_CONTROL,
    BN_VOCAB_USER_DEFINED,
    BN_VOCAB_UNUSED,
    BN_VOCAB_BYTE,
    BN_VOCAB_KIND_COUNT,
} bn_vocab_kind;

typedef struct bn_vocab bn_vocab;

/* Writes the piece of a normal token into `out`, which has room for n bytes; returns its length. */
typedef size_t bn_vocab_piece_of(const char *text, size_t n, char *out);

/* Reads tokens, token types and scores. Without types a token is normal, or a byte when its text
 * is <0xXX>. Of equal texts the last one has the text, as in llama.cpp. */
BN_CHECKED bn_status bn_vocab_create(const bn_gguf *file, bn_vocab_piece_of *piece_of,
                                     bn_vocab **vocab_out);
void bn_vocab_destroy(bn_vocab *vocab);

uint32_t bn_vocab_size(const bn_vocab *vocab);
bn_vocab_kind bn_vocab_kind_of(const bn_vocab *vocab, uint32_t id);
const char *bn_vocab_text(const bn_vocab *vocab, uint32_t id, size_t *n_out);
const char *bn_vocab_piece(const bn_vocab *vocab, uint32_t id, size_t *n_out);

/* False when the file has no scores. */
bool bn_vocab_has_scores(const bn_vocab *vocab);
float bn_vocab_score(const bn_vocab *vocab, uint32_t id);

/* Bytes of the longest text. */
size_t bn_vocab_text_max(const bn_vocab *vocab);

/* The id whose text this is; BN_TOKEN_NONE when absent or n is 0. */
uint32_t bn_vocab_find(const bn_vocab *vocab, const char *text, size_t n);

/* The same among the tokens that text may turn into: no control, unknown or byte token, so that
 * no spelling can forge one. */
uint32_t bn_vocab_find_plain(const bn_vocab *vocab, const char *text, size_t n);

/* The token of one byte, by its kind and text <0xXX>; BN_TOKEN_NONE when absent. */
uint32_t bn_vocab_byte(const bn_vocab *vocab, unsigned char byte);

/* Turns a token into a control token. Before the vocabulary is shared. */
void bn_vocab_make_control(bn_vocab *vocab, uint32_t id);

#endif
