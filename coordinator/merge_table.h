/* merge_table.h — which two tokens may join, how early, and into which: tokenizer.ggml.merges.
 *
 * What a file may get wrong: merges that name no token are passed over with one warning; of a merge
 * listed twice the first counts.
 *
 * Memory:  caller's struct; _fini frees, also after an error.
 * Threads: read-only after _read: any.
 * Errors:  BN_ERR_BAD_FILE naming file, key and entry.
 */
#ifndef BN_COORDINATOR_MERGE_TABLE_H
#define BN_COORDINATOR_MERGE_TABLE_H

#include "coordinator/merger.h"
#include "coordinator/vocab.h"

#define BN_MERGE_TABLE_MAX (1u << 22)

typedef struct bn_merge {
    uint64_t pair; /* left id in the high half, right id in the low half */
    uint32_t rank; /* BN_MERGER_NONE: a free slot */
    uint32_t joined;
} bn_merge;

typedef struct bn_merge_table {
    bn_merge *merges; /* open-addressed by pair, at most half full */
    uint32_t mask;
} bn_merge_table;

BN_CHECKED bn_status bn_merge_table_read(const bn_gguf *file, const bn_vocab *vocab,
                                         bn_merge_table *table);
void bn_merge_table_fini(bn_merge_table *table);

/* A bn_merger_pair whose context is a bn_merge_table: the key is the rank. */
bool bn_merge_table_pair(const void *context, const bn_merger_symbol *left,
                         const bn_merger_symbol *right, uint32_t *key_out, uint32_t *id_out);

#endif
