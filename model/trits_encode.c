/* trits_encode.c — I2_S, TQ1_0, TQ2_0 and F16; TL1 and TL2 stand in trits_encode_tl.c. */
#include "model/trits_encode.h"

#include "common/log.h"
#include "kernels/math.h"
#include "model/gguf.h"
#include "model/tensor_type.h"
#include "model/trits_encode_tl.h"

#include <inttypes.h>
#include <string.h>

#define I2S_CODES 128u
#define TQ_COLS 256u
#define TQ1_BYTES 54u
#define TQ2_BYTES 66u

static bn_status fail_shape(const char *name, const bn_trits_encoding *e, const char *why)
{
    return bn_fail(BN_ERR_UNSUPPORTED, "CONVERT-TYPE",
                   "tensor %s of %" PRIu32 " rows and %" PRIu32 " columns cannot be %s: %s", name,
                   e->n_rows, e->n_cols, bn_tensor_type_name(e->type), why);
}

static bn_status make_tl(const char *name, const bn_tl_tile_list *tiles, bn_trits_encoding *e)
{
    uint64_t n_bytes;
    if (!bn_tensor_type_span(e->type, e->n_cols, (uint64_t)e->n_rows * e->n_cols, &n_bytes))
        return fail_shape(name, e, "at least 256 columns are needed; --type i2_s takes any");
    if (!bn_tl_tile_find(e->type, tiles, e->n_rows, e->n_cols, &e->tile))
        return fail_shape(name, e,
                          "bitnet.cpp has no kernel for this shape; give the tile of a kernel that "
                          "you have generated (--tile ROWSxCOLS:BM,BK,bm), or use --type i2_s");
    const char *problem = bn_tl_tile_problem(e->type, &e->tile);
    if (problem != NULL) return fail_shape(name, e, problem);
    if (e->type == BN_TENSOR_TL2 &&
        bn_trits_encode_tl2_bytes(e) > n_bytes - BN_TENSOR_I2S_TAIL_BYTES)
        return fail_shape(name, e, "its codes do not fit into the bytes that TL2 has for it");
    e->row_step = e->tile.rows;
    return BN_OK;
}

bn_status bn_trits_encoding_make(const char *name, uint32_t type, uint32_t n_rows, uint32_t n_cols,
                                 const bn_tl_tile_list *tiles, bn_trits_encoding *encoding_out)
{
    bn_trits_encoding e = {.type = type, .n_rows = n_rows, .n_cols = n_cols, .row_step = 1};
    uint64_t n = (uint64_t)n_rows * n_cols;
    if (type == BN_TENSOR_TL1 || type == BN_TENSOR_TL2) {
        BN_TRY(make_tl(name, tiles, &e));
    } else if (type == BN_TENSOR_TQ1_0 || type == BN_TENSOR_TQ2_0) {
        if (n_cols % TQ_COLS != 0)
            return fail_shape(name, &e,
                              "its columns must be a multiple of 256; use --type i2_s or f16");
    } else if (type == BN_TENSOR_I2_S) {
        if (n % I2S_CODES != 0)
            return fail_shape(name, &e, "its elements must be a multiple of 128; use --type f16");
        while ((uint64_t)e.row_step * n_cols % I2S_CODES != 0)
            e.row_step *= 2;
    } else {
        BN_ASSERT(type == BN_TENSOR_F16);
    }
    *encoding_out = e;
    return BN_OK;
}

uint32_t bn_trits_encoding_group(uint32_t type)
{
    if (type == BN_TENSOR_TQ1_0 || type == BN_TENSOR_TQ2_0) return TQ_COLS;
    return type == BN_TENSOR_F16 ? 1 : 0;
}

size_t bn_trits_encoding_bytes(const bn_trits_encoding *e, uint32_t n_rows)
{
    size_t n = (size_t)n_rows * e->n_cols;
    switch (e->type) {
    case BN_TENSOR_TQ1_0: return n / TQ_COLS * TQ1_BYTES;
    case BN_TENSOR_TQ2_0: return n / TQ_COLS * TQ2_BYTES;
    case BN_TENSOR_F16: return n * 2;
    default: return (n + 3) / 4;
    }
}

uint64_t bn_trits_encoding_scale_at(const bn_trits_encoding *e)
{
    uint64_t n_bytes = 0;
    bool is_whole =
        bn_tensor_type_span(e->type, e->n_cols, (uint64_t)e->n_rows * e->n_cols, &n_bytes);
    BN_ASSERT(is_whole && bn_trits_encoding_group(e->type) == 0);
    return n_bytes - BN_TENSOR_I2S_TAIL_BYTES;
}

static void encode_i2s(const uint8_t *codes, size_t n, uint8_t *out)
{
    for (; n > 0; n -= I2S_CODES, codes += I2S_CODES, out += 32)
        for (uint32_t i = 0; i < 32; i++)
            out[i] =
                (uint8_t)(codes[i] << 6 | codes[i + 32] << 4 | codes[i + 64] << 2 | codes[i + 96]);
}

/* Bytes of n_digits codes n_bytes apart, the first the most significant digit. */
static void encode_base3(const uint8_t *codes, uint32_t n_bytes, uint32_t n_digits, uint8_t *out)
{
    for (uint32_t m = 0; m < n_bytes; m++) {
        uint32_t q = 0;
        for (uint32_t n = 0; n < n_digits; n++)
            q = q * 3 + codes[n * n_bytes + m];
        if (n_digits == 4) q *= 3;
        out[m] = (uint8_t)((q * 256 + 242) / 243);
    }
}

static void encode_tq1(const uint8_t *codes, uint8_t *out)
{
    encode_base3(codes, 32, 5, out);
    encode_base3(codes + 160, 16, 5, out + 32);
    encode_base3(codes + 240, 4, 4, out + 48);
}

static void encode_tq2(const uint8_t *codes, uint8_t *out)
{
    for (uint32_t half = 0; half < 2; half++, codes += 128, out += 32)
        for (uint32_t m = 0; m < 32; m++)
            out[m] =
                (uint8_t)(codes[m] | codes[m + 32] << 2 | codes[m + 64] << 4 | codes[m + 96] << 6);
}

static void encode_tq(const bn_trits_encoding *e, uint32_t n_rows, const uint8_t *codes,
                      const float *scales, uint32_t group_cols, uint8_t *out)
{
    uint32_t block_bytes = e->type == BN_TENSOR_TQ1_0 ? TQ1_BYTES : TQ2_BYTES;
    uint32_t per_row = e->n_cols / group_cols;
    for (uint32_t row = 0; row < n_rows; row++)
        for (uint32_t col = 0; col < e->n_cols; col += TQ_COLS, codes += TQ_COLS) {
            uint16_t d = bn_f16_from_f32(scales[(size_t)row * per_row + col / group_cols]);
            if (e->type == BN_TENSOR_TQ1_0)
                encode_tq1(codes, out);
            else
                encode_tq2(codes, out);
            memcpy(out + block_bytes - sizeof d, &d, sizeof d);
            out += block_bytes;
        }
}

static void encode_f16(const bn_trits_encoding *e, uint32_t n_rows, const uint8_t *codes,
                       const float *scales, uint32_t group_cols, uint8_t *out)
{
    size_t n_groups = (size_t)n_rows * (e->n_cols / group_cols);
    for (size_t g = 0; g < n_groups; g++) {
        uint16_t d = bn_f16_from_f32(scales[g]);
        const uint16_t values[4] = {(uint16_t)(d | 0x8000u), 0, d, 0};
        for (uint32_t k = 0; k < group_cols; k++, codes++, out += 2)
            memcpy(out, &values[*codes & 3], 2);
    }
}

uint32_t bn_trits_encode(const bn_trits_encoding *e, uint32_t row_begin, uint32_t n_rows,
                         const uint8_t *codes, const float *scales, uint32_t group_cols,
                         uint8_t *out, bn_trits_piece pieces[BN_TRITS_PIECES_MAX])
{
    BN_ASSERT(row_begin % e->row_step == 0 && n_rows <= e->n_rows - row_begin);
    BN_ASSERT(n_rows % e->row_step == 0 || row_begin + n_rows == e->n_rows);
    if (e->type == BN_TENSOR_TL1 || e->type == BN_TENSOR_TL2)
        return bn_trits_encode_tl(e, row_begin, n_rows, codes, out, pieces);
    if (e->type == BN_TENSOR_I2_S)
        encode_i2s(codes, (size_t)n_rows * e->n_cols, out);
    else if (e->type == BN_TENSOR_F16)
        encode_f16(e, n_rows, codes, scales, group_cols, out);
    else
        encode_tq(e, n_rows, codes, scales, group_cols, out);
    pieces[0] = (bn_trits_piece){bn_trits_encoding_bytes(e, row_begin), out,
                                 bn_trits_encoding_bytes(e, n_rows)};
    return 1;
}
