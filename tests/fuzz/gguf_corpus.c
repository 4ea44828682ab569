/* gguf_corpus.c — writes the seeds of corpus/gguf: the smallest models of several kinds, and files
 * whose counts and lengths are absurd. */
#include "common/log.h"
#include "model/gguf_writer.h"
#include "model/synth.h"

#include <stdio.h>
#include <string.h>

static bn_status write_model(const char *directory, const char *name, const char *arch,
                             uint32_t n_layers, uint32_t head_type, bool is_tied, bool has_vocab)
{
    char path[4096];
    bn_vocabulary vocab = {0};
    uint64_t n_bytes;
    snprintf(path, sizeof path, "%s/%s", directory, name);
    if (has_vocab) BN_TRY(bn_vocabulary_make_printable(BN_VOCABULARY_PRINTABLE_MIN + 2, &vocab));
    uint32_t hidden = head_type == BN_TENSOR_Q6_K ? 256 : 32;
    const bn_synth_job job = {
        .shape = {.arch = arch,
                  .n_layers = n_layers,
                  .hidden = hidden,
                  .ffn = 32,
                  .n_heads = 2,
                  .n_kv_heads = 1,
                  .head_size = 16,
                  .vocab = has_vocab ? vocab.tokens.n : 3,
                  .context = 64,
                  .rope_base = 1e4f,
                  .is_tied = is_tied,
                  .head_type = head_type,
                  .weight_type = BN_TENSOR_I2_S},
        .path = path,
        .seed = 1,
        .vocab = has_vocab ? &vocab : NULL,
    };
    bn_status status = bn_synth_write(&job, &n_bytes);
    bn_vocabulary_fini(&vocab);
    return status;
}

static bn_status copy_tensors(const bn_gguf *file, bn_gguf_writer *writer)
{
    static uint8_t bytes[1 << 16];
    for (uint64_t i = 0; i < bn_gguf_n_tensors(file); i++) {
        const bn_gguf_tensor *tensor = bn_gguf_tensor_at(file, i);
        BN_ASSERT(tensor->n_bytes <= sizeof bytes);
        BN_TRY(bn_gguf_read(file, tensor, 0, (size_t)tensor->n_bytes, bytes));
        BN_TRY(bn_gguf_writer_data(writer, bytes, (size_t)tensor->n_bytes));
        BN_TRY(bn_gguf_writer_end_tensor(writer));
    }
    return bn_gguf_writer_finish(writer);
}

/* The keys of YaRN, and some that say that a thing is absent or, with `is_refused`, there. */
static void add_keys(bn_gguf_writer *writer, bool is_refused)
{
    bn_gguf_writer_key_text(writer, "qwen3.rope.scaling.type", "yarn");
    bn_gguf_writer_key_f32(writer, "qwen3.rope.scaling.factor", 4.0f);
    bn_gguf_writer_key_u32(writer, "qwen3.rope.scaling.original_context_length", 16);
    bn_gguf_writer_key_f32(writer, "qwen3.rope.scaling.yarn_beta_fast", 8.0f);
    bn_gguf_writer_key_f32(writer, "qwen3.rope.scaling.attn_factor", 0.5f);
    bn_gguf_writer_key_u32(writer, "qwen3.expert_count", 0);
    bn_gguf_writer_key_f32(writer, "qwen3.logit_scale", 1.0f);
    bn_gguf_writer_key_text(writer, "general.type", "model");
    if (is_refused) bn_gguf_writer_key_u32(writer, "prism.hadamard.block_size", 128);
}

/* A model of architecture qwen3, made anew with more keys. */
static bn_status write_more_keys(const char *directory, const char *name, bool is_refused)
{
    char path[4096];
    bn_gguf *file = NULL;
    bn_gguf_writer *writer = NULL;
    BN_TRY(write_model(directory, name, "qwen3", 1, BN_TENSOR_F16, true, false));
    snprintf(path, sizeof path, "%s/%s", directory, name);
    BN_TRY(bn_gguf_open(path, &file));
    bn_status status = bn_gguf_writer_create(path, &writer);
    if (status == BN_OK) {
        for (uint64_t i = 0; i < bn_gguf_n_keys(file); i++)
            bn_gguf_writer_key_copy(writer, file, i);
        add_keys(writer, is_refused);
        for (uint64_t i = 0; i < bn_gguf_n_tensors(file); i++) {
            const bn_gguf_tensor *tensor = bn_gguf_tensor_at(file, i);
            bn_gguf_writer_tensor(writer, tensor->name, tensor->type, tensor->dims[0],
                                  tensor->n_dims > 1 ? tensor->dims[1] : 0);
        }
        status = bn_gguf_writer_begin_data(writer);
    }
    if (status == BN_OK) status = copy_tensors(file, writer);
    bn_gguf_writer_destroy(writer);
    bn_gguf_close(file);
    return status;
}

static bn_status write_bytes(const char *directory, const char *name, const void *bytes, size_t n)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    FILE *stream = fopen(path, "wb");
    if (stream == NULL) return BN_ERR_IO;
    size_t n_written = fwrite(bytes, 1, n, stream);
    return fclose(stream) == 0 && n_written == n ? BN_OK : BN_ERR_IO;
}

static bn_status write_keys(const char *directory)
{
    static const int32_t numbers[] = {1, -2, 3};
    char path[4096];
    bn_gguf_writer *writer;
    bn_text_list texts = {0};
    snprintf(path, sizeof path, "%s/keys", directory);
    BN_TRY(bn_gguf_writer_create(path, &writer));
    bn_text_list_add(&texts, "a", 1, "", 0);
    bn_text_list_add(&texts, "", 0, "", 0);
    bn_gguf_writer_key_text(writer, "general.architecture", "llama");
    bn_gguf_writer_key_bool(writer, "b", true);
    bn_gguf_writer_key_f32(writer, "f", 1.0f);
    bn_gguf_writer_key_u32(writer, "general.alignment", 64);
    bn_gguf_writer_key_i32s(writer, "n", numbers, 3);
    bn_gguf_writer_key_texts(writer, "tokenizer.ggml.tokens", &texts);
    bn_status status = bn_gguf_writer_begin_data(writer);
    if (status == BN_OK) status = bn_gguf_writer_finish(writer);
    bn_gguf_writer_destroy(writer);
    bn_text_list_fini(&texts);
    return status;
}

static bn_status write_all(const char *directory)
{
    static const uint8_t absurd_counts[] = "GGUF\3\0\0\0\xff\xff\xff\xff\xff\xff\xff\x7f"
                                           "\xff\xff\xff\xff\xff\xff\xff\x7f";
    static const uint8_t absurd_name[] = "GGUF\3\0\0\0\0\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0"
                                         "\xff\xff\xff\xff\xff\xff\xff\xff"
                                         "aaaaaaaaaaaaaaaaaaaaaaaa";
    static const uint8_t absurd_array[] = "GGUF\3\0\0\0\0\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0"
                                          "\1\0\0\0\0\0\0\0k\x09\0\0\0\x0c\0\0\0\0\0\0\0\0\0\0\x20";
    BN_TRY(write_model(directory, "llama", "llama", 1, BN_TENSOR_Q8_0, false, false));
    BN_TRY(write_model(directory, "bitnet", "bitnet", 2, BN_TENSOR_F16, true, false));
    BN_TRY(write_model(directory, "bitnet-25-q6_k", "bitnet-25", 1, BN_TENSOR_Q6_K, true, false));
    BN_TRY(write_model(directory, "vocab", "bitnet-b1.58", 1, BN_TENSOR_BF16, true, true));
    BN_TRY(write_more_keys(directory, "qwen3-yarn", false));
    BN_TRY(write_more_keys(directory, "refused-keys", true));
    BN_TRY(write_keys(directory));
    BN_TRY(write_bytes(directory, "absurd-counts", absurd_counts, sizeof absurd_counts - 1));
    BN_TRY(write_bytes(directory, "absurd-name", absurd_name, sizeof absurd_name - 1));
    return write_bytes(directory, "absurd-array", absurd_array, sizeof absurd_array - 1);
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: %s DIRECTORY\n", argv[0]);
        return 2;
    }
    bn_log_init("corpus", BN_LOG_INFO);
    return write_all(argv[1]) == BN_OK ? 0 : 1;
}
