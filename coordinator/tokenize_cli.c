/* tokenize_cli.c — reads all of stdin, then writes; ids are printed as they are, one line. */
#include "coordinator/tokenize_cli.h"

#include "common/alloc.h"
#include "common/json.h"
#include "common/log.h"
#include "common/options.h"
#include "coordinator/pretokenizer.h"
#include "coordinator/tokenizer.h"
#include "coordinator/version_cli.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#define JSON_BYTES_MAX (256u << 20) /* of a list of ids */
#define EXIT_DONE 0
#define EXIT_FAILED 1
#define EXIT_USAGE 2

typedef struct settings {
    const char *model;
    const char *pre;
    bool adds_bos;
    bool has_special;
} settings;

/* All of stdin; more than n_max bytes are refused. */
static bn_status read_input(size_t n_max, char **bytes_out, size_t *n_out)
{
    char *bytes = NULL;
    size_t n = 0, capacity = 0;
    for (;;) {
        if (n == capacity) {
            capacity = capacity == 0 ? 65536 : 2 * capacity;
            char *grown = bn_realloc(bytes, capacity, 1);
            if (grown == NULL) {
                bn_free(bytes);
                return bn_fail(BN_ERR_NO_MEMORY, "TOKENIZE-INPUT",
                               "no memory for %zu bytes of input", capacity);
            }
            bytes = grown;
        }
        size_t n_read = fread(bytes + n, 1, capacity - n, stdin);
        n += n_read;
        if (n > n_max) {
            bn_free(bytes);
            return bn_fail(BN_ERR_LIMIT, "TOKENIZE-INPUT",
                           "the input has more than %zu bytes; cut it into parts", n_max);
        }
        if (n_read == 0) break;
    }
    if (ferror(stdin)) {
        bn_free(bytes);
        return bn_fail(BN_ERR_IO, "TOKENIZE-INPUT", "cannot read standard input: %s",
                       strerror(errno));
    }
    *bytes_out = bytes;
    *n_out = n;
    return BN_OK;
}

/* A full disk or a reader that has gone shows only when the last bytes leave. */
static bn_status finish_output(void)
{
    if (fflush(stdout) == 0 && !ferror(stdout)) return BN_OK;
    return bn_fail(BN_ERR_IO, "TOKENIZE-OUTPUT", "cannot write standard output: %s",
                   strerror(errno));
}

static bn_status open_tokenizer(const settings *wanted, bn_tokenizer **tokenizer_out)
{
    bn_gguf *file;
    BN_TRY(bn_gguf_open(wanted->model, &file));
    bn_status status = bn_tokenizer_create(file, wanted->pre, tokenizer_out);
    bn_gguf_close(file);
    return status;
}

static bn_status encode_input(const settings *wanted, const bn_tokenizer *tokenizer,
                              bn_token_list *ids)
{
    if (wanted->adds_bos && bn_tokenizer_bos(tokenizer) == BN_TOKEN_NONE)
        return bn_fail(BN_ERR_UNSUPPORTED, "TOKENIZE-BOS",
                       "%s names no token for the beginning of a text (tokenizer.ggml."
                       "bos_token_id); leave --bos out",
                       wanted->model);
    char *text = NULL;
    size_t n = 0;
    BN_TRY(read_input(BN_TOKENIZER_TEXT_MAX, &text, &n));
    bn_status status = BN_OK;
    if (wanted->adds_bos) status = bn_token_list_push(ids, bn_tokenizer_bos(tokenizer));
    if (status == BN_OK)
        status = bn_tokenizer_encode(tokenizer, text, n, wanted->has_special, true, ids);
    bn_free(text);
    return status;
}

static bn_status tokenize(const settings *wanted)
{
    bn_tokenizer *tokenizer = NULL;
    bn_token_list ids = {0};
    BN_TRY(open_tokenizer(wanted, &tokenizer));
    bn_status status = encode_input(wanted, tokenizer, &ids);
    if (status == BN_OK) {
        fputs("[", stdout);
        for (size_t i = 0; i < ids.n; i++)
            printf("%s%" PRIu32, i == 0 ? "" : ", ", ids.ids[i]);
        fputs("]\n", stdout);
        status = finish_output();
    }
    bn_token_list_fini(&ids);
    bn_tokenizer_destroy(tokenizer);
    return status;
}

static bn_status print_text(const settings *wanted, const bn_tokenizer *tokenizer,
                            const bn_json *ids)
{
    char out[BN_TOKEN_PIECE_MAX + 4];
    bn_detokenizer detokenizer;
    bn_detokenizer_init(&detokenizer, tokenizer, wanted->has_special);
    for (size_t i = 0; i < bn_json_length(ids); i++) {
        uint64_t id;
        if (!bn_json_as_u64(bn_json_at(ids, i), &id))
            return bn_fail(BN_ERR_BAD_ARGUMENT, "TOKENIZE-INPUT",
                           "entry %zu of the input is not a token id (a whole number from 0)", i);
        if (id >= bn_tokenizer_size(tokenizer))
            return bn_fail(BN_ERR_BAD_ARGUMENT, "TOKENIZE-INPUT",
                           "entry %zu of the input is token %" PRIu64 ", but the vocabulary of %s "
                           "has %" PRIu32 " tokens",
                           i, id, wanted->model, bn_tokenizer_size(tokenizer));
        fwrite(out, 1, bn_detokenizer_push(&detokenizer, (uint32_t)id, out), stdout);
    }
    fwrite(out, 1, bn_detokenizer_flush(&detokenizer, out), stdout);
    return finish_output();
}

static bn_status detokenize(const settings *wanted)
{
    bn_tokenizer *tokenizer = NULL;
    char *text = NULL;
    size_t n = 0;
    bn_json *ids = NULL;
    BN_TRY(open_tokenizer(wanted, &tokenizer));
    bn_status status = read_input(JSON_BYTES_MAX, &text, &n);
    if (status == BN_OK) status = bn_json_parse(text, n, &ids);
    if (status == BN_OK && !bn_json_is_array(ids))
        status = bn_fail(BN_ERR_BAD_ARGUMENT, "TOKENIZE-INPUT",
                         "the input is not a JSON array of token ids, such as [1, 2, 3]");
    if (status == BN_OK) status = print_text(wanted, tokenizer, ids);
    bn_json_free(ids);
    bn_free(text);
    bn_tokenizer_destroy(tokenizer);
    return status;
}

/* Parses, then runs `command`. */
static int run(const bn_program *program, int argc, char **argv, const settings *wanted,
               bn_status (*command)(const settings *wanted))
{
    bn_options_result result;
    if (bn_options_parse(program, argc, argv, &result) != BN_OK) return EXIT_USAGE;
    if (result.is_done) return finish_output() == BN_OK ? EXIT_DONE : EXIT_FAILED;
    if (result.n_positionals > 0) {
        bn_options_usage_error(program, "unexpected argument '%s'; text comes on standard input",
                               result.positionals[0]);
        return EXIT_USAGE;
    }
    if (wanted->model == NULL) {
        bn_options_usage_error(program, "--model FILE is missing");
        return EXIT_USAGE;
    }
    /* A reader that has gone is an error of ours to report, not a silent death. */
    signal(SIGPIPE, SIG_IGN);
    if (wanted->pre != NULL && bn_pretokenizer_find(wanted->pre, strlen(wanted->pre)) == NULL) {
        bn_options_usage_error(program, "unknown --pre '%s'; known are %s", wanted->pre,
                               BN_PRETOKENIZER_NAMES);
        return EXIT_USAGE;
    }
    return command(wanted) == BN_OK ? EXIT_DONE : EXIT_FAILED;
}

int bn_tokenize_main(int argc, char **argv)
{
    settings wanted = {0};
    const bn_option table[] = {
        {.group = "Tokenising",
         .name = "model",
         .kind = BN_OPTION_STRING,
         .target = &wanted.model,
         .value_name = "FILE",
         .help = "GGUF file or Hugging Face folder; its weights are not read"},
        {.group = "Tokenising",
         .name = "bos",
         .kind = BN_OPTION_FLAG,
         .target = &wanted.adds_bos,
         .help = "put the beginning-of-text token first"},
        {.group = "Tokenising",
         .name = "special",
         .kind = BN_OPTION_FLAG,
         .target = &wanted.has_special,
         .help = "turn control tokens in the text into their ids"},
        {.group = "Tokenising",
         .name = "pre",
         .kind = BN_OPTION_STRING,
         .target = &wanted.pre,
         .value_name = "NAME",
         .help = "pre-tokenizer instead of the file's: " BN_PRETOKENIZER_NAMES},
        {0},
    };
    const bn_option *const tables[] = {table, NULL};
    const bn_program program = {
        .name = "bitnet-coordinator tokenize",
        .synopsis = "--model FILE [options] < TEXT",
        .about = "Reads text from standard input and prints the ids of its tokens as a JSON array.",
        .examples = "  echo -n 'Hello' | bitnet-coordinator tokenize --model model.gguf",
        .tables = tables,
        .print_version = bn_version_cli_print,
    };
    return run(&program, argc, argv, &wanted, tokenize);
}

int bn_detokenize_main(int argc, char **argv)
{
    settings wanted = {0};
    const bn_option table[] = {
        {.group = "Tokenising",
         .name = "model",
         .kind = BN_OPTION_STRING,
         .target = &wanted.model,
         .value_name = "FILE",
         .help = "GGUF file or Hugging Face folder; its weights are not read"},
        {.group = "Tokenising",
         .name = "special",
         .kind = BN_OPTION_FLAG,
         .target = &wanted.has_special,
         .help = "print control tokens as their text instead of nothing"},
        {0},
    };
    const bn_option *const tables[] = {table, NULL};
    const bn_program program = {
        .name = "bitnet-coordinator detokenize",
        .synopsis = "--model FILE [options] < IDS",
        .about = "Reads a JSON array of token ids from standard input and prints their text.",
        .examples = "  echo '[1, 2, 3]' | bitnet-coordinator detokenize --model model.gguf",
        .tables = tables,
        .print_version = bn_version_cli_print,
    };
    return run(&program, argc, argv, &wanted, detokenize);
}
