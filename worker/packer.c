/* packer.c — runs of rows, packed as if each were a tensor of its own.
 *
 * A run begins at a group of R16 and ends at one, or with the tensor, so runs follow each other in
 * the blocks. For I2_S it also begins at a byte of the codes: 128 rows are a multiple of its block
 * of 128 codes, whatever the number of columns.
 */
#include "worker/packer.h"

#include "common/alloc.h"
#include "common/log.h"
#include "model/trits.h"
#include "model/trits_fault.h"

#include <inttypes.h>
#include <string.h>

#define I2S_UNIT_ROWS 128u
#define RUN_BYTES (1u << 20) /* of codes that a thread reads at once */
#define LOOK_BYTES 4096u     /* of codes, to see which occur */
#define ERROR_TEXT_MAX 512u

typedef struct pack_result {
    bn_status status;
    bool has_bad_code;
    uint64_t bad_index;
    uint32_t seen; /* codes, as in model/trits_fault.h */
    char text[ERROR_TEXT_MAX];
} pack_result;

struct bn_packer {
    const bn_model *model;
    bn_thread_pool *pool;
    uint32_t n_threads;
    uint8_t *staging; /* [n_threads][staging_bytes] */
    size_t staging_bytes;
    pack_result *results; /* [n_threads] */

    /* the tensor under way */
    const bn_gguf_tensor *tensor;
    const bn_trits *trits; /* NULL: I2_S, from its codes */
    uint32_t n_rows, n_cols;
    uint32_t unit_rows, run_rows;
    uint32_t n_runs;                  /* scales of a row; 0: one for the tensor */
    size_t codes_bytes, scales_bytes; /* of a run, in the staging memory */
    uint8_t *blocks;
    float *scales;

    bn_trits_faults faults;
};

bn_status bn_packer_create(const bn_model *model, bn_thread_pool *pool, bn_packer **packer_out)
{
    bn_packer *p = bn_alloc(1, sizeof *p);
    uint32_t n_threads = bn_thread_pool_size(pool);
    if (p != NULL) {
        p->model = model;
        p->pool = pool;
        p->n_threads = n_threads;
        p->results = bn_alloc(n_threads, sizeof *p->results);
    }
    if (p == NULL || p->results == NULL) {
        bn_packer_destroy(p);
        return bn_fail(BN_ERR_NO_MEMORY, "WEIGHTS-RESERVE", "no memory to load %s",
                       bn_gguf_path(model->file));
    }
    *packer_out = p;
    return BN_OK;
}

void bn_packer_destroy(bn_packer *packer)
{
    if (packer == NULL) return;
    bn_free(packer->staging);
    bn_free(packer->results);
    bn_free(packer);
}

static bool keep_error(pack_result *result, bn_status status)
{
    result->status = status;
    if (status == BN_OK) return true;
    size_t n = strnlen(bn_log_last_error(), sizeof result->text - 1);
    memcpy(result->text, bn_log_last_error(), n);
    result->text[n] = '\0';
    return false;
}

/* Only until every code has come; packing has found the unused one. */
static void look_at_codes(pack_result *result, const uint8_t *codes, size_t n)
{
    for (size_t at = 0; at < n && result->seen != BN_TRITS_SEEN_ALL; at += LOOK_BYTES)
        result->seen |= bn_trits_fault_seen(codes + at, n - at < LOOK_BYTES ? n - at : LOOK_BYTES);
}

static bool pack_i2s(bn_packer *p, pack_result *result, uint8_t *staging, uint32_t row_begin,
                     uint32_t n_rows, uint8_t *blocks)
{
    size_t n_bytes = (size_t)n_rows * p->n_cols / 4;
    uint64_t index = (uint64_t)row_begin * p->n_cols, bad_index;
    if (!keep_error(result, bn_gguf_read(p->model->file, p->tensor, index / 4, n_bytes, staging)))
        return false;
    if (!bn_ternary_pack_i2s(staging, n_rows, p->n_cols, 0, bn_ternary_groups(n_rows), blocks,
                             &bad_index)) {
        result->has_bad_code = true;
        result->bad_index = index + bad_index;
        return false;
    }
    look_at_codes(result, staging, n_bytes);
    return true;
}

static bool pack_trits(bn_packer *p, pack_result *result, uint8_t *staging, uint32_t row_begin,
                       uint32_t n_rows, uint8_t *blocks)
{
    float *scales = p->n_runs > 0 ? (float *)(void *)(staging + p->codes_bytes) : NULL;
    bn_trits_count count = {0};
    if (!keep_error(result, bn_trits_read(p->trits, row_begin, n_rows,
                                          staging + p->codes_bytes + p->scales_bytes, staging,
                                          scales, &count)))
        return false;
    if (blocks != NULL) bn_ternary_pack_codes(staging, n_rows, p->n_cols, blocks);
    if (p->n_runs > 0)
        bn_ternary_pack_scales(scales, n_rows, p->n_runs,
                               p->scales + (size_t)row_begin * p->n_runs);
    result->seen |= bn_trits_fault_seen_by(&count);
    return true;
}

static void pack_part(void *context, uint32_t thread_index, uint32_t n_threads)
{
    bn_packer *p = context;
    uint8_t *staging = p->staging + thread_index * p->staging_bytes;
    size_t begin, end;
    bn_thread_part((p->n_rows - 1) / p->unit_rows + 1, thread_index, n_threads, &begin, &end);
    uint32_t row_end = end * p->unit_rows < p->n_rows ? (uint32_t)end * p->unit_rows : p->n_rows;
    for (uint32_t row = (uint32_t)begin * p->unit_rows; row < row_end; row += p->run_rows) {
        uint32_t n = row_end - row < p->run_rows ? row_end - row : p->run_rows;
        size_t at = row / BN_TERNARY_GROUP_ROWS * bn_ternary_group_bytes(p->n_cols);
        uint8_t *blocks = p->blocks != NULL ? p->blocks + at : NULL;
        pack_result *result = &p->results[thread_index];
        bool is_packed = p->trits == NULL ? pack_i2s(p, result, staging, row, n, blocks)
                                          : pack_trits(p, result, staging, row, n, blocks);
        if (!is_packed) return;
    }
}

static size_t rounded(size_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

/* How the rows are cut, and staging memory for a run. */
static bn_status plan_runs(bn_packer *p)
{
    size_t row_bytes = p->n_cols, bytes;
    p->unit_rows = I2S_UNIT_ROWS;
    if (p->trits != NULL) {
        uint32_t step = bn_trits_info_of(p->trits)->row_step;
        p->unit_rows = step;
        while (p->unit_rows % BN_TERNARY_GROUP_ROWS != 0)
            p->unit_rows += step;
    } else {
        row_bytes = (p->n_cols + 3) / 4;
    }
    size_t n_units = RUN_BYTES / row_bytes / p->unit_rows;
    p->run_rows = p->unit_rows * (n_units > 0 ? (uint32_t)n_units : 1);
    p->codes_bytes = rounded(p->run_rows * row_bytes);
    p->scales_bytes = rounded((size_t)p->run_rows * p->n_runs * sizeof(float));
    bytes = p->codes_bytes + p->scales_bytes;
    if (p->trits != NULL) bytes += rounded(bn_trits_scratch_bytes(p->trits, p->run_rows));
    if (bytes <= p->staging_bytes) return BN_OK;
    bn_free(p->staging);
    p->staging = bn_alloc(p->n_threads, bytes);
    p->staging_bytes = p->staging != NULL ? bytes : 0;
    if (p->staging != NULL) return BN_OK;
    return bn_fail(BN_ERR_NO_MEMORY, "WEIGHTS-RESERVE",
                   "no memory to load tensor %s of %s: %" PRIu32 " × %zu bytes of staging wanted",
                   p->tensor->name, bn_gguf_path(p->model->file), p->n_threads, bytes);
}

/* Runs the threads and reports the first that failed. */
static bn_status pack(bn_packer *p)
{
    uint32_t seen = 0;
    BN_TRY(plan_runs(p));
    memset(p->results, 0, p->n_threads * sizeof *p->results);
    bn_thread_pool_run(p->pool, pack_part, p);
    for (uint32_t i = 0; i < p->n_threads; i++) {
        const pack_result *result = &p->results[i];
        if (result->has_bad_code) return bn_model_fail_code(p->model, p->tensor, result->bad_index);
        if (result->status != BN_OK)
            return bn_fail(result->status, "WEIGHTS-READ", "cannot load tensor %s: %s",
                           p->tensor->name, result->text);
        seen |= result->seen;
    }
    const char *fault = bn_trits_fault_of(seen);
    if (fault != NULL) bn_trits_faults_add(&p->faults, p->tensor->name, fault);
    return BN_OK;
}

static bn_status pack_read_trits(bn_packer *p, bn_trits *trits, float *scales, bn_ternary *out)
{
    const bn_trits_info *info = bn_trits_info_of(trits);
    p->trits = trits;
    out->scale = info->scale;
    if (!info->is_one_scale) {
        BN_ASSERT(scales != NULL);
        BN_ASSERT(info->group_cols == p->n_cols || info->group_cols % BN_Q8_PART_COLS == 0);
        p->scales = scales;
        p->n_runs = bn_ternary_runs(p->n_cols, info->group_cols);
        out->scales = scales;
        out->group_cols = info->group_cols;
    }
    return pack(p);
}

static void begin_tensor(bn_packer *p, const bn_gguf_tensor *tensor, uint8_t *blocks)
{
    p->tensor = tensor;
    p->trits = NULL;
    p->n_rows = (uint32_t)tensor->dims[1];
    p->n_cols = (uint32_t)tensor->dims[0];
    p->n_runs = 0;
    p->blocks = blocks;
    p->scales = NULL;
}

bn_status bn_packer_run(bn_packer *p, const bn_gguf_tensor *tensor, uint8_t *blocks, float *scales,
                        bn_ternary *out)
{
    begin_tensor(p, tensor, blocks);
    *out = (bn_ternary){.blocks = blocks, .n_rows = p->n_rows, .n_cols = p->n_cols};
    if (tensor->type == BN_TENSOR_I2_S && tensor->head_rows == 0) {
        BN_TRY(bn_model_i2s_scale(p->model, tensor, &out->scale));
        return pack(p);
    }
    bn_trits *trits;
    bn_trits_options options = {.pool = p->pool};
    BN_TRY(bn_trits_open(p->model->file, tensor, &options, &trits));
    bn_status status = pack_read_trits(p, trits, scales, out);
    bn_trits_close(trits);
    p->trits = NULL;
    return status;
}

static bool is_float(uint32_t type)
{
    return type == BN_TENSOR_F32 || type == BN_TENSOR_F16 || type == BN_TENSOR_BF16;
}

bn_status bn_packer_look(bn_packer *p, const bn_gguf_tensor *tensor)
{
    bn_trits_options options = {.pool = p->pool};
    if (is_float(tensor->type) || !bn_trits_can_read(tensor->type)) return BN_OK;
    begin_tensor(p, tensor, NULL);
    bn_trits *trits;
    BN_TRY(bn_trits_open(p->model->file, tensor, &options, &trits));
    p->trits = trits;
    bn_status status = pack(p);
    bn_trits_close(trits);
    p->trits = NULL;
    return status;
}

void bn_packer_warn(const bn_packer *packer)
{
    bn_trits_faults_warn(&packer->faults, bn_gguf_path(packer->model->file));
}
