/* command_bench.h — the subcommand that measures speed with random tokens. Exit codes as in
 * command_run.h. */
#ifndef BN_COORDINATOR_COMMAND_BENCH_H
#define BN_COORDINATOR_COMMAND_BENCH_H

int bn_command_bench(int argc, char **argv);

#endif
