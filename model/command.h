/* command.h — the subcommands of bitnet-model, for main.c.
 *
 * Each takes its own argc and argv (argv[0] is the subcommand) and returns a status;
 * BN_ERR_BAD_ARGUMENT after a usage error that has been printed.
 */
#ifndef BN_MODEL_COMMAND_H
#define BN_MODEL_COMMAND_H

#include "common/status.h"

BN_CHECKED bn_status bn_command_convert(int argc, char **argv);
BN_CHECKED bn_status bn_command_inspect(int argc, char **argv);
BN_CHECKED bn_status bn_command_synth(int argc, char **argv);

void bn_command_print_version(void);

/* While `path` is not NULL, SIGINT, SIGTERM and SIGHUP remove it and end the process. */
void bn_command_watch_partial(const char *path);

/* Flushes stdout; an error names the cause ("no space left", "broken pipe"). */
BN_CHECKED bn_status bn_command_flush(void);

#endif
