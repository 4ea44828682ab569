/* wire.c — tables do the work.
 *
 * Most messages are flat lists of scalars and texts: a row per field says where it lives in our
 * struct and in the generated one and what range it may have, and the same row packs, unpacks and
 * checks. Lists of records (steps, results) travel as columns, which have a table of their own;
 * step.c knows the rules that relate their values. At creation the tables are compared with the
 * generated descriptors: a field added to the schema alone stops the first test.
 * The library's parser is handed bytes only after a look at the envelope's top level: one body,
 * a known one, of our major version. Its memory is a fixed scratch that cannot grow, so bytes
 * that would unfold into much memory fail instead.
 */
#include "proto/wire.h"

#include "common/alloc.h"
#include "common/log.h"
#include "common/version.h"
#include "proto/bitnet.pb-c.h"
#include "proto/envelope.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define BN_WIRE_SCRATCH_BYTES (160u * 1024u) /* a valid message takes under 100 KiB */

#define PB(name) Bitnet__Cluster__V1__##name
#define PB_TAG(name) BITNET__CLUSTER__V1__ENVELOPE__BODY_##name

struct bn_wire {
    ProtobufCAllocator allocator;
    size_t used;
    size_t last; /* where the newest allocation starts */
    bool is_exhausted;
    char trouble[BN_TEXT_MAX];
    _Alignas(16) uint8_t scratch[BN_WIRE_SCRATCH_BYTES];
};

static bn_status refuse(bn_wire *wire, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static bn_status refuse(bn_wire *wire, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(wire->trouble, sizeof wire->trouble, format, arguments);
    va_end(arguments);
    return BN_ERR_BAD_MESSAGE;
}

/* ---- scratch memory ---------------------------------------------------------------------- */

static void scratch_reset(bn_wire *wire)
{
    wire->used = 0;
    wire->last = 0;
    wire->is_exhausted = false;
    wire->trouble[0] = '\0';
}

static void *scratch_alloc(void *allocator_data, size_t size)
{
    bn_wire *wire = allocator_data;
    size_t begin = (wire->used + 15u) & ~(size_t)15u;
    if (begin > sizeof wire->scratch || size > sizeof wire->scratch - begin) {
        wire->is_exhausted = true;
        return NULL;
    }
    wire->last = begin;
    wire->used = begin + size;
    return wire->scratch + begin;
}

static void scratch_free(void *allocator_data, void *memory)
{
    bn_wire *wire = allocator_data;
    if (memory == wire->scratch + wire->last) wire->used = wire->last;
}

/* Zeroed; our own needs are bounded by the named maxima, so running out is a bug. */
static void *scratch_take(bn_wire *wire, size_t n, size_t size)
{
    void *memory = scratch_alloc(wire, n * size);
    BN_ASSERT(memory != NULL);
    memset(memory, 0, n * size);
    return memory;
}

/* ---- fields ------------------------------------------------------------------------------ */

typedef enum field_kind {
    FIELD_U32, /* also enums */
    FIELD_U64, /* also fixed64 */
    FIELD_BOOL,
    FIELD_AMOUNT, /* a double, finite and not negative */
    FIELD_CODE,   /* int32 in -max … 0 */
    FIELD_TEXT,   /* char[own_bytes] */
    FIELD_SECRET, /* uint8_t[own_bytes], always whole */
} field_kind;

typedef struct field {
    field_kind kind;
    const char *name;
    size_t own_offset, own_bytes, wire_offset;
    uint64_t min, max;
} field;

#define FIELD_AS(kind, own, Message, member, wire_member, low, high)                               \
    {                                                                                              \
        kind, #member, offsetof(bn_##own, member), sizeof(((bn_##own *)NULL)->member),             \
            offsetof(PB(Message), wire_member), low, high                                          \
    }
#define U32(own, Message, member, low, high)                                                       \
    FIELD_AS(FIELD_U32, own, Message, member, member, low, high)
#define U64(own, Message, member) FIELD_AS(FIELD_U64, own, Message, member, member, 0, UINT64_MAX)
#define BOOL(own, Message, member) FIELD_AS(FIELD_BOOL, own, Message, member, member, 0, 1)
#define TEXT(own, Message, member) FIELD_AS(FIELD_TEXT, own, Message, member, member, 0, 0)
#define EPOCH(own, Message) U32(own, Message, epoch, 0, UINT32_MAX)

static const field hello_fields[] = {
    U32(hello, Hello, numerics, 0, UINT32_MAX),
    TEXT(hello, Hello, build),
    FIELD_AS(FIELD_U64, hello, Hello, incarnation[0], incarnation_0, 0, UINT64_MAX),
    FIELD_AS(FIELD_U64, hello, Hello, incarnation[1], incarnation_1, 0, UINT64_MAX),
    BOOL(hello, Hello, has_ranks),
    U32(hello, Hello, rank, 0, BN_WIRE_RANKS_MAX - 1),
    U32(hello, Hello, n_ranks, 0, BN_WIRE_RANKS_MAX),
    FIELD_AS(FIELD_U64, hello, Hello, job, job, 0, UINT64_MAX),
    TEXT(hello, Hello, node),
    U64(hello, Hello, process_id),
    U64(hello, Hello, memory_bytes),
    U32(hello, Hello, cores, 0, BN_WIRE_THREADS_MAX),
    U32(hello, Hello, threads, 0, BN_WIRE_THREADS_MAX),
    TEXT(hello, Hello, isa),
    FIELD_AS(FIELD_AMOUNT, hello, Hello, bandwidth, bandwidth, 0, 0),
    FIELD_AS(FIELD_AMOUNT, hello, Hello, compute, compute, 0, 0),
    BOOL(hello, Hello, has_mpi),
    BOOL(hello, Hello, has_model),
    TEXT(hello, Hello, model_path),
    FIELD_AS(FIELD_U64, hello, Hello, model_identity.low, model_identity_low, 0, UINT64_MAX),
    FIELD_AS(FIELD_U64, hello, Hello, model_identity.high, model_identity_high, 0, UINT64_MAX),
};

static const field welcome_fields[] = {
    BOOL(welcome, Welcome, is_accepted), BOOL(welcome, Welcome, is_usage),
    TEXT(welcome, Welcome, reason),      U32(welcome, Welcome, worker_id, 0, UINT32_MAX),
    TEXT(welcome, Welcome, model_path),  U32(welcome, Welcome, activation, 0, 15),
};

static const field assign_fields[] = {
    EPOCH(assign, Assign),
    U32(assign, Assign, stage, 0, BN_WIRE_STAGES_MAX - 1),
    U32(assign, Assign, n_stages, 1, BN_WIRE_STAGES_MAX),
    U32(assign, Assign, layer_begin, 0, BN_WIRE_LAYERS_MAX),
    U32(assign, Assign, layer_end, 0, BN_WIRE_LAYERS_MAX),
    BOOL(assign, Assign, has_embedding),
    BOOL(assign, Assign, has_head),
    U32(assign, Assign, context, 1, BN_STEP_POSITION_MAX),
    U32(assign, Assign, slots, 1, BN_SLOTS_MAX),
    U32(assign, Assign, kv_pages, 0, BN_WIRE_KV_PAGES_MAX),
    U32(assign, Assign, step_tokens, 1, BN_STEP_TOKENS_MAX),
    U32(assign, Assign, steps_in_flight, 1, BN_STEPS_IN_FLIGHT_MAX),
    U32(assign, Assign, activation, 0, 15),
    U32(assign, Assign, link, BN_LINK_AUTO, BN_LINK_SELF),
    FIELD_AS(FIELD_SECRET, assign, Assign, link_secret, link_secret, 0, 0),
    BOOL(assign, Assign, has_previous),
    BOOL(assign, Assign, has_next),
    U32(assign, Assign, previous_rank, 0, BN_WIRE_RANKS_MAX - 1),
    U32(assign, Assign, next_rank, 0, BN_WIRE_RANKS_MAX - 1),
    TEXT(assign, Assign, previous_name),
    TEXT(assign, Assign, next_name),
    BOOL(assign, Assign, wants_dump),
};

static const field load_progress_fields[] = {
    EPOCH(load_progress, LoadProgress),
    U64(load_progress, LoadProgress, done_bytes),
    U64(load_progress, LoadProgress, total_bytes),
};

static const field loaded_fields[] = {
    EPOCH(loaded, Loaded),
    TEXT(loaded, Loaded, link_url),
    U64(loaded, Loaded, weights_bytes),
    U64(loaded, Loaded, kv_bytes),
    U64(loaded, Loaded, buffers_bytes),
    U64(loaded, Loaded, resident_bytes),
};

static const field connect_fields[] = {
    EPOCH(connect, Connect),
    TEXT(connect, Connect, next_url),
};

static const field epoch_only_fields[] = {EPOCH(epoch_only, EpochOnly)};

static const field heartbeat_fields[] = {
    EPOCH(heartbeat, Heartbeat),
    U32(heartbeat, Heartbeat, state, BN_WORKER_JOINING, BN_WORKER_LEAVING),
    U64(heartbeat, Heartbeat, last_step),
    U64(heartbeat, Heartbeat, progress),
};

static const field rest_fields[] = {
    EPOCH(rest, Rest),
    U64(rest, Rest, last_step),
};

static const field logits_fields[] = {
    EPOCH(logits, Logits),
    FIELD_AS(FIELD_U64, logits, Logits, step_id, step_id, 1, UINT64_MAX),
    U32(logits, Logits, entry, 0, BN_STEP_ENTRIES_MAX - 1),
    U32(logits, Logits, position, 0, BN_STEP_POSITION_MAX - 1),
    U32(logits, Logits, n_logits, 1, BN_STEP_VOCAB_MAX),
};

static const field abort_fields[] = {EPOCH(abort, Abort),
                                     U32(abort, Abort, slot, 0, BN_SLOTS_MAX - 1),
                                     U64(abort, Abort, last_step)};

static const field stats_fields[] = {
    EPOCH(stats, Stats),
    U32(stats, Stats, stage, 0, BN_WIRE_STAGES_MAX - 1),
    U32(stats, Stats, layer_begin, 0, BN_WIRE_LAYERS_MAX),
    U32(stats, Stats, layer_end, 0, BN_WIRE_LAYERS_MAX),
    TEXT(stats, Stats, link),
    TEXT(stats, Stats, isa),
    U32(stats, Stats, threads, 0, BN_WIRE_THREADS_MAX),
    U32(stats, Stats, threads_working, 0, BN_WIRE_THREADS_MAX),
    U64(stats, Stats, steps),
    U64(stats, Stats, tokens),
    U64(stats, Stats, link_bytes_in),
    U64(stats, Stats, link_bytes_out),
    U64(stats, Stats, link_frames_in),
    U64(stats, Stats, link_frames_out),
    U32(stats, Stats, entries_max, 0, BN_STEP_ENTRIES_MAX),
    U32(stats, Stats, tokens_max, 0, BN_STEP_TOKENS_MAX),
    U32(stats, Stats, queued_max, 0, BN_STEPS_IN_FLIGHT_MAX),
    U64(stats, Stats, compute_ns),
    U64(stats, Stats, wait_ns),
    U64(stats, Stats, head_ns),
    U64(stats, Stats, resident_bytes),
    U64(stats, Stats, resident_peak_bytes),
    U32(stats, Stats, kv_pages_used, 0, BN_WIRE_KV_PAGES_MAX),
    U32(stats, Stats, kv_pages_total, 0, BN_WIRE_KV_PAGES_MAX),
    U64(stats, Stats, head_whole),
    U64(stats, Stats, head_screened),
    U64(stats, Stats, head_survivors),
};

static const field failure_fields[] = {EPOCH(failure, Failure),
                                       FIELD_AS(FIELD_CODE, failure, Failure, code, code, 0, 1000),
                                       TEXT(failure, Failure, text)};

static const field farewell_fields[] = {TEXT(farewell, Farewell, text)};

/* Numbers look the same on both sides, so one function copies and checks them either way. */
static bn_status field_copy_number(bn_wire *wire, const field *row, const char *message,
                                   const void *from, void *to)
{
    uint64_t value = 0;
    double amount;
    int32_t code;
    memcpy(to, from, row->own_bytes);
    switch (row->kind) {
    case FIELD_AMOUNT:
        memcpy(&amount, from, sizeof amount);
        if (amount == 0.0 || (amount >= BN_WIRE_RATE_MIN && amount <= BN_WIRE_RATE_MAX))
            return BN_OK;
        return refuse(wire, "%s: %s %g is not a finite amount from %g to %g", message, row->name,
                      amount, BN_WIRE_RATE_MIN, BN_WIRE_RATE_MAX);
    case FIELD_CODE:
        memcpy(&code, from, sizeof code);
        if (code <= 0 && code >= -(int64_t)row->max) return BN_OK;
        return refuse(wire, "%s: %s %d is not a status", message, row->name, code);
    default: memcpy(&value, from, row->own_bytes); break;
    }
    if (value >= row->min && value <= row->max) return BN_OK;
    return refuse(wire, "%s: %s %llu is outside %llu … %llu", message, row->name,
                  (unsigned long long)value, (unsigned long long)row->min,
                  (unsigned long long)row->max);
}

static bn_status field_pack(bn_wire *wire, const field *row, const char *message,
                            const void *own_value, void *wire_value)
{
    protobuf_c_boolean flag;
    ProtobufCBinaryData data;
    switch (row->kind) {
    case FIELD_BOOL:
        flag = *(const bool *)own_value;
        memcpy(wire_value, &flag, sizeof flag);
        return BN_OK;
    case FIELD_TEXT:
        memcpy(wire_value, &own_value, sizeof own_value); /* borrowed until packed */
        if (strnlen(own_value, row->own_bytes) < row->own_bytes) return BN_OK;
        return refuse(wire, "%s: %s is not terminated", message, row->name);
    case FIELD_SECRET:
        data.len = row->own_bytes;
        data.data = scratch_take(wire, data.len, 1);
        memcpy(data.data, own_value, data.len);
        memcpy(wire_value, &data, sizeof data);
        return BN_OK;
    default: return field_copy_number(wire, row, message, own_value, wire_value);
    }
}

static bn_status field_unpack_text(bn_wire *wire, const field *row, const char *message,
                                   const char *text, char *own_text)
{
    size_t n = text == NULL ? 0 : strlen(text);
    if (n >= row->own_bytes) {
        return refuse(wire, "%s: %s has %zu bytes, at most %zu are allowed", message, row->name, n,
                      row->own_bytes - 1);
    }
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text[i];
        own_text[i] = c < 0x20 || c == 0x7f ? ' ' : text[i];
    }
    own_text[n] = '\0';
    return BN_OK;
}

static bn_status field_unpack(bn_wire *wire, const field *row, const char *message,
                              const void *wire_value, void *own_value)
{
    protobuf_c_boolean flag;
    ProtobufCBinaryData data;
    const char *text;
    switch (row->kind) {
    case FIELD_BOOL:
        memcpy(&flag, wire_value, sizeof flag);
        *(bool *)own_value = flag != 0;
        return BN_OK;
    case FIELD_TEXT:
        memcpy(&text, wire_value, sizeof text);
        return field_unpack_text(wire, row, message, text, own_value);
    case FIELD_SECRET:
        memcpy(&data, wire_value, sizeof data);
        if (data.len != row->own_bytes) {
            return refuse(wire, "%s: %s has %zu bytes, not %zu", message, row->name, data.len,
                          row->own_bytes);
        }
        memcpy(own_value, data.data, data.len);
        return BN_OK;
    default: return field_copy_number(wire, row, message, wire_value, own_value);
    }
}

/* ---- lists ------------------------------------------------------------------------------- */

/* An array of records in our struct; its fields travel as columns. */
typedef struct list {
    size_t own_offset, record_bytes, count_offset;
    uint32_t max;
    const char *name;
} list;

typedef struct column {
    const list *list;
    const char *name;
    size_t record_offset, bytes; /* of the field within a record; 4 or 8, as on the wire */
    bool is_flags;               /* three bools in a row become bits 0, 1, 2 */
    size_t wire_n, wire_values;  /* of the generated count and array */
} column;

#define LIST(own, array, count, max)                                                               \
    {                                                                                              \
        offsetof(bn_##own, array), sizeof(((bn_##own *)NULL)->array[0]),                           \
            offsetof(bn_##own, count), max, #array                                                 \
    }
#define COLUMN(list, record_offset, bytes, Message, values)                                        \
    {                                                                                              \
        list, #values, record_offset, bytes, false, offsetof(PB(Message), n_##values),             \
            offsetof(PB(Message), values)                                                          \
    }
#define FLAGS(list, record_offset, Message, values)                                                \
    {                                                                                              \
        list, #values, record_offset, 4, true, offsetof(PB(Message), n_##values),                  \
            offsetof(PB(Message), values)                                                          \
    }

_Static_assert(offsetof(bn_step_entry, wants_all) == offsetof(bn_step_entry, wants_lse) + 1 &&
                   offsetof(bn_step_entry, is_void) == offsetof(bn_step_entry, wants_lse) + 2,
               "the flags of an entry stand in a row");
_Static_assert(offsetof(bn_result_position, has_all) == offsetof(bn_result_position, has_lse) + 1 &&
                   offsetof(bn_result_position, is_void) ==
                       offsetof(bn_result_position, has_lse) + 2,
               "the flags of a position stand in a row");

static const field step_fields[] = {
    EPOCH(step, Step),
    FIELD_AS(FIELD_U64, step, Step, id, id, 1, UINT64_MAX),
};

static const list entry_list = LIST(step, entries, n_entries, BN_STEP_ENTRIES_MAX);
static const list token_list = LIST(step, tokens, n_tokens, BN_STEP_TOKENS_MAX);
static const list id_list = LIST(step, ids, n_ids, BN_STEP_IDS_MAX);
static const list command_list = LIST(step, commands, n_commands, BN_STEP_COMMANDS_MAX);

static const column step_columns[] = {
    COLUMN(&entry_list, offsetof(bn_step_entry, slot), 4, Step, entry_slot),
    COLUMN(&entry_list, offsetof(bn_step_entry, position), 4, Step, entry_position),
    COLUMN(&entry_list, offsetof(bn_step_entry, n_tokens), 4, Step, entry_n_tokens),
    COLUMN(&entry_list, offsetof(bn_step_entry, want_from), 4, Step, entry_want_from),
    COLUMN(&entry_list, offsetof(bn_step_entry, n_best), 4, Step, entry_n_best),
    COLUMN(&entry_list, offsetof(bn_step_entry, n_ids), 4, Step, entry_n_ids),
    FLAGS(&entry_list, offsetof(bn_step_entry, wants_lse), Step, entry_flags),
    COLUMN(&token_list, 0, 4, Step, tokens),
    COLUMN(&id_list, 0, 4, Step, ids),
    COLUMN(&command_list, offsetof(bn_kv_command, kind), 4, Step, command_kind),
    COLUMN(&command_list, offsetof(bn_kv_command, slot), 4, Step, command_slot),
    COLUMN(&command_list, offsetof(bn_kv_command, source), 4, Step, command_source),
    COLUMN(&command_list, offsetof(bn_kv_command, count), 4, Step, command_count),
};

static const field result_fields[] = {
    EPOCH(result, Result),
    FIELD_AS(FIELD_U64, result, Result, step_id, step_id, 1, UINT64_MAX),
    U32(result, Result, vocab_begin, 0, BN_STEP_VOCAB_MAX),
    U32(result, Result, vocab_end, 0, BN_STEP_VOCAB_MAX),
};

static const list position_list = LIST(result, positions, n_positions, BN_STEP_WANTED_MAX);
static const list candidate_list = LIST(result, candidates, n_candidates, BN_STEP_CANDIDATES_MAX);
static const list exact_list = LIST(result, exact, n_exact, BN_STEP_IDS_MAX);

static const column result_columns[] = {
    COLUMN(&position_list, offsetof(bn_result_position, entry), 4, Result, position_entry),
    COLUMN(&position_list, offsetof(bn_result_position, position), 4, Result, position_position),
    COLUMN(&position_list, offsetof(bn_result_position, n_candidates), 4, Result,
           position_n_candidates),
    COLUMN(&position_list, offsetof(bn_result_position, n_exact), 4, Result, position_n_exact),
    FLAGS(&position_list, offsetof(bn_result_position, has_lse), Result, position_flags),
    COLUMN(&position_list, offsetof(bn_result_position, lse), 8, Result, position_lse),
    COLUMN(&candidate_list, offsetof(bn_candidate, id), 4, Result, candidate_id),
    COLUMN(&candidate_list, offsetof(bn_candidate, logit), 4, Result, candidate_logit),
    COLUMN(&exact_list, 0, 4, Result, exact),
};

static void copy_value(void *to, const void *from, size_t bytes)
{
    if (bytes == 4) {
        memcpy(to, from, 4); /* of fixed size: one move each */
    } else {
        memcpy(to, from, 8);
    }
}

static uint32_t flags_read(const bool *flags)
{
    return (flags[0] ? 1u : 0u) | (flags[1] ? 2u : 0u) | (flags[2] ? 4u : 0u);
}

/* The counts have been checked. */
static void column_pack(bn_wire *wire, const column *row, const void *own_body, void *wire_body)
{
    const char *records = (const char *)own_body + row->list->own_offset + row->record_offset;
    uint32_t n;
    memcpy(&n, (const char *)own_body + row->list->count_offset, sizeof n);
    size_t n_values = n;
    char *values = scratch_take(wire, n, row->bytes);
    for (size_t i = 0; i < n_values; i++) {
        const char *from = records + i * row->list->record_bytes;
        uint32_t flags = row->is_flags ? flags_read((const bool *)from) : 0;
        copy_value(values + i * row->bytes, row->is_flags ? (const void *)&flags : from,
                   row->bytes);
    }
    memcpy((char *)wire_body + row->wire_n, &n_values, sizeof n_values);
    memcpy((char *)wire_body + row->wire_values, &values, sizeof values);
}

/* The first column of a list decides its length; the others must agree. */
static bn_status column_unpack(bn_wire *wire, const column *row, bool is_first, const char *message,
                               const void *wire_body, void *own_body)
{
    char *records = (char *)own_body + row->list->own_offset + row->record_offset;
    char *count = (char *)own_body + row->list->count_offset;
    const char *values;
    size_t n_values;
    uint32_t n;
    memcpy(&n_values, (const char *)wire_body + row->wire_n, sizeof n_values);
    memcpy(&values, (const char *)wire_body + row->wire_values, sizeof values);
    if (n_values > row->list->max) {
        return refuse(wire, "%s: %zu of %s, at most %u are allowed", message, n_values, row->name,
                      row->list->max);
    }
    n = (uint32_t)n_values;
    if (is_first) memcpy(count, &n, sizeof n);
    memcpy(&n, count, sizeof n);
    if (n != n_values) {
        return refuse(wire, "%s: %u %s but %zu of %s", message, n, row->list->name, n_values,
                      row->name);
    }
    for (size_t i = 0; i < n_values; i++) {
        char *to = records + i * row->list->record_bytes;
        if (!row->is_flags) {
            copy_value(to, values + i * row->bytes, row->bytes);
            continue;
        }
        uint32_t flags;
        memcpy(&flags, values + i * row->bytes, sizeof flags);
        if (flags > 7u) return refuse(wire, "%s: %s %zu is %u", message, row->name, i, flags);
        for (uint32_t bit = 0; bit < 3; bit++) {
            ((bool *)to)[bit] = (flags >> bit & 1u) != 0;
        }
    }
    return BN_OK;
}

/* ---- messages ---------------------------------------------------------------------------- */

static bn_status check_hello(bn_wire *wire, const bn_message *message)
{
    const bn_hello *hello = &message->hello;
    if (!hello->has_ranks || hello->rank < hello->n_ranks) return BN_OK;
    return refuse(wire, "hello: rank %u of %u", hello->rank, hello->n_ranks);
}

static bn_status check_assign(bn_wire *wire, const bn_message *message)
{
    const bn_assign *assign = &message->assign;
    if (assign->stage >= assign->n_stages) {
        return refuse(wire, "assign: stage %u of %u", assign->stage, assign->n_stages);
    }
    if (assign->layer_begin > assign->layer_end) {
        return refuse(wire, "assign: layers %u … %u", assign->layer_begin, assign->layer_end);
    }
    return BN_OK;
}

static void complete_step(bn_message *message)
{
    bn_step_complete(&message->step);
}

static void complete_result(bn_message *message)
{
    bn_result_complete(&message->result);
}

static bn_status check_step(bn_wire *wire, const bn_message *message)
{
    return bn_step_check(&message->step, wire->trouble, sizeof wire->trouble);
}

static bn_status check_result(bn_wire *wire, const bn_message *message)
{
    return bn_result_check(&message->result, wire->trouble, sizeof wire->trouble);
}

typedef struct message_row {
    const char *name;
    PB(Envelope__BodyCase) tag;
    const ProtobufCMessageDescriptor *descriptor;
    const field *fields;
    uint32_t n_fields;
    /* Optional: what relates fields to each other; lists and what they leave to be computed. */
    bn_status (*check)(bn_wire *wire, const bn_message *message);
    const column *columns;
    uint32_t n_columns;
    void (*complete)(bn_message *message);
} message_row;

#define ROWS(rows) rows, sizeof(rows) / sizeof((rows)[0])
#define ROW(name, TAG, type, fields, check)                                                        \
    {                                                                                              \
        name, PB_TAG(TAG), &bitnet__cluster__v1__##type##__descriptor, ROWS(fields), check, NULL,  \
            0, NULL                                                                                \
    }

static const message_row messages[BN_MESSAGE_KIND_END] = {
    [BN_MESSAGE_HELLO] = ROW("hello", HELLO, hello, hello_fields, check_hello),
    [BN_MESSAGE_WELCOME] = ROW("welcome", WELCOME, welcome, welcome_fields, NULL),
    [BN_MESSAGE_ASSIGN] = ROW("assign", ASSIGN, assign, assign_fields, check_assign),
    [BN_MESSAGE_LOAD_PROGRESS] =
        ROW("load progress", LOAD_PROGRESS, load_progress, load_progress_fields, NULL),
    [BN_MESSAGE_LOADED] = ROW("loaded", LOADED, loaded, loaded_fields, NULL),
    [BN_MESSAGE_CONNECT] = ROW("connect", CONNECT, connect, connect_fields, NULL),
    [BN_MESSAGE_READY] = ROW("ready", READY, epoch_only, epoch_only_fields, NULL),
    [BN_MESSAGE_HEARTBEAT] = ROW("heartbeat", HEARTBEAT, heartbeat, heartbeat_fields, NULL),
    [BN_MESSAGE_WAKE] = ROW("wake", WAKE, epoch_only, epoch_only_fields, NULL),
    [BN_MESSAGE_REST] = ROW("rest", REST, rest, rest_fields, NULL),
    [BN_MESSAGE_STEP] = {"step", PB_TAG(STEP), &bitnet__cluster__v1__step__descriptor,
                         ROWS(step_fields), check_step, ROWS(step_columns), complete_step},
    [BN_MESSAGE_RESULT] = {"result", PB_TAG(RESULT), &bitnet__cluster__v1__result__descriptor,
                           ROWS(result_fields), check_result, ROWS(result_columns),
                           complete_result},
    [BN_MESSAGE_LOGITS] = ROW("logits", LOGITS, logits, logits_fields, NULL),
    [BN_MESSAGE_ABORT] = ROW("abort", ABORT, abort, abort_fields, NULL),
    [BN_MESSAGE_STATS_REQUEST] = {"stats request", PB_TAG(STATS_REQUEST),
                                  &bitnet__cluster__v1__empty__descriptor, NULL, 0, NULL, NULL, 0,
                                  NULL},
    [BN_MESSAGE_STATS] = ROW("stats", STATS, stats, stats_fields, NULL),
    [BN_MESSAGE_FAILURE] = ROW("failure", FAILURE, failure, failure_fields, NULL),
    [BN_MESSAGE_GOODBYE] = ROW("goodbye", GOODBYE, farewell, farewell_fields, NULL),
    [BN_MESSAGE_RELEASE] = ROW("release", RELEASE, epoch_only, epoch_only_fields, NULL),
    [BN_MESSAGE_SHUTDOWN] = ROW("shutdown", SHUTDOWN, farewell, farewell_fields, NULL),
};

const char *bn_message_kind_name(bn_message_kind kind)
{
    if ((unsigned)kind >= BN_MESSAGE_KIND_END || messages[kind].name == NULL) return "unknown";
    return messages[kind].name;
}

static bool field_fits(const field *row, const ProtobufCFieldDescriptor *schema)
{
    switch (row->kind) {
    case FIELD_U32:
        return row->own_bytes == 4 &&
               (schema->type == PROTOBUF_C_TYPE_UINT32 || schema->type == PROTOBUF_C_TYPE_ENUM);
    case FIELD_U64:
        return row->own_bytes == 8 &&
               (schema->type == PROTOBUF_C_TYPE_UINT64 || schema->type == PROTOBUF_C_TYPE_FIXED64);
    case FIELD_BOOL: return row->own_bytes == 1 && schema->type == PROTOBUF_C_TYPE_BOOL;
    case FIELD_AMOUNT: return row->own_bytes == 8 && schema->type == PROTOBUF_C_TYPE_DOUBLE;
    case FIELD_CODE: return row->own_bytes == 4 && schema->type == PROTOBUF_C_TYPE_SINT32;
    case FIELD_TEXT: return schema->type == PROTOBUF_C_TYPE_STRING;
    case FIELD_SECRET: return schema->type == PROTOBUF_C_TYPE_BYTES;
    }
    return false;
}

static bool row_covers(const message_row *row, const ProtobufCFieldDescriptor *schema)
{
    for (uint32_t i = 0; i < row->n_fields; i++) {
        if (row->fields[i].wire_offset == schema->offset) {
            return field_fits(&row->fields[i], schema);
        }
    }
    for (uint32_t i = 0; i < row->n_columns; i++) {
        bool is_wide = schema->type == PROTOBUF_C_TYPE_FIXED64;
        if (row->columns[i].wire_values == schema->offset) {
            return row->columns[i].bytes == (is_wide ? 8 : 4);
        }
    }
    return false;
}

/* Every field of the schema has one row of the right kind. */
static void assert_tables(void)
{
    for (uint32_t kind = BN_MESSAGE_HELLO; kind < BN_MESSAGE_KIND_END; kind++) {
        const message_row *row = &messages[kind];
        BN_ASSERT(row->descriptor->n_fields == row->n_fields + row->n_columns);
        for (uint32_t i = 0; i < row->descriptor->n_fields; i++) {
            BN_ASSERT(row_covers(row, &row->descriptor->fields[i]));
        }
    }
}

bn_status bn_wire_create(bn_wire **wire_out)
{
    assert_tables();
    bn_wire *wire = bn_alloc(1, sizeof *wire);
    if (wire == NULL) return bn_fail(BN_ERR_NO_MEMORY, "WIRE-MEMORY", "no memory for a wire");
    wire->allocator = (ProtobufCAllocator){scratch_alloc, scratch_free, wire};
    *wire_out = wire;
    return BN_OK;
}

void bn_wire_destroy(bn_wire *wire)
{
    bn_free(wire);
}

const char *bn_wire_trouble(const bn_wire *wire)
{
    return wire->trouble;
}

/* ---- pack -------------------------------------------------------------------------------- */

static bn_status pack_body(bn_wire *wire, const bn_message *message, const message_row *row,
                           void *wire_body)
{
    const void *own = &message->hello; /* every member of the union starts there */
    if (row->check != NULL) BN_TRY(row->check(wire, message));
    for (uint32_t i = 0; i < row->n_fields; i++) {
        const field *f = &row->fields[i];
        BN_TRY(field_pack(wire, f, row->name, (const char *)own + f->own_offset,
                          (char *)wire_body + f->wire_offset));
    }
    for (uint32_t i = 0; i < row->n_columns; i++) {
        column_pack(wire, &row->columns[i], own, wire_body);
    }
    return BN_OK;
}

static bn_status pack_envelope(bn_wire *wire, const bn_message *message, uint8_t *bytes,
                               size_t *n_out)
{
    if ((unsigned)message->kind >= BN_MESSAGE_KIND_END || messages[message->kind].name == NULL) {
        return refuse(wire, "no message has kind %u", (unsigned)message->kind);
    }
    const message_row *row = &messages[message->kind];
    bool is_hello = message->kind == BN_MESSAGE_HELLO;
    PB(Envelope) envelope = BITNET__CLUSTER__V1__ENVELOPE__INIT;
    envelope.protocol_major = is_hello ? message->hello.protocol_major : BN_PROTOCOL_MAJOR;
    envelope.protocol_minor = is_hello ? message->hello.protocol_minor : BN_PROTOCOL_MINOR;
    envelope.body_case = row->tag;
    void *body = scratch_take(wire, 1, row->descriptor->sizeof_message);
    protobuf_c_message_init(row->descriptor, body);
    memcpy(&envelope.hello, &body, sizeof body); /* the bodies are a union of pointers */
    BN_TRY(pack_body(wire, message, row, body));
    size_t n = protobuf_c_message_get_packed_size(&envelope.base);
    if (n > BN_ENVELOPE_MAX) {
        refuse(wire, "%s: %zu bytes, an envelope has at most %u", row->name, n, BN_ENVELOPE_MAX);
        return BN_ERR_LIMIT;
    }
    *n_out = protobuf_c_message_pack(&envelope.base, bytes);
    return BN_OK;
}

bn_status bn_wire_pack(bn_wire *wire, const bn_message *message, uint8_t *bytes, size_t *n_out)
{
    scratch_reset(wire);
    bn_status status = pack_envelope(wire, message, bytes, n_out);
    if (status == BN_OK) return BN_OK;
    return bn_fail(status, "WIRE-PACK", "cannot send a message: %s", wire->trouble);
}

/* ---- unpack ------------------------------------------------------------------------------ */

static bn_message_kind kind_of_tag(uint32_t tag)
{
    for (uint32_t kind = BN_MESSAGE_HELLO; kind < BN_MESSAGE_KIND_END; kind++) {
        if ((uint32_t)messages[kind].tag == tag) return (bn_message_kind)kind;
    }
    return BN_MESSAGE_KIND_END;
}

static bn_status unpack_body(bn_wire *wire, const message_row *row, const void *wire_body,
                             bn_message *message)
{
    void *own = &message->hello; /* as in pack_body */
    for (uint32_t i = 0; i < row->n_fields; i++) {
        const field *f = &row->fields[i];
        BN_TRY(field_unpack(wire, f, row->name, (const char *)wire_body + f->wire_offset,
                            (char *)own + f->own_offset));
    }
    for (uint32_t i = 0; i < row->n_columns; i++) {
        const column *c = &row->columns[i];
        bool is_first = i == 0 || row->columns[i - 1].list != c->list;
        BN_TRY(column_unpack(wire, c, is_first, row->name, wire_body, own));
    }
    if (row->complete != NULL) row->complete(message);
    return row->check == NULL ? BN_OK : row->check(wire, message);
}

static bn_status unpack_envelope(bn_wire *wire, const uint8_t *bytes, size_t n, bn_message *message)
{
    bn_envelope found;
    if (n > BN_ENVELOPE_MAX) {
        return refuse(wire, "%zu bytes, an envelope has at most %u", n, BN_ENVELOPE_MAX);
    }
    const char *cause = bn_envelope_outline(bytes, n, PB_TAG(HELLO), PB_TAG(SHUTDOWN), &found);
    if (cause != NULL) return refuse(wire, "not an envelope: %s", cause);
    bn_message_kind kind = kind_of_tag(found.body_tag);
    bool is_ours = found.major == BN_PROTOCOL_MAJOR;
    if (!is_ours && kind != BN_MESSAGE_HELLO && kind != BN_MESSAGE_WELCOME) {
        return refuse(wire, "message of protocol %llu.%llu, this side speaks %d.%d",
                      (unsigned long long)found.major, (unsigned long long)found.minor,
                      BN_PROTOCOL_MAJOR, BN_PROTOCOL_MINOR);
    }
    if (kind == BN_MESSAGE_KIND_END) return refuse(wire, "no body that this version knows");
    const message_row *row = &messages[kind];
    PB(Envelope) *envelope = bitnet__cluster__v1__envelope__unpack(&wire->allocator, n, bytes);
    if (envelope == NULL || envelope->body_case != row->tag || envelope->hello == NULL) {
        return refuse(wire, "%s: %s", row->name,
                      wire->is_exhausted ? "unfolds into too many values" : "malformed");
    }
    message->kind = kind;
    BN_TRY(unpack_body(wire, row, envelope->hello, message));
    if (kind == BN_MESSAGE_HELLO) {
        message->hello.protocol_major = envelope->protocol_major;
        message->hello.protocol_minor = envelope->protocol_minor;
    }
    if (kind == BN_MESSAGE_WELCOME && !is_ours && message->welcome.is_accepted) {
        return refuse(wire, "welcome of protocol %llu.%llu, this side speaks %d.%d",
                      (unsigned long long)found.major, (unsigned long long)found.minor,
                      BN_PROTOCOL_MAJOR, BN_PROTOCOL_MINOR);
    }
    return BN_OK;
}

bn_status bn_wire_unpack_quietly(bn_wire *wire, const uint8_t *bytes, size_t n,
                                 bn_message *message_out)
{
    scratch_reset(wire);
    return unpack_envelope(wire, bytes, n, message_out);
}

bn_status bn_wire_unpack(bn_wire *wire, const uint8_t *bytes, size_t n, bn_message *message_out)
{
    bn_status status = bn_wire_unpack_quietly(wire, bytes, n, message_out);
    if (status == BN_OK) return BN_OK;
    return bn_fail(status, "WIRE-MALFORMED", "bad message: %s", wire->trouble);
}
