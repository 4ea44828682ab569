/* hash_test.c
 * What: hashes equal the published XXH3 values, in one piece or in many; secrets compare right.
 * How:  known answers of the XXH3 specification; a sliced input; a flipped bit. */
#include "common/hash.h"

#include "tests/common/cmocka_all.h"

#include <string.h>

static void test_known_answers(void **state)
{
    (void)state;
    char text[33];
    /* XXH3_128bits("") and XXH3_64bits("") with seed 0, from the specification. */
    bn_hash128_text(bn_hash128_of("", 0), text);
    assert_string_equal(text, "99aa06d3014798d86001c324468d497f");
    assert_true(bn_hash64_of("", 0, 0) == 0x2d06800538d394c2u);
    assert_true(bn_hash64_of("", 0, 1) != bn_hash64_of("", 0, 0));
}

static void test_pieces_hash_like_the_whole(void **state)
{
    (void)state;
    uint8_t bytes[3000];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 31 + i / 7);
    bn_hash128 whole = bn_hash128_of(bytes, sizeof bytes);
    static const size_t slices[] = {1, 63, 256, 1000, 3000};
    for (size_t i = 0; i < BN_COUNT(slices); i++) {
        bn_hash *hash;
        assert_int_equal(bn_hash_create(&hash), BN_OK);
        for (size_t at = 0; at < sizeof bytes; at += slices[i]) {
            size_t left = sizeof bytes - at;
            bn_hash_update(hash, bytes + at, left < slices[i] ? left : slices[i]);
        }
        bn_hash_update(hash, NULL, 0);
        bn_hash128 sum = bn_hash_digest(hash);
        bn_hash_destroy(hash);
        assert_memory_equal(&sum, &whole, sizeof sum);
    }
    bytes[1500] ^= 1;
    bn_hash128 other = bn_hash128_of(bytes, sizeof bytes);
    assert_memory_not_equal(&other, &whole, sizeof other);
    bn_hash_destroy(NULL);
}

static void test_random_bytes_differ(void **state)
{
    (void)state;
    static uint8_t a[1000], b[1000];
    assert_int_equal(bn_hash_random(a, sizeof a), BN_OK);
    assert_int_equal(bn_hash_random(b, sizeof b), BN_OK);
    assert_int_equal(bn_hash_random(b, 0), BN_OK);
    assert_memory_not_equal(a, b, sizeof a);
    /* The last bytes are filled, too. */
    static const uint8_t zeros[16];
    assert_memory_not_equal(a + sizeof a - 16, zeros, 16);
}

static void test_secrets_compare(void **state)
{
    (void)state;
    uint8_t a[16] = {1, 2, 3}, b[16] = {1, 2, 3};
    assert_true(bn_hash_secret_equal(a, b, sizeof a));
    for (size_t i = 0; i < sizeof a; i++) {
        b[i] ^= 0x80;
        assert_false(bn_hash_secret_equal(a, b, sizeof a));
        b[i] ^= 0x80;
    }
    assert_true(bn_hash_secret_equal(a, b, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_answers),
        cmocka_unit_test(test_pieces_hash_like_the_whole),
        cmocka_unit_test(test_random_bytes_differ),
        cmocka_unit_test(test_secrets_compare),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
