// SPDX-License-Identifier: MIT
/*
 * penstock tokenize: text to ids, and back with --decode.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "gguf.h"
#include "tokenizer.h"

static int encode(const struct pst_vocab *v, const struct cli_opts *o,
		  const char *text, size_t len)
{
	struct pst_tokens t = { 0 };
	unsigned int flags = (o->no_special ? 0 : PST_TOKENIZE_SPECIAL) |
			     (o->no_bos ? 0 : PST_TOKENIZE_BOS);
	int rc = pst_vocab_tokenize(v, text, len, flags, &t);

	if (!rc) {
		putchar('[');
		for (size_t i = 0; i < t.nr; i++)
			printf("%s%d", i ? ", " : "", t.ids[i]);
		puts("]");
	}
	pst_tokens_fini(&t);
	return rc ? cli_fail(rc, NULL) : EXIT_OK;
}

static int decode(const struct pst_vocab *v, const char *text)
{
	int32_t *ids;
	uint32_t nr;
	size_t len;
	char *out;
	int rc = cli_tokens_parse(text, &ids, &nr);

	if (rc) {
		cli_error("tokenize --decode: stdin is no JSON array of ids");
		return EXIT_USAGE;
	}
	rc = pst_vocab_detokenize(v, ids, nr, true, &out, &len);
	free(ids);
	if (rc) {
		cli_error("tokenize --decode: an id is not in the vocabulary");
		return EXIT_DATA;
	}
	fwrite(out, 1, len, stdout);
	free(out);
	return EXIT_OK;
}

int cmd_tokenize(struct cli_opts *o)
{
	struct pst_gguf *g = NULL;
	struct pst_vocab *v = NULL;
	struct pst_diag diag;
	char *text = NULL;
	size_t len;
	int rc;

	pst_diag_init(&diag);
	rc = pst_gguf_open(o->args[0], &g, &diag);
	if (!rc)
		rc = pst_vocab_create(g, &v, NULL, &diag);
	pst_gguf_close(g);
	if (rc)
		return cli_fail(rc, &diag);
	rc = cli_read_input(o, &text, &len);
	if (!rc)
		rc = o->decode ? decode(v, text) : encode(v, o, text, len);
	free(text);
	pst_vocab_destroy(v);
	return rc;
}
