/* capture.c — anonymous files in place of the two descriptors. */
#include "tests/common/capture.h"

#include "common/status.h"

#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

void bn_capture_begin(bn_capture *capture)
{
    fflush(NULL);
    for (int i = 0; i < 2; i++) {
        capture->saved_fds[i] = dup(i + 1);
        capture->file_fds[i] = memfd_create("capture", MFD_CLOEXEC);
        BN_ASSERT(capture->saved_fds[i] >= 0 && capture->file_fds[i] >= 0);
        BN_ASSERT(dup2(capture->file_fds[i], i + 1) == i + 1);
    }
}

void bn_capture_end(bn_capture *capture)
{
    fflush(NULL);
    char *texts[] = {capture->out, capture->err};
    for (int i = 0; i < 2; i++) {
        ssize_t n = pread(capture->file_fds[i], texts[i], BN_CAPTURE_BYTES - 1, 0);
        BN_ASSERT(n >= 0);
        texts[i][n] = '\0';
        BN_ASSERT(dup2(capture->saved_fds[i], i + 1) == i + 1);
        close(capture->saved_fds[i]);
        close(capture->file_fds[i]);
    }
}
