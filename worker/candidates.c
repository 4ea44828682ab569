/* candidates.c — partial selection with a heap.
 *
 * The heap's root is the worst of those kept. Ids come in ascending order, so an equal logit
 * never displaces one, and the common case of a row of 10^5 logits is one comparison each.
 */
#include "worker/candidates.h"

#include "common/status.h"
#include "common/thread_pool.h"

bool bn_candidates_before(bn_candidate a, bn_candidate b)
{
    bool a_is_nan = a.logit != a.logit;
    bool b_is_nan = b.logit != b.logit;
    if (a_is_nan != b_is_nan) return b_is_nan;
    if (!a_is_nan && a.logit != b.logit) return a.logit > b.logit;
    return a.id < b.id;
}

/* Moves heap[i] down until no child is worse than it. */
static void sift_down(bn_candidate *heap, uint32_t n, uint32_t i)
{
    bn_candidate moving = heap[i];
    for (;;) {
        uint32_t child = 2 * i + 1;
        if (child >= n) break;
        if (child + 1 < n && bn_candidates_before(heap[child], heap[child + 1])) child++;
        if (!bn_candidates_before(moving, heap[child])) break;
        heap[i] = heap[child];
        i = child;
    }
    heap[i] = moving;
}

static void sort_heap(bn_candidate *heap, uint32_t n)
{
    for (uint32_t end = n; end > 1; end--) {
        bn_candidate worst = heap[0];
        heap[0] = heap[end - 1];
        heap[end - 1] = worst;
        sift_down(heap, end - 1, 0);
    }
}

uint32_t bn_candidates_select(const float *logits, uint32_t id_begin, uint32_t id_end,
                              uint32_t n_best, bn_candidate *best_out)
{
    uint32_t n = id_end - id_begin < n_best ? id_end - id_begin : n_best;
    if (n == 0) return 0;
    for (uint32_t i = 0; i < n; i++) {
        best_out[i] = (bn_candidate){.id = id_begin + i, .logit = logits[id_begin + i]};
    }
    for (uint32_t i = n / 2; i-- > 0;) {
        sift_down(best_out, n, i);
    }
    for (uint32_t id = id_begin + n; id < id_end; id++) {
        /* False for most; the full comparison only when the root is NaN or beaten. */
        if (logits[id] <= best_out[0].logit) continue;
        bn_candidate next = {.id = id, .logit = logits[id]};
        if (!bn_candidates_before(next, best_out[0])) continue;
        best_out[0] = next;
        sift_down(best_out, n, 0);
    }
    sort_heap(best_out, n);
    return n;
}

uint32_t bn_candidates_add(const float *logits, const uint32_t *ids, uint32_t n_ids,
                           uint32_t n_best, bn_candidate *best, uint32_t n_in)
{
    uint32_t n = n_in, i = 0;
    for (; i < n_ids && n < n_best; i++) {
        best[n++] = (bn_candidate){.id = ids[i], .logit = logits[ids[i]]};
        if (n < n_best) continue;
        for (uint32_t node = n / 2; node-- > 0;) /* full: a heap from here on */
            sift_down(best, n, node);
    }
    for (; i < n_ids && n > 0; i++) {
        bn_candidate next = {.id = ids[i], .logit = logits[ids[i]]};
        if (!bn_candidates_before(next, best[0])) continue;
        best[0] = next;
        sift_down(best, n, 0);
    }
    return n;
}

void bn_candidates_sort(bn_candidate *best, uint32_t n)
{
    for (uint32_t i = n / 2; i-- > 0;)
        sift_down(best, n, i);
    sort_heap(best, n);
}

uint32_t bn_candidates_merge(const bn_candidate *lists, uint32_t stride, const uint32_t *n_in,
                             uint32_t n_lists, uint32_t n_best, bn_candidate *best_out)
{
    uint32_t cursors[BN_THREADS_MAX] = {0};
    BN_ASSERT(n_lists <= BN_THREADS_MAX);
    uint32_t n = 0;
    for (; n < n_best; n++) {
        const bn_candidate *best = NULL;
        uint32_t best_list = 0;
        for (uint32_t i = 0; i < n_lists; i++) {
            if (cursors[i] == n_in[i]) continue;
            const bn_candidate *head = &lists[(size_t)i * stride + cursors[i]];
            if (best != NULL && !bn_candidates_before(*head, *best)) continue;
            best = head;
            best_list = i;
        }
        if (best == NULL) break;
        best_out[n] = *best;
        cursors[best_list]++;
    }
    return n;
}
