/* command_eval.h — the subcommand that looks at a model instead of talking with it: logits at every
 * position (and each layer's output), perplexity, scores of continuations, questions with known
 * answers. Exit codes as in command_run.h. */
#ifndef BN_COORDINATOR_COMMAND_EVAL_H
#define BN_COORDINATOR_COMMAND_EVAL_H

int bn_command_eval(int argc, char **argv);

#endif
