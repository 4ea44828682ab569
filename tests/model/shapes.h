/* shapes.h — models that exist only as tables of tensors, for tests of plans and sizes.
 *
 * Memory:  a shape is freed with shape_free; its model has no file.
 */
#ifndef BN_TESTS_MODEL_SHAPES_H
#define BN_TESTS_MODEL_SHAPES_H

#include "model/model.h"

typedef struct shape {
    uint32_t n_layers, hidden, ffn, n_heads, n_kv_heads, head_size, vocab;
    uint32_t head_type; /* bn_tensor_type */
} shape;

bn_model *shape_new(const shape *s);
void shape_free(bn_model *model);

#endif
