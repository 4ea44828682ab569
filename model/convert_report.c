/* convert_report.c — one object for the file, one for each tensor. */
#include "model/convert_report.h"

#include "common/json.h"
#include "common/log.h"
#include "model/tensor_type.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static uint64_t n_trits(const bn_trits_count *count)
{
    return count->n_codes[0] + count->n_codes[1] + count->n_codes[2];
}

void bn_convert_report_sum(const bn_convert_plan *plan, bn_convert_result *result)
{
    uint64_t n = 0, n_zeros = 0;
    for (uint64_t i = 0; i < plan->n_items; i++) {
        const bn_convert_item *item = &plan->items[i];
        if (item->action != BN_CONVERT_TRITS) continue;
        result->n_ternary++;
        n += n_trits(&item->count);
        n_zeros += item->count.n_codes[1];
        if (item->count.deviation > result->deviation) result->deviation = item->count.deviation;
    }
    result->zeros = n > 0 ? (double)n_zeros / (double)n : 0.0;
    result->arch = plan->arch_out;
}

static void describe_trits(const bn_convert_item *item, bn_json *json)
{
    const bn_trits_info *info = bn_trits_info_of(item->trits);
    bn_json_set_text(json, "rule", info->rule);
    if (info->is_one_scale) {
        bn_json_set_double(json, "scale", (double)info->scale);
    } else {
        bn_json_set_u64(json, "scale_columns", info->group_cols);
        bn_json_set_double(json, "scale_min", (double)item->scale_min);
        bn_json_set_double(json, "scale_max", (double)item->scale_max);
    }
    if (item->has_post_scale) bn_json_set_double(json, "scale_tensor", (double)item->post_scale);
    uint64_t n = n_trits(&item->count);
    bn_json_set_u64(json, "minus", item->count.n_codes[0]);
    bn_json_set_u64(json, "zero", item->count.n_codes[1]);
    bn_json_set_u64(json, "plus", item->count.n_codes[2]);
    bn_json_set_double(json, "zeros", n > 0 ? (double)item->count.n_codes[1] / (double)n : 0.0);
    bn_json_set_double(json, "deviation", item->count.deviation);
}

static bn_json *describe(const bn_convert_item *item)
{
    bn_json *json = bn_json_object();
    if (json == NULL) return NULL;
    bn_json_set_text(json, "name", item->tensor->name);
    bn_json_set_text(json, "from", bn_tensor_type_name(item->tensor->type));
    bn_json_set_text(json, "to", bn_tensor_type_name(item->type));
    bn_json_set_u64(json, "columns", item->tensor->dims[0]);
    bn_json_set_u64(json, "rows", item->tensor->dims[1]);
    bn_json_set_u64(json, "bytes", item->n_bytes);
    if (item->action == BN_CONVERT_TRITS)
        describe_trits(item, json);
    else
        bn_json_set_text(json, "rule",
                         item->action == BN_CONVERT_COPY ? "copied" : "rounded to its type");
    return json;
}

static bn_json *report_of(const bn_convert_job *job, const bn_convert_plan *plan,
                          const bn_convert_result *result)
{
    bn_json *json = bn_json_object(), *tensors = bn_json_array();
    if (json == NULL || tensors == NULL) {
        bn_json_free(json);
        bn_json_free(tensors);
        return NULL;
    }
    bn_json_set_text(json, "in", job->in);
    bn_json_set_text(json, "out", job->out);
    bn_json_set_text(json, "type", bn_tensor_type_name(job->type));
    bn_json_set_text(json, "architecture", result->arch);
    bn_json_set_u64(json, "bytes", result->n_bytes);
    bn_json_set_u64(json, "ternary_tensors", result->n_ternary);
    bn_json_set_double(json, "zeros", result->zeros);
    bn_json_set_double(json, "deviation", result->deviation);
    for (uint64_t i = 0; i < plan->n_items; i++)
        bn_json_add(tensors, describe(&plan->items[i]));
    bn_json_set(json, "tensors", tensors);
    return json;
}

bn_status bn_convert_report_write(const bn_convert_job *job, const bn_convert_plan *plan,
                                  const bn_convert_result *result)
{
    bn_json *json = report_of(job, plan, result);
    if (json == NULL)
        return bn_fail(BN_ERR_NO_MEMORY, "CONVERT-REPORT", "no memory for the report");
    FILE *stream = fopen(job->report, "we");
    if (stream == NULL) {
        bn_json_free(json);
        return bn_fail(BN_ERR_IO, "CONVERT-REPORT", "cannot create the report %s: %s", job->report,
                       strerror(errno));
    }
    errno = 0;
    bn_status status = bn_json_print(json, stream, 2);
    bn_json_free(json);
    bool is_written = fflush(stream) == 0 && !ferror(stream);
    int cause = errno;
    is_written = fclose(stream) == 0 && is_written;
    if (status == BN_OK && is_written) return BN_OK;
    unlink(job->report);
    return bn_fail(BN_ERR_IO, "CONVERT-REPORT", "cannot write the report %s: %s", job->report,
                   strerror(cause != 0 ? cause : EIO));
}
