/* link_self.c — a single stage has no neighbours: nothing arrives, what is sent has been sent.
 *
 * It exists so that the worker's loop is the same for one stage and for many.
 */
#include "worker/link.h"

#include "common/alloc.h"
#include "common/log.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

struct bn_link {
    uint32_t frames_max, n_sent;
    bn_link_frame *sent[]; /* oldest first */
};

static bn_status create_self(const bn_link_config *config, bn_link **link_out)
{
    BN_ASSERT(!config->has_previous && !config->has_next);
    bn_link *link = bn_alloc(1, sizeof *link + config->frames_max * sizeof link->sent[0]);
    if (link == NULL) return bn_fail(BN_ERR_NO_MEMORY, "LINK-MEMORY", "no memory for a link");
    link->frames_max = config->frames_max;
    *link_out = link;
    return BN_OK;
}

static void destroy_self(bn_link *link)
{
    bn_free(link);
}

static const char *url_self(const bn_link *link)
{
    (void)link;
    return "";
}

static bn_status connect_self(bn_link *link, const char *next_url, uint32_t timeout_ms)
{
    (void)link, (void)next_url, (void)timeout_ms;
    return BN_OK;
}

static bn_status receive_begin_self(bn_link *link, bn_link_frame *frame)
{
    (void)link, (void)frame;
    return BN_OK;
}

static bn_status receive_test_self(bn_link *link, bn_link_frame **frame_out)
{
    (void)link;
    *frame_out = NULL;
    return BN_OK;
}

static bn_status send_begin_self(bn_link *link, bn_link_frame *frame)
{
    BN_ASSERT(link->n_sent < link->frames_max);
    link->sent[link->n_sent++] = frame;
    return BN_OK;
}

static bn_status send_test_self(bn_link *link, bn_link_frame **frame_out)
{
    *frame_out = NULL;
    if (link->n_sent == 0) return BN_OK;
    *frame_out = link->sent[0];
    link->n_sent--;
    memmove(link->sent, link->sent + 1, link->n_sent * sizeof link->sent[0]);
    return BN_OK;
}

static bn_status progress_self(bn_link *link)
{
    (void)link;
    return BN_OK;
}

static bn_status wait_self(bn_link *link, int wake_fd, bool is_awake, uint32_t timeout_ms)
{
    struct pollfd item = {.fd = wake_fd, .events = POLLIN};
    (void)is_awake;
    if (link->n_sent > 0) return BN_OK;
    if (poll(&item, 1, (int)timeout_ms) >= 0 || errno == EINTR) return BN_OK;
    return bn_fail(BN_ERR_IO, "LINK-WAIT", "cannot wait: %s", strerror(errno));
}

static void counters_self(const bn_link *link, bn_link_counters *counters_out)
{
    (void)link;
    memset(counters_out, 0, sizeof *counters_out);
}

const bn_link_ops bn_link_self = {
    .name = "self",
    .create = create_self,
    .destroy = destroy_self,
    .url = url_self,
    .connect = connect_self,
    .receive_begin = receive_begin_self,
    .receive_test = receive_test_self,
    .send_begin = send_begin_self,
    .send_test = send_test_self,
    .progress = progress_self,
    .wait = wait_self,
    .counters = counters_self,
};
