/* bench_kernels.c — kernels beside the bounds of the machine, all in one run.
 *
 * Bounds first: bytes per second read from memory, and products per second of the instruction the
 * table lives on. "cold" walks through more memory than any cache holds, "hot" repeats one matrix.
 * Medians; the shapes are those of a 2-billion-parameter model (2560 wide, 6912 in the middle).
 */
#include "tests/kernels/bench_kernels.h"

#include "common/clock.h"
#include "common/status.h"
#include "kernels/dense_blocks.h"
#include "kernels/screen.h"
#include "kernels/tables.h"
#include "tests/kernels/random.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define THREADS_MAX 2
#define COLD_BYTES ((size_t)1 << 30)
#define HUGE_PAGE ((size_t)2 << 20)
#define REPEATS 9

/* One piece of work, cut over threads by (index, n). */
typedef struct job {
    void (*run)(const struct job *job, uint32_t index, uint32_t n);
    const bn_kernels *k;
    bn_ternary w;
    bn_dense dense;
    bn_q8 q8;
    float *x, *y, *scales; /* of all matrices */
    bn_screen screen;
    bn_screen_tokens screen_tokens;
    float *upper;
    uint32_t n_tokens, n_matrices; /* a cold job takes the next matrix every time */
    size_t matrix_bytes, scale_bytes;
    uint32_t n_passes;
} job;

typedef struct worker {
    const job *work;
    pthread_barrier_t *barrier;
    uint32_t index, n, n_rounds;
} worker;

static uint8_t *memory; /* COLD_BYTES of huge pages, random */

static uint8_t *map_huge(size_t bytes)
{
    size_t mapped = (bytes + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE + HUGE_PAGE;
    uint8_t *map = mmap(NULL, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    BN_ASSERT(map != MAP_FAILED);
    uint8_t *data = map + (HUGE_PAGE - (uintptr_t)map % HUGE_PAGE) % HUGE_PAGE;
    (void)madvise(data, mapped - HUGE_PAGE, MADV_HUGEPAGE);
    return data;
}

static void *run_worker(void *argument)
{
    const worker *w = argument;
    bn_float_env_set();
    for (uint32_t i = 0; i < w->n_rounds; i++) {
        pthread_barrier_wait(w->barrier);
        w->work->run(w->work, w->index, w->n);
        pthread_barrier_wait(w->barrier);
    }
    return NULL;
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Median seconds of one round on n threads. */
static double measure(const job *work, uint32_t n)
{
    pthread_barrier_t barrier;
    pthread_t threads[THREADS_MAX];
    worker workers[THREADS_MAX];
    double seconds[REPEATS];
    BN_ASSERT(pthread_barrier_init(&barrier, NULL, n) == 0);
    for (uint32_t i = 0; i < n; i++)
        workers[i] = (worker){work, &barrier, i, n, REPEATS + 1};
    for (uint32_t i = 1; i < n; i++)
        BN_ASSERT(pthread_create(&threads[i], NULL, run_worker, &workers[i]) == 0);
    for (int i = -1; i < REPEATS; i++) { /* the first warms up */
        pthread_barrier_wait(&barrier);
        uint64_t begin = bn_clock_ns();
        work->run(work, 0, n);
        pthread_barrier_wait(&barrier);
        if (i >= 0) seconds[i] = (double)(bn_clock_ns() - begin) * 1e-9;
    }
    for (uint32_t i = 1; i < n; i++)
        BN_ASSERT(pthread_join(threads[i], NULL) == 0);
    BN_ASSERT(pthread_barrier_destroy(&barrier) == 0);
    qsort(seconds, REPEATS, sizeof seconds[0], compare_doubles);
    return seconds[REPEATS / 2];
}

typedef uint64_t vector_64 __attribute__((vector_size(64)));

static void read_memory(const job *work, uint32_t index, uint32_t n)
{
    (void)work;
    const vector_64 *p = (const vector_64 *)(const void *)(memory + COLD_BYTES / n * index);
    const vector_64 *end = p + COLD_BYTES / n / sizeof *p;
    vector_64 a = {0}, b = {0};
    for (; p < end; p += 2) {
        __builtin_prefetch(p + 64);
        __builtin_prefetch(p + 65);
        a ^= p[0];
        b ^= p[1];
    }
    a ^= b;
    __asm__ volatile("" : : "m"(a));
}

#define PEAK_ROUNDS 4000000u
#define PEAK_CHAINS 12u

#if defined(__x86_64__)

static void peak_vpdpbusd(const job *work, uint32_t index, uint32_t n)
{
    (void)work, (void)index, (void)n;
    uint64_t rounds = PEAK_ROUNDS;
    __asm__ volatile("1:\n\t"
                     ".irp r,2,3,4,5,6,7,8,9,10,11,12,13\n\t"
                     "vpdpbusd %%zmm0, %%zmm1, %%zmm\\r\n\t"
                     ".endr\n\t"
                     "dec %0\n\t"
                     "jnz 1b\n\t"
                     "vzeroupper"
                     : "+r"(rounds)
                     :
                     : "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8",
                       "xmm9", "xmm10", "xmm11", "xmm12", "xmm13");
}

static void peak_vpmaddubsw(const job *work, uint32_t index, uint32_t n)
{
    (void)work, (void)index, (void)n;
    uint64_t rounds = PEAK_ROUNDS;
    __asm__ volatile("1:\n\t"
                     ".irp r,2,3,4,5,6,7,8,9,10,11,12,13\n\t"
                     "vpmaddubsw %%ymm0, %%ymm1, %%ymm15\n\t"
                     "vpaddw %%ymm15, %%ymm\\r, %%ymm\\r\n\t"
                     ".endr\n\t"
                     "dec %0\n\t"
                     "jnz 1b\n\t"
                     "vzeroupper"
                     : "+r"(rounds)
                     :
                     : "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8",
                       "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm15");
}

#else

/* Another processor: its bound is not measured. */
static void peak_vpdpbusd(const job *work, uint32_t index, uint32_t n)
{
    (void)work, (void)index, (void)n;
}

static void peak_vpmaddubsw(const job *work, uint32_t index, uint32_t n)
{
    (void)work, (void)index, (void)n;
}

#endif

static void run_ternary(const job *work, uint32_t index, uint32_t n)
{
    bn_ternary w = work->w;
    uint32_t groups = bn_ternary_groups(w.n_rows);
    for (uint32_t pass = 0; pass < work->n_passes; pass++) {
        w.blocks = memory + work->matrix_bytes * (pass % work->n_matrices);
        if (work->scales != NULL)
            w.scales = work->scales + work->scale_bytes / sizeof(float) * (pass % work->n_matrices);
        work->k->ternary_matmul(&w, groups * index / n, groups * (index + 1) / n, &work->q8,
                                work->y, w.n_rows);
    }
}

static void run_dense(const job *work, uint32_t index, uint32_t n)
{
    const bn_dense *w = &work->dense;
    work->k->dense_matmul(w, (uint32_t)((uint64_t)w->n_rows * index / n),
                          (uint32_t)((uint64_t)w->n_rows * (index + 1) / n), work->x, w->n_cols,
                          work->n_tokens, work->y, w->n_rows);
}

typedef struct bounds {
    double bytes_per_s[THREADS_MAX], macs_per_s[THREADS_MAX];
} bounds;

static bounds measure_bounds(const bn_kernels *k)
{
    bounds limit;
    bool has_vnni = strcmp(k->name, "avx512") == 0;
    for (uint32_t n = 1; n <= THREADS_MAX; n++) {
        job read = {.run = read_memory};
        limit.bytes_per_s[n - 1] = (double)COLD_BYTES / measure(&read, n);
        job peak = {.run = has_vnni ? peak_vpdpbusd : peak_vpmaddubsw};
        double macs = (double)n * PEAK_ROUNDS * PEAK_CHAINS * (has_vnni ? 64 : 32);
        limit.macs_per_s[n - 1] = macs / measure(&peak, n);
        printf("%-7s %u threads: read %.1f GB/s, %s %.0f GMAC/s\n", k->name, n,
               limit.bytes_per_s[n - 1] * 1e-9, has_vnni ? "vpdpbusd" : "vpmaddubsw",
               limit.macs_per_s[n - 1] * 1e-9);
    }
    return limit;
}

static const struct {
    uint32_t n_rows, n_cols;
} shapes[] = {{3840, 2560}, {2560, 2560}, {13824, 2560}, {2560, 6912}};

/* With group_cols both sides have a scale for that many columns. */
static void bench_ternary(const bn_kernels *k, const bounds *limit, uint32_t n_rows,
                          uint32_t n_cols, uint32_t n_tokens, bool is_cold, uint32_t group_cols)
{
    job work = {.run = run_ternary, .k = k, .n_tokens = n_tokens};
    work.w = (bn_ternary){.n_rows = n_rows, .n_cols = n_cols, .scale = 1.0f, .post_scale = 1.0f};
    work.matrix_bytes = bn_ternary_bytes(n_rows, n_cols);
    work.n_matrices = is_cold ? (uint32_t)(COLD_BYTES / work.matrix_bytes) : 1;
    work.n_passes = is_cold ? work.n_matrices : 1 + 200 / n_tokens;
    if (is_cold && n_tokens > 1) work.n_passes = 1 + work.n_matrices / n_tokens;
    static float scale[512 * 128];
    static int32_t sum[512], part_sum[512 * 128];
    for (int i = 0; i < 512 * 128; i++)
        scale[i] = 1.0f;
    work.q8 = (bn_q8){.panels = (int8_t *)map_huge(bn_q8_bytes(n_cols, n_tokens)),
                      .scale = scale,
                      .sum = sum,
                      .part_sum = part_sum,
                      .n_tokens = n_tokens,
                      .n_cols = n_cols,
                      .group_cols = group_cols};
    if (group_cols != 0) {
        work.w.group_cols = group_cols;
        work.scale_bytes = bn_ternary_scale_bytes(n_rows, n_cols, group_cols);
        work.scales = (float *)(void *)map_huge(work.scale_bytes * work.n_matrices);
        memset(work.scales, 1, work.scale_bytes * work.n_matrices);
    }
    work.y = (float *)(void *)map_huge((size_t)n_rows * n_tokens * sizeof(float));
    for (uint32_t n = 1; n <= THREADS_MAX; n++) {
        double seconds = measure(&work, n) / work.n_passes;
        double bytes = (double)(work.matrix_bytes + work.scale_bytes) / seconds;
        double macs = (double)n_rows * n_cols * n_tokens / seconds;
        printf("%-7s ternary %5ux%u%s tokens %3u %s %u thr: %6.1f GB/s %3.0f %%  %7.1f GMAC/s "
               "%3.0f %%\n",
               k->name, n_rows, n_cols,
               group_cols == 0    ? ""
               : group_cols == 64 ? " by 64"
                                  : " by 128",
               n_tokens, is_cold ? "cold" : "hot ", n, bytes * 1e-9,
               100.0 * bytes / limit->bytes_per_s[n - 1], macs * 1e-9,
               100.0 * macs / limit->macs_per_s[n - 1]);
    }
}

static void bench_groups(const bn_kernels *k, const bounds *limit)
{
    for (uint32_t group_cols = 64; group_cols <= 128; group_cols *= 2) {
        bench_ternary(k, limit, 13824, 2560, 1, true, group_cols);
        bench_ternary(k, limit, 640, 2560, 1, false, group_cols);
        bench_ternary(k, limit, 13824, 2560, 8, true, group_cols);
        bench_ternary(k, limit, 13824, 2560, 512, true, group_cols);
    }
}

static const char *const dense_names[BN_DENSE_TYPES] = {
    "F32",  "F16",  "BF16",       "Q8_0",  "Q6_K",   "Q4_0", "Q5_0",
    "Q4_K", "Q2_0", "Q2_0 (128)", "TQ1_0", "PTQ1_0", "TQ2_0"};

static void bench_dense(const bn_kernels *k, const bounds *limit, bn_dense_type type,
                        uint32_t n_tokens)
{
    size_t row_bytes = 2560 / bn_dense_block_cols(type) * bn_dense_block_bytes(type);
    job work = {.run = run_dense, .k = k, .n_tokens = n_tokens};
    uint32_t n_rows = (uint32_t)(COLD_BYTES / row_bytes);
    n_rows = n_rows > 128256 ? 128256 : n_rows;
    work.dense = (bn_dense){memory, type, n_rows, 2560, row_bytes};
    work.x = (float *)(void *)map_huge((size_t)n_tokens * 2560 * sizeof(float));
    work.y = (float *)(void *)map_huge((size_t)n_tokens * n_rows * sizeof(float));
    for (uint32_t n = 1; n <= THREADS_MAX; n++) {
        double bytes = (double)row_bytes * n_rows / measure(&work, n);
        printf("%-7s head %-4s tokens %u cold %u thr: %6.1f GB/s %3.0f %%\n", k->name,
               dense_names[type], n_tokens, n, bytes * 1e-9,
               100.0 * bytes / limit->bytes_per_s[n - 1]);
    }
}

static void run_screen(const job *work, uint32_t index, uint32_t n)
{
    const bn_screen *w = &work->screen;
    uint32_t groups = bn_screen_groups(w->n_rows);
    work->k->screen_matmul(w, groups * index / n, groups * (index + 1) / n, &work->screen_tokens,
                           work->y, w->n_rows, work->upper, groups);
}

static void bench_screen(const bn_kernels *k, const bounds *limit, uint32_t n_tokens)
{
    job work = {.run = run_screen, .k = k};
    const uint32_t n_rows = 128256, n_cols = 2560;
    const float *vector = (const float *)(const void *)map_huge(bn_screen_vector_bytes(n_rows));
    work.screen = (bn_screen){memory, vector, vector, vector, n_rows, n_cols};
    work.screen_tokens = (bn_screen_tokens){
        .panel = (int8_t *)map_huge(bn_screen_panel_bytes(n_cols, n_tokens)),
        .n_tokens = n_tokens,
        .n_cols = n_cols,
    };
    work.y = (float *)(void *)map_huge((size_t)n_tokens * n_rows * sizeof(float));
    work.upper =
        (float *)(void *)map_huge((size_t)n_tokens * bn_screen_groups(n_rows) * sizeof(float));
    for (uint32_t n = 1; n <= THREADS_MAX; n++) {
        double bytes = (double)bn_screen_blocks_bytes(n_rows, n_cols) / measure(&work, n);
        printf("%-7s screen    tokens %u cold %u thr: %6.1f GB/s %3.0f %%\n", k->name, n_tokens, n,
               bytes * 1e-9, 100.0 * bytes / limit->bytes_per_s[n - 1]);
    }
}

static void bench_screen_pack(const bn_kernels *k)
{
    const uint32_t n_rows = 16384, n_cols = 2560, groups = bn_screen_groups(n_rows);
    bn_dense w = {memory, BN_DENSE_F16, n_rows, n_cols, (size_t)n_cols * 2};
    float *vectors = (float *)(void *)map_huge(3 * bn_screen_vector_bytes(n_rows));
    bn_screen_parts parts = {map_huge(bn_screen_blocks_bytes(n_rows, n_cols)), vectors,
                             vectors + groups * 16, vectors + groups * 32};
    float *scratch = (float *)(void *)map_huge((size_t)BN_SCREEN_SCRATCH * n_cols * sizeof(float));
    bn_screen_pack(k, &w, 0, groups, scratch, &parts);
    uint64_t begin = bn_clock_ns();
    bn_screen_pack(k, &w, 0, groups, scratch, &parts);
    double seconds = (double)(bn_clock_ns() - begin) * 1e-9;
    printf("%-7s screen_pack F16: %.2f GB/s of rows, one thread\n", k->name,
           (double)n_rows * n_cols * 2e-9 / seconds);
}

static void bench_attention(const bn_kernels *k)
{
    enum { HEADS = 4, SIZE = 128, CHUNKS = 64, ROUNDS = 20 };
    static float q[HEADS * SIZE], out[HEADS * SIZE], max[HEADS], sum[HEADS];
    static uint16_t *pages[CHUNKS * 4];
    for (int p = 0; p < CHUNKS * 4; p++)
        pages[p] = (uint16_t *)(void *)(memory + (size_t)p * 64 * SIZE * 4);
    bn_kv_view kv = {.pages = pages, .k_offset = 0, .v_offset = 64 * SIZE};
    uint64_t begin = bn_clock_ns();
    for (int round = 0; round < ROUNDS; round++)
        for (uint32_t c = 0; c < CHUNKS; c++)
            k->attention_chunk(q, HEADS, SIZE, &kv, c * 256, c * 256 + 256, out, max, sum);
    double seconds = (double)(bn_clock_ns() - begin) * 1e-9;
    double keys = (double)ROUNDS * CHUNKS * 256;
    printf("%-7s attention 4 heads of 128: %.1f ns a key, %.1f GB/s of cache, %.1f GFMA/s\n",
           k->name, seconds / keys * 1e9, keys * SIZE * 4 / seconds * 1e-9,
           keys * SIZE * 2 * HEADS / seconds * 1e-9);
}

static void bench_rows(const bn_kernels *k)
{
    enum { N = 6912, ROUNDS = 20000 };
    static float x[N], w[N], y[N], scale[1];
    static _Alignas(64) int8_t panel[N + 64];
    static int32_t sum[1];
    random_state random = {7};
    for (int i = 0; i < N; i++)
        x[i] = random_float(&random);
    uint64_t begin = bn_clock_ns();
    for (int i = 0; i < ROUNDS; i++)
        k->rms_norm(y, x, w, N, 1e-5f);
    uint64_t normed = bn_clock_ns();
    for (int i = 0; i < ROUNDS; i++)
        k->quantize(x, N, 1, N, 1, panel, scale, sum);
    uint64_t quantized = bn_clock_ns();
    for (int i = 0; i < ROUNDS; i++)
        k->gated(BN_ACTIVATION_SILU, y, x, x, N);
    uint64_t gated = bn_clock_ns();
    double each = 1e-3 / ROUNDS;
    printf("%-7s rows of 6912: rms_norm %.2f us, quantize %.2f us, silu %.2f us\n", k->name,
           (double)(normed - begin) * each, (double)(quantized - normed) * each,
           (double)(gated - quantized) * each);
}

static void fill_memory(void)
{
    if (memory != NULL) return;
    memory = map_huge(COLD_BYTES);
    for (size_t i = 0; i < COLD_BYTES; i++)
        memory[i] = (uint8_t)(0x55u ^ (i * 2654435761u >> 24 & 0x11u));
}

void bench_machine(void)
{
    fill_memory();
    measure_bounds(bn_kernels_get(BN_ISA_AUTO));
}

bool bench_table(const bn_kernels *k)
{
    fill_memory();
    bounds limit = measure_bounds(k);
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++)
        bench_ternary(k, &limit, shapes[s].n_rows, shapes[s].n_cols, 1, true, 0);
    bench_ternary(k, &limit, 640, 2560, 1, false, 0);
    for (uint32_t n = 2; n <= 8; n++)
        bench_ternary(k, &limit, 13824, 2560, n, true, 0);
    bench_ternary(k, &limit, 13824, 2560, 512, true, 0);
    bench_ternary(k, &limit, 2560, 6912, 512, true, 0);
    bench_groups(k, &limit);
    for (int type = BN_DENSE_F32; type < BN_DENSE_TYPES; type++)
        bench_dense(k, &limit, (bn_dense_type)type, 1);
    bench_dense(k, &limit, BN_DENSE_F16, 4);
    for (uint32_t n = 1; n <= BN_SCREEN_TOKENS_MAX; n++)
        bench_screen(k, &limit, n);
    bench_screen_pack(k);
    bench_attention(k);
    bench_rows(k);
    return true;
}
