/* gguf_identity.c — a hash that tells model files apart without reading all of them.
 *
 * Header bytes come from the file, not from memory (gguf_parse.c overwrites some). A tensor of at
 * most SAMPLE_BLOCKS blocks is hashed whole; of a longer one the first block, the last, and 14 in
 * between that depend only on its place in the table.
 */
#include "common/alloc.h"
#include "common/log.h"
#include "model/gguf_parse.h"

#include <string.h>

#define BLOCK_BYTES 4096u
#define SAMPLE_BLOCKS 16u
#define HEADER_CHUNK_BYTES (1u << 20)
#define SEED 0x6269746e65742e63ull

/* One round of splitmix64: the value at `counter` of the stream that `seed` names. */
static uint64_t random_at(uint64_t seed, uint64_t counter)
{
    uint64_t z = seed + (counter + 1) * 0x9e3779b97f4a7c15ull;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

static bn_status hash_range(const bn_gguf *file, uint32_t part, uint64_t offset, uint64_t n,
                            uint8_t *buffer, bn_hash *hash)
{
    while (n > 0) {
        size_t chunk = n < HEADER_CHUNK_BYTES ? (size_t)n : HEADER_CHUNK_BYTES;
        BN_TRY(bn_gguf_part_read(file, part, offset, chunk, buffer));
        bn_hash_update(hash, buffer, chunk);
        offset += chunk;
        n -= chunk;
    }
    return BN_OK;
}

static bn_status hash_tensor(const bn_gguf *file, uint64_t index, uint8_t *buffer, bn_hash *hash)
{
    const bn_gguf_tensor *tensor = &file->tensors[index];
    uint64_t n_blocks = (tensor->n_bytes + BLOCK_BYTES - 1) / BLOCK_BYTES;
    /* A scale that lies outside its tensor is in no byte that is hashed below. */
    if (tensor->scale != 0.0f) bn_hash_update(hash, &tensor->scale, sizeof tensor->scale);
    if (n_blocks <= SAMPLE_BLOCKS)
        return hash_range(file, tensor->part, tensor->offset, tensor->n_bytes, buffer, hash);
    for (uint64_t i = 0; i < SAMPLE_BLOCKS; i++) {
        uint64_t block = random_at(SEED, index * SAMPLE_BLOCKS + i) % n_blocks;
        uint64_t at = block * BLOCK_BYTES;
        if (i == 0) at = 0;
        if (i == SAMPLE_BLOCKS - 1 || at > tensor->n_bytes - BLOCK_BYTES)
            at = tensor->n_bytes - BLOCK_BYTES;
        BN_TRY(hash_range(file, tensor->part, tensor->offset + at, BLOCK_BYTES, buffer, hash));
    }
    return BN_OK;
}

bn_status bn_gguf_identity(const bn_gguf *file, bn_hash128 *identity_out)
{
    bn_hash *hash;
    BN_TRY(bn_hash_create(&hash));
    uint8_t *buffer = bn_alloc(HEADER_CHUNK_BYTES, 1);
    bn_status status = BN_OK;
    if (buffer == NULL)
        status = bn_fail(BN_ERR_NO_MEMORY, "MODEL-READ", "%s: no memory to hash it", file->path);
    bn_hash_update(hash, &file->file_bytes, sizeof file->file_bytes);
    for (uint32_t i = 0; i < file->n_parts && status == BN_OK; i++)
        status = hash_range(file, i, 0, file->parts[i].header_bytes, buffer, hash);
    for (uint64_t i = 0; i < file->n_tensors && status == BN_OK; i++)
        status = hash_tensor(file, i, buffer, hash);
    if (status == BN_OK) *identity_out = bn_hash_digest(hash);
    bn_free(buffer);
    bn_hash_destroy(hash);
    return status;
}

/* With its length in front, so that no two lists of texts look alike. */
static void hash_text(const char *bytes, uint64_t n, bn_hash *hash)
{
    bn_hash_update(hash, &n, sizeof n);
    bn_hash_update(hash, bytes, (size_t)n);
}

static void hash_key(const bn_gguf *file, const bn_gguf_key *key, bn_hash *hash)
{
    const uint32_t types[2] = {key->type, key->type == BN_GGUF_ARRAY ? key->element_type : 0};
    const uint8_t *value = file->header + key->value_at;
    hash_text(key->name, strlen(key->name), hash);
    bn_hash_update(hash, types, sizeof types);
    bn_hash_update(hash, &key->n, sizeof key->n);
    if (key->type == BN_GGUF_STRING)
        bn_hash_update(hash, value, (size_t)key->n);
    else if (key->type != BN_GGUF_ARRAY)
        bn_hash_update(hash, value, bn_gguf_parse_type_bytes(key->type));
    else if (key->element_type != BN_GGUF_STRING)
        bn_hash_update(hash, value, (size_t)key->n * bn_gguf_parse_type_bytes(key->element_type));
    else
        for (uint64_t i = 0; i < key->n; i++)
            hash_text(key->strings[i].bytes, key->strings[i].n, hash);
}

bn_status bn_gguf_keys_hash(const bn_gguf *file, const char *prefix, bn_hash128 *hash_out)
{
    bn_hash *hash;
    BN_TRY(bn_hash_create(&hash));
    for (uint64_t i = 0; i < file->n_keys; i++) {
        const bn_gguf_index *entry = &file->key_index[i]; /* in the order of the names */
        if (strncmp(entry->name, prefix, strlen(prefix)) == 0)
            hash_key(file, &file->keys[entry->at], hash);
    }
    *hash_out = bn_hash_digest(hash);
    bn_hash_destroy(hash);
    return BN_OK;
}
