/* cluster_key.h — the key pair that all processes of a cluster share, and its file.
 *
 *   # BitNet Cluster key: whoever holds this file may join the cluster. Keep it private.
 *   public UsM4z…   (40 characters, Z85)
 *   secret n8vTd…
 *
 * Memory:  plain values.
 * Threads: any.
 * Errors:  BN_ERR_REFUSED for a file that others may read; BN_ERR_BAD_FILE; BN_ERR_IO; all name it.
 */
#ifndef BN_PROTO_CLUSTER_KEY_H
#define BN_PROTO_CLUSTER_KEY_H

#include "common/status.h"

#include <stdbool.h>

#define BN_CLUSTER_KEY_CHARS 40u /* Z85 */

/* All zero: none. */
typedef struct bn_cluster_key {
    bool is_set;
    char public_key[BN_CLUSTER_KEY_CHARS + 1], secret_key[BN_CLUSTER_KEY_CHARS + 1];
} bn_cluster_key;

/* Refuses a file that others may read or write (mode) and names it. */
BN_CHECKED bn_status bn_cluster_key_read(const char *path, bn_cluster_key *key_out);

/* Makes a new pair in a new file of mode 0600; an existing file is refused. */
BN_CHECKED bn_status bn_cluster_key_write(const char *path);

#endif
