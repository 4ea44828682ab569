/* driver.c — runs a fuzz target as an ordinary test.
 *
 * What: fuzz_NAME CORPUS_DIRECTORY [ROUNDS]: every file as it is, then ROUNDS mutations of each
 *       (bits flipped, bytes replaced, ranges cut, repeated or overwritten by another file's).
 * How:  a fixed seed (BN_SEED overrides, printed), so that a failure repeats. A crash, a
 *       sanitizer report or an abort is the failure; BN_FUZZ_KEEP=FILE keeps the running input.
 */
#include "common/alloc.h"
#include "common/log.h"

#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILES_MAX 1024
#define INPUT_MAX (1u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

typedef struct input {
    uint8_t *bytes;
    size_t n;
} input;

static input inputs[FILES_MAX];
static size_t n_inputs;
static uint64_t random_state = 0x9e3779b97f4a7c15ull;

static uint64_t random_below(uint64_t end)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return end == 0 ? 0 : (random_state * 0x2545f4914f6cdd1dull >> 11) % end;
}

static int read_file(const char *directory, const char *name)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    FILE *stream = fopen(path, "rb");
    if (stream == NULL) return -1;
    input *in = &inputs[n_inputs];
    in->bytes = bn_alloc(INPUT_MAX, 1);
    if (in->bytes != NULL) in->n = fread(in->bytes, 1, INPUT_MAX, stream);
    fclose(stream);
    if (in->bytes == NULL) return -1;
    uint8_t *exact = bn_realloc(in->bytes, in->n == 0 ? 1 : in->n, 1);
    if (exact != NULL) in->bytes = exact;
    n_inputs++;
    return 0;
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int read_corpus(const char *directory)
{
    struct dirent **entries;
    int n = scandir(directory, &entries, NULL, by_name);
    if (n < 0) return -1;
    int status = 0;
    for (int i = 0; i < n; i++) {
        bool is_file = entries[i]->d_name[0] != '.';
        if (is_file && (n_inputs == FILES_MAX || read_file(directory, entries[i]->d_name) != 0)) {
            fprintf(stderr, "cannot read %s/%s\n", directory, entries[i]->d_name);
            status = -1;
        }
        free(entries[i]);
    }
    free(entries);
    return status;
}

/* An exact copy on the heap, so that a sanitizer sees a read past the end. */
static void run(const uint8_t *bytes, size_t n)
{
    const char *keep = getenv("BN_FUZZ_KEEP");
    if (keep != NULL) {
        FILE *stream = fopen(keep, "wb");
        if (stream != NULL) {
            fwrite(bytes, 1, n, stream);
            fclose(stream);
        }
    }
    uint8_t *copy = bn_alloc(n == 0 ? 1 : n, 1);
    if (copy == NULL) abort();
    memcpy(copy, bytes, n);
    LLVMFuzzerTestOneInput(copy, n);
    bn_free(copy);
}

static size_t mutate(uint8_t *bytes, size_t n)
{
    static const uint8_t telling[] = {0x00, 0x01, 0x7f, 0x80, 0xfe, 0xff};
    const input *other = &inputs[random_below(n_inputs)];
    size_t at = (size_t)random_below(n + 1), room = INPUT_MAX - n;
    size_t length = (size_t)random_below(n - at + 1);
    switch (random_below(6)) {
    case 0:
        if (at < n) bytes[at] ^= (uint8_t)(1u << random_below(8));
        return n;
    case 1:
        if (at < n) bytes[at] = telling[random_below(sizeof telling)];
        return n;
    case 2: return at;
    case 3: /* cut out */
        if (length > 16) length = (size_t)random_below(16);
        memmove(bytes + at, bytes + at + length, n - at - length);
        return n - length;
    case 4: /* repeat */
        if (length > room) length = room;
        memmove(bytes + at + length, bytes + at, n - at);
        return n + length;
    default: /* another's bytes over ours */
        if (length > other->n) length = other->n;
        memcpy(bytes + at, other->bytes + (other->n - length), length);
        return n;
    }
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: %s CORPUS_DIRECTORY [ROUNDS]\n", argv[0]);
        return 2;
    }
    const char *seed = getenv("BN_SEED");
    if (seed != NULL) random_state = strtoull(seed, NULL, 0) | 1u;
    uint64_t rounds = argc > 2 ? strtoull(argv[2], NULL, 10) : 400;
    bn_log_set_quiet(true);
    if (read_corpus(argv[1]) != 0 || n_inputs == 0) {
        fprintf(stderr, "no corpus in %s\n", argv[1]);
        return 1;
    }
    printf("%zu files, %llu mutations each, BN_SEED=%llu\n", n_inputs, (unsigned long long)rounds,
           (unsigned long long)random_state);
    uint8_t *bytes = bn_alloc(INPUT_MAX, 1);
    if (bytes == NULL) return 1;
    for (size_t i = 0; i < n_inputs; i++) {
        run(inputs[i].bytes, inputs[i].n);
        for (uint64_t round = 0; round < rounds; round++) {
            size_t n = inputs[i].n;
            memcpy(bytes, inputs[i].bytes, n);
            for (uint64_t left = 1 + random_below(4); left > 0; left--)
                n = mutate(bytes, n);
            run(bytes, n);
        }
    }
    for (size_t i = 0; i < n_inputs; i++)
        bn_free(inputs[i].bytes);
    bn_free(bytes);
    return 0;
}
