/* progress.h — a bar on stderr for long work, only when stderr is a terminal.
 *
 * Redrawn at most ten times a second; cleared by _end, so that it leaves no trace.
 * Threads: one at a time.
 */
#ifndef BN_COMMON_PROGRESS_H
#define BN_COMMON_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

typedef struct bn_progress {
    const char *label;
    uint64_t total;
    uint64_t drawn_at_ms;
    uint64_t began_at_ms;
    bool is_drawn;
    bool is_terminal;
} bn_progress;

void bn_progress_begin(bn_progress *progress, const char *label, uint64_t total);
void bn_progress_update(bn_progress *progress, uint64_t done);
void bn_progress_end(bn_progress *progress);

/* "1.2 GiB" into text_out. */
void bn_progress_bytes_text(uint64_t bytes, char text_out[16]);

#endif
