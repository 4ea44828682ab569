/* cluster_key_test.c
 * What: a written key is read back; a file that others may read, or that holds no pair, is refused
 *       by name; nothing is overwritten.
 * How:  files in a fresh directory.
 */
#include "common/log.h"
#include "proto/channel.h"
#include "tests/common/cmocka_all.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char directory[64], path[128];

static int setup(void **state)
{
    (void)state;
    snprintf(directory, sizeof directory, "/tmp/bn-key-XXXXXX");
    if (mkdtemp(directory) == NULL) return -1;
    snprintf(path, sizeof path, "%s/key", directory);
    bn_log_set_quiet(true);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    unlink(path);
    return rmdir(directory);
}

static void write_text(const char *text, mode_t mode)
{
    unlink(path);
    FILE *stream = fopen(path, "w");
    assert_non_null(stream);
    fputs(text, stream);
    fclose(stream);
    assert_int_equal(chmod(path, mode), 0);
}

static void test_a_new_key_is_private_and_read_back(void **state)
{
    (void)state;
    struct stat info;
    bn_cluster_key key, again;
    unlink(path);
    assert_int_equal(bn_cluster_key_write(path), BN_OK);
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 07777, 0600);
    assert_int_equal(bn_cluster_key_read(path, &key), BN_OK);
    assert_true(key.is_set);
    assert_true(bn_channel_is_key_pair(&key));
    assert_int_equal(bn_cluster_key_write(path), BN_ERR_REFUSED);
    assert_non_null(strstr(bn_log_last_error(), path));
    assert_int_equal(bn_cluster_key_read(path, &again), BN_OK);
    assert_memory_equal(&key, &again, sizeof key);
}

static void test_a_file_that_others_may_read_is_refused(void **state)
{
    static const mode_t modes[] = {0640, 0604, 0620, 0602, 0644, 0666};
    bn_cluster_key key;
    (void)state;
    unlink(path);
    assert_int_equal(bn_cluster_key_write(path), BN_OK);
    for (size_t i = 0; i < BN_COUNT(modes); i++) {
        assert_int_equal(chmod(path, modes[i]), 0);
        assert_int_equal(bn_cluster_key_read(path, &key), BN_ERR_REFUSED);
        assert_non_null(strstr(bn_log_last_error(), "chmod 600"));
    }
    assert_int_equal(chmod(path, 0400), 0);
    assert_int_equal(bn_cluster_key_read(path, &key), BN_OK);
}

static void test_files_without_a_pair_are_refused(void **state)
{
    bn_cluster_key a, b, key;
    char mixed[256];
    (void)state;
    assert_int_equal(bn_channel_make_key_pair(&a), BN_OK);
    assert_int_equal(bn_channel_make_key_pair(&b), BN_OK);
    snprintf(mixed, sizeof mixed, "public %s\nsecret %s\n", a.public_key, b.secret_key);
    const char *const cases[] = {
        "",
        "# nothing\n",
        "public abc\nsecret def\n",
        mixed,
        "public 0000000000000000000000000000000000000000\nsecret "
        "~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~\n",
    };
    for (size_t i = 0; i < BN_COUNT(cases); i++) {
        write_text(cases[i], 0600);
        assert_int_equal(bn_cluster_key_read(path, &key), BN_ERR_BAD_FILE);
        assert_non_null(strstr(bn_log_last_error(), path));
    }
    assert_int_equal(bn_cluster_key_read(directory, &key), BN_ERR_BAD_FILE);
    assert_int_equal(bn_cluster_key_read("/nowhere/key", &key), BN_ERR_IO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_new_key_is_private_and_read_back),
        cmocka_unit_test(test_a_file_that_others_may_read_is_refused),
        cmocka_unit_test(test_files_without_a_pair_are_refused),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
