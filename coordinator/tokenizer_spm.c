/* tokenizer_spm.c — the whole text is one piece by definition, but rarely needs to be merged as
 * one.
 *
 * When no token of the vocabulary has a space mark behind another character (so in Llama-2's),
 * nothing can join across the front of a space, and each word is merged alone: same result, small
 * heaps. A vocabulary without that property is merged in one go.
 */
#include "coordinator/tokenizer_spm.h"

#include "common/alloc.h"
#include "common/log.h"
#include "coordinator/merge_table.h"
#include "coordinator/unicode.h"
#include "model/hf_tokenizer.h"

#include <string.h>

#define SPACE_MARK "\xE2\x96\x81" /* U+2581 */
#define SPACE_MARK_BYTES 3

struct bn_tokenizer_spm {
    const bn_vocab *vocab;
    uint32_t unknown;
    bool cuts_at_spaces;
    bool merges_by_rank; /* by `merges` instead of by score */
    bn_merge_table merges;
};

static bool is_mark(const char *text, size_t n)
{
    return n >= SPACE_MARK_BYTES && memcmp(text, SPACE_MARK, SPACE_MARK_BYTES) == 0;
}

size_t bn_tokenizer_spm_piece(const char *text, size_t n, char *out)
{
    size_t n_out = 0;
    for (size_t at = 0; at < n;) {
        bool is_space = is_mark(text + at, n - at);
        out[n_out++] = is_space ? ' ' : text[at];
        at += is_space ? SPACE_MARK_BYTES : 1;
    }
    return n_out;
}

/* True when a space mark stands behind something else than space marks. */
static bool has_inner_mark(const char *text, size_t n)
{
    size_t at = 0;
    while (is_mark(text + at, n - at))
        at += SPACE_MARK_BYTES;
    for (; at < n; at++) {
        if (is_mark(text + at, n - at)) return true;
    }
    return false;
}

bn_status bn_tokenizer_spm_create(const bn_gguf *file, const bn_vocab *vocab, uint32_t unknown,
                                  bn_tokenizer_spm **spm_out)
{
    if (!bn_vocab_has_scores(vocab))
        return bn_fail(
            BN_ERR_BAD_FILE, "TOKENIZER-FILE",
            "%s has no key tokenizer.ggml.scores, which a tokenizer of model llama needs",
            bn_gguf_path(file));
    bn_tokenizer_spm *spm = bn_alloc(1, sizeof *spm);
    if (spm == NULL)
        return bn_fail(BN_ERR_NO_MEMORY, "TOKENIZER-MEMORY", "%s: no memory for its tokenizer",
                       bn_gguf_path(file));
    *spm = (bn_tokenizer_spm){.vocab = vocab, .unknown = unknown, .cuts_at_spaces = true};
    for (uint32_t i = 0; i < bn_vocab_size(vocab) && spm->cuts_at_spaces; i++) {
        size_t n;
        const char *text = bn_vocab_text(vocab, i, &n);
        spm->cuts_at_spaces = !has_inner_mark(text, n);
    }
    bn_status status = BN_OK;
    bn_gguf_get_bool(file, BN_HF_TOKENIZER_KEY_RANKS, &spm->merges_by_rank, &status);
    if (status == BN_OK && spm->merges_by_rank)
        status = bn_merge_table_read(file, vocab, &spm->merges);
    if (status != BN_OK) {
        bn_tokenizer_spm_destroy(spm);
        return status;
    }
    *spm_out = spm;
    return BN_OK;
}

void bn_tokenizer_spm_destroy(bn_tokenizer_spm *spm)
{
    if (spm == NULL) return;
    bn_merge_table_fini(&spm->merges);
    bn_free(spm);
}

/* A smaller key for a higher score: the order of floats as integers, turned round. */
static uint32_t key_of_score(float score)
{
    if (score == 0.0f) score = 0.0f; /* minus zero is no other score */
    uint32_t bits;
    memcpy(&bits, &score, sizeof bits);
    uint32_t ascending = bits >> 31 ? ~bits : bits | 0x80000000u;
    return ~ascending;
}

typedef struct pair_context {
    const bn_vocab *vocab;
    const char *text;
} pair_context;

static bool pair_score(const void *context, const bn_merger_symbol *left,
                       const bn_merger_symbol *right, uint32_t *key_out, uint32_t *id_out)
{
    const pair_context *pair = context;
    uint32_t id =
        bn_vocab_find_plain(pair->vocab, pair->text + left->begin, right->end - left->begin);
    if (id == BN_TOKEN_NONE) return false;
    *key_out = key_of_score(bn_vocab_score(pair->vocab, id));
    *id_out = id;
    return true;
}

static bn_status push_bytes(const bn_tokenizer_spm *spm, const char *bytes, size_t n,
                            bn_token_list *ids)
{
    bool has_all = true;
    for (size_t i = 0; i < n; i++)
        has_all &= bn_vocab_byte(spm->vocab, (unsigned char)bytes[i]) != BN_TOKEN_NONE;
    if (!has_all && spm->unknown != BN_TOKEN_NONE) return bn_token_list_push(ids, spm->unknown);
    if (!has_all)
        return bn_fail(BN_ERR_UNSUPPORTED, "TOKENIZER-TEXT",
                       "the text has a character that begins with the byte 0x%02X, for which the "
                       "model's vocabulary has no token",
                       (unsigned char)bytes[0]);
    for (size_t i = 0; i < n; i++)
        BN_TRY(bn_token_list_push(ids, bn_vocab_byte(spm->vocab, (unsigned char)bytes[i])));
    return BN_OK;
}

static bn_status encode_part(const bn_tokenizer_spm *spm, bn_merger *merger, const char *text,
                             size_t n, bn_token_list *ids)
{
    size_t n_symbols = 0;
    uint32_t code;
    for (size_t at = 0; at < n; n_symbols++)
        at += bn_unicode_decode(text + at, n - at, &code);

    BN_TRY(bn_merger_reserve(merger, n_symbols));
    for (size_t at = 0; at < n;) {
        size_t length = bn_unicode_decode(text + at, n - at, &code);
        uint32_t id = bn_vocab_find_plain(spm->vocab, text + at, length);
        bn_merger_add(merger, (uint32_t)at, (uint32_t)(at + length), id);
        at += length;
    }
    pair_context context = {spm->vocab, text};
    if (spm->merges_by_rank)
        bn_merger_run(merger, bn_merge_table_pair, &spm->merges);
    else
        bn_merger_run(merger, pair_score, &context);

    for (uint32_t i = 0; i != BN_MERGER_NONE; i = merger->symbols[i].next) {
        const bn_merger_symbol *symbol = &merger->symbols[i];
        if (symbol->id != BN_TOKEN_NONE)
            BN_TRY(bn_token_list_push(ids, symbol->id));
        else
            BN_TRY(push_bytes(spm, text + symbol->begin, symbol->end - symbol->begin, ids));
    }
    return BN_OK;
}

/* The text with its spaces as marks. */
static bn_status mark_spaces(const char *text, size_t n, bool has_prefix, char **marked_out,
                             size_t *n_out)
{
    size_t n_marks = has_prefix;
    for (size_t i = 0; i < n; i++)
        n_marks += text[i] == ' ';
    char *marked = bn_alloc(n + n_marks * SPACE_MARK_BYTES + 1, 1);
    if (marked == NULL)
        return bn_fail(BN_ERR_NO_MEMORY, "TOKENIZER-MEMORY", "no memory to tokenise %zu bytes", n);

    char *to = marked;
    if (has_prefix) to = (char *)memcpy(to, SPACE_MARK, SPACE_MARK_BYTES) + SPACE_MARK_BYTES;
    for (size_t i = 0; i < n; i++) {
        if (text[i] == ' ')
            to = (char *)memcpy(to, SPACE_MARK, SPACE_MARK_BYTES) + SPACE_MARK_BYTES;
        else
            *to++ = text[i];
    }
    *marked_out = marked;
    *n_out = (size_t)(to - marked);
    return BN_OK;
}

/* The end of the part that begins at `begin`: where a run of marks follows something else. */
static size_t part_end(const bn_tokenizer_spm *spm, const char *text, size_t begin, size_t n)
{
    if (!spm->cuts_at_spaces) return n;
    size_t at = begin;
    while (is_mark(text + at, n - at))
        at += SPACE_MARK_BYTES;
    while (at < n && !is_mark(text + at, n - at))
        at++;
    return at;
}

bn_status bn_tokenizer_spm_encode(const bn_tokenizer_spm *spm, bn_merger *merger, const char *text,
                                  size_t n, bool has_prefix, bn_token_list *ids)
{
    if (n == 0) return BN_OK;
    char *marked = NULL;
    size_t n_marked = 0;
    BN_TRY(mark_spaces(text, n, has_prefix, &marked, &n_marked));
    bn_status status = BN_OK;
    for (size_t at = 0; at < n_marked && status == BN_OK;) {
        size_t end = part_end(spm, marked, at, n_marked);
        status = encode_part(spm, merger, marked + at, end - at, ids);
        at = end;
    }
    bn_free(marked);
    return status;
}
