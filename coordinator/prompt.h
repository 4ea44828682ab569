/* prompt.h — lines from a person or a pipe, while the world goes on.
 *
 * On a terminal: editing and history (kept in XDG_STATE_HOME/bitnet/history). Else plain lines,
 * without a prompt text. While it waits for input it calls `wait`, so that the cluster is served
 * between two keystrokes. The one file that knows libedit.
 *
 * Memory:  the line belongs to the input and is valid until the next _read.
 * Threads: one.
 */
#ifndef BN_COORDINATOR_PROMPT_H
#define BN_COORDINATOR_PROMPT_H

#include "common/status.h"

#include <stdbool.h>
#include <stddef.h>

#define BN_PROMPT_LINE_MAX (1u << 20)

typedef struct bn_prompt bn_prompt;

/* Returns when the descriptor is readable; a failure ends the read with that status. */
typedef bn_status bn_prompt_wait(void *context, int fd);

BN_CHECKED bn_status bn_prompt_create(const char *prompt, bn_prompt_wait *wait, void *context,
                                      bn_prompt **input_out);
void bn_prompt_destroy(bn_prompt *input);

bool bn_prompt_is_terminal(const bn_prompt *input);

/* The next line without its newline; *line_out NULL at the end of input. */
BN_CHECKED bn_status bn_prompt_read(bn_prompt *input, const char **line_out, size_t *n_out);

#endif
