/* jinja_lexer.c — text, tags and what stands in them; white space control is done here.
 *
 * A tag may take white space from the text around it: a minus takes all, and without a sign a block
 * or comment takes the spaces of its line in front (lstrip_blocks) and one newline behind
 * (trim_blocks).
 */
#include "common/alloc.h"
#include "coordinator/jinja_tree.h"
#include "coordinator/jinja_value.h"
#include "coordinator/unicode.h"

#include <string.h>

typedef struct lexer {
    bn_jinja *jinja;
    const char *at, *end;
    uint32_t line, n_allocated;
    bool is_line_start; /* nothing, or a newline, was consumed last */
} lexer;

static bn_status push(lexer *l, bn_jinja_word word)
{
    bn_jinja *jinja = l->jinja;
    if (jinja->n_words == l->n_allocated) {
        uint32_t n = l->n_allocated == 0 ? 256 : 2 * l->n_allocated;
        bn_jinja_word *grown = bn_realloc(jinja->words, n, sizeof *grown);
        if (grown == NULL)
            return bn_jinja_fail(jinja, BN_ERR_NO_MEMORY, l->line, "no memory to read it");
        jinja->words = grown;
        l->n_allocated = n;
    }
    jinja->words[jinja->n_words++] = word;
    return BN_OK;
}

static void advance(lexer *l, size_t n)
{
    for (size_t i = 0; i < n; i++)
        l->line += l->at[i] == '\n';
    if (n > 0) l->is_line_start = l->at[n - 1] == '\n';
    l->at += n;
}

static bool begins(const lexer *l, const char *text)
{
    size_t n = strlen(text);
    return (size_t)(l->end - l->at) >= n && memcmp(l->at, text, n) == 0;
}

static void skip_space(lexer *l)
{
    uint32_t code;
    while (l->at < l->end) {
        uint32_t n = bn_unicode_decode(l->at, (size_t)(l->end - l->at), &code);
        if (!bn_jinja_value_is_space(code)) return;
        advance(l, n);
    }
}

/* The length of `text` without the white space at its end. */
static size_t stripped_length(const char *text, size_t n)
{
    size_t kept = 0;
    for (size_t at = 0; at < n;) {
        uint32_t code;
        at += bn_unicode_decode(text + at, n - at, &code);
        if (!bn_jinja_value_is_space(code)) kept = at;
    }
    return kept;
}

/* Without the white space of the last line, when there is nothing else in it. */
static size_t left_stripped_length(const char *text, size_t n, bool is_line_start)
{
    const char *newline = memrchr(text, '\n', n);
    size_t line = newline == NULL ? 0 : (size_t)(newline - text) + 1;
    bool is_blank = stripped_length(text + line, n - line) == 0;
    return (line > 0 || is_line_start) && is_blank ? line : n;
}

/* Text up to the next tag, without what the tag takes from its end. */
static bn_status read_data(lexer *l)
{
    const char *begin = l->at;
    uint32_t line = l->line;
    bool was_line_start = l->is_line_start;
    const char *tag = l->at;
    while ((tag = memchr(tag, '{', (size_t)(l->end - tag))) != NULL) {
        if (tag + 1 < l->end && (tag[1] == '{' || tag[1] == '%' || tag[1] == '#')) break;
        tag++;
    }
    if (tag == NULL) tag = l->end;
    size_t n = (size_t)(tag - begin);
    size_t n_kept = n;
    if (tag < l->end) {
        char sign = tag + 2 < l->end ? tag[2] : '\0';
        if (sign == '-')
            n_kept = stripped_length(begin, n);
        else if (sign != '+' && tag[1] != '{')
            n_kept = left_stripped_length(begin, n, was_line_start);
    }
    advance(l, n);
    if (n_kept == 0) return BN_OK;
    return push(l, (bn_jinja_word){BN_JINJA_DATA, line, begin, n_kept, 0});
}

/* What a tag takes from the text behind it. */
static void end_tag(lexer *l, char sign, bool is_print)
{
    l->is_line_start = false;
    if (sign == '-')
        skip_space(l);
    else if (sign != '+' && !is_print && begins(l, "\n"))
        advance(l, 1);
}

static bn_status skip_comment(lexer *l)
{
    uint32_t line = l->line;
    const char *end = memmem(l->at + 2, (size_t)(l->end - l->at) - 2, "#}", 2);
    if (end == NULL)
        return bn_jinja_fail(l->jinja, BN_ERR_BAD_FILE, line, "the comment does not end");
    char sign = end > l->at + 2 ? end[-1] : '\0';
    advance(l, (size_t)(end + 2 - l->at));
    end_tag(l, sign, false);
    return BN_OK;
}

static int hex_value(const char *text, size_t n)
{
    int value = 0;
    for (size_t i = 0; i < n; i++) {
        char c = text[i];
        int digit = c >= '0' && c <= '9'                 ? c - '0'
                    : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10
                                                         : -1;
        if (digit < 0) return -1;
        value = value * 16 + digit;
    }
    return value;
}

/* \n and the like, which stands at l->at; its value goes behind the strings so far. */
static bn_status read_escape(lexer *l)
{
    bn_jinja *jinja = l->jinja;
    static const char from[] = "nrt\\'\"", to[] = "\n\r\t\\'\"";
    char c = l->at + 1 < l->end ? l->at[1] : '\0';
    const char *known = c == '\0' ? NULL : strchr(from, c);
    if (known != NULL) {
        jinja->strings[jinja->n_strings++] = to[known - from];
        advance(l, 2);
        return BN_OK;
    }
    size_t n_digits = c == 'x' ? 2 : c == 'u' ? 4 : 0;
    int code = n_digits > 0 && (size_t)(l->end - l->at) >= 2 + n_digits
                   ? hex_value(l->at + 2, n_digits)
                   : -1;
    if (code < 0 || (code >= 0xD800 && code <= 0xDFFF))
        return bn_jinja_fail(jinja, BN_ERR_UNSUPPORTED, l->line,
                             "the escape \\%c in a text is not supported", c);
    jinja->n_strings += bn_unicode_encode((uint32_t)code, jinja->strings + jinja->n_strings);
    advance(l, 2 + n_digits);
    return BN_OK;
}

static bn_status read_string(lexer *l)
{
    bn_jinja *jinja = l->jinja;
    bn_jinja_word word = {BN_JINJA_STRING, l->line, jinja->strings + jinja->n_strings, 0, 0};
    char quote = *l->at;
    advance(l, 1);
    while (l->at < l->end && *l->at != quote) {
        if (*l->at == '\\') {
            BN_TRY(read_escape(l));
        } else {
            jinja->strings[jinja->n_strings++] = *l->at;
            advance(l, 1);
        }
    }
    if (l->at == l->end)
        return bn_jinja_fail(jinja, BN_ERR_BAD_FILE, word.line, "a text in quotes does not end");
    advance(l, 1);
    word.n = (size_t)(jinja->strings + jinja->n_strings - word.text);
    return push(l, word);
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_name(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || is_digit(c);
}

static bn_status read_number(lexer *l)
{
    bn_jinja_word word = {BN_JINJA_INTEGER, l->line, l->at, 0, 0};
    while (l->at < l->end && is_digit(*l->at)) {
        if (word.number > INT32_MAX)
            return bn_jinja_fail(l->jinja, BN_ERR_UNSUPPORTED, l->line, "a number is too large");
        word.number = word.number * 10 + (*l->at - '0');
        advance(l, 1);
    }
    if (l->at + 1 < l->end && (is_name(*l->at) || (*l->at == '.' && is_digit(l->at[1]))))
        return bn_jinja_fail(l->jinja, BN_ERR_UNSUPPORTED, l->line,
                             "a number is not a whole decimal one");
    return push(l, word);
}

static bn_status read_sign(lexer *l)
{
    static const char *const signs[] = {"==", "!=", "<=", ">=", "//", "**", "+", "-", "*",
                                        "/",  "%",  "~",  "<",  ">",  "=",  "(", ")", "[",
                                        "]",  ",",  ".",  ":",  "|",  "{",  "}"};
    for (size_t i = 0; i < sizeof signs / sizeof *signs; i++) {
        if (!begins(l, signs[i])) continue;
        bn_jinja_word word = {BN_JINJA_SIGN, l->line, signs[i], strlen(signs[i]), 0};
        advance(l, word.n);
        return push(l, word);
    }
    return bn_jinja_fail(l->jinja, BN_ERR_BAD_FILE, l->line,
                         "the byte 0x%02X stands where none of it belongs", (unsigned char)*l->at);
}

/* The end of a tag with its sign; false when something else stands here. */
static bool is_tag_end(const lexer *l, const char *end, char *sign_out)
{
    bool has_sign = l->at < l->end && (*l->at == '-' || (*l->at == '+' && *end == '%'));
    const char *at = l->at + has_sign;
    if (l->end - at < 2 || memcmp(at, end, 2) != 0) return false;
    *sign_out = has_sign ? *l->at : '\0';
    return true;
}

static bn_status read_tag(lexer *l)
{
    bool is_print = l->at[1] == '{';
    const char *end = is_print ? "}}" : "%}";
    uint32_t line = l->line;
    char sign = '\0';
    advance(l, 2);
    BN_TRY(push(l, (bn_jinja_word){is_print ? BN_JINJA_PRINT_BEGIN : BN_JINJA_BLOCK_BEGIN, line, "",
                                   0, 0}));
    if (l->at < l->end && (*l->at == '-' || *l->at == '+')) advance(l, 1);
    for (;;) {
        skip_space(l);
        if (l->at == l->end)
            return bn_jinja_fail(l->jinja, BN_ERR_BAD_FILE, line, "the tag does not end");
        if (is_tag_end(l, end, &sign)) break;
        if (*l->at == '\'' || *l->at == '"') {
            BN_TRY(read_string(l));
        } else if (is_digit(*l->at)) {
            BN_TRY(read_number(l));
        } else if (is_name(*l->at)) {
            bn_jinja_word word = {BN_JINJA_NAME, l->line, l->at, 0, 0};
            while (l->at < l->end && is_name(*l->at))
                advance(l, 1);
            word.n = (size_t)(l->at - word.text);
            BN_TRY(push(l, word));
        } else {
            BN_TRY(read_sign(l));
        }
    }
    BN_TRY(push(
        l, (bn_jinja_word){is_print ? BN_JINJA_PRINT_END : BN_JINJA_BLOCK_END, l->line, "", 0, 0}));
    advance(l, (sign != '\0') + 2u);
    end_tag(l, sign, is_print);
    return BN_OK;
}

bn_status bn_jinja_lexer_run(bn_jinja *jinja)
{
    lexer l = {.jinja = jinja,
               .at = jinja->source,
               .end = jinja->source + jinja->n_source,
               .line = 1,
               .is_line_start = true};
    while (l.at < l.end) {
        BN_TRY(read_data(&l));
        if (l.at == l.end) break;
        BN_TRY(l.at[1] == '#' ? skip_comment(&l) : read_tag(&l));
    }
    return push(&l, (bn_jinja_word){BN_JINJA_END, l.line, "", 0, 0});
}
