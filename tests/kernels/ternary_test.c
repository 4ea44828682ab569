/* ternary_test.c
 * What: I2_S codes and byte codes become R16 blocks without losing a trit, and code 3 is found;
 *       scales stand beside their rows.
 * How:  the published byte pattern; random matrices of awkward shapes, trit by trit; one code
 *       spoiled in every place of a small matrix. */
#include "kernels/ternary.h"

#include "tests/kernels/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define CODES_BYTES_MAX 16384
#define BLOCKS_BYTES_MAX 65536

static uint8_t codes[CODES_BYTES_MAX];
static uint8_t trits[CODES_BYTES_MAX * 4]; /* trit + 1 of every element */
static _Alignas(64) uint8_t blocks[BLOCKS_BYTES_MAX + 64];

/* I2_S by its definition: blocks of 128, element j in byte j % 32 at shift 6 − 2·(j / 32). */
static void encode_i2s(uint32_t n)
{
    memset(codes, 0, sizeof codes);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t j = i % 128;
        uint32_t code = (uint32_t)trits[i] << (6 - 2 * (j / 32));
        codes[i / 128 * 32 + j % 32] = (uint8_t)(codes[i / 128 * 32 + j % 32] | code);
    }
}

static const struct {
    uint32_t n_rows, n_cols;
} shapes[] = {
    {1, 128}, {16, 128}, {17, 256}, {3, 384}, {32, 64},  {2, 64},   {40, 16},
    {8, 48},  {128, 1},  {64, 10},  {32, 20}, {4, 8640}, {128, 33}, {48, 2 * 168},
};

static void test_published_pattern(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 384; i++)
        trits[i] = (uint8_t)(i % 3);
    encode_i2s(384);
    for (uint32_t i = 0; i < 96; i++)
        assert_int_equal(codes[i], i % 3 == 0 ? 0x24 : i % 3 == 1 ? 0x49 : 0x92);
    uint64_t bad = 0;
    assert_true(bn_ternary_pack_i2s(codes, 1, 384, 0, 1, blocks, &bad));
    bn_ternary w = {.blocks = blocks, .n_rows = 1, .n_cols = 384};
    for (uint32_t col = 0; col < 384; col++)
        assert_int_equal(bn_ternary_at(&w, 0, col), (int)(col % 3) - 1);
}

static void test_random_matrices_round_trip(void **state)
{
    (void)state;
    random_state random = {5};
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
        uint32_t n_rows = shapes[s].n_rows, n_cols = shapes[s].n_cols, n = n_rows * n_cols;
        assert_int_equal(n % 128, 0);
        for (uint32_t i = 0; i < n; i++)
            trits[i] = (uint8_t)random_below(&random, 3);
        encode_i2s(n);
        size_t bytes = bn_ternary_bytes(n_rows, n_cols);
        assert_true(bytes <= BLOCKS_BYTES_MAX);
        memset(blocks, 0xEE, sizeof blocks);
        uint64_t bad = 0;
        /* Group by group, last first: ranges are independent. */
        for (uint32_t g = bn_ternary_groups(n_rows); g > 0; g--)
            assert_true(bn_ternary_pack_i2s(codes, n_rows, n_cols, g - 1, g, blocks, &bad));
        assert_int_equal(blocks[bytes], 0xEE);
        bn_ternary w = {.blocks = blocks, .n_rows = n_rows, .n_cols = n_cols};
        for (uint32_t i = 0; i < n; i++)
            assert_int_equal(bn_ternary_at(&w, i / n_cols, i % n_cols), (int)trits[i] - 1);
        /* Padding holds trit 0. */
        w.n_rows = bn_ternary_groups(n_rows) * BN_TERNARY_GROUP_ROWS;
        w.n_cols = bn_ternary_padded_cols(n_cols);
        for (uint32_t row = 0; row < w.n_rows; row++)
            for (uint32_t col = row < n_rows ? n_cols : 0; col < w.n_cols; col++)
                assert_int_equal(bn_ternary_at(&w, row, col), 0);
    }
}

static void test_layout_is_the_documented_one(void **state)
{
    (void)state;
    /* One −1 in a field of zeros, at row 5, column 16 + 4·2 + 3: block 1, byte 4·5 + 3, field 2. */
    memset(trits, 1, sizeof trits);
    trits[5 * 128 + 27] = 0;
    encode_i2s(16 * 128);
    uint64_t bad = 0;
    assert_true(bn_ternary_pack_i2s(codes, 16, 128, 0, 1, blocks, &bad));
    for (uint32_t i = 0; i < 512; i++)
        assert_int_equal(blocks[i], i == 64 + 23 ? 0x45 : 0x55);
}

static void test_code_3_is_found_wherever_it_is(void **state)
{
    (void)state;
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
        uint32_t n_rows = shapes[s].n_rows, n_cols = shapes[s].n_cols, n = n_rows * n_cols;
        if (n > 2560) continue;
        memset(trits, 1, sizeof trits);
        for (uint32_t i = 0; i < n; i++) {
            trits[i] = 3;
            encode_i2s(n);
            trits[i] = 1;
            uint64_t bad = UINT64_MAX;
            uint32_t groups = bn_ternary_groups(n_rows);
            assert_false(bn_ternary_pack_i2s(codes, n_rows, n_cols, 0, groups, blocks, &bad));
            assert_int_equal(bad, i);
        }
    }
}

static void test_byte_codes_pack_like_i2s(void **state)
{
    (void)state;
    random_state random = {6};
    static _Alignas(64) uint8_t from_bytes[BLOCKS_BYTES_MAX + 64];
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
        uint32_t n_rows = shapes[s].n_rows, n_cols = shapes[s].n_cols, n = n_rows * n_cols;
        for (uint32_t i = 0; i < n; i++)
            trits[i] = (uint8_t)random_below(&random, 3);
        encode_i2s(n);
        uint64_t bad = 0;
        size_t bytes = bn_ternary_bytes(n_rows, n_cols);
        assert_true(
            bn_ternary_pack_i2s(codes, n_rows, n_cols, 0, bn_ternary_groups(n_rows), blocks, &bad));
        memset(from_bytes, 0xEE, sizeof from_bytes);
        /* In two pieces, as a loader does; the first ends with a whole group. */
        uint32_t cut = n_rows / 2 / BN_TERNARY_GROUP_ROWS * BN_TERNARY_GROUP_ROWS;
        bn_ternary_pack_codes(trits, cut, n_cols, from_bytes);
        bn_ternary_pack_codes(trits + (size_t)cut * n_cols, n_rows - cut, n_cols,
                              from_bytes + bn_ternary_bytes(cut, n_cols));
        assert_memory_equal(from_bytes, blocks, bytes);
        assert_int_equal(from_bytes[bytes], 0xEE);
    }
}

static void test_scales_stand_sixteen_rows_at_once(void **state)
{
    (void)state;
    enum { ROWS = 37, RUNS = 3, GROUPS = 3 };
    float scales[ROWS * RUNS], packed[GROUPS * RUNS * 16 + 1];
    for (int i = 0; i < ROWS * RUNS; i++)
        scales[i] = (float)(i + 1);
    memset(packed, 0xEE, sizeof packed);
    float guard = packed[GROUPS * RUNS * 16];
    assert_int_equal(bn_ternary_scale_bytes(ROWS, 600, 256), GROUPS * RUNS * 16 * sizeof(float));
    bn_ternary_pack_scales(scales, ROWS, RUNS, packed);
    for (int row = 0; row < GROUPS * 16; row++)
        for (int run = 0; run < RUNS; run++) {
            float wanted = row < ROWS ? scales[row * RUNS + run] : 0.0f;
            assert_true(packed[(row / 16 * RUNS + run) * 16 + row % 16] == wanted);
        }
    assert_memory_equal(&packed[GROUPS * RUNS * 16], &guard, sizeof guard);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_published_pattern),
        cmocka_unit_test(test_random_matrices_round_trip),
        cmocka_unit_test(test_layout_is_the_documented_one),
        cmocka_unit_test(test_code_3_is_found_wherever_it_is),
        cmocka_unit_test(test_byte_codes_pack_like_i2s),
        cmocka_unit_test(test_scales_stand_sixteen_rows_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
