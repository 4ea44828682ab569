/* hf_files.h — tiny Hugging Face folders, right ones and ones that are wrong in one place.
 *
 * One layer, hidden size 32, 4 heads of 8 (2 of them for keys and values), ffn 64, vocabulary 16.
 *
 * Memory: one folder at a time, in /tmp; the path is static.
 * Errors: running out of disk fails the test.
 */
#ifndef BN_TESTS_MODEL_HF_FILES_H
#define BN_TESTS_MODEL_HF_FILES_H

#include <stdbool.h>
#include <stdint.h>

typedef enum hf_kind {
    HF_BITNET,  /* packed, multiplied by the scale; BF16 */
    HF_1BITLLM, /* F16 master weights; sub-norms of other names */
    HF_LLAMA,   /* packed, divided by the scale; a head of its own */
    HF_QWEN3,   /* F16 that are ternary; norms of q and k */
} hf_kind;

typedef struct hf_change {
    hf_kind kind;
    const char *from, *to; /* in config.json */
    const char *tensor;    /* this one: */
    const char *dtype;     /* another dtype */
    const char *rename;    /* another name */
    uint64_t rows, cols;   /* another shape */
    bool drop;
    const float *scale; /* its value, for a weight_scale */
    const char *extra;  /* one more tensor, a vector of 4 */
    bool is_sharded;    /* two files and an index */
    bool has_head;      /* lm_head although the embedding is tied */
    bool head_differs;
} hf_change;

/* Makes the folder anew. */
const char *hf_files_make(const hf_change *change);
void hf_files_remove(void);

/* The bytes of the tensor as the last _make wrote them; *n_out of them. */
const uint8_t *hf_files_tensor(const char *name, uint64_t *n_out);

#endif
