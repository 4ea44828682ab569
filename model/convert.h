/* convert.h — one model file to another: ternary tensors to one type, the embedding and head to
 * another if wanted, everything else as it stands.
 *
 * Two passes. The first opens every ternary tensor, which settles its scales (and reads it where
 * its type asks for that), so that the new file's header can be written; the second reads ranges
 * of rows, encodes and writes them, on all threads, tensor by tensor.
 *
 * Memory:  the keys, and for each thread at most BN_CONVERT_RANGE_BYTES, or what one tile or 128
 *          rows take where that is more.
 * Errors:  a text that names the tensor: what is not ternary, what the type cannot hold.
 */
#ifndef BN_MODEL_CONVERT_H
#define BN_MODEL_CONVERT_H

#include "common/status.h"
#include "model/tl_tile.h"

#include <stdbool.h>
#include <stdint.h>

#define BN_CONVERT_RANGE_BYTES (16u << 20)
#define BN_CONVERT_THREADS_MAX 64u

typedef struct bn_convert_job {
    const char *in, *out;
    uint32_t type;         /* of the ternary tensors: I2_S, TL1, TL2, TQ1_0, TQ2_0 or F16 */
    bool has_head_type;    /* else embedding and head stay as they are */
    uint32_t head_type;    /* F16, Q8_0 or Q6_K */
    bn_tl_tile_list tiles; /* of TL1 and TL2, read or written */
    const char *report;    /* path of a JSON file, or NULL */
    uint32_t n_threads;
    /* Called with the temporary name while it exists and with NULL when it does not; or NULL. */
    void (*on_partial)(const char *partial_path);
} bn_convert_job;

typedef struct bn_convert_result {
    uint64_t n_bytes; /* of the new file */
    uint32_t n_ternary;
    double zeros;     /* share of the trits */
    double deviation; /* largest |w − scale · trit| */
    const char *arch; /* that the new file names, static */
} bn_convert_result;

BN_CHECKED bn_status bn_convert_write(const bn_convert_job *job, bn_convert_result *result_out);

#endif
