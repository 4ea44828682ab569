/* command_run.c — one prompt, one answer: text on stdout, everything else on stderr. */
#include "coordinator/command_run.h"

#include "common/log.h"
#include "coordinator/id_list.h"
#include "coordinator/interrupt.h"
#include "coordinator/sampling_options.h"
#include "coordinator/setup.h"
#include "coordinator/version_cli.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

typedef struct run {
    bn_setup setup;
    bn_sampling_options sampling;
    const char *prompt, *prompt_tokens, *tokens_out;
    bn_token_list ids;  /* of the prompt */
    bn_token_list made; /* the answer */
} run;

static bn_status on_token(void *context, uint32_t token)
{
    run *r = context;
    return bn_token_list_push(&r->made, token);
}

static bn_status on_text(void *context, const char *text, size_t n)
{
    (void)context;
    if (fwrite(text, 1, n, stdout) == n && fflush(stdout) == 0) return BN_OK;
    if (bn_interrupt_ended_write()) return BN_ERR_INTERRUPTED;
    return bn_fail(BN_ERR_IO, "STDOUT", "cannot write standard output: %s", strerror(errno));
}

static bn_status read_prompt(run *r)
{
    if (r->prompt_tokens != NULL)
        return bn_id_list_parse(r->prompt_tokens, r->setup.vocab, &r->ids);
    bn_chat_message messages[2];
    size_t n = 0;
    if (r->sampling.system != NULL)
        messages[n++] = (bn_chat_message){
            .role = BN_CHAT_SYSTEM, .text = r->sampling.system, .n = strlen(r->sampling.system)};
    messages[n++] =
        (bn_chat_message){.role = BN_CHAT_USER, .text = r->prompt, .n = strlen(r->prompt)};
    BN_TRY(bn_setup_chat(&r->setup));
    BN_TRY(bn_chat_template_apply(r->setup.chat, r->setup.tokenizer, messages, n, &r->ids));
    if (r->ids.n == 0) return bn_fail(BN_ERR_BAD_ARGUMENT, "PROMPT-EMPTY", "the prompt is empty");
    return BN_OK;
}

static double rate(double n, uint64_t from_ns, uint64_t to_ns)
{
    return to_ns > from_ns ? n * 1e9 / (double)(to_ns - from_ns) : 0.0;
}

static void print_summary(const bn_setup *setup, const bn_answer *answer)
{
    const bn_formation *formation = bn_cluster_formation(setup->cluster);
    double decode =
        answer->n_made > 1 ? rate(answer->n_made - 1, answer->first_ns, answer->last_ns) : 0.0;
    fprintf(stderr,
            "prompt %u tokens at %.1f tok/s, answer %u tokens at %.1f tok/s, first token after "
            "%.2f s, %u stage%s, link %s\n",
            answer->n_prompt, rate(answer->n_prompt, answer->began_ns, answer->first_ns),
            answer->n_made, decode, (double)(answer->first_ns - answer->began_ns) / 1e9,
            formation->n_stages, formation->n_stages == 1 ? "" : "s",
            bn_formation_link_name(formation->link));
}

static bn_status generate(run *r)
{
    bn_setup *setup = &r->setup;
    bn_dialog *dialog = NULL;
    BN_TRY(bn_generate_open(setup->generate, setup->context, &dialog));
    bn_request request = bn_sampling_options_request(&r->sampling);
    request.on_token = on_token;
    request.on_text = on_text;
    request.context = r;
    bn_status status =
        bn_generate_ask(setup->generate, dialog, r->ids.ids, (uint32_t)r->ids.n, &request);
    if (status == BN_OK) status = bn_setup_wait(setup, dialog);
    const bn_answer answer = *bn_dialog_answer(dialog);
    if (isatty(STDOUT_FILENO) && r->made.n > 0) (void)on_text(r, "\n", 1);
    if (status == BN_OK) status = bn_setup_finish(setup);
    if (r->tokens_out != NULL && r->made.n > 0) {
        bn_status written = bn_id_list_write(r->tokens_out, r->made.ids, r->made.n);
        if (status == BN_OK) status = written;
    }
    if (answer.n_made > 0) print_summary(setup, &answer);
    bn_dialog_destroy(dialog);
    return status;
}

static bn_status work(run *r)
{
    bool is_text = r->prompt_tokens == NULL;
    BN_TRY(bn_setup_open(&r->setup, is_text ? BN_TOKENIZER_NEEDED : BN_TOKENIZER_IF_ANY));
    BN_TRY(read_prompt(r));
    r->setup.n_prompt = r->ids.n;
    BN_TRY(bn_setup_start(&r->setup, 1, 0));
    return generate(r);
}

int bn_command_run(int argc, char **argv)
{
    static run r;
    bn_option sampling_table[BN_SAMPLING_OPTIONS_MAX];
    bn_setup_init(&r.setup);
    bn_sampling_options_init(&r.sampling, 128, sampling_table);
    const bn_option own[] = {
        {"Prompt", "prompt", BN_OPTION_STRING, &r.prompt, "TEXT", "the question", NULL, 0, 0, 'p',
         NULL},
        {"Prompt", "prompt-tokens", BN_OPTION_STRING, &r.prompt_tokens, "ID,ID,...",
         "the same as token ids, taken as they are", NULL, 0, 0, 0, NULL},
        {"Prompt", "tokens-out", BN_OPTION_STRING, &r.tokens_out, "FILE",
         "write the ids of the answer as a JSON array", NULL, 0, 0, 0, NULL},
        {NULL, NULL, BN_OPTION_FLAG, NULL, NULL, NULL, NULL, 0, 0, 0, NULL},
    };
    const bn_option *tables[] = {own, sampling_table, r.setup.table, NULL};
    const bn_program program = {
        .name = "bitnet-coordinator run",
        .synopsis = "--model FILE --prompt TEXT [options]",
        .about = "Asks once. Only the answer goes to standard output; the plan and a one-line "
                 "summary go to standard error.",
        .examples =
            "  bitnet-coordinator run --model m.gguf --local 2 --prompt 'Once upon a time'\n"
            "  mpirun -np 4 bitnet-worker &\n"
            "  bitnet-coordinator run --model m.gguf --prompt 'Why is the sky blue?' -n 64\n",
        .tables = tables,
        .print_version = bn_version_cli_print,
    };
    bn_options_result result;
    if (bn_options_parse(&program, argc, argv, &result) != BN_OK) return 2;
    if (result.is_done) return 0;
    if (result.n_positionals > 0) {
        bn_options_usage_error(&program, "unexpected argument '%s'", result.positionals[0]);
        return 2;
    }
    if ((r.prompt == NULL) == (r.prompt_tokens == NULL)) {
        bn_options_usage_error(&program, "give --prompt TEXT or --prompt-tokens ID,ID,...");
        return 2;
    }
    bn_status status = work(&r);
    bn_setup_close(&r.setup);
    bn_token_list_fini(&r.ids);
    bn_token_list_fini(&r.made);
    return bn_setup_exit_code(status);
}
