// SPDX-License-Identifier: MIT
/*
 * Sessions: a sequence of tokens, evaluated in chunks of the batch size.
 */
#include <errno.h>

#include "engine_priv.h"

/* Of a layer's experts: from here on, all of them are read in file order. */
#define WHOLE_SHARE 0.97

/* What the caller takes back of a prompt is not known before: of a conversation
 * usually the few tokens that ask for the reply, which a later prompt does not
 * have there.  The state before these is kept.
 */
#define KEEP_BACK 16

int pst_session_create(struct pst_engine *e, struct pst_session **out)
{
	struct pst_session *s = &e->session;

	if (s->in_use)
		return -EBUSY;
	s->e = e;
	s->in_use = true;
	pst_kv_truncate(&s->kv, 0);
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
	pst_kv_truncate(&s->kv, n);
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

static bool chunk_stop(void *ctx)
{
	const struct chunk *c = ctx;

	return c->ev->stop(c->ev->ctx);
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
	const struct pst_hparams *hp = &s->e->model->hp;
	uint32_t nr_vocab = hp->n_vocab;

	if (hp->encoder && s->kv.n_used)
		return pst_diag_set(diag, -EINVAL,
				    "an encoder reads a text at once, not %u "
				    "tokens after %u",
				    ev->nr, s->kv.n_used);
	if (hp->n_positions && ev->nr > hp->n_positions)
		return pst_diag_set(diag, -E2BIG,
				    "%u tokens are more than the %u places "
				    "that the model knows",
				    ev->nr, hp->n_positions);
	if (ev->nr > s->kv.n_ctx - s->kv.n_used)
		return pst_diag_set(
			diag, -E2BIG,
			"%u tokens do not fit in the context of %u, "
			"of which %u are used: raise --ctx-size",
			ev->nr, s->kv.n_ctx, s->kv.n_used);
	for (uint32_t i = 0; i < ev->nr; i++)
		if (ev->tokens[i] < 0 || (uint32_t)ev->tokens[i] >= nr_vocab)
			return pst_diag_set(diag, -EINVAL,
					    "token %d is not in the vocabulary "
					    "of %u",
					    ev->tokens[i], nr_vocab);
	return 0;
}

/* Blocks whose experts are to be guessed while these tokens are computed. */
static uint32_t blocks_ahead(struct pst_engine *e, uint32_t nr_tokens)
{
	switch (e->opts.prefetch) {
	case PST_PREFETCH_OFF:
		return 0;
	case PST_PREFETCH_NEXT:
		return 1;
	case PST_PREFETCH_NEXT2:
		return 2;
	case PST_PREFETCH_AUTO:
		break;
	}
	return nr_tokens > 1 || pst_gate_ask(&e->gate);
}

static uint64_t wanted(const struct pst_engine *e)
{
	struct pst_store_stats ss = { 0 };

	if (e->store)
		pst_store_stats_read(e->store, &ss);
	return ss.hits + ss.misses;
}

/* Nearly all were wanted by the chunk before: no need to guess. */
static bool reads_whole_blocks(const struct pst_engine *e)
{
	if (e->opts.prefill == PST_PREFILL_AUTO)
		return e->wanted_share >= WHOLE_SHARE;
	return e->opts.prefill == PST_PREFILL_WHOLE;
}

static int run_pass(struct pst_engine *e, struct pst_fwd_pass *pass,
		    struct pst_diag *diag)
{
	uint64_t start, before = wanted(e);
	int rc;

	pst_engine_govern(e);
	start = pst_now_ns();
	pass->predict_whole = pass->n > 1 && reads_whole_blocks(e);
	pass->predict_ahead = blocks_ahead(e, pass->n);
	pass->predict_known = e->opts.prefetch != PST_PREFETCH_OFF;
	e->prefetch_on = pass->predict_ahead;
	rc = pst_fwd_run(e->fwd, pass, diag);
	e->wanted_share = 0.0;
	if (pass->n > 1 && e->plan.nr_experts)
		e->wanted_share = (double)(wanted(e) - before) /
				  (double)e->plan.nr_experts;
	if (!rc && pass->n == 1)
		pst_engine_govern_token(e, pst_now_ns() - start);
	if (!rc && pass->n == 1 && e->opts.prefetch == PST_PREFETCH_AUTO)
		pst_gate_tell(&e->gate, pst_now_ns() - start);
	e->warm.worth_saving |= !rc;
	return rc;
}

bool pst_engine_idle(struct pst_engine *e)
{
	pst_engine_govern(e);
	return e->store && pst_store_idle(e->store);
}

/* Of a prompt, how many tokens before the state that is kept. */
static uint32_t kept_after(const struct pst_eval *ev)
{
	return ev->nr > KEEP_BACK ? ev->nr - KEEP_BACK : 0;
}

/* That, in a chunk; 0 where it is not. */
static uint32_t kept_within(const struct chunk *c)
{
	uint32_t keep = kept_after(c->ev);

	return keep > c->first && keep <= c->first + c->n ? keep - c->first : 0;
}

int pst_session_eval(struct pst_session *s, const struct pst_eval *ev,
		     struct pst_diag *diag)
{
	uint32_t batch = s->e->plan.batch_size;
	int rc = check_tokens(s, ev, diag);

	if (!rc && ev->nr > 1 && !kept_after(ev))
		pst_kv_keep(&s->kv);
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
			.states = ev->states,
			.keep = kept_within(&c),
			.logits = chunk_logits,
			.progress = ev->progress ? chunk_progress : NULL,
			.stop = ev->stop ? chunk_stop : NULL,
			.ctx = &c,
		};

		rc = run_pass(s->e, &pass, diag);
	}
	return rc;
}
