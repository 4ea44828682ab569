/* device_cpu.c — the operations as runs of the thread pool.
 *
 * An operation is one or two runs. Threads own whole groups of rows, whole heads or whole chunks
 * of keys, whose results do not depend on each other, so any number of threads gives the same
 * bits. A small batch (one panel) is normalised and quantised by every thread for itself: that
 * takes less time than waiting for one another once more.
 */
#include "worker/device.h"

#include "common/alloc.h"
#include "common/log.h"
#include "kernels/math.h"
#include "kernels/rope.h"
#include "model/stage_bytes.h"
#include "worker/head_cpu.h"
#include "worker/reserve.h"

#include <stdatomic.h>

_Static_assert(BN_STAGE_STEP_BYTES % 64 == 0, "frames stay aligned");

typedef struct thread_scratch {
    float *normed; /* [panel tokens][widest] */
    bn_q8 q8;      /* one panel of the widest */
    bool has_worked;
} thread_scratch;

typedef struct device_cpu {
    bn_device device;
    bn_device_config config;
    const bn_kernels *kernels;
    uint32_t n_threads;
    uint32_t group; /* query heads per key/value head */
    uint32_t half;  /* head_size / 2 */
    size_t q_size, kv_size;
    const bn_device_batch *batch;
    thread_scratch *threads; /* [n_threads] */

    double *inv_freq; /* [half] */
    double magnitude; /* of cos and sin */
    float *cos, *sin; /* [step_tokens][half] */
    bn_q8 q8;         /* shared panels */

    /* Partial results of attention: a cell is one token and key/value head, all its chunks. */
    uint32_t n_cells, n_chunks_max;
    size_t cell_floats;
    float *cells;
    uint32_t *chunk_begin; /* [n_cells + 1] first chunk item of each token, when chunks are items */
    _Atomic uint32_t next_item;
    uint32_t n_items;

    bn_head_cpu *head; /* NULL: another stage has it */

    /* the operation under way */
    const bn_device_projection *projection;
    const bn_dense *embedding;
    uint32_t layer;
    float *q, *k, *out;
    const float *v;
    const float *q_norm, *k_norm;
} device_cpu;

static float *floats(bn_device_buffer *buffer)
{
    return (float *)(void *)buffer;
}

static const float *const_floats(const bn_device_buffer *buffer)
{
    return (const float *)(const void *)buffer;
}

static bn_device_buffer *buffer_of(float *memory)
{
    return (bn_device_buffer *)(void *)memory;
}

static device_cpu *cpu(bn_device *device)
{
    return (device_cpu *)(void *)device;
}

static bn_status take_cpu(bn_device *device, size_t n_floats, bn_device_buffer **buffer_out)
{
    void *memory;
    BN_TRY(bn_arena_take(cpu(device)->config.arena, n_floats * sizeof(float), &memory));
    *buffer_out = buffer_of(memory);
    return BN_OK;
}

static void angles_part(void *context, uint32_t thread_index, uint32_t n_threads)
{
    device_cpu *d = context;
    size_t begin, end;
    bn_thread_part(d->batch->n_tokens, thread_index, n_threads, &begin, &end);
    for (size_t t = begin; t < end; t++) {
        bn_rope_angles(d->batch->positions[t], d->inv_freq, d->magnitude, d->half,
                       d->cos + t * d->half, d->sin + t * d->half);
    }
}

static bool has_layers(const device_cpu *d)
{
    return d->config.span.layer_begin < d->config.span.layer_end;
}

static bn_status begin_cpu(bn_device *device, const bn_device_batch *batch)
{
    device_cpu *d = cpu(device);
    BN_ASSERT(batch->n_tokens >= 1);
    BN_ASSERT(batch->n_tokens <= d->config.limits.step_tokens);
    d->batch = batch;
    if (!has_layers(d)) return BN_OK;
    if (batch->n_tokens <= d->n_threads) {
        angles_part(d, 0, 1);
    } else {
        bn_thread_pool_run(d->config.pool, angles_part, d);
    }
    return BN_OK;
}

static bn_status enter_cpu(bn_device *device, float *activations, bn_device_buffer **x_out)
{
    (void)device;
    *x_out = buffer_of(activations);
    return BN_OK;
}

static bn_status leave_cpu(bn_device *device, const bn_device_buffer *x, float *activations)
{
    (void)device;
    BN_ASSERT(const_floats(x) == activations);
    return BN_OK;
}

static void embed_part(void *context, uint32_t thread_index, uint32_t n_threads)
{
    device_cpu *d = context;
    size_t begin, end;
    bn_thread_part(d->batch->n_tokens, thread_index, n_threads, &begin, &end);
    for (size_t t = begin; t < end; t++) {
        d->kernels->dense_row(d->embedding, d->batch->tokens[t],
                              d->out + t * d->config.model->hidden);
    }
}

static bn_status embed_cpu(bn_device *device, const bn_dense *embedding, bn_device_buffer *x)
{
    device_cpu *d = cpu(device);
    d->embedding = embedding;
    d->out = floats(x);
    if (d->batch->n_tokens == 1) {
        embed_part(d, 0, 1);
    } else {
        bn_thread_pool_run(d->config.pool, embed_part, d);
    }
    return BN_OK;
}

/* Whether a product of this operation goes by groups of columns. */
static bool has_groups(const device_cpu *d, const bn_device_projection *p)
{
    bool result = d->config.model->activation_group_cols != 0;
    for (uint32_t i = 0; i < p->n_weights; i++) {
        const bn_ternary *w = p->weights[i];
        result = result || (w->scales != NULL && w->group_cols < w->n_cols);
    }
    return result;
}

/* Tokens from token_begin on, as many as `to` has, as one panel there. */
static void quantize_panel(device_cpu *d, thread_scratch *scratch, uint32_t token_begin,
                           uint32_t width, const bn_q8 *to)
{
    const bn_device_projection *p = d->projection;
    uint32_t n_cols = to->n_cols, n_tokens = to->n_tokens;
    const float *x = const_floats(p->x) + (size_t)token_begin * n_cols;
    if (p->norm != NULL) {
        for (uint32_t t = 0; t < n_tokens; t++) {
            d->kernels->rms_norm(scratch->normed + (size_t)t * n_cols, x + (size_t)t * n_cols,
                                 p->norm, n_cols, d->config.model->rms_eps);
        }
        x = scratch->normed;
    }
    if (has_groups(d, p))
        d->kernels->quantize_groups(x, n_cols, n_tokens, n_cols, width, to->group_cols, to->panels,
                                    to->scale, to->sum, to->part_sum);
    else
        d->kernels->quantize(x, n_cols, n_tokens, n_cols, width, to->panels, to->scale, to->sum);
}

static void quantize_part(void *context, uint32_t thread_index, uint32_t n_threads)
{
    device_cpu *d = context;
    uint32_t n_tokens = d->batch->n_tokens, width = BN_Q8_PANEL_TOKENS;
    size_t panel_bytes = bn_q8_panel_bytes(d->q8.n_cols, width);
    size_t n_parts = bn_ternary_runs(d->q8.n_cols, BN_Q8_PART_COLS);
    size_t n_scales = d->q8.group_cols == 0 ? 1 : bn_ternary_runs(d->q8.n_cols, d->q8.group_cols);
    size_t begin, end;
    bn_thread_part((n_tokens + width - 1) / width, thread_index, n_threads, &begin, &end);
    for (size_t i = begin; i < end; i++) {
        uint32_t token = (uint32_t)i * width;
        bn_q8 panel = {
            .panels = d->q8.panels + i * panel_bytes,
            .scale = d->q8.scale + token * n_scales,
            .sum = d->q8.sum + token,
            .part_sum = d->q8.part_sum + token * n_parts,
            .n_tokens = n_tokens - token < width ? n_tokens - token : width,
            .n_cols = d->q8.n_cols,
            .group_cols = d->q8.group_cols,
        };
        quantize_panel(d, &d->threads[thread_index], token, width, &panel);
    }
}

static uint32_t row_of_group(const bn_ternary *w, size_t group)
{
    size_t row = group * BN_TERNARY_GROUP_ROWS;
    return row < w->n_rows ? (uint32_t)row : w->n_rows;
}

/* Elementwise, so each thread joins the rows it has just computed. */
static void join_rows(device_cpu *d, size_t group_begin, size_t group_end)
{
    const bn_device_projection *p = d->projection;
    const bn_ternary *w = p->weights[0];
    if (p->join == BN_DEVICE_JOIN_NONE) return;
    uint32_t row = row_of_group(w, group_begin);
    uint32_t n = row_of_group(w, group_end) - row;
    for (uint32_t t = 0; t < d->batch->n_tokens; t++) {
        size_t at = (size_t)t * w->n_rows + row;
        float *y = floats(p->y[0]) + at;
        if (p->join == BN_DEVICE_JOIN_ADD) {
            d->kernels->add(floats(p->residual) + at, y, n);
        } else {
            d->kernels->gated(d->config.model->activation, y, y, const_floats(p->y[1]) + at, n);
        }
    }
}

static void multiply(device_cpu *d, const bn_q8 *x, uint32_t index, size_t group_begin,
                     size_t group_end)
{
    const bn_device_projection *p = d->projection;
    d->kernels->ternary_matmul(p->weights[index], (uint32_t)group_begin, (uint32_t)group_end, x,
                               floats(p->y[index]), p->weights[index]->n_rows);
}

/* Gated pairs are cut alike, so that both halves of a row meet in one thread; else all matrices
 * are cut as if they were one. */
static void multiply_part(device_cpu *d, const bn_q8 *x, uint32_t thread_index, uint32_t n_threads)
{
    const bn_device_projection *p = d->projection;
    size_t begin, end, n_groups = 0, first = 0;
    if (p->join == BN_DEVICE_JOIN_GATED || p->n_weights == 1) {
        bn_thread_part(bn_ternary_groups(p->weights[0]->n_rows), thread_index, n_threads, &begin,
                       &end);
        if (begin == end) return;
        for (uint32_t i = 0; i < p->n_weights; i++)
            multiply(d, x, i, begin, end);
        join_rows(d, begin, end);
        d->threads[thread_index].has_worked = true;
        return;
    }
    for (uint32_t i = 0; i < p->n_weights; i++)
        n_groups += bn_ternary_groups(p->weights[i]->n_rows);
    bn_thread_part(n_groups, thread_index, n_threads, &begin, &end);
    for (uint32_t i = 0; i < p->n_weights; i++) {
        size_t last = first + bn_ternary_groups(p->weights[i]->n_rows);
        size_t from = begin > first ? begin : first;
        size_t to = end < last ? end : last;
        if (from < to) {
            multiply(d, x, i, from - first, to - first);
            d->threads[thread_index].has_worked = true;
        }
        first = last;
    }
}

static void project_small_part(void *context, uint32_t thread_index, uint32_t n_threads)
{
    device_cpu *d = context;
    thread_scratch *scratch = &d->threads[thread_index];
    scratch->q8.n_tokens = d->batch->n_tokens;
    scratch->q8.n_cols = d->projection->weights[0]->n_cols;
    quantize_panel(d, scratch, 0, bn_q8_width(d->batch->n_tokens), &scratch->q8);
    multiply_part(d, &scratch->q8, thread_index, n_threads);
}

static void project_large_part(void *context, uint32_t thread_index, uint32_t n_threads)
{
    device_cpu *d = context;
    multiply_part(d, &d->q8, thread_index, n_threads);
}

static bn_status project_cpu(bn_device *device, const bn_device_projection *projection)
{
    device_cpu *d = cpu(device);
    BN_ASSERT(projection->n_weights >= 1);
    BN_ASSERT(projection->n_weights <= BN_DEVICE_WEIGHTS_MAX);
    /* Threads read all of x while others already write. */
    BN_ASSERT(projection->x != projection->residual);
    BN_ASSERT(projection->x != projection->y[0]);
    d->projection = projection;
    if (d->batch->n_tokens <= BN_Q8_PANEL_TOKENS) {
        bn_thread_pool_run(d->config.pool, project_small_part, d);
        return BN_OK;
    }
    d->q8.n_tokens = d->batch->n_tokens;
    d->q8.n_cols = projection->weights[0]->n_cols;
    bn_thread_pool_run(d->config.pool, quantize_part, d);
    bn_thread_pool_run(d->config.pool, project_large_part, d);
    return BN_OK;
}

static void norm_heads(const device_cpu *d, const float *norm, float *x, uint32_t n_heads)
{
    const bn_model_config *c = d->config.model;
    for (uint32_t i = 0; norm != NULL && i < n_heads; i++) {
        float *head = x + (size_t)i * c->head_size;
        d->kernels->rms_norm(head, head, norm, c->head_size, c->rms_eps);
    }
}

/* One item is a token and a key/value head with the query heads that share it. */
static void rotate_part(void *context, uint32_t thread_index, uint32_t n_threads)
{
    device_cpu *d = context;
    const bn_model_config *c = d->config.model;
    const bn_kernels *kernels = d->kernels;
    size_t begin, end;
    bn_thread_part((size_t)d->batch->n_tokens * c->n_kv_heads, thread_index, n_threads, &begin,
                   &end);
    for (size_t item = begin; item < end; item++) {
        size_t t = item / c->n_kv_heads;
        uint32_t kv_head = (uint32_t)(item % c->n_kv_heads);
        const float *cos = d->cos + t * d->half, *sin = d->sin + t * d->half;
        float *q = d->q + t * d->q_size + (size_t)kv_head * d->group * c->head_size;
        float *k = d->k + t * d->kv_size + (size_t)kv_head * c->head_size;
        const float *v = d->v + t * d->kv_size + (size_t)kv_head * c->head_size;
        uint16_t *key, *value;
        norm_heads(d, d->q_norm, q, d->group);
        norm_heads(d, d->k_norm, k, 1);
        kernels->rope(c->rope_kind, q, d->group, c->head_size, cos, sin);
        kernels->rope(c->rope_kind, k, 1, c->head_size, cos, sin);
        bn_kv_cache_row(d->config.kv, d->batch->slots[t], d->layer, kv_head, d->batch->positions[t],
                        &key, &value);
        kernels->store_f16(key, k, c->head_size);
        kernels->store_f16(value, v, c->head_size);
    }
}

static bn_status rotate_and_store_cpu(bn_device *device, uint32_t layer,
                                      const bn_device_rotation *rotation, const bn_device_buffer *v)
{
    device_cpu *d = cpu(device);
    d->layer = layer;
    d->q = floats(rotation->q);
    d->k = floats(rotation->k);
    d->q_norm = rotation->q_norm;
    d->k_norm = rotation->k_norm;
    d->v = const_floats(v);
    bn_thread_pool_run(d->config.pool, rotate_part, d);
    return BN_OK;
}

static uint32_t chunks_of(const device_cpu *d, size_t t)
{
    return d->batch->positions[t] / BN_ATTENTION_CHUNK + 1;
}

static void attend_chunk(device_cpu *d, size_t t, uint32_t kv_head, uint32_t chunk, float *cell)
{
    uint32_t head_size = d->config.model->head_size;
    bn_kv_view view = bn_kv_cache_view(d->config.kv, d->batch->slots[t], d->layer, kv_head);
    uint32_t key_begin = chunk * BN_ATTENTION_CHUNK;
    uint32_t key_end = d->batch->positions[t] + 1;
    if (key_end - key_begin > BN_ATTENTION_CHUNK) key_end = key_begin + BN_ATTENTION_CHUNK;
    float *max = cell + (size_t)d->n_chunks_max * d->group * head_size;
    float *sum = max + (size_t)d->n_chunks_max * d->group;
    d->kernels->attention_chunk(d->q + t * d->q_size + (size_t)kv_head * d->group * head_size,
                                d->group, head_size, &view, key_begin, key_end,
                                cell + (size_t)chunk * d->group * head_size,
                                max + (size_t)chunk * d->group, sum + (size_t)chunk * d->group);
}

static void merge_chunks(device_cpu *d, size_t t, uint32_t kv_head, const float *cell)
{
    uint32_t head_size = d->config.model->head_size;
    const float *max = cell + (size_t)d->n_chunks_max * d->group * head_size;
    const float *sum = max + (size_t)d->n_chunks_max * d->group;
    float *out = d->out + t * d->q_size + (size_t)kv_head * d->group * head_size;
    for (uint32_t h = 0; h < d->group; h++) {
        d->kernels->attention_merge(out + (size_t)h * head_size, head_size,
                                    cell + (size_t)h * head_size, (size_t)d->group * head_size,
                                    max + h, sum + h, d->group, chunks_of(d, t));
    }
}

/* Many items: each is a token and a key/value head, all its chunks in the thread's own cell.
 * Later tokens have more keys, so items are taken one by one, the long ones first. */
static void attend_items_part(void *context, uint32_t thread_index, uint32_t n_threads)
{
    (void)n_threads;
    device_cpu *d = context;
    uint32_t n_kv_heads = d->config.model->n_kv_heads;
    float *cell = d->cells + thread_index * d->cell_floats;
    uint32_t taken;
    while ((taken = atomic_fetch_add(&d->next_item, 1)) < d->n_items) {
        uint32_t item = d->n_items - 1 - taken;
        size_t t = item / n_kv_heads;
        uint32_t kv_head = item % n_kv_heads;
        for (uint32_t chunk = 0; chunk < chunks_of(d, t); chunk++)
            attend_chunk(d, t, kv_head, chunk, cell);
        merge_chunks(d, t, kv_head, cell);
    }
}

/* Few items: each is one chunk of a token and a key/value head, in that pair's cell. */
static void attend_chunks_part(void *context, uint32_t thread_index, uint32_t n_threads)
{
    (void)thread_index;
    (void)n_threads;
    device_cpu *d = context;
    uint32_t n_kv_heads = d->config.model->n_kv_heads;
    uint32_t item;
    while ((item = atomic_fetch_add(&d->next_item, 1)) < d->n_items) {
        size_t t = 0;
        while (d->chunk_begin[t + 1] <= item)
            t++;
        uint32_t within = item - d->chunk_begin[t];
        uint32_t kv_head = within % n_kv_heads;
        attend_chunk(d, t, kv_head, within / n_kv_heads,
                     d->cells + (t * n_kv_heads + kv_head) * d->cell_floats);
    }
}

static void merge_part(void *context, uint32_t thread_index, uint32_t n_threads)
{
    device_cpu *d = context;
    uint32_t n_kv_heads = d->config.model->n_kv_heads;
    size_t begin, end;
    bn_thread_part((size_t)d->batch->n_tokens * n_kv_heads, thread_index, n_threads, &begin, &end);
    for (size_t item = begin; item < end; item++)
        merge_chunks(d, item / n_kv_heads, (uint32_t)(item % n_kv_heads),
                     d->cells + item * d->cell_floats);
}

/* True when chunks must be the items: too few pairs to feed the threads, and some chunks. */
static bool splits_chunks(device_cpu *d)
{
    uint64_t n_pairs = (uint64_t)d->batch->n_tokens * d->config.model->n_kv_heads;
    if (d->n_threads == 1 || n_pairs >= d->n_cells) return false;
    bool has_many = false;
    d->chunk_begin[0] = 0;
    for (uint32_t t = 0; t < d->batch->n_tokens; t++) {
        uint32_t n_chunks = chunks_of(d, t);
        has_many = has_many || n_chunks > 1;
        d->chunk_begin[t + 1] = d->chunk_begin[t] + n_chunks * d->config.model->n_kv_heads;
    }
    return has_many;
}

static bn_status attend_cpu(bn_device *device, uint32_t layer, const bn_device_buffer *q,
                            bn_device_buffer *out)
{
    device_cpu *d = cpu(device);
    d->layer = layer;
    d->q = (float *)(void *)(uintptr_t)const_floats(q);
    d->out = floats(out);
    atomic_store(&d->next_item, 0);
    if (!splits_chunks(d)) {
        d->n_items = d->batch->n_tokens * d->config.model->n_kv_heads;
        bn_thread_pool_run(d->config.pool, attend_items_part, d);
        return BN_OK;
    }
    d->n_items = d->chunk_begin[d->batch->n_tokens];
    bn_thread_pool_run(d->config.pool, attend_chunks_part, d);
    bn_thread_pool_run(d->config.pool, merge_part, d);
    return BN_OK;
}

static bn_status head_cpu(bn_device *device, const bn_device_head *head)
{
    bn_head_cpu_run(cpu(device)->head, head);
    return BN_OK;
}

static uint32_t threads_working_cpu(const bn_device *device)
{
    const device_cpu *d = (const device_cpu *)(const void *)device;
    uint32_t n = 0;
    for (uint32_t i = 0; i < d->n_threads; i++)
        n += d->threads[i].has_worked || (d->head != NULL && bn_head_cpu_has_worked(d->head, i));
    return n;
}

static bn_device_head_counts head_counts_cpu(const bn_device *device)
{
    const device_cpu *d = (const device_cpu *)(const void *)device;
    return d->head != NULL ? bn_head_cpu_counted(d->head) : (bn_device_head_counts){0};
}

static void destroy_cpu(bn_device *device)
{
    device_cpu *d = cpu(device);
    bn_head_cpu_destroy(d->head);
    bn_free(d->threads);
    bn_free(d);
}

static const bn_device_ops ops_cpu = {
    .name = "cpu",
    .destroy = destroy_cpu,
    .take = take_cpu,
    .begin = begin_cpu,
    .enter = enter_cpu,
    .leave = leave_cpu,
    .embed = embed_cpu,
    .project = project_cpu,
    .rotate_and_store = rotate_and_store_cpu,
    .attend = attend_cpu,
    .head = head_cpu,
    .threads_working = threads_working_cpu,
    .head_counts = head_counts_cpu,
};

/* Room for n_tokens tokens of the widest row. */
static void take_q8(const device_cpu *d, bn_reserve *reserve, uint32_t n_tokens, bn_q8 *q8)
{
    const bn_model_config *c = d->config.model;
    size_t n_scales = (size_t)n_tokens * bn_stage_bytes_token_scales(c);
    size_t n_parts = (size_t)n_tokens * bn_stage_bytes_token_parts(c);
    uint32_t widest = bn_stage_bytes_widest(c);
    q8->group_cols = c->activation_group_cols;
    q8->panels = bn_reserve_take(reserve, bn_q8_bytes(widest, n_tokens), 1);
    q8->scale = bn_reserve_take(reserve, n_scales, sizeof *q8->scale);
    q8->sum = bn_reserve_take(reserve, n_tokens, sizeof *q8->sum);
    q8->part_sum = bn_reserve_take(reserve, n_parts, sizeof *q8->part_sum);
}

static void take_layer_memory(device_cpu *d, bn_reserve *reserve)
{
    const bn_model_config *c = d->config.model;
    size_t step_tokens = d->config.limits.step_tokens;
    uint32_t widest = bn_stage_bytes_widest(c);
    d->inv_freq = bn_reserve_take(reserve, d->half, sizeof *d->inv_freq);
    d->cos = bn_reserve_take(reserve, step_tokens * d->half, sizeof *d->cos);
    d->sin = bn_reserve_take(reserve, step_tokens * d->half, sizeof *d->sin);
    take_q8(d, reserve, (uint32_t)step_tokens, &d->q8);
    d->cells = bn_reserve_take(reserve, d->n_cells, d->cell_floats * sizeof *d->cells);
    d->chunk_begin = bn_reserve_take(reserve, d->n_cells + 1u, sizeof *d->chunk_begin);
    for (uint32_t i = 0; i < d->n_threads; i++) {
        thread_scratch *scratch = &d->threads[i];
        size_t normed_floats = (size_t)BN_Q8_PANEL_TOKENS * widest;
        scratch->normed = bn_reserve_take(reserve, normed_floats, sizeof *scratch->normed);
        take_q8(d, reserve, BN_Q8_PANEL_TOKENS, &scratch->q8);
    }
}

static void set_sizes(device_cpu *d)
{
    const bn_model_config *c = d->config.model;
    d->n_threads = bn_thread_pool_size(d->config.pool);
    BN_ASSERT(d->n_threads == d->config.limits.threads);
    d->group = c->n_heads / c->n_kv_heads;
    BN_ASSERT(d->group <= BN_ATTENTION_GROUP_MAX);
    d->half = c->head_size / 2;
    d->q_size = (size_t)c->n_heads * c->head_size;
    d->kv_size = (size_t)c->n_kv_heads * c->head_size;
    d->n_chunks_max = (d->config.limits.context + BN_ATTENTION_CHUNK - 1) / BN_ATTENTION_CHUNK;
    d->n_cells = d->n_threads * BN_STAGE_CELLS_PER_THREAD;
    d->cell_floats = (size_t)(bn_stage_bytes_cell(c, d->config.limits.context) / sizeof(float));
}

bn_status bn_device_cpu_create(const bn_device_config *config, bn_device **device_out)
{
    const bn_model_config *c = config->model;
    device_cpu *d = bn_alloc(1, sizeof *d);
    if (d == NULL) return bn_fail(BN_ERR_NO_MEMORY, "DEVICE-CREATE", "no memory for the device");
    d->device.ops = &ops_cpu;
    d->config = *config;
    d->kernels = config->kernels;
    set_sizes(d);
    d->threads = bn_alloc(d->n_threads, sizeof *d->threads);
    bn_reserve reserve = {.arena = config->arena};
    if (d->threads == NULL)
        reserve.status =
            bn_fail(BN_ERR_NO_MEMORY, "DEVICE-CREATE", "no memory for %u threads", d->n_threads);
    else if (has_layers(d))
        take_layer_memory(d, &reserve);
    if (config->span.has_head && reserve.status == BN_OK)
        reserve.status = bn_head_cpu_create(config, &d->head);
    if (reserve.status != BN_OK) {
        destroy_cpu(&d->device);
        return reserve.status;
    }
    if (has_layers(d)) {
        double base = (double)c->rope_base;
        bn_rope_frequencies(base, c->head_size, config->rope_factors, d->inv_freq);
        bn_rope_yarn_frequencies(&c->yarn, base, c->head_size, d->inv_freq);
        d->magnitude = bn_rope_yarn_magnitude(&c->yarn);
    }
    *device_out = &d->device;
    return BN_OK;
}
