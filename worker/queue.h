/* queue.h — a bounded queue from one thread to another, with a file descriptor that rings.
 *
 * Items are filled and read in place. The descriptor (an eventfd) is readable after a push, until
 * _hush; so a consumer hushes, empties the queue, and sleeps on the descriptor.
 *
 * Memory:  all items are reserved by _create.
 * Threads: one producer (_back, _push), one consumer (_front, _pop, _hush); _ring: any.
 */
#ifndef BN_WORKER_QUEUE_H
#define BN_WORKER_QUEUE_H

#include "common/status.h"

#include <stddef.h>
#include <stdint.h>

typedef struct bn_queue bn_queue;

BN_CHECKED bn_status bn_queue_create(size_t item_bytes, uint32_t capacity, bn_queue **queue_out);
void bn_queue_destroy(bn_queue *queue);

/* The item to fill next, NULL when full. */
void *bn_queue_back(bn_queue *queue);
void bn_queue_push(bn_queue *queue);

/* Places left, as the producer sees it. */
uint32_t bn_queue_n_free(const bn_queue *queue);

/* The oldest item, NULL when empty; it stays until _pop. */
void *bn_queue_front(bn_queue *queue);
void bn_queue_pop(bn_queue *queue);

int bn_queue_fd(const bn_queue *queue);

/* Rings without an item. */
void bn_queue_ring(bn_queue *queue);
void bn_queue_hush(bn_queue *queue);

#endif
