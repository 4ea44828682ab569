/* json.h — building, reading and printing JSON; the one file that knows the library.
 *
 * Memory:  a value is owned by whoever made it until it is added to a parent,
 *          which then owns it. bn_json_free frees a tree.
 * Errors:  building returns NULL when memory is short; adding NULL is ignored and
 *          makes bn_json_print fail, so builders need one check, at the end.
 */
#ifndef BN_COMMON_JSON_H
#define BN_COMMON_JSON_H

#include "common/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define BN_JSON_DEPTH_MAX 64u
#define BN_JSON_VALUES_MAX (1u << 22) /* some 100 bytes of memory each */

typedef struct bn_json bn_json;

bn_json *bn_json_object(void);
bn_json *bn_json_array(void);
void bn_json_set(bn_json *object, const char *key, bn_json *value);
void bn_json_set_u64(bn_json *object, const char *key, uint64_t value);
void bn_json_set_double(bn_json *object, const char *key, double value);
void bn_json_set_bool(bn_json *object, const char *key, bool value);
/* Bytes that are not UTF-8 become U+FFFD. */
void bn_json_set_text(bn_json *object, const char *key, const char *text);
void bn_json_add(bn_json *array, bn_json *value);
void bn_json_add_u64(bn_json *array, uint64_t value);
void bn_json_add_double(bn_json *array, double value);
void bn_json_add_text(bn_json *array, const char *text);

/* `indent` 0 is one line. A newline follows. */
BN_CHECKED bn_status bn_json_print(const bn_json *value, FILE *stream, uint32_t indent);

/* Parses n bytes, at most BN_JSON_DEPTH_MAX levels deep and of at most BN_JSON_VALUES_MAX values;
 * a name twice in one object is refused. On failure the message names line and column. */
BN_CHECKED bn_status bn_json_parse(const char *text, size_t n, bn_json **value_out);

/* The same for one line of a file; `name` says which ("questions.jsonl, line 3") in messages. What
 * is not JSON is BN_ERR_BAD_FILE. */
BN_CHECKED bn_status bn_json_parse_line(const char *text, size_t n, const char *name,
                                        bn_json **value_out);

/* Parses a file of at most n_max bytes; every message names the file. BN_ERR_IO when it cannot be
 * read, BN_ERR_BAD_FILE when it is not JSON, BN_ERR_LIMIT when it is too large. */
BN_CHECKED bn_status bn_json_read(const char *path, size_t n_max, bn_json **value_out);

/* Looking: NULL is a value of no kind, so that a path of lookups needs one check at its end. */
bool bn_json_is_array(const bn_json *value);
bool bn_json_is_object(const bn_json *value);
bool bn_json_is_null(const bn_json *value); /* the literal null, not an absent value */
size_t bn_json_length(const bn_json *array_or_object);
const bn_json *bn_json_at(const bn_json *array, size_t index);
/* NULL when `object` is no object or has no such member. */
const bn_json *bn_json_get(const bn_json *object, const char *name);

/* Walks an object in the order of the text: false after the last member.
 *     for (bn_json_member m = {0}; bn_json_next(object, &m);) … */
typedef struct bn_json_member {
    const char *name; /* NUL-terminated; without NUL inside */
    const bn_json *value;
    void *place; /* of the library's */
} bn_json_member;

bool bn_json_next(const bn_json *object, bn_json_member *member);

/* False when the value is not of that kind; then *out stays. */
bool bn_json_as_u64(const bn_json *value, uint64_t *value_out); /* an integer in [0, 2^63) */
bool bn_json_as_double(const bn_json *value, double *value_out);
bool bn_json_as_bool(const bn_json *value, bool *value_out);
/* UTF-8, NUL-terminated, valid while the tree is; NUL inside is possible in no text. */
bool bn_json_as_text(const bn_json *value, const char **text_out);

void bn_json_free(bn_json *value);

#endif
