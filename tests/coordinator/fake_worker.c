/* fake_worker.c — one loop per worker: say hello, answer, beat, pass steps on. */
#include "tests/coordinator/fake_worker.h"

#include "common/alloc.h"
#include "common/clock.h"
#include "common/hash.h"
#include "common/version.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BEAT_MS 300u
#define TURN_MS 2u

typedef struct talk {
    fake_worker *worker;
    bn_channel *channel;
    bn_message in, out;
    float *logits;
    uint64_t beat_ms, progress;
    bool is_welcome, is_ready, has_hello, is_over, has_faulted;
} talk;

float fake_logit(uint32_t token, uint32_t position, uint32_t id)
{
    uint32_t key[3] = {token, position, id};
    uint64_t h = bn_hash64_of(key, sizeof key, 7);
    return (float)(h % 4096) / 256.0f - 8.0f; /* coarse: ties happen */
}

void fake_crew_init(fake_crew *crew, uint32_t vocab, bn_hash128 identity)
{
    memset(crew, 0, sizeof *crew);
    pthread_mutex_init(&crew->mutex, NULL);
    crew->vocab = vocab;
    crew->identity = identity;
}

static void send_out(talk *t)
{
    bn_status ignored = bn_channel_send(t->channel, NULL, &t->out, NULL, 0);
    (void)ignored;
}

static void say_hello(talk *t)
{
    const fake_worker *w = t->worker;
    t->out.kind = BN_MESSAGE_HELLO;
    bn_hello *hello = &t->out.hello;
    *hello = (bn_hello){
        .protocol_major = BN_PROTOCOL_MAJOR,
        .protocol_minor = BN_PROTOCOL_MINOR,
        .numerics = BN_NUMERICS_VERSION + (w->fault == FAKE_OTHER_NUMERICS),
        .build = "fake",
        .incarnation = {w->number, 99},
        .has_ranks = w->has_ranks,
        .rank = w->rank,
        .n_ranks = w->n_ranks,
        .job = w->job,
        .node = "fake-node",
        .process_id = w->process_id,
        .memory_bytes = 1ull << 40,
        .cores = 1,
        .threads = 1,
        .isa = "fake",
        .bandwidth = 1e9,
        .compute = 1e9,
        .has_mpi = w->has_mpi,
        .has_model = true,
        .model_path = "/fake/model",
        .model_identity = w->crew->identity,
    };
    if (w->fault == FAKE_OTHER_MODEL) hello->model_identity.low ^= 1;
    send_out(t);
    t->has_hello = true;
}

static void beat(talk *t)
{
    uint64_t now_ms = bn_clock_ms();
    if (!t->is_welcome || now_ms - t->beat_ms < BEAT_MS) return;
    t->beat_ms = now_ms;
    t->out.kind = BN_MESSAGE_HEARTBEAT;
    t->out.heartbeat = (bn_heartbeat){
        .epoch = t->worker->assign.epoch,
        .state = t->is_ready ? BN_WORKER_READY : BN_WORKER_WAITING,
        .last_step = t->worker->crew->n_passed[t->worker->assign.stage],
        .progress = t->progress,
    };
    send_out(t);
}

static int compare_candidates(const void *a, const void *b)
{
    const bn_candidate *x = a, *y = b;
    if (x->logit != y->logit) return x->logit > y->logit ? -1 : 1;
    return x->id < y->id ? -1 : 1;
}

static void answer_position(talk *t, const bn_step *step, uint32_t e, uint32_t i, bn_result *result)
{
    const bn_step_entry *entry = &step->entries[e];
    uint32_t vocab = t->worker->crew->vocab, position = entry->position + i;
    uint32_t token = step->tokens[entry->token_begin + i];
    static _Thread_local bn_candidate all[4096];
    for (uint32_t id = 0; id < vocab; id++) {
        t->logits[id] = fake_logit(token, position, id);
        all[id] = (bn_candidate){.id = id, .logit = t->logits[id]};
    }
    if (entry->wants_all) {
        t->out.kind = BN_MESSAGE_LOGITS;
        t->out.logits = (bn_logits){.epoch = step->epoch,
                                    .step_id = step->id,
                                    .entry = e,
                                    .position = position,
                                    .n_logits = vocab};
        bn_status ignored = bn_channel_send(t->channel, NULL, &t->out, t->logits, 4 * vocab);
        (void)ignored;
    }
    qsort(all, vocab, sizeof *all, compare_candidates);
    uint32_t n_best = entry->n_best < vocab ? entry->n_best : vocab;
    result->positions[result->n_positions++] = (bn_result_position){
        .entry = e,
        .position = position,
        .candidate_begin = result->n_candidates,
        .n_candidates = n_best,
        .exact_begin = result->n_exact,
        .n_exact = entry->n_ids,
        .has_lse = entry->wants_lse,
        .lse = 10.0,
        .has_all = entry->wants_all,
    };
    memcpy(&result->candidates[result->n_candidates], all, n_best * sizeof *all);
    result->n_candidates += n_best;
    uint32_t ids = entry->id_begin + (i - entry->want_from) * entry->n_ids;
    for (uint32_t k = 0; k < entry->n_ids; k++)
        result->exact[result->n_exact++] = t->logits[step->ids[ids + k]];
}

static void answer_step(talk *t, const bn_step *step)
{
    static _Thread_local bn_result result;
    result =
        (bn_result){.epoch = step->epoch, .step_id = step->id, .vocab_end = t->worker->crew->vocab};
    for (uint32_t e = 0; e < step->n_entries; e++)
        for (uint32_t i = step->entries[e].want_from; i < step->entries[e].n_tokens; i++)
            answer_position(t, step, e, i, &result);
    t->out.kind = BN_MESSAGE_RESULT;
    t->out.result = result;
    send_out(t);
}

static void show_fault(talk *t)
{
    t->has_faulted = true;
    switch (t->worker->fault) {
    case FAKE_DIES: t->is_over = true; break;
    case FAKE_IS_STOPPED:
        t->out.kind = BN_MESSAGE_GOODBYE;
        snprintf(t->out.farewell.text, sizeof t->out.farewell.text, "told to stop");
        send_out(t);
        t->is_over = true;
        break;
    case FAKE_REPORTS:
        t->out.kind = BN_MESSAGE_FAILURE;
        t->out.failure = (bn_failure){
            .epoch = t->worker->assign.epoch, .code = BN_ERR_IO, .text = "the disk is on fire"};
        send_out(t);
        break;
    default: break;
    }
}

/* Steps that the stage before has passed on. */
static void pass_steps(talk *t)
{
    fake_worker *w = t->worker;
    if (!t->is_ready || w->fault == FAKE_OTHER_MODEL) return;
    uint32_t stage = w->assign.stage;
    static _Thread_local bn_step step;
    for (;;) {
        bool is_faulty = w->fault != FAKE_NONE && w->crew->n_passed[stage] >= w->fault_step;
        if (is_faulty && !t->has_faulted && w->crew->n_steps > w->crew->n_passed[stage])
            show_fault(t);
        pthread_mutex_lock(&w->crew->mutex);
        uint64_t n_there = stage == 0 ? w->crew->n_steps : w->crew->n_passed[stage - 1];
        bool has_step = !t->has_faulted && !t->is_over && w->crew->n_passed[stage] < n_there;
        if (has_step) step = w->crew->steps[w->crew->n_passed[stage] % 64];
        pthread_mutex_unlock(&w->crew->mutex);
        if (!has_step) return;
        if (stage + 1 == w->assign.n_stages) answer_step(t, &step);
        pthread_mutex_lock(&w->crew->mutex);
        w->crew->n_passed[stage]++;
        pthread_mutex_unlock(&w->crew->mutex);
        t->progress++;
    }
}

static void on_assign(talk *t)
{
    t->worker->assign = t->in.assign;
    t->out.kind = BN_MESSAGE_LOADED;
    t->out.loaded = (bn_loaded){.epoch = t->in.assign.epoch,
                                .link_url = "tcp://127.0.0.1:1",
                                .weights_bytes = 1000,
                                .resident_bytes = 2000};
    send_out(t);
}

static void on_message(talk *t)
{
    fake_worker *w = t->worker;
    switch (t->in.kind) {
    case BN_MESSAGE_WELCOME:
        t->is_welcome = t->in.welcome.is_accepted;
        if (t->is_welcome) return;
        w->was_refused = true;
        w->was_usage = t->in.welcome.is_usage;
        memcpy(w->reason, t->in.welcome.reason, sizeof w->reason);
        t->is_over = true;
        return;
    case BN_MESSAGE_ASSIGN: on_assign(t); return;
    case BN_MESSAGE_CONNECT:
        t->out.kind = BN_MESSAGE_READY;
        t->out.epoch_only.epoch = w->assign.epoch;
        send_out(t);
        t->is_ready = true;
        return;
    case BN_MESSAGE_STEP:
        pthread_mutex_lock(&w->crew->mutex);
        w->crew->steps[w->crew->n_steps++ % 64] = t->in.step;
        pthread_mutex_unlock(&w->crew->mutex);
        return;
    case BN_MESSAGE_STATS_REQUEST:
        t->out.kind = BN_MESSAGE_STATS;
        t->out.stats = (bn_stats){
            .epoch = w->assign.epoch, .stage = w->assign.stage, .link = "fake", .isa = "fake"};
        send_out(t);
        return;
    case BN_MESSAGE_WAKE: w->n_wakes++; return;
    case BN_MESSAGE_REST: w->n_rests++; return;
    case BN_MESSAGE_ABORT: w->n_aborts++; return;
    case BN_MESSAGE_SHUTDOWN:
        w->was_shut_down = true;
        t->out.kind = BN_MESSAGE_GOODBYE;
        snprintf(t->out.farewell.text, sizeof t->out.farewell.text, "as told");
        send_out(t);
        t->is_over = true;
        return;
    default: return;
    }
}

static void *run(void *argument)
{
    static _Thread_local talk t;
    memset(&t, 0, sizeof t);
    t.worker = argument;
    fake_crew *crew = t.worker->crew;
    t.logits = bn_alloc(crew->vocab, sizeof(float));
    if (bn_channel_connect(crew->url, NULL, &t.channel) != BN_OK) return NULL;
    while (!t.is_over && !atomic_load(&crew->is_ending)) {
        if (!t.has_hello && bn_channel_state_now(t.channel) == BN_CHANNEL_CONNECTED) say_hello(&t);
        bool is_silent = t.has_faulted && t.worker->fault == FAKE_FALLS_SILENT;
        if (!is_silent) beat(&t);
        bn_status status = bn_channel_receive(t.channel, TURN_MS, NULL, &t.in, NULL, NULL);
        if (status == BN_OK && !is_silent) on_message(&t);
        pass_steps(&t);
    }
    bn_channel_destroy(t.channel);
    bn_free(t.logits);
    return NULL;
}

void fake_worker_start(fake_worker *worker)
{
    if (pthread_create(&worker->thread, NULL, run, worker) != 0) abort();
}

void fake_worker_join(fake_worker *worker)
{
    pthread_join(worker->thread, NULL);
}
