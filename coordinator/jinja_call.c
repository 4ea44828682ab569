/* jinja_call.c — filters, methods, tests and functions, each a row of a table.
 *
 * Capitals are those of ASCII: what Python makes of other letters depends on its Unicode tables,
 * and no published template changes the case of anything but a role.
 */
#include "coordinator/jinja_value.h"

#include "coordinator/unicode.h"

#include <stdint.h>
#include <string.h>

#define PARTS_MAX 65536u

typedef struct call {
    bn_jinja_run *run;
    const bn_jinja_node *node; /* its name */
    const bn_jinja_value *of, *arguments;
    size_t n;
    bn_jinja_value *out;
} call;

typedef bn_status function(const call *c);

typedef struct row {
    const char *name;
    function *act;
    bool is_text_only; /* `of` is a text */
    size_t n_min, n_max;
} row;

static int shown(size_t n)
{
    return n < 64 ? (int)n : 64;
}

static bn_status not_supported(const call *c, const char *what)
{
    return bn_jinja_fail(c->run->jinja, BN_ERR_UNSUPPORTED, c->node->line,
                         "the %s %.*s is not supported", what, shown(c->node->n), c->node->text);
}

static bn_status wrong_argument(const call *c, const bn_jinja_value *of)
{
    return bn_jinja_fail(c->run->jinja, BN_ERR_UNSUPPORTED, c->node->line,
                         "%.*s of %s is not supported", shown(c->node->n), c->node->text,
                         bn_jinja_value_kind(of));
}

static bn_status give_text(const call *c, bn_jinja_text text)
{
    *c->out = bn_jinja_value_of_text(text);
    return BN_OK;
}

static bn_status give_bool(const call *c, bool truth)
{
    *c->out = bn_jinja_value_of_bool(truth);
    return BN_OK;
}

/* Argument `i` as a text; NULL when absent or none. */
static bn_status text_argument(const call *c, size_t i, const bn_jinja_text **out)
{
    *out = NULL;
    if (i >= c->n || c->arguments[i].type == BN_JINJA_NONE) return BN_OK;
    if (c->arguments[i].type != BN_JINJA_TEXT_VALUE) return wrong_argument(c, &c->arguments[i]);
    *out = &c->arguments[i].text;
    return BN_OK;
}

static bn_status strip_sides(const call *c, bool left, bool right)
{
    const bn_jinja_text *set;
    BN_TRY(text_argument(c, 0, &set));
    return give_text(c, bn_jinja_value_strip(c->of->text, set, left, right));
}

static bn_status strip(const call *c)
{
    return strip_sides(c, true, true);
}

static bn_status strip_left(const call *c)
{
    return strip_sides(c, true, false);
}

static bn_status strip_right(const call *c)
{
    return strip_sides(c, false, true);
}

/* The filter: of anything that can be printed. */
static bn_status trim(const call *c)
{
    bn_jinja_value text = {.type = BN_JINJA_TEXT_VALUE};
    BN_TRY(bn_jinja_value_to_text(c->run, c->of, &text.text));
    call stripped = *c;
    stripped.of = &text;
    return strip(&stripped);
}

static char to_upper(char c)
{
    return c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c;
}

static char to_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* What a letter at the start of a word is behind. */
typedef enum word_start { NEVER, ALWAYS, AT_START, BEHIND_GAP, BEHIND_NO_LETTER } word_start;

static bn_status change_case(const call *c, word_start start)
{
    char *bytes = NULL;
    uint8_t *marks = NULL;
    bn_jinja_text from = c->of->text;
    BN_TRY(bn_jinja_value_new_text(c->run, from.n, &bytes, &marks, c->out));
    for (size_t i = 0; i < from.n; i++) {
        char before = i > 0 ? from.bytes[i - 1] : ' ';
        bool is_gap =
            i == 0 || strchr("-({[<", before) != NULL || bn_jinja_value_is_space((uint32_t)before);
        bool is_upper = start == ALWAYS || (start == AT_START && i == 0) ||
                        (start == BEHIND_GAP && is_gap) ||
                        (start == BEHIND_NO_LETTER && !is_letter(before));
        if ((unsigned char)from.bytes[i] >= 0x80)
            return bn_jinja_fail(c->run->jinja, BN_ERR_UNSUPPORTED, c->node->line,
                                 "%.*s of a text beyond ASCII is not supported", shown(c->node->n),
                                 c->node->text);
        bytes[i] = is_upper ? to_upper(from.bytes[i]) : to_lower(from.bytes[i]);
        marks[i] = from.marks[i];
    }
    return BN_OK;
}

static bn_status upper(const call *c)
{
    return change_case(c, ALWAYS);
}

static bn_status lower(const call *c)
{
    return change_case(c, NEVER);
}

static bn_status capitalize(const call *c)
{
    return change_case(c, AT_START);
}

/* The filter and the method differ in what begins a word. */
static bn_status title_filter(const call *c)
{
    return change_case(c, BEHIND_GAP);
}

static bn_status title_method(const call *c)
{
    return change_case(c, BEHIND_NO_LETTER);
}

static bn_status length(const call *c)
{
    size_t n = 0;
    if (c->of->type == BN_JINJA_TEXT_VALUE)
        n = bn_jinja_value_length(c->of->text);
    else if (c->of->type == BN_JINJA_ARRAY)
        n = c->of->array.n;
    else if (c->of->type != BN_JINJA_UNDEFINED)
        return wrong_argument(c, c->of);
    *c->out = bn_jinja_value_of_int((int64_t)n);
    return BN_OK;
}

static bn_status end_of(const call *c, bool is_last)
{
    *c->out = (bn_jinja_value){.type = BN_JINJA_UNDEFINED};
    if (c->of->type == BN_JINJA_TEXT_VALUE) {
        size_t n = bn_jinja_value_length(c->of->text);
        if (n == 0) return BN_OK;
        return give_text(c, bn_jinja_value_part(c->of->text, is_last ? n - 1 : 0, is_last ? n : 1));
    }
    if (c->of->type != BN_JINJA_ARRAY) return wrong_argument(c, c->of);
    if (c->of->array.n > 0) *c->out = c->of->array.items[is_last ? c->of->array.n - 1 : 0];
    return BN_OK;
}

static bn_status first(const call *c)
{
    return end_of(c, false);
}

static bn_status last(const call *c)
{
    return end_of(c, true);
}

/* default(value, true) also replaces what is false. */
static bn_status default_value(const call *c)
{
    bool is_missing = c->of->type == BN_JINJA_UNDEFINED;
    if (c->n == 2 && bn_jinja_value_is_true(&c->arguments[1]))
        is_missing |= !bn_jinja_value_is_true(c->of);
    if (!is_missing) {
        *c->out = *c->of;
        return BN_OK;
    }
    if (c->n == 0) return bn_jinja_value_view(c->run, "", 0, 0, c->out);
    *c->out = c->arguments[0];
    return BN_OK;
}

static bn_status as_text(const call *c)
{
    bn_jinja_text text;
    BN_TRY(bn_jinja_value_to_text(c->run, c->of, &text));
    return give_text(c, text);
}

static bn_status as_list(const call *c)
{
    if (c->of->type != BN_JINJA_ARRAY) return wrong_argument(c, c->of);
    *c->out = *c->of;
    return BN_OK;
}

static bn_status join(const call *c)
{
    const bn_jinja_text *between;
    BN_TRY(text_argument(c, 0, &between));
    if (c->of->type != BN_JINJA_ARRAY) return wrong_argument(c, c->of);
    BN_TRY(bn_jinja_value_view(c->run, "", 0, 0, c->out));
    for (size_t i = 0; i < c->of->array.n; i++) {
        bn_jinja_text text;
        if (i > 0 && between != NULL)
            BN_TRY(bn_jinja_value_join(c->run, c->out->text, *between, c->out));
        BN_TRY(bn_jinja_value_to_text(c->run, &c->of->array.items[i], &text));
        BN_TRY(bn_jinja_value_join(c->run, c->out->text, text, c->out));
    }
    return BN_OK;
}

static bn_jinja_text bytes_between(bn_jinja_text text, size_t begin, size_t end)
{
    return (bn_jinja_text){text.bytes + begin, text.marks + begin, end - begin};
}

static bn_status replace(const call *c)
{
    const bn_jinja_text *from, *to;
    bn_jinja_text text = c->of->text;
    BN_TRY(text_argument(c, 0, &from));
    BN_TRY(text_argument(c, 1, &to));
    if (from == NULL || to == NULL || from->n == 0) return not_supported(c, "empty");
    size_t n_found = 0;
    for (size_t at = 0; (at = bn_jinja_value_find(text, *from, at)) != SIZE_MAX; at += from->n)
        n_found++;
    char *bytes = NULL;
    uint8_t *marks = NULL;
    if (to->n > 0 && n_found > BN_JINJA_MEMORY_MAX / to->n)
        return bn_jinja_fail(c->run->jinja, BN_ERR_LIMIT, c->node->line,
                             "it needs more than %u bytes of memory", BN_JINJA_MEMORY_MAX);
    BN_TRY(bn_jinja_value_new_text(c->run, text.n - n_found * from->n + n_found * to->n, &bytes,
                                   &marks, c->out));
    for (size_t begin = 0; begin <= text.n;) {
        size_t found = bn_jinja_value_find(text, *from, begin);
        size_t end = found == SIZE_MAX ? text.n : found;
        if (end > begin) memcpy(bytes, text.bytes + begin, end - begin);
        if (end > begin) memcpy(marks, text.marks + begin, end - begin);
        bytes += end - begin;
        marks += end - begin;
        if (found == SIZE_MAX) break;
        if (to->n > 0) memcpy(bytes, to->bytes, to->n);
        if (to->n > 0) memcpy(marks, to->marks, to->n);
        bytes += to->n;
        marks += to->n;
        begin = found + from->n;
    }
    return BN_OK;
}

/* By a text; Python's split without one goes by white space, which no known template does. */
static bn_status split(const call *c)
{
    const bn_jinja_text *by;
    bn_jinja_text text = c->of->text;
    BN_TRY(text_argument(c, 0, &by));
    if (by == NULL || by->n == 0)
        return bn_jinja_fail(c->run->jinja, BN_ERR_UNSUPPORTED, c->node->line,
                             "split without a text to split by is not supported");
    size_t n = 1;
    for (size_t at = 0; (at = bn_jinja_value_find(text, *by, at)) != SIZE_MAX; at += by->n)
        n++;
    if (n > PARTS_MAX)
        return bn_jinja_fail(c->run->jinja, BN_ERR_LIMIT, c->node->line,
                             "split gives more than %u parts", PARTS_MAX);
    void *memory = NULL;
    BN_TRY(bn_jinja_value_take(c->run, n * sizeof(bn_jinja_value), &memory));
    bn_jinja_value *items = memory;
    size_t begin = 0;
    for (size_t i = 0; i < n; i++) {
        size_t found = i + 1 < n ? bn_jinja_value_find(text, *by, begin) : text.n;
        items[i] = bn_jinja_value_of_text(bytes_between(text, begin, found));
        begin = found + by->n;
    }
    *c->out = (bn_jinja_value){.type = BN_JINJA_ARRAY};
    c->out->array = (bn_jinja_array){items, n};
    return BN_OK;
}

static bn_status is_at_end(const call *c, bool is_front)
{
    const bn_jinja_text *part;
    bn_jinja_text text = c->of->text;
    BN_TRY(text_argument(c, 0, &part));
    if (part == NULL) return wrong_argument(c, &c->arguments[0]);
    size_t at = is_front ? 0 : text.n - part->n;
    return give_bool(c, part->n <= text.n &&
                            (part->n == 0 || memcmp(text.bytes + at, part->bytes, part->n) == 0));
}

static bn_status starts_with(const call *c)
{
    return is_at_end(c, true);
}

static bn_status ends_with(const call *c)
{
    return is_at_end(c, false);
}

static const row filters[] = {
    {"trim", trim, false, 0, 1},         {"upper", upper, true, 0, 0},
    {"lower", lower, true, 0, 0},        {"capitalize", capitalize, true, 0, 0},
    {"title", title_filter, true, 0, 0}, {"length", length, false, 0, 0},
    {"count", length, false, 0, 0},      {"first", first, false, 0, 0},
    {"last", last, false, 0, 0},         {"default", default_value, false, 0, 2},
    {"d", default_value, false, 0, 2},   {"string", as_text, false, 0, 0},
    {"list", as_list, false, 0, 0},      {"join", join, false, 0, 1},
    {"replace", replace, true, 2, 2},    {NULL, NULL, false, 0, 0},
};

static const row methods[] = {
    {"strip", strip, true, 0, 1},        {"lstrip", strip_left, true, 0, 1},
    {"rstrip", strip_right, true, 0, 1}, {"upper", upper, true, 0, 0},
    {"lower", lower, true, 0, 0},        {"capitalize", capitalize, true, 0, 0},
    {"title", title_method, true, 0, 0}, {"replace", replace, true, 2, 2},
    {"split", split, true, 0, 1},        {"startswith", starts_with, true, 1, 1},
    {"endswith", ends_with, true, 1, 1}, {NULL, NULL, false, 0, 0},
};

static bn_status act(const call *c, const row *rows, const char *what)
{
    for (; rows->name != NULL; rows++) {
        if (!bn_jinja_is(c->node->text, c->node->n, rows->name)) continue;
        if (rows->is_text_only && c->of->type != BN_JINJA_TEXT_VALUE)
            return wrong_argument(c, c->of);
        if (c->n < rows->n_min || c->n > rows->n_max)
            return bn_jinja_fail(c->run->jinja, BN_ERR_UNSUPPORTED, c->node->line,
                                 "%s with %zu arguments is not supported", rows->name, c->n);
        BN_TRY(bn_jinja_value_charge(c->run, c->of));
        return rows->act(c);
    }
    return not_supported(c, what);
}

bn_status bn_jinja_call_filter(bn_jinja_run *run, const bn_jinja_node *node,
                               const bn_jinja_value *of, const bn_jinja_value *arguments,
                               size_t n_arguments, bn_jinja_value *value_out)
{
    const call c = {run, node, of, arguments, n_arguments, value_out};
    return act(&c, filters, "filter");
}

bn_status bn_jinja_call_method(bn_jinja_run *run, const bn_jinja_node *node,
                               const bn_jinja_value *of, const bn_jinja_value *arguments,
                               size_t n_arguments, bn_jinja_value *value_out)
{
    const call c = {run, node, of, arguments, n_arguments, value_out};
    return act(&c, methods, "method");
}

bn_status bn_jinja_call_test(bn_jinja_run *run, const bn_jinja_node *node, const bn_jinja_value *of,
                             const bn_jinja_value *arguments, size_t n_arguments, bool *truth_out)
{
    bn_jinja_type type = of->type;
    bool is_truth = type == BN_JINJA_BOOL && of->number != 0;
    bool has_parts = type == BN_JINJA_TEXT_VALUE || type == BN_JINJA_ARRAY;
    const struct {
        const char *name;
        bool truth;
    } tests[] = {
        {"defined", type != BN_JINJA_UNDEFINED},
        {"undefined", type == BN_JINJA_UNDEFINED},
        {"none", type == BN_JINJA_NONE},
        {"string", type == BN_JINJA_TEXT_VALUE},
        {"number", type == BN_JINJA_INT || type == BN_JINJA_BOOL},
        {"integer", type == BN_JINJA_INT},
        {"boolean", type == BN_JINJA_BOOL},
        {"true", is_truth},
        {"false", type == BN_JINJA_BOOL && !is_truth},
        {"mapping", type == BN_JINJA_MESSAGE},
        {"iterable", has_parts || type == BN_JINJA_MESSAGE || type == BN_JINJA_UNDEFINED},
        {"sequence", has_parts || type == BN_JINJA_MESSAGE || type == BN_JINJA_UNDEFINED},
    };
    const call c = {run, node, of, arguments, n_arguments, NULL};
    if (n_arguments == 1 &&
        (bn_jinja_is(node->text, node->n, "equalto") || bn_jinja_is(node->text, node->n, "eq"))) {
        *truth_out = bn_jinja_value_equal(of, &arguments[0]);
        return BN_OK;
    }
    for (size_t i = 0; i < sizeof tests / sizeof *tests && n_arguments == 0; i++) {
        if (!bn_jinja_is(node->text, node->n, tests[i].name)) continue;
        *truth_out = tests[i].truth;
        return BN_OK;
    }
    return not_supported(&c, "test");
}

static bn_status range(const call *c)
{
    int64_t begin = 0, end = 0;
    for (size_t i = 0; i < c->n; i++)
        if (c->arguments[i].type != BN_JINJA_INT) return wrong_argument(c, &c->arguments[i]);
    if (c->n < 1 || c->n > 2) return not_supported(c, "function");
    begin = c->n == 2 ? c->arguments[0].number : 0;
    end = c->arguments[c->n - 1].number;
    size_t n = end > begin ? (size_t)(end - begin) : 0;
    if (n > PARTS_MAX)
        return bn_jinja_fail(c->run->jinja, BN_ERR_LIMIT, c->node->line,
                             "range gives more than %u numbers", PARTS_MAX);
    void *memory = NULL;
    BN_TRY(bn_jinja_value_take(c->run, n * sizeof(bn_jinja_value), &memory));
    bn_jinja_value *items = memory;
    for (size_t i = 0; i < n; i++)
        items[i] = bn_jinja_value_of_int(begin + (int64_t)i);
    *c->out = (bn_jinja_value){.type = BN_JINJA_ARRAY};
    c->out->array = (bn_jinja_array){items, n};
    return BN_OK;
}

bn_status bn_jinja_call_function(bn_jinja_run *run, const bn_jinja_node *node,
                                 const bn_jinja_value *arguments, size_t n_arguments,
                                 bn_jinja_value *value_out)
{
    const call c = {run, node, NULL, arguments, n_arguments, value_out};
    if (bn_jinja_is(node->text, node->n, "range")) return range(&c);
    if (bn_jinja_is(node->text, node->n, "raise_exception") && n_arguments == 1 &&
        arguments[0].type == BN_JINJA_TEXT_VALUE)
        return bn_jinja_fail(run->jinja, BN_ERR_REFUSED, node->line, "it refuses: %.*s",
                             (int)(arguments[0].text.n < 500 ? arguments[0].text.n : 500),
                             arguments[0].text.bytes);
    return not_supported(&c, "function");
}
