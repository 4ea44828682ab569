/* hf_tokenizer_fuzz.c
 * What: no tokenizer.json, tokenizer.model or small file beside them crashes the folder's reader,
 *       and what it takes makes keys that the tokenizer's reader and the tokenizer survive.
 * How:  the parts of an input, separated by the byte 0x1E, become files of a folder: the tokenizer
 *       (JSON when it begins with a brace), tokenizer_config.json, generation_config.json.
 */
#include "common/log.h"
#include "coordinator/tokenizer.h"
#include "model/hf_tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define N_PARTS 3
#define N_ROWS 600u
#define SEPARATOR 0x1E

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static char folder[64], keys[80];

static void remove_folder(void)
{
    rmdir(folder);
}

static void put(const char *name, const uint8_t *bytes, size_t n)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *stream = fopen(path, "wb");
    if (stream == NULL || fwrite(bytes, 1, n, stream) != n) abort();
    fclose(stream);
}

static void use_keys(void)
{
    static const char text[] = "Hello <t> w\xC3\xA9ird \xFF world 123\n\n  ab";
    bn_gguf *file;
    bn_tokenizer *tokenizer;
    if (bn_gguf_open(keys, &file) != BN_OK) abort();
    if (bn_tokenizer_create(file, NULL, &tokenizer) == BN_OK) {
        bn_token_list ids = {0};
        for (int i = 0; i < 4; i++)
            if (bn_tokenizer_encode(tokenizer, text, sizeof text - 1, i & 1, i & 2, &ids) == BN_OK)
                for (size_t k = 0; k < ids.n; k++)
                    if (ids.ids[k] >= N_ROWS) abort();
        bn_token_list_fini(&ids);
        bn_tokenizer_destroy(tokenizer);
    }
    bn_gguf_close(file);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    if (folder[0] == '\0') {
        bn_log_init("fuzz", BN_LOG_ERROR);
        snprintf(folder, sizeof folder, "%s", "/tmp/hf_fuzz_XXXXXX");
        if (mkdtemp(folder) == NULL || atexit(remove_folder) != 0) abort();
        snprintf(keys, sizeof keys, "%s/keys.gguf", folder);
    }
    const char *names[N_PARTS] = {n > 0 && bytes[0] == '{' ? "tokenizer.json" : "tokenizer.model",
                                  "tokenizer_config.json", "generation_config.json"};
    int n_parts = 0;
    for (const uint8_t *end = bytes + n; n_parts < N_PARTS && bytes <= end; n_parts++) {
        const uint8_t *stop = memchr(bytes, SEPARATOR, (size_t)(end - bytes));
        if (stop == NULL || n_parts == N_PARTS - 1) stop = end;
        put(names[n_parts], bytes, (size_t)(stop - bytes));
        bytes = stop + 1;
    }
    bn_gguf_writer *writer;
    if (bn_gguf_writer_create(keys, &writer) != BN_OK) abort();
    bn_status status = bn_hf_tokenizer_write(folder, N_ROWS, writer);
    if (status == BN_OK && bn_gguf_writer_begin_data(writer) != BN_OK) abort();
    if (status == BN_OK && bn_gguf_writer_finish(writer) != BN_OK) abort();
    bn_gguf_writer_destroy(writer);
    if (status == BN_OK) use_keys();
    unlink(keys);
    for (int i = 0; i < n_parts; i++) {
        char path[128];
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        unlink(path);
    }
    return 0;
}
