/* dump_test.c
 * What: a stage has the files of its own layers; rows land at their positions in whatever order
 *       and pieces they come; the header counts them; a file that cannot be written is named.
 * How:  spans of a first, a middle and a last stage in a directory of its own; files are read back
 *       byte by byte.
 */
#include "worker/dump.h"

#include "common/log.h"
#include "common/npy.h"
#include "tests/common/cmocka_all.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HIDDEN 3u
#define ROWS_MAX 8u

static char directory[64];

static int make_directory(void **state)
{
    (void)state;
    snprintf(directory, sizeof directory, "/tmp/bn-dump-XXXXXX");
    return mkdtemp(directory) == NULL;
}

static const char *path_of(uint32_t layer)
{
    static char path[128];
    snprintf(path, sizeof path, "%s/layer_%03u.npy", directory, layer);
    return path;
}

static int remove_directory(void **state)
{
    (void)state;
    for (uint32_t layer = 0; layer < 9; layer++)
        unlink(path_of(layer));
    return rmdir(directory);
}

static void expect_file(uint32_t layer, uint32_t n_rows, const float *rows)
{
    char header[BN_NPY_HEADER_BYTES], found[BN_NPY_HEADER_BYTES + ROWS_MAX * HIDDEN * 4 + 1];
    size_t n = n_rows * HIDDEN * sizeof *rows;
    bn_npy_header(BN_NPY_F32, n_rows, HIDDEN, header);
    FILE *file = fopen(path_of(layer), "rb");
    assert_non_null(file);
    assert_int_equal(fread(found, 1, sizeof found, file), sizeof header + n);
    fclose(file);
    assert_memory_equal(found, header, sizeof header);
    if (n > 0) assert_memory_equal(found + sizeof header, rows, n);
}

static void test_rows_land_at_their_positions(void **state)
{
    (void)state;
    bn_dump *dump;
    bn_stage_span span = {.layer_begin = 0, .layer_end = 2, .has_embedding = true};
    float rows[6 * HIDDEN], other[2 * HIDDEN] = {-1, -2, -3, -4, -5, -6};
    for (uint32_t i = 0; i < 6 * HIDDEN; i++)
        rows[i] = (float)i + 0.5f;
    assert_int_equal(bn_dump_create(directory, span, HIDDEN, &dump), BN_OK);
    assert_int_equal(bn_dump_write(dump, 0, 0, 4, rows), BN_OK);
    assert_int_equal(bn_dump_write(dump, 0, 4, 2, rows + 4 * HIDDEN), BN_OK);
    expect_file(0, 6, rows);
    assert_int_equal(bn_dump_write(dump, 0, 1, 2, other), BN_OK); /* again: the later wins */
    memcpy(rows + HIDDEN, other, sizeof other);
    expect_file(0, 6, rows);
    expect_file(1, 0, NULL);
    assert_int_equal(bn_dump_write(dump, 2, 0, 1, other), BN_OK);
    expect_file(2, 1, other);
    bn_dump_destroy(dump);
    assert_int_equal(access(path_of(3), F_OK), -1);
}

static void test_a_later_stage_has_only_its_own(void **state)
{
    (void)state;
    bn_dump *dump;
    float row[HIDDEN] = {1, 2, 3};
    bn_stage_span middle = {.layer_begin = 4, .layer_end = 6}, head_only = {6, 6, false, true};
    assert_int_equal(bn_dump_create(directory, middle, HIDDEN, &dump), BN_OK);
    assert_int_equal(bn_dump_write(dump, 5, 0, 1, row), BN_OK);
    bn_dump_destroy(dump);
    expect_file(5, 1, row);
    expect_file(6, 0, NULL);
    assert_int_equal(access(path_of(4), F_OK), -1);
    assert_int_equal(bn_dump_create(directory, head_only, HIDDEN, &dump), BN_OK);
    bn_dump_destroy(dump);
    assert_int_equal(access(path_of(7), F_OK), -1);
}

static void test_an_older_dump_is_cut(void **state)
{
    (void)state;
    bn_dump *dump;
    float rows[2 * HIDDEN] = {1, 2, 3, 4, 5, 6};
    bn_stage_span span = {.layer_begin = 7, .layer_end = 8};
    for (uint32_t n = 2; n > 0; n--) {
        assert_int_equal(bn_dump_create(directory, span, HIDDEN, &dump), BN_OK);
        assert_int_equal(bn_dump_write(dump, 8, 0, n, rows), BN_OK);
        bn_dump_destroy(dump);
        expect_file(8, n, rows);
    }
}

static void test_what_cannot_be_written_is_named(void **state)
{
    (void)state;
    bn_dump *dump;
    bn_stage_span span = {.layer_begin = 0, .layer_end = 1, .has_embedding = true};
    bn_log_set_quiet(true);
    assert_int_equal(bn_dump_create("/nonexistent/dump", span, HIDDEN, &dump), BN_ERR_IO);
    assert_non_null(strstr(bn_log_last_error(), "/nonexistent/dump"));
    /* A link would lead elsewhere. */
    unlink(path_of(1));
    assert_int_equal(symlink("/tmp/elsewhere", path_of(1)), 0);
    assert_int_equal(bn_dump_create(directory, span, HIDDEN, &dump), BN_ERR_IO);
    assert_non_null(strstr(bn_log_last_error(), "layer_001.npy"));
    bn_log_set_quiet(false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows_land_at_their_positions),
        cmocka_unit_test(test_a_later_stage_has_only_its_own),
        cmocka_unit_test(test_an_older_dump_is_cut),
        cmocka_unit_test(test_what_cannot_be_written_is_named),
    };
    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
