/* pretokenizer.h — how a byte-level BPE vocabulary wants text cut before merging.
 *
 * Each kind stands for a published list of regular expressions, applied in order, each to the
 * pieces that the one before left; here they are hand-written scanners over character classes.
 * The pieces cover the text without gaps. Bytes that are not UTF-8 count as symbols.
 *
 * Memory:  none; a cursor points into the caller's text.
 * Threads: any.
 */
#ifndef BN_COORDINATOR_PRETOKENIZER_H
#define BN_COORDINATOR_PRETOKENIZER_H

#include <stdbool.h>
#include <stddef.h>

#define BN_PRETOKENIZER_STAGES_MAX 4

/* The end of the piece that begins at `begin` (begin < end), within [begin, end). */
typedef size_t bn_pretokenizer_stage(const char *text, size_t begin, size_t end);

typedef struct bn_pretokenizer {
    const char *names[4]; /* its name in tokenizer.ggml.pre and other names; NULL-terminated */
    bool ignores_merges;  /* a piece that is a token as a whole is that token */
    bool adds_bos;        /* unless the file says otherwise */
    bn_pretokenizer_stage *stages[BN_PRETOKENIZER_STAGES_MAX]; /* NULL-terminated if fewer */
} bn_pretokenizer;

/* NULL when the name is not one of ours. */
const bn_pretokenizer *bn_pretokenizer_find(const char *name, size_t n);

/* For messages. */
#define BN_PRETOKENIZER_NAMES                                                                      \
    "llama-bpe, smaug-bpe, qwen2, gpt-2, smollm, falcon3, falcon3-spelt, falcon-e, default"

typedef struct bn_pretokenizer_cursor {
    const bn_pretokenizer *pretokenizer;
    const char *text;
    size_t at, end;
    size_t stage_ends[BN_PRETOKENIZER_STAGES_MAX];
} bn_pretokenizer_cursor;

void bn_pretokenizer_begin(bn_pretokenizer_cursor *cursor, const bn_pretokenizer *pretokenizer,
                           const char *text, size_t n);

/* The next piece is [*begin_out, *end_out); false when there is none. */
bool bn_pretokenizer_next(bn_pretokenizer_cursor *cursor, size_t *begin_out, size_t *end_out);

#endif
