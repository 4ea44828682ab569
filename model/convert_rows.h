/* convert_rows.h — one range of one tensor: read, encode, write. What convert.c's threads do.
 *
 * Threads: any, each with a workspace of its own.
 */
#ifndef BN_MODEL_CONVERT_ROWS_H
#define BN_MODEL_CONVERT_ROWS_H

#include "model/convert_plan.h"

/* What a thread has seen of a tensor. */
typedef struct bn_convert_seen {
    bn_trits_count count;
    float scale_min, scale_max; /* of the scales that are not one */
    bool has_scales;
} bn_convert_seen;

/* Rows of a range (of a copy: bytes), and how many ranges there are. */
uint64_t bn_convert_rows_step(const bn_convert_item *item);
uint64_t bn_convert_rows_ranges(const bn_convert_item *item);

/* Bytes of workspace that a range takes. */
size_t bn_convert_rows_workspace(const bn_convert_item *item);

BN_CHECKED bn_status bn_convert_rows(const bn_gguf *file, const bn_convert_item *item,
                                     uint64_t range, uint8_t *workspace, bn_gguf_writer *writer,
                                     bn_convert_seen *seen);

#endif
