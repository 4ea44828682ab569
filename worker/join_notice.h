/* join_notice.h — what a worker says while no coordinator has answered: which URL it tries, what
 * came back, and what is most likely wrong.
 *
 * Plain value; threads: one at a time.
 */
#ifndef BN_WORKER_JOIN_NOTICE_H
#define BN_WORKER_JOIN_NOTICE_H

#include <stdbool.h>
#include <stdint.h>

#define BN_JOIN_NOTICE_INTERVAL_MS 5000u

typedef struct bn_join_notice {
    uint64_t began_ms, said_ms;
} bn_join_notice;

void bn_join_notice_reset(bn_join_notice *notice, uint64_t now_ms);

/* Logs a line when the interval is over. `trouble` is bn_channel_trouble's. */
void bn_join_notice_say(bn_join_notice *notice, uint64_t now_ms, const char *url, bool is_connected,
                        const char *trouble);

/* The likeliest cause of a trouble, never NULL. */
const char *bn_join_notice_advice(bool is_connected, const char *trouble);

#endif
