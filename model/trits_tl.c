/* trits_tl.c — TL1 and TL2: codes of two or three weights, in the order in which bitnet.cpp's
 * kernels of one matrix shape read them.
 *
 * A tile of BM rows and all columns is contiguous in each of TL2's three regions, and TL1 has one
 * region, so a tile is read and decoded at once.
 */
#include "common/log.h"
#include "model/tensor_type.h"
#include "model/tl_check.h"
#include "model/trits_internal.h"

#include <inttypes.h>
#include <string.h>

#define PAIR_CODES 9u    /* of two weights */
#define TRIPLE_CODES 14u /* of three weights but for the sign */
#define NO_CODE 3u
#define LANES 16u
#define TL2_ROWS 32u /* bm of TL2 */
#define TL2_TWO_COLS 32u

typedef struct tl2_regions {
    uint32_t three_cols, two_cols;
    uint64_t sign_at, two_at, end;
} tl2_regions;

static tl2_regions regions_of(const bn_trits *t)
{
    tl2_regions r;
    uint64_t n_rows = t->info.n_rows;
    r.three_cols = t->info.n_cols / t->tile.cols * t->tile.cols;
    r.two_cols = t->info.n_cols - r.three_cols;
    r.sign_at = n_rows * r.three_cols / 6;
    r.two_at = r.sign_at + n_rows * r.three_cols / 24;
    r.end = r.two_at + n_rows * r.two_cols / 4;
    return r;
}

static bn_status find_tile(bn_trits *t, const bn_tl_tile_list *list)
{
    uint32_t type = t->tensor->type;
    if (!bn_tl_tile_find(type, list, t->info.n_rows, t->info.n_cols, &t->tile))
        return bn_fail(BN_ERR_UNSUPPORTED, "MODEL-TENSOR",
                       "%s: tensor %s is %s of %" PRIu32 " rows and %" PRIu32
                       " columns, and the file does not say into which tiles it is cut; "
                       "bitnet-model convert takes them: --tile %" PRIu32 "x%" PRIu32 ":BM,BK,bm",
                       bn_gguf_path(t->file), t->tensor->name, bn_tensor_type_name(type),
                       t->info.n_rows, t->info.n_cols, t->info.n_rows, t->info.n_cols);
    const char *problem = bn_tl_tile_problem(type, &t->tile);
    if (problem == NULL) return BN_OK;
    return bn_fail(BN_ERR_BAD_ARGUMENT, "MODEL-TENSOR",
                   "%s: tensor %s of %s cannot be cut by %" PRIu32 "x%" PRIu32 ":%" PRIu32
                   ",%" PRIu32 ",%" PRIu32 ": %s",
                   bn_gguf_path(t->file), t->tensor->name, bn_tensor_type_name(type),
                   t->info.n_rows, t->info.n_cols, t->tile.rows, t->tile.cols, t->tile.lanes,
                   problem);
}

/* What follows the codes of TL2 is zeros; other tiles would end elsewhere. */
static bn_status check_padding(const bn_trits *t, uint64_t begin, uint64_t end)
{
    uint8_t bytes[4096];
    while (begin < end) {
        size_t n = end - begin < sizeof bytes ? (size_t)(end - begin) : sizeof bytes;
        BN_TRY(bn_gguf_read(t->file, t->tensor, begin, n, bytes));
        for (size_t i = 0; i < n; i++)
            if (bytes[i] != 0)
                return bn_trits_fail(t,
                                     "byte %" PRIu64 " behind the codes is not 0: the file is "
                                     "damaged, or cut into other tiles (see --tile of convert)",
                                     begin + i);
        begin += n;
    }
    return BN_OK;
}

static bn_status open_tl(bn_trits *t, const bn_trits_options *options)
{
    BN_TRY(find_tile(t, options->tl_tiles));
    t->info.row_step = t->tile.rows;
    uint64_t scale_at = t->tensor->n_bytes - BN_TENSOR_I2S_TAIL_BYTES;
    if (t->tensor->type == BN_TENSOR_TL2) {
        uint64_t end = regions_of(t).end;
        if (end > scale_at)
            return bn_trits_fail(t,
                                 "%" PRIu64 " bytes of codes do not fit into the %" PRIu64
                                 " that TL2 has for such a matrix",
                                 end, scale_at);
        if (!options->is_lenient) BN_TRY(check_padding(t, end, scale_at));
    }
    BN_TRY(bn_gguf_read(t->file, t->tensor, scale_at, sizeof t->info.scale, &t->info.scale));
    /* One matrix of each kind is enough, and takes a while. */
    bool is_of_layer_0 = strncmp(t->tensor->name, "blk.0.", 6) == 0;
    return t->tensor->type == BN_TENSOR_TL1 && is_of_layer_0 && !options->is_lenient
               ? bn_tl_check(t)
               : BN_OK;
}

/* Bytes of a tile's codes, and as many as it has weights. */
static size_t scratch_tl(const bn_trits *t, uint32_t n_rows)
{
    (void)n_rows;
    return (size_t)t->tile.rows * t->info.n_cols * 5 / 4 + 64;
}

static void put_pair(uint32_t code, uint8_t *out)
{
    out[0] = code < PAIR_CODES ? (uint8_t)(code / 3) : NO_CODE;
    out[1] = code < PAIR_CODES ? (uint8_t)(code % 3) : NO_CODE;
}

/* Three weights of value 9a + 3b + c = ±magnitude; zero has no sign. */
static void put_triple(uint32_t magnitude, bool is_negative, uint8_t *out)
{
    if (magnitude >= TRIPLE_CODES || (is_negative && magnitude == 0)) {
        memset(out, NO_CODE, 3);
        return;
    }
    uint32_t value = is_negative ? 13 - magnitude : 13 + magnitude;
    out[0] = (uint8_t)(value / 9);
    out[1] = (uint8_t)(value / 3 % 3);
    out[2] = (uint8_t)(value % 3);
}

/* Sixteen rows of four columns: a byte a row. */
static void put_lanes(const uint8_t *in, uint8_t *out, size_t n_cols)
{
    for (uint32_t lane = 0; lane < LANES; lane++) {
        put_pair(in[lane] >> 4, out + lane * n_cols);
        put_pair(in[lane] & 15, out + lane * n_cols + 2);
    }
}

static void decode_tl1(const bn_trits *t, const uint8_t *in, uint8_t *out)
{
    const bn_tl_tile *tile = &t->tile;
    size_t n_cols = t->info.n_cols;
    uint32_t group_cols = 256 / tile->lanes;
    for (uint32_t block = 0; block < n_cols; block += tile->cols)
        for (uint32_t mb = 0; mb < tile->rows; mb += tile->lanes)
            for (uint32_t kg = 0; kg < tile->cols; kg += group_cols)
                for (uint32_t mi = 0; mi < tile->lanes; mi += LANES)
                    for (uint32_t kk = 0; kk < group_cols; kk += 4, in += LANES)
                        put_lanes(in, out + (mb + mi) * n_cols + block + kg + kk, n_cols);
}

/* Where row r of 32 stands: eights 1 and 2 are swapped. */
static uint32_t place_of(uint32_t r)
{
    return r / 8 == 1 ? r + 8 : r / 8 == 2 ? r - 8 : r;
}

/* 32 rows of 24 columns: 4 · 32 bytes of magnitudes, 16 words of signs. */
static void put_threes(const uint8_t *in, const uint8_t *signs, uint8_t *out, size_t n_cols)
{
    for (uint32_t r = 0; r < TL2_ROWS; r++) {
        uint16_t word;
        memcpy(&word, signs + 2 * (r % 16), sizeof word);
        for (uint32_t k = 0; k < 8; k++) {
            uint8_t byte = in[k / 2 * TL2_ROWS + place_of(r)];
            bool is_negative = word >> (15 - (2 * k + r / 16)) & 1;
            put_triple(k % 2 == 0 ? byte >> 4 : byte & 15, is_negative,
                       out + r * n_cols + 3 * (size_t)k);
        }
    }
}

static void decode_threes(const bn_trits *t, uint32_t three_cols, const uint8_t *in,
                          const uint8_t *signs, uint8_t *out)
{
    size_t n_cols = t->info.n_cols;
    for (uint32_t block = 0; block < three_cols; block += t->tile.cols)
        for (uint32_t mb = 0; mb < t->tile.rows; mb += TL2_ROWS)
            for (uint32_t k = 0; k < t->tile.cols; k += 24) {
                put_threes(in, signs, out + mb * n_cols + block + k, n_cols);
                in += 4 * TL2_ROWS;
                signs += TL2_ROWS;
            }
}

static void decode_twos(const bn_trits *t, uint32_t three_cols, const uint8_t *in, uint8_t *out)
{
    size_t n_cols = t->info.n_cols;
    for (uint32_t block = three_cols; block < n_cols; block += TL2_TWO_COLS)
        for (uint32_t mb = 0; mb < t->tile.rows; mb += TL2_ROWS)
            for (uint32_t k = 0; k < TL2_TWO_COLS; k += 4, in += TL2_ROWS)
                for (uint32_t r = 0; r < TL2_ROWS; r++) {
                    uint8_t byte = in[place_of(r)];
                    uint8_t *to = out + (mb + r) * n_cols + block + k;
                    put_pair(byte >> 4, to);
                    put_pair(byte & 15, to + 2);
                }
}

/* Reads and decodes tile `index`; `raw` has room for its bytes. */
static bn_status read_tile(const bn_trits *t, uint32_t index, uint8_t *raw, uint8_t *out)
{
    size_t weights = (size_t)t->tile.rows * t->info.n_cols;
    if (t->tensor->type == BN_TENSOR_TL1) {
        BN_TRY(bn_gguf_read(t->file, t->tensor, (uint64_t)index * (weights / 4), weights / 4, raw));
        decode_tl1(t, raw, out);
        return BN_OK;
    }
    tl2_regions r = regions_of(t);
    size_t three = (size_t)t->tile.rows * r.three_cols / 6, sign = three / 4;
    size_t two = (size_t)t->tile.rows * r.two_cols / 4;
    uint8_t *signs = raw + three, *twos = signs + sign;
    BN_TRY(bn_gguf_read(t->file, t->tensor, (uint64_t)index * three, three, raw));
    BN_TRY(bn_gguf_read(t->file, t->tensor, r.sign_at + (uint64_t)index * sign, sign, signs));
    if (two > 0)
        BN_TRY(bn_gguf_read(t->file, t->tensor, r.two_at + (uint64_t)index * two, two, twos));
    decode_threes(t, r.three_cols, raw, signs, out);
    decode_twos(t, r.three_cols, twos, out);
    return BN_OK;
}

static bn_status read_tl(const bn_trits *t, uint32_t row_begin, uint32_t n_rows, void *scratch,
                         uint8_t *codes, float *scales, double *deviation)
{
    (void)scales, (void)deviation;
    size_t n_cols = t->info.n_cols;
    uint8_t *raw = scratch, *whole = raw + (size_t)t->tile.rows * n_cols / 4 + 64;
    for (uint32_t row = row_begin, end = row_begin + n_rows; row < end;) {
        uint32_t index = row / t->tile.rows, first = index * t->tile.rows;
        uint32_t n = first + t->tile.rows < end ? first + t->tile.rows - row : end - row;
        if (n == t->tile.rows) {
            BN_TRY(read_tile(t, index, raw, codes));
        } else {
            BN_TRY(read_tile(t, index, raw, whole));
            memcpy(codes, whole + (row - first) * n_cols, n * n_cols);
        }
        codes += n * n_cols;
        row += n;
    }
    return BN_OK;
}

const bn_trits_family bn_trits_tl = {"stored", open_tl, scratch_tl, read_tl};
