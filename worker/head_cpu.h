/* head_cpu.h — norm, head and candidates of a few rows on the threads of a pool.
 *
 * The whole head computes every logit. The screened head bounds every logit from int8 rows
 * (kernels/screen.h) and computes those that may be among the best, and those asked for by id; it
 * returns the same candidates, values and order (docs/NUMERICS.md). Log-sum-exp, all logits and
 * rows that cannot be bounded take the whole head.
 *
 * Memory:  from the device's arena, at creation; nothing is allocated later.
 * Threads: the main thread only; works on the pool.
 * Errors:  BN_ERR_LIMIT of the arena, a miscounted budget.
 */
#ifndef BN_WORKER_HEAD_CPU_H
#define BN_WORKER_HEAD_CPU_H

#include "worker/device.h"

typedef struct bn_head_cpu bn_head_cpu;

BN_CHECKED bn_status bn_head_cpu_create(const bn_device_config *config, bn_head_cpu **head_out);
void bn_head_cpu_destroy(bn_head_cpu *head);

void bn_head_cpu_run(bn_head_cpu *h, const bn_device_head *head);

bn_device_head_counts bn_head_cpu_counted(const bn_head_cpu *head);

/* Thread `thread_index` has computed a part since creation. */
bool bn_head_cpu_has_worked(const bn_head_cpu *head, uint32_t thread_index);

#endif
