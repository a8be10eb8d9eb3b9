// SPDX-License-Identifier: MIT
/*
 * A text as one vector: the states of its tokens, pooled.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine_priv.h"

/* Where the states of the tokens go. */
struct pool {
	enum pst_states how;
	uint32_t nr; /* tokens */
	uint32_t width;
	double *sum; /* [width] */
};

enum pst_states pst_engine_pooling(const struct pst_engine *e)
{
	static const enum pst_states kinds[] = {
		[PST_POOLING_NONE] = PST_STATES_MODEL,
		[PST_POOLING_MEAN] = PST_STATES_MEAN,
		[PST_POOLING_FIRST] = PST_STATES_FIRST,
		[PST_POOLING_LAST] = PST_STATES_LAST,
	};

	return kinds[e->model->hp.pooling];
}

static int on_state(void *ctx, uint32_t index, const float *state)
{
	struct pool *p = ctx;
	bool taken = p->how == PST_STATES_MEAN ||
		     (p->how == PST_STATES_FIRST && !index) ||
		     (p->how == PST_STATES_LAST && index == p->nr - 1);

	for (uint32_t i = 0; taken && i < p->width; i++)
		p->sum[i] += (double)state[i];
	return 0;
}

int pst_session_embed(struct pst_session *s, const int32_t *tokens, uint32_t nr,
		      enum pst_states how, float *out, struct pst_diag *diag)
{
	struct pool p = { .how = how,
			  .nr = nr,
			  .width = pst_engine_nr_out(s->e, true) };
	struct pst_eval ev = { .tokens = tokens,
			       .nr = nr,
			       .states = true,
			       .logits = on_state,
			       .ctx = &p };
	int rc;

	if (how == PST_STATES_MODEL)
		p.how = pst_engine_pooling(s->e);
	if (p.how == PST_STATES_MODEL)
		return pst_diag_set(diag, -ENOTSUP,
				    "the model does not say how its states "
				    "become one vector");
	if (!nr)
		return pst_diag_set(diag, -EINVAL,
				    "a text without tokens has no vector");
	p.sum = pst_calloc(p.width, sizeof(*p.sum));
	if (!p.sum)
		return pst_diag_set(diag, -ENOMEM, "out of memory");
	pst_session_truncate(s, 0);
	rc = pst_session_eval(s, &ev, diag);
	pst_session_truncate(s, 0);
	for (uint32_t i = 0; !rc && i < p.width; i++)
		out[i] =
			(float)(p.sum[i] / (p.how == PST_STATES_MEAN ? nr : 1));
	free(p.sum);
	return rc;
}
