#include "tests/model/trits_bytes.h"

#include "common/alloc.h"
#include "kernels/math.h"
#include "model/gguf_writer.h"
#include "model/tensor_type.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

matrix matrix_make(uint32_t n_rows, uint32_t n_cols, uint32_t group, int scales_differ)
{
    matrix m = {.n_rows = n_rows, .n_cols = n_cols, .group = group};
    size_t n = (size_t)n_rows * n_cols;
    m.codes = bn_alloc(n, 1);
    m.scales = bn_alloc(n / group, sizeof *m.scales);
    assert_non_null(m.codes);
    assert_non_null(m.scales);
    uint64_t x = 88172645463325252ull;
    for (size_t i = 0; i < n; i++) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        m.codes[i] = (uint8_t)((x >> 32) % 3);
    }
    for (size_t i = 0; i < n / group; i++)
        m.scales[i] = scales_differ ? 0.25f + (float)(i % 61) / 64.0f : 0.25f;
    return m;
}

void matrix_free(matrix *m)
{
    bn_free(m->codes);
    bn_free(m->scales);
}

/* Where element i (of the tensor for I2_S, of a block else) of a type of two bits stands. */
static void place_two_bits(uint32_t type, uint32_t i, size_t *byte_out, uint32_t *shift_out)
{
    switch (type) {
    case BN_TENSOR_I2_S:
        *byte_out = i / 128 * 32 + i % 32;
        *shift_out = 6 - 2 * (i % 128 / 32);
        break;
    case BN_TENSOR_TQ2_0:
        *byte_out = i / 128 * 32 + i % 32;
        *shift_out = 2 * (i % 128 / 32);
        break;
    case BN_TENSOR_IQ2_BN:
        *byte_out = i % 16;
        *shift_out = 2 * (i / 16);
        break;
    default: /* Q2_0 and kin */ *byte_out = i / 4; *shift_out = 2 * (i % 4);
    }
}

static void set_two_bits(uint8_t *block, uint32_t type, uint32_t i, uint32_t code)
{
    size_t byte;
    uint32_t shift;
    place_two_bits(type, i, &byte, &shift);
    block[byte] = (uint8_t)(block[byte] | code << shift);
}

static uint8_t stretch(uint32_t q)
{
    return (uint8_t)((q * 256 + 242) / 243);
}

/* TQ1_0 and PTQ1_0: `qs` bytes in stages of 32, 16 and 8, then qh. */
static void pack_base3(const uint8_t *codes, uint32_t n_qs, uint32_t n_qh, uint8_t *block)
{
    uint32_t at = 0;
    for (uint32_t stage = 32; stage >= 8; stage /= 2)
        for (; at + stage <= n_qs; at += stage, codes += 5 * stage)
            for (uint32_t m = 0; m < stage; m++) {
                uint32_t q = 0;
                for (uint32_t n = 0; n < 5; n++)
                    q = 3 * q + codes[m + n * stage];
                block[at + m] = stretch(q);
            }
    for (uint32_t m = 0; m < n_qh; m++) {
        uint32_t q = 0;
        for (uint32_t n = 0; n < 4; n++)
            q = 3 * q + codes[m + n * n_qh];
        block[n_qs + m] = stretch(3 * q);
    }
}

static void pack_iq1(const uint8_t *codes, uint8_t *block)
{
    static const uint32_t powers[] = {1, 3, 9, 27, 81};
    uint32_t extra = 0;
    for (uint32_t g = 0; g < 4; g++, codes += 16) {
        for (uint32_t k = 0; k < 3; k++) {
            uint32_t q = 0;
            for (uint32_t j = 0; j < 5; j++)
                q += codes[5 * k + j] * powers[j];
            block[3 * g + k] = stretch(q);
        }
        extra += codes[15] * powers[g];
    }
    block[12] = stretch(extra);
}

static void put_half(uint8_t *to, float x)
{
    uint16_t half = bn_f16_from_f32(x);
    memcpy(to, &half, sizeof half);
}

static void pack_row(const matrix *m, uint32_t type, uint32_t row, uint8_t *to, size_t row_bytes)
{
    const uint8_t *codes = m->codes + (size_t)row * m->n_cols;
    uint32_t block = bn_tensor_type_block(type), n_blocks = m->n_cols / block;
    if (type == BN_TENSOR_IQ1_BN || type == BN_TENSOR_IQ2_BN) {
        float scale = m->scales[(size_t)row * (m->n_cols / m->group)];
        if (type == BN_TENSOR_IQ1_BN)
            put_half(to, scale), to += 2;
        else
            memcpy(to, &scale, 4), to += 4;
        for (uint32_t b = 0; b < n_blocks;
             b++, codes += 64, to += type == BN_TENSOR_IQ1_BN ? 13 : 16)
            for (uint32_t i = 0; i < 64; i++)
                if (type == BN_TENSOR_IQ1_BN)
                    pack_iq1(codes, to);
                else
                    set_two_bits(to, type, i, codes[i]);
        return;
    }
    size_t block_bytes = row_bytes / n_blocks;
    for (uint32_t b = 0; b < n_blocks; b++, codes += block, to += block_bytes) {
        float scale = m->scales[((size_t)row * m->n_cols + (size_t)b * block) / m->group];
        bool is_scale_last =
            type == BN_TENSOR_TQ1_0 || type == BN_TENSOR_TQ2_0 || type == BN_TENSOR_PTQ1_0;
        uint8_t *body = is_scale_last ? to : to + 2;
        put_half(is_scale_last ? to + block_bytes - 2 : to, scale);
        if (type == BN_TENSOR_TQ1_0 || type == BN_TENSOR_PTQ1_0)
            pack_base3(codes, type == BN_TENSOR_TQ1_0 ? 48 : 24, type == BN_TENSOR_TQ1_0 ? 4 : 2,
                       body);
        else
            for (uint32_t i = 0; i < block; i++)
                set_two_bits(body, type, i, codes[i]);
    }
}

static void pack_r4(const matrix *m, uint8_t *to)
{
    size_t four_bytes = 4 * (4 + (size_t)m->n_cols / 4);
    for (uint32_t row = 0; row < m->n_rows; row++) {
        uint8_t *four = to + row / 4 * four_bytes;
        memcpy(four + 4 * (row % 4), &m->scales[(size_t)row * (m->n_cols / m->group)], 4);
        for (uint32_t col = 0; col < m->n_cols; col++) {
            uint32_t i = col % 16; /* of the sixteen l */
            size_t byte = 16 + col / 64 * 64 + 4 * (row % 4) + i % 4 + 16 * (col % 64 / 16);
            four[byte] =
                (uint8_t)(four[byte] | m->codes[(size_t)row * m->n_cols + col] << 2 * (i / 4));
        }
    }
}

static void pack_floats(const matrix *m, uint32_t type, uint8_t *to)
{
    size_t n = (size_t)m->n_rows * m->n_cols;
    for (size_t i = 0; i < n; i++) {
        float w = (float)(m->codes[i] - 1) * m->scales[i / m->group];
        uint32_t bits;
        memcpy(&bits, &w, 4);
        if (type == BN_TENSOR_F32 || type == BN_TENSOR_MASTER_F32)
            memcpy(to + 4 * i, &w, 4);
        else if (type == BN_TENSOR_F16 || type == BN_TENSOR_MASTER_F16)
            put_half(to + 2 * i, w);
        else
            memcpy(to + 2 * i, &(uint16_t){(uint16_t)(bits >> 16)}, 2);
    }
}

size_t matrix_pack(const matrix *m, uint32_t type, uint8_t **bytes_out)
{
    uint64_t n_bytes = 0;
    size_t n = (size_t)m->n_rows * m->n_cols;
    assert_true(bn_tensor_type_span(type, m->n_cols, n, &n_bytes));
    uint8_t *to = bn_alloc((size_t)n_bytes, 1);
    assert_non_null(to);
    *bytes_out = to;
    if (type == BN_TENSOR_I2_S) {
        for (uint32_t i = 0; i < n; i++)
            set_two_bits(to, type, i, m->codes[i]);
        memcpy(to + n / 4, &m->scales[0], 4);
    } else if (type == BN_TENSOR_HF_TERNARY) {
        uint32_t n_packed = (m->n_rows + 3) / 4;
        for (uint32_t row = 0; row < m->n_rows; row++)
            for (uint32_t col = 0; col < m->n_cols; col++) {
                uint8_t *byte = &to[(size_t)(row % n_packed) * m->n_cols + col];
                *byte = (uint8_t)(*byte | m->codes[(size_t)row * m->n_cols + col]
                                              << 2 * (row / n_packed));
            }
    } else if (type == BN_TENSOR_IQ2_BN_R4) {
        pack_r4(m, to);
    } else if (bn_tensor_type_block(type) == 1) {
        pack_floats(m, type, to);
    } else {
        for (uint32_t row = 0; row < m->n_rows; row++)
            pack_row(m, type, row, to + row * (n_bytes / m->n_rows), (size_t)(n_bytes / m->n_rows));
    }
    return (size_t)n_bytes;
}

const char *trits_file_path(void)
{
    static char path[64];
    snprintf(path, sizeof path, "/tmp/bn-trits-%ld.gguf", (long)getpid());
    return path;
}

bn_gguf *trits_file(uint32_t type, uint32_t n_cols, uint32_t n_rows, const uint8_t *bytes, size_t n,
                    bn_gguf_tensor *tensor_out)
{
    static const char name[] = "blk.0.attn_q.weight";
    bn_gguf_writer *writer = NULL;
    bn_gguf *file = NULL;
    bool is_memory_only = type >= BN_TENSOR_HF_TERNARY;
    assert_int_equal(bn_gguf_writer_create(trits_file_path(), &writer), BN_OK);
    if (is_memory_only)
        bn_gguf_writer_tensor(writer, name, 24, n, 0);
    else
        bn_gguf_writer_tensor(writer, name, type, n_cols, n_rows);
    assert_int_equal(bn_gguf_writer_begin_data(writer), BN_OK);
    assert_int_equal(bn_gguf_writer_data(writer, bytes, n), BN_OK);
    assert_int_equal(bn_gguf_writer_end_tensor(writer), BN_OK);
    assert_int_equal(bn_gguf_writer_finish(writer), BN_OK);
    bn_gguf_writer_destroy(writer);
    assert_int_equal(bn_gguf_open(trits_file_path(), &file), BN_OK);
    *tensor_out = *bn_gguf_tensor_find(file, name);
    if (is_memory_only) {
        tensor_out->type = type;
        tensor_out->n_dims = 2;
        tensor_out->dims[0] = n_cols;
        tensor_out->dims[1] = n_rows;
    }
    unlink(trits_file_path());
    return file;
}
