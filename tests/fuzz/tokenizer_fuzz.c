/* tokenizer_fuzz.c
 * What: no text and no ids crash the tokenizers or give anything but UTF-8; no keys of a file crash
 *       their reading.
 * How:  an input that begins with "GGUF" is a file: opened, and when it has a tokenizer that loads,
 *       used. Any other input is text for both golden vocabularies, with and without special
 *       parsing, and then, two bytes each, ids for their detokenizers.
 */
#include "common/log.h"
#include "coordinator/tokenizer.h"
#include "coordinator/unicode.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static bn_tokenizer *tokenizers[2];

static bn_tokenizer *open_golden(const char *name)
{
    char path[1024];
    const char *source = getenv("BN_SOURCE_DIR");
    snprintf(path, sizeof path, "%s/tests/golden/%s", source != NULL ? source : ".", name);
    bn_gguf *file;
    bn_tokenizer *tokenizer;
    if (bn_gguf_open(path, &file) != BN_OK) abort();
    if (bn_tokenizer_create(file, NULL, &tokenizer) != BN_OK) abort();
    bn_gguf_close(file);
    return tokenizer;
}

static void decode(const bn_tokenizer *tokenizer, const uint32_t *ids, size_t n, bool has_special)
{
    char out[BN_TOKEN_PIECE_MAX + 4];
    bn_detokenizer detokenizer;
    bn_detokenizer_init(&detokenizer, tokenizer, has_special);
    for (size_t i = 0; i < n; i++) {
        size_t n_out = bn_detokenizer_push(&detokenizer, ids[i], out);
        if (n_out > sizeof out || !bn_unicode_is_valid(out, n_out)) abort();
    }
    if (!bn_unicode_is_valid(out, bn_detokenizer_flush(&detokenizer, out))) abort();
}

static void use(const bn_tokenizer *tokenizer, const char *text, size_t n, bool must_encode)
{
    for (int i = 0; i < 4; i++) {
        bn_token_list ids = {0};
        bn_status status = bn_tokenizer_encode(tokenizer, text, n, i & 1, i & 2, &ids);
        if (status != BN_OK && must_encode) abort();
        for (size_t k = 0; k < ids.n; k++) {
            if (ids.ids[k] >= bn_tokenizer_size(tokenizer)) abort();
            if (!(i & 1) && bn_tokenizer_is_control(tokenizer, ids.ids[k])) abort();
        }
        decode(tokenizer, ids.ids, ids.n, i & 2);
        bn_token_list_fini(&ids);
    }
    uint32_t ids[512];
    size_t n_ids = 0;
    for (size_t at = 0; at + 1 < n && n_ids < sizeof ids / sizeof *ids; at += 2)
        ids[n_ids++] = (uint32_t)((unsigned char)text[at] | (unsigned char)text[at + 1] << 8);
    decode(tokenizer, ids, n_ids, true);
}

static void read_file(const uint8_t *bytes, size_t n)
{
    char path[64];
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    if (fd < 0 || write(fd, bytes, n) != (ssize_t)n) abort();
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    bn_gguf *file;
    if (bn_gguf_open(path, &file) == BN_OK) {
        bn_tokenizer *tokenizer;
        if (bn_tokenizer_create(file, NULL, &tokenizer) == BN_OK) {
            static const char text[] = "Hello <t> w\xC3\xA9ird \xFF world";
            use(tokenizer, text, sizeof text - 1, false);
            use(tokenizer, (const char *)bytes, n < 4096 ? n : 4096, false);
            bn_tokenizer_destroy(tokenizer);
        }
        bn_gguf_close(file);
    }
    close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    if (tokenizers[0] == NULL) {
        bn_log_init("fuzz", BN_LOG_ERROR);
        tokenizers[0] = open_golden("vocabulary-bpe.gguf");
        tokenizers[1] = open_golden("vocabulary-spm.gguf");
    }
    if (n >= 4 && memcmp(bytes, "GGUF", 4) == 0) {
        read_file(bytes, n);
        return 0;
    }
    for (int i = 0; i < 2; i++)
        use(tokenizers[i], (const char *)bytes, n, true);
    return 0;
}
