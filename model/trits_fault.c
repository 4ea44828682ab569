/* trits_fault.c — sets of codes from whole words: a code occurs when its two bits meet anywhere. */
#include "model/trits_fault.h"

#include "common/log.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define LOW_BITS 0x5555555555555555ull

uint32_t bn_trits_fault_seen(const uint8_t *bytes, size_t n)
{
    uint64_t codes[4] = {0}, tail = 0;
    size_t n_whole = n / sizeof tail * sizeof tail;
    for (size_t i = 0; i < n_whole; i += sizeof tail) {
        uint64_t word;
        memcpy(&word, bytes + i, sizeof word);
        uint64_t low = word & LOW_BITS, high = word >> 1 & LOW_BITS;
        codes[0] |= ~(low | high);
        codes[1] |= low & ~high;
        codes[2] |= high & ~low;
        codes[3] |= low & high;
    }
    for (size_t i = n_whole; i < n; i++)
        for (int shift = 0; shift < 8; shift += 2)
            tail |= 1u << (bytes[i] >> shift & 3);
    for (uint32_t c = 0; c < 4; c++)
        if ((codes[c] & LOW_BITS) != 0) tail |= 1u << c;
    return (uint32_t)tail;
}

uint32_t bn_trits_fault_seen_by(const bn_trits_count *count)
{
    uint32_t seen = 0;
    for (uint32_t c = 0; c < 4; c++)
        if (count->n_codes[c] > 0) seen |= 1u << c;
    return seen;
}

const char *bn_trits_fault_of(uint32_t seen)
{
    if ((seen & 8u) != 0) return "the unused code occurs";
    switch (seen) {
    case 1: return "every weight is −1";
    case 2: return "every weight is 0";
    case 4: return "every weight is 1";
    default: return NULL;
    }
}

void bn_trits_faults_add(bn_trits_faults *faults, const char *tensor, const char *what)
{
    size_t room = sizeof faults->text - faults->n_text;
    faults->n++;
    if (faults->n_named + 1 < faults->n) return; /* one did not fit: none after it */
    int n = snprintf(faults->text + faults->n_text, room, "%s%s (%s)",
                     faults->n_named > 0 ? ", " : "", tensor, what);
    if (n < 0 || (size_t)n >= room) {
        faults->text[faults->n_text] = '\0';
        return;
    }
    faults->n_text += (size_t)n;
    faults->n_named++;
}

void bn_trits_faults_warn(const bn_trits_faults *faults, const char *path)
{
    char more[48] = "";
    if (faults->n == 0) return;
    if (faults->n > faults->n_named)
        snprintf(more, sizeof more, " and %" PRIu32 " more", faults->n - faults->n_named);
    bn_log_warn("MODEL-DAMAGED",
                "%s: %" PRIu32 " ternary %s cannot be right: %s%s; the model will answer nonsense; "
                "fetch or convert it again (bitnet-model inspect --check lists them all)",
                path, faults->n, faults->n == 1 ? "tensor" : "tensors", faults->text, more);
}
