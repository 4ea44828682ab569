/* vocabulary_tiktoken.c — lines to tokens, ranks to merges. */
#include "model/vocabulary_tiktoken.h"

#include "common/alloc.h"
#include "common/hash.h"
#include "common/log.h"
#include "model/model.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define N_SPECIAL 256u
#define NO_RANK UINT32_MAX
#define LINE_MAX_BYTES (2 * BN_VOCABULARY_TIKTOKEN_TOKEN_MAX)

typedef struct reader {
    const char *path;
    bn_text_list raw; /* tokens as bytes, by rank */
    uint32_t *slots;  /* hash table: rank + 1, 0 free */
    uint32_t n_slots; /* a power of two */
} reader;

static bn_status fail_line(const reader *r, const char *what)
{
    return bn_fail(BN_ERR_BAD_FILE, "MODEL-VOCAB", "%s: line %" PRIu32 ": %s", r->path,
                   r->raw.n + 1, what);
}

static int base64_value(char c)
{
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Bytes of n characters of base64; -1 when it is none. */
static int decode_base64(const char *text, size_t n, char *out)
{
    uint32_t bits = 0;
    int n_out = 0;
    size_t n_pad = 0;
    if (n == 0 || n % 4 != 0) return -1;
    while (n_pad < 2 && text[n - 1 - n_pad] == '=')
        n_pad++;
    for (size_t i = 0; i < n; i++) {
        int value = i >= n - n_pad ? 0 : base64_value(text[i]);
        if (value < 0) return -1;
        bits = bits << 6 | (uint32_t)value;
        if (i % 4 != 3) continue;
        for (int shift = 16; shift >= 0; shift -= 8)
            out[n_out++] = (char)(bits >> shift & 0xff);
        bits = 0;
    }
    return n_out - (int)n_pad;
}

static bn_status take_line(reader *r, const char *line, size_t n)
{
    char bytes[LINE_MAX_BYTES];
    const char *space = memchr(line, ' ', n);
    uint64_t rank = 0;
    if (space == NULL || space + 1 == line + n)
        return fail_line(r, "not a token in base64, a space and its rank");
    for (const char *at = space + 1; at < line + n; at++) {
        if (*at < '0' || *at > '9' || rank > BN_VOCAB_MAX)
            return fail_line(r, "the rank is not a number");
        rank = rank * 10 + (uint64_t)(*at - '0');
    }
    int n_bytes = decode_base64(line, (size_t)(space - line), bytes);
    if (n_bytes <= 0 || n_bytes > (int)BN_VOCABULARY_TIKTOKEN_TOKEN_MAX)
        return fail_line(r, "the token is not base64 of 1 to 512 bytes");
    if (rank != r->raw.n) return fail_line(r, "ranks must count up from 0 without gaps");
    if (rank >= BN_VOCAB_MAX - N_SPECIAL) return fail_line(r, "more tokens than can be used");
    bn_text_list_add(&r->raw, bytes, (size_t)n_bytes, "", 0);
    return r->raw.status;
}

static bn_status read_lines(reader *r, FILE *stream)
{
    char line[LINE_MAX_BYTES];
    uint64_t n_bytes = 0;
    while (fgets(line, sizeof line, stream) != NULL) {
        size_t n = strlen(line);
        n_bytes += n;
        if (n_bytes > BN_VOCABULARY_TIKTOKEN_BYTES_MAX) return fail_line(r, "the file is too long");
        bool is_whole = n > 0 && line[n - 1] == '\n';
        if (!is_whole && !feof(stream)) return fail_line(r, "the line is too long");
        while (n > 0 && (line[n - 1] == '\n' || line[n - 1] == '\r'))
            n--;
        if (n == 0) continue;
        BN_TRY(take_line(r, line, n));
    }
    if (ferror(stream))
        return bn_fail(BN_ERR_IO, "MODEL-VOCAB", "cannot read %s: %s", r->path, strerror(errno));
    if (r->raw.n < BN_VOCABULARY_BYTE_TOKENS)
        return bn_fail(BN_ERR_BAD_FILE, "MODEL-VOCAB",
                       "%s has %" PRIu32 " tokens; a vocabulary of bytes has at least 256", r->path,
                       r->raw.n);
    return BN_OK;
}

static uint32_t rank_of(const reader *r, const char *bytes, size_t n)
{
    uint32_t slot = (uint32_t)bn_hash64_of(bytes, n, 0) & (r->n_slots - 1);
    for (; r->slots[slot] != 0; slot = (slot + 1) & (r->n_slots - 1)) {
        bn_gguf_string token = bn_text_list_at(&r->raw, r->slots[slot] - 1);
        if (token.n == n && memcmp(token.bytes, bytes, n) == 0) return r->slots[slot] - 1;
    }
    return NO_RANK;
}

static bn_status index_ranks(reader *r)
{
    for (r->n_slots = 1024; r->n_slots < 2 * r->raw.n;)
        r->n_slots *= 2;
    r->slots = bn_alloc(r->n_slots, sizeof *r->slots);
    if (r->slots == NULL)
        return bn_fail(BN_ERR_NO_MEMORY, "MODEL-VOCAB", "%s: no memory for its tokens", r->path);
    for (uint32_t rank = 0; rank < r->raw.n; rank++) {
        bn_gguf_string token = bn_text_list_at(&r->raw, rank);
        if (rank_of(r, token.bytes, token.n) != NO_RANK)
            return bn_fail(BN_ERR_BAD_FILE, "MODEL-VOCAB",
                           "%s: line %" PRIu32 ": the token occurs twice", r->path, rank + 1);
        uint32_t slot = (uint32_t)bn_hash64_of(token.bytes, token.n, 0) & (r->n_slots - 1);
        while (r->slots[slot] != 0)
            slot = (slot + 1) & (r->n_slots - 1);
        r->slots[slot] = rank + 1;
    }
    return BN_OK;
}

/* Where token `rank` splits in two, by BPE with lower ranks only; 0 when it does not. */
static size_t split_of(const reader *r, uint32_t rank)
{
    bn_gguf_string token = bn_text_list_at(&r->raw, rank);
    uint32_t ends[BN_VOCABULARY_TIKTOKEN_TOKEN_MAX];
    size_t n_parts = token.n;
    for (size_t i = 0; i < token.n; i++)
        ends[i] = (uint32_t)i + 1;
    while (n_parts > 2) {
        uint32_t best = rank;
        size_t best_at = 0;
        for (size_t i = 0; i + 1 < n_parts; i++) {
            uint32_t begin = i == 0 ? 0 : ends[i - 1];
            uint32_t pair = rank_of(r, token.bytes + begin, ends[i + 1] - begin);
            if (pair >= best) continue;
            best = pair;
            best_at = i;
        }
        if (best == rank) return 0;
        n_parts--;
        memmove(&ends[best_at], &ends[best_at + 1], (n_parts - best_at) * sizeof ends[0]);
    }
    return n_parts == 2 ? ends[0] : 0;
}

static void add_tokens(const reader *r, bn_vocabulary *vocab)
{
    char text[2 * BN_VOCABULARY_TIKTOKEN_TOKEN_MAX], left[2 * BN_VOCABULARY_TIKTOKEN_TOKEN_MAX + 1];
    for (uint32_t rank = 0; rank < r->raw.n; rank++) {
        bn_gguf_string token = bn_text_list_at(&r->raw, rank);
        const uint8_t *bytes = (const uint8_t *)token.bytes;
        size_t n = bn_vocabulary_map_bytes(bytes, token.n, text);
        bn_text_list_add(&vocab->tokens, text, n, "", 0);
        size_t split = split_of(r, rank);
        if (split == 0) continue;
        size_t n_left = bn_vocabulary_map_bytes(bytes, split, left);
        left[n_left++] = ' ';
        n = bn_vocabulary_map_bytes(bytes + split, token.n - split, text);
        bn_text_list_add(&vocab->merges, left, n_left, text, n);
    }
}

/* Llama-3's, in the order of their ids. */
static void add_specials(bn_vocabulary *vocab)
{
    static const struct {
        uint32_t at;
        const char *text;
    } named[] = {{0, "<|begin_of_text|>"},
                 {1, "<|end_of_text|>"},
                 {6, "<|start_header_id|>"},
                 {7, "<|end_header_id|>"},
                 {9, "<|eot_id|>"}};
    uint32_t first = vocab->tokens.n, n_reserved = 0, next = 0;
    for (uint32_t i = 0; i < N_SPECIAL; i++) {
        char text[48];
        if (next < sizeof named / sizeof named[0] && named[next].at == i)
            snprintf(text, sizeof text, "%s", named[next++].text);
        else
            snprintf(text, sizeof text, "<|reserved_special_token_%" PRIu32 "|>", n_reserved++);
        bn_text_list_add(&vocab->tokens, text, strlen(text), "", 0);
    }
    vocab->n_normal = first;
    vocab->bos = first;
    vocab->eos = first + 1;
    vocab->eot = first + 9;
}

bn_status bn_vocabulary_tiktoken_read(const char *path, bn_vocabulary *vocab)
{
    reader r = {.path = path};
    *vocab = (bn_vocabulary){0};
    FILE *stream = fopen(path, "re");
    if (stream == NULL)
        return bn_fail(BN_ERR_IO, "MODEL-VOCAB", "cannot open the vocabulary %s: %s", path,
                       strerror(errno));
    bn_status status = read_lines(&r, stream);
    fclose(stream);
    if (status == BN_OK) status = index_ranks(&r);
    if (status == BN_OK) {
        add_tokens(&r, vocab);
        add_specials(vocab);
        status = vocab->tokens.status != BN_OK ? vocab->tokens.status : vocab->merges.status;
    }
    bn_text_list_fini(&r.raw);
    bn_free(r.slots);
    return status;
}
