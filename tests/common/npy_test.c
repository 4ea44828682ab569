/* npy_test.c
 * What: the header is the one that NumPy reads: magic, version 1.0, length, dictionary, newline.
 * How:  shapes of both kinds against the text by hand; the largest numbers still fit.
 */
#include "common/npy.h"

#include "tests/common/cmocka_all.h"

#include <string.h>

static const struct {
    const char *type;
    uint64_t n_rows, n_columns;
    const char *text;
} cases[] = {
    {BN_NPY_F32, 3, 64, "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 64), }"},
    {BN_NPY_U32, 7, 0, "{'descr': '<u4', 'fortran_order': False, 'shape': (7,), }"},
    {BN_NPY_F32, 0, 1, "{'descr': '<f4', 'fortran_order': False, 'shape': (0, 1), }"},
    {BN_NPY_F32, UINT64_MAX, UINT64_MAX,
     "{'descr': '<f4', 'fortran_order': False, 'shape': (18446744073709551615, "
     "18446744073709551615), }"},
};

static void test_headers_are_numpys(void **state)
{
    (void)state;
    for (size_t i = 0; i < BN_COUNT(cases); i++) {
        char header[BN_NPY_HEADER_BYTES];
        size_t n = strlen(cases[i].text);
        memset(header, 'x', sizeof header);
        bn_npy_header(cases[i].type, cases[i].n_rows, cases[i].n_columns, header);
        assert_memory_equal(header, "\x93NUMPY\x01\x00\x76\x00", 10); /* 118 bytes follow */
        assert_memory_equal(header + 10, cases[i].text, n);
        for (size_t at = 10 + n; at < sizeof header - 1; at++)
            assert_int_equal(header[at], ' ');
        assert_int_equal(header[sizeof header - 1], '\n');
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_headers_are_numpys)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
