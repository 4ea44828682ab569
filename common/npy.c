/* npy.c — magic, version, length, then a Python dictionary padded with blanks to the end. */
#include "common/npy.h"

#include "common/status.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define PREFIX_BYTES 10u /* \x93NUMPY, 1, 0, length of the rest in 16 bits */

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "numbers are written as they lie");

void bn_npy_header(const char *type, uint64_t n_rows, uint64_t n_columns,
                   char header_out[BN_NPY_HEADER_BYTES])
{
    static const char magic[] = "\x93NUMPY\x01";
    const uint16_t rest = BN_NPY_HEADER_BYTES - PREFIX_BYTES;
    char columns[24] = "";
    if (n_columns > 0) snprintf(columns, sizeof columns, " %" PRIu64, n_columns);
    memcpy(header_out, magic, sizeof magic); /* with its NUL: the minor version */
    memcpy(header_out + sizeof magic, &rest, sizeof rest);
    int n = snprintf(header_out + PREFIX_BYTES, rest,
                     "{'descr': '%s', 'fortran_order': False, 'shape': (%" PRIu64 ",%s), }", type,
                     n_rows, columns);
    BN_ASSERT(n > 0 && n < rest);
    memset(header_out + PREFIX_BYTES + n, ' ', (size_t)(rest - n - 1));
    header_out[BN_NPY_HEADER_BYTES - 1] = '\n';
}
