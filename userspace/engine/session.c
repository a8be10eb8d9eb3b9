// SPDX-License-Identifier: MIT
/*
 * Sessions: a sequence of tokens, evaluated in chunks of the batch size.
 */
#include <errno.h>

#include "engine_priv.h"

int pst_session_create(struct pst_engine *e, struct pst_session **out)
{
	struct pst_session *s = &e->session;

	if (s->in_use)
		return -EBUSY;
	s->e = e;
	s->in_use = true;
	s->kv.n_used = 0;
	*out = s;
	return 0;
}

void pst_session_destroy(struct pst_session *s)
{
	if (s)
		s->in_use = false;
}

uint32_t pst_session_nr_tokens(const struct pst_session *s)
{
	return s->kv.n_used;
}

void pst_session_truncate(struct pst_session *s, uint32_t n)
{
	if (n < s->kv.n_used)
		s->kv.n_used = n;
}

/* Translates a chunk's callbacks to the caller's numbering. */
struct chunk {
	const struct pst_eval *ev;
	uint32_t first; /* index of the chunk's first token in the call */
	uint32_t n;
};

static int chunk_logits(void *ctx, uint32_t token, const float *logits)
{
	const struct chunk *c = ctx;

	return c->ev->logits(c->ev->ctx, c->first + token, logits);
}

static void chunk_progress(void *ctx, uint32_t done, uint32_t all)
{
	const struct chunk *c = ctx;

	c->ev->progress(c->ev->ctx,
			(uint64_t)c->first * all + (uint64_t)c->n * done,
			(uint64_t)c->ev->nr * all);
}

static int check_tokens(const struct pst_session *s, const struct pst_eval *ev,
			struct pst_diag *diag)
{
	uint32_t nr_vocab = s->e->model->hp.n_vocab;

	if (ev->nr > s->kv.n_ctx - s->kv.n_used)
		return pst_diag_set(diag, -E2BIG,
				    "%u tokens after %u exceed the context of "
				    "%u: raise --ctx-size",
				    ev->nr, s->kv.n_used, s->kv.n_ctx);
	for (uint32_t i = 0; i < ev->nr; i++)
		if (ev->tokens[i] < 0 || (uint32_t)ev->tokens[i] >= nr_vocab)
			return pst_diag_set(diag, -EINVAL,
					    "token %d is not in the vocabulary "
					    "of %u",
					    ev->tokens[i], nr_vocab);
	return 0;
}

int pst_session_eval(struct pst_session *s, const struct pst_eval *ev,
		     struct pst_diag *diag)
{
	uint32_t batch = s->e->plan.batch_size;
	int rc = check_tokens(s, ev, diag);

	for (uint32_t at = 0; !rc && at < ev->nr; at += batch) {
		struct chunk c = { .ev = ev,
				   .first = at,
				   .n = PST_MIN(batch, ev->nr - at) };
		struct pst_fwd_pass pass = {
			.kv = &s->kv,
			.tokens = ev->tokens + at,
			.n = c.n,
			.first_logits = ev->first_logits > at
						? ev->first_logits - at
						: 0,
			.logits = chunk_logits,
			.progress = ev->progress ? chunk_progress : NULL,
			.ctx = &c,
		};

		rc = pst_fwd_run(s->e->fwd, &pass, diag);
	}
	return rc;
}
