/* tl_tile.c — the tiles of bitnet.cpp's kernel generator, and the user's. */
#include "model/tl_tile.h"

#include "common/log.h"
#include "model/gguf.h"

#include <stddef.h>

typedef struct known_tile {
    uint32_t n_rows, n_cols;
    uint32_t tl1[3], tl2[3]; /* BM, BK, bm */
} known_tile;

/* bitnet_b1_58-large, bitnet_b1_58-3B, Llama3-8B-1.58, as its setup script generates them. */
static const known_tile known_tiles[] = {
    {1536, 4096, {256, 128, 32}, {256, 96, 32}},  {1536, 1536, {128, 64, 64}, {128, 192, 32}},
    {4096, 1536, {256, 128, 32}, {256, 96, 32}},  {3200, 8640, {160, 64, 32}, {160, 96, 32}},
    {3200, 3200, {320, 128, 64}, {320, 96, 32}},  {8640, 3200, {320, 64, 32}, {320, 96, 32}},
    {14336, 4096, {256, 128, 32}, {256, 96, 32}}, {4096, 14336, {128, 64, 64}, {128, 96, 32}},
    {1024, 4096, {256, 128, 32}, {256, 96, 32}},  {4096, 4096, {128, 64, 64}, {128, 96, 32}},
};

/* A number of at most seven digits that `end` follows. */
static bool take_number(const char **at, char end, uint32_t *out)
{
    uint32_t value = 0, n = 0;
    while (**at >= '0' && **at <= '9' && n++ < 7)
        value = value * 10 + (uint32_t)(*(*at)++ - '0');
    bool is_whole = n > 0 && **at == end;
    if (is_whole && end != '\0') (*at)++;
    *out = value;
    return is_whole;
}

bn_status bn_tl_tile_parse(const char *text, bn_tl_tile_list *list)
{
    bn_tl_tile tile;
    const char *at = text;
    if (!take_number(&at, 'x', &tile.n_rows) || !take_number(&at, ':', &tile.n_cols) ||
        !take_number(&at, ',', &tile.rows) || !take_number(&at, ',', &tile.cols) ||
        !take_number(&at, '\0', &tile.lanes))
        return bn_fail(BN_ERR_BAD_ARGUMENT, "TL-TILE",
                       "the tile '%s' is not of the form ROWSxCOLS:BM,BK,bm, as in "
                       "1536x4096:256,128,32",
                       text);
    if (list->n == BN_TL_TILES_MAX)
        return bn_fail(BN_ERR_BAD_ARGUMENT, "TL-TILE", "more than %u tiles are given",
                       BN_TL_TILES_MAX);
    list->tiles[list->n++] = tile;
    return BN_OK;
}

bool bn_tl_tile_find(uint32_t type, const bn_tl_tile_list *list, uint32_t n_rows, uint32_t n_cols,
                     bn_tl_tile *tile_out)
{
    for (uint32_t i = 0; list != NULL && i < list->n; i++)
        if (list->tiles[i].n_rows == n_rows && list->tiles[i].n_cols == n_cols) {
            *tile_out = list->tiles[i];
            return true;
        }
    for (size_t i = 0; i < sizeof known_tiles / sizeof known_tiles[0]; i++) {
        const known_tile *k = &known_tiles[i];
        if (k->n_rows != n_rows || k->n_cols != n_cols) continue;
        const uint32_t *cut = type == BN_TENSOR_TL1 ? k->tl1 : k->tl2;
        *tile_out = (bn_tl_tile){n_rows, n_cols, cut[0], cut[1], cut[2]};
        return true;
    }
    return false;
}

static const char *tl1_problem(const bn_tl_tile *t)
{
    if (t->lanes != 16 && t->lanes != 32 && t->lanes != 64) return "bm must be 16, 32 or 64";
    if (t->rows % t->lanes != 0) return "BM must be a multiple of bm";
    if (t->cols % (256 / t->lanes) != 0) return "BK must be a multiple of 256 / bm";
    if (t->n_cols % t->cols != 0) return "the columns must be a multiple of BK";
    return NULL;
}

static const char *tl2_problem(const bn_tl_tile *t)
{
    if (t->lanes != 32) return "bm must be 32";
    if (t->rows % t->lanes != 0) return "BM must be a multiple of bm";
    if (t->cols % 24 != 0) return "BK must be a multiple of 24";
    uint32_t rest = t->n_cols % t->cols;
    if (rest % 32 != 0 || rest > 256)
        return "the columns that BK leaves over must be a multiple of 32, at most 256";
    return NULL;
}

const char *bn_tl_tile_problem(uint32_t type, const bn_tl_tile *t)
{
    if (t->rows == 0 || t->cols == 0 || t->lanes == 0) return "a tile needs rows and columns";
    if (t->rows > BN_TL_TILE_ROWS_MAX) return "BM may be at most 4096";
    if (t->cols > t->n_cols) return "BK may not be above the columns";
    if (t->n_rows % t->rows != 0) return "the rows must be a multiple of BM";
    return type == BN_TENSOR_TL1 ? tl1_problem(t) : tl2_problem(t);
}
