// SPDX-License-Identifier: MIT
/*
 * penstock embed: a text to one vector, of length one unless that is not wanted.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "tokenizer.h"

static const char *const pooling_names[] = {
	[PST_STATES_MEAN] = "mean",
	[PST_STATES_FIRST] = "cls",
	[PST_STATES_LAST] = "last",
};

/* A vector of zeros stays one. */
static void normalize(float *v, uint32_t n)
{
	double sq = 0.0;

	for (uint32_t i = 0; i < n; i++)
		sq += (double)v[i] * (double)v[i];
	for (uint32_t i = 0; sq > 0.0 && i < n; i++)
		v[i] = (float)((double)v[i] / sqrt(sq));
}

static void print_numbers(const float *v, uint32_t n, const char *between)
{
	for (uint32_t i = 0; i < n; i++)
		printf("%s%.9g", i ? between : "", (double)v[i]);
}

static void print_vector(const struct cli_opts *o, const char *pooling,
			 const float *v, uint32_t n, size_t nr_tokens)
{
	if (o->output != OUT_JSON) {
		print_numbers(v, n, o->output == OUT_CSV ? "," : " ");
		putchar('\n');
		return;
	}
	printf("{\"schema\":\"penstock.embed.1\",\"pooling\":\"%s\","
	       "\"normalized\":%s,\"tokens\":%zu,\"embedding\":[",
	       pooling, o->no_normalize ? "false" : "true", nr_tokens);
	print_numbers(v, n, ",");
	puts("]}");
}

static int embed(const struct cli_opts *o, struct pst_engine *e,
		 const struct pst_tokens *t)
{
	uint32_t n = pst_engine_nr_out(e, true);
	enum pst_states how = o->pooling;
	struct pst_session *s;
	struct pst_diag diag;
	float *v;
	int rc;

	if (how == PST_STATES_MODEL)
		how = pst_engine_pooling(e);
	if (how == PST_STATES_MODEL) {
		cli_error("%s: the file does not say how the states become "
			  "one vector: give --pooling mean, cls or last",
			  o->args[0]);
		return EXIT_UNAVAIL;
	}
	v = calloc(n, sizeof(*v));
	rc = v ? pst_session_create(e, &s) : -ENOMEM;
	if (rc) {
		free(v);
		return cli_fail(rc, NULL);
	}
	pst_diag_init(&diag);
	rc = pst_session_embed(s, t->ids, (uint32_t)t->nr, how, v, &diag);
	pst_session_destroy(s);
	if (!rc && !o->no_normalize)
		normalize(v, n);
	if (!rc)
		print_vector(o, pooling_names[how], v, n, t->nr);
	free(v);
	return rc ? cli_fail(rc, &diag) : EXIT_OK;
}

static int embed_text(const struct cli_opts *o, struct pst_engine *e,
		      const char *text, size_t len)
{
	struct pst_tokens t = { 0 };
	int rc = pst_vocab_tokenize(pst_engine_vocab(e), text, len,
				    PST_TOKENIZE_BOS, &t);

	rc = rc ? cli_fail(rc, NULL) : embed(o, e, &t);
	pst_tokens_fini(&t);
	return rc;
}

int cmd_embed(struct cli_opts *o)
{
	struct pst_engine *e;
	char *text = NULL;
	size_t len;
	int rc;

	if (o->nr_args > 1 && o->file) {
		cli_error("embed: a text and --file are one too many");
		return EXIT_USAGE;
	}
	if (o->nr_args < 2) {
		rc = cli_read_input(o, &text, &len);
		if (rc)
			return rc;
	} else {
		len = strlen(o->args[1]);
	}
	o->engine.states_do = true;
	rc = cli_open(o, o->args[0], &e);
	if (!rc) {
		rc = embed_text(o, e, text ? text : o->args[1], len);
		pst_engine_close(e);
	}
	free(text);
	return rc;
}
