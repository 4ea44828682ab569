/* command_convert.c — options of `convert`. */
#include "model/command.h"

#include "common/host.h"
#include "common/options.h"
#include "common/progress.h"
#include "model/convert.h"
#include "model/gguf.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#define THREADS_DEFAULT_MAX 16u /* more than a disk can feed */

typedef struct convert_options {
    uint32_t type, head, threads;
    const char *report;
    bn_option_list tiles;
} convert_options;

static const char *const type_names[] = {"i2_s", "tl1", "tl2", "tq1_0", "tq2_0", "f16", NULL};
static const uint32_t types[] = {BN_TENSOR_I2_S,  BN_TENSOR_TL1,   BN_TENSOR_TL2,
                                 BN_TENSOR_TQ1_0, BN_TENSOR_TQ2_0, BN_TENSOR_F16};
static const char *const head_names[] = {"keep", "f16", "q8_0", "q6_k", NULL};
static const uint32_t head_types[] = {0, BN_TENSOR_F16, BN_TENSOR_Q8_0, BN_TENSOR_Q6_K};

static bn_status parse(int argc, char **argv, convert_options *o, bn_options_result *result,
                       bn_program *program)
{
    const bn_option what[] = {
        {"what to write", "type", BN_OPTION_CHOICE, &o->type, "TYPE",
         "type of the ternary matrices: i2_s, tl1 and tl2 are bitnet.cpp's (tl1 and tl2 for the "
         "shapes it has kernels for), tq1_0, tq2_0 and f16 llama.cpp's",
         type_names, 0, 0, 0, NULL},
        {"what to write", "head", BN_OPTION_CHOICE, &o->head, "TYPE",
         "type of embedding and head; keep: as they are", head_names, 0, 0, 0, NULL},
        {"what to write", "report", BN_OPTION_STRING, &o->report, "FILE.json",
         "for each tensor the rule, scale, share of zeros and largest deviation", NULL, 0, 0, 0,
         NULL},
        {0},
    };
    const bn_option how[] = {
        {"how", "tile", BN_OPTION_LIST, &o->tiles, "ROWSxCOLS:BM,BK,bm",
         "how tl1 and tl2 matrices of this shape are cut, in IN and OUT; may be given several "
         "times. The file does not say it; for bitnet.cpp's own shapes it is known",
         NULL, 0, 0, 0, NULL},
        {"how", "threads", BN_OPTION_U32, &o->threads, "N",
         "threads, each with 16 MiB (default: the cores, at most 16)", NULL, 1,
         BN_CONVERT_THREADS_MAX, 't', NULL},
        {0},
    };
    const bn_option *const tables[] = {what, how, NULL};
    *program = (bn_program){
        .name = "bitnet-model convert",
        .synopsis = "[options] IN OUT",
        .about = "Writes the model IN, a Hugging Face folder or a GGUF file, as the GGUF file "
                 "OUT. Trits and scales stay what they are, whatever the types; master weights "
                 "become ternary by the absmean rule. What is not ternary, and what a type cannot "
                 "hold, is refused by the tensor's name. OUT appears when it is whole.",
        .examples = "  bitnet-model convert bitnet-b1.58-2B-4T/ model.gguf --report report.json\n"
                    "  bitnet-model convert model.gguf small.gguf --type tq1_0 --head q6_k\n"
                    "  bitnet-model convert a.gguf b.gguf --type tl2 --tile 2560x6912:160,96,32\n",
        .tables = tables,
        .print_version = bn_command_print_version,
    };
    BN_TRY(bn_options_parse(program, argc, argv, result));
    if (!result->is_done && result->n_positionals != 2)
        return bn_options_usage_error(program, "IN and OUT are needed, not %" PRIu32 " names",
                                      result->n_positionals);
    return BN_OK;
}

static void print_result(const bn_convert_job *job, uint32_t type, const bn_convert_result *result)
{
    char bytes[16];
    bn_progress_bytes_text(result->n_bytes, bytes);
    printf("%s: %s, architecture %s, %" PRIu32 " ternary matrices as %s, %.1f %% zeros", job->out,
           bytes, result->arch, result->n_ternary, type_names[type], 100.0 * result->zeros);
    if (result->deviation > 0.0) printf(", weights off by at most %.3g", result->deviation);
    printf("\n");
}

bn_status bn_command_convert(int argc, char **argv)
{
    uint32_t cores = bn_host_usable_cores();
    convert_options o = {.threads = cores < THREADS_DEFAULT_MAX ? cores : THREADS_DEFAULT_MAX};
    bn_options_result options;
    bn_program program;
    bn_convert_result result;
    BN_TRY(parse(argc, argv, &o, &options, &program));
    if (options.is_done) return BN_OK;
    bn_convert_job job = {
        .in = options.positionals[0],
        .out = options.positionals[1],
        .type = types[o.type],
        .has_head_type = o.head != 0,
        .head_type = head_types[o.head],
        .report = o.report,
        .n_threads = o.threads,
        .on_partial = bn_command_watch_partial,
    };
    for (uint32_t i = 0; i < o.tiles.n_values; i++)
        BN_TRY(bn_tl_tile_parse(o.tiles.values[i], &job.tiles));
    BN_TRY(bn_convert_write(&job, &result));
    print_result(&job, o.type, &result);
    bn_status status = bn_command_flush();
    if (status != BN_OK) unlink(job.out); /* who asked was not told: leave nothing */
    return status;
}
