/* worker_main.h — the program bitnet-worker as a function, so that tests can make one that is
 * wrong on purpose.
 */
#ifndef BN_WORKER_WORKER_MAIN_H
#define BN_WORKER_WORKER_MAIN_H

#include "kernels/kernels.h"
#include "worker/device.h"

/* Replacements made by a test; the product has none. */
typedef struct bn_worker_hooks {
    const bn_kernels *(*replace_kernels)(const bn_kernels *kernels); /* NULL: as they are */
    bn_device *(*wrap_device)(bn_device *device);                    /* NULL: as it is */
} bn_worker_hooks;

/* Runs the worker and returns its exit code: 0 left as told, 1 failed, 2 bad usage. */
int bn_worker_main(int argc, char **argv, const bn_worker_hooks *hooks);

#endif
