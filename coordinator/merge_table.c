/* merge_table.c — merging works on token ids, so a pair is one 64-bit number to look up. */
#include "coordinator/merge_table.h"

#include "common/alloc.h"
#include "common/log.h"

#include <inttypes.h>
#include <string.h>

#define KEY_MERGES "tokenizer.ggml.merges"

static uint32_t slot_of_pair(const bn_merge_table *table, uint64_t pair)
{
    uint32_t at = (uint32_t)(pair * 0x9E3779B97F4A7C15u >> 32) & table->mask;
    while (table->merges[at].rank != BN_MERGER_NONE && table->merges[at].pair != pair)
        at = (at + 1) & table->mask;
    return at;
}

static uint64_t pair_of(uint32_t left, uint32_t right)
{
    return (uint64_t)left << 32 | right;
}

/* Enters "left right"; false when one of the two, or both together, is no token. */
static bool enter_merge(bn_merge_table *table, const bn_vocab *vocab, const char *text, size_t n,
                        size_t space, uint32_t rank)
{
    char joined_text[2 * BN_TOKEN_PIECE_MAX];
    if (n > sizeof joined_text) return false;
    memcpy(joined_text, text, space);
    memcpy(joined_text + space, text + space + 1, n - space - 1);

    uint32_t left = bn_vocab_find_plain(vocab, text, space);
    uint32_t right = bn_vocab_find_plain(vocab, text + space + 1, n - space - 1);
    uint32_t joined = bn_vocab_find_plain(vocab, joined_text, n - 1);
    if (left == BN_TOKEN_NONE || right == BN_TOKEN_NONE || joined == BN_TOKEN_NONE) return false;

    bn_merge *slot = &table->merges[slot_of_pair(table, pair_of(left, right))];
    if (slot->rank == BN_MERGER_NONE) *slot = (bn_merge){pair_of(left, right), rank, joined};
    return true;
}

bn_status bn_merge_table_read(const bn_gguf *file, const bn_vocab *vocab, bn_merge_table *table)
{
    bn_status status = BN_OK;
    bn_gguf_array merges;
    if (!bn_gguf_get_array(file, KEY_MERGES, BN_GGUF_STRING, &merges, &status)) {
        if (status != BN_OK) return status;
        return bn_fail(BN_ERR_BAD_FILE, "TOKENIZER-FILE",
                       "%s has no key " KEY_MERGES ", which its tokenizer needs",
                       bn_gguf_path(file));
    }
    if (merges.n > BN_MERGE_TABLE_MAX)
        return bn_fail(BN_ERR_BAD_FILE, "TOKENIZER-FILE",
                       "%s: key " KEY_MERGES " has %" PRIu64 " entries; at most %u are possible",
                       bn_gguf_path(file), merges.n, BN_MERGE_TABLE_MAX);

    uint32_t n_slots = 64;
    while (n_slots < 2 * merges.n)
        n_slots *= 2;
    table->mask = n_slots - 1;
    table->merges = bn_alloc(n_slots, sizeof *table->merges);
    if (table->merges == NULL)
        return bn_fail(BN_ERR_NO_MEMORY, "TOKENIZER-MEMORY", "%s: no memory for its merges",
                       bn_gguf_path(file));
    for (uint32_t i = 0; i < n_slots; i++)
        table->merges[i].rank = BN_MERGER_NONE;

    uint32_t n_skipped = 0, skipped = 0;
    for (uint32_t i = 0; i < (uint32_t)merges.n; i++) {
        const char *text = merges.strings[i].bytes;
        size_t n = merges.strings[i].n;
        /* A left side may itself begin with a space in files that do not spell bytes. */
        const char *space = n > 2 ? memchr(text + 1, ' ', n - 2) : NULL;
        if (space == NULL)
            return bn_fail(BN_ERR_BAD_FILE, "TOKENIZER-FILE",
                           "%s: key " KEY_MERGES ": entry %u is not two tokens with a space "
                           "between them",
                           bn_gguf_path(file), i);
        if (!enter_merge(table, vocab, text, n, (size_t)(space - text), i)) {
            n_skipped++;
            skipped = i;
        }
    }
    if (n_skipped > 0)
        bn_log_warn("TOKENIZER-FILE",
                    "%s: %u of %" PRIu64 " merges name no token, such as entry %u; they are "
                    "passed over",
                    bn_gguf_path(file), n_skipped, merges.n, skipped);
    return BN_OK;
}

void bn_merge_table_fini(bn_merge_table *table)
{
    bn_free(table->merges);
    *table = (bn_merge_table){0};
}

bool bn_merge_table_pair(const void *context, const bn_merger_symbol *left,
                         const bn_merger_symbol *right, uint32_t *key_out, uint32_t *id_out)
{
    const bn_merge_table *table = context;
    const bn_merge *found = &table->merges[slot_of_pair(table, pair_of(left->id, right->id))];
    *key_out = found->rank;
    *id_out = found->joined;
    return found->rank != BN_MERGER_NONE;
}
