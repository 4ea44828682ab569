/* jinja_test.c
 * What: what is not of the language that jinja.h speaks of is refused with its name and line, when
 *       it is read or when it is reached; limits hold; values behave as Python's at their edges.
 * How:  tables of short templates. (Whole templates beside Python's jinja2: jinja_golden_test.c.)
 */
#include "coordinator/jinja.h"

#include "common/alloc.h"
#include "common/clock.h"
#include "common/log.h"
#include "tests/common/cmocka_all.h"

#include <stdio.h>
#include <string.h>

#define LIMIT_MS_MAX 60000

static const bn_jinja_message talk[] = {
    {"system", "Be \xC3\xA9xact", 9, 1},
    {"user", " Hi ", 4, 1},
};

/* Reads and applies; the text ends up in `text`. */
static bn_status run_text(const char *source, size_t n, char *text, size_t size)
{
    bn_jinja *jinja = NULL;
    bn_jinja_output output;
    bn_status status = bn_jinja_parse("x", source, n, &jinja);
    if (status != BN_OK) return status;
    const bn_jinja_input input = {talk, BN_COUNT(talk), "<s>", NULL, true};
    status = bn_jinja_render(jinja, &input, &output);
    if (status == BN_OK) snprintf(text, size, "%.*s", (int)output.n, output.text);
    if (status == BN_OK) bn_jinja_output_fini(&output);
    bn_jinja_destroy(jinja);
    return status;
}

/* tidy: table */
static void test_what_is_not_known_is_refused_by_name(void **state)
{
    (void)state;
    static const struct {
        const char *source;
        bn_status status;
        const char *named;
    } cases[] = {
        {"a\n{% macro m() %}{% endmacro %}", BN_ERR_UNSUPPORTED, "line 2: the statement macro"},
        {"{% include 'x' %}", BN_ERR_UNSUPPORTED, "statement include"},
        {"{% generation %}", BN_ERR_UNSUPPORTED, "statement generation"},
        {"{% raw %}x{% endraw %}", BN_ERR_UNSUPPORTED, "statement raw"},
        {"{% set x %}a{% endset %}", BN_ERR_UNSUPPORTED, "set of a block"},
        {"{% set a, b = 1, 2 %}", BN_ERR_UNSUPPORTED, "more than one variable"},
        {"{% for k, v in x %}{% endfor %}", BN_ERR_UNSUPPORTED, "more than one variable"},
        {"{{ {'a': 1} }}", BN_ERR_UNSUPPORTED, "{ stands where a value belongs"},
        {"{{ 1.5 }}", BN_ERR_UNSUPPORTED, "whole decimal"},
        {"{{ 0x1F }}", BN_ERR_UNSUPPORTED, "whole decimal"},
        {"{{ 99999999999 }}", BN_ERR_UNSUPPORTED, "too large"},
        {"{{ 'a\\q' }}", BN_ERR_UNSUPPORTED, "escape \\q"},
        {"{{ '\\ud800' }}", BN_ERR_UNSUPPORTED, "escape \\u"},
        {"{{ 'a' 'b' }}", BN_ERR_UNSUPPORTED, "two texts"},
        {"{{ 1 < 2 < 3 }}", BN_ERR_UNSUPPORTED, "chain of comparisons"},
        {"{{ 1 }", BN_ERR_BAD_FILE, "does not end"},
        {"{% if x %}a", BN_ERR_BAD_FILE, "the end of the template stands where {% endif %}"},
        {"a{% endif %}", BN_ERR_BAD_FILE, "{% stands where the end of the template belongs"},
        {"{% if x %}{% endfor %}", BN_ERR_BAD_FILE, "{% endif %}"},
        {"{# open", BN_ERR_BAD_FILE, "comment"},
        {"{{ 'open }}", BN_ERR_BAD_FILE, "quotes"},
        {"{{ }}", BN_ERR_BAD_FILE, "}} stands where a value belongs"},
        {"{% %}", BN_ERR_BAD_FILE, "the name of a statement"},
        {"{{ a @ b }}", BN_ERR_BAD_FILE, "0x40"},
        {"{{ a[1 }}", BN_ERR_BAD_FILE, "]"},
        {"{{ a[] }}", BN_ERR_BAD_FILE, "an index"},
        {"{{ f(1 2) }}", BN_ERR_BAD_FILE, ","},
        /* what is reached */
        {"\n\n{{ 'a' | wordwrap }}", BN_ERR_UNSUPPORTED, "line 3: the filter wordwrap"},
        {"{{ messages | tojson }}", BN_ERR_UNSUPPORTED, "filter tojson"},
        {"{{ 'a'.encode() }}", BN_ERR_UNSUPPORTED, "method encode"},
        {"{{ 1 is prime }}", BN_ERR_UNSUPPORTED, "test prime"},
        {"{{ cycler(1) }}", BN_ERR_UNSUPPORTED, "function cycler"},
        {"{{ strftime_now('%d') }}", BN_ERR_UNSUPPORTED, "strftime_now"},
        {"{% if strftime_now is defined %}{% endif %}", BN_ERR_UNSUPPORTED, "strftime_now"},
        {"{{ messages }}", BN_ERR_UNSUPPORTED, "a list as text"},
        {"{{ messages[0] }}", BN_ERR_UNSUPPORTED, "a message as text"},
        {"{{ 'abc'[::-1] }}", BN_ERR_UNSUPPORTED, "backwards"},
        {"{{ 'abc'[::2] }}", BN_ERR_UNSUPPORTED, "step"},
        {"{{ 4 / 2 }}", BN_ERR_UNSUPPORTED, "operator /"},
        {"{{ 2 ** 2 }}", BN_ERR_UNSUPPORTED, "operator **"},
        {"{{ messages[0].content | upper }}", BN_ERR_UNSUPPORTED, "beyond ASCII"},
        {"{{ 'a b'.split() }}", BN_ERR_UNSUPPORTED, "split without"},
        {"{{ 'a' | default(value='b') }}", BN_ERR_UNSUPPORTED, "named argument"},
        {"{{ 'a'.strip(1) }}", BN_ERR_UNSUPPORTED, "strip of a number"},
        {"{% for x in 'abc' %}{% endfor %}", BN_ERR_UNSUPPORTED, "for over a text"},
        {"{% for x in messages %}{{ loop.cycle(1) }}{% endfor %}", BN_ERR_UNSUPPORTED, "cycle"},
        {"{{ namespace(1) }}", BN_ERR_UNSUPPORTED, "namespace"},
        {"{{ missing.x }}", BN_ERR_BAD_FILE, "attribute x of an undefined value"},
        {"{{ missing[0] }}", BN_ERR_BAD_FILE, "undefined value"},
        {"{{ 'a' + 1 }}", BN_ERR_BAD_FILE, "+ between a text and a number"},
        {"{{ none + 'a' }}", BN_ERR_BAD_FILE, "+ between none and a text"},
        {"{{ 1 // 0 }}", BN_ERR_BAD_FILE, "division by zero"},
        {"{{ 'a' < 1 }}", BN_ERR_BAD_FILE, "comparison"},
        {"{{ 2000000000 + 2000000000 }}", BN_ERR_LIMIT, "too large"},
        {"{% set messages.x = 1 %}", BN_ERR_BAD_FILE, "no namespace"},
        {"{{ raise_exception('no ' + 'way') }}", BN_ERR_REFUSED, "line 1: it refuses: no way"},
        /* what is not reached is not refused */
        {"{% if tools %}{{ tools | tojson(indent=2) }}{% endif %}", BN_OK, ""},
        {"{{ 'x' if false else 'a' | trim }}{{ false and nothing() }}", BN_OK, ""},
    };
    char text[256];
    bn_log_set_quiet(true);
    for (size_t i = 0; i < BN_COUNT(cases); i++) {
        bn_status status = run_text(cases[i].source, strlen(cases[i].source), text, sizeof text);
        if (status != cases[i].status ||
            (status != BN_OK && strstr(bn_log_last_error(), cases[i].named) == NULL))
            fail_msg("%s: %d, '%s'", cases[i].source, (int)status, bn_log_last_error());
        if (status != BN_OK) assert_non_null(strstr(bn_log_last_error(), "chat template x, line"));
    }
}

static void test_values_at_their_edges(void **state)
{
    (void)state;
    static const struct {
        const char *source, *wanted;
    } cases[] = {
        {"{{ messages[0].content[3:4] }}|{{ messages[0].content | length }}", "\xC3\xA9|8"},
        {"{{ messages[9] }}|{{ messages[-3] is undefined }}|{{ 'ab'[7] }}|{{ 'ab'[-1] }}",
         "|True||b"},
        {"{{ 'abc'[5:] }}|{{ 'abc'[-9:2] }}|{{ 'abc'[2:1] }}|{{ 'abc'[:none] }}", "|ab||abc"},
        {"{{ messages[0].name is defined }}{{ messages[0]['x'] is none }}", "FalseFalse"},
        {"{{ eos_token }}{{ bos_token }}{{ eos_token is defined }}", "<s>False"},
        {"{{ not messages[5] }}{{ 'x' in nothing }}{{ nothing | length }}", "TrueFalse0"},
        {"{{ 'role' in messages[0] }}{{ messages[0] == messages[0] }}", "TrueTrue"},
        {"{{ 1 == '1' }}{{ none == false }}{{ '' == nothing }}", "FalseFalseFalse"},
        {"{% for x in nothing %}a{% else %}b{% endfor %}", "b"},
        {"{{ -1 }}{{ 3 - -2 }}{{ - 2 * 3 }}", "-15-6"},
        {"{{ 'A\\x41\\u00c4\\'' }}", "AA\xC3\x84'"},
        {"{{ '\\n' }}x\r\ny\rz\n", "\nx\ny\nz"},
        {"{{ '%}' }}{{ '}}' }}{% if '%}' %}a{% endif %}", "%}}}a"},
        {"{{ (1, 2) if false }}", NULL},
        {"a{%- if true -%}  b  {%- endif -%}  c", "abc"},
        {"", ""},
        {"{", "{"},
        {"{ {x} }", "{ {x} }"},
    };
    char text[256];
    bn_log_set_quiet(true);
    for (size_t i = 0; i < BN_COUNT(cases); i++) {
        bn_status status = run_text(cases[i].source, strlen(cases[i].source), text, sizeof text);
        assert_int_equal(status == BN_OK, cases[i].wanted != NULL);
        if (status == BN_OK) assert_string_equal(text, cases[i].wanted);
    }
}

static char *repeated(const char *front, const char *part, size_t n_parts, const char *back)
{
    size_t n = strlen(front) + n_parts * strlen(part) + strlen(back) + 1, at = 0;
    char *text = bn_alloc(n, 1);
    assert_non_null(text);
    at += (size_t)snprintf(text, n, "%s", front);
    for (size_t i = 0; i < n_parts; i++)
        at += (size_t)snprintf(text + at, n - at, "%s", part);
    snprintf(text + at, n - at, "%s", back);
    return text;
}

static void test_limits_hold(void **state)
{
    (void)state;
    static const struct {
        const char *front, *part;
        size_t n_parts;
        const char *back, *named;
    } cases[] = {
        {"{{ ", "(", 200, "1 }}", "nested deeper"},
        {"{{ ", "not ", 200, "1 }}", "nested deeper"},
        {"{{ ", "-", 200, "1 }}", "nested deeper"},
        {"{{ 1", "+1", 200, " }}", "nested deeper"},
        {"{{ x", "[0]", 200, " }}", "nested deeper"},
        {"{{ 1", " if 1 else 1", 200, " }}", "nested deeper"},
        {"", "{% if 1 %}", 200, "", "nested deeper"},
        {"{% if 1 %}", "{% elif 1 %}", 200, "{% endif %}", "nested deeper"},
        {"", "{% for x in y %}", 200, "", "nested deeper"},
        {"", "{{1}}", 40000, "", "parts"},
        {"", "x", BN_JINJA_TEXT_MAX + 1, "", "bytes"},
        {"{% for a in range(60000) %}", "{% for b in range(60000) %}", 1,
         "{% endfor %}{% endfor %}", "of memory"},
        {"{% set r = range(60000) %}{% for a in r %}", "{% for b in r %}{% if b %}{% endif %}", 1,
         "{% endfor %}{% endfor %}", "steps"},
        {"{% set ns = namespace(x='xxxxxxxxxxxxxxxx') %}{% for a in range(60) %}",
         "{% set ns.x = ns.x + ns.x %}", 1, "{% endfor %}", "memory"},
        {"{% set ns = namespace(x='xxxxxxxxxxxxxxxx') %}{% for a in range(20) %}"
         "{% set ns.x = ns.x + ns.x %}{% endfor %}",
         "{{ ns.x }}", 1, "{% for a in range(60000) %}{{ 'y' in ns.x }}{% endfor %}", "steps"},
        {"{{ range(70000) }}", "", 0, "", "range gives more"},
    };
    char text[64];
    bn_log_set_quiet(true);
    for (size_t i = 0; i < BN_COUNT(cases); i++) {
        char *source = repeated(cases[i].front, cases[i].part, cases[i].n_parts, cases[i].back);
        uint64_t began = bn_clock_ms();
        bn_status status = run_text(source, strlen(source), text, sizeof text);
        if (status != BN_ERR_LIMIT || strstr(bn_log_last_error(), cases[i].named) == NULL)
            fail_msg("%.60s…: %d, '%s'", source, (int)status, bn_log_last_error());
        assert_true(bn_clock_ms() - began < LIMIT_MS_MAX);
        bn_free(source);
    }
    /* variables, each of another name */
    char *many = bn_alloc(1u << 16, 1);
    size_t at = 0;
    for (unsigned i = 0; i < BN_JINJA_VARIABLES_MAX; i++)
        at += (size_t)snprintf(many + at, (1u << 16) - at, "{%% set v%u = 1 %%}", i);
    assert_int_equal(run_text(many, at, text, sizeof text), BN_ERR_LIMIT);
    assert_non_null(strstr(bn_log_last_error(), "variables"));
    bn_free(many);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_not_known_is_refused_by_name),
        cmocka_unit_test(test_values_at_their_edges),
        cmocka_unit_test(test_limits_hold),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
