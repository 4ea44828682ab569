/* wire.h — every message between coordinator and workers: structs ⇄ bytes.
 *
 * The schema is proto/bitnet.proto; generated code is known to wire.c only. Unpacking checks
 * sizes, counts, ranges and enum values against the named maxima before anything is copied;
 * a message that passes is well-formed, though not necessarily sensible for its receiver's
 * state (epoch, slot counts: the receiver's business). Control characters in texts become spaces.
 * A message of another protocol major is refused naming both versions, except Hello and a
 * refusing Welcome, by which two versions tell each other so.
 *
 * Memory:  a bn_message is plain values of fixed size (large: keep one, do not put it on the
 *          stack). A bn_wire holds the scratch memory of one thread; nothing is allocated after
 *          its creation.
 * Threads: a bn_wire belongs to one thread at a time.
 * Errors:  BN_ERR_BAD_MESSAGE naming the message and field, both ways; BN_ERR_LIMIT when packing
 *          would exceed BN_ENVELOPE_MAX.
 */
#ifndef BN_PROTO_WIRE_H
#define BN_PROTO_WIRE_H

#include "common/hash.h"
#include "common/status.h"
#include "proto/step.h"

#include <stddef.h>

#define BN_ENVELOPE_MAX 65536u
#define BN_TEXT_MAX 512u /* bytes of a text on the wire, NUL included */
#define BN_URL_MAX 256u
#define BN_LINK_SECRET_BYTES 16u
#define BN_WIRE_STAGES_MAX 256u
#define BN_WIRE_LAYERS_MAX 1024u
#define BN_WIRE_RANKS_MAX 65536u
#define BN_WIRE_THREADS_MAX 65536u /* cores and threads of a worker */
#define BN_WIRE_RATE_MIN 1.0       /* of a worker, per second, unless it is 0: not measured */
#define BN_WIRE_RATE_MAX 1e18
#define BN_WIRE_KV_PAGES_MAX (1u << 28)

typedef enum bn_message_kind {
    BN_MESSAGE_HELLO = 1,
    BN_MESSAGE_WELCOME,
    BN_MESSAGE_ASSIGN,
    BN_MESSAGE_LOAD_PROGRESS,
    BN_MESSAGE_LOADED,
    BN_MESSAGE_CONNECT,
    BN_MESSAGE_READY,
    BN_MESSAGE_HEARTBEAT,
    BN_MESSAGE_WAKE,
    BN_MESSAGE_REST,
    BN_MESSAGE_STEP,
    BN_MESSAGE_RESULT,
    BN_MESSAGE_LOGITS,
    BN_MESSAGE_ABORT,
    BN_MESSAGE_STATS_REQUEST,
    BN_MESSAGE_STATS,
    BN_MESSAGE_FAILURE,
    BN_MESSAGE_GOODBYE,
    BN_MESSAGE_RELEASE,
    BN_MESSAGE_SHUTDOWN,
    BN_MESSAGE_KIND_END,
} bn_message_kind;

typedef enum bn_link_kind { BN_LINK_AUTO, BN_LINK_MPI, BN_LINK_ZMQ, BN_LINK_SELF } bn_link_kind;

/* Worker → coordinator, on every (re)connection, and again once the model is open. */
typedef struct bn_hello {
    uint32_t protocol_major, protocol_minor, numerics;
    char build[BN_TEXT_MAX];
    uint64_t incarnation[2]; /* random per process: the worker's identity */
    bool has_ranks;          /* started by an MPI launcher */
    uint32_t rank, n_ranks;
    uint64_t job; /* random, equal for all ranks of one job; 0 without ranks */
    char node[BN_TEXT_MAX];
    uint64_t process_id;
    uint64_t memory_bytes; /* usable */
    uint32_t cores, threads;
    char isa[BN_TEXT_MAX];
    double bandwidth; /* bytes per second, measured; 0: not */
    double compute;   /* multiply-adds per second, measured; 0: not */
    bool has_mpi;     /* can link by MPI */
    bool has_model;   /* the fields below are filled */
    char model_path[BN_TEXT_MAX];
    bn_hash128 model_identity;
} bn_hello;

/* Coordinator → worker. Refusal: the worker logs `reason` and exits 1 (or 2 on `is_usage`). */
typedef struct bn_welcome {
    bool is_accepted;
    bool is_usage;
    char reason[BN_TEXT_MAX];
    uint32_t worker_id;           /* the coordinator's number for it */
    char model_path[BN_TEXT_MAX]; /* for a worker without --model: open this and say hello again */
    uint32_t activation;          /* bn_activation_choice */
} bn_welcome;

typedef struct bn_assign {
    uint32_t epoch;
    uint32_t stage, n_stages;
    uint32_t layer_begin, layer_end;
    bool has_embedding, has_head;
    uint32_t context, slots, kv_pages, step_tokens, steps_in_flight;
    uint32_t activation;
    bn_link_kind link;
    uint8_t link_secret[BN_LINK_SECRET_BYTES];
    bool has_previous, has_next;
    uint32_t previous_rank, next_rank;                       /* for MPI */
    char previous_name[BN_TEXT_MAX], next_name[BN_TEXT_MAX]; /* for messages */
    bool wants_dump; /* write each layer's output where the worker was told (worker/dump.h) */
} bn_assign;

typedef struct bn_load_progress {
    uint32_t epoch;
    uint64_t done_bytes, total_bytes;
} bn_load_progress;

typedef struct bn_loaded {
    uint32_t epoch;
    char link_url[BN_URL_MAX]; /* where the previous stage connects; empty when not needed */
    uint64_t weights_bytes, kv_bytes, buffers_bytes; /* reserved */
    uint64_t resident_bytes;                         /* measured */
} bn_loaded;

typedef struct bn_connect {
    uint32_t epoch;
    char next_url[BN_URL_MAX];
} bn_connect;

typedef struct bn_epoch_only { /* READY, WAKE, RELEASE */
    uint32_t epoch;
} bn_epoch_only;

typedef enum bn_worker_state {
    BN_WORKER_JOINING = 1,
    BN_WORKER_WAITING,
    BN_WORKER_LOADING,
    BN_WORKER_LOADED,
    BN_WORKER_READY,
    BN_WORKER_LEAVING,
} bn_worker_state;

typedef struct bn_heartbeat {
    uint32_t epoch;
    bn_worker_state state;
    uint64_t last_step; /* id of the last step that left this stage */
    uint64_t progress;  /* grows whenever work is done, loading too */
} bn_heartbeat;

/* No step after `last_step` is outstanding: sleep once it has left. */
typedef struct bn_rest {
    uint32_t epoch;
    uint64_t last_step;
} bn_rest;

/* The logits of one wanted position; 4·vocab bytes follow as a second frame. */
typedef struct bn_logits {
    uint32_t epoch;
    uint64_t step_id;
    uint32_t entry, position;
    uint32_t n_logits;
} bn_logits;

/* Advice: entries of `slot` in steps up to `last_step` need no arithmetic. */
typedef struct bn_abort {
    uint32_t epoch;
    uint32_t slot;
    uint64_t last_step;
} bn_abort;

/* What a stage has done since it was assigned: the proof that a run was what it says. */
typedef struct bn_stats {
    uint32_t epoch, stage;
    uint32_t layer_begin, layer_end;
    char link[16], isa[16];
    uint32_t threads;         /* configured */
    uint32_t threads_working; /* that have computed a part */
    uint64_t steps, tokens;
    uint64_t link_bytes_in, link_bytes_out, link_frames_in, link_frames_out;
    uint32_t entries_max; /* most sequences in one step */
    uint32_t tokens_max;  /* most tokens in one step */
    uint32_t queued_max;  /* most steps that waited or ran here at once */
    uint64_t compute_ns, wait_ns, head_ns;
    uint64_t resident_bytes, resident_peak_bytes;
    uint32_t kv_pages_used, kv_pages_total;
    uint64_t head_whole, head_screened; /* positions by how their logits were computed */
    uint64_t head_survivors;            /* rows computed for the screened ones */
} bn_stats;

typedef struct bn_failure {
    uint32_t epoch;
    int32_t code; /* bn_status */
    char text[BN_TEXT_MAX];
} bn_failure;

typedef struct bn_farewell { /* GOODBYE, SHUTDOWN */
    char text[BN_TEXT_MAX];
} bn_farewell;

typedef struct bn_message {
    bn_message_kind kind;
    union {
        bn_hello hello;
        bn_welcome welcome;
        bn_assign assign;
        bn_load_progress load_progress;
        bn_loaded loaded;
        bn_connect connect;
        bn_epoch_only epoch_only;
        bn_heartbeat heartbeat;
        bn_rest rest;
        bn_step step;
        bn_result result;
        bn_logits logits;
        bn_abort abort;
        bn_stats stats;
        bn_failure failure;
        bn_farewell farewell;
    };
} bn_message;

typedef struct bn_wire bn_wire;

BN_CHECKED bn_status bn_wire_create(bn_wire **wire_out);
void bn_wire_destroy(bn_wire *wire);

/* Packs into `bytes` (capacity BN_ENVELOPE_MAX). */
BN_CHECKED bn_status bn_wire_pack(bn_wire *wire, const bn_message *message, uint8_t *bytes,
                                  size_t *n_out);
BN_CHECKED bn_status bn_wire_unpack(bn_wire *wire, const uint8_t *bytes, size_t n,
                                    bn_message *message_out);

/* The same without a log line: for bytes from anybody, whose cause the caller logs at its own
 * rate. bn_wire_trouble is the cause of the last failure, "" if none. */
BN_CHECKED bn_status bn_wire_unpack_quietly(bn_wire *wire, const uint8_t *bytes, size_t n,
                                            bn_message *message_out);
const char *bn_wire_trouble(const bn_wire *wire);

/* "step", "load progress" …; "unknown" for anything else. */
const char *bn_message_kind_name(bn_message_kind kind);

#endif
