/* version.c — the commit comes from a header that CMake writes at each build. */
#include "common/version.h"

#include "bn_commit.h"

const char *bn_version_commit(void)
{
    return BN_COMMIT;
}
