/* pretokenizer.c — the scanners.
 *
 * Each scanner tries the alternatives of its expression in their order; a comment quotes the
 * alternative that a line decides. Greedy runs with one character of look-ahead are all these
 * expressions need, so every scanner is linear in the text, which no backtracking engine promises.
 */
#include "coordinator/pretokenizer.h"

#include "common/status.h"
#include "coordinator/unicode.h"

#include <stdint.h>
#include <string.h>

typedef struct character {
    uint32_t code;
    uint32_t classes;
    size_t end; /* where the next one begins */
} character;

/* At the end of the range: a character that matches nothing. */
static character character_at(const char *text, size_t at, size_t end)
{
    if (at >= end) return (character){BN_UNICODE_NONE, BN_UNICODE_SPACE, at};
    character c;
    c.end = at + bn_unicode_decode(text + at, end - at, &c.code);
    c.classes = bn_unicode_classes(c.code);
    return c;
}

static bool is_letter(character c)
{
    return c.classes & BN_UNICODE_LETTER;
}

static bool is_number(character c)
{
    return c.classes & BN_UNICODE_NUMBER;
}

static bool is_space(character c)
{
    return c.code != BN_UNICODE_NONE && c.classes & BN_UNICODE_SPACE;
}

/* [^\s\p{L}\p{N}] */
static bool is_symbol(character c)
{
    return !(c.classes & (BN_UNICODE_LETTER | BN_UNICODE_NUMBER | BN_UNICODE_SPACE));
}

static bool is_newline(character c)
{
    return c.code == '\r' || c.code == '\n';
}

/* [\p{P}\$\+<=>\^~\|] */
static bool is_default_punctuation(character c)
{
    return c.classes & BN_UNICODE_PUNCTUATION ||
           (c.code < 0x80 && c.code != 0 && strchr("$+<=>^~|", (int)c.code) != NULL);
}

/* What Rust and the ASCII table call punctuation: [\p{P}!-/:-@\[-`{-~] */
static bool is_any_punctuation(character c)
{
    return c.classes & BN_UNICODE_PUNCTUATION ||
           (c.code < 0x80 && c.code != 0 && strchr("$+<=>^`|~", (int)c.code) != NULL);
}

/* [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}] */
static bool may_be_upper(character c)
{
    return c.classes & (BN_UNICODE_LETTER | BN_UNICODE_MARK) && !(c.classes & BN_UNICODE_LOWER);
}

/* [\p{Ll}\p{Lm}\p{Lo}\p{M}] */
static bool may_be_lower(character c)
{
    return c.classes & (BN_UNICODE_LETTER | BN_UNICODE_MARK) && !(c.classes & BN_UNICODE_UPPER);
}

typedef bool predicate(character c);

/* The end of the run of characters for which `holds` is `wanted`. */
static size_t run_end(const char *text, size_t at, size_t end, predicate *holds, bool wanted)
{
    while (at < end) {
        character c = character_at(text, at, end);
        if (holds(c) != wanted) break;
        at = c.end;
    }
    return at;
}

static uint32_t folded(uint32_t code)
{
    if (code >= 'A' && code <= 'Z') return code + ('a' - 'A');
    return code == 0x17F ? 's' : code; /* long s, which (?i:s) matches too */
}

/* 's|'t|'re|'ve|'m|'ll|'d: the end of it, or `at` when the text at `at` does not begin one. */
static size_t contraction_end(const char *text, size_t at, size_t end, bool folds_case)
{
    character quote = character_at(text, at, end);
    if (quote.code != '\'') return at;
    character first = character_at(text, quote.end, end);
    character second = character_at(text, first.end, end);
    uint32_t a = folds_case ? folded(first.code) : first.code;
    uint32_t b = folds_case ? folded(second.code) : second.code;
    if (a == 's' || a == 't' || a == 'm' || a == 'd') return first.end;
    if ((a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l')) {
        return second.end;
    }
    return at;
}

/* \s+(?!\S), then \s+ (or what no alternative matches): a run of spaces leaves its last one to
 * the word that follows. */
static size_t spaces_end(const char *text, size_t begin, size_t end)
{
    size_t at = begin;
    size_t last = begin;
    while (at < end) {
        character c = character_at(text, at, end);
        if (!is_space(c)) break;
        last = at;
        at = c.end;
    }
    return at == end || last == begin ? at : last;
}

/* \s*[\r\n]+: the end of the last newline in the run of spaces, or `begin` without one. */
static size_t newlines_end(const char *text, size_t begin, size_t end)
{
    size_t newline_end = begin;
    for (size_t at = begin; at < end;) {
        character c = character_at(text, at, end);
        if (!is_space(c)) break;
        at = c.end;
        if (is_newline(c)) newline_end = at;
    }
    return newline_end;
}

/* The alternatives that llama-bpe and qwen2 share; they differ in how many numbers are one piece.
 */
static size_t words_end(const char *text, size_t begin, size_t end, uint32_t n_numbers_max)
{
    size_t contraction = contraction_end(text, begin, end, true);
    if (contraction > begin) return contraction;

    character c = character_at(text, begin, end);
    character next = character_at(text, c.end, end);
    /* [^\r\n\p{L}\p{N}]?\p{L}+ */
    if (is_letter(c) || (!is_newline(c) && !is_number(c) && is_letter(next))) {
        return run_end(text, c.end, end, is_letter, true);
    }
    if (is_number(c)) { /* \p{N}{1,3} or \p{N} */
        for (uint32_t n = 1; n < n_numbers_max && is_number(next); n++) {
            c = next;
            next = character_at(text, c.end, end);
        }
        return c.end;
    }
    /* [ ]?[^\s\p{L}\p{N}]+[\r\n]* with an optional space in front */
    if (is_symbol(c) || (c.code == ' ' && is_symbol(next))) {
        size_t symbols = run_end(text, c.end, end, is_symbol, true);
        return run_end(text, symbols, end, is_newline, true);
    }
    size_t newlines = newlines_end(text, begin, end);
    return newlines > begin ? newlines : spaces_end(text, begin, end);
}

static size_t llama_bpe_end(const char *text, size_t begin, size_t end)
{
    return words_end(text, begin, end, 3);
}

static size_t qwen2_end(const char *text, size_t begin, size_t end)
{
    return words_end(text, begin, end, 1);
}

static size_t gpt_2_end(const char *text, size_t begin, size_t end)
{
    size_t contraction = contraction_end(text, begin, end, false);
    if (contraction > begin) return contraction;

    /* \p{L}+, \p{N}+, [^\s\p{L}\p{N}]+, each with an optional space in front */
    character c = character_at(text, begin, end);
    if (c.code == ' ' && c.end < end) {
        character next = character_at(text, c.end, end);
        if (!is_space(next)) c = next;
    }
    if (is_letter(c)) return run_end(text, c.end, end, is_letter, true);
    if (is_number(c)) return run_end(text, c.end, end, is_number, true);
    if (is_symbol(c)) return run_end(text, c.end, end, is_symbol, true);
    return spaces_end(text, begin, end);
}

/* [\p{P}\$\+<=>\^~\|]+ and what lies between */
static size_t punctuation_end(const char *text, size_t begin, size_t end)
{
    bool wanted = is_default_punctuation(character_at(text, begin, end));
    return run_end(text, begin, end, is_default_punctuation, wanted);
}

/* \p{N}+ and what lies between */
static size_t numbers_end(const char *text, size_t begin, size_t end)
{
    bool wanted = is_number(character_at(text, begin, end));
    return run_end(text, begin, end, is_number, wanted);
}

static bool is_digit(char byte)
{
    return byte >= '0' && byte <= '9';
}

static bool are_three_digits(const char *text, size_t at, size_t end)
{
    return end - at >= 3 && is_digit(text[at]) && is_digit(text[at + 1]) && is_digit(text[at + 2]);
}

/* [0-9][0-9][0-9] and what lies between */
static size_t digits_end(const char *text, size_t begin, size_t end)
{
    if (are_three_digits(text, begin, end)) return begin + 3;
    size_t at = begin + 1;
    while (at < end && !are_three_digits(text, at, end))
        at++;
    return at;
}

/* The same class with the backtick: Punctuation, runs of it as pieces. */
static size_t any_punctuation_end(const char *text, size_t begin, size_t end)
{
    bool wanted = is_any_punctuation(character_at(text, begin, end));
    return run_end(text, begin, end, is_any_punctuation, wanted);
}

/* \p{N} and what lies between */
static size_t number_end(const char *text, size_t begin, size_t end)
{
    character c = character_at(text, begin, end);
    return is_number(c) ? c.end : run_end(text, begin, end, is_number, false);
}

/* [0-9] and what lies between */
static size_t digit_end(const char *text, size_t begin, size_t end)
{
    size_t at = begin + 1;
    while (!is_digit(text[begin]) && at < end && !is_digit(text[at]))
        at++;
    return at;
}

/* The spelling of a byte counts as a number: the digits, and what Latin-1 calls one. */
static bool spells_number(char byte)
{
    return is_digit(byte) || strchr("\xB2\xB3\xB9\xBC\xBD\xBE", byte) != NULL;
}

/* Digits behind ByteLevel: numbers among the spelt bytes, also those inside of a character. */
static size_t spelt_number_end(const char *text, size_t begin, size_t end)
{
    size_t at = begin + 1;
    if (text[begin] != '\0' && spells_number(text[begin])) return at;
    while (at < end && (text[at] == '\0' || !spells_number(text[at])))
        at++;
    return at;
}

/* [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+ from `begin`: its end, or `begin`.
 * The first part takes what it can and gives back until the second has something. */
static size_t lower_word_end(const char *text, size_t begin, size_t end)
{
    size_t at = begin, given_back = begin;
    while (at < end) {
        character c = character_at(text, at, end);
        if (!may_be_upper(c)) break;
        at = c.end;
        if (may_be_lower(c)) given_back = at;
    }
    if (at < end && may_be_lower(character_at(text, at, end)))
        return run_end(text, at, end, may_be_lower, true);
    return given_back;
}

/* [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]* */
static size_t upper_word_end(const char *text, size_t begin, size_t end)
{
    size_t at = run_end(text, begin, end, may_be_upper, true);
    return at == begin ? begin : run_end(text, at, end, may_be_lower, true);
}

static size_t cased_end(const char *text, size_t begin, size_t end)
{
    character c = character_at(text, begin, end);
    character next = character_at(text, c.end, end);
    /* Both kinds of word with [^\r\n\p{L}\p{N}]? in front, which is tried first. */
    bool has_prefix = !is_newline(c) && !is_letter(c) && !is_number(c);
    for (int kind = 0; kind < 2; kind++) {
        for (int skips = has_prefix; skips >= 0; skips--) {
            size_t from = skips ? c.end : begin;
            size_t at =
                kind == 0 ? lower_word_end(text, from, end) : upper_word_end(text, from, end);
            if (at > from) return at;
        }
    }
    if (is_number(c)) return c.end; /* \p{N} */
    /* [ ]?[^\s\p{L}\p{N}]+[\r\n/]* with an optional space in front */
    if (is_symbol(c) || (c.code == ' ' && c.end < end && is_symbol(next))) {
        size_t at = run_end(text, c.end, end, is_symbol, true);
        while (at < end && (text[at] == '\r' || text[at] == '\n' || text[at] == '/'))
            at++;
        return at;
    }
    size_t newlines = newlines_end(text, begin, end);
    return newlines > begin ? newlines : spaces_end(text, begin, end);
}

static const bn_pretokenizer pretokenizers[] = {
    {{"llama-bpe", "llama3", "llama-v3"}, true, true, {llama_bpe_end}},
    {{"smaug-bpe"}, false, false, {llama_bpe_end}},
    {{"qwen2"}, false, false, {qwen2_end}},
    {{"gpt-2", "olmo"}, false, false, {gpt_2_end}},
    {{"smollm"}, false, false, {number_end, gpt_2_end}},
    {{"falcon3"}, false, false, {any_punctuation_end, gpt_2_end, digit_end}},
    {{"falcon3-spelt"}, false, false, {any_punctuation_end, gpt_2_end, spelt_number_end}},
    {{"falcon-e", "falcon_e", "falcon-h1"},
     false,
     false,
     {any_punctuation_end, cased_end, digit_end}},
    {{"default"}, false, false, {punctuation_end, gpt_2_end, numbers_end, digits_end}},
};

const bn_pretokenizer *bn_pretokenizer_find(const char *name, size_t n)
{
    for (size_t i = 0; i < sizeof pretokenizers / sizeof *pretokenizers; i++) {
        const char *const *names = pretokenizers[i].names;
        for (; *names != NULL; names++) {
            if (strlen(*names) == n && memcmp(*names, name, n) == 0) return &pretokenizers[i];
        }
    }
    return NULL;
}

void bn_pretokenizer_begin(bn_pretokenizer_cursor *cursor, const bn_pretokenizer *pretokenizer,
                           const char *text, size_t n)
{
    *cursor = (bn_pretokenizer_cursor){.pretokenizer = pretokenizer, .text = text, .end = n};
}

bool bn_pretokenizer_next(bn_pretokenizer_cursor *cursor, size_t *begin_out, size_t *end_out)
{
    size_t at = cursor->at;
    if (at >= cursor->end) return false;

    /* A stage cuts anew when its own piece is used up, within the piece of the stage before. */
    size_t end = cursor->end;
    bn_pretokenizer_stage *const *stages = cursor->pretokenizer->stages;
    for (size_t i = 0; i < BN_PRETOKENIZER_STAGES_MAX && stages[i] != NULL; i++) {
        if (cursor->stage_ends[i] <= at) cursor->stage_ends[i] = stages[i](cursor->text, at, end);
        end = cursor->stage_ends[i];
        BN_ASSERT(end > at);
    }
    *begin_out = at;
    *end_out = end;
    cursor->at = end;
    return true;
}
