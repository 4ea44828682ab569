/* setup.h — everything that a command with workers needs, from options to a serving engine.
 *
 *   bn_setup_init → bn_options_parse → bn_setup_open (model, tokenizer: cheap, fails early)
 *   → bn_setup_start (listen, workers, plan, load) → work → bn_setup_finish → bn_setup_close
 *
 * Memory:  the struct is the caller's; _close frees all that it holds, whatever has been reached.
 * Threads: one.
 */
#ifndef BN_COORDINATOR_SETUP_H
#define BN_COORDINATOR_SETUP_H

#include "coordinator/chat_template.h"
#include "coordinator/cluster_options.h"
#include "coordinator/generate.h"
#include "coordinator/local.h"

#define BN_COMPANIONS_MAX 64u

typedef struct bn_setup {
    bn_cluster_options options;
    bn_option table[BN_CLUSTER_OPTIONS_MAX];
    char model_path[BN_TEXT_MAX]; /* absolute */
    bn_model *model;
    bn_tokenizer *tokenizer; /* NULL when the command needs none and the file has none */
    bn_chat_template *chat;  /* NULL before bn_setup_chat */
    uint32_t vocab, context;
    size_t n_prompt;  /* tokens that must leave room for an answer; 0: not known before the start */
    const char *dump; /* workers write their layers there; one sequence only. NULL: they do not */
    bn_local *local;
    bn_cluster *cluster;
    bn_generate *generate;
    bn_dialog *companions[BN_COMPANIONS_MAX];
} bn_setup;

void bn_setup_init(bn_setup *setup);

typedef enum bn_tokenizer_need {
    BN_TOKENIZER_NONE,
    BN_TOKENIZER_IF_ANY,
    BN_TOKENIZER_NEEDED
} bn_tokenizer_need;

BN_CHECKED bn_status bn_setup_open(bn_setup *setup, bn_tokenizer_need need);

/* Reads the chat template, for commands that send messages. */
BN_CHECKED bn_status bn_setup_chat(bn_setup *setup);

/* `slots`: sequences that the command runs at once (companions are added); `context`: 0: the
 * model's, at most 4096. Options of the person win. */
BN_CHECKED bn_status bn_setup_start(bn_setup *setup, uint32_t slots, uint32_t context);

/* How many of n sequences to run at once: what --slots leaves beside companions, else `most`. */
uint32_t bn_setup_slots_for(const bn_setup *setup, uint32_t n, uint32_t most);

/* Pumps until the answer is finished; BN_ERR_INTERRUPTED when a signal came. */
BN_CHECKED bn_status bn_setup_wait(bn_setup *setup, const bn_dialog *dialog);

/* Lets everything in flight come back and writes --stats-out. */
BN_CHECKED bn_status bn_setup_finish(bn_setup *setup);

void bn_setup_close(bn_setup *setup);

/* 0 done, 1 failed, 2 bad usage, 128 + signal when interrupted. */
int bn_setup_exit_code(bn_status status);

#endif
