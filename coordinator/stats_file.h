/* stats_file.h — every worker's counters and the coordinator's own, as JSON: the proof that a run
 * was what it says. */
#ifndef BN_COORDINATOR_STATS_FILE_H
#define BN_COORDINATOR_STATS_FILE_H

#include "coordinator/cluster.h"
#include "coordinator/scheduler.h"

/* Asks the workers, then writes; "-" is stderr. */
BN_CHECKED bn_status bn_stats_file_write(const char *path, bn_cluster *cluster,
                                         const bn_scheduler_counts *counts);

/* A table for people, of what the last asking brought. */
void bn_stats_file_print(const bn_cluster *cluster, const bn_scheduler_counts *counts,
                         FILE *stream);

#endif
