/* command_synth.c — options of `synth`: a named shape, changed by whatever else is given. */
#include "model/command.h"

#include "common/log.h"
#include "common/options.h"
#include "common/progress.h"
#include "model/synth.h"
#include "model/vocabulary_tiktoken.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

typedef struct synth_options {
    const char *shape_name, *arch, *vocab_from;
    uint32_t layers, hidden, ffn, heads, kv_heads, head_size, vocab, context, head, weights;
    float rope_base;
    uint64_t seed;
    bool is_untied, has_no_tokenizer;
    bool head_given;
} synth_options;

static const char *const head_names[] = {"f16", "f32", "bf16", "q8_0", "q6_k", NULL};
static const uint32_t head_types[] = {BN_TENSOR_F16, BN_TENSOR_F32, BN_TENSOR_BF16, BN_TENSOR_Q8_0,
                                      BN_TENSOR_Q6_K};

static const char *const weight_names[] = {"i2_s", "q2_0", "tq2_0", NULL};
static const uint32_t weight_types[] = {BN_TENSOR_I2_S, BN_TENSOR_Q2_0, BN_TENSOR_TQ2_0};

#define SHAPE "shape"
#define CONTENT "content"

static bn_status parse(int argc, char **argv, synth_options *o, bn_options_result *result,
                       bn_program *program)
{
    const bn_option shape[] = {
        {SHAPE, "shape", BN_OPTION_STRING, &o->shape_name, "NAME",
         "tiny, 2b-4t, or of bitnet.cpp's list 125M, 350M, 1B, 1.5B, 2.7B, 3.8B, 7B, 13B, 30B, "
         "70B, 100B; the options below change it",
         NULL, 0, 0, 0, NULL},
        {SHAPE, "arch", BN_OPTION_STRING, &o->arch, "NAME",
         "bitnet, bitnet-b1.58, bitnet-25, llama, qwen3", NULL, 0, 0, 0, NULL},
        {SHAPE, "layers", BN_OPTION_U32, &o->layers, "N", "layers", NULL, 1, BN_LAYERS_MAX, 0,
         NULL},
        {SHAPE, "hidden", BN_OPTION_U32, &o->hidden, "N", "size of the residual stream", NULL, 1,
         BN_HIDDEN_MAX, 0, NULL},
        {SHAPE, "ffn", BN_OPTION_U32, &o->ffn, "N", "size of the feed-forward layer", NULL, 1,
         BN_FFN_MAX, 0, NULL},
        {SHAPE, "heads", BN_OPTION_U32, &o->heads, "N", "query heads", NULL, 1, BN_HEADS_MAX, 0,
         NULL},
        {SHAPE, "kv-heads", BN_OPTION_U32, &o->kv_heads, "N",
         "key/value heads (default: as many as heads)", NULL, 1, BN_HEADS_MAX, 0, NULL},
        {SHAPE, "head-size", BN_OPTION_U32, &o->head_size, "N",
         "elements of a head (default: hidden ÷ heads)", NULL, 2, BN_HEAD_SIZE_MAX, 0, NULL},
        {SHAPE, "context-length", BN_OPTION_U32, &o->context, "N", "trained context in the keys",
         NULL, 1, BN_CONTEXT_MAX, 0, NULL},
        {SHAPE, "rope-base", BN_OPTION_F32, &o->rope_base, "X", "base of the rotary frequencies",
         NULL, 1, 1e9, 0, NULL},
        {0},
    };
    const bn_option content[] = {
        {CONTENT, "vocab", BN_OPTION_U32, &o->vocab, "N", "tokens of a printable vocabulary", NULL,
         1, BN_VOCAB_MAX, 0, NULL},
        {CONTENT, "vocab-from", BN_OPTION_STRING, &o->vocab_from, "FILE",
         "the vocabulary of a GGUF file, or a tiktoken file with Llama-3's special tokens", NULL, 0,
         0, 0, NULL},
        {CONTENT, "no-tokenizer", BN_OPTION_FLAG, &o->has_no_tokenizer, NULL,
         "write no tokenizer: such a model serves eval --tokens and bench", NULL, 0, 0, 0, NULL},
        {CONTENT, "head", BN_OPTION_CHOICE, &o->head, "TYPE",
         "type of the head, and of the embedding when they are one", head_names, 0, 0, 0,
         &o->head_given},
        {CONTENT, "weights", BN_OPTION_CHOICE, &o->weights, "TYPE",
         "type of the projections; q2_0 and tq2_0 have a scale for every block, all different",
         weight_names, 0, 0, 0, NULL},
        {CONTENT, "untied", BN_OPTION_FLAG, &o->is_untied, NULL,
         "a head of its own instead of the embedding", NULL, 0, 0, 0, NULL},
        {CONTENT, "seed", BN_OPTION_U64, &o->seed, "S", "same seed, same bytes, on any machine",
         NULL, 0, 0, 0, NULL},
        {0},
    };
    const bn_option *const tables[] = {shape, content, NULL};
    *program = (bn_program){
        .name = "bitnet-model synth",
        .synopsis = "[options] OUT",
        .about = "Writes a GGUF file of random ternary weights, streamed to disk. It runs like a "
                 "trained model of its shape, but what it says means nothing.",
        .examples = "  bitnet-model synth tiny.gguf\n"
                    "  bitnet-model synth big.gguf --shape 2b-4t --vocab-from llama3.tiktoken\n"
                    "  bitnet-model synth a.gguf --arch llama --layers 4 --hidden 512 --ffn 1024 "
                    "--heads 8 --kv-heads 2 --vocab 1000 --untied --head q8_0\n",
        .tables = tables,
        .print_version = bn_command_print_version,
    };
    BN_TRY(bn_options_parse(program, argc, argv, result));
    if (!result->is_done && result->n_positionals != 1)
        return bn_options_usage_error(program, "one OUT file is needed, not %" PRIu32,
                                      result->n_positionals);
    return BN_OK;
}

static void change_shape(const synth_options *o, bn_synth_shape *s)
{
    bool is_reshaped = o->hidden != 0 || o->heads != 0;
    if (o->arch != NULL) s->arch = o->arch;
    if (o->layers != 0) s->n_layers = o->layers;
    if (o->hidden != 0) s->hidden = o->hidden;
    if (o->ffn != 0) s->ffn = o->ffn;
    if (o->heads != 0) s->n_heads = s->n_kv_heads = o->heads;
    if (o->kv_heads != 0) s->n_kv_heads = o->kv_heads;
    if (is_reshaped) s->head_size = s->hidden / s->n_heads;
    if (o->head_size != 0) s->head_size = o->head_size;
    if (o->context != 0) s->context = o->context;
    if (o->rope_base != 0.0f) s->rope_base = o->rope_base;
    if (o->vocab != 0) s->vocab = o->vocab;
    if (o->is_untied) s->is_tied = false;
    if (o->head_given) s->head_type = head_types[o->head];
    s->weight_type = weight_types[o->weights];
    if (is_reshaped || o->layers != 0 || o->ffn != 0 || o->kv_heads != 0 || o->head_size != 0)
        s->name = NULL;
}

static bn_status make_shape(const bn_program *program, const synth_options *o, bn_synth_shape *s)
{
    const char *name = o->shape_name != NULL ? o->shape_name : "tiny";
    const bn_synth_shape *named = bn_synth_shape_find(name);
    if (named == NULL)
        return bn_options_usage_error(program, "unknown shape '%s'; --help lists them", name);
    bool has_all =
        o->arch != NULL && o->layers != 0 && o->hidden != 0 && o->ffn != 0 && o->heads != 0;
    bool has_any =
        o->arch != NULL || o->layers != 0 || o->hidden != 0 || o->ffn != 0 || o->heads != 0;
    if (o->shape_name == NULL && has_any && !has_all)
        return bn_options_usage_error(
            program, "without --shape, all of --arch, --layers, --hidden, --ffn and --heads are "
                     "needed");
    if (o->vocab_from != NULL && (o->vocab != 0 || o->has_no_tokenizer))
        return bn_options_usage_error(program, "--vocab-from excludes --vocab and --no-tokenizer");
    *s = *named;
    change_shape(o, s);
    if (o->vocab_from == NULL && !o->has_no_tokenizer && s->vocab < BN_VOCABULARY_PRINTABLE_MIN)
        return bn_options_usage_error(
            program,
            "--vocab %" PRIu32 " is too small: a printable vocabulary has at least %u tokens; "
            "smaller ones need --no-tokenizer",
            s->vocab, BN_VOCABULARY_PRINTABLE_MIN);
    return BN_OK;
}

static bool is_gguf(const char *path)
{
    char magic[4] = "";
    FILE *stream = fopen(path, "re");
    if (stream == NULL) return false;
    size_t n = fread(magic, 1, sizeof magic, stream);
    fclose(stream);
    return n == sizeof magic && memcmp(magic, "GGUF", 4) == 0;
}

static bn_status take_gguf_vocab(const char *path, bn_gguf **file_out, bn_synth_shape *shape)
{
    static const char key[] = "tokenizer.ggml.tokens";
    bn_gguf_array tokens;
    bn_status status = BN_OK;
    BN_TRY(bn_gguf_open(path, file_out));
    if (!bn_gguf_get_array(*file_out, key, BN_GGUF_STRING, &tokens, &status))
        return status != BN_OK
                   ? status
                   : bn_fail(BN_ERR_BAD_FILE, "MODEL-KEY", "%s: key %s is missing", path, key);
    if (tokens.n < 1 || tokens.n > BN_VOCAB_MAX)
        return bn_fail(BN_ERR_UNSUPPORTED, "MODEL-KEY",
                       "%s: key %s has %" PRIu64 " tokens; 1 to %u can be used", path, key,
                       tokens.n, BN_VOCAB_MAX);
    shape->vocab = (uint32_t)tokens.n;
    return BN_OK;
}

static bn_status write_model(const synth_options *o, bn_synth_job *job)
{
    bn_vocabulary vocab = {0};
    bn_gguf *file = NULL;
    bn_status status = BN_OK;
    uint64_t n_bytes = 0;
    if (o->vocab_from != NULL && is_gguf(o->vocab_from)) {
        status = take_gguf_vocab(o->vocab_from, &file, &job->shape);
        job->vocab_file = file;
    } else if (o->vocab_from != NULL) {
        status = bn_vocabulary_tiktoken_read(o->vocab_from, &vocab);
        job->shape.vocab = vocab.tokens.n;
        job->vocab = &vocab;
    } else if (!o->has_no_tokenizer) {
        status = bn_vocabulary_make_printable(job->shape.vocab, &vocab);
        job->vocab = &vocab;
    }
    if (status == BN_OK) status = bn_synth_write(job, &n_bytes);
    if (status == BN_OK) {
        char text[16];
        bn_progress_bytes_text(n_bytes, text);
        printf("%s: %s, %" PRIu32 " layers, %" PRIu32 " tokens, random weights of seed %" PRIu64
               "\n",
               job->path, text, job->shape.n_layers, job->shape.vocab, job->seed);
    }
    bn_vocabulary_fini(&vocab);
    bn_gguf_close(file);
    return status;
}

bn_status bn_command_synth(int argc, char **argv)
{
    synth_options o = {.seed = 1};
    bn_options_result result;
    bn_program program;
    bn_synth_job job = {.on_partial = bn_command_watch_partial};
    BN_TRY(parse(argc, argv, &o, &result, &program));
    if (result.is_done) return BN_OK;
    BN_TRY(make_shape(&program, &o, &job.shape));
    BN_TRY(bn_synth_check(&job.shape));
    job.path = result.positionals[0];
    job.seed = o.seed;
    BN_TRY(write_model(&o, &job));
    bn_status status = bn_command_flush();
    if (status != BN_OK) unlink(job.path); /* who asked was not told: leave nothing */
    return status;
}
