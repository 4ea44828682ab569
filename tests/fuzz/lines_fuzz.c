/* lines_fuzz.c
 * What: a file of JSON lines is read to its end or refused with its name and a line.
 * How:  read as --score and --questions do; texts are whole, numbers are in their range, lines
 *       count up; a refusal names the file.
 */
#include "common/log.h"
#include "coordinator/json_lines.h"

#include <stdlib.h>
#include <string.h>

#define N_MAX 77u

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static bn_status read_all(bn_json_lines *lines)
{
    static const char *const fields[] = {"context", "continuation", "prompt", "answer"};
    const bn_json *object = NULL;
    for (uint32_t number = 0;;) {
        uint32_t max_tokens = N_MAX;
        BN_TRY(bn_json_lines_next(lines, &object));
        if (object == NULL) return BN_OK;
        if (bn_json_lines_number(lines) <= number) abort();
        number = bn_json_lines_number(lines);
        BN_TRY(bn_json_lines_u32(lines, "max_tokens", 1, N_MAX, &max_tokens));
        if (max_tokens < 1 || max_tokens > N_MAX) abort();
        for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
            const char *text = NULL;
            if (bn_json_get(object, fields[i]) == NULL) continue;
            BN_TRY(bn_json_lines_text(lines, fields[i], &text));
            if (strlen(text) > BN_JSON_LINE_BYTES_MAX) abort();
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    bn_json_lines *lines;
    bn_log_set_quiet(true);
    FILE *stream = n == 0 ? NULL : fmemopen((void *)(uintptr_t)bytes, n, "r");
    if (stream == NULL) return 0;
    if (bn_json_lines_from("f.jsonl", stream, &lines) != BN_OK) abort();
    if (read_all(lines) != BN_OK && strncmp(bn_log_last_error(), "f.jsonl", 7) != 0) abort();
    bn_json_lines_close(lines);
    return 0;
}
