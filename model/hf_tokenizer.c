/* hf_tokenizer.c — the folder's smaller files, and the keys.
 *
 * Who says what, first wins: special tokens by text from tokenizer_config.json, then
 * special_tokens_map.json, then by id from generation_config.json and config.json; stops are the
 * union of all of them, since a chat model's turns often end with a token that only one file names.
 */
#include "model/hf_tokenizer.h"

#include "common/alloc.h"
#include "common/json.h"
#include "common/log.h"
#include "model/hf_tokenizer_files.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define KEY "tokenizer.ggml."
#define NONE BN_HF_VOCABULARY_NONE

typedef struct folder {
    const char *path;
    bn_json *tokenizer, *map, *generation, *model; /* NULL where the file is absent */
    bn_hf_vocabulary vocab;
    uint32_t bos, eos, unknown, padding;
    int32_t stops[BN_HF_TOKENIZER_STOPS_MAX];
    uint32_t n_stops;
} folder;

static bool find_file(const char *folder_path, const char *name, char path[PATH_MAX])
{
    int n = snprintf(path, PATH_MAX, "%s/%s", folder_path, name);
    return n > 0 && n < PATH_MAX && access(path, F_OK) == 0;
}

bool bn_hf_tokenizer_exists(const char *folder_path)
{
    char path[PATH_MAX];
    return find_file(folder_path, "tokenizer.json", path) ||
           find_file(folder_path, "tokenizer.model", path);
}

static bn_status read_config(const char *folder_path, const char *name, bn_json **value_out)
{
    char path[PATH_MAX];
    if (!find_file(folder_path, name, path)) return BN_OK;
    BN_TRY(bn_json_read(path, BN_HF_TOKENIZER_CONFIG_BYTES_MAX, value_out));
    if (bn_json_is_object(*value_out)) return BN_OK;
    return bn_fail(BN_ERR_BAD_FILE, "MODEL-VOCAB", "%s is not a JSON object", path);
}

/* A special token is its text, or an object with its text. */
static const char *special_text(const bn_json *config, const char *name)
{
    const char *text = NULL;
    const bn_json *value = bn_json_get(config, name);
    if (bn_json_is_object(value)) value = bn_json_get(value, "content");
    bn_json_as_text(value, &text);
    return text;
}

static bn_status check_id(const folder *f, const char *file, const char *name, uint64_t id)
{
    if (id < f->vocab.n_places) return BN_OK;
    return bn_fail(BN_ERR_BAD_FILE, "MODEL-VOCAB",
                   "%s/%s: %s is %" PRIu64 ", but the model's embedding has %u rows", f->path, file,
                   name, id, f->vocab.n_places);
}

static bn_status add_stop(folder *f, uint64_t id)
{
    for (uint32_t i = 0; i < f->n_stops; i++)
        if (f->stops[i] == (int32_t)id) return BN_OK;
    if (f->n_stops == BN_HF_TOKENIZER_STOPS_MAX)
        return bn_fail(BN_ERR_LIMIT, "MODEL-VOCAB",
                       "%s names more than %u tokens that end an answer", f->path,
                       BN_HF_TOKENIZER_STOPS_MAX);
    f->stops[f->n_stops++] = (int32_t)id;
    return BN_OK;
}

/* The id of the token that the tokenizer's files name. */
static bn_status read_by_text(const folder *f, const char *name, uint32_t *id_out)
{
    static const char *const files[] = {"tokenizer_config.json", "special_tokens_map.json"};
    const bn_json *const configs[] = {f->tokenizer, f->map};
    for (size_t i = 0; i < 2 && *id_out == NONE; i++) {
        const char *text = special_text(configs[i], name);
        if (text == NULL || *text == '\0') continue;
        *id_out = bn_hf_vocabulary_find(&f->vocab, text, strlen(text));
        if (*id_out == NONE)
            return bn_fail(BN_ERR_BAD_FILE, "MODEL-VOCAB",
                           "%s/%s: %s is %.64s, which is no token of the vocabulary", f->path,
                           files[i], name, text);
    }
    return BN_OK;
}

/* A number or a list of numbers; the first one counts for *id_out. */
static bn_status read_by_id(folder *f, const bn_json *config, const char *file, const char *name,
                            bool is_stop, uint32_t *id_out)
{
    const bn_json *value = bn_json_get(config, name);
    bool is_list = bn_json_is_array(value);
    size_t n = is_list ? bn_json_length(value) : value != NULL && !bn_json_is_null(value);
    for (size_t i = 0; i < n; i++) {
        uint64_t id;
        if (!bn_json_as_u64(is_list ? bn_json_at(value, i) : value, &id))
            return bn_fail(BN_ERR_BAD_FILE, "MODEL-VOCAB", "%s/%s: %s is not a token id", f->path,
                           file, name);
        BN_TRY(check_id(f, file, name, id));
        if (*id_out == NONE) *id_out = (uint32_t)id;
        if (is_stop) BN_TRY(add_stop(f, id));
    }
    return BN_OK;
}

static bn_status read_special(folder *f)
{
    BN_TRY(read_by_text(f, "bos_token", &f->bos));
    BN_TRY(read_by_text(f, "eos_token", &f->eos));
    BN_TRY(read_by_text(f, "unk_token", &f->unknown));
    BN_TRY(read_by_text(f, "pad_token", &f->padding));
    if (f->vocab.unknown != NONE) f->unknown = f->vocab.unknown;
    if (f->eos != NONE) BN_TRY(add_stop(f, f->eos));
    const bn_json *const configs[] = {f->generation, f->model};
    static const char *const files[] = {"generation_config.json", "config.json"};
    for (size_t i = 0; i < 2; i++) {
        BN_TRY(read_by_id(f, configs[i], files[i], "bos_token_id", false, &f->bos));
        BN_TRY(read_by_id(f, configs[i], files[i], "eos_token_id", true, &f->eos));
    }
    return BN_OK;
}

/* Tokens that a SentencePiece file does not know: {"<pad>": 32000}, or by id in the config. */
static bn_status add_more_tokens(folder *f)
{
    char path[PATH_MAX];
    if (find_file(f->path, "added_tokens.json", path)) {
        bn_json *added = NULL;
        bn_status status = bn_json_read(path, BN_HF_TOKENIZER_CONFIG_BYTES_MAX, &added);
        for (bn_json_member m = {0}; status == BN_OK && bn_json_next(added, &m);) {
            uint64_t id = UINT64_MAX;
            bn_json_as_u64(m.value, &id);
            status = bn_hf_vocabulary_add(&f->vocab, path, id, m.name, strlen(m.name),
                                          BN_HF_TOKEN_USER_DEFINED, 0);
        }
        bn_json_free(added);
        BN_TRY(status);
    }
    find_file(f->path, "tokenizer_config.json", path);
    const bn_json *decoder = bn_json_get(f->tokenizer, "added_tokens_decoder");
    for (bn_json_member m = {0}; bn_json_next(decoder, &m);) {
        uint64_t id;
        char end;
        bool is_special = false;
        const char *text = special_text(decoder, m.name);
        if (text == NULL || sscanf(m.name, "%" SCNu64 "%c", &id, &end) != 1)
            return bn_fail(BN_ERR_BAD_FILE, "MODEL-VOCAB",
                           "%s: added_tokens_decoder: the entry \"%.64s\" is not a token by its id",
                           path, m.name);
        bn_json_as_bool(bn_json_get(m.value, "special"), &is_special);
        bn_hf_token_type type = is_special ? BN_HF_TOKEN_CONTROL : BN_HF_TOKEN_USER_DEFINED;
        if (id == f->vocab.unknown) type = BN_HF_TOKEN_UNKNOWN;
        BN_TRY(bn_hf_vocabulary_add(&f->vocab, path, id, text, strlen(text), type, 0));
    }
    return BN_OK;
}

static bn_status read_tokens(folder *f)
{
    char path[PATH_MAX];
    if (find_file(f->path, "tokenizer.json", path))
        return bn_hf_tokenizer_json_read(path, &f->vocab);
    if (!find_file(f->path, "tokenizer.model", path))
        return bn_fail(BN_ERR_BAD_FILE, "MODEL-VOCAB",
                       "%s has neither tokenizer.json nor tokenizer.model", f->path);
    BN_TRY(bn_hf_tokenizer_spm_read(path, &f->vocab));
    f->vocab.is_bos_said = f->vocab.adds_bos = true; /* what a Llama tokenizer does unasked */
    return add_more_tokens(f);
}

static bn_status write_tokens(const folder *f, bn_gguf_writer *writer)
{
    const bn_hf_vocabulary *vocab = &f->vocab;
    bn_text_list texts = {0};
    int32_t *types = bn_alloc(vocab->n_places, sizeof *types);
    if (types == NULL)
        return bn_fail(BN_ERR_NO_MEMORY, "MODEL-VOCAB", "%s: no memory for its tokens", f->path);
    uint32_t n_seen = 0, n_holes = 0, hole = 0;
    for (uint32_t id = 0; id < vocab->n_places; id++) {
        if (vocab->types[id] != BN_HF_TOKEN_ABSENT) {
            bn_gguf_string text = bn_hf_vocabulary_text(vocab, id);
            bn_text_list_add(&texts, text.bytes, text.n, "", 0);
            types[id] = vocab->types[id];
            n_seen++;
            continue;
        }
        char text[32];
        int n = snprintf(text, sizeof text, "[PAD%" PRIu32 "]", id);
        bn_text_list_add(&texts, text, (size_t)n, "", 0);
        types[id] = BN_HF_TOKEN_UNUSED;
        if (n_seen == vocab->n_tokens) continue; /* behind the last one: padding */
        n_holes++;
        hole = id;
    }
    if (n_holes > 0)
        bn_log_warn("MODEL-VOCAB", "%s: %u ids within the vocabulary have no token, such as %u",
                    f->path, n_holes, hole);
    bn_status status = texts.status;
    if (status == BN_OK) {
        bn_gguf_writer_key_texts(writer, KEY "tokens", &texts);
        bn_gguf_writer_key_i32s(writer, KEY "token_type", types, vocab->n_places);
    }
    bn_text_list_fini(&texts);
    bn_free(types);
    return status;
}

static void write_id(bn_gguf_writer *writer, const char *key, uint32_t id)
{
    if (id != NONE) bn_gguf_writer_key_u32(writer, key, id);
}

/* Beside the tokens. */
static bn_status write_kind(const folder *f, bn_gguf_writer *writer)
{
    const bn_hf_vocabulary *vocab = &f->vocab;
    bn_gguf_writer_key_text(writer, KEY "model", vocab->is_spm ? "llama" : "gpt2");
    bn_gguf_writer_key_text(writer, KEY "pre", vocab->is_spm ? "default" : vocab->pretokenizer);
    BN_TRY(write_tokens(f, writer));
    if (vocab->is_spm) {
        bn_gguf_writer_key_f32s(writer, KEY "scores", vocab->scores, vocab->n_places);
        bool has_prefix = strcmp(vocab->space_prefix, "none") != 0;
        bn_gguf_writer_key_bool(writer, KEY "add_space_prefix", has_prefix);
        if (has_prefix && strcmp(vocab->space_prefix, "each") != 0)
            bn_gguf_writer_key_text(writer, BN_HF_TOKENIZER_KEY_SPACE, vocab->space_prefix);
        if (vocab->merges_by_rank) bn_gguf_writer_key_bool(writer, BN_HF_TOKENIZER_KEY_RANKS, true);
    }
    if (!vocab->is_spm || vocab->merges_by_rank)
        bn_gguf_writer_key_texts(writer, KEY "merges", &vocab->merges);
    return BN_OK;
}

static void write_habits(const folder *f, bn_gguf_writer *writer)
{
    write_id(writer, KEY "bos_token_id", f->bos);
    write_id(writer, KEY "eos_token_id", f->eos);
    write_id(writer, KEY "unknown_token_id", f->unknown);
    write_id(writer, KEY "padding_token_id", f->padding);
    if (f->n_stops > 0) bn_gguf_writer_key_i32s(writer, KEY "eos_token_ids", f->stops, f->n_stops);
    bool adds_bos = f->vocab.adds_bos;
    bool is_said = bn_json_as_bool(bn_json_get(f->tokenizer, "add_bos_token"), &adds_bos);
    if (is_said || f->vocab.is_bos_said || !f->vocab.is_spm)
        bn_gguf_writer_key_bool(writer, KEY "add_bos_token", adds_bos);
}

/* A template is one text, or a list of named ones of which "default" counts. */
static const char *template_of(const bn_json *config)
{
    const char *text = NULL, *name = NULL;
    const bn_json *value = bn_json_get(config, "chat_template");
    if (bn_json_as_text(value, &text)) return text;
    for (size_t i = 0; i < bn_json_length(value); i++) {
        const bn_json *entry = bn_json_at(value, i);
        if (bn_json_as_text(bn_json_get(entry, "name"), &name) && strcmp(name, "default") == 0 &&
            bn_json_as_text(bn_json_get(entry, "template"), &text))
            return text;
    }
    return NULL;
}

static bn_status read_template_file(const char *path, char **text_out)
{
    FILE *stream = fopen(path, "re");
    char *text = bn_alloc(BN_HF_TOKENIZER_TEMPLATE_BYTES_MAX + 2, 1);
    size_t n = 0;
    bn_status status = BN_OK;
    if (stream == NULL || text == NULL)
        status = bn_fail(BN_ERR_IO, "MODEL-VOCAB", "cannot read %s", path);
    else
        n = fread(text, 1, BN_HF_TOKENIZER_TEMPLATE_BYTES_MAX + 1, stream);
    if (n > BN_HF_TOKENIZER_TEMPLATE_BYTES_MAX)
        status = bn_fail(BN_ERR_LIMIT, "MODEL-VOCAB", "%s has more than %u bytes", path,
                         BN_HF_TOKENIZER_TEMPLATE_BYTES_MAX);
    else if (status == BN_OK && memchr(text, '\0', n) != NULL)
        status = bn_fail(BN_ERR_BAD_FILE, "MODEL-VOCAB", "%s is not a text", path);
    if (stream != NULL) fclose(stream);
    if (status != BN_OK) bn_free(text);
    if (status == BN_OK) *text_out = text;
    return status;
}

/* A file of its own goes before the key, as in transformers. */
static bn_status write_template(const folder *f, bn_gguf_writer *writer)
{
    char path[PATH_MAX];
    if (find_file(f->path, "chat_template.jinja", path)) {
        char *text = NULL;
        BN_TRY(read_template_file(path, &text));
        bn_gguf_writer_key_text(writer, "tokenizer.chat_template", text);
        bn_free(text);
        return BN_OK;
    }
    bn_json *own = NULL;
    BN_TRY(read_config(f->path, "chat_template.json", &own));
    const char *text = template_of(own);
    if (text == NULL) text = template_of(f->tokenizer);
    if (text != NULL) bn_gguf_writer_key_text(writer, "tokenizer.chat_template", text);
    bn_json_free(own);
    return BN_OK;
}

static bn_status translate(folder *f, bn_gguf_writer *writer)
{
    BN_TRY(read_config(f->path, "tokenizer_config.json", &f->tokenizer));
    BN_TRY(read_config(f->path, "special_tokens_map.json", &f->map));
    BN_TRY(read_config(f->path, "generation_config.json", &f->generation));
    BN_TRY(read_config(f->path, "config.json", &f->model));
    BN_TRY(read_tokens(f));
    BN_TRY(read_special(f));
    BN_TRY(write_kind(f, writer));
    write_habits(f, writer);
    return write_template(f, writer);
}

bn_status bn_hf_tokenizer_write(const char *folder_path, uint32_t vocab, bn_gguf_writer *writer)
{
    if (vocab == 0 || vocab > BN_HF_TOKENIZER_TOKENS_MAX)
        return bn_fail(BN_ERR_LIMIT, "MODEL-VOCAB",
                       "%s: the embedding has %u rows; 1 to %u are possible", folder_path, vocab,
                       BN_HF_TOKENIZER_TOKENS_MAX);
    folder f = {.path = folder_path, .bos = NONE, .eos = NONE, .unknown = NONE, .padding = NONE};
    bn_status status = bn_hf_vocabulary_init(vocab, &f.vocab);
    if (status == BN_OK) status = translate(&f, writer);
    bn_hf_vocabulary_fini(&f.vocab);
    bn_json_free(f.tokenizer);
    bn_json_free(f.map);
    bn_json_free(f.generation);
    bn_json_free(f.model);
    return status;
}
