/* command_eval.c — --tokens writes logits as they come, in the order of the text. */
#include "coordinator/command_eval.h"

#include "common/alloc.h"
#include "common/json.h"
#include "common/log.h"
#include "common/progress.h"
#include "coordinator/id_list.h"
#include "coordinator/perplexity.h"
#include "coordinator/version_cli.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

typedef struct eval {
    bn_setup setup;
    const char *tokens, *logits_out, *perplexity;
    bool is_json;
    bn_token_list ids;
    FILE *file; /* NULL without --logits-out */
    bn_hash *hash;
    uint32_t n_written;
    bn_progress progress;
} eval;

static bn_status write_failed(const eval *e)
{
    return bn_fail(BN_ERR_IO, "LOGITS-WRITE", "cannot write %s: %s", e->logits_out,
                   strerror(errno));
}

static bn_status on_logits(void *context, uint32_t position, const float *logits)
{
    eval *e = context;
    if (position != e->n_written)
        return bn_fail(BN_ERR_BAD_MESSAGE, "LOGITS-ORDER",
                       "logits of position %u came when %u was due", position, e->n_written);
    size_t n = e->setup.vocab;
    bn_hash_update(e->hash, logits, n * sizeof *logits);
    e->n_written++;
    bn_progress_update(&e->progress, e->n_written);
    if (e->file != NULL && fwrite(logits, sizeof *logits, n, e->file) != n) return write_failed(e);
    return BN_OK;
}

/* Results go to stdout; a reader that has gone is an error. */
static bn_status finish_stdout(void)
{
    if (fflush(stdout) == 0 && !ferror(stdout)) return BN_OK;
    return bn_fail(BN_ERR_IO, "STDOUT", "cannot write standard output: %s", strerror(errno));
}

static bn_status print_logits_result(const eval *e)
{
    char hash[33];
    bn_hash128_text(bn_hash_digest(e->hash), hash);
    if (!e->is_json) {
        printf("%u positions of %u logits, xxh3 %s\n", e->n_written, e->setup.vocab, hash);
        return finish_stdout();
    }
    bn_json *json = bn_json_object();
    bn_json_set_u64(json, "positions", e->n_written);
    bn_json_set_u64(json, "vocab", e->setup.vocab);
    bn_json_set_text(json, "xxh3", hash);
    bn_status status = bn_json_print(json, stdout, 0);
    bn_json_free(json);
    return status == BN_OK ? finish_stdout() : status;
}

static bn_status eval_tokens(eval *e)
{
    bn_setup *setup = &e->setup;
    uint32_t n = (uint32_t)e->ids.n;
    if (n > setup->context)
        return bn_fail(BN_ERR_BAD_ARGUMENT, "CONTEXT-SMALL",
                       "%u tokens do not fit a context of %u (--context)", n, setup->context);
    bn_dialog *dialog = NULL;
    BN_TRY(bn_generate_open(setup->generate, setup->context, &dialog));
    bn_request request = {
        .is_scored = true, .wants = {.wants_all = true}, .on_logits = on_logits, .context = e};
    bn_progress_begin(&e->progress, "evaluating", n);
    bn_status status = bn_generate_ask(setup->generate, dialog, e->ids.ids, n, &request);
    if (status == BN_OK) status = bn_setup_wait(setup, dialog);
    bn_progress_end(&e->progress);
    if (status == BN_OK) status = bn_setup_finish(setup);
    bn_dialog_destroy(dialog);
    return status;
}

static bn_status open_output(eval *e)
{
    BN_TRY(bn_hash_create(&e->hash));
    if (e->logits_out == NULL) return BN_OK;
    e->file = fopen(e->logits_out, "wb");
    return e->file == NULL ? write_failed(e) : BN_OK;
}

/* A full disk may show only when the last bytes leave. */
static bn_status close_output(eval *e, bn_status status)
{
    if (e->file != NULL && fclose(e->file) != 0 && status == BN_OK) status = write_failed(e);
    e->file = NULL;
    return status;
}

static bn_status work_tokens(eval *e)
{
    BN_TRY(bn_setup_open(&e->setup, BN_TOKENIZER_NONE));
    BN_TRY(bn_id_list_parse(e->tokens, e->setup.vocab, &e->ids));
    BN_TRY(open_output(e));
    uint32_t n = (uint32_t)e->ids.n, trained = e->setup.model->config.context;
    bn_status status = bn_setup_start(&e->setup, 1, n > trained || n > 4096 ? n : 0);
    if (status == BN_OK) status = eval_tokens(e);
    status = close_output(e, status);
    return status == BN_OK ? print_logits_result(e) : status;
}

static bn_status read_text(const char *path, char **text_out, size_t *n_out)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        return bn_fail(BN_ERR_IO, "TEXT-READ", "cannot open %s: %s", path, strerror(errno));
    char *text = NULL;
    size_t n = 0, capacity = 0, got;
    bn_status status = BN_OK;
    do {
        if (n == capacity) {
            capacity = capacity == 0 ? 65536 : 2 * capacity;
            char *grown = bn_realloc(text, capacity, 1);
            if (grown == NULL) status = BN_ERR_NO_MEMORY;
            if (grown != NULL) text = grown;
        }
        if (status != BN_OK) break;
        got = fread(text + n, 1, capacity - n, file);
        n += got;
        if (n > BN_TOKENIZER_TEXT_MAX) status = BN_ERR_LIMIT;
    } while (got > 0 && status == BN_OK);
    if (status == BN_OK && ferror(file)) status = BN_ERR_IO;
    int saved = errno;
    fclose(file);
    if (status == BN_OK) {
        *text_out = text;
        *n_out = n;
        return BN_OK;
    }
    bn_free(text);
    return bn_fail(status, "TEXT-READ", "cannot read %s: %s", path,
                   status == BN_ERR_IO ? strerror(saved) : bn_status_text(status));
}

static bn_status print_perplexity(const eval *e, const bn_perplexity_score *score)
{
    if (!e->is_json) {
        printf("perplexity %.6f over %" PRIu64 " tokens in %" PRIu64 " windows of %u\n",
               score->perplexity, score->n_scored, score->n_windows, e->setup.context);
        return finish_stdout();
    }
    char bits[2][24];
    const double values[2] = {score->nll_sum, score->perplexity};
    for (int i = 0; i < 2; i++) {
        uint64_t raw;
        memcpy(&raw, &values[i], sizeof raw);
        snprintf(bits[i], sizeof bits[i], "%016" PRIx64, raw);
    }
    bn_json *json = bn_json_object();
    bn_json_set_double(json, "perplexity", score->perplexity);
    bn_json_set_double(json, "nll_sum", score->nll_sum);
    bn_json_set_u64(json, "tokens", score->n_scored);
    bn_json_set_u64(json, "windows", score->n_windows);
    bn_json_set_u64(json, "context", e->setup.context);
    bn_json_set_text(json, "nll_sum_bits", bits[0]);
    bn_json_set_text(json, "perplexity_bits", bits[1]);
    bn_status status = bn_json_print(json, stdout, 0);
    bn_json_free(json);
    return status == BN_OK ? finish_stdout() : status;
}

static bn_status work_perplexity(eval *e)
{
    BN_TRY(bn_setup_open(&e->setup, BN_TOKENIZER_NEEDED));
    char *text = NULL;
    size_t n = 0;
    BN_TRY(read_text(e->perplexity, &text, &n));
    bn_status status = bn_tokenizer_encode(e->setup.tokenizer, text, n, false, true, &e->ids);
    bn_free(text);
    if (status != BN_OK) return status;
    BN_TRY(bn_setup_start(&e->setup, BN_PERPLEXITY_WINDOWS, BN_PERPLEXITY_CONTEXT));
    bn_perplexity_score score;
    BN_TRY(bn_perplexity_measure(&e->setup, e->ids.ids, e->ids.n, &score));
    BN_TRY(bn_setup_finish(&e->setup));
    return print_perplexity(e, &score);
}

static int parse(eval *e, const bn_program *program, int argc, char **argv)
{
    bn_options_result result;
    if (bn_options_parse(program, argc, argv, &result) != BN_OK) return 2;
    if (result.is_done) return 0;
    const char *wrong = NULL;
    if (result.n_positionals > 0)
        wrong = "unexpected argument";
    else if ((e->tokens == NULL) == (e->perplexity == NULL))
        wrong = "give --tokens ID,ID,... or --perplexity FILE";
    else if (e->logits_out != NULL && e->tokens == NULL)
        wrong = "--logits-out needs --tokens";
    if (wrong == NULL) return -1;
    bn_options_usage_error(program, "%s", wrong);
    return 2;
}

int bn_command_eval(int argc, char **argv)
{
    static eval e;
    bn_setup_init(&e.setup);
    const bn_option own[] = {
        {"Eval", "tokens", BN_OPTION_STRING, &e.tokens, "ID,ID,...",
         "evaluate these token ids, as they are (no BOS is added)", NULL, 0, 0, 0, NULL},
        {"Eval", "logits-out", BN_OPTION_STRING, &e.logits_out, "FILE",
         "write the logits of every position: little-endian f32 [positions][vocab]", NULL, 0, 0, 0,
         NULL},
        {"Eval", "perplexity", BN_OPTION_STRING, &e.perplexity, "FILE",
         "score a text in windows of --context tokens (default 512)", NULL, 0, 0, 0, NULL},
        {"Eval", "json", BN_OPTION_FLAG, &e.is_json, NULL, "the result as JSON, with raw bits",
         NULL, 0, 0, 0, NULL},
        {NULL, NULL, BN_OPTION_FLAG, NULL, NULL, NULL, NULL, 0, 0, 0, NULL},
    };
    const bn_option *tables[] = {own, e.setup.table, NULL};
    const bn_program program = {
        .name = "bitnet-coordinator eval",
        .synopsis = "--model FILE (--tokens ID,ID,... | --perplexity FILE) [options]",
        .about = "Scores given tokens or text. The numbers are the same, bit for bit, for any "
                 "number of workers, threads and links.",
        .examples =
            "  bitnet-coordinator eval --model m.gguf --local 1 --tokens 1,2,3 --logits-out l.f32\n"
            "  bitnet-coordinator eval --model m.gguf --local 2 --perplexity text.txt --json\n",
        .tables = tables,
        .print_version = bn_version_cli_print,
    };
    int code = parse(&e, &program, argc, argv);
    if (code >= 0) return code;
    bn_status status = e.tokens != NULL ? work_tokens(&e) : work_perplexity(&e);
    status = close_output(&e, status);
    bn_setup_close(&e.setup);
    bn_hash_destroy(e.hash);
    bn_token_list_fini(&e.ids);
    return bn_setup_exit_code(status);
}
