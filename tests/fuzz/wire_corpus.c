/* wire_corpus.c — writes the seeds of corpus/wire: one small message of each kind. */
#include "tests/proto/samples.h"

#include <stdio.h>

static bn_message message;
static uint8_t bytes[BN_ENVELOPE_MAX];

static int write_seed(bn_wire *wire, const char *directory, uint32_t kind)
{
    uint64_t random = 0x243f6a8885a308d3ull + kind;
    size_t n;
    char path[4096];
    do {
        bn_sample_message(&random, (bn_message_kind)kind, &message);
        if (message.kind == BN_MESSAGE_HELLO) message.hello.protocol_major = 1;
        if (bn_wire_pack(wire, &message, bytes, &n) != BN_OK) return 1;
    } while (n > 2500);
    snprintf(path, sizeof path, "%s/%02u", directory, kind);
    FILE *stream = fopen(path, "wb");
    if (stream == NULL) return 1;
    size_t n_written = fwrite(bytes, 1, n, stream);
    return fclose(stream) == 0 && n_written == n ? 0 : 1;
}

int main(int argc, char **argv)
{
    bn_wire *wire;
    if (argc != 2) {
        fprintf(stderr, "usage: %s DIRECTORY\n", argv[0]);
        return 2;
    }
    if (bn_wire_create(&wire) != BN_OK) return 1;
    int status = 0;
    for (uint32_t kind = BN_MESSAGE_HELLO; kind < BN_MESSAGE_KIND_END; kind++) {
        status |= write_seed(wire, argv[1], kind);
    }
    bn_wire_destroy(wire);
    return status;
}
