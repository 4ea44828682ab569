/* synth.c — one walk over all tensors, taken twice: once to declare them, once to write them.
 *
 * With inputs of size 1 (a norm stands before each product), trits that are 0 half of the time
 * and a scale of √(2/K), a product has size 1 too. What is added to the residual stream is made
 * smaller by √L, so that it stays near 1 after L layers. Embedding rows have size 3/√hidden, so
 * that logits are about ±3, seldom beyond ±10.
 */
#include "model/synth.h"

#include "common/alloc.h"
#include "common/log.h"
#include "common/progress.h"
#include "kernels/math.h"
#include "model/arch.h"
#include "model/gguf_writer.h"
#include "model/tensor_type.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define CHUNK_BYTES 913920u /* a whole number of blocks of every type, and of 64 bits */
#define LEVELS 4096u        /* distinct values of a dense element */
#define RMS_EPS 1e-5f
#define LOGIT_SIZE 3.0
#define Q6_K_BYTES 210u
#define Q8_0_BYTES 34u

/* bitnet.cpp's dummy models: as many key/value heads as heads. */
#define DUMMY(name, n_layers, hidden, ffn, n_heads)                                                \
    {                                                                                              \
        name, "bitnet", n_layers, hidden, ffn, n_heads, n_heads, (hidden) / (n_heads), 32002,      \
            2048, 1e4f, true, BN_TENSOR_F16, BN_TENSOR_I2_S                                        \
    }

const bn_synth_shape bn_synth_shapes[] = {
    {"tiny", "bitnet-b1.58", 4, 256, 512, 8, 2, 32, 512, 4096, 5e5f, true, BN_TENSOR_F16,
     BN_TENSOR_I2_S},
    {"2b-4t", "bitnet-b1.58", 30, 2560, 6912, 20, 5, 128, 128256, 4096, 5e5f, true, BN_TENSOR_F16,
     BN_TENSOR_I2_S},
    DUMMY("125M", 11, 768, 3072, 12),
    DUMMY("350M", 24, 1024, 3072, 16),
    DUMMY("1B", 24, 2048, 3584, 32),
    DUMMY("1.5B", 28, 1536, 9216, 32),
    DUMMY("2.7B", 24, 3072, 7680, 32),
    DUMMY("3.8B", 24, 3840, 8192, 32),
    DUMMY("7B", 32, 4096, 12032, 32),
    DUMMY("13B", 40, 5120, 13824, 40),
    DUMMY("30B", 60, 6656, 16384, 52),
    DUMMY("70B", 80, 8192, 24576, 64),
    DUMMY("100B", 72, 8192, 45568, 64),
    {0},
};

const bn_synth_shape *bn_synth_shape_find(const char *name)
{
    for (const bn_synth_shape *shape = bn_synth_shapes; shape->name != NULL; shape++)
        if (strcasecmp(shape->name, name) == 0) return shape;
    return NULL;
}

/* xoshiro256**: a stream per tensor. */
typedef struct random_stream {
    uint64_t s[4];
} random_stream;

static uint64_t rotate(uint64_t x, int n)
{
    return x << n | x >> (64 - n);
}

static uint64_t random_next(random_stream *r)
{
    uint64_t result = rotate(r->s[1] * 5, 7) * 9, t = r->s[1] << 17;
    r->s[2] ^= r->s[0];
    r->s[3] ^= r->s[1];
    r->s[1] ^= r->s[2];
    r->s[0] ^= r->s[3];
    r->s[2] ^= t;
    r->s[3] = rotate(r->s[3], 45);
    return result;
}

static random_stream random_begin(uint64_t seed, uint64_t tensor)
{
    random_stream r;
    uint64_t state = seed ^ (tensor + 1) * 0xd1342543de82ef95ull;
    for (int i = 0; i < 4; i++) {
        state += 0x9e3779b97f4a7c15ull;
        uint64_t z = (state ^ (state >> 30)) * 0xbf58476d1ce4e5b9ull;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
        r.s[i] = z ^ (z >> 31);
    }
    return r;
}

typedef struct writer_state {
    const bn_synth_job *job;
    bn_gguf_writer *writer;
    bool is_declaring;
    uint64_t n_tensors; /* walked */
    uint8_t *chunk;     /* [CHUNK_BYTES] */
    uint32_t *levels;   /* [LEVELS] bits of a dense element, in the head's type */
    uint64_t done;
    bn_progress progress;
    bn_status status;
} writer_state;

/* 64 random bits to 32 codes: −1, 0, 0, 1 with equal chance. */
static uint64_t codes_of(uint64_t bits)
{
    uint64_t threes = bits & (bits >> 1) & 0x5555555555555555ull;
    return bits ^ threes << 1; /* code 3 becomes 1 */
}

static void fill_codes(random_stream *r, uint8_t *out, size_t n)
{
    for (size_t i = 0; i < n; i += sizeof(uint64_t)) {
        uint64_t codes = codes_of(random_next(r));
        memcpy(out + i, &codes, sizeof codes);
    }
}

/* Between 3/4 and 5/4. */
static float random_near_1(random_stream *r)
{
    return 0.75f + (float)(random_next(r) >> 40) * 0x1p-25f;
}

static void fill_norm(random_stream *r, uint8_t *out, size_t n)
{
    for (size_t i = 0; i < n; i += sizeof(float)) {
        float value = random_near_1(r);
        memcpy(out + i, &value, sizeof value);
    }
}

/* Codes with an f16 scale before (Q2_0) or behind them (TQ2_0), another for every block. */
static void fill_blocks(random_stream *r, uint32_t type, float scale, uint8_t *out, size_t n)
{
    size_t n_codes = bn_tensor_type_block(type) / 4, at = type == BN_TENSOR_Q2_0 ? 0 : n_codes;
    for (size_t i = 0; i < n; i += n_codes + sizeof(uint16_t)) {
        uint16_t d = bn_f16_from_f32(scale * random_near_1(r));
        memcpy(out + i + at, &d, sizeof d);
        fill_codes(r, out + i + (at == 0 ? sizeof d : 0), n_codes);
    }
}

static void fill_levels(const writer_state *w, random_stream *r, size_t width, uint8_t *out,
                        size_t n)
{
    uint64_t bits = 0;
    for (size_t i = 0, k = 0; i < n; i += width, k++) {
        if (k % 4 == 0) bits = random_next(r);
        memcpy(out + i, &w->levels[bits & (LEVELS - 1)], width);
        bits >>= 16;
    }
}

static double dense_bound(const bn_synth_shape *shape)
{
    return LOGIT_SIZE * sqrt(3.0 / shape->hidden); /* √3 times the size of a uniform value */
}

/* Blocks of an f16 scale and 32 int8. */
static void fill_q8_0(const bn_synth_shape *shape, random_stream *r, uint8_t *out, size_t n)
{
    uint16_t d = bn_f16_from_f32((float)(dense_bound(shape) / 127.0));
    for (size_t i = 0; i < n; i += Q8_0_BYTES) {
        memcpy(out + i, &d, sizeof d);
        for (size_t k = 0; k < 32; k += 8) {
            uint64_t bits = random_next(r);
            memcpy(out + i + 2 + k, &bits, 8);
        }
        for (size_t k = 0; k < 32; k++)
            if (out[i + 2 + k] == 0x80) out[i + 2 + k] = 0; /* quantisers never write −128 */
    }
}

/* Blocks of 128 + 64 bytes of 6-bit codes, 16 int8 scales and an f16 scale. */
static void fill_q6_k(const bn_synth_shape *shape, random_stream *r, uint8_t *out, size_t n)
{
    uint16_t d = bn_f16_from_f32((float)(dense_bound(shape) / (32.0 * 32.0)));
    for (size_t i = 0; i < n; i += Q6_K_BYTES) {
        for (size_t k = 0; k < 208; k += 8) {
            uint64_t bits = random_next(r);
            memcpy(out + i + k, &bits, 8);
        }
        for (size_t k = 192; k < 208; k++) /* 24 … 39, some negative */
            out[i + k] = (uint8_t)((24 + (out[i + k] & 15)) * (out[i + k] & 16 ? -1 : 1));
        memcpy(out + i + 208, &d, sizeof d);
    }
}

static void fill_dense(const writer_state *w, uint32_t type, random_stream *r, uint8_t *out,
                       size_t n)
{
    const bn_synth_shape *shape = &w->job->shape;
    if (type == BN_TENSOR_Q8_0)
        fill_q8_0(shape, r, out, n);
    else if (type == BN_TENSOR_Q6_K)
        fill_q6_k(shape, r, out, n);
    else
        fill_levels(w, r, type == BN_TENSOR_F32 ? 4 : 2, out, n);
}

static void make_levels(writer_state *w, uint32_t type)
{
    double bound = dense_bound(&w->job->shape);
    for (uint32_t i = 0; i < LEVELS; i++) {
        float value = (float)(bound * ((2.0 * i + 1.0 - LEVELS) / LEVELS));
        uint32_t bits;
        memcpy(&bits, &value, sizeof bits);
        if (type == BN_TENSOR_F16) bits = bn_f16_from_f32(value);
        if (type == BN_TENSOR_BF16) bits = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
        w->levels[i] = bits;
    }
}

static void write_part(writer_state *w, const void *bytes, size_t n)
{
    if (w->status == BN_OK) w->status = bn_gguf_writer_data(w->writer, bytes, n);
    w->done += n;
    bn_progress_update(&w->progress, w->done);
}

static bool has_block_scales(uint32_t type)
{
    return type == BN_TENSOR_Q2_0 || type == BN_TENSOR_TQ2_0;
}

/* The bytes of one tensor, codes or elements, without an I2_S tail. */
static void write_body(writer_state *w, uint32_t type, bool is_norm, float scale, uint64_t n_bytes)
{
    random_stream r = random_begin(w->job->seed, w->n_tensors);
    size_t chunk = CHUNK_BYTES;
    if (has_block_scales(type))
        chunk -= chunk % (bn_tensor_type_block(type) / 4 + sizeof(uint16_t));
    else if (!is_norm && type != BN_TENSOR_I2_S)
        make_levels(w, type);
    while (n_bytes > 0 && w->status == BN_OK) {
        size_t n = n_bytes < chunk ? (size_t)n_bytes : chunk;
        if (type == BN_TENSOR_I2_S)
            fill_codes(&r, w->chunk, n);
        else if (has_block_scales(type))
            fill_blocks(&r, type, scale, w->chunk, n);
        else if (is_norm)
            fill_norm(&r, w->chunk, n);
        else
            fill_dense(w, type, &r, w->chunk, n);
        write_part(w, w->chunk, n);
        n_bytes -= n;
    }
}

static void visit(writer_state *w, const char *name, uint32_t type, uint64_t n_cols,
                  uint64_t n_rows, float scale)
{
    if (w->status != BN_OK) return;
    if (w->is_declaring) {
        bn_gguf_writer_tensor(w->writer, name, type, n_cols, n_rows);
        w->n_tensors++;
        return;
    }
    uint64_t n_bytes = 0;
    bool is_whole =
        bn_tensor_type_span(type, n_cols, n_cols * (n_rows == 0 ? 1 : n_rows), &n_bytes);
    BN_ASSERT(is_whole);
    bool has_tail = type == BN_TENSOR_I2_S;
    write_body(w, type, n_rows == 0, scale, n_bytes - (has_tail ? BN_TENSOR_I2S_TAIL_BYTES : 0));
    if (has_tail) {
        uint8_t tail[BN_TENSOR_I2S_TAIL_BYTES] = {0};
        memcpy(tail, &scale, sizeof scale);
        write_part(w, tail, sizeof tail);
    }
    if (w->status == BN_OK) w->status = bn_gguf_writer_end_tensor(w->writer);
    w->n_tensors++;
}

static void visit_norm(writer_state *w, uint32_t layer, const char *part, uint32_t n)
{
    char name[BN_GGUF_NAME_MAX];
    snprintf(name, sizeof name, "blk.%" PRIu32 ".%s.weight", layer, part);
    visit(w, name, BN_TENSOR_F32, n, 0, 0.0f);
}

/* `gain`: size of the result for inputs of size 1. */
static void visit_linear(writer_state *w, uint32_t layer, const char *part, uint32_t n_cols,
                         uint32_t n_rows, double gain)
{
    char name[BN_GGUF_NAME_MAX];
    snprintf(name, sizeof name, "blk.%" PRIu32 ".%s.weight", layer, part);
    visit(w, name, w->job->shape.weight_type, n_cols, n_rows, (float)(gain * sqrt(2.0 / n_cols)));
}

static void visit_layer(writer_state *w, uint32_t i, const bn_arch *arch)
{
    const bn_synth_shape *s = &w->job->shape;
    uint32_t q_size = s->n_heads * s->head_size, kv_size = s->n_kv_heads * s->head_size;
    double out_gain = 1.0 / sqrt((double)s->n_layers);
    visit_norm(w, i, "attn_norm", s->hidden);
    visit_linear(w, i, "attn_q", s->hidden, q_size, 1.0);
    visit_linear(w, i, "attn_k", s->hidden, kv_size, 1.0);
    visit_linear(w, i, "attn_v", s->hidden, kv_size, 1.0);
    if (arch->has_qk_norms) {
        visit_norm(w, i, "attn_q_norm", s->head_size);
        visit_norm(w, i, "attn_k_norm", s->head_size);
    }
    if (arch->has_sub_norms) visit_norm(w, i, "attn_sub_norm", q_size);
    visit_linear(w, i, "attn_output", q_size, s->hidden, out_gain);
    visit_norm(w, i, "ffn_norm", s->hidden);
    visit_linear(w, i, "ffn_gate", s->hidden, s->ffn, 1.0);
    visit_linear(w, i, "ffn_up", s->hidden, s->ffn, 1.0);
    if (arch->has_sub_norms) visit_norm(w, i, "ffn_sub_norm", s->ffn);
    visit_linear(w, i, "ffn_down", s->ffn, s->hidden, out_gain);
}

static void visit_all(writer_state *w)
{
    const bn_synth_shape *s = &w->job->shape;
    const bn_arch *arch = bn_arch_find(s->arch, strlen(s->arch));
    w->n_tensors = 0;
    visit(w, "token_embd.weight", s->is_tied ? s->head_type : BN_TENSOR_F16, s->hidden, s->vocab,
          0.0f);
    for (uint32_t i = 0; i < s->n_layers; i++)
        visit_layer(w, i, arch);
    visit(w, "output_norm.weight", BN_TENSOR_F32, s->hidden, 0, 0.0f);
    if (!s->is_tied) visit(w, "output.weight", s->head_type, s->hidden, s->vocab, 0.0f);
}

static void arch_u32(writer_state *w, const char *suffix, uint32_t value)
{
    char key[128];
    snprintf(key, sizeof key, "%s.%s", w->job->shape.arch, suffix);
    bn_gguf_writer_key_u32(w->writer, key, value);
}

static void arch_f32(writer_state *w, const char *suffix, float value)
{
    char key[128];
    snprintf(key, sizeof key, "%s.%s", w->job->shape.arch, suffix);
    bn_gguf_writer_key_f32(w->writer, key, value);
}

static void write_shape_keys(writer_state *w)
{
    const bn_synth_shape *s = &w->job->shape;
    char name[64];
    snprintf(name, sizeof name, "random weights, shape %s", s->name != NULL ? s->name : "custom");
    bn_gguf_writer_key_text(w->writer, "general.architecture", s->arch);
    bn_gguf_writer_key_text(w->writer, "general.name", name);
    if (s->weight_type == BN_TENSOR_I2_S)
        bn_gguf_writer_key_u32(w->writer, "general.file_type", 40);
    arch_u32(w, "vocab_size", s->vocab);
    arch_u32(w, "context_length", s->context);
    arch_u32(w, "embedding_length", s->hidden);
    arch_u32(w, "block_count", s->n_layers);
    arch_u32(w, "feed_forward_length", s->ffn);
    arch_u32(w, "rope.dimension_count", s->head_size);
    arch_f32(w, "rope.freq_base", s->rope_base);
    arch_u32(w, "attention.head_count", s->n_heads);
    arch_u32(w, "attention.head_count_kv", s->n_kv_heads);
    arch_u32(w, "attention.key_length", s->head_size);
    arch_u32(w, "attention.value_length", s->head_size);
    arch_f32(w, "attention.layer_norm_rms_epsilon", RMS_EPS);
}

static void write_vocab_keys(writer_state *w, const bn_vocabulary *vocab)
{
    int32_t *types = bn_alloc(vocab->tokens.n, sizeof *types);
    if (types == NULL) {
        w->status = bn_fail(BN_ERR_NO_MEMORY, "MODEL-WRITE", "%s: no memory for %" PRIu32 " tokens",
                            w->job->path, vocab->tokens.n);
        return;
    }
    for (uint32_t i = 0; i < vocab->tokens.n; i++)
        types[i] = i < vocab->n_normal ? 1 : 3; /* normal, control */
    bn_gguf_writer_key_text(w->writer, "tokenizer.ggml.model", "gpt2");
    bn_gguf_writer_key_text(w->writer, "tokenizer.ggml.pre", "llama-bpe");
    bn_gguf_writer_key_texts(w->writer, "tokenizer.ggml.tokens", &vocab->tokens);
    bn_gguf_writer_key_i32s(w->writer, "tokenizer.ggml.token_type", types, vocab->tokens.n);
    bn_gguf_writer_key_texts(w->writer, "tokenizer.ggml.merges", &vocab->merges);
    bn_gguf_writer_key_u32(w->writer, "tokenizer.ggml.bos_token_id", vocab->bos);
    bn_gguf_writer_key_u32(w->writer, "tokenizer.ggml.eos_token_id", vocab->eos);
    bn_gguf_writer_key_u32(w->writer, "tokenizer.ggml.eot_token_id", vocab->eot);
    bn_gguf_writer_key_bool(w->writer, "tokenizer.ggml.add_bos_token", true);
    bn_free(types);
}

static void copy_vocab_keys(writer_state *w, const bn_gguf *file)
{
    for (uint64_t i = 0; i < bn_gguf_n_keys(file); i++)
        if (strncmp(bn_gguf_key_name(file, i), "tokenizer.", 10) == 0)
            bn_gguf_writer_key_copy(w->writer, file, i);
}

static bn_status fail_shape(const char *what, uint64_t value, const char *needed)
{
    return bn_fail(BN_ERR_BAD_ARGUMENT, "SYNTH-SHAPE", "%s is %" PRIu64 "; %s", what, value,
                   needed);
}

static bn_status check_counts(const bn_synth_shape *s)
{
    const struct {
        const char *what;
        uint32_t value, max;
    } counts[] = {
        {"the number of layers", s->n_layers, BN_LAYERS_MAX},
        {"the hidden size", s->hidden, BN_HIDDEN_MAX},
        {"the ffn size", s->ffn, BN_FFN_MAX},
        {"the number of heads", s->n_heads, BN_HEADS_MAX},
        {"the number of key/value heads", s->n_kv_heads, BN_HEADS_MAX},
        {"the head size", s->head_size, BN_HEAD_SIZE_MAX},
        {"the vocabulary", s->vocab, BN_VOCAB_MAX},
        {"the context length", s->context, BN_CONTEXT_MAX},
    };
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++)
        if (counts[i].value < 1 || counts[i].value > counts[i].max) {
            char needed[48];
            snprintf(needed, sizeof needed, "1 to %" PRIu32 " can be used", counts[i].max);
            return fail_shape(counts[i].what, counts[i].value, needed);
        }
    return BN_OK;
}

/* Rows of whole blocks. */
static bn_status check_rows(const bn_synth_shape *s, uint64_t q_size)
{
    const uint64_t n_cols[] = {s->hidden, q_size, s->ffn};
    uint32_t block = bn_tensor_type_block(s->weight_type);
    char needed[64];
    snprintf(needed, sizeof needed, "rows of %s need a multiple of %" PRIu32,
             bn_tensor_type_name(s->weight_type), block);
    for (size_t i = 0; i < sizeof n_cols / sizeof n_cols[0]; i++)
        if (n_cols[i] % block != 0) return fail_shape("a row of weights", n_cols[i], needed);
    return BN_OK;
}

bn_status bn_synth_check(const bn_synth_shape *s)
{
    BN_TRY(check_counts(s));
    if (bn_arch_find(s->arch, strlen(s->arch)) == NULL)
        return bn_fail(BN_ERR_BAD_ARGUMENT, "SYNTH-SHAPE",
                       "the architecture \"%s\" is not known; %s are", s->arch, bn_arch_names());
    if (s->head_size % 2 != 0)
        return fail_shape("the head size", s->head_size, "an even one is needed");
    if (s->n_heads % s->n_kv_heads != 0)
        return fail_shape("the number of heads", s->n_heads,
                          "it must be a multiple of the key/value heads");
    if (s->n_heads / s->n_kv_heads > BN_ATTENTION_GROUP_MAX)
        return fail_shape("heads per key/value head", s->n_heads / s->n_kv_heads,
                          "at most 64 can be used");
    uint64_t q_size = (uint64_t)s->n_heads * s->head_size;
    uint64_t kv_size = (uint64_t)s->n_kv_heads * s->head_size;
    if (q_size > BN_HIDDEN_MAX)
        return fail_shape("heads times head size", q_size, "at most 65536 can be used");
    const uint64_t products[] = {s->hidden * q_size, s->hidden * kv_size,
                                 (uint64_t)s->hidden * s->ffn};
    for (size_t i = 0; i < sizeof products / sizeof products[0]; i++)
        if (s->weight_type == BN_TENSOR_I2_S && products[i] % 128 != 0)
            return fail_shape("the number of elements of a ternary tensor", products[i],
                              "I2_S needs a multiple of 128: change the hidden, ffn or head size");
    if (has_block_scales(s->weight_type)) BN_TRY(check_rows(s, q_size));
    uint32_t block = bn_tensor_type_block(s->head_type);
    BN_ASSERT(block > 0);
    if (s->hidden % block != 0) {
        char needed[64];
        snprintf(needed, sizeof needed, "a head of %s needs a multiple of %" PRIu32,
                 bn_tensor_type_name(s->head_type), block);
        return fail_shape("the hidden size", s->hidden, needed);
    }
    return BN_OK;
}

static bn_status write_file(writer_state *w, uint64_t *bytes_out)
{
    const bn_synth_job *job = w->job;
    write_shape_keys(w);
    if (job->vocab != NULL) write_vocab_keys(w, job->vocab);
    if (job->vocab_file != NULL) copy_vocab_keys(w, job->vocab_file);
    w->is_declaring = true;
    visit_all(w);
    BN_TRY(w->status);
    BN_TRY(bn_gguf_writer_begin_data(w->writer));
    *bytes_out = bn_gguf_writer_file_bytes(w->writer);
    bn_progress_begin(&w->progress, "writing the model", *bytes_out);
    w->is_declaring = false;
    visit_all(w);
    bn_progress_end(&w->progress);
    BN_TRY(w->status);
    return bn_gguf_writer_finish(w->writer);
}

bn_status bn_synth_write(const bn_synth_job *job, uint64_t *bytes_out)
{
    writer_state w = {.job = job};
    BN_TRY(bn_synth_check(&job->shape));
    BN_TRY(bn_gguf_writer_create(job->path, &w.writer));
    if (job->on_partial != NULL) job->on_partial(bn_gguf_writer_partial_path(w.writer));
    w.chunk = bn_alloc(CHUNK_BYTES, 1);
    w.levels = bn_alloc(LEVELS, sizeof *w.levels);
    bn_status status = w.chunk != NULL && w.levels != NULL
                           ? write_file(&w, bytes_out)
                           : bn_fail(BN_ERR_NO_MEMORY, "MODEL-WRITE", "%s: no memory", job->path);
    bn_free(w.chunk);
    bn_free(w.levels);
    bn_gguf_writer_destroy(w.writer);
    if (job->on_partial != NULL) job->on_partial(NULL);
    return status;
}
