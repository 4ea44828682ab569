/* version.h — which build this is.
 *
 * The commit is set by CMake when the tree is a git checkout, else "unknown".
 * BN_NUMERICS_VERSION is the version of docs/NUMERICS.md: two builds with the
 * same number give the same bits; it changes with any rounding.
 */
#ifndef BN_COMMON_VERSION_H
#define BN_COMMON_VERSION_H

#include <stdio.h>

#define BN_VERSION "0.1.0"
#define BN_PROTOCOL_MAJOR 1
#define BN_PROTOCOL_MINOR 1
#define BN_NUMERICS_VERSION 1

const char *bn_version_commit(void);

/* What every program's --version says; `features` is a list of words, or empty. */
void bn_version_print(const char *program, const char *features, FILE *stream);

#endif
