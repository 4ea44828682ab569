/* tokens_fuzz.c
 * What: token ids from the command line and from JSON are ids of the vocabulary, or refused.
 * How:  the same bytes as --tokens would take them and as detokenize would; whatever passes is
 *       in range, and written out as text it gives the same list again.
 */
#include "common/alloc.h"
#include "common/json.h"
#include "common/log.h"
#include "coordinator/id_list.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VOCAB 512u

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static void check_again(const bn_token_list *ids)
{
    char *text = bn_alloc(ids->n * 11 + 1, 1);
    size_t at = 0;
    for (size_t i = 0; i < ids->n; i++) {
        if (ids->ids[i] >= VOCAB) abort();
        at += (size_t)snprintf(text + at, 12, i == 0 ? "%u" : ",%u", ids->ids[i]);
    }
    bn_token_list again = {0};
    if (bn_id_list_parse(text, VOCAB, &again) != BN_OK || again.n != ids->n) abort();
    if (memcmp(again.ids, ids->ids, ids->n * sizeof *ids->ids) != 0) abort();
    bn_token_list_fini(&again);
    bn_free(text);
}

static void check_option(const uint8_t *bytes, size_t n)
{
    char *text = bn_alloc(n + 1, 1);
    memcpy(text, bytes, n);
    bn_token_list ids = {0};
    if (bn_id_list_parse(text, VOCAB, &ids) == BN_OK && ids.n > 0) check_again(&ids);
    bn_token_list_fini(&ids);
    bn_free(text);
}

static void check_json(const uint8_t *bytes, size_t n)
{
    bn_json *json;
    if (bn_json_parse((const char *)bytes, n, &json) != BN_OK) return;
    for (size_t i = 0; bn_json_is_array(json) && i < bn_json_length(json); i++) {
        uint64_t id = 0;
        if (bn_json_as_u64(bn_json_at(json, i), &id) && id > INT64_MAX) abort();
    }
    bn_json_free(json);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    bn_log_set_quiet(true);
    check_option(bytes, n);
    check_json(bytes, n);
    return 0;
}
