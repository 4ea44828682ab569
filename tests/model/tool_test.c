/* tool_test.c
 * What: bitnet-model's exit codes, what it prints where, and that failure leaves no file.
 * How:  the program itself is run through the shell; --json is read back.
 */
#include "common/json.h"
#include "common/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

static char tool[4096], folder[64], output[1 << 16];

/* Exit code of "bitnet-model ARGUMENTS" in the folder; `output` gets stdout, and stderr when the
 * arguments say so. */
static int run(const char *arguments)
{
    char command[8192];
    snprintf(command, sizeof command, "cd %s && '%s' %s", folder, tool, arguments);
    FILE *stream = popen(command, "r");
    assert_non_null(stream);
    size_t n = fread(output, 1, sizeof output - 1, stream);
    output[n] = '\0';
    int status = pclose(stream);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void expect(int code, const char *arguments, const char *text)
{
    int got = run(arguments);
    if (got != code || strstr(output, text) == NULL)
        fail_msg("bitnet-model %s: exit %d, wanted %d and \"%s\"; it said:\n%s", arguments, got,
                 code, text, output);
}

static bool has_file(const char *name)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return access(path, F_OK) == 0;
}

static void test_usage(void **state)
{
    (void)state;
    expect(0, "--help", "inspect FILE ");
    expect(0, "--version", "bitnet-model 0.");
    expect(0, "synth --help", "--vocab-from");
    expect(0, "inspect --version", "protocol");
    expect(2, "2>&1", "usage:");
    expect(2, "covert 2>&1", "unknown command 'covert'");
    expect(0, "convert --help", "--report FILE.json");
    expect(2, "convert a 2>&1", "IN and OUT are needed");
    expect(2, "convert a b --type q4_0 2>&1", "--type");
    expect(2, "convert a b --head bf16 2>&1", "--head");
    expect(2, "convert a b --tile 1x2:3,4 2>&1", "not of the form ROWSxCOLS:BM,BK,bm");
    expect(2, "inspect 2>&1", "one FILE is needed");
    expect(2, "inspect a b 2>&1", "one FILE is needed");
    expect(2, "inspect a --stages 0 2>&1", "--stages");
    expect(2, "inspect a --layers 1,2 2>&1", "--layers needs --stages");
    expect(2, "synth 2>&1", "one OUT file is needed");
    expect(2, "synth a --shape 9B 2>&1", "unknown shape '9B'");
    expect(2, "synth a --layers 3 2>&1", "without --shape");
    expect(2, "synth a --vocab 100 2>&1", "--vocab 100 is too small");
    expect(2, "synth a --vocab 300 --vocab-from b 2>&1", "--vocab-from excludes");
    expect(2, "synth a --shape tiny --head-size 33 2>&1", "the head size is 33");
    expect(2, "synth a --head q4_0 2>&1", "--head");
    assert_false(has_file("a"));
}

static void test_a_model_is_made_and_inspected(void **state)
{
    (void)state;
    expect(0, "synth m.gguf --shape tiny --vocab 600 --seed 5 2>&1", "4 layers, 600 tokens");
    expect(0, "inspect m.gguf", "bitnet-b1.58: neox rope, squared ReLU, sub-norms");
    expect(0, "inspect m.gguf --activation silu", "SiLU");
    expect(0, "inspect m.gguf --check --tensors", "blk.3.ffn_down.weight");
    expect(0, "inspect m.gguf --stages 3 --context 512 --slots 4", "2      (any)");
    expect(2, "inspect m.gguf --stages 6 2>&1", "a model of 4 layers can have 1 to 5");
    expect(2, "inspect m.gguf --stages 2 --layers 3,2 2>&1", "add up to 5, but the model has 4");
    expect(0,
           "synth n.gguf --arch llama --layers 2 --hidden 128 --ffn 256 --heads 4 --kv-heads 2 "
           "--vocab-from m.gguf --untied --head q8_0",
           "600 tokens");
    expect(0, "inspect n.gguf", "norm rope, SiLU, no sub-norms");
    expect(0, "inspect n.gguf", "separate head of type Q8_0");
    expect(0, "synth o.gguf --vocab 7 --no-tokenizer", "7 tokens");
    expect(0, "inspect o.gguf", "tokenizer     none");
    assert_false(has_file("m.gguf.partial"));
}

/* The codes of a layer become 3: every command line says so in its own way. */
static void test_damage_ends_a_check_with_1(void **state)
{
    (void)state;
    char path[128];
    bn_json *json = NULL;
    snprintf(path, sizeof path, "%s/d.gguf", folder);
    assert_int_equal(run("synth d.gguf --shape tiny --no-tokenizer"), 0);
    expect(0, "inspect d.gguf --check", "tensors read, nothing wrong");
    FILE *stream = fopen(path, "r+b");
    assert_non_null(stream);
    fseek(stream, -60000, SEEK_END);
    for (int i = 0; i < 1000; i++)
        fputc(0xff, stream);
    fclose(stream);
    expect(0, "inspect d.gguf", "architecture");
    expect(1, "inspect d.gguf --check 2>/dev/null", "1 of 46 tensors cannot be right:\n");
    expect(1, "inspect d.gguf --check 2>&1", "blk.3.ffn_up.weight: the unused code occurs 4000");
    expect(1, "inspect d.gguf --check 2>&1", "error MODEL-DAMAGED d.gguf: 1 of 46 tensors");
    assert_int_equal(run("inspect d.gguf --check --json 2>/dev/null"), 1);
    assert_int_equal(bn_json_parse(output, strlen(output), &json), BN_OK);
    bn_json_free(json);
    assert_non_null(strstr(output, "\"tensor\": \"blk.3.ffn_up.weight\""));
}

static void test_a_model_is_converted(void **state)
{
    (void)state;
    assert_int_equal(run("synth c.gguf --shape tiny"), 0);
    expect(0, "convert c.gguf tq.gguf --type tq2_0 --report d.json",
           "28 ternary matrices as tq2_0");
    assert_true(has_file("d.json"));
    expect(0, "convert tq.gguf e.gguf", "architecture bitnet-b1.58");
    expect(0, "convert c.gguf f.gguf --head q6_k", "50.0 % zeros");
    expect(0, "inspect f.gguf", "tied head of type Q6_K");
    expect(1, "convert c.gguf g.gguf --type tl1 2>&1", "no kernel for this shape");
    expect(2, "convert c.gguf c.gguf 2>&1", "give OUT another name");
    expect(1, "convert absent.gguf g.gguf 2>&1", "absent.gguf: No such file");
    expect(1, "convert c.gguf absent/g.gguf 2>&1", "cannot create absent/g.gguf");
    expect(1, "convert c.gguf g.gguf --report absent/g.json 2>&1", "cannot create the report");
    assert_false(has_file("g.gguf"));
    assert_false(has_file("g.gguf.partial"));
    assert_false(has_file("c.gguf.partial"));
}

static void test_json_can_be_read(void **state)
{
    (void)state;
    bn_json *json = NULL;
    assert_int_equal(run("synth j.gguf --shape tiny"), 0);
    assert_int_equal(run("inspect j.gguf --json --tensors --stages 2"), 0);
    assert_int_equal(bn_json_parse(output, strlen(output), &json), BN_OK);
    bn_json_free(json);
    assert_non_null(strstr(output, "\"layer_end\": 4"));
    assert_non_null(strstr(output, "\"hidden\": 256"));
}

static void test_wrong_files_are_named(void **state)
{
    (void)state;
    assert_int_equal(run("synth w.gguf --shape tiny"), 0);
    expect(1, "inspect absent.gguf 2>&1", "absent.gguf: No such file");
    expect(1, "inspect . 2>&1", "directory");
    expect(1, "synth x.gguf --vocab-from absent.tiktoken 2>&1", "absent.tiktoken: No such file");
    expect(0, "--version; head -c 500000 w.gguf > cut.gguf", "");
    expect(1, "inspect cut.gguf 2>&1", "cut.gguf: the file is cut short: tensor");
    expect(1, "synth y.gguf --vocab-from cut.gguf 2>&1", "cut.gguf");
    assert_false(has_file("x.gguf") || has_file("y.gguf"));
}

static void test_output_that_cannot_be_written(void **state)
{
    (void)state;
    assert_int_equal(run("synth s.gguf --shape tiny"), 0);
    expect(1, "inspect s.gguf 2>&1 >/dev/full", "No space left on device");
    expect(1, "inspect s.gguf 2>&1 >&-", "standard output");
    expect(1, "inspect s.gguf --json 2>&1 >&-", "output closed");
    expect(1, "synth t.gguf --shape tiny 2>&1 >&-", "standard output");
    assert_false(has_file("t.gguf") || has_file("t.gguf.partial"));
    expect(1, "--version 2>&1 >/dev/full", "No space left");
}

static void test_a_full_disk_leaves_nothing(void **state)
{
    (void)state;
    char shell[8192];
    snprintf(shell, sizeof shell,
             "--help >/dev/null; ulimit -f 100; '%s' synth full.gguf --shape tiny 2>&1", tool);
    expect(1, shell, "full.gguf: it needs");
    assert_false(has_file("full.gguf") || has_file("full.gguf.partial"));
}

static void test_a_signal_leaves_nothing(void **state)
{
    (void)state;
    char shell[8192];
    snprintf(shell, sizeof shell,
             "--help >/dev/null; '%s' synth big.gguf --shape 7B & p=$!; "
             "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do "
             "[ -e big.gguf.partial ] && break; sleep 0.02; done; "
             "[ -e big.gguf.partial ] && echo seen; kill -TERM $p; wait $p; exit $?",
             tool);
    expect(143, shell, "seen");
    assert_false(has_file("big.gguf") || has_file("big.gguf.partial"));
}

static int setup(void **state)
{
    (void)state;
    const char *bin = getenv("BN_BIN_DIR");
    snprintf(tool, sizeof tool, "%s/bitnet-model", bin != NULL ? bin : "build/dev/bin");
    snprintf(folder, sizeof folder, "/tmp/bn-tool-XXXXXX");
    return mkdtemp(folder) != NULL && access(tool, X_OK) == 0 ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_usage),
        cmocka_unit_test(test_a_model_is_made_and_inspected),
        cmocka_unit_test(test_damage_ends_a_check_with_1),
        cmocka_unit_test(test_a_model_is_converted),
        cmocka_unit_test(test_json_can_be_read),
        cmocka_unit_test(test_wrong_files_are_named),
        cmocka_unit_test(test_output_that_cannot_be_written),
        cmocka_unit_test(test_a_full_disk_leaves_nothing),
        cmocka_unit_test(test_a_signal_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
