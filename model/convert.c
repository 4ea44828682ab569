/* convert.c — opens, plans, and deals the ranges of each tensor to the threads. */
#include "model/convert.h"

#include "common/alloc.h"
#include "common/log.h"
#include "common/progress.h"
#include "kernels/kernels.h"
#include "model/convert_plan.h"
#include "model/convert_report.h"
#include "model/convert_rows.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>

/* The text of an error is its thread's; whoever called wants it. */
typedef struct range_error {
    bn_status status;
    char text[512];
} range_error;

typedef struct converter {
    const bn_convert_job *job;
    const bn_gguf *file;
    bn_convert_plan plan;
    bn_gguf_writer *writer;
    bn_thread_pool *pool;
    uint8_t *workspaces; /* [n_threads][workspace_bytes] */
    size_t workspace_bytes;
    bn_convert_seen *seen; /* [n_threads] of the tensor under way */
    range_error *errors;   /* [n_threads] */
    bn_progress progress;
    uint64_t done; /* bytes of the finished tensors */

    bn_convert_item *item; /* under way */
    uint64_t n_ranges;
    atomic_uint_fast64_t next;
    atomic_bool has_failed;
} converter;

static void set_float_env(void *context, uint32_t thread_index, uint32_t n_threads)
{
    (void)context, (void)thread_index, (void)n_threads;
    bn_float_env_set();
}

static void convert_ranges(void *context, uint32_t thread_index, uint32_t n_threads)
{
    (void)n_threads;
    converter *c = context;
    uint8_t *workspace = c->workspaces + thread_index * c->workspace_bytes;
    while (!atomic_load(&c->has_failed)) {
        uint64_t range = atomic_fetch_add(&c->next, 1);
        if (range >= c->n_ranges) return;
        bn_status status =
            bn_convert_rows(c->file, c->item, range, workspace, c->writer, &c->seen[thread_index]);
        if (status != BN_OK) {
            range_error *error = &c->errors[thread_index];
            error->status = status;
            snprintf(error->text, sizeof error->text, "%s", bn_log_last_error());
            atomic_store(&c->has_failed, true);
        }
        if (thread_index == 0)
            bn_progress_update(&c->progress, c->done + c->item->n_bytes / c->n_ranges * range);
    }
}

static void take_seen(bn_convert_item *item, const bn_convert_seen *seen)
{
    for (size_t i = 0; i < 4; i++)
        item->count.n_codes[i] += seen->count.n_codes[i];
    if (seen->count.deviation > item->count.deviation)
        item->count.deviation = seen->count.deviation;
    if (!seen->has_scales) return;
    bool is_first = item->scale_max == 0.0f && item->scale_min == 0.0f;
    if (is_first || seen->scale_min < item->scale_min) item->scale_min = seen->scale_min;
    if (is_first || seen->scale_max > item->scale_max) item->scale_max = seen->scale_max;
}

/* What stands beside the rows: the scale behind the codes, the `.scale` tensor. */
static bn_status write_scales(const converter *c, const bn_convert_item *item)
{
    if (item->action != BN_CONVERT_TRITS) return BN_OK;
    if (bn_trits_encoding_group(item->type) == 0)
        BN_TRY(bn_gguf_writer_data_at(c->writer, item->index,
                                      bn_trits_encoding_scale_at(&item->encoding),
                                      &item->held_scale, sizeof item->held_scale));
    if (!item->has_post_scale) return BN_OK;
    return bn_gguf_writer_data_at(c->writer, item->index + 1, 0, &item->post_scale,
                                  sizeof item->post_scale);
}

static bn_status convert_item(converter *c, bn_convert_item *item)
{
    uint32_t n_threads = bn_thread_pool_size(c->pool);
    for (uint32_t i = 0; i < n_threads; i++)
        c->seen[i] = (bn_convert_seen){0};
    c->item = item;
    c->n_ranges = bn_convert_rows_ranges(item);
    atomic_store(&c->next, 0);
    bn_thread_pool_run(c->pool, convert_ranges, c);
    for (uint32_t i = 0; i < n_threads; i++) {
        const range_error *error = &c->errors[i];
        if (error->status != BN_OK) return bn_fail_unlogged(error->status, "%s", error->text);
        take_seen(item, &c->seen[i]);
    }
    c->done += item->n_bytes;
    bn_progress_update(&c->progress, c->done);
    return write_scales(c, item);
}

static bn_status reserve(converter *c)
{
    uint32_t n_threads = bn_thread_pool_size(c->pool);
    for (uint64_t i = 0; i < c->plan.n_items; i++) {
        size_t bytes = bn_convert_rows_workspace(&c->plan.items[i]);
        if (bytes > c->workspace_bytes) c->workspace_bytes = bytes;
    }
    c->workspaces = bn_alloc(n_threads, c->workspace_bytes);
    c->seen = bn_alloc(n_threads, sizeof *c->seen);
    c->errors = bn_alloc(n_threads, sizeof *c->errors);
    if (c->workspaces != NULL && c->seen != NULL && c->errors != NULL) return BN_OK;
    return bn_fail(BN_ERR_NO_MEMORY, "CONVERT",
                   "no memory to convert %s: %" PRIu32 " threads × %zu bytes wanted; fewer "
                   "--threads need less",
                   c->job->in, n_threads, c->workspace_bytes);
}

static bn_status convert_all(converter *c, bn_convert_result *result)
{
    BN_TRY(bn_convert_plan_make(c->job, c->file, c->pool, &c->plan));
    BN_TRY(reserve(c));
    BN_TRY(bn_gguf_writer_create(c->job->out, &c->writer));
    if (c->job->on_partial != NULL) c->job->on_partial(bn_gguf_writer_partial_path(c->writer));
    BN_TRY(bn_convert_plan_declare(c->job, &c->plan, c->writer));
    BN_TRY(bn_gguf_writer_begin_data(c->writer));
    BN_TRY(bn_gguf_writer_begin_places(c->writer));
    result->n_bytes = bn_gguf_writer_file_bytes(c->writer);
    bn_progress_begin(&c->progress, "converting", result->n_bytes);
    bn_status status = BN_OK;
    for (uint64_t i = 0; i < c->plan.n_items && status == BN_OK; i++)
        status = convert_item(c, &c->plan.items[i]);
    bn_progress_end(&c->progress);
    BN_TRY(status);
    bn_convert_report_sum(&c->plan, result);
    /* The report first: a model under its name is one that was reported. */
    if (c->job->report != NULL) BN_TRY(bn_convert_report_write(c->job, &c->plan, result));
    return bn_gguf_writer_finish(c->writer);
}

/* Replacing what is being read would take away the only copy. */
static bn_status check_paths(const bn_convert_job *job)
{
    struct stat in, out;
    if (stat(job->in, &in) != 0 || stat(job->out, &out) != 0 || in.st_dev != out.st_dev ||
        in.st_ino != out.st_ino)
        return BN_OK;
    return bn_fail(BN_ERR_BAD_ARGUMENT, "CONVERT", "%s is IN and OUT; give OUT another name",
                   job->out);
}

bn_status bn_convert_write(const bn_convert_job *job, bn_convert_result *result_out)
{
    converter c = {.job = job};
    bn_gguf *file = NULL;
    *result_out = (bn_convert_result){0};
    BN_TRY(check_paths(job));
    const bn_thread_pool_config config = {.n_threads = job->n_threads, .on_start = set_float_env};
    BN_TRY(bn_thread_pool_create(&config, &c.pool));
    bn_status status = bn_gguf_open(job->in, &file);
    c.file = file;
    if (status == BN_OK) status = convert_all(&c, result_out);
    bn_gguf_writer_destroy(c.writer);
    if (job->on_partial != NULL) job->on_partial(NULL);
    bn_convert_plan_fini(&c.plan);
    bn_free(c.workspaces);
    bn_free(c.seen);
    bn_free(c.errors);
    bn_gguf_close(file);
    bn_thread_pool_destroy(c.pool);
    return status;
}
