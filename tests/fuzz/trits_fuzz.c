/* trits_fuzz.c
 * What: any bytes are a tensor of any ternary type and shape that can be read, or is refused; who
 *       looks for damage gets codes up to 3, all others trits and scales that are right; what was
 *       read can be written again.
 * How:  the first bytes choose type, shape, tile and order of rows, the rest fills the tensor; it
 *       stands in a file in memory and is read whole and in ranges of rows.
 */
#include "common/alloc.h"
#include "model/tensor_type.h"
#include "model/trits.h"
#include "model/trits_encode.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define HEAD_BYTES 8u
#define TENSOR_AT 64u
#define TENSOR_BYTES_MAX (1u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static const uint32_t types[] = {
    BN_TENSOR_I2_S,       BN_TENSOR_TL1,        BN_TENSOR_TL2,         BN_TENSOR_TQ1_0,
    BN_TENSOR_TQ2_0,      BN_TENSOR_Q2_0,       BN_TENSOR_Q2_0_128,    BN_TENSOR_PQ2_0,
    BN_TENSOR_PTQ1_0,     BN_TENSOR_IQ1_BN,     BN_TENSOR_IQ2_BN,      BN_TENSOR_IQ2_BN_R4,
    BN_TENSOR_HF_TERNARY, BN_TENSOR_F32,        BN_TENSOR_F16,         BN_TENSOR_BF16,
    BN_TENSOR_MASTER_F32, BN_TENSOR_MASTER_F16, BN_TENSOR_MASTER_BF16,
};
static const uint32_t written_types[] = {BN_TENSOR_I2_S, BN_TENSOR_TQ1_0, BN_TENSOR_TQ2_0,
                                         BN_TENSOR_F16};

static void write_again(const bn_trits_info *info, const uint8_t *codes, const float *scales)
{
    bn_trits_encoding e;
    bn_trits_piece pieces[BN_TRITS_PIECES_MAX];
    for (size_t i = 0; i < sizeof written_types / sizeof written_types[0]; i++) {
        uint32_t group = bn_trits_encoding_group(written_types[i]);
        if (bn_trits_encoding_make("t", written_types[i], info->n_rows, info->n_cols, NULL, &e) !=
                BN_OK ||
            (group != 0 && info->group_cols % group != 0))
            continue;
        uint8_t *out = bn_alloc(bn_trits_encoding_bytes(&e, info->n_rows) + 1, 1);
        if (out == NULL) return;
        bn_trits_encode(&e, 0, info->n_rows, codes, scales, info->group_cols, out, pieces);
        bn_free(out);
    }
}

static void check(const bn_trits_info *info, bool is_lenient, const uint8_t *codes,
                  const float *scales, size_t n_scales)
{
    for (size_t i = 0; i < (size_t)info->n_rows * info->n_cols; i++)
        if (codes[i] > (is_lenient ? 3 : 2)) abort();
    if (info->group_cols == 0 || info->n_cols % info->group_cols != 0) abort();
    if (is_lenient) return;
    for (size_t i = 0; i < n_scales && !info->is_one_scale; i++)
        if (!isfinite(scales[i]) || scales[i] < 0.0f) abort();
    if (info->is_one_scale && (!isfinite(info->scale) || info->scale < 0.0f)) abort();
    write_again(info, codes, scales);
}

static void read_rows(const bn_trits *t, bool is_lenient, uint32_t cut)
{
    const bn_trits_info *info = bn_trits_info_of(t);
    size_t n_cols = info->n_cols, per_row = n_cols / info->group_cols;
    uint8_t *whole = bn_alloc(info->n_rows * n_cols, 1),
            *parts = bn_alloc(info->n_rows * n_cols, 1);
    float *scales = bn_alloc(info->n_rows * per_row, sizeof *scales);
    uint8_t *scratch = bn_alloc(bn_trits_scratch_bytes(t, info->n_rows), 1);
    bn_trits_count count = {0};
    cut = cut % (info->n_rows + 1);
    bool is_read = whole != NULL && parts != NULL && scales != NULL && scratch != NULL &&
                   bn_trits_read(t, 0, info->n_rows, scratch, whole, scales, &count) == BN_OK;
    if (is_read) {
        check(info, is_lenient, whole, scales, info->n_rows * per_row);
        if (bn_trits_read(t, 0, cut, scratch, parts, scales, NULL) != BN_OK) abort();
        if (bn_trits_read(t, cut, info->n_rows - cut, scratch, parts + cut * n_cols,
                          scales + cut * per_row, NULL) != BN_OK)
            abort();
        if (memcmp(whole, parts, info->n_rows * n_cols) != 0) abort();
    }
    bn_free(whole);
    bn_free(parts);
    bn_free(scales);
    bn_free(scratch);
}

/* A GGUF file whose only tensor is n bytes. */
static bn_gguf *open_bytes(int fd, const uint8_t *bytes, size_t n, size_t n_given)
{
    static const char name[] = "t";
    uint8_t head[TENSOR_AT] = "GGUF";
    const uint64_t counts[] = {1, 0, sizeof name - 1};
    const uint32_t one_dim = 1, i8 = 24, version = 3;
    const uint64_t dim = n;
    char path[64];
    bn_gguf *file = NULL;
    memcpy(head + 4, &version, 4);
    memcpy(head + 8, counts, sizeof counts);
    memcpy(head + 32, name, 1);
    memcpy(head + 33, &one_dim, 4);
    memcpy(head + 37, &dim, 8);
    memcpy(head + 45, &i8, 4); /* the offset stays 0: the data begins at TENSOR_AT */
    if (write(fd, head, TENSOR_AT) != TENSOR_AT || write(fd, bytes, n_given) != (ssize_t)n_given ||
        ftruncate(fd, (off_t)(TENSOR_AT + n)) != 0)
        abort();
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (bn_gguf_open(path, &file) != BN_OK) abort();
    return file;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    if (n < HEAD_BYTES) return 0;
    uint32_t type = types[bytes[0] % (sizeof types / sizeof types[0])];
    uint32_t n_rows = 1 + bytes[1] % 130, n_cols = 1 + bytes[2] + 256u * (bytes[3] % 4);
    if (bytes[4] % 2 == 0) n_cols = (n_cols + 63) / 64 * 64;
    uint64_t n_bytes = 0;
    if (!bn_tensor_type_span(type, n_cols, (uint64_t)n_rows * n_cols, &n_bytes) ||
        n_bytes > TENSOR_BYTES_MAX)
        return 0;
    size_t n_given = n - HEAD_BYTES < n_bytes ? n - HEAD_BYTES : (size_t)n_bytes;
    int fd = memfd_create("trits", MFD_CLOEXEC);
    if (fd < 0) abort();
    bn_gguf *file = open_bytes(fd, bytes + HEAD_BYTES, (size_t)n_bytes, n_given);
    bn_gguf_tensor tensor = *bn_gguf_tensor_at(file, 0);
    tensor.type = type;
    tensor.n_dims = 2;
    tensor.dims[0] = n_cols;
    tensor.dims[1] = n_rows;
    tensor.scale = (float)bytes[5] / 16.0f - 1.0f;
    tensor.head_rows = bytes[6] % 4 == 0 ? bytes[6] : 0;
    const bn_tl_tile_list tiles = {
        .n = 1,
        .tiles = {{n_rows, n_cols, 32u * (1 + bytes[7] % 4), 24u * (1 + bytes[7] / 16), 32}}};
    for (int is_lenient = 0; is_lenient < 2; is_lenient++) {
        const bn_trits_options options = {.tl_tiles = &tiles, .is_lenient = is_lenient != 0};
        bn_trits *t = NULL;
        if (bn_trits_open(file, &tensor, &options, &t) != BN_OK) continue;
        read_rows(t, is_lenient != 0, bytes[5]);
        bn_trits_close(t);
    }
    bn_gguf_close(file);
    close(fd);
    return 0;
}
