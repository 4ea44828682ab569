/* link_mpi_none.c — a build without MPI: no world, no link. */
#include "worker/link.h"
#include "worker/mpi_world.h"

#include <stddef.h>

const bn_link_ops *bn_link_mpi_get(void)
{
    return NULL;
}

bn_status bn_mpi_world_init(int *argc, char ***argv, bool *has_world_out)
{
    (void)argc, (void)argv;
    *has_world_out = false;
    return BN_OK;
}

uint32_t bn_mpi_world_rank(void)
{
    return 0;
}

uint32_t bn_mpi_world_size(void)
{
    return 1;
}

uint64_t bn_mpi_world_job(void)
{
    return 0;
}

uint32_t bn_mpi_world_local_size(void)
{
    return 1;
}

void bn_mpi_world_fini(bool is_orderly)
{
    (void)is_orderly;
}

const char *bn_mpi_world_library(void)
{
    return "";
}
