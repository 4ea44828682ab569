/* chat_history.c — messages in one array, each text in a block of its own; only the last grows. */
#include "coordinator/chat_history.h"

#include "common/alloc.h"
#include "common/log.h"

#include <stdint.h>
#include <string.h>

static bn_status no_memory(void)
{
    return bn_fail(BN_ERR_NO_MEMORY, "CHAT-HISTORY", "no memory for the conversation");
}

bn_status bn_chat_history_add(bn_chat_history *history, bn_chat_role role, const char *text,
                              size_t n)
{
    if (history->n == BN_CHAT_HISTORY_MAX)
        return bn_fail(BN_ERR_LIMIT, "CHAT-HISTORY",
                       "the conversation has %u messages, which is the most; /reset starts a new "
                       "one",
                       BN_CHAT_HISTORY_MAX);
    if (history->n == history->capacity) {
        size_t capacity = history->capacity == 0 ? 16 : 2 * history->capacity;
        bn_chat_message *grown = bn_realloc(history->messages, capacity, sizeof *grown);
        if (grown == NULL) return no_memory();
        history->messages = grown;
        history->capacity = capacity;
    }
    history->messages[history->n++] = (bn_chat_message){.role = role};
    history->text_capacity = 0;
    bn_status status = bn_chat_history_append(history, text, n);
    if (status != BN_OK) bn_chat_history_cut(history, history->n - 1);
    return status;
}

bn_status bn_chat_history_append(bn_chat_history *history, const char *text, size_t n)
{
    BN_ASSERT(history->n > 0);
    bn_chat_message *last = &history->messages[history->n - 1];
    if (n == 0) return BN_OK;
    if (n > SIZE_MAX / 4 - last->n) return no_memory();
    size_t capacity = history->text_capacity == 0 ? 256 : history->text_capacity;
    while (capacity < last->n + n)
        capacity *= 2;
    if (capacity > history->text_capacity) {
        /* The history made these texts; const is for those who read them. */
        char *grown = bn_realloc((char *)(uintptr_t)last->text, capacity, 1);
        if (grown == NULL) return no_memory();
        last->text = grown;
        history->text_capacity = capacity;
    }
    memcpy((char *)(uintptr_t)last->text + last->n, text, n);
    last->n += n;
    return BN_OK;
}

void bn_chat_history_cut(bn_chat_history *history, size_t n)
{
    while (history->n > n)
        bn_free((char *)(uintptr_t)history->messages[--history->n].text);
    /* How much room the text that is now the last has is forgotten: it grows into a new block. */
    history->text_capacity = 0;
}

void bn_chat_history_fini(bn_chat_history *history)
{
    bn_chat_history_cut(history, 0);
    bn_free(history->messages);
    *history = (bn_chat_history){0};
}
