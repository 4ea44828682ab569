#include "tests/coordinator/small_vocabulary.h"

#include "coordinator/unicode.h"
#include "tests/common/cmocka_all.h"
#include "tests/coordinator/gguf_writer.h"

#include <stdio.h>
#include <string.h>

#define TOKENS_MAX 1024

typedef struct columns {
    bn_gguf_string texts[TOKENS_MAX];
    int32_t types[TOKENS_MAX];
    float scores[TOKENS_MAX];
    char bytes[256][8];
    size_t n;
} columns;

static void put(columns *c, const char *text, int32_t type, float score)
{
    assert_true(c->n < TOKENS_MAX);
    c->texts[c->n] = (bn_gguf_string){text, strlen(text)};
    c->types[c->n] = type;
    c->scores[c->n++] = score;
}

static void put_bytes(columns *c, int is_spm)
{
    uint32_t next = 0x100;
    for (uint32_t byte = 0; byte < 256; byte++) {
        if (is_spm) {
            snprintf(c->bytes[byte], sizeof c->bytes[byte], "<0x%02X>", byte);
        } else {
            int is_visible = (byte > 32 && byte < 127) || (byte > 160 && byte != 173);
            memset(c->bytes[byte], 0, sizeof c->bytes[byte]);
            bn_unicode_encode(is_visible ? byte : next++, c->bytes[byte]);
        }
        put(c, c->bytes[byte], is_spm ? 6 : 1, 0);
    }
}

static void write_tokens(gguf_writer *w, const small_vocabulary *v, const columns *c)
{
    size_t n_types = v->n_types != 0 ? v->n_types : c->n;
    size_t n_scores = v->n_scores != 0 ? v->n_scores : c->n;
    if (v->tokens_are_numbers)
        gguf_writer_i32s(w, "tokenizer.ggml.tokens", c->types, c->n);
    else if (!v->leaves_out_tokens)
        gguf_writer_texts(w, "tokenizer.ggml.tokens", c->texts, c->n);
    if (v->types_are_floats)
        gguf_writer_f32s(w, "tokenizer.ggml.token_type", c->scores, c->n);
    else if (!v->leaves_out_types)
        gguf_writer_i32s(w, "tokenizer.ggml.token_type", c->types, n_types);
    if (!v->leaves_out_scores) gguf_writer_f32s(w, "tokenizer.ggml.scores", c->scores, n_scores);
}

static void write_merges(gguf_writer *w, const small_vocabulary *v, const columns *c)
{
    bn_gguf_string merges[64];
    size_t n = 0;
    if (v->merges_are_numbers) gguf_writer_i32s(w, "tokenizer.ggml.merges", c->types, c->n);
    if (v->merges == NULL) return;
    for (; v->merges[n] != NULL; n++)
        merges[n] = (bn_gguf_string){v->merges[n], strlen(v->merges[n])};
    gguf_writer_texts(w, "tokenizer.ggml.merges", merges, n);
}

static void write_keys(gguf_writer *w, const small_vocabulary *v)
{
    columns c = {0};
    if (v->has_bytes) put_bytes(&c, v->model != NULL && strcmp(v->model, "llama") == 0);
    for (const small_token *t = v->tokens; t != NULL && t->text != NULL; t++)
        put(&c, t->text, t->type, t->score);

    gguf_writer_begin(w);
    if (v->model != NULL) gguf_writer_text(w, "tokenizer.ggml.model", v->model);
    if (v->pre != NULL) gguf_writer_text(w, "tokenizer.ggml.pre", v->pre);
    if (v->chat_template != NULL) gguf_writer_text(w, "tokenizer.chat_template", v->chat_template);
    write_tokens(w, v, &c);
    write_merges(w, v, &c);
    if (v->bos_is_text) gguf_writer_text(w, "tokenizer.ggml.bos_token_id", "1");
    if (v->bos_plus_1) gguf_writer_u32(w, "tokenizer.ggml.bos_token_id", v->bos_plus_1 - 1);
    if (v->eos_plus_1) gguf_writer_u32(w, "tokenizer.ggml.eos_token_id", v->eos_plus_1 - 1);
    if (v->unknown_plus_1)
        gguf_writer_u32(w, "tokenizer.ggml.unknown_token_id", v->unknown_plus_1 - 1);
    if (v->adds_bos_plus_1)
        gguf_writer_bool(w, "tokenizer.ggml.add_bos_token", v->adds_bos_plus_1 - 1);
    if (v->adds_space_plus_1)
        gguf_writer_bool(w, "tokenizer.ggml.add_space_prefix", v->adds_space_plus_1 - 1);
}

bn_gguf *small_vocabulary_file(const small_vocabulary *vocabulary)
{
    gguf_writer writer;
    write_keys(&writer, vocabulary);
    return gguf_writer_finish(&writer);
}

void small_vocabulary_save(const small_vocabulary *vocabulary, char *path_out)
{
    gguf_writer writer;
    write_keys(&writer, vocabulary);
    gguf_writer_save(&writer, path_out);
}
