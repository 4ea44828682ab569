/* command_run.h — the subcommand that asks once and ends. argv[0] is the subcommand; the result is
 * the exit code: 0 done, 1 failed, 2 bad usage, 130 interrupted. */
#ifndef BN_COORDINATOR_COMMAND_RUN_H
#define BN_COORDINATOR_COMMAND_RUN_H

int bn_command_run(int argc, char **argv);

#endif
