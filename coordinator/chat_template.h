/* chat_template.h — how a conversation becomes token ids: the model's own template, or another.
 *
 * A template is a text in Jinja (jinja.h): the file's `tokenizer.chat_template`, one of a few
 * known here by name, or a file of a person's. Control tokens come from the template's own text
 * only: what a person or a model wrote is tokenised together with it, as the models were trained,
 * but never becomes one.
 *
 * Memory:  created; a rendering's is freed before its function returns.
 * Threads: read-only after _create: any.
 * Errors:  those of jinja.h; BN_ERR_UNSUPPORTED naming a token that a named template needs and the
 *          vocabulary lacks.
 */
#ifndef BN_COORDINATOR_CHAT_TEMPLATE_H
#define BN_COORDINATOR_CHAT_TEMPLATE_H

#include "common/hash.h"
#include "coordinator/tokenizer.h"

typedef enum bn_chat_role { BN_CHAT_SYSTEM, BN_CHAT_USER, BN_CHAT_ASSISTANT } bn_chat_role;

typedef struct bn_chat_message {
    bn_chat_role role;
    const char *text;
    size_t n;
} bn_chat_message;

typedef struct bn_chat_template bn_chat_template;

/* For messages and help. */
#define BN_CHAT_TEMPLATE_NAMES "auto, none, 2b-4t, llama-3, falcon3, chatml"

/* `choice`: "auto" (the file's text; one that is known to be wrong is replaced, with a notice;
 * "none" with a warning when there is none), a name, or the path of a file with a template. */
BN_CHECKED bn_status bn_chat_template_create(const char *choice, const bn_gguf *file,
                                             const bn_tokenizer *tokenizer,
                                             bn_chat_template **chat_out);
void bn_chat_template_destroy(bn_chat_template *chat);

/* "2b-4t", "the model's", a path. */
const char *bn_chat_template_name(const bn_chat_template *chat);

/* The text of a name; NULL when it is none of ours, "" for none. */
const char *bn_chat_template_text(const char *name);

/* The hash by which a text is known: of the text with white space at both ends dropped, CR LF as LF
 * and the two characters \n as a newline (files differ in how often they escaped it). */
BN_CHECKED bn_status bn_chat_template_hash(const char *text, size_t n, bn_hash128 *hash_out);

/* The name that stands for a published text that its model was not trained on; NULL for others. */
const char *bn_chat_template_replacement(bn_hash128 hash);

/* Appends the ids of a whole conversation and of the opening of the next answer; BOS in front if
 * the model adds it and the template has not written it. With "none": the texts as they are. */
BN_CHECKED bn_status bn_chat_template_apply(const bn_chat_template *chat,
                                            const bn_tokenizer *tokenizer,
                                            const bn_chat_message *messages, size_t n_messages,
                                            bn_token_list *ids);

/* The same for a conversation whose tokens are there up to the end of messages[n_messages - 2], an
 * answer, of which `last` is the last: what the template puts behind that answer, from the token
 * that ends it on, unless `last` has ended it already. */
BN_CHECKED bn_status bn_chat_template_continue(const bn_chat_template *chat,
                                               const bn_tokenizer *tokenizer,
                                               const bn_chat_message *messages, size_t n_messages,
                                               uint32_t last, bn_token_list *ids);

#endif
