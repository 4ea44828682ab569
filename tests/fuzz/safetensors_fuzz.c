/* safetensors_fuzz.c
 * What: any bytes are a safetensors file whose every tensor lies in it, or are refused.
 * How:  the bytes become a file in memory; those that begin with a brace are a header, to which
 *       the right length is added, so that mutations reach what is behind it.
 */
#include "model/safetensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define SEPARATOR 0x1E /* between a header and its data */

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static void check_set(const bn_safetensors *set)
{
    uint64_t file_bytes = bn_safetensors_file_bytes(set, 0), sum = 0;
    for (uint32_t i = 0; i < bn_safetensors_n_tensors(set); i++) {
        const bn_safetensors_tensor *tensor = bn_safetensors_at(set, i);
        if (bn_safetensors_find(set, tensor->name) != tensor) abort();
        if (tensor->n_bytes > file_bytes || tensor->offset > file_bytes - tensor->n_bytes) abort();
        if (strcmp(bn_safetensors_dtype_name(tensor->dtype), "unknown") == 0) abort();
        sum += tensor->n_bytes;
    }
    if (sum >= file_bytes) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    char path[64];
    bn_safetensors *set;
    int fd = memfd_create("safetensors", MFD_CLOEXEC);
    if (fd < 0) abort();
    const uint8_t *end = n > 0 && bytes[0] == '{' ? memchr(bytes, SEPARATOR, n) : NULL;
    uint64_t length = end != NULL ? (uint64_t)(end - bytes) : 0;
    if (end != NULL && write(fd, &length, sizeof length) != sizeof length) abort();
    if (write(fd, bytes, (size_t)length) != (ssize_t)length) abort();
    if (end != NULL) length++;
    if (write(fd, bytes + length, n - (size_t)length) != (ssize_t)(n - (size_t)length)) abort();
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (bn_safetensors_open_file(path, &set) == BN_OK) {
        check_set(set);
        bn_safetensors_close(set);
    }
    close(fd);
    return 0;
}
