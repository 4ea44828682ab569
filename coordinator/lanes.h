/* lanes.h — a long row of texts, several in work at once, results in the order of the row.
 *
 * There are more lanes than sequences that run: a lane that is done gives its slot back and waits
 * for those before it, so that one long text holds up nobody.
 *
 * Memory:  the lanes' dialogs; freed when _run returns.
 * Threads: one.
 * Errors:  those of the engine and of the two functions; BN_ERR_INTERRUPTED.
 */
#ifndef BN_COORDINATOR_LANES_H
#define BN_COORDINATOR_LANES_H

#include "coordinator/generate.h"

#define BN_LANES_MAX 256u

typedef struct bn_lanes_config {
    bn_generate *generate;
    uint32_t n_lanes; /* at most BN_LANES_MAX */
    const char *label;
    uint64_t total; /* of the progress bar */

    /* Opens a dialog and asks; leaves *dialog_out NULL when nothing is left. */
    bn_status (*begin)(void *context, uint32_t lane, bn_dialog **dialog_out);
    /* In the order of begin, after the lane's dialog is gone. */
    bn_status (*end)(void *context, uint32_t lane);
    uint64_t (*n_done)(const void *context); /* of the total */
    void *context;
} bn_lanes_config;

/* As many as keep that many slots busy. */
uint32_t bn_lanes_for(uint32_t n_slots);

BN_CHECKED bn_status bn_lanes_run(const bn_lanes_config *config);

#endif
