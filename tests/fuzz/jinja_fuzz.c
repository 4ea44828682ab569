/* jinja_fuzz.c
 * What: no text crashes the reader of chat templates or its evaluation, nor makes it go on without
 *       end; every byte of an output has a mark, and one with a message's mark occurs in a message.
 * How:  the bytes before the first 0x1E are a template, those behind it the text of a message (a
 *       default without). Applied to conversations with and without it, then tokenised: an id of a
 *       control token stands only where the template's own bytes spell it.
 */
#include "common/log.h"
#include "coordinator/jinja.h"
#include "coordinator/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SEPARATOR 0x1E

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static bn_tokenizer *tokenizer;

static void open_golden(void)
{
    char path[1024];
    const char *source = getenv("BN_SOURCE_DIR");
    snprintf(path, sizeof path, "%s/tests/golden/vocabulary-bpe.gguf",
             source != NULL ? source : ".");
    bn_gguf *file;
    if (bn_gguf_open(path, &file) != BN_OK) abort();
    if (bn_tokenizer_create(file, NULL, &tokenizer) != BN_OK) abort();
    bn_gguf_close(file);
}

/* Control tokens of the marked text are at most those of the text with every message's byte gone
 * out of the way: the marks never add one. */
static void check_tokens(bn_jinja_output *output)
{
    bn_token_list ids = {0}, own = {0};
    if (bn_tokenizer_encode_marked(tokenizer, output->text, output->n, output->marks, true, &ids) !=
        BN_OK)
        abort();
    size_t n_control = 0, n_own = 0;
    for (size_t i = 0; i < ids.n; i++)
        n_control += bn_tokenizer_is_control(tokenizer, ids.ids[i]);
    for (size_t i = 0; i < output->n; i++)
        if (output->marks[i] != 0) output->text[i] = 'x';
    if (bn_tokenizer_encode(tokenizer, output->text, output->n, true, true, &own) != BN_OK) abort();
    for (size_t i = 0; i < own.n; i++)
        n_own += bn_tokenizer_is_control(tokenizer, own.ids[i]);
    if (n_control != n_own) abort();
    bn_token_list_fini(&ids);
    bn_token_list_fini(&own);
}

static void apply(const bn_jinja *jinja, const bn_jinja_message *messages, size_t n)
{
    const bn_jinja_input input = {messages, n, "<|begin_of_text|>", "<|end_of_text|>", true};
    bn_jinja_output output;
    if (bn_jinja_render(jinja, &input, &output) != BN_OK) return;
    for (size_t i = 0; i < output.n; i++)
        if (output.marks[i] >= BN_JINJA_MARKS) abort();
    if (output.n < 1u << 20) check_tokens(&output);
    bn_jinja_output_fini(&output);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    if (tokenizer == NULL) {
        bn_log_init("fuzz", BN_LOG_ERROR);
        open_golden();
    }
    const uint8_t *end = n == 0 ? NULL : memchr(bytes, SEPARATOR, n);
    size_t n_template = end == NULL ? n : (size_t)(end - bytes);
    const char *text = end == NULL ? "Hi <|eot_id|>" : (const char *)end + 1;
    size_t n_text = end == NULL ? 13 : n - n_template - 1;
    bn_jinja *jinja = NULL;
    if (bn_jinja_parse("fuzz", (const char *)bytes, n_template, &jinja) != BN_OK) return 0;
    const bn_jinja_message messages[] = {
        {"system", "Be brief.", 9, 1},
        {"user", text, n_text, 1},
        {"assistant", "<think>\nx\n</think>\nYes", 22, 2},
        {"user", text, n_text, 1},
    };
    apply(jinja, messages, 0);
    apply(jinja, messages + 1, 1);
    apply(jinja, messages, 4);
    bn_jinja_destroy(jinja);
    return 0;
}
