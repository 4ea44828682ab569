/* worker.c — events in the order they come, steps in the order of their ids.
 *
 * Steps of the first stage stand in the control queue among the other events; those of later
 * stages arrive over the link into frames. While awake the loop pumps the link: free frames are
 * lent for receiving at once, so that the next step is under way while this one is computed.
 */
#include "worker/worker.h"

#include "common/alloc.h"
#include "common/clock.h"
#include "common/host.h"
#include "common/log.h"
#include "common/progress.h"
#include "worker/assignment.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#define CONNECT_TIMEOUT_MS 30000u
#define IDLE_WAIT_MS 500u
#define AWAKE_WAIT_MS 100u
#define LOAD_NOTICE_MS 200u
#define FRAME_TIMEOUT_MS 30000u
#define LOGITS_TIMEOUT_MS 60000u
#define FULL_POLL_NS 100000u
#define FAREWELL_WAIT_MS 250u /* a neighbour may have heard the farewell before us */
#define FAREWELL_POLL_NS 1000000u

struct bn_worker {
    bn_worker_config config;
    bn_control *control;
    bn_wire *wire;
    bn_message message; /* a step of the link, or one to be packed */
    bn_message reply;
    bn_message result;
    bn_worker_state state;
    int exit_code;
    bool has_left, is_orderly;

    bn_model *model;
    char model_path[BN_TEXT_MAX]; /* of `model`; "" when there is none */
    uint32_t activation;          /* with which it was opened */

    uint64_t session;
    bn_assign assign;
    bn_stage *stage;
    const bn_link_ops *ops;
    bn_link *link;
    uint64_t load_notice_ms;

    bool is_awake, has_rest;
    uint64_t rest_step;
    uint64_t last_step; /* that left this stage */
    bn_link_frame *free_frames[BN_STEPS_IN_FLIGHT_MAX + 1];
    uint32_t n_free;
    bn_link_frame *arrived[BN_STEPS_IN_FLIGHT_MAX + 1]; /* oldest first */
    uint32_t n_arrived, n_sending;
    _Atomic bool is_row_sent[BN_STAGE_LOGITS_QUEUED];
    uint32_t next_row;

    uint64_t n_steps, n_tokens, compute_ns, wait_ns;
    uint32_t entries_max, tokens_max, queued_max;
};

static void set_state(bn_worker *w, bn_worker_state state)
{
    w->state = state;
    bn_control_report(w->control, state, w->assign.epoch, w->last_step);
}

static bn_status send_reply(bn_worker *w)
{
    return bn_control_send(w->control, w->session, &w->reply);
}

/* ---- the stage's life -------------------------------------------------------------------- */

static void drop_stage(bn_worker *w)
{
    if (w->link != NULL) w->ops->destroy(w->link);
    bn_control_forget_logits(w->control, w->is_row_sent, BN_STAGE_LOGITS_QUEUED);
    bn_stage_destroy(w->stage);
    w->link = NULL;
    w->ops = NULL;
    w->stage = NULL;
    w->n_free = w->n_arrived = w->n_sending = 0;
    w->is_awake = w->has_rest = false;
    w->last_step = 0;
    memset(&w->assign, 0, sizeof w->assign);
}

static void report_failure(bn_worker *w, bn_status status)
{
    w->reply.kind = BN_MESSAGE_FAILURE;
    w->reply.failure = (bn_failure){.epoch = w->assign.epoch, .code = (int32_t)status};
    const char *text = bn_log_last_error();
    snprintf(w->reply.failure.text, sizeof w->reply.failure.text, "%s",
             text[0] != '\0' ? text : bn_status_text(status));
    if (send_reply(w) != BN_OK) bn_log_debug("FAILURE-LOST", "the failure could not be reported");
}

/* A lost neighbour, which nobody has logged yet: is the farewell for all on its way? */
static bool is_lost(const bn_worker *w)
{
    uint64_t deadline_ms = bn_clock_ms() + FAREWELL_WAIT_MS;
    while (!bn_control_is_cancelled(w->control)) {
        if (bn_clock_ms() >= deadline_ms) {
            bn_log_error("LINK-FAILED", "%s", bn_log_last_error());
            return true;
        }
        bn_clock_sleep_ns(FAREWELL_POLL_NS);
    }
    return false;
}

/* What an error means: nothing when an event that ends the work waits; else the stage is over. */
static void end_stage(bn_worker *w, bn_status status)
{
    bool is_ended = status == BN_ERR_PEER_LOST ? !is_lost(w) : bn_control_is_cancelled(w->control);
    if (!is_ended) report_failure(w, status);
    drop_stage(w);
    set_state(w, w->state == BN_WORKER_JOINING ? BN_WORKER_JOINING : BN_WORKER_WAITING);
}

static bn_status on_load(void *context, uint64_t done_bytes, uint64_t total_bytes)
{
    bn_worker *w = context;
    if (bn_control_is_cancelled(w->control)) return BN_ERR_INTERRUPTED;
    bn_control_progress(w->control);
    uint64_t now_ms = bn_clock_ms();
    if (now_ms - w->load_notice_ms < LOAD_NOTICE_MS && done_bytes < total_bytes) return BN_OK;
    w->load_notice_ms = now_ms;
    w->reply.kind = BN_MESSAGE_LOAD_PROGRESS;
    w->reply.load_progress = (bn_load_progress){
        .epoch = w->assign.epoch, .done_bytes = done_bytes, .total_bytes = total_bytes};
    return send_reply(w);
}

static bn_status on_progress(void *context)
{
    bn_worker *w = context;
    if (bn_control_is_cancelled(w->control)) return BN_ERR_INTERRUPTED;
    bn_control_progress(w->control);
    return w->ops->progress(w->link);
}

/* A row that the control thread has sent, in turn. */
static bn_status take_row(bn_worker *w, uint32_t *row_out)
{
    uint64_t deadline_ms = bn_clock_ms() + LOGITS_TIMEOUT_MS;
    uint32_t row = w->next_row;
    while (!atomic_load(&w->is_row_sent[row])) {
        BN_TRY(on_progress(w));
        if (bn_clock_ms() >= deadline_ms)
            return bn_fail(BN_ERR_TIMED_OUT, "LOGITS-STUCK",
                           "the coordinator has taken no logits for %u ms", LOGITS_TIMEOUT_MS);
        bn_clock_sleep_ns(FULL_POLL_NS);
    }
    w->next_row = (row + 1) % BN_STAGE_LOGITS_QUEUED;
    *row_out = row;
    return BN_OK;
}

static bn_status on_logits(void *context, const bn_step *step, uint32_t entry, uint32_t position,
                           const float *logits, uint32_t n_logits)
{
    bn_worker *w = context;
    uint32_t row = 0;
    BN_TRY(take_row(w, &row));
    memcpy(w->stage->logits_rows[row], logits, n_logits * sizeof(float));
    bn_logits message = {
        .epoch = step->epoch,
        .step_id = step->id,
        .entry = entry,
        .position = position,
        .n_logits = n_logits,
    };
    return bn_control_send_logits(w->control, w->session, &message, w->stage->logits_rows[row],
                                  &w->is_row_sent[row]);
}

static bn_status on_joining(void *context)
{
    const bn_worker *w = context;
    return bn_control_is_cancelled(w->control) ? BN_ERR_INTERRUPTED : BN_OK;
}

static bn_status choose_link(const bn_worker *w, const bn_link_ops **ops_out)
{
    const bn_link_ops *ops = NULL;
    bn_link_kind only = w->config.link;
    switch (w->assign.link) {
    case BN_LINK_MPI: ops = bn_link_mpi_get(); break;
    case BN_LINK_ZMQ: ops = &bn_link_zmq; break;
    case BN_LINK_SELF: ops = w->assign.n_stages == 1 ? &bn_link_self : NULL; break;
    case BN_LINK_AUTO: break;
    }
    bool is_forbidden =
        only != BN_LINK_AUTO && w->assign.link != only && w->assign.link != BN_LINK_SELF;
    if (ops == NULL || is_forbidden)
        return bn_fail(BN_ERR_UNSUPPORTED, "ASSIGN-LINK",
                       "assignment refused: link kind %d cannot be used by this worker (--link %s, "
                       "%s)",
                       (int)w->assign.link,
                       only == BN_LINK_AUTO  ? "auto"
                       : only == BN_LINK_MPI ? "mpi"
                                             : "zmq",
                       bn_link_mpi_get() != NULL ? "MPI is there" : "no MPI here");
    *ops_out = ops;
    return BN_OK;
}

static bn_status create_link(bn_worker *w, const char *local_address)
{
    const bn_assign *a = &w->assign;
    char own_name[BN_TEXT_MAX + 64]; /* as the coordinator names the others */
    snprintf(own_name, sizeof own_name, "this worker (%s, pid %" PRIu64 ", stage %" PRIu32 ")",
             w->config.hello.node, w->config.hello.process_id, a->stage);
    bn_link_config config = {
        .epoch = a->epoch,
        .has_previous = a->has_previous,
        .has_next = a->has_next,
        .previous_rank = a->previous_rank,
        .next_rank = a->next_rank,
        .own_name = own_name,
        .previous_name = a->previous_name,
        .next_name = a->next_name,
        .frames_max = w->stage->n_frames,
        .activation_capacity = w->stage->frames[0].activation_capacity,
        .local_address = local_address,
        .port_min = w->config.port_min,
        .port_max = w->config.port_max,
        .zmq_context = bn_control_zmq_context(w->control),
        .cluster_key = w->config.key,
        .on_joining = on_joining,
        .context = w,
    };
    memcpy(config.secret, a->link_secret, sizeof config.secret);
    return w->ops->create(&config, &w->link);
}

/* The file that is opened again must still be the one that this worker introduced itself with. */
static bn_status check_same_model(const bn_worker *w)
{
    const bn_hello *hello = &w->config.hello;
    bn_hash128 identity;
    BN_TRY(bn_gguf_identity(w->model->file, &identity));
    if (identity.low == hello->model_identity.low && identity.high == hello->model_identity.high)
        return BN_OK;
    return bn_fail(BN_ERR_MISMATCH, "MODEL-CHANGED",
                   "%s has changed since this worker joined: start the worker again",
                   w->model_path);
}

static bn_status open_model(bn_worker *w, const char *path, uint32_t activation)
{
    bn_model *model;
    BN_TRY(bn_model_open(path, (bn_activation_choice)activation, &model));
    bn_model_close(w->model);
    w->model = model;
    w->activation = activation;
    snprintf(w->model_path, sizeof w->model_path, "%s", path);
    return BN_OK;
}

static bn_status check_dump(const bn_worker *w)
{
    if (!w->assign.wants_dump || w->config.dump_directory != NULL) return BN_OK;
    return bn_fail(BN_ERR_UNSUPPORTED, "ASSIGN-DUMP",
                   "assignment refused: each layer's output is to be written (eval --dump), and "
                   "this worker may not: start it with --dump DIR");
}

static bn_status load_stage(bn_worker *w)
{
    if (w->model == NULL)
        return bn_fail(BN_ERR_BAD_MESSAGE, "ASSIGN-MODEL",
                       "assignment refused: this worker has no model open; give --model");
    if (w->assign.activation != w->activation) {
        char path[BN_TEXT_MAX];
        memcpy(path, w->model_path, sizeof path);
        BN_TRY(open_model(w, path, w->assign.activation));
        BN_TRY(check_same_model(w));
    }
    bn_assignment_host host = {.threads = bn_thread_pool_size(w->config.pool)};
    host.memory_bytes = bn_host_usable_memory(&host.limited_by);
    if (w->config.memory_max != 0 && w->config.memory_max < host.memory_bytes) {
        host.memory_bytes = w->config.memory_max;
        host.limited_by = "--memory";
    }
    bn_assignment assignment;
    BN_TRY(bn_assignment_check(&w->assign, w->model, &host, &assignment));
    BN_TRY(choose_link(w, &w->ops));
    BN_TRY(check_dump(w));
    bn_stage_config config = {
        .model = w->model,
        .span = assignment.span,
        .limits = assignment.limits,
        .pool = w->config.pool,
        .kernels = w->config.kernels,
        .head_mode = w->config.head_mode,
        .wrap_device = w->config.wrap_device,
        .dump_directory = w->assign.wants_dump ? w->config.dump_directory : NULL,
        .on_load = on_load,
        .on_progress = on_progress,
        .on_logits = on_logits,
        .context = w,
    };
    BN_TRY(bn_stage_create(&config, &w->stage));
    for (w->n_free = 0; w->n_free < w->stage->n_frames; w->n_free++)
        w->free_frames[w->n_free] = &w->stage->frames[w->n_free];
    return BN_OK;
}

static void reset_counters(bn_worker *w)
{
    w->n_steps = w->n_tokens = w->compute_ns = w->wait_ns = 0;
    w->entries_max = w->tokens_max = w->queued_max = 0;
}

static bn_status do_assign(bn_worker *w, const bn_control_event *event)
{
    drop_stage(w);
    w->assign = event->message.assign;
    reset_counters(w);
    set_state(w, BN_WORKER_LOADING);
    BN_TRY(load_stage(w));
    BN_TRY(create_link(w, event->local_address));
    w->reply.kind = BN_MESSAGE_LOADED;
    w->reply.loaded = (bn_loaded){
        .epoch = w->assign.epoch,
        .weights_bytes = w->stage->bytes.weights,
        .kv_bytes = w->stage->bytes.kv,
        .buffers_bytes = w->stage->bytes.buffers,
        .resident_bytes = bn_host_resident_bytes(),
    };
    snprintf(w->reply.loaded.link_url, sizeof w->reply.loaded.link_url, "%s", w->ops->url(w->link));
    set_state(w, BN_WORKER_LOADED);
    return send_reply(w);
}

static void say_ready(const bn_worker *w)
{
    const bn_stage *stage = w->stage;
    char promised[16], measured[16], layers[40] = "no layers";
    if (w->assign.layer_begin < w->assign.layer_end)
        snprintf(layers, sizeof layers, "layers %" PRIu32 "-%" PRIu32, w->assign.layer_begin,
                 w->assign.layer_end - 1);
    bn_progress_bytes_text(stage->bytes.weights + stage->bytes.kv + stage->bytes.buffers, promised);
    bn_progress_bytes_text(bn_host_resident_bytes(), measured);
    bn_log_info("READY",
                "stage %" PRIu32 " of %" PRIu32 ": %s%s%s, %s, %" PRIu32
                " thread%s, link %s; memory promised %s, resident %s",
                w->assign.stage, w->assign.n_stages, layers,
                w->assign.has_embedding ? ", embedding" : "", w->assign.has_head ? ", head" : "",
                w->config.kernels->name, bn_thread_pool_size(w->config.pool),
                bn_thread_pool_size(w->config.pool) == 1 ? "" : "s", w->ops->name, promised,
                measured);
}

static bn_status do_connect(bn_worker *w, const bn_connect *connect)
{
    if (w->state != BN_WORKER_LOADED)
        return bn_fail(BN_ERR_BAD_MESSAGE, "CONNECT-EARLY",
                       "told to connect before anything was loaded");
    BN_TRY(w->ops->connect(w->link, connect->next_url, CONNECT_TIMEOUT_MS));
    w->reply.kind = BN_MESSAGE_READY;
    w->reply.epoch_only.epoch = w->assign.epoch;
    BN_TRY(send_reply(w));
    set_state(w, BN_WORKER_READY);
    say_ready(w);
    return BN_OK;
}

/* ---- steps ------------------------------------------------------------------------------- */

static bn_status pump(bn_worker *w)
{
    bn_link_frame *frame = NULL;
    while (w->n_sending > 0) {
        BN_TRY(w->ops->send_test(w->link, &frame));
        if (frame == NULL) break;
        w->n_sending--;
        w->free_frames[w->n_free++] = frame;
    }
    if (!w->assign.has_previous) return BN_OK;
    while (w->n_free > 0) {
        frame = w->free_frames[--w->n_free];
        BN_TRY(w->ops->receive_begin(w->link, frame));
    }
    for (;;) {
        BN_TRY(w->ops->receive_test(w->link, &frame));
        if (frame == NULL) return BN_OK;
        BN_ASSERT(w->n_arrived < w->stage->n_frames);
        w->arrived[w->n_arrived++] = frame;
    }
}

/* Entries whose sequence was aborted; true when one was newly marked. */
static bool mark_void(const bn_worker *w, bn_step *step)
{
    bool is_changed = false;
    for (uint32_t i = 0; i < step->n_entries; i++) {
        bn_step_entry *entry = &step->entries[i];
        if (entry->is_void || entry->slot >= BN_SLOTS_MAX) continue;
        if (step->id > bn_control_abort_until(w->control, entry->slot)) continue;
        entry->is_void = is_changed = true;
    }
    return is_changed;
}

static bn_status pack_step(bn_worker *w, const bn_message *message, bn_link_frame *frame)
{
    return bn_wire_pack(w->wire, message, frame->head + BN_LINK_HEADER_BYTES, &frame->body_bytes);
}

static bn_status pass_on(bn_worker *w, const bn_step *step, bn_link_frame *frame)
{
    if (w->assign.has_head) {
        w->free_frames[w->n_free++] = frame;
        w->result.kind = BN_MESSAGE_RESULT;
        return bn_control_send(w->control, w->session, &w->result);
    }
    frame->step_id = step->id;
    frame->activation_bytes = (size_t)step->n_tokens * w->model->config.hidden * sizeof(float);
    w->n_sending++;
    return w->ops->send_begin(w->link, frame);
}

/* Executes the step in `message`, whose activations stand, or will stand, in `frame`. */
static bn_status execute(bn_worker *w, bn_message *message, bn_link_frame *frame, bool is_packed)
{
    bn_step *step = &message->step;
    if (step->id != w->last_step + 1)
        return bn_fail(BN_ERR_BAD_MESSAGE, "STEP-ORDER",
                       "step %" PRIu64 " came after step %" PRIu64, step->id, w->last_step);
    is_packed = !mark_void(w, step) && is_packed;
    uint64_t begin_ns = bn_clock_ns();
    BN_TRY(bn_forward_run(w->stage->forward, step, frame->activations, &w->result.result));
    w->compute_ns += bn_clock_ns() - begin_ns;
    if (!is_packed && !w->assign.has_head) BN_TRY(pack_step(w, message, frame));
    w->n_steps++;
    w->n_tokens += step->n_tokens;
    if (step->n_entries > w->entries_max) w->entries_max = step->n_entries;
    if (step->n_tokens > w->tokens_max) w->tokens_max = step->n_tokens;
    BN_TRY(pass_on(w, step, frame));
    w->last_step = step->id;
    bn_control_report(w->control, w->state, w->assign.epoch, w->last_step);
    return BN_OK;
}

/* All of it on reserved memory. */
static bn_status run_step(bn_worker *w, bn_message *message, bn_link_frame *frame, bool is_packed)
{
    bn_alloc_guard_begin("step");
    bn_status status = execute(w, message, frame, is_packed);
    bn_alloc_guard_end();
    return status;
}

static void note_queued(bn_worker *w, uint32_t n)
{
    if (n > w->queued_max) w->queued_max = n;
}

/* A frame that is neither being received into nor sent, waiting for a send to end if need be. */
static bn_status take_frame(bn_worker *w, bn_link_frame **frame_out)
{
    uint64_t deadline_ms = bn_clock_ms() + FRAME_TIMEOUT_MS;
    while (w->n_free == 0) {
        BN_TRY(pump(w));
        if (w->n_free > 0) break;
        if (bn_control_is_cancelled(w->control)) return BN_ERR_INTERRUPTED;
        if (bn_clock_ms() >= deadline_ms)
            return bn_fail(BN_ERR_TIMED_OUT, "SEND-STUCK",
                           "%s has taken no step for %u ms (this is %s)", w->assign.next_name,
                           FRAME_TIMEOUT_MS, w->config.hello.node);
        uint64_t begin_ns = bn_clock_ns();
        BN_TRY(w->ops->wait(w->link, bn_control_fd(w->control), true, AWAKE_WAIT_MS));
        w->wait_ns += bn_clock_ns() - begin_ns;
    }
    *frame_out = w->free_frames[--w->n_free];
    return BN_OK;
}

/* A step from the coordinator: the first stage's. */
static bn_status do_step(bn_worker *w, const bn_message *message)
{
    if (w->state != BN_WORKER_READY || message->step.epoch != w->assign.epoch) {
        bn_log_debug("STEP-OLD", "dropped step %" PRIu64 " of epoch %" PRIu32, message->step.id,
                     message->step.epoch);
        return BN_OK;
    }
    if (w->assign.has_previous)
        return bn_fail(BN_ERR_BAD_MESSAGE, "STEP-STRAY",
                       "the coordinator sent a step to stage %" PRIu32, w->assign.stage);
    w->is_awake = true;
    note_queued(w, bn_control_steps_waiting(w->control));
    bn_link_frame *frame = NULL;
    BN_TRY(take_frame(w, &frame));
    w->message.kind = BN_MESSAGE_STEP;
    w->message.step = message->step;
    return run_step(w, &w->message, frame, false);
}

/* The oldest step that has arrived over the link. */
static bn_status run_arrived(bn_worker *w)
{
    note_queued(w, w->n_arrived);
    bn_link_frame *frame = w->arrived[0];
    w->n_arrived--;
    memmove(w->arrived, w->arrived + 1, w->n_arrived * sizeof w->arrived[0]);
    BN_TRY(bn_wire_unpack(w->wire, frame->head + BN_LINK_HEADER_BYTES, frame->body_bytes,
                          &w->message));
    const bn_step *step = &w->message.step;
    if (w->message.kind != BN_MESSAGE_STEP || step->epoch != w->assign.epoch ||
        frame->activation_bytes != (size_t)step->n_tokens * w->model->config.hidden * sizeof(float))
        return bn_fail(BN_ERR_BAD_MESSAGE, "LINK-STEP",
                       "%s sent a frame that is not a step of epoch %" PRIu32
                       " with its activations (%s, %zu bytes)",
                       w->assign.previous_name, w->assign.epoch,
                       bn_message_kind_name(w->message.kind), frame->activation_bytes);
    return run_step(w, &w->message, frame, true);
}

/* ---- events ------------------------------------------------------------------------------ */

static bn_status do_stats(bn_worker *w)
{
    if (w->stage == NULL || w->link == NULL) return BN_OK;
    bn_link_counters link;
    bn_device_head_counts head = w->stage->device->ops->head_counts(w->stage->device);
    w->ops->counters(w->link, &link);
    w->reply.kind = BN_MESSAGE_STATS;
    w->reply.stats = (bn_stats){
        .epoch = w->assign.epoch,
        .stage = w->assign.stage,
        .layer_begin = w->assign.layer_begin,
        .layer_end = w->assign.layer_end,
        .threads = bn_thread_pool_size(w->config.pool),
        .threads_working = w->stage->device->ops->threads_working(w->stage->device),
        .steps = w->n_steps,
        .tokens = w->n_tokens,
        .link_bytes_in = link.bytes_in,
        .link_bytes_out = link.bytes_out,
        .link_frames_in = link.frames_in,
        .link_frames_out = link.frames_out,
        .entries_max = w->entries_max,
        .tokens_max = w->tokens_max,
        .queued_max = w->queued_max,
        .compute_ns = w->compute_ns,
        .wait_ns = w->wait_ns,
        .head_ns = bn_forward_head_ns(w->stage->forward),
        .resident_bytes = bn_host_resident_bytes(),
        .resident_peak_bytes = bn_host_resident_peak_bytes(),
        .head_whole = head.n_whole,
        .head_screened = head.n_screened,
        .head_survivors = head.n_survivors,
        .kv_pages_used = bn_kv_cache_pages_used(w->stage->kv),
        .kv_pages_total = bn_kv_cache_pages_total(w->stage->kv),
    };
    snprintf(w->reply.stats.link, sizeof w->reply.stats.link, "%s", w->ops->name);
    snprintf(w->reply.stats.isa, sizeof w->reply.stats.isa, "%s", w->config.kernels->name);
    return send_reply(w);
}

bn_status bn_worker_introduce(bn_hello *hello, const bn_model *model)
{
    BN_TRY(bn_gguf_identity(model->file, &hello->model_identity));
    hello->has_model = true;
    snprintf(hello->model_path, sizeof hello->model_path, "%s", bn_gguf_path(model->file));
    return BN_OK;
}

/* A worker that was not given a model opens the coordinator's, and introduces itself again. */
static bn_status do_welcome(bn_worker *w, const bn_welcome *welcome)
{
    char node[BN_CONTROL_ADDRESS_MAX];
    snprintf(node, sizeof node, "%" PRIu32, welcome->worker_id);
    bn_log_set_node(node);
    if (w->state == BN_WORKER_JOINING) set_state(w, BN_WORKER_WAITING);
    if (w->config.model_path != NULL || welcome->model_path[0] == '\0') return BN_OK;
    drop_stage(w);
    BN_TRY(open_model(w, welcome->model_path, welcome->activation));
    BN_TRY(bn_worker_introduce(&w->config.hello, w->model));
    w->reply.kind = BN_MESSAGE_HELLO;
    w->reply.hello = w->config.hello;
    return send_reply(w);
}

static bn_status do_message(bn_worker *w, const bn_control_event *event)
{
    const bn_message *message = &event->message;
    uint32_t epoch = w->assign.epoch;
    switch (message->kind) {
    case BN_MESSAGE_WELCOME: return do_welcome(w, &message->welcome);
    case BN_MESSAGE_ASSIGN: return do_assign(w, event);
    case BN_MESSAGE_CONNECT:
        return message->connect.epoch == epoch ? do_connect(w, &message->connect) : BN_OK;
    case BN_MESSAGE_WAKE:
        if (message->epoch_only.epoch != epoch || w->state != BN_WORKER_READY) return BN_OK;
        w->is_awake = true;
        w->has_rest = false;
        return BN_OK;
    case BN_MESSAGE_REST:
        if (message->rest.epoch != epoch) return BN_OK;
        w->has_rest = true;
        w->rest_step = message->rest.last_step;
        return BN_OK;
    case BN_MESSAGE_STEP: return do_step(w, message);
    case BN_MESSAGE_STATS_REQUEST: return do_stats(w);
    case BN_MESSAGE_RELEASE:
        drop_stage(w);
        set_state(w, BN_WORKER_WAITING);
        return BN_OK;
    default: return BN_OK;
    }
}

static void do_event(bn_worker *w, const bn_control_event *event)
{
    w->session = event->session;
    if (event->kind == BN_CONTROL_QUIT) {
        w->has_left = true;
        w->exit_code = event->exit_code;
        w->is_orderly = event->is_orderly;
        set_state(w, BN_WORKER_LEAVING);
        return;
    }
    if (event->kind == BN_CONTROL_LOST) {
        drop_stage(w);
        set_state(w, BN_WORKER_JOINING);
        return;
    }
    /* What waits behind it makes a step pointless. */
    if (event->message.kind == BN_MESSAGE_STEP && bn_control_is_cancelled(w->control)) return;
    bn_status status = do_message(w, event);
    if (status != BN_OK) end_stage(w, status);
}

static void do_events(bn_worker *w)
{
    bn_control_hush(w->control);
    const bn_control_event *event;
    while (!w->has_left && (event = bn_control_next(w->control)) != NULL) {
        do_event(w, event);
        bn_control_done(w->control);
    }
}

/* ---- the loop ---------------------------------------------------------------------------- */

static bn_status wait_asleep(bn_worker *w)
{
    if (w->state == BN_WORKER_READY)
        return w->ops->wait(w->link, bn_control_fd(w->control), false, IDLE_WAIT_MS);
    struct pollfd fd = {.fd = bn_control_fd(w->control), .events = POLLIN};
    if (poll(&fd, 1, IDLE_WAIT_MS) < 0 && errno != EINTR)
        return bn_fail(BN_ERR_IO, "WORKER-POLL", "cannot wait for the coordinator: %s",
                       strerror(errno));
    return BN_OK;
}

static bn_status turn_awake(bn_worker *w)
{
    BN_TRY(pump(w));
    if (w->n_arrived > 0) return run_arrived(w);
    if (w->has_rest && w->last_step >= w->rest_step && w->n_sending == 0) {
        w->is_awake = w->has_rest = false;
        return BN_OK;
    }
    uint64_t begin_ns = bn_clock_ns();
    /* The first stage's work comes from the coordinator: nothing to poll for without a send. */
    bool is_polling = w->assign.has_previous || w->n_sending > 0;
    BN_TRY(w->ops->wait(w->link, bn_control_fd(w->control), is_polling, AWAKE_WAIT_MS));
    w->wait_ns += bn_clock_ns() - begin_ns;
    return BN_OK;
}

int bn_worker_run(bn_worker *w, bool *is_orderly_out)
{
    for (;;) {
        do_events(w);
        if (w->has_left) break;
        bool is_awake = w->is_awake && w->state == BN_WORKER_READY;
        bn_status status = is_awake ? turn_awake(w) : wait_asleep(w);
        if (status != BN_OK) end_stage(w, status);
    }
    *is_orderly_out = w->is_orderly;
    return w->exit_code;
}

bn_status bn_worker_create(const bn_worker_config *config, bn_worker **worker_out)
{
    bn_worker *w = bn_alloc(1, sizeof *w);
    if (w == NULL) return bn_fail(BN_ERR_NO_MEMORY, "WORKER-CREATE", "no memory for the worker");
    w->config = *config;
    w->control = config->control;
    w->state = BN_WORKER_JOINING;
    for (uint32_t i = 0; i < BN_STAGE_LOGITS_QUEUED; i++)
        atomic_store(&w->is_row_sent[i], true);
    bn_status status = bn_wire_create(&w->wire);
    if (status != BN_OK) {
        bn_free(w);
        return status;
    }
    w->model = config->model;
    if (w->model != NULL) snprintf(w->model_path, sizeof w->model_path, "%s", config->model_path);
    *worker_out = w;
    return BN_OK;
}

void bn_worker_destroy(bn_worker *w)
{
    if (w == NULL) return;
    drop_stage(w);
    bn_model_close(w->model);
    bn_wire_destroy(w->wire);
    bn_free(w);
}
