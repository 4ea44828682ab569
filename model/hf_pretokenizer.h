/* hf_pretokenizer.h — which of the known pre-tokenizers a tokenizer.json describes.
 *
 * Errors: BN_ERR_UNSUPPORTED naming the file and the first part, with its expression, that is not
 *         of a known row.
 */
#ifndef BN_MODEL_HF_PRETOKENIZER_H
#define BN_MODEL_HF_PRETOKENIZER_H

#include "common/json.h"

#include <stdbool.h>

/* The name of a byte-level pre-tokenizer, as tokenizer.ggml.pre has it. `ignores_merges`: the
 * model's flag of that name, which is part of what a name stands for. */
BN_CHECKED bn_status bn_hf_pretokenizer_name(const bn_json *pretokenizer, bool ignores_merges,
                                             const char *path, const char **name_out);

/* True when some part of it spells bytes as characters (a byte-level vocabulary). */
bool bn_hf_pretokenizer_is_byte_level(const bn_json *pretokenizer);

#endif
