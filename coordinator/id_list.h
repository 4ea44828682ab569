/* id_list.h — token ids as people and programs write them: "1,2,3" in, a JSON array out.
 *
 * Memory: lists grow on the heap and belong to the caller. Threads: any.
 */
#ifndef BN_COORDINATOR_ID_LIST_H
#define BN_COORDINATOR_ID_LIST_H

#include "coordinator/tokenizer.h"

#define BN_ID_LIST_MAX (1u << 20)

/* Ids separated by commas (and blanks). BN_ERR_BAD_ARGUMENT naming what stands where. */
BN_CHECKED bn_status bn_id_list_parse(const char *text, uint32_t vocab, bn_token_list *ids);

/* Appends n ids drawn from the seed, without order. */
BN_CHECKED bn_status bn_id_list_random(uint64_t seed, uint32_t n, uint32_t vocab,
                                       bn_token_list *ids);

BN_CHECKED bn_status bn_id_list_write(const char *path, const uint32_t *ids, size_t n);

#endif
