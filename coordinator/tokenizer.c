/* tokenizer.c — reads the file's keys, cuts special tokens out, hands the rest to BPE or SPM. */
#include "coordinator/tokenizer.h"

#include "common/alloc.h"
#include "common/log.h"
#include "coordinator/tokenizer_state.h"
#include "model/hf_tokenizer.h"

#include <string.h>

#define KEY "tokenizer.ggml."

/* Llama-3's vocabulary, by size and the places of two tokens that only it has. */
#define LLAMA_3_TOKENS_MIN 128256
#define LLAMA_3_BOS 128000
#define LLAMA_3_EOT 128009

static bool text_is(bn_gguf_string text, const char *wanted)
{
    return text.n == strlen(wanted) && memcmp(text.bytes, wanted, text.n) == 0;
}

/* For a message: at most 64 bytes of a text from the file. */
static int shown(bn_gguf_string text)
{
    return text.n < 64 ? (int)text.n : 64;
}

static bool is_llama_3(const bn_tokenizer *tokenizer)
{
    return bn_vocab_size(tokenizer->vocab) >= LLAMA_3_TOKENS_MIN &&
           bn_tokenizer_find(tokenizer, "<|begin_of_text|>") == LLAMA_3_BOS &&
           bn_tokenizer_find(tokenizer, "<|eot_id|>") == LLAMA_3_EOT;
}

/* The pre-tokenizer by override, key, or vocabulary. */
static bn_status choose_pretokenizer(const bn_gguf *file, const bn_tokenizer *tokenizer,
                                     const char *override, const bn_pretokenizer **out)
{
    if (override != NULL) {
        *out = bn_pretokenizer_find(override, strlen(override));
        if (*out != NULL) return BN_OK;
        return bn_fail(BN_ERR_BAD_ARGUMENT, "TOKENIZER-PRE",
                       "there is no pre-tokenizer %s; known are " BN_PRETOKENIZER_NAMES, override);
    }
    bn_status status = BN_OK;
    bn_gguf_string name;
    if (bn_gguf_get_string(file, KEY "pre", &name, &status)) {
        *out = bn_pretokenizer_find(name.bytes, name.n);
        if (*out != NULL) return BN_OK;
        return bn_fail(BN_ERR_UNSUPPORTED, "TOKENIZER-PRE",
                       "%s: key " KEY "pre names the pre-tokenizer %.*s, which is not supported; "
                       "known are " BN_PRETOKENIZER_NAMES,
                       bn_gguf_path(file), shown(name), name.bytes);
    }
    if (status != BN_OK) return status;
    const char *chosen = is_llama_3(tokenizer) ? "llama-bpe" : "default";
    *out = bn_pretokenizer_find(chosen, strlen(chosen));
    bn_log_info("TOKENIZER-PRE", "%s has no key " KEY "pre; %s: taken as %s", bn_gguf_path(file),
                is_llama_3(tokenizer) ? "its vocabulary is Llama-3's"
                                      : "its vocabulary is not Llama-3's",
                chosen);
    return BN_OK;
}

/* A token id from a key; BN_TOKEN_NONE when the key is absent. */
static bn_status read_id(const bn_gguf *file, const bn_tokenizer *tokenizer, const char *key,
                         uint32_t *id_out)
{
    bn_status status = BN_OK;
    uint32_t id;
    *id_out = BN_TOKEN_NONE;
    if (!bn_gguf_get_u32(file, key, &id, &status)) return status;
    if (id >= bn_tokenizer_size(tokenizer))
        return bn_fail(BN_ERR_BAD_FILE, "TOKENIZER-FILE",
                       "%s: key %s is %u, but the vocabulary has %u tokens", bn_gguf_path(file),
                       key, id, bn_tokenizer_size(tokenizer));
    *id_out = id;
    return BN_OK;
}

static bn_status add_stop(const bn_gguf *file, bn_tokenizer *tokenizer, uint32_t id)
{
    if (id == BN_TOKEN_NONE || bn_tokenizer_is_stop(tokenizer, id)) return BN_OK;
    if (tokenizer->n_stops == BN_STOP_TOKENS_MAX)
        return bn_fail(BN_ERR_LIMIT, "TOKENIZER-FILE",
                       "%s names more than %d tokens that end an answer", bn_gguf_path(file),
                       BN_STOP_TOKENS_MAX);
    tokenizer->stops[tokenizer->n_stops++] = id;
    return BN_OK;
}

/* A list of ids that end an answer. */
static bn_status read_stops(const bn_gguf *file, bn_tokenizer *tokenizer, const char *key)
{
    bn_status status = BN_OK;
    bn_gguf_array ids;
    if (!bn_gguf_get_array(file, key, BN_GGUF_I32, &ids, &status)) return status;
    for (uint64_t i = 0; i < ids.n; i++) {
        int32_t id;
        memcpy(&id, (const char *)ids.data + i * sizeof id, sizeof id);
        if (id < 0 || (uint32_t)id >= bn_tokenizer_size(tokenizer))
            return bn_fail(BN_ERR_BAD_FILE, "TOKENIZER-FILE",
                           "%s: key %s has the id %d, but the vocabulary has %u tokens",
                           bn_gguf_path(file), key, id, bn_tokenizer_size(tokenizer));
        BN_TRY(add_stop(file, tokenizer, (uint32_t)id));
    }
    return BN_OK;
}

/* Tokens that end a turn, and then those that begin one. Published files mark some of them as text
 * or as user-defined; whoever could write them could end or forge a turn, so they are control
 * tokens here (llama.cpp does so with those that end one). */
static bn_status secure_turn_tokens(const bn_gguf *file, bn_tokenizer *tokenizer)
{
    static const char *const texts[] = {
        "<|eot_id|>",        "<|im_end|>",
        "<|end|>",           "<end_of_turn>",
        "<|endoftext|>",     "<|eom_id|>",
        "<|end_of_text|>",   "<EOT>",
        "<|begin_of_text|>", "<|start_header_id|>",
        "<|end_header_id|>", "<|im_start|>",
        "<|system|>",        "<|user|>",
        "<|assistant|>",     "<start_of_turn>",
    };
    static const size_t n_ends = 8;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        uint32_t id = bn_tokenizer_find(tokenizer, texts[i]);
        if (id == BN_TOKEN_NONE) continue;
        if (!bn_tokenizer_is_control(tokenizer, id)) bn_vocab_make_control(tokenizer->vocab, id);
        if (i < n_ends) BN_TRY(add_stop(file, tokenizer, id));
    }
    return BN_OK;
}

/* SPM files from before the keys: the token by its text, if it is a control token. */
static uint32_t find_control(const bn_tokenizer *tokenizer, const char *text)
{
    uint32_t id = bn_tokenizer_find(tokenizer, text);
    return bn_tokenizer_is_control(tokenizer, id) ? id : BN_TOKEN_NONE;
}

static uint32_t first_unknown(const bn_vocab *vocab)
{
    for (uint32_t id = 0; id < bn_vocab_size(vocab); id++) {
        if (bn_vocab_kind_of(vocab, id) == BN_VOCAB_UNKNOWN) return id;
    }
    return BN_TOKEN_NONE;
}

static bn_status read_special_ids(const bn_gguf *file, bn_tokenizer *tokenizer, bool is_spm)
{
    uint32_t eot, eom;
    BN_TRY(read_id(file, tokenizer, KEY "bos_token_id", &tokenizer->bos));
    BN_TRY(read_id(file, tokenizer, KEY "eos_token_id", &tokenizer->eos));
    BN_TRY(read_id(file, tokenizer, KEY "unknown_token_id", &tokenizer->unknown));
    BN_TRY(read_id(file, tokenizer, KEY "eot_token_id", &eot));
    BN_TRY(read_id(file, tokenizer, KEY "eom_token_id", &eom));
    if (is_spm) {
        if (tokenizer->bos == BN_TOKEN_NONE) tokenizer->bos = find_control(tokenizer, "<s>");
        if (tokenizer->eos == BN_TOKEN_NONE) tokenizer->eos = find_control(tokenizer, "</s>");
        if (tokenizer->unknown == BN_TOKEN_NONE)
            tokenizer->unknown = first_unknown(tokenizer->vocab);
    }
    BN_TRY(add_stop(file, tokenizer, tokenizer->eos));
    BN_TRY(add_stop(file, tokenizer, eot));
    BN_TRY(add_stop(file, tokenizer, eom));
    BN_TRY(read_stops(file, tokenizer, KEY "eos_token_ids"));
    BN_TRY(read_stops(file, tokenizer, KEY "eog_token_ids"));
    return secure_turn_tokens(file, tokenizer);
}

/* Where SPM puts a space of its own, as far as GGUF's own key does not say it. */
static bn_status read_space_prefix(const bn_gguf *file, bn_tokenizer *tokenizer)
{
    bn_status status = BN_OK;
    bn_gguf_string rule;
    if (!bn_gguf_get_string(file, BN_HF_TOKENIZER_KEY_SPACE, &rule, &status)) return status;
    tokenizer->spares_later = text_is(rule, "first");
    tokenizer->spares_space = tokenizer->spares_later || text_is(rule, "unless-space");
    if (tokenizer->spares_space) return BN_OK;
    return bn_fail(BN_ERR_UNSUPPORTED, "TOKENIZER-FILE",
                   "%s: key " BN_HF_TOKENIZER_KEY_SPACE
                   " is %.*s; known are first and unless-space",
                   bn_gguf_path(file), shown(rule), rule.bytes);
}

static bn_status read_habits(const bn_gguf *file, bn_tokenizer *tokenizer, bool adds_bos)
{
    bn_status status = BN_OK;
    tokenizer->adds_bos = adds_bos;
    tokenizer->adds_space = true;
    bool is_said = bn_gguf_get_bool(file, KEY "add_bos_token", &tokenizer->adds_bos, &status);
    bn_gguf_get_bool(file, KEY "add_space_prefix", &tokenizer->adds_space, &status);
    if (status != BN_OK) return status;
    if (tokenizer->adds_bos && tokenizer->bos == BN_TOKEN_NONE) {
        if (is_said)
            bn_log_warn("TOKENIZER-FILE",
                        "%s: key " KEY "add_bos_token is true, but there is no key " KEY
                        "bos_token_id; no token is put first",
                        bn_gguf_path(file));
        tokenizer->adds_bos = false;
    }
    return BN_OK;
}

static bn_status create_bpe(const bn_gguf *file, const char *pre_override, bn_tokenizer *tokenizer)
{
    BN_TRY(bn_vocab_create(file, bn_tokenizer_bpe_piece, &tokenizer->vocab));
    BN_TRY(read_special_ids(file, tokenizer, false));
    const bn_pretokenizer *pretokenizer = NULL;
    BN_TRY(choose_pretokenizer(file, tokenizer, pre_override, &pretokenizer));
    BN_TRY(read_habits(file, tokenizer, pretokenizer->adds_bos));
    return bn_tokenizer_bpe_create(file, tokenizer->vocab, pretokenizer, tokenizer->unknown,
                                   &tokenizer->bpe);
}

static bn_status create_spm(const bn_gguf *file, const char *pre_override, bn_tokenizer *tokenizer)
{
    if (pre_override != NULL)
        return bn_fail(BN_ERR_BAD_ARGUMENT, "TOKENIZER-PRE",
                       "%s has a tokenizer of model llama, which has no pre-tokenizer to replace",
                       bn_gguf_path(file));
    BN_TRY(bn_vocab_create(file, bn_tokenizer_spm_piece, &tokenizer->vocab));
    BN_TRY(read_special_ids(file, tokenizer, true));
    BN_TRY(read_habits(file, tokenizer, true));
    BN_TRY(read_space_prefix(file, tokenizer));
    return bn_tokenizer_spm_create(file, tokenizer->vocab, tokenizer->unknown, &tokenizer->spm);
}

static bn_status fill(const bn_gguf *file, const char *pre_override, bn_tokenizer *tokenizer)
{
    bn_status status = BN_OK;
    bn_gguf_string model;
    if (!bn_gguf_get_string(file, KEY "model", &model, &status)) {
        if (status != BN_OK) return status;
        return bn_fail(BN_ERR_BAD_FILE, "TOKENIZER-FILE",
                       "%s has no key " KEY "model: it has no tokenizer", bn_gguf_path(file));
    }
    if (text_is(model, "gpt2"))
        BN_TRY(create_bpe(file, pre_override, tokenizer));
    else if (text_is(model, "llama"))
        BN_TRY(create_spm(file, pre_override, tokenizer));
    else
        return bn_fail(BN_ERR_UNSUPPORTED, "TOKENIZER-FILE",
                       "%s: key " KEY "model names the tokenizer %.*s, which is not supported; "
                       "known are gpt2 (BPE) and llama (SentencePiece)",
                       bn_gguf_path(file), shown(model), model.bytes);
    BN_TRY(bn_special_tokens_create(file, tokenizer->vocab, false, &tokenizer->user_defined));
    return bn_special_tokens_create(file, tokenizer->vocab, true, &tokenizer->special);
}

bn_status bn_tokenizer_create(const bn_gguf *file, const char *pre_override,
                              bn_tokenizer **tokenizer_out)
{
    bn_tokenizer *tokenizer = bn_alloc(1, sizeof *tokenizer);
    if (tokenizer == NULL)
        return bn_fail(BN_ERR_NO_MEMORY, "TOKENIZER-MEMORY", "%s: no memory for its tokenizer",
                       bn_gguf_path(file));
    bn_status status = fill(file, pre_override, tokenizer);
    if (status != BN_OK) {
        bn_tokenizer_destroy(tokenizer);
        return status;
    }
    *tokenizer_out = tokenizer;
    return BN_OK;
}

void bn_tokenizer_destroy(bn_tokenizer *tokenizer)
{
    if (tokenizer == NULL) return;
    bn_special_tokens_destroy(tokenizer->special);
    bn_special_tokens_destroy(tokenizer->user_defined);
    bn_tokenizer_bpe_destroy(tokenizer->bpe);
    bn_tokenizer_spm_destroy(tokenizer->spm);
    bn_vocab_destroy(tokenizer->vocab);
    bn_free(tokenizer);
}

uint32_t bn_tokenizer_size(const bn_tokenizer *tokenizer)
{
    return bn_vocab_size(tokenizer->vocab);
}

uint32_t bn_tokenizer_bos(const bn_tokenizer *tokenizer)
{
    return tokenizer->bos;
}

uint32_t bn_tokenizer_eos(const bn_tokenizer *tokenizer)
{
    return tokenizer->eos;
}

bool bn_tokenizer_adds_bos(const bn_tokenizer *tokenizer)
{
    return tokenizer->adds_bos;
}

bool bn_tokenizer_is_stop(const bn_tokenizer *tokenizer, uint32_t id)
{
    for (uint32_t i = 0; i < tokenizer->n_stops; i++) {
        if (tokenizer->stops[i] == id) return true;
    }
    return false;
}

bool bn_tokenizer_is_control(const bn_tokenizer *tokenizer, uint32_t id)
{
    return id < bn_vocab_size(tokenizer->vocab) &&
           bn_vocab_kind_of(tokenizer->vocab, id) == BN_VOCAB_CONTROL;
}

const char *bn_tokenizer_text(const bn_tokenizer *tokenizer, uint32_t id, size_t *n_out)
{
    return bn_vocab_text(tokenizer->vocab, id, n_out);
}

uint32_t bn_tokenizer_find(const bn_tokenizer *tokenizer, const char *text)
{
    return bn_vocab_find(tokenizer->vocab, text, strlen(text));
}

size_t bn_tokenizer_bytes(const bn_tokenizer *tokenizer, uint32_t id, bool is_start)
{
    size_t n = 0;
    if (id >= bn_vocab_size(tokenizer->vocab)) return 0;
    if (bn_vocab_kind_of(tokenizer->vocab, id) == BN_VOCAB_CONTROL) return 0;
    const char *piece = bn_vocab_piece(tokenizer->vocab, id, &n);
    bool has_prefix = is_start && tokenizer->spm != NULL && tokenizer->adds_space;
    return has_prefix && n > 0 && piece[0] == ' ' ? n - 1 : n;
}

/* One call of _encode. */
typedef struct encoding {
    const bn_tokenizer *tokenizer;
    const bn_special_tokens *specials;
    const char *text;
    const uint8_t *marks; /* NULL: all 0 */
    bn_token_list *ids;
    bn_merger merger;
    bool is_after_special; /* or at the start: SPM puts its space here */
} encoding;

static bool begins_with_space(const char *text, size_t n)
{
    return text[0] == ' ' || (n >= 3 && memcmp(text, "\xE2\x96\x81", 3) == 0);
}

static bn_status encode_plain(encoding *job, size_t begin, size_t end)
{
    const bn_tokenizer *tokenizer = job->tokenizer;
    if (begin == end) return BN_OK;
    const char *text = job->text + begin;
    if (tokenizer->bpe != NULL)
        return bn_tokenizer_bpe_encode(tokenizer->bpe, &job->merger, text, end - begin, job->ids);
    bool has_prefix = tokenizer->adds_space && job->is_after_special;
    if (tokenizer->spares_later) has_prefix &= begin == 0;
    if (tokenizer->spares_space) has_prefix &= !begins_with_space(text, end - begin);
    job->is_after_special = false;
    return bn_tokenizer_spm_encode(tokenizer->spm, &job->merger, text, end - begin, has_prefix,
                                   job->ids);
}

/* Cuts special tokens out of [begin, end), from length `index` down; what lies before each has
 * only the shorter ones. At most BN_SPECIAL_TOKENS_LENGTHS_MAX deep. */
static bn_status encode_part(encoding *job, uint32_t index, size_t begin, size_t end)
{
    for (; index < bn_special_tokens_n_lengths(job->specials); index++) {
        for (;;) {
            uint32_t id;
            size_t at = bn_special_tokens_find(job->specials, index, job->text, job->marks, begin,
                                               end, &id);
            if (at == end) break;
            BN_TRY(encode_part(job, index + 1, begin, at));
            BN_TRY(bn_token_list_push(job->ids, id));
            job->is_after_special = true;
            begin = at + bn_special_tokens_length(job->specials, index);
        }
    }
    return encode_plain(job, begin, end);
}

static bn_status encode(const bn_tokenizer *tokenizer, const bn_special_tokens *specials,
                        const char *text, size_t n, const uint8_t *marks, bool is_start,
                        bn_token_list *ids)
{
    if (n > BN_TOKENIZER_TEXT_MAX)
        return bn_fail(BN_ERR_LIMIT, "TOKENIZER-TEXT",
                       "the text has %zu bytes; at most %u can be tokenised at once", n,
                       BN_TOKENIZER_TEXT_MAX);
    encoding job = {
        .tokenizer = tokenizer,
        .specials = specials,
        .text = text,
        .marks = marks,
        .ids = ids,
        .is_after_special = is_start,
    };
    size_t n_before = ids->n;
    bn_merger_init(&job.merger);
    bn_status status = encode_part(&job, 0, 0, n);
    bn_merger_fini(&job.merger);
    if (status != BN_OK) ids->n = n_before;
    return status;
}

bn_status bn_tokenizer_encode(const bn_tokenizer *tokenizer, const char *text, size_t n,
                              bool parse_special, bool is_start, bn_token_list *ids)
{
    const bn_special_tokens *specials =
        parse_special ? tokenizer->special : tokenizer->user_defined;
    return encode(tokenizer, specials, text, n, NULL, is_start, ids);
}

bn_status bn_tokenizer_encode_marked(const bn_tokenizer *tokenizer, const char *text, size_t n,
                                     const uint8_t *marks, bool is_start, bn_token_list *ids)
{
    return encode(tokenizer, tokenizer->special, text, n, marks, is_start, ids);
}
