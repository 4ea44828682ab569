/* json.c — a bn_json is a json_t of jansson, under another name.
 *
 * A value that could not be made is remembered in the tree itself: its parent
 * gets a string that is not UTF-8, which the library refuses to print. Where
 * even that finds no memory, every later print of the process fails.
 */
#include "common/json.h"

#include "common/alloc.h"
#include "common/log.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdatomic.h>
#include <string.h>

#define INDENT_MAX 31

static atomic_bool is_memory_lost;

static json_t *node_of(bn_json *value)
{
    return (json_t *)value;
}

static const json_t *const_node_of(const bn_json *value)
{
    return (const json_t *)value;
}

static void mark_broken(json_t *parent)
{
    int code = -1;
    json_t *poison = json_stringn_nocheck("\xff", 1);
    if (poison != NULL)
        code = json_is_array(parent) ? json_array_append_new(parent, poison)
                                     : json_object_set_new_nocheck(parent, "broken", poison);
    if (code != 0) atomic_store(&is_memory_lost, true);
}

bn_json *bn_json_object(void)
{
    return (bn_json *)json_object();
}

bn_json *bn_json_array(void)
{
    return (bn_json *)json_array();
}

static void set_node(bn_json *object, const char *key, json_t *node)
{
    if (object == NULL) {
        json_decref(node);
        return;
    }
    if (node == NULL || json_object_set_new(node_of(object), key, node) != 0)
        mark_broken(node_of(object));
}

static void add_node(bn_json *array, json_t *node)
{
    if (array == NULL) {
        json_decref(node);
        return;
    }
    if (node == NULL || json_array_append_new(node_of(array), node) != 0)
        mark_broken(node_of(array));
}

/* The length of the well-formed UTF-8 character at `text`, 0 if there is none. */
static size_t character_bytes(const unsigned char *text)
{
    unsigned char lead = text[0];
    if (lead < 0x80) return 1;
    size_t n = lead >= 0xc2 && lead <= 0xdf   ? 2
               : (lead & 0xf0u) == 0xe0       ? 3
               : lead >= 0xf0 && lead <= 0xf4 ? 4
                                              : 0;
    for (size_t i = 1; i < n; i++)
        if ((text[i] & 0xc0u) != 0x80) return 0; /* stops at NUL, too */
    bool is_overlong = (lead == 0xe0 && text[1] < 0xa0) || (lead == 0xf0 && text[1] < 0x90);
    bool is_surrogate = lead == 0xed && text[1] >= 0xa0;
    bool is_too_large = lead == 0xf4 && text[1] >= 0x90;
    return is_overlong || is_surrogate || is_too_large ? 0 : n;
}

static json_t *text_node(const char *text)
{
    static const char replacement[] = "\xef\xbf\xbd";
    if (text == NULL) return json_null();
    size_t size;
    if (!bn_mul_size(strlen(text), 3, &size)) return NULL;
    char *clean = bn_alloc(size + 1, 1);
    if (clean == NULL) return NULL;
    size_t n_out = 0;
    for (const unsigned char *at = (const unsigned char *)text; *at != '\0';) {
        size_t n = character_bytes(at);
        memcpy(clean + n_out, n > 0 ? (const char *)at : replacement, n > 0 ? n : 3);
        n_out += n > 0 ? n : 3;
        at += n > 0 ? n : 1;
    }
    json_t *node = json_stringn(clean, n_out);
    bn_free(clean);
    return node;
}

static json_t *u64_node(uint64_t value)
{
    /* The library's integers are signed; what does not fit keeps its digits as text. */
    if (value <= INT64_MAX) return json_integer((json_int_t)value);
    return json_sprintf("%llu", (unsigned long long)value);
}

void bn_json_set(bn_json *object, const char *key, bn_json *value)
{
    set_node(object, key, node_of(value));
}

void bn_json_set_u64(bn_json *object, const char *key, uint64_t value)
{
    set_node(object, key, u64_node(value));
}

static json_t *double_node(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

void bn_json_set_double(bn_json *object, const char *key, double value)
{
    set_node(object, key, double_node(value));
}

void bn_json_set_bool(bn_json *object, const char *key, bool value)
{
    set_node(object, key, json_boolean(value));
}

void bn_json_set_text(bn_json *object, const char *key, const char *text)
{
    set_node(object, key, text_node(text));
}

void bn_json_add(bn_json *array, bn_json *value)
{
    add_node(array, node_of(value));
}

void bn_json_add_u64(bn_json *array, uint64_t value)
{
    add_node(array, u64_node(value));
}

void bn_json_add_double(bn_json *array, double value)
{
    add_node(array, double_node(value));
}

void bn_json_add_text(bn_json *array, const char *text)
{
    add_node(array, text_node(text));
}

bn_status bn_json_print(const bn_json *value, FILE *stream, uint32_t indent)
{
    size_t flags = JSON_PRESERVE_ORDER | JSON_ENCODE_ANY | JSON_REAL_PRECISION(17) |
                   JSON_INDENT((size_t)(indent > INDENT_MAX ? INDENT_MAX : indent));
    bool is_whole = value != NULL && !atomic_load(&is_memory_lost);
    int code = is_whole ? json_dumpf(const_node_of(value), stream, flags) : -1;
    if (code == 0 && fputc('\n', stream) != EOF && fflush(stream) == 0) return BN_OK;
    if (ferror(stream)) return bn_fail(BN_ERR_IO, "JSON-PRINT", "cannot write JSON: output closed");
    return bn_fail(BN_ERR_NO_MEMORY, "JSON-PRINT", "no memory to build JSON");
}

/* Before the library sees the text: it allows 2048 levels, whose walk would need a deep stack, and
 * makes as many values as it finds. */
static bn_status check_extent(const char *text, size_t n, const char *what)
{
    uint32_t depth = 0;
    size_t n_values = 1;
    bool is_in_string = false;
    for (size_t i = 0; i < n; i++) {
        char c = text[i];
        if (is_in_string) {
            if (c == '\\') i++;
            if (c == '"') is_in_string = false;
        } else if (c == '"') {
            is_in_string = true;
        } else if (c == '[' || c == '{') {
            n_values++;
            if (++depth > BN_JSON_DEPTH_MAX)
                return bn_fail(BN_ERR_LIMIT, "JSON-PARSE", "%s nested deeper than %u levels", what,
                               BN_JSON_DEPTH_MAX);
        } else if (c == ']' || c == '}') {
            if (depth > 0) depth--;
        } else if (c == ',') {
            n_values++;
        }
    }
    if (n_values <= BN_JSON_VALUES_MAX) return BN_OK;
    return bn_fail(BN_ERR_LIMIT, "JSON-PARSE", "%s has %zu values; at most %u are possible", what,
                   n_values, BN_JSON_VALUES_MAX);
}

static bn_status load(const char *text, size_t n, const char *what, json_error_t *error,
                      bn_json **value_out)
{
    BN_TRY(check_extent(text, n, what));
    json_t *node = json_loadb(text, n, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, error);
    *value_out = (bn_json *)node;
    return BN_OK;
}

static bn_status parse(const char *text, size_t n, const char *what, bn_status bad,
                       bn_json **value_out)
{
    json_error_t error;
    bn_json *value = NULL;
    BN_TRY(load(text, n, what, &error, &value));
    if (value == NULL)
        return bn_fail(bad, "JSON-PARSE", "%s, line %d, column %d: %s", what, error.line,
                       error.column, error.text);
    *value_out = value;
    return BN_OK;
}

bn_status bn_json_parse(const char *text, size_t n, bn_json **value_out)
{
    return parse(text, n, "JSON", BN_ERR_BAD_MESSAGE, value_out);
}

bn_status bn_json_parse_line(const char *text, size_t n, const char *name, bn_json **value_out)
{
    json_error_t error;
    bn_json *value = NULL;
    BN_TRY(load(text, n, name, &error, &value));
    if (value == NULL)
        return bn_fail(BN_ERR_BAD_FILE, "JSON-PARSE", "%s, column %d: %s", name, error.column,
                       error.text);
    *value_out = value;
    return BN_OK;
}

static bn_status read_text(const char *path, FILE *stream, size_t n_max, char **text_out,
                           size_t *n_out)
{
    size_t n = 0, capacity = 65536;
    char *text = bn_alloc(capacity, 1);
    while (text != NULL) {
        size_t wanted = capacity - n, n_read = fread(text + n, 1, wanted, stream);
        n += n_read;
        if (n > n_max || ferror(stream) || n_read < wanted) break;
        char *grown = bn_realloc(text, capacity *= 2, 1);
        if (grown == NULL) bn_free(text);
        text = grown;
    }
    bn_status status = BN_OK;
    if (text == NULL)
        status = bn_fail(BN_ERR_NO_MEMORY, "JSON-READ", "no memory to read %s", path);
    else if (ferror(stream))
        status = bn_fail(BN_ERR_IO, "JSON-READ", "cannot read %s: %s", path, strerror(errno));
    else if (n > n_max)
        status = bn_fail(BN_ERR_LIMIT, "JSON-READ",
                         "%s has more than %zu bytes, which is the most it may have", path, n_max);
    if (status != BN_OK) bn_free(text);
    if (status != BN_OK) return status;
    *text_out = text;
    *n_out = n;
    return BN_OK;
}

bn_status bn_json_read(const char *path, size_t n_max, bn_json **value_out)
{
    char *text = NULL;
    size_t n = 0;
    FILE *stream = fopen(path, "re");
    if (stream == NULL)
        return bn_fail(BN_ERR_IO, "JSON-READ", "cannot open %s: %s", path, strerror(errno));
    bn_status status = read_text(path, stream, n_max, &text, &n);
    fclose(stream);
    if (status != BN_OK) return status;
    status = parse(text, n, path, BN_ERR_BAD_FILE, value_out);
    bn_free(text);
    return status;
}

bool bn_json_is_array(const bn_json *value)
{
    return value != NULL && json_is_array(const_node_of(value));
}

bool bn_json_is_object(const bn_json *value)
{
    return value != NULL && json_is_object(const_node_of(value));
}

bool bn_json_is_null(const bn_json *value)
{
    return value != NULL && json_is_null(const_node_of(value));
}

size_t bn_json_length(const bn_json *array_or_object)
{
    if (array_or_object == NULL) return 0;
    const json_t *node = const_node_of(array_or_object);
    return json_is_object(node) ? json_object_size(node) : json_array_size(node);
}

const bn_json *bn_json_at(const bn_json *array, size_t index)
{
    return array == NULL ? NULL : (const bn_json *)json_array_get(const_node_of(array), index);
}

const bn_json *bn_json_get(const bn_json *object, const char *name)
{
    return object == NULL ? NULL : (const bn_json *)json_object_get(const_node_of(object), name);
}

bool bn_json_next(const bn_json *object, bn_json_member *member)
{
    if (!bn_json_is_object(object)) return false;
    /* The library's walk takes a tree that could change; nothing here changes it. */
    json_t *node = (json_t *)(uintptr_t)object;
    member->place =
        member->place == NULL ? json_object_iter(node) : json_object_iter_next(node, member->place);
    if (member->place == NULL) return false;
    member->name = json_object_iter_key(member->place);
    member->value = (const bn_json *)json_object_iter_value(member->place);
    return true;
}

bool bn_json_as_u64(const bn_json *value, uint64_t *value_out)
{
    if (value == NULL || !json_is_integer(const_node_of(value))) return false;
    json_int_t number = json_integer_value(const_node_of(value));
    if (number < 0) return false;
    *value_out = (uint64_t)number;
    return true;
}

bool bn_json_as_double(const bn_json *value, double *value_out)
{
    if (value == NULL || !json_is_number(const_node_of(value))) return false;
    *value_out = json_number_value(const_node_of(value));
    return true;
}

bool bn_json_as_bool(const bn_json *value, bool *value_out)
{
    if (value == NULL || !json_is_boolean(const_node_of(value))) return false;
    *value_out = json_is_true(const_node_of(value));
    return true;
}

bool bn_json_as_text(const bn_json *value, const char **text_out)
{
    if (value == NULL || !json_is_string(const_node_of(value))) return false;
    *text_out = json_string_value(const_node_of(value));
    return true;
}

void bn_json_free(bn_json *value)
{
    json_decref(node_of(value));
}
