/* cluster_key.c — one pair for server and client alike: a cluster has one secret to hand out, and
 * the authenticator admits its public half only. The mathematics is the channel's.
 */
#include "proto/cluster_key.h"

#include "common/log.h"
#include "proto/channel.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BN_KEY_FILE_MAX 1024u

static bn_status check_mode(const char *path, int fd)
{
    struct stat info;
    if (fstat(fd, &info) != 0) {
        return bn_fail(BN_ERR_IO, "KEY-FILE", "%s: %s", path, strerror(errno));
    }
    if (!S_ISREG(info.st_mode)) {
        return bn_fail(BN_ERR_BAD_FILE, "KEY-FILE", "%s is not a regular file", path);
    }
    if ((info.st_mode & 077u) != 0) {
        return bn_fail(BN_ERR_REFUSED, "KEY-FILE",
                       "%s has mode %04o, so others can use the key; run: chmod 600 %s", path,
                       (unsigned)(info.st_mode & 07777u), path);
    }
    return BN_OK;
}

static bool is_z85(const char *text)
{
    static const char z85[] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                              ".-:+=^!/*?&<>()[]{}@%$#";
    return strlen(text) == BN_CLUSTER_KEY_CHARS && strspn(text, z85) == BN_CLUSTER_KEY_CHARS;
}

/* Takes "NAME VALUE" out of `line`. */
static void parse_line(const char *line, const char *name, char value_out[BN_CLUSTER_KEY_CHARS + 1])
{
    size_t n = strlen(name);
    if (strncmp(line, name, n) != 0 || line[n] != ' ') return;
    const char *value = line + n + 1;
    size_t length = strcspn(value, " \r");
    if (length != BN_CLUSTER_KEY_CHARS) return;
    memcpy(value_out, value, length);
    value_out[length] = '\0';
}

static bn_status parse_file(const char *path, char *text, bn_cluster_key *key_out)
{
    bn_cluster_key key = {.is_set = true};
    char *rest = text;
    for (char *line = strsep(&rest, "\n"); line != NULL; line = strsep(&rest, "\n")) {
        parse_line(line, "public", key.public_key);
        parse_line(line, "secret", key.secret_key);
    }
    if (!is_z85(key.public_key) || !is_z85(key.secret_key) || !bn_channel_is_key_pair(&key)) {
        return bn_fail(BN_ERR_BAD_FILE, "KEY-FILE",
                       "%s holds no cluster key; make one with: bitnet-coordinator keygen FILE",
                       path);
    }
    *key_out = key;
    return BN_OK;
}

bn_status bn_cluster_key_read(const char *path, bn_cluster_key *key_out)
{
    char text[BN_KEY_FILE_MAX + 1];
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        return bn_fail(BN_ERR_IO, "KEY-FILE", "cannot open %s: %s", path, strerror(errno));
    }
    bn_status status = check_mode(path, fd);
    if (status == BN_OK) {
        ssize_t n = read(fd, text, BN_KEY_FILE_MAX);
        if (n < 0) {
            status = bn_fail(BN_ERR_IO, "KEY-FILE", "cannot read %s: %s", path, strerror(errno));
        } else {
            text[n] = '\0';
            status = parse_file(path, text, key_out);
        }
    }
    close(fd);
    explicit_bzero(text, sizeof text);
    return status;
}

static bn_status write_file(const char *path, int fd, const char *text, size_t n)
{
    ssize_t n_written = write(fd, text, n);
    if (n_written == (ssize_t)n && fsync(fd) == 0) return BN_OK;
    int cause = n_written < 0 || n_written == (ssize_t)n ? errno : ENOSPC;
    unlink(path);
    return bn_fail(BN_ERR_IO, "KEY-FILE", "cannot write %s: %s", path, strerror(cause));
}

bn_status bn_cluster_key_write(const char *path)
{
    bn_cluster_key key;
    char text[BN_KEY_FILE_MAX];
    BN_TRY(bn_channel_make_key_pair(&key));
    int n = snprintf(text, sizeof text,
                     "# BitNet Cluster key: whoever holds this file may join the cluster. "
                     "Keep it private.\npublic %s\nsecret %s\n",
                     key.public_key, key.secret_key);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        bool is_there = errno == EEXIST;
        return bn_fail(is_there ? BN_ERR_REFUSED : BN_ERR_IO, "KEY-FILE",
                       is_there ? "%s exists; a key is never overwritten (%s)"
                                : "cannot create %s: %s",
                       path, strerror(errno));
    }
    bn_status status = write_file(path, fd, text, (size_t)n);
    close(fd);
    explicit_bzero(text, sizeof text);
    explicit_bzero(&key, sizeof key);
    return status;
}
