/* tokenizer_bpe.c — merging works on token ids, so a pair is one 64-bit number to look up.
 *
 * The characters that spell bytes: those that Latin-1 prints stand for themselves, the other 68
 * bytes are U+0100 and up in their order, so that a token's text never has a space in it.
 */
#include "coordinator/tokenizer_bpe.h"

#include "common/alloc.h"
#include "common/log.h"
#include "coordinator/unicode.h"

#include <inttypes.h>
#include <string.h>

#define KEY_MERGES "tokenizer.ggml.merges"
#define SPELLING_BASE 0x100u
#define N_BYTES 256

typedef struct merge {
    uint64_t pair; /* left id in the high half, right id in the low half */
    uint32_t rank; /* BN_MERGER_NONE: a free slot */
    uint32_t joined;
} merge;

struct bn_tokenizer_bpe {
    const bn_vocab *vocab;
    const bn_pretokenizer *pretokenizer;
    merge *merges; /* open-addressed by pair, at most half full */
    uint32_t merge_mask;
    uint32_t unknown;
    uint32_t byte_ids[N_BYTES];
};

static bool spells_itself(uint32_t byte)
{
    return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte != 0xAD);
}

/* The place of `byte` among the bytes that do not spell themselves: 0 … 67. */
static uint32_t rank_of_byte(uint32_t byte)
{
    if (byte <= 0x20) return byte;
    return byte == 0xAD ? 67 : 33 + (byte - 0x7F);
}

static uint32_t spelling_of_byte(unsigned char byte)
{
    return spells_itself(byte) ? byte : SPELLING_BASE + rank_of_byte(byte);
}

/* N_BYTES when the character spells no byte. */
static uint32_t byte_of_spelling(uint32_t code)
{
    if (code < SPELLING_BASE) return spells_itself(code) ? code : N_BYTES;
    uint32_t rank = code - SPELLING_BASE;
    if (rank <= 0x20) return rank;
    if (rank < 67) return rank - 33 + 0x7F;
    return rank == 67 ? 0xAD : N_BYTES;
}

size_t bn_tokenizer_bpe_piece(const char *text, size_t n, char *out)
{
    size_t n_out = 0;
    for (size_t at = 0; at < n;) {
        uint32_t code;
        at += bn_unicode_decode(text + at, n - at, &code);
        uint32_t byte = byte_of_spelling(code);
        if (byte == N_BYTES) {
            memcpy(out, text, n);
            return n;
        }
        out[n_out++] = (char)byte;
    }
    return n_out;
}

static uint32_t slot_of_pair(const bn_tokenizer_bpe *bpe, uint64_t pair)
{
    uint32_t at = (uint32_t)(pair * 0x9E3779B97F4A7C15u >> 32) & bpe->merge_mask;
    while (bpe->merges[at].rank != BN_MERGER_NONE && bpe->merges[at].pair != pair)
        at = (at + 1) & bpe->merge_mask;
    return at;
}

static uint64_t pair_of(uint32_t left, uint32_t right)
{
    return (uint64_t)left << 32 | right;
}

/* Enters "left right"; false when one of the two, or both together, is no token. */
static bool enter_merge(bn_tokenizer_bpe *bpe, const char *text, size_t n, size_t space,
                        uint32_t rank)
{
    char joined_text[2 * BN_TOKEN_PIECE_MAX];
    if (n > sizeof joined_text) return false;
    memcpy(joined_text, text, space);
    memcpy(joined_text + space, text + space + 1, n - space - 1);

    uint32_t left = bn_vocab_find_plain(bpe->vocab, text, space);
    uint32_t right = bn_vocab_find_plain(bpe->vocab, text + space + 1, n - space - 1);
    uint32_t joined = bn_vocab_find_plain(bpe->vocab, joined_text, n - 1);
    if (left == BN_TOKEN_NONE || right == BN_TOKEN_NONE || joined == BN_TOKEN_NONE) return false;

    merge *slot = &bpe->merges[slot_of_pair(bpe, pair_of(left, right))];
    if (slot->rank == BN_MERGER_NONE) *slot = (merge){pair_of(left, right), rank, joined};
    return true;
}

static bn_status read_merges(const bn_gguf *file, bn_tokenizer_bpe *bpe)
{
    bn_status status = BN_OK;
    bn_gguf_array merges;
    if (!bn_gguf_get_array(file, KEY_MERGES, BN_GGUF_STRING, &merges, &status)) {
        if (status != BN_OK) return status;
        return bn_fail(BN_ERR_BAD_FILE, "TOKENIZER-FILE",
                       "%s has no key " KEY_MERGES ", which a tokenizer of model gpt2 needs",
                       bn_gguf_path(file));
    }
    if (merges.n > BN_TOKENIZER_BPE_MERGES_MAX)
        return bn_fail(BN_ERR_BAD_FILE, "TOKENIZER-FILE",
                       "%s: key " KEY_MERGES " has %" PRIu64 " entries; at most %u are possible",
                       bn_gguf_path(file), merges.n, BN_TOKENIZER_BPE_MERGES_MAX);

    uint32_t n_slots = 64;
    while (n_slots < 2 * merges.n)
        n_slots *= 2;
    bpe->merge_mask = n_slots - 1;
    bpe->merges = bn_alloc(n_slots, sizeof *bpe->merges);
    if (bpe->merges == NULL)
        return bn_fail(BN_ERR_NO_MEMORY, "TOKENIZER-MEMORY", "%s: no memory for its merges",
                       bn_gguf_path(file));
    for (uint32_t i = 0; i < n_slots; i++)
        bpe->merges[i].rank = BN_MERGER_NONE;

    uint32_t n_skipped = 0, skipped = 0;
    for (uint32_t i = 0; i < (uint32_t)merges.n; i++) {
        const char *text = merges.strings[i].bytes;
        size_t n = merges.strings[i].n;
        /* A left side may itself begin with a space in files that do not spell bytes. */
        const char *space = n > 2 ? memchr(text + 1, ' ', n - 2) : NULL;
        if (space == NULL)
            return bn_fail(BN_ERR_BAD_FILE, "TOKENIZER-FILE",
                           "%s: key " KEY_MERGES ": entry %u is not two tokens with a space "
                           "between them",
                           bn_gguf_path(file), i);
        if (!enter_merge(bpe, text, n, (size_t)(space - text), i)) {
            n_skipped++;
            skipped = i;
        }
    }
    if (n_skipped > 0)
        bn_log_warn("TOKENIZER-FILE",
                    "%s: %u of %" PRIu64 " merges name no token, such as entry %u; they are "
                    "passed over",
                    bn_gguf_path(file), n_skipped, merges.n, skipped);
    return BN_OK;
}

static void find_bytes(const bn_gguf *file, bn_tokenizer_bpe *bpe)
{
    uint32_t n_missing = 0, missing = 0;
    for (uint32_t byte = 0; byte < N_BYTES; byte++) {
        char spelling[BN_UNICODE_BYTES_MAX];
        size_t n = bn_unicode_encode(spelling_of_byte((unsigned char)byte), spelling);
        uint32_t id = bn_vocab_find_plain(bpe->vocab, spelling, n);
        if (id == BN_TOKEN_NONE) id = bn_vocab_byte(bpe->vocab, (unsigned char)byte);
        if (id == BN_TOKEN_NONE) {
            id = bpe->unknown;
            n_missing++;
            missing = byte;
        }
        bpe->byte_ids[byte] = id;
    }
    if (n_missing > 0)
        bn_log_warn("TOKENIZER-FILE",
                    "%s: %u bytes have no token of their own, such as 0x%02X; text with them %s",
                    bn_gguf_path(file), n_missing, missing,
                    bpe->unknown == BN_TOKEN_NONE ? "is refused" : "becomes the unknown token");
}

bn_status bn_tokenizer_bpe_create(const bn_gguf *file, const bn_vocab *vocab,
                                  const bn_pretokenizer *pretokenizer, uint32_t unknown,
                                  bn_tokenizer_bpe **bpe_out)
{
    bn_tokenizer_bpe *bpe = bn_alloc(1, sizeof *bpe);
    if (bpe == NULL)
        return bn_fail(BN_ERR_NO_MEMORY, "TOKENIZER-MEMORY", "%s: no memory for its tokenizer",
                       bn_gguf_path(file));
    bpe->vocab = vocab;
    bpe->pretokenizer = pretokenizer;
    bpe->unknown = unknown;
    bn_status status = read_merges(file, bpe);
    if (status != BN_OK) {
        bn_tokenizer_bpe_destroy(bpe);
        return status;
    }
    find_bytes(file, bpe);
    *bpe_out = bpe;
    return BN_OK;
}

void bn_tokenizer_bpe_destroy(bn_tokenizer_bpe *bpe)
{
    if (bpe == NULL) return;
    bn_free(bpe->merges);
    bn_free(bpe);
}

static bool pair_rank(const void *context, const bn_merger_symbol *left,
                      const bn_merger_symbol *right, uint32_t *key_out, uint32_t *id_out)
{
    const bn_tokenizer_bpe *bpe = context;
    const merge *found = &bpe->merges[slot_of_pair(bpe, pair_of(left->id, right->id))];
    *key_out = found->rank;
    *id_out = found->joined;
    return found->rank != BN_MERGER_NONE;
}

/* The token that spells the whole piece, BN_TOKEN_NONE when there is none. */
static uint32_t whole_token(const bn_tokenizer_bpe *bpe, const char *piece, size_t n)
{
    char text[BN_TOKEN_PIECE_MAX];
    size_t n_text = 0;
    if (2 * n > sizeof text) return BN_TOKEN_NONE;
    for (size_t i = 0; i < n; i++)
        n_text += bn_unicode_encode(spelling_of_byte((unsigned char)piece[i]), text + n_text);
    return bn_vocab_find_plain(bpe->vocab, text, n_text);
}

static bn_status encode_piece(const bn_tokenizer_bpe *bpe, bn_merger *merger, const char *piece,
                              size_t n, bn_token_list *ids)
{
    if (bpe->pretokenizer->ignores_merges) {
        uint32_t id = whole_token(bpe, piece, n);
        if (id != BN_TOKEN_NONE) return bn_token_list_push(ids, id);
    }
    BN_TRY(bn_merger_reserve(merger, n));
    for (uint32_t i = 0; i < (uint32_t)n; i++) {
        unsigned char byte = (unsigned char)piece[i];
        if (bpe->byte_ids[byte] == BN_TOKEN_NONE)
            return bn_fail(BN_ERR_UNSUPPORTED, "TOKENIZER-TEXT",
                           "the text has the byte 0x%02X, for which the model's vocabulary has no "
                           "token",
                           byte);
        bn_merger_add(merger, i, i + 1, bpe->byte_ids[byte]);
    }
    bn_merger_run(merger, pair_rank, bpe);
    for (uint32_t i = 0; i != BN_MERGER_NONE; i = merger->symbols[i].next)
        BN_TRY(bn_token_list_push(ids, merger->symbols[i].id));
    return BN_OK;
}

bn_status bn_tokenizer_bpe_encode(const bn_tokenizer_bpe *bpe, bn_merger *merger, const char *text,
                                  size_t n, bn_token_list *ids)
{
    bn_pretokenizer_cursor cursor;
    bn_pretokenizer_begin(&cursor, bpe->pretokenizer, text, n);
    size_t begin, end;
    while (bn_pretokenizer_next(&cursor, &begin, &end))
        BN_TRY(encode_piece(bpe, merger, text + begin, end - begin, ids));
    return BN_OK;
}
