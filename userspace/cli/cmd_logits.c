// SPDX-License-Identifier: MIT
/*
 * penstock logits: raw little-endian float32 [n_tokens][n_vocab].
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"

struct sink {
	FILE *f;
	uint32_t nr_vocab;
	int err;
};

static int on_logits(void *ctx, uint32_t index, const float *logits)
{
	struct sink *s = ctx;

	(void)index;
	errno = 0;
	if (fwrite(logits, sizeof(float), s->nr_vocab, s->f) == s->nr_vocab)
		return 0;
	s->err = errno ? errno : EIO;
	return -ECANCELED;
}

static int load_tokens(const struct cli_opts *o, int32_t **ids, uint32_t *nr)
{
	char *text = NULL;
	size_t len;
	int rc;

	if (!o->tokens == !o->tokens_file) {
		cli_error("logits: give --tokens or --tokens-file");
		return EXIT_USAGE;
	}
	if (o->tokens_file) {
		rc = cli_read_all(o->tokens_file, &text, &len);
		if (rc) {
			cli_error("%s: %s", o->tokens_file, strerror(-rc));
			return rc == -ENOENT ? EXIT_NO_MODEL : EXIT_OS;
		}
	}
	rc = cli_tokens_parse(text ? text : o->tokens, ids, nr);
	free(text);
	if (!rc && *nr)
		return EXIT_OK;
	if (!rc)
		free(*ids);
	cli_error("logits: the tokens are no list of non-negative numbers");
	return EXIT_USAGE;
}

static int evaluate(struct pst_engine *e, const int32_t *ids, uint32_t nr,
		    struct sink *s)
{
	struct pst_eval ev = {
		.tokens = ids, .nr = nr, .logits = on_logits, .ctx = s
	};
	struct pst_session *session;
	struct pst_diag diag;
	int rc;

	pst_diag_init(&diag);
	rc = pst_session_create(e, &session);
	if (rc)
		return cli_fail(rc, NULL);
	s->nr_vocab = pst_engine_nr_vocab(e);
	rc = pst_session_eval(session, &ev, &diag);
	pst_session_destroy(session);
	return rc && !s->err ? cli_fail(rc, &diag) : EXIT_OK;
}

/* A result that could not be written whole is removed again. */
static int close_sink(struct sink *s, const char *path, int rc)
{
	bool file = strcmp(path, "-") != 0;

	if ((file ? fclose(s->f) : fflush(s->f)) && !s->err)
		s->err = errno ? errno : EIO;
	if (s->err) {
		cli_error("%s: cannot write: %s", path, strerror(s->err));
		rc = EXIT_DRIVE;
	}
	if (rc && file)
		unlink(path);
	return rc;
}

int cmd_logits(struct cli_opts *o)
{
	const char *path = o->out ? o->out : "-";
	struct sink s = { .f = stdout };
	struct pst_engine *e;
	int32_t *ids;
	uint32_t nr;
	int rc = load_tokens(o, &ids, &nr);

	if (rc)
		return rc;
	if (!o->engine.ctx_size)
		o->engine.ctx_size = nr;
	rc = cli_open(o, o->args[0], &e);
	if (rc) {
		free(ids);
		return rc;
	}
	if (strcmp(path, "-"))
		s.f = fopen(path, "we");
	if (!s.f) {
		cli_error("%s: %s", path, strerror(errno));
		rc = EXIT_PERM;
	} else {
		rc = close_sink(&s, path, evaluate(e, ids, nr, &s));
	}
	pst_engine_close(e);
	free(ids);
	return rc;
}
