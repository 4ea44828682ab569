/* dump.c — one open file per layer; its header is written again whenever it has more rows. */
#include "worker/dump.h"

#include "common/alloc.h"
#include "common/log.h"
#include "common/npy.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct dump_file {
    int fd; /* −1: not open */
    uint32_t n_rows;
} dump_file;

struct bn_dump {
    char *directory;
    uint32_t hidden;
    uint32_t first; /* layer of files[0] */
    uint32_t n_files;
    dump_file *files;
};

static bn_status write_failed(const bn_dump *dump, uint32_t layer)
{
    return bn_fail(BN_ERR_IO, "DUMP-WRITE", "cannot write %s/layer_%03u.npy: %s", dump->directory,
                   layer, strerror(errno));
}

static bool write_at(int fd, const void *bytes, size_t n, uint64_t offset)
{
    for (size_t at = 0; at < n;) {
        ssize_t written = pwrite(fd, (const char *)bytes + at, n - at, (off_t)(offset + at));
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) return false;
        at += (size_t)written;
    }
    return true;
}

static bool write_header(const bn_dump *dump, const dump_file *file)
{
    char header[BN_NPY_HEADER_BYTES];
    bn_npy_header(BN_NPY_F32, file->n_rows, dump->hidden, header);
    return write_at(file->fd, header, sizeof header, 0);
}

static bn_status open_files(bn_dump *dump)
{
    char path[PATH_MAX];
    if (mkdir(dump->directory, 0777) != 0 && errno != EEXIST)
        return bn_fail(BN_ERR_IO, "DUMP-WRITE", "cannot make the directory %s: %s", dump->directory,
                       strerror(errno));
    for (uint32_t i = 0; i < dump->n_files; i++) {
        uint32_t layer = dump->first + i;
        int n = snprintf(path, sizeof path, "%s/layer_%03u.npy", dump->directory, layer);
        if (n < 0 || (size_t)n >= sizeof path)
            return bn_fail(BN_ERR_LIMIT, "DUMP-PATH", "--dump: the path is too long");
        int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0666);
        dump->files[i].fd = fd;
        if (fd < 0 || !write_header(dump, &dump->files[i])) return write_failed(dump, layer);
    }
    return BN_OK;
}

bn_status bn_dump_create(const char *directory, bn_stage_span span, uint32_t hidden,
                         bn_dump **dump_out)
{
    bn_dump *dump = bn_alloc(1, sizeof *dump);
    if (dump == NULL) return bn_fail(BN_ERR_NO_MEMORY, "DUMP-MEMORY", "no memory for a dump");
    dump->hidden = hidden;
    dump->first = span.layer_begin + !span.has_embedding;
    dump->n_files = span.layer_end - span.layer_begin + span.has_embedding;
    dump->directory = bn_strdup(directory);
    dump->files = bn_alloc(dump->n_files + 1u, sizeof *dump->files);
    bn_status status = BN_OK;
    if (dump->directory == NULL || dump->files == NULL)
        status = bn_fail(BN_ERR_NO_MEMORY, "DUMP-MEMORY", "no memory for a dump");
    for (uint32_t i = 0; i < dump->n_files && dump->files != NULL; i++)
        dump->files[i].fd = -1;
    if (status == BN_OK) status = open_files(dump);
    if (status != BN_OK) {
        bn_dump_destroy(dump);
        return status;
    }
    *dump_out = dump;
    return BN_OK;
}

void bn_dump_destroy(bn_dump *dump)
{
    if (dump == NULL) return;
    for (uint32_t i = 0; i < dump->n_files && dump->files != NULL; i++)
        if (dump->files[i].fd >= 0) close(dump->files[i].fd);
    bn_free(dump->files);
    bn_free(dump->directory);
    bn_free(dump);
}

bn_status bn_dump_write(bn_dump *dump, uint32_t layer, uint32_t position, uint32_t n_positions,
                        const float *rows)
{
    BN_ASSERT(layer >= dump->first && layer - dump->first < dump->n_files);
    dump_file *file = &dump->files[layer - dump->first];
    size_t row_bytes = dump->hidden * sizeof *rows;
    uint64_t offset = BN_NPY_HEADER_BYTES + (uint64_t)position * row_bytes;
    if (!write_at(file->fd, rows, n_positions * row_bytes, offset))
        return write_failed(dump, layer);
    if (position + n_positions <= file->n_rows) return BN_OK;
    file->n_rows = position + n_positions;
    return write_header(dump, file) ? BN_OK : write_failed(dump, layer);
}
