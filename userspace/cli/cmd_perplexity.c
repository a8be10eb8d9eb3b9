// SPDX-License-Identifier: MIT
/*
 * penstock perplexity: exp of the mean negative log-likelihood of a text.
 *
 * Windows of the context size that do not overlap; the first half of a window
 * is context only, the second half is scored; a window starts with BOS where
 * the model asks for it.  These are llama.cpp's rules, so that the figures can
 * be compared.  A text shorter than one window is scored from its second token.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "tokenizer.h"

/* llama.cpp measures with this context unless told otherwise. */
#define DEFAULT_WINDOW 512

struct score {
	const int32_t *ids; /* of the window, as in the text */
	uint32_t nr_vocab;
	double nll;
	double nll_sq;
	uint64_t nr;
};

struct ppl {
	struct cli_opts *o;
	struct pst_engine *e;
	struct pst_session *s;
	struct pst_tokens text;
	bool add_bos;
	uint32_t window;
	uint32_t first; /* index of the first logits that are scored */
	uint32_t nr_windows;
	uint64_t done; /* tokens of finished windows */
	struct score score;
};

/* -log softmax(logits)[id], in float64 throughout. */
static double neg_log_prob(const float *logits, uint32_t n, int32_t id)
{
	float max = logits[0];
	double sum = 0.0;

	for (uint32_t i = 1; i < n; i++)
		max = fmaxf(max, logits[i]);
	for (uint32_t i = 0; i < n; i++)
		sum += exp((double)logits[i] - (double)max);
	return log(sum) + (double)max - (double)logits[id];
}

static int on_logits(void *ctx, uint32_t index, const float *logits)
{
	struct ppl *p = ctx;
	struct score *s = &p->score;
	double v = neg_log_prob(logits, s->nr_vocab, s->ids[index + 1]);

	if (!isfinite(v))
		return -ERANGE;
	s->nll += v;
	s->nll_sq += v * v;
	s->nr++;
	return 0;
}

static void on_progress(void *ctx, uint64_t done, uint64_t all)
{
	struct ppl *p = ctx;

	cli_bar_update(&p->o->bar, "perplexity",
		       p->done + p->window * done / all,
		       (uint64_t)p->window * p->nr_windows, "tok");
}

static int run_window(struct ppl *p, int32_t *ids, struct pst_diag *diag)
{
	/* The last token of a window predicts nothing that is scored. */
	struct pst_eval ev = { .tokens = ids,
			       .nr = p->window - 1,
			       .first_logits = p->first,
			       .logits = on_logits,
			       .progress = on_progress,
			       .ctx = p };
	int32_t kept = ids[0];
	int rc;

	p->score.ids = ids;
	if (p->add_bos)
		ids[0] = pst_vocab_bos(pst_engine_vocab(p->e));
	pst_session_truncate(p->s, 0);
	rc = pst_session_eval(p->s, &ev, diag);
	ids[0] = kept;
	p->done += p->window;
	return rc;
}

static int read_text(struct cli_opts *o, char **text, size_t *len)
{
	if (o->file || !isatty(STDIN_FILENO))
		return cli_read_input(o, text, len);
	cli_error("perplexity: give a text with -f FILE or on stdin");
	return EXIT_USAGE;
}

/* Whether the model wants BOS shows in what it makes of an empty text. */
static int tokenize(struct ppl *p, const char *text, size_t len)
{
	const struct pst_vocab *v = pst_engine_vocab(p->e);
	struct pst_tokens empty = { 0 };
	int rc = pst_vocab_tokenize(v, "", 0, PST_TOKENIZE_BOS, &empty);

	if (!rc)
		rc = pst_vocab_tokenize(v, text, len, PST_TOKENIZE_BOS,
					&p->text);
	p->add_bos = empty.nr && empty.ids[0] == pst_vocab_bos(v);
	pst_tokens_fini(&empty);
	return rc;
}

static int measure(struct ppl *p)
{
	uint32_t ctx = pst_engine_plan(p->e)->ctx_size;
	struct pst_diag diag;
	int rc = 0;

	if (p->text.nr < 2 || ctx < 2) {
		cli_error("perplexity: %zu tokens in a context of %u: two of "
			  "each are the least",
			  p->text.nr, ctx);
		return EXIT_FAILED;
	}
	pst_diag_init(&diag);
	p->window = (uint32_t)PST_MIN((size_t)ctx, p->text.nr);
	p->first = p->text.nr < ctx ? 0 : p->window / 2;
	/* A window of two has no second half to predict. */
	p->first = PST_MIN(p->first, p->window - 2);
	p->nr_windows = (uint32_t)(p->text.nr / p->window);
	p->score.nr_vocab = pst_engine_nr_vocab(p->e);
	for (uint32_t i = 0; !rc && i < p->nr_windows; i++)
		rc = run_window(p, p->text.ids + (size_t)i * p->window, &diag);
	cli_bar_clear(&p->o->bar);
	if (rc == -ERANGE && !diag.err) {
		cli_error("perplexity: the model gave logits that are no "
			  "numbers, in window %llu",
			  (unsigned long long)(p->done / p->window));
		return EXIT_FAILED;
	}
	return rc ? cli_fail(rc, &diag) : EXIT_OK;
}

static int report(const struct ppl *p, uint64_t ns)
{
	const struct score *s = &p->score;
	double n = (double)s->nr, mean = s->nll / n, ppl = exp(mean);
	double var = s->nll_sq / n - mean * mean;
	/* Of the mean, carried over to its exponential. */
	double err = n > 1 && var > 0 ? ppl * sqrt(var / (n - 1)) : 0.0;
	size_t left = p->text.nr - (size_t)p->window * p->nr_windows;

	if (!isfinite(ppl)) {
		cli_error("perplexity: exp(%.3f) is beyond float64", mean);
		return EXIT_FAILED;
	}
	if (p->o->output == OUT_JSON)
		printf("{\"schema\":\"penstock.perplexity.1\","
		       "\"perplexity\":%.9g,\"stderr\":%.9g,"
		       "\"mean_nll\":%.9g,\"tokens\":%zu,"
		       "\"scored_tokens\":%llu,\"unused_tokens\":%zu,"
		       "\"windows\":%u,\"window_tokens\":%u,"
		       "\"bos\":%s,\"seconds\":%.6f}\n",
		       ppl, err, mean, p->text.nr, (unsigned long long)s->nr,
		       left, p->nr_windows, p->window,
		       p->add_bos ? "true" : "false", (double)ns * 1e-9);
	else if (p->o->output == OUT_CSV)
		printf("perplexity,stderr,mean_nll,tokens,scored_tokens,"
		       "unused_tokens,windows,window_tokens,seconds\n"
		       "%.9g,%.9g,%.9g,%zu,%llu,%zu,%u,%u,%.6f\n",
		       ppl, err, mean, p->text.nr, (unsigned long long)s->nr,
		       left, p->nr_windows, p->window, (double)ns * 1e-9);
	else
		printf("perplexity %.4f +/- %.4f (%llu of %zu tokens scored, "
		       "%u window%s of %u)\n",
		       ppl, err, (unsigned long long)s->nr, p->text.nr,
		       p->nr_windows, p->nr_windows == 1 ? "" : "s", p->window);
	return EXIT_OK;
}

int cmd_perplexity(struct cli_opts *o)
{
	struct ppl p = { .o = o };
	uint64_t start;
	char *text;
	size_t len;
	int rc = read_text(o, &text, &len);

	if (rc)
		return rc;
	if (!o->engine.ctx_size)
		o->engine.ctx_size = DEFAULT_WINDOW;
	rc = cli_open(o, o->args[0], &p.e);
	if (rc)
		goto out_text;
	start = pst_now_ns();
	rc = tokenize(&p, text, len);
	if (!rc)
		rc = pst_session_create(p.e, &p.s);
	rc = rc ? cli_fail(rc, NULL) : measure(&p);
	if (!rc)
		rc = report(&p, pst_now_ns() - start);
	pst_session_destroy(p.s);
	pst_tokens_fini(&p.text);
	pst_engine_close(p.e);
out_text:
	free(text);
	return rc;
}
