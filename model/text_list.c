/* text_list.c — bytes in one block, ends in another; both double. */
#include "model/text_list.h"

#include "common/alloc.h"
#include "common/log.h"

#include <string.h>

void bn_text_list_fini(bn_text_list *list)
{
    bn_free(list->bytes);
    bn_free(list->ends);
    *list = (bn_text_list){0};
}

static bool reserve(bn_text_list *list, size_t n_more)
{
    if (list->n == list->n_capacity) {
        uint32_t capacity = list->n_capacity == 0 ? 256 : list->n_capacity * 2;
        uint32_t *ends = bn_realloc(list->ends, capacity, sizeof *ends);
        if (ends == NULL) return false;
        list->ends = ends;
        list->n_capacity = capacity;
    }
    if (n_more > BN_TEXT_LIST_BYTES_MAX - list->n_bytes) return false;
    size_t capacity = list->bytes_capacity == 0 ? 4096 : list->bytes_capacity;
    while (capacity < list->n_bytes + n_more)
        capacity *= 2;
    if (capacity == list->bytes_capacity) return true;
    char *bytes = bn_realloc(list->bytes, capacity, 1);
    if (bytes == NULL) return false;
    list->bytes = bytes;
    list->bytes_capacity = capacity;
    return true;
}

void bn_text_list_add(bn_text_list *list, const char *a, size_t n_a, const char *b, size_t n_b)
{
    if (list->status != BN_OK) return;
    if (n_a > BN_TEXT_LIST_BYTES_MAX || n_b > BN_TEXT_LIST_BYTES_MAX || !reserve(list, n_a + n_b)) {
        list->status = bn_fail(BN_ERR_NO_MEMORY, "MODEL-VOCAB",
                               "no memory for the texts of a vocabulary (%u so far)", list->n);
        return;
    }
    if (n_a > 0) memcpy(list->bytes + list->n_bytes, a, n_a);
    if (n_b > 0) memcpy(list->bytes + list->n_bytes + n_a, b, n_b);
    list->n_bytes += n_a + n_b;
    list->ends[list->n++] = (uint32_t)list->n_bytes;
}

bn_gguf_string bn_text_list_at(const bn_text_list *list, uint32_t index)
{
    BN_ASSERT(index < list->n);
    uint32_t begin = index == 0 ? 0 : list->ends[index - 1];
    return (bn_gguf_string){list->bytes + begin, list->ends[index] - begin};
}
