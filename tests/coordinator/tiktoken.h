/* tiktoken.h — the Llama-3 tokenizer from its list of ranked tokens, as converters derive it:
 * every split of a token into two tokens is a merge, in the order of the token's rank.
 *
 * Memory:  the caller closes the file that is returned.
 * Errors:  a malformed list fails the test.
 */
#ifndef BN_TESTS_COORDINATOR_TIKTOKEN_H
#define BN_TESTS_COORDINATOR_TIKTOKEN_H

#include "model/gguf.h"

/* With the 256 special tokens behind the 128,000. `pre` NULL leaves the key out. The number of
 * merges goes to *n_merges_out. */
bn_gguf *tiktoken_llama_3(const char *path, const char *pre, size_t *n_merges_out);

#endif
