/* special_tokens.c — one pass per length, with a table that rules out nearly every place.
 *
 * Vocabularies have some hundred special tokens of some twenty lengths; most texts have none of
 * them. The table of first two bytes makes a pass cost one look per byte.
 */
#include "coordinator/special_tokens.h"

#include "common/alloc.h"
#include "common/log.h"

#include <string.h>

#define PAIR_WORDS (65536 / 64)

struct bn_special_tokens {
    const bn_vocab *vocab;
    bool has_control;
    uint32_t n_lengths;
    uint32_t lengths[BN_SPECIAL_TOKENS_LENGTHS_MAX];
    uint64_t pairs[PAIR_WORDS]; /* bit of first byte and second byte */
    bool singles[256];          /* tokens of one byte */
};

static bool is_member(const bn_special_tokens *specials, uint32_t id)
{
    switch (bn_vocab_kind_of(specials->vocab, id)) {
    case BN_VOCAB_USER_DEFINED: return true;
    case BN_VOCAB_CONTROL:
    case BN_VOCAB_UNKNOWN: return specials->has_control;
    default: return false;
    }
}

static uint32_t pair_at(const char *text)
{
    return (uint32_t)(unsigned char)text[0] << 8 | (unsigned char)text[1];
}

static void enter(bn_special_tokens *specials, bool *has_length, uint32_t id)
{
    size_t n;
    const char *text = bn_vocab_text(specials->vocab, id, &n);
    if (n == 0) return;
    has_length[n] = true;
    if (n == 1) {
        specials->singles[(unsigned char)text[0]] = true;
        return;
    }
    uint32_t pair = pair_at(text);
    specials->pairs[pair / 64] |= 1ull << pair % 64;
}

bn_status bn_special_tokens_create(const bn_gguf *file, const bn_vocab *vocab, bool has_control,
                                   bn_special_tokens **specials_out)
{
    bool has_length[BN_TOKEN_PIECE_MAX + 1] = {false};
    bn_special_tokens *specials = bn_alloc(1, sizeof *specials);
    if (specials == NULL)
        return bn_fail(BN_ERR_NO_MEMORY, "TOKENIZER-MEMORY", "%s: no memory for its tokenizer",
                       bn_gguf_path(file));
    specials->vocab = vocab;
    specials->has_control = has_control;
    for (uint32_t id = 0; id < bn_vocab_size(vocab); id++) {
        if (is_member(specials, id)) enter(specials, has_length, id);
    }
    for (uint32_t n = BN_TOKEN_PIECE_MAX; n > 0; n--) {
        if (!has_length[n]) continue;
        if (specials->n_lengths == BN_SPECIAL_TOKENS_LENGTHS_MAX) {
            bn_special_tokens_destroy(specials);
            return bn_fail(BN_ERR_BAD_FILE, "TOKENIZER-FILE",
                           "%s: key tokenizer.ggml.token_type: special tokens have more than %d "
                           "different lengths",
                           bn_gguf_path(file), BN_SPECIAL_TOKENS_LENGTHS_MAX);
        }
        specials->lengths[specials->n_lengths++] = n;
    }
    *specials_out = specials;
    return BN_OK;
}

void bn_special_tokens_destroy(bn_special_tokens *specials)
{
    bn_free(specials);
}

uint32_t bn_special_tokens_n_lengths(const bn_special_tokens *specials)
{
    return specials->n_lengths;
}

uint32_t bn_special_tokens_length(const bn_special_tokens *specials, uint32_t index)
{
    BN_ASSERT(index < specials->n_lengths);
    return specials->lengths[index];
}

static bool may_begin_here(const bn_special_tokens *specials, size_t length, const char *text)
{
    if (length == 1) return specials->singles[(unsigned char)text[0]];
    uint32_t pair = pair_at(text);
    return specials->pairs[pair / 64] >> pair % 64 & 1;
}

static bool has_mark(const uint8_t *marks, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (marks[i] != 0) return true;
    }
    return false;
}

size_t bn_special_tokens_find(const bn_special_tokens *specials, uint32_t index, const char *text,
                              const uint8_t *marks, size_t begin, size_t end, uint32_t *id_out)
{
    size_t length = bn_special_tokens_length(specials, index);
    for (size_t at = begin; at < end && end - at >= length; at++) {
        if (!may_begin_here(specials, length, text + at)) continue;
        uint32_t id = bn_vocab_find(specials->vocab, text + at, length);
        if (id == BN_TOKEN_NONE || !is_member(specials, id)) continue;
        if (marks != NULL && has_mark(marks + at, length) &&
            bn_vocab_kind_of(specials->vocab, id) != BN_VOCAB_USER_DEFINED)
            continue;
        *id_out = id;
        return at;
    }
    return end;
}
