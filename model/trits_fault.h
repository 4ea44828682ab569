/* trits_fault.h — what the codes of a ternary tensor say is wrong with it.
 *
 * A trained tensor holds zeros and both signs. One that is all zeros, or one value throughout, or
 * holds the code that stands for nothing, comes from a converter or a download gone wrong: the
 * model runs and answers nonsense. Looking costs next to nothing while the codes are at hand.
 *
 * Threads: any; nothing is kept.
 */
#ifndef BN_MODEL_TRITS_FAULT_H
#define BN_MODEL_TRITS_FAULT_H

#include "model/trits.h"

/* The codes that occur, as a set: bit c stands for code c. */
#define BN_TRITS_SEEN_ALL 7u /* −1, 0 and 1 */

/* Of n bytes that hold four codes of two bits each, in any order. */
uint32_t bn_trits_fault_seen(const uint8_t *bytes, size_t n);

/* Of what bn_trits_read has counted. */
uint32_t bn_trits_fault_seen_by(const bn_trits_count *count);

/* "every weight is 0"; NULL when nothing is wrong with such a set. */
const char *bn_trits_fault_of(uint32_t seen);

#define BN_TRITS_FAULTS_TEXT_MAX 512u

/* Tensors at fault, gathered for one warning; begins as zeros. */
typedef struct bn_trits_faults {
    uint32_t n, n_named;
    size_t n_text;
    char text[BN_TRITS_FAULTS_TEXT_MAX]; /* the first of them */
} bn_trits_faults;

void bn_trits_faults_add(bn_trits_faults *faults, const char *tensor, const char *what);

/* One loud warning; nothing when there are none. */
void bn_trits_faults_warn(const bn_trits_faults *faults, const char *path);

#endif
