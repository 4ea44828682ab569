/* tl_tile.h — how bitnet.cpp cuts the matrices of TL1 and TL2 files into tiles.
 *
 * The cut depends on the shape of a matrix and on the program that wrote the file, and the file
 * does not hold it. So there is a table of the shapes that bitnet.cpp's own kernels are made for,
 * and a list in which a user says it for others.
 *
 * Threads: any; nothing is kept.
 * Errors:  BN_ERR_BAD_ARGUMENT with a text that shows the form.
 */
#ifndef BN_MODEL_TL_TILE_H
#define BN_MODEL_TL_TILE_H

#include "common/status.h"

#include <stdbool.h>
#include <stdint.h>

#define BN_TL_TILES_MAX 32u
#define BN_TL_TILE_ROWS_MAX 4096u

typedef struct bn_tl_tile {
    uint32_t n_rows, n_cols; /* of the matrix */
    uint32_t rows, cols;     /* of a tile: BM and BK */
    uint32_t lanes;          /* rows of a group within a tile: bm */
} bn_tl_tile;

typedef struct bn_tl_tile_list {
    bn_tl_tile tiles[BN_TL_TILES_MAX];
    uint32_t n;
} bn_tl_tile_list;

/* Adds "ROWSxCOLS:BM,BK,bm", as in 1536x4096:256,128,32. */
BN_CHECKED bn_status bn_tl_tile_parse(const char *text, bn_tl_tile_list *list);

/* The tile of a matrix: from `list` (may be NULL), else from the table. False when there is none;
 * `type` is BN_TENSOR_TL1 or BN_TENSOR_TL2. */
bool bn_tl_tile_find(uint32_t type, const bn_tl_tile_list *list, uint32_t n_rows, uint32_t n_cols,
                     bn_tl_tile *tile_out);

/* NULL when the tile can cut its matrix, else what is wrong with it. */
const char *bn_tl_tile_problem(uint32_t type, const bn_tl_tile *tile);

#endif
