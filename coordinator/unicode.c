/* unicode.c — the one file that knows utf8proc, and only its category table.
 *
 * Decoding is our own: a tokenizer must know how many bytes an ill-formed sequence takes, and a
 * stream whether more bytes could still complete it; the library tells neither.
 */
#include "coordinator/unicode.h"

#include "common/status.h"

#include <utf8proc.h>

#define CODE_MAX 0x10FFFFu

/* What may follow a lead byte: how many bytes, and the range of the first of them, which is what
 * excludes overlong forms, surrogates and values above U+10FFFF (Unicode, table 3-7). */
typedef struct lead {
    uint32_t length; /* 0: not a lead byte */
    unsigned char low, high;
} lead;

static lead lead_of(unsigned char byte)
{
    if (byte < 0x80) return (lead){1, 0, 0};
    if (byte < 0xC2) return (lead){0, 0, 0};
    if (byte < 0xE0) return (lead){2, 0x80, 0xBF};
    if (byte == 0xE0) return (lead){3, 0xA0, 0xBF};
    if (byte == 0xED) return (lead){3, 0x80, 0x9F};
    if (byte < 0xF0) return (lead){3, 0x80, 0xBF};
    if (byte == 0xF0) return (lead){4, 0x90, 0xBF};
    if (byte < 0xF4) return (lead){4, 0x80, 0xBF};
    if (byte == 0xF4) return (lead){4, 0x80, 0x8F};
    return (lead){0, 0, 0};
}

/* How many of the bytes fit a character that begins here: its whole length when it is complete. */
static uint32_t fitting_bytes(const char *text, size_t n, lead first)
{
    uint32_t i = 1;
    for (; i < first.length && i < n; i++) {
        unsigned char byte = (unsigned char)text[i];
        unsigned char low = i == 1 ? first.low : 0x80;
        unsigned char high = i == 1 ? first.high : 0xBF;
        if (byte < low || byte > high) break;
    }
    return i;
}

uint32_t bn_unicode_decode(const char *text, size_t n, uint32_t *code_out)
{
    BN_ASSERT(n >= 1);
    unsigned char byte = (unsigned char)text[0];
    if (byte < 0x80) {
        *code_out = byte;
        return 1;
    }
    lead first = lead_of(byte);
    *code_out = BN_UNICODE_NONE;
    if (first.length == 0) return 1;

    uint32_t n_fitting = fitting_bytes(text, n, first);
    if (n_fitting < first.length) return n_fitting;

    uint32_t code = byte & (0x7Fu >> first.length);
    for (uint32_t i = 1; i < first.length; i++) {
        code = code << 6 | ((unsigned char)text[i] & 0x3Fu);
    }
    *code_out = code;
    return first.length;
}

bool bn_unicode_is_unfinished(const char *text, size_t n)
{
    BN_ASSERT(n >= 1);
    lead first = lead_of((unsigned char)text[0]);
    return n < first.length && fitting_bytes(text, n, first) == n;
}

uint32_t bn_unicode_encode(uint32_t code, char out[BN_UNICODE_BYTES_MAX])
{
    BN_ASSERT(code <= CODE_MAX && (code < 0xD800 || code > 0xDFFF));
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    uint32_t length = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (uint32_t i = length - 1; i > 0; i--) {
        out[i] = (char)(0x80 | (code & 0x3F));
        code >>= 6;
    }
    out[0] = (char)((0xF00u >> length & 0xFF) | code);
    return length;
}

/* The White_Space property, which is not a category: it has the controls 9 … 13 and U+0085. */
static bool is_space(uint32_t code)
{
    if (code <= 0x20) return code == 0x20 || (code >= 0x09 && code <= 0x0D);
    if (code < 0x1680) return code == 0x85 || code == 0xA0;
    return code == 0x1680 || (code >= 0x2000 && code <= 0x200A) || code == 0x2028 ||
           code == 0x2029 || code == 0x202F || code == 0x205F || code == 0x3000;
}

uint32_t bn_unicode_classes(uint32_t code)
{
    if (code > CODE_MAX) return 0;
    if (is_space(code)) return BN_UNICODE_SPACE;
    switch (utf8proc_category((utf8proc_int32_t)code)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LT: return BN_UNICODE_LETTER | BN_UNICODE_UPPER;
    case UTF8PROC_CATEGORY_LL: return BN_UNICODE_LETTER | BN_UNICODE_LOWER;
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME: return BN_UNICODE_MARK;
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO: return BN_UNICODE_LETTER;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO: return BN_UNICODE_NUMBER;
    case UTF8PROC_CATEGORY_PC:
    case UTF8PROC_CATEGORY_PD:
    case UTF8PROC_CATEGORY_PS:
    case UTF8PROC_CATEGORY_PE:
    case UTF8PROC_CATEGORY_PI:
    case UTF8PROC_CATEGORY_PF:
    case UTF8PROC_CATEGORY_PO: return BN_UNICODE_PUNCTUATION;
    default: return 0;
    }
}

bool bn_unicode_is_valid(const char *text, size_t n)
{
    for (size_t at = 0; at < n;) {
        uint32_t code;
        at += bn_unicode_decode(text + at, n - at, &code);
        if (code == BN_UNICODE_NONE) return false;
    }
    return true;
}
