/* vocab.c — texts and pieces each in one block, ids by text in one open-addressed table.
 *
 * The table holds ids only; a text is compared where it lies. It is at most half full.
 */
#include "coordinator/vocab.h"

#include "common/alloc.h"
#include "common/hash.h"
#include "common/log.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#define KEY_TOKENS "tokenizer.ggml.tokens"
#define KEY_TYPES "tokenizer.ggml.token_type"
#define KEY_SCORES "tokenizer.ggml.scores"
#define N_BYTES 256

struct bn_vocab {
    uint32_t n_tokens;
    uint32_t *text_ends; /* token i is [ends[i - 1], ends[i]) */
    uint32_t *piece_ends;
    char *texts;
    char *pieces;
    uint8_t *kinds;
    float *scores; /* NULL when absent */
    uint32_t *slots;
    uint32_t slot_mask;
    uint32_t byte_ids[N_BYTES];
    size_t text_max;
};

static const char *slice(const char *block, const uint32_t *ends, uint32_t id, size_t *n_out)
{
    uint32_t begin = id == 0 ? 0 : ends[id - 1];
    *n_out = ends[id] - begin;
    return block + begin;
}

static bn_status no_memory(const bn_gguf *file)
{
    return bn_fail(BN_ERR_NO_MEMORY, "TOKENIZER-MEMORY", "%s: no memory for its vocabulary",
                   bn_gguf_path(file));
}

/* Counts and lengths of the key's strings, before anything is copied. */
static bn_status check_tokens(const bn_gguf *file, const bn_gguf_array *tokens, size_t *n_bytes_out)
{
    if (tokens->n == 0 || tokens->n > BN_VOCAB_TOKENS_MAX)
        return bn_fail(BN_ERR_BAD_FILE, "TOKENIZER-FILE",
                       "%s: key " KEY_TOKENS " has %" PRIu64 " entries; 1 to %u are possible",
                       bn_gguf_path(file), tokens->n, BN_VOCAB_TOKENS_MAX);
    size_t n_bytes = 0;
    for (uint64_t i = 0; i < tokens->n; i++) {
        if (tokens->strings[i].n > BN_TOKEN_PIECE_MAX)
            return bn_fail(BN_ERR_BAD_FILE, "TOKENIZER-FILE",
                           "%s: key " KEY_TOKENS ": token %" PRIu64
                           " has %zu bytes; at most %u are possible",
                           bn_gguf_path(file), i, tokens->strings[i].n, BN_TOKEN_PIECE_MAX);
        n_bytes += tokens->strings[i].n;
    }
    if (n_bytes > UINT32_MAX)
        return bn_fail(BN_ERR_BAD_FILE, "TOKENIZER-FILE",
                       "%s: key " KEY_TOKENS " has %zu bytes of text; at most %u are possible",
                       bn_gguf_path(file), n_bytes, UINT32_MAX);
    *n_bytes_out = n_bytes;
    return BN_OK;
}

static bn_status allocate(const bn_gguf *file, bn_vocab *vocab, uint32_t n_tokens, size_t n_bytes)
{
    uint32_t n_slots = 64;
    while (n_slots < 2 * n_tokens)
        n_slots *= 2;
    vocab->n_tokens = n_tokens;
    vocab->slot_mask = n_slots - 1;
    vocab->text_ends = bn_alloc(n_tokens, sizeof *vocab->text_ends);
    vocab->piece_ends = bn_alloc(n_tokens, sizeof *vocab->piece_ends);
    vocab->texts = bn_alloc(n_bytes + 1, 1);
    vocab->pieces = bn_alloc(n_bytes + 1, 1);
    vocab->kinds = bn_alloc(n_tokens, sizeof *vocab->kinds);
    vocab->slots = bn_alloc(n_slots, sizeof *vocab->slots);
    if (vocab->text_ends == NULL || vocab->piece_ends == NULL || vocab->texts == NULL ||
        vocab->pieces == NULL || vocab->kinds == NULL || vocab->slots == NULL)
        return no_memory(file);
    memset(vocab->slots, 0xFF, n_slots * sizeof *vocab->slots);
    memset(vocab->byte_ids, 0xFF, sizeof vocab->byte_ids);
    return BN_OK;
}

/* The slot of this text, or the free one where it belongs. */
static uint32_t *slot_of(const bn_vocab *vocab, const char *text, size_t n)
{
    uint32_t at = (uint32_t)bn_hash64_of(text, n, 0) & vocab->slot_mask;
    while (vocab->slots[at] != BN_TOKEN_NONE) {
        size_t n_other;
        const char *other = bn_vocab_text(vocab, vocab->slots[at], &n_other);
        if (n_other == n && memcmp(other, text, n) == 0) break;
        at = (at + 1) & vocab->slot_mask;
    }
    return &vocab->slots[at];
}

static void copy_texts(const bn_gguf *file, bn_vocab *vocab, const bn_gguf_array *tokens)
{
    uint32_t end = 0, n_empty = 0, n_repeated = 0, repeated = 0;
    for (uint32_t i = 0; i < vocab->n_tokens; i++) {
        bn_gguf_string text = tokens->strings[i];
        if (text.n > 0) memcpy(vocab->texts + end, text.bytes, text.n);
        end += (uint32_t)text.n;
        vocab->text_ends[i] = end;
        if (text.n > vocab->text_max) vocab->text_max = text.n;
        if (text.n == 0) {
            n_empty++;
            continue;
        }
        uint32_t *slot = slot_of(vocab, text.bytes, text.n);
        if (*slot != BN_TOKEN_NONE) {
            n_repeated++;
            repeated = i;
        }
        *slot = i;
    }
    if (n_empty > 0)
        bn_log_warn("TOKENIZER-FILE", "%s: %u tokens are empty; no text becomes them",
                    bn_gguf_path(file), n_empty);
    if (n_repeated > 0)
        bn_log_warn("TOKENIZER-FILE",
                    "%s: %u tokens repeat the text of an earlier one, such as token %u; "
                    "text becomes the last of them",
                    bn_gguf_path(file), n_repeated, repeated);
}

static bn_status check_length(const bn_gguf *file, const char *key, uint64_t n, uint32_t n_tokens)
{
    if (n == n_tokens) return BN_OK;
    return bn_fail(BN_ERR_BAD_FILE, "TOKENIZER-FILE",
                   "%s: key %s has %" PRIu64 " entries, but " KEY_TOKENS " has %u",
                   bn_gguf_path(file), key, n, n_tokens);
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return -1;
}

/* <0xXX> → 0 … 255, else -1. */
static int byte_of_text(const char *text, size_t n)
{
    if (n != 6 || memcmp(text, "<0x", 3) != 0 || text[5] != '>') return -1;
    int high = hex_digit(text[3]), low = hex_digit(text[4]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

/* Files without types are older than byte tokens' own type: there the text alone tells. */
static void guess_kinds(bn_vocab *vocab)
{
    for (uint32_t i = 0; i < vocab->n_tokens; i++) {
        size_t n;
        const char *text = bn_vocab_text(vocab, i, &n);
        vocab->kinds[i] = byte_of_text(text, n) >= 0 ? BN_VOCAB_BYTE : BN_VOCAB_NORMAL;
    }
}

static bn_status read_kinds(const bn_gguf *file, bn_vocab *vocab)
{
    bn_status status = BN_OK;
    bn_gguf_array types;
    if (!bn_gguf_get_array(file, KEY_TYPES, BN_GGUF_I32, &types, &status)) {
        guess_kinds(vocab);
        return status;
    }
    BN_TRY(check_length(file, KEY_TYPES, types.n, vocab->n_tokens));
    for (uint32_t i = 0; i < vocab->n_tokens; i++) {
        int32_t type;
        memcpy(&type, (const char *)types.data + i * sizeof type, sizeof type);
        if (type < 0 || type >= BN_VOCAB_KIND_COUNT)
            return bn_fail(BN_ERR_BAD_FILE, "TOKENIZER-FILE",
                           "%s: key " KEY_TYPES ": token %u has type %d; 0 to %d are known",
                           bn_gguf_path(file), i, type, BN_VOCAB_KIND_COUNT - 1);
        vocab->kinds[i] = type == 0 ? BN_VOCAB_NORMAL : (uint8_t)type;
    }
    return BN_OK;
}

static bn_status read_scores(const bn_gguf *file, bn_vocab *vocab)
{
    bn_status status = BN_OK;
    bn_gguf_array scores;
    if (!bn_gguf_get_array(file, KEY_SCORES, BN_GGUF_F32, &scores, &status)) return status;
    BN_TRY(check_length(file, KEY_SCORES, scores.n, vocab->n_tokens));
    vocab->scores = bn_alloc(vocab->n_tokens, sizeof *vocab->scores);
    if (vocab->scores == NULL) return no_memory(file);
    memcpy(vocab->scores, scores.data, vocab->n_tokens * sizeof *vocab->scores);
    for (uint32_t i = 0; i < vocab->n_tokens; i++) {
        if (isnan(vocab->scores[i]))
            return bn_fail(BN_ERR_BAD_FILE, "TOKENIZER-FILE",
                           "%s: key " KEY_SCORES ": the score of token %u is not a number",
                           bn_gguf_path(file), i);
    }
    return BN_OK;
}

/* A piece comes out with each byte that is not ASCII as U+FFFD at worst. */
static bool is_too_long(const char *piece, size_t n)
{
    size_t n_out = 0;
    for (size_t i = 0; i < n; i++)
        n_out += (unsigned char)piece[i] < 0x80 ? 1 : 3;
    return n_out > BN_TOKEN_PIECE_MAX;
}

static bn_status make_pieces(const bn_gguf *file, bn_vocab *vocab, bn_vocab_piece_of *piece_of)
{
    uint32_t end = 0;
    for (uint32_t i = 0; i < vocab->n_tokens; i++) {
        size_t n, n_piece;
        const char *text = bn_vocab_text(vocab, i, &n);
        char *piece = vocab->pieces + end;
        int byte = vocab->kinds[i] == BN_VOCAB_BYTE ? byte_of_text(text, n) : -1;
        if (vocab->kinds[i] == BN_VOCAB_BYTE && byte < 0)
            return bn_fail(BN_ERR_BAD_FILE, "TOKENIZER-FILE",
                           "%s: key " KEY_TOKENS ": token %u is a byte, but its text is not of the "
                           "form <0x0A>",
                           bn_gguf_path(file), i);
        if (byte >= 0) {
            piece[0] = (char)byte;
            n_piece = 1;
            vocab->byte_ids[byte] = i;
        } else if (vocab->kinds[i] == BN_VOCAB_NORMAL || vocab->kinds[i] == BN_VOCAB_UNUSED) {
            n_piece = piece_of(text, n, piece);
        } else {
            memcpy(piece, text, n);
            n_piece = n;
        }
        BN_ASSERT(n_piece <= n);
        if (is_too_long(piece, n_piece))
            return bn_fail(BN_ERR_BAD_FILE, "TOKENIZER-FILE",
                           "%s: key " KEY_TOKENS ": token %u has %zu bytes of text; it could print "
                           "as more than %u",
                           bn_gguf_path(file), i, n_piece, BN_TOKEN_PIECE_MAX);
        end += (uint32_t)n_piece;
        vocab->piece_ends[i] = end;
    }
    return BN_OK;
}

static bn_status fill(const bn_gguf *file, bn_vocab *vocab, bn_vocab_piece_of *piece_of)
{
    bn_status status = BN_OK;
    bn_gguf_array tokens;
    if (!bn_gguf_get_array(file, KEY_TOKENS, BN_GGUF_STRING, &tokens, &status)) {
        if (status != BN_OK) return status;
        return bn_fail(BN_ERR_BAD_FILE, "TOKENIZER-FILE",
                       "%s has no key " KEY_TOKENS ": it has no tokenizer", bn_gguf_path(file));
    }
    size_t n_bytes = 0;
    BN_TRY(check_tokens(file, &tokens, &n_bytes));
    BN_TRY(allocate(file, vocab, (uint32_t)tokens.n, n_bytes));
    copy_texts(file, vocab, &tokens);
    BN_TRY(read_kinds(file, vocab));
    BN_TRY(read_scores(file, vocab));
    return make_pieces(file, vocab, piece_of);
}

bn_status bn_vocab_create(const bn_gguf *file, bn_vocab_piece_of *piece_of, bn_vocab **vocab_out)
{
    bn_vocab *vocab = bn_alloc(1, sizeof *vocab);
    if (vocab == NULL) return no_memory(file);
    bn_status status = fill(file, vocab, piece_of);
    if (status != BN_OK) {
        bn_vocab_destroy(vocab);
        return status;
    }
    *vocab_out = vocab;
    return BN_OK;
}

void bn_vocab_destroy(bn_vocab *vocab)
{
    if (vocab == NULL) return;
    bn_free(vocab->text_ends);
    bn_free(vocab->piece_ends);
    bn_free(vocab->texts);
    bn_free(vocab->pieces);
    bn_free(vocab->kinds);
    bn_free(vocab->scores);
    bn_free(vocab->slots);
    bn_free(vocab);
}

uint32_t bn_vocab_size(const bn_vocab *vocab)
{
    return vocab->n_tokens;
}

bn_vocab_kind bn_vocab_kind_of(const bn_vocab *vocab, uint32_t id)
{
    BN_ASSERT(id < vocab->n_tokens);
    return (bn_vocab_kind)vocab->kinds[id];
}

const char *bn_vocab_text(const bn_vocab *vocab, uint32_t id, size_t *n_out)
{
    BN_ASSERT(id < vocab->n_tokens);
    return slice(vocab->texts, vocab->text_ends, id, n_out);
}

const char *bn_vocab_piece(const bn_vocab *vocab, uint32_t id, size_t *n_out)
{
    BN_ASSERT(id < vocab->n_tokens);
    return slice(vocab->pieces, vocab->piece_ends, id, n_out);
}

bool bn_vocab_has_scores(const bn_vocab *vocab)
{
    return vocab->scores != NULL;
}

float bn_vocab_score(const bn_vocab *vocab, uint32_t id)
{
    BN_ASSERT(id < vocab->n_tokens && vocab->scores != NULL);
    return vocab->scores[id];
}

size_t bn_vocab_text_max(const bn_vocab *vocab)
{
    return vocab->text_max;
}

uint32_t bn_vocab_find(const bn_vocab *vocab, const char *text, size_t n)
{
    return n == 0 || n > vocab->text_max ? BN_TOKEN_NONE : *slot_of(vocab, text, n);
}

uint32_t bn_vocab_find_plain(const bn_vocab *vocab, const char *text, size_t n)
{
    uint32_t id = bn_vocab_find(vocab, text, n);
    if (id == BN_TOKEN_NONE) return id;
    switch (bn_vocab_kind_of(vocab, id)) {
    case BN_VOCAB_UNKNOWN:
    case BN_VOCAB_CONTROL:
    case BN_VOCAB_BYTE: return BN_TOKEN_NONE;
    default: return id;
    }
}

uint32_t bn_vocab_byte(const bn_vocab *vocab, unsigned char byte)
{
    return vocab->byte_ids[byte];
}

void bn_vocab_make_control(bn_vocab *vocab, uint32_t id)
{
    BN_ASSERT(id < vocab->n_tokens);
    vocab->kinds[id] = BN_VOCAB_CONTROL;
}
