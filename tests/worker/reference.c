/* reference.c — see the header. Everything is a plain loop; nothing here is meant to be fast. */
#include "tests/worker/reference.h"

#include "common/alloc.h"
#include "common/log.h"
#include "model/gguf.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct reference_linear {
    double *w; /* [rows][cols]: trit times its scale times the optional .scale */
    uint32_t rows, cols;
} reference_linear;

typedef struct reference_layer {
    double *attn_norm, *attn_sub_norm, *ffn_norm, *ffn_sub_norm; /* NULL when absent */
    double *q_norm, *k_norm;                                     /* likewise, of each head */
    reference_linear q, k, v, output, gate, up, down;
    double *keys, *values; /* [context][kv_heads][head_size], rounded to F16 */
} reference_layer;

struct bn_reference {
    bn_gguf *file;
    bn_reference_shape shape;
    uint32_t heads, kv_heads, head_size, context;
    uint32_t activation_group_cols; /* 0: a token is quantised as a whole */
    bool is_neox, is_relu2;
    double eps;
    double magnitude;                       /* of cos and sin */
    double *inverse;                        /* [head_size / 2] angle per position */
    double *embedding, *output_norm, *head; /* head may be the embedding */
    reference_layer *layers;
    double *scratch[6];
};

/* --- reading ------------------------------------------------------------------------------- */

static double half_value(const uint8_t *p)
{
    uint32_t bits = (uint32_t)p[0] | (uint32_t)p[1] << 8;
    int exponent = (int)(bits >> 10 & 31);
    double fraction = (double)(bits & 1023);
    double value = exponent == 0 ? ldexp(fraction, -24) : ldexp(1024.0 + fraction, exponent - 25);
    return bits >> 15 ? -value : value;
}

static double f32_value(const uint8_t *p)
{
    float x;
    memcpy(&x, p, sizeof x);
    return (double)x;
}

static double q6_k_value(const uint8_t *block, uint32_t i)
{
    uint32_t part = i / 128, quarter = i % 128 / 32, l = i % 32;
    uint32_t low = block[64 * part + 32 * (quarter & 1) + l] >> (quarter < 2 ? 0 : 4) & 15u;
    uint32_t high = block[128 + 32 * part + l] >> (2 * quarter) & 3u;
    int scale = (int8_t)block[192 + 8 * part + 2 * quarter + l / 16];
    return half_value(block + 208) * scale * ((int)(low | high << 4) - 32);
}

/* Codes of two bits, four to a byte in the order of the columns, behind their scale. */
static double q2_0_value(const uint8_t *block, uint32_t i)
{
    return half_value(block) * ((block[2 + i / 4] >> (2 * (i % 4)) & 3) - 1);
}

static double tq2_0_value(const uint8_t *block, uint32_t i)
{
    uint32_t shift = i % 128 / 32 * 2;
    return half_value(block + 64) * ((block[i / 128 * 32 + i % 32] >> shift & 3) - 1);
}

/* Five trits to a byte, the first the most significant digit of byte · 243 / 256; the last four
 * bytes hold four. */
static double tq1_0_value(const uint8_t *block, uint32_t i)
{
    uint32_t at = i < 160 ? i % 32 : i < 240 ? 32 + i % 16 : 48 + i % 4;
    uint32_t n = i < 160 ? i / 32 : i < 240 ? (i - 160) / 16 : (i - 240) / 4;
    uint32_t digits = (uint32_t)block[at] * 243 >> 8;
    for (uint32_t k = n; k < 4; k++)
        digits /= 3;
    return half_value(block + 52) * ((int)(digits % 3) - 1);
}

/* The same in blocks of 128. */
static double ptq1_0_value(const uint8_t *block, uint32_t i)
{
    uint32_t at = i < 80 ? i % 16 : i < 120 ? 16 + i % 8 : 24 + i % 2;
    uint32_t n = i < 80 ? i / 16 : i < 120 ? (i - 80) / 8 : (i - 120) / 2;
    uint32_t digits = (uint32_t)block[at] * 243 >> 8;
    for (uint32_t k = n; k < 4; k++)
        digits /= 3;
    return half_value(block + 26) * ((int)(digits % 3) - 1);
}

static double q4_k_value(const uint8_t *block, uint32_t i)
{
    const uint8_t *s = block + 4;
    uint32_t j = i / 32;
    uint32_t scale = j < 4 ? s[j] & 63u : (s[j + 4] & 15u) | (uint32_t)(s[j - 4] >> 6) << 4;
    uint32_t min = j < 4 ? s[j + 4] & 63u : (uint32_t)(s[j + 4] >> 4) | (uint32_t)(s[j] >> 6) << 4;
    uint32_t q = block[16 + i / 64 * 32 + i % 32] >> (i % 64 / 32 * 4) & 15u;
    return half_value(block) * scale * q - half_value(block + 2) * min;
}

static double q5_0_value(const uint8_t *block, uint32_t i)
{
    uint32_t low = block[6 + i % 16] >> (i / 16 * 4) & 15u;
    uint32_t high = block[2 + i / 8] >> (i % 8) & 1u;
    return half_value(block) * ((int)(low | high << 4) - 16);
}

static double dense_value(uint32_t type, const uint8_t *data, uint64_t i)
{
    const uint8_t *block;
    switch (type) {
    case BN_TENSOR_F32: return f32_value(data + 4 * i);
    case BN_TENSOR_F16: return half_value(data + 2 * i);
    case BN_TENSOR_BF16: return f32_value((const uint8_t[]){0, 0, data[2 * i], data[2 * i + 1]});
    case BN_TENSOR_Q8_0:
        block = data + i / 32 * 34;
        return half_value(block) * (int8_t)block[2 + i % 32];
    case BN_TENSOR_Q4_0:
        block = data + i / 32 * 18;
        return half_value(block) * ((block[2 + i % 16] >> (i % 32 / 16 * 4) & 15) - 8);
    case BN_TENSOR_Q5_0: return q5_0_value(data + i / 32 * 22, (uint32_t)(i % 32));
    case BN_TENSOR_Q4_K: return q4_k_value(data + i / 256 * 144, (uint32_t)(i % 256));
    case BN_TENSOR_Q2_0: return q2_0_value(data + i / 64 * 18, (uint32_t)(i % 64));
    case BN_TENSOR_Q2_0_128:
    case BN_TENSOR_PQ2_0: return q2_0_value(data + i / 128 * 34, (uint32_t)(i % 128));
    case BN_TENSOR_TQ1_0: return tq1_0_value(data + i / 256 * 54, (uint32_t)(i % 256));
    case BN_TENSOR_PTQ1_0: return ptq1_0_value(data + i / 128 * 28, (uint32_t)(i % 128));
    case BN_TENSOR_TQ2_0: return tq2_0_value(data + i / 256 * 66, (uint32_t)(i % 256));
    default:
        BN_ASSERT(type == BN_TENSOR_Q6_K);
        return q6_k_value(data + i / 256 * 210, (uint32_t)(i % 256));
    }
}

/* The bytes of a tensor, NULL when it is absent. */
static uint8_t *read_tensor(const bn_reference *r, const char *name, const bn_gguf_tensor **out)
{
    const bn_gguf_tensor *tensor = bn_gguf_tensor_find(r->file, name);
    *out = tensor;
    if (!tensor) return NULL;
    uint8_t *data = bn_alloc((size_t)tensor->n_bytes, 1);
    BN_ASSERT(data);
    BN_ASSERT(bn_gguf_read(r->file, tensor, 0, (size_t)tensor->n_bytes, data) == BN_OK);
    return data;
}

static double *read_dense(const bn_reference *r, const char *name)
{
    const bn_gguf_tensor *tensor;
    uint8_t *data = read_tensor(r, name, &tensor);
    if (!data) return NULL;
    uint64_t n = tensor->dims[0] * tensor->dims[1];
    double *values = bn_alloc((size_t)n, sizeof *values);
    BN_ASSERT(values);
    for (uint64_t i = 0; i < n; i++)
        values[i] = dense_value(tensor->type, data, i);
    bn_free(data);
    return values;
}

static double *read_layer_dense(const bn_reference *r, uint32_t layer, const char *noun)
{
    char name[BN_GGUF_NAME_MAX];
    (void)snprintf(name, sizeof name, "blk.%u.%s", layer, noun);
    return read_dense(r, name);
}

/* Element i of a ternary tensor of n. */
static double ternary_value(uint32_t type, const uint8_t *data, uint64_t i, uint64_t n)
{
    if (type != BN_TENSOR_I2_S) return dense_value(type, data, i);
    uint32_t j = (uint32_t)(i % 128);
    int trit = (data[i / 128 * 32 + j % 32] >> (6 - j / 32 * 2) & 3) - 1;
    return trit * f32_value(data + n / 4);
}

static reference_linear read_linear(const bn_reference *r, uint32_t layer, const char *noun)
{
    char name[BN_GGUF_NAME_MAX];
    const bn_gguf_tensor *tensor;
    (void)snprintf(name, sizeof name, "blk.%u.%s.weight", layer, noun);
    uint8_t *data = read_tensor(r, name, &tensor);
    BN_ASSERT(data);
    uint64_t n = tensor->dims[0] * tensor->dims[1];
    reference_linear w = {.rows = (uint32_t)tensor->dims[1], .cols = (uint32_t)tensor->dims[0]};
    (void)snprintf(name, sizeof name, "blk.%u.%s.scale", layer, noun);
    double *post_scale = read_dense(r, name);
    w.w = bn_alloc((size_t)n, sizeof *w.w);
    BN_ASSERT(w.w);
    for (uint64_t i = 0; i < n; i++)
        w.w[i] = ternary_value(tensor->type, data, i, n) * (post_scale ? post_scale[0] : 1.0);
    bn_free(data);
    bn_free(post_scale);
    return w;
}

static void read_layer(bn_reference *r, uint32_t i)
{
    reference_layer *layer = &r->layers[i];
    size_t kv = (size_t)r->context * r->kv_heads * r->head_size;
    layer->attn_norm = read_layer_dense(r, i, "attn_norm.weight");
    layer->attn_sub_norm = read_layer_dense(r, i, "attn_sub_norm.weight");
    layer->ffn_norm = read_layer_dense(r, i, "ffn_norm.weight");
    layer->ffn_sub_norm = read_layer_dense(r, i, "ffn_sub_norm.weight");
    layer->q_norm = read_layer_dense(r, i, "attn_q_norm.weight");
    layer->k_norm = read_layer_dense(r, i, "attn_k_norm.weight");
    layer->q = read_linear(r, i, "attn_q");
    layer->k = read_linear(r, i, "attn_k");
    layer->v = read_linear(r, i, "attn_v");
    layer->output = read_linear(r, i, "attn_output");
    layer->gate = read_linear(r, i, "ffn_gate");
    layer->up = read_linear(r, i, "ffn_up");
    layer->down = read_linear(r, i, "ffn_down");
    layer->keys = bn_alloc(kv, sizeof(double));
    layer->values = bn_alloc(kv, sizeof(double));
    BN_ASSERT(layer->keys && layer->values);
}

static uint32_t key_u32(const bn_reference *r, const char *arch, const char *noun)
{
    char key[128];
    uint32_t value = 0;
    bn_status status = BN_OK;
    (void)snprintf(key, sizeof key, "%s.%s", arch, noun);
    BN_ASSERT(bn_gguf_get_u32(r->file, key, &value, &status));
    return value;
}

static double key_f32(const bn_reference *r, const char *arch, const char *noun)
{
    char key[128];
    float value = 0.0f;
    bn_status status = BN_OK;
    (void)snprintf(key, sizeof key, "%s.%s", arch, noun);
    BN_ASSERT(bn_gguf_get_f32(r->file, key, &value, &status));
    return (double)value;
}

/* YaRN as its paper and Hugging Face write it: pairs are kept below `low`, divided above `high`. */
static void read_yarn(bn_reference *r, const char *arch, double base)
{
    char key[128];
    bn_gguf_string text;
    bn_status status = BN_OK;
    r->magnitude = 1.0;
    (void)snprintf(key, sizeof key, "%s.rope.scaling.type", arch);
    if (!bn_gguf_get_string(r->file, key, &text, &status) || text.n != 4 ||
        memcmp(text.bytes, "yarn", 4) != 0)
        return;
    double factor = key_f32(r, arch, "rope.scaling.factor");
    double context = key_u32(r, arch, "rope.scaling.original_context_length");
    double n = r->head_size, pi = acos(-1.0), bounds[2] = {32.0, 1.0};
    for (int i = 0; i < 2; i++)
        bounds[i] = n * log(context / (bounds[i] * 2.0 * pi)) / (2.0 * log(base));
    double low = fmax(floor(bounds[0]), 0.0), high = fmin(ceil(bounds[1]), n - 1.0);
    for (uint32_t i = 0; i < r->head_size / 2; i++) {
        double ramp = fmin(1.0, fmax(0.0, (i - low) / fmax(high - low, 0.001)));
        r->inverse[i] *= ramp / factor + (1.0 - ramp);
    }
    r->magnitude = 0.1 * log(factor) + 1.0;
}

/* The test models carry every key that is read here, and the activation by architecture or key. */
static void read_config(bn_reference *r)
{
    bn_gguf_string text;
    bn_status status = BN_OK;
    char arch[32], key[128];
    BN_ASSERT(bn_gguf_get_string(r->file, "general.architecture", &text, &status));
    (void)snprintf(arch, sizeof arch, "%.*s", (int)text.n, text.bytes);
    r->shape.n_layers = key_u32(r, arch, "block_count");
    r->shape.hidden = key_u32(r, arch, "embedding_length");
    r->shape.ffn = key_u32(r, arch, "feed_forward_length");
    r->shape.vocab = key_u32(r, arch, "vocab_size");
    r->heads = key_u32(r, arch, "attention.head_count");
    r->kv_heads = key_u32(r, arch, "attention.head_count_kv");
    r->head_size = key_u32(r, arch, "rope.dimension_count");
    r->shape.attention = r->heads * r->head_size;
    r->shape.kv = r->kv_heads * r->head_size;
    r->eps = key_f32(r, arch, "attention.layer_norm_rms_epsilon");
    r->is_neox = strcmp(arch, "llama") != 0;
    r->activation_group_cols = strcmp(arch, "qwen3") == 0 ? 128 : 0;
    r->is_relu2 = strcmp(arch, "bitnet-b1.58") == 0 || strcmp(arch, "bitnet-25") == 0;
    (void)snprintf(key, sizeof key, "%s.hidden_act", arch);
    if (bn_gguf_get_string(r->file, key, &text, &status))
        r->is_relu2 = text.n == 5 && memcmp(text.bytes, "relu2", 5) == 0;

    double base = key_f32(r, arch, "rope.freq_base");
    double *factors = read_dense(r, "rope_freqs.weight");
    r->inverse = bn_alloc(r->head_size / 2, sizeof(double));
    BN_ASSERT(r->inverse);
    for (uint32_t i = 0; i < r->head_size / 2; i++)
        r->inverse[i] = pow(base, -2.0 * i / r->head_size) / (factors ? factors[i] : 1.0);
    bn_free(factors);
    read_yarn(r, arch, base);
}

bn_status bn_reference_open(const char *path, uint32_t context, bn_reference **reference_out)
{
    bn_reference *r = bn_alloc(1, sizeof *r);
    BN_ASSERT(r);
    bn_status status = bn_gguf_open(path, &r->file);
    if (status != BN_OK) {
        bn_free(r);
        return status;
    }
    r->context = context;
    read_config(r);
    r->embedding = read_dense(r, "token_embd.weight");
    r->output_norm = read_dense(r, "output_norm.weight");
    r->head = read_dense(r, "output.weight");
    if (!r->head) r->head = r->embedding;
    r->layers = bn_alloc(r->shape.n_layers, sizeof *r->layers);
    BN_ASSERT(r->embedding && r->output_norm && r->layers);
    for (uint32_t i = 0; i < r->shape.n_layers; i++)
        read_layer(r, i);
    size_t widest = r->shape.hidden + r->shape.ffn + r->shape.attention + context;
    for (size_t i = 0; i < sizeof r->scratch / sizeof r->scratch[0]; i++) {
        r->scratch[i] = bn_alloc(widest, sizeof(double));
        BN_ASSERT(r->scratch[i]);
    }
    *reference_out = r;
    return BN_OK;
}

void bn_reference_close(bn_reference *r)
{
    if (!r) return;
    for (uint32_t i = 0; i < r->shape.n_layers; i++) {
        reference_layer *layer = &r->layers[i];
        void *owned[] = {layer->attn_norm,    layer->attn_sub_norm, layer->ffn_norm,
                         layer->ffn_sub_norm, layer->q.w,           layer->k.w,
                         layer->v.w,          layer->output.w,      layer->gate.w,
                         layer->up.w,         layer->down.w,        layer->keys,
                         layer->values,       layer->q_norm,        layer->k_norm};
        for (size_t j = 0; j < sizeof owned / sizeof owned[0]; j++)
            bn_free(owned[j]);
    }
    for (size_t i = 0; i < sizeof r->scratch / sizeof r->scratch[0]; i++)
        bn_free(r->scratch[i]);
    if (r->head != r->embedding) bn_free(r->head);
    bn_free(r->embedding);
    bn_free(r->output_norm);
    bn_free(r->inverse);
    bn_free(r->layers);
    bn_gguf_close(r->file);
    bn_free(r);
}

void bn_reference_group_activations(bn_reference *reference, uint32_t group_cols)
{
    reference->activation_group_cols = group_cols;
}

bn_reference_shape bn_reference_shape_of(const bn_reference *reference)
{
    return reference->shape;
}

/* --- arithmetic ---------------------------------------------------------------------------- */

/* One unit of the last place of the F16 nearest to x. */
static double half_unit(double x)
{
    int exponent = x == 0.0 || ilogb(x) < -14 ? -14 : ilogb(x);
    return ldexp(1.0, exponent - 10);
}

/* Rounds a key or value to F16, or takes what was chosen. */
static void round_to_half(double *x, uint32_t n, const uint16_t *chosen,
                          bn_reference_choices *choices)
{
    double largest = 0.0, excess = 0.0;
    for (uint32_t i = 0; i < n; i++) {
        double unit = half_unit((double)(float)x[i]);
        double y = fmin(65504.0, fmax(-65504.0, unit * nearbyint((double)(float)x[i] / unit)));
        if (choices) {
            double given = half_value((const uint8_t *)&chosen[i]);
            largest = fmax(largest, fabs(x[i]));
            excess = fmax(excess, fabs(x[i] - given) - unit / 2.0);
            choices->n++;
            choices->n_flips += given != y;
            y = given;
        }
        x[i] = y;
    }
    if (choices) choices->worst_half = fmax(choices->worst_half, excess / largest);
}

static void norm(const bn_reference *r, const double *x, const double *weight, uint32_t n,
                 double *y)
{
    double sum = 0.0;
    for (uint32_t i = 0; i < n; i++)
        sum += x[i] * x[i];
    double scale = 1.0 / sqrt(sum / n + r->eps);
    for (uint32_t i = 0; i < n; i++)
        y[i] = weight ? x[i] * scale * weight[i] : x[i];
}

static void norm_heads(const bn_reference *r, double *x, uint32_t n_heads, const double *weight)
{
    for (uint32_t h = 0; h < n_heads; h++)
        norm(r, x + (size_t)h * r->head_size, weight, r->head_size, x + (size_t)h * r->head_size);
}

/* q receives codes ÷ s, each group of columns with the s of its own. */
static void quantise(const bn_reference *r, const double *x, uint32_t n, double *q,
                     bn_reference_choices *choices, uint32_t which)
{
    uint32_t group = r->activation_group_cols > 0 ? r->activation_group_cols : n;
    float s = 0.0f;
    for (uint32_t i = 0; i < n; i++) {
        if (i % group == 0) {
            float largest = 1e-5f;
            for (uint32_t j = i; j < n && j < i + group; j++)
                largest = fmaxf(largest, fabsf((float)x[j]));
            s = 127.0f / largest;
        }
        q[i] = fmin(127.0, fmax(-128.0, nearbyint((double)((float)x[i] * s))));
        if (choices) {
            double given = choices->codes[which][i];
            choices->worst_code = fmax(choices->worst_code, fabs(x[i] * (double)s - given));
            choices->n++;
            choices->n_flips += given != q[i];
            q[i] = given;
        }
        q[i] /= (double)s;
    }
}

static void linear(const reference_linear *w, const double *q, double *y)
{
    for (uint32_t row = 0; row < w->rows; row++) {
        y[row] = 0.0;
        for (uint32_t c = 0; c < w->cols; c++)
            y[row] += w->w[(size_t)row * w->cols + c] * q[c];
    }
}

static void rope(const bn_reference *r, double *x, uint32_t n_heads, uint32_t position)
{
    uint32_t half = r->head_size / 2;
    for (uint32_t h = 0; h < n_heads; h++) {
        for (uint32_t i = 0; i < half; i++) {
            double *head = x + (size_t)h * r->head_size;
            double *a = r->is_neox ? head + i : head + 2 * i;
            double *b = r->is_neox ? head + i + half : head + 2 * i + 1;
            double c = r->magnitude * cos(position * r->inverse[i]);
            double s = r->magnitude * sin(position * r->inverse[i]);
            double x0 = *a, x1 = *b;
            *a = x0 * c - x1 * s;
            *b = x0 * s + x1 * c;
        }
    }
}

/* out = softmax(q·k / √head_size)·v over positions 0 … position, for every query head. */
static void attend(const bn_reference *r, const reference_layer *layer, const double *q,
                   uint32_t position, double *p, double *out)
{
    size_t stride = (size_t)r->kv_heads * r->head_size;
    for (uint32_t h = 0; h < r->heads; h++) {
        size_t shared = (size_t)(h / (r->heads / r->kv_heads)) * r->head_size;
        double largest = -INFINITY, sum = 0.0;
        for (uint32_t t = 0; t <= position; t++) {
            double dot = 0.0;
            for (uint32_t d = 0; d < r->head_size; d++)
                dot += q[(size_t)h * r->head_size + d] * layer->keys[t * stride + shared + d];
            p[t] = dot / sqrt(r->head_size);
            largest = fmax(largest, p[t]);
        }
        for (uint32_t t = 0; t <= position; t++) {
            p[t] = exp(p[t] - largest);
            sum += p[t];
        }
        for (uint32_t d = 0; d < r->head_size; d++) {
            double o = 0.0;
            for (uint32_t t = 0; t <= position; t++)
                o += p[t] * layer->values[t * stride + shared + d];
            out[(size_t)h * r->head_size + d] = o / sum;
        }
    }
}

void bn_reference_embed(const bn_reference *r, uint32_t token, double *x)
{
    BN_ASSERT(token < r->shape.vocab);
    memcpy(x, r->embedding + (size_t)token * r->shape.hidden, r->shape.hidden * sizeof *x);
}

static void attention_block(bn_reference *r, reference_layer *layer, uint32_t position, double *x,
                            bn_reference_choices *choices)
{
    double *h = r->scratch[0], *code = r->scratch[1], *q = r->scratch[2], *out = r->scratch[3];
    uint32_t kv = r->shape.kv;
    double *k = layer->keys + (size_t)position * kv, *v = layer->values + (size_t)position * kv;
    norm(r, x, layer->attn_norm, r->shape.hidden, h);
    quantise(r, h, r->shape.hidden, code, choices, 0);
    linear(&layer->q, code, q);
    linear(&layer->k, code, k);
    linear(&layer->v, code, v);
    norm_heads(r, q, r->heads, layer->q_norm);
    norm_heads(r, k, r->kv_heads, layer->k_norm);
    rope(r, q, r->heads, position);
    rope(r, k, r->kv_heads, position);
    round_to_half(k, kv, choices ? choices->key : NULL, choices);
    round_to_half(v, kv, choices ? choices->value : NULL, choices);
    attend(r, layer, q, position, r->scratch[4], out);
    norm(r, out, layer->attn_sub_norm, r->shape.attention, h);
    quantise(r, h, r->shape.attention, code, choices, 1);
    linear(&layer->output, code, out);
    for (uint32_t i = 0; i < r->shape.hidden; i++)
        x[i] += out[i];
}

static void ffn_block(bn_reference *r, reference_layer *layer, double *x,
                      bn_reference_choices *choices)
{
    double *h = r->scratch[0], *code = r->scratch[1], *gate = r->scratch[2], *up = r->scratch[3];
    norm(r, x, layer->ffn_norm, r->shape.hidden, h);
    quantise(r, h, r->shape.hidden, code, choices, 2);
    linear(&layer->gate, code, gate);
    linear(&layer->up, code, up);
    for (uint32_t i = 0; i < r->shape.ffn; i++) {
        double rectified = gate[i] > 0.0 ? gate[i] : 0.0;
        up[i] *= r->is_relu2 ? rectified * rectified : gate[i] / (1.0 + exp(-gate[i]));
    }
    norm(r, up, layer->ffn_sub_norm, r->shape.ffn, h);
    quantise(r, h, r->shape.ffn, code, choices, 3);
    linear(&layer->down, code, up);
    for (uint32_t i = 0; i < r->shape.hidden; i++)
        x[i] += up[i];
}

void bn_reference_layer(bn_reference *r, uint32_t layer, uint32_t position, double *x,
                        bn_reference_choices *choices)
{
    BN_ASSERT(layer < r->shape.n_layers && position < r->context);
    attention_block(r, &r->layers[layer], position, x, choices);
    ffn_block(r, &r->layers[layer], x, choices);
}

void bn_reference_head(const bn_reference *r, const double *x, double *logits)
{
    norm(r, x, r->output_norm, r->shape.hidden, r->scratch[0]);
    for (uint32_t row = 0; row < r->shape.vocab; row++) {
        logits[row] = 0.0;
        for (uint32_t i = 0; i < r->shape.hidden; i++)
            logits[row] += r->head[(size_t)row * r->shape.hidden + i] * r->scratch[0][i];
    }
}
