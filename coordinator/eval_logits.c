/* eval_logits.c — logits are written as they come, in the order of the text. */
#include "coordinator/eval_logits.h"

#include "common/alloc.h"
#include "common/hash.h"
#include "common/log.h"
#include "common/npy.h"
#include "common/progress.h"
#include "coordinator/id_list.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef struct eval_logits {
    bn_setup *setup;
    const bn_eval_logits_config *config;
    bn_token_list ids;
    bn_hash *hash;
    char dump[PATH_MAX]; /* absolute */
    char npy_path[PATH_MAX];
    FILE *raw, *npy; /* NULL: not wanted */
    uint32_t n_written;
    bn_progress progress;
} eval_logits;

static bn_status write_failed(const char *path)
{
    return bn_fail(BN_ERR_IO, "LOGITS-WRITE", "cannot write %s: %s", path, strerror(errno));
}

static bn_status on_logits(void *context, uint32_t position, const float *logits)
{
    eval_logits *e = context;
    size_t n = e->setup->vocab;
    if (position != e->n_written)
        return bn_fail(BN_ERR_BAD_MESSAGE, "LOGITS-ORDER",
                       "logits of position %u came when %u was due", position, e->n_written);
    bn_hash_update(e->hash, logits, n * sizeof *logits);
    e->n_written++;
    bn_progress_update(&e->progress, e->n_written);
    if (e->raw != NULL && fwrite(logits, sizeof *logits, n, e->raw) != n)
        return write_failed(e->config->raw_path);
    if (e->npy != NULL && fwrite(logits, sizeof *logits, n, e->npy) != n)
        return write_failed(e->npy_path);
    return BN_OK;
}

static bn_status read_tokens(eval_logits *e)
{
    const bn_setup *setup = e->setup;
    const char *text = e->config->text;
    if (text == NULL) return bn_id_list_parse(e->config->tokens, setup->vocab, &e->ids);
    if (bn_tokenizer_adds_bos(setup->tokenizer))
        BN_TRY(bn_token_list_push(&e->ids, bn_tokenizer_bos(setup->tokenizer)));
    BN_TRY(bn_tokenizer_encode(setup->tokenizer, text, strlen(text), false, true, &e->ids));
    if (e->ids.n > 0) return BN_OK;
    return bn_fail(BN_ERR_BAD_ARGUMENT, "TEXT-EMPTY", "the text has no tokens");
}

/* ---- files -------------------------------------------------------------------------------------
 */

static bn_status open_npy(eval_logits *e, const char *name, const char *type, uint64_t n_rows,
                          uint64_t n_columns, FILE **file_out)
{
    char header[BN_NPY_HEADER_BYTES];
    int n = snprintf(e->npy_path, sizeof e->npy_path, "%s/%s", e->dump, name);
    if (n < 0 || (size_t)n >= sizeof e->npy_path)
        return bn_fail(BN_ERR_LIMIT, "DUMP-PATH", "the path of %s is too long", e->dump);
    *file_out = fopen(e->npy_path, "wb");
    bn_npy_header(type, n_rows, n_columns, header);
    bool is_written = *file_out != NULL && fwrite(header, sizeof header, 1, *file_out) == 1;
    return is_written ? BN_OK : write_failed(e->npy_path);
}

/* A full disk may show only when the last bytes leave. */
static bn_status close_file(FILE **file, const char *path, bn_status status)
{
    if (*file != NULL && fclose(*file) != 0 && status == BN_OK) status = write_failed(path);
    *file = NULL;
    return status;
}

static bn_status write_dump_tokens(eval_logits *e)
{
    FILE *file = NULL;
    bn_status status = open_npy(e, "tokens.npy", BN_NPY_U32, e->ids.n, 0, &file);
    if (status == BN_OK && fwrite(e->ids.ids, sizeof *e->ids.ids, e->ids.n, file) != e->ids.n)
        status = write_failed(e->npy_path);
    return close_file(&file, e->npy_path, status);
}

static bn_status open_dump(eval_logits *e)
{
    const char *path = e->config->dump;
    if (mkdir(path, 0777) != 0 && errno != EEXIST)
        return bn_fail(BN_ERR_IO, "DUMP-WRITE", "cannot make the directory %s: %s", path,
                       strerror(errno));
    if (realpath(path, e->dump) == NULL)
        return bn_fail(BN_ERR_IO, "DUMP-WRITE", "cannot open %s: %s", path, strerror(errno));
    BN_TRY(write_dump_tokens(e));
    e->setup->dump = e->dump;
    return open_npy(e, "logits.npy", BN_NPY_F32, e->ids.n, e->setup->vocab, &e->npy);
}

static bn_status open_files(eval_logits *e)
{
    const char *path = e->config->raw_path;
    BN_TRY(bn_hash_create(&e->hash));
    if (e->config->dump != NULL) BN_TRY(open_dump(e));
    if (path == NULL) return BN_OK;
    e->raw = fopen(path, "wb");
    return e->raw == NULL ? write_failed(path) : BN_OK;
}

/* ---- evaluating --------------------------------------------------------------------------------
 */

static bn_status evaluate(eval_logits *e)
{
    bn_setup *setup = e->setup;
    uint32_t n = (uint32_t)e->ids.n;
    if (n > setup->context)
        return bn_fail(BN_ERR_BAD_ARGUMENT, "CONTEXT-SMALL",
                       "%u tokens do not fit a context of %u (--context)", n, setup->context);
    bn_dialog *dialog = NULL;
    BN_TRY(bn_generate_open(setup->generate, setup->context, &dialog));
    bn_request request = {
        .is_scored = true, .wants = {.wants_all = true}, .on_logits = on_logits, .context = e};
    bn_progress_begin(&e->progress, "evaluating", n);
    bn_status status = bn_generate_ask(setup->generate, dialog, e->ids.ids, n, &request);
    if (status == BN_OK) status = bn_setup_wait(setup, dialog);
    bn_progress_end(&e->progress);
    if (status == BN_OK) status = bn_setup_finish(setup);
    bn_dialog_destroy(dialog);
    return status;
}

static bn_status work(eval_logits *e)
{
    bn_setup *setup = e->setup;
    BN_TRY(bn_setup_open(setup, e->config->text != NULL ? BN_TOKENIZER_NEEDED : BN_TOKENIZER_NONE));
    BN_TRY(read_tokens(e));
    if (e->ids.n > BN_CONTEXT_MAX)
        return bn_fail(BN_ERR_LIMIT, "CONTEXT", "%zu tokens are more than %u", e->ids.n,
                       BN_CONTEXT_MAX);
    BN_TRY(open_files(e));
    uint32_t n = (uint32_t)e->ids.n, trained = setup->model->config.context;
    BN_TRY(bn_setup_start(setup, 1, n > trained || n > 4096 ? n : 0));
    return evaluate(e);
}

bn_status bn_eval_logits(bn_setup *setup, const bn_eval_logits_config *config,
                         bn_eval_logits_result *result_out)
{
    eval_logits *e = bn_alloc(1, sizeof *e);
    if (e == NULL) return bn_fail(BN_ERR_NO_MEMORY, "LOGITS-MEMORY", "no memory to evaluate");
    e->setup = setup;
    e->config = config;
    bn_status status = work(e);
    status = close_file(&e->raw, config->raw_path, status);
    status = close_file(&e->npy, e->npy_path, status);
    if (status == BN_OK) {
        result_out->n_positions = e->n_written;
        bn_hash128_text(bn_hash_digest(e->hash), result_out->hash);
    }
    bn_hash_destroy(e->hash);
    bn_token_list_fini(&e->ids);
    bn_free(e);
    setup->dump = NULL;
    return status;
}
