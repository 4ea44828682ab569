/* model_config.h — the keys of a file as a checked bn_model_config; for model.c only.
 *
 * Memory:  config_out->arch is static.
 * Errors:  BN_ERR_BAD_FILE or BN_ERR_UNSUPPORTED naming file and key.
 */
#ifndef BN_MODEL_MODEL_CONFIG_H
#define BN_MODEL_MODEL_CONFIG_H

#include "model/model.h"

/* `vocab` is the number of rows of the embedding; is_tied is left false. */
BN_CHECKED bn_status bn_model_config_read(const bn_gguf *file, bn_activation_choice activation,
                                          uint32_t vocab, bn_model_config *config_out);

#endif
