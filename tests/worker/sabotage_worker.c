/* sabotage_worker.c — bitnet-worker, wrong on purpose.
 *
 * What: the one-answer test must notice each of these mistakes; run with BN_SABOTAGE set to one:
 *         lane       RMSNorm sums its squares in another order than DOT16
 *         rounding   activations are quantised half away from zero
 *         attention  a chunk of keys is summed in two halves
 *         thread     a thread that does not begin at the first row multiplies scales first
 *         chunk      the last token of a batch is left out of the matrix products
 *         page       a sequence reads the first page of the one before it
 *         stage      what comes from the stage before loses its last bit
 *         link       what goes to the stage after loses its last bit
 *         group      every group of columns is dequantised with the scale of the first
 *         bound      the screened head believes its int8 rows to be exact
 * How:  replaced kernels and device operations, through the hooks that the product leaves empty.
 */
#include "kernels/math.h"
#include "worker/kv_cache.h"
#include "worker/worker_main.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAGES_MAX 64u
#define SCREEN_ROWS_MAX 4096u

static const bn_kernels *real;
static bn_kernels broken;
static bn_device_ops broken_ops;
static const bn_device_ops *real_ops;
static uint32_t n_tokens_now; /* of the batch under way */

static void rms_norm_lane(float *y, const float *x, const float *w, uint32_t n, float eps)
{
    float sum = 0.0f;
    for (uint32_t i = n; i-- > 0;)
        sum = fmaf(x[i], x[i], sum);
    float r = 1.0f / sqrtf(sum / (float)n + eps);
    for (uint32_t i = 0; i < n; i++)
        y[i] = (x[i] * r) * w[i];
}

static void quantize_rounding(const float *x, size_t x_stride, uint32_t n_tokens, uint32_t n_cols,
                              uint32_t width, int8_t *panel, float *scale, int32_t *sum)
{
    real->quantize(x, x_stride, n_tokens, n_cols, width, panel, scale, sum);
    for (uint32_t t = 0; t < n_tokens; t++) {
        sum[t] = 0;
        for (uint32_t c = 0; c < n_cols; c++) {
            float q = x[t * x_stride + c] * scale[t] * 1.001f; /* some fall over the edge */
            q = roundf(q);
            q = q > 127.0f ? 127.0f : q < -128.0f ? -128.0f : q;
            panel[((size_t)(c / 4) * width + t) * 4 + c % 4] = (int8_t)q;
            sum[t] += (int32_t)q;
        }
    }
}

static void quantize_groups_first(const float *x, size_t x_stride, uint32_t n_tokens,
                                  uint32_t n_cols, uint32_t width, uint32_t group_cols,
                                  int8_t *panel, float *scale, int32_t *sum, int32_t *part_sum)
{
    real->quantize_groups(x, x_stride, n_tokens, n_cols, width, group_cols, panel, scale, sum,
                          part_sum);
    uint32_t n_groups = group_cols == 0 ? 1 : bn_ternary_runs(n_cols, group_cols);
    for (uint32_t i = 0; i < n_tokens * n_groups; i++)
        scale[i] = scale[i / n_groups * n_groups];
}

static void attention_chunk_halves(const float *q, uint32_t n_heads, uint32_t head_size,
                                   const bn_kv_view *kv, uint32_t key_begin, uint32_t key_end,
                                   float *out, float *max_out, float *sum_out)
{
    float sums[BN_ATTENTION_GROUP_MAX] = {0};
    real->attention_chunk(q, n_heads, head_size, kv, key_begin, key_end, out, max_out, sum_out);
    if (key_end - key_begin < 32) return;
    /* The sum of the exponentials as two chunks would give it. */
    for (uint32_t h = 0; h < n_heads; h++) {
        float e[BN_ATTENTION_CHUNK];
        for (uint32_t k = key_begin; k < key_end; k++) {
            const uint16_t *key = kv->pages[k / BN_KV_PAGE_POSITIONS] + kv->k_offset +
                                  (size_t)(k % BN_KV_PAGE_POSITIONS) * head_size;
            float row[BN_HEAD_SIZE_MAX];
            for (uint32_t d = 0; d < head_size; d++)
                row[d] = bn_f32_from_f16(key[d]);
            float s = bn_dot16(q + (size_t)h * head_size, row, head_size) *
                      (1.0f / sqrtf((float)head_size));
            e[k - key_begin] = bn_exp_f32(s - max_out[h]);
        }
        uint32_t n = key_end - key_begin, half = n / 2 + 5;
        sums[h] = bn_sum16(e, half) + bn_sum16(e + half, n - half);
    }
    memcpy(sum_out, sums, n_heads * sizeof *sums);
}

static void ternary_matmul_thread(const bn_ternary *w, uint32_t group_begin, uint32_t group_end,
                                  const bn_q8 *x, float *y, size_t y_stride)
{
    real->ternary_matmul(w, group_begin, group_end, x, y, y_stride);
    if (group_begin == 0) return;
    for (uint32_t t = 0; t < x->n_tokens; t++) {
        for (uint32_t r = group_begin * BN_TERNARY_GROUP_ROWS;
             r < group_end * BN_TERNARY_GROUP_ROWS && r < w->n_rows; r++) {
            float dot = rintf(y[t * y_stride + r] / w->post_scale / w->scale * x->scale[t]);
            y[t * y_stride + r] = dot * (w->scale * w->post_scale / x->scale[t]);
        }
    }
}

static void ternary_matmul_chunk(const bn_ternary *w, uint32_t group_begin, uint32_t group_end,
                                 const bn_q8 *x, float *y, size_t y_stride)
{
    bn_q8 fewer = *x;
    if (fewer.n_tokens > 2) fewer.n_tokens--;
    real->ternary_matmul(w, group_begin, group_end, &fewer, y, y_stride);
}

static void attention_chunk_page(const float *q, uint32_t n_heads, uint32_t head_size,
                                 const bn_kv_view *kv, uint32_t key_begin, uint32_t key_end,
                                 float *out, float *max_out, float *sum_out)
{
    static uint16_t *last_page;
    uint16_t *pages[PAGES_MAX];
    uint32_t n_pages = (key_end + BN_KV_PAGE_POSITIONS - 1) / BN_KV_PAGE_POSITIONS;
    bn_kv_view stale = {.pages = pages, .k_offset = kv->k_offset, .v_offset = kv->v_offset};
    BN_ASSERT(n_pages <= PAGES_MAX);
    memcpy(pages, kv->pages, n_pages * sizeof *pages);
    if (last_page != NULL) pages[0] = last_page;
    last_page = kv->pages[0];
    real->attention_chunk(q, n_heads, head_size, &stale, key_begin, key_end, out, max_out, sum_out);
}

static bn_status begin_noting(bn_device *device, const bn_device_batch *batch)
{
    n_tokens_now = batch->n_tokens;
    return real_ops->begin(device, batch);
}

/* Of a few values; a row has at least 16. */
static void lose_last_bits(float *activations)
{
    for (uint32_t i = 0; i < n_tokens_now * 16; i += 8) {
        uint32_t bits;
        memcpy(&bits, &activations[i], sizeof bits);
        bits ^= 1u;
        memcpy(&activations[i], &bits, sizeof bits);
    }
}

static bn_status enter_stage(bn_device *device, float *activations, bn_device_buffer **x_out)
{
    lose_last_bits(activations); /* the first stage overwrites them with embeddings */
    return real_ops->enter(device, activations, x_out);
}

static bn_status leave_link(bn_device *device, const bn_device_buffer *x, float *activations)
{
    bn_status status = real_ops->leave(device, x, activations);
    lose_last_bits(activations);
    return status;
}

static bn_status head_bound(bn_device *device, const bn_device_head *head)
{
    static float zeros[SCREEN_ROWS_MAX];
    bn_device_head exact = *head;
    bn_screen screen;
    if (head->screen == NULL) return real_ops->head(device, head);
    BN_ASSERT(head->screen->n_rows <= SCREEN_ROWS_MAX);
    screen = *head->screen;
    screen.error = screen.norm = zeros;
    exact.screen = &screen;
    return real_ops->head(device, &exact);
}

static bool is_broken(const char *what)
{
    const char *name = getenv("BN_SABOTAGE");
    return name != NULL && strcmp(name, what) == 0;
}

static const bn_kernels *replace_kernels(const bn_kernels *kernels)
{
    real = kernels;
    broken = *kernels;
    if (is_broken("lane")) broken.rms_norm = rms_norm_lane;
    if (is_broken("rounding")) broken.quantize = quantize_rounding;
    if (is_broken("group")) broken.quantize_groups = quantize_groups_first;
    if (is_broken("attention")) broken.attention_chunk = attention_chunk_halves;
    if (is_broken("thread")) broken.ternary_matmul = ternary_matmul_thread;
    if (is_broken("chunk")) broken.ternary_matmul = ternary_matmul_chunk;
    if (is_broken("page")) broken.attention_chunk = attention_chunk_page;
    return &broken;
}

static bn_device *wrap_device(bn_device *device)
{
    real_ops = device->ops;
    broken_ops = *device->ops;
    broken_ops.begin = begin_noting;
    if (is_broken("stage")) broken_ops.enter = enter_stage;
    if (is_broken("link")) broken_ops.leave = leave_link;
    if (is_broken("bound")) broken_ops.head = head_bound;
    device->ops = &broken_ops;
    return device;
}

int main(int argc, char **argv)
{
    static const char *const names[] = {"lane", "rounding", "attention", "thread", "chunk",
                                        "page", "stage",    "link",      "group",  "bound"};
    static const bn_worker_hooks hooks = {replace_kernels, wrap_device};
    bool is_known = false;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        is_known = is_known || is_broken(names[i]);
    if (!is_known) {
        fprintf(stderr, "sabotage-worker: BN_SABOTAGE must name what is to be broken\n");
        return 2;
    }
    return bn_worker_main(argc, argv, &hooks);
}
