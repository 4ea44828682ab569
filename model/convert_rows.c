/* convert_rows.c — copies, trits and values. */
#include "model/convert_rows.h"

#include "common/log.h"
#include "kernels/kernels.h"
#include "kernels/math.h"
#include "model/dense_encode.h"
#include "model/model.h"
#include "model/tensor_type.h"

#include <inttypes.h>
#include <string.h>

#define COPY_BYTES (1u << 20)
#define ALIGN 64u

static size_t aligned(size_t n)
{
    return (n + ALIGN - 1) / ALIGN * ALIGN;
}

/* Where the parts of a workspace stand. */
typedef struct layout {
    size_t codes, scales, values, out, total; /* scratch, or the rows as read, stand at 0 */
} layout;

static size_t scales_of(const bn_trits *t, uint64_t n_rows)
{
    const bn_trits_info *info = bn_trits_info_of(t);
    return (size_t)(n_rows * (info->n_cols / info->group_cols));
}

static layout layout_of(const bn_convert_item *item, uint64_t n_rows)
{
    layout l = {0};
    uint64_t n_cols = item->tensor->dims[0], n = n_rows * n_cols;
    bool has_trits = item->trits != NULL;
    size_t at = has_trits ? bn_trits_scratch_bytes(item->trits, (uint32_t)n_rows)
                          : (size_t)(item->tensor->n_bytes / item->tensor->dims[1] * n_rows);
    l.codes = aligned(at);
    l.scales = aligned(l.codes + (has_trits ? (size_t)n : 0));
    l.values = aligned(l.scales + (has_trits ? scales_of(item->trits, n_rows) * sizeof(float) : 0));
    l.out = aligned(l.values + (item->action == BN_CONVERT_VALUES ? (size_t)n * sizeof(float) : 0));
    uint64_t out_bytes = 0;
    if (item->action == BN_CONVERT_TRITS)
        out_bytes = bn_trits_encoding_bytes(&item->encoding, (uint32_t)n_rows);
    else
        out_bytes = item->n_bytes / item->tensor->dims[1] * n_rows;
    l.total = aligned(l.out + (size_t)out_bytes);
    return l;
}

static uint64_t greatest_divisor(uint64_t a, uint64_t b)
{
    while (b != 0) {
        uint64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

/* Ranges that suit the type written; where it is not too much, the type read as well. */
static uint64_t smallest_step(const bn_convert_item *item)
{
    if (item->trits == NULL) return 1;
    uint64_t read = bn_trits_info_of(item->trits)->row_step;
    uint64_t written = item->action == BN_CONVERT_TRITS ? item->encoding.row_step : 1;
    uint64_t both = read / greatest_divisor(read, written) * written;
    return layout_of(item, both).total <= BN_CONVERT_RANGE_BYTES ? both : written;
}

uint64_t bn_convert_rows_step(const bn_convert_item *item)
{
    if (item->action == BN_CONVERT_COPY) return COPY_BYTES;
    uint64_t step = smallest_step(item), n_rows = item->tensor->dims[1];
    uint64_t n = BN_CONVERT_RANGE_BYTES / layout_of(item, step).total;
    uint64_t rows = step * (n > 0 ? n : 1);
    return rows < n_rows ? rows : n_rows;
}

uint64_t bn_convert_rows_ranges(const bn_convert_item *item)
{
    uint64_t step = bn_convert_rows_step(item);
    uint64_t n = item->action == BN_CONVERT_COPY ? item->n_bytes : item->tensor->dims[1];
    return (n + step - 1) / step;
}

size_t bn_convert_rows_workspace(const bn_convert_item *item)
{
    if (item->action == BN_CONVERT_COPY) return COPY_BYTES;
    return layout_of(item, bn_convert_rows_step(item)).total;
}

static bn_status copy_range(const bn_gguf *file, const bn_convert_item *item, uint64_t range,
                            uint8_t *workspace, bn_gguf_writer *writer)
{
    uint64_t at = range * COPY_BYTES, left = item->n_bytes - at;
    size_t n = left < COPY_BYTES ? (size_t)left : COPY_BYTES;
    BN_TRY(bn_gguf_read(file, item->tensor, at, n, workspace));
    return bn_gguf_writer_data_at(writer, item->index, at, workspace, n);
}

/* Scales that differ must be numbers of the type that holds them. */
static bn_status look_at_scales(const bn_gguf *file, const bn_convert_item *item,
                                const float *scales, size_t n, bn_convert_seen *seen)
{
    for (size_t i = 0; i < n; i++) {
        if (bn_f32_from_f16(bn_f16_from_f32(scales[i])) != scales[i])
            return bn_fail(BN_ERR_UNSUPPORTED, "CONVERT-TENSOR",
                           "%s: tensor %s: its scales differ, and %g is no F16 number as %s needs",
                           bn_gguf_path(file), item->tensor->name, (double)scales[i],
                           bn_tensor_type_name(item->type));
        if (!seen->has_scales || scales[i] < seen->scale_min) seen->scale_min = scales[i];
        if (!seen->has_scales || scales[i] > seen->scale_max) seen->scale_max = scales[i];
        seen->has_scales = true;
    }
    return BN_OK;
}

static bn_status convert_trits(const bn_gguf *file, const bn_convert_item *item, uint64_t row_begin,
                               uint64_t n_rows, uint8_t *workspace, bn_gguf_writer *writer,
                               bn_convert_seen *seen)
{
    layout l = layout_of(item, n_rows);
    const bn_trits_info *info = bn_trits_info_of(item->trits);
    float *scales = (float *)(void *)(workspace + l.scales);
    size_t n_scales = scales_of(item->trits, n_rows);
    uint8_t *codes = workspace + l.codes;
    BN_TRY(bn_trits_read(item->trits, (uint32_t)row_begin, (uint32_t)n_rows, workspace, codes,
                         scales, &seen->count));
    if (!info->is_one_scale) BN_TRY(look_at_scales(file, item, scales, n_scales, seen));
    for (size_t i = 0; i < n_scales && info->is_one_scale; i++)
        scales[i] = item->held_scale;
    bn_trits_piece pieces[BN_TRITS_PIECES_MAX];
    uint32_t n_pieces = bn_trits_encode(&item->encoding, (uint32_t)row_begin, (uint32_t)n_rows,
                                        codes, scales, info->group_cols, workspace + l.out, pieces);
    for (uint32_t i = 0; i < n_pieces; i++)
        BN_TRY(bn_gguf_writer_data_at(writer, item->index, pieces[i].at, pieces[i].bytes,
                                      pieces[i].n));
    return BN_OK;
}

static void widen_trits(const bn_convert_item *item, const uint8_t *codes, const float *scales,
                        uint64_t n, float *out)
{
    const bn_trits_info *info = bn_trits_info_of(item->trits);
    for (uint64_t i = 0; i < n; i++) {
        float scale = info->is_one_scale ? info->scale : scales[i / info->group_cols];
        out[i] = scale * (float)(codes[i] - 1);
    }
}

static bn_status convert_values(const bn_gguf *file, const bn_convert_item *item,
                                uint64_t row_begin, uint64_t n_rows, uint8_t *workspace,
                                bn_gguf_writer *writer, bn_convert_seen *seen)
{
    layout l = layout_of(item, n_rows);
    const bn_gguf_tensor *tensor = item->tensor;
    uint64_t n_cols = tensor->dims[0];
    float *values = (float *)(void *)(workspace + l.values);
    if (item->trits != NULL) {
        float *scales = (float *)(void *)(workspace + l.scales);
        BN_TRY(bn_trits_read(item->trits, (uint32_t)row_begin, (uint32_t)n_rows, workspace,
                             workspace + l.codes, scales, &seen->count));
        widen_trits(item, workspace + l.codes, scales, n_rows * n_cols, values);
    } else {
        size_t row_bytes = (size_t)(tensor->n_bytes / tensor->dims[1]);
        bn_dense dense = {.rows = workspace,
                          .n_rows = (uint32_t)n_rows,
                          .n_cols = (uint32_t)n_cols,
                          .row_bytes = row_bytes};
        bool is_dense = bn_model_dense_type(tensor->type, &dense.type);
        BN_ASSERT(is_dense);
        BN_TRY(bn_gguf_read(file, tensor, row_begin * row_bytes, (size_t)n_rows * row_bytes,
                            workspace));
        const bn_kernels *kernels = bn_kernels_get(BN_ISA_AUTO);
        for (uint32_t row = 0; row < n_rows; row++)
            kernels->dense_row(&dense, row, values + row * n_cols);
    }
    uint64_t out_row_bytes = item->n_bytes / tensor->dims[1];
    bn_dense_encode(item->type, values, n_rows * n_cols, workspace + l.out);
    return bn_gguf_writer_data_at(writer, item->index, row_begin * out_row_bytes, workspace + l.out,
                                  (size_t)(n_rows * out_row_bytes));
}

bn_status bn_convert_rows(const bn_gguf *file, const bn_convert_item *item, uint64_t range,
                          uint8_t *workspace, bn_gguf_writer *writer, bn_convert_seen *seen)
{
    if (item->action == BN_CONVERT_COPY) return copy_range(file, item, range, workspace, writer);
    uint64_t step = bn_convert_rows_step(item), row = range * step;
    uint64_t left = item->tensor->dims[1] - row, n = left < step ? left : step;
    if (item->action == BN_CONVERT_TRITS)
        return convert_trits(file, item, row, n, workspace, writer, seen);
    return convert_values(file, item, row, n, workspace, writer, seen);
}
