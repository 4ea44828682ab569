/* tokenizer.h — text to token ids and back, as the model's file says.
 *
 * Two kinds: byte-level BPE ("gpt2", with the pre-tokenizers of BN_PRETOKENIZER_NAMES) and
 * SentencePiece-style merging by score ("llama"). Text from people is encoded with special
 * parsing off, so that it can never forge a control token.
 *
 * What a file may get wrong: empty tokens are never produced; of tokens with one text the last has
 * it; merges that name no token are passed over (each with one warning); of a merge listed twice
 * the first counts; tokens that mark turns are control tokens whatever type the file gives them.
 *
 * Memory:  the tokenizer copies what it needs; the file may be closed. Lists grow on the heap
 *          and are owned by the caller.
 * Threads: read-only after _create: any, each with its own list and detokenizer.
 * Errors:  BN_ERR_BAD_FILE naming file and key; BN_ERR_UNSUPPORTED for a model or pre-tokenizer
 *          that is not ours, by its name.
 */
#ifndef BN_COORDINATOR_TOKENIZER_H
#define BN_COORDINATOR_TOKENIZER_H

#include "common/status.h"
#include "model/gguf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BN_TOKENIZER_TEXT_MAX (64u << 20) /* bytes of one text */
#define BN_TOKEN_PIECE_MAX 4096           /* bytes of one token's text */
#define BN_STOP_TOKENS_MAX 16
#define BN_TOKEN_NONE UINT32_MAX

typedef struct bn_tokenizer bn_tokenizer;

typedef struct bn_token_list {
    uint32_t *ids;
    size_t n, capacity;
} bn_token_list;

BN_CHECKED bn_status bn_token_list_push(bn_token_list *list, uint32_t id);
void bn_token_list_fini(bn_token_list *list);

/* `pre_override`: a pre-tokenizer name that replaces the file's, or NULL. A gpt2 file without the
 * key "tokenizer.ggml.pre" is taken as llama-bpe when its vocabulary is Llama-3's, else default.
 * BN_ERR_BAD_FILE naming the missing key when the file has no tokenizer. */
BN_CHECKED bn_status bn_tokenizer_create(const bn_gguf *file, const char *pre_override,
                                         bn_tokenizer **tokenizer_out);
void bn_tokenizer_destroy(bn_tokenizer *tokenizer);

uint32_t bn_tokenizer_size(const bn_tokenizer *tokenizer);
uint32_t bn_tokenizer_bos(const bn_tokenizer *tokenizer); /* BN_TOKEN_NONE when absent */
uint32_t bn_tokenizer_eos(const bn_tokenizer *tokenizer);
bool bn_tokenizer_adds_bos(const bn_tokenizer *tokenizer);

/* End of generation: every token that the file names as such (eos, eot, eom, and the lists
 * eos_token_ids and eog_token_ids) and the usual end-of-turn tokens of the vocabulary. */
bool bn_tokenizer_is_stop(const bn_tokenizer *tokenizer, uint32_t id);
bool bn_tokenizer_is_control(const bn_tokenizer *tokenizer, uint32_t id);

/* The text of a token as the file spells it, not NUL-terminated. */
const char *bn_tokenizer_text(const bn_tokenizer *tokenizer, uint32_t id, size_t *n_out);

/* The id whose text is exactly `text`, BN_TOKEN_NONE when absent. */
uint32_t bn_tokenizer_find(const bn_tokenizer *tokenizer, const char *text);

/* Appends the ids of n bytes of UTF-8 (other bytes fall back to byte tokens); on failure the list
 * is as before. With `parse_special` control tokens in the text become their ids; user-defined
 * ones always do. BN_ERR_UNSUPPORTED naming a byte for which the vocabulary has no token. BOS is
 * never added here. `is_start`: the text begins the sequence (SPM puts its space prefix there). */
BN_CHECKED bn_status bn_tokenizer_encode(const bn_tokenizer *tokenizer, const char *text, size_t n,
                                         bool parse_special, bool is_start, bn_token_list *ids);

/* Bytes of text that the token stands for; none for a control token. `is_start`: it is the first of
 * a text, whose leading space SPM has added. */
size_t bn_tokenizer_bytes(const bn_tokenizer *tokenizer, uint32_t id, bool is_start);

/* The same for a text that several wrote: control tokens become their ids where every byte of them
 * has the mark 0 (`marks` has n), so that no text can forge one. */
BN_CHECKED bn_status bn_tokenizer_encode_marked(const bn_tokenizer *tokenizer, const char *text,
                                                size_t n, const uint8_t *marks, bool is_start,
                                                bn_token_list *ids);

/* Streaming detokenisation: bytes come out as soon as they complete UTF-8 characters, never half
 * of one. */
typedef struct bn_detokenizer {
    const bn_tokenizer *tokenizer;
    char held[4]; /* an unfinished character */
    uint32_t n_held;
    bool is_start;       /* SPM drops the leading space of the first piece */
    bool prints_special; /* control tokens as their text instead of nothing */
} bn_detokenizer;

void bn_detokenizer_init(bn_detokenizer *detokenizer, const bn_tokenizer *tokenizer,
                         bool prints_special);

/* Writes at most BN_TOKEN_PIECE_MAX + 4 bytes to `out`; returns their number. Bytes that can
 * never become UTF-8 come out as U+FFFD, and so does an id that the vocabulary does not have (a
 * model's head may have more rows). */
size_t bn_detokenizer_push(bn_detokenizer *detokenizer, uint32_t id, char *out);

/* What is still held, as U+FFFD; at the end of a text. */
size_t bn_detokenizer_flush(bn_detokenizer *detokenizer, char *out);

#endif
