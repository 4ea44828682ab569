/* clock.h — monotonic time in nanoseconds; the only clock that protocol logic uses. */
#ifndef BN_COMMON_CLOCK_H
#define BN_COMMON_CLOCK_H

#include <stdint.h>

uint64_t bn_clock_ns(void);
uint64_t bn_clock_ms(void);

/* Wall clock, Unix milliseconds; for log lines and incarnation ids only. */
uint64_t bn_clock_unix_ms(void);

void bn_clock_sleep_ns(uint64_t ns);

#endif
