/* tokenize_cli.h — the subcommands tokenize (text on stdin, JSON array of ids on stdout) and
 * detokenize (the reverse), for any GGUF file with a tokenizer.
 *
 * argv[0] is the subcommand. Exit codes: 0 done, 1 the work failed, 2 bad usage.
 */
#ifndef BN_COORDINATOR_TOKENIZE_CLI_H
#define BN_COORDINATOR_TOKENIZE_CLI_H

int bn_tokenize_main(int argc, char **argv);
int bn_detokenize_main(int argc, char **argv);

#endif
