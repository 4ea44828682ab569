/* detokenizer.c — ids to text, whole characters only; declared in tokenizer.h.
 *
 * At most three bytes wait: the longest proper prefix of a character. A wrong byte becomes U+FFFD
 * together with what it leaves unfinished before it, as Unicode recommends and other decoders do.
 */
#include "coordinator/tokenizer_state.h"
#include "coordinator/unicode.h"

#include <string.h>

void bn_detokenizer_init(bn_detokenizer *detokenizer, const bn_tokenizer *tokenizer,
                         bool prints_special)
{
    *detokenizer = (bn_detokenizer){
        .tokenizer = tokenizer, .is_start = true, .prints_special = prints_special};
}

/* The bytes of a token; none for control tokens unless they are wanted. */
static const char *bytes_of(const bn_detokenizer *detokenizer, uint32_t id, size_t *n_out)
{
    const bn_vocab *vocab = detokenizer->tokenizer->vocab;
    *n_out = 0;
    switch (bn_vocab_kind_of(vocab, id)) {
    case BN_VOCAB_CONTROL:
    case BN_VOCAB_UNKNOWN:
        return detokenizer->prints_special ? bn_vocab_text(vocab, id, n_out) : "";
    default: return bn_vocab_piece(vocab, id, n_out);
    }
}

/* Moves whole characters to `out` and keeps the rest; returns the bytes written. */
static size_t emit(bn_detokenizer *detokenizer, const char *bytes, size_t n, char *out)
{
    size_t n_out = 0;
    detokenizer->n_held = 0;
    for (size_t at = 0; at < n;) {
        uint32_t code;
        uint32_t length = bn_unicode_decode(bytes + at, n - at, &code);
        if (code != BN_UNICODE_NONE) {
            memcpy(out + n_out, bytes + at, length);
            n_out += length;
        } else if (bn_unicode_is_unfinished(bytes + at, n - at)) {
            detokenizer->n_held = (uint32_t)(n - at);
            memcpy(detokenizer->held, bytes + at, n - at);
            return n_out;
        } else {
            n_out += bn_unicode_encode(BN_UNICODE_REPLACEMENT, out + n_out);
        }
        at += length;
    }
    return n_out;
}

size_t bn_detokenizer_push(bn_detokenizer *detokenizer, uint32_t id, char *out)
{
    const bn_tokenizer *tokenizer = detokenizer->tokenizer;
    /* A model may have more rows in its head than its vocabulary has tokens. */
    size_t n = 3;
    const char *bytes = "\xEF\xBF\xBD";
    if (id < bn_vocab_size(tokenizer->vocab)) bytes = bytes_of(detokenizer, id, &n);
    if (n == 0) return 0;
    if (detokenizer->is_start && tokenizer->spm != NULL && tokenizer->adds_space &&
        bytes[0] == ' ') {
        bytes++;
        n--;
    }
    detokenizer->is_start = false;

    char joined[BN_TOKEN_PIECE_MAX + BN_UNICODE_BYTES_MAX];
    BN_ASSERT(detokenizer->n_held < BN_UNICODE_BYTES_MAX && n <= BN_TOKEN_PIECE_MAX);
    memcpy(joined, detokenizer->held, detokenizer->n_held);
    memcpy(joined + detokenizer->n_held, bytes, n);
    return emit(detokenizer, joined, detokenizer->n_held + n, out);
}

size_t bn_detokenizer_flush(bn_detokenizer *detokenizer, char *out)
{
    if (detokenizer->n_held == 0) return 0;
    detokenizer->n_held = 0;
    return bn_unicode_encode(BN_UNICODE_REPLACEMENT, out);
}
