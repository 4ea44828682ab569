/* sampling_options.h — how the next token is chosen and when to stop, as options. */
#ifndef BN_COORDINATOR_SAMPLING_OPTIONS_H
#define BN_COORDINATOR_SAMPLING_OPTIONS_H

#include "common/options.h"
#include "coordinator/generate.h"

#define BN_SAMPLING_OPTIONS_MAX 16

typedef struct bn_sampling_options {
    bn_sampler_config sampler;
    const char *system;
    uint32_t n_tokens;
    bool ignores_eos;
    bn_option_list stops;
} bn_sampling_options;

void bn_sampling_options_init(bn_sampling_options *options, uint32_t n_tokens,
                              bn_option table_out[BN_SAMPLING_OPTIONS_MAX]);

/* The request without callbacks. */
bn_request bn_sampling_options_request(const bn_sampling_options *options);

#endif
