#include "tests/coordinator/tiktoken.h"

#include "common/alloc.h"
#include "coordinator/unicode.h"
#include "tests/common/cmocka_all.h"
#include "tests/coordinator/gguf_writer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define N_RANKED 128000
#define N_TOKENS 128256
#define MERGES_MAX 400000

typedef struct token {
    unsigned char bytes[256];
    uint32_t n;
    uint32_t rank;
} token;

typedef struct split {
    uint32_t left, right;
} split;

static int order_by_bytes(const void *a, const void *b)
{
    const token *x = *(token *const *)a, *y = *(token *const *)b;
    int order = memcmp(x->bytes, y->bytes, x->n < y->n ? x->n : y->n);
    return order != 0 ? order : (x->n > y->n) - (x->n < y->n);
}

static int order_by_ranks(const void *a, const void *b)
{
    const split *x = a, *y = b;
    if (x->left != y->left) return x->left < y->left ? -1 : 1;
    return x->right < y->right ? -1 : x->right > y->right;
}

static uint32_t decode_base64(const char *text, size_t n, unsigned char *out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    uint32_t n_out = 0, bits = 0, n_bits = 0;
    for (size_t i = 0; i < n && text[i] != '='; i++) {
        const char *digit = strchr(digits, text[i]);
        assert_non_null(digit);
        bits = bits << 6 | (uint32_t)(digit - digits);
        n_bits += 6;
        if (n_bits < 8) continue;
        n_bits -= 8;
        out[n_out++] = (unsigned char)(bits >> n_bits);
    }
    return n_out;
}

static void read_list(const char *path, token *tokens)
{
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    char line[1024];
    for (uint32_t i = 0; i < N_RANKED; i++) {
        assert_non_null(fgets(line, sizeof line, file));
        char *space = strchr(line, ' ');
        assert_non_null(space);
        tokens[i].n = decode_base64(line, (size_t)(space - line), tokens[i].bytes);
        tokens[i].rank = (uint32_t)strtoul(space, NULL, 10);
        assert_int_equal(tokens[i].rank, i);
    }
    fclose(file);
}

/* The visible spelling, written here on its own: bytes 33–126, 161–172, 174–255 are themselves,
 * the others U+0100 and up in their order. */
static size_t spell(const unsigned char *bytes, size_t n, char *out)
{
    static uint32_t codes[256];
    if (codes[0] == 0) {
        uint32_t next = 0x100;
        for (uint32_t b = 0; b < 256; b++) {
            int is_visible = (b > 32 && b < 127) || (b > 160 && b != 173);
            codes[b] = is_visible ? b : next++;
        }
    }
    size_t n_out = 0;
    for (size_t i = 0; i < n; i++)
        n_out += bn_unicode_encode(codes[bytes[i]], out + n_out);
    return n_out;
}

static bn_gguf_string text_of(const char *bytes, size_t n)
{
    char *copy = bn_alloc(n + 1, 1);
    assert_non_null(copy);
    memcpy(copy, bytes, n);
    return (bn_gguf_string){copy, n};
}

/* All ways to cut token i into two tokens of lower rank, lowest left rank first. */
static size_t splits_of(token *const *sorted, const token *whole, split *splits)
{
    size_t n_splits = 0;
    for (uint32_t cut = 1; cut < whole->n; cut++) {
        token left = {.n = cut}, right = {.n = whole->n - cut};
        memcpy(left.bytes, whole->bytes, cut);
        memcpy(right.bytes, whole->bytes + cut, whole->n - cut);
        token *left_key = &left, *right_key = &right;
        token *const *l = bsearch(&left_key, sorted, N_RANKED, sizeof *sorted, order_by_bytes);
        token *const *r = bsearch(&right_key, sorted, N_RANKED, sizeof *sorted, order_by_bytes);
        if (l == NULL || r == NULL) continue;
        splits[n_splits++] = (split){(*l)->rank, (*r)->rank};
    }
    qsort(splits, n_splits, sizeof *splits, order_by_ranks);
    return n_splits;
}

static size_t derive_merges(const token *tokens, const bn_gguf_string *texts,
                            bn_gguf_string *merges)
{
    token const **sorted = bn_alloc(N_RANKED, sizeof *sorted);
    assert_non_null(sorted);
    for (uint32_t i = 0; i < N_RANKED; i++)
        sorted[i] = &tokens[i];
    qsort(sorted, N_RANKED, sizeof *sorted, order_by_bytes);

    size_t n_merges = 0;
    for (uint32_t i = 0; i < N_RANKED; i++) {
        split splits[256];
        size_t n = splits_of((token *const *)sorted, &tokens[i], splits);
        for (size_t k = 0; k < n; k++) {
            char merge[1100];
            bn_gguf_string left = texts[splits[k].left], right = texts[splits[k].right];
            memcpy(merge, left.bytes, left.n);
            merge[left.n] = ' ';
            memcpy(merge + left.n + 1, right.bytes, right.n);
            assert_true(n_merges < MERGES_MAX);
            merges[n_merges++] = text_of(merge, left.n + 1 + right.n);
        }
    }
    bn_free(sorted);
    return n_merges;
}

static void name_specials(bn_gguf_string *texts, int32_t *types)
{
    static const char *const names[] = {
        "<|begin_of_text|>",   "<|end_of_text|>",   NULL, NULL,         NULL, NULL,
        "<|start_header_id|>", "<|end_header_id|>", NULL, "<|eot_id|>",
    };
    for (uint32_t i = 0; i < N_TOKENS - N_RANKED; i++) {
        char name[64];
        if (i < BN_COUNT(names) && names[i] != NULL)
            snprintf(name, sizeof name, "%s", names[i]);
        else
            snprintf(name, sizeof name, "<|reserved_special_token_%u|>", i);
        texts[N_RANKED + i] = text_of(name, strlen(name));
        types[N_RANKED + i] = 3;
    }
}

static void free_texts(bn_gguf_string *texts, size_t n)
{
    for (size_t i = 0; i < n; i++)
        bn_free((void *)texts[i].bytes);
    bn_free(texts);
}

bn_gguf *tiktoken_llama_3(const char *path, const char *pre, size_t *n_merges_out)
{
    token *tokens = bn_alloc(N_RANKED, sizeof *tokens);
    bn_gguf_string *texts = bn_alloc(N_TOKENS, sizeof *texts);
    bn_gguf_string *merges = bn_alloc(MERGES_MAX, sizeof *merges);
    int32_t *types = bn_alloc(N_TOKENS, sizeof *types);
    assert_true(tokens != NULL && texts != NULL && merges != NULL && types != NULL);
    read_list(path, tokens);
    for (uint32_t i = 0; i < N_RANKED; i++) {
        char text[600];
        texts[i] = text_of(text, spell(tokens[i].bytes, tokens[i].n, text));
        types[i] = 1;
    }
    name_specials(texts, types);
    size_t n_merges = derive_merges(tokens, texts, merges);

    gguf_writer writer;
    gguf_writer_begin(&writer);
    gguf_writer_text(&writer, "tokenizer.ggml.model", "gpt2");
    if (pre != NULL) gguf_writer_text(&writer, "tokenizer.ggml.pre", pre);
    gguf_writer_texts(&writer, "tokenizer.ggml.tokens", texts, N_TOKENS);
    gguf_writer_i32s(&writer, "tokenizer.ggml.token_type", types, N_TOKENS);
    gguf_writer_texts(&writer, "tokenizer.ggml.merges", merges, n_merges);
    gguf_writer_u32(&writer, "tokenizer.ggml.bos_token_id", 128000);
    gguf_writer_u32(&writer, "tokenizer.ggml.eos_token_id", 128001);
    free_texts(texts, N_TOKENS);
    free_texts(merges, n_merges);
    bn_free(types);
    bn_free(tokens);
    *n_merges_out = n_merges;
    return gguf_writer_finish(&writer);
}
