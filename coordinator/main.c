/* main.c — which command it is; each has its own options and exit code. */
#include "common/log.h"
#include "common/options.h"
#include "coordinator/command_bench.h"
#include "coordinator/cluster_options.h"
#include "coordinator/command_eval.h"
#include "coordinator/command_chat.h"
#include "coordinator/command_run.h"
#include "coordinator/tokenize_cli.h"
#include "coordinator/version_cli.h"
#include "proto/channel.h"

#include <stdio.h>
#include <string.h>

static int keygen_main(int argc, char **argv)
{
    const bn_option none[] = {{NULL, NULL, BN_OPTION_FLAG, NULL, NULL, NULL, NULL, 0, 0, 0, NULL}};
    const bn_option *tables[] = {none, NULL};
    const bn_program program = {
        .name = "bitnet-coordinator keygen",
        .synopsis = "FILE",
        .about = "Makes a cluster key: give the same file to the coordinator and all workers with "
                 "--cluster-key. Whoever holds it can join; keep it readable for yourself only.",
        .tables = tables,
        .print_version = bn_version_cli_print,
    };
    bn_options_result result;
    if (bn_options_parse(&program, argc, argv, &result) != BN_OK) return 2;
    if (result.is_done) return 0;
    if (result.n_positionals != 1) {
        bn_options_usage_error(&program, "give the name of the file to make");
        return 2;
    }
    bn_log_init("coordinator", BN_LOG_INFO);
    if (bn_cluster_key_write(result.positionals[0]) != BN_OK) return 1;
    fprintf(stderr, "made %s\n", result.positionals[0]);
    return 0;
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*run)(int argc, char **argv);
    } commands[] = {
        {"run", bn_command_run},
        {"eval", bn_command_eval},
        {"bench", bn_command_bench},
        {"tokenize", bn_tokenize_main},
        {"detokenize", bn_detokenize_main},
        {"keygen", keygen_main},
    };
    for (size_t i = 0; argc > 1 && i < sizeof commands / sizeof commands[0]; i++)
        if (strcmp(argv[1], commands[i].name) == 0) return commands[i].run(argc - 1, argv + 1);
    return bn_command_chat(argc, argv);
}
