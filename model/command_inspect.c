/* command_inspect.c — options of `inspect`, and the order in which a file is looked at. */
#include "model/command.h"

#include "common/alloc.h"
#include "common/host.h"
#include "common/log.h"
#include "common/options.h"
#include "model/inspect.h"
#include "model/trits_fault.h"

#include <inttypes.h>
#include <stdio.h>

/* Defaults of the coordinator; here only to make figures without one. */
#define STEP_TOKENS 256u
#define STEPS_IN_FLIGHT 16u
#define SLOTS_MAX 256u
#define STEP_TOKENS_MAX 2048u
#define THREADS_MAX 64u /* that read weights for --check */

typedef struct inspect_options {
    bool lists_tensors, is_json, is_checked;
    uint32_t stages, context, slots, step_tokens, threads, goal, activation;
    const char *layers;
} inspect_options;

static const char *const activation_names[] = {"auto", "silu", "relu2", NULL};

static bn_status parse(int argc, char **argv, inspect_options *o, bn_options_result *result,
                       bn_program *program)
{
    const bn_option what[] = {
        {"what to show", "tensors", BN_OPTION_FLAG, &o->lists_tensors, NULL,
         "list every tensor: type, dimensions, offset, bytes", NULL, 0, 0, 't', NULL},
        {"what to show", "json", BN_OPTION_FLAG, &o->is_json, NULL, "one JSON object", NULL, 0, 0,
         0, NULL},
        {"what to show", "check", BN_OPTION_FLAG, &o->is_checked, NULL,
         "read all weights and find damaged tensors; exit 1 if there are any", NULL, 0, 0, 0, NULL},
        {"what to show", "activation", BN_OPTION_CHOICE, &o->activation, "KIND",
         "override what the file says", activation_names, 0, 0, 0, NULL},
        {0},
    };
    const bn_option plan[] = {
        {"bytes per stage, with no worker running", "stages", BN_OPTION_U32, &o->stages, "N",
         "cut the model into N stages for equal workers", NULL, 1, BN_STAGES_MAX, 0, NULL},
        {"bytes per stage, with no worker running", "layers", BN_OPTION_STRING, &o->layers,
         "N,N,...", "layers of each stage, instead of the best cut", NULL, 0, 0, 0, NULL},
        {"bytes per stage, with no worker running", "context", BN_OPTION_U32, &o->context, "C",
         "positions per sequence (default: what the model was trained for)", NULL, 1,
         BN_CONTEXT_MAX, 0, NULL},
        {"bytes per stage, with no worker running", "slots", BN_OPTION_U32, &o->slots, "M",
         "sequences at once", NULL, 1, SLOTS_MAX, 0, NULL},
        {"bytes per stage, with no worker running", "prefill-chunk", BN_OPTION_U32, &o->step_tokens,
         "N", "tokens in one step", NULL, 1, STEP_TOKENS_MAX, 0, NULL},
        {"bytes per stage, with no worker running", "threads", BN_OPTION_U32, &o->threads, "N",
         "threads of a worker", NULL, 1, 1024, 0, NULL},
        {"bytes per stage, with no worker running", "plan-for", BN_OPTION_CHOICE, &o->goal, "GOAL",
         "what the best cut is best for; screened: decode with the head screened",
         bn_plan_goal_names, 0, 0, 0, NULL},
        {0},
    };
    const bn_option *const tables[] = {what, plan, NULL};
    *program = (bn_program){
        .name = "bitnet-model inspect",
        .synopsis = "[options] FILE",
        .about = "Shows the architecture of a GGUF file or a Hugging Face folder, its shape, "
                 "tokenizer, tensor types, the bytes that a token reads, and the bytes that each "
                 "stage of a cluster would need. Checks the header, every tensor's place and "
                 "shape, every scale and every norm.",
        .examples = "  bitnet-model inspect model.gguf\n"
                    "  bitnet-model inspect bitnet-b1.58-2B-4T/ --check\n"
                    "  bitnet-model inspect model.gguf --stages 4 --context 4096 --slots 8\n",
        .tables = tables,
        .print_version = bn_command_print_version,
    };
    BN_TRY(bn_options_parse(program, argc, argv, result));
    if (!result->is_done && result->n_positionals != 1)
        return bn_options_usage_error(program, "one FILE is needed, not %" PRIu32,
                                      result->n_positionals);
    if (!result->is_done && o->layers != NULL && o->stages == 0)
        return bn_options_usage_error(program, "--layers needs --stages");
    return BN_OK;
}

static bn_status make_plan(const inspect_options *o, bn_inspect_report *report,
                           bn_plan_worker *workers, bn_shard_plan *plan)
{
    const bn_model *model = report->model;
    uint32_t context = o->context != 0 ? o->context : model->config.context;
    report->limits = (bn_stage_limits){
        .context = context,
        .slots = o->slots,
        .kv_pages = o->slots * ((context + BN_KV_PAGE_POSITIONS - 1) / BN_KV_PAGE_POSITIONS),
        .step_tokens = o->step_tokens,
        .steps_in_flight = STEPS_IN_FLIGHT,
        .threads = o->threads,
    };
    for (uint32_t i = 0; i < o->stages; i++)
        workers[i] = (bn_plan_worker){.name = "(any)"};
    report->workers = workers;
    report->plan = plan;
    if (o->layers != NULL)
        return bn_shard_plan_fixed(model, &report->limits, workers, o->stages, o->layers, plan);
    return bn_shard_plan_make(model, &report->limits, workers, o->stages, (bn_plan_goal)o->goal,
                              plan);
}

static bn_status print_report(const inspect_options *o, const bn_inspect_report *report)
{
    if (!o->is_json) {
        bn_inspect_print(report, stdout);
        return BN_OK;
    }
    bn_json *json = bn_inspect_json(report);
    if (json == NULL) return bn_fail(BN_ERR_NO_MEMORY, "MODEL-OUTPUT", "no memory for the report");
    bn_status status = bn_json_print(json, stdout, 2);
    bn_json_free(json);
    return status;
}

static bn_status check_weights(bn_inspect_report *report, bn_health *health)
{
    uint32_t n_threads = bn_host_usable_cores();
    BN_TRY(
        bn_health_check(report->model, n_threads < THREADS_MAX ? n_threads : THREADS_MAX, health));
    report->health = health;
    return BN_OK;
}

/* Loud, and after the report, where it is read. */
static bn_status judge(const bn_inspect_report *report)
{
    const bn_health *health = report->health;
    bn_trits_faults faults = {0};
    for (uint32_t i = 0; i < health->n_findings; i++)
        bn_trits_faults_add(&faults, health->findings[i].tensor->name, health->findings[i].text);
    if (faults.n == 0) return BN_OK;
    return bn_fail(BN_ERR_BAD_FILE, "MODEL-DAMAGED",
                   "%s: %" PRIu32 " of %" PRIu32 " tensors cannot be right: %s%s; the model will "
                   "answer nonsense: fetch or convert it again",
                   bn_gguf_path(report->file), faults.n, health->n_tensors, faults.text,
                   faults.n > faults.n_named ? ", …" : "");
}

static bn_status show(const inspect_options *o, bn_inspect_report *report)
{
    bn_health health = {0};
    bn_status status = bn_gguf_identity(report->file, &report->identity);
    if (status == BN_OK) status = bn_inspect_tokenizer_read(report->file, &report->tokenizer);
    if (status == BN_OK && report->model != NULL)
        status = o->is_checked ? check_weights(report, &health) : bn_inspect_check(report->model);
    if (status == BN_OK) status = print_report(o, report);
    if (status == BN_OK) status = bn_command_flush();
    if (status == BN_OK && report->health != NULL) status = judge(report);
    report->health = NULL;
    bn_health_free(&health);
    return status;
}

/* A file with tensors must be a model that can run; one without is a vocabulary. */
static bn_status open_any(const char *path, const inspect_options *o, bn_model **model_out,
                          bn_gguf **file_out)
{
    bn_gguf *file;
    BN_TRY(bn_gguf_open(path, &file));
    if (bn_gguf_n_tensors(file) == 0) {
        if (o->stages == 0) {
            *file_out = file;
            return BN_OK;
        }
        bn_gguf_close(file);
        return bn_fail(BN_ERR_UNSUPPORTED, "MODEL-OPEN",
                       "%s holds no tensors, so there is nothing to cut into stages", path);
    }
    bn_gguf_close(file);
    BN_TRY(bn_model_open(path, (bn_activation_choice)o->activation, model_out));
    return BN_OK;
}

bn_status bn_command_inspect(int argc, char **argv)
{
    inspect_options o = {.slots = 1, .step_tokens = STEP_TOKENS, .threads = 1};
    bn_options_result result;
    bn_program program;
    bn_inspect_report report = {0};
    bn_model *model = NULL;
    bn_gguf *file = NULL;
    BN_TRY(parse(argc, argv, &o, &result, &program));
    if (result.is_done) return BN_OK;
    BN_TRY(open_any(result.positionals[0], &o, &model, &file));
    report.model = model;
    report.file = model != NULL ? model->file : file;
    report.lists_tensors = o.lists_tensors;
    bn_plan_worker *workers = bn_alloc(BN_STAGES_MAX, sizeof *workers);
    bn_shard_plan *plan = bn_alloc(1, sizeof *plan);
    bn_status status = BN_OK;
    if (workers == NULL || plan == NULL)
        status = bn_fail(BN_ERR_NO_MEMORY, "MODEL-OPEN", "no memory for a plan");
    if (status == BN_OK && o.stages > 0) status = make_plan(&o, &report, workers, plan);
    if (status == BN_OK) status = show(&o, &report);
    bn_free(plan);
    bn_free(workers);
    bn_model_close(model);
    bn_gguf_close(file);
    return status;
}
