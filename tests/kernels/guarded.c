/* guarded.c — mmap and mprotect. */
#include "tests/kernels/guarded.h"

#include "common/status.h"

#include <string.h>
#include <sys/mman.h>

#define PAGE 4096u
#define PATTERN 0xA5

guarded guarded_create(size_t bytes, size_t alignment)
{
    size_t inner = (bytes + alignment + PAGE - 1) / PAGE * PAGE;
    uint8_t *map =
        mmap(NULL, inner + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    BN_ASSERT(map != MAP_FAILED);
    BN_ASSERT(mprotect(map + inner, PAGE, PROT_NONE) == 0);
    memset(map, PATTERN, inner);
    size_t begin = (inner - bytes) / alignment * alignment;
    return (guarded){map, map + begin, bytes, inner + PAGE};
}

void guarded_destroy(guarded *buffer)
{
    BN_ASSERT(munmap(buffer->map, buffer->map_bytes) == 0);
    buffer->map = NULL;
}

void guarded_fill(guarded *buffer, uint8_t value)
{
    memset(buffer->data, value, buffer->bytes);
}

bool guarded_is_intact(const guarded *buffer)
{
    for (const uint8_t *p = buffer->map; p < buffer->data; p++)
        if (*p != PATTERN) return false;
    const uint8_t *end = buffer->map + buffer->map_bytes - PAGE;
    for (const uint8_t *p = buffer->data + buffer->bytes; p < end; p++)
        if (*p != PATTERN) return false;
    return true;
}
