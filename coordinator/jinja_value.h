/* jinja_value.h — inside of jinja: what expressions come to, and the memory of one rendering. */
#ifndef BN_COORDINATOR_JINJA_VALUE_H
#define BN_COORDINATOR_JINJA_VALUE_H

#include "coordinator/jinja_tree.h"

typedef enum bn_jinja_type {
    BN_JINJA_UNDEFINED,
    BN_JINJA_NONE,
    BN_JINJA_BOOL,
    BN_JINJA_INT,
    BN_JINJA_TEXT_VALUE,
    BN_JINJA_ARRAY,
    BN_JINJA_MESSAGE,
    BN_JINJA_LOOP,
    BN_JINJA_NAMESPACE,
} bn_jinja_type;

/* Bytes and their marks; slices share them. */
typedef struct bn_jinja_text {
    const char *bytes;
    const uint8_t *marks;
    size_t n;
} bn_jinja_text;

typedef struct bn_jinja_value bn_jinja_value;

typedef struct bn_jinja_array {
    const bn_jinja_value *items;
    size_t n;
} bn_jinja_array;

typedef struct bn_jinja_loop {
    bn_jinja_array over;
    size_t index;
} bn_jinja_loop;

typedef struct bn_jinja_space bn_jinja_space;

struct bn_jinja_value {
    bn_jinja_type type;
    union {
        int64_t number; /* and bool */
        bn_jinja_text text;
        bn_jinja_array array;
        const bn_jinja_message *message;
        const bn_jinja_loop *loop;
        bn_jinja_space *space;
    };
};

/* Names with values: a namespace. */
typedef struct bn_jinja_variable {
    bn_jinja_text name;
    bn_jinja_value value;
} bn_jinja_variable;

struct bn_jinja_space {
    bn_jinja_variable variables[16];
    uint32_t n;
};

/* One rendering. */
typedef struct bn_jinja_chunk bn_jinja_chunk;

typedef struct bn_jinja_run {
    const bn_jinja *jinja;
    const bn_jinja_input *input;
    bn_jinja_chunk *chunks;
    size_t n_memory;
    uint32_t n_steps;
    uint32_t line; /* of the node at work */
    bn_jinja_variable variables[BN_JINJA_VARIABLES_MAX];
    uint32_t n_variables, scope;          /* `set` writes from index `scope` on */
    const uint8_t *marks[BN_JINJA_MARKS]; /* of texts that are in one piece, by their mark */
    size_t n_marks[BN_JINJA_MARKS];
    bn_jinja_output *output;
    size_t output_capacity;
} bn_jinja_run;

/* 16-byte aligned, not zeroed; freed with the run. */
BN_CHECKED bn_status bn_jinja_value_take(bn_jinja_run *run, size_t n, void **memory_out);
void bn_jinja_value_release(bn_jinja_run *run);

/* A new text of n bytes to fill. */
BN_CHECKED bn_status bn_jinja_value_new_text(bn_jinja_run *run, size_t n, char **bytes_out,
                                             uint8_t **marks_out, bn_jinja_value *value_out);
BN_CHECKED bn_status bn_jinja_value_join(bn_jinja_run *run, bn_jinja_text a, bn_jinja_text b,
                                         bn_jinja_value *value_out);
/* A text that is kept by reference, all of one mark. */
BN_CHECKED bn_status bn_jinja_value_view(bn_jinja_run *run, const char *bytes, size_t n,
                                         uint8_t mark, bn_jinja_value *value_out);

/* One step, and more for a long text: what looks at every byte of it. */
BN_CHECKED bn_status bn_jinja_value_charge(bn_jinja_run *run, const bn_jinja_value *value);

bn_jinja_value bn_jinja_value_of_text(bn_jinja_text text);
bn_jinja_value bn_jinja_value_of_int(int64_t number);
bn_jinja_value bn_jinja_value_of_bool(bool truth);

/* "a text", "none", … for messages. */
const char *bn_jinja_value_kind(const bn_jinja_value *value);
bool bn_jinja_value_is_true(const bn_jinja_value *value);
bool bn_jinja_value_equal(const bn_jinja_value *a, const bn_jinja_value *b);
/* As {{ }} prints it. */
BN_CHECKED bn_status bn_jinja_value_to_text(bn_jinja_run *run, const bn_jinja_value *value,
                                            bn_jinja_text *text_out);

/* Characters, not bytes. */
size_t bn_jinja_value_length(bn_jinja_text text);
/* The part [begin, end) of characters. */
bn_jinja_text bn_jinja_value_part(bn_jinja_text text, size_t begin, size_t end);
/* What Python's str.isspace takes. */
bool bn_jinja_value_is_space(uint32_t code);
/* Without the characters of `set` (NULL: white space) at its ends. */
bn_jinja_text bn_jinja_value_strip(bn_jinja_text text, const bn_jinja_text *set, bool left,
                                   bool right);
/* The place of `part` in `text` from byte `from` on, or SIZE_MAX. */
size_t bn_jinja_value_find(bn_jinja_text text, bn_jinja_text part, size_t from);

/* jinja_call.c: everything that is called by name. */
BN_CHECKED bn_status bn_jinja_call_filter(bn_jinja_run *run, const bn_jinja_node *node,
                                          const bn_jinja_value *of, const bn_jinja_value *arguments,
                                          size_t n_arguments, bn_jinja_value *value_out);
BN_CHECKED bn_status bn_jinja_call_method(bn_jinja_run *run, const bn_jinja_node *node,
                                          const bn_jinja_value *of, const bn_jinja_value *arguments,
                                          size_t n_arguments, bn_jinja_value *value_out);
BN_CHECKED bn_status bn_jinja_call_test(bn_jinja_run *run, const bn_jinja_node *node,
                                        const bn_jinja_value *of, const bn_jinja_value *arguments,
                                        size_t n_arguments, bool *truth_out);
BN_CHECKED bn_status bn_jinja_call_function(bn_jinja_run *run, const bn_jinja_node *node,
                                            const bn_jinja_value *arguments, size_t n_arguments,
                                            bn_jinja_value *value_out);

/* jinja_eval.c */
BN_CHECKED bn_status bn_jinja_eval(bn_jinja_run *run, uint32_t index, bn_jinja_value *value_out);
BN_CHECKED bn_status bn_jinja_eval_set(bn_jinja_run *run, const bn_jinja_node *name,
                                       bn_jinja_value value);

#endif
