/* version_test.c
 * What: the build knows its commit, or says that it does not.
 * How:  the text is 12 hexadecimal digits, with or without "-dirty", or "unknown". */
#include "common/version.h"

#include "tests/common/cmocka_all.h"

#include <string.h>

static void test_commit_is_a_hash_or_unknown(void **state)
{
    (void)state;
    const char *commit = bn_version_commit();
    if (strcmp(commit, "unknown") == 0) return;
    size_t n = strspn(commit, "0123456789abcdef");
    assert_in_range(n, 12, 40);
    assert_true(commit[n] == '\0' || strcmp(commit + n, "-dirty") == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_commit_is_a_hash_or_unknown)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
