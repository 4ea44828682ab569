/* token_list.c — a growing list of token ids; declared in tokenizer.h. */
#include "common/alloc.h"
#include "common/log.h"
#include "coordinator/tokenizer.h"

#define CAPACITY_MIN 64

bn_status bn_token_list_push(bn_token_list *list, uint32_t id)
{
    if (list->n == list->capacity) {
        size_t capacity = list->capacity < CAPACITY_MIN ? CAPACITY_MIN : 2 * list->capacity;
        uint32_t *ids = bn_realloc(list->ids, capacity, sizeof *ids);
        if (ids == NULL)
            return bn_fail(BN_ERR_NO_MEMORY, "TOKENIZER-MEMORY", "no memory for %zu token ids",
                           capacity);
        list->ids = ids;
        list->capacity = capacity;
    }
    list->ids[list->n++] = id;
    return BN_OK;
}

void bn_token_list_fini(bn_token_list *list)
{
    bn_free(list->ids);
    *list = (bn_token_list){0};
}
