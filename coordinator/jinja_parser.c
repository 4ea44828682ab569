/* jinja_parser.c — one function per level of precedence, loosest first, as Jinja's own grammar. */
#include "common/alloc.h"
#include "coordinator/jinja_tree.h"

#include <string.h>

typedef struct parser {
    bn_jinja *jinja;
    uint32_t at; /* of words */
    uint32_t depth;
} parser;

static bn_status parse_expression(parser *p, uint32_t *out);
static bn_status parse_unary(parser *p, bool has_filters, uint32_t *out);
static bn_status parse_body(parser *p, uint32_t *out);

static const bn_jinja_word *word(const parser *p)
{
    return &p->jinja->words[p->at];
}

static bool is_sign(const parser *p, const char *sign)
{
    return word(p)->kind == BN_JINJA_SIGN && bn_jinja_is(word(p)->text, word(p)->n, sign);
}

static bool is_name(const parser *p, const char *name)
{
    return word(p)->kind == BN_JINJA_NAME && bn_jinja_is(word(p)->text, word(p)->n, name);
}

static bool take_sign(parser *p, const char *sign)
{
    if (!is_sign(p, sign)) return false;
    p->at++;
    return true;
}

static bool take_name(parser *p, const char *name)
{
    if (!is_name(p, name)) return false;
    p->at++;
    return true;
}

/* What stands here, for a message. */
static bn_status unexpected(const parser *p, const char *wanted)
{
    const bn_jinja_word *w = word(p);
    static const char *const names[] = {
        [BN_JINJA_END] = "the end of the template",
        [BN_JINJA_DATA] = "text",
        [BN_JINJA_PRINT_BEGIN] = "{{",
        [BN_JINJA_PRINT_END] = "}}",
        [BN_JINJA_BLOCK_BEGIN] = "{%",
        [BN_JINJA_BLOCK_END] = "%}",
        [BN_JINJA_STRING] = "a text in quotes",
        [BN_JINJA_INTEGER] = "a number",
    };
    int n = (int)(w->n < 64 ? w->n : 64);
    if (w->kind == BN_JINJA_NAME || w->kind == BN_JINJA_SIGN)
        return bn_jinja_fail(p->jinja, BN_ERR_UNSUPPORTED, w->line, "%.*s stands where %s belongs",
                             n, w->text, wanted);
    return bn_jinja_fail(p->jinja, BN_ERR_BAD_FILE, w->line, "%s stands where %s belongs",
                         names[w->kind], wanted);
}

static bn_status expect_sign(parser *p, const char *sign)
{
    return take_sign(p, sign) ? BN_OK : unexpected(p, sign);
}

static uint32_t depth_of(const parser *p, uint32_t index)
{
    uint32_t depth = 0;
    for (; index != 0; index = p->jinja->nodes[index].next)
        if (p->jinja->nodes[index].depth > depth) depth = p->jinja->nodes[index].depth;
    return depth;
}

/* Takes over the children that `node` names; its depth is theirs and one. */
static bn_status make(parser *p, bn_jinja_node node, uint32_t *out)
{
    bn_jinja *jinja = p->jinja;
    const uint32_t children[] = {node.a, node.b, node.c, node.d};
    for (size_t i = 0; i < 4; i++) {
        uint32_t depth = depth_of(p, children[i]) + 1;
        if (depth > node.depth) node.depth = depth;
    }
    if (node.depth > BN_JINJA_DEPTH_MAX)
        return bn_jinja_fail(jinja, BN_ERR_LIMIT, node.line, "it is nested deeper than %u levels",
                             BN_JINJA_DEPTH_MAX);
    if (jinja->n_nodes == BN_JINJA_NODES_MAX)
        return bn_jinja_fail(jinja, BN_ERR_LIMIT, node.line, "it has more than %u parts",
                             BN_JINJA_NODES_MAX);
    if (jinja->n_nodes == jinja->n_nodes_allocated) {
        uint32_t n = jinja->n_nodes_allocated == 0 ? 256 : 2 * jinja->n_nodes_allocated;
        bn_jinja_node *grown = bn_realloc(jinja->nodes, n, sizeof *grown);
        if (grown == NULL)
            return bn_jinja_fail(jinja, BN_ERR_NO_MEMORY, node.line, "no memory to read it");
        jinja->nodes = grown;
        jinja->n_nodes_allocated = n;
        if (jinja->n_nodes == 0) jinja->nodes[jinja->n_nodes++] = (bn_jinja_node){0};
    }
    *out = jinja->n_nodes;
    jinja->nodes[jinja->n_nodes++] = node;
    return BN_OK;
}

/* A node whose text is this word. */
static bn_jinja_node of_word(bn_jinja_node_kind kind, const bn_jinja_word *w)
{
    return (bn_jinja_node){
        .kind = kind, .line = w->line, .text = w->text, .n = w->n, .number = w->number};
}

static bn_status parse_name(parser *p, const char *wanted, const bn_jinja_word **out)
{
    if (word(p)->kind != BN_JINJA_NAME) return unexpected(p, wanted);
    *out = word(p);
    p->at++;
    return BN_OK;
}

/* Literals in a row are one. */
static bn_status parse_string(parser *p, uint32_t *out)
{
    bn_jinja_node node = of_word(BN_JINJA_LITERAL, word(p));
    p->at++;
    if (word(p)->kind == BN_JINJA_STRING)
        return bn_jinja_fail(p->jinja, BN_ERR_UNSUPPORTED, word(p)->line,
                             "two texts in quotes without an operator between them are not "
                             "supported");
    return make(p, node, out);
}

/* Expressions up to `end`, linked by next; with names when `has_keywords`. */
static bn_status parse_items(parser *p, const char *end, bool has_keywords, uint32_t *out)
{
    uint32_t last = 0;
    *out = 0;
    while (!take_sign(p, end)) {
        uint32_t item = 0;
        if (last != 0) {
            BN_TRY(expect_sign(p, ","));
            if (take_sign(p, end)) break;
        }
        const bn_jinja_word *next = word(p)->kind == BN_JINJA_NAME ? word(p) + 1 : NULL;
        if (has_keywords && next != NULL && next->kind == BN_JINJA_SIGN &&
            bn_jinja_is(next->text, next->n, "=")) {
            bn_jinja_node node = of_word(BN_JINJA_KEYWORD, word(p));
            p->at += 2;
            BN_TRY(parse_expression(p, &node.a));
            BN_TRY(make(p, node, &item));
        } else {
            BN_TRY(parse_expression(p, &item));
        }
        if (last == 0)
            *out = item;
        else
            p->jinja->nodes[last].next = item;
        last = item;
    }
    return BN_OK;
}

static bn_status parse_primary(parser *p, uint32_t *out)
{
    static const struct {
        const char *name;
        int64_t number;
    } constants[] = {{"false", 0}, {"False", 0}, {"true", 1},
                     {"True", 1},  {"none", 2},  {"None", 2}};
    const bn_jinja_word *w = word(p);
    switch (w->kind) {
    case BN_JINJA_STRING: return parse_string(p, out);
    case BN_JINJA_INTEGER: p->at++; return make(p, of_word(BN_JINJA_NUMBER, w), out);
    case BN_JINJA_NAME:
        p->at++;
        for (size_t i = 0; i < sizeof constants / sizeof *constants; i++) {
            if (!bn_jinja_is(w->text, w->n, constants[i].name)) continue;
            bn_jinja_node node = of_word(BN_JINJA_CONSTANT, w);
            node.number = constants[i].number;
            return make(p, node, out);
        }
        return make(p, of_word(BN_JINJA_VARIABLE, w), out);
    default: break;
    }
    if (take_sign(p, "(")) {
        BN_TRY(parse_expression(p, out));
        return expect_sign(p, ")");
    }
    if (take_sign(p, "[")) {
        bn_jinja_node node = {.kind = BN_JINJA_LIST, .line = w->line};
        BN_TRY(parse_items(p, "]", false, &node.a));
        return make(p, node, out);
    }
    return unexpected(p, "a value");
}

/* [index] or [start:stop:step], of which each may be absent. */
static bn_status parse_subscript(parser *p, uint32_t of, uint32_t *out)
{
    bn_jinja_node node = {.kind = BN_JINJA_ITEM, .line = word(p)->line, .a = of};
    uint32_t *const bounds[] = {&node.b, &node.c, &node.d};
    for (size_t i = 0;; i++) {
        if (!is_sign(p, ":") && !is_sign(p, "]")) BN_TRY(parse_expression(p, bounds[i]));
        if (take_sign(p, "]")) break;
        if (i == 2 || !is_sign(p, ":")) return unexpected(p, "]");
        p->at++;
        node.kind = BN_JINJA_SLICE;
    }
    if (node.kind == BN_JINJA_ITEM && node.b == 0) return unexpected(p, "an index");
    return make(p, node, out);
}

static bn_status parse_postfix(parser *p, uint32_t *node_inout)
{
    for (;;) {
        const bn_jinja_word *w = word(p);
        if (take_sign(p, ".")) {
            if (word(p)->kind != BN_JINJA_NAME) return unexpected(p, "a name");
            bn_jinja_node node = of_word(BN_JINJA_ATTRIBUTE, word(p));
            p->at++;
            node.a = *node_inout;
            BN_TRY(make(p, node, node_inout));
        } else if (take_sign(p, "[")) {
            BN_TRY(parse_subscript(p, *node_inout, node_inout));
        } else if (take_sign(p, "(")) {
            bn_jinja_node node = {.kind = BN_JINJA_CALL, .line = w->line, .a = *node_inout};
            BN_TRY(parse_items(p, ")", true, &node.b));
            BN_TRY(make(p, node, node_inout));
        } else {
            return BN_OK;
        }
    }
}

/* `is NAME`, `is not NAME`, with an argument in parentheses or a plain value behind it. */
static bn_status parse_test(parser *p, uint32_t *node_inout)
{
    bool is_negated = take_name(p, "not");
    const bn_jinja_word *name = NULL;
    BN_TRY(parse_name(p, "the name of a test", &name));
    bn_jinja_node node = of_word(BN_JINJA_TEST, name);
    node.a = *node_inout;
    node.number = is_negated;
    const bn_jinja_word *w = word(p);
    bool is_word = w->kind == BN_JINJA_NAME;
    static const char *const ends[] = {"else", "or", "and", "if", "is", "not", "in"};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        is_word &= !is_name(p, ends[i]);
    if (take_sign(p, "(")) {
        BN_TRY(parse_items(p, ")", true, &node.b));
    } else if (is_word || w->kind == BN_JINJA_STRING || w->kind == BN_JINJA_INTEGER ||
               is_sign(p, "[")) {
        BN_TRY(parse_primary(p, &node.b));
        BN_TRY(parse_postfix(p, &node.b));
    }
    return make(p, node, node_inout);
}

static bn_status parse_filters(parser *p, uint32_t *node_inout)
{
    for (;;) {
        if (take_sign(p, "|")) {
            const bn_jinja_word *name = NULL;
            BN_TRY(parse_name(p, "the name of a filter", &name));
            bn_jinja_node node = of_word(BN_JINJA_FILTER, name);
            node.a = *node_inout;
            if (take_sign(p, "(")) BN_TRY(parse_items(p, ")", true, &node.b));
            BN_TRY(make(p, node, node_inout));
        } else if (take_name(p, "is")) {
            BN_TRY(parse_test(p, node_inout));
        } else if (is_sign(p, "(")) {
            BN_TRY(parse_postfix(p, node_inout));
        } else {
            return BN_OK;
        }
    }
}

static bn_status parse_unary(parser *p, bool has_filters, uint32_t *out)
{
    const bn_jinja_word *w = word(p);
    if (++p->depth > BN_JINJA_DEPTH_MAX)
        return bn_jinja_fail(p->jinja, BN_ERR_LIMIT, w->line, "it is nested deeper than %u levels",
                             BN_JINJA_DEPTH_MAX);
    if (take_sign(p, "-")) {
        bn_jinja_node node = {.kind = BN_JINJA_NEGATE, .line = w->line};
        BN_TRY(parse_unary(p, false, &node.a));
        BN_TRY(make(p, node, out));
    } else {
        BN_TRY(parse_primary(p, out));
    }
    p->depth--;
    BN_TRY(parse_postfix(p, out));
    return has_filters ? parse_filters(p, out) : BN_OK;
}

typedef bn_status level(parser *p, uint32_t *out);

static bn_status parse_tight(parser *p, uint32_t *out)
{
    return parse_unary(p, true, out);
}

/* `next (SIGN next)*` for the signs of one level, all of which bind to the left. */
static bn_status parse_signs(parser *p, const char *const *signs, level *next, uint32_t *out)
{
    BN_TRY(next(p, out));
    for (;;) {
        const bn_jinja_word *w = word(p);
        size_t i = 0;
        while (signs[i] != NULL && !is_sign(p, signs[i]))
            i++;
        if (signs[i] == NULL) return BN_OK;
        p->at++;
        bn_jinja_node node = of_word(BN_JINJA_BINARY, w);
        node.a = *out;
        BN_TRY(next(p, &node.b));
        BN_TRY(make(p, node, out));
    }
}

static bn_status parse_product(parser *p, uint32_t *out)
{
    static const char *const signs[] = {"*", "//", "/", "%", "**", NULL};
    return parse_signs(p, signs, parse_tight, out);
}

static bn_status parse_joined(parser *p, uint32_t *out)
{
    static const char *const signs[] = {"~", NULL};
    return parse_signs(p, signs, parse_product, out);
}

static bn_status parse_sum(parser *p, uint32_t *out)
{
    static const char *const signs[] = {"+", "-", NULL};
    return parse_signs(p, signs, parse_joined, out);
}

/* One comparison; a chain of them means something else than it seems and is refused. */
static bn_status parse_comparison(parser *p, uint32_t *out)
{
    static const char *const signs[] = {"==", "!=", "<=", ">=", "<", ">"};
    BN_TRY(parse_sum(p, out));
    for (int n = 0;; n++) {
        const bn_jinja_word *w = word(p);
        bn_jinja_node node = of_word(BN_JINJA_BINARY, w);
        bool is_found = false;
        for (size_t i = 0; i < sizeof signs / sizeof *signs && !is_found; i++)
            is_found = take_sign(p, signs[i]);
        if (!is_found && take_name(p, "in")) is_found = true;
        if (!is_found && is_name(p, "not") && word(p)[1].kind == BN_JINJA_NAME &&
            bn_jinja_is(word(p)[1].text, word(p)[1].n, "in")) {
            p->at += 2;
            node.text = "not in";
            node.n = 6;
            is_found = true;
        }
        if (!is_found) return BN_OK;
        if (n > 0)
            return bn_jinja_fail(p->jinja, BN_ERR_UNSUPPORTED, w->line,
                                 "a chain of comparisons is not supported");
        node.a = *out;
        BN_TRY(parse_sum(p, &node.b));
        BN_TRY(make(p, node, out));
    }
}

static bn_status parse_not(parser *p, uint32_t *out)
{
    const bn_jinja_word *w = word(p);
    if (!take_name(p, "not")) return parse_comparison(p, out);
    if (++p->depth > BN_JINJA_DEPTH_MAX)
        return bn_jinja_fail(p->jinja, BN_ERR_LIMIT, w->line, "it is nested deeper than %u levels",
                             BN_JINJA_DEPTH_MAX);
    bn_jinja_node node = {.kind = BN_JINJA_NOT, .line = w->line};
    BN_TRY(parse_not(p, &node.a));
    p->depth--;
    return make(p, node, out);
}

static bn_status parse_words(parser *p, const char *name, bn_jinja_node_kind kind, level *next,
                             uint32_t *out)
{
    BN_TRY(next(p, out));
    while (is_name(p, name)) {
        bn_jinja_node node = {.kind = kind, .line = word(p)->line, .a = *out};
        p->at++;
        BN_TRY(next(p, &node.b));
        BN_TRY(make(p, node, out));
    }
    return BN_OK;
}

static bn_status parse_and(parser *p, uint32_t *out)
{
    return parse_words(p, "and", BN_JINJA_AND, parse_not, out);
}

static bn_status parse_or(parser *p, uint32_t *out)
{
    return parse_words(p, "or", BN_JINJA_OR, parse_and, out);
}

static bn_status parse_expression(parser *p, uint32_t *out)
{
    if (++p->depth > BN_JINJA_DEPTH_MAX)
        return bn_jinja_fail(p->jinja, BN_ERR_LIMIT, word(p)->line,
                             "it is nested deeper than %u levels", BN_JINJA_DEPTH_MAX);
    BN_TRY(parse_or(p, out));
    while (is_name(p, "if")) {
        bn_jinja_node node = {.kind = BN_JINJA_CONDITIONAL, .line = word(p)->line, .a = *out};
        p->at++;
        BN_TRY(parse_or(p, &node.b));
        if (take_name(p, "else")) BN_TRY(parse_expression(p, &node.c));
        BN_TRY(make(p, node, out));
    }
    p->depth--;
    return BN_OK;
}

static bn_status end_block(parser *p)
{
    if (word(p)->kind != BN_JINJA_BLOCK_END) return unexpected(p, "%}");
    p->at++;
    return BN_OK;
}

/* {% NAME, which the caller knows to stand here; its end when `ends`. */
static bool is_block(const parser *p, const char *name)
{
    return word(p)->kind == BN_JINJA_BLOCK_BEGIN && word(p)[1].kind == BN_JINJA_NAME &&
           bn_jinja_is(word(p)[1].text, word(p)[1].n, name);
}

static bool take_block(parser *p, const char *name)
{
    if (!is_block(p, name)) return false;
    p->at += 2;
    return true;
}

/* Behind `if` or `elif`. */
static bn_status parse_if(parser *p, uint32_t line, uint32_t *out)
{
    bn_jinja_node node = {.kind = BN_JINJA_IF, .line = line};
    if (++p->depth > BN_JINJA_DEPTH_MAX)
        return bn_jinja_fail(p->jinja, BN_ERR_LIMIT, line, "it is nested deeper than %u levels",
                             BN_JINJA_DEPTH_MAX);
    BN_TRY(parse_expression(p, &node.a));
    BN_TRY(end_block(p));
    BN_TRY(parse_body(p, &node.b));
    uint32_t else_line = word(p)->line;
    if (take_block(p, "elif")) {
        BN_TRY(parse_if(p, else_line, &node.c)); /* which takes the endif */
    } else {
        if (take_block(p, "else")) {
            BN_TRY(end_block(p));
            BN_TRY(parse_body(p, &node.c));
        }
        if (!take_block(p, "endif")) return unexpected(p, "{% endif %}");
        BN_TRY(end_block(p));
    }
    p->depth--;
    return make(p, node, out);
}

static bn_status parse_for(parser *p, uint32_t *out)
{
    const bn_jinja_word *name = NULL;
    BN_TRY(parse_name(p, "the name of a variable", &name));
    bn_jinja_node node = of_word(BN_JINJA_FOR, name);
    if (is_sign(p, ","))
        return bn_jinja_fail(p->jinja, BN_ERR_UNSUPPORTED, name->line,
                             "for with more than one variable is not supported");
    if (!take_name(p, "in")) return unexpected(p, "in");
    BN_TRY(parse_or(p, &node.a));
    if (take_name(p, "if")) BN_TRY(parse_expression(p, &node.d));
    BN_TRY(end_block(p));
    BN_TRY(parse_body(p, &node.b));
    if (take_block(p, "else")) {
        BN_TRY(end_block(p));
        BN_TRY(parse_body(p, &node.c));
    }
    if (!take_block(p, "endfor")) return unexpected(p, "{% endfor %}");
    BN_TRY(end_block(p));
    return make(p, node, out);
}

static bn_status parse_set(parser *p, uint32_t *out)
{
    const bn_jinja_word *name = NULL, *attribute = NULL;
    BN_TRY(parse_name(p, "the name of a variable", &name));
    bn_jinja_node node = of_word(BN_JINJA_SET, name);
    if (take_sign(p, ".")) {
        BN_TRY(parse_name(p, "the name of an attribute", &attribute));
        BN_TRY(make(p, of_word(BN_JINJA_VARIABLE, attribute), &node.b));
    }
    if (!take_sign(p, "="))
        return bn_jinja_fail(p->jinja, BN_ERR_UNSUPPORTED, name->line,
                             "set of a block, or of more than one variable, is not supported");
    BN_TRY(parse_expression(p, &node.a));
    BN_TRY(end_block(p));
    return make(p, node, out);
}

static bn_status parse_block(parser *p, uint32_t *out)
{
    uint32_t line = word(p)->line;
    if (take_block(p, "if")) return parse_if(p, line, out);
    if (take_block(p, "for")) return parse_for(p, out);
    if (take_block(p, "set")) return parse_set(p, out);
    p->at++;
    const bn_jinja_word *w = word(p);
    if (w->kind != BN_JINJA_NAME) return unexpected(p, "the name of a statement");
    return bn_jinja_fail(p->jinja, BN_ERR_UNSUPPORTED, line, "the statement %.*s is not supported",
                         (int)(w->n < 64 ? w->n : 64), w->text);
}

static bn_status parse_statement(parser *p, uint32_t *out)
{
    const bn_jinja_word *w = word(p);
    if (w->kind == BN_JINJA_BLOCK_BEGIN) return parse_block(p, out);
    p->at++;
    if (w->kind == BN_JINJA_DATA) return make(p, of_word(BN_JINJA_TEXT, w), out);
    bn_jinja_node node = {.kind = BN_JINJA_PRINT, .line = w->line};
    BN_TRY(parse_expression(p, &node.a));
    if (word(p)->kind != BN_JINJA_PRINT_END) return unexpected(p, "}}");
    p->at++;
    return make(p, node, out);
}

static bool ends_body(const parser *p)
{
    static const char *const ends[] = {"elif", "else", "endif", "endfor"};
    if (word(p)->kind == BN_JINJA_END) return true;
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (is_block(p, ends[i])) return true;
    return false;
}

/* Statements up to a block that ends them, which stays. */
static bn_status parse_body(parser *p, uint32_t *out)
{
    uint32_t last = 0;
    *out = 0;
    if (++p->depth > BN_JINJA_DEPTH_MAX)
        return bn_jinja_fail(p->jinja, BN_ERR_LIMIT, word(p)->line,
                             "it is nested deeper than %u levels", BN_JINJA_DEPTH_MAX);
    while (!ends_body(p)) {
        uint32_t statement = 0;
        BN_TRY(parse_statement(p, &statement));
        if (last == 0)
            *out = statement;
        else
            p->jinja->nodes[last].next = statement;
        last = statement;
    }
    p->depth--;
    return BN_OK;
}

bn_status bn_jinja_parser_run(bn_jinja *jinja)
{
    parser p = {.jinja = jinja};
    BN_TRY(parse_body(&p, &jinja->body));
    return word(&p)->kind == BN_JINJA_END ? BN_OK : unexpected(&p, "the end of the template");
}
