/* tokenizer_bpe.c — how bytes are spelt, and the pieces of a text merged one by one.
 *
 * The characters that spell bytes: those that Latin-1 prints stand for themselves, the other 68
 * bytes are U+0100 and up in their order, so that a token's text never has a space in it.
 */
#include "coordinator/tokenizer_bpe.h"

#include "common/alloc.h"
#include "common/log.h"
#include "coordinator/unicode.h"

#include <string.h>

#define SPELLING_BASE 0x100u
#define N_BYTES 256

struct bn_tokenizer_bpe {
    const bn_vocab *vocab;
    const bn_pretokenizer *pretokenizer;
    bn_merge_table merges;
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
    bn_status status = bn_merge_table_read(file, vocab, &bpe->merges);
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
    bn_merge_table_fini(&bpe->merges);
    bn_free(bpe);
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
    bn_merger_run(merger, bn_merge_table_pair, &bpe->merges);
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
