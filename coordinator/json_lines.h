/* json_lines.h — a file of JSON objects, one per line, read line by line.
 *
 * Foreign bytes: a line, the number of lines and so the work are bounded; what is wrong is refused
 * with file and line. Empty lines are passed over.
 *
 * Memory:  one line and its value; both belong to the reader until the next _next.
 * Threads: one.
 * Errors:  BN_ERR_IO; BN_ERR_BAD_FILE naming file, line and what is due; BN_ERR_LIMIT.
 */
#ifndef BN_COORDINATOR_JSON_LINES_H
#define BN_COORDINATOR_JSON_LINES_H

#include "common/json.h"

#define BN_JSON_LINE_BYTES_MAX (1u << 20)
#define BN_JSON_LINES_MAX (1u << 20)

typedef struct bn_json_lines bn_json_lines;

BN_CHECKED bn_status bn_json_lines_open(const char *path, bn_json_lines **lines_out);
/* The same from a stream, which is closed with it; `name` must stay. */
BN_CHECKED bn_status bn_json_lines_from(const char *name, FILE *stream, bn_json_lines **lines_out);
void bn_json_lines_close(bn_json_lines *lines);

/* The next object; NULL at the end. */
BN_CHECKED bn_status bn_json_lines_next(bn_json_lines *lines, const bn_json **object_out);

/* Of the last object, from 1. */
uint32_t bn_json_lines_number(const bn_json_lines *lines);

/* A text that must be there, and a number that may be (then *value_out stays). */
BN_CHECKED bn_status bn_json_lines_text(const bn_json_lines *lines, const char *field,
                                        const char **text_out);
BN_CHECKED bn_status bn_json_lines_u32(const bn_json_lines *lines, const char *field, uint32_t min,
                                       uint32_t max, uint32_t *value_out);

/* BN_ERR_BAD_FILE with file and line in front. */
bn_status bn_json_lines_fail(const bn_json_lines *lines, const char *what);

#endif
