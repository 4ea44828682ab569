/* tl_check.c — zeros counted by rows and by columns, for the tile in use and for others.
 *
 * By chance alone the sum of (zeros − expected)² / variance over n rows is n − 1, give or take
 * √(2n). What is above it is structure. The tile in use is refused when another one shows more
 * than twice as much of it, and so much more that chance is out of the question.
 */
#include "model/tl_check.h"

#include "common/alloc.h"
#include "common/log.h"
#include "model/trits_internal.h"

#include <inttypes.h>
#include <math.h>

#define SIGMAS 30.0 /* of a difference that counts */

/* BM, BK, bm: all that bitnet.cpp's scripts have ever generated or tuned. */
static const uint32_t cuts[][3] = {
    {256, 128, 32}, {128, 64, 64},  {160, 64, 32}, {320, 128, 64}, {320, 64, 32},
    {256, 128, 64}, {128, 128, 64}, {128, 64, 32}, {256, 256, 32},
};

typedef struct structure {
    double rows, cols; /* what is above chance, in standard deviations */
} structure;

typedef struct tally {
    uint32_t *by_row, *by_col;
} tally;

static double excess(const uint32_t *zeros, uint32_t n, double share, double n_each)
{
    double expected = share * n_each, variance = expected * (1.0 - share), sum = 0.0;
    for (uint32_t i = 0; i < n; i++)
        sum += ((double)zeros[i] - expected) * ((double)zeros[i] - expected);
    return (sum / variance - (n - 1.0)) / sqrt(2.0 * n);
}

static bn_status count_range(const bn_trits *t, uint32_t thread_index, uint32_t row_begin,
                             uint32_t n_rows, void *scratch, uint8_t *codes, void *context)
{
    (void)thread_index;
    tally *zeros = context;
    uint32_t n_cols = t->info.n_cols;
    BN_TRY(t->family->read(t, row_begin, n_rows, scratch, codes, NULL, NULL));
    for (uint32_t i = 0; i < n_rows; i++)
        for (uint32_t k = 0; k < n_cols; k++) {
            uint32_t is_zero = codes[(size_t)i * n_cols + k] == 1;
            zeros->by_row[row_begin + i] += is_zero;
            zeros->by_col[k] += is_zero;
        }
    return BN_OK;
}

static bn_status measure(const bn_trits *trits, const bn_tl_tile *tile, structure *out)
{
    bn_trits t = *trits;
    uint32_t n_rows = t.info.n_rows, n_cols = t.info.n_cols;
    t.tile = *tile;
    t.info.row_step = tile->rows;
    tally zeros = {bn_alloc(n_rows, sizeof(uint32_t)), bn_alloc(n_cols, sizeof(uint32_t))};
    bn_status status = BN_ERR_NO_MEMORY;
    if (zeros.by_row == NULL || zeros.by_col == NULL)
        status = bn_fail(status, "MODEL-TENSOR", "no memory to read tensor %s", t.tensor->name);
    else
        status = bn_trits_walk(&t, NULL, count_range, &zeros);
    if (status == BN_OK) {
        double n_zeros = 0.0;
        for (uint32_t i = 0; i < n_rows; i++)
            n_zeros += zeros.by_row[i];
        double share = n_zeros / ((double)n_rows * n_cols);
        bool has_both = share > 0.0 && share < 1.0;
        out->rows = has_both ? excess(zeros.by_row, n_rows, share, n_cols) : 0.0;
        out->cols = has_both ? excess(zeros.by_col, n_cols, share, n_rows) : 0.0;
    }
    bn_free(zeros.by_row);
    bn_free(zeros.by_col);
    return status;
}

static bool is_far_better(double other, double used)
{
    return other - used > SIGMAS && other > 2.0 * used;
}

bn_status bn_tl_check(const bn_trits *t)
{
    structure used, other;
    BN_TRY(measure(t, &t->tile, &used));
    for (size_t i = 0; i < sizeof cuts / sizeof cuts[0]; i++) {
        const bn_tl_tile tile = {t->info.n_rows, t->info.n_cols, cuts[i][0], cuts[i][1],
                                 cuts[i][2]};
        if (bn_tl_tile_problem(t->tensor->type, &tile) != NULL) continue;
        BN_TRY(measure(t, &tile, &other));
        if (!is_far_better(other.rows, used.rows) && !is_far_better(other.cols, used.cols))
            continue;
        return bn_trits_fail(t,
                             "rows and columns are a jumble in tiles of %" PRIu32 ",%" PRIu32
                             ",%" PRIu32 ", but not in %" PRIu32 ",%" PRIu32 ",%" PRIu32
                             "; give --tile %" PRIu32 "x%" PRIu32 ":BM,BK,bm to convert",
                             t->tile.rows, t->tile.cols, t->tile.lanes, tile.rows, tile.cols,
                             tile.lanes, tile.n_rows, tile.n_cols);
    }
    return BN_OK;
}
