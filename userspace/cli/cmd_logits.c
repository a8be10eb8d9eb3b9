// SPDX-License-Identifier: MIT
/*
 * penstock logits: raw little-endian float32 [n_tokens][n_vocab]; of an encoder
 * the states [n_tokens][n_embd], or the one vector that it makes of them.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "watch.h"

struct sink {
	struct cli_out out;
	uint32_t nr_out;
};

static int on_logits(void *ctx, uint32_t index, const float *logits)
{
	struct sink *s = ctx;

	(void)index;
	return cli_out_write(&s->out, logits, s->nr_out * sizeof(float));
}

static int load_tokens(const struct cli_opts *o, int32_t **ids, uint32_t *nr)
{
	int rc;

	if (!o->tokens == !o->tokens_file) {
		cli_error("logits: give --tokens or --tokens-file");
		return EXIT_USAGE;
	}
	if (o->tokens_file)
		return cli_read_tokens(o->tokens_file, ids, nr);
	rc = cli_tokens_parse(o->tokens, ids, nr);
	if (!rc && *nr)
		return EXIT_OK;
	if (!rc)
		free(*ids);
	cli_error("--tokens: no list of non-negative numbers");
	return EXIT_USAGE;
}

static int evaluate_pooled(struct pst_session *session,
			   const struct pst_eval *ev, struct pst_diag *diag)
{
	struct sink *s = ev->ctx;
	float *v = calloc(s->nr_out, sizeof(*v));
	int rc = -ENOMEM;

	if (v)
		rc = pst_session_embed(session, ev->tokens, ev->nr,
				       PST_STATES_MODEL, v, diag);
	if (!rc)
		rc = on_logits(s, 0, v);
	free(v);
	return rc;
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
	s->nr_out = pst_engine_nr_out(e, false);
	if (pst_engine_is_encoder(e) &&
	    pst_engine_pooling(e) != PST_STATES_MODEL)
		rc = evaluate_pooled(session, &ev, &diag);
	else
		rc = pst_session_eval(session, &ev, &diag);
	pst_session_destroy(session);
	/* A failed write is told by whoever closes the file. */
	return rc && !s->out.err ? cli_fail(rc, &diag) : EXIT_OK;
}

static int run_watched(struct cli_opts *o, struct cli_watch *w,
		       const int32_t *ids, uint32_t nr)
{
	struct sink s = { 0 };
	struct pst_engine *e;
	int rc = cli_open(o, o->args[0], &e);

	if (rc)
		return rc;
	rc = cli_watch_start(w, e);
	if (!rc)
		rc = cli_out_open(&s.out, o->out ? o->out : "-");
	if (!rc)
		rc = cli_out_close(&s.out, evaluate(e, ids, nr, &s));
	pst_engine_close(e);
	return rc;
}

int cmd_logits(struct cli_opts *o)
{
	struct cli_watch w;
	int32_t *ids;
	uint32_t nr;
	int rc;

	if ((!o->out || !strcmp(o->out, "-")) && isatty(STDOUT_FILENO)) {
		cli_error("logits: raw floats are nothing for a terminal: give "
			  "--out FILE");
		return EXIT_USAGE;
	}
	rc = load_tokens(o, &ids, &nr);
	if (rc)
		return rc;
	o->engine.states_do = true;
	if (!o->engine.ctx_size)
		o->engine.ctx_size = nr;
	rc = cli_watch_open(&w, o, o->args[0]);
	if (!rc)
		rc = run_watched(o, &w, ids, nr);
	free(ids);
	return cli_watch_close(&w, rc);
}
