/* jinja.c — a template's life, and its statements. */
#include "coordinator/jinja.h"

#include "common/alloc.h"
#include "common/log.h"
#include "coordinator/jinja_value.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

bn_status bn_jinja_fail(const bn_jinja *jinja, bn_status status, uint32_t line, const char *format,
                        ...)
{
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return bn_fail(status, "CHAT-TEMPLATE", "chat template %s, line %u: %s", jinja->name, line,
                   text);
}

/* Newlines are \n, and the last one is dropped, as jinja2 does. */
static size_t normalise(const char *text, size_t n, char *out)
{
    size_t n_out = 0;
    for (size_t i = 0; i < n; i++) {
        if (text[i] == '\r' && i + 1 < n && text[i + 1] == '\n') continue;
        out[n_out++] = text[i] == '\r' ? '\n' : text[i];
    }
    return n_out > 0 && out[n_out - 1] == '\n' ? n_out - 1 : n_out;
}

static bn_status read_template(bn_jinja *jinja, const char *text, size_t n)
{
    if (jinja->source == NULL || jinja->strings == NULL)
        return bn_jinja_fail(jinja, BN_ERR_NO_MEMORY, 1, "no memory to read it");
    jinja->n_source = normalise(text, n, jinja->source);
    BN_TRY(bn_jinja_lexer_run(jinja));
    return bn_jinja_parser_run(jinja);
}

bn_status bn_jinja_parse(const char *name, const char *text, size_t n, bn_jinja **jinja_out)
{
    if (n > BN_JINJA_TEXT_MAX)
        return bn_fail(BN_ERR_LIMIT, "CHAT-TEMPLATE",
                       "chat template %s has %zu bytes; at most %u are possible", name, n,
                       BN_JINJA_TEXT_MAX);
    bn_jinja *jinja = bn_alloc(1, sizeof *jinja);
    char *own_name = bn_strdup(name);
    if (jinja == NULL || own_name == NULL) {
        bn_free(jinja);
        bn_free(own_name);
        return bn_fail(BN_ERR_NO_MEMORY, "CHAT-TEMPLATE", "no memory for chat template %s", name);
    }
    jinja->name = own_name;
    jinja->source = bn_alloc(n + 1, 1);
    jinja->strings = bn_alloc(n + 1, 1);
    bn_status status = read_template(jinja, text, n);
    if (status != BN_OK) {
        bn_jinja_destroy(jinja);
        return status;
    }
    *jinja_out = jinja;
    return BN_OK;
}

void bn_jinja_destroy(bn_jinja *jinja)
{
    if (jinja == NULL) return;
    bn_free(jinja->name);
    bn_free(jinja->source);
    bn_free(jinja->strings);
    bn_free(jinja->words);
    bn_free(jinja->nodes);
    bn_free(jinja);
}

void bn_jinja_output_fini(bn_jinja_output *output)
{
    bn_free(output->text);
    bn_free(output->marks);
    *output = (bn_jinja_output){0};
}

static bn_status reserve(bn_jinja_run *run, size_t n)
{
    bn_jinja_output *output = run->output;
    if (n > BN_JINJA_MEMORY_MAX / 2 - output->n)
        return bn_jinja_fail(run->jinja, BN_ERR_LIMIT, run->line, "it writes more than %u bytes",
                             BN_JINJA_MEMORY_MAX / 2);
    size_t capacity = run->output_capacity == 0 ? 4096 : run->output_capacity;
    while (capacity < output->n + n)
        capacity *= 2;
    if (capacity == run->output_capacity) return BN_OK;
    char *text = bn_realloc(output->text, capacity, 1);
    if (text != NULL) output->text = text;
    uint8_t *marks = bn_realloc(output->marks, capacity, 1);
    if (marks != NULL) output->marks = marks;
    if (text == NULL || marks == NULL)
        return bn_jinja_fail(run->jinja, BN_ERR_NO_MEMORY, run->line, "no memory to apply it");
    run->output_capacity = capacity;
    return BN_OK;
}

static bn_status write_text(bn_jinja_run *run, bn_jinja_text text)
{
    if (text.n == 0) return BN_OK;
    BN_TRY(reserve(run, text.n));
    memcpy(run->output->text + run->output->n, text.bytes, text.n);
    memcpy(run->output->marks + run->output->n, text.marks, text.n);
    run->output->n += text.n;
    return BN_OK;
}

static bn_status run_body(bn_jinja_run *run, uint32_t first);

static bn_status run_if(bn_jinja_run *run, const bn_jinja_node *node)
{
    bn_jinja_value condition;
    BN_TRY(bn_jinja_eval(run, node->a, &condition));
    return run_body(run, bn_jinja_value_is_true(&condition) ? node->b : node->c);
}

static const bn_jinja_node loop_name = {.text = "loop", .n = 4};

/* One turn: what it sets is gone after it. */
static bn_status run_turn(bn_jinja_run *run, const bn_jinja_node *node, const bn_jinja_value *item,
                          const bn_jinja_loop *loop, uint32_t body)
{
    uint32_t n_before = run->n_variables, scope_before = run->scope;
    bn_jinja_value loop_value = {.type = BN_JINJA_LOOP};
    loop_value.loop = loop;
    run->scope = n_before;
    bn_status status = BN_OK;
    if (loop != NULL) status = bn_jinja_eval_set(run, &loop_name, loop_value);
    if (status == BN_OK) status = bn_jinja_eval_set(run, node, *item);
    if (status == BN_OK) status = run_body(run, body);
    run->n_variables = n_before;
    run->scope = scope_before;
    return status;
}

/* The items for which the loop's condition holds. */
static bn_status select_items(bn_jinja_run *run, const bn_jinja_node *node, bn_jinja_array *over)
{
    void *memory = NULL;
    BN_TRY(bn_jinja_value_take(run, over->n * sizeof(bn_jinja_value), &memory));
    bn_jinja_value *items = memory;
    size_t n = 0;
    for (size_t i = 0; i < over->n; i++) {
        uint32_t n_before = run->n_variables, scope_before = run->scope;
        bn_jinja_value holds;
        run->scope = n_before;
        bn_status status = bn_jinja_eval_set(run, node, over->items[i]);
        if (status == BN_OK) status = bn_jinja_eval(run, node->d, &holds);
        run->n_variables = n_before;
        run->scope = scope_before;
        BN_TRY(status);
        if (bn_jinja_value_is_true(&holds)) items[n++] = over->items[i];
    }
    *over = (bn_jinja_array){items, n};
    return BN_OK;
}

static bn_status run_for(bn_jinja_run *run, const bn_jinja_node *node)
{
    bn_jinja_value over;
    BN_TRY(bn_jinja_eval(run, node->a, &over));
    if (over.type == BN_JINJA_UNDEFINED) over.array = (bn_jinja_array){NULL, 0};
    if (over.type != BN_JINJA_UNDEFINED && over.type != BN_JINJA_ARRAY)
        return bn_jinja_fail(run->jinja, BN_ERR_UNSUPPORTED, node->line,
                             "for over %s is not supported", bn_jinja_value_kind(&over));
    bn_jinja_loop loop = {.over = over.array};
    if (node->d != 0) BN_TRY(select_items(run, node, &loop.over));
    for (; loop.index < loop.over.n; loop.index++)
        BN_TRY(run_turn(run, node, &loop.over.items[loop.index], &loop, node->b));
    return loop.over.n == 0 ? run_body(run, node->c) : BN_OK;
}

static bn_status run_set(bn_jinja_run *run, const bn_jinja_node *node)
{
    bn_jinja_value value;
    BN_TRY(bn_jinja_eval(run, node->a, &value));
    run->line = node->line;
    if (node->b == 0) return bn_jinja_eval_set(run, node, value);
    const bn_jinja_node *name = &run->jinja->nodes[node->b];
    for (uint32_t i = run->n_variables; i > 0; i--) {
        bn_jinja_variable *variable = &run->variables[i - 1];
        if (variable->name.n != node->n || memcmp(variable->name.bytes, node->text, node->n) != 0)
            continue;
        if (variable->value.type != BN_JINJA_NAMESPACE) break;
        bn_jinja_space *space = variable->value.space;
        uint32_t at = 0;
        while (at < space->n && (space->variables[at].name.n != name->n ||
                                 memcmp(space->variables[at].name.bytes, name->text, name->n) != 0))
            at++;
        if (at == sizeof space->variables / sizeof *space->variables)
            return bn_jinja_fail(run->jinja, BN_ERR_LIMIT, node->line,
                                 "a namespace with more than %u names", at);
        if (at == space->n)
            space->variables[space->n++].name = (bn_jinja_text){name->text, NULL, name->n};
        space->variables[at].value = value;
        return BN_OK;
    }
    return bn_jinja_fail(run->jinja, BN_ERR_BAD_FILE, node->line,
                         "an attribute of %.*s cannot be set: it is no namespace",
                         (int)(node->n < 64 ? node->n : 64), node->text);
}

static bn_status run_statement(bn_jinja_run *run, const bn_jinja_node *node)
{
    bn_jinja_value value;
    bn_jinja_text text;
    run->line = node->line;
    BN_TRY(bn_jinja_value_charge(run, NULL));
    switch (node->kind) {
    case BN_JINJA_TEXT:
        BN_TRY(bn_jinja_value_view(run, node->text, node->n, 0, &value));
        return write_text(run, value.text);
    case BN_JINJA_PRINT:
        BN_TRY(bn_jinja_eval(run, node->a, &value));
        BN_TRY(bn_jinja_value_to_text(run, &value, &text));
        return write_text(run, text);
    case BN_JINJA_IF: return run_if(run, node);
    case BN_JINJA_FOR: return run_for(run, node);
    default: return run_set(run, node);
    }
}

static bn_status run_body(bn_jinja_run *run, uint32_t first)
{
    for (uint32_t i = first; i != 0; i = run->jinja->nodes[i].next)
        BN_TRY(run_statement(run, &run->jinja->nodes[i]));
    return BN_OK;
}

static bn_status set_global(bn_jinja_run *run, const char *name, bn_jinja_value value)
{
    const bn_jinja_node node = {.text = name, .n = strlen(name)};
    return bn_jinja_eval_set(run, &node, value);
}

static bn_status set_token(bn_jinja_run *run, const char *name, const char *text)
{
    bn_jinja_value value;
    if (text == NULL) return BN_OK;
    BN_TRY(bn_jinja_value_view(run, text, strlen(text), 0, &value));
    return set_global(run, name, value);
}

/* What transformers gives a template that is called without tools and documents. */
static bn_status set_globals(bn_jinja_run *run)
{
    const bn_jinja_input *input = run->input;
    void *memory = NULL;
    BN_TRY(bn_jinja_value_take(run, input->n_messages * sizeof(bn_jinja_value), &memory));
    bn_jinja_value *items = memory;
    for (size_t i = 0; i < input->n_messages; i++) {
        items[i] = (bn_jinja_value){.type = BN_JINJA_MESSAGE};
        items[i].message = &input->messages[i];
    }
    bn_jinja_value messages = {.type = BN_JINJA_ARRAY};
    messages.array = (bn_jinja_array){items, input->n_messages};
    BN_TRY(set_global(run, "messages", messages));
    BN_TRY(set_global(run, "tools", (bn_jinja_value){.type = BN_JINJA_NONE}));
    BN_TRY(set_global(run, "documents", (bn_jinja_value){.type = BN_JINJA_NONE}));
    BN_TRY(set_global(run, "add_generation_prompt",
                      bn_jinja_value_of_bool(input->add_generation_prompt)));
    BN_TRY(set_token(run, "bos_token", input->bos_token));
    return set_token(run, "eos_token", input->eos_token);
}

bn_status bn_jinja_render(const bn_jinja *jinja, const bn_jinja_input *input,
                          bn_jinja_output *output)
{
    *output = (bn_jinja_output){0};
    bn_jinja_run *run = bn_alloc(1, sizeof *run);
    if (run == NULL) return bn_jinja_fail(jinja, BN_ERR_NO_MEMORY, 1, "no memory to apply it");
    *run = (bn_jinja_run){.jinja = jinja, .input = input, .output = output, .line = 1};
    bn_status status = BN_OK;
    if (input->n_messages > BN_JINJA_MESSAGES_MAX)
        status = bn_jinja_fail(jinja, BN_ERR_LIMIT, 1, "%zu messages; at most %u are possible",
                               input->n_messages, BN_JINJA_MESSAGES_MAX);
    if (status == BN_OK) status = set_globals(run);
    if (status == BN_OK) status = run_body(run, jinja->body);
    bn_jinja_value_release(run);
    bn_free(run);
    if (status != BN_OK) bn_jinja_output_fini(output);
    return status;
}
