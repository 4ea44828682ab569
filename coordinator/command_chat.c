/* command_chat.c — one dialog, asked line by line.
 *
 * Ctrl-C stops an answer; another one without a new question in between leaves with 130.
 */
#include "coordinator/command_chat.h"

#include "common/log.h"
#include "coordinator/interrupt.h"
#include "coordinator/command_slash.h"
#include "coordinator/sampling_options.h"
#include "coordinator/setup.h"
#include "coordinator/version_cli.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define WAIT_MS 1000u
#define N_TOKENS_DEFAULT 512u

static bn_status wait_for_input(void *context, int fd)
{
    bn_chat *p = context;
    for (;;) {
        uint32_t ready = 0;
        BN_TRY(bn_generate_pump(p->setup.generate, &fd, 1, WAIT_MS, &ready));
        if (bn_interrupt_count() > 0) return BN_ERR_INTERRUPTED;
        if (ready != 0) return BN_OK;
    }
}

static bn_status write_text(const char *text, size_t n)
{
    if (fwrite(text, 1, n, stdout) == n && fflush(stdout) == 0) return BN_OK;
    if (bn_interrupt_ended_write()) return BN_OK; /* whoever waits for the answer sees why */
    return bn_fail(BN_ERR_IO, "STDOUT", "cannot write standard output: %s", strerror(errno));
}

static bn_status on_text(void *context, const char *text, size_t n)
{
    bn_chat *p = context;
    BN_TRY(bn_chat_history_append(&p->history, text, n));
    return write_text(text, n);
}

/* The question joins the history; its tokens are those that the conversation does not have yet. */
static bn_status tokenise_question(bn_chat *p, const char *line, size_t n)
{
    const bn_sequence *sequence = bn_dialog_sequence(p->dialog);
    bn_chat_history *history = &p->history;
    p->ids.n = 0;
    if (sequence->n_tokens == 0) {
        bn_chat_history_cut(history, 0);
        const char *system = p->sampling.system;
        if (system != NULL)
            BN_TRY(bn_chat_history_add(history, BN_CHAT_SYSTEM, system, strlen(system)));
        BN_TRY(bn_chat_history_add(history, BN_CHAT_USER, line, n));
        return bn_chat_template_apply(p->setup.chat, p->setup.tokenizer, history->messages,
                                      history->n, &p->ids);
    }
    BN_TRY(bn_chat_history_add(history, BN_CHAT_USER, line, n));
    return bn_chat_template_continue(p->setup.chat, p->setup.tokenizer, history->messages,
                                     history->n, sequence->tokens[sequence->n_tokens - 1], &p->ids);
}

/* Errors of the conversation, said already, that leave the prompt as it was. */
static bool is_of_question(bn_status status)
{
    return status == BN_ERR_UNSUPPORTED || status == BN_ERR_LIMIT || status == BN_ERR_REFUSED ||
           status == BN_ERR_BAD_FILE;
}

/* Waits for the answer; an interrupt stops it. */
static bn_status wait_for_answer(bn_chat *p)
{
    while (bn_dialog_answer(p->dialog)->finish == BN_FINISH_NOT_YET) {
        BN_TRY(bn_generate_pump(p->setup.generate, NULL, 0, WAIT_MS, NULL));
        if (bn_interrupt_count() == 0) continue;
        if (bn_interrupt_is_final()) return BN_ERR_INTERRUPTED;
        bn_interrupt_take();
        p->was_interrupted = true;
        return bn_generate_cancel(p->setup.generate, p->dialog);
    }
    return BN_OK;
}

static bn_status answer(bn_chat *p, const char *line, size_t n)
{
    p->was_interrupted = false;
    size_t n_before = p->history.n;
    bn_status status = tokenise_question(p, line, n);
    if (status == BN_OK && p->ids.n > 0)
        status = bn_chat_history_add(&p->history, BN_CHAT_ASSISTANT, "", 0);
    if (status != BN_OK || p->ids.n == 0) bn_chat_history_cut(&p->history, n_before);
    if (is_of_question(status)) return BN_OK;
    BN_TRY(status);
    if (p->ids.n == 0) return BN_OK;
    bn_request request = bn_sampling_options_request(&p->sampling);
    request.on_text = on_text;
    request.context = p;
    status =
        bn_generate_ask(p->setup.generate, p->dialog, p->ids.ids, (uint32_t)p->ids.n, &request);
    if (status == BN_ERR_LIMIT) {
        bn_chat_history_cut(&p->history, n_before);
        fprintf(stderr, "the conversation is full: /reset starts a new one\n");
        return BN_OK;
    }
    BN_TRY(status);
    status = wait_for_answer(p);
    bn_status ended = write_text("\n", 1);
    BN_TRY(status);
    if (p->was_interrupted) fprintf(stderr, "(stopped; Ctrl-C again leaves)\n");
    if (bn_dialog_answer(p->dialog)->finish == BN_FINISH_CONTEXT)
        fprintf(stderr, "(the context is full: /reset starts a new conversation)\n");
    return ended;
}

/* An interrupt while a line is typed: the first only throws the line away. */
static bn_status interrupted(bn_chat *p)
{
    if (bn_interrupt_is_final()) return BN_ERR_INTERRUPTED;
    bn_interrupt_take();
    bool is_second = p->was_interrupted || !bn_prompt_is_terminal(p->input);
    p->was_interrupted = true;
    if (bn_prompt_is_terminal(p->input)) fputc('\n', stdout);
    if (is_second) return BN_ERR_INTERRUPTED;
    fprintf(stderr, "(Ctrl-C again leaves)\n");
    return BN_OK;
}

static bn_status converse(bn_chat *p)
{
    while (!p->is_leaving) {
        const char *line = NULL;
        size_t n = 0;
        bn_status status = bn_prompt_read(p->input, &line, &n);
        if (status == BN_ERR_INTERRUPTED) {
            BN_TRY(interrupted(p));
            continue;
        }
        BN_TRY(status);
        if (line == NULL) break;
        if (n == 0) continue;
        if (line[0] == '/')
            BN_TRY(bn_command_slash(p, line, n));
        else
            BN_TRY(answer(p, line, n));
    }
    if (bn_prompt_is_terminal(p->input) && !p->is_leaving) fputc('\n', stdout);
    return BN_OK;
}

static bn_status work(bn_chat *p)
{
    bn_setup *setup = &p->setup;
    BN_TRY(bn_setup_open(setup, BN_TOKENIZER_NEEDED));
    BN_TRY(bn_setup_chat(setup));
    BN_TRY(bn_setup_start(setup, 1, 0));
    BN_TRY(bn_generate_open(setup->generate, setup->context, &p->dialog));
    BN_TRY(bn_prompt_create("> ", wait_for_input, p, &p->input));
    if (bn_prompt_is_terminal(p->input))
        printf("%s, %u stage%s, template %s. /help lists the commands, Ctrl-C stops an answer.\n",
               setup->model_path, bn_cluster_formation(setup->cluster)->n_stages,
               bn_cluster_formation(setup->cluster)->n_stages == 1 ? "" : "s",
               bn_chat_template_name(setup->chat));
    BN_TRY(converse(p));
    return bn_setup_finish(setup);
}

int bn_command_chat(int argc, char **argv)
{
    static bn_chat p;
    bn_option sampling_table[BN_SAMPLING_OPTIONS_MAX];
    bn_setup_init(&p.setup);
    bn_sampling_options_init(&p.sampling, N_TOKENS_DEFAULT, sampling_table);
    const bn_option *tables[] = {p.setup.table, sampling_table, NULL};
    const bn_program program = {
        .name = "bitnet-coordinator",
        .synopsis = "[COMMAND] --model FILE [options]",
        .about =
            "Cuts a model's layers over workers and has them answer. Without COMMAND: a prompt.\n"
            "\n"
            "Commands: run (ask once), eval (logits, perplexity), bench (speed), tokenize,\n"
            "detokenize, keygen (a cluster key). 'bitnet-coordinator COMMAND --help' tells more.\n"
            "\n"
            "The workers are started apart: by mpirun, srun, by hand (bitnet-worker "
            "--coordinator URL), or here by --local N.",
        .examples = "  bitnet-coordinator --model m.gguf --local 2\n"
                    "  mpirun -np 4 bitnet-worker &\n"
                    "  bitnet-coordinator --model m.gguf\n",
        .tables = tables,
        .print_version = bn_version_cli_print,
    };
    bn_options_result result;
    if (bn_options_parse(&program, argc, argv, &result) != BN_OK) return 2;
    if (result.is_done) return 0;
    if (result.n_positionals > 0) {
        bn_options_usage_error(&program,
                               "unknown command '%s' (run, eval, bench, tokenize, detokenize, "
                               "keygen, or none for the prompt)",
                               result.positionals[0]);
        return 2;
    }
    bn_status status = work(&p);
    bn_prompt_destroy(p.input);
    bn_setup_close(&p.setup);
    bn_dialog_destroy(p.dialog);
    bn_token_list_fini(&p.ids);
    bn_chat_history_fini(&p.history);
    return bn_setup_exit_code(status);
}
