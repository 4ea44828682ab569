/* sampling_options.c — defaults are the sampler's own. */
#include "coordinator/sampling_options.h"

#include <string.h>

void bn_sampling_options_init(bn_sampling_options *o, uint32_t n_tokens,
                              bn_option table_out[BN_SAMPLING_OPTIONS_MAX])
{
    *o = (bn_sampling_options){.n_tokens = n_tokens};
    bn_sampler_config_init(&o->sampler);
    bn_sampler_config *s = &o->sampler;
    const bn_option options[] = {
        {"Answer", "n-tokens", BN_OPTION_U32, &o->n_tokens, "N",
         "tokens to make at most; 0: until the model stops or the context is full", NULL, 0,
         BN_CONTEXT_MAX, 'n', NULL},
        {"Answer", "system", BN_OPTION_STRING, &o->system, "TEXT",
         "a system message before the first question", NULL, 0, 0, 0, NULL},
        {"Answer", "stop", BN_OPTION_LIST, &o->stops, "TEXT", "end before this text", NULL, 0, 0, 0,
         NULL},
        {"Answer", "ignore-eos", BN_OPTION_FLAG, &o->ignores_eos, NULL,
         "go on after the model's end-of-text tokens", NULL, 0, 0, 0, NULL},
        {"Answer", "seed", BN_OPTION_U64, &s->seed, "N",
         "of the random numbers: the same seed gives the same answer", NULL, 0, 0, 0, NULL},
        {"Answer", "temperature", BN_OPTION_F32, &s->temperature, "T",
         "0: always the likeliest token", NULL, 0, 100, 0, NULL},
        {"Answer", "top-k", BN_OPTION_U32, &s->top_k, "N", "draw among the N likeliest; 0: all",
         NULL, 0, BN_VOCAB_MAX, 0, NULL},
        {"Answer", "top-p", BN_OPTION_F32, &s->top_p, "P",
         "draw among the likeliest that have probability P together", NULL, 0, 1, 0, NULL},
        {"Answer", "min-p", BN_OPTION_F32, &s->min_p, "P",
         "leave out what is less likely than P times the likeliest", NULL, 0, 1, 0, NULL},
        {"Answer", "repeat-penalty", BN_OPTION_F32, &s->repeat_penalty, "X",
         "divides the logits of the last 64 tokens; 1: off", NULL, 0.01, 100, 0, NULL},
        {"Answer", "frequency-penalty", BN_OPTION_F32, &s->frequency_penalty, "X",
         "lowers them by X for each occurrence", NULL, -100, 100, 0, NULL},
        {"Answer", "presence-penalty", BN_OPTION_F32, &s->presence_penalty, "X",
         "lowers them by X once", NULL, -100, 100, 0, NULL},
        {NULL, NULL, BN_OPTION_FLAG, NULL, NULL, NULL, NULL, 0, 0, 0, NULL},
    };
    memcpy(table_out, options, sizeof options);
}

bn_request bn_sampling_options_request(const bn_sampling_options *options)
{
    return (bn_request){
        .sampler = options->sampler,
        .n_max = options->n_tokens,
        .ignores_stop_tokens = options->ignores_eos,
        .stops = options->stops.values,
        .n_stops = options->stops.n_values,
    };
}
