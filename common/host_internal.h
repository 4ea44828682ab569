/* host_internal.h — the same questions asked of a directory that looks like a machine.
 *
 * Tests build such a directory; host.c asks with root "" and the real figures.
 * Errors: none; what cannot be read does not limit.
 */
#ifndef BN_COMMON_HOST_INTERNAL_H
#define BN_COMMON_HOST_INTERNAL_H

#include <stdint.h>

typedef struct bn_host_view {
    const char *root;             /* put before /proc and every mount point */
    uint64_t address_space_limit; /* RLIMIT_AS; UINT64_MAX when there is none */
    uint64_t page_bytes;          /* the unit of /proc/self/statm */
    uint32_t n_affinity_cores;    /* cores in the affinity mask */
} bn_host_view;

uint64_t bn_host_view_memory(const bn_host_view *view, const char **limited_by_out);
uint32_t bn_host_view_cores(const bn_host_view *view);

#endif
