#include "tests/golden/golden.h"

#include "common/alloc.h"
#include "common/status.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VOCAB_MAX 65536u

const char *const bn_golden_names[] = {
    "bitnet-silu",     "b158-relu2-straddling", "bitnet25-relu2-bf16", "llama-freqs-q8",
    "llama-q6k-gqa",   "bitnet-long",           "qwen3-yarn",          "bitnet-tq2-groups",
    "qwen3-q2-groups", "llama-tq1-groups",
};
const uint32_t bn_golden_n_names = sizeof bn_golden_names / sizeof bn_golden_names[0];

static FILE *open_file(const char *name, bn_golden *golden)
{
    char path[1024];
    const char *root = getenv("BN_SOURCE_DIR");
    if (!root) root = ".";
    (void)snprintf(golden->model_path, sizeof golden->model_path, "%s/tests/golden/models/%s.gguf",
                   root, name);
    (void)snprintf(path, sizeof path, "%s/tests/golden/models/%s.golden", root, name);
    FILE *file = fopen(path, "r");
    if (!file) (void)fprintf(stderr, "%s is missing (BN_SOURCE_DIR: the source tree)\n", path);
    BN_ASSERT(file);
    return file;
}

static void read_position(FILE *file, bn_golden *golden)
{
    uint32_t n = golden->n_positions;
    BN_ASSERT(n < BN_GOLDEN_POSITIONS_MAX && golden->vocab > 0);
    BN_ASSERT(fscanf(file, "%u", &golden->positions[n]) == 1);
    BN_ASSERT(golden->positions[n] < golden->n_tokens);
    float *row = bn_realloc(golden->logits, (size_t)(n + 1) * golden->vocab, sizeof(float));
    BN_ASSERT(row);
    golden->logits = row;
    row += (size_t)n * golden->vocab;
    for (uint32_t i = 0; i < golden->vocab; i++) {
        uint32_t bits;
        BN_ASSERT(fscanf(file, "%x", &bits) == 1);
        memcpy(&row[i], &bits, sizeof bits);
    }
    golden->n_positions++;
}

void bn_golden_open(const char *name, bn_golden *golden)
{
    memset(golden, 0, sizeof *golden);
    FILE *file = open_file(name, golden);
    char word[16];
    while (fscanf(file, "%15s", word) == 1) {
        if (word[0] == '#') {
            while (!feof(file) && fgetc(file) != '\n')
                continue;
        } else if (strcmp(word, "vocab") == 0) {
            BN_ASSERT(fscanf(file, "%u", &golden->vocab) == 1 && golden->vocab <= VOCAB_MAX);
        } else if (strcmp(word, "tokens") == 0) {
            BN_ASSERT(fscanf(file, "%u", &golden->n_tokens) == 1);
            BN_ASSERT(golden->n_tokens <= BN_GOLDEN_TOKENS_MAX);
            for (uint32_t i = 0; i < golden->n_tokens; i++)
                BN_ASSERT(fscanf(file, "%u", &golden->tokens[i]) == 1);
        } else {
            BN_ASSERT(strcmp(word, "position") == 0);
            read_position(file, golden);
        }
    }
    (void)fclose(file);
    BN_ASSERT(golden->n_tokens > 0 && golden->n_positions > 0);
}

void bn_golden_close(bn_golden *golden)
{
    bn_free(golden->logits);
    golden->logits = NULL;
}

bn_golden_difference bn_golden_compare(const float *logits, const float *expected, uint32_t n)
{
    double dot = 0.0, a2 = 0.0, b2 = 0.0, worst = 0.0;
    double low = (double)expected[0], high = (double)expected[0];
    for (uint32_t i = 0; i < n; i++) {
        double a = (double)logits[i], b = (double)expected[i];
        dot += a * b;
        a2 += a * a;
        b2 += b * b;
        worst = fmax(worst, fabs(a - b));
        low = fmin(low, b);
        high = fmax(high, b);
    }
    return (bn_golden_difference){.cosine = dot / sqrt(a2 * b2), .worst = worst / (high - low)};
}
