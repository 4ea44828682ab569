/* jinja_tree.h — inside of jinja: words of the language, and the tree that they make. */
#ifndef BN_COORDINATOR_JINJA_TREE_H
#define BN_COORDINATOR_JINJA_TREE_H

#include "coordinator/jinja.h"

typedef enum bn_jinja_word_kind {
    BN_JINJA_END, /* of the template */
    BN_JINJA_DATA,
    BN_JINJA_PRINT_BEGIN, /* {{ */
    BN_JINJA_PRINT_END,
    BN_JINJA_BLOCK_BEGIN, /* {% */
    BN_JINJA_BLOCK_END,
    BN_JINJA_NAME,
    BN_JINJA_STRING,
    BN_JINJA_INTEGER,
    BN_JINJA_SIGN, /* + == [ … */
} bn_jinja_word_kind;

typedef struct bn_jinja_word {
    bn_jinja_word_kind kind;
    uint32_t line;
    const char *text; /* of a string: unescaped */
    size_t n;
    int64_t number;
} bn_jinja_word;

typedef enum bn_jinja_node_kind {
    /* statements */
    BN_JINJA_TEXT,
    BN_JINJA_PRINT, /* a */
    BN_JINJA_IF,    /* a: condition, b: body, c: else */
    BN_JINJA_FOR,   /* text: the variable; a: over, b: body, c: else, d: condition or none */
    BN_JINJA_SET,   /* text: the variable; a: value; b: a name node when an attribute is set */
    /* expressions */
    BN_JINJA_LITERAL, /* text */
    BN_JINJA_NUMBER,
    BN_JINJA_CONSTANT,  /* number: 0 false, 1 true, 2 none */
    BN_JINJA_VARIABLE,  /* text */
    BN_JINJA_LIST,      /* a: first item, linked by next */
    BN_JINJA_ATTRIBUTE, /* a, text */
    BN_JINJA_ITEM,      /* a, b */
    BN_JINJA_SLICE,     /* a; b: start, c: stop, d: step */
    BN_JINJA_CALL,      /* a; b: first argument, linked by next */
    BN_JINJA_KEYWORD,   /* an argument with a name: text, a */
    BN_JINJA_FILTER,    /* a; text; b: arguments */
    BN_JINJA_TEST,      /* a; text; b: argument; number 1: negated */
    BN_JINJA_NOT,
    BN_JINJA_NEGATE,
    BN_JINJA_AND,
    BN_JINJA_OR,
    BN_JINJA_BINARY,      /* a text b */
    BN_JINJA_CONDITIONAL, /* a if b else c */
} bn_jinja_node_kind;

/* Nodes are known by their index; 0 is none. */
typedef struct bn_jinja_node {
    bn_jinja_node_kind kind;
    uint32_t line, depth;
    uint32_t a, b, c, d;
    uint32_t next; /* in a body or a list of arguments */
    const char *text;
    size_t n;
    int64_t number;
} bn_jinja_node;

struct bn_jinja {
    char *name;
    char *source;  /* newlines as \n, without the last one */
    char *strings; /* unescaped */
    size_t n_source, n_strings;
    bn_jinja_word *words;
    uint32_t n_words;
    bn_jinja_node *nodes;
    uint32_t n_nodes, n_nodes_allocated;
    uint32_t body;
};

/* Fills `words`, ending with BN_JINJA_END. */
BN_CHECKED bn_status bn_jinja_lexer_run(bn_jinja *jinja);
/* Fills `nodes` and `body`. */
BN_CHECKED bn_status bn_jinja_parser_run(bn_jinja *jinja);

/* One format for every error: "chat template NAME, line N: …". */
bn_status bn_jinja_fail(const bn_jinja *jinja, bn_status status, uint32_t line, const char *format,
                        ...) __attribute__((format(printf, 4, 5)));

static inline bool bn_jinja_is(const char *text, size_t n, const char *wanted)
{
    return n == __builtin_strlen(wanted) && __builtin_memcmp(text, wanted, n) == 0;
}

#endif
