/* chat_template.h — how a conversation becomes token ids, by name.
 *
 * Templates are rows of a table: 2b-4t, llama-3, falcon3, none. A template is chosen from a file
 * only when the file's template text is a known one (by content hash); else "none", with a
 * warning. Role markers are looked up as tokens; what people wrote is encoded with special
 * parsing off.
 *
 * Memory: none of its own. Threads: any.
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

/* "auto", "none", "2b-4t", "llama-3", "falcon3", NULL: for the option tables. */
extern const char *const bn_chat_template_names[];

/* NULL when the name is unknown. */
const bn_chat_template *bn_chat_template_find(const char *name);

/* The template that the file's `tokenizer.chat_template` text is known to mean; "none" otherwise,
 * with a warning when the file has a text that is not known. */
const bn_chat_template *bn_chat_template_detect(const bn_gguf *file, const bn_tokenizer *tokenizer);

/* The hash by which a text is known: of the text with white space at both ends dropped, CR LF as LF
 * and the two characters \n as a newline (files differ in how often they escaped it). */
BN_CHECKED bn_status bn_chat_template_hash(const char *text, size_t n, bn_hash128 *hash_out);

/* NULL when no known text has this hash. */
const bn_chat_template *bn_chat_template_of_hash(bn_hash128 hash);

const char *bn_chat_template_name(const bn_chat_template *chat);

/* Appends the ids of the messages; BOS first when `is_start` and the model or template adds one;
 * then the opening of the assistant's turn. With "none": the texts as they are. */
BN_CHECKED bn_status bn_chat_template_apply(const bn_chat_template *chat,
                                            const bn_tokenizer *tokenizer,
                                            const bn_chat_message *messages, size_t n_messages,
                                            bool is_start, bn_token_list *ids);

#endif
