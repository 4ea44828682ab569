/* link_mpi.c — activations over MPI, and the world that the launcher made.
 *
 * MPI moves a large message only inside its own calls, and a blocking call takes a whole core. So
 * receives are posted as soon as a frame is lent, sends are started at once, and both are moved by
 * tests: from progress() while computing, from wait() while a burst is on, with short naps in
 * between. A frame is two messages, head and activations, on two tags; MPI keeps the order of
 * each, so the nth head belongs to the nth activations. Tags come from the epoch: what an older
 * epoch left behind matches nothing.
 *
 * MPI is fail-stop: a dead rank ends the job, or shows as requests that never complete. Deadlines
 * are the coordinator's.
 */
#include "worker/link_frame.h"
#include "worker/mpi_world.h"

#include "common/alloc.h"
#include "common/clock.h"
#include "common/hash.h"
#include "common/log.h"

#include <errno.h>
#include <limits.h>
#include <mpi.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define BN_MPI_NAP_MIN_NS 2000u
#define BN_MPI_NAP_MAX_NS 50000u
#define BN_MPI_CANCEL_MS 1000u
#define BN_MPI_FINALIZE_S 10u
#define BN_MPI_TAG_EPOCHS 8000u /* MPI promises tags up to 32767 */
#define BN_MPI_HEAD_BYTES ((int)(BN_LINK_HEADER_BYTES + BN_ENVELOPE_MAX))

enum { TAG_HEAD, TAG_ACTIVATIONS, TAG_PROBE, TAG_ANSWER, N_TAGS };

typedef struct transfer {
    bn_link_frame *frame;
    MPI_Request requests[2];   /* head, activations; null when over */
    int n_head, n_activations; /* received */
    bool is_complete;
} transfer;

struct bn_link {
    bn_link_ends ends;
    bool has_previous, has_next;
    int previous, next, tag;
    bn_status failure; /* BN_OK, or what every later call returns */
    uint32_t frames_max;
    transfer *in, *out; /* rings, oldest first */
    uint32_t in_begin, n_in, out_begin, n_out;
    bn_status (*on_joining)(void *context);
    void *joining_context;
};

/* ---- world ------------------------------------------------------------------------------- */

static struct {
    bool is_up;
    int rank, size, local_size;
    uint64_t job;
    char library[64];
} world = {.size = 1, .local_size = 1};

/* MPI_Init without a launcher makes a world of one, or fails: look first. */
#ifdef OPEN_MPI
static const char *const launcher_variables[] = {"OMPI_COMM_WORLD_SIZE", "PMIX_RANK", NULL};
#else
static const char *const launcher_variables[] = {"PMI_RANK", "PMI_SIZE", "PMIX_RANK",
                                                 "MPI_LOCALNRANKS", NULL};
#endif

static const char *const local_size_variables[] = {"OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS",
                                                   "PMI_LOCAL_SIZE", NULL};

static const char *first_set(const char *const *names)
{
    const char *value = NULL;
    for (; *names != NULL && value == NULL; names++)
        value = getenv(*names);
    return value;
}

static bn_status status_from_mpi(int code)
{
    int class = MPI_ERR_OTHER;
    MPI_Error_class(code, &class);
    switch (class) {
    case MPI_ERR_NO_MEM: return BN_ERR_NO_MEMORY;
    case MPI_ERR_TRUNCATE: return BN_ERR_BAD_MESSAGE;
    case MPI_ERR_ARG:
    case MPI_ERR_RANK:
    case MPI_ERR_TAG:
    case MPI_ERR_COUNT: return BN_ERR_BAD_ARGUMENT;
    default: return BN_ERR_PEER_LOST;
    }
}

static bn_status fail_mpi(const char *what, int code)
{
    char text[MPI_MAX_ERROR_STRING] = "";
    int n = 0;
    MPI_Error_string(code, text, &n);
    return bn_fail(status_from_mpi(code), "MPI-ERROR", "%s: %s", what, text);
}

/* Activations of a decode step fit shared memory's eager path then, three times as fast; what the
 * user has set stays. */
static void set_defaults(void)
{
    setenv("OMPI_MCA_btl_vader_eager_limit", "32768", 0);
    setenv("OMPI_MCA_btl_vader_max_send_size", "65536", 0);
}

static bn_status count_local_ranks(void)
{
    const char *text = first_set(local_size_variables);
    long n = text == NULL ? 0 : strtol(text, NULL, 10);
    if (n >= 1 && n <= world.size) {
        world.local_size = (int)n;
        return BN_OK;
    }
    MPI_Comm node;
    int code =
        MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, world.rank, MPI_INFO_NULL, &node);
    if (code == MPI_SUCCESS) code = MPI_Comm_size(node, &world.local_size);
    if (code == MPI_SUCCESS) code = MPI_Comm_free(&node);
    return code == MPI_SUCCESS ? BN_OK : fail_mpi("ranks of this node", code);
}

/* Rank 0 draws a number for all: what launchers call a job may come again. */
static bn_status name_job(void)
{
    if (world.rank == 0) BN_TRY(bn_hash_random(&world.job, sizeof world.job));
    int code = MPI_Bcast(&world.job, 1, MPI_UINT64_T, 0, MPI_COMM_WORLD);
    return code == MPI_SUCCESS ? BN_OK : fail_mpi("name of this job", code);
}

bn_status bn_mpi_world_init(int *argc, char ***argv, bool *has_world_out)
{
    int provided;
    *has_world_out = false;
    if (first_set(launcher_variables) == NULL) return BN_OK;
    set_defaults();
    int code = MPI_Init_thread(argc, argv, MPI_THREAD_FUNNELED, &provided);
    if (code == MPI_SUCCESS) code = MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    if (code == MPI_SUCCESS) code = MPI_Comm_rank(MPI_COMM_WORLD, &world.rank);
    if (code == MPI_SUCCESS) code = MPI_Comm_size(MPI_COMM_WORLD, &world.size);
    if (code != MPI_SUCCESS) return fail_mpi("MPI does not start", code);
    world.is_up = true;
    if (provided < MPI_THREAD_FUNNELED) {
        return bn_fail(BN_ERR_UNSUPPORTED, "MPI-THREADS",
                       "this MPI allows no other threads; it must provide MPI_THREAD_FUNNELED");
    }
    prctl(PR_SET_TIMERSLACK, 1000ul, 0ul, 0ul, 0ul); /* or a nap of 2 µs lasts 50 */
    BN_TRY(count_local_ranks());
    BN_TRY(name_job());
    *has_world_out = true;
    return BN_OK;
}

uint32_t bn_mpi_world_rank(void)
{
    return (uint32_t)world.rank;
}

uint32_t bn_mpi_world_size(void)
{
    return (uint32_t)world.size;
}

uint64_t bn_mpi_world_job(void)
{
    return world.job;
}

uint32_t bn_mpi_world_local_size(void)
{
    return (uint32_t)world.local_size;
}

void bn_mpi_world_fini(bool is_orderly)
{
    sigset_t alarm_only;
    if (!world.is_up) return;
    world.is_up = false;
    if (!is_orderly) return;
    /* MPI_Finalize waits for all ranks and has no deadline of its own. */
    sigemptyset(&alarm_only);
    sigaddset(&alarm_only, SIGALRM);
    signal(SIGALRM, SIG_DFL);
    pthread_sigmask(SIG_UNBLOCK, &alarm_only, NULL);
    alarm(BN_MPI_FINALIZE_S);
    int code = MPI_Finalize();
    alarm(0);
    if (code != MPI_SUCCESS) bn_log_warn("MPI-FINALIZE", "MPI did not end in order");
}

const char *bn_mpi_world_library(void)
{
    char text[MPI_MAX_LIBRARY_VERSION_STRING] = "";
    int n = 0;
    if (world.library[0] == '\0' && MPI_Get_library_version(text, &n) == MPI_SUCCESS) {
        snprintf(world.library, sizeof world.library, "%.*s", (int)strcspn(text, ",\n"), text);
    }
    return world.library;
}

/* ---- creation ---------------------------------------------------------------------------- */

static bn_status create_mpi(const bn_link_config *config, bn_link **link_out)
{
    BN_ASSERT(world.is_up);
    BN_ASSERT(config->frames_max > 0);
    uint32_t size = bn_mpi_world_size();
    bool is_bad_rank = (config->has_previous && config->previous_rank >= size) ||
                       (config->has_next && config->next_rank >= size);
    if (is_bad_rank || config->activation_capacity > INT_MAX) {
        return bn_fail(BN_ERR_BAD_ARGUMENT, "LINK-MPI",
                       "link of %s: rank %u or %u of %u, frames of %zu bytes", config->own_name,
                       config->previous_rank, config->next_rank, size, config->activation_capacity);
    }
    bn_link *link = bn_alloc(1, sizeof *link);
    if (link == NULL) return bn_fail(BN_ERR_NO_MEMORY, "LINK-MEMORY", "no memory for a link");
    bn_link_ends_init(&link->ends, config);
    link->has_previous = config->has_previous;
    link->has_next = config->has_next;
    link->previous = (int)config->previous_rank;
    link->next = (int)config->next_rank;
    link->tag = (int)(config->epoch % BN_MPI_TAG_EPOCHS) * N_TAGS;
    link->frames_max = config->frames_max;
    link->on_joining = config->on_joining;
    link->joining_context = config->context;
    link->in = bn_alloc(config->frames_max, sizeof *link->in);
    link->out = bn_alloc(config->frames_max, sizeof *link->out);
    if (link->in == NULL || link->out == NULL) {
        bn_free(link->in);
        bn_free(link->out);
        bn_free(link);
        return bn_fail(BN_ERR_NO_MEMORY, "LINK-MEMORY", "no memory for a link");
    }
    *link_out = link;
    return BN_OK;
}

static transfer *place(transfer *ring, const bn_link *link, uint32_t begin, uint32_t i)
{
    return &ring[(begin + i) % link->frames_max];
}

/* Ends a request so that MPI no longer knows its buffer. False when it does not end in time. */
static bool end_request(MPI_Request *request, bool is_receive, uint64_t deadline)
{
    int is_over = 0;
    if (*request == MPI_REQUEST_NULL) return true;
    if (is_receive) MPI_Cancel(request);
    for (;;) {
        if (MPI_Test(request, &is_over, MPI_STATUS_IGNORE) != MPI_SUCCESS || is_over) return true;
        if (bn_clock_ms() >= deadline) break;
        bn_clock_sleep_ns(BN_MPI_NAP_MAX_NS);
    }
    MPI_Request_free(request);
    return false;
}

static void destroy_mpi(bn_link *link)
{
    if (link == NULL) return;
    uint64_t deadline = bn_clock_ms() + BN_MPI_CANCEL_MS;
    bool is_clean = true;
    for (uint32_t i = 0; i < link->n_in; i++) {
        transfer *t = place(link->in, link, link->in_begin, i);
        is_clean &= end_request(&t->requests[0], true, deadline);
        is_clean &= end_request(&t->requests[1], true, deadline);
    }
    for (uint32_t i = 0; i < link->n_out; i++) {
        transfer *t = place(link->out, link, link->out_begin, i);
        is_clean &= end_request(&t->requests[0], false, deadline);
        is_clean &= end_request(&t->requests[1], false, deadline);
    }
    if (!is_clean) {
        bn_log_warn("LINK-MPI", "link of %s: transfers were given up; a neighbour is gone or stuck",
                    link->ends.own);
    }
    bn_free(link->in);
    bn_free(link->out);
    bn_free(link);
}

static const char *url_mpi(const bn_link *link)
{
    (void)link;
    return "";
}

/* ---- frames ------------------------------------------------------------------------------ */

static bn_status fail_in(bn_link *link, int code)
{
    char text[MPI_MAX_ERROR_STRING] = "";
    int n = 0;
    MPI_Error_string(code, text, &n);
    link->failure = bn_link_fail_in(&link->ends, status_from_mpi(code), text);
    return link->failure;
}

static bn_status fail_out(bn_link *link, int code)
{
    char text[MPI_MAX_ERROR_STRING] = "";
    int n = 0;
    MPI_Error_string(code, text, &n);
    link->failure = bn_link_fail_out(&link->ends, status_from_mpi(code), text);
    return link->failure;
}

static bn_status post(bn_link *link, bn_link_frame *frame)
{
    BN_ASSERT(link->n_in < link->frames_max);
    transfer *t = place(link->in, link, link->in_begin, link->n_in);
    *t = (transfer){.frame = frame, .requests = {MPI_REQUEST_NULL, MPI_REQUEST_NULL}};
    link->n_in++;
    if (!link->has_previous) return BN_OK;
    int code = MPI_Irecv(frame->head, BN_MPI_HEAD_BYTES, MPI_BYTE, link->previous,
                         link->tag + TAG_HEAD, MPI_COMM_WORLD, &t->requests[0]);
    if (code == MPI_SUCCESS) {
        code =
            MPI_Irecv(frame->activations, (int)frame->activation_capacity, MPI_BYTE, link->previous,
                      link->tag + TAG_ACTIVATIONS, MPI_COMM_WORLD, &t->requests[1]);
    }
    return code == MPI_SUCCESS ? BN_OK : fail_in(link, code);
}

static bn_status receive_begin_mpi(bn_link *link, bn_link_frame *frame)
{
    BN_TRY(link->failure);
    return post(link, frame);
}

/* Tests the oldest receive and send; a test moves all of MPI's transfers on. */
static bn_status progress_mpi(bn_link *link)
{
    BN_TRY(link->failure);
    transfer *t = &link->in[link->in_begin];
    if (link->has_previous && link->n_in > 0 && !t->is_complete) {
        MPI_Status statuses[2];
        int is_over = 0;
        int code = MPI_Testall(2, t->requests, &is_over, statuses);
        if (code == MPI_ERR_IN_STATUS) {
            code = statuses[statuses[0].MPI_ERROR == MPI_SUCCESS ? 1 : 0].MPI_ERROR;
        }
        if (code != MPI_SUCCESS) return fail_in(link, code);
        if (is_over) {
            MPI_Get_count(&statuses[0], MPI_BYTE, &t->n_head);
            MPI_Get_count(&statuses[1], MPI_BYTE, &t->n_activations);
            t->is_complete = true;
        }
    }
    t = &link->out[link->out_begin];
    if (link->n_out > 0 && !t->is_complete) {
        int is_over = 0;
        int code = MPI_Testall(2, t->requests, &is_over, MPI_STATUSES_IGNORE);
        if (code != MPI_SUCCESS) return fail_out(link, code);
        t->is_complete = is_over != 0;
    }
    return BN_OK;
}

static bn_status receive_test_mpi(bn_link *link, bn_link_frame **frame_out)
{
    *frame_out = NULL;
    BN_TRY(progress_mpi(link));
    transfer *t = &link->in[link->in_begin];
    if (link->n_in == 0 || !t->is_complete) return BN_OK;
    bn_link_frame *frame = t->frame;
    bn_link_header header;
    size_t n_head = (size_t)t->n_head, n_activations = (size_t)t->n_activations;
    link->in_begin = (link->in_begin + 1) % link->frames_max;
    link->n_in--;
    const char *cause = bn_link_header_unpack(frame->head, n_head, &header);
    if (cause != NULL) {
        link->failure = bn_link_fail_in(&link->ends, BN_ERR_BAD_MESSAGE, cause);
        return link->failure;
    }
    cause = bn_link_header_foreign(&header, link->ends.epoch, link->ends.secret);
    if (cause != NULL) {
        /* An epoch that shares our tags: its buffer goes to the end of the line. */
        bn_link_frame_drop(&link->ends, cause);
        return post(link, frame);
    }
    link->failure = bn_link_frame_accept(&link->ends, &header, n_head, n_activations, frame);
    if (link->failure == BN_OK) *frame_out = frame;
    return link->failure;
}

static bn_status send_begin_mpi(bn_link *link, bn_link_frame *frame)
{
    BN_TRY(link->failure);
    BN_ASSERT(link->n_out < link->frames_max);
    transfer *t = place(link->out, link, link->out_begin, link->n_out);
    *t = (transfer){.frame = frame, .requests = {MPI_REQUEST_NULL, MPI_REQUEST_NULL}};
    link->n_out++;
    t->is_complete = !link->has_next;
    if (!link->has_next) return BN_OK;
    link->failure = bn_link_frame_seal(&link->ends, frame);
    BN_TRY(link->failure);
    int code = MPI_Isend(frame->head, (int)(BN_LINK_HEADER_BYTES + frame->body_bytes), MPI_BYTE,
                         link->next, link->tag + TAG_HEAD, MPI_COMM_WORLD, &t->requests[0]);
    /* Synchronous: over when the receiver has matched it, and so the head before it. A plain send
     * may be over for us and still wait inside MPI for the next call, while we go to sleep. */
    if (code == MPI_SUCCESS) {
        code = MPI_Issend(frame->activations, (int)frame->activation_bytes, MPI_BYTE, link->next,
                          link->tag + TAG_ACTIVATIONS, MPI_COMM_WORLD, &t->requests[1]);
    }
    return code == MPI_SUCCESS ? BN_OK : fail_out(link, code);
}

static bn_status send_test_mpi(bn_link *link, bn_link_frame **frame_out)
{
    *frame_out = NULL;
    BN_TRY(progress_mpi(link));
    transfer *t = &link->out[link->out_begin];
    if (link->n_out == 0 || !t->is_complete) return BN_OK;
    *frame_out = t->frame;
    link->out_begin = (link->out_begin + 1) % link->frames_max;
    link->n_out--;
    return BN_OK;
}

/* ---- joining and waiting ----------------------------------------------------------------- */

/* Both neighbours of a link in the middle are asked at once; each of the four messages has its
 * own place, so nothing waits for anything else. */
typedef struct handshake {
    uint8_t probe_in[BN_LINK_HEADER_BYTES], probe_out[BN_LINK_HEADER_BYTES];
    uint8_t answer_in[BN_LINK_HEADER_BYTES], answer_out[BN_LINK_HEADER_BYTES];
    MPI_Request requests[4]; /* in that order: probe in, probe out, answer in, answer out */
    bool is_joined, is_answered;
} handshake;

static bn_status handshake_receive(bn_link *link, handshake *h, bool is_probe)
{
    int code = MPI_Irecv(is_probe ? h->probe_in : h->answer_in, (int)BN_LINK_HEADER_BYTES, MPI_BYTE,
                         is_probe ? link->previous : link->next,
                         link->tag + (is_probe ? TAG_PROBE : TAG_ANSWER), MPI_COMM_WORLD,
                         &h->requests[is_probe ? 0 : 2]);
    if (code == MPI_SUCCESS) return BN_OK;
    return is_probe ? fail_in(link, code) : fail_out(link, code);
}

static bn_status handshake_send(bn_link *link, handshake *h, bool is_probe)
{
    uint8_t *bytes = is_probe ? h->probe_out : h->answer_out;
    bn_link_frame_probe(&link->ends, is_probe ? BN_LINK_FRAME_PROBE : BN_LINK_FRAME_ANSWER, bytes);
    int code = MPI_Isend(bytes, (int)BN_LINK_HEADER_BYTES, MPI_BYTE,
                         is_probe ? link->next : link->previous,
                         link->tag + (is_probe ? TAG_PROBE : TAG_ANSWER), MPI_COMM_WORLD,
                         &h->requests[is_probe ? 1 : 3]);
    if (code == MPI_SUCCESS) return BN_OK;
    return is_probe ? fail_out(link, code) : fail_in(link, code);
}

/* True when the bytes that came are this epoch's; others are dropped. */
static bool is_ours(bn_link *link, const uint8_t *bytes, bn_link_frame_kind kind)
{
    bn_link_header header;
    const char *cause = bn_link_header_unpack(bytes, BN_LINK_HEADER_BYTES, &header);
    if (cause == NULL) cause = bn_link_header_foreign(&header, link->ends.epoch, link->ends.secret);
    if (cause == NULL && header.kind != kind) cause = "not the frame that was due";
    if (cause != NULL) bn_link_frame_drop(&link->ends, cause);
    return cause == NULL;
}

static bn_status handshake_step(bn_link *link, handshake *h)
{
    int is_over = 0;
    int code = MPI_Test(&h->requests[0], &is_over, MPI_STATUS_IGNORE);
    if (code != MPI_SUCCESS) return fail_in(link, code);
    if (is_over && !h->is_joined) {
        h->is_joined = is_ours(link, h->probe_in, BN_LINK_FRAME_PROBE);
        BN_TRY(h->is_joined ? handshake_send(link, h, false) : handshake_receive(link, h, true));
    }
    code = MPI_Test(&h->requests[2], &is_over, MPI_STATUS_IGNORE);
    if (code != MPI_SUCCESS) return fail_out(link, code);
    if (is_over && !h->is_answered) {
        h->is_answered = is_ours(link, h->answer_in, BN_LINK_FRAME_ANSWER);
        if (!h->is_answered) BN_TRY(handshake_receive(link, h, false));
    }
    return BN_OK;
}

static bn_status handshake_run(bn_link *link, handshake *h, uint64_t deadline)
{
    if (link->has_previous) BN_TRY(handshake_receive(link, h, true));
    if (link->has_next) {
        BN_TRY(handshake_receive(link, h, false));
        BN_TRY(handshake_send(link, h, true));
    }
    for (;;) {
        int is_sent = 0;
        if (!h->is_joined || !h->is_answered) BN_TRY(handshake_step(link, h));
        if (h->is_joined && h->is_answered) {
            int code = MPI_Testall(4, h->requests, &is_sent, MPI_STATUSES_IGNORE);
            if (code != MPI_SUCCESS) return fail_in(link, code);
            if (is_sent) return BN_OK;
        }
        if (link->on_joining != NULL) BN_TRY(link->on_joining(link->joining_context));
        if (bn_clock_ms() < deadline) {
            bn_clock_sleep_ns(BN_MPI_NAP_MAX_NS);
            continue;
        }
        link->failure =
            h->is_joined
                ? bn_link_fail_out(&link->ends, BN_ERR_TIMED_OUT, "it does not answer")
                : bn_link_fail_in(&link->ends, BN_ERR_TIMED_OUT, "it did not join in time");
        return link->failure;
    }
}

static bn_status connect_mpi(bn_link *link, const char *next_url, uint32_t timeout_ms)
{
    handshake h = {
        .requests = {MPI_REQUEST_NULL, MPI_REQUEST_NULL, MPI_REQUEST_NULL, MPI_REQUEST_NULL},
        .is_joined = !link->has_previous,
        .is_answered = !link->has_next,
    };
    (void)next_url;
    bn_status status = handshake_run(link, &h, bn_clock_ms() + timeout_ms);
    if (status == BN_OK) return BN_OK;
    uint64_t deadline = bn_clock_ms() + BN_MPI_CANCEL_MS;
    for (int i = 0; i < 4; i++) {
        if (!end_request(&h.requests[i], i % 2 == 0, deadline)) {
            bn_log_warn("LINK-MPI", "link of %s: the handshake hangs in MPI", link->ends.own);
        }
    }
    return status;
}

/* Naps on the wake descriptor; true when it is readable. */
static bool nap(int wake_fd, uint64_t ns)
{
    struct pollfd item = {.fd = wake_fd, .events = POLLIN};
    struct timespec time = {.tv_sec = (time_t)(ns / 1000000000u),
                            .tv_nsec = (long)(ns % 1000000000u)};
    return ppoll(&item, 1, &time, NULL) != 0; /* an interrupted nap counts as a wake-up */
}

static bn_status wait_mpi(bn_link *link, int wake_fd, bool is_awake, uint32_t timeout_ms)
{
    if (!is_awake) {
        nap(wake_fd, timeout_ms * 1000000ull);
        return BN_OK;
    }
    uint64_t deadline = bn_clock_ns() + timeout_ms * 1000000ull, ns = BN_MPI_NAP_MIN_NS;
    for (;;) {
        BN_TRY(progress_mpi(link));
        bool is_in = link->n_in > 0 && link->in[link->in_begin].is_complete;
        bool is_out = link->n_out > 0 && link->out[link->out_begin].is_complete;
        if (is_in || is_out || bn_clock_ns() >= deadline || nap(wake_fd, ns)) return BN_OK;
        ns = 2 * ns < BN_MPI_NAP_MAX_NS ? 2 * ns : BN_MPI_NAP_MAX_NS;
    }
}

static void counters_mpi(const bn_link *link, bn_link_counters *counters_out)
{
    *counters_out = link->ends.counters;
}

static const bn_link_ops ops = {
    .name = "mpi",
    .create = create_mpi,
    .destroy = destroy_mpi,
    .url = url_mpi,
    .connect = connect_mpi,
    .receive_begin = receive_begin_mpi,
    .receive_test = receive_test_mpi,
    .send_begin = send_begin_mpi,
    .send_test = send_test_mpi,
    .progress = progress_mpi,
    .wait = wait_mpi,
    .counters = counters_mpi,
};

const bn_link_ops *bn_link_mpi_get(void)
{
    return world.is_up ? &ops : NULL;
}
