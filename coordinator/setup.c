/* setup.c — the same row of steps for every command. */
#include "coordinator/setup.h"

#include "common/log.h"
#include "coordinator/id_list.h"
#include "coordinator/interrupt.h"
#include "coordinator/kv_pages.h"
#include "coordinator/stats_file.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define CONTEXT_DEFAULT_MAX 4096u
#define COMPANION_PROMPT 5u
#define WAIT_MS 200u
#define FINISH_DRAIN_MS 60000u
#define INTERRUPT_DRAIN_MS 2000u /* workers leave in better order with nothing outstanding */

static const char *const level_names[] = {"error", "warn", "info", "debug", "trace"};

void bn_setup_init(bn_setup *setup)
{
    *setup = (bn_setup){0};
    bn_cluster_options_init(&setup->options, setup->table);
}

static bn_status open_tokenizer(bn_setup *setup, bn_tokenizer_need need)
{
    const bn_gguf *file = setup->model->file;
    bn_gguf_string kind;
    bn_status ignored = BN_OK;
    if (need == BN_TOKENIZER_NONE) return BN_OK;
    if (need == BN_TOKENIZER_IF_ANY &&
        !bn_gguf_get_string(file, "tokenizer.ggml.model", &kind, &ignored))
        return BN_OK;
    return bn_tokenizer_create(file, NULL, &setup->tokenizer);
}

bn_status bn_setup_open(bn_setup *setup, bn_tokenizer_need need)
{
    const bn_cluster_options *options = &setup->options;
    bn_log_init("coordinator", (bn_log_level)options->log_level);
    BN_TRY(bn_interrupt_init());
    if (options->model == NULL)
        return bn_fail(BN_ERR_BAD_ARGUMENT, "MODEL-MISSING",
                       "no model is given: use --model FILE or BITNET_MODEL");
    char resolved[PATH_MAX];
    if (realpath(options->model, resolved) == NULL)
        return bn_fail(BN_ERR_IO, "MODEL-OPEN", "cannot open %s: %s", options->model,
                       strerror(errno));
    if (strlen(resolved) >= sizeof setup->model_path)
        return bn_fail(BN_ERR_LIMIT, "MODEL-PATH", "the path of %s has more than %zu bytes",
                       options->model, sizeof setup->model_path - 1);
    memcpy(setup->model_path, resolved, strlen(resolved) + 1);
    BN_TRY(bn_model_open(resolved, (bn_activation_choice)options->activation, &setup->model));
    setup->vocab = setup->model->config.vocab;
    return open_tokenizer(setup, need);
}

bn_status bn_setup_chat(bn_setup *setup)
{
    BN_ASSERT(setup->chat == NULL && setup->tokenizer != NULL);
    const char *choice = setup->options.chat_template;
    return bn_chat_template_create(choice == NULL ? "auto" : choice, setup->model->file,
                                   setup->tokenizer, &setup->chat);
}

static bn_status fill_limits(bn_setup *setup, uint32_t slots, uint32_t context,
                             bn_stage_limits *limits_out)
{
    const bn_cluster_options *options = &setup->options;
    uint32_t trained = setup->model->config.context;
    if (options->context != 0)
        context = options->context;
    else if (context == 0)
        context = trained < CONTEXT_DEFAULT_MAX ? trained : CONTEXT_DEFAULT_MAX;
    if (context > BN_CONTEXT_MAX)
        return bn_fail(BN_ERR_LIMIT, "CONTEXT", "a context of %u is more than %u", context,
                       BN_CONTEXT_MAX);
    if (context > trained)
        bn_log_warn("CONTEXT", "a context of %u is longer than the %u that the model was made for",
                    context, trained);
    if (setup->n_prompt >= context)
        return bn_fail(BN_ERR_LIMIT, "CONTEXT-FULL",
                       "a prompt of %zu tokens leaves no room for an answer in a context of %u; "
                       "give a larger --context or a shorter prompt",
                       setup->n_prompt, context);
    slots += options->companions;
    if (options->slots != 0 && options->slots < slots)
        return bn_fail(BN_ERR_BAD_ARGUMENT, "SLOTS",
                       "--slots %u is too few: this command runs %u sequences at once",
                       options->slots, slots);
    if (options->slots != 0) slots = options->slots;
    if (setup->dump != NULL && slots > 1)
        return bn_fail(BN_ERR_BAD_ARGUMENT, "SLOTS",
                       "a dump is of one sequence: leave out --slots and --companions");
    if (slots > BN_SLOTS_MAX)
        return bn_fail(BN_ERR_LIMIT, "SLOTS", "%u sequences at once are more than %u", slots,
                       BN_SLOTS_MAX);
    uint32_t chunk = options->prefill_chunk;
    uint32_t step_tokens = (chunk != 0 ? chunk : BN_PREFILL_CHUNK_AUTO_MAX) + slots;
    setup->context = context;
    *limits_out = (bn_stage_limits){
        .context = context,
        .slots = slots,
        .kv_pages = slots * bn_kv_pages_for(context),
        .step_tokens = step_tokens < BN_STEP_TOKENS_MAX ? step_tokens : BN_STEP_TOKENS_MAX,
        .steps_in_flight = options->steps_in_flight,
    };
    return BN_OK;
}

/* Called from the cluster's loop; there may be no local workers yet or at all. */
static bn_status check_local(void *context)
{
    bn_setup *setup = context;
    return setup->local == NULL ? BN_OK : bn_local_check(setup->local);
}

static bn_status start_local(bn_setup *setup)
{
    const bn_cluster_options *options = &setup->options;
    if (options->local == 0) return BN_OK;
    uint32_t level = options->log_level;
    bn_local_config config = {
        .n_workers = options->local,
        .url = bn_cluster_url(setup->cluster),
        .threads = options->worker_threads,
        .isa = bn_isa_names[options->worker_isa],
        .cluster_key = options->cluster_key,
        .dump = setup->dump,
        /* Their everyday lines would drown the answer. */
        .log_level = level_names[level == BN_LOG_INFO ? BN_LOG_WARN : level],
    };
    return bn_local_start(&config, &setup->local);
}

static bn_status add_companions(bn_setup *setup)
{
    bn_request request = {.ignores_stop_tokens = true};
    bn_sampler_config_init(&request.sampler);
    bn_status status = BN_OK;
    bn_token_list ids = {0};
    for (uint32_t i = 0; i < setup->options.companions && status == BN_OK; i++) {
        ids.n = 0;
        request.sampler.seed = 1000 + i;
        uint32_t n = COMPANION_PROMPT + i < setup->context ? COMPANION_PROMPT + i : 1;
        status = bn_id_list_random(request.sampler.seed, n, setup->vocab, &ids);
        if (status == BN_OK)
            status = bn_generate_open(setup->generate, setup->context, &setup->companions[i]);
        if (status == BN_OK)
            status = bn_generate_ask(setup->generate, setup->companions[i], ids.ids,
                                     (uint32_t)ids.n, &request);
    }
    bn_token_list_fini(&ids);
    return status;
}

bn_status bn_setup_start(bn_setup *setup, uint32_t slots, uint32_t context)
{
    const bn_cluster_options *options = &setup->options;
    bool is_all_local = options->local != 0 && options->local >= options->workers;
    bn_cluster_config config = {
        /* Nobody else needs to find a coordinator that starts all its workers. */
        .listen_url =
            is_all_local && !options->listen_was_given ? "tcp://127.0.0.1:0" : options->listen,
        .is_insecure = options->is_insecure,
        .is_local = is_all_local,
        .keeps_workers = options->keeps_workers,
        .model_path = setup->model_path,
        .n_workers = is_all_local ? options->local : options->workers,
        .join_timeout_ms = options->join_timeout_s * 1000,
        .stall_timeout_ms = options->stall_timeout_s * 1000,
        .formation = {.model = setup->model,
                      .goal = (bn_plan_goal)options->plan_for,
                      .layers = options->layers,
                      .link = (bn_link_kind)options->link,
                      .activation = options->activation,
                      .wants_dump = setup->dump != NULL},
        .check = check_local,
        .check_context = setup,
    };
    BN_TRY(fill_limits(setup, slots, context, &config.formation.limits));
    if (options->cluster_key != NULL)
        BN_TRY(bn_cluster_key_read(options->cluster_key, &config.key));
    BN_TRY(bn_cluster_open(&config, &setup->cluster));
    BN_TRY(start_local(setup));
    BN_TRY(bn_cluster_form(setup->cluster));
    bn_generate_config generate_config = {
        .cluster = setup->cluster,
        .tokenizer = setup->tokenizer,
        .vocab = setup->vocab,
        .prefill_chunk = options->prefill_chunk,
    };
    BN_TRY(bn_generate_create(&generate_config, &setup->generate));
    return add_companions(setup);
}

uint32_t bn_setup_slots_for(const bn_setup *setup, uint32_t n, uint32_t most)
{
    uint32_t slots = setup->options.slots, companions = setup->options.companions;
    if (slots != 0) most = slots > companions ? slots - companions : 1;
    return n < most ? n : most;
}

bn_status bn_setup_wait(bn_setup *setup, const bn_dialog *dialog)
{
    while (bn_dialog_answer(dialog)->finish == BN_FINISH_NOT_YET) {
        BN_TRY(bn_generate_pump(setup->generate, NULL, 0, WAIT_MS, NULL));
        if (bn_interrupt_count() == 0) continue;
        bn_interrupt_take();
        (void)bn_generate_drain(setup->generate, INTERRUPT_DRAIN_MS);
        return BN_ERR_INTERRUPTED;
    }
    return BN_OK;
}

bn_status bn_setup_finish(bn_setup *setup)
{
    BN_TRY(bn_generate_drain(setup->generate, FINISH_DRAIN_MS));
    if (setup->options.stats_out == NULL) return BN_OK;
    return bn_stats_file_write(setup->options.stats_out, setup->cluster,
                               bn_scheduler_counted(bn_generate_scheduler(setup->generate)));
}

void bn_setup_close(bn_setup *setup)
{
    bn_cluster_close(setup->cluster);
    bn_local_stop(setup->local);
    for (uint32_t i = 0; i < BN_COMPANIONS_MAX; i++)
        bn_dialog_destroy(setup->companions[i]);
    bn_generate_destroy(setup->generate);
    bn_chat_template_destroy(setup->chat);
    bn_tokenizer_destroy(setup->tokenizer);
    bn_model_close(setup->model);
    *setup = (bn_setup){0};
}

int bn_setup_exit_code(bn_status status)
{
    if (status == BN_OK) return 0;
    if (status == BN_ERR_BAD_ARGUMENT) return 2;
    if (status == BN_ERR_INTERRUPTED && bn_interrupt_exit_code() != 0)
        return bn_interrupt_exit_code();
    return 1;
}
