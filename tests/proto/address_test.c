/* address_test.c
 * What: URLs are taken apart exactly or refused; only this machine counts as loopback.
 * How:  tables.
 */
#include "proto/address.h"
#include "tests/common/cmocka_all.h"

#include <string.h>

static void test_urls_are_parsed_and_printed(void **state)
{
    static const struct {
        const char *url, *host, *port, *printed;
    } cases[] = {
        {"tcp://127.0.0.1:7070", "127.0.0.1", "7070", "tcp://127.0.0.1:7070"},
        {"tcp://node-7.cluster:1", "node-7.cluster", "1", "tcp://node-7.cluster:1"},
        {"tcp://[::1]:65535", "::1", "65535", "tcp://[::1]:65535"},
        {"tcp://[fe80::1%eth0]:80", "fe80::1%eth0", "80", "tcp://[fe80::1%eth0]:80"},
        {"tcp://*:*", "*", "0", "tcp://*:0"},
        {"tcp://localhost:0", "localhost", "0", "tcp://localhost:0"},
    };
    (void)state;
    for (size_t i = 0; i < BN_COUNT(cases); i++) {
        bn_address address;
        char url[256];
        assert_int_equal(bn_address_parse(cases[i].url, &address), BN_OK);
        assert_string_equal(address.host, cases[i].host);
        assert_string_equal(address.port, cases[i].port);
        assert_true(bn_address_print(&address, url, sizeof url));
        assert_string_equal(url, cases[i].printed);
        assert_false(bn_address_print(&address, url, strlen(cases[i].printed)));
    }
}

static void test_other_texts_are_refused(void **state)
{
    static const char *const cases[] = {
        "",
        "tcp://",
        "127.0.0.1:7070",
        "http://a:1",
        "tcp://a",
        "tcp://a:",
        "tcp://:1",
        "tcp://a:65536",
        "tcp://a:-1",
        "tcp://a:1x",
        "tcp://a b:1",
        "tcp://a;b:1",
        "tcp://::1:5",
        "tcp://[::1:5",
        "tcp://[nonsense]:5",
        "tcp://a*:5",
        "ipc:///tmp/x",
        "tcp://a:123456",
        "tcp://u@h:1",
    };
    (void)state;
    for (size_t i = 0; i < BN_COUNT(cases); i++) {
        bn_address address;
        if (bn_address_parse(cases[i], &address) == BN_OK) fail_msg("'%s' was taken", cases[i]);
    }
    bn_address address;
    char url[400] = "tcp://";
    memset(url + 6, 'a', 250);
    memcpy(url + 256, ":1", 3);
    assert_int_equal(bn_address_parse(url, &address), BN_ERR_BAD_ARGUMENT);
}

static void test_loopback_is_this_machine_only(void **state)
{
    static const struct {
        const char *host;
        bool is_loopback;
    } cases[] = {
        {"127.0.0.1", true},
        {"127.255.3.4", true},
        {"::1", true},
        {"localhost", true},
        {"::ffff:127.0.0.1", true},
        {"*", false},
        {"0.0.0.0", false},
        {"::", false},
        {"10.0.0.1", false},
        {"128.0.0.1", false},
        {"lo", false},
        {"localhost.evil", false},
        {"::ffff:10.0.0.1", false},
        {"", false},
    };
    (void)state;
    for (size_t i = 0; i < BN_COUNT(cases); i++) {
        if (bn_address_is_loopback(cases[i].host) != cases[i].is_loopback) {
            fail_msg("%s", cases[i].host);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_urls_are_parsed_and_printed),
        cmocka_unit_test(test_other_texts_are_refused),
        cmocka_unit_test(test_loopback_is_this_machine_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
