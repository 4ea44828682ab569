/* mpi_world.h — this process's place among those that a launcher started together.
 *
 * MPI is initialised only under a launcher (its environment variables are there), by the main
 * thread, with MPI_THREAD_FUNNELED; only the main thread calls MPI afterwards. Implemented in
 * link_mpi.c, the one file that knows mpi.h; a build without MPI has no world.
 */
#ifndef BN_WORKER_MPI_WORLD_H
#define BN_WORKER_MPI_WORLD_H

#include "common/status.h"

#include <stdbool.h>
#include <stdint.h>

/* Initialises MPI when a launcher started us. *has_world_out false: no launcher or no MPI built in.
 */
BN_CHECKED bn_status bn_mpi_world_init(int *argc, char ***argv, bool *has_world_out);
uint32_t bn_mpi_world_rank(void);
uint32_t bn_mpi_world_size(void);
/* A random number that all ranks of this job share; 0 without a world. */
uint64_t bn_mpi_world_job(void);
/* Ranks on this node, counted from the launcher's variables; 1 when unknown. */
uint32_t bn_mpi_world_local_size(void);
/* Orderly, when every rank is about to do the same: finalises; a process that hangs in it for ten
 * seconds is ended by SIGALRM. Otherwise does nothing, so that nobody waits: the launcher ends the
 * job when this process exits. Links must be destroyed before. */
void bn_mpi_world_fini(bool is_orderly);
/* "Open MPI v4.1.4", "" without MPI. */
const char *bn_mpi_world_library(void);

#endif
