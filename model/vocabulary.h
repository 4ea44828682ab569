/* vocabulary.h — a byte-level BPE vocabulary for models that are made here.
 *
 * Tokens are in the byte-to-character alphabet of GPT-2 (0x20 is U+0120), merges are
 * "left right" in order of priority, as tokenizer.ggml.tokens and .merges hold them.
 *
 * Memory:  caller's struct; bn_vocabulary_fini frees, also after an error.
 * Errors:  BN_ERR_BAD_FILE naming file and line.
 */
#ifndef BN_MODEL_VOCABULARY_H
#define BN_MODEL_VOCABULARY_H

#include "model/text_list.h"

#define BN_VOCABULARY_BYTE_TOKENS 256u
/* The fewest tokens of a printable vocabulary: bytes and three special tokens. */
#define BN_VOCABULARY_PRINTABLE_MIN (BN_VOCABULARY_BYTE_TOKENS + 3u)

typedef struct bn_vocabulary {
    bn_text_list tokens, merges;
    uint32_t n_normal; /* tokens from here on are special (control) ones */
    uint32_t bos, eos, eot;
} bn_vocabulary;

void bn_vocabulary_fini(bn_vocabulary *vocab);

/* All 256 bytes, then made-up words of syllables, with and without a space in front, that BPE
 * really reaches through the merges; then three special tokens. n_tokens ≤ BN_VOCAB_MAX. */
BN_CHECKED bn_status bn_vocabulary_make_printable(uint32_t n_tokens, bn_vocabulary *vocab);

/* The characters that stand for n bytes, UTF-8 into out[2 n]; returns their length. */
size_t bn_vocabulary_map_bytes(const uint8_t *bytes, size_t n, char *out);

#endif
