/* inspect.h — what `bitnet-model inspect` says about a file, as text or JSON.
 *
 * Errors: BN_ERR_IO when the stream cannot be written; BN_ERR_BAD_FILE and others of the
 *         loader, naming file and tensor.
 */
#ifndef BN_MODEL_INSPECT_H
#define BN_MODEL_INSPECT_H

#include "common/json.h"
#include "model/health.h"
#include "model/model.h"
#include "model/shard_plan.h"

/* The tokenizer of a file as its keys describe it; texts point into the file. */
typedef struct bn_inspect_tokenizer {
    bool is_present;
    bn_gguf_string model, pre; /* pre.n 0: absent */
    uint64_t n_tokens, n_merges;
    bool has_bos, has_eos, has_template, has_add_bos, add_bos;
    uint32_t bos, eos;
} bn_inspect_tokenizer;

BN_CHECKED bn_status bn_inspect_tokenizer_read(const bn_gguf *file, bn_inspect_tokenizer *out);

/* Reads every norm and every scale that stands alone: what takes no time. */
BN_CHECKED bn_status bn_inspect_check(const bn_model *model);

typedef struct bn_inspect_report {
    const bn_gguf *file;
    const bn_model *model; /* NULL: a file without tensors, such as a vocabulary */
    bn_hash128 identity;
    bn_inspect_tokenizer tokenizer;
    const bn_health *health; /* NULL: not asked for */
    bool lists_tensors;
    const bn_shard_plan *plan; /* NULL: not asked for */
    const bn_plan_worker *workers;
    bn_stage_limits limits;
} bn_inspect_report;

/* Bytes and number of the tensors of one type. */
typedef struct bn_inspect_type {
    uint32_t type;
    uint64_t n_tensors, n_bytes;
} bn_inspect_type;

#define BN_INSPECT_TYPES_MAX 64u

/* By first appearance; returns how many (types past the maximum are left out). */
uint32_t bn_inspect_types(const bn_gguf *file, bn_inspect_type types[BN_INSPECT_TYPES_MAX]);

void bn_inspect_print(const bn_inspect_report *report, FILE *stream);

/* NULL without memory. */
bn_json *bn_inspect_json(const bn_inspect_report *report);

#endif
