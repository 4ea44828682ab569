/* options_help.c — --help and --version from the same table that drives parsing. */
#include "common/options_internal.h"

#include "common/version.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define HELP_COLUMN 30
#define WIDTH 100

void bn_options_variable_name(const bn_option *option, char name_out[BN_OPTION_NAME_MAX + 8])
{
    size_t n = (size_t)snprintf(name_out, BN_OPTION_NAME_MAX + 8, "BITNET_");
    for (const char *at = option->name; *at != '\0' && n + 1 < BN_OPTION_NAME_MAX + 8; at++)
        name_out[n++] = *at == '-' ? '_' : (char)toupper((unsigned char)*at);
    name_out[n] = '\0';
}

void bn_options_print_version(const bn_program *program)
{
    if (program->print_version != NULL)
        program->print_version();
    else
        bn_version_print(program->name, "", stdout);
}

/* 4294967296 as "4G"; numbers that are no whole multiple keep all their digits. */
static void bytes_text(uint64_t bytes, char *out, size_t size)
{
    static const char *const suffixes[] = {"", "K", "M", "G", "T"};
    size_t unit = 0;
    while (bytes != 0 && bytes % 1024 == 0 && unit + 1 < sizeof suffixes / sizeof suffixes[0]) {
        bytes /= 1024;
        unit++;
    }
    snprintf(out, size, "%" PRIu64 "%s", bytes, suffixes[unit]);
}

/* The value that the target holds now; false when it says nothing. */
static bool default_text(const bn_option *option, char *out, size_t size)
{
    const void *target = option->target;
    switch (option->kind) {
    case BN_OPTION_FLAG: {
        bool is_on = *(const bool *)target;
        snprintf(out, size, "on");
        return is_on;
    }
    case BN_OPTION_U32: snprintf(out, size, "%" PRIu32, *(const uint32_t *)target); return true;
    case BN_OPTION_U64: snprintf(out, size, "%" PRIu64, *(const uint64_t *)target); return true;
    case BN_OPTION_BYTES: bytes_text(*(const uint64_t *)target, out, size); return true;
    case BN_OPTION_F32: snprintf(out, size, "%g", (double)*(const float *)target); return true;
    case BN_OPTION_STRING: {
        const char *text = *(const char *const *)target;
        if (text == NULL || *text == '\0') return false;
        snprintf(out, size, "%s", text);
        return true;
    }
    case BN_OPTION_CHOICE:
        snprintf(out, size, "%s", option->choices[*(const uint32_t *)target]);
        return true;
    case BN_OPTION_LIST: return false;
    }
    return false;
}

/* A 0 that the option itself does not take means "not given", and words may tell it better. */
static bool is_default_told(const bn_option *option, const char *value)
{
    return strcmp(value, "0") != 0 ||
           (option->min <= 0.0 && strstr(option->help, "default") == NULL);
}

/* The help text, then choices and default in brackets. */
static void describe(const bn_option *option, char *out, size_t size)
{
    size_t n = (size_t)snprintf(out, size, "%s", option->help);
    char value[160];
    bool has_default = default_text(option, value, sizeof value) && is_default_told(option, value);
    if (option->kind == BN_OPTION_CHOICE) {
        for (size_t i = 0; option->choices[i] != NULL && n < size; i++)
            n += (size_t)snprintf(out + n, size - n, "%s%s", i == 0 ? " [" : "|",
                                  option->choices[i]);
        if (n < size) n += (size_t)snprintf(out + n, size - n, "]");
    }
    if (option->kind == BN_OPTION_LIST && n < size)
        n += (size_t)snprintf(out + n, size - n, " (may be given several times)");
    if (has_default && n < size) snprintf(out + n, size - n, " (default %s)", value);
}

/* Prints `text` from this column on, broken at spaces and at its own line ends. */
static void print_wrapped(const char *text, int column)
{
    size_t room = (size_t)(WIDTH - column);
    while (*text != '\0') {
        size_t n = strcspn(text, "\n");
        if (n > room) {
            size_t cut = room;
            while (cut > 0 && text[cut] != ' ')
                cut--;
            n = cut > 0 ? cut : room;
        }
        printf("%.*s\n", (int)n, text);
        text += n;
        text += strspn(text, " ");
        if (*text == '\n') text++;
        if (*text != '\0') printf("%*s", column, "");
    }
}

static void print_option(const bn_option *option)
{
    char left[BN_OPTION_NAME_MAX + 64];
    char letter[] = "-x, ";
    letter[1] = option->letter;
    int n = snprintf(left, sizeof left, "  %s--%s%s%s", option->letter != 0 ? letter : "    ",
                     option->name, option->value_name != NULL ? " " : "",
                     option->value_name != NULL ? option->value_name : "");
    if (n + 2 > HELP_COLUMN)
        printf("%s\n%*s", left, HELP_COLUMN, "");
    else
        printf("%-*s", HELP_COLUMN, left);
    char text[1024];
    describe(option, text, sizeof text);
    print_wrapped(text, HELP_COLUMN);
}

void bn_options_print_help(const bn_program *program)
{
    printf("usage: %s %s\n", program->name, program->synopsis != NULL ? program->synopsis : "");
    if (program->about != NULL) {
        printf("\n");
        print_wrapped(program->about, 0);
    }
    const char *group = NULL;
    for (const bn_option *const *table = program->tables; *table != NULL; table++) {
        for (const bn_option *option = *table; option->name != NULL; option++) {
            const char *heading = option->group != NULL ? option->group : "Options";
            if (group == NULL || strcmp(group, heading) != 0) printf("\n%s:\n", heading);
            group = heading;
            print_option(option);
        }
    }
    printf("\nAlways there:\n"
           "  -h, --help                  this text\n"
           "      --version               which build this is\n"
           "\nEach option is also an environment variable: --some-name is BITNET_SOME_NAME.\n");
    if (program->examples == NULL) return;
    size_t n = strlen(program->examples);
    bool is_ended = n > 0 && program->examples[n - 1] == '\n';
    printf("\nExamples:\n%s%s", program->examples, is_ended ? "" : "\n");
}
