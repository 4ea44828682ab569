/* link_frame.h — what every kind of link does with a frame, whatever carries it.
 *
 * Seals a frame with the link's header, judges one that arrived, and keeps the two ends' names so
 * that each failure says between whom.
 *
 * Memory:  plain values; a bn_link_ends keeps copies of the names.
 * Threads: the main thread.
 * Errors:  logged here, with both names.
 */
#ifndef BN_WORKER_LINK_FRAME_H
#define BN_WORKER_LINK_FRAME_H

#include "worker/link.h"

#include <stdbool.h>

#define BN_LINK_NAME_MAX 128u

typedef struct bn_link_ends {
    uint32_t epoch;
    uint8_t secret[BN_LINK_SECRET_BYTES];
    char own[BN_LINK_NAME_MAX], previous[BN_LINK_NAME_MAX], next[BN_LINK_NAME_MAX];
    uint64_t last_received, last_sent; /* step ids; 0: none yet */
    uint64_t warned_ms;
    bn_link_counters counters;
} bn_link_ends;

void bn_link_ends_init(bn_link_ends *ends, const bn_link_config *config);

/* Writes the header before the packed step. BN_ERR_BAD_ARGUMENT when the step ids have a gap. */
BN_CHECKED bn_status bn_link_frame_seal(bn_link_ends *ends, bn_link_frame *frame);

void bn_link_frame_probe(const bn_link_ends *ends, bn_link_frame_kind kind,
                         uint8_t bytes_out[BN_LINK_HEADER_BYTES]);

/* Judges a step that arrived from the neighbour: header_bytes with the body behind them, n_head in
 * all, and n_activations bytes of activations. Sets the frame's sizes and step id and counts. */
BN_CHECKED bn_status bn_link_frame_accept(bn_link_ends *ends, const bn_link_header *header,
                                          size_t n_head, size_t n_activations,
                                          bn_link_frame *frame);

/* Counts a frame that is none of ours; logs at most once in ten seconds. */
void bn_link_frame_drop(bn_link_ends *ends, const char *cause);

/* "link from PREVIOUS to OWN: …" or "link from OWN to NEXT: …", logged; returns `status`. */
bn_status bn_link_fail_in(const bn_link_ends *ends, bn_status status, const char *cause);
bn_status bn_link_fail_out(const bn_link_ends *ends, bn_status status, const char *cause);

#endif
