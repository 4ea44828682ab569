/* version_cli.c — MPI is not among the features: it is the workers' business. */
#include "coordinator/version_cli.h"

#include "common/version.h"

#include <stdio.h>

void bn_version_cli_print(void)
{
    printf("bitnet-coordinator %s (commit %s)\n"
           "protocol %d.%d, numeric contract %d\n"
           "features: zmq curve line-editing\n",
           BN_VERSION, bn_version_commit(), BN_PROTOCOL_MAJOR, BN_PROTOCOL_MINOR,
           BN_NUMERICS_VERSION);
}
