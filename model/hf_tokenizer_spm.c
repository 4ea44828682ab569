/* hf_tokenizer_spm.c — SentencePiece's model file, which is one protobuf message.
 *
 * Five fields are needed: the pieces, and of trainer and normaliser what would change the pieces
 * of a text. The wire format is read here, since the schema is not ours to generate from.
 */
#include "common/alloc.h"
#include "common/log.h"
#include "model/hf_tokenizer.h"
#include "model/hf_tokenizer_files.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Field numbers of sentencepiece_model.proto. */
enum { MODEL_PIECES = 1, MODEL_TRAINER = 2, MODEL_NORMALIZER = 3 };
enum { PIECE_TEXT = 1, PIECE_SCORE = 2, PIECE_TYPE = 3 };
enum { TRAINER_KIND = 3, TRAINER_SUFFIX = 24 };
enum { NORMALIZER_NAME = 1, NORMALIZER_MAP = 2, NORMALIZER_PREFIX = 3, NORMALIZER_SQUEEZE = 4 };
enum { NORMALIZER_ESCAPES = 5 };
enum { KIND_UNIGRAM = 1, KIND_BPE = 2 };
enum { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

typedef struct cursor {
    const uint8_t *at, *end;
} cursor;

typedef struct field {
    uint32_t number, wire;
    uint64_t value; /* varint, or the bits of a fixed one */
    cursor bytes;
} field;

static bool next_varint(cursor *c, uint64_t *value_out)
{
    uint64_t value = 0;
    for (uint32_t shift = 0; shift < 64 && c->at < c->end; shift += 7) {
        uint8_t byte = *c->at++;
        value |= (uint64_t)(byte & 0x7F) << shift;
        if (byte < 0x80) {
            *value_out = value;
            return true;
        }
    }
    return false;
}

/* False at the end and where the bytes are no message: then c->at is not c->end. */
static bool next_field(cursor *c, field *field_out)
{
    cursor start = *c;
    uint64_t tag, n = 0;
    *field_out = (field){0};
    if (c->at == c->end) return false;
    if (!next_varint(c, &tag)) {
        *c = start;
        return false;
    }
    field_out->number = (uint32_t)(tag >> 3);
    field_out->wire = tag & 7;
    switch (field_out->wire) {
    case WIRE_VARINT:
        if (next_varint(c, &field_out->value)) return true;
        break;
    case WIRE_BYTES:
        if (!next_varint(c, &n) || n > (uint64_t)(c->end - c->at)) break;
        field_out->bytes = (cursor){c->at, c->at + n};
        c->at += n;
        return true;
    case WIRE_32:
    case WIRE_64:
        n = field_out->wire == WIRE_32 ? 4 : 8;
        if (n > (uint64_t)(c->end - c->at)) break;
        memcpy(&field_out->value, c->at, (size_t)n);
        c->at += n;
        return true;
    default: break;
    }
    *c = start;
    return false;
}

static bn_status malformed(const char *path, const char *what)
{
    return bn_fail(BN_ERR_BAD_FILE, "MODEL-VOCAB",
                   "%s: %s is cut off or not of SentencePiece's format", path, what);
}

static bn_status refuse(const char *path, const char *what)
{
    return bn_fail(BN_ERR_UNSUPPORTED, "MODEL-VOCAB", "%s: %s, which is not supported", path, what);
}

static bn_status read_piece(const char *path, cursor c, uint64_t id, bn_hf_vocabulary *vocab)
{
    field f;
    cursor text = {0};
    float score = 0;
    uint64_t type = BN_HF_TOKEN_NORMAL;
    while (next_field(&c, &f)) {
        if (f.number == PIECE_TEXT && f.wire == WIRE_BYTES) text = f.bytes;
        if (f.number == PIECE_SCORE && f.wire == WIRE_32) memcpy(&score, &f.value, sizeof score);
        if (f.number == PIECE_TYPE && f.wire == WIRE_VARINT) type = f.value;
    }
    if (c.at != c.end) return malformed(path, "a piece");
    if (type < BN_HF_TOKEN_NORMAL || type > BN_HF_TOKEN_BYTE || score != score)
        return bn_fail(BN_ERR_BAD_FILE, "MODEL-VOCAB",
                       "%s: the piece %" PRIu64 " has the type %" PRIu64
                       " (1 to 6 are possible) or a score that is not a number",
                       path, id, type);
    if (type == BN_HF_TOKEN_UNKNOWN) vocab->unknown = (uint32_t)id;
    size_t n = text.at == NULL ? 0 : (size_t)(text.end - text.at);
    return bn_hf_vocabulary_add(vocab, path, id, n == 0 ? "" : (const char *)text.at, n,
                                (bn_hf_token_type)type, score);
}

static bn_status read_trainer(const char *path, cursor c, uint64_t *kind_out)
{
    field f;
    while (next_field(&c, &f)) {
        if (f.wire != WIRE_VARINT) continue;
        if (f.number == TRAINER_KIND) *kind_out = f.value;
        if (f.number == TRAINER_SUFFIX && f.value != 0)
            return refuse(path, "spaces are marked behind words (treat_whitespace_as_suffix)");
    }
    return c.at == c.end ? BN_OK : malformed(path, "its trainer_spec");
}

static bn_status read_normalizer(const char *path, cursor c, bn_hf_vocabulary *vocab)
{
    field f;
    bool squeezes = true, escapes = true, has_map = false;
    char what[128];
    cursor name = {0};
    while (next_field(&c, &f)) {
        if (f.wire == WIRE_VARINT && f.number == NORMALIZER_PREFIX)
            vocab->space_prefix = f.value != 0 ? "each" : "none";
        if (f.wire == WIRE_VARINT && f.number == NORMALIZER_SQUEEZE) squeezes = f.value != 0;
        if (f.wire == WIRE_VARINT && f.number == NORMALIZER_ESCAPES) escapes = f.value != 0;
        if (f.wire == WIRE_BYTES && f.number == NORMALIZER_NAME) name = f.bytes;
        if (f.wire == WIRE_BYTES && f.number == NORMALIZER_MAP) has_map = f.bytes.at != f.bytes.end;
    }
    if (c.at != c.end) return malformed(path, "its normalizer_spec");
    if (has_map) {
        int n = name.at == NULL ? 0 : (int)(name.end - name.at < 64 ? name.end - name.at : 64);
        snprintf(what, sizeof what, "text is normalised by a table (%.*s)", n,
                 n == 0 ? "" : (const char *)name.at);
        return refuse(path, what);
    }
    if (squeezes) return refuse(path, "runs of spaces become one (remove_extra_whitespaces)");
    if (!escapes) return refuse(path, "spaces are not marked (escape_whitespaces)");
    return BN_OK;
}

static bn_status read_model(const char *path, cursor c, bn_hf_vocabulary *vocab)
{
    field f;
    uint64_t n_pieces = 0, kind = KIND_UNIGRAM;
    bool has_normalizer = false;
    vocab->is_spm = true;
    vocab->space_prefix = "each";
    while (next_field(&c, &f)) {
        if (f.wire != WIRE_BYTES) continue;
        if (f.number == MODEL_PIECES) BN_TRY(read_piece(path, f.bytes, n_pieces++, vocab));
        if (f.number == MODEL_TRAINER) BN_TRY(read_trainer(path, f.bytes, &kind));
        if (f.number == MODEL_NORMALIZER) BN_TRY(read_normalizer(path, f.bytes, vocab));
        has_normalizer |= f.number == MODEL_NORMALIZER;
    }
    if (c.at != c.end || n_pieces == 0) return malformed(path, "the file");
    if (kind != KIND_BPE)
        return refuse(path, kind == KIND_UNIGRAM ? "its model is Unigram"
                                                 : "its model is of words or characters");
    if (!has_normalizer) return malformed(path, "its normalizer_spec");
    return BN_OK;
}

static bn_status read_bytes(const char *path, FILE *stream, uint8_t **bytes_out, size_t *n_out)
{
    if (fseek(stream, 0, SEEK_END) != 0)
        return bn_fail(BN_ERR_IO, "MODEL-VOCAB", "cannot read %s: %s", path, strerror(errno));
    long n = ftell(stream);
    if (n < 0 || fseek(stream, 0, SEEK_SET) != 0)
        return bn_fail(BN_ERR_IO, "MODEL-VOCAB", "cannot read %s: %s", path, strerror(errno));
    if (n > (long)BN_HF_TOKENIZER_BYTES_MAX)
        return bn_fail(BN_ERR_LIMIT, "MODEL-VOCAB", "%s has %ld bytes; at most %u are possible",
                       path, n, BN_HF_TOKENIZER_BYTES_MAX);
    uint8_t *bytes = bn_alloc((size_t)n + 1, 1);
    if (bytes == NULL)
        return bn_fail(BN_ERR_NO_MEMORY, "MODEL-VOCAB", "no memory to read %s", path);
    if (fread(bytes, 1, (size_t)n, stream) != (size_t)n) {
        bn_free(bytes);
        return bn_fail(BN_ERR_IO, "MODEL-VOCAB", "cannot read %s", path);
    }
    *bytes_out = bytes;
    *n_out = (size_t)n;
    return BN_OK;
}

bn_status bn_hf_tokenizer_spm_read(const char *path, bn_hf_vocabulary *vocab)
{
    uint8_t *bytes = NULL;
    size_t n = 0;
    FILE *stream = fopen(path, "re");
    if (stream == NULL)
        return bn_fail(BN_ERR_IO, "MODEL-VOCAB", "cannot open %s: %s", path, strerror(errno));
    bn_status status = read_bytes(path, stream, &bytes, &n);
    fclose(stream);
    if (status != BN_OK) return status;
    status = read_model(path, (cursor){bytes, bytes + n}, vocab);
    bn_free(bytes);
    return status;
}
