/* small_vocabulary.h — a vocabulary small enough to read, and every way to spoil it.
 *
 * Memory: the caller closes the file.
 */
#ifndef BN_TESTS_COORDINATOR_SMALL_VOCABULARY_H
#define BN_TESTS_COORDINATOR_SMALL_VOCABULARY_H

#include "model/gguf.h"

typedef struct small_token {
    const char *text;
    int32_t type;
    float score;
} small_token;

/* Fields that are zero leave their key out. */
typedef struct small_vocabulary {
    const char *model, *pre, *chat_template;
    const small_token *tokens; /* ends with a NULL text */
    const char *const *merges; /* ends with NULL; NULL for none */
    uint32_t bos_plus_1, eos_plus_1, unknown_plus_1;
    int adds_bos_plus_1, adds_space_plus_1;
    size_t n_types, n_scores; /* when not as many as tokens */
    int has_bytes;            /* the 256 bytes in front, as each kind of tokenizer spells them */
    int leaves_out_types, leaves_out_scores, leaves_out_tokens;
    int types_are_floats, tokens_are_numbers, merges_are_numbers, bos_is_text;
} small_vocabulary;

bn_gguf *small_vocabulary_file(const small_vocabulary *vocabulary);

/* The same, staying at `path_out` (room for 64 bytes). */
void small_vocabulary_save(const small_vocabulary *vocabulary, char *path_out);

#endif
