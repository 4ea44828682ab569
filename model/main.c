/* main.c — bitnet-model: looks at model files, converts them and makes random ones.
 *
 * Exit codes: 0 done, 1 failed, 2 bad usage.
 */
#include "model/command.h"

#include "common/log.h"
#include "common/version.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char usage[] =
    "usage: bitnet-model COMMAND [options]\n"
    "\n"
    "  convert IN OUT  a Hugging Face folder or a GGUF file as a GGUF file of another type\n"
    "  inspect FILE    what a GGUF file holds, what a token costs, what each stage needs\n"
    "  synth OUT       writes a model of random ternary weights, for tests and measurements\n"
    "\n"
    "'bitnet-model COMMAND --help' explains a command; --version tells the build.\n";

void bn_command_print_version(void)
{
    bn_version_print("bitnet-model", "", stdout);
}

bn_status bn_command_flush(void)
{
    errno = 0;
    if (fflush(stdout) == 0 && !ferror(stdout)) return BN_OK;
    return bn_fail(BN_ERR_IO, "MODEL-OUTPUT", "cannot write the result to standard output: %s",
                   strerror(errno != 0 ? errno : EIO));
}

/* A file opened later must not become standard output: results would be written into it. */
static void fill_standard_streams(void)
{
    for (int fd = 0; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDONLY) < 0) _exit(1);
}

static int exit_code(bn_status status)
{
    if (status == BN_OK) status = bn_command_flush();
    return status == BN_OK ? 0 : status == BN_ERR_BAD_ARGUMENT ? 2 : 1;
}

int main(int argc, char **argv)
{
    fill_standard_streams();
    signal(SIGPIPE, SIG_IGN); /* a closed pipe and a full quota are errors with a text */
    signal(SIGXFSZ, SIG_IGN);
    bn_log_init("model", BN_LOG_INFO);
    const char *command = argc > 1 ? argv[1] : "";
    if (strcmp(command, "convert") == 0) return exit_code(bn_command_convert(argc - 1, argv + 1));
    if (strcmp(command, "inspect") == 0) return exit_code(bn_command_inspect(argc - 1, argv + 1));
    if (strcmp(command, "synth") == 0) return exit_code(bn_command_synth(argc - 1, argv + 1));
    if (strcmp(command, "--version") == 0) {
        bn_command_print_version();
        return exit_code(BN_OK);
    }
    if (strcmp(command, "--help") == 0 || strcmp(command, "-h") == 0) {
        fputs(usage, stdout);
        return exit_code(BN_OK);
    }
    if (argc > 1) fprintf(stderr, "bitnet-model: unknown command '%s'\n", command);
    fputs(usage, stderr);
    return 2;
}
