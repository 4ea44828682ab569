/* vocabulary.c — words that no merge of a lower rank can tear apart.
 *
 * BPE merges the pair of lowest rank first, so a token of four parts is only reached when its
 * two inner parts have no merge of their own. Hence classes: syllables of class A begin words and
 * those of class B end them (B + A never merges); words of even number go before those of odd
 * number when two make a compound.
 */
#include "model/vocabulary.h"

#include "common/log.h"
#include "model/model.h"

#include <stdio.h>
#include <string.h>

#define SPACE "\xc4\xa0" /* U+0120 */
#define N_VOWELS 5u
#define N_FIRST 10u /* consonants of class A */
#define N_SECOND 11u
#define N_WORDS (N_FIRST * N_VOWELS * N_SECOND * N_VOWELS)

static const char vowels[] = "aeiou";
static const char consonants[] = "bcdfghjklmnpqrstvwxyz"; /* class A, then class B */

void bn_vocabulary_fini(bn_vocabulary *vocab)
{
    bn_text_list_fini(&vocab->tokens);
    bn_text_list_fini(&vocab->merges);
}

static bool is_printable(uint32_t byte)
{
    return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
}

size_t bn_vocabulary_map_bytes(const uint8_t *bytes, size_t n, char *out)
{
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t c = bytes[i];
        if (!is_printable(c)) {
            uint32_t n_before = 0; /* the others count up from U+0100 */
            for (uint32_t b = 0; b < c; b++)
                n_before += !is_printable(b);
            c = 0x100 + n_before;
        }
        if (c < 0x80) {
            out[at++] = (char)c;
        } else {
            out[at++] = (char)(0xc0 | (c >> 6));
            out[at++] = (char)(0x80 | (c & 0x3f));
        }
    }
    return at;
}

static bool is_full(const bn_vocabulary *vocab)
{
    return vocab->tokens.n >= vocab->n_normal || vocab->tokens.status != BN_OK;
}

/* One merge and the token that it makes. */
static void add_merge(bn_vocabulary *vocab, const char *left, const char *right)
{
    char spaced[32];
    if (is_full(vocab)) return;
    int n = snprintf(spaced, sizeof spaced, "%s ", left);
    bn_text_list_add(&vocab->merges, spaced, (size_t)n, right, strlen(right));
    bn_text_list_add(&vocab->tokens, left, strlen(left), right, strlen(right));
}

/* "ba" … of class A (index < 50), then B. */
static void syllable_text(uint32_t index, char text[3])
{
    text[0] = consonants[index / N_VOWELS];
    text[1] = vowels[index % N_VOWELS];
    text[2] = '\0';
}

/* The parts of word `index`: any order that mixes letters early reads less monotonous. */
static void word_parts(uint32_t index, char first[3], char second[3])
{
    uint32_t mixed = index * 1361u % N_WORDS; /* 1361 and 2750 have no common factor */
    syllable_text(mixed % (N_FIRST * N_VOWELS), first);
    syllable_text(N_FIRST * N_VOWELS + mixed / (N_FIRST * N_VOWELS), second);
}

static void word_text(uint32_t index, char text[5])
{
    char first[3], second[3];
    word_parts(index, first, second);
    snprintf(text, 5, "%s%s", first, second);
}

static void add_words(bn_vocabulary *vocab)
{
    char a[5], b[5], letter[2] = "";
    for (uint32_t i = 0; i < (N_FIRST + N_SECOND) * N_VOWELS; i++) {
        syllable_text(i, a);
        letter[0] = a[0];
        add_merge(vocab, letter, a + 1);
    }
    for (uint32_t i = 0; i < N_WORDS; i++) {
        char first[3], second[3];
        word_parts(i, first, second);
        word_text(i, a);
        add_merge(vocab, first, second);
        add_merge(vocab, SPACE, a);
    }
    for (uint32_t i = 0; i < N_WORDS && !is_full(vocab); i += 2)
        for (uint32_t k = 1; k < N_WORDS; k += 2) {
            word_text(i, a);
            word_text(k, b);
            add_merge(vocab, a, b);
        }
}

bn_status bn_vocabulary_make_printable(uint32_t n_tokens, bn_vocabulary *vocab)
{
    static const char *const specials[] = {"<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"};
    BN_ASSERT(n_tokens >= BN_VOCABULARY_PRINTABLE_MIN && n_tokens <= BN_VOCAB_MAX);
    *vocab = (bn_vocabulary){.n_normal = n_tokens - 3};
    vocab->bos = n_tokens - 3;
    vocab->eos = n_tokens - 2;
    vocab->eot = n_tokens - 1;
    for (uint32_t i = 0; i < BN_VOCABULARY_BYTE_TOKENS; i++) {
        char text[2];
        size_t n = bn_vocabulary_map_bytes(&(uint8_t){(uint8_t)i}, 1, text);
        bn_text_list_add(&vocab->tokens, text, n, "", 0);
    }
    add_words(vocab);
    for (size_t i = 0; i < sizeof specials / sizeof specials[0]; i++)
        bn_text_list_add(&vocab->tokens, specials[i], strlen(specials[i]), "", 0);
    BN_TRY(vocab->merges.status);
    return vocab->tokens.status;
}
