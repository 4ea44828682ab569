/* model_keys.h — which keys a model's file may carry; for model_config.c only.
 *
 * A key that nobody reads can still change what the model computes (a sliding window, a rotation
 * of the weights). So every key under the architecture's name must be one that is read, one that
 * cannot matter, or one whose value says that the thing is not there.
 *
 * Errors:  BN_ERR_UNSUPPORTED naming file, key and value.
 */
#ifndef BN_MODEL_MODEL_KEYS_H
#define BN_MODEL_MODEL_KEYS_H

#include "model/gguf.h"

/* `arch` is the architecture's name, the prefix of its keys. */
BN_CHECKED bn_status bn_model_keys_check(const bn_gguf *file, const char *arch);

#endif
