/* hf_folder.c — files in /tmp. */
#include "tests/coordinator/hf_folder.h"

#include "model/hf_tokenizer.h"
#include "tests/common/cmocka_all.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bn_status hf_folder_open(const char *folder, uint32_t vocab, bn_gguf **file_out)
{
    char path[] = "/tmp/hf_folder_XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    bn_gguf_writer *writer = NULL;
    assert_int_equal(bn_gguf_writer_create(path, &writer), BN_OK);
    bn_status status = bn_hf_tokenizer_write(folder, vocab, writer);
    if (status == BN_OK) status = bn_gguf_writer_begin_data(writer);
    if (status == BN_OK) status = bn_gguf_writer_finish(writer);
    bn_gguf_writer_destroy(writer);
    if (status == BN_OK) status = bn_gguf_open(path, file_out);
    unlink(path);
    return status;
}

void hf_folder_make(char path[64])
{
    snprintf(path, 64, "%s", "/tmp/hf_folder_XXXXXX");
    assert_non_null(mkdtemp(path));
}

void hf_folder_put(const char *path, const char *name, const void *bytes, size_t n)
{
    char file[512];
    snprintf(file, sizeof file, "%s/%s", path, name);
    FILE *stream = fopen(file, "wb");
    assert_non_null(stream);
    assert_int_equal(fwrite(bytes, 1, n, stream), n);
    fclose(stream);
}

void hf_folder_remove(const char *path)
{
    DIR *folder = opendir(path);
    assert_non_null(folder);
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        char file[512];
        if (entry->d_name[0] == '.') continue;
        snprintf(file, sizeof file, "%s/%s", path, entry->d_name);
        unlink(file);
    }
    closedir(folder);
    rmdir(path);
}
