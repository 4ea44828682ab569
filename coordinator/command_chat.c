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
    (void)context;
    return write_text(text, n);
}

/* An answer that was cut short lacks the token that ends a turn. */
static bn_status close_turn(bn_chat *p)
{
    const bn_sequence *sequence = bn_dialog_sequence(p->dialog);
    const bn_tokenizer *tokenizer = p->setup.tokenizer;
    uint32_t last = sequence->tokens[sequence->n_tokens - 1];
    if (strcmp(bn_chat_template_name(p->setup.chat), "none") == 0) return BN_OK;
    if (bn_tokenizer_is_stop(tokenizer, last)) return BN_OK;
    uint32_t end = bn_tokenizer_find(tokenizer, "<|eot_id|>");
    if (end == BN_TOKEN_NONE) end = bn_tokenizer_eos(tokenizer);
    return end == BN_TOKEN_NONE ? BN_OK : bn_token_list_push(&p->ids, end);
}

static bn_status tokenise_question(bn_chat *p, const char *line, size_t n)
{
    bn_chat_message messages[2];
    size_t n_messages = 0;
    bool is_start = bn_dialog_sequence(p->dialog)->n_tokens == 0;
    p->ids.n = 0;
    if (is_start && p->sampling.system != NULL)
        messages[n_messages++] = (bn_chat_message){
            .role = BN_CHAT_SYSTEM, .text = p->sampling.system, .n = strlen(p->sampling.system)};
    messages[n_messages++] = (bn_chat_message){.role = BN_CHAT_USER, .text = line, .n = n};
    if (!is_start) BN_TRY(close_turn(p));
    return bn_chat_template_apply(p->setup.chat, p->setup.tokenizer, messages, n_messages, is_start,
                                  &p->ids);
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
    bn_status status = tokenise_question(p, line, n);
    if (status == BN_ERR_UNSUPPORTED || status == BN_ERR_LIMIT) return BN_OK; /* said already */
    if (status != BN_OK) return status;
    if (p->ids.n == 0) return BN_OK;
    bn_request request = bn_sampling_options_request(&p->sampling);
    request.on_text = on_text;
    status =
        bn_generate_ask(p->setup.generate, p->dialog, p->ids.ids, (uint32_t)p->ids.n, &request);
    if (status == BN_ERR_LIMIT) {
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
    return bn_setup_exit_code(status);
}
