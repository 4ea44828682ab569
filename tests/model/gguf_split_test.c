/* gguf_split_test.c
 * What: a GGUF in three files opens by its first as one; missing parts and parts of another model
 *       are refused by name.
 * How:  files are built byte by byte; each wrong set differs from the right one in one place.
 */
#include "common/log.h"
#include "model/gguf.h"
#include "tests/common/cmocka_all.h"
#include "tests/model/gguf_bytes.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PARTS 3u
#define F32S 8u

static char folder[64];

typedef struct change {
    uint32_t part; /* the one that is wrong, from 1 */
    bool is_missing;
    uint32_t number, count, total; /* of the keys, from 1 */
    const char *tensor;            /* its name */
    uint32_t n_data;               /* bytes of its data */
    const char *first_name;        /* of the first file */
    bool is_opened;                /* this part is given, not the first */
} change;

static void path_of(uint32_t part, const change *c, char path[160])
{
    if (part == 1 && c->first_name != NULL)
        snprintf(path, 160, "%s/%s", folder, c->first_name);
    else
        snprintf(path, 160, "%s/model-%05u-of-%05u.gguf", folder, part, PARTS);
}

static void write_part(uint32_t part, const change *c)
{
    bool is_changed = c->part == part;
    bytes b = bytes_new();
    char path[160], name[16];
    uint32_t number = is_changed && c->number != 0 ? c->number - 1 : part - 1;
    uint32_t count = is_changed && c->count != 0 ? c->count : PARTS;
    put_head(&b, 3, 1, part == 1 ? 4 : 2);
    key_u32(&b, "split.no", number);
    key_u32(&b, "split.count", count);
    if (part == 1) {
        key_u32(&b, "split.tensors.count", c->total != 0 ? c->total : PARTS);
        key_text(&b, "general.architecture", "llama");
    }
    snprintf(name, sizeof name, "tensor.%u", part);
    tensor_row(&b, is_changed && c->tensor != NULL ? c->tensor : name, BN_TENSOR_F32,
               (const uint64_t[]){F32S, 0}, 0);
    pad(&b, 32);
    uint32_t n_data = is_changed && c->n_data != 0 ? c->n_data : F32S * 4;
    for (uint32_t i = 0; i < n_data; i++)
        put(&b, &(uint8_t){(uint8_t)(16 * part + i)}, 1);
    path_of(part, c, path);
    unlink(path);
    if (!(is_changed && c->is_missing)) {
        FILE *stream = fopen(path, "wb");
        assert_non_null(stream);
        assert_int_equal(fwrite(b.data, 1, b.n, stream), b.n);
        fclose(stream);
    }
    bytes_free(&b);
}

static bn_status open_parts(const change *c, bn_gguf **file_out)
{
    char path[160];
    for (uint32_t part = 1; part <= PARTS; part++)
        write_part(part, c);
    path_of(c->is_opened ? c->part : 1, c, path);
    bn_status status = bn_gguf_open(path, file_out);
    path_of(1, c, path);
    if (c->first_name != NULL) unlink(path);
    return status;
}

static void test_parts_open_as_one_file(void **state)
{
    (void)state;
    bn_gguf *file = NULL;
    bn_hash128 identity, other;
    assert_int_equal(open_parts(&(change){0}, &file), BN_OK);
    assert_int_equal(bn_gguf_n_tensors(file), PARTS);
    for (uint32_t part = 1; part <= PARTS; part++) {
        char name[16];
        uint8_t data[F32S * 4];
        const uint8_t *mapped;
        void *base;
        size_t length;
        snprintf(name, sizeof name, "tensor.%u", part);
        const bn_gguf_tensor *tensor = bn_gguf_tensor_find(file, name);
        assert_non_null(tensor);
        assert_ptr_equal(tensor, bn_gguf_tensor_at(file, part - 1));
        assert_int_equal(bn_gguf_read(file, tensor, 0, sizeof data, data), BN_OK);
        assert_int_equal(data[5], 16 * part + 5);
        assert_int_equal(bn_gguf_map(file, tensor, &mapped, &base, &length), BN_OK);
        assert_memory_equal(mapped, data, sizeof data);
        bn_gguf_unmap(base, length);
    }
    assert_int_equal(bn_gguf_identity(file, &identity), BN_OK);
    bn_gguf_close(file);
    /* A tensor's name in a later part is part of the identity. */
    assert_int_equal(open_parts(&(change){.part = 3, .tensor = "tensor.4"}, &file), BN_OK);
    assert_int_equal(bn_gguf_identity(file, &other), BN_OK);
    assert_memory_not_equal(&identity, &other, sizeof identity);
    bn_gguf_close(file);
}

static void test_wrong_parts_are_refused_by_name(void **state)
{
    (void)state;
    static const struct {
        change change;
        const char *expected;
    } cases[] = {
        {{.part = 2, .is_missing = true}, "model-00002-of-00003.gguf: No such file"},
        {{.part = 3, .number = 2}, "model-00003-of-00003.gguf: key split.no is 1, but 2 is needed"},
        {{.part = 3, .count = 4},
         "model-00003-of-00003.gguf: key split.count is 4, but 3 is needed"},
        {{.part = 3, .count = 1}, "model-00003-of-00003.gguf: key split.count is 1"},
        {{.part = 1, .count = 4}, "so its name must end in -00001-of-00004.gguf"},
        {{.part = 1, .count = 100000}, "key split.count is 100000; at most 512"},
        {{.part = 1, .first_name = "model.gguf"}, "so its name must end in -00001-of-00003.gguf"},
        {{.part = 2, .is_opened = true}, "is part 2 of 3 of a model: give the first"},
        {{.part = 3, .tensor = "tensor.1"}, "tensor tensor.1 occurs twice"},
        {{.part = 2, .n_data = 16}, "model-00002-of-00003.gguf: the file is cut short: tensor"},
        {{.total = 4}, "key split.tensors.count is 4, but the 3 parts hold 3"},
    };
    for (size_t i = 0; i < BN_COUNT(cases); i++) {
        bn_gguf *file = NULL;
        bn_status status = open_parts(&cases[i].change, &file);
        if (status == BN_OK || strstr(bn_log_last_error(), cases[i].expected) == NULL)
            fail_msg("expected \"%s\", got status %d, \"%s\"", cases[i].expected, status,
                     bn_log_last_error());
        assert_null(file);
    }
}

static int make_folder(void **state)
{
    (void)state;
    bn_log_set_quiet(true);
    snprintf(folder, sizeof folder, "/tmp/bn-split-XXXXXX");
    return mkdtemp(folder) == NULL;
}

static int remove_folder(void **state)
{
    (void)state;
    for (uint32_t part = 1; part <= PARTS; part++) {
        char path[160];
        path_of(part, &(change){0}, path);
        unlink(path);
    }
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parts_open_as_one_file),
        cmocka_unit_test(test_wrong_parts_are_refused_by_name),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
