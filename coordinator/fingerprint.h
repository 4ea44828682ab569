/* fingerprint.h — what a figure was measured with: hashes of model, tokenizer and numerics.
 *
 * Two results may be compared when these are equal, and must then be equal in every bit.
 */
#ifndef BN_COORDINATOR_FINGERPRINT_H
#define BN_COORDINATOR_FINGERPRINT_H

#include "common/json.h"
#include "coordinator/setup.h"

/* Adds "model" (the identity that workers are compared by), "tokenizer" (of its keys; left out
 * when the command has none) and "numerics" (the version of docs/NUMERICS.md). */
BN_CHECKED bn_status bn_fingerprint_add(const bn_setup *setup, bn_json *object);

/* "perplexity" and, with its 16 hexadecimal digits, "perplexity_bits". */
void bn_fingerprint_set_double(bn_json *object, const char *key, double value);

#endif
