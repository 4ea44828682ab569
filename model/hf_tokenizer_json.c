/* hf_tokenizer_json.c — tokenizer.json, field by field.
 *
 * A tokenizer.json is a program of steps (normalise, cut, merge, finish), each with options. Two
 * programs are known here, byte-level BPE and SentencePiece's; every option is compared with what
 * they expect, and one that is not is refused by its name and value.
 */
#include "common/alloc.h"
#include "common/json.h"
#include "common/log.h"
#include "model/hf_pretokenizer.h"
#include "model/hf_tokenizer.h"
#include "model/hf_tokenizer_files.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define SPACE_MARK "\xE2\x96\x81" /* U+2581 */
#define KIND_MAX 64u

typedef struct reader {
    const char *path;
    const bn_json *root, *model, *pretokenizer;
    bn_hf_vocabulary *vocab;
} reader;

static bn_status refuse(const reader *r, const char *what, const char *value)
{
    return bn_fail(BN_ERR_UNSUPPORTED, "MODEL-VOCAB", "%s: %s is %.200s, which is not supported",
                   r->path, what, value);
}

static const char *text_of(const bn_json *object, const char *name)
{
    const char *text = "";
    bn_json_as_text(bn_json_get(object, name), &text);
    return text;
}

static bool is_set(const bn_json *object, const char *name)
{
    bool value = false;
    bn_json_as_bool(bn_json_get(object, name), &value);
    return value;
}

static bool is_absent(const bn_json *value)
{
    return value == NULL || bn_json_is_null(value);
}

/* Options of the model that change what merging does. */
static bn_status check_model(const reader *r)
{
    const char *type = text_of(r->model, "type");
    if (!bn_json_is_object(r->model))
        return bn_fail(BN_ERR_BAD_FILE, "MODEL-VOCAB", "%s has no object \"model\"", r->path);
    if (bn_json_get(r->model, "type") != NULL && strcmp(type, "BPE") != 0)
        return refuse(r, "the model's type", type);
    double dropout = 0;
    if (bn_json_as_double(bn_json_get(r->model, "dropout"), &dropout) && dropout != 0)
        return refuse(r, "model.dropout", "not 0");
    static const char *const affixes[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    for (size_t i = 0; i < sizeof affixes / sizeof *affixes; i++) {
        const char *affix = text_of(r->model, affixes[i]);
        if (affix[0] != '\0') return refuse(r, affixes[i], affix);
    }
    if (!bn_json_is_object(bn_json_get(r->model, "vocab")))
        return bn_fail(BN_ERR_BAD_FILE, "MODEL-VOCAB", "%s: model.vocab is not an object", r->path);
    if (!bn_json_is_array(bn_json_get(r->model, "merges")))
        return bn_fail(BN_ERR_BAD_FILE, "MODEL-VOCAB", "%s: model.merges is not an array", r->path);
    return BN_OK;
}

static bool is_byte_text(const char *text, size_t n)
{
    static const char digits[] = "0123456789ABCDEF";
    return n == 6 && memcmp(text, "<0x", 3) == 0 && text[5] == '>' &&
           strchr(digits, text[3]) != NULL && strchr(digits, text[4]) != NULL;
}

static bn_status read_vocab(const reader *r)
{
    const bn_json *vocab = bn_json_get(r->model, "vocab");
    bool has_bytes = r->vocab->is_spm && is_set(r->model, "byte_fallback");
    const char *unknown = text_of(r->model, "unk_token");
    for (bn_json_member m = {0}; bn_json_next(vocab, &m);) {
        uint64_t id;
        size_t n = strlen(m.name);
        if (!bn_json_as_u64(m.value, &id))
            return bn_fail(BN_ERR_BAD_FILE, "MODEL-VOCAB",
                           "%s: model.vocab: the id of the token %.64s is not a number", r->path,
                           m.name);
        bn_hf_token_type type = BN_HF_TOKEN_NORMAL;
        if (has_bytes && is_byte_text(m.name, n)) type = BN_HF_TOKEN_BYTE;
        if (n > 0 && strcmp(m.name, unknown) == 0) type = BN_HF_TOKEN_UNKNOWN;
        BN_TRY(bn_hf_vocabulary_add(r->vocab, r->path, id, m.name, n, type, 0));
        if (type == BN_HF_TOKEN_UNKNOWN) r->vocab->unknown = (uint32_t)id;
    }
    if (unknown[0] != '\0' && r->vocab->unknown == BN_HF_VOCABULARY_NONE)
        return bn_fail(BN_ERR_BAD_FILE, "MODEL-VOCAB",
                       "%s: model.unk_token is %.64s, which is no token of model.vocab", r->path,
                       unknown);
    return BN_OK;
}

/* What an added token may ask for beyond being one; none of the known models does. */
static bn_status check_added(const reader *r, const bn_json *token, const char *text)
{
    static const char *const flags[] = {"single_word", "lstrip", "rstrip"};
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        if (is_set(token, flags[i]))
            return bn_fail(BN_ERR_UNSUPPORTED, "MODEL-VOCAB",
                           "%s: the added token %.64s has %s, which is not supported", r->path,
                           text, flags[i]);
    return BN_OK;
}

static bn_status read_added(const reader *r)
{
    const bn_json *tokens = bn_json_get(r->root, "added_tokens");
    for (size_t i = 0; i < bn_json_length(tokens); i++) {
        const bn_json *token = bn_json_at(tokens, i);
        const char *text;
        uint64_t id;
        if (!bn_json_as_text(bn_json_get(token, "content"), &text) ||
            !bn_json_as_u64(bn_json_get(token, "id"), &id))
            return bn_fail(BN_ERR_BAD_FILE, "MODEL-VOCAB",
                           "%s: added_tokens: entry %zu has no text \"content\" or no number "
                           "\"id\"",
                           r->path, i);
        BN_TRY(check_added(r, token, text));
        bn_hf_token_type type =
            is_set(token, "special") ? BN_HF_TOKEN_CONTROL : BN_HF_TOKEN_USER_DEFINED;
        if (id == r->vocab->unknown) type = BN_HF_TOKEN_UNKNOWN;
        BN_TRY(bn_hf_vocabulary_add(r->vocab, r->path, id, text, strlen(text), type, 0));
    }
    return BN_OK;
}

static bn_status bad_merge(const reader *r, size_t index, const char *why)
{
    return bn_fail(BN_ERR_BAD_FILE, "MODEL-VOCAB", "%s: model.merges: entry %zu %s", r->path, index,
                   why);
}

/* An entry is "left right", or in newer files ["left", "right"]. */
static bn_status split_merge(const reader *r, const bn_json *entry, size_t index,
                             const char **left_out, size_t *n_left_out, const char **right_out)
{
    const char *text;
    if (bn_json_as_text(entry, &text)) {
        const char *space = strchr(text, ' ');
        if (space == NULL || space == text || strchr(space + 1, ' ') != NULL)
            return bad_merge(r, index, "is not two tokens with a space between them");
        *left_out = text;
        *n_left_out = (size_t)(space - text);
        *right_out = space + 1;
        return BN_OK;
    }
    if (bn_json_length(entry) != 2 || !bn_json_as_text(bn_json_at(entry, 0), left_out) ||
        !bn_json_as_text(bn_json_at(entry, 1), right_out))
        return bad_merge(r, index, "is not two texts");
    *n_left_out = strlen(*left_out);
    if (strchr(*left_out, ' ') != NULL || strchr(*right_out, ' ') != NULL)
        return bad_merge(r, index, "has a token with a space in it, which cannot be kept");
    return BN_OK;
}

/* The token that both parts make together; BN_HF_VOCABULARY_NONE when one of the three is none. */
static uint32_t joined_token(const bn_hf_vocabulary *vocab, const char *left, size_t n_left,
                             const char *right, size_t n_right)
{
    char joined[2 * BN_HF_TOKENIZER_TOKEN_BYTES_MAX];
    if (n_left > BN_HF_TOKENIZER_TOKEN_BYTES_MAX || n_right > BN_HF_TOKENIZER_TOKEN_BYTES_MAX)
        return BN_HF_VOCABULARY_NONE;
    memcpy(joined, left, n_left);
    memcpy(joined + n_left, right, n_right);
    if (bn_hf_vocabulary_find(vocab, left, n_left) == BN_HF_VOCABULARY_NONE ||
        bn_hf_vocabulary_find(vocab, right, n_right) == BN_HF_VOCABULARY_NONE)
        return BN_HF_VOCABULARY_NONE;
    return bn_hf_vocabulary_find(vocab, joined, n_left + n_right);
}

static bn_status read_merges(const reader *r)
{
    const bn_json *merges = bn_json_get(r->model, "merges");
    bn_hf_vocabulary *vocab = r->vocab;
    size_t n = bn_json_length(merges);
    if (n > BN_HF_TOKENIZER_MERGES_MAX)
        return bn_fail(BN_ERR_LIMIT, "MODEL-VOCAB",
                       "%s: model.merges has %zu entries; at most %u are possible", r->path, n,
                       BN_HF_TOKENIZER_MERGES_MAX);
    for (size_t i = 0; i < n; i++) {
        const char *left = NULL, *right = NULL;
        size_t n_left = 0;
        BN_TRY(split_merge(r, bn_json_at(merges, i), i, &left, &n_left, &right));
        uint32_t id = joined_token(vocab, left, n_left, right, strlen(right));
        if (id == BN_HF_VOCABULARY_NONE) return bad_merge(r, i, "names no token, or makes none");
        /* SPM merges by score: the earliest merge that makes a token tells when. */
        if (vocab->scores[id] == 0) vocab->scores[id] = -(float)(i + 1);
        char spaced[BN_HF_TOKENIZER_TOKEN_BYTES_MAX + 1];
        memcpy(spaced, left, n_left);
        spaced[n_left] = ' ';
        bn_text_list_add(&vocab->merges, spaced, n_left + 1, right, strlen(right));
    }
    return vocab->merges.status;
}

/* How many ways there are to cut a normal token into two tokens. */
static size_t count_cuts(const bn_hf_vocabulary *vocab, uint32_t id)
{
    size_t n_cuts = 0;
    bn_gguf_string text = bn_hf_vocabulary_text(vocab, id);
    for (size_t at = 1; at < text.n; at++) {
        if (((unsigned char)text.bytes[at] & 0xC0) == 0x80) continue; /* inside a character */
        uint32_t left = bn_hf_vocabulary_find(vocab, text.bytes, at);
        uint32_t right = bn_hf_vocabulary_find(vocab, text.bytes + at, text.n - at);
        n_cuts += left != BN_HF_VOCABULARY_NONE && right != BN_HF_VOCABULARY_NONE &&
                  vocab->types[left] == BN_HF_TOKEN_NORMAL &&
                  vocab->types[right] == BN_HF_TOKEN_NORMAL;
    }
    return n_cuts;
}

/* SPM joins any two tokens that make a third. Where the list of merges has all such pairs, as one
 * made from a SentencePiece file has, scores say everything; a list that was trained has one pair
 * a token and must be kept. */
static void choose_spm_merging(bn_hf_vocabulary *vocab)
{
    size_t n_cuts = 0;
    for (uint32_t id = 0; id < vocab->n_places; id++)
        if (vocab->types[id] == BN_HF_TOKEN_NORMAL) n_cuts += count_cuts(vocab, id);
    vocab->merges_by_rank = n_cuts != vocab->merges.n;
    if (!vocab->merges_by_rank) bn_text_list_fini(&vocab->merges);
}

/* "Prepend ▁", "Replace ' ' ▁": the steps of a normaliser in one short text. */
static void describe_normalizer(const bn_json *normalizer, char *text, size_t n)
{
    const bn_json *steps = bn_json_get(normalizer, "normalizers");
    size_t n_steps = steps != NULL ? bn_json_length(steps) : !is_absent(normalizer);
    text[0] = '\0';
    for (size_t i = 0; i < n_steps; i++) {
        const bn_json *step = steps != NULL ? bn_json_at(steps, i) : normalizer;
        size_t used = strlen(text);
        snprintf(text + used, n - used, "%s%s%s%s%s%s%s", i > 0 ? ", " : "", text_of(step, "type"),
                 *text_of(step, "prepend") != '\0' ? " " : "", text_of(step, "prepend"),
                 *text_of(step, "content") != '\0' ? " " : "",
                 text_of(bn_json_get(step, "pattern"), "String"), text_of(step, "content"));
    }
}

/* The newer files mark spaces in the pre-tokenizer. */
static bn_status read_metaspace(const reader *r)
{
    const bn_json *step = r->pretokenizer;
    if (strcmp(text_of(step, "replacement"), SPACE_MARK) != 0)
        return refuse(r, "pre_tokenizer.replacement", text_of(step, "replacement"));
    bool splits = true, prepends = true;
    bn_json_as_bool(bn_json_get(step, "split"), &splits);
    bn_json_as_bool(bn_json_get(step, "add_prefix_space"), &prepends);
    if (splits) return refuse(r, "pre_tokenizer.split", "true");
    const char *scheme = text_of(step, "prepend_scheme");
    if (strcmp(scheme, "first") == 0)
        r->vocab->space_prefix = "first";
    else if (strcmp(scheme, "never") == 0 || (scheme[0] == '\0' && !prepends))
        r->vocab->space_prefix = "none";
    else if (strcmp(scheme, "always") == 0 || scheme[0] == '\0')
        r->vocab->space_prefix = "unless-space";
    else
        return refuse(r, "pre_tokenizer.prepend_scheme", scheme);
    return BN_OK;
}

static bn_status read_spm_steps(const reader *r)
{
    char steps[256];
    describe_normalizer(bn_json_get(r->root, "normalizer"), steps, sizeof steps);
    bool is_metaspace = strcmp(text_of(r->pretokenizer, "type"), "Metaspace") == 0;
    if (is_metaspace && steps[0] == '\0') {
        BN_TRY(read_metaspace(r));
    } else if (!is_absent(r->pretokenizer)) {
        return refuse(r, "pre_tokenizer.type", text_of(r->pretokenizer, "type"));
    } else if (strcmp(steps, "Prepend " SPACE_MARK ", Replace  " SPACE_MARK) == 0) {
        r->vocab->space_prefix = "each";
    } else if (strcmp(steps, "Replace  " SPACE_MARK) == 0) {
        r->vocab->space_prefix = "none";
    } else {
        return refuse(r, "the normalizer", steps[0] == '\0' ? "null" : steps);
    }
    if (!is_set(r->model, "byte_fallback")) return refuse(r, "model.byte_fallback", "false");
    if (is_set(r->model, "ignore_merges")) return refuse(r, "model.ignore_merges", "true");
    return BN_OK;
}

static bn_status read_byte_level_steps(const reader *r)
{
    char steps[256];
    describe_normalizer(bn_json_get(r->root, "normalizer"), steps, sizeof steps);
    if (strcmp(steps, "NFC") == 0)
        bn_log_info("MODEL-VOCAB",
                    "%s: the normalizer NFC is not applied: text is tokenised as it is written",
                    r->path);
    else if (steps[0] != '\0')
        return refuse(r, "the normalizer", steps);
    return bn_hf_pretokenizer_name(r->pretokenizer, is_set(r->model, "ignore_merges"), r->path,
                                   &r->vocab->pretokenizer);
}

/* The post-processor says whether BOS goes in front: a template whose single form begins with a
 * special token. */
static void read_template(const reader *r, const bn_json *step)
{
    const bn_json *single = bn_json_get(step, "single");
    if (strcmp(text_of(step, "type"), "TemplateProcessing") != 0) return;
    r->vocab->is_bos_said = true;
    r->vocab->adds_bos = bn_json_get(bn_json_at(single, 0), "SpecialToken") != NULL;
}

static void read_post_processor(const reader *r)
{
    const bn_json *step = bn_json_get(r->root, "post_processor");
    const bn_json *steps = bn_json_get(step, "processors");
    read_template(r, step);
    for (size_t i = 0; i < bn_json_length(steps); i++)
        read_template(r, bn_json_at(steps, i));
}

static bn_status read_root(reader *r)
{
    BN_TRY(check_model(r));
    r->vocab->is_spm = !bn_hf_pretokenizer_is_byte_level(r->pretokenizer);
    if (r->vocab->is_spm)
        BN_TRY(read_spm_steps(r));
    else
        BN_TRY(read_byte_level_steps(r));
    BN_TRY(read_vocab(r));
    BN_TRY(read_merges(r));
    if (r->vocab->is_spm) choose_spm_merging(r->vocab);
    BN_TRY(read_added(r));
    read_post_processor(r);
    return BN_OK;
}

bn_status bn_hf_tokenizer_json_read(const char *path, bn_hf_vocabulary *vocab)
{
    bn_json *root = NULL;
    BN_TRY(bn_json_read(path, BN_HF_TOKENIZER_BYTES_MAX, &root));
    reader r = {
        .path = path,
        .root = root,
        .model = bn_json_get(root, "model"),
        .pretokenizer = bn_json_get(root, "pre_tokenizer"),
        .vocab = vocab,
    };
    bn_status status = read_root(&r);
    bn_json_free(root);
    return status;
}
