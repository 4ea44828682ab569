/* hf_pretokenizer.c — a description becomes a short text, and texts are looked up in a table.
 *
 * Only what changes the pieces is in that text; a field with a value that no row expects makes the
 * text differ from every row, so what is not understood is never passed over.
 */
#include "model/hf_pretokenizer.h"

#include "common/log.h"

#include <stdio.h>
#include <string.h>

#define PARTS_MAX 8u
#define SHOWN_MAX 1024u

#define CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define WORDS "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+"
#define SYMBOLS_AND_SPACES " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define SPLIT_LLAMA_3 "Split " CONTRACTIONS "|" WORDS "|\\p{N}{1,3}|" SYMBOLS_AND_SPACES " Isolated"
#define SPLIT_QWEN_2 "Split " CONTRACTIONS "|" WORDS "|\\p{N}|" SYMBOLS_AND_SPACES " Isolated"

#define UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define ONE_BEFORE "[^\\r\\n\\p{L}\\p{N}]?"
#define SPLIT_CASED                                                                                \
    "Split " ONE_BEFORE UPPER "*" LOWER "+|" ONE_BEFORE UPPER "+" LOWER                            \
    "*|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+ Isolated"
#define PUNCTUATION "Punctuation Contiguous"
#define DIGIT "Split [0-9] Isolated"

/* The parts in their order, separated by newlines. */
static const struct row {
    const char *name;
    bool ignores_merges;
    const char *parts;
} rows[] = {
    {"llama-bpe", true, SPLIT_LLAMA_3 "\nByteLevel"},
    {"smaug-bpe", false, SPLIT_LLAMA_3 "\nByteLevel"},
    {"qwen2", false, SPLIT_QWEN_2 "\nByteLevel"},
    {"gpt-2", false, "ByteLevel regex"},
    {"smollm", false, "Digits each\nByteLevel regex"},
    {"falcon3", false, PUNCTUATION "\nByteLevel regex\n" DIGIT},
    {"falcon3-spelt", false, PUNCTUATION "\nByteLevel regex\nDigits each"},
    {"falcon3-spelt", false,
     PUNCTUATION "\nByteLevel regex\nDigits each\nSplit [0-9][0-9][0-9] Isolated"},
    {"falcon-e", false, PUNCTUATION "\n" SPLIT_CASED "\n" DIGIT "\nByteLevel"},
    {"falcon-e", false, PUNCTUATION "\n" SPLIT_CASED "\nDigits each\nByteLevel"},
    {"falcon-e", false, PUNCTUATION "\n" SPLIT_CASED "\nByteLevel\n" DIGIT},
};

typedef struct description {
    char text[SHOWN_MAX];
    size_t n;
    bool is_cut;
} description;

static void add(description *d, const char *text)
{
    size_t n = strlen(text);
    d->is_cut |= n >= sizeof d->text - d->n;
    if (d->is_cut) return;
    memcpy(d->text + d->n, text, n + 1);
    d->n += n;
}

static bool is_true(const bn_json *object, const char *name, bool is_absent_true)
{
    bool value = is_absent_true;
    bn_json_as_bool(bn_json_get(object, name), &value);
    return value;
}

static const char *text_of(const bn_json *object, const char *name)
{
    const char *text = "?";
    bn_json_as_text(bn_json_get(object, name), &text);
    return text;
}

static void add_part(description *d, const bn_json *part)
{
    const char *type = text_of(part, "type");
    if (d->n > 0) add(d, "\n");
    add(d, type);
    if (strcmp(type, "ByteLevel") == 0) {
        if (is_true(part, "use_regex", true)) add(d, " regex");
        if (is_true(part, "add_prefix_space", true)) add(d, " add_prefix_space");
    } else if (strcmp(type, "Split") == 0) {
        const bn_json *pattern = bn_json_get(part, "pattern");
        bool is_regex = bn_json_get(pattern, "Regex") != NULL;
        add(d, is_regex ? " " : " String ");
        add(d, text_of(pattern, is_regex ? "Regex" : "String"));
        add(d, " ");
        add(d, text_of(part, "behavior"));
        if (is_true(part, "invert", false)) add(d, " invert");
    } else if (strcmp(type, "Digits") == 0) {
        add(d, is_true(part, "individual_digits", false) ? " each" : " runs");
    } else if (strcmp(type, "Punctuation") == 0) {
        add(d, " ");
        add(d, text_of(part, "behavior"));
    }
}

/* A sequence is its parts; anything else is one part. */
static const bn_json *part_at(const bn_json *pretokenizer, size_t index)
{
    const bn_json *parts = bn_json_get(pretokenizer, "pretokenizers");
    if (parts != NULL) return bn_json_at(parts, index);
    return index == 0 ? pretokenizer : NULL;
}

bool bn_hf_pretokenizer_is_byte_level(const bn_json *pretokenizer)
{
    const bn_json *part;
    for (size_t i = 0; (part = part_at(pretokenizer, i)) != NULL; i++)
        if (strcmp(text_of(part, "type"), "ByteLevel") == 0) return true;
    return false;
}

bn_status bn_hf_pretokenizer_name(const bn_json *pretokenizer, bool ignores_merges,
                                  const char *path, const char **name_out)
{
    description d = {.n = 0};
    const bn_json *part;
    size_t n = 0;
    for (; n < PARTS_MAX && (part = part_at(pretokenizer, n)) != NULL; n++)
        add_part(&d, part);
    bool is_whole = !d.is_cut && part_at(pretokenizer, n) == NULL;
    for (size_t i = 0; i < sizeof rows / sizeof *rows && is_whole; i++) {
        if (strcmp(rows[i].parts, d.text) != 0 || rows[i].ignores_merges != ignores_merges)
            continue;
        *name_out = rows[i].name;
        return BN_OK;
    }
    return bn_fail(BN_ERR_UNSUPPORTED, "MODEL-VOCAB",
                   "%s: the pre-tokenizer is not one that is known here (with ignore_merges %s):\n"
                   "%s%s",
                   path, ignores_merges ? "true" : "false", d.text, is_whole ? "" : " …");
}
