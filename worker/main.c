/* main.c — bitnet-worker. */
#include "worker/worker_main.h"

#include <stddef.h>

int main(int argc, char **argv)
{
    return bn_worker_main(argc, argv, NULL);
}
