/* unicode.h — UTF-8 in and out, and the few character classes that tokenizers ask for.
 *
 * Classes are Unicode general categories (L*, N*, P*, M*) and the White_Space property. Code points
 * that are not assigned, and bytes that are not UTF-8, are in no class.
 *
 * Memory:  none.
 * Threads: any.
 */
#ifndef BN_COORDINATOR_UNICODE_H
#define BN_COORDINATOR_UNICODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BN_UNICODE_BYTES_MAX 4 /* of one character in UTF-8 */
#define BN_UNICODE_REPLACEMENT 0xFFFDu
#define BN_UNICODE_NONE UINT32_MAX /* instead of a code point: not UTF-8 */

typedef enum bn_unicode_class {
    BN_UNICODE_LETTER = 1,
    BN_UNICODE_NUMBER = 2,
    BN_UNICODE_SPACE = 4,
    BN_UNICODE_PUNCTUATION = 8,
    BN_UNICODE_UPPER = 16, /* Lu and Lt, which are letters, too */
    BN_UNICODE_LOWER = 32, /* Ll */
    BN_UNICODE_MARK = 64,
} bn_unicode_class;

/* The character at the front of `text` (n ≥ 1 bytes). Returns its length and sets *code_out. What
 * is not UTF-8 (overlong forms and surrogates included) gives BN_UNICODE_NONE and the length of
 * the longest prefix that could have begun a character, at least 1. */
uint32_t bn_unicode_decode(const char *text, size_t n, uint32_t *code_out);

/* True when the n bytes (n ≥ 1) are a proper prefix of some character and nothing else. */
bool bn_unicode_is_unfinished(const char *text, size_t n);

/* Writes the character and returns its length. `code` is a Unicode scalar value. */
uint32_t bn_unicode_encode(uint32_t code, char out[BN_UNICODE_BYTES_MAX]);

/* The bits of bn_unicode_class; 0 for BN_UNICODE_NONE. */
uint32_t bn_unicode_classes(uint32_t code);

/* True when the n bytes are UTF-8 throughout. */
bool bn_unicode_is_valid(const char *text, size_t n);

#endif
