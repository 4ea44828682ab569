/* golden.h — reads the committed golden logits (tests/golden/models/NAME.golden), a text of
 *     vocab N / tokens COUNT id … / position P bits …
 * with the logits' binary32 bits in hexadecimal, as reference.py writes it.
 *
 * Memory: bn_golden_close frees all. Errors: a malformed file fails the test (BN_ASSERT).
 */
#ifndef BN_TESTS_GOLDEN_GOLDEN_H
#define BN_TESTS_GOLDEN_GOLDEN_H

#include <stdint.h>

#define BN_GOLDEN_TOKENS_MAX 512u
#define BN_GOLDEN_POSITIONS_MAX 64u

typedef struct bn_golden {
    char model_path[1024];
    uint32_t vocab, n_tokens, n_positions;
    uint32_t tokens[BN_GOLDEN_TOKENS_MAX];
    uint32_t positions[BN_GOLDEN_POSITIONS_MAX];
    float *logits; /* [n_positions][vocab] */
} bn_golden;

/* How two vectors of logits differ. */
typedef struct bn_golden_difference {
    double cosine;
    double worst; /* largest difference ÷ (largest − smallest logit of `expected`) */
} bn_golden_difference;

extern const char *const bn_golden_names[];
extern const uint32_t bn_golden_n_names;

void bn_golden_open(const char *name, bn_golden *golden_out);
void bn_golden_close(bn_golden *golden);

bn_golden_difference bn_golden_compare(const float *logits, const float *expected, uint32_t n);

#endif
