/* samples.h — valid messages with random contents, and the largest ones.
 *
 * Memory:  the caller's message is zeroed first, so two equal messages are equal byte for byte.
 * Threads: the random state belongs to one.
 */
#ifndef BN_TESTS_PROTO_SAMPLES_H
#define BN_TESTS_PROTO_SAMPLES_H

#include "proto/wire.h"

uint64_t bn_sample_next(uint64_t *state);
/* Uniform in low … high, both included. */
uint64_t bn_sample_between(uint64_t *state, uint64_t low, uint64_t high);
void bn_sample_bytes(uint64_t *state, void *bytes, size_t n);

/* Every field random within its range; every third text is as long as it may be. */
void bn_sample_message(uint64_t *state, bn_message_kind kind, bn_message *message_out);

/* Every list at its maximum, every value as many bytes on the wire as a valid one can take. */
void bn_sample_full_step(bn_message *message_out);
void bn_sample_full_result(bn_message *message_out);

#endif
