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
void bn_json_add_text(bn_json *array, const char *text);

/* `indent` 0 is one line. A newline follows. */
BN_CHECKED bn_status bn_json_print(const bn_json *value, FILE *stream, uint32_t indent);

/* Parses n bytes, at most 64 levels deep. On failure the message names line and column. */
BN_CHECKED bn_status bn_json_parse(const char *text, size_t n, bn_json **value_out);
bool bn_json_is_array(const bn_json *value);
size_t bn_json_length(const bn_json *array);
const bn_json *bn_json_at(const bn_json *array, size_t index);
/* False when the value is not an integer in [0, 2^63). */
bool bn_json_as_u64(const bn_json *value, uint64_t *value_out);

void bn_json_free(bn_json *value);

#endif
