/* fingerprint.c — hashes as text, doubles with their bits. */
#include "coordinator/fingerprint.h"

#include "common/hash.h"
#include "common/version.h"

#include <inttypes.h>
#include <string.h>

#define TOKENIZER_KEYS "tokenizer.ggml."
#define KEY_BYTES_MAX 64u

bn_status bn_fingerprint_add(const bn_setup *setup, bn_json *object)
{
    bn_hash128 hash;
    char text[33];
    BN_TRY(bn_gguf_identity(setup->model->file, &hash));
    bn_hash128_text(hash, text);
    bn_json_set_text(object, "model", text);
    if (setup->tokenizer != NULL) {
        BN_TRY(bn_gguf_keys_hash(setup->model->file, TOKENIZER_KEYS, &hash));
        bn_hash128_text(hash, text);
        bn_json_set_text(object, "tokenizer", text);
    }
    bn_json_set_u64(object, "numerics", BN_NUMERICS_VERSION);
    return BN_OK;
}

void bn_fingerprint_set_double(bn_json *object, const char *key, double value)
{
    uint64_t bits;
    char digits[24], bits_key[KEY_BYTES_MAX];
    memcpy(&bits, &value, sizeof bits);
    snprintf(digits, sizeof digits, "%016" PRIx64, bits);
    snprintf(bits_key, sizeof bits_key, "%s_bits", key);
    bn_json_set_double(object, key, value);
    bn_json_set_text(object, bits_key, digits);
}
