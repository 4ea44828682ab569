/* jinja_eval.c — expressions. Recursion follows the tree, whose depth the parser has bounded. */
#include "coordinator/jinja_value.h"

#include <string.h>

#define ARGUMENTS_MAX 8u

static const bn_jinja_node *node_at(const bn_jinja_run *run, uint32_t index)
{
    return &run->jinja->nodes[index];
}

static int shown(size_t n)
{
    return n < 64 ? (int)n : 64;
}

static bn_status fail(bn_jinja_run *run, const char *what, const bn_jinja_value *of)
{
    return bn_jinja_fail(run->jinja, BN_ERR_BAD_FILE, run->line, "%s of %s is not possible", what,
                         bn_jinja_value_kind(of));
}

static bool is_named(const bn_jinja_variable *variable, const bn_jinja_node *name)
{
    return variable->name.n == name->n && memcmp(variable->name.bytes, name->text, name->n) == 0;
}

/* A variable by name; UNDEFINED when there is none. */
static bn_status look_up(bn_jinja_run *run, const bn_jinja_node *name, bn_jinja_value *value_out)
{
    for (uint32_t i = run->n_variables; i > 0; i--) {
        if (!is_named(&run->variables[i - 1], name)) continue;
        *value_out = run->variables[i - 1].value;
        return BN_OK;
    }
    *value_out = (bn_jinja_value){.type = BN_JINJA_UNDEFINED};
    if (bn_jinja_is(name->text, name->n, "strftime_now"))
        return bn_jinja_fail(run->jinja, BN_ERR_UNSUPPORTED, run->line,
                             "strftime_now is not supported: an answer may not depend on the day");
    return BN_OK;
}

bn_status bn_jinja_eval_set(bn_jinja_run *run, const bn_jinja_node *name, bn_jinja_value value)
{
    for (uint32_t i = run->scope; i < run->n_variables; i++) {
        if (!is_named(&run->variables[i], name)) continue;
        run->variables[i].value = value;
        return BN_OK;
    }
    if (run->n_variables == BN_JINJA_VARIABLES_MAX)
        return bn_jinja_fail(run->jinja, BN_ERR_LIMIT, run->line,
                             "it has more than %u variables at once", BN_JINJA_VARIABLES_MAX);
    run->variables[run->n_variables++] =
        (bn_jinja_variable){.name = {name->text, NULL, name->n}, .value = value};
    return BN_OK;
}

static bn_status loop_attribute(bn_jinja_run *run, const bn_jinja_loop *loop,
                                const bn_jinja_node *name, bn_jinja_value *value_out)
{
    const bn_jinja_array *over = &loop->over;
    size_t i = loop->index;
    const struct {
        const char *name;
        bn_jinja_value value;
    } attributes[] = {
        {"index", bn_jinja_value_of_int((int64_t)i + 1)},
        {"index0", bn_jinja_value_of_int((int64_t)i)},
        {"revindex", bn_jinja_value_of_int((int64_t)(over->n - i))},
        {"revindex0", bn_jinja_value_of_int((int64_t)(over->n - i) - 1)},
        {"length", bn_jinja_value_of_int((int64_t)over->n)},
        {"first", bn_jinja_value_of_bool(i == 0)},
        {"last", bn_jinja_value_of_bool(i + 1 == over->n)},
        {"previtem", i > 0 ? over->items[i - 1] : (bn_jinja_value){.type = BN_JINJA_UNDEFINED}},
        {"nextitem",
         i + 1 < over->n ? over->items[i + 1] : (bn_jinja_value){.type = BN_JINJA_UNDEFINED}},
    };
    for (size_t k = 0; k < sizeof attributes / sizeof *attributes; k++) {
        if (!bn_jinja_is(name->text, name->n, attributes[k].name)) continue;
        *value_out = attributes[k].value;
        return BN_OK;
    }
    return bn_jinja_fail(run->jinja, BN_ERR_UNSUPPORTED, run->line, "loop.%.*s is not supported",
                         shown(name->n), name->text);
}

static bn_status message_attribute(bn_jinja_run *run, const bn_jinja_message *message,
                                   const char *name, size_t n, bn_jinja_value *value_out)
{
    *value_out = (bn_jinja_value){.type = BN_JINJA_UNDEFINED};
    if (bn_jinja_is(name, n, "role"))
        return bn_jinja_value_view(run, message->role, strlen(message->role), 0, value_out);
    if (!bn_jinja_is(name, n, "content")) return BN_OK;
    return bn_jinja_value_view(run, message->text, message->n, message->mark, value_out);
}

/* of.name; what a text could have by that name are methods, which jinja_call.c knows. */
static bn_status attribute(bn_jinja_run *run, const bn_jinja_value *of, const bn_jinja_node *name,
                           bn_jinja_value *value_out)
{
    *value_out = (bn_jinja_value){.type = BN_JINJA_UNDEFINED};
    switch (of->type) {
    case BN_JINJA_MESSAGE:
        return message_attribute(run, of->message, name->text, name->n, value_out);
    case BN_JINJA_LOOP: return loop_attribute(run, of->loop, name, value_out);
    case BN_JINJA_NAMESPACE:
        for (uint32_t i = 0; i < of->space->n; i++)
            if (is_named(&of->space->variables[i], name))
                *value_out = of->space->variables[i].value;
        return BN_OK;
    case BN_JINJA_UNDEFINED:
        return bn_jinja_fail(run->jinja, BN_ERR_BAD_FILE, run->line,
                             "the attribute %.*s of an undefined value", shown(name->n),
                             name->text);
    default: return BN_OK; /* as Jinja: a value without that attribute gives an undefined one */
    }
}

static bn_status item(bn_jinja_run *run, const bn_jinja_value *of, const bn_jinja_value *index,
                      bn_jinja_value *value_out)
{
    *value_out = (bn_jinja_value){.type = BN_JINJA_UNDEFINED};
    if (of->type == BN_JINJA_UNDEFINED) return fail(run, "an item", of);
    if (of->type == BN_JINJA_MESSAGE && index->type == BN_JINJA_TEXT_VALUE)
        return message_attribute(run, of->message, index->text.bytes, index->text.n, value_out);
    bool is_text = of->type == BN_JINJA_TEXT_VALUE;
    if ((!is_text && of->type != BN_JINJA_ARRAY) || index->type != BN_JINJA_INT) {
        if (is_text || of->type == BN_JINJA_ARRAY || of->type == BN_JINJA_NONE ||
            of->type == BN_JINJA_MESSAGE)
            return BN_OK; /* undefined, as in Jinja */
        return bn_jinja_fail(run->jinja, BN_ERR_UNSUPPORTED, run->line,
                             "an item of %s is not supported", bn_jinja_value_kind(of));
    }
    int64_t n = (int64_t)(is_text ? bn_jinja_value_length(of->text) : of->array.n);
    int64_t at = index->number < 0 ? index->number + n : index->number;
    if (at < 0 || at >= n) return BN_OK;
    if (is_text)
        *value_out =
            bn_jinja_value_of_text(bn_jinja_value_part(of->text, (size_t)at, (size_t)at + 1));
    else
        *value_out = of->array.items[at];
    return BN_OK;
}

/* A bound of a slice as Python takes it: none is the end where it begins or stops. */
static bn_status bound(bn_jinja_run *run, uint32_t index, int64_t low, int64_t high, int64_t n,
                       int64_t absent, int64_t *out)
{
    bn_jinja_value value = {.type = BN_JINJA_NONE};
    if (index != 0) BN_TRY(bn_jinja_eval(run, index, &value));
    *out = absent;
    if (value.type == BN_JINJA_NONE) return BN_OK;
    if (value.type != BN_JINJA_INT) return fail(run, "a slice with a bound", &value);
    int64_t at = value.number < 0 ? value.number + n : value.number;
    *out = at < low ? low : at > high ? high : at;
    return BN_OK;
}

static bn_status slice(bn_jinja_run *run, const bn_jinja_node *node, const bn_jinja_value *of,
                       bn_jinja_value *value_out)
{
    bool is_text = of->type == BN_JINJA_TEXT_VALUE;
    if (!is_text && of->type != BN_JINJA_ARRAY) return fail(run, "a slice", of);
    bn_jinja_value step_value = bn_jinja_value_of_int(1);
    if (node->d != 0) BN_TRY(bn_jinja_eval(run, node->d, &step_value));
    int64_t step = step_value.type == BN_JINJA_INT ? step_value.number : 0;
    if (step != 1 && step != -1)
        return bn_jinja_fail(run->jinja, BN_ERR_UNSUPPORTED, run->line,
                             "a slice with a step other than 1 and -1 is not supported");
    int64_t n = (int64_t)(is_text ? bn_jinja_value_length(of->text) : of->array.n);
    int64_t begin, end;
    bool is_forward = step == 1;
    BN_TRY(bound(run, node->b, is_forward ? 0 : -1, is_forward ? n : n - 1, n,
                 is_forward ? 0 : n - 1, &begin));
    BN_TRY(bound(run, node->c, is_forward ? 0 : -1, is_forward ? n : n - 1, n, is_forward ? n : -1,
                 &end));
    int64_t n_items = is_forward ? end - begin : begin - end;
    if (n_items < 0) n_items = 0;
    if (is_text && is_forward) {
        *value_out = bn_jinja_value_of_text(
            bn_jinja_value_part(of->text, (size_t)begin, (size_t)(begin + n_items)));
        return BN_OK;
    }
    if (is_text)
        return bn_jinja_fail(run->jinja, BN_ERR_UNSUPPORTED, run->line,
                             "a text backwards is not supported");
    if (is_forward) {
        *value_out = (bn_jinja_value){.type = BN_JINJA_ARRAY};
        value_out->array = (bn_jinja_array){of->array.items + begin, (size_t)n_items};
        return BN_OK;
    }
    void *memory = NULL;
    BN_TRY(bn_jinja_value_take(run, (size_t)n_items * sizeof(bn_jinja_value), &memory));
    bn_jinja_value *items = memory;
    for (int64_t i = 0; i < n_items; i++)
        items[i] = of->array.items[begin - i];
    *value_out = (bn_jinja_value){.type = BN_JINJA_ARRAY};
    value_out->array = (bn_jinja_array){items, (size_t)n_items};
    return BN_OK;
}

static bn_status contains(bn_jinja_run *run, const bn_jinja_value *part, const bn_jinja_value *in,
                          bool *out)
{
    *out = false;
    if (in->type == BN_JINJA_UNDEFINED) return BN_OK;
    if (in->type == BN_JINJA_TEXT_VALUE && part->type == BN_JINJA_TEXT_VALUE) {
        *out = bn_jinja_value_find(in->text, part->text, 0) != SIZE_MAX;
        return BN_OK;
    }
    if (in->type == BN_JINJA_MESSAGE && part->type == BN_JINJA_TEXT_VALUE) {
        *out = bn_jinja_is(part->text.bytes, part->text.n, "role") ||
               bn_jinja_is(part->text.bytes, part->text.n, "content");
        return BN_OK;
    }
    if (in->type != BN_JINJA_ARRAY) return fail(run, "in", in);
    for (size_t i = 0; i < in->array.n && !*out; i++)
        *out = bn_jinja_value_equal(part, &in->array.items[i]);
    return BN_OK;
}

static bn_status compare(bn_jinja_run *run, const char *sign, const bn_jinja_value *a,
                         const bn_jinja_value *b, bool *out)
{
    int64_t order;
    if (a->type == BN_JINJA_TEXT_VALUE && b->type == BN_JINJA_TEXT_VALUE) {
        size_t n = a->text.n < b->text.n ? a->text.n : b->text.n;
        order = n == 0 ? 0 : memcmp(a->text.bytes, b->text.bytes, n);
        if (order == 0) order = (int64_t)a->text.n - (int64_t)b->text.n;
    } else if (a->type == BN_JINJA_INT && b->type == BN_JINJA_INT) {
        order = a->number < b->number ? -1 : a->number > b->number;
    } else {
        return fail(run, "a comparison with < or >", a->type == BN_JINJA_INT ? b : a);
    }
    bool is_less = sign[0] == '<';
    *out = (is_less ? order < 0 : order > 0) || (sign[1] == '=' && order == 0);
    return BN_OK;
}

/* Python's // and %: rounded down. */
static int64_t floor_quotient(int64_t a, int64_t b)
{
    return a / b - (a % b != 0 && (a < 0) != (b < 0));
}

static bn_status calculate(bn_jinja_run *run, const bn_jinja_node *node, int64_t a, int64_t b,
                           bn_jinja_value *value_out)
{
    const char *sign = node->text;
    bool is_division = sign[0] == '/' || sign[0] == '%';
    if (is_division && b == 0)
        return bn_jinja_fail(run->jinja, BN_ERR_BAD_FILE, run->line, "a division by zero");
    if (bn_jinja_is(sign, node->n, "/") || bn_jinja_is(sign, node->n, "**"))
        return bn_jinja_fail(run->jinja, BN_ERR_UNSUPPORTED, run->line,
                             "the operator %s is not supported", sign);
    int64_t result = sign[0] == '+'   ? a + b
                     : sign[0] == '-' ? a - b
                     : sign[0] == '*' ? a * b
                     : sign[0] == '/' ? floor_quotient(a, b)
                                      : a - b * floor_quotient(a, b);
    if (result > INT32_MAX || result < INT32_MIN)
        return bn_jinja_fail(run->jinja, BN_ERR_LIMIT, run->line, "a number is too large");
    *value_out = bn_jinja_value_of_int(result);
    return BN_OK;
}

static bn_status binary(bn_jinja_run *run, const bn_jinja_node *node, bn_jinja_value *value_out)
{
    bn_jinja_value a, b;
    bool truth = false;
    BN_TRY(bn_jinja_eval(run, node->a, &a));
    BN_TRY(bn_jinja_eval(run, node->b, &b));
    run->line = node->line;
    BN_TRY(bn_jinja_value_charge(run, &a));
    BN_TRY(bn_jinja_value_charge(run, &b));
    const char *sign = node->text;
    if (bn_jinja_is(sign, node->n, "==") || bn_jinja_is(sign, node->n, "!=")) {
        truth = bn_jinja_value_equal(&a, &b) == (sign[0] == '=');
    } else if (bn_jinja_is(sign, node->n, "in") || bn_jinja_is(sign, node->n, "not in")) {
        BN_TRY(contains(run, &a, &b, &truth));
        truth ^= sign[0] == 'n';
    } else if (sign[0] == '<' || sign[0] == '>') {
        BN_TRY(compare(run, sign, &a, &b, &truth));
    } else if (sign[0] == '~') {
        bn_jinja_text left, right;
        BN_TRY(bn_jinja_value_to_text(run, &a, &left));
        BN_TRY(bn_jinja_value_to_text(run, &b, &right));
        return bn_jinja_value_join(run, left, right, value_out);
    } else if (sign[0] == '+' && a.type == BN_JINJA_TEXT_VALUE && b.type == BN_JINJA_TEXT_VALUE) {
        return bn_jinja_value_join(run, a.text, b.text, value_out);
    } else if (a.type == BN_JINJA_INT && b.type == BN_JINJA_INT) {
        return calculate(run, node, a.number, b.number, value_out);
    } else {
        return bn_jinja_fail(run->jinja, BN_ERR_BAD_FILE, run->line,
                             "%.*s between %s and %s is not possible", shown(node->n), sign,
                             bn_jinja_value_kind(&a), bn_jinja_value_kind(&b));
    }
    *value_out = bn_jinja_value_of_bool(truth);
    return BN_OK;
}

static bn_status list(bn_jinja_run *run, uint32_t first, bn_jinja_value *value_out)
{
    size_t n = 0;
    for (uint32_t i = first; i != 0; i = node_at(run, i)->next)
        n++;
    void *memory = NULL;
    BN_TRY(bn_jinja_value_take(run, n * sizeof(bn_jinja_value), &memory));
    bn_jinja_value *items = memory;
    n = 0;
    for (uint32_t i = first; i != 0; i = node_at(run, i)->next)
        BN_TRY(bn_jinja_eval(run, i, &items[n++]));
    *value_out = (bn_jinja_value){.type = BN_JINJA_ARRAY};
    value_out->array = (bn_jinja_array){items, n};
    return BN_OK;
}

/* namespace(name=value, …) */
static bn_status make_namespace(bn_jinja_run *run, const bn_jinja_node *call,
                                bn_jinja_value *value_out)
{
    void *memory = NULL;
    BN_TRY(bn_jinja_value_take(run, sizeof(bn_jinja_space), &memory));
    bn_jinja_space *space = memory;
    space->n = 0;
    for (uint32_t i = call->b; i != 0; i = node_at(run, i)->next) {
        const bn_jinja_node *argument = node_at(run, i);
        if (argument->kind != BN_JINJA_KEYWORD ||
            space->n == sizeof space->variables / sizeof *space->variables)
            return bn_jinja_fail(run->jinja, BN_ERR_UNSUPPORTED, run->line,
                                 "a namespace of other than at most %zu names with values is not "
                                 "supported",
                                 sizeof space->variables / sizeof *space->variables);
        bn_jinja_variable *variable = &space->variables[space->n];
        variable->name = (bn_jinja_text){argument->text, NULL, argument->n};
        BN_TRY(bn_jinja_eval(run, argument->a, &variable->value));
        space->n++;
    }
    *value_out = (bn_jinja_value){.type = BN_JINJA_NAMESPACE};
    value_out->space = space;
    return BN_OK;
}

static bn_status arguments_of(bn_jinja_run *run, uint32_t first, const bn_jinja_node *name,
                              bn_jinja_value *arguments, size_t *n_out)
{
    *n_out = 0;
    for (uint32_t i = first; i != 0; i = node_at(run, i)->next) {
        if (node_at(run, i)->kind == BN_JINJA_KEYWORD || *n_out == ARGUMENTS_MAX)
            return bn_jinja_fail(run->jinja, BN_ERR_UNSUPPORTED, run->line,
                                 "%.*s with %s is not supported", shown(name->n), name->text,
                                 *n_out == ARGUMENTS_MAX ? "so many arguments"
                                                         : "a named argument");
        BN_TRY(bn_jinja_eval(run, i, &arguments[(*n_out)++]));
    }
    run->line = name->line;
    return BN_OK;
}

static bn_status call(bn_jinja_run *run, const bn_jinja_node *node, bn_jinja_value *value_out)
{
    const bn_jinja_node *callee = node_at(run, node->a);
    bn_jinja_value of, arguments[ARGUMENTS_MAX];
    size_t n = 0;
    if (callee->kind == BN_JINJA_VARIABLE) {
        BN_TRY(look_up(run, callee, &of));
        if (of.type != BN_JINJA_UNDEFINED) return fail(run, "a call", &of);
        if (bn_jinja_is(callee->text, callee->n, "namespace"))
            return make_namespace(run, node, value_out);
        BN_TRY(arguments_of(run, node->b, callee, arguments, &n));
        return bn_jinja_call_function(run, callee, arguments, n, value_out);
    }
    if (callee->kind != BN_JINJA_ATTRIBUTE)
        return bn_jinja_fail(run->jinja, BN_ERR_UNSUPPORTED, node->line,
                             "a call of something that is no name is not supported");
    BN_TRY(bn_jinja_eval(run, callee->a, &of));
    BN_TRY(arguments_of(run, node->b, callee, arguments, &n));
    return bn_jinja_call_method(run, callee, &of, arguments, n, value_out);
}

static bn_status filter_or_test(bn_jinja_run *run, const bn_jinja_node *node,
                                bn_jinja_value *value_out)
{
    bn_jinja_value of, arguments[ARGUMENTS_MAX];
    size_t n = 0;
    bool truth = false;
    BN_TRY(bn_jinja_eval(run, node->a, &of));
    BN_TRY(arguments_of(run, node->b, node, arguments, &n));
    if (node->kind == BN_JINJA_FILTER)
        return bn_jinja_call_filter(run, node, &of, arguments, n, value_out);
    BN_TRY(bn_jinja_call_test(run, node, &of, arguments, n, &truth));
    *value_out = bn_jinja_value_of_bool(truth != (node->number != 0));
    return BN_OK;
}

/* and, or and the inline if evaluate only what they need. */
static bn_status choose(bn_jinja_run *run, const bn_jinja_node *node, bn_jinja_value *value_out)
{
    if (node->kind != BN_JINJA_CONDITIONAL) {
        BN_TRY(bn_jinja_eval(run, node->a, value_out));
        bool is_decided = bn_jinja_value_is_true(value_out) == (node->kind == BN_JINJA_OR);
        return is_decided ? BN_OK : bn_jinja_eval(run, node->b, value_out);
    }
    bn_jinja_value condition;
    BN_TRY(bn_jinja_eval(run, node->b, &condition));
    *value_out = (bn_jinja_value){.type = BN_JINJA_UNDEFINED};
    if (bn_jinja_value_is_true(&condition)) return bn_jinja_eval(run, node->a, value_out);
    return node->c == 0 ? BN_OK : bn_jinja_eval(run, node->c, value_out);
}

static bn_status unary(bn_jinja_run *run, const bn_jinja_node *node, bn_jinja_value *value_out)
{
    bn_jinja_value of;
    BN_TRY(bn_jinja_eval(run, node->a, &of));
    if (node->kind == BN_JINJA_NOT) {
        *value_out = bn_jinja_value_of_bool(!bn_jinja_value_is_true(&of));
        return BN_OK;
    }
    if (of.type != BN_JINJA_INT) return fail(run, "minus", &of);
    *value_out = bn_jinja_value_of_int(-of.number);
    return BN_OK;
}

static bn_status constant(const bn_jinja_node *node, bn_jinja_value *value_out)
{
    *value_out = node->number == 2 ? (bn_jinja_value){.type = BN_JINJA_NONE}
                                   : bn_jinja_value_of_bool(node->number != 0);
    return BN_OK;
}

bn_status bn_jinja_eval(bn_jinja_run *run, uint32_t index, bn_jinja_value *value_out)
{
    const bn_jinja_node *node = node_at(run, index);
    bn_jinja_value a, b;
    run->line = node->line;
    BN_TRY(bn_jinja_value_charge(run, NULL));
    switch (node->kind) {
    case BN_JINJA_LITERAL: return bn_jinja_value_view(run, node->text, node->n, 0, value_out);
    case BN_JINJA_NUMBER: *value_out = bn_jinja_value_of_int(node->number); return BN_OK;
    case BN_JINJA_CONSTANT: return constant(node, value_out);
    case BN_JINJA_VARIABLE: return look_up(run, node, value_out);
    case BN_JINJA_LIST: return list(run, node->a, value_out);
    case BN_JINJA_CALL: return call(run, node, value_out);
    case BN_JINJA_FILTER:
    case BN_JINJA_TEST: return filter_or_test(run, node, value_out);
    case BN_JINJA_NOT:
    case BN_JINJA_NEGATE: return unary(run, node, value_out);
    case BN_JINJA_AND:
    case BN_JINJA_OR:
    case BN_JINJA_CONDITIONAL: return choose(run, node, value_out);
    case BN_JINJA_BINARY: return binary(run, node, value_out);
    default: break;
    }
    BN_TRY(bn_jinja_eval(run, node->a, &a));
    if (node->kind == BN_JINJA_ITEM) BN_TRY(bn_jinja_eval(run, node->b, &b));
    run->line = node->line;
    BN_TRY(bn_jinja_value_charge(run, &a));
    switch (node->kind) {
    case BN_JINJA_ATTRIBUTE: return attribute(run, &a, node, value_out);
    case BN_JINJA_ITEM: return item(run, &a, &b, value_out);
    case BN_JINJA_SLICE: return slice(run, node, &a, value_out);
    default:
        return bn_jinja_fail(run->jinja, BN_ERR_UNSUPPORTED, node->line,
                             "a named argument stands where a value belongs");
    }
}
