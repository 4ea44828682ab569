/* host.h — what this process may use of the machine it runs on.
 *
 * Memory: the least of MemAvailable, every cgroup limit above this process
 * (v1 and v2) less what is used there, and RLIMIT_AS less the address space in
 * use. Cores: the affinity mask, cut by the cgroup quota (rounded down, ≥ 1).
 *
 * Errors: none; what cannot be read does not limit.
 */
#ifndef BN_COMMON_HOST_H
#define BN_COMMON_HOST_H

#include <stddef.h>
#include <stdint.h>

/* Usable bytes; `limited_by_out` (may be NULL) gets a static text such as "cgroup memory limit". */
uint64_t bn_host_usable_memory(const char **limited_by_out);

uint32_t bn_host_usable_cores(void);

/* Resident bytes of this process now, and their peak. */
uint64_t bn_host_resident_bytes(void);
uint64_t bn_host_resident_peak_bytes(void);

/* Processor seconds (user + system) used by this process so far. */
double bn_host_cpu_seconds(void);

/* Host name, NUL-terminated, cut to n. */
void bn_host_name(char *name_out, size_t n);

#endif
