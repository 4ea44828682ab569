/* questions.h — questions whose right answers are known: how many does the model get right?
 *
 * In: lines {"prompt": "...", "answer": "..."}, with an own "max_tokens" where wanted. Each prompt
 * is answered greedily until a stop token, a stop text or the number of tokens; the answer is right
 * when it equals the line's, white space at both ends of either left out. Many are asked at once;
 * what each is answered does not depend on it.
 *
 * Memory:  all lines before the first worker starts, and the answers in work.
 * Threads: one.
 * Errors:  BN_ERR_BAD_FILE and BN_ERR_LIMIT naming file and line.
 */
#ifndef BN_COORDINATOR_QUESTIONS_H
#define BN_COORDINATOR_QUESTIONS_H

#include "coordinator/setup.h"

#define BN_QUESTIONS_SLOTS 16u               /* at once, when nobody says (--slots) */
#define BN_QUESTIONS_TOKENS_MAX (1u << 16)   /* of an answer */
#define BN_QUESTIONS_ANSWER_BYTES (1u << 20) /* of an answer; more is a wrong one */

/* One answered question; texts are without white space at their ends. */
typedef struct bn_questions_answer {
    uint32_t line;
    const char *prompt, *due, *said;
    bool is_right;
} bn_questions_answer;

typedef struct bn_questions_config {
    const char *path;
    bool is_chat; /* through the chat template, else as plain text */
    uint32_t n_tokens;
    const char *const *stops;
    uint32_t n_stops;
    /* Called for each in the order of the file. */
    bn_status (*on_answer)(void *context, const bn_questions_answer *answer);
    void *context;
} bn_questions_config;

typedef struct bn_questions_count {
    uint32_t n, n_right;
} bn_questions_count;

/* The setup has been opened with its tokenizer; is started here. */
BN_CHECKED bn_status bn_questions_ask(bn_setup *setup, const bn_questions_config *config,
                                      bn_questions_count *count_out);

#endif
