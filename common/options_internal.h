/* options_internal.h — what parsing and printing of the options table share. */
#ifndef BN_COMMON_OPTIONS_INTERNAL_H
#define BN_COMMON_OPTIONS_INTERNAL_H

#include "common/options.h"

#define BN_OPTIONS_MAX 128
#define BN_OPTION_NAME_MAX 48 /* bytes of a name with its NUL */

/* The option's environment variable: "BITNET_PREFILL_CHUNK". */
void bn_options_variable_name(const bn_option *option, char name_out[BN_OPTION_NAME_MAX + 8]);

void bn_options_print_version(const bn_program *program);

#endif
