// SPDX-License-Identifier: MIT
/*
 * The memory of past tokens.  Two tokens are as like as the experts that they
 * have in common, this layer's counting in full and earlier ones' less and
 * less.  What a past token was followed by is evidence for the present one, in
 * two ways: a vote weighed by likeness, and kernel ridge regression, which
 * does not count the same evidence twice (Saunders et al., 1998).
 *
 * For the regression each layer keeps the Cholesky factor of its tokens'
 * likenesses: a token adds a row, so that a turn costs about the square of the
 * tokens remembered.  When the memory is full its older half is dropped.
 * Must not know what the estimates are used for.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "policy_recall.h"

/* Tokens that are remembered: between half and all of these, a power of two. */
#define NR_PAST 256u
#define NR_HALF (NR_PAST / 2)
/* Floats that are worked on at once: rows are filled up with zeros to it. */
#define WIDE 16u
/* What a layer back still counts for: the last five or so matter. */
#define KEEP 0.8f
/* A vote grows by this power of e for each expert in common. */
#define SHARPEN 0.25f
/* Noise that the regression assumes, as a share of a token's likeness to
 * itself.
 */
#define RIDGE 0.6f
/* Turns that "soon" and "later" look at. */
#define SOON  3u
#define LATER 10u
/* A square of the factor's diagonal, against rounding. */
#define LEAST_SQUARE 1e-3f

/* Of one layer: tokens first .. first + nr - 1, with the present one. */
struct memory {
	uint64_t first;
	uint32_t nr;
	float *rows; /* the factor left of its diagonal, row after row */
	float *inverse; /* [NR_PAST] of its diagonal */
	uint64_t *sets; /* [NR_PAST][nr_words], token t at t % NR_PAST */
};

/* A token of the present pass. */
struct present {
	float like[NR_PAST]; /* to token t, at t % NR_PAST */
	float self;
};

struct pst_recall {
	uint32_t nr_layers, nr_experts, nr_words;
	struct memory *layers; /* [nr_layers] */
	struct present now[PST_RECALL_CHUNK];
	bool carried[NR_PAST]; /* token's likeness went on from the one before */
	uint64_t base; /* first token of the present pass */
	uint32_t nr_pass; /* its tokens */
	uint32_t layer, at; /* whose turn it is, and its next token */
	float y[NR_PAST + WIDE]; /* scratch of one token, zeros after it */
	float weight[NR_PAST][PST_ECHO_NR];
	uint32_t nr_weights; /* of the last token's, 0: it has no past */
	float old[NR_PAST]; /* scratch of carry() */
	float *spare; /* [row_at(NR_HALF)] scratch of drop() */
};

/* What every x86-64 adds in one instruction. */
typedef float quad __attribute__((vector_size(16), aligned(4), may_alias));

static quad load(const float *p)
{
	return *(const quad *)p;
}

static uint32_t padded(uint32_t nr)
{
	return (nr + WIDE - 1) / WIDE * WIDE;
}

/* Row i has i entries and its square at i, filled up. */
static size_t row_at(uint32_t i)
{
	size_t whole = i / WIDE;

	return WIDE * (WIDE * whole * (whole + 1) / 2 + i % WIDE * (whole + 1));
}

static uint64_t *set_of(const struct pst_recall *m, const struct memory *l,
			uint64_t token)
{
	return l->sets + token % NR_PAST * m->nr_words;
}

void pst_recall_destroy(struct pst_recall *m)
{
	if (!m)
		return;
	for (uint32_t i = 0; m->layers && i < m->nr_layers; i++) {
		free(m->layers[i].rows);
		free(m->layers[i].inverse);
		free(m->layers[i].sets);
	}
	free(m->layers);
	free(m->spare);
	free(m);
}

struct pst_recall *pst_recall_create(uint32_t nr_layers, uint32_t nr_experts)
{
	struct pst_recall *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	m->nr_layers = nr_layers;
	m->nr_experts = nr_experts;
	m->nr_words = (nr_experts + 63) / 64;
	m->layer = nr_layers;
	m->spare = pst_calloc(row_at(NR_HALF), sizeof(*m->spare));
	m->layers = pst_calloc(nr_layers, sizeof(*m->layers));
	if (!m->spare || !m->layers)
		goto err_destroy;
	for (uint32_t i = 0; i < nr_layers; i++) {
		struct memory *l = &m->layers[i];

		l->rows = pst_calloc(row_at(NR_PAST), sizeof(*l->rows));
		l->inverse = pst_calloc(NR_PAST, sizeof(*l->inverse));
		l->sets = pst_calloc(m->nr_words, NR_PAST * sizeof(*l->sets));
		if (!l->rows || !l->inverse || !l->sets)
			goto err_destroy;
	}
	return m;

err_destroy:
	pst_recall_destroy(m);
	return NULL;
}

/* Both ends may be read up to the next whole WIDE: one side is zero there. */
static float dot(const float *a, const float *b, uint32_t nr)
{
	quad s0 = { 0.0f }, s1 = s0, s2 = s0, s3 = s0;

	for (uint32_t i = 0; i < nr; i += WIDE) {
		s0 += load(a + i) * load(b + i);
		s1 += load(a + i + 4) * load(b + i + 4);
		s2 += load(a + i + 8) * load(b + i + 8);
		s3 += load(a + i + 12) * load(b + i + 12);
	}
	s0 = (s0 + s1) + (s2 + s3);
	return (s0[0] + s0[1]) + (s0[2] + s0[3]);
}

static void subtract(float *y, const float *a, float w, uint32_t nr)
{
	for (uint32_t i = 0; i < nr; i += 4)
		*(quad *)(y + i) -= load(a + i) * w;
}

/* Solve for a row: its likeness to each one above is in y, and what the square
 * of the whole row comes to is given.
 */
static void add_row(struct pst_recall *m, struct memory *l, float square)
{
	float *row = l->rows + row_at(l->nr);

	memset(row, 0, padded(l->nr + 1) * sizeof(*row));
	for (uint32_t i = 0; i < l->nr; i++)
		row[i] = (m->y[i] - dot(l->rows + row_at(i), row, i)) *
			 l->inverse[i];
	square = fmaxf(square - dot(row, row, l->nr), LEAST_SQUARE);
	l->inverse[l->nr] = 1.0f / sqrtf(square);
}

/* Likeness of two tokens, i >= j, as the factor has it. */
static float product(const struct memory *l, uint32_t i, uint32_t j)
{
	const float *a = l->rows + row_at(i), *b = l->rows + row_at(j);

	if (i == j)
		return dot(a, a, i) + 1.0f / (l->inverse[i] * l->inverse[i]);
	return dot(a, b, j) + a[j] / l->inverse[j];
}

/* Forget the oldest: what the factor stands for is multiplied out for the
 * others, and factored again.
 */
static void drop(struct pst_recall *m, struct memory *l, uint32_t gone)
{
	uint32_t nr = l->nr - gone;

	for (uint32_t i = 0; i < nr; i++)
		for (uint32_t j = 0; j <= i; j++)
			m->spare[row_at(i) + j] =
				product(l, gone + i, gone + j);
	for (l->nr = 0; l->nr < nr; l->nr++) {
		const float *likeness = m->spare + row_at(l->nr);

		memcpy(m->y, likeness, l->nr * sizeof(*m->y));
		add_row(m, l, likeness[l->nr]);
	}
}

/* First token that a layer remembers when it comes to one.  Layers forget at
 * different tokens, so that no token waits for all of them.
 */
static uint64_t first_of(const struct pst_recall *m, uint32_t layer,
			 uint64_t token)
{
	uint64_t shift = (uint64_t)layer * NR_HALF / m->nr_layers;

	if (token + shift < NR_PAST)
		return 0;
	return ((token + shift) / NR_HALF - 1) * NR_HALF - shift;
}

/* Make the layer's next row the one of a token.  Tokens that the layer missed
 * are remembered as like nothing.
 */
static void catch_up(struct pst_recall *m, struct memory *l, uint64_t token)
{
	uint64_t first = first_of(m, m->layer, token);

	if (first - l->first >= l->nr)
		l->nr = 0;
	else if (first != l->first)
		drop(m, l, (uint32_t)(first - l->first));
	l->first = first;
	for (; l->first + l->nr < token; l->nr++) {
		memset(set_of(m, l, l->first + l->nr), 0,
		       m->nr_words * sizeof(*l->sets));
		memset(m->y, 0, l->nr * sizeof(*m->y));
		add_row(m, l, 1.0f + RIDGE);
	}
}

/* A single token goes on from the token before: it is like what follows on
 * what that one was like.
 */
static void carry(struct pst_recall *m, const struct present *before)
{
	struct present *p = &m->now[0];
	float self = before->self;

	memcpy(m->old, before->like, sizeof(m->old));
	for (uint64_t i = 0; i < NR_PAST; i++)
		p->like[i] = m->carried[i] ? m->old[(i + NR_PAST - 1) % NR_PAST]
					   : 0.0f;
	p->like[m->base % NR_PAST] = 0.0f;
	p->self = self;
}

static void begin_pass(struct pst_recall *m, uint32_t nr_tokens)
{
	uint32_t last = m->nr_pass ? m->nr_pass - 1 : 0;
	bool goes_on = nr_tokens == 1 && m->nr_pass;

	m->base += m->nr_pass;
	m->nr_pass = nr_tokens;
	for (uint32_t i = 0; i < nr_tokens; i++)
		m->carried[(m->base + i) % NR_PAST] = goes_on;
	/* Before it, a token is like the token after the one before that. */
	if (goes_on) {
		carry(m, &m->now[last]);
		return;
	}
	memset(m->now, 0, nr_tokens * sizeof(m->now[0]));
}

void pst_recall_begin(struct pst_recall *m, uint32_t layer, uint32_t nr_tokens)
{
	/* The last layer may be asked for the last token only, never for more
	 * than the first one was.
	 */
	if (layer <= m->layer || nr_tokens > m->nr_pass)
		begin_pass(m, nr_tokens);
	m->layer = layer;
	m->at = m->nr_pass - nr_tokens;
}

/* Likeness to each past token, up to this layer; y: its share of the most.
 * Tokens that the factor has dropped are compared too, as long as their sets
 * are there: what follows on them goes on from it.
 */
static void compare(struct pst_recall *m, const struct memory *l,
		    struct present *p, const uint64_t *set, float most)
{
	uint64_t token = l->first + l->nr;

	for (uint64_t t = token - PST_MIN(token, NR_PAST - 1); t < token; t++) {
		const uint64_t *past = set_of(m, l, t);
		float *like = &p->like[t % NR_PAST];
		uint64_t some = 0;
		int common = 0;

		for (uint32_t w = 0; w < m->nr_words; w++) {
			some |= past[w];
			if (past[w] & set[w])
				common +=
					__builtin_popcountll(past[w] & set[w]);
		}
		*like = KEEP * *like + (float)common;
		if (t >= l->first)
			m->y[t - l->first] = some ? *like / most : 0.0f;
	}
}

/* The present token's row of the factor, and the weight of each past token in
 * the regression's estimate, in y.
 */
static void solve(struct pst_recall *m, struct memory *l, float self)
{
	add_row(m, l, self + RIDGE);
	memcpy(m->y, l->rows + row_at(l->nr), padded(l->nr) * sizeof(*m->y));
	for (uint32_t i = l->nr; i--;) {
		m->y[i] *= l->inverse[i];
		subtract(m->y, l->rows + row_at(i), m->y[i], i);
	}
}

/* Weights of what followed on each past token: row i + 1 for row i, or the same
 * token's in another layer.  What the regression leaves over goes to all alike.
 */
static void weigh(struct pst_recall *m, const struct memory *l,
		  const struct present *p)
{
	float sum = 0.0f, rest = 1.0f, most = 0.0f, soon = 0.0f, later = 0.0f;

	for (uint32_t i = 0; i < l->nr; i++) {
		rest -= m->y[i];
		most = fmaxf(most, p->like[(l->first + i) % NR_PAST]);
	}
	rest /= (float)l->nr;
	for (uint32_t i = 0; i < l->nr; i++) {
		float like = p->like[(l->first + i) % NR_PAST];
		float w = m->y[i] + rest;

		/* Each weight is spread over the next turns that there are. */
		soon += w / (float)PST_MIN(SOON, l->nr - i);
		later += w / (float)PST_MIN(LATER, l->nr - i);
		if (i >= SOON)
			soon -= (m->y[i - SOON] + rest) / (float)SOON;
		if (i >= LATER)
			later -= (m->y[i - LATER] + rest) / (float)LATER;
		m->weight[i][PST_ECHO_VOTE] = expf(SHARPEN * (like - most));
		m->weight[i][PST_ECHO_NEXT] = w;
		m->weight[i][PST_ECHO_SOON] = soon;
		m->weight[i][PST_ECHO_LATER] = later;
		sum += m->weight[i][PST_ECHO_VOTE];
	}
	for (uint32_t i = 0; i < l->nr; i++)
		m->weight[i][PST_ECHO_VOTE] /= sum;
}

static void tally(const struct pst_recall *m, const struct memory *l,
		  struct pst_echo *out)
{
	memset(out, 0, m->nr_experts * sizeof(*out));
	for (uint32_t i = 0; i < l->nr; i++) {
		const uint64_t *set = set_of(m, l, l->first + i + 1);
		quad w = load(m->weight[i]);

		for (uint32_t k = 0; k < m->nr_words; k++)
			for (uint64_t left = set[k]; left; left &= left - 1) {
				uint32_t b = (uint32_t)__builtin_ctzll(left);

				*(quad *)out[k * 64 + b].share += w;
			}
	}
	for (uint32_t e = 0; e < m->nr_experts; e++)
		for (uint32_t k = 0; k < PST_ECHO_NR; k++)
			out[e].share[k] = fmaxf(out[e].share[k], 0.0f);
}

bool pst_recall_token(struct pst_recall *m, const uint64_t *set,
		      uint32_t nr_used, struct pst_echo *out)
{
	struct memory *l = &m->layers[m->layer];
	struct present *p = &m->now[m->at];
	float most = (float)PST_MAX(nr_used, 1u) / (1.0f - KEEP);
	bool past;

	catch_up(m, l, m->base + m->at++);
	compare(m, l, p, set, most);
	p->self = KEEP * p->self + (float)nr_used;
	solve(m, l, p->self / most);
	memcpy(set_of(m, l, l->first + l->nr), set, m->nr_words * sizeof(*set));
	past = l->nr > 1;
	m->nr_weights = past ? l->nr : 0;
	if (past) {
		weigh(m, l, p);
		tally(m, l, out);
	}
	l->nr++;
	return past;
}

bool pst_recall_ahead(const struct pst_recall *m, uint32_t layer, float *share)
{
	const struct memory *here = &m->layers[m->layer % m->nr_layers];
	const struct memory *there = &m->layers[layer];
	/* The next token's turns follow on those that followed on the past ones. */
	uint32_t later = layer <= m->layer;
	uint32_t nr = m->nr_weights;

	/* A layer that has missed a token knows another past. */
	if (m->nr_pass != 1 || !nr ||
	    there->first + there->nr != m->base + later)
		return false;
	memset(share, 0, m->nr_experts * sizeof(*share));
	for (uint32_t i = 0; i < nr; i++) {
		const uint64_t *set = set_of(m, there, here->first + i + later);
		float w = m->weight[i][PST_ECHO_NEXT];

		for (uint32_t k = 0; k < m->nr_words; k++)
			for (uint64_t left = set[k]; left; left &= left - 1)
				share[k * 64 + (uint32_t)__builtin_ctzll(left)] +=
					w;
	}
	for (uint32_t e = 0; e < m->nr_experts; e++)
		share[e] = fmaxf(share[e], 0.0f);
	return true;
}
