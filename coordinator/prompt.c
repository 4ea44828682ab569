/* prompt.c — libedit asks us for each character, so waiting is ours. */
#include "coordinator/prompt.h"

#include "common/alloc.h"
#include "common/log.h"

#include <errno.h>
#include <histedit.h>
#include <langinfo.h>
#include <limits.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <wchar.h>

#define HISTORY_LINES 1000

struct bn_prompt {
    const char *prompt;
    bn_prompt_wait *wait;
    void *context;
    bn_status status; /* why the editor was made to stop */
    EditLine *editor; /* NULL: plain lines */
    History *history;
    char history_path[PATH_MAX];
    mbstate_t decoding;
    char *bytes; /* plain lines: what has been read */
    size_t n_bytes, n_taken, capacity;
    bool is_at_end;
};

static char *prompt_of(EditLine *editor)
{
    bn_prompt *input;
    el_get(editor, EL_CLIENTDATA, &input);
    static char text[64];
    snprintf(text, sizeof text, "%s", input->prompt);
    return text;
}

/* libedit's "read a character": 1, 0 at the end, −1 to stop the line. */
static int read_character(EditLine *editor, wchar_t *character)
{
    bn_prompt *input;
    el_get(editor, EL_CLIENTDATA, &input);
    for (;;) {
        input->status = input->wait(input->context, STDIN_FILENO);
        if (input->status != BN_OK) return -1;
        char byte;
        ssize_t n = read(STDIN_FILENO, &byte, 1);
        if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
        if (n <= 0) return 0;
        size_t used = mbrtowc(character, &byte, 1, &input->decoding);
        if (used == (size_t)-2) continue; /* more bytes of this character follow */
        if (used == (size_t)-1) {
            memset(&input->decoding, 0, sizeof input->decoding);
            *character = L'?';
        }
        if (used == 0) *character = L'\0';
        return 1;
    }
}

/* The path of the history file, its folders made; empty when there is no place for it. */
static void find_history(char path_out[PATH_MAX])
{
    char folder[PATH_MAX - 16];
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    path_out[0] = '\0';
    int n;
    if (state != NULL && state[0] == '/')
        n = snprintf(folder, sizeof folder, "%s/bitnet", state);
    else if (home != NULL && home[0] == '/')
        n = snprintf(folder, sizeof folder, "%s/.local/state/bitnet", home);
    else
        return;
    if (n <= 0 || (size_t)n >= sizeof folder) return;
    for (char *at = folder + 1; *at != '\0'; at++) {
        if (*at != '/') continue;
        *at = '\0';
        mkdir(folder, 0700); /* what is there already is fine; the last one tells */
        *at = '/';
    }
    if (mkdir(folder, 0700) != 0 && errno != EEXIST) return;
    snprintf(path_out, PATH_MAX, "%s/history", folder);
}

static bn_status open_editor(bn_prompt *input)
{
    setlocale(LC_CTYPE, "");
    if (strcmp(nl_langinfo(CODESET), "UTF-8") != 0) setlocale(LC_CTYPE, "C.UTF-8");
    input->editor = el_init("bitnet-coordinator", stdin, stdout, stderr);
    input->history = history_init();
    if (input->editor == NULL || input->history == NULL)
        return bn_fail(BN_ERR_NO_MEMORY, "LINE-EDITOR", "cannot start the line editor");
    HistEvent event;
    history(input->history, &event, H_SETSIZE, HISTORY_LINES);
    history(input->history, &event, H_SETUNIQUE, 1);
    find_history(input->history_path);
    if (input->history_path[0] != '\0')
        history(input->history, &event, H_LOAD, input->history_path);
    el_set(input->editor, EL_CLIENTDATA, input);
    el_set(input->editor, EL_PROMPT, prompt_of);
    el_set(input->editor, EL_EDITOR, "emacs");
    el_set(input->editor, EL_HIST, history, input->history);
    el_set(input->editor, EL_GETCFN, read_character);
    return BN_OK;
}

bn_status bn_prompt_create(const char *prompt, bn_prompt_wait *wait, void *context,
                           bn_prompt **input_out)
{
    bn_prompt *input = bn_alloc(1, sizeof *input);
    if (input == NULL) return BN_ERR_NO_MEMORY;
    input->prompt = prompt;
    input->wait = wait;
    input->context = context;
    if (isatty(STDIN_FILENO) && isatty(STDOUT_FILENO)) {
        bn_status status = open_editor(input);
        if (status != BN_OK) {
            bn_prompt_destroy(input);
            return status;
        }
    }
    *input_out = input;
    return BN_OK;
}

void bn_prompt_destroy(bn_prompt *input)
{
    if (input == NULL) return;
    if (input->history != NULL) {
        HistEvent event;
        mode_t mask = umask(077); /* what people asked is their own business */
        if (input->history_path[0] != '\0')
            history(input->history, &event, H_SAVE, input->history_path);
        umask(mask);
        history_end(input->history);
    }
    if (input->editor != NULL) el_end(input->editor);
    bn_free(input->bytes);
    bn_free(input);
}

bool bn_prompt_is_terminal(const bn_prompt *input)
{
    return input->editor != NULL;
}

static bn_status read_edited(bn_prompt *input, const char **line_out, size_t *n_out)
{
    int n = 0;
    input->status = BN_OK;
    const char *line = el_gets(input->editor, &n);
    if (input->status != BN_OK) return input->status;
    *line_out = NULL;
    if (line == NULL || n <= 0) return BN_OK;
    HistEvent event;
    size_t length = (size_t)n;
    if (length > 1) history(input->history, &event, H_ENTER, line);
    if (line[length - 1] == '\n') length--;
    *line_out = line;
    *n_out = length;
    return BN_OK;
}

static bn_status make_room(bn_prompt *input)
{
    if (input->n_taken > 0) {
        memmove(input->bytes, input->bytes + input->n_taken, input->n_bytes - input->n_taken);
        input->n_bytes -= input->n_taken;
        input->n_taken = 0;
    }
    if (input->n_bytes + 1 < input->capacity) return BN_OK;
    if (input->capacity >= BN_PROMPT_LINE_MAX)
        return bn_fail(BN_ERR_LIMIT, "LINE-LONG", "a line of input has more than %u bytes",
                       BN_PROMPT_LINE_MAX);
    size_t capacity = input->capacity == 0 ? 4096 : 2 * input->capacity;
    char *bytes = bn_realloc(input->bytes, capacity, 1);
    if (bytes == NULL)
        return bn_fail(BN_ERR_NO_MEMORY, "LINE-MEMORY", "no memory for a line of input");
    input->bytes = bytes;
    input->capacity = capacity;
    return BN_OK;
}

static bn_status read_plain(bn_prompt *input, const char **line_out, size_t *n_out)
{
    *line_out = NULL;
    for (;;) {
        size_t left = input->n_bytes - input->n_taken;
        char *begin = left > 0 ? input->bytes + input->n_taken : NULL;
        char *end = begin != NULL ? memchr(begin, '\n', left) : NULL;
        if (end != NULL || (input->is_at_end && left > 0)) {
            *n_out = end != NULL ? (size_t)(end - begin) : left;
            begin[*n_out] = '\0'; /* the newline, or the spare byte at the end */
            input->n_taken += *n_out + (end != NULL);
            *line_out = begin;
            return BN_OK;
        }
        if (input->is_at_end) return BN_OK;
        BN_TRY(make_room(input));
        BN_TRY(input->wait(input->context, STDIN_FILENO));
        ssize_t n =
            read(STDIN_FILENO, input->bytes + input->n_bytes, input->capacity - input->n_bytes - 1);
        if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
        if (n < 0)
            return bn_fail(BN_ERR_IO, "STDIN", "cannot read standard input: %s", strerror(errno));
        input->n_bytes += (size_t)n;
        input->is_at_end = n == 0;
    }
}

bn_status bn_prompt_read(bn_prompt *input, const char **line_out, size_t *n_out)
{
    return input->editor != NULL ? read_edited(input, line_out, n_out)
                                 : read_plain(input, line_out, n_out);
}
