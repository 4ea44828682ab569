/* cgroup.c — /proc/self/cgroup says which group, /proc/self/mountinfo where to find it.
 *
 * A container may see its group as "/" (own namespace), as the full path below
 * a mount of the whole hierarchy, or as the full path while only its own part
 * is mounted (v1 without a namespace). The mount's root field tells these apart.
 */
#include "common/cgroup.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE_BYTES 8192
#define PATH_BYTES 4096

typedef struct hierarchy {
    bool is_v2;
    const char *controller; /* v1: "memory" or "cpu" */
} hierarchy;

/* Where this process's group of one hierarchy lies in the file system. */
typedef struct place {
    char mount[PATH_BYTES]; /* the hierarchy's mount point */
    char group[PATH_BYTES]; /* below it, "" or "/a/b" */
} place;

static FILE *open_below(const char *root, const char *path)
{
    char full[2 * PATH_BYTES];
    int n = snprintf(full, sizeof full, "%s%s", root, path);
    if (n < 0 || (size_t)n >= sizeof full) return NULL;
    return fopen(full, "re");
}

static bool parse_number(const char *text, uint64_t *value_out)
{
    if (*text < '0' || *text > '9') return false;
    errno = 0;
    unsigned long long value = strtoull(text, NULL, 10);
    if (errno != 0) return false;
    *value_out = value;
    return true;
}

bool bn_cgroup_read_number(const char *root, const char *path, uint64_t *value_out)
{
    FILE *file = open_below(root, path);
    if (file == NULL) return false;
    char line[64];
    bool is_read = fgets(line, sizeof line, file) != NULL && parse_number(line, value_out);
    fclose(file);
    return is_read;
}

bool bn_cgroup_read_key(const char *root, const char *path, const char *key, uint64_t *value_out)
{
    FILE *file = open_below(root, path);
    if (file == NULL) return false;
    char line[256];
    size_t key_bytes = strlen(key);
    bool is_found = false;
    while (!is_found && fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, key, key_bytes) != 0) continue;
        const char *at = line + key_bytes;
        if (*at != ':' && *at != ' ' && *at != '\t') continue;
        at += strspn(at, ": \t");
        is_found = parse_number(at, value_out);
    }
    fclose(file);
    return is_found;
}

/* True when `word` is one of the comma-separated words of `list`. */
static bool list_has(const char *list, const char *word)
{
    size_t n = strlen(word);
    for (const char *at = list; at != NULL; at = strchr(at, ',')) {
        if (*at == ',') at++;
        if (strncmp(at, word, n) == 0 && (at[n] == ',' || at[n] == '\0')) return true;
    }
    return false;
}

/* Copies `text` with mountinfo's octal escapes (\040) undone. */
static bool copy_unescaped(char *out, size_t size, const char *text)
{
    size_t n = 0;
    while (*text != '\0') {
        if (n + 1 >= size) return false;
        if (text[0] == '\\' && strspn(text + 1, "01234567") >= 3) {
            out[n++] = (char)((text[1] - '0') * 64 + (text[2] - '0') * 8 + (text[3] - '0'));
            text += 4;
        } else {
            out[n++] = *text++;
        }
    }
    out[n] = '\0';
    return true;
}

/* The group's path from a line "id:controllers:path" of /proc/self/cgroup. */
static bool group_of_line(char *line, const hierarchy *wanted, char *group_out)
{
    line[strcspn(line, "\n")] = '\0';
    char *controllers = strchr(line, ':');
    if (controllers == NULL) return false;
    *controllers++ = '\0';
    char *path = strchr(controllers, ':');
    if (path == NULL) return false;
    *path++ = '\0';
    bool is_wanted = wanted->is_v2 ? strcmp(line, "0") == 0 && *controllers == '\0'
                                   : list_has(controllers, wanted->controller);
    if (!is_wanted) return false;
    int n = snprintf(group_out, PATH_BYTES, "%s", path);
    return n >= 0 && n < PATH_BYTES;
}

static bool find_group(const char *root, const hierarchy *wanted, char *group_out)
{
    FILE *file = open_below(root, "/proc/self/cgroup");
    if (file == NULL) return false;
    char line[LINE_BYTES];
    bool is_found = false;
    while (!is_found && fgets(line, sizeof line, file) != NULL)
        is_found = group_of_line(line, wanted, group_out);
    fclose(file);
    return is_found;
}

/* A line of mountinfo: id parent major:minor ROOT MOUNT options … - TYPE source SUPER-OPTIONS */
static bool mount_of_line(char *line, const hierarchy *wanted, char *mount_root_out,
                          char *mount_out)
{
    line[strcspn(line, "\n")] = '\0';
    char *tail = strstr(line, " - ");
    if (tail == NULL) return false;
    *tail = '\0';
    char *save = NULL;
    const char *type = strtok_r(tail + 3, " ", &save);
    (void)strtok_r(NULL, " ", &save);
    const char *super_options = strtok_r(NULL, " ", &save);
    if (type == NULL || strcmp(type, wanted->is_v2 ? "cgroup2" : "cgroup") != 0) return false;
    if (!wanted->is_v2 && (super_options == NULL || !list_has(super_options, wanted->controller)))
        return false;
    const char *fields[5];
    for (size_t i = 0; i < 5; i++) {
        fields[i] = strtok_r(i == 0 ? line : NULL, " ", &save);
        if (fields[i] == NULL) return false;
    }
    return copy_unescaped(mount_root_out, PATH_BYTES, fields[3]) &&
           copy_unescaped(mount_out, PATH_BYTES, fields[4]);
}

static bool find_mount(const char *root, const hierarchy *wanted, char *mount_root_out,
                       char *mount_out)
{
    FILE *file = open_below(root, "/proc/self/mountinfo");
    if (file == NULL) return false;
    char line[LINE_BYTES];
    bool is_found = false;
    while (!is_found && fgets(line, sizeof line, file) != NULL)
        is_found = mount_of_line(line, wanted, mount_root_out, mount_out);
    fclose(file);
    return is_found;
}

static bool find_place(const char *root, const hierarchy *wanted, place *place_out)
{
    char mount_root[PATH_BYTES];
    if (!find_group(root, wanted, place_out->group)) return false;
    if (!find_mount(root, wanted, mount_root, place_out->mount)) return false;
    char *group = place_out->group;
    size_t n = strcmp(mount_root, "/") == 0 ? 0 : strlen(mount_root);
    /* The mount shows only what lies below its root: cut that part off. */
    if (strncmp(group, mount_root, n) == 0 && (group[n] == '/' || group[n] == '\0'))
        memmove(group, group + n, strlen(group + n) + 1);
    else
        group[0] = '\0';
    /* "/.." says that the group lies outside this namespace: only the mount is seen. */
    if (strcmp(group, "/") == 0 || strncmp(group, "/..", 3) == 0) group[0] = '\0';
    return true;
}

/* Cuts the last component off `group`; false when nothing was left to cut. */
static bool go_up(char *group)
{
    char *slash = strrchr(group, '/');
    if (slash == NULL) return false;
    *slash = '\0';
    return true;
}

typedef struct group_files {
    const char *root;
    char directory[2 * PATH_BYTES];
} group_files;

static bool read_number(const group_files *files, const char *name, uint64_t *value_out)
{
    char path[2 * PATH_BYTES + 64];
    snprintf(path, sizeof path, "%s/%s", files->directory, name);
    return bn_cgroup_read_number(files->root, path, value_out);
}

static uint64_t minimum(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* File pages that nobody has touched lately are given up before anything fails,
 * so they do not count as used (a mapped model would else fill its own limit). */
static uint64_t used_memory(const group_files *files, const char *usage, const char *inactive)
{
    uint64_t used = 0;
    uint64_t reclaimable = 0;
    char path[2 * PATH_BYTES + 64];
    if (!read_number(files, usage, &used)) return 0;
    snprintf(path, sizeof path, "%s/memory.stat", files->directory);
    (void)bn_cgroup_read_key(files->root, path, inactive, &reclaimable);
    return reclaimable < used ? used - reclaimable : 0;
}

static uint64_t memory_left_v2(const group_files *files)
{
    uint64_t limit = UINT64_MAX;
    uint64_t value;
    if (read_number(files, "memory.max", &value)) limit = minimum(limit, value);
    if (read_number(files, "memory.high", &value)) limit = minimum(limit, value);
    if (limit == UINT64_MAX) return limit;
    uint64_t used = used_memory(files, "memory.current", "inactive_file");
    return limit > used ? limit - used : 0;
}

static uint64_t memory_left_v1(const group_files *files)
{
    uint64_t limit;
    if (!read_number(files, "memory.limit_in_bytes", &limit)) return UINT64_MAX;
    if (limit >= (uint64_t)INT64_MAX - (1u << 20)) return UINT64_MAX; /* how v1 writes "none" */
    uint64_t used = used_memory(files, "memory.usage_in_bytes", "total_inactive_file");
    return limit > used ? limit - used : 0;
}

static uint64_t whole_cores(uint64_t quota_us, uint64_t period_us)
{
    if (period_us == 0) return UINT32_MAX;
    uint64_t cores = quota_us / period_us;
    return cores == 0 ? 1 : minimum(cores, UINT32_MAX);
}

static uint64_t cores_v2(const group_files *files)
{
    char path[2 * PATH_BYTES + 64];
    snprintf(path, sizeof path, "%s/cpu.max", files->directory);
    FILE *file = open_below(files->root, path);
    if (file == NULL) return UINT32_MAX;
    uint64_t quota_us, period_us;
    int n = fscanf(file, "%" SCNu64 " %" SCNu64, &quota_us, &period_us);
    fclose(file);
    return n == 2 ? whole_cores(quota_us, period_us) : UINT32_MAX; /* "max 100000" is no quota */
}

static uint64_t cores_v1(const group_files *files)
{
    uint64_t quota_us, period_us;
    if (!read_number(files, "cpu.cfs_quota_us", &quota_us)) return UINT32_MAX; /* -1 is none */
    if (!read_number(files, "cpu.cfs_period_us", &period_us)) return UINT32_MAX;
    return whole_cores(quota_us, period_us);
}

/* The least of `measure` over this process's group and all above it. */
static uint64_t least(const char *root, const hierarchy *wanted,
                      uint64_t (*measure)(const group_files *files), uint64_t unlimited)
{
    place found;
    if (!find_place(root, wanted, &found)) return unlimited;
    uint64_t result = unlimited;
    do {
        group_files files = {.root = root};
        snprintf(files.directory, sizeof files.directory, "%s%s", found.mount, found.group);
        result = minimum(result, measure(&files));
    } while (go_up(found.group));
    return result;
}

uint64_t bn_cgroup_memory_left(const char *root)
{
    const hierarchy v1 = {.controller = "memory"};
    const hierarchy v2 = {.is_v2 = true};
    return minimum(least(root, &v1, memory_left_v1, UINT64_MAX),
                   least(root, &v2, memory_left_v2, UINT64_MAX));
}

uint32_t bn_cgroup_cores(const char *root)
{
    const hierarchy v1 = {.controller = "cpu"};
    const hierarchy v2 = {.is_v2 = true};
    return (uint32_t)minimum(least(root, &v1, cores_v1, UINT32_MAX),
                             least(root, &v2, cores_v2, UINT32_MAX));
}
