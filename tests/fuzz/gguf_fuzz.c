/* gguf_fuzz.c
 * What: any bytes are a GGUF file that can be read whole, or are refused; a file that makes a
 *       model makes one whose every tensor, figure and plan can be asked for.
 * How:  the bytes become a file in memory; every key is read as every type, every string, array
 *       and tensor is touched from end to end.
 */
#include "model/inspect.h"
#include "model/stage_bytes.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static volatile uint64_t sink;

static void touch(const void *bytes, size_t n)
{
    const uint8_t *at = bytes;
    for (size_t i = 0; i < n; i++)
        sink += at[i];
}

static void read_key(const bn_gguf *file, const char *key)
{
    uint32_t u32;
    float f32;
    bool is_true;
    bn_gguf_string text;
    bn_gguf_array array;
    static const uint8_t widths[BN_GGUF_TYPE_COUNT] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    bn_status status = BN_OK;
    (void)bn_gguf_get_u32(file, key, &u32, &status);
    (void)bn_gguf_get_f32(file, key, &f32, &status);
    (void)bn_gguf_get_bool(file, key, &is_true, &status);
    if (bn_gguf_get_string(file, key, &text, &status)) touch(text.bytes, text.n);
    for (int type = 0; type < BN_GGUF_TYPE_COUNT; type++) {
        if (!bn_gguf_get_array(file, key, (bn_gguf_type)type, &array, &status)) continue;
        if (array.data != NULL) touch(array.data, (size_t)array.n * widths[type]);
        for (uint64_t i = 0; type == BN_GGUF_STRING && i < array.n; i++)
            touch(array.strings[i].bytes, array.strings[i].n);
    }
}

static void read_file(const bn_gguf *file)
{
    bn_hash128 identity;
    bn_inspect_tokenizer tokenizer;
    for (uint64_t i = 0; i < bn_gguf_n_keys(file); i++)
        read_key(file, bn_gguf_key_name(file, i));
    for (uint64_t i = 0; i < bn_gguf_n_tensors(file); i++) {
        const bn_gguf_tensor *tensor = bn_gguf_tensor_at(file, i);
        const uint8_t *data;
        void *base;
        size_t length;
        if (bn_gguf_tensor_find(file, tensor->name) != tensor) abort();
        if (tensor->n_bytes == 0) continue;
        if (bn_gguf_map(file, tensor, &data, &base, &length) != BN_OK) abort();
        touch(data, (size_t)tensor->n_bytes);
        bn_gguf_unmap(base, length);
    }
    if (bn_gguf_identity(file, &identity) != BN_OK) abort();
    if (bn_inspect_tokenizer_read(file, &tokenizer) == BN_OK && tokenizer.is_present)
        touch(tokenizer.model.bytes, tokenizer.model.n);
}

/* Whatever the keys say, angles stay within what sine and cosine are made for. */
static void rotate(const bn_model_config *c)
{
    double inv_freq[BN_HEAD_SIZE_MAX / 2];
    float cosines[BN_HEAD_SIZE_MAX / 2], sines[BN_HEAD_SIZE_MAX / 2];
    bn_rope_frequencies((double)c->rope_base, c->head_size, NULL, inv_freq);
    bn_rope_yarn_frequencies(&c->yarn, (double)c->rope_base, c->head_size, inv_freq);
    bn_rope_angles(BN_ROPE_POSITION_MAX, inv_freq, bn_rope_yarn_magnitude(&c->yarn),
                   c->head_size / 2, cosines, sines);
    touch(cosines, c->head_size / 2 * sizeof *cosines);
    touch(sines, c->head_size / 2 * sizeof *sines);
}

static void read_model(const bn_model *model)
{
    static bn_shard_plan plan;
    const bn_stage_limits limits = {model->config.context, 2, 64, 64, 4, 2};
    const bn_plan_worker workers[3] = {{.name = "a"}, {.name = "b"}, {.name = "c"}};
    bn_dense dense;
    bn_health health;
    rotate(&model->config);
    sink += bn_inspect_check(model) == BN_OK;
    if (bn_health_check(model, 1, &health) == BN_OK) sink += health.n_findings;
    bn_health_free(&health);
    if (bn_model_dense(model, model->output, model, &dense) != BN_OK) abort();
    if (dense.row_bytes * dense.n_rows != model->output->n_bytes) abort();
    uint32_t n = model->config.n_layers < 2 ? model->config.n_layers + 1 : 3;
    if (bn_shard_plan_make(model, &limits, workers, n, BN_PLAN_DECODE, &plan) != BN_OK) abort();
    sink += plan.stages[0].bytes.weights;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    char path[64];
    bn_gguf *file;
    bn_model *model;
    int fd = memfd_create("gguf", MFD_CLOEXEC);
    if (fd < 0 || write(fd, bytes, n) != (ssize_t)n) abort();
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (bn_gguf_open(path, &file) == BN_OK) {
        read_file(file);
        bn_gguf_close(file);
        if (bn_model_open(path, BN_ACTIVATION_FROM_FILE, &model) == BN_OK) {
            read_model(model);
            bn_model_close(model);
        }
    }
    close(fd);
    return 0;
}
