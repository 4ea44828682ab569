/* link_frame.c — one judge for all transports, so that each refuses the same frames. */
#include "worker/link_frame.h"

#include "common/clock.h"
#include "common/log.h"

#include <stdio.h>
#include <string.h>

#define BN_LINK_WARN_MS 10000u

static void copy_name(char name_out[BN_LINK_NAME_MAX], const char *name, const char *otherwise)
{
    bool is_named = name != NULL && name[0] != '\0';
    snprintf(name_out, BN_LINK_NAME_MAX, "%s", is_named ? name : otherwise);
}

void bn_link_ends_init(bn_link_ends *ends, const bn_link_config *config)
{
    memset(ends, 0, sizeof *ends);
    ends->epoch = config->epoch;
    memcpy(ends->secret, config->secret, sizeof ends->secret);
    copy_name(ends->own, config->own_name, "this worker");
    copy_name(ends->previous, config->previous_name, "the previous worker");
    copy_name(ends->next, config->next_name, "the next worker");
}

bn_status bn_link_frame_seal(bn_link_ends *ends, bn_link_frame *frame)
{
    bn_link_header header = {
        .kind = BN_LINK_FRAME_STEP,
        .epoch = ends->epoch,
        .body_bytes = (uint32_t)frame->body_bytes,
        .step_id = frame->step_id,
        .activation_bytes = frame->activation_bytes,
    };
    BN_ASSERT(frame->body_bytes > 0 && frame->body_bytes <= BN_ENVELOPE_MAX);
    BN_ASSERT(frame->activation_bytes <= frame->activation_capacity);
    if (frame->step_id != ends->last_sent + 1) {
        return bn_link_fail_out(ends, BN_ERR_BAD_ARGUMENT, "a step out of order was to be sent");
    }
    memcpy(header.secret, ends->secret, sizeof header.secret);
    bn_link_header_pack(&header, frame->head);
    ends->last_sent = frame->step_id;
    ends->counters.frames_out++;
    ends->counters.bytes_out += BN_LINK_HEADER_BYTES + frame->body_bytes + frame->activation_bytes;
    return BN_OK;
}

void bn_link_frame_probe(const bn_link_ends *ends, bn_link_frame_kind kind,
                         uint8_t bytes_out[BN_LINK_HEADER_BYTES])
{
    bn_link_header header = {.kind = kind, .epoch = ends->epoch};
    memcpy(header.secret, ends->secret, sizeof header.secret);
    bn_link_header_pack(&header, bytes_out);
}

bn_status bn_link_frame_accept(bn_link_ends *ends, const bn_link_header *header, size_t n_head,
                               size_t n_activations, bn_link_frame *frame)
{
    char cause[160];
    if (header->kind != BN_LINK_FRAME_STEP) {
        return bn_link_fail_in(ends, BN_ERR_BAD_MESSAGE, "a probe where a step was due");
    }
    if (n_head != BN_LINK_HEADER_BYTES + header->body_bytes ||
        n_activations != header->activation_bytes) {
        snprintf(cause, sizeof cause,
                 "step %llu came truncated: %zu and %zu bytes, not %zu and %llu",
                 (unsigned long long)header->step_id, n_head, n_activations,
                 (size_t)BN_LINK_HEADER_BYTES + header->body_bytes,
                 (unsigned long long)header->activation_bytes);
        return bn_link_fail_in(ends, BN_ERR_BAD_MESSAGE, cause);
    }
    if (n_activations > frame->activation_capacity) {
        snprintf(cause, sizeof cause, "step %llu has %zu bytes of activations, room for %zu",
                 (unsigned long long)header->step_id, n_activations, frame->activation_capacity);
        return bn_link_fail_in(ends, BN_ERR_BAD_MESSAGE, cause);
    }
    if (header->step_id != ends->last_received + 1) {
        snprintf(cause, sizeof cause, "step %llu came after step %llu (%s)",
                 (unsigned long long)header->step_id, (unsigned long long)ends->last_received,
                 header->step_id > ends->last_received ? "a gap" : "a repeat");
        return bn_link_fail_in(ends, BN_ERR_BAD_MESSAGE, cause);
    }
    ends->last_received = header->step_id;
    frame->step_id = header->step_id;
    frame->body_bytes = header->body_bytes;
    frame->activation_bytes = n_activations;
    ends->counters.frames_in++;
    ends->counters.bytes_in += n_head + n_activations;
    return BN_OK;
}

void bn_link_frame_drop(bn_link_ends *ends, const char *cause)
{
    uint64_t now = bn_clock_ms();
    ends->counters.frames_dropped++;
    if (ends->warned_ms > 0 && now - ends->warned_ms < BN_LINK_WARN_MS) return;
    ends->warned_ms = now;
    bn_log_warn("LINK-FOREIGN", "link from %s to %s: dropped a foreign frame: %s (%llu so far)",
                ends->previous, ends->own, cause,
                (unsigned long long)ends->counters.frames_dropped);
}

/* A neighbour that is gone may have been sent home, as we are about to be: see worker.c. */
static bn_status fail_between(bn_status status, const char *from, const char *to, const char *cause)
{
    if (status == BN_ERR_PEER_LOST)
        return bn_fail_unlogged(status, "link from %s to %s: %s", from, to, cause);
    return bn_fail(status, "LINK-FAILED", "link from %s to %s: %s", from, to, cause);
}

bn_status bn_link_fail_in(const bn_link_ends *ends, bn_status status, const char *cause)
{
    return fail_between(status, ends->previous, ends->own, cause);
}

bn_status bn_link_fail_out(const bn_link_ends *ends, bn_status status, const char *cause)
{
    return fail_between(status, ends->own, ends->next, cause);
}
