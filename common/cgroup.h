/* cgroup.h — the limits that control groups set for this process, v1 and v2.
 *
 * Every group from the process's own up to the root of the mounted hierarchy
 * counts: a limit of an ancestor binds as much as one of the group itself.
 *
 * Errors: none; what cannot be read does not limit.
 */
#ifndef BN_COMMON_CGROUP_H
#define BN_COMMON_CGROUP_H

#include <stdbool.h>
#include <stdint.h>

/* What is left below the tightest memory limit; UINT64_MAX when there is none.
 * `root` is put before every path ("" for the machine itself). */
uint64_t bn_cgroup_memory_left(const char *root);

/* Whole cores below the tightest quota, at least 1; UINT32_MAX when there is none. */
uint32_t bn_cgroup_cores(const char *root);

/* The number that stands alone in root/path; false when it is not there or is "max". */
bool bn_cgroup_read_number(const char *root, const char *path, uint64_t *value_out);

/* The number after the word `key` in a file of lines "key value" or "key: value". */
bool bn_cgroup_read_key(const char *root, const char *path, const char *key, uint64_t *value_out);

#endif
