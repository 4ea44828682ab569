/* version.c — the commit comes from a header that CMake writes at each build. */
#include "common/version.h"

#include "bn_commit.h"

const char *bn_version_commit(void)
{
    return BN_COMMIT;
}

void bn_version_print(const char *program, const char *features, FILE *stream)
{
    fprintf(stream, "%s %s (commit %s)\nprotocol %d.%d, numerics %d\n", program, BN_VERSION,
            bn_version_commit(), BN_PROTOCOL_MAJOR, BN_PROTOCOL_MINOR, BN_NUMERICS_VERSION);
    if (features[0] != '\0') fprintf(stream, "features: %s\n", features);
}
