/* step.h — one unit of work, built by the coordinator, executed by every stage in turn.
 *
 * A step is a list of entries (a run of tokens of one sequence) and of commands for the KV
 * cache, which are executed first, in order. Every step id passes every stage and yields exactly
 * one result, also when it holds only commands. Nobody re-interprets it on the way; a stage may
 * only mark an entry void.
 *
 * Memory:  plain values of fixed size; preallocated by whoever holds one.
 * Limits:  every array has a named maximum, checked when packed and when unpacked.
 */
#ifndef BN_PROTO_STEP_H
#define BN_PROTO_STEP_H

#include "common/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BN_STEPS_IN_FLIGHT_MAX 16u
#define BN_STEP_ENTRIES_MAX 256u
#define BN_STEP_TOKENS_MAX 2048u
#define BN_STEP_COMMANDS_MAX 512u
#define BN_STEP_WANTED_MAX 512u      /* positions with a result */
#define BN_STEP_IDS_MAX 4096u        /* exact logits asked for */
#define BN_STEP_CANDIDATES_MAX 4096u /* n_best summed over wanted positions */
#define BN_CANDIDATES_MAX 256u       /* n_best of one position */
#define BN_SLOTS_MAX 256u
#define BN_STEP_VOCAB_MAX (1u << 20)    /* token ids are below it */
#define BN_STEP_POSITION_MAX (1u << 20) /* positions of a sequence, and pages of a cache */

typedef enum bn_kv_command_kind {
    BN_KV_ALLOC = 1,    /* `count`: pages the slot holds from now on; never fewer than before */
    BN_KV_SHARE = 2,    /* `count`: pages of `source` that become the first of the empty `slot` */
    BN_KV_TRUNCATE = 3, /* `count`: positions kept; pages past them return to the pool */
    BN_KV_FREE = 4,     /* the slot is empty */
} bn_kv_command_kind;

typedef struct bn_kv_command {
    bn_kv_command_kind kind;
    uint32_t slot;
    uint32_t source; /* for SHARE */
    uint32_t count;
} bn_kv_command;

typedef struct bn_step_entry {
    uint32_t slot;
    uint32_t position;    /* of the first token */
    uint32_t n_tokens;    /* ≥ 1 */
    uint32_t token_begin; /* into step.tokens; entries follow each other without gaps */

    /* What is wanted of the positions want_from … n_tokens − 1 (want_from = n_tokens: nothing). */
    uint32_t want_from;
    uint32_t n_best;   /* candidates by logit descending, id ascending; 0 … BN_CANDIDATES_MAX */
    uint32_t n_ids;    /* exact logits per wanted position */
    uint32_t id_begin; /* into step.ids: n_ids ids for each wanted position */
    bool wants_lse;
    bool wants_all; /* all logits, one raw message per position */

    bool is_void; /* a stage skipped the arithmetic after an abort */
} bn_step_entry;

typedef struct bn_step {
    uint32_t epoch;
    uint64_t id; /* 1, 2, 3 … within an epoch */
    uint32_t n_entries, n_tokens, n_commands, n_ids;
    bn_step_entry entries[BN_STEP_ENTRIES_MAX];
    uint32_t tokens[BN_STEP_TOKENS_MAX];
    bn_kv_command commands[BN_STEP_COMMANDS_MAX];
    uint32_t ids[BN_STEP_IDS_MAX];
} bn_step;

typedef struct bn_candidate {
    uint32_t id;
    float logit;
} bn_candidate;

typedef struct bn_result_position {
    uint32_t entry;    /* index in the step */
    uint32_t position; /* absolute */
    uint32_t candidate_begin, n_candidates;
    uint32_t exact_begin, n_exact;
    double lse; /* when has_lse */
    bool has_lse;
    bool has_all; /* its logits came before, as a BN_MESSAGE_LOGITS */
    bool is_void;
} bn_result_position;

/* Positions stand in the order of the entries and, within an entry, ascending. */
typedef struct bn_result {
    uint32_t epoch;
    uint64_t step_id;
    uint32_t vocab_begin, vocab_end; /* ids that the head covered */
    uint32_t n_positions, n_candidates, n_exact;
    bn_result_position positions[BN_STEP_WANTED_MAX];
    bn_candidate candidates[BN_STEP_CANDIDATES_MAX];
    float exact[BN_STEP_IDS_MAX];
} bn_result;

/* Positions of the entry that have a result. */
static inline uint32_t bn_step_entry_wanted(const bn_step_entry *entry)
{
    return entry->n_tokens - entry->want_from;
}

/* BN_ERR_BAD_MESSAGE, with the entry and field in why_out, when a limit, range or order is broken:
 * every count, token, id, slot and offset of a step that passes may be used as an index. */
BN_CHECKED bn_status bn_step_check(const bn_step *step, char *why_out, size_t n);
BN_CHECKED bn_status bn_result_check(const bn_result *result, char *why_out, size_t n);

/* Fills token_begin, id_begin and candidate_begin, exact_begin from the counts: records take their
 * parts in order, so offsets need not travel. Sums of absurd counts may wrap: check afterwards. */
void bn_step_complete(bn_step *step);
void bn_result_complete(bn_result *result);

#endif
