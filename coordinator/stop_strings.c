/* stop_strings.c — byte by byte: the held text is always the longest end of the text that begins
 * a stop string. Few and short strings make anything cleverer a waste. */
#include "coordinator/stop_strings.h"

#include "common/log.h"

#include <string.h>

bn_status bn_stop_strings_init(bn_stop_strings *stops, const char *const *strings,
                               uint32_t n_strings)
{
    if (n_strings > BN_STOP_STRINGS_MAX)
        return bn_fail(BN_ERR_BAD_ARGUMENT, "STOP-COUNT", "%u stop strings given; at most %u",
                       n_strings, BN_STOP_STRINGS_MAX);
    *stops = (bn_stop_strings){.n_strings = n_strings};
    for (uint32_t i = 0; i < n_strings; i++) {
        stops->strings[i] = strings[i];
        stops->lengths[i] = strlen(strings[i]);
        if (stops->lengths[i] == 0 || stops->lengths[i] > BN_STOP_STRING_BYTES_MAX)
            return bn_fail(BN_ERR_BAD_ARGUMENT, "STOP-LENGTH",
                           "a stop string has %zu bytes; 1 to %u are allowed", stops->lengths[i],
                           BN_STOP_STRING_BYTES_MAX);
    }
    return BN_OK;
}

static bool ends_with(const char *text, size_t n, const char *end, size_t n_end)
{
    return n >= n_end && memcmp(text + n - n_end, end, n_end) == 0;
}

/* Length of the longest stop string that the held text ends with. */
static size_t stop_at_end(const bn_stop_strings *stops)
{
    size_t longest = 0;
    for (uint32_t i = 0; i < stops->n_strings; i++)
        if (stops->lengths[i] > longest &&
            ends_with(stops->held, stops->n_held, stops->strings[i], stops->lengths[i]))
            longest = stops->lengths[i];
    return longest;
}

/* Length of the longest end of the held text that begins a stop string. */
static size_t beginning_at_end(const bn_stop_strings *stops)
{
    size_t longest = 0;
    for (uint32_t i = 0; i < stops->n_strings; i++) {
        size_t n = stops->lengths[i] - 1 < stops->n_held ? stops->lengths[i] - 1 : stops->n_held;
        while (n > longest && !ends_with(stops->held, stops->n_held, stops->strings[i], n))
            n--;
        if (n > longest) longest = n;
    }
    return longest;
}

size_t bn_stop_strings_push(bn_stop_strings *stops, const char *bytes, size_t n, char *out)
{
    size_t n_out = 0;
    for (size_t i = 0; i < n && !stops->is_stopped; i++) {
        stops->held[stops->n_held++] = bytes[i];
        size_t stop = stop_at_end(stops);
        size_t kept = stop > 0 ? stop : beginning_at_end(stops);
        size_t certain = stops->n_held - kept;
        memcpy(out + n_out, stops->held, certain);
        n_out += certain;
        memmove(stops->held, stops->held + certain, kept);
        stops->n_held = kept;
        if (stop > 0) {
            stops->is_stopped = true;
            stops->n_held = 0;
        }
    }
    return n_out;
}

size_t bn_stop_strings_flush(bn_stop_strings *stops, char *out)
{
    size_t n = stops->n_held;
    memcpy(out, stops->held, n);
    stops->n_held = 0;
    return n;
}
