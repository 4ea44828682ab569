/* command_slash.h — the lines of the prompt that begin with '/'. */
#ifndef BN_COORDINATOR_COMMAND_SLASH_H
#define BN_COORDINATOR_COMMAND_SLASH_H

#include "coordinator/chat_history.h"
#include "coordinator/prompt.h"
#include "coordinator/sampling_options.h"
#include "coordinator/setup.h"

#define BN_CHAT_SYSTEM_MAX 4096u

typedef struct bn_chat {
    bn_setup setup;
    bn_sampling_options sampling;
    bn_dialog *dialog;
    bn_prompt *input;
    bn_token_list ids; /* of the question */
    bn_chat_history history;
    bool is_leaving;
    bool was_interrupted; /* since the last question */
    char system[BN_CHAT_SYSTEM_MAX];
} bn_chat;

/* Does what the line says, or says on stderr what is wrong with it. Only a failure of the cluster
 * or of standard output is returned. */
BN_CHECKED bn_status bn_command_slash(bn_chat *prompt, const char *line, size_t n);

#endif
