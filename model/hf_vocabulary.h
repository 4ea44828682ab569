/* hf_vocabulary.h — tokens by id and by text, gathered from the files of a Hugging Face folder.
 *
 * Ids come in any order and from more than one file; what a place holds is said once, and every
 * contradiction is an error that names the file.
 *
 * Memory:  caller's struct; bn_hf_vocabulary_fini frees, also after an error.
 * Threads: one.
 * Errors:  BN_ERR_BAD_FILE naming file, token and id.
 */
#ifndef BN_MODEL_HF_VOCABULARY_H
#define BN_MODEL_HF_VOCABULARY_H

#include "model/text_list.h"

#include <stdbool.h>

#define BN_HF_VOCABULARY_NONE UINT32_MAX

/* As tokenizer.ggml.token_type; 0 is a place without a token. */
typedef enum bn_hf_token_type {
    BN_HF_TOKEN_ABSENT,
    BN_HF_TOKEN_NORMAL,
    BN_HF_TOKEN_UNKNOWN,
    BN_HF_TOKEN_CONTROL,
    BN_HF_TOKEN_USER_DEFINED,
    BN_HF_TOKEN_UNUSED,
    BN_HF_TOKEN_BYTE,
} bn_hf_token_type;

typedef struct bn_hf_vocabulary {
    uint32_t n_places; /* ids are below */
    int32_t *types;    /* [n_places] */
    float *scores;     /* [n_places] */
    uint32_t *texts;   /* [n_places] index into `list` */
    uint32_t *slots;   /* ids by text, open-addressed, at most half full */
    uint32_t slot_mask;
    bn_text_list list;
    bn_text_list merges; /* "left right" */
    uint32_t n_tokens;

    bool is_spm;                /* else byte-level */
    const char *pretokenizer;   /* byte-level: its name */
    const char *space_prefix;   /* SPM: "each", "unless-space", "first" or "none" */
    bool merges_by_rank;        /* SPM: the merges tell more than the scores */
    bool is_bos_said, adds_bos; /* is_bos_said: a file says whether BOS goes first */
    uint32_t unknown;
} bn_hf_vocabulary;

BN_CHECKED bn_status bn_hf_vocabulary_init(uint32_t n_places, bn_hf_vocabulary *vocab);
void bn_hf_vocabulary_fini(bn_hf_vocabulary *vocab);

/* Enters a token; `path` is named in errors. The same text at the same id again is no error: its
 * type becomes the later one. An id beyond the embedding, an id or a text taken twice are. */
BN_CHECKED bn_status bn_hf_vocabulary_add(bn_hf_vocabulary *vocab, const char *path, uint64_t id,
                                          const char *text, size_t n, bn_hf_token_type type,
                                          float score);

/* BN_HF_VOCABULARY_NONE when no token has this text. */
uint32_t bn_hf_vocabulary_find(const bn_hf_vocabulary *vocab, const char *text, size_t n);

/* The text of a place that holds a token. */
bn_gguf_string bn_hf_vocabulary_text(const bn_hf_vocabulary *vocab, uint32_t id);

#endif
