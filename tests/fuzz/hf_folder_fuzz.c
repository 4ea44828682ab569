/* hf_folder_fuzz.c
 * What: no config.json, safetensors header or index crashes the reader of folders; what it takes
 *       is a GGUF whose every key and tensor can be read.
 * How:  the parts of an input, separated by the byte 0x1E, become config.json, the header of
 *       model.safetensors, and model.safetensors.index.json when there is a third (then the file
 *       is named model-1.safetensors). The data are DATA_BYTES of one byte that makes sound floats.
 */
#include "common/log.h"
#include "model/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define N_PARTS 3
#define SEPARATOR 0x1E
#define DATA_BYTES 3328 /* of the seeds */

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static char folder[64];
static volatile uint64_t sink;

static const char *const names[] = {"config.json", "model.safetensors", "model-1.safetensors",
                                    "model.safetensors.index.json"};

static void remove_files(void)
{
    char path[128];
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        unlink(path);
    }
}

static void remove_folder(void)
{
    remove_files();
    rmdir(folder);
}

static FILE *create(const char *name)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *stream = fopen(path, "wb");
    if (stream == NULL) abort();
    return stream;
}

static void put(const char *name, const uint8_t *bytes, size_t n, bool is_weights)
{
    static uint8_t data[DATA_BYTES];
    memset(data, 0x3c, sizeof data);
    uint64_t length = n;
    FILE *stream = create(name);
    if (is_weights && fwrite(&length, sizeof length, 1, stream) != 1) abort();
    if (fwrite(bytes, 1, n, stream) != n) abort();
    if (is_weights && fwrite(data, 1, sizeof data, stream) != sizeof data) abort();
    fclose(stream);
}

static void read_all(const bn_gguf *file)
{
    static uint8_t data[DATA_BYTES];
    bn_hash128 identity;
    for (uint64_t i = 0; i < bn_gguf_n_tensors(file); i++) {
        const bn_gguf_tensor *tensor = bn_gguf_tensor_at(file, i);
        if (tensor->n_bytes > sizeof data) abort();
        if (bn_gguf_read(file, tensor, 0, (size_t)tensor->n_bytes, data) != BN_OK) abort();
        sink += data[0];
    }
    for (uint64_t i = 0; i < bn_gguf_n_keys(file); i++)
        sink += (uint8_t)bn_gguf_key_name(file, i)[0];
    if (bn_gguf_identity(file, &identity) != BN_OK) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    const uint8_t *parts[N_PARTS] = {bytes, NULL, NULL};
    size_t sizes[N_PARTS] = {0};
    bn_gguf *file;
    bn_model *model;
    uint32_t n_parts = 1;
    if (folder[0] == '\0') {
        snprintf(folder, sizeof folder, "%s", "/tmp/hf_folder_fuzz_XXXXXX");
        if (mkdtemp(folder) == NULL) abort();
        atexit(remove_folder);
    }
    for (size_t i = 0; i < n; i++) {
        if (bytes[i] == SEPARATOR && n_parts < N_PARTS)
            parts[n_parts++] = bytes + i + 1;
        else
            sizes[n_parts - 1]++;
    }
    remove_files();
    put(names[0], parts[0], sizes[0], false);
    if (n_parts > 1) put(names[n_parts == 3 ? 2 : 1], parts[1], sizes[1], true);
    if (n_parts > 2) put(names[3], parts[2], sizes[2], false);
    if (bn_gguf_open(folder, &file) == BN_OK) {
        read_all(file);
        bn_gguf_close(file);
        if (bn_model_open(folder, BN_ACTIVATION_FROM_FILE, &model) == BN_OK) bn_model_close(model);
    }
    return 0;
}
