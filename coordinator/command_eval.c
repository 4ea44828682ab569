/* command_eval.c — four ways to look at a model; each has a file of its own, here are the options
 * and what goes to stdout. */
#include "coordinator/command_eval.h"

#include "common/alloc.h"
#include "common/log.h"
#include "coordinator/eval_logits.h"
#include "coordinator/fingerprint.h"
#include "coordinator/perplexity.h"
#include "coordinator/questions.h"
#include "coordinator/score.h"
#include "coordinator/version_cli.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define OPTIONS_MAX 20u

typedef struct eval {
    bn_setup setup;
    bn_eval_logits_config logits;
    const char *perplexity, *score, *questions;
    uint32_t protocol, stride;
    bool is_chat, stops_at_newline, shows_wrong, is_json;
    bool protocol_was_given, n_tokens_was_given;
    uint32_t n_tokens;
    bn_option_list stops;
    bn_json *wrong; /* of --questions --json --show-wrong */
} eval;

/* ---- output ------------------------------------------------------------------------------------
 */

/* Results go to stdout; a reader that has gone is an error. */
static bn_status finish_stdout(void)
{
    if (fflush(stdout) == 0 && !ferror(stdout)) return BN_OK;
    return bn_fail(BN_ERR_IO, "STDOUT", "cannot write standard output: %s", strerror(errno));
}

/* Adds what it was measured with, prints and frees. */
static bn_status print_json(const eval *e, bn_json *json)
{
    bn_status status = bn_fingerprint_add(&e->setup, json);
    if (status == BN_OK) status = bn_json_print(json, stdout, 0);
    bn_json_free(json);
    return status == BN_OK ? finish_stdout() : status;
}

/* ---- --tokens, --text --------------------------------------------------------------------------
 */

static bn_status work_logits(eval *e)
{
    bn_eval_logits_result result;
    BN_TRY(bn_eval_logits(&e->setup, &e->logits, &result));
    if (!e->is_json) {
        printf("%u positions of %u logits, xxh3 %s\n", result.n_positions, e->setup.vocab,
               result.hash);
        return finish_stdout();
    }
    bn_json *json = bn_json_object();
    bn_json_set_u64(json, "positions", result.n_positions);
    bn_json_set_u64(json, "vocab", e->setup.vocab);
    bn_json_set_text(json, "xxh3", result.hash);
    return print_json(e, json);
}

/* ---- --perplexity ------------------------------------------------------------------------------
 */

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
    const char *protocol = bn_perplexity_protocol_names[e->protocol];
    if (!e->is_json) {
        printf("perplexity %.6f ", score->perplexity);
        if (!isnan(score->error)) printf("+/- %.6f ", score->error);
        printf("over %" PRIu64 " tokens in %" PRIu64 " windows of %u", score->n_scored,
               score->n_windows, e->setup.context);
        if (score->stride != 0) printf(", stride %u", score->stride);
        printf(" (protocol %s), %.6f bits per byte\n", protocol, score->bits_per_byte);
        return finish_stdout();
    }
    bn_json *json = bn_json_object();
    bn_json_set_text(json, "protocol", protocol);
    bn_fingerprint_set_double(json, "perplexity", score->perplexity);
    bn_fingerprint_set_double(json, "nll_sum", score->nll_sum);
    bn_fingerprint_set_double(json, "bits_per_byte", score->bits_per_byte);
    if (e->protocol == BN_PERPLEXITY_LLAMA) bn_fingerprint_set_double(json, "error", score->error);
    bn_json_set_u64(json, "tokens", score->n_scored);
    bn_json_set_u64(json, "bytes", score->n_bytes);
    bn_json_set_u64(json, "windows", score->n_windows);
    bn_json_set_u64(json, "context", e->setup.context);
    if (score->stride != 0) bn_json_set_u64(json, "stride", score->stride);
    return print_json(e, json);
}

static bn_status work_perplexity(eval *e)
{
    bn_perplexity_config config = {.protocol = (bn_perplexity_protocol)e->protocol,
                                   .stride = e->stride};
    char *text = NULL;
    size_t n = 0;
    bn_perplexity *perplexity = NULL;
    bn_perplexity_score score;
    BN_TRY(bn_setup_open(&e->setup, BN_TOKENIZER_NEEDED));
    BN_TRY(read_text(e->perplexity, &text, &n));
    bn_status status = bn_perplexity_create(&e->setup, &config, text, n, &perplexity);
    bn_free(text);
    if (status == BN_OK)
        status = bn_setup_start(&e->setup, BN_PERPLEXITY_WINDOWS,
                                bn_perplexity_context(config.protocol));
    if (status == BN_OK) status = bn_perplexity_measure(perplexity, &score);
    if (status == BN_OK) status = bn_setup_finish(&e->setup);
    bn_perplexity_destroy(perplexity);
    return status == BN_OK ? print_perplexity(e, &score) : status;
}

/* ---- --score -----------------------------------------------------------------------------------
 */

static bn_status work_score(eval *e)
{
    BN_TRY(bn_setup_open(&e->setup, BN_TOKENIZER_NEEDED));
    return bn_score_file(&e->setup, e->score, stdout);
}

/* ---- --questions -------------------------------------------------------------------------------
 */

static bn_status on_answer(void *context, const bn_questions_answer *answer)
{
    eval *e = context;
    if (answer->is_right || !e->shows_wrong) return BN_OK;
    if (!e->is_json) {
        printf("line %u wrong\n  prompt  %s\n  answer  %s\n  said    %s\n", answer->line,
               answer->prompt, answer->due, answer->said);
        return finish_stdout();
    }
    bn_json *wrong = bn_json_object();
    bn_json_set_u64(wrong, "line", answer->line);
    bn_json_set_text(wrong, "prompt", answer->prompt);
    bn_json_set_text(wrong, "answer", answer->due);
    bn_json_set_text(wrong, "said", answer->said);
    bn_json_add(e->wrong, wrong);
    return BN_OK;
}

static bn_status print_questions(eval *e, const bn_questions_count *count)
{
    double rate = (double)count->n_right / (double)count->n;
    if (!e->is_json) {
        printf("%u of %u right (%.2f %%)\n", count->n_right, count->n, 100.0 * rate);
        return finish_stdout();
    }
    bn_json *json = bn_json_object();
    bn_json_set_u64(json, "questions", count->n);
    bn_json_set_u64(json, "right", count->n_right);
    bn_json_set_double(json, "rate", rate);
    if (e->shows_wrong) bn_json_set(json, "wrong", e->wrong);
    if (e->shows_wrong) e->wrong = NULL;
    return print_json(e, json);
}

static bn_status work_questions(eval *e)
{
    if (e->stops_at_newline) e->stops.values[e->stops.n_values++] = "\n";
    bn_questions_config config = {
        .path = e->questions,
        .is_chat = e->is_chat,
        .n_tokens = e->n_tokens,
        .stops = e->stops.values,
        .n_stops = e->stops.n_values,
        .on_answer = on_answer,
        .context = e,
    };
    bn_questions_count count;
    e->wrong = bn_json_array();
    BN_TRY(bn_setup_open(&e->setup, BN_TOKENIZER_NEEDED));
    BN_TRY(bn_questions_ask(&e->setup, &config, &count));
    return print_questions(e, &count);
}

/* ---- options -----------------------------------------------------------------------------------
 */

static void fill_options(eval *e, bn_option table_out[OPTIONS_MAX])
{
    const bn_option options[] = {
        {"Logits", "tokens", BN_OPTION_STRING, &e->logits.tokens, "ID,ID,...",
         "evaluate these token ids, as they are (no BOS is added)", NULL, 0, 0, 0, NULL},
        {"Logits", "text", BN_OPTION_STRING, &e->logits.text, "TEXT",
         "the same of a text, BOS in front where the model adds one", NULL, 0, 0, 0, NULL},
        {"Logits", "logits-out", BN_OPTION_STRING, &e->logits.raw_path, "FILE",
         "write the logits of every position: little-endian f32 [positions][vocab]", NULL, 0, 0, 0,
         NULL},
        {"Logits", "dump", BN_OPTION_STRING, &e->logits.dump, "DIR",
         "write tokens.npy, logits.npy and, by the workers, layer_NNN.npy (f32 "
         "[positions][hidden]; "
         "000: the embedding, 001: after the first layer). Workers not started by --local need "
         "--dump DIR themselves",
         NULL, 0, 0, 0, NULL},
        {"Perplexity", "perplexity", BN_OPTION_STRING, &e->perplexity, "FILE", "score a text", NULL,
         0, 0, 0, NULL},
        {"Perplexity", "protocol", BN_OPTION_CHOICE, &e->protocol, "NAME",
         "ours: windows of --context tokens (512), each with BOS; llama: as llama-perplexity, the "
         "second half of each window is counted; hf: as Hugging Face's sliding window",
         bn_perplexity_protocol_names, 0, 0, 0, &e->protocol_was_given},
        {"Perplexity", "stride", BN_OPTION_U32, &e->stride, "TOKENS",
         "between windows of hf; 0: 512, but at most half of --context", NULL, 0, BN_CONTEXT_MAX, 0,
         NULL},
        {"Score", "score", BN_OPTION_STRING, &e->score, "FILE",
         "lines {\"context\": \"...\", \"continuation\": \"...\"}: one line of JSON each on stdout "
         "with the continuation's log-probability, in sum and per token, and whether greedy would "
         "have said it",
         NULL, 0, 0, 0, NULL},
        {"Questions", "questions", BN_OPTION_STRING, &e->questions, "FILE",
         "lines {\"prompt\": \"...\", \"answer\": \"...\"}, \"max_tokens\" if wanted: answers "
         "greedily, counts those that are equal but for white space at the ends",
         NULL, 0, 0, 0, NULL},
        {"Questions", "chat", BN_OPTION_FLAG, &e->is_chat, NULL,
         "ask through the chat template; else the prompt is plain text to go on from", NULL, 0, 0,
         0, NULL},
        {"Questions", "n-tokens", BN_OPTION_U32, &e->n_tokens, "N",
         "of an answer at most, where the line does not say", NULL, 1, BN_QUESTIONS_TOKENS_MAX, 'n',
         &e->n_tokens_was_given},
        {"Questions", "stop", BN_OPTION_LIST, &e->stops, "TEXT", "end an answer before this text",
         NULL, 0, 0, 0, NULL},
        {"Questions", "stop-newline", BN_OPTION_FLAG, &e->stops_at_newline, NULL,
         "end an answer before its first newline", NULL, 0, 0, 0, NULL},
        {"Questions", "show-wrong", BN_OPTION_FLAG, &e->shows_wrong, NULL,
         "print every wrong answer", NULL, 0, 0, 'v', NULL},
        {"Output", "json", BN_OPTION_FLAG, &e->is_json, NULL,
         "the result as JSON, with raw bits and hashes of model, tokenizer and numerics", NULL, 0,
         0, 0, NULL},
        {NULL, NULL, BN_OPTION_FLAG, NULL, NULL, NULL, NULL, 0, 0, 0, NULL},
    };
    _Static_assert(sizeof options / sizeof options[0] <= OPTIONS_MAX, "the table has room");
    memcpy(table_out, options, sizeof options);
}

/* What does not go together; NULL: nothing. */
static const char *find_misuse(const eval *e)
{
    const bn_eval_logits_config *logits = &e->logits;
    bool has_ids = logits->tokens != NULL || logits->text != NULL;
    int n_modes = (logits->tokens != NULL) + (logits->text != NULL) + (e->perplexity != NULL) +
                  (e->score != NULL) + (e->questions != NULL);
    bool is_hf = e->protocol == BN_PERPLEXITY_HF;
    if (n_modes != 1)
        return "give one of --tokens ID,ID,..., --text TEXT, --perplexity FILE, --score FILE, "
               "--questions FILE";
    if (logits->raw_path != NULL && !has_ids) return "--logits-out needs --tokens or --text";
    if (logits->dump != NULL && !has_ids) return "--dump needs --tokens or --text";
    if (e->protocol_was_given && e->perplexity == NULL) return "--protocol needs --perplexity";
    if (e->stride != 0 && !(is_hf && e->perplexity != NULL)) return "--stride needs --protocol hf";
    bool has_answers = e->is_chat || e->shows_wrong || e->stops_at_newline ||
                       e->stops.n_values > 0 || e->n_tokens_was_given;
    if (has_answers && e->questions == NULL)
        return "--chat, --n-tokens, --stop, --stop-newline and --show-wrong need --questions";
    if (e->stops.n_values + e->stops_at_newline > BN_STOP_STRINGS_MAX)
        return "too many stop texts: at most 16, --stop-newline included";
    return NULL;
}

static int parse(const eval *e, const bn_program *program, int argc, char **argv)
{
    bn_options_result result;
    if (bn_options_parse(program, argc, argv, &result) != BN_OK) return 2;
    if (result.is_done) return 0;
    const char *wrong = result.n_positionals > 0 ? "unexpected argument" : find_misuse(e);
    if (wrong == NULL) return -1;
    bn_options_usage_error(program, "%s", wrong);
    return 2;
}

static bn_status work(eval *e)
{
    if (e->perplexity != NULL) return work_perplexity(e);
    if (e->score != NULL) return work_score(e);
    if (e->questions != NULL) return work_questions(e);
    return work_logits(e);
}

int bn_command_eval(int argc, char **argv)
{
    static eval e = {.n_tokens = 64};
    bn_option own[OPTIONS_MAX];
    bn_setup_init(&e.setup);
    fill_options(&e, own);
    const bn_option *tables[] = {own, e.setup.table, NULL};
    const bn_program program = {
        .name = "bitnet-coordinator eval",
        .synopsis = "--model FILE (--tokens ID,ID,... | --text TEXT | --perplexity FILE |\n"
                    "       --score FILE | --questions FILE) [options]",
        .about = "Looks at a model: the logits of given tokens, how surprised it is by a text, how "
                 "likely it finds given continuations, how many questions it answers right. Files "
                 "of lines hold one JSON object per line. The numbers are the same, bit for bit, "
                 "for any number of workers, threads, links and texts at once.",
        .examples =
            "  bitnet-coordinator eval --model m.gguf --local 1 --tokens 1,2,3 --logits-out l.f32\n"
            "  bitnet-coordinator eval --model m.gguf --local 2 --perplexity text.txt --json\n"
            "  bitnet-coordinator eval --model m.gguf --local 2 --perplexity text.txt \\\n"
            "      --protocol llama --context 512\n"
            "  bitnet-coordinator eval --model m.gguf --local 1 --score pairs.jsonl\n"
            "  bitnet-coordinator eval --model m.gguf --local 1 --questions held-out.jsonl \\\n"
            "      --stop-newline -n 16 --show-wrong\n"
            "  bitnet-coordinator eval --model m.gguf --local 1 --text 'Once' --dump dump/\n",
        .tables = tables,
        .print_version = bn_version_cli_print,
    };
    int code = parse(&e, &program, argc, argv);
    if (code >= 0) return code;
    bn_status status = work(&e);
    bn_json_free(e.wrong);
    bn_setup_close(&e.setup);
    return bn_setup_exit_code(status);
}
