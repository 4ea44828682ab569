/* jinja.h — chat templates: the part of the Jinja language that published ones are written in.
 *
 * Literals, variables, attributes, items and slices; for (with loop), if, set (also of a
 * namespace's attribute), comments, white space control; + ~ - * // % comparisons, in, and, or,
 * not, inline if; the filters, tests, methods and functions of jinja_call.c. Text is as Python's
 * jinja2 makes it with trim_blocks and lstrip_blocks, which is how transformers sets it up. What is
 * not of this part is an error that names it and its line, never a guess.
 *
 * Every byte of the output carries a mark: 0 when the template wrote it, else the mark of the
 * message whose text it comes from. Marks follow the bytes through slices, strips and sums, so that
 * whoever reads the output can tell a control token that the template wrote from one that a person
 * typed.
 *
 * Memory:  a parsed template owns a copy of its text; one rendering has at most
 *          BN_JINJA_MEMORY_MAX, freed with the output.
 * Threads: a parsed template is read-only: any.
 * Errors:  BN_ERR_UNSUPPORTED for what is not known here; BN_ERR_BAD_FILE for what is not Jinja or
 *          fails there, too; BN_ERR_REFUSED with the text of raise_exception; BN_ERR_LIMIT. Each
 *          names the template and the line.
 */
#ifndef BN_COORDINATOR_JINJA_H
#define BN_COORDINATOR_JINJA_H

#include "common/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BN_JINJA_TEXT_MAX (1u << 18)   /* bytes of a template */
#define BN_JINJA_NODES_MAX (1u << 16)  /* of its tree */
#define BN_JINJA_DEPTH_MAX 128u        /* of its tree, and of nested blocks */
#define BN_JINJA_STEPS_MAX (1u << 22)  /* nodes visited by one rendering */
#define BN_JINJA_VARIABLES_MAX 256u    /* at one moment */
#define BN_JINJA_MEMORY_MAX (1u << 28) /* bytes of one rendering */
#define BN_JINJA_MARKS 3u
#define BN_JINJA_MESSAGES_MAX (1u << 16)

typedef struct bn_jinja bn_jinja;

typedef struct bn_jinja_message {
    const char *role; /* counts as the template's own text */
    const char *text;
    size_t n;
    uint8_t mark; /* of the text's bytes: 1 or more, below BN_JINJA_MARKS */
} bn_jinja_message;

typedef struct bn_jinja_input {
    const bn_jinja_message *messages;
    size_t n_messages;
    const char *bos_token, *eos_token; /* NULL: undefined */
    bool add_generation_prompt;
} bn_jinja_input;

typedef struct bn_jinja_output {
    char *text;
    uint8_t *marks; /* [n] */
    size_t n;
} bn_jinja_output;

/* `name` is shown in errors. */
BN_CHECKED bn_status bn_jinja_parse(const char *name, const char *text, size_t n,
                                    bn_jinja **jinja_out);
void bn_jinja_destroy(bn_jinja *jinja);

BN_CHECKED bn_status bn_jinja_render(const bn_jinja *jinja, const bn_jinja_input *input,
                                     bn_jinja_output *output);
void bn_jinja_output_fini(bn_jinja_output *output);

#endif
