#include "tests/worker/link_frames.h"

#include "common/alloc.h"
#include "tests/worker/random.h"

#include <string.h>

void link_pool_init(link_pool *pool, size_t activation_capacity)
{
    memset(pool, 0, sizeof *pool);
    for (size_t i = 0; i < LINK_FRAMES; i++) {
        pool->frames[i].head = bn_alloc(BN_LINK_HEADER_BYTES + BN_ENVELOPE_MAX, 1);
        pool->frames[i].activations = bn_alloc(activation_capacity, 1);
        pool->frames[i].activation_capacity = activation_capacity;
        BN_ASSERT(pool->frames[i].head != NULL && pool->frames[i].activations != NULL);
    }
}

void link_pool_fini(link_pool *pool)
{
    for (size_t i = 0; i < LINK_FRAMES; i++) {
        bn_free(pool->frames[i].head);
        bn_free(pool->frames[i].activations);
    }
}

bn_link_frame *link_pool_take(link_pool *pool)
{
    for (size_t i = 0; i < LINK_FRAMES; i++) {
        if (!pool->is_used[i]) {
            pool->is_used[i] = true;
            return &pool->frames[i];
        }
    }
    return NULL;
}

void link_pool_give(link_pool *pool, bn_link_frame *frame)
{
    BN_ASSERT(pool->is_used[frame - pool->frames]);
    pool->is_used[frame - pool->frames] = false;
}

typedef struct shape {
    size_t body_bytes, activation_bytes;
    uint64_t state;
} shape;

static shape shape_of(uint64_t seed, uint64_t step_id, size_t capacity)
{
    shape s = {.state = seed ^ step_id * 0x9E3779B97F4A7C15u};
    bool is_large = random_below(&s.state, 8) == 0;
    uint32_t body_max = is_large ? BN_ENVELOPE_MAX : 600;
    size_t words_max = is_large ? capacity / 4 : capacity / 64 / 4;
    s.body_bytes = 1 + random_below(&s.state, body_max);
    s.activation_bytes = 4 * (size_t)random_below(&s.state, (uint32_t)words_max + 1);
    return s;
}

void link_frame_fill(bn_link_frame *frame, uint64_t seed, uint64_t step_id)
{
    shape s = shape_of(seed, step_id, frame->activation_capacity);
    frame->step_id = step_id;
    frame->body_bytes = s.body_bytes;
    frame->activation_bytes = s.activation_bytes;
    memset(frame->head + BN_LINK_HEADER_BYTES, (int)(random_next(&s.state) & 0xff), s.body_bytes);
    memset(frame->activations, (int)(random_next(&s.state) & 0xff), s.activation_bytes);
}

static bool is_all(const uint8_t *bytes, size_t n, uint8_t value)
{
    return n == 0 || (bytes[0] == value && memcmp(bytes, bytes + 1, n - 1) == 0);
}

bool link_frame_is_filled(const bn_link_frame *frame, uint64_t seed)
{
    shape s = shape_of(seed, frame->step_id, frame->activation_capacity);
    if (frame->body_bytes != s.body_bytes || frame->activation_bytes != s.activation_bytes) {
        return false;
    }
    uint8_t body = (uint8_t)random_next(&s.state), activation = (uint8_t)random_next(&s.state);
    return is_all(frame->head + BN_LINK_HEADER_BYTES, s.body_bytes, body) &&
           is_all((const uint8_t *)frame->activations, s.activation_bytes, activation);
}
