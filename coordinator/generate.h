/* generate.h — requests into steps, results into tokens and text.
 *
 * A dialog is a sequence that may be asked several times: each question appends tokens and, unless
 * it is only scored, lets the model go on until a stop rule holds (a stop token, a stop string, the
 * number asked for, the context). Any number of dialogs run at once; bn_generate_pump drives all.
 *
 * Memory:  the engine and its dialogs live on the heap; nothing is allocated between _ask and the
 *          end of an answer.
 * Threads: one.
 * Errors:  whatever the cluster reports ends all dialogs; what was generated has been handed out
 *          before. A status from a callback is passed on by _pump.
 */
#ifndef BN_COORDINATOR_GENERATE_H
#define BN_COORDINATOR_GENERATE_H

#include "coordinator/cluster.h"
#include "coordinator/sampler.h"
#include "coordinator/scheduler.h"
#include "coordinator/stop_strings.h"
#include "coordinator/tokenizer.h"

typedef struct bn_generate bn_generate;
typedef struct bn_dialog bn_dialog;

typedef struct bn_generate_config {
    bn_cluster *cluster;           /* formed */
    const bn_tokenizer *tokenizer; /* NULL: tokens only, no text */
    uint32_t vocab;
    uint32_t prefill_chunk; /* 0: automatic */
} bn_generate_config;

typedef enum bn_finish {
    BN_FINISH_NOT_YET,
    BN_FINISH_STOP_TOKEN,
    BN_FINISH_STOP_STRING,
    BN_FINISH_LENGTH,
    BN_FINISH_CONTEXT,
    BN_FINISH_SCORED,
    BN_FINISH_CANCELLED,
} bn_finish;

typedef struct bn_request {
    bn_sampler_config sampler;
    uint32_t n_max; /* tokens to draw at most; 0: until the context is full */
    bool ignores_stop_tokens;
    const char *const *stops;
    uint32_t n_stops;

    /* Scoring instead of drawing: these are wanted, and come to on_position and on_logits. */
    bool is_scored;
    bn_wants wants;
    bn_status (*on_position)(void *context, const bn_result_position *position,
                             const bn_result *result);
    bn_status (*on_logits)(void *context, uint32_t position, const float *logits);

    /* Drawing; each may be NULL. Text comes in whole characters. */
    bn_status (*on_token)(void *context, uint32_t token);
    bn_status (*on_text)(void *context, const char *text, size_t n);
    void *context;
} bn_request;

typedef struct bn_answer {
    bn_finish finish;
    uint32_t n_prompt;                    /* tokens appended by the question */
    uint32_t n_made;                      /* tokens drawn */
    uint64_t began_ns, first_ns, last_ns; /* asked, first and last token or position */
} bn_answer;

BN_CHECKED bn_status bn_generate_create(const bn_generate_config *config,
                                        bn_generate **generate_out);
void bn_generate_destroy(bn_generate *generate);

/* A dialog of at most tokens_max tokens. */
BN_CHECKED bn_status bn_generate_open(bn_generate *generate, uint32_t tokens_max,
                                      bn_dialog **dialog_out);
/* Ends the dialog, waiting for its steps in flight. */
void bn_generate_close(bn_generate *generate, bn_dialog *dialog);
/* Only frees: at the very end, when the engine sends no more steps. NULL is allowed. */
void bn_dialog_destroy(bn_dialog *dialog);

/* Appends n ≥ 1 tokens and starts the answer. BN_ERR_LIMIT when they do not fit. */
BN_CHECKED bn_status bn_generate_ask(bn_generate *generate, bn_dialog *dialog,
                                     const uint32_t *tokens, uint32_t n, const bn_request *request);

/* Sends what can be sent and handles what comes within timeout_ms. Descriptors as in
 * bn_cluster_poll. */
BN_CHECKED bn_status bn_generate_pump(bn_generate *generate, const int *fds, uint32_t n_fds,
                                      uint32_t timeout_ms, uint32_t *ready_out);

/* Stops the answer: what was drawn stays in the log; a question whose prompt was not read to its
 * end is forgotten. Returns when its steps have come back. */
BN_CHECKED bn_status bn_generate_cancel(bn_generate *generate, bn_dialog *dialog);

/* Lets every step in flight come back without sending more, then lets the workers sleep.
 * BN_ERR_TIMED_OUT when they have not after timeout_ms. */
bn_status bn_generate_drain(bn_generate *generate, uint32_t timeout_ms);

const bn_answer *bn_dialog_answer(const bn_dialog *dialog);
const bn_sequence *bn_dialog_sequence(const bn_dialog *dialog);

bn_scheduler *bn_generate_scheduler(bn_generate *generate);

#endif
