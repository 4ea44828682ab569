/* command_eval.h — the subcommand that scores given text instead of making some: logits at every
 * position, or the perplexity of a file. Exit codes as in command_run.h. */
#ifndef BN_COORDINATOR_COMMAND_EVAL_H
#define BN_COORDINATOR_COMMAND_EVAL_H

int bn_command_eval(int argc, char **argv);

#endif
