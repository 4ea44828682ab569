/* special_tokens.h — finds tokens that are cut out of a text before it is tokenised.
 *
 * Longer tokens are looked for first, in the whole text, each from left to right: a token that
 * another one overlaps loses to the longer of the two (the order of llama.cpp).
 *
 * Memory:  a list of lengths and a table of first byte pairs (8 KiB); keeps a reference to the
 *          vocabulary.
 * Threads: read-only after _create: any.
 * Errors:  BN_ERR_BAD_FILE for more than BN_SPECIAL_TOKENS_LENGTHS_MAX different lengths.
 */
#ifndef BN_COORDINATOR_SPECIAL_TOKENS_H
#define BN_COORDINATOR_SPECIAL_TOKENS_H

#include "coordinator/vocab.h"

#define BN_SPECIAL_TOKENS_LENGTHS_MAX 256

typedef struct bn_special_tokens bn_special_tokens;

/* User-defined tokens; with `has_control` control and unknown tokens too. */
BN_CHECKED bn_status bn_special_tokens_create(const bn_gguf *file, const bn_vocab *vocab,
                                              bool has_control, bn_special_tokens **specials_out);
void bn_special_tokens_destroy(bn_special_tokens *specials);

/* Different lengths, longest first. */
uint32_t bn_special_tokens_n_lengths(const bn_special_tokens *specials);
uint32_t bn_special_tokens_length(const bn_special_tokens *specials, uint32_t index);

/* The first token with length `index` in text[begin, end): its place, and its id in *id_out; `end`
 * when there is none. `marks`, if not NULL: a byte whose mark is not 0 is part of user-defined
 * tokens only. */
size_t bn_special_tokens_find(const bn_special_tokens *specials, uint32_t index, const char *text,
                              const uint8_t *marks, size_t begin, size_t end, uint32_t *id_out);

#endif
