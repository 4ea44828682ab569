/* health.c — tensor by tensor, each cut over the threads by rows. */
#include "model/health.h"

#include "common/alloc.h"
#include "common/log.h"
#include "common/progress.h"
#include "common/thread_pool.h"
#include "model/trits_fault.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define RANGE_CODES (1u << 19) /* that a thread reads at once */
#define LINEARS 7u
#define NORMS 6u

typedef struct thread_part {
    bn_status status;
    bn_trits_count count;
    uint64_t bad_element; /* first that is not finite; UINT64_MAX: none */
    bool has_nonzero;
    void *memory;
    size_t memory_bytes;
} thread_part;

typedef struct checker {
    const bn_model *model;
    bn_health *health;
    bn_thread_pool *pool;
    uint32_t n_threads;
    thread_part *parts; /* [n_threads] */
    const bn_kernels *kernels;
    bn_progress progress;
    uint64_t done_bytes;

    /* the tensor under way */
    const bn_trits *trits;
    uint32_t range_rows;
    bn_dense dense;
} checker;

static void add_finding(checker *c, const bn_gguf_tensor *tensor, const char *text)
{
    bn_health_finding *finding = &c->health->findings[c->health->n_findings++];
    finding->tensor = tensor;
    snprintf(finding->text, sizeof finding->text, "%s", text);
}

/* A tensor has been read. */
static void advance(checker *c, const bn_gguf_tensor *tensor)
{
    c->health->n_tensors++;
    c->done_bytes += tensor->n_bytes;
    bn_progress_update(&c->progress, c->done_bytes);
}

/* At least n bytes for one thread, kept for the tensors to come. */
static void *memory_of(thread_part *part, size_t n)
{
    if (part->memory_bytes < n) {
        bn_free(part->memory);
        part->memory = bn_alloc(n, 1);
        part->memory_bytes = part->memory != NULL ? n : 0;
    }
    if (part->memory == NULL)
        part->status = bn_fail(BN_ERR_NO_MEMORY, "MODEL-CHECK", "no memory for %zu bytes", n);
    return part->memory;
}

static bn_status run(checker *c, bn_thread_task *task)
{
    for (uint32_t i = 0; i < c->n_threads; i++) {
        thread_part *part = &c->parts[i];
        part->status = BN_OK;
        part->count = (bn_trits_count){0};
        part->bad_element = UINT64_MAX;
        part->has_nonzero = false;
    }
    bn_thread_pool_run(c->pool, task, c);
    for (uint32_t i = 0; i < c->n_threads; i++)
        BN_TRY(c->parts[i].status);
    return BN_OK;
}

/* --- ternary tensors ---------------------------------------------------------------------------
 */

static void trits_part(void *context, uint32_t thread_index, uint32_t n_threads)
{
    checker *c = context;
    thread_part *part = &c->parts[thread_index];
    const bn_trits_info *info = bn_trits_info_of(c->trits);
    size_t code_bytes = (size_t)c->range_rows * info->n_cols;
    size_t n_ranges = (info->n_rows + c->range_rows - 1) / c->range_rows, begin, end;
    bn_thread_part(n_ranges, thread_index, n_threads, &begin, &end);
    if (begin == end) return;
    uint8_t *codes = memory_of(part, code_bytes + bn_trits_scratch_bytes(c->trits, c->range_rows));
    for (size_t i = begin; i < end && part->status == BN_OK; i++) {
        uint32_t row = (uint32_t)i * c->range_rows;
        uint32_t n = info->n_rows - row < c->range_rows ? info->n_rows - row : c->range_rows;
        part->status =
            bn_trits_read(c->trits, row, n, codes + code_bytes, codes, NULL, &part->count);
    }
}

static bn_trits_count sum_of(const checker *c)
{
    bn_trits_count sum = {0};
    for (uint32_t i = 0; i < c->n_threads; i++) {
        const bn_trits_count *count = &c->parts[i].count;
        if (sum.n_codes[3] == 0) sum.bad_index = count->bad_index; /* threads ascend */
        for (int k = 0; k < 4; k++)
            sum.n_codes[k] += count->n_codes[k];
        sum.n_bad_scales += count->n_bad_scales;
    }
    return sum;
}

static void judge_trits(checker *c, const bn_gguf_tensor *tensor)
{
    bn_trits_count count = sum_of(c);
    char text[BN_HEALTH_TEXT_MAX];
    const char *fault = bn_trits_fault_of(bn_trits_fault_seen_by(&count));
    if (count.n_codes[3] > 0)
        snprintf(text, sizeof text,
                 "the unused code occurs %" PRIu64 " times, first at element %" PRIu64,
                 count.n_codes[3], count.bad_index);
    else if (count.n_bad_scales > 0)
        snprintf(text, sizeof text, "%" PRIu64 " of its scales %s zero, negative or not finite",
                 count.n_bad_scales, count.n_bad_scales == 1 ? "is" : "are");
    else if (fault != NULL)
        snprintf(text, sizeof text, "%s", fault);
    else
        return;
    add_finding(c, tensor, text);
}

static bn_status check_trits(checker *c, const bn_gguf_tensor *tensor)
{
    const bn_trits_options options = {.pool = c->pool, .is_lenient = true};
    bn_trits *trits;
    BN_TRY(bn_trits_open(c->model->file, tensor, &options, &trits));
    const bn_trits_info *info = bn_trits_info_of(trits);
    uint32_t step = info->row_step, rows = RANGE_CODES / info->n_cols;
    c->trits = trits;
    c->range_rows = rows < step ? step : rows / step * step;
    bn_status status = run(c, trits_part);
    if (status == BN_OK) judge_trits(c, tensor);
    bn_trits_close(trits);
    return status;
}

/* --- floats ------------------------------------------------------------------------------------
 */

static void look_at(thread_part *part, const float *values, uint64_t begin, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++) {
        part->has_nonzero = part->has_nonzero || values[i] != 0.0f;
        if (!isfinite(values[i]) && part->bad_element == UINT64_MAX) part->bad_element = begin + i;
    }
}

static void judge_floats(checker *c, const bn_gguf_tensor *tensor)
{
    char text[BN_HEALTH_TEXT_MAX];
    bool has_nonzero = false;
    for (uint32_t i = 0; i < c->n_threads; i++) {
        const thread_part *part = &c->parts[i];
        has_nonzero = has_nonzero || part->has_nonzero;
        if (part->bad_element == UINT64_MAX) continue;
        snprintf(text, sizeof text, "element %" PRIu64 " is not finite", part->bad_element);
        add_finding(c, tensor, text);
        return;
    }
    if (!has_nonzero) add_finding(c, tensor, "every element is 0");
}

static void dense_part(void *context, uint32_t thread_index, uint32_t n_threads)
{
    checker *c = context;
    thread_part *part = &c->parts[thread_index];
    size_t begin, end;
    bn_thread_part(c->dense.n_rows, thread_index, n_threads, &begin, &end);
    float *row = memory_of(part, c->dense.n_cols * sizeof *row);
    for (size_t i = begin; i < end && part->status == BN_OK; i++) {
        c->kernels->dense_row(&c->dense, (uint32_t)i, row);
        look_at(part, row, (uint64_t)i * c->dense.n_cols, c->dense.n_cols);
    }
}

static bn_status check_dense(checker *c, const bn_gguf_tensor *tensor)
{
    const uint8_t *rows;
    void *base;
    size_t length;
    BN_TRY(bn_gguf_map(c->model->file, tensor, &rows, &base, &length));
    bn_status status = bn_model_dense(c->model, tensor, rows, &c->dense);
    if (status == BN_OK) status = run(c, dense_part);
    if (status == BN_OK) judge_floats(c, tensor);
    bn_gguf_unmap(base, length);
    return status;
}

/* Norms, frequency factors and scales of projections: F32, short. */
static bn_status check_vector(checker *c, const bn_gguf_tensor *tensor)
{
    if (tensor == NULL) return BN_OK;
    thread_part *part = &c->parts[0];
    uint64_t n = bn_model_n_elements(tensor);
    for (uint32_t i = 0; i < c->n_threads; i++)
        c->parts[i].bad_element = UINT64_MAX, c->parts[i].has_nonzero = false;
    part->status = BN_OK;
    float *values = memory_of(part, (size_t)n * sizeof *values);
    BN_TRY(part->status);
    BN_TRY(bn_gguf_read(c->model->file, tensor, 0, (size_t)tensor->n_bytes, values));
    look_at(part, values, 0, n);
    judge_floats(c, tensor);
    advance(c, tensor);
    return BN_OK;
}

/* --- the model ---------------------------------------------------------------------------------
 */

static bool is_float(uint32_t type)
{
    return type == BN_TENSOR_F32 || type == BN_TENSOR_F16 || type == BN_TENSOR_BF16;
}

/* An embedding or head may be ternary too. */
static bn_status check_rows(checker *c, const bn_gguf_tensor *tensor)
{
    bool is_ternary = !is_float(tensor->type) && bn_trits_can_read(tensor->type);
    BN_TRY(is_ternary ? check_trits(c, tensor) : check_dense(c, tensor));
    advance(c, tensor);
    return BN_OK;
}

static bn_status check_linear(checker *c, const bn_model_linear *linear)
{
    BN_TRY(check_trits(c, linear->weight));
    advance(c, linear->weight);
    if (linear->post_scale == NULL) return BN_OK;
    float scale;
    BN_TRY(bn_gguf_read(c->model->file, linear->post_scale, 0, sizeof scale, &scale));
    if (!(isfinite(scale) && scale > 0.0f))
        add_finding(c, linear->post_scale, "it is zero, negative or not finite");
    advance(c, linear->post_scale);
    return BN_OK;
}

static bn_status check_layer(checker *c, const bn_model_layer *layer)
{
    const bn_gguf_tensor *norms[NORMS] = {layer->attn_norm,   layer->attn_q_norm,
                                          layer->attn_k_norm, layer->attn_sub_norm,
                                          layer->ffn_norm,    layer->ffn_sub_norm};
    const bn_model_linear *linears[LINEARS] = {
        &layer->attn_q,   &layer->attn_k, &layer->attn_v,   &layer->attn_output,
        &layer->ffn_gate, &layer->ffn_up, &layer->ffn_down,
    };
    for (uint32_t i = 0; i < NORMS; i++)
        BN_TRY(check_vector(c, norms[i]));
    for (uint32_t i = 0; i < LINEARS; i++)
        BN_TRY(check_linear(c, linears[i]));
    return BN_OK;
}

static bn_status check_model(checker *c)
{
    const bn_model *model = c->model;
    BN_TRY(check_rows(c, model->token_embd));
    BN_TRY(check_vector(c, model->rope_freqs));
    for (uint32_t i = 0; i < model->config.n_layers; i++)
        BN_TRY(check_layer(c, &model->layers[i]));
    BN_TRY(check_vector(c, model->output_norm));
    return model->output != model->token_embd ? check_rows(c, model->output) : BN_OK;
}

static void set_float_env(void *context, uint32_t thread_index, uint32_t n_threads)
{
    (void)context;
    (void)thread_index;
    (void)n_threads;
    bn_float_env_set();
}

bn_status bn_health_check(const bn_model *model, uint32_t n_threads, bn_health *health_out)
{
    checker c = {.model = model, .health = health_out, .n_threads = n_threads};
    c.kernels = bn_kernels_get(BN_ISA_AUTO);
    uint64_t n_tensors = bn_gguf_n_tensors(model->file);
    const bn_thread_pool_config config = {.n_threads = n_threads, .on_start = set_float_env};
    *health_out = (bn_health){.findings = bn_alloc((size_t)n_tensors, sizeof(bn_health_finding))};
    c.parts = bn_alloc(n_threads, sizeof *c.parts);
    bn_status status = BN_OK;
    if (health_out->findings == NULL || c.parts == NULL)
        status = bn_fail(BN_ERR_NO_MEMORY, "MODEL-CHECK", "no memory to check %s",
                         bn_gguf_path(model->file));
    if (status == BN_OK) status = bn_thread_pool_create(&config, &c.pool);
    if (status == BN_OK) {
        bn_progress_begin(&c.progress, "checking the weights", bn_gguf_file_bytes(model->file));
        status = check_model(&c);
        bn_progress_end(&c.progress);
    }
    bn_thread_pool_destroy(c.pool);
    for (uint32_t i = 0; c.parts != NULL && i < n_threads; i++)
        bn_free(c.parts[i].memory);
    bn_free(c.parts);
    return status;
}

void bn_health_free(bn_health *health)
{
    bn_free(health->findings);
    *health = (bn_health){0};
}
