/* id_list.c — strict: one wrong character and the whole list is refused. */
#include "coordinator/id_list.h"

#include "common/log.h"
#include "coordinator/sampler.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static bn_status bad_list(const char *text, size_t at, const char *what)
{
    return bn_fail(BN_ERR_BAD_ARGUMENT, "ID-LIST",
                   "the list of token ids is wrong at byte %zu "
                   "('%.12s'): %s",
                   at, text + at, what);
}

static size_t skip_blanks(const char *text, size_t at)
{
    while (text[at] == ' ' || text[at] == '\n' || text[at] == '\t')
        at++;
    return at;
}

bn_status bn_id_list_parse(const char *text, uint32_t vocab, bn_token_list *ids)
{
    size_t at = 0;
    for (;;) {
        at = skip_blanks(text, at);
        if (text[at] < '0' || text[at] > '9') return bad_list(text, at, "a number is due");
        uint64_t id = 0;
        size_t begin = at;
        for (; text[at] >= '0' && text[at] <= '9'; at++) {
            id = id * 10 + (uint64_t)(text[at] - '0');
            if (id >= vocab) return bad_list(text, begin, "not in the vocabulary");
        }
        if (ids->n == BN_ID_LIST_MAX) return bad_list(text, begin, "too many ids");
        BN_TRY(bn_token_list_push(ids, (uint32_t)id));
        at = skip_blanks(text, at);
        if (text[at] == '\0') return BN_OK;
        if (text[at] != ',') return bad_list(text, at, "a comma is due");
        at++;
    }
}

bn_status bn_id_list_random(uint64_t seed, uint32_t n, uint32_t vocab, bn_token_list *ids)
{
    for (uint32_t i = 0; i < n; i++) {
        double u = bn_sampler_random(seed, 0, i);
        BN_TRY(bn_token_list_push(ids, (uint32_t)(u * (double)vocab)));
    }
    return BN_OK;
}

bn_status bn_id_list_write(const char *path, const uint32_t *ids, size_t n)
{
    FILE *file = fopen(path, "w");
    if (file == NULL)
        return bn_fail(BN_ERR_IO, "IDS-WRITE", "cannot write %s: %s", path, strerror(errno));
    fputc('[', file);
    for (size_t i = 0; i < n; i++)
        fprintf(file, "%s%u", i == 0 ? "" : ", ", ids[i]);
    fputs("]\n", file);
    bool is_bad = ferror(file) != 0;
    if (fclose(file) != 0 || is_bad)
        return bn_fail(BN_ERR_IO, "IDS-WRITE", "cannot write %s: %s", path, strerror(errno));
    return BN_OK;
}
