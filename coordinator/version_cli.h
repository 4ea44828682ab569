/* version_cli.h — what --version says. */
#ifndef BN_COORDINATOR_VERSION_CLI_H
#define BN_COORDINATOR_VERSION_CLI_H

/* Commit, protocol, numerics and features on stdout. */
void bn_version_cli_print(void);

#endif
