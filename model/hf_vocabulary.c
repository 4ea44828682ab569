/* hf_vocabulary.c — texts in one list in the order of arrival, ids by text in one table. */
#include "model/hf_vocabulary.h"

#include "common/alloc.h"
#include "common/hash.h"
#include "common/log.h"
#include "model/hf_tokenizer.h"

#include <inttypes.h>
#include <string.h>

bn_status bn_hf_vocabulary_init(uint32_t n_places, bn_hf_vocabulary *vocab)
{
    *vocab = (bn_hf_vocabulary){.n_places = n_places, .unknown = BN_HF_VOCABULARY_NONE};
    BN_ASSERT(n_places > 0 && n_places <= BN_HF_TOKENIZER_TOKENS_MAX);
    uint32_t n_slots = 64;
    while (n_slots < 2 * n_places)
        n_slots *= 2;
    vocab->slot_mask = n_slots - 1;
    vocab->types = bn_alloc(n_places, sizeof *vocab->types);
    vocab->scores = bn_alloc(n_places, sizeof *vocab->scores);
    vocab->texts = bn_alloc(n_places, sizeof *vocab->texts);
    vocab->slots = bn_alloc(n_slots, sizeof *vocab->slots);
    if (vocab->types == NULL || vocab->scores == NULL || vocab->texts == NULL ||
        vocab->slots == NULL)
        return bn_fail(BN_ERR_NO_MEMORY, "MODEL-VOCAB", "no memory for a vocabulary of %u tokens",
                       n_places);
    memset(vocab->slots, 0xFF, n_slots * sizeof *vocab->slots);
    return BN_OK;
}

void bn_hf_vocabulary_fini(bn_hf_vocabulary *vocab)
{
    bn_free(vocab->types);
    bn_free(vocab->scores);
    bn_free(vocab->texts);
    bn_free(vocab->slots);
    bn_text_list_fini(&vocab->list);
    bn_text_list_fini(&vocab->merges);
    *vocab = (bn_hf_vocabulary){0};
}

bn_gguf_string bn_hf_vocabulary_text(const bn_hf_vocabulary *vocab, uint32_t id)
{
    BN_ASSERT(id < vocab->n_places && vocab->types[id] != BN_HF_TOKEN_ABSENT);
    return bn_text_list_at(&vocab->list, vocab->texts[id]);
}

/* The slot of this text, or the free one where it belongs. */
static uint32_t *slot_of(const bn_hf_vocabulary *vocab, const char *text, size_t n)
{
    uint32_t at = (uint32_t)bn_hash64_of(text, n, 0) & vocab->slot_mask;
    while (vocab->slots[at] != BN_HF_VOCABULARY_NONE) {
        bn_gguf_string other = bn_hf_vocabulary_text(vocab, vocab->slots[at]);
        if (other.n == n && memcmp(other.bytes, text, n) == 0) break;
        at = (at + 1) & vocab->slot_mask;
    }
    return &vocab->slots[at];
}

uint32_t bn_hf_vocabulary_find(const bn_hf_vocabulary *vocab, const char *text, size_t n)
{
    return *slot_of(vocab, text, n);
}

/* For a message: at most 64 bytes of a text from the file. */
static int shown(size_t n)
{
    return n < 64 ? (int)n : 64;
}

bn_status bn_hf_vocabulary_add(bn_hf_vocabulary *vocab, const char *path, uint64_t id,
                               const char *text, size_t n, bn_hf_token_type type, float score)
{
    if (id >= vocab->n_places)
        return bn_fail(BN_ERR_BAD_FILE, "MODEL-VOCAB",
                       "%s: the token %.*s has the id %" PRIu64
                       ", but the model's embedding has %u rows",
                       path, shown(n), text, id, vocab->n_places);
    if (n == 0 || n > BN_HF_TOKENIZER_TOKEN_BYTES_MAX)
        return bn_fail(BN_ERR_BAD_FILE, "MODEL-VOCAB",
                       "%s: the token %" PRIu64 " has %zu bytes; 1 to %u are possible", path, id, n,
                       BN_HF_TOKENIZER_TOKEN_BYTES_MAX);
    uint32_t *slot = slot_of(vocab, text, n);
    if (*slot != BN_HF_VOCABULARY_NONE && *slot != id)
        return bn_fail(BN_ERR_BAD_FILE, "MODEL-VOCAB",
                       "%s: the token %.*s has two ids, %u and %" PRIu64, path, shown(n), text,
                       *slot, id);
    if (*slot == BN_HF_VOCABULARY_NONE && vocab->types[id] != BN_HF_TOKEN_ABSENT) {
        bn_gguf_string other = bn_hf_vocabulary_text(vocab, (uint32_t)id);
        return bn_fail(BN_ERR_BAD_FILE, "MODEL-VOCAB",
                       "%s: the id %" PRIu64 " has two tokens, %.*s and %.*s", path, id,
                       shown(other.n), other.bytes, shown(n), text);
    }
    vocab->types[id] = (int32_t)type;
    vocab->scores[id] = score;
    if (*slot != BN_HF_VOCABULARY_NONE) return BN_OK;
    bn_text_list_add(&vocab->list, text, n, "", 0);
    if (vocab->list.status != BN_OK) {
        vocab->types[id] = BN_HF_TOKEN_ABSENT;
        return vocab->list.status;
    }
    vocab->texts[id] = vocab->list.n - 1;
    vocab->n_tokens++;
    *slot = (uint32_t)id;
    return BN_OK;
}
