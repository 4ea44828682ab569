/* host_probe.c — the best of a few short passes; a pass that was disturbed only looks slow. */
#include "worker/host_probe.h"

#include "common/arena.h"
#include "common/clock.h"

#include <string.h>

#define READ_NS 20000000u    /* time given to reading */
#define COMPUTE_NS 10000000u /* and to computing */
#define ROWS 256u
#define COLS 1024u
#define TOKENS 8u

typedef struct probe {
    uint64_t *words;
    size_t n_words;
    _Atomic uint64_t sink; /* so that the sums are not optimised away */
    const bn_kernels *kernels;
    uint8_t *blocks; /* [n_threads] matrices */
    int8_t *panels;  /* [n_threads] */
    float *y;        /* [n_threads][TOKENS·ROWS] */
} probe;

static void touch_part(void *context, uint32_t thread_index, uint32_t n_threads)
{
    probe *p = context;
    size_t begin, end;
    bn_thread_part(p->n_words, thread_index, n_threads, &begin, &end);
    memset(p->words + begin, 1, (end - begin) * sizeof(uint64_t));
}

static void read_part(void *context, uint32_t thread_index, uint32_t n_threads)
{
    probe *p = context;
    size_t begin, end;
    uint64_t sums[8] = {0};
    bn_thread_part(p->n_words, thread_index, n_threads, &begin, &end);
    for (size_t i = begin; i + 8 <= end; i += 8)
        for (size_t j = 0; j < 8; j++)
            sums[j] += p->words[i + j];
    for (size_t j = 1; j < 8; j++)
        sums[0] += sums[j];
    p->sink += sums[0];
}

static void compute_part(void *context, uint32_t thread_index, uint32_t n_threads)
{
    (void)n_threads;
    probe *p = context;
    float scale[TOKENS];
    int32_t sum[TOKENS] = {0};
    for (size_t t = 0; t < TOKENS; t++)
        scale[t] = 1.0f;
    bn_ternary w = {
        .blocks = p->blocks + thread_index * bn_ternary_bytes(ROWS, COLS),
        .n_rows = ROWS,
        .n_cols = COLS,
        .scale = 1.0f,
        .post_scale = 1.0f,
    };
    bn_q8 x = {
        .panels = p->panels + thread_index * bn_q8_bytes(COLS, TOKENS),
        .scale = scale,
        .sum = sum,
        .n_tokens = TOKENS,
        .n_cols = COLS,
    };
    p->kernels->ternary_matmul(&w, 0, bn_ternary_groups(ROWS), &x,
                               p->y + (size_t)thread_index * TOKENS * ROWS, ROWS);
}

/* Shortest time of one run of `task`, repeated for about `limit_ns`. */
static uint64_t best_ns(bn_thread_pool *pool, bn_thread_task *task, probe *p, uint64_t limit_ns)
{
    uint64_t best = UINT64_MAX, began_ns = bn_clock_ns(), now_ns = began_ns;
    do {
        bn_thread_pool_run(pool, task, p);
        uint64_t end_ns = bn_clock_ns();
        if (end_ns - now_ns < best) best = end_ns - now_ns;
        now_ns = end_ns;
    } while (now_ns - began_ns < limit_ns);
    return best > 0 ? best : 1;
}

static bn_status run(bn_thread_pool *pool, const bn_kernels *kernels, bn_arena *arena,
                     bn_host_probe *probe_out)
{
    uint32_t n_threads = bn_thread_pool_size(pool);
    void *words, *blocks, *panels, *y;
    BN_TRY(bn_arena_take(arena, BN_HOST_PROBE_BYTES, &words));
    BN_TRY(bn_arena_take(arena, n_threads * bn_ternary_bytes(ROWS, COLS), &blocks));
    BN_TRY(bn_arena_take(arena, n_threads * bn_q8_bytes(COLS, TOKENS), &panels));
    BN_TRY(bn_arena_take(arena, (size_t)n_threads * TOKENS * ROWS * sizeof(float), &y));
    probe p = {
        .words = words,
        .n_words = BN_HOST_PROBE_BYTES / sizeof(uint64_t),
        .kernels = kernels,
        .blocks = blocks,
        .panels = panels,
        .y = y,
    };
    bn_thread_pool_run(pool, touch_part, &p);
    probe_out->bandwidth =
        BN_HOST_PROBE_BYTES * 1e9 / (double)best_ns(pool, read_part, &p, READ_NS);
    memset(blocks, 0x55, n_threads * bn_ternary_bytes(ROWS, COLS)); /* trits 0: any will do */
    probe_out->compute = (double)n_threads * ROWS * COLS * TOKENS * 1e9 /
                         (double)best_ns(pool, compute_part, &p, COMPUTE_NS);
    return BN_OK;
}

bn_status bn_host_probe_run(bn_thread_pool *pool, const bn_kernels *kernels,
                            bn_host_probe *probe_out)
{
    bn_arena *arena;
    uint32_t n_threads = bn_thread_pool_size(pool);
    size_t per_thread = bn_ternary_bytes(ROWS, COLS) + bn_q8_bytes(COLS, TOKENS) +
                        (size_t)TOKENS * ROWS * sizeof(float);
    BN_TRY(
        bn_arena_create("host probe", BN_HOST_PROBE_BYTES + n_threads * per_thread + 256, &arena));
    bn_status status = run(pool, kernels, arena, probe_out);
    bn_arena_destroy(arena);
    return status;
}
