/* jinja_value.c — chunks of memory that die together; texts with a mark beside each byte. */
#include "coordinator/jinja_value.h"

#include "common/alloc.h"
#include "coordinator/unicode.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define CHUNK_BYTES 65536u
#define ALIGNMENT 16u
#define BYTES_PER_STEP 256u

struct bn_jinja_chunk {
    bn_jinja_chunk *next;
    size_t n, used;
    _Alignas(ALIGNMENT) unsigned char bytes[];
};

bn_status bn_jinja_value_take(bn_jinja_run *run, size_t n, void **memory_out)
{
    bn_jinja_chunk *chunk = run->chunks;
    if (n > BN_JINJA_MEMORY_MAX)
        return bn_jinja_fail(run->jinja, BN_ERR_LIMIT, run->line,
                             "it needs more than %u bytes of memory", BN_JINJA_MEMORY_MAX);
    n = (n + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    if (chunk == NULL || n > chunk->n - chunk->used) {
        size_t n_chunk = n > CHUNK_BYTES ? n : CHUNK_BYTES;
        if (n_chunk > BN_JINJA_MEMORY_MAX - run->n_memory)
            return bn_jinja_fail(run->jinja, BN_ERR_LIMIT, run->line,
                                 "it needs more than %u bytes of memory", BN_JINJA_MEMORY_MAX);
        chunk = bn_alloc(1, sizeof *chunk + n_chunk);
        if (chunk == NULL)
            return bn_jinja_fail(run->jinja, BN_ERR_NO_MEMORY, run->line, "no memory to apply it");
        chunk->n = n_chunk;
        chunk->next = run->chunks;
        run->chunks = chunk;
        run->n_memory += n_chunk;
    }
    *memory_out = chunk->bytes + chunk->used;
    chunk->used += n;
    return BN_OK;
}

void bn_jinja_value_release(bn_jinja_run *run)
{
    while (run->chunks != NULL) {
        bn_jinja_chunk *next = run->chunks->next;
        bn_free(run->chunks);
        run->chunks = next;
    }
}

bn_status bn_jinja_value_charge(bn_jinja_run *run, const bn_jinja_value *value)
{
    size_t n = 1;
    if (value != NULL && value->type == BN_JINJA_TEXT_VALUE) n += value->text.n / BYTES_PER_STEP;
    if (n <= BN_JINJA_STEPS_MAX - run->n_steps) {
        run->n_steps += (uint32_t)n;
        return BN_OK;
    }
    return bn_jinja_fail(run->jinja, BN_ERR_LIMIT, run->line, "it takes more than %u steps",
                         BN_JINJA_STEPS_MAX);
}

bn_jinja_value bn_jinja_value_of_text(bn_jinja_text text)
{
    return (bn_jinja_value){.type = BN_JINJA_TEXT_VALUE, .text = text};
}

bn_jinja_value bn_jinja_value_of_int(int64_t number)
{
    return (bn_jinja_value){.type = BN_JINJA_INT, .number = number};
}

bn_jinja_value bn_jinja_value_of_bool(bool truth)
{
    return (bn_jinja_value){.type = BN_JINJA_BOOL, .number = truth};
}

bn_status bn_jinja_value_new_text(bn_jinja_run *run, size_t n, char **bytes_out,
                                  uint8_t **marks_out, bn_jinja_value *value_out)
{
    void *memory = NULL;
    if (n > BN_JINJA_MEMORY_MAX / 2)
        return bn_jinja_fail(run->jinja, BN_ERR_LIMIT, run->line,
                             "it needs more than %u bytes of memory", BN_JINJA_MEMORY_MAX);
    BN_TRY(bn_jinja_value_take(run, 2 * n, &memory));
    *bytes_out = memory;
    *marks_out = (uint8_t *)memory + n;
    *value_out = bn_jinja_value_of_text((bn_jinja_text){*bytes_out, *marks_out, n});
    return BN_OK;
}

bn_status bn_jinja_value_join(bn_jinja_run *run, bn_jinja_text a, bn_jinja_text b,
                              bn_jinja_value *value_out)
{
    char *bytes = NULL;
    uint8_t *marks = NULL;
    BN_TRY(bn_jinja_value_new_text(run, a.n + b.n, &bytes, &marks, value_out));
    if (a.n > 0) memcpy(bytes, a.bytes, a.n);
    if (a.n > 0) memcpy(marks, a.marks, a.n);
    if (b.n > 0) memcpy(bytes + a.n, b.bytes, b.n);
    if (b.n > 0) memcpy(marks + a.n, b.marks, b.n);
    return BN_OK;
}

bn_status bn_jinja_value_view(bn_jinja_run *run, const char *bytes, size_t n, uint8_t mark,
                              bn_jinja_value *value_out)
{
    BN_ASSERT(mark < BN_JINJA_MARKS);
    if (n > run->n_marks[mark]) {
        void *marks = NULL;
        size_t n_marks = n < 4096 ? 4096 : n;
        BN_TRY(bn_jinja_value_take(run, n_marks, &marks));
        memset(marks, mark, n_marks);
        run->marks[mark] = marks;
        run->n_marks[mark] = n_marks;
    }
    *value_out = bn_jinja_value_of_text((bn_jinja_text){bytes, run->marks[mark], n});
    return BN_OK;
}

const char *bn_jinja_value_kind(const bn_jinja_value *value)
{
    static const char *const names[] = {
        [BN_JINJA_UNDEFINED] = "an undefined value",
        [BN_JINJA_NONE] = "none",
        [BN_JINJA_BOOL] = "true or false",
        [BN_JINJA_INT] = "a number",
        [BN_JINJA_TEXT_VALUE] = "a text",
        [BN_JINJA_ARRAY] = "a list",
        [BN_JINJA_MESSAGE] = "a message",
        [BN_JINJA_LOOP] = "the loop",
        [BN_JINJA_NAMESPACE] = "a namespace",
    };
    return names[value->type];
}

bool bn_jinja_value_is_true(const bn_jinja_value *value)
{
    switch (value->type) {
    case BN_JINJA_UNDEFINED:
    case BN_JINJA_NONE: return false;
    case BN_JINJA_BOOL:
    case BN_JINJA_INT: return value->number != 0;
    case BN_JINJA_TEXT_VALUE: return value->text.n > 0;
    case BN_JINJA_ARRAY: return value->array.n > 0;
    default: return true;
    }
}

static bool is_number(const bn_jinja_value *value)
{
    return value->type == BN_JINJA_INT || value->type == BN_JINJA_BOOL;
}

bool bn_jinja_value_equal(const bn_jinja_value *a, const bn_jinja_value *b)
{
    if (is_number(a) && is_number(b)) return a->number == b->number;
    if (a->type != b->type) return false;
    switch (a->type) {
    case BN_JINJA_TEXT_VALUE:
        return a->text.n == b->text.n &&
               (a->text.n == 0 || memcmp(a->text.bytes, b->text.bytes, a->text.n) == 0);
    case BN_JINJA_ARRAY:
        if (a->array.n != b->array.n) return false;
        for (size_t i = 0; i < a->array.n; i++)
            if (!bn_jinja_value_equal(&a->array.items[i], &b->array.items[i])) return false;
        return true;
    case BN_JINJA_MESSAGE:
        return strcmp(a->message->role, b->message->role) == 0 && a->message->n == b->message->n &&
               (a->message->n == 0 ||
                memcmp(a->message->text, b->message->text, a->message->n) == 0);
    case BN_JINJA_LOOP: return a->loop == b->loop;
    case BN_JINJA_NAMESPACE: return a->space == b->space;
    default: return true;
    }
}

bn_status bn_jinja_value_to_text(bn_jinja_run *run, const bn_jinja_value *value,
                                 bn_jinja_text *text_out)
{
    char digits[32];
    bn_jinja_value made;
    const char *own = "";
    switch (value->type) {
    case BN_JINJA_TEXT_VALUE: *text_out = value->text; return BN_OK;
    case BN_JINJA_UNDEFINED: break;
    case BN_JINJA_NONE: own = "None"; break;
    case BN_JINJA_BOOL: own = value->number != 0 ? "True" : "False"; break;
    case BN_JINJA_INT: {
        char *bytes = NULL;
        uint8_t *marks = NULL;
        int n = snprintf(digits, sizeof digits, "%" PRId64, value->number);
        BN_TRY(bn_jinja_value_new_text(run, (size_t)n, &bytes, &marks, &made));
        memcpy(bytes, digits, (size_t)n);
        memset(marks, 0, (size_t)n);
        *text_out = made.text;
        return BN_OK;
    }
    default:
        return bn_jinja_fail(run->jinja, BN_ERR_UNSUPPORTED, run->line,
                             "%s as text is not supported", bn_jinja_value_kind(value));
    }
    BN_TRY(bn_jinja_value_view(run, own, strlen(own), 0, &made));
    *text_out = made.text;
    return BN_OK;
}

static size_t character_end(bn_jinja_text text, size_t at)
{
    uint32_t code;
    return at + bn_unicode_decode(text.bytes + at, text.n - at, &code);
}

size_t bn_jinja_value_length(bn_jinja_text text)
{
    size_t n = 0;
    for (size_t at = 0; at < text.n; n++)
        at = character_end(text, at);
    return n;
}

bn_jinja_text bn_jinja_value_part(bn_jinja_text text, size_t begin, size_t end)
{
    size_t at = 0, from = text.n, to = text.n;
    for (size_t i = 0; at < text.n; i++) {
        if (i == begin) from = at;
        if (i == end) to = at;
        at = character_end(text, at);
    }
    if (from >= to) return (bn_jinja_text){text.bytes, text.marks, 0};
    return (bn_jinja_text){text.bytes + from, text.marks + from, to - from};
}

bool bn_jinja_value_is_space(uint32_t code)
{
    return (code >= 0x1C && code <= 0x1F) || bn_unicode_classes(code) & BN_UNICODE_SPACE;
}

static bool is_stripped(bn_jinja_text character, const bn_jinja_text *set)
{
    uint32_t code;
    if (set != NULL) return bn_jinja_value_find(*set, character, 0) != SIZE_MAX;
    bn_unicode_decode(character.bytes, character.n, &code);
    return bn_jinja_value_is_space(code);
}

bn_jinja_text bn_jinja_value_strip(bn_jinja_text text, const bn_jinja_text *set, bool left,
                                   bool right)
{
    size_t begin = left ? text.n : 0, end = right ? 0 : text.n;
    for (size_t at = 0; at < text.n;) {
        size_t next = character_end(text, at);
        if (!is_stripped((bn_jinja_text){text.bytes + at, text.marks + at, next - at}, set)) {
            if (begin == text.n) begin = at;
            if (right) end = next;
        }
        at = next;
    }
    if (begin >= end) return (bn_jinja_text){text.bytes, text.marks, 0};
    return (bn_jinja_text){text.bytes + begin, text.marks + begin, end - begin};
}

size_t bn_jinja_value_find(bn_jinja_text text, bn_jinja_text part, size_t from)
{
    if (from > text.n) return SIZE_MAX;
    if (part.n == 0) return from;
    const char *found =
        text.n == 0 ? NULL : memmem(text.bytes + from, text.n - from, part.bytes, part.n);
    return found == NULL ? SIZE_MAX : (size_t)(found - text.bytes);
}
