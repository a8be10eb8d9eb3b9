// SPDX-License-Identifier: MIT
/*
 * Trains the tiny demo model on one core.  Matrices of the blocks are updated
 * by Muon (orthogonalised momentum), the others by AdamW.
 *
 *	train CORPUS_DIR CHECKPOINT MINUTES [--check]
 *
 * The rate follows the minutes of training, so that the end is a good one
 * however fast the machine is.  An interrupted run goes on from its
 * checkpoint.  export.py reads that; the order of its arrays is that of
 * net->params.  A tool for one task: any failure ends it.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "net.h"

enum {
	SAVE_S = 180,
	REPORT_STEPS = 20,
	HELD_OUT_STEPS = 250,
};

static const float peak_adam = 3e-3f; /* rate */
static const float peak_muon = 1.2e-3f; /* root mean square of an update */

static double now_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

static void die(const char *what)
{
	perror(what);
	exit(2);
}

/* ---- updates ------------------------------------------------------------- */

struct muon {
	float u[DIM * DIM], turned[DIM * DIM];
	float gram[DIM * DIM], poly[DIM * DIM], next[DIM * DIM];
};

static void turn(float *dst, const float *src, int rows, int cols)
{
	for (int i = 0; i < rows; i++)
		for (int j = 0; j < cols; j++)
			dst[j * rows + i] = src[i * cols + j];
}

/* x is replaced by about its nearest semi-orthogonal matrix, rows <= cols:
 * five steps after Newton and Schulz.
 */
static void orthogonal(struct net *n, struct muon *s, float *p, int r, int c)
{
	struct mat x = mat(p, c, r, c), gram = mat(s->gram, r, r, r);
	struct mat poly = mat(s->poly, r, r, r), next = mat(s->next, c, r, c);
	double sq = 1e-12;

	for (int i = 0; i < r * c; i++)
		sq += (double)p[i] * p[i];
	for (int i = 0; i < r * c; i++)
		p[i] = (float)(p[i] / sqrt(sq));
	for (int step = 0; step < 5; step++) {
		factor_of(&n->a, x);
		n->b.nr_pairs = c / 2;
		panels_put_transposed(&n->b, 0, x);
		product(gram, false, &n->a, &n->b);
		factor_of(&n->a, gram);
		panels_put(&n->b, 0, gram);
		product(poly, false, &n->a, &n->b);
		for (int i = 0; i < r * r; i++)
			s->poly[i] =
				-4.7750f * s->gram[i] + 2.0315f * s->poly[i];
		factor_of(&n->a, poly);
		panels_put(&n->b, 0, x);
		product(next, false, &n->a, &n->b);
		for (int i = 0; i < r * c; i++)
			p[i] = 3.4445f * p[i] + s->next[i];
	}
}

static void update_muon(struct net *n, struct muon *s, struct param *p,
			float rate, float decay)
{
	int r = p->rows, c = p->cols, size = r * c;
	float step = rate * sqrtf(r > c ? r : c);

	for (int e = 0; e < p->count; e++) {
		float *w = p->w + (size_t)e * size;
		const float *g = p->g + (size_t)e * size;
		float *m = p->m + (size_t)e * size;

		for (int i = 0; i < size; i++) {
			m[i] = 0.95f * m[i] + 0.05f * g[i];
			s->u[i] = 0.05f * g[i] + 0.95f * m[i];
		}
		if (r > c) {
			turn(s->turned, s->u, r, c);
			orthogonal(n, s, s->turned, c, r);
			turn(s->u, s->turned, c, r);
		} else {
			orthogonal(n, s, s->u, r, c);
		}
		for (int i = 0; i < size; i++)
			w[i] = w[i] * (1 - decay) - step * s->u[i];
	}
}

/* The tables' and norms' gradients together are kept within length 1. */
static float clip(const struct net *n)
{
	double sq = 0;

	for (int k = 0; k < NR_PARAMS; k++)
		if (n->params[k].kind != MATRIX)
			for (size_t i = 0; i < param_size(&n->params[k]); i++)
				sq += (double)n->params[k].g[i] *
				      n->params[k].g[i];
	return sq > 1 ? (float)(1 / sqrt(sq)) : 1;
}

static void update_adam(struct param *p, int step, float rate, float by)
{
	float c1 = 1 - powf(0.9f, step + 1), c2 = 1 - powf(0.95f, step + 1);
	float decay = p->kind == TABLE ? 0.02f : 0;

	for (size_t i = 0; i < param_size(p); i++) {
		float g = p->g[i] * by;

		p->m[i] = 0.9f * p->m[i] + 0.1f * g;
		p->v[i] = 0.95f * p->v[i] + 0.05f * g * g;
		p->w[i] -=
			rate * (p->m[i] / c1 / (sqrtf(p->v[i] / c2) + 1e-9f) +
				decay * p->w[i]);
	}
}

static void update(struct net *n, struct muon *s, int step, float scale)
{
	float rate = peak_adam * scale, by = clip(n);

	for (int k = 0; k < NR_PARAMS; k++) {
		struct param *p = &n->params[k];

		if (p->kind == MATRIX)
			update_muon(n, s, p, peak_muon * scale, 0.1f * rate);
		else
			update_adam(p, step, rate, by);
		memset(p->g, 0, param_size(p) * sizeof(float));
	}
}

/* ---- text and checkpoints ------------------------------------------------ */

struct text {
	uint16_t *ids;
	size_t n;
};

static struct text load(const char *folder, const char *name)
{
	char path[4096];
	struct text t;
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	f = fopen(path, "rb");
	if (!f || fseek(f, 0, SEEK_END))
		die(path);
	t.n = (size_t)ftell(f) / 2;
	rewind(f);
	t.ids = malloc(t.n * 2);
	if (!t.ids || fread(t.ids, 2, t.n, f) != t.n || t.n < 2 * TOKENS)
		die(path);
	fclose(f);
	return t;
}

static void window(struct net *n, const struct text *t, int seq, size_t at)
{
	memcpy(n->ids + seq * CTX, t->ids + at, CTX * 2);
	memcpy(n->targets + seq * CTX, t->ids + at + 1, CTX * 2);
}

static void sample(struct net *n, const struct text *t)
{
	for (int s = 0; s < SEQS; s++)
		window(n, t, s, net_random(n) % (t->n - CTX - 1));
}

/* The mean loss of windows at equal distances. */
static double held_out(struct net *n, const struct text *t, int batches)
{
	size_t hop = (t->n - CTX - 1) / ((size_t)batches * SEQS);
	double loss = 0;

	for (int b = 0; b < batches; b++) {
		for (int s = 0; s < SEQS; s++)
			window(n, t, s, hop * ((size_t)b * SEQS + s));
		loss += net_forward(n, false);
	}
	return loss / batches / TOKENS;
}

struct state {
	double spent_s;
	int64_t step;
	uint64_t random;
};

static void each_array(struct net *n, FILE *f, bool put)
{
	for (int k = 0; k < NR_PARAMS; k++) {
		struct param *p = &n->params[k];
		float *part[] = { p->w, p->m, p->v };
		size_t size = param_size(p);

		for (int j = 0; j < 3; j++)
			if (part[j] &&
			    (put ? fwrite(part[j], 4, size, f)
				 : fread(part[j], 4, size, f)) != size)
				die("checkpoint");
	}
}

static void save(struct net *n, struct state *st, const char *path)
{
	char tmp[4096];
	FILE *f;

	st->random = n->random;
	snprintf(tmp, sizeof(tmp), "%s.tmp", path);
	f = fopen(tmp, "wb");
	if (!f || fwrite(st, sizeof(*st), 1, f) != 1)
		die(tmp);
	each_array(n, f, true);
	if (fclose(f) || rename(tmp, path))
		die(path);
}

static void restore(struct net *n, struct state *st, const char *path)
{
	FILE *f = fopen(path, "rb");

	if (!f)
		return;
	if (fread(st, sizeof(*st), 1, f) != 1)
		die(path);
	each_array(n, f, false);
	fclose(f);
	n->random = st->random;
	printf("going on from step %ld\n", (long)st->step);
}

/* ---- the loop ------------------------------------------------------------ */

static double shifted(struct net *n, struct param *p, double by)
{
	for (size_t i = 0; i < param_size(p); i++)
		p->w[i] += (float)(by * p->g[i]);
	return net_forward(n, false) / TOKENS / MICROS;
}

/*
 * Along each parameter's own gradient the loss changes by the square of the
 * gradient's length.  Rounding to BF16 and tokens that change their experts
 * leave some per cent; with USED = EXPERTS it is one.
 */
static void check_gradients(struct net *n)
{
	n->balance = 0;
	net_forward(n, true);
	net_backward(n);
	for (int k = 0; k < NR_PARAMS; k++) {
		struct param *p = &n->params[k];
		double sq = 0, ww = 0, up, down, h;

		for (size_t i = 0; i < param_size(p); i++) {
			sq += (double)p->g[i] * p->g[i];
			ww += (double)p->w[i] * p->w[i];
		}
		h = 0.004 * sqrt(ww / sq);
		up = shifted(n, p, h);
		down = shifted(n, p, -2 * h);
		shifted(n, p, h);
		printf("%-12s |g| %9.3g  measured/expected %.4f\n", p->name,
		       sqrt(sq), (up - down) / (2 * h) / sq);
	}
}

/* Up in the first 2 %, level to 40 %, then straight down. */
static float schedule(double part)
{
	if (part < 0.02)
		return (float)(part / 0.02) + 0.01f;
	return part < 0.4 ? 1.0f : (float)fmax((1 - part) / 0.6, 0.01);
}

/* For each layer the least and the most used expert, 1 being an equal share. */
static void report_load(struct net *n)
{
	printf("  load");
	for (int l = 0; l < LAYERS; l++) {
		double most = 0, least = 1e9, sum = 0;

		for (int e = 0; e < EXPERTS; e++) {
			sum += n->load[l][e];
			most = fmax(most, n->load[l][e]);
			least = fmin(least, n->load[l][e]);
		}
		printf(" %.2f-%.2f", least * EXPERTS / sum,
		       most * EXPERTS / sum);
	}
	printf("\n");
	memset(n->load, 0, sizeof(n->load));
}

static double step(struct net *n, struct muon *s, const struct text *t,
		   struct state *st, double part)
{
	double loss = 0;

	for (int i = 0; i < MICROS; i++) {
		sample(n, t);
		loss += net_forward(n, true) / TOKENS;
		net_backward(n);
	}
	update(n, s, (int)st->step++, schedule(part));
	return loss / MICROS;
}

static void train(struct net *n, struct state *st, char **argv)
{
	struct text t = load(argv[1], "train.u16");
	struct text held = load(argv[1], "held.u16");
	struct muon *s = calloc(1, sizeof(*s));
	double budget_s = atof(argv[3]) * 60, saved = now_s(), sum = 0;

	if (!s)
		die("memory");
	while (st->spent_s < budget_s) {
		double t0 = now_s();

		sum += step(n, s, &t, st, st->spent_s / budget_s);
		st->spent_s += now_s() - t0;
		if (st->step % REPORT_STEPS == 0) {
			printf("step %ld  %.1f min  loss %.4f", (long)st->step,
			       st->spent_s / 60, sum / REPORT_STEPS);
			report_load(n);
			sum = 0;
		}
		if (st->step % HELD_OUT_STEPS == 0)
			printf("held out %.4f nats per token\n",
			       held_out(n, &held, 8));
		fflush(stdout);
		if (now_s() - saved > SAVE_S) {
			save(n, st, argv[2]);
			saved = now_s();
		}
	}
	save(n, st, argv[2]);
	printf("done: step %ld, held out %.4f nats per token\n", (long)st->step,
	       held_out(n, &held, (int)(held.n / TOKENS)));
	free(s);
	free(t.ids);
	free(held.ids);
}

int main(int argc, char **argv)
{
	struct state st = { 0 };
	struct net *n;

	if (argc < 4) {
		fprintf(stderr,
			"train CORPUS_DIR CHECKPOINT MINUTES [--check]\n");
		return 2;
	}
	n = net_new(7);
	restore(n, &st, argv[2]);
	if (argc == 4) {
		train(n, &st, argv);
	} else {
		struct text t = load(argv[1], "train.u16");

		sample(n, &t);
		check_gradients(n);
	}
	return 0;
}
