/* avx512_screen.c — the screen's integer products with vpdpbusd.
 *
 * One 512-bit load is 16 rows × 4 columns, so rows stay in lanes. A token's two bytes go through
 * two accumulators; all tokens share one pass over the weights.
 */
#include "common/status.h"
#include "kernels/avx512.h"
#include "kernels/avx512_lanes.h"
#include "kernels/screen.h"

#include <string.h>

#define TOKENS BN_SCREEN_TOKENS_MAX
#define BLOCK_BYTES 64

/* Bytes ahead of the load: about the latency of memory at its full speed. */
#define PREFETCH_BYTES 4096

INLINE __m512i broadcast_4(const int8_t *p)
{
    int32_t word;
    memcpy(&word, p, sizeof word);
    return _mm512_set1_epi32(word);
}

/* The empty asm keeps the accumulator in its register: gcc copies it to another and back. */
INLINE void accumulate(__m512i *acc, __m512i codes, const int8_t *p)
{
    *acc = _mm512_dpbusd_epi32(*acc, codes, broadcast_4(p));
    __asm__("" : "+v"(*acc));
}

/* dots[t] = 128·Σ(q + 128)·high + Σ(q + 128)·low of one group; sets of accumulators take turns, so
 * that few tokens do not wait for vpdpbusd. n_blocks is a multiple of 4. */
INLINE void screen_tile(int n, int n_sets, const uint8_t *w, const int8_t *panel, uint32_t n_blocks,
                        __m512i *dots)
{
    __m512i high[2][TOKENS], low[2][TOKENS];
    UNROLL
    for (int set = 0; set < n_sets; set++) {
        UNROLL
        for (int t = 0; t < n; t++)
            high[set][t] = low[set][t] = _mm512_setzero_si512();
    }
    for (uint32_t block = 0; block < n_blocks; block += (uint32_t)n_sets) {
        UNROLL
        for (int set = 0; set < n_sets; set++) {
            _mm_prefetch((const char *)w + PREFETCH_BYTES, _MM_HINT_T0);
            __m512i codes = _mm512_load_si512(w);
            UNROLL
            for (int t = 0; t < n; t++) {
                accumulate(&high[set][t], codes, panel + t * 8);
                accumulate(&low[set][t], codes, panel + t * 8 + 4);
            }
            w += BLOCK_BYTES;
            panel += n * 8;
        }
    }
    UNROLL
    for (int t = 0; t < n; t++) {
        if (n_sets == 2) {
            high[0][t] = _mm512_add_epi32(high[0][t], high[1][t]);
            low[0][t] = _mm512_add_epi32(low[0][t], low[1][t]);
        }
        dots[t] = _mm512_add_epi32(_mm512_slli_epi32(high[0][t], 7), low[0][t]);
    }
}

typedef void tile_fn(const uint8_t *w, const int8_t *panel, uint32_t n_blocks, __m512i *dots);

#define DEFINE_TILE(n, n_sets)                                                                     \
    static void tile_##n(const uint8_t *w, const int8_t *panel, uint32_t n_blocks, __m512i *dots)  \
    {                                                                                              \
        screen_tile(n, n_sets, w, panel, n_blocks, dots);                                          \
    }

DEFINE_TILE(1, 2)
DEFINE_TILE(2, 2)
DEFINE_TILE(3, 2)
DEFINE_TILE(4, 2)
DEFINE_TILE(5, 1)
DEFINE_TILE(6, 1)
DEFINE_TILE(7, 1)
DEFINE_TILE(8, 1)

static tile_fn *const tiles[TOKENS] = {tile_1, tile_2, tile_3, tile_4,
                                       tile_5, tile_6, tile_7, tile_8};

void bn_avx512_screen_matmul(const bn_screen *w, uint32_t group_begin, uint32_t group_end,
                             const bn_screen_tokens *x, float *lower, size_t lower_stride,
                             float *upper, size_t upper_stride)
{
    BN_ASSERT(w->n_cols == x->n_cols && x->n_tokens >= 1 && x->n_tokens <= TOKENS);
    BN_ASSERT(group_end <= bn_screen_groups(w->n_rows));
    size_t group_bytes = bn_screen_group_bytes(w->n_cols);
    for (uint32_t group = group_begin; group < group_end; group++) {
        __m512i dots[TOKENS];
        uint32_t row = group * BN_SCREEN_GROUP_ROWS, left = w->n_rows - row;
        __mmask16 rows = left >= BN_SCREEN_GROUP_ROWS ? 0xFFFF : first_lanes(left);
        tiles[x->n_tokens - 1](w->blocks + group_bytes * group, x->panel,
                               bn_screen_padded_cols(w->n_cols) / 4, dots);
        __m512 scale = _mm512_loadu_ps(w->scale + row);
        __m512 error = _mm512_loadu_ps(w->error + row);
        __m512 norm = _mm512_loadu_ps(w->norm + row);
        for (uint32_t t = 0; t < x->n_tokens; t++) {
            __m512i dot = _mm512_sub_epi32(dots[t], _mm512_set1_epi32((int32_t)x->offset[t]));
            __m512 approx = _mm512_mul_ps(_mm512_cvtepi32_ps(dot),
                                          _mm512_mul_ps(scale, _mm512_set1_ps(x->step[t])));
            __m512 bound =
                _mm512_fmadd_ps(norm, _mm512_set1_ps(x->rest[t]), _mm512_set1_ps(BN_SCREEN_FLOOR));
            bound = _mm512_fmadd_ps(error, _mm512_set1_ps(x->length[t]), bound);
            _mm512_mask_storeu_ps(lower + t * lower_stride + row, rows,
                                  _mm512_sub_ps(approx, bound));
            upper[t * upper_stride + group] = _mm512_reduce_max_ps(_mm512_add_ps(approx, bound));
        }
    }
}
