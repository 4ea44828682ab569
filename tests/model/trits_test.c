/* trits_test.c
 *
 * What: trits and scales of every type, whole and in ranges; folding of scales; what is refused.
 * How:  matrices packed element by element by the formats' formulas (tests/model/trits_bytes.c),
 *       and byte vectors of patterns that can be checked by hand.
 */
#include "model/trits.h"

#include "common/alloc.h"
#include "common/log.h"
#include "kernels/math.h"
#include "model/tensor_type.h"
#include "model/trits_encode.h"
#include "tests/model/trits_bytes.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static bn_thread_pool *pool;

/* Rows [begin, end) equal those of the matrix; scales too, widened to its groups. */
static void expect_rows(const bn_trits *t, const matrix *m, uint32_t begin, uint32_t end)
{
    const bn_trits_info *info = bn_trits_info_of(t);
    uint32_t n = end - begin, per_row = m->n_cols / info->group_cols;
    uint8_t *codes = bn_alloc((size_t)n * m->n_cols, 1);
    float *scales = bn_alloc((size_t)n * per_row, sizeof *scales);
    void *scratch = bn_alloc(bn_trits_scratch_bytes(t, n), 1);
    assert_true(codes != NULL && scales != NULL && scratch != NULL);
    assert_int_equal(bn_trits_read(t, begin, n, scratch, codes, scales, NULL), BN_OK);
    assert_memory_equal(codes, m->codes + (size_t)begin * m->n_cols, (size_t)n * m->n_cols);
    for (size_t i = 0; i < (size_t)n * m->n_cols; i++) {
        float scale = info->is_one_scale ? info->scale : scales[i / info->group_cols];
        if (scale != m->scales[((size_t)begin * m->n_cols + i) / m->group])
            fail_msg("element %zu has the scale %g", i, (double)scale);
    }
    bn_free(codes);
    bn_free(scales);
    bn_free(scratch);
}

static void expect_matrix(const bn_trits *t, const matrix *m)
{
    expect_rows(t, m, 0, m->n_rows);
    expect_rows(t, m, 1, 2);
    expect_rows(t, m, 3, m->n_rows - 1);
    expect_rows(t, m, m->n_rows - 1, m->n_rows);
}

typedef struct type_case {
    uint32_t type, n_rows, n_cols;
    uint32_t group;       /* of scales that differ */
    uint32_t folded_cols; /* what their groups are folded to */
    bool has_one_only;
} type_case;

static const type_case type_cases[] = {
    {BN_TENSOR_I2_S, 12, 256, 256, 256, true},
    {BN_TENSOR_I2_S, 32, 36, 36, 36, true}, /* rows begin within blocks */
    {BN_TENSOR_HF_TERNARY, 12, 40, 40, 40, true},
    {BN_TENSOR_HF_TERNARY, 10, 40, 40, 40, true}, /* rows that do not fill the last plane */
    {BN_TENSOR_TQ1_0, 9, 512, 256, 256, false},
    {BN_TENSOR_TQ2_0, 9, 512, 256, 256, false},
    {BN_TENSOR_TQ2_0, 9, 512, 512, 512, false}, /* equal along a row */
    {BN_TENSOR_PTQ1_0, 9, 384, 128, 128, false},
    {BN_TENSOR_PQ2_0, 9, 384, 128, 128, false},
    {BN_TENSOR_Q2_0_128, 9, 384, 128, 128, false},
    {BN_TENSOR_Q2_0, 9, 320, 64, 64, false},
    {BN_TENSOR_Q2_0, 9, 384, 128, 128, false}, /* pairs of equal scales */
    {BN_TENSOR_IQ1_BN, 9, 192, 192, 192, false},
    {BN_TENSOR_IQ2_BN, 9, 192, 192, 192, false},
    {BN_TENSOR_IQ2_BN_R4, 12, 192, 192, 192, false},
    {BN_TENSOR_F32, 9, 192, 64, 64, false},
    {BN_TENSOR_F16, 9, 256, 128, 128, false},
    {BN_TENSOR_F16, 9, 100, 100, 100, false},
    {BN_TENSOR_BF16, 9, 256, 128, 128, false},
};

static void check_case(const type_case *c, bool scales_differ, bn_thread_pool *with)
{
    matrix m = matrix_make(c->n_rows, c->n_cols, c->group, scales_differ);
    uint8_t *bytes;
    bn_gguf_tensor tensor;
    size_t n = matrix_pack(&m, c->type, &bytes);
    bn_gguf *file = trits_file(c->type, c->n_cols, c->n_rows, bytes, n, &tensor);
    tensor.scale = m.scales[0];
    bn_trits *t = NULL;
    assert_int_equal(bn_trits_open(file, &tensor, &(bn_trits_options){.pool = with}, &t), BN_OK);
    const bn_trits_info *info = bn_trits_info_of(t);
    assert_int_equal(info->is_one_scale, !scales_differ);
    assert_int_equal(info->group_cols, scales_differ ? c->folded_cols : c->n_cols);
    assert_true(bn_trits_scales_max(&tensor) >=
                (scales_differ ? c->n_rows * (uint64_t)(c->n_cols / c->group) : 1));
    expect_matrix(t, &m);
    bn_trits_close(t);
    bn_gguf_close(file);
    bn_free(bytes);
    matrix_free(&m);
}

static void test_every_type_gives_its_trits_and_scales(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof type_cases / sizeof type_cases[0]; i++) {
        check_case(&type_cases[i], false, NULL);
        check_case(&type_cases[i], false, pool);
        if (type_cases[i].has_one_only) continue;
        check_case(&type_cases[i], true, NULL);
        check_case(&type_cases[i], true, pool);
    }
}

static void test_a_block_of_zeros_takes_any_scale(void **state)
{
    (void)state;
    matrix m = matrix_make(4, 512, 256, false);
    memset(m.codes + 256, 1, 256);
    m.scales[1] = 0.0f;
    uint8_t *bytes;
    bn_gguf_tensor tensor;
    bn_trits *t = NULL;
    size_t n = matrix_pack(&m, BN_TENSOR_TQ2_0, &bytes);
    bn_gguf *file = trits_file(BN_TENSOR_TQ2_0, 512, 4, bytes, n, &tensor);
    assert_int_equal(bn_trits_open(file, &tensor, NULL, &t), BN_OK);
    assert_true(bn_trits_info_of(t)->is_one_scale);
    assert_true(bn_trits_info_of(t)->scale == 0.25f);
    bn_trits_close(t);
    bn_gguf_close(file);
    bn_free(bytes);
    matrix_free(&m);
}

/* Pattern B: t[m][k] = ((5m + k² + ⌊k/2⌋) mod 3) − 1. */
static void fill_pattern(matrix *m)
{
    for (uint32_t row = 0; row < m->n_rows; row++)
        for (uint32_t k = 0; k < m->n_cols; k++)
            m->codes[(size_t)row * m->n_cols + k] = (uint8_t)((5 * row + k * k + k / 2) % 3);
}

static uint32_t sum_of(const uint8_t *bytes, size_t n)
{
    uint32_t sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += bytes[i];
    return sum;
}

static void test_tl_bytes_of_a_known_pattern(void **state)
{
    (void)state;
    static const uint8_t first_tl1[] = {0x17, 0x63, 0x52, 0x17, 0x63, 0x52};
    static const uint8_t first_nibbles[] = {0x84, 0x65, 0x29, 0x84, 0x65, 0x29, 0x84, 0x65,
                                            0x65, 0x29, 0x84, 0x65, 0x29, 0x84, 0x65, 0x29};
    static const uint8_t first_signs[] = {0xbb, 0xbb, 0x22, 0x22, 0x55, 0x55, 0xbb, 0xbb};
    static const uint8_t first_twos[] = {0x17, 0x63, 0x52, 0x17, 0x63, 0x52, 0x17, 0x63, 0x63};
    uint8_t out[4096];
    bn_trits_piece pieces[BN_TRITS_PIECES_MAX];
    matrix m = matrix_make(32, 64, 64, false);
    fill_pattern(&m);
    bn_trits_encoding e = {BN_TENSOR_TL1, 32, 64, 32, {32, 64, 32, 64, 32}};
    assert_int_equal(bn_trits_encode(&e, 0, 32, m.codes, NULL, 64, out, pieces), 1);
    assert_int_equal(pieces[0].n, 512);
    assert_memory_equal(out, first_tl1, sizeof first_tl1);
    assert_int_equal(sum_of(out, 512), 34887);
    matrix_free(&m);

    m = matrix_make(32, 128, 128, false);
    fill_pattern(&m);
    e = (bn_trits_encoding){BN_TENSOR_TL2, 32, 128, 32, {32, 128, 32, 96, 32}};
    assert_int_equal(bn_trits_encode(&e, 0, 32, m.codes, NULL, 128, out, pieces), 3);
    assert_int_equal(pieces[0].n, 512);
    assert_int_equal(pieces[1].at, 512);
    assert_int_equal(pieces[1].n, 128);
    assert_int_equal(pieces[2].at, 640);
    assert_int_equal(pieces[2].n, 256);
    assert_memory_equal(pieces[0].bytes, first_nibbles, sizeof first_nibbles);
    assert_memory_equal(pieces[1].bytes, first_signs, sizeof first_signs);
    assert_memory_equal(pieces[2].bytes, first_twos, sizeof first_twos);
    assert_int_equal(sum_of(pieces[0].bytes, 512), 47568);
    assert_int_equal(sum_of(pieces[1].bytes, 128), 13736);
    assert_int_equal(sum_of(pieces[2].bytes, 256), 17427);
    matrix_free(&m);
}

/* Bytes of codes 0, 1, 2, 0, 1, 2, …, as computed from the formats by hand. */
static void test_bytes_of_counting_codes(void **state)
{
    (void)state;
    static const struct {
        uint32_t type, n_cols, at;
        uint8_t bytes[13];
        uint32_t n;
    } cases[] = {
        {BN_TENSOR_I2_S, 256, 0, {0x24, 0x49, 0x92, 0x24, 0x49, 0x92}, 6},
        {BN_TENSOR_TQ2_0, 256, 0, {0x18, 0x61, 0x86, 0x18}, 4},
        {BN_TENSOR_TQ2_0, 256, 32, {0x86, 0x18, 0x61}, 3},
        {BN_TENSOR_TQ1_0, 256, 0, {0x45, 0x6c, 0xcf, 0x45, 0x6c, 0xcf}, 6},
        {BN_TENSOR_TQ1_0, 256, 32, {0x94, 0xbb, 0x31, 0x94, 0xbb, 0x31}, 6},
        {BN_TENSOR_TQ1_0, 256, 48, {0x30, 0x92, 0xbb, 0x30}, 4},
        {BN_TENSOR_IQ2_BN, 64, 4, {0x24, 0x49, 0x92, 0x24, 0x49, 0x92}, 6},
        {BN_TENSOR_IQ1_BN,
         64,
         2,
         {0x6c, 0x45, 0xcf, 0xcf, 0x6c, 0x45, 0x45, 0xcf, 0x6c, 0x6c, 0x45, 0xcf, 0x17},
         13},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        matrix m = matrix_make(2, cases[i].n_cols, cases[i].n_cols, false);
        uint8_t *bytes, out[256];
        for (uint32_t k = 0; k < 2 * m.n_cols; k++)
            m.codes[k] = (uint8_t)(k % m.n_cols % 3);
        matrix_pack(&m, cases[i].type, &bytes);
        assert_memory_equal(bytes + cases[i].at, cases[i].bytes, cases[i].n);
        if (cases[i].type != BN_TENSOR_IQ1_BN && cases[i].type != BN_TENSOR_IQ2_BN) {
            bn_trits_encoding e;
            bn_trits_piece pieces[BN_TRITS_PIECES_MAX];
            const float scales[2] = {0.25f, 0.25f};
            assert_int_equal(bn_trits_encoding_make("t", cases[i].type, 1, m.n_cols, NULL, &e),
                             BN_OK);
            bn_trits_encode(&e, 0, 1, m.codes, scales, m.n_cols, out, pieces);
            assert_memory_equal(out, bytes, pieces[0].n);
        }
        bn_free(bytes);
        matrix_free(&m);
    }
}

/* Encodes in ranges as convert does, into a whole tensor. */
static size_t encode_all(const bn_trits_encoding *e, const matrix *m, uint8_t **bytes_out)
{
    uint64_t n_bytes = 0;
    assert_true(bn_tensor_type_span(e->type, e->n_cols, (uint64_t)e->n_rows * e->n_cols, &n_bytes));
    *bytes_out = bn_alloc((size_t)n_bytes, 1);
    uint8_t *out = bn_alloc(bn_trits_encoding_bytes(e, e->row_step) + 64, 1);
    for (uint32_t row = 0; row < e->n_rows; row += e->row_step) {
        bn_trits_piece pieces[BN_TRITS_PIECES_MAX];
        uint32_t n = e->n_rows - row < e->row_step ? e->n_rows - row : e->row_step;
        uint32_t n_pieces = bn_trits_encode(e, row, n, m->codes + (size_t)row * m->n_cols,
                                            m->scales + (size_t)row * (m->n_cols / m->group),
                                            m->group, out, pieces);
        for (uint32_t i = 0; i < n_pieces; i++) {
            assert_true(pieces[i].at + pieces[i].n <= n_bytes);
            memcpy(*bytes_out + pieces[i].at, pieces[i].bytes, pieces[i].n);
        }
    }
    if (bn_trits_encoding_group(e->type) == 0)
        memcpy(*bytes_out + bn_trits_encoding_scale_at(e), &m->scales[0], 4);
    bn_free(out);
    return (size_t)n_bytes;
}

static void test_what_is_encoded_is_read_back(void **state)
{
    (void)state;
    static const struct {
        uint32_t type, n_rows, n_cols, group;
        const char *tile; /* NULL: of the table */
    } cases[] = {
        {BN_TENSOR_I2_S, 32, 36, 36, NULL},
        {BN_TENSOR_I2_S, 7, 256, 256, NULL},
        {BN_TENSOR_TQ1_0, 7, 512, 256, NULL},
        {BN_TENSOR_TQ1_0, 7, 512, 512, NULL},
        {BN_TENSOR_TQ2_0, 7, 512, 256, NULL},
        {BN_TENSOR_F16, 7, 100, 100, NULL},
        {BN_TENSOR_F16, 7, 256, 64, NULL},
        {BN_TENSOR_TL1, 1536, 1536, 1536, NULL},
        {BN_TENSOR_TL2, 1536, 1536, 1536, NULL},
        {BN_TENSOR_TL1, 96, 256, 256, "96x256:32,64,16"},
        {BN_TENSOR_TL1, 128, 256, 256, "128x256:64,128,64"},
        {BN_TENSOR_TL2, 96, 512, 512, "96x512:32,96,32"},
        {BN_TENSOR_TL2, 64, 288, 288, "64x288:64,96,32"}, /* no columns left over */
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        bool is_one = bn_trits_encoding_group(cases[i].type) == 0;
        matrix m = matrix_make(cases[i].n_rows, cases[i].n_cols, cases[i].group, !is_one);
        bn_tl_tile_list tiles = {0};
        if (cases[i].tile != NULL) assert_int_equal(bn_tl_tile_parse(cases[i].tile, &tiles), BN_OK);
        bn_trits_encoding e;
        assert_int_equal(bn_trits_encoding_make("t", cases[i].type, m.n_rows, m.n_cols, &tiles, &e),
                         BN_OK);
        uint8_t *bytes;
        bn_gguf_tensor tensor;
        bn_trits *t = NULL;
        size_t n = encode_all(&e, &m, &bytes);
        bn_gguf *file = trits_file(cases[i].type, m.n_cols, m.n_rows, bytes, n, &tensor);
        const bn_trits_options options = {.pool = pool, .tl_tiles = &tiles};
        assert_int_equal(bn_trits_open(file, &tensor, &options, &t), BN_OK);
        expect_matrix(t, &m);
        bn_trits_close(t);
        bn_gguf_close(file);
        bn_free(bytes);
        matrix_free(&m);
    }
}

static void test_shapes_that_a_type_cannot_hold_are_refused(void **state)
{
    (void)state;
    static const struct {
        uint32_t type, n_rows, n_cols;
        const char *tile, *why;
    } cases[] = {
        {BN_TENSOR_TQ2_0, 8, 3200, NULL, "multiple of 256; use --type i2_s"},
        {BN_TENSOR_I2_S, 3, 100, NULL, "multiple of 128"},
        {BN_TENSOR_TL1, 2560, 2560, NULL, "no kernel for this shape"},
        {BN_TENSOR_TL2, 2560, 128, NULL, "at least 256 columns"},
        {BN_TENSOR_TL1, 100, 256, "100x256:32,64,32", "rows must be a multiple of BM"},
        {BN_TENSOR_TL1, 64, 256, "64x256:32,100,32", "BK must be"},
        {BN_TENSOR_TL1, 64, 256, "64x256:32,64,48", "bm must be"},
        {BN_TENSOR_TL2, 64, 256, "64x256:32,64,32", "BK must be a multiple of 24"},
        {BN_TENSOR_TL2, 64, 300, "64x300:32,96,32", "leaves over"},
        {BN_TENSOR_TL2, 64, 256, "64x256:0,96,32", "needs rows and columns"},
        {BN_TENSOR_TL2, 64, 256, "64x256:32,960,32", "above the columns"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        bn_tl_tile_list tiles = {0};
        bn_trits_encoding e;
        if (cases[i].tile != NULL) assert_int_equal(bn_tl_tile_parse(cases[i].tile, &tiles), BN_OK);
        bn_status status = bn_trits_encoding_make("blk.9.ffn_up.weight", cases[i].type,
                                                  cases[i].n_rows, cases[i].n_cols, &tiles, &e);
        assert_int_equal(status, BN_ERR_UNSUPPORTED);
        if (strstr(bn_log_last_error(), cases[i].why) == NULL ||
            strstr(bn_log_last_error(), "blk.9.ffn_up.weight") == NULL)
            fail_msg("case %zu: \"%s\"", i, bn_log_last_error());
    }
    static const char *const bad_tiles[] = {
        "", "1x2", "1x2:3,4", "1x2:3,4,5,", "1x2:3,4,-5", "1x2:3,4,5 ", "12345678x2:3,4,5"};
    for (size_t i = 0; i < sizeof bad_tiles / sizeof bad_tiles[0]; i++) {
        bn_tl_tile_list tiles = {0};
        assert_int_equal(bn_tl_tile_parse(bad_tiles[i], &tiles), BN_ERR_BAD_ARGUMENT);
    }
}

/* The absmean rule beside a plain transcription of the framework's, in float and double. */
static void test_master_weights_become_ternary_by_the_absmean_rule(void **state)
{
    (void)state;
    static const uint32_t types[] = {BN_TENSOR_MASTER_F32, BN_TENSOR_MASTER_F16,
                                     BN_TENSOR_MASTER_BF16};
    enum { ROWS = 70, COLS = 130 };
    static float w[ROWS * COLS];
    for (size_t i = 0; i < 3; i++) {
        uint8_t *bytes = bn_alloc(ROWS * COLS, 4);
        uint64_t x = 1;
        double sum = 0.0;
        for (uint32_t k = 0; k < ROWS * COLS; k++) {
            x = x * 6364136223846793005ull + 1442695040888963407ull;
            float value = (float)((double)(x >> 40) / (1 << 24) - 0.5) * 0.1f;
            uint16_t half = bn_f16_from_f32(value), upper;
            memcpy(&upper, (uint8_t *)&value + 2, 2);
            if (types[i] == BN_TENSOR_MASTER_F16) value = bn_f32_from_f16(half);
            if (types[i] == BN_TENSOR_MASTER_BF16) value = bn_f32_from_bf16(upper);
            if (types[i] == BN_TENSOR_MASTER_F32)
                memcpy(bytes + 4 * k, &value, 4);
            else
                memcpy(bytes + 2 * k, types[i] == BN_TENSOR_MASTER_F16 ? &half : &upper, 2);
            w[k] = value;
            sum += fabs((double)value);
        }
        float s = 1.0f / (float)(sum / (ROWS * COLS));
        bn_gguf_tensor tensor;
        bn_trits *t = NULL, *shared = NULL;
        size_t n = ROWS * COLS * (types[i] == BN_TENSOR_MASTER_F32 ? 4 : 2);
        bn_gguf *file = trits_file(types[i], COLS, ROWS, bytes, n, &tensor);
        assert_int_equal(bn_trits_open(file, &tensor, NULL, &t), BN_OK);
        assert_int_equal(bn_trits_open(file, &tensor, &(bn_trits_options){.pool = pool}, &shared),
                         BN_OK);
        assert_true(bn_trits_info_of(t)->scale == bn_trits_info_of(shared)->scale);
        assert_true(bn_trits_info_of(t)->scale == 1.0f / s);
        matrix m = matrix_make(ROWS, COLS, COLS, false);
        double deviation = 0.0;
        for (size_t k = 0; k < ROWS * COLS; k++) {
            float rounded = nearbyintf(w[k] * s);
            float trit = rounded > 1.0f ? 1.0f : rounded < -1.0f ? -1.0f : rounded;
            m.codes[k] = (uint8_t)(1 + (int)trit);
            deviation = fmax(
                deviation, fabs((double)w[k] - (double)bn_trits_info_of(t)->scale * (double)trit));
        }
        for (size_t k = 0; k < ROWS; k++)
            m.scales[k] = bn_trits_info_of(t)->scale;
        expect_matrix(t, &m);
        expect_matrix(shared, &m);
        bn_trits_count count = {0};
        void *scratch = bn_alloc(bn_trits_scratch_bytes(t, ROWS), 1);
        assert_int_equal(bn_trits_read(t, 0, ROWS, scratch, m.codes, NULL, &count), BN_OK);
        assert_true(fabs(count.deviation - deviation) < 1e-6);
        assert_int_equal(count.n_codes[0] + count.n_codes[1] + count.n_codes[2], ROWS * COLS);
        assert_int_equal(count.n_codes[3], 0);
        bn_free(scratch);
        bn_trits_close(t);
        bn_trits_close(shared);
        bn_gguf_close(file);
        bn_free(bytes);
        matrix_free(&m);
    }
}

static void test_heads_are_interleaved(void **state)
{
    (void)state;
    matrix m = matrix_make(24, 40, 40, false), expected = matrix_make(24, 40, 40, false);
    uint8_t *bytes;
    bn_gguf_tensor tensor;
    bn_trits *t = NULL;
    for (uint32_t head = 0; head < 3; head++)
        for (uint32_t i = 0; i < 4; i++) {
            memcpy(expected.codes + 40 * (8 * head + 2 * i), m.codes + 40 * (8 * head + i), 40);
            memcpy(expected.codes + 40 * (8 * head + 2 * i + 1), m.codes + 40 * (8 * head + 4 + i),
                   40);
        }
    size_t n = matrix_pack(&m, BN_TENSOR_HF_TERNARY, &bytes);
    bn_gguf *file = trits_file(BN_TENSOR_HF_TERNARY, 40, 24, bytes, n, &tensor);
    tensor.scale = 0.25f;
    tensor.head_rows = 8;
    assert_int_equal(bn_trits_open(file, &tensor, NULL, &t), BN_OK);
    expect_matrix(t, &expected);
    bn_trits_close(t);
    tensor.head_rows = 7;
    assert_int_equal(bn_trits_open(file, &tensor, NULL, &t), BN_ERR_UNSUPPORTED);
    bn_gguf_close(file);
    bn_free(bytes);
    matrix_free(&m);
    matrix_free(&expected);
}

typedef struct damage {
    uint32_t type, n_rows, n_cols;
    size_t at; /* byte that becomes `value` */
    uint8_t value;
    const char *why;
} damage;

static const damage damages[] = {
    {BN_TENSOR_I2_S, 4, 256, 33, 0xff, "element 129 has an unused code"},
    {BN_TENSOR_HF_TERNARY, 8, 64, 65, 0xc0, "element 449 has an unused code"},
    {BN_TENSOR_TQ2_0, 4, 256, 66 + 1, 0x0c, "element 289 has an unused code"},
    {BN_TENSOR_Q2_0, 4, 64, 2, 0x03, "element 0 has an unused code"},
    {BN_TENSOR_PQ2_0, 4, 128, 34 + 2, 0xc0, "element 131 has an unused code"},
    {BN_TENSOR_IQ2_BN, 4, 64, 4, 0x30, "element 32 has an unused code"},
    {BN_TENSOR_IQ1_BN, 4, 64, 2, 0x01, "element 0 has an unused code"},
    {BN_TENSOR_TQ1_0, 4, 256, 54, 0x01, "element 256 has an unused code"},
    {BN_TENSOR_PTQ1_0, 4, 128, 24, 0x02, "element 120 has an unused code"},
    {BN_TENSOR_I2_S, 4, 256, 256 + 3, 0xff, "the scale at element 0 is"},
    {BN_TENSOR_TQ2_0, 4, 256, 2 * 66 + 65, 0x7c, "the scale at element 512 is inf"},
    {BN_TENSOR_TQ1_0, 4, 256, 53, 0x7e, "the scale at element 0 is nan"},
    {BN_TENSOR_Q2_0, 4, 64, 19, 0xb4, "the scale at element 64 is -0.25"},
    {BN_TENSOR_PTQ1_0, 4, 128, 27, 0x00, "the scale at element 0 is 0"},
    {BN_TENSOR_IQ2_BN, 4, 64, 20 + 3, 0xbe, "the scale at element 64 is -0.25"},
    {BN_TENSOR_F32, 4, 64, 7, 0x3f, "not ternary: element "},
    {BN_TENSOR_F16, 4, 64, 9, 0x3f, "not ternary: element "},
    {BN_TENSOR_BF16, 4, 64, 9, 0x40, "not ternary: element "},
};

static bn_status read_damaged(const damage *d, bool is_lenient, bn_trits_count *count)
{
    matrix m = matrix_make(d->n_rows, d->n_cols, d->n_cols, false);
    uint8_t *bytes;
    bn_gguf_tensor tensor;
    bn_trits *t = NULL;
    size_t n = matrix_pack(&m, d->type, &bytes);
    bytes[d->at] = d->value;
    bn_gguf *file = trits_file(d->type, d->n_cols, d->n_rows, bytes, n, &tensor);
    tensor.scale = 0.25f;
    const bn_trits_options options = {.is_lenient = is_lenient};
    bn_status status = bn_trits_open(file, &tensor, &options, &t);
    if (status == BN_OK) {
        void *scratch = bn_alloc(bn_trits_scratch_bytes(t, d->n_rows), 1);
        status = bn_trits_read(t, 0, d->n_rows, scratch, m.codes, NULL, count);
        bn_free(scratch);
        bn_trits_close(t);
    }
    bn_gguf_close(file);
    bn_free(bytes);
    matrix_free(&m);
    return status;
}

static void test_damage_is_refused_by_name(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof damages / sizeof damages[0]; i++) {
        bn_trits_count count = {0};
        assert_int_equal(read_damaged(&damages[i], false, &count), BN_ERR_BAD_FILE);
        if (strstr(bn_log_last_error(), damages[i].why) == NULL ||
            strstr(bn_log_last_error(), "blk.0.attn_q.weight") == NULL)
            fail_msg("case %zu: \"%s\"", i, bn_log_last_error());
    }
}

static void test_damage_is_counted_for_who_looks_for_it(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof damages / sizeof damages[0]; i++) {
        if (strstr(damages[i].why, "not ternary") != NULL) continue;
        bn_trits_count count = {0};
        assert_int_equal(read_damaged(&damages[i], true, &count), BN_OK);
        bool is_code = strstr(damages[i].why, "unused") != NULL;
        assert_int_equal(count.n_bad_scales, is_code ? 0 : 1);
        if ((count.n_codes[3] > 0) != is_code) fail_msg("case %zu", i);
        char text[32];
        snprintf(text, sizeof text, "element %lu ", (unsigned long)count.bad_index);
        if (is_code) assert_non_null(strstr(damages[i].why, text));
    }
}

static void test_tl_of_other_tiles_is_noticed(void **state)
{
    (void)state;
    matrix m = matrix_make(96, 512, 512, false);
    bn_tl_tile_list written = {0}, others = {0};
    bn_trits_encoding e;
    uint8_t *bytes;
    bn_gguf_tensor tensor;
    bn_trits *t = NULL;
    assert_int_equal(bn_tl_tile_parse("96x512:32,96,32", &written), BN_OK);
    assert_int_equal(bn_tl_tile_parse("96x512:32,192,32", &others), BN_OK);
    assert_int_equal(bn_trits_encoding_make("t", BN_TENSOR_TL2, 96, 512, &written, &e), BN_OK);
    size_t n = encode_all(&e, &m, &bytes);
    bn_gguf *file = trits_file(BN_TENSOR_TL2, 512, 96, bytes, n, &tensor);
    assert_int_equal(bn_trits_open(file, &tensor, NULL, &t), BN_ERR_UNSUPPORTED);
    assert_non_null(strstr(bn_log_last_error(), "--tile 96x512:BM,BK,bm"));
    const bn_trits_options options = {.tl_tiles = &others};
    bn_status status = bn_trits_open(file, &tensor, &options, &t);
    if (status == BN_OK) {
        void *scratch = bn_alloc(bn_trits_scratch_bytes(t, 96), 1);
        status = bn_trits_read(t, 0, 96, scratch, m.codes, NULL, NULL);
        bn_free(scratch);
        bn_trits_close(t);
    }
    assert_int_equal(status, BN_ERR_BAD_FILE);
    assert_non_null(strstr(bn_log_last_error(), "other tiles"));
    bn_gguf_close(file);
    bn_free(bytes);
    matrix_free(&m);
}

/* Rows and columns with shares of zeros of their own, as trained matrices have them. */
static void give_structure(matrix *m)
{
    uint64_t x = 1;
    for (uint32_t row = 0; row < m->n_rows; row++)
        for (uint32_t col = 0; col < m->n_cols; col++) {
            x = x * 6364136223846793005ull + 1442695040888963407ull;
            uint32_t percent = 30 + row * 7 % 20 + col * 11 % 20;
            bool is_zero = (x >> 33) % 100 < percent;
            m->codes[(size_t)row * m->n_cols + col] = is_zero ? 1 : x >> 63 ? 2 : 0;
        }
}

static bn_status open_cut(const matrix *m, const char *written, const char *read)
{
    bn_tl_tile_list tiles = {0}, others = {0};
    bn_trits_encoding e;
    uint8_t *bytes;
    bn_gguf_tensor tensor;
    bn_trits *t = NULL;
    assert_int_equal(bn_tl_tile_parse(written, &tiles), BN_OK);
    assert_int_equal(bn_tl_tile_parse(read, &others), BN_OK);
    assert_int_equal(bn_trits_encoding_make("t", BN_TENSOR_TL1, m->n_rows, m->n_cols, &tiles, &e),
                     BN_OK);
    size_t n = encode_all(&e, m, &bytes);
    bn_gguf *file = trits_file(BN_TENSOR_TL1, m->n_cols, m->n_rows, bytes, n, &tensor);
    const bn_trits_options options = {.tl_tiles = &others};
    bn_status status = bn_trits_open(file, &tensor, &options, &t);
    bn_trits_close(t);
    bn_gguf_close(file);
    bn_free(bytes);
    return status;
}

static void test_tl1_of_other_tiles_is_noticed_by_its_structure(void **state)
{
    (void)state;
    static const char *const cuts[] = {"256x512:256,128,32", "256x512:128,64,64",
                                       "256x512:128,64,32", "256x512:256,256,32"};
    matrix m = matrix_make(256, 512, 512, false);
    for (size_t i = 0; i < 4; i++) /* a random matrix tells nothing */
        assert_int_equal(open_cut(&m, cuts[0], cuts[i]), BN_OK);
    give_structure(&m);
    for (size_t i = 0; i < 4; i++)
        for (size_t k = 0; k < 4; k++) {
            bn_status status = open_cut(&m, cuts[i], cuts[k]);
            if (status != (i == k ? BN_OK : BN_ERR_BAD_FILE)) fail_msg("%zu as %zu", i, k);
            if (i != k) assert_non_null(strstr(bn_log_last_error(), "are a jumble in tiles of"));
        }
    matrix_free(&m);
}

static void test_other_types_are_refused(void **state)
{
    (void)state;
    uint8_t bytes[34] = {0};
    bn_gguf_tensor tensor;
    bn_trits *t = NULL;
    bn_gguf *file = trits_file(BN_TENSOR_Q8_0, 32, 1, bytes, sizeof bytes, &tensor);
    assert_false(bn_trits_can_read(BN_TENSOR_Q8_0));
    assert_int_equal(bn_trits_open(file, &tensor, NULL, &t), BN_ERR_UNSUPPORTED);
    assert_non_null(strstr(bn_log_last_error(), "type Q8_0 (8)"));
    bn_gguf_close(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_type_gives_its_trits_and_scales),
        cmocka_unit_test(test_a_block_of_zeros_takes_any_scale),
        cmocka_unit_test(test_tl_bytes_of_a_known_pattern),
        cmocka_unit_test(test_bytes_of_counting_codes),
        cmocka_unit_test(test_what_is_encoded_is_read_back),
        cmocka_unit_test(test_shapes_that_a_type_cannot_hold_are_refused),
        cmocka_unit_test(test_master_weights_become_ternary_by_the_absmean_rule),
        cmocka_unit_test(test_heads_are_interleaved),
        cmocka_unit_test(test_damage_is_refused_by_name),
        cmocka_unit_test(test_damage_is_counted_for_who_looks_for_it),
        cmocka_unit_test(test_tl_of_other_tiles_is_noticed),
        cmocka_unit_test(test_tl1_of_other_tiles_is_noticed_by_its_structure),
        cmocka_unit_test(test_other_types_are_refused),
    };
    bn_log_set_quiet(true);
    const bn_thread_pool_config config = {.n_threads = 3};
    if (bn_thread_pool_create(&config, &pool) != BN_OK) return 1;
    int result = cmocka_run_group_tests(tests, NULL, NULL);
    bn_thread_pool_destroy(pool);
    return result;
}
