/* options.h — one table drives parsing, --help and the environment.
 *
 * Every option is also BITNET_<NAME>, upper case, '-' as '_'; the command line
 * wins over the environment, the environment over the default (the value that
 * the target holds before parsing). --help and --version are built in.
 *
 * Memory:  string values point into argv or the environment; never freed.
 * Errors:  bad usage prints "program: what is wrong" and a hint on stderr and
 *          returns BN_ERR_BAD_ARGUMENT; main.c exits 2.
 */
#ifndef BN_COMMON_OPTIONS_H
#define BN_COMMON_OPTIONS_H

#include "common/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum bn_option_kind {
    BN_OPTION_FLAG,   /* bool */
    BN_OPTION_U32,    /* uint32_t, min..max */
    BN_OPTION_U64,    /* uint64_t */
    BN_OPTION_BYTES,  /* uint64_t, suffixes K M G T (binary) */
    BN_OPTION_F32,    /* float, min..max */
    BN_OPTION_STRING, /* const char * */
    BN_OPTION_CHOICE, /* uint32_t index into `choices` */
    BN_OPTION_LIST,   /* bn_option_list: may be given several times */
} bn_option_kind;

#define BN_OPTION_LIST_MAX 32

typedef struct bn_option_list {
    const char *values[BN_OPTION_LIST_MAX];
    uint32_t n_values;
} bn_option_list;

typedef struct bn_option {
    const char *group; /* heading in --help; options of a group stand together */
    const char *name;  /* without dashes; NULL ends the table */
    bn_option_kind kind;
    void *target;
    const char *value_name;     /* "N", "FILE"; NULL for a flag */
    const char *help;           /* what it does, unit, in one or two lines */
    const char *const *choices; /* NULL-terminated, for CHOICE */
    double min, max;            /* for U32, U64, BYTES and F32; both 0: no range */
    char letter;                /* short form, 0 if none */
    bool *was_given_out;        /* set when given by command line or environment; may be NULL */
} bn_option;

typedef struct bn_program {
    const char *name;               /* "bitnet-coordinator run" */
    const char *synopsis;           /* "[options] FILE" */
    const char *about;              /* a paragraph that teaches */
    const char *examples;           /* lines, may be NULL */
    const bn_option *const *tables; /* NULL-terminated list of tables */
    void (*print_version)(void);
} bn_program;

typedef struct bn_options_result {
    char **positionals; /* bn_options_parse permutes argv: these point into it */
    uint32_t n_positionals;
    bool is_done; /* --help or --version was printed: exit 0 */
} bn_options_result;

BN_CHECKED bn_status bn_options_parse(const bn_program *program, int argc, char **argv,
                                      bn_options_result *result_out);

void bn_options_print_help(const bn_program *program);

/* "program: message", then "try 'program --help'", on stderr. Returns BN_ERR_BAD_ARGUMENT. */
bn_status bn_options_usage_error(const bn_program *program, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
