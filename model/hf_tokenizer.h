/* hf_tokenizer.h — the tokenizer of a Hugging Face folder as tokenizer.ggml.* keys.
 *
 * Reads tokenizer.json (byte-level BPE, or the SentencePiece kind: BPE over U+2581 with bytes to
 * fall back on), else tokenizer.model (SentencePiece, BPE); with tokenizer_config.json,
 * chat_template.jinja, special_tokens_map.json, generation_config.json and config.json for
 * special tokens, habits and the chat template. What is not one of the kinds known here is
 * refused by its name: a tokenizer that is nearly right makes a model that is nearly right.
 *
 * Memory:  a few times the size of the files while it runs.
 * Errors:  BN_ERR_BAD_FILE, BN_ERR_UNSUPPORTED or BN_ERR_LIMIT naming the file and the entry.
 */
#ifndef BN_MODEL_HF_TOKENIZER_H
#define BN_MODEL_HF_TOKENIZER_H

#include "model/gguf_writer.h"

#include <stdbool.h>

#define BN_HF_TOKENIZER_BYTES_MAX (64u << 20) /* tokenizer.json, tokenizer.model */
#define BN_HF_TOKENIZER_CONFIG_BYTES_MAX (8u << 20)
#define BN_HF_TOKENIZER_TEMPLATE_BYTES_MAX (1u << 18)
#define BN_HF_TOKENIZER_TOKENS_MAX (1u << 20)
#define BN_HF_TOKENIZER_MERGES_MAX (1u << 21)
#define BN_HF_TOKENIZER_TOKEN_BYTES_MAX 4096u
#define BN_HF_TOKENIZER_STOPS_MAX 16u

/* Keys of our own for what GGUF has no words for (SPM only): where a space goes in front of a text
 * ("unless-space": where none stands yet; "first": at the start of the sequence only, else after
 * every special token, too), and that tokenizer.ggml.merges lists the pairs that may join. */
#define BN_HF_TOKENIZER_KEY_SPACE "tokenizer.space_prefix"
#define BN_HF_TOKENIZER_KEY_RANKS "tokenizer.merges_by_rank"

/* True when the folder holds tokenizer.json or tokenizer.model. */
bool bn_hf_tokenizer_exists(const char *folder);

/* Adds the keys to `writer`. `vocab`: the rows of the embedding; places without a token become
 * unused tokens [PADn], a token beyond them is an error. */
BN_CHECKED bn_status bn_hf_tokenizer_write(const char *folder, uint32_t vocab,
                                           bn_gguf_writer *writer);

#endif
