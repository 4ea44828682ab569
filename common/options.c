/* options.c — three passes over one table.
 *
 * The first pass over argv stores nothing: it finds mistakes, --help and which
 * options are given. Then the environment fills those that are not, and the
 * last pass stores the rest. So --help shows true defaults, and a bad variable
 * that the command line overrides does no harm.
 */
#include "common/options_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct parse_state {
    const bn_program *program;
    const bn_option *options[BN_OPTIONS_MAX];
    bool is_given[BN_OPTIONS_MAX];
    uint32_t n_options;
    bool is_dry; /* the first pass */
    bool wants_help;
    bool wants_version;
} parse_state;

bn_status bn_options_usage_error(const bn_program *program, const char *format, ...)
{
    char message[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    fprintf(stderr, "%s: %s\ntry '%s --help'\n", program->name, message, program->name);
    return BN_ERR_BAD_ARGUMENT;
}

static bn_status bad_value(const parse_state *state, const char *source, const char *value,
                           const char *wanted)
{
    return bn_options_usage_error(state->program, "invalid value for %s: '%s' (%s)", source, value,
                                  wanted);
}

static bool parse_u64(const char *text, const char **end_out, uint64_t *value_out)
{
    if (*text < '0' || *text > '9') return false; /* strtoull would take "-1" */
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno != 0) return false;
    *end_out = end;
    *value_out = value;
    return true;
}

/* "512M", "4G", "4GiB", "1000" */
static bool parse_bytes(const char *text, uint64_t *value_out)
{
    static const char suffixes[] = "KMGT";
    const char *end;
    uint64_t value;
    if (!parse_u64(text, &end, &value)) return false;
    if (*end != '\0') {
        char upper = *end >= 'a' && *end <= 'z' ? (char)(*end - 'a' + 'A') : *end;
        const char *suffix = strchr(suffixes, upper);
        if (suffix == NULL) return false;
        unsigned shift = 10u * ((unsigned)(suffix - suffixes) + 1);
        if (value > UINT64_MAX >> shift) return false;
        value <<= shift;
        end++;
        if (strcmp(end, "iB") == 0 || strcmp(end, "B") == 0) end += strlen(end);
    }
    if (*end != '\0') return false;
    *value_out = value;
    return true;
}

static bool is_in_range(const bn_option *option, double value)
{
    if (option->min == 0.0 && option->max == 0.0) return true;
    return value >= option->min && value <= option->max;
}

static void range_text(const bn_option *option, const char *kind, char *out, size_t size)
{
    if (option->min == 0.0 && option->max == 0.0)
        snprintf(out, size, "must be %s", kind);
    else
        snprintf(out, size, "must be %s from %.10g to %.10g", kind, option->min, option->max);
}

static bn_status set_integer(const parse_state *state, const bn_option *option, const char *source,
                             const char *text)
{
    char wanted[160];
    uint64_t value = 0;
    const char *end = "";
    bool is_bytes = option->kind == BN_OPTION_BYTES;
    range_text(option, is_bytes ? "a size such as 512M or 4G" : "a whole number", wanted,
               sizeof wanted);
    bool is_number =
        is_bytes ? parse_bytes(text, &value) : parse_u64(text, &end, &value) && *end == '\0';
    if (!is_number || !is_in_range(option, (double)value))
        return bad_value(state, source, text, wanted);
    if (option->kind == BN_OPTION_U32 && value > UINT32_MAX)
        return bad_value(state, source, text, "must be below 4294967296");
    if (state->is_dry) return BN_OK;
    if (option->kind == BN_OPTION_U32)
        *(uint32_t *)option->target = (uint32_t)value;
    else
        *(uint64_t *)option->target = value;
    return BN_OK;
}

static bn_status set_float(const parse_state *state, const bn_option *option, const char *source,
                           const char *text)
{
    char wanted[160];
    char *end;
    float value = strtof(text, &end);
    range_text(option, "a number", wanted, sizeof wanted);
    if (end == text || *end != '\0' || !isfinite(value) || !is_in_range(option, (double)value))
        return bad_value(state, source, text, wanted);
    if (!state->is_dry) *(float *)option->target = value;
    return BN_OK;
}

static bn_status set_flag(const parse_state *state, const bn_option *option, const char *source,
                          const char *text)
{
    static const char *const yes[] = {"1", "true", "yes", "on"};
    static const char *const no[] = {"0", "false", "no", "off"};
    for (size_t i = 0; i < sizeof yes / sizeof yes[0]; i++) {
        bool is_yes = strcmp(text, yes[i]) == 0;
        if (!is_yes && strcmp(text, no[i]) != 0) continue;
        if (!state->is_dry) *(bool *)option->target = is_yes;
        return BN_OK;
    }
    return bad_value(state, source, text, "must be true or false");
}

static bn_status set_choice(const parse_state *state, const bn_option *option, const char *source,
                            const char *text)
{
    char wanted[256];
    size_t n = (size_t)snprintf(wanted, sizeof wanted, "must be one of");
    for (uint32_t i = 0; option->choices[i] != NULL; i++) {
        if (strcmp(option->choices[i], text) == 0) {
            if (!state->is_dry) *(uint32_t *)option->target = i;
            return BN_OK;
        }
        if (n < sizeof wanted)
            n += (size_t)snprintf(wanted + n, sizeof wanted - n, "%s %s", i == 0 ? "" : ",",
                                  option->choices[i]);
    }
    return bad_value(state, source, text, wanted);
}

static bn_status set_list(const parse_state *state, const bn_option *option, const char *source,
                          const char *text)
{
    if (state->is_dry) return BN_OK;
    bn_option_list *list = option->target;
    if (list->n_values == BN_OPTION_LIST_MAX)
        return bn_options_usage_error(state->program, "%s may be given %d times at most", source,
                                      BN_OPTION_LIST_MAX);
    list->values[list->n_values++] = text;
    return BN_OK;
}

/* `source` names where the text came from: "--threads" or "BITNET_THREADS". */
static bn_status set_value(const parse_state *state, const bn_option *option, const char *source,
                           const char *text)
{
    bn_status status = BN_OK;
    switch (option->kind) {
    case BN_OPTION_FLAG: status = set_flag(state, option, source, text); break;
    case BN_OPTION_U32:
    case BN_OPTION_U64:
    case BN_OPTION_BYTES: status = set_integer(state, option, source, text); break;
    case BN_OPTION_F32: status = set_float(state, option, source, text); break;
    case BN_OPTION_STRING:
        if (!state->is_dry) *(const char **)option->target = text;
        break;
    case BN_OPTION_CHOICE: status = set_choice(state, option, source, text); break;
    case BN_OPTION_LIST: status = set_list(state, option, source, text); break;
    }
    if (status == BN_OK && !state->is_dry && option->was_given_out != NULL)
        *option->was_given_out = true;
    return status;
}

/* How many insertions, deletions and exchanges of a byte turn a into b. */
static uint32_t edit_distance(const char *a, const char *b)
{
    uint32_t row[BN_OPTION_NAME_MAX + 1];
    size_t n = strlen(b);
    if (n > BN_OPTION_NAME_MAX) return UINT32_MAX;
    for (size_t j = 0; j <= n; j++)
        row[j] = (uint32_t)j;
    for (size_t i = 0; a[i] != '\0'; i++) {
        uint32_t diagonal = row[0];
        row[0] = (uint32_t)i + 1;
        for (size_t j = 0; j < n; j++) {
            uint32_t best = diagonal + (a[i] == b[j] ? 0 : 1);
            if (row[j] + 1 < best) best = row[j] + 1;
            diagonal = row[j + 1];
            if (diagonal + 1 < best) best = diagonal + 1;
            row[j + 1] = best;
        }
    }
    return row[n];
}

static bn_status unknown_option(const parse_state *state, const char *argument, const char *name)
{
    const bn_option *nearest = NULL;
    uint32_t nearest_distance = 3; /* more than two slips are another word */
    for (uint32_t i = 0; i < state->n_options; i++) {
        uint32_t distance = edit_distance(name, state->options[i]->name);
        if (distance >= nearest_distance) continue;
        nearest_distance = distance;
        nearest = state->options[i];
    }
    if (nearest != NULL)
        return bn_options_usage_error(state->program, "unknown option %s (did you mean --%s?)",
                                      argument, nearest->name);
    return bn_options_usage_error(state->program, "unknown option %s", argument);
}

/* The index of the option that `argument` names, n_options if none; a value after '=' is split
 * off. `name` gets the bare name. */
static uint32_t find_option(const parse_state *state, const char *argument,
                            char name[BN_OPTION_NAME_MAX], const char **value_out)
{
    bool is_long = argument[1] == '-';
    const char *start = argument + (is_long ? 2 : 1);
    const char *equals = strchr(start, '=');
    size_t n = equals != NULL ? (size_t)(equals - start) : strlen(start);
    *value_out = equals != NULL ? equals + 1 : NULL;
    snprintf(name, BN_OPTION_NAME_MAX, "%.*s", n > 200 ? 200 : (int)n, start);
    for (uint32_t i = 0; i < state->n_options; i++) {
        const bn_option *option = state->options[i];
        if (is_long ? strcmp(option->name, name) == 0
                    : option->letter != 0 && n == 1 && option->letter == *start)
            return i;
    }
    return state->n_options;
}

static bool is_built_in(parse_state *state, const char *argument)
{
    if (strcmp(argument, "--help") == 0 || strcmp(argument, "-h") == 0)
        state->wants_help = true;
    else if (strcmp(argument, "--version") == 0)
        state->wants_version = true;
    else
        return false;
    return true;
}

/* Takes the option at argv[*i] and its value, and moves *i to the last word taken. */
static bn_status take_option(parse_state *state, int argc, char **argv, int *i)
{
    const char *argument = argv[*i];
    char name[BN_OPTION_NAME_MAX];
    char source[BN_OPTION_NAME_MAX + 2];
    const char *value;
    uint32_t index = find_option(state, argument, name, &value);
    if (index == state->n_options) {
        if (is_built_in(state, argument)) return BN_OK;
        return unknown_option(state, argument, name);
    }
    const bn_option *option = state->options[index];
    snprintf(source, sizeof source, "--%s", option->name);
    if (value == NULL && option->kind == BN_OPTION_FLAG) value = "true";
    if (value == NULL) {
        if (*i + 1 >= argc)
            return bn_options_usage_error(state->program, "%s needs a value: --%s %s", source,
                                          option->name,
                                          option->value_name != NULL ? option->value_name : "…");
        value = argv[++*i];
    }
    state->is_given[index] = true;
    return set_value(state, option, source, value);
}

/* Moves argv[from] forward to argv[to]; the words between keep their order. */
static void move_forward(char **argv, int from, int to)
{
    char *word = argv[from];
    memmove(&argv[to + 1], &argv[to], (size_t)(from - to) * sizeof *argv);
    argv[to] = word;
}

/* One pass over argv; in the storing pass positionals gather at argv[1 …]. */
static bn_status pass_arguments(parse_state *state, int argc, char **argv,
                                bn_options_result *result)
{
    uint32_t n_positionals = 0;
    bool is_after_dashes = false;
    for (int i = 1; i < argc; i++) {
        bool is_option = !is_after_dashes && argv[i][0] == '-' && argv[i][1] != '\0';
        if (is_option && strcmp(argv[i], "--") == 0) {
            is_after_dashes = true;
        } else if (is_option) {
            BN_TRY(take_option(state, argc, argv, &i));
            if (state->wants_help || state->wants_version) return BN_OK;
        } else {
            if (!state->is_dry) move_forward(argv, i, 1 + (int)n_positionals);
            n_positionals++;
        }
    }
    result->positionals = argv + 1;
    result->n_positionals = n_positionals;
    return BN_OK;
}

static bn_status pass_environment(const parse_state *state)
{
    for (uint32_t i = 0; i < state->n_options; i++) {
        char name[BN_OPTION_NAME_MAX + 8];
        bn_options_variable_name(state->options[i], name);
        const char *value = getenv(name);
        if (value == NULL || *value == '\0' || state->is_given[i]) continue;
        BN_TRY(set_value(state, state->options[i], name, value));
    }
    return BN_OK;
}

bn_status bn_options_parse(const bn_program *program, int argc, char **argv,
                           bn_options_result *result_out)
{
    parse_state state = {.program = program, .is_dry = true};
    bn_options_result result = {0};
    for (const bn_option *const *table = program->tables; *table != NULL; table++) {
        for (const bn_option *option = *table; option->name != NULL; option++) {
            BN_ASSERT(state.n_options < BN_OPTIONS_MAX);
            BN_ASSERT(strlen(option->name) < BN_OPTION_NAME_MAX);
            state.options[state.n_options++] = option;
        }
    }
    BN_TRY(pass_arguments(&state, argc, argv, &result));
    if (state.wants_help || state.wants_version) {
        if (state.wants_help)
            bn_options_print_help(program);
        else
            bn_options_print_version(program);
        result.is_done = true;
        *result_out = result;
        return BN_OK;
    }
    state.is_dry = false;
    BN_TRY(pass_environment(&state));
    BN_TRY(pass_arguments(&state, argc, argv, &result));
    *result_out = result;
    return BN_OK;
}
