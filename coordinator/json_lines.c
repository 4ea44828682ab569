/* json_lines.c — a line at a time, so that a file of any length takes the memory of one line. */
#include "coordinator/json_lines.h"

#include "common/alloc.h"
#include "common/log.h"

#include <errno.h>
#include <string.h>

#define NAME_MAX_SHOWN 400

struct bn_json_lines {
    const char *name;
    FILE *stream;
    char *line;
    uint32_t number;
    bn_json *value;
};

bn_status bn_json_lines_from(const char *name, FILE *stream, bn_json_lines **lines_out)
{
    bn_json_lines *lines = bn_alloc(1, sizeof *lines);
    char *line = bn_alloc(BN_JSON_LINE_BYTES_MAX, 1);
    if (lines == NULL || line == NULL) {
        bn_free(lines);
        bn_free(line);
        fclose(stream);
        return bn_fail(BN_ERR_NO_MEMORY, "LINES-MEMORY", "no memory to read %s", name);
    }
    *lines = (bn_json_lines){.name = name, .stream = stream, .line = line};
    *lines_out = lines;
    return BN_OK;
}

bn_status bn_json_lines_open(const char *path, bn_json_lines **lines_out)
{
    FILE *stream = fopen(path, "re");
    if (stream == NULL)
        return bn_fail(BN_ERR_IO, "LINES-READ", "cannot open %s: %s", path, strerror(errno));
    return bn_json_lines_from(path, stream, lines_out);
}

void bn_json_lines_close(bn_json_lines *lines)
{
    if (lines == NULL) return;
    fclose(lines->stream);
    bn_json_free(lines->value);
    bn_free(lines->line);
    bn_free(lines);
}

uint32_t bn_json_lines_number(const bn_json_lines *lines)
{
    return lines->number;
}

bn_status bn_json_lines_fail(const bn_json_lines *lines, const char *what)
{
    return bn_fail(BN_ERR_BAD_FILE, "LINES-FILE", "%s, line %u: %s", lines->name, lines->number,
                   what);
}

/* One line without its end; *is_end_out when there is none any more. */
static bn_status read_line(bn_json_lines *lines, size_t *n_out, bool *is_end_out)
{
    size_t n = 0;
    int c;
    while ((c = getc(lines->stream)) != EOF && c != '\n') {
        if (n == BN_JSON_LINE_BYTES_MAX)
            return bn_fail(BN_ERR_LIMIT, "LINES-FILE", "%s, line %u has more than %u bytes",
                           lines->name, lines->number + 1, BN_JSON_LINE_BYTES_MAX);
        lines->line[n++] = (char)c;
    }
    if (ferror(lines->stream))
        return bn_fail(BN_ERR_IO, "LINES-READ", "cannot read %s: %s", lines->name, strerror(errno));
    *n_out = n;
    *is_end_out = c == EOF && n == 0;
    if (*is_end_out) return BN_OK;
    if (lines->number == BN_JSON_LINES_MAX)
        return bn_fail(BN_ERR_LIMIT, "LINES-FILE", "%s has more than %u lines", lines->name,
                       BN_JSON_LINES_MAX);
    lines->number++;
    return BN_OK;
}

static bool is_blank(const char *line, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (line[i] != ' ' && line[i] != '\t' && line[i] != '\r') return false;
    return true;
}

bn_status bn_json_lines_next(bn_json_lines *lines, const bn_json **object_out)
{
    size_t n = 0;
    bool is_end = false;
    bn_json_free(lines->value);
    lines->value = NULL;
    do {
        BN_TRY(read_line(lines, &n, &is_end));
    } while (!is_end && is_blank(lines->line, n));
    *object_out = NULL;
    if (is_end) return BN_OK;
    char name[NAME_MAX_SHOWN + 32];
    snprintf(name, sizeof name, "%.*s, line %u", NAME_MAX_SHOWN, lines->name, lines->number);
    BN_TRY(bn_json_parse_line(lines->line, n, name, &lines->value));
    if (!bn_json_is_object(lines->value))
        return bn_json_lines_fail(lines, "an object in braces is due");
    *object_out = lines->value;
    return BN_OK;
}

bn_status bn_json_lines_text(const bn_json_lines *lines, const char *field, const char **text_out)
{
    const bn_json *value = bn_json_get(lines->value, field);
    if (bn_json_as_text(value, text_out)) return BN_OK;
    return bn_fail(BN_ERR_BAD_FILE, "LINES-FILE", "%s, line %u: %s \"%s\"", lines->name,
                   lines->number, value == NULL ? "there is no" : "not a text:", field);
}

bn_status bn_json_lines_u32(const bn_json_lines *lines, const char *field, uint32_t min,
                            uint32_t max, uint32_t *value_out)
{
    const bn_json *value = bn_json_get(lines->value, field);
    uint64_t number = 0;
    if (value == NULL) return BN_OK;
    if (!bn_json_as_u64(value, &number) || number < min || number > max)
        return bn_fail(BN_ERR_BAD_FILE, "LINES-FILE",
                       "%s, line %u: \"%s\" must be an integer from %u to %u", lines->name,
                       lines->number, field, min, max);
    *value_out = (uint32_t)number;
    return BN_OK;
}
