/* trits.c — what all families share: dimensions, order of rows, folding of scales, checks.
 *
 * Folding looks at the stored scales of the whole tensor. Blocks of zeros take part only where
 * their scale is not 0: some writers store 0 there, others the scale of the tensor, and the
 * weights are the same.
 */
#include "model/trits.h"

#include "common/alloc.h"
#include "common/log.h"
#include "model/tensor_type.h"
#include "model/trits_internal.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define RANGE_CODES (1u << 18) /* codes that a thread decodes at once in a pass */
#define GROUP_MAX 256u         /* scales that differ are not folded beyond it, but to a row */
#define SCRATCH_ALIGN 64u
#define ERROR_TEXT_MAX 512u

typedef struct type_row {
    uint32_t type;
    const bn_trits_family *family;
} type_row;

static const type_row type_rows[] = {
    {BN_TENSOR_I2_S, &bn_trits_i2s},
    {BN_TENSOR_HF_TERNARY, &bn_trits_hf},
    {BN_TENSOR_TQ1_0, &bn_trits_tq},
    {BN_TENSOR_TQ2_0, &bn_trits_tq},
    {BN_TENSOR_PTQ1_0, &bn_trits_tq},
    {BN_TENSOR_Q2_0, &bn_trits_q2},
    {BN_TENSOR_Q2_0_128, &bn_trits_q2},
    {BN_TENSOR_PQ2_0, &bn_trits_q2},
    {BN_TENSOR_IQ1_BN, &bn_trits_iq},
    {BN_TENSOR_IQ2_BN, &bn_trits_iq},
    {BN_TENSOR_IQ2_BN_R4, &bn_trits_iq},
    {BN_TENSOR_TL1, &bn_trits_tl},
    {BN_TENSOR_TL2, &bn_trits_tl},
    {BN_TENSOR_F32, &bn_trits_float},
    {BN_TENSOR_F16, &bn_trits_float},
    {BN_TENSOR_BF16, &bn_trits_float},
    {BN_TENSOR_MASTER_F32, &bn_trits_master},
    {BN_TENSOR_MASTER_F16, &bn_trits_master},
    {BN_TENSOR_MASTER_BF16, &bn_trits_master},
};

static const bn_trits_family *family_of(uint32_t type)
{
    for (size_t i = 0; i < sizeof type_rows / sizeof type_rows[0]; i++)
        if (type_rows[i].type == type) return type_rows[i].family;
    return NULL;
}

bool bn_trits_can_read(uint32_t type)
{
    return family_of(type) != NULL;
}

uint64_t bn_trits_scales_max(const bn_gguf_tensor *tensor)
{
    const bn_trits_family *family = family_of(tensor->type);
    uint64_t n_rows = tensor->dims[1], n_cols = tensor->dims[0];
    if (family == &bn_trits_tq || family == &bn_trits_q2)
        return n_rows * (n_cols / bn_tensor_type_block(tensor->type));
    if (family == &bn_trits_iq) return n_rows;
    if (family == &bn_trits_float)
        return n_cols % BN_TRITS_GROUP_MIN == 0 ? n_rows * (n_cols / BN_TRITS_GROUP_MIN) : n_rows;
    return 1;
}

bn_status bn_trits_fail(const bn_trits *t, const char *format, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return bn_fail(BN_ERR_BAD_FILE, "MODEL-TENSOR", "%s: tensor %s: %s", bn_gguf_path(t->file),
                   t->tensor->name, text);
}

bn_status bn_trits_read_rows(const bn_trits *t, uint32_t row_begin, uint32_t n_rows, void *out)
{
    return bn_gguf_read(t->file, t->tensor, row_begin * t->row_bytes,
                        (size_t)(n_rows * t->row_bytes), out);
}

/* ── reading ─────────────────────────────────────────────────────────────────────────────── */

static size_t stored_bytes(const bn_trits *t, uint32_t n_rows)
{
    size_t bytes = (size_t)n_rows * bn_trits_stored_per_row(t) * sizeof(float);
    return (bytes + SCRATCH_ALIGN - 1) / SCRATCH_ALIGN * SCRATCH_ALIGN;
}

size_t bn_trits_scratch_bytes(const bn_trits *t, uint32_t n_rows)
{
    return stored_bytes(t, n_rows) + t->family->scratch_bytes(t, n_rows) + SCRATCH_ALIGN;
}

/* The row of the file that is delivered as `row`. */
static uint32_t source_row(const bn_trits *t, uint32_t row)
{
    uint32_t head_rows = t->tensor->head_rows;
    if (head_rows == 0) return row;
    uint32_t i = row % head_rows;
    return row - i + i / 2 + (i % 2) * (head_rows / 2);
}

static bn_status read_stored(const bn_trits *t, uint32_t row_begin, uint32_t n_rows, void *scratch,
                             uint8_t *codes, float *stored, double *deviation)
{
    if (t->tensor->head_rows == 0)
        return t->family->read(t, row_begin, n_rows, scratch, codes, stored, deviation);
    uint32_t per_row = bn_trits_stored_per_row(t);
    for (uint32_t i = 0; i < n_rows; i++)
        BN_TRY(t->family->read(t, source_row(t, row_begin + i), 1, scratch,
                               codes != NULL ? codes + (size_t)i * t->info.n_cols : NULL,
                               stored != NULL ? stored + (size_t)i * per_row : NULL, deviation));
    return BN_OK;
}

static bool are_zeros(const uint8_t *codes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (codes[i] != 1) return false;
    return true;
}

static bool is_bad_scale(float scale, const uint8_t *codes, size_t n)
{
    if (scale == 0.0f) return !are_zeros(codes, n);
    return !isfinite(scale) || scale < 0.0f;
}

static bn_status fail_scale(const bn_trits *t, uint64_t element, float scale)
{
    return bn_trits_fail(t,
                         "the scale at element %" PRIu64 " is %g; it must be finite and above 0 "
                         "where weights are not all 0: the file is damaged",
                         element, (double)scale);
}

/* Counts are of bytes below 4, so sums of 128 of them fit into eleven bits. */
static uint64_t count_codes(const uint8_t *codes, size_t n, bn_trits_count *count)
{
    uint64_t n_odd = 0, n_high = 0, n_both = 0;
    for (size_t begin = 0; begin < n; begin += 128) {
        size_t end = n - begin < 128 ? n : begin + 128;
        uint16_t odd = 0, high = 0, both = 0;
        for (size_t i = begin; i < end; i++) {
            uint8_t code = codes[i];
            odd = (uint16_t)(odd + (code & 1));
            high = (uint16_t)(high + (code >> 1));
            both = (uint16_t)(both + (code & code >> 1));
        }
        n_odd += odd;
        n_high += high;
        n_both += both;
    }
    if (count != NULL) {
        count->n_codes[0] += n - n_odd - n_high + n_both;
        count->n_codes[1] += n_odd - n_both;
        count->n_codes[2] += n_high - n_both;
        count->n_codes[3] += n_both;
    }
    return n_both;
}

/* The first unused code of the rows, by its index in the tensor. */
static uint64_t find_unused(const bn_trits *t, uint32_t row_begin, const uint8_t *codes, size_t n)
{
    size_t i = 0;
    while (i < n && codes[i] != 3)
        i++;
    return (uint64_t)row_begin * t->info.n_cols + i;
}

static bn_status fail_code(const bn_trits *t, uint64_t index)
{
    if (t->family == &bn_trits_tl)
        return bn_trits_fail(t,
                             "element %" PRIu64 " has a code that %s does not use: the file is "
                             "damaged, or cut into other tiles than %" PRIu32 "x%" PRIu32
                             ":%" PRIu32 ",%" PRIu32 ",%" PRIu32 " (see --tile of convert)",
                             index, bn_tensor_type_name(t->tensor->type), t->info.n_rows,
                             t->info.n_cols, t->tile.rows, t->tile.cols, t->tile.lanes);
    return bn_trits_fail(t,
                         "element %" PRIu64 " has an unused code; only −1, 0 and 1 exist: the file "
                         "is damaged",
                         index);
}

/* One scale for every info.group_cols out of those of stored_cols. */
static void fold_scales(const bn_trits *t, const float *stored, uint32_t n_rows, float *out)
{
    uint32_t n = t->info.group_cols / t->stored_cols;
    size_t n_out = (size_t)n_rows * (t->info.n_cols / t->info.group_cols);
    for (size_t i = 0; i < n_out; i++, stored += n) {
        out[i] = stored[0];
        for (uint32_t k = 1; k < n && out[i] == 0.0f; k++)
            out[i] = stored[k];
    }
}

static void count_bad_scales(const bn_trits *t, const float *stored, uint32_t row_begin,
                             const uint8_t *codes, uint32_t n_rows, bn_trits_count *count)
{
    size_t n_cols = t->info.n_cols;
    if (t->stored_cols == 0) {
        float scale = t->info.scale;
        bool is_bad = scale == 0.0f ? !are_zeros(codes, n_rows * n_cols)
                                    : row_begin == 0 && is_bad_scale(scale, NULL, 0);
        if (is_bad) count->n_bad_scales++;
        return;
    }
    size_t n_stored = (size_t)n_rows * bn_trits_stored_per_row(t);
    for (size_t i = 0; i < n_stored; i++)
        if (is_bad_scale(stored[i], codes + i * t->stored_cols, t->stored_cols))
            count->n_bad_scales++;
}

bn_status bn_trits_read(const bn_trits *t, uint32_t row_begin, uint32_t n_rows, void *scratch,
                        uint8_t *codes_out, float *scales_out, bn_trits_count *count)
{
    BN_ASSERT(row_begin <= t->info.n_rows && n_rows <= t->info.n_rows - row_begin);
    uint8_t *aligned =
        (uint8_t *)scratch + (SCRATCH_ALIGN - (uintptr_t)scratch % SCRATCH_ALIGN) % SCRATCH_ALIGN;
    float *stored = t->stored_cols != 0 ? (float *)(void *)aligned : NULL;
    double deviation = 0.0;
    BN_TRY(read_stored(t, row_begin, n_rows, aligned + stored_bytes(t, n_rows), codes_out, stored,
                       &deviation));
    size_t n = (size_t)n_rows * t->info.n_cols;
    bool had_unused = count != NULL && count->n_codes[3] > 0;
    if (count_codes(codes_out, n, count) > 0) {
        uint64_t index = find_unused(t, row_begin, codes_out, n);
        if (!t->is_lenient) return fail_code(t, index);
        if (count != NULL && !had_unused) count->bad_index = index;
    }
    if (!t->info.is_one_scale && scales_out != NULL) fold_scales(t, stored, n_rows, scales_out);
    if (count != NULL) {
        if (deviation > count->deviation) count->deviation = deviation;
        if (t->is_lenient) count_bad_scales(t, stored, row_begin, codes_out, n_rows, count);
    }
    return BN_OK;
}

/* ── passes over the whole tensor ────────────────────────────────────────────────────────── */

/* The text of an error is its thread's; whoever called wants it. */
typedef struct walk_result {
    bn_status status;
    char text[ERROR_TEXT_MAX];
} walk_result;

typedef struct walk {
    const bn_trits *t;
    bn_trits_visit *visit;
    void *context;
    uint32_t range_rows;
    size_t thread_bytes, scratch_bytes;
    uint8_t *memory;      /* [n_threads][thread_bytes] */
    walk_result *results; /* [n_threads] */
} walk;

static void walk_part(void *context, uint32_t thread_index, uint32_t n_threads)
{
    walk *w = context;
    uint8_t *memory = w->memory + thread_index * w->thread_bytes;
    size_t n_ranges = (w->t->info.n_rows + w->range_rows - 1) / w->range_rows;
    size_t begin, end;
    bn_thread_part(n_ranges, thread_index, n_threads, &begin, &end);
    bn_status status = BN_OK;
    for (size_t i = begin; i < end && status == BN_OK; i++) {
        uint32_t row = (uint32_t)i * w->range_rows;
        uint32_t left = w->t->info.n_rows - row;
        status = w->visit(w->t, thread_index, row, left < w->range_rows ? left : w->range_rows,
                          memory, memory + w->scratch_bytes, w->context);
    }
    w->results[thread_index].status = status;
    if (status != BN_OK)
        snprintf(w->results[thread_index].text, ERROR_TEXT_MAX, "%s", bn_log_last_error());
}

bn_status bn_trits_walk(const bn_trits *t, bn_thread_pool *pool, bn_trits_visit *visit,
                        void *context)
{
    uint32_t n_threads = pool != NULL ? bn_thread_pool_size(pool) : 1;
    uint32_t n = RANGE_CODES / t->info.n_cols / t->info.row_step * t->info.row_step;
    walk w = {.t = t, .visit = visit, .context = context};
    w.range_rows = n > 0 ? n : t->info.row_step;
    w.scratch_bytes = (bn_trits_scratch_bytes(t, w.range_rows) + 63) / 64 * 64;
    w.thread_bytes = w.scratch_bytes + ((size_t)w.range_rows * t->info.n_cols + 63) / 64 * 64;
    w.memory = bn_alloc(n_threads, w.thread_bytes);
    w.results = bn_alloc(n_threads, sizeof *w.results);
    bn_status status = BN_OK;
    if (w.memory == NULL || w.results == NULL)
        status = bn_fail(BN_ERR_NO_MEMORY, "MODEL-TENSOR",
                         "no memory to read tensor %s of %s: %" PRIu32 " × %zu bytes wanted",
                         t->tensor->name, bn_gguf_path(t->file), n_threads, w.thread_bytes);
    else if (pool != NULL)
        bn_thread_pool_run(pool, walk_part, &w);
    else
        walk_part(&w, 0, 1);
    for (uint32_t i = 0; i < n_threads && status == BN_OK && w.results != NULL; i++)
        if (w.results[i].status != BN_OK)
            status = bn_fail_unlogged(w.results[i].status, "%s", w.results[i].text);
    bn_free(w.memory);
    bn_free(w.results);
    return status;
}

/* ── folding ─────────────────────────────────────────────────────────────────────────────── */

typedef struct fold_state {
    bool is_used; /* has seen a scale that counts */
    uint32_t tensor_bits;
    bool is_one, is_per_row;
    uint32_t cols; /* the largest group, up to GROUP_MAX, whose scales are all equal */
} fold_state;

static uint32_t bits_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

/* Whether every `n` scales that count are equal. */
static bool agree(const float *scales, uint32_t n_scales, uint32_t n)
{
    for (uint32_t begin = 0; begin < n_scales; begin += n) {
        uint32_t first = 0;
        for (uint32_t i = begin; i < begin + n; i++) {
            if (scales[i] == 0.0f) continue;
            if (first == 0) first = bits_of(scales[i]);
            if (bits_of(scales[i]) != first) return false;
        }
    }
    return true;
}

static void fold_row(fold_state *f, const float *scales, uint32_t n_scales, uint32_t stored_cols)
{
    for (uint32_t i = 0; i < n_scales && f->is_one; i++) {
        if (scales[i] == 0.0f) continue;
        if (!f->is_used) f->tensor_bits = bits_of(scales[i]);
        f->is_used = true;
        f->is_one = bits_of(scales[i]) == f->tensor_bits;
    }
    if (f->is_one) return;
    if (f->is_per_row) f->is_per_row = agree(scales, n_scales, n_scales);
    while (!f->is_per_row && f->cols > stored_cols &&
           !agree(scales, n_scales, f->cols / stored_cols))
        f->cols /= 2;
}

static bn_status scan_range(const bn_trits *t, uint32_t thread_index, uint32_t row_begin,
                            uint32_t n_rows, void *scratch, uint8_t *codes, void *context)
{
    fold_state *f = (fold_state *)context + thread_index;
    uint32_t per_row = bn_trits_stored_per_row(t);
    size_t n_stored = (size_t)n_rows * per_row;
    float *stored = per_row != 0 ? scratch : NULL;
    uint8_t *rest = (uint8_t *)scratch + stored_bytes(t, n_rows);
    if (per_row != 0) BN_TRY(read_stored(t, row_begin, n_rows, rest, NULL, stored, NULL));
    bool needs_codes = per_row == 0;
    for (size_t i = 0; i < n_stored; i++)
        needs_codes = needs_codes || stored[i] == 0.0f;
    if (needs_codes) BN_TRY(read_stored(t, row_begin, n_rows, rest, codes, stored, NULL));
    if (per_row == 0)
        return t->is_lenient || are_zeros(codes, (size_t)n_rows * t->info.n_cols)
                   ? BN_OK
                   : fail_scale(t, (uint64_t)row_begin * t->info.n_cols, t->info.scale);
    for (size_t i = 0; i < n_stored && !t->is_lenient; i++)
        if (is_bad_scale(stored[i], codes + i * t->stored_cols, t->stored_cols))
            return fail_scale(t, (uint64_t)row_begin * t->info.n_cols + i * t->stored_cols,
                              stored[i]);
    for (uint32_t i = 0; i < n_rows; i++)
        fold_row(f, stored + (size_t)i * per_row, per_row, t->stored_cols);
    return BN_OK;
}

static void merge(fold_state *to, const fold_state *from)
{
    if (from->is_used && to->is_used && from->tensor_bits != to->tensor_bits) to->is_one = false;
    to->is_one = to->is_one && from->is_one;
    if (!to->is_used) to->tensor_bits = from->tensor_bits;
    to->is_used = to->is_used || from->is_used;
    to->is_per_row = to->is_per_row && from->is_per_row;
    if (from->cols < to->cols) to->cols = from->cols;
}

/* A thread that still believes in one scale has not looked at its rows: they are equal. */
static void take_fold(bn_trits *t, const fold_state *f)
{
    t->info.is_one_scale = f->is_one;
    t->info.group_cols = f->is_one || f->is_per_row ? t->info.n_cols : f->cols;
    if (f->is_one && f->is_used) memcpy(&t->info.scale, &f->tensor_bits, sizeof t->info.scale);
}

static bn_status fold(bn_trits *t, bn_thread_pool *pool)
{
    uint32_t n_threads = pool != NULL ? bn_thread_pool_size(pool) : 1;
    fold_state *states = bn_alloc(n_threads, sizeof *states);
    if (states == NULL)
        return bn_fail(BN_ERR_NO_MEMORY, "MODEL-TENSOR", "no memory to read tensor %s of %s",
                       t->tensor->name, bn_gguf_path(t->file));
    uint32_t cols = t->stored_cols;
    while (cols != 0 && cols < GROUP_MAX && t->info.n_cols % (2 * cols) == 0)
        cols *= 2;
    for (uint32_t i = 0; i < n_threads; i++)
        states[i] = (fold_state){.is_one = true, .is_per_row = true, .cols = cols};
    bn_status status = bn_trits_walk(t, pool, scan_range, states);
    for (uint32_t i = 1; i < n_threads; i++)
        merge(&states[0], &states[i]);
    if (status == BN_OK && t->stored_cols != 0) take_fold(t, &states[0]);
    bn_free(states);
    return status;
}

/* ── opening ─────────────────────────────────────────────────────────────────────────────── */

static bn_status check_dims(const bn_gguf *file, const bn_gguf_tensor *tensor)
{
    if (tensor->dims[0] <= BN_TRITS_COLS_MAX && tensor->dims[1] <= BN_TRITS_ROWS_MAX &&
        tensor->dims[2] == 1 && tensor->dims[3] == 1 &&
        (tensor->head_rows == 0 ||
         (tensor->head_rows % 2 == 0 && tensor->dims[1] % tensor->head_rows == 0)))
        return BN_OK;
    return bn_fail(BN_ERR_UNSUPPORTED, "MODEL-TENSOR",
                   "%s: tensor %s is %" PRIu64 " × %" PRIu64 "%s in heads of %" PRIu32
                   " rows; a ternary matrix has at most %u × %u, in whole heads of even size",
                   bn_gguf_path(file), tensor->name, tensor->dims[0], tensor->dims[1],
                   tensor->dims[2] != 1 || tensor->dims[3] != 1 ? " × …" : "", tensor->head_rows,
                   BN_TRITS_COLS_MAX, BN_TRITS_ROWS_MAX);
}

static bn_status settle(bn_trits *t, const bn_trits_options *options)
{
    if (t->family->open != NULL) BN_TRY(t->family->open(t, options));
    if (t->stored_cols != 0) return fold(t, options->pool);
    t->info.is_one_scale = true;
    if (t->is_lenient) return BN_OK;
    if (t->info.scale == 0.0f) return fold(t, options->pool);
    return is_bad_scale(t->info.scale, NULL, 0) ? fail_scale(t, 0, t->info.scale) : BN_OK;
}

bn_status bn_trits_open(const bn_gguf *file, const bn_gguf_tensor *tensor,
                        const bn_trits_options *options, bn_trits **trits_out)
{
    static const bn_trits_options defaults = {0};
    if (options == NULL) options = &defaults;
    const bn_trits_family *family = family_of(tensor->type);
    if (family == NULL)
        return bn_fail(BN_ERR_UNSUPPORTED, "MODEL-TENSOR",
                       "%s: tensor %s is of type %s (%" PRIu32 "), from which no trits are read",
                       bn_gguf_path(file), tensor->name, bn_tensor_type_name(tensor->type),
                       tensor->type);
    BN_TRY(check_dims(file, tensor));
    bn_trits *t = bn_alloc(1, sizeof *t);
    if (t == NULL)
        return bn_fail(BN_ERR_NO_MEMORY, "MODEL-TENSOR", "no memory to read tensor %s of %s",
                       tensor->name, bn_gguf_path(file));
    t->file = file;
    t->tensor = tensor;
    t->family = family;
    t->is_lenient = options->is_lenient;
    t->info = (bn_trits_info){
        .n_rows = (uint32_t)tensor->dims[1],
        .n_cols = (uint32_t)tensor->dims[0],
        .group_cols = (uint32_t)tensor->dims[0],
        .row_step = 1,
        .rule = family->rule,
    };
    bn_status status = settle(t, options);
    if (status != BN_OK) {
        bn_trits_close(t);
        return status;
    }
    *trits_out = t;
    return BN_OK;
}

void bn_trits_close(bn_trits *t)
{
    bn_free(t);
}

const bn_trits_info *bn_trits_info_of(const bn_trits *t)
{
    return &t->info;
}
