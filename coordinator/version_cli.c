/* version_cli.c — MPI is not among the features: it is the workers' business. */
#include "coordinator/version_cli.h"

#include "common/version.h"

#include <stdio.h>

void bn_version_cli_print(void)
{
    bn_version_print("bitnet-coordinator", "zmq curve line-editing", stdout);
}
