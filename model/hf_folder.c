/* hf_folder.c — what the config demands is looked for in the shards, never the other way round.
 *
 * Each tensor found becomes a row: its GGUF name, type and dimensions for the header, and its
 * place for the parser. What is left in the shards afterwards is refused by name.
 */
#include "model/hf_folder.h"

#include "common/alloc.h"
#include "common/log.h"
#include "kernels/math.h"
#include "model/gguf_parse.h"
#include "model/gguf_writer.h"
#include "model/hf_config.h"
#include "model/hf_names.h"
#include "model/hf_tokenizer.h"
#include "model/model.h"
#include "model/safetensors.h"

#include <dirent.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define CONFIG_FILE "config.json"
#define PACKED_ROWS 4u
#define COMPARE_BYTES (1u << 20)

typedef struct row {
    char gguf[BN_GGUF_NAME_MAX];
    uint32_t type;
    uint64_t n_cols, n_rows; /* n_rows 0: a vector */
    bn_gguf_place place;
    const bn_safetensors_tensor *scale; /* NULL: none */
} row;

typedef struct folder {
    bn_gguf *file;
    const char *path;
    char *config_path;
    bn_hf_config config;
    bn_safetensors *set;
    bool *is_used; /* [n_tensors of the set] */
    row *rows;     /* [n_rows], each a tensor of the set but for rope_freqs */
    uint32_t n_rows;
    /* A head that is there although the embedding is said to be the head. */
    const bn_safetensors_tensor *doubled_head;
    float rope_freqs[BN_HEAD_SIZE_MAX / 2];
} folder;

static const char *file_of(const folder *f, const bn_safetensors_tensor *tensor)
{
    return bn_safetensors_file_path(f->set, tensor->file);
}

static bn_status fail_memory(const folder *f)
{
    return bn_fail(BN_ERR_NO_MEMORY, "MODEL-OPEN", "%s: no memory", f->path);
}

static const bn_safetensors_tensor *find(folder *f, const char *name)
{
    const bn_safetensors_tensor *tensor = bn_safetensors_find(f->set, name);
    if (tensor != NULL) f->is_used[tensor - bn_safetensors_at(f->set, 0)] = true;
    return tensor;
}

static bool is_float(bn_safetensors_dtype dtype, uint32_t *type_out)
{
    switch (dtype) {
    case BN_SAFETENSORS_F32: *type_out = BN_TENSOR_F32; return true;
    case BN_SAFETENSORS_F16: *type_out = BN_TENSOR_F16; return true;
    case BN_SAFETENSORS_BF16: *type_out = BN_TENSOR_BF16; return true;
    default: return false;
    }
}

static bn_status fail_dtype(const folder *f, const bn_safetensors_tensor *tensor,
                            const char *needed)
{
    return bn_fail(BN_ERR_UNSUPPORTED, "MODEL-TENSOR", "%s: tensor %s has the dtype %s; %s",
                   file_of(f, tensor), tensor->name, bn_safetensors_dtype_name(tensor->dtype),
                   needed);
}

/* What the config demands of a projection's tensor, as a GGUF type. */
static bn_status linear_type(const folder *f, const bn_safetensors_tensor *tensor,
                             const bn_safetensors_tensor *scale, uint32_t *type_out)
{
    bool is_packed =
        f->config.weights == BN_HF_PACKED_DIVIDED || f->config.weights == BN_HF_PACKED_MULTIPLIED;
    if (is_packed && tensor->dtype != BN_SAFETENSORS_U8)
        return fail_dtype(f, tensor,
                          "the quantization_config of config.json says packed weights, of U8");
    if (is_packed && scale == NULL)
        return bn_fail(BN_ERR_BAD_FILE, "MODEL-TENSOR",
                       "%s: tensor %s is packed, but there is no tensor %s_scale beside it",
                       file_of(f, tensor), tensor->name, tensor->name);
    if (is_packed) {
        *type_out = BN_TENSOR_HF_TERNARY;
        return BN_OK;
    }
    if (!is_float(tensor->dtype, type_out))
        return fail_dtype(f, tensor,
                          "without an offline quantization_config in config.json F32, F16 or BF16 "
                          "is needed");
    if (scale != NULL)
        return bn_fail(BN_ERR_UNSUPPORTED, "MODEL-TENSOR",
                       "%s: tensor %s has no meaning beside float weights: config.json does not "
                       "say that they are packed",
                       file_of(f, scale), scale->name);
    if (f->config.weights == BN_HF_MASTER)
        *type_out = *type_out == BN_TENSOR_F32   ? BN_TENSOR_MASTER_F32
                    : *type_out == BN_TENSOR_F16 ? BN_TENSOR_MASTER_F16
                                                 : BN_TENSOR_MASTER_BF16;
    return BN_OK;
}

static void shape_text(const bn_safetensors_tensor *tensor, char *text, size_t n)
{
    size_t used = (size_t)snprintf(text, n, "[");
    for (uint32_t i = 0; i < tensor->n_dims && used < n; i++)
        used += (size_t)snprintf(text + used, n - used, i == 0 ? "%" PRIu64 : ", %" PRIu64,
                                 tensor->dims[i]);
    if (used < n) snprintf(text + used, n - used, "]");
}

/* Rows and columns as the config makes them; packed tensors have a quarter of the rows. */
static bn_status check_shape(const folder *f, const bn_hf_name *name,
                             const bn_safetensors_tensor *tensor, uint32_t type)
{
    uint64_t n_rows = bn_hf_names_elements(&f->config, name->rows);
    uint64_t n_cols = bn_hf_names_elements(&f->config, name->cols);
    bool is_norm = name->role == BN_HF_ROLE_NORM;
    char is[160], wanted[160];
    if (type == BN_TENSOR_HF_TERNARY && n_rows % PACKED_ROWS != 0)
        return bn_fail(BN_ERR_UNSUPPORTED, "MODEL-TENSOR",
                       "%s: tensor %s is packed four rows to a byte, but %s is %" PRIu64
                       ", no multiple of 4",
                       file_of(f, tensor), tensor->name, bn_hf_names_keys(name->rows), n_rows);
    uint64_t stored = type == BN_TENSOR_HF_TERNARY ? n_rows / PACKED_ROWS : n_rows;
    if (is_norm ? tensor->n_dims == 1 && tensor->dims[0] == n_cols
                : tensor->n_dims == 2 && tensor->dims[0] == stored && tensor->dims[1] == n_cols)
        return BN_OK;
    shape_text(tensor, is, sizeof is);
    if (is_norm)
        snprintf(wanted, sizeof wanted, "[%" PRIu64 "] (%s)", n_cols, bn_hf_names_keys(name->cols));
    else
        snprintf(wanted, sizeof wanted, "[%" PRIu64 ", %" PRIu64 "] (%s%s, %s)", stored, n_cols,
                 bn_hf_names_keys(name->rows), stored == n_rows ? "" : " ÷ 4",
                 bn_hf_names_keys(name->cols));
    return bn_fail(BN_ERR_BAD_FILE, "MODEL-TENSOR",
                   "%s: tensor %s has the shape %s, but %s says %s", file_of(f, tensor),
                   tensor->name, is, f->config_path, wanted);
}

static bn_status add_row(folder *f, const bn_hf_name *name, const char *gguf,
                         const bn_safetensors_tensor *tensor, const bn_safetensors_tensor *scale)
{
    bool is_linear = name->role == BN_HF_ROLE_LINEAR || name->role == BN_HF_ROLE_ROTATED;
    row *to = &f->rows[f->n_rows];
    *to = (row){.scale = scale};
    if (is_linear)
        BN_TRY(linear_type(f, tensor, scale, &to->type));
    else if (!is_float(tensor->dtype, &to->type))
        return fail_dtype(f, tensor, "F32, F16 or BF16 is needed");
    BN_TRY(check_shape(f, name, tensor, to->type));
    snprintf(to->gguf, sizeof to->gguf, "%s", gguf);
    to->n_cols = bn_hf_names_elements(&f->config, name->cols);
    if (name->role != BN_HF_ROLE_NORM) to->n_rows = bn_hf_names_elements(&f->config, name->rows);
    /* Part 0 is the header. */
    to->place = (bn_gguf_place){.offset = tensor->offset, .part = tensor->file + 1};
    if (name->role == BN_HF_ROLE_ROTATED && f->config.family == BN_HF_LLAMA)
        to->place.head_rows = f->config.head_size;
    f->n_rows++;
    return BN_OK;
}

static bn_status fail_missing(const folder *f, const char *name)
{
    return bn_fail(BN_ERR_BAD_FILE, "MODEL-TENSOR",
                   "%s: tensor %s is missing, which %s needs (architecture %s, num_hidden_layers "
                   "%" PRIu32 ")",
                   f->path, name, f->config_path, bn_hf_config_arch(&f->config),
                   f->config.n_layers);
}

/* One tensor of the tables; `prefix` is "model.layers.7." or "". */
static bn_status take(folder *f, const bn_hf_name *name, const char *prefix, const char *gguf)
{
    char weight[BN_HF_NAME_MAX], first[BN_HF_NAME_MAX], scale[BN_HF_NAME_MAX];
    const char *spelling = name->name;
    snprintf(weight, sizeof weight, "%s%s.weight", prefix, spelling);
    snprintf(first, sizeof first, "%s", weight);
    const bn_safetensors_tensor *tensor = find(f, weight);
    if (tensor == NULL && name->other != NULL) {
        spelling = name->other;
        snprintf(weight, sizeof weight, "%s%s.weight", prefix, spelling);
        tensor = find(f, weight);
    }
    if (tensor == NULL) return fail_missing(f, first);
    bool is_linear = name->role == BN_HF_ROLE_LINEAR || name->role == BN_HF_ROLE_ROTATED;
    snprintf(scale, sizeof scale, "%s%s.weight_scale", prefix, spelling);
    return add_row(f, name, gguf, tensor, is_linear ? find(f, scale) : NULL);
}

/* lm_head and tie_word_embeddings must say the same. */
static bn_status take_head(folder *f, const bn_hf_name *name, const char *gguf)
{
    const bn_safetensors_tensor *head = find(f, "lm_head.weight");
    if (f->config.is_tied) {
        f->doubled_head = head;
        return BN_OK;
    }
    if (head != NULL) return add_row(f, name, gguf, head, NULL);
    return bn_fail(BN_ERR_BAD_FILE, "MODEL-TENSOR",
                   "%s: tensor lm_head.weight is missing, but the key tie_word_embeddings of %s is "
                   "not true",
                   f->path, f->config_path);
}

static bn_status take_all(folder *f)
{
    char prefix[32], gguf[BN_GGUF_NAME_MAX];
    const bn_hf_name *name;
    for (size_t i = 0; (name = bn_hf_names_model(i)) != NULL; i++) {
        snprintf(gguf, sizeof gguf, "%s.weight", name->gguf);
        BN_TRY(name->role == BN_HF_ROLE_HEAD ? take_head(f, name, gguf) : take(f, name, "", gguf));
    }
    for (uint32_t layer = 0; layer < f->config.n_layers; layer++) {
        snprintf(prefix, sizeof prefix, "model.layers.%" PRIu32 ".", layer);
        for (size_t i = 0; (name = bn_hf_names_layer(i)) != NULL; i++) {
            if ((name->families & 1u << f->config.family) == 0) continue;
            snprintf(gguf, sizeof gguf, "blk.%" PRIu32 ".%s.weight", layer, name->gguf);
            BN_TRY(take(f, name, prefix, gguf));
        }
    }
    return BN_OK;
}

/* Frequencies that old checkpoints hold follow from the config, and no code reads them. */
static bool is_derived(const char *name)
{
    static const char ending[] = ".rotary_emb.inv_freq";
    size_t n = strlen(name), n_ending = sizeof ending - 1;
    return n > n_ending && strcmp(name + n - n_ending, ending) == 0;
}

static bn_status check_all_used(const folder *f)
{
    for (uint32_t i = 0; i < bn_safetensors_n_tensors(f->set); i++) {
        const bn_safetensors_tensor *tensor = bn_safetensors_at(f->set, i);
        if (f->is_used[i] || is_derived(tensor->name)) continue;
        return bn_fail(BN_ERR_UNSUPPORTED, "MODEL-TENSOR",
                       "%s: tensor %s is not part of architecture %s with the num_hidden_layers "
                       "%" PRIu32 " of %s; leaving it out would change the answer",
                       file_of(f, tensor), tensor->name, bn_hf_config_arch(&f->config),
                       f->config.n_layers, f->config_path);
    }
    return BN_OK;
}

static bn_status find_rows(folder *f)
{
    size_t n = bn_safetensors_n_tensors(f->set);
    f->is_used = bn_alloc(n, sizeof *f->is_used);
    f->rows = bn_alloc(n + 1, sizeof *f->rows);
    if (f->is_used == NULL || f->rows == NULL) return fail_memory(f);
    if (f->config.rope == BN_HF_ROPE_LLAMA3) {
        /* The first row: its data lie right behind the header. */
        f->rows[f->n_rows] = (row){.type = BN_TENSOR_F32, .n_cols = f->config.head_size / 2};
        snprintf(f->rows[f->n_rows].gguf, BN_GGUF_NAME_MAX, "rope_freqs.weight");
        f->n_rows++;
        bn_hf_config_rope_freqs(&f->config, f->rope_freqs);
    }
    BN_TRY(take_all(f));
    return check_all_used(f);
}

static bn_status fill_header(folder *f, bn_gguf_writer *writer, uint8_t **bytes_out, size_t *n_out)
{
    bn_hf_config_write(&f->config, writer);
    if (bn_hf_tokenizer_exists(f->path))
        BN_TRY(bn_hf_tokenizer_write(f->path, f->config.vocab, writer));
    for (uint32_t i = 0; i < f->n_rows; i++)
        bn_gguf_writer_tensor(writer, f->rows[i].gguf, f->rows[i].type, f->rows[i].n_cols,
                              f->rows[i].n_rows);
    return bn_gguf_writer_take_header(writer, bytes_out, n_out);
}

/* Part 0: the header, and the data of rope_freqs when there is such a row. */
static bn_status add_header(folder *f)
{
    bn_gguf_writer *writer;
    uint8_t *bytes = NULL;
    size_t n = 0, n_data = 0;
    BN_TRY(bn_gguf_writer_create_header(f->path, &writer));
    bn_status status = fill_header(f, writer, &bytes, &n);
    bn_gguf_writer_destroy(writer);
    if (status != BN_OK) return status;
    if (f->config.rope == BN_HF_ROPE_LLAMA3) n_data = f->config.head_size / 2 * sizeof(float);
    uint8_t *whole = bn_realloc(bytes, n + n_data, 1);
    if (whole == NULL) {
        bn_free(bytes);
        return fail_memory(f);
    }
    memcpy(whole + n, f->rope_freqs, n_data);
    if (n_data > 0) f->rows[0].place = (bn_gguf_place){.offset = n, .part = 0};
    return bn_gguf_add_memory(f->file, f->path, whole, n + n_data);
}

static bn_status add_files(folder *f)
{
    for (uint32_t i = 0; i < bn_safetensors_n_files(f->set); i++) {
        const char *path = bn_safetensors_file_path(f->set, i);
        BN_TRY(bn_gguf_add_part(f->file, path));
        if (f->file->parts[i + 1].n_bytes != bn_safetensors_file_bytes(f->set, i))
            return bn_fail(BN_ERR_BAD_FILE, "MODEL-OPEN", "%s changed while it was opened", path);
    }
    return BN_OK;
}

/* The value of a weight_scale as stored. */
static bn_status read_scale(const folder *f, const bn_safetensors_tensor *tensor, float *out)
{
    uint32_t type;
    uint16_t half;
    if (!is_float(tensor->dtype, &type)) return fail_dtype(f, tensor, "F32, F16 or BF16 is needed");
    if (tensor->n_bytes != (type == BN_TENSOR_F32 ? sizeof(float) : sizeof half))
        return bn_fail(BN_ERR_UNSUPPORTED, "MODEL-TENSOR",
                       "%s: tensor %s has more than one element; one scale for a projection is "
                       "supported",
                       file_of(f, tensor), tensor->name);
    if (type == BN_TENSOR_F32)
        return bn_gguf_part_read(f->file, tensor->file + 1, tensor->offset, sizeof *out, out);
    BN_TRY(bn_gguf_part_read(f->file, tensor->file + 1, tensor->offset, sizeof half, &half));
    *out = type == BN_TENSOR_F16 ? bn_f32_from_f16(half) : bn_f32_from_bf16(half);
    return BN_OK;
}

/* Both senses of weight_scale become what a trit is multiplied by. */
static bn_status settle_scales(folder *f)
{
    for (uint32_t i = 0; i < f->n_rows; i++) {
        row *to = &f->rows[i];
        float stored;
        if (to->scale == NULL) continue;
        BN_TRY(read_scale(f, to->scale, &stored));
        float scale = f->config.weights == BN_HF_PACKED_DIVIDED ? 1.0f / stored : stored;
        if (!(isfinite(stored) && stored > 0.0f && isfinite(scale) && scale > 0.0f))
            return bn_fail(BN_ERR_BAD_FILE, "MODEL-TENSOR",
                           "%s: tensor %s is %g; it must be finite and above 0",
                           file_of(f, to->scale), to->scale->name, (double)stored);
        to->place.scale = scale;
    }
    return BN_OK;
}

/* A head beside a tied embedding is left out, so it must be the same. */
static bn_status compare_head(const folder *f)
{
    const bn_safetensors_tensor *a = bn_safetensors_find(f->set, "model.embed_tokens.weight");
    const bn_safetensors_tensor *b = f->doubled_head;
    if (b == NULL) return BN_OK;
    bool is_same = a->dtype == b->dtype && a->n_bytes == b->n_bytes;
    uint8_t *bytes = bn_alloc(2, COMPARE_BYTES);
    bn_status status = bytes != NULL ? BN_OK : fail_memory(f);
    for (uint64_t at = 0; at < a->n_bytes && is_same && status == BN_OK; at += COMPARE_BYTES) {
        uint64_t left = a->n_bytes - at;
        size_t n = left < COMPARE_BYTES ? (size_t)left : COMPARE_BYTES;
        status = bn_gguf_part_read(f->file, a->file + 1, a->offset + at, n, bytes);
        if (status == BN_OK)
            status =
                bn_gguf_part_read(f->file, b->file + 1, b->offset + at, n, bytes + COMPARE_BYTES);
        is_same = status == BN_OK && memcmp(bytes, bytes + COMPARE_BYTES, n) == 0;
    }
    bn_free(bytes);
    if (status != BN_OK || is_same) return status;
    return bn_fail(BN_ERR_BAD_FILE, "MODEL-TENSOR",
                   "%s: tensor lm_head.weight differs from model.embed_tokens.weight, but the key "
                   "tie_word_embeddings of %s is true",
                   file_of(f, b), f->config_path);
}

static bn_status fill_file(folder *f)
{
    BN_TRY(add_header(f));
    BN_TRY(add_files(f));
    BN_TRY(settle_scales(f));
    BN_TRY(compare_head(f));
    f->file->places = bn_alloc(f->n_rows, sizeof *f->file->places);
    if (f->file->places == NULL) return fail_memory(f);
    for (uint32_t i = 0; i < f->n_rows; i++)
        f->file->places[i] = f->rows[i].place;
    return bn_gguf_parse(f->file);
}

/* The only .gguf in a directory, or "": a person may have given the directory by mistake. */
static void find_gguf(const char *path, char *name, size_t n)
{
    DIR *directory = opendir(path);
    uint32_t n_found = 0;
    name[0] = '\0';
    if (directory == NULL) return;
    for (const struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        size_t length = strlen(entry->d_name);
        if (length < 5 || strcmp(entry->d_name + length - 5, ".gguf") != 0) continue;
        n_found++;
        snprintf(name, n, "%s", entry->d_name);
    }
    closedir(directory);
    if (n_found != 1) name[0] = '\0';
}

static bn_status fail_directory(const char *path)
{
    char name[256];
    find_gguf(path, name, sizeof name);
    if (name[0] != '\0')
        return bn_fail(BN_ERR_BAD_FILE, "MODEL-OPEN",
                       "%s is not a regular file but a directory; give the .gguf file in it: %s/%s",
                       path, path, name);
    return bn_fail(BN_ERR_BAD_FILE, "MODEL-OPEN",
                   "%s is a directory without " CONFIG_FILE
                   "; give a Hugging Face folder (" CONFIG_FILE
                   " and safetensors files) or a .gguf file",
                   path);
}

bn_status bn_hf_folder_open(bn_gguf *file)
{
    for (size_t end = strlen(file->path); end > 1 && file->path[end - 1] == '/'; end--)
        file->path[end - 1] = '\0';
    folder f = {.file = file, .path = file->path};
    size_t n = strlen(file->path) + sizeof CONFIG_FILE + 1;
    f.config_path = bn_alloc(n, 1);
    if (f.config_path == NULL) return fail_memory(&f);
    snprintf(f.config_path, n, "%s/%s", file->path, CONFIG_FILE);
    bn_status status = access(f.config_path, F_OK) == 0 ? BN_OK : fail_directory(file->path);
    if (status == BN_OK) status = bn_hf_config_read(f.config_path, &f.config);
    if (status == BN_OK) status = bn_safetensors_open(file->path, &f.set);
    if (status == BN_OK) status = find_rows(&f);
    if (status == BN_OK) status = fill_file(&f);
    bn_safetensors_close(f.set);
    bn_free(f.is_used);
    bn_free(f.rows);
    bn_free(f.config_path);
    return status;
}
