/* queue.c — two counters that only grow; an item is at its count modulo the capacity. */
#include "worker/queue.h"

#include "common/alloc.h"
#include "common/log.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct bn_queue {
    uint8_t *items;
    size_t item_bytes;
    uint32_t capacity;
    int fd;
    _Atomic uint64_t n_pushed, n_popped;
};

bn_status bn_queue_create(size_t item_bytes, uint32_t capacity, bn_queue **queue_out)
{
    bn_queue *queue = bn_alloc(1, sizeof *queue);
    if (queue == NULL) return bn_fail(BN_ERR_NO_MEMORY, "QUEUE-CREATE", "no memory for a queue");
    queue->item_bytes = (item_bytes + 63) / 64 * 64;
    queue->capacity = capacity;
    queue->items = bn_alloc(capacity, queue->item_bytes);
    queue->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (queue->items == NULL || queue->fd < 0) {
        bn_status status =
            bn_fail(BN_ERR_NO_MEMORY, "QUEUE-CREATE", "cannot make a queue of %u × %zu bytes: %s",
                    capacity, queue->item_bytes, strerror(errno));
        bn_queue_destroy(queue);
        return status;
    }
    *queue_out = queue;
    return BN_OK;
}

void bn_queue_destroy(bn_queue *queue)
{
    if (queue == NULL) return;
    if (queue->fd >= 0) close(queue->fd);
    bn_free(queue->items);
    bn_free(queue);
}

void *bn_queue_back(bn_queue *queue)
{
    uint64_t n_pushed = atomic_load_explicit(&queue->n_pushed, memory_order_relaxed);
    if (n_pushed - atomic_load_explicit(&queue->n_popped, memory_order_acquire) == queue->capacity)
        return NULL;
    return queue->items + n_pushed % queue->capacity * queue->item_bytes;
}

uint32_t bn_queue_n_free(const bn_queue *queue)
{
    uint64_t n_pushed = atomic_load_explicit(&queue->n_pushed, memory_order_relaxed);
    uint64_t n_popped = atomic_load_explicit(&queue->n_popped, memory_order_acquire);
    return queue->capacity - (uint32_t)(n_pushed - n_popped);
}

void bn_queue_ring(bn_queue *queue)
{
    const uint64_t one = 1;
    /* Fails only when the counter is full, and then the descriptor is readable anyway. */
    ssize_t ignored = write(queue->fd, &one, sizeof one);
    (void)ignored;
}

void bn_queue_push(bn_queue *queue)
{
    atomic_fetch_add_explicit(&queue->n_pushed, 1, memory_order_release);
    bn_queue_ring(queue);
}

void *bn_queue_front(bn_queue *queue)
{
    uint64_t n_popped = atomic_load_explicit(&queue->n_popped, memory_order_relaxed);
    if (atomic_load_explicit(&queue->n_pushed, memory_order_acquire) == n_popped) return NULL;
    return queue->items + n_popped % queue->capacity * queue->item_bytes;
}

void bn_queue_pop(bn_queue *queue)
{
    BN_ASSERT(bn_queue_front(queue) != NULL);
    atomic_fetch_add_explicit(&queue->n_popped, 1, memory_order_release);
}

int bn_queue_fd(const bn_queue *queue)
{
    return queue->fd;
}

void bn_queue_hush(bn_queue *queue)
{
    uint64_t count;
    ssize_t ignored = read(queue->fd, &count, sizeof count);
    (void)ignored;
}
