/* command_slash.c — a table of commands and a table of what /set can set. */
#include "coordinator/command_slash.h"

#include "common/clock.h"
#include "common/log.h"
#include "coordinator/stats_file.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STATS_TIMEOUT_MS 5000u
#define COMMAND_MAX 8192u

typedef struct command {
    const char *name;
    bn_status (*act)(bn_chat *prompt, char *arguments);
    const char *help;
} command;

static bn_status show_help(bn_chat *p, char *arguments);

static bn_status show_stats(bn_chat *p, char *arguments)
{
    (void)arguments;
    const bn_answer *answer = bn_dialog_answer(p->dialog);
    const bn_sequence *sequence = bn_dialog_sequence(p->dialog);
    printf("context: %u of %u tokens\n", sequence->n_tokens, sequence->tokens_max);
    if (answer->n_made > 0) {
        double wait_s = (double)(answer->first_ns - answer->began_ns) / 1e9;
        double make_s = (double)(answer->last_ns - answer->first_ns) / 1e9;
        printf("last answer: prompt %u tokens at %.1f tok/s, answer %u tokens at %.1f tok/s, first "
               "token after %.2f s\n",
               answer->n_prompt, wait_s > 0.0 ? answer->n_prompt / wait_s : 0.0, answer->n_made,
               make_s > 0.0 ? (answer->n_made - 1) / make_s : 0.0, wait_s);
    }
    BN_TRY(bn_cluster_collect_stats(p->setup.cluster, STATS_TIMEOUT_MS));
    bn_stats_file_print(p->setup.cluster,
                        bn_scheduler_counted(bn_generate_scheduler(p->setup.generate)), stdout);
    return BN_OK;
}

static bn_status show_workers(bn_chat *p, char *arguments)
{
    (void)arguments;
    const bn_formation *formation = bn_cluster_formation(p->setup.cluster);
    printf("%s, link %s\n", bn_cluster_url(p->setup.cluster),
           bn_formation_link_name(formation->link));
    bn_shard_plan_print(&formation->plan, formation->workers, stdout);
    uint64_t now_ms = bn_clock_ms();
    for (uint32_t i = 0; i < formation->n_stages; i++) {
        const bn_member *member = formation->stages[i];
        printf("%s: %u thread%s, %s, last step %" PRIu64 ", heard %.1f s ago\n",
               formation->names[i], member->hello.threads, member->hello.threads == 1 ? "" : "s",
               member->hello.isa, member->heartbeat.last_step,
               (double)(now_ms - member->heard_ms) / 1000.0);
    }
    return BN_OK;
}

static bn_status reset(bn_chat *p, char *arguments)
{
    (void)arguments;
    bn_generate_close(p->setup.generate, p->dialog);
    p->dialog = NULL;
    bn_chat_history_cut(&p->history, 0);
    return bn_generate_open(p->setup.generate, p->setup.context, &p->dialog);
}

static bn_status quit(bn_chat *p, char *arguments)
{
    (void)arguments;
    p->is_leaving = true;
    return BN_OK;
}

typedef struct setting {
    const char *name;
    enum { SET_F32, SET_U32, SET_U64 } kind;
    void *target;
    double min, max;
} setting;

#define SETTINGS 9u

static void fill_settings(bn_chat *p, setting settings[SETTINGS])
{
    bn_sampler_config *s = &p->sampling.sampler;
    const setting all[SETTINGS] = {
        {"temperature", SET_F32, &s->temperature, 0, 100},
        {"top-k", SET_U32, &s->top_k, 0, BN_VOCAB_MAX},
        {"top-p", SET_F32, &s->top_p, 0, 1},
        {"min-p", SET_F32, &s->min_p, 0, 1},
        {"repeat-penalty", SET_F32, &s->repeat_penalty, 0.01, 100},
        {"frequency-penalty", SET_F32, &s->frequency_penalty, -100, 100},
        {"presence-penalty", SET_F32, &s->presence_penalty, -100, 100},
        {"seed", SET_U64, &s->seed, 0, 1.8e19},
        {"n-tokens", SET_U32, &p->sampling.n_tokens, 0, BN_CONTEXT_MAX},
    };
    memcpy(settings, all, sizeof all);
}

static void print_setting(const setting *s)
{
    if (s->kind == SET_F32)
        printf("%-18s %g\n", s->name, (double)*(const float *)s->target);
    else if (s->kind == SET_U32)
        printf("%-18s %" PRIu32 "\n", s->name, *(const uint32_t *)s->target);
    else
        printf("%-18s %" PRIu64 "\n", s->name, *(const uint64_t *)s->target);
}

static void print_settings(const bn_chat *p, const setting settings[SETTINGS])
{
    for (uint32_t i = 0; i < SETTINGS; i++)
        print_setting(&settings[i]);
    printf("%-18s %s\n", "system", p->sampling.system != NULL ? p->sampling.system : "(none)");
}

static bool store(const setting *s, const char *text)
{
    char *end;
    errno = 0;
    if (s->kind == SET_U64) {
        if (text[0] < '0' || text[0] > '9') return false;
        unsigned long long value = strtoull(text, &end, 10);
        if (errno != 0 || *end != '\0') return false;
        *(uint64_t *)s->target = value;
        return true;
    }
    double value = strtod(text, &end);
    if (errno != 0 || end == text || *end != '\0' || !(value >= s->min && value <= s->max))
        return false;
    if (s->kind == SET_F32)
        *(float *)s->target = (float)value;
    else
        *(uint32_t *)s->target = (uint32_t)value;
    return true;
}

static bn_status set(bn_chat *p, char *arguments)
{
    setting settings[SETTINGS];
    fill_settings(p, settings);
    char *value = strchr(arguments, ' ');
    if (*arguments == '\0') {
        print_settings(p, settings);
        return BN_OK;
    }
    if (value != NULL) *value++ = '\0';
    if (value == NULL) value = arguments + strlen(arguments);
    if (strcmp(arguments, "system") == 0) {
        snprintf(p->system, sizeof p->system, "%s", value);
        p->sampling.system = p->system[0] != '\0' ? p->system : NULL;
        fprintf(stderr, "a system message counts from the next /reset on\n");
        return BN_OK;
    }
    for (uint32_t i = 0; i < SETTINGS; i++) {
        if (strcmp(arguments, settings[i].name) != 0) continue;
        if (*value == '\0' || store(&settings[i], value))
            print_setting(&settings[i]);
        else
            fprintf(stderr, "/set %s: '%.60s' is not a number from %g to %g\n", arguments, value,
                    settings[i].min, settings[i].max);
        return BN_OK;
    }
    fprintf(stderr, "/set: there is no '%.60s'; /set alone lists the names\n", arguments);
    return BN_OK;
}

static const command commands[] = {
    {"/help", show_help, "this list"},
    {"/stats", show_stats, "speed of the last answer, work and memory of each worker"},
    {"/workers", show_workers, "who computes which layers"},
    {"/reset", reset, "forget the conversation"},
    {"/set", set, "[NAME VALUE]: temperature, top-k, seed ...; alone lists all"},
    {"/quit", quit, "leave (as Ctrl-D does)"},
};

static bn_status show_help(bn_chat *p, char *arguments)
{
    (void)p;
    (void)arguments;
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
        printf("%-10s %s\n", commands[i].name, commands[i].help);
    return BN_OK;
}

bn_status bn_command_slash(bn_chat *prompt, const char *line, size_t n)
{
    char text[COMMAND_MAX];
    if (n >= sizeof text) {
        fprintf(stderr, "a command has at most %u bytes\n", COMMAND_MAX - 1);
        return BN_OK;
    }
    memcpy(text, line, n);
    while (n > 0 && (text[n - 1] == ' ' || text[n - 1] == '\r'))
        n--;
    text[n] = '\0';
    size_t length = strcspn(text, " ");
    char *arguments = text + length + strspn(text + length, " ");
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        if (strlen(commands[i].name) != length || memcmp(commands[i].name, text, length) != 0)
            continue;
        BN_TRY(commands[i].act(prompt, arguments));
        if (fflush(stdout) != 0)
            return bn_fail(BN_ERR_IO, "STDOUT", "cannot write standard output: %s",
                           strerror(errno));
        return BN_OK;
    }
    fprintf(stderr, "there is no command '%.*s'; /help lists them\n",
            (int)(length < 60 ? length : 60), text);
    return BN_OK;
}
