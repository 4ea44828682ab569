/* scalar.c — the specification in code: docs/NUMERICS.md, one plain loop per sentence.
 *
 * Written to be read and compared with, not to be fast: fmaf may be a library call here. Every
 * other table must give these bits.
 */
#include "common/status.h"
#include "kernels/dense_blocks.h"
#include "kernels/math.h"
#include "kernels/screen.h"
#include "kernels/tables.h"

#include <math.h>
#include <string.h>

#define QUANTIZE_FLOOR 1e-5f
#define QUANTIZE_ROUND 0x1.8p23f /* adding and subtracting it rounds to nearest even */

static inline uint32_t magnitude_bits(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits & 0x7FFFFFFFu;
}

/* 127 / max(1e-5, max |x|); NaN when an element is NaN or infinite. */
static float quantize_scale(const float *x, uint32_t n_cols)
{
    uint32_t max = magnitude_bits(QUANTIZE_FLOOR);
    for (uint32_t c = 0; c < n_cols; c++) {
        uint32_t bits = magnitude_bits(x[c]);
        max = bits > max ? bits : max;
    }
    if (max >= 0x7F800000u) max = 0x7FC00000u;
    float a;
    memcpy(&a, &max, sizeof a);
    return 127.0f / a;
}

/* Nearest even, clamped. */
static int32_t quantized(float x, float s)
{
    int32_t q = (int32_t)((x * s + QUANTIZE_ROUND) - QUANTIZE_ROUND);
    return q < -128 ? -128 : q > 127 ? 127 : q;
}

static void quantize_scalar(const float *x, size_t x_stride, uint32_t n_tokens, uint32_t n_cols,
                            uint32_t width, int8_t *panel, float *scale, int32_t *sum)
{
    BN_ASSERT(n_tokens >= 1 && n_tokens <= width);
    memset(panel, 0, bn_q8_panel_bytes(n_cols, width));
    for (uint32_t t = 0; t < n_tokens; t++) {
        const float *row = x + t * x_stride;
        float s = quantize_scale(row, n_cols);
        scale[t] = s;
        sum[t] = 0;
        if (s != s) continue; /* the token is void: all zero, scale NaN */
        for (uint32_t c = 0; c < n_cols; c++) {
            int32_t q = quantized(row[c], s);
            panel[((size_t)(c / 4) * width + t) * 4 + c % 4] = (int8_t)q;
            sum[t] += q;
        }
    }
}

static void quantize_groups_scalar(const float *x, size_t x_stride, uint32_t n_tokens,
                                   uint32_t n_cols, uint32_t width, uint32_t group_cols,
                                   int8_t *panel, float *scale, int32_t *sum, int32_t *part_sum)
{
    uint32_t n_parts = bn_ternary_runs(n_cols, BN_Q8_PART_COLS);
    uint32_t n_groups = group_cols == 0 ? 1 : bn_ternary_runs(n_cols, group_cols);
    BN_ASSERT(n_tokens >= 1 && n_tokens <= width && group_cols % BN_Q8_PART_COLS == 0);
    memset(panel, 0, bn_q8_panel_bytes(n_cols, width));
    for (uint32_t t = 0; t < n_tokens; t++) {
        sum[t] = 0;
        memset(part_sum + (size_t)t * n_parts, 0, n_parts * sizeof *part_sum);
        for (uint32_t g = 0; g < n_groups; g++) {
            uint32_t begin = g * group_cols;
            uint32_t end = g + 1 == n_groups ? n_cols : begin + group_cols;
            const float *row = x + t * x_stride;
            float s = quantize_scale(row + begin, end - begin);
            scale[t * n_groups + g] = group_cols == 0 ? s : 1.0f / s;
            if (s != s) continue; /* void: all zero, and whatever it is multiplied with is NaN */
            for (uint32_t c = begin; c < end; c++) {
                int32_t q = quantized(row[c], s);
                panel[((size_t)(c / 4) * width + t) * 4 + c % 4] = (int8_t)q;
                part_sum[(size_t)t * n_parts + c / BN_Q8_PART_COLS] += q;
                sum[t] += q;
            }
        }
    }
}

/* Σ trit·q over the columns [col_begin, col_end); col_begin is the first of a block. */
static int32_t dot_of_row(const bn_ternary *w, uint32_t row, const int8_t *panel, uint32_t width,
                          uint32_t t, uint32_t col_begin, uint32_t col_end)
{
    const uint8_t *block = w->blocks +
                           bn_ternary_group_bytes(w->n_cols) * (row / BN_TERNARY_GROUP_ROWS) +
                           (size_t)(col_begin / BN_TERNARY_BLOCK_COLS) * BN_TERNARY_BLOCK_BYTES +
                           4 * (row % BN_TERNARY_GROUP_ROWS);
    int32_t dot = 0;
    for (uint32_t c = col_begin; c < col_end; c += BN_TERNARY_BLOCK_COLS) {
        for (uint32_t f = 0; f < 4; f++) {
            const int8_t *q = panel + ((size_t)(c / 4 + f) * width + t) * 4;
            for (uint32_t b = 0; b < 4; b++)
                dot += ((block[b] >> (2 * f) & 3) - 1) * q[b];
        }
        block += BN_TERNARY_BLOCK_BYTES;
    }
    return dot;
}

/* The scale of one row and run of columns. */
static float scale_at(const bn_ternary *w, uint32_t row, uint32_t run)
{
    if (w->scales == NULL) return w->scale;
    uint32_t n_runs = bn_ternary_runs(w->n_cols, w->group_cols);
    return w
        ->scales[((size_t)(row / BN_TERNARY_GROUP_ROWS) * n_runs + run) * BN_TERNARY_GROUP_ROWS +
                 row % BN_TERNARY_GROUP_ROWS];
}

/* One row times one token, exact within a step, steps added in ascending order. */
static float product_by_steps(const bn_ternary *w, uint32_t row, const bn_ternary_steps *steps,
                              const bn_q8 *x, uint32_t t)
{
    uint32_t width = bn_q8_width(x->n_tokens);
    const int8_t *panel = x->panels + t / width * bn_q8_panel_bytes(x->n_cols, width);
    bool has_w = steps->has_weight_groups, has_x = steps->has_token_groups;
    uint32_t n_token_scales = has_x ? bn_ternary_runs(x->n_cols, x->group_cols) : 1;
    const float *token_scale = x->scale + (size_t)t * n_token_scales;
    float y = 0.0f;
    for (uint32_t i = 0; i < steps->n; i++) {
        uint32_t begin = i * steps->cols;
        uint32_t end = i + 1 == steps->n ? w->n_cols : begin + steps->cols;
        float dot = (float)dot_of_row(w, row, panel, width, t % width, begin, end);
        float d = has_x ? token_scale[i >> steps->token_shift] : 1.0f;
        y = has_w ? fmaf(dot * d, scale_at(w, row, i >> steps->weight_shift), y) : fmaf(dot, d, y);
    }
    if (!has_x) y = y / token_scale[0];
    if (!has_w) y = y * scale_at(w, row, 0);
    return y * w->post_scale;
}

static void ternary_matmul_scalar(const bn_ternary *w, uint32_t group_begin, uint32_t group_end,
                                  const bn_q8 *x, float *y, size_t y_stride)
{
    BN_ASSERT(w->n_cols == x->n_cols && w->n_cols <= BN_TERNARY_COLS_MAX);
    uint32_t width = bn_q8_width(x->n_tokens);
    size_t panel_bytes = bn_q8_panel_bytes(x->n_cols, width);
    bn_ternary_steps steps = bn_ternary_steps_of(w, x);
    uint32_t row_begin = group_begin * BN_TERNARY_GROUP_ROWS;
    uint32_t row_end = group_end * BN_TERNARY_GROUP_ROWS;
    if (row_end > w->n_rows) row_end = w->n_rows;
    for (uint32_t t = 0; t < x->n_tokens; t++) {
        const int8_t *panel = x->panels + t / width * panel_bytes;
        for (uint32_t r = row_begin; r < row_end; r++) {
            if (steps.n > 0) {
                y[t * y_stride + r] = product_by_steps(w, r, &steps, x, t);
                continue;
            }
            int32_t dot = dot_of_row(w, r, panel, width, t % width, 0, w->n_cols);
            y[t * y_stride + r] = (((float)dot / x->scale[t]) * scale_at(w, r, 0)) * w->post_scale;
        }
    }
}

static void rms_norm_scalar(float *y, const float *x, const float *w, uint32_t n, float eps)
{
    float mean = bn_dot16(x, x, n) / (float)n;
    float r = 1.0f / sqrtf(mean + eps);
    for (uint32_t i = 0; i < n; i++)
        y[i] = (x[i] * r) * w[i];
}

static void add_scalar(float *x, const float *y, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = x[i] + y[i];
}

static void gated_scalar(bn_activation activation, float *out, const float *gate, const float *up,
                         size_t n)
{
    if (activation == BN_ACTIVATION_SILU) {
        for (size_t i = 0; i < n; i++)
            out[i] = (gate[i] / (1.0f + bn_exp_f32(-gate[i]))) * up[i];
        return;
    }
    BN_ASSERT(activation == BN_ACTIVATION_RELU2);
    for (size_t i = 0; i < n; i++) {
        float r = 0.0f > gate[i] ? 0.0f : gate[i]; /* NaN stays */
        out[i] = (r * r) * up[i];
    }
}

static void rope_scalar(bn_rope_kind kind, float *x, uint32_t n_heads, uint32_t head_size,
                        const float *cos, const float *sin)
{
    uint32_t half = head_size / 2;
    for (uint32_t h = 0; h < n_heads; h++) {
        float *head = x + (size_t)h * head_size;
        for (uint32_t i = 0; i < half; i++) {
            float *p0 = kind == BN_ROPE_NEOX ? head + i : head + 2 * i;
            float *p1 = kind == BN_ROPE_NEOX ? head + i + half : head + 2 * i + 1;
            float x0 = *p0, x1 = *p1;
            *p0 = x0 * cos[i] - x1 * sin[i];
            *p1 = x0 * sin[i] + x1 * cos[i];
        }
    }
}

static void store_f16_scalar(uint16_t *out, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = bn_f16_from_f32(x[i]);
}

static const uint16_t *kv_at(const bn_kv_view *kv, size_t offset, uint32_t position,
                             uint32_t head_size)
{
    return kv->pages[position / BN_KV_PAGE_POSITIONS] + offset +
           (size_t)(position % BN_KV_PAGE_POSITIONS) * head_size;
}

static void widen_f16(float *out, const uint16_t *h, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        out[i] = bn_f32_from_f16(h[i]);
}

static void attention_head(const float *q, uint32_t head_size, const bn_kv_view *kv,
                           uint32_t key_begin, uint32_t n_keys, float *out, float *max_out,
                           float *sum_out)
{
    float row[BN_HEAD_SIZE_MAX], e[BN_ATTENTION_CHUNK] = {0};
    float scale = 1.0f / sqrtf((float)head_size), max = -INFINITY;
    for (uint32_t k = 0; k < n_keys; k++) {
        widen_f16(row, kv_at(kv, kv->k_offset, key_begin + k, head_size), head_size);
        e[k] = bn_dot16(q, row, head_size) * scale;
        max = e[k] > max ? e[k] : max;
    }
    max = max + 0.0f; /* one zero only, whatever the order */
    for (uint32_t k = 0; k < n_keys; k++)
        e[k] = bn_exp_f32(e[k] - max);
    *max_out = max;
    *sum_out = bn_sum16(e, n_keys);
    memset(out, 0, head_size * sizeof *out);
    for (uint32_t k = 0; k < n_keys; k++) {
        widen_f16(row, kv_at(kv, kv->v_offset, key_begin + k, head_size), head_size);
        for (uint32_t d = 0; d < head_size; d++)
            out[d] = fmaf(e[k], row[d], out[d]);
    }
}

static void attention_chunk_scalar(const float *q, uint32_t n_heads, uint32_t head_size,
                                   const bn_kv_view *kv, uint32_t key_begin, uint32_t key_end,
                                   float *out, float *max_out, float *sum_out)
{
    BN_ASSERT(key_begin % BN_ATTENTION_CHUNK == 0 && key_begin < key_end);
    BN_ASSERT(key_end - key_begin <= BN_ATTENTION_CHUNK && head_size <= BN_HEAD_SIZE_MAX);
    for (uint32_t h = 0; h < n_heads; h++)
        attention_head(q + (size_t)h * head_size, head_size, kv, key_begin, key_end - key_begin,
                       out + (size_t)h * head_size, max_out + h, sum_out + h);
}

static void attention_merge_scalar(float *out, uint32_t head_size, const float *chunks,
                                   size_t chunk_stride, const float *max, const float *sum,
                                   size_t ml_stride, uint32_t n_chunks)
{
    BN_ASSERT(n_chunks > 0 && head_size <= BN_HEAD_SIZE_MAX);
    float m = -INFINITY, l = 0.0f, o[BN_HEAD_SIZE_MAX] = {0};
    for (uint32_t c = 0; c < n_chunks; c++)
        m = max[c * ml_stride] > m ? max[c * ml_stride] : m;
    for (uint32_t c = 0; c < n_chunks; c++) {
        float f = bn_exp_f32(max[c * ml_stride] - m);
        l = l + f * sum[c * ml_stride];
        for (uint32_t d = 0; d < head_size; d++)
            o[d] = o[d] + f * chunks[c * chunk_stride + d];
    }
    for (uint32_t d = 0; d < head_size; d++)
        out[d] = o[d] / l;
}

static uint16_t load_u16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static void widen_row(const bn_dense *w, uint32_t row, uint32_t begin, uint32_t n, float *out)
{
    const uint8_t *p = (const uint8_t *)w->rows + row * w->row_bytes;
    switch (w->type) {
    case BN_DENSE_F32: memcpy(out, p + 4 * (size_t)begin, 4 * (size_t)n); break;
    case BN_DENSE_F16:
        for (uint32_t i = 0; i < n; i++)
            out[i] = bn_f32_from_f16(load_u16(p + 2 * (size_t)(begin + i)));
        break;
    case BN_DENSE_BF16:
        for (uint32_t i = 0; i < n; i++)
            out[i] = bn_f32_from_bf16(load_u16(p + 2 * (size_t)(begin + i)));
        break;
    default:
        for (uint32_t i = 0; i < n; i += bn_dense_block_cols(w->type))
            bn_dense_block_widen(w->type,
                                 p + (size_t)(begin + i) / bn_dense_block_cols(w->type) *
                                         bn_dense_block_bytes(w->type),
                                 out + i);
    }
}

static void dense_row_scalar(const bn_dense *w, uint32_t row, float *out)
{
    BN_ASSERT(row < w->n_rows);
    widen_row(w, row, 0, w->n_cols, out);
}

/* Columns widened at a time; a multiple of every block and of 16. */
#define DENSE_PIECE BN_DENSE_BLOCK_COLS_MAX

static float dense_dot(const bn_dense *w, uint32_t row, const float *x)
{
    float acc[16] = {0}, piece[DENSE_PIECE];
    for (uint32_t c = 0; c < w->n_cols; c += DENSE_PIECE) {
        uint32_t n = w->n_cols - c < DENSE_PIECE ? w->n_cols - c : DENSE_PIECE;
        widen_row(w, row, c, n, piece);
        for (uint32_t i = 0; i < n; i++)
            acc[i % 16] = fmaf(piece[i], x[c + i], acc[i % 16]);
    }
    for (uint32_t step = 8; step > 0; step /= 2)
        for (uint32_t j = 0; j < step; j++)
            acc[j] = acc[j] + acc[j + step];
    return acc[0];
}

static void dense_matmul_scalar(const bn_dense *w, uint32_t row_begin, uint32_t row_end,
                                const float *x, size_t x_stride, uint32_t n_tokens, float *y,
                                size_t y_stride)
{
    BN_ASSERT(row_end <= w->n_rows);
    for (uint32_t t = 0; t < n_tokens; t++)
        for (uint32_t r = row_begin; r < row_end; r++)
            y[t * y_stride + r] = dense_dot(w, r, x + t * x_stride);
}

static void dense_gather_scalar(const bn_dense *w, const uint32_t *rows, uint32_t n_rows,
                                const float *x, float *y)
{
    for (uint32_t i = 0; i < n_rows; i++) {
        BN_ASSERT(rows[i] < w->n_rows);
        y[rows[i]] = dense_dot(w, rows[i], x);
    }
}

/* Modulo 2^32, which is exact: the sum itself stays below 2^31 (bn_screen_quantize sees to it). */
static int32_t screen_dot(const bn_screen *w, uint32_t row, const bn_screen_tokens *x, uint32_t t)
{
    const uint8_t *block = w->blocks +
                           bn_screen_group_bytes(w->n_cols) * (row / BN_SCREEN_GROUP_ROWS) +
                           4 * (row % BN_SCREEN_GROUP_ROWS);
    uint32_t high = 0, low = 0;
    for (uint32_t c = 0; c < w->n_cols; c += 4) {
        const int8_t *p = x->panel + ((size_t)(c / 4) * x->n_tokens + t) * 8;
        for (uint32_t b = 0; b < 4; b++) {
            high += (uint32_t)(block[b] * p[b]);
            low += (uint32_t)(block[b] * p[4 + b]);
        }
        block += 64;
    }
    return (int32_t)(128 * high + low - x->offset[t]);
}

static void screen_matmul_scalar(const bn_screen *w, uint32_t group_begin, uint32_t group_end,
                                 const bn_screen_tokens *x, float *lower, size_t lower_stride,
                                 float *upper, size_t upper_stride)
{
    BN_ASSERT(w->n_cols == x->n_cols && x->n_tokens <= BN_SCREEN_TOKENS_MAX);
    for (uint32_t t = 0; t < x->n_tokens; t++) {
        for (uint32_t group = group_begin; group < group_end; group++) {
            float max = -INFINITY;
            for (uint32_t i = 0; i < BN_SCREEN_GROUP_ROWS; i++) {
                uint32_t row = group * BN_SCREEN_GROUP_ROWS + i;
                float approx = (float)screen_dot(w, row, x, t) * (w->scale[row] * x->step[t]);
                float bound = fmaf(w->norm[row], x->rest[t], BN_SCREEN_FLOOR);
                bound = fmaf(w->error[row], x->length[t], bound);
                if (row < w->n_rows) lower[t * lower_stride + row] = approx - bound;
                max = approx + bound > max ? approx + bound : max;
            }
            upper[t * upper_stride + group] = max;
        }
    }
}

const bn_kernels bn_kernels_scalar = {
    .name = "scalar",
    .quantize = quantize_scalar,
    .quantize_groups = quantize_groups_scalar,
    .ternary_matmul = ternary_matmul_scalar,
    .rms_norm = rms_norm_scalar,
    .add = add_scalar,
    .gated = gated_scalar,
    .rope = rope_scalar,
    .store_f16 = store_f16_scalar,
    .attention_chunk = attention_chunk_scalar,
    .attention_merge = attention_merge_scalar,
    .dense_row = dense_row_scalar,
    .dense_matmul = dense_matmul_scalar,
    .dense_gather = dense_gather_scalar,
    .screen_matmul = screen_matmul_scalar,
};
