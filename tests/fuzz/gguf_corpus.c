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
        .shape = {NULL, arch, n_layers, hidden, 32, 2, 1, 16, has_vocab ? vocab.tokens.n : 3, 64,
                  1e4f, is_tied, head_type},
        .path = path,
        .seed = 1,
        .vocab = has_vocab ? &vocab : NULL,
    };
    bn_status status = bn_synth_write(&job, &n_bytes);
    bn_vocabulary_fini(&vocab);
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
