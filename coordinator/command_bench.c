/* command_bench.c — all prompts are read before any is continued, so that the two speeds are
 * measured apart. */
#include "coordinator/command_bench.h"

#include "common/clock.h"
#include "common/json.h"
#include "common/log.h"
#include "coordinator/id_list.h"
#include "coordinator/interrupt.h"
#include "coordinator/setup.h"
#include "coordinator/version_cli.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define PUMP_MS 200u
#define RANDOM_SEED 42u

typedef struct bench {
    bn_setup setup;
    uint32_t n_prompt, n_generate, n_sequences;
    bool is_json;
    bn_dialog *dialogs[BN_SLOTS_MAX];
} bench;

typedef struct figures {
    double prefill_s, decode_s;
    double prefill_rate, decode_rate, total_rate;
    double tokens_per_step, in_flight; /* averages while decoding */
    uint32_t in_flight_max, entries_max;
} figures;

static bn_status ask_all(bench *b)
{
    bn_request request = {.n_max = b->n_generate, .ignores_stop_tokens = true};
    bn_sampler_config_init(&request.sampler);
    request.sampler.temperature = 0.0f;
    bn_token_list ids = {0};
    bn_status status = BN_OK;
    for (uint32_t i = 0; i < b->n_sequences && status == BN_OK; i++) {
        ids.n = 0;
        status = bn_id_list_random(RANDOM_SEED + i, b->n_prompt, b->setup.vocab, &ids);
        if (status == BN_OK)
            status =
                bn_generate_ask(b->setup.generate, b->dialogs[i], ids.ids, b->n_prompt, &request);
    }
    bn_token_list_fini(&ids);
    return status;
}

/* Until every sequence has made n tokens. */
static bn_status pump_until(bench *b, uint32_t n)
{
    for (;;) {
        uint32_t n_behind = 0;
        for (uint32_t i = 0; i < b->n_sequences; i++)
            n_behind += bn_dialog_answer(b->dialogs[i])->n_made < n;
        if (n_behind == 0) return BN_OK;
        BN_TRY(bn_generate_pump(b->setup.generate, NULL, 0, PUMP_MS, NULL));
        if (bn_interrupt_count() > 0) return BN_ERR_INTERRUPTED;
    }
}

static bn_status measure(bench *b, figures *f)
{
    bn_scheduler *scheduler = bn_generate_scheduler(b->setup.generate);
    for (uint32_t i = 0; i < b->n_sequences; i++)
        BN_TRY(bn_generate_open(b->setup.generate, b->n_prompt + b->n_generate, &b->dialogs[i]));
    bn_scheduler_hold_decode(scheduler, true);
    uint64_t began_ns = bn_clock_ns();
    BN_TRY(ask_all(b));
    BN_TRY(pump_until(b, 1));
    uint64_t read_ns = bn_clock_ns();
    const bn_scheduler_counts at_read = *bn_scheduler_counted(scheduler);
    bn_scheduler_hold_decode(scheduler, false);
    BN_TRY(pump_until(b, b->n_generate));
    uint64_t done_ns = bn_clock_ns();

    const bn_scheduler_counts *counts = bn_scheduler_counted(scheduler);
    double steps = (double)(counts->steps - at_read.steps), m = (double)b->n_sequences;
    *f = (figures){
        .prefill_s = (double)(read_ns - began_ns) / 1e9,
        .decode_s = (double)(done_ns - read_ns) / 1e9,
        .in_flight_max = counts->in_flight_max,
        .entries_max = counts->entries_max,
    };
    f->prefill_rate = m * b->n_prompt / f->prefill_s;
    f->total_rate = m * (b->n_prompt + b->n_generate) / (f->prefill_s + f->decode_s);
    if (b->n_generate > 1) f->decode_rate = m * (b->n_generate - 1) / f->decode_s;
    if (steps > 0.0) {
        f->tokens_per_step = (double)(counts->tokens - at_read.tokens) / steps;
        f->in_flight = (double)(counts->in_flight_sum - at_read.in_flight_sum) / steps;
    }
    return BN_OK;
}

static bn_status print_json(const bench *b, const figures *f)
{
    const bn_formation *formation = bn_cluster_formation(b->setup.cluster);
    bn_json *json = bn_json_object();
    bn_json_set_u64(json, "stages", formation->n_stages);
    bn_json_set_text(json, "link", bn_formation_link_name(formation->link));
    bn_json_set_u64(json, "sequences", b->n_sequences);
    bn_json_set_u64(json, "prompt_tokens", b->n_prompt);
    bn_json_set_u64(json, "generate", b->n_generate);
    bn_json_set_double(json, "prefill_s", f->prefill_s);
    bn_json_set_double(json, "decode_s", f->decode_s);
    bn_json_set_double(json, "prefill_tokens_per_s", f->prefill_rate);
    bn_json_set_double(json, "decode_tokens_per_s", f->decode_rate);
    bn_json_set_double(json, "total_tokens_per_s", f->total_rate);
    bn_json_set_double(json, "decode_tokens_per_step", f->tokens_per_step);
    bn_json_set_double(json, "decode_steps_in_flight", f->in_flight);
    bn_json_set_u64(json, "steps_in_flight_max", f->in_flight_max);
    bn_status status = bn_json_print(json, stdout, 0);
    bn_json_free(json);
    return status;
}

static bn_status print_figures(const bench *b, const figures *f)
{
    if (b->is_json) {
        BN_TRY(print_json(b, f));
    } else {
        const bn_formation *formation = bn_cluster_formation(b->setup.cluster);
        printf("%u stage%s, link %s, %u sequence%s of %u + %u tokens\n", formation->n_stages,
               formation->n_stages == 1 ? "" : "s", bn_formation_link_name(formation->link),
               b->n_sequences, b->n_sequences == 1 ? "" : "s", b->n_prompt, b->n_generate);
        printf("prefill  %10.1f tok/s  (%.2f s)\n", f->prefill_rate, f->prefill_s);
        printf("decode   %10.1f tok/s  (%.2f s, %.2f tokens per step, %.2f steps in flight)\n",
               f->decode_rate, f->decode_s, f->tokens_per_step, f->in_flight);
        printf("total    %10.1f tok/s\n", f->total_rate);
    }
    if (fflush(stdout) == 0 && !ferror(stdout)) return BN_OK;
    return bn_fail(BN_ERR_IO, "STDOUT", "cannot write standard output: %s", strerror(errno));
}

static bn_status work(bench *b)
{
    BN_TRY(bn_setup_open(&b->setup, BN_TOKENIZER_NONE));
    BN_TRY(bn_setup_start(&b->setup, b->n_sequences, b->n_prompt + b->n_generate));
    if (b->n_prompt + b->n_generate > b->setup.context)
        return bn_fail(BN_ERR_BAD_ARGUMENT, "CONTEXT-SMALL",
                       "%u + %u tokens do not fit a context of %u (--context)", b->n_prompt,
                       b->n_generate, b->setup.context);
    figures f;
    BN_TRY(measure(b, &f));
    BN_TRY(bn_setup_finish(&b->setup));
    return print_figures(b, &f);
}

int bn_command_bench(int argc, char **argv)
{
    static bench b = {.n_prompt = 512, .n_generate = 128, .n_sequences = 1};
    bn_setup_init(&b.setup);
    const bn_option own[] = {
        {"Bench", "prompt-tokens", BN_OPTION_U32, &b.n_prompt, "P", "random tokens to read", NULL,
         1, BN_CONTEXT_MAX / 2, 0, NULL},
        {"Bench", "generate", BN_OPTION_U32, &b.n_generate, "G",
         "tokens to make after them (greedy)", NULL, 1, BN_CONTEXT_MAX / 2, 0, NULL},
        {"Bench", "sequences", BN_OPTION_U32, &b.n_sequences, "M", "of these at once", NULL, 1,
         BN_SLOTS_MAX, 0, NULL},
        {"Bench", "json", BN_OPTION_FLAG, &b.is_json, NULL, "the figures as JSON", NULL, 0, 0, 0,
         NULL},
        {NULL, NULL, BN_OPTION_FLAG, NULL, NULL, NULL, NULL, 0, 0, 0, NULL},
    };
    const bn_option *tables[] = {own, b.setup.table, NULL};
    const bn_program program = {
        .name = "bitnet-coordinator bench",
        .synopsis = "--model FILE [options]",
        .about = "Measures prefill (reading prompts) and decode (making tokens) apart, then both "
                 "together. With several sequences decode runs in as many micro-batches as there "
                 "are stages.",
        .examples = "  bitnet-coordinator bench --model m.gguf --local 2 --sequences 8\n",
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
    bn_status status = work(&b);
    bn_setup_close(&b.setup);
    for (uint32_t i = 0; i < BN_SLOTS_MAX; i++)
        bn_dialog_destroy(b.dialogs[i]);
    return bn_setup_exit_code(status);
}
