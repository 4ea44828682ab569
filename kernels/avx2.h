/* avx2.h — the entries of the AVX2 table that live in files of their own; contracts in
 * kernels.h. */
#ifndef BN_KERNELS_AVX2_H
#define BN_KERNELS_AVX2_H

#include "kernels/kernels.h"

void bn_avx2_ternary_matmul(const bn_ternary *w, uint32_t group_begin, uint32_t group_end,
                            const bn_q8 *x, float *y, size_t y_stride);

void bn_avx2_attention_chunk(const float *q, uint32_t n_heads, uint32_t head_size,
                             const bn_kv_view *kv, uint32_t key_begin, uint32_t key_end, float *out,
                             float *max_out, float *sum_out);

void bn_avx2_attention_merge(float *out, uint32_t head_size, const float *chunks,
                             size_t chunk_stride, const float *max, const float *sum,
                             size_t ml_stride, uint32_t n_chunks);

void bn_avx2_dense_row(const bn_dense *w, uint32_t row, float *out);

void bn_avx2_dense_matmul(const bn_dense *w, uint32_t row_begin, uint32_t row_end, const float *x,
                          size_t x_stride, uint32_t n_tokens, float *y, size_t y_stride);

void bn_avx2_dense_gather(const bn_dense *w, const uint32_t *rows, uint32_t n_rows, const float *x,
                          float *y);

void bn_avx2_screen_matmul(const bn_screen *w, uint32_t group_begin, uint32_t group_end,
                           const bn_screen_tokens *x, float *lower, size_t lower_stride,
                           float *upper, size_t upper_stride);

#endif
