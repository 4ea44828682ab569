/* dump.h — the residual stream of a run, layer by layer, as .npy files for a comparison.
 *
 * layer_000.npy is the embedding's output, layer_001.npy the residual after the first layer, and so
 * on: f32 [positions][hidden], row p of position p. Each stage writes the files of its own layers
 * into a directory of its own host, which whoever started the worker named: a coordinator may ask
 * for a dump, but not say where. For one sequence; a position that comes again is written again.
 *
 * Memory:  the heap, by _create; _write allocates nothing.
 * Threads: one.
 * Errors:  BN_ERR_IO naming the file.
 */
#ifndef BN_WORKER_DUMP_H
#define BN_WORKER_DUMP_H

#include "model/model.h"

typedef struct bn_dump bn_dump;

/* Makes the directory when missing and the files of `span`, empty. */
BN_CHECKED bn_status bn_dump_create(const char *directory, bn_stage_span span, uint32_t hidden,
                                    bn_dump **dump_out);
void bn_dump_destroy(bn_dump *dump);

/* Rows of a contiguous run of positions; `layer`: how many layers the residual has passed. */
BN_CHECKED bn_status bn_dump_write(bn_dump *dump, uint32_t layer, uint32_t position,
                                   uint32_t n_positions, const float *rows);

#endif
