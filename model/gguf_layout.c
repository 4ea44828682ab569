/* gguf_layout.c — the room of each tensor, compared with what each layout would take. */
#include "model/gguf_layout.h"

#include "common/alloc.h"
#include "common/log.h"
#include "model/tensor_type.h"

#include <inttypes.h>
#include <stdlib.h>

typedef struct candidate {
    uint32_t type;
    uint64_t n_bytes; /* 0: the dimensions do not fit this layout */
} candidate;

bool bn_gguf_layout_is_double(uint32_t type)
{
    return type == BN_TENSOR_TL2 || type == BN_TENSOR_Q2_0;
}

static candidate candidate_of(uint32_t type, const bn_gguf_tensor *tensor)
{
    candidate c = {.type = type};
    uint64_t n = tensor->dims[0] * tensor->dims[1] * tensor->dims[2] * tensor->dims[3];
    if (!bn_tensor_type_span(type, tensor->dims[0], n, &c.n_bytes)) c.n_bytes = 0;
    return c;
}

static int compare_offsets(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* Bytes from the tensor's start to the next greater offset. */
static uint64_t room_of(const uint64_t *offsets, uint64_t n, uint64_t offset, uint64_t data_bytes)
{
    uint64_t begin = 0, end = n;
    while (begin < end) {
        uint64_t middle = begin + (end - begin) / 2;
        if (offsets[middle] <= offset)
            begin = middle + 1;
        else
            end = middle;
    }
    uint64_t next = begin < n ? offsets[begin] : data_bytes;
    return next > offset ? next - offset : 0;
}

/* Whether the room is that of the layout, padded. */
static bool fills(const candidate *c, uint64_t room, uint64_t alignment)
{
    return c->n_bytes > 0 && c->n_bytes <= room && room - c->n_bytes < alignment;
}

/* TL2 takes less than half of MXFP4, so one tensor tells. One that fits neither stays TL2: the
 * file is cut short, which is said later. */
static bn_status settle_39(const char *path, bn_gguf_tensor *tensor, uint64_t room)
{
    candidate mxfp4 = candidate_of(BN_TENSOR_MXFP4, tensor);
    candidate tl2 = candidate_of(BN_TENSOR_TL2, tensor);
    candidate is = mxfp4.n_bytes > 0 && mxfp4.n_bytes <= room ? mxfp4 : tl2;
    if (is.n_bytes == 0)
        return bn_fail(BN_ERR_BAD_FILE, "MODEL-FILE",
                       "%s: tensor %s is of type 39 (TL2, or MXFP4 in other programs), but its "
                       "%" PRIu64 " columns fit neither",
                       path, tensor->name, tensor->dims[0]);
    tensor->type = is.type;
    tensor->n_bytes = is.n_bytes;
    return BN_OK;
}

typedef struct votes {
    uint64_t by_64, by_128; /* tensors that only this layout fills */
    const bn_gguf_tensor *first_64, *first_128;
} votes;

static void vote_42(votes *v, const bn_gguf_tensor *tensor, uint64_t room, uint64_t alignment)
{
    candidate a = candidate_of(BN_TENSOR_Q2_0, tensor);
    candidate b = candidate_of(BN_TENSOR_Q2_0_128, tensor);
    bool is_64 = fills(&a, room, alignment), is_128 = fills(&b, room, alignment);
    if (is_64 && !is_128 && v->by_64++ == 0) v->first_64 = tensor;
    if (is_128 && !is_64 && v->by_128++ == 0) v->first_128 = tensor;
}

/* A file has one of the two layouts: all its tensors must agree. */
static bn_status settle_42(const char *path, const votes *v, bn_gguf_tensor *tensor)
{
    if (v->by_64 > 0 && v->by_128 > 0)
        return bn_fail(BN_ERR_BAD_FILE, "MODEL-FILE",
                       "%s: tensor %s has the room of Q2_0 with groups of 64 and tensor %s that "
                       "of groups of 128; one file has one of them",
                       path, v->first_64->name, v->first_128->name);
    if (v->by_64 == 0 && v->by_128 == 0)
        return bn_fail(BN_ERR_BAD_FILE, "MODEL-FILE",
                       "%s: tensor %s is of type Q2_0 (42), but the room of such tensors tells "
                       "neither groups of 64 (18 bytes) nor of 128 (34 bytes)",
                       path, tensor->name);
    candidate is = candidate_of(v->by_64 > 0 ? BN_TENSOR_Q2_0 : BN_TENSOR_Q2_0_128, tensor);
    if (is.n_bytes == 0)
        return bn_fail(BN_ERR_BAD_FILE, "MODEL-FILE",
                       "%s: tensor %s has %" PRIu64 " columns, which do not fill blocks of %s",
                       path, tensor->name, tensor->dims[0], bn_tensor_type_name(is.type));
    tensor->type = is.type;
    tensor->n_bytes = is.n_bytes;
    return BN_OK;
}

static bn_status settle_all(const char *path, bn_gguf_tensor *tensors, uint64_t n,
                            const uint64_t *offsets, uint64_t data_bytes, uint32_t alignment)
{
    votes v = {0};
    for (uint64_t i = 0; i < n; i++)
        if (tensors[i].type == BN_TENSOR_Q2_0)
            vote_42(&v, &tensors[i], room_of(offsets, n, tensors[i].offset, data_bytes), alignment);
    for (uint64_t i = 0; i < n; i++) {
        if (tensors[i].type == BN_TENSOR_Q2_0) BN_TRY(settle_42(path, &v, &tensors[i]));
        if (tensors[i].type == BN_TENSOR_TL2)
            BN_TRY(
                settle_39(path, &tensors[i], room_of(offsets, n, tensors[i].offset, data_bytes)));
    }
    return BN_OK;
}

bn_status bn_gguf_layout_settle(const char *path, bn_gguf_tensor *tensors, uint64_t n,
                                uint64_t data_bytes, uint32_t alignment)
{
    uint64_t n_double = 0;
    for (uint64_t i = 0; i < n; i++)
        n_double += bn_gguf_layout_is_double(tensors[i].type) ? 1 : 0;
    if (n_double == 0) return BN_OK;
    uint64_t *offsets = bn_alloc((size_t)n, sizeof *offsets);
    if (offsets == NULL)
        return bn_fail(BN_ERR_NO_MEMORY, "MODEL-FILE", "%s: no memory to check %" PRIu64 " tensors",
                       path, n);
    for (uint64_t i = 0; i < n; i++)
        offsets[i] = tensors[i].offset;
    qsort(offsets, (size_t)n, sizeof *offsets, compare_offsets);
    bn_status status = settle_all(path, tensors, n, offsets, data_bytes, alignment);
    bn_free(offsets);
    return status;
}
