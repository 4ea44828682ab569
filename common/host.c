/* host.c — the figures of /proc, the resource limits and the affinity mask. */
#include "common/host.h"

#include "common/cgroup.h"
#include "common/host_internal.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <unistd.h>

#define KIB 1024u
#define CORES_MAX 65536

uint64_t bn_host_view_memory(const bn_host_view *view, const char **limited_by_out)
{
    uint64_t least = UINT64_MAX;
    const char *limited_by = "nothing known";
    uint64_t value;
    if (bn_cgroup_read_key(view->root, "/proc/meminfo", "MemAvailable", &value)) {
        least = value * KIB;
        limited_by = "available memory";
    }
    value = bn_cgroup_memory_left(view->root);
    if (value < least) {
        least = value;
        limited_by = "cgroup memory limit";
    }
    uint64_t n_pages = 0; /* the first field of statm: the address space in use */
    if (view->address_space_limit != UINT64_MAX &&
        bn_cgroup_read_number(view->root, "/proc/self/statm", &n_pages)) {
        uint64_t used = n_pages * view->page_bytes;
        value = view->address_space_limit > used ? view->address_space_limit - used : 0;
        if (value < least) {
            least = value;
            limited_by = "address space limit (ulimit -v)";
        }
    }
    if (limited_by_out != NULL) *limited_by_out = limited_by;
    return least;
}

uint32_t bn_host_view_cores(const bn_host_view *view)
{
    uint32_t by_quota = bn_cgroup_cores(view->root);
    uint32_t n = view->n_affinity_cores < by_quota ? view->n_affinity_cores : by_quota;
    return n == 0 ? 1 : n;
}

static uint32_t count_affinity_cores(void)
{
    /* The kernel refuses a mask smaller than its own, so try ever larger ones. */
    for (size_t n_bits = 1024; n_bits <= CORES_MAX; n_bits *= 4) {
        cpu_set_t *set = CPU_ALLOC(n_bits);
        if (set == NULL) break;
        size_t bytes = CPU_ALLOC_SIZE(n_bits);
        int count = sched_getaffinity(0, bytes, set) == 0 ? CPU_COUNT_S(bytes, set) : 0;
        CPU_FREE(set);
        if (count > 0) return (uint32_t)count;
    }
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (uint32_t)online : 1;
}

static uint64_t page_bytes(void)
{
    return (uint64_t)sysconf(_SC_PAGESIZE);
}

static bn_host_view this_machine(void)
{
    bn_host_view view = {
        .root = "",
        .address_space_limit = UINT64_MAX,
        .page_bytes = page_bytes(),
        .n_affinity_cores = count_affinity_cores(),
    };
    struct rlimit limit;
    if (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
        view.address_space_limit = limit.rlim_cur;
    return view;
}

uint64_t bn_host_usable_memory(const char **limited_by_out)
{
    bn_host_view view = this_machine();
    return bn_host_view_memory(&view, limited_by_out);
}

uint32_t bn_host_usable_cores(void)
{
    bn_host_view view = this_machine();
    return bn_host_view_cores(&view);
}

uint64_t bn_host_resident_bytes(void)
{
    uint64_t value = 0;
    (void)bn_cgroup_read_key("", "/proc/self/status", "VmRSS", &value);
    return value * KIB;
}

uint64_t bn_host_resident_peak_bytes(void)
{
    uint64_t value = 0;
    (void)bn_cgroup_read_key("", "/proc/self/status", "VmHWM", &value);
    return value * KIB;
}

static double seconds_of(struct timeval time)
{
    return (double)time.tv_sec + (double)time.tv_usec * 1e-6;
}

double bn_host_cpu_seconds(void)
{
    struct rusage usage;
    if (getrusage(RUSAGE_SELF, &usage) != 0) return 0.0;
    return seconds_of(usage.ru_utime) + seconds_of(usage.ru_stime);
}

void bn_host_name(char *name_out, size_t n)
{
    if (n == 0) return;
    if (gethostname(name_out, n) != 0 && name_out[0] == '\0') snprintf(name_out, n, "unknown");
    name_out[n - 1] = '\0';
}
