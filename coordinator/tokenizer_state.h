/* tokenizer_state.h — inside of a bn_tokenizer; for tokenizer*.c and detokenizer.c only. */
#ifndef BN_COORDINATOR_TOKENIZER_STATE_H
#define BN_COORDINATOR_TOKENIZER_STATE_H

#include "coordinator/special_tokens.h"
#include "coordinator/tokenizer.h"
#include "coordinator/tokenizer_bpe.h"
#include "coordinator/tokenizer_spm.h"
#include "coordinator/vocab.h"

struct bn_tokenizer {
    bn_vocab *vocab;
    bn_tokenizer_bpe *bpe; /* one of the two */
    bn_tokenizer_spm *spm;
    bn_special_tokens *user_defined; /* cut out of every text */
    bn_special_tokens *special;      /* cut out with parse_special: control tokens too */
    uint32_t bos, eos, unknown;
    bool adds_bos;
    bool adds_space;   /* SPM: in front of a text, and of what follows a special token */
    bool spares_space; /* … unless a space is there already */
    bool spares_later; /* … and only at the start of the sequence */
    uint32_t stops[BN_STOP_TOKENS_MAX];
    uint32_t n_stops;
};

#endif
