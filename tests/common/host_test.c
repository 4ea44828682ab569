/* host_test.c
 * What: the tightest of all limits wins, in every layout of control groups met in the field.
 * How:  each case is a list of files below a fresh directory that plays the machine. */
#include "common/host.h"

#include "common/host_internal.h"
#include "tests/common/cmocka_all.h"

#include <ftw.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MIB ((uint64_t)1 << 20)
#define FILES_MAX 16

typedef struct fake_file {
    const char *path;
    const char *text;
} fake_file;

typedef struct fake_case {
    const char *what;
    uint64_t address_space_limit;
    uint32_t n_affinity_cores;
    uint64_t expected_bytes;
    const char *expected_text;
    uint32_t expected_cores;
    fake_file files[FILES_MAX];
} fake_case;

#define MEMINFO                                                                                    \
    {                                                                                              \
        "/proc/meminfo", "MemTotal: 9000 kB\nMemFree: 1 kB\nMemAvailable:  8388608 kB\n"           \
    }
#define V2_MOUNT                                                                                   \
    {                                                                                              \
        "/proc/self/mountinfo",                                                                    \
            "24 1 8:1 / / rw - ext4 /dev/sda1 rw\n"                                                \
            "30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"     \
    }
#define V1_MOUNTS                                                                                  \
    {                                                                                              \
        "/proc/self/mountinfo",                                                                    \
            "24 1 8:1 / / rw - ext4 /dev/sda1 rw\n"                                                \
            "31 24 0:27 / /sys/fs/cgroup/cpu,cpuacct rw shared:5 - cgroup cgroup rw,cpu,cpuacct\n" \
            "32 24 0:28 / /sys/fs/cgroup/memory rw shared:6 - cgroup cgroup rw,memory\n"           \
            "33 24 0:29 / /sys/fs/cgroup/unified rw shared:7 - cgroup2 cgroup2 rw\n"               \
    }

static const fake_case cases[] = {
    {"no groups at all", UINT64_MAX, 8, 8192 * MIB, "available memory", 8, {MEMINFO}},
    {"nothing readable", UINT64_MAX, 3, UINT64_MAX, "nothing known", 3, {{"/proc/x", ""}}},
    {"v2: own group, with file cache taken off what is used",
     UINT64_MAX,
     8,
     900 * MIB,
     "cgroup memory limit",
     2,
     {MEMINFO,
      V2_MOUNT,
      {"/proc/self/cgroup", "0::/job/step\n"},
      {"/sys/fs/cgroup/job/step/memory.max", "1073741824\n"},
      {"/sys/fs/cgroup/job/step/memory.current", "209715200\n"},
      {"/sys/fs/cgroup/job/step/memory.stat", "anon 1\ninactive_file 79691776\nactive_file 9\n"},
      {"/sys/fs/cgroup/job/step/cpu.max", "250000 100000\n"}}},
    {"v2: an ancestor is tighter than the group itself",
     UINT64_MAX,
     8,
     500 * MIB,
     "cgroup memory limit",
     1,
     {MEMINFO,
      V2_MOUNT,
      {"/proc/self/cgroup", "0::/job/step/task\n"},
      {"/sys/fs/cgroup/job/step/task/memory.max", "max\n"},
      {"/sys/fs/cgroup/job/step/memory.max", "1073741824\n"},
      {"/sys/fs/cgroup/job/step/memory.current", "0\n"},
      {"/sys/fs/cgroup/job/memory.max", "629145600\n"},
      {"/sys/fs/cgroup/job/memory.current", "104857600\n"},
      {"/sys/fs/cgroup/job/step/task/cpu.max", "max 100000\n"},
      {"/sys/fs/cgroup/job/cpu.max", "50000 100000\n"}}},
    {"v2: own namespace, the limit at the mount itself; memory.high binds",
     UINT64_MAX,
     4,
     100 * MIB,
     "cgroup memory limit",
     3,
     {MEMINFO,
      V2_MOUNT,
      {"/proc/self/cgroup", "0::/\n"},
      {"/sys/fs/cgroup/memory.max", "1073741824\n"},
      {"/sys/fs/cgroup/memory.high", "104857600\n"},
      {"/sys/fs/cgroup/cpu.max", "300000 100000\n"}}},
    {"v2: a group outside the namespace leaves the mount only",
     UINT64_MAX,
     4,
     64 * MIB,
     "cgroup memory limit",
     4,
     {MEMINFO,
      V2_MOUNT,
      {"/proc/self/cgroup", "0::/../other\n"},
      {"/sys/fs/cgroup/memory.max", "67108864\n"}}},
    {"v2: more used than allowed leaves nothing",
     UINT64_MAX,
     4,
     0,
     "cgroup memory limit",
     4,
     {MEMINFO,
      V2_MOUNT,
      {"/proc/self/cgroup", "0::/a\n"},
      {"/sys/fs/cgroup/a/memory.max", "1000\n"},
      {"/sys/fs/cgroup/a/memory.current", "2000\n"}}},
    {"v1: limit of an ancestor, quota of the group, hybrid v2 without limits",
     UINT64_MAX,
     8,
     300 * MIB,
     "cgroup memory limit",
     6,
     {MEMINFO,
      V1_MOUNTS,
      {"/proc/self/cgroup", "5:memory:/slurm/job_1\n4:cpu,cpuacct:/slurm/job_1\n0::/slurm/job_1\n"},
      {"/sys/fs/cgroup/memory/slurm/job_1/memory.limit_in_bytes", "9223372036854771712\n"},
      {"/sys/fs/cgroup/memory/slurm/memory.limit_in_bytes", "419430400\n"},
      {"/sys/fs/cgroup/memory/slurm/memory.usage_in_bytes", "209715200\n"},
      {"/sys/fs/cgroup/memory/slurm/memory.stat",
       "inactive_file 5\ntotal_inactive_file 104857600\n"},
      {"/sys/fs/cgroup/cpu,cpuacct/slurm/job_1/cpu.cfs_quota_us", "650000\n"},
      {"/sys/fs/cgroup/cpu,cpuacct/slurm/job_1/cpu.cfs_period_us", "100000\n"},
      {"/sys/fs/cgroup/cpu,cpuacct/slurm/cpu.cfs_quota_us", "-1\n"}}},
    {"v1: a container that sees only its own part of the hierarchy",
     UINT64_MAX,
     8,
     200 * MIB,
     "cgroup memory limit",
     8,
     {MEMINFO,
      {"/proc/self/mountinfo",
       "32 24 0:28 /docker/ab\\040c /cg/my\\040memory ro - cgroup cgroup rw,memory\n"},
      {"/proc/self/cgroup", "7:memory:/docker/ab c\n"},
      {"/cg/my memory/memory.limit_in_bytes", "209715200\n"}}},
    {"the address space limit less what is mapped",
     1000 * MIB,
     8,
     1000 * MIB - 1000 * 4096,
     "address space limit (ulimit -v)",
     8,
     {MEMINFO, {"/proc/self/statm", "1000 20 3 4 0 5 0\n"}}},
    {"malformed files do not limit",
     UINT64_MAX,
     8,
     8192 * MIB,
     "available memory",
     8,
     {MEMINFO,
      V2_MOUNT,
      {"/proc/self/cgroup", "garbage\n0\n0:\n0::/a\n"},
      {"/sys/fs/cgroup/a/memory.max", "99999999999999999999999999\n"},
      {"/sys/fs/cgroup/a/cpu.max", "100000 0\n"},
      {"/sys/fs/cgroup/cpu.max", "-5 100000\n"}}},
};

static void write_file(const char *root, const fake_file *file)
{
    char path[512];
    snprintf(path, sizeof path, "%s%s", root, file->path);
    for (char *at = path + strlen(root) + 1; (at = strchr(at, '/')) != NULL; at++) {
        *at = '\0';
        mkdir(path, 0700);
        *at = '/';
    }
    FILE *stream = fopen(path, "w");
    assert_non_null(stream);
    fputs(file->text, stream);
    fclose(stream);
}

static int remove_entry(const char *path, const struct stat *info, int flag, struct FTW *ftw)
{
    (void)info, (void)flag, (void)ftw;
    return remove(path);
}

static void test_the_tightest_limit_wins(void **state)
{
    (void)state;
    for (size_t i = 0; i < BN_COUNT(cases); i++) {
        const fake_case *one = &cases[i];
        char root[] = "/tmp/bn_host_XXXXXX";
        assert_non_null(mkdtemp(root));
        for (size_t j = 0; j < FILES_MAX && one->files[j].path != NULL; j++)
            write_file(root, &one->files[j]);
        bn_host_view view = {root, one->address_space_limit, 4096, one->n_affinity_cores};
        const char *limited_by = NULL;
        uint64_t bytes = bn_host_view_memory(&view, &limited_by);
        uint32_t n_cores = bn_host_view_cores(&view);
        nftw(root, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
        if (bytes != one->expected_bytes || n_cores != one->expected_cores ||
            strcmp(limited_by, one->expected_text) != 0)
            fail_msg("%s: %llu bytes by %s, %u cores", one->what, (unsigned long long)bytes,
                     limited_by, (unsigned)n_cores);
    }
}

static void test_this_machine_gives_figures(void **state)
{
    (void)state;
    const char *limited_by = NULL;
    assert_true(bn_host_usable_memory(&limited_by) > 0);
    assert_true(bn_host_usable_memory(NULL) > 0);
    assert_non_null(limited_by);
    assert_in_range(bn_host_usable_cores(), 1, 65536);
    assert_true(bn_host_resident_bytes() > 100000);
    assert_true(bn_host_resident_peak_bytes() >= bn_host_resident_bytes() / 2);
    char name[256], cut[3] = "xx";
    bn_host_name(name, sizeof name);
    assert_true(strlen(name) > 0);
    bn_host_name(cut, sizeof cut);
    assert_true(strlen(cut) <= 2);
}

static void test_affinity_is_seen(void **state)
{
    (void)state;
    cpu_set_t before, one;
    assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
    CPU_ZERO(&one);
    for (size_t i = 0; i < CPU_SETSIZE && CPU_COUNT(&one) == 0; i++)
        if (CPU_ISSET(i, &before)) CPU_SET(i, &one);
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    assert_int_equal(bn_host_usable_cores(), 1);
    sched_setaffinity(0, sizeof before, &before);
}

static void test_processor_time_grows_with_work(void **state)
{
    (void)state;
    double before = bn_host_cpu_seconds();
    volatile uint64_t sum = 0;
    assert_true(before >= 0.0);
    while (bn_host_cpu_seconds() < before + 0.02)
        for (uint64_t i = 0; i < 100000; i++)
            sum = sum + i;
    assert_true(bn_host_cpu_seconds() >= before + 0.02);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_tightest_limit_wins),
        cmocka_unit_test(test_this_machine_gives_figures),
        cmocka_unit_test(test_affinity_is_seen),
        cmocka_unit_test(test_processor_time_grows_with_work),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
