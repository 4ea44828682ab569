/* capture.h — what a function writes to stdout and stderr, as text.
 *
 * Threads: one capture at a time; the process's descriptors 1 and 2 are exchanged meanwhile.
 */
#ifndef BN_TESTS_COMMON_CAPTURE_H
#define BN_TESTS_COMMON_CAPTURE_H

#define BN_CAPTURE_BYTES 16384

typedef struct bn_capture {
    char out[BN_CAPTURE_BYTES];
    char err[BN_CAPTURE_BYTES];
    int saved_fds[2];
    int file_fds[2];
} bn_capture;

void bn_capture_begin(bn_capture *capture);
void bn_capture_end(bn_capture *capture);

#endif
