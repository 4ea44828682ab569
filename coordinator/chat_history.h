/* chat_history.h — what was said so far, for templates that look at the whole conversation.
 *
 * Memory:  caller's struct, zero is empty; _fini frees. Texts are copies.
 * Errors:  BN_ERR_NO_MEMORY; BN_ERR_LIMIT for more than BN_CHAT_HISTORY_MAX messages.
 */
#ifndef BN_COORDINATOR_CHAT_HISTORY_H
#define BN_COORDINATOR_CHAT_HISTORY_H

#include "coordinator/chat_template.h"

#define BN_CHAT_HISTORY_MAX 65536u

typedef struct bn_chat_history {
    bn_chat_message *messages;
    size_t n, capacity;
    size_t text_capacity; /* of the last message */
} bn_chat_history;

BN_CHECKED bn_status bn_chat_history_add(bn_chat_history *history, bn_chat_role role,
                                         const char *text, size_t n);
/* More text for the last message. */
BN_CHECKED bn_status bn_chat_history_append(bn_chat_history *history, const char *text, size_t n);
/* Drops the messages from number n on. */
void bn_chat_history_cut(bn_chat_history *history, size_t n);
void bn_chat_history_fini(bn_chat_history *history);

#endif
