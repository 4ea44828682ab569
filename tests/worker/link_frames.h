/* link_frames.h — frames with contents that can be checked on the other side.
 *
 * Memory:  a pool owns its frames until _fini.
 * Threads: a pool belongs to one.
 */
#ifndef BN_TESTS_WORKER_LINK_FRAMES_H
#define BN_TESTS_WORKER_LINK_FRAMES_H

#include "worker/link.h"

#define LINK_FRAMES 6u

typedef struct link_pool {
    bn_link_frame frames[LINK_FRAMES];
    bool is_used[LINK_FRAMES];
} link_pool;

void link_pool_init(link_pool *pool, size_t activation_capacity);
void link_pool_fini(link_pool *pool);
/* NULL when all are out. */
bn_link_frame *link_pool_take(link_pool *pool);
void link_pool_give(link_pool *pool, bn_link_frame *frame);

/* Sizes and contents follow from seed and step id; most frames are small, one in eight is large. */
void link_frame_fill(bn_link_frame *frame, uint64_t seed, uint64_t step_id);
/* True when the frame is what link_frame_fill makes of its step id. */
bool link_frame_is_filled(const bn_link_frame *frame, uint64_t seed);

#endif
