/* cluster_test.c
 * What: workers join, are refused with a reason, and are named when they are lost; an answer is
 *       the same for any number of stages, chunk and company; the burst rules hold.
 * How:  fake workers (threads) over TCP on loopback; the right answer is computed here from the
 *       fake model's hash.
 */
#include "coordinator/cluster.h"

#include "common/clock.h"
#include "common/log.h"
#include "coordinator/generate.h"
#include "coordinator/kv_pages.h"
#include "tests/coordinator/fake_worker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define CONTEXT 256u

static bn_model *the_model;
static char model_path[512];
static fake_crew crew;
static fake_worker workers[FAKE_STAGES_MAX];

static bn_cluster_config make_config(uint32_t n_workers, uint32_t slots)
{
    return (bn_cluster_config){
        .listen_url = "tcp://127.0.0.1:0",
        .is_local = true,
        .model_path = model_path,
        .n_workers = n_workers,
        .join_timeout_ms = 10000,
        .stall_timeout_ms = 30000,
        .formation = {.model = the_model,
                      .limits = {.context = CONTEXT,
                                 .slots = slots,
                                 .kv_pages = slots * bn_kv_pages_for(CONTEXT),
                                 .step_tokens = 128 + slots}},
    };
}

static bn_cluster *open_cluster(const bn_cluster_config *config)
{
    bn_cluster *cluster;
    bn_hash128 identity;
    assert_int_equal(bn_gguf_identity(the_model->file, &identity), BN_OK);
    fake_crew_init(&crew, the_model->config.vocab, identity);
    memset(workers, 0, sizeof workers);
    assert_int_equal(bn_cluster_open(config, &cluster), BN_OK);
    snprintf(crew.url, sizeof crew.url, "%s", bn_cluster_url(cluster));
    for (uint32_t i = 0; i < FAKE_STAGES_MAX; i++) {
        workers[i].crew = &crew;
        workers[i].number = i + 1;
        workers[i].process_id = 4000 + i;
    }
    return cluster;
}

static void start_workers(uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        fake_worker_start(&workers[i]);
}

static void close_cluster(bn_cluster *cluster, uint32_t n_workers)
{
    bn_cluster_close(cluster);
    uint64_t deadline_ms = bn_clock_ms() + 3000; /* for the farewell to arrive */
    while (bn_clock_ms() < deadline_ms) {
        bool is_all = true;
        for (uint32_t i = 0; i < n_workers; i++)
            is_all = is_all && (workers[i].was_shut_down || workers[i].was_refused);
        if (is_all) break;
        bn_clock_sleep_ns(5000000);
    }
    atomic_store(&crew.is_ending, true);
    for (uint32_t i = 0; i < n_workers; i++)
        fake_worker_join(&workers[i]);
}

/* What the fake model says, greedily. */
static void expect_greedy(const uint32_t *prompt, uint32_t n_prompt, uint32_t n, uint32_t *out)
{
    uint32_t last = prompt[n_prompt - 1];
    for (uint32_t i = 0; i < n; i++) {
        uint32_t best = 0;
        float most = -100.0f;
        for (uint32_t id = 0; id < the_model->config.vocab; id++) {
            float logit = fake_logit(last, n_prompt - 1 + i, id);
            if (logit > most) {
                most = logit;
                best = id;
            }
        }
        out[i] = last = best;
    }
}

typedef struct collected {
    uint32_t tokens[CONTEXT];
    uint32_t n;
} collected;

static bn_status collect(void *context, uint32_t token)
{
    collected *c = context;
    c->tokens[c->n++] = token;
    return BN_OK;
}

static bn_status pump_until_done(bn_generate *generate, const bn_dialog *dialog)
{
    uint64_t deadline_ms = bn_clock_ms() + 20000;
    while (bn_dialog_answer(dialog)->finish == BN_FINISH_NOT_YET) {
        BN_TRY(bn_generate_pump(generate, NULL, 0, 100, NULL));
        if (bn_clock_ms() > deadline_ms) return BN_ERR_TIMED_OUT;
    }
    return BN_OK;
}

static bn_request make_request(float temperature, uint32_t n_max, collected *c)
{
    bn_request request = {.n_max = n_max, .on_token = collect, .context = c};
    bn_sampler_config_init(&request.sampler);
    request.sampler.temperature = temperature;
    request.sampler.seed = 5;
    return request;
}

static bn_generate *start_engine(bn_cluster *cluster, uint32_t chunk)
{
    bn_generate *generate;
    bn_generate_config config = {
        .cluster = cluster, .vocab = the_model->config.vocab, .prefill_chunk = chunk};
    assert_int_equal(bn_generate_create(&config, &generate), BN_OK);
    return generate;
}

#define PROMPT 40u
#define MADE 25u

static void fill_prompt(uint32_t *prompt)
{
    for (uint32_t i = 0; i < PROMPT; i++)
        prompt[i] = (i * 37 + 11) % the_model->config.vocab;
}

/* One greedy and one drawn answer beside `company` others. */
static void ask_cluster(uint32_t stages, uint32_t chunk, uint32_t company, collected answers[2])
{
    bn_cluster_config config = make_config(stages, 2 + company);
    bn_cluster *cluster = open_cluster(&config);
    start_workers(stages);
    assert_int_equal(bn_cluster_form(cluster), BN_OK);
    bn_generate *generate = start_engine(cluster, chunk);
    uint32_t prompt[PROMPT];
    fill_prompt(prompt);
    static collected others;
    bn_dialog *dialogs[8];
    for (uint32_t i = 0; i < company; i++) {
        bn_request request = make_request(1.0f, 50, &others);
        others.n = 0;
        request.on_token = NULL;
        assert_int_equal(bn_generate_open(generate, CONTEXT, &dialogs[2 + i]), BN_OK);
        assert_int_equal(bn_generate_ask(generate, dialogs[2 + i], prompt, 3 + i, &request), BN_OK);
    }
    for (uint32_t i = 0; i < 2; i++) {
        bn_request request = make_request(i == 0 ? 0.0f : 0.9f, MADE, &answers[i]);
        request.sampler.repeat_penalty = i == 0 ? 1.0f : 1.3f;
        answers[i].n = 0;
        assert_int_equal(bn_generate_open(generate, CONTEXT, &dialogs[i]), BN_OK);
        assert_int_equal(bn_generate_ask(generate, dialogs[i], prompt, PROMPT, &request), BN_OK);
    }
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(pump_until_done(generate, dialogs[i]), BN_OK);
        assert_int_equal(bn_dialog_answer(dialogs[i])->finish, BN_FINISH_LENGTH);
    }
    assert_int_equal(bn_generate_drain(generate, 5000), BN_OK);
    assert_int_equal(bn_cluster_collect_stats(cluster, 2000), BN_OK);
    const bn_scheduler_counts *counts = bn_scheduler_counted(bn_generate_scheduler(generate));
    if (stages > 1) assert_true(counts->in_flight_max >= 2);
    for (uint32_t i = 0; i < 2 + company; i++)
        bn_generate_close(generate, dialogs[i]);
    bn_generate_destroy(generate);
    close_cluster(cluster, stages);
    for (uint32_t i = 0; i < stages; i++) {
        assert_true(workers[i].was_shut_down);
        assert_true(workers[i].n_wakes >= 1 && workers[i].n_rests == workers[i].n_wakes);
        assert_int_equal(workers[i].assign.stage < stages, 1);
    }
}

static void test_answers_do_not_depend_on_layout_or_company(void **state)
{
    (void)state;
    static const struct {
        uint32_t stages, chunk, company;
    } cases[] = {{1, 0, 0}, {1, 1, 3}, {2, 7, 0}, {2, 64, 5}, {3, 0, 2}, {4, 7, 3}};
    static collected first[2], answers[2];
    uint32_t prompt[PROMPT], expected[MADE];
    fill_prompt(prompt);
    expect_greedy(prompt, PROMPT, MADE, expected);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ask_cluster(cases[i].stages, cases[i].chunk, cases[i].company, answers);
        assert_int_equal(answers[0].n, MADE);
        assert_memory_equal(answers[0].tokens, expected, sizeof expected);
        assert_int_equal(answers[1].n, MADE);
        if (i == 0) memcpy(first, answers, sizeof first);
        assert_memory_equal(answers[1].tokens, first[1].tokens, MADE * sizeof(uint32_t));
    }
    /* The drawn answer is not the greedy one: the comparison says something. */
    assert_memory_not_equal(first[0].tokens, first[1].tokens, MADE * sizeof(uint32_t));
}

typedef struct scored {
    uint32_t n_logits, n_positions;
    const uint32_t *tokens;
} scored;

static bn_status on_logits(void *context, uint32_t position, const float *logits)
{
    scored *s = context;
    assert_int_equal(position, s->n_logits++);
    for (uint32_t id = 0; id < the_model->config.vocab; id++)
        assert_true(logits[id] == fake_logit(s->tokens[position], position, id));
    return BN_OK;
}

static bn_status on_position(void *context, const bn_result_position *position,
                             const bn_result *result)
{
    scored *s = context;
    assert_int_equal(position->position, s->n_positions++);
    assert_true(position->has_lse);
    float exact = result->exact[position->exact_begin];
    assert_true(exact == fake_logit(s->tokens[position->position], position->position,
                                    s->tokens[position->position + 1]));
    return BN_OK;
}

static void test_scoring_sees_every_position_in_order(void **state)
{
    (void)state;
    bn_cluster_config config = make_config(2, 2);
    bn_cluster *cluster = open_cluster(&config);
    start_workers(2);
    assert_int_equal(bn_cluster_form(cluster), BN_OK);
    bn_generate *generate = start_engine(cluster, 7);
    uint32_t prompt[PROMPT];
    fill_prompt(prompt);
    scored all = {.tokens = prompt}, targets = {.tokens = prompt};
    bn_request requests[2] = {
        {.is_scored = true, .wants = {.wants_all = true}, .on_logits = on_logits, .context = &all},
        {.is_scored = true,
         .wants = {.targets = prompt + 1, .wants_lse = true},
         .on_position = on_position,
         .context = &targets},
    };
    bn_dialog *dialogs[2];
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(bn_generate_open(generate, CONTEXT, &dialogs[i]), BN_OK);
        assert_int_equal(bn_generate_ask(generate, dialogs[i], prompt, PROMPT - i, &requests[i]),
                         BN_OK);
    }
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(pump_until_done(generate, dialogs[i]), BN_OK);
        bn_generate_close(generate, dialogs[i]);
    }
    assert_int_equal(all.n_logits, PROMPT);
    assert_int_equal(targets.n_positions, PROMPT - 1);
    bn_generate_destroy(generate);
    close_cluster(cluster, 2);
}

static void test_a_stopped_answer_can_be_continued(void **state)
{
    (void)state;
    bn_cluster_config config = make_config(2, 1);
    bn_cluster *cluster = open_cluster(&config);
    start_workers(2);
    assert_int_equal(bn_cluster_form(cluster), BN_OK);
    bn_generate *generate = start_engine(cluster, 16);
    uint32_t prompt[PROMPT], expected[8];
    fill_prompt(prompt);
    static collected c;
    bn_request request = make_request(0.0f, 0, &c);
    c.n = 0;
    bn_dialog *dialog;
    assert_int_equal(bn_generate_open(generate, CONTEXT, &dialog), BN_OK);
    assert_int_equal(bn_generate_ask(generate, dialog, prompt, PROMPT, &request), BN_OK);
    while (c.n < 10)
        assert_int_equal(bn_generate_pump(generate, NULL, 0, 50, NULL), BN_OK);
    assert_int_equal(bn_generate_cancel(generate, dialog), BN_OK);
    assert_int_equal(bn_dialog_answer(dialog)->finish, BN_FINISH_CANCELLED);
    const bn_sequence *sequence = bn_dialog_sequence(dialog);
    assert_int_equal(sequence->n_tokens, PROMPT + c.n); /* what was printed stays */
    assert_true(sequence->n_scheduled <= sequence->n_tokens);

    /* The next question goes on behind it: the fake model sees only token and position. */
    uint32_t at = sequence->n_tokens, last = prompt[2];
    request.n_max = 8;
    c.n = 0;
    assert_int_equal(bn_generate_ask(generate, dialog, prompt, 3, &request), BN_OK);
    assert_int_equal(pump_until_done(generate, dialog), BN_OK);
    for (uint32_t i = 0; i < 8; i++) {
        uint32_t best = 0;
        for (uint32_t id = 1; id < the_model->config.vocab; id++)
            if (fake_logit(last, at + 2 + i, id) > fake_logit(last, at + 2 + i, best)) best = id;
        expected[i] = last = best;
    }
    assert_memory_equal(c.tokens, expected, sizeof expected);
    bn_generate_close(generate, dialog);
    bn_generate_destroy(generate);
    close_cluster(cluster, 2);
    assert_true(workers[0].n_aborts <= 1);
}

/* Waits for workers that cannot complete the cluster; gives what bn_cluster_form said. */
static bn_status form_in_vain(bn_cluster *cluster)
{
    bn_log_set_quiet(true);
    bn_status status = bn_cluster_form(cluster);
    bn_log_set_quiet(false);
    return status;
}

static void test_workers_that_do_not_fit_are_refused_with_a_reason(void **state)
{
    (void)state;
    bn_cluster_config config = make_config(3, 1);
    config.join_timeout_ms = 1500;
    bn_cluster *cluster = open_cluster(&config);
    workers[1].fault = FAKE_OTHER_MODEL;
    workers[2].fault = FAKE_OTHER_NUMERICS;
    workers[3].number = workers[0].number; /* the same worker twice */
    fake_worker_start(&workers[0]);
    for (int i = 0; i < 20; i++) /* it joins first */
        assert_int_equal(bn_cluster_poll(cluster, NULL, 0, 20, NULL), BN_OK);
    for (uint32_t i = 1; i < 4; i++)
        fake_worker_start(&workers[i]);
    assert_int_equal(form_in_vain(cluster), BN_ERR_TIMED_OUT);
    assert_non_null(strstr(bn_log_last_error(), "only 1 of 3"));
    assert_non_null(strstr(bn_log_last_error(), "pid 4000"));
    close_cluster(cluster, 4);
    static const char *const reasons[] = {NULL, "models differ", "numeric contract", "twice"};
    for (uint32_t i = 1; i < 4; i++) {
        assert_true(workers[i].was_refused);
        assert_non_null(strstr(workers[i].reason, reasons[i]));
    }
    assert_false(workers[0].was_refused);
}

static void test_ranks_that_do_not_fit_are_refused(void **state)
{
    (void)state;
    bn_cluster_config config = make_config(2, 1);
    config.join_timeout_ms = 1200;
    bn_cluster *cluster = open_cluster(&config);
    for (uint32_t i = 0; i < 4; i++) {
        workers[i].has_ranks = true;
        workers[i].n_ranks = i == 2 ? 4 : 2; /* another job, larger than --workers */
        workers[i].rank = i == 3;            /* twice the same rank */
        workers[i].job = i == 3 ? 8 : 7;     /* the rank that lacks, but of another job */
        fake_worker_start(&workers[i]);
        for (int k = 0; k < 15; k++)
            assert_int_equal(bn_cluster_poll(cluster, NULL, 0, 20, NULL), BN_OK);
    }
    assert_int_equal(form_in_vain(cluster), BN_ERR_TIMED_OUT);
    close_cluster(cluster, 4);
    assert_false(workers[0].was_refused);
    assert_non_null(strstr(workers[1].reason, "rank 0"));
    assert_true(workers[2].was_refused);
    assert_non_null(strstr(workers[3].reason, "a second MPI job (rank 1 of 2"));
}

static void test_ranks_stand_in_their_order_and_link_by_mpi(void **state)
{
    (void)state;
    bn_cluster_config config = make_config(0, 1); /* the job's size */
    bn_cluster *cluster = open_cluster(&config);
    for (uint32_t i = 0; i < 3; i++) {
        workers[i].has_ranks = workers[i].has_mpi = true;
        workers[i].n_ranks = 3;
        workers[i].rank = 2 - i;
        fake_worker_start(&workers[i]);
    }
    assert_int_equal(bn_cluster_form(cluster), BN_OK);
    assert_int_equal(bn_cluster_formation(cluster)->link, BN_LINK_MPI);
    close_cluster(cluster, 3);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(workers[i].assign.stage, 2 - i);
        assert_int_equal(workers[i].assign.has_previous, workers[i].assign.stage > 0);
        if (workers[i].assign.has_next)
            assert_int_equal(workers[i].assign.next_rank, workers[i].rank + 1);
    }
}

static void test_too_many_stages_are_refused(void **state)
{
    (void)state;
    uint32_t n = the_model->config.n_layers + 2;
    assert_true(n <= FAKE_STAGES_MAX);
    bn_cluster_config config = make_config(n, 1);
    bn_cluster *cluster = open_cluster(&config);
    start_workers(n);
    assert_int_not_equal(form_in_vain(cluster), BN_OK);
    close_cluster(cluster, n);
}

static void test_a_second_coordinator_on_the_port_is_refused(void **state)
{
    (void)state;
    bn_cluster_config config = make_config(1, 1);
    bn_cluster *cluster = open_cluster(&config), *second;
    config.listen_url = crew.url;
    bn_log_set_quiet(true);
    assert_int_equal(bn_cluster_open(&config, &second), BN_ERR_IO);
    bn_log_set_quiet(false);
    assert_non_null(strstr(bn_log_last_error(), crew.url));
    close_cluster(cluster, 0);
}

static void test_whoever_is_lost_is_named(void **state)
{
    (void)state;
    static const struct {
        fake_fault fault;
        bool others_say_goodbye;
        const char *said;
        uint64_t within_ms;
    } cases[] = {
        {FAKE_DIES, false, "is gone", 4000},
        {FAKE_DIES, true, "is gone", 4000},
        {FAKE_FALLS_SILENT, false, "has not been heard for 3", 4000},
        {FAKE_FALLS_SILENT, true, "has not been heard for", 4500},
        {FAKE_IS_STOPPED, false, "was told to stop", 2500},
        {FAKE_STALLS, false, "has stalled", 2500},
        {FAKE_REPORTS, false, "the disk is on fire", 1000},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        bn_cluster_config config = make_config(3, 1);
        config.stall_timeout_ms = cases[i].fault == FAKE_STALLS ? 1500 : 30000;
        bn_cluster *cluster = open_cluster(&config);
        workers[1].fault = cases[i].fault;
        workers[1].fault_step = 6;
        if (cases[i].others_say_goodbye) workers[0].fault = workers[2].fault = FAKE_IS_STOPPED;
        workers[0].fault_step = workers[2].fault_step = 6;
        start_workers(3);
        assert_int_equal(bn_cluster_form(cluster), BN_OK);
        bn_generate *generate = start_engine(cluster, 4);
        uint32_t prompt[PROMPT];
        fill_prompt(prompt);
        static collected c;
        c.n = 0;
        bn_request request = make_request(0.0f, 100, &c);
        bn_dialog *dialog;
        assert_int_equal(bn_generate_open(generate, CONTEXT, &dialog), BN_OK);
        assert_int_equal(bn_generate_ask(generate, dialog, prompt, PROMPT, &request), BN_OK);
        uint64_t began_ms = bn_clock_ms();
        bn_log_set_quiet(true);
        bn_status status = pump_until_done(generate, dialog);
        bn_log_set_quiet(false);
        print_message("%zu: %s (%llu ms)\n", i, bn_log_last_error(),
                      (unsigned long long)(bn_clock_ms() - began_ms));
        assert_int_equal(status, cases[i].fault == FAKE_REPORTS ? BN_ERR_IO : BN_ERR_PEER_LOST);
        assert_non_null(strstr(bn_log_last_error(), cases[i].said));
        assert_non_null(strstr(bn_log_last_error(), "pid 4001"));
        assert_true(bn_clock_ms() - began_ms < cases[i].within_ms);
        bn_dialog_destroy(dialog);
        bn_generate_destroy(generate);
        close_cluster(cluster, 3);
    }
}

static int make_model(void **state)
{
    (void)state;
    const char *bin = getenv("BN_BIN_DIR"), *folder = getenv("TMPDIR");
    char command[2048];
    snprintf(model_path, sizeof model_path, "%s/bn-cluster-test-%ld.gguf",
             folder != NULL ? folder : "/tmp", (long)getpid());
    snprintf(command, sizeof command,
             "'%s/bitnet-model' synth '%s' --arch bitnet-b1.58 --layers 4 --hidden 128 --ffn 128 "
             "--heads 4 --kv-heads 2 --vocab 300 >/dev/null 2>&1",
             bin != NULL ? bin : "bin", model_path);
    if (system(command) != 0) return -1;
    return bn_model_open(model_path, BN_ACTIVATION_FROM_FILE, &the_model) == BN_OK ? 0 : -1;
}

static int remove_model(void **state)
{
    (void)state;
    bn_model_close(the_model);
    return unlink(model_path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers_do_not_depend_on_layout_or_company),
        cmocka_unit_test(test_scoring_sees_every_position_in_order),
        cmocka_unit_test(test_a_stopped_answer_can_be_continued),
        cmocka_unit_test(test_workers_that_do_not_fit_are_refused_with_a_reason),
        cmocka_unit_test(test_ranks_that_do_not_fit_are_refused),
        cmocka_unit_test(test_ranks_stand_in_their_order_and_link_by_mpi),
        cmocka_unit_test(test_too_many_stages_are_refused),
        cmocka_unit_test(test_a_second_coordinator_on_the_port_is_refused),
        cmocka_unit_test(test_whoever_is_lost_is_named),
    };
    return cmocka_run_group_tests(tests, make_model, remove_model);
}
