/* map_guard.h — a clear end for a process whose mapped model file shrinks.
 *
 * Reading a page that the file no longer has raises SIGBUS. Inside the guarded range the process
 * then says which file it was and exits with 1; anywhere else the signal does what it always did.
 *
 * Threads: _set and _clear by one thread; the signal may hit any. One range per process.
 */
#ifndef BN_WORKER_MAP_GUARD_H
#define BN_WORKER_MAP_GUARD_H

#include <stddef.h>

/* `path` is copied, cut if very long. Replaces an earlier range. */
void bn_map_guard_set(const void *base, size_t length, const char *path);
void bn_map_guard_clear(void);

#endif
