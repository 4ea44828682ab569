/* text_list.h — many short texts in two blocks of memory.
 *
 * Memory:  caller's struct, zero is empty; bn_text_list_fini frees. A text from _at is
 *          valid until the next _add.
 * Errors:  adding more than BN_TEXT_LIST_BYTES_MAX or without memory is an error once and
 *          for all: later calls do nothing, so that one check at the end is enough.
 */
#ifndef BN_MODEL_TEXT_LIST_H
#define BN_MODEL_TEXT_LIST_H

#include "common/status.h"
#include "model/gguf.h"

#define BN_TEXT_LIST_BYTES_MAX (1u << 28)

typedef struct bn_text_list {
    char *bytes;
    uint32_t *ends; /* [n] */
    uint32_t n, n_capacity;
    size_t n_bytes, bytes_capacity;
    bn_status status;
} bn_text_list;

void bn_text_list_fini(bn_text_list *list);

/* Adds a text made of two parts; the second may be empty. */
void bn_text_list_add(bn_text_list *list, const char *a, size_t n_a, const char *b, size_t n_b);

bn_gguf_string bn_text_list_at(const bn_text_list *list, uint32_t index);

#endif
