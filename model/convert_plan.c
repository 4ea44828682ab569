/* convert_plan.c — names, types and scales.
 *
 * The scale: I2_S, TL1 and TL2 hold any f32. TQ1_0, TQ2_0 and F16 hold an f16, so a scale that is
 * no F16 number goes to the optional tensor `.scale`, which multiplies the projection's result, and
 * the type holds 1; the product is the same in every bit. The way back folds it in again.
 *
 * The name: mainline llama.cpp knows `bitnet` alone and takes the activation from a key, bitnet.cpp
 * goes by the name. TQ1_0, TQ2_0 and F16 are mainline's, I2_S, TL1 and TL2 Microsoft's.
 */
#include "model/convert_plan.h"

#include "common/alloc.h"
#include "common/log.h"
#include "kernels/math.h"
#include "model/arch.h"
#include "model/model_config.h"
#include "model/tensor_type.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static const char file_type[] = "general.file_type";
static const char *const linear_parts[] = {"attn_q",   "attn_k", "attn_v",  "attn_output",
                                           "ffn_gate", "ffn_up", "ffn_down"};

/* "blk.7.attn_q" of "blk.7.attn_q.weight" or ".scale"; false when it is no projection. */
static bool is_linear(const char *name, const char *suffix)
{
    if (strncmp(name, "blk.", 4) != 0) return false;
    name += 4;
    if (*name < '0' || *name > '9') return false;
    while (*name >= '0' && *name <= '9')
        name++;
    if (*name++ != '.') return false;
    for (size_t i = 0; i < sizeof linear_parts / sizeof linear_parts[0]; i++) {
        size_t n = strlen(linear_parts[i]);
        if (strncmp(name, linear_parts[i], n) == 0 && strcmp(name + n, suffix) == 0) return true;
    }
    return false;
}

static bool is_embedding_or_head(const char *name)
{
    return strcmp(name, "token_embd.weight") == 0 || strcmp(name, "output.weight") == 0;
}

static void post_scale_name(const char *weight, char out[BN_GGUF_NAME_MAX])
{
    size_t n = strlen(weight) - strlen(".weight");
    snprintf(out, BN_GGUF_NAME_MAX, "%.*s.scale", (int)n, weight);
}

static bool is_f16(float x)
{
    return bn_f32_from_f16(bn_f16_from_f32(x)) == x;
}

static bool holds_any_scale(uint32_t type)
{
    return bn_trits_encoding_group(type) == 0;
}

static bn_status fail_tensor(const bn_gguf *file, const bn_gguf_tensor *tensor, const char *why)
{
    return bn_fail(BN_ERR_UNSUPPORTED, "CONVERT-TENSOR", "%s: tensor %s: %s", bn_gguf_path(file),
                   tensor->name, why);
}

/* The value of a `.scale` tensor; 1 when there is none. */
static bn_status read_post_scale(const bn_gguf *file, const bn_gguf_tensor *weight,
                                 bn_convert_item *item)
{
    char name[BN_GGUF_NAME_MAX];
    post_scale_name(weight->name, name);
    const bn_gguf_tensor *tensor = bn_gguf_tensor_find(file, name);
    item->post_scale = 1.0f;
    item->has_post_scale = tensor != NULL;
    if (tensor == NULL) return BN_OK;
    if (tensor->type != BN_TENSOR_F32 || tensor->n_bytes != sizeof(float))
        return fail_tensor(file, tensor, "it is not one F32 number");
    BN_TRY(bn_gguf_read(file, tensor, 0, sizeof(float), &item->post_scale));
    if (isfinite(item->post_scale) && item->post_scale > 0.0f) return BN_OK;
    return fail_tensor(file, tensor, "it is not finite and above 0");
}

static bn_status fail_groups(const bn_gguf *file, const bn_gguf_tensor *tensor, uint32_t type,
                             const bn_trits_info *info)
{
    char why[160];
    bool fits_tq = info->group_cols % 256 == 0 && info->n_cols % 256 == 0;
    snprintf(why, sizeof why,
             "it has a scale for every %" PRIu32 " columns, which %s cannot hold; "
             "use --type %s",
             info->group_cols, bn_tensor_type_name(type), fits_tq ? "tq2_0, tq1_0 or f16" : "f16");
    return fail_tensor(file, tensor, why);
}

static bn_status settle_scale(const bn_gguf *file, bn_convert_item *item)
{
    const bn_trits_info *info = bn_trits_info_of(item->trits);
    uint32_t group = bn_trits_encoding_group(item->type);
    if (!info->is_one_scale) {
        if (group == 0 || info->group_cols % group != 0)
            return fail_groups(file, item->tensor, item->type, info);
        return BN_OK; /* each is looked at when it is written */
    }
    item->held_scale = info->scale;
    if (holds_any_scale(item->type)) {
        if (item->has_post_scale && info->scale == 1.0f) {
            item->held_scale = item->post_scale;
            item->has_post_scale = false;
        }
        return BN_OK;
    }
    if (is_f16(info->scale)) return BN_OK;
    if (item->has_post_scale && item->post_scale != 1.0f)
        return fail_tensor(file, item->tensor,
                           "its scale is no F16 number, and its .scale tensor is taken; use "
                           "--type i2_s");
    item->held_scale = 1.0f;
    item->has_post_scale = true;
    item->post_scale = info->scale;
    return BN_OK;
}

static bn_status plan_linear(const bn_convert_job *job, const bn_gguf *file, bn_thread_pool *pool,
                             bn_convert_item *item)
{
    const bn_gguf_tensor *tensor = item->tensor;
    const bn_trits_options options = {.pool = pool, .tl_tiles = &job->tiles};
    item->action = BN_CONVERT_TRITS;
    item->type = job->type;
    if (!bn_trits_can_read(tensor->type)) {
        char why[128];
        snprintf(why, sizeof why, "it is %s (%" PRIu32 "), which is not ternary",
                 bn_tensor_type_name(tensor->type), tensor->type);
        return fail_tensor(file, tensor, why);
    }
    BN_TRY(bn_trits_open(file, tensor, &options, &item->trits));
    const bn_trits_info *info = bn_trits_info_of(item->trits);
    BN_TRY(bn_trits_encoding_make(tensor->name, job->type, info->n_rows, info->n_cols, &job->tiles,
                                  &item->encoding));
    BN_TRY(read_post_scale(file, tensor, item));
    return settle_scale(file, item);
}

/* The type that a file may name for a layout that has no id of its own. */
static uint32_t file_type_of(uint32_t type)
{
    return type == BN_TENSOR_Q2_0_128 ? BN_TENSOR_PQ2_0 : type;
}

static bn_status plan_values(const bn_gguf *file, bn_thread_pool *pool, uint32_t type,
                             bn_convert_item *item)
{
    const bn_gguf_tensor *tensor = item->tensor;
    bn_dense_type dense;
    item->action = BN_CONVERT_VALUES;
    item->type = type;
    if (tensor->dims[0] % bn_tensor_type_block(type) != 0) {
        char why[128];
        snprintf(why, sizeof why,
                 "its %" PRIu64 " columns do not fill blocks of %s; use --head f16",
                 tensor->dims[0], bn_tensor_type_name(type));
        return fail_tensor(file, tensor, why);
    }
    if (bn_model_dense_type(tensor->type, &dense)) return BN_OK;
    if (bn_trits_can_read(tensor->type))
        return bn_trits_open(file, tensor, &(bn_trits_options){.pool = pool}, &item->trits);
    return fail_tensor(file, tensor, "its type cannot be read");
}

static bn_status plan_item(const bn_convert_job *job, const bn_gguf *file, bn_thread_pool *pool,
                           bn_convert_item *item)
{
    const bn_gguf_tensor *tensor = item->tensor;
    bool is_half = tensor->type == BN_TENSOR_F16 || tensor->type == BN_TENSOR_BF16;
    if (is_linear(tensor->name, ".weight")) return plan_linear(job, file, pool, item);
    if (is_embedding_or_head(tensor->name) && job->has_head_type && tensor->type != job->head_type)
        return plan_values(file, pool, job->head_type, item);
    if (tensor->dims[1] == 1 && is_half) return plan_values(file, pool, BN_TENSOR_F32, item);
    item->action = BN_CONVERT_COPY;
    item->type = file_type_of(tensor->type);
    if (tensor->n_bytes == 0 || item->type >= BN_TENSOR_HF_TERNARY)
        return fail_tensor(file, tensor, "its type cannot be written to a file");
    return BN_OK;
}

static bn_status check_has_weight(const bn_gguf *file, const bn_gguf_tensor *scale)
{
    char name[BN_GGUF_NAME_MAX + 1];
    snprintf(name, sizeof name, "%.*s.weight", (int)(strlen(scale->name) - strlen(".scale")),
             scale->name);
    if (bn_gguf_tensor_find(file, name) != NULL) return BN_OK;
    return fail_tensor(file, scale, "there is no weight that it belongs to");
}

static bn_status plan_tensors(const bn_convert_job *job, bn_thread_pool *pool,
                              bn_convert_plan *plan)
{
    uint64_t index = 0, n_ternary = 0;
    for (uint64_t i = 0; i < bn_gguf_n_tensors(plan->file); i++) {
        const bn_gguf_tensor *tensor = bn_gguf_tensor_at(plan->file, i);
        if (is_linear(tensor->name, ".scale")) {
            BN_TRY(check_has_weight(plan->file, tensor));
            continue; /* goes with its weight */
        }
        bn_convert_item *item = &plan->items[plan->n_items++];
        item->tensor = tensor;
        item->index = index;
        if (tensor->dims[2] != 1 || tensor->dims[3] != 1)
            return fail_tensor(plan->file, tensor, "it has more than two dimensions");
        BN_TRY(plan_item(job, plan->file, pool, item));
        uint64_t n = tensor->dims[0] * tensor->dims[1];
        bool is_whole = bn_tensor_type_span(item->type, tensor->dims[0], n, &item->n_bytes);
        BN_ASSERT(is_whole);
        n_ternary += item->action == BN_CONVERT_TRITS ? 1 : 0;
        index += item->has_post_scale ? 2 : 1;
    }
    if (n_ternary > 0) return BN_OK;
    return bn_fail(BN_ERR_UNSUPPORTED, "CONVERT-TENSOR",
                   "%s holds no layers, so there is nothing to convert", bn_gguf_path(plan->file));
}

static bn_status plan_arch(const bn_convert_job *job, bn_convert_plan *plan)
{
    const bn_gguf_tensor *embedding = bn_gguf_tensor_find(plan->file, "token_embd.weight");
    bn_model_config config;
    uint32_t vocab = 1;
    if (embedding != NULL && embedding->dims[1] <= BN_VOCAB_MAX)
        vocab = (uint32_t)embedding->dims[1];
    BN_TRY(bn_model_config_read(plan->file, BN_ACTIVATION_FROM_FILE, vocab, &config));
    plan->arch_in = plan->arch_out = config.arch;
    if (strncmp(config.arch, "bitnet", 6) != 0) return BN_OK;
    bool is_relu2 = config.activation == BN_ACTIVATION_RELU2;
    if (!holds_any_scale(job->type)) {
        plan->arch_out = "bitnet";
        plan->hidden_act = is_relu2 ? "relu2" : "silu";
    } else if (strcmp(config.arch, "bitnet") == 0 && is_relu2) {
        plan->arch_out = "bitnet-b1.58";
    }
    const bn_arch *arch = bn_arch_find(plan->arch_out, strlen(plan->arch_out));
    bn_activation by_name =
        bn_arch_activation(arch, config.n_layers, config.hidden, config.ffn, config.vocab);
    if (by_name != config.activation) plan->hidden_act = is_relu2 ? "relu2" : "silu";
    return BN_OK;
}

bn_status bn_convert_plan_make(const bn_convert_job *job, const bn_gguf *file, bn_thread_pool *pool,
                               bn_convert_plan *plan_out)
{
    *plan_out = (bn_convert_plan){.file = file};
    plan_out->items = bn_alloc((size_t)bn_gguf_n_tensors(file) + 1, sizeof *plan_out->items);
    if (plan_out->items == NULL)
        return bn_fail(BN_ERR_NO_MEMORY, "CONVERT-TENSOR",
                       "no memory for %" PRIu64 " tensors of %s", bn_gguf_n_tensors(file),
                       bn_gguf_path(file));
    bn_status status = plan_arch(job, plan_out);
    if (status == BN_OK) status = plan_tensors(job, pool, plan_out);
    if (status != BN_OK) bn_convert_plan_fini(plan_out);
    return status;
}

void bn_convert_plan_fini(bn_convert_plan *plan)
{
    for (uint64_t i = 0; i < plan->n_items; i++)
        bn_trits_close(plan->items[i].trits);
    bn_free(plan->items);
    *plan = (bn_convert_plan){0};
}

/* ── the new file's header ───────────────────────────────────────────────────────────────── */

/* Keys that say how the old file was laid out. */
static bool is_dropped(const char *key)
{
    return strncmp(key, "split.", 6) == 0 || strcmp(key, "general.alignment") == 0;
}

static uint32_t file_type_key(uint32_t type)
{
    switch (type) {
    case BN_TENSOR_TQ1_0: return 36;
    case BN_TENSOR_TQ2_0: return 37;
    case BN_TENSOR_TL1: return 38;
    case BN_TENSOR_TL2: return 39;
    case BN_TENSOR_I2_S: return 40;
    default: return 1; /* mostly F16 */
    }
}

/* Keys keep their places. One of the architecture gets the new one's name in front. */
static bn_status copy_key(const bn_convert_job *job, const bn_convert_plan *plan,
                          bn_gguf_writer *writer, uint64_t index)
{
    const char *key = bn_gguf_key_name(plan->file, index);
    size_t n = strlen(plan->arch_in);
    bool is_of_arch = strncmp(key, plan->arch_in, n) == 0 && key[n] == '.';
    if (is_dropped(key) || (is_of_arch && strcmp(key + n, ".hidden_act") == 0)) return BN_OK;
    if (strcmp(key, "general.architecture") == 0) {
        bn_gguf_writer_key_text(writer, key, plan->arch_out);
        return BN_OK;
    }
    if (strcmp(key, file_type) == 0) {
        bn_gguf_writer_key_u32(writer, key, file_type_key(job->type));
        return BN_OK;
    }
    if (!is_of_arch || strcmp(plan->arch_in, plan->arch_out) == 0) {
        bn_gguf_writer_key_copy(writer, plan->file, index);
        return BN_OK;
    }
    char name[256];
    if ((size_t)snprintf(name, sizeof name, "%s%s", plan->arch_out, key + n) >= sizeof name)
        return bn_fail(BN_ERR_UNSUPPORTED, "CONVERT-KEY", "%s: the name of key %.64s… is too long",
                       bn_gguf_path(plan->file), key);
    bn_gguf_writer_key_copy_as(writer, plan->file, index, name);
    return BN_OK;
}

bn_status bn_convert_plan_declare(const bn_convert_job *job, const bn_convert_plan *plan,
                                  bn_gguf_writer *writer)
{
    char name[BN_GGUF_NAME_MAX];
    bool has_file_type = false;
    for (uint64_t i = 0; i < bn_gguf_n_keys(plan->file); i++) {
        has_file_type = has_file_type || strcmp(bn_gguf_key_name(plan->file, i), file_type) == 0;
        BN_TRY(copy_key(job, plan, writer, i));
    }
    if (!has_file_type) bn_gguf_writer_key_u32(writer, file_type, file_type_key(job->type));
    if (plan->hidden_act != NULL) {
        snprintf(name, sizeof name, "%s.hidden_act", plan->arch_out);
        bn_gguf_writer_key_text(writer, name, plan->hidden_act);
    }
    for (uint64_t i = 0; i < plan->n_items; i++) {
        const bn_convert_item *item = &plan->items[i];
        const bn_gguf_tensor *tensor = item->tensor;
        bn_gguf_writer_tensor(writer, tensor->name, item->type, tensor->dims[0],
                              tensor->n_dims > 1 ? tensor->dims[1] : 0);
        if (!item->has_post_scale) continue;
        post_scale_name(tensor->name, name);
        bn_gguf_writer_tensor(writer, name, BN_TENSOR_F32, 1, 0);
    }
    return BN_OK;
}
