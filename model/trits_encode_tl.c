/* trits_encode_tl.c — the tiles of TL1 and TL2, written as trits_tl.c reads them. */
#include "model/trits_encode_tl.h"

#include "model/gguf.h"

#include <string.h>

#define LANES 16u
#define TL2_ROWS 32u
#define TL2_TWO_COLS 32u

/* Two pairs of codes of a row: 3a + b each, the first in the high half. */
static uint8_t two_pairs(const uint8_t *c)
{
    return (uint8_t)((3 * c[0] + c[1]) << 4 | (3 * c[2] + c[3]));
}

static uint8_t *encode_tl1(const bn_trits_encoding *e, const uint8_t *codes, uint8_t *out)
{
    const bn_tl_tile *tile = &e->tile;
    size_t n_cols = e->n_cols;
    uint32_t group_cols = 256 / tile->lanes;
    for (uint32_t block = 0; block < n_cols; block += tile->cols)
        for (uint32_t mb = 0; mb < tile->rows; mb += tile->lanes)
            for (uint32_t kg = 0; kg < tile->cols; kg += group_cols)
                for (uint32_t mi = 0; mi < tile->lanes; mi += LANES)
                    for (uint32_t kk = 0; kk < group_cols; kk += 4)
                        for (uint32_t lane = 0; lane < LANES; lane++)
                            *out++ = two_pairs(codes + (mb + mi + lane) * n_cols + block + kg + kk);
    return out;
}

/* Row r of 32 stands at this place: eights 1 and 2 are swapped. */
static uint32_t place_of(uint32_t r)
{
    return r / 8 == 1 ? r + 8 : r / 8 == 2 ? r - 8 : r;
}

/* 32 rows of 24 columns: magnitudes to `out`, signs to `signs`. */
static void encode_threes(const uint8_t *codes, size_t n_cols, uint8_t *out, uint8_t *signs)
{
    uint16_t words[LANES] = {0};
    memset(out, 0, 4 * TL2_ROWS);
    for (uint32_t r = 0; r < TL2_ROWS; r++)
        for (uint32_t k = 0; k < 8; k++) {
            const uint8_t *c = codes + r * n_cols + 3 * (size_t)k;
            int value = 9 * c[0] + 3 * c[1] + c[2] - 13;
            uint32_t magnitude = (uint32_t)(value < 0 ? -value : value);
            uint8_t *byte = &out[k / 2 * TL2_ROWS + place_of(r)];
            *byte = (uint8_t)(*byte | magnitude << (k % 2 == 0 ? 4 : 0));
            if (value < 0)
                words[r % LANES] = (uint16_t)(words[r % LANES] | 1u << (15 - (2 * k + r / LANES)));
        }
    memcpy(signs, words, sizeof words);
}

static void encode_tl2(const bn_trits_encoding *e, const uint8_t *codes, uint8_t *threes,
                       uint8_t *signs, uint8_t *twos)
{
    size_t n_cols = e->n_cols;
    uint32_t three_cols = e->n_cols / e->tile.cols * e->tile.cols;
    for (uint32_t block = 0; block < three_cols; block += e->tile.cols)
        for (uint32_t mb = 0; mb < e->tile.rows; mb += TL2_ROWS)
            for (uint32_t k = 0; k < e->tile.cols; k += 24) {
                encode_threes(codes + mb * n_cols + block + k, n_cols, threes, signs);
                threes += 4 * TL2_ROWS;
                signs += TL2_ROWS;
            }
    for (uint32_t block = three_cols; block < n_cols; block += TL2_TWO_COLS)
        for (uint32_t mb = 0; mb < e->tile.rows; mb += TL2_ROWS)
            for (uint32_t k = 0; k < TL2_TWO_COLS; k += 4, twos += TL2_ROWS)
                for (uint32_t r = 0; r < TL2_ROWS; r++)
                    twos[place_of(r)] = two_pairs(codes + (mb + r) * n_cols + block + k);
}

uint64_t bn_trits_encode_tl2_bytes(const bn_trits_encoding *e)
{
    uint64_t n_rows = e->n_rows, three_cols = e->n_cols / e->tile.cols * e->tile.cols;
    return n_rows * three_cols / 6 + n_rows * three_cols / 24 +
           n_rows * (e->n_cols - three_cols) / 4;
}

uint32_t bn_trits_encode_tl(const bn_trits_encoding *e, uint32_t row_begin, uint32_t n_rows,
                            const uint8_t *codes, uint8_t *out,
                            bn_trits_piece pieces[BN_TRITS_PIECES_MAX])
{
    size_t n_cols = e->n_cols, tile_codes = e->tile.rows * n_cols;
    if (e->type == BN_TENSOR_TL1) {
        uint8_t *end = out;
        for (uint32_t row = 0; row < n_rows; row += e->tile.rows, codes += tile_codes)
            end = encode_tl1(e, codes, end);
        pieces[0] = (bn_trits_piece){row_begin * n_cols / 4, out, (size_t)(end - out)};
        return 1;
    }
    size_t three_cols = n_cols / e->tile.cols * e->tile.cols, two_cols = n_cols - three_cols;
    size_t all = e->n_rows, n = n_rows;
    uint8_t *signs = out + n * three_cols / 6, *twos = signs + n * three_cols / 24;
    for (size_t row = 0; row < n; row += e->tile.rows, codes += tile_codes)
        encode_tl2(e, codes, out + row * three_cols / 6, signs + row * three_cols / 24,
                   twos + row * two_cols / 4);
    uint64_t sign_at = all * three_cols / 6, two_at = sign_at + all * three_cols / 24;
    pieces[0] = (bn_trits_piece){row_begin * three_cols / 6, out, n * three_cols / 6};
    pieces[1] = (bn_trits_piece){sign_at + row_begin * three_cols / 24, signs, n * three_cols / 24};
    pieces[2] = (bn_trits_piece){two_at + row_begin * two_cols / 4, twos, n * two_cols / 4};
    return BN_TRITS_PIECES_MAX;
}
