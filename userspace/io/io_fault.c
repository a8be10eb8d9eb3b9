// SPDX-License-Identifier: MIT
/*
 * The fault twin: stands in front of a backend and spoils what comes back, by
 * a seeded generator.  Where an attempt delivered less than it reports, the
 * rest of the buffer is overwritten: a caller who uses bytes that did not land
 * is found out.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "io_priv.h"

#define POISON	     0xa5
#define VALUE_MAX    64
#define DELAY_US_MAX 10000000
#define NAP_NS	     50000

/* An attempt that ended below and is not yet passed on. */
struct held {
	struct pst_io_read *read;
	uint64_t due_ns;
};

struct twin {
	struct pst_io_backend base;
	const struct pst_io_setup *setup;
	struct pst_io_backend *inner;
	struct pst_io_fault fault;
	struct pst_io_ops ops; /* named after the inner backend */
	uint64_t rng;
	uint64_t nr_attempts;
	uint32_t nr_below; /* in the inner backend's hands */
	uint32_t nr_held;
	struct held held[]; /* [setup->depth] */
};

static struct twin *to_twin(struct pst_io_backend *be)
{
	return (struct twin *)be;
}

static int parse_probability(const char *v, double *out)
{
	char *end;
	double p = strtod(v, &end);

	/* Written so that NaN fails. */
	if (end == v || *end || !(p >= 0 && p <= 1))
		return -EINVAL;
	*out = p;
	return 0;
}

static int parse_count(const char *v, uint64_t max, uint64_t *out)
{
	unsigned long long n;
	char *end;

	if (*v < '0' || *v > '9')
		return -EINVAL;
	errno = 0;
	n = strtoull(v, &end, 0);
	if (*end || errno || n > max)
		return -EINVAL;
	*out = n;
	return 0;
}

static int parse_pair(const char *key, const char *v, struct pst_io_fault *f)
{
	uint64_t n;
	int ret;

	if (!strcmp(key, "seed"))
		return parse_count(v, UINT64_MAX, &f->seed);
	if (!strcmp(key, "eio"))
		return parse_probability(v, &f->eio);
	if (!strcmp(key, "short"))
		return parse_probability(v, &f->partial);
	if (!strcmp(key, "eagain"))
		return parse_probability(v, &f->eagain);
	if (!strcmp(key, "flip"))
		return parse_probability(v, &f->flip);
	if (!strcmp(key, "eio_at"))
		return parse_count(v, UINT64_MAX, &f->eio_at);
	if (!strcmp(key, "copy"))
		return parse_count(v, PST_IO_COPIES_MAX - 1, &f->copy);
	if (!strcmp(key, "eio_after"))
		return parse_count(v, UINT64_MAX, &f->eio_after);
	if (!strcmp(key, "delay_us")) {
		ret = parse_count(v, DELAY_US_MAX, &n);
		if (!ret)
			f->delay_ns = n * 1000;
		return ret;
	}
	if (!strcmp(key, "shuffle")) {
		ret = parse_count(v, 1, &n);
		if (!ret)
			f->shuffle = n;
		return ret;
	}
	return -EINVAL;
}

int pst_io_fault_parse(const char *text, struct pst_io_fault *out)
{
	struct pst_io_fault f = { .eio_after = UINT64_MAX, .copy = UINT64_MAX };
	char pair[VALUE_MAX];

	while (*text) {
		size_t len = strcspn(text, ",");
		char *eq;

		if (len >= sizeof(pair))
			return -EINVAL;
		memcpy(pair, text, len);
		pair[len] = 0;
		eq = strchr(pair, '=');
		if (!eq)
			return -EINVAL;
		*eq = 0;
		if (parse_pair(pair, eq + 1, &f))
			return -EINVAL;
		text += len;
		if (*text == ',' && !*++text)
			return -EINVAL;
	}
	*out = f;
	return 0;
}

static bool chance(struct twin *t, double p)
{
	return (double)(pst_rng_next(&t->rng) >> 11) < p * 0x1p53;
}

static uint32_t below(struct twin *t, uint32_t bound)
{
	return (uint32_t)(pst_rng_next(&t->rng) % bound);
}

/* Report @res instead of what came, and spoil the bytes past it. */
static void pretend(struct twin *t, struct pst_io_read *r, int res)
{
	const struct pst_io_file *f = &t->setup->files->v[r->src];
	struct pst_io_span s = pst_io_span_of(r, f);
	uint32_t keep = res > 0 ? (uint32_t)res : 0;

	memset(s.buf + keep, POISON, s.len_bytes - keep);
	r->result = res;
}

static void flip_bit(struct twin *t, struct pst_io_read *r)
{
	const struct pst_io_file *f = &t->setup->files->v[r->src];
	struct pst_io_span s = pst_io_span_of(r, f);

	s.buf[below(t, (uint32_t)r->result)] ^= 1U << below(t, 8);
}

static void spoil(struct twin *t, struct pst_io_read *r)
{
	const struct pst_io_fault *f = &t->fault;
	uint64_t nr = ++t->nr_attempts;

	if (nr > f->eio_after || nr == f->eio_at || chance(t, f->eio)) {
		pretend(t, r, -EIO);
		return;
	}
	if (chance(t, f->eagain)) {
		pretend(t, r, -EAGAIN);
		return;
	}
	/* At least one byte: an empty attempt means the end of the file. */
	if (r->result > 1 && chance(t, f->partial))
		pretend(t, r, 1 + (int)below(t, (uint32_t)r->result - 1));
	if (r->result > 0 && chance(t, f->flip))
		flip_bit(t, r);
}

static bool meant(const struct twin *t, const struct pst_io_read *r)
{
	return t->fault.copy == UINT64_MAX ||
	       t->fault.copy == t->setup->files->v[r->src].copy;
}

/* Fetch from below; with @wait at least one, which then is below for sure. */
static void fetch(struct twin *t, bool wait)
{
	struct pst_io_read *r, *next;
	uint64_t due_ns;

	if (!t->nr_below)
		return;
	r = t->inner->ops->reap(t->inner, wait);
	due_ns = t->fault.delay_ns ? pst_now_ns() + t->fault.delay_ns : 0;
	for (; r; r = next) {
		bool spoiled = meant(t, r);

		next = r->next;
		if (spoiled)
			spoil(t, r);
		t->held[t->nr_held++] =
			(struct held){ .read = r,
				       .due_ns = spoiled ? due_ns : 0 };
		t->nr_below--;
	}
}

static void release(struct twin *t, uint32_t i, struct pst_io_list *out)
{
	pst_io_list_add(out, t->held[i].read);
	t->nr_held--;
	memmove(&t->held[i], &t->held[i + 1],
		(t->nr_held - i) * sizeof(t->held[0]));
}

/* Pass on what is due; shuffling, about half of it, from anywhere. */
static void release_due(struct twin *t, struct pst_io_list *out)
{
	uint64_t now_ns = t->fault.delay_ns ? pst_now_ns() : 0;
	uint32_t tries = t->nr_held;

	if (t->fault.shuffle) {
		for (tries = (tries + 1) / 2; tries && t->nr_held; tries--) {
			uint32_t i = below(t, t->nr_held);

			if (t->held[i].due_ns <= now_ns)
				release(t, i, out);
		}
		return;
	}
	for (uint32_t i = 0; i < t->nr_held;) {
		if (t->held[i].due_ns <= now_ns)
			release(t, i, out);
		else
			i++;
	}
}

/*
 * Until something held is due; or for a moment only, when what is still below
 * may come back undelayed before that.
 */
static void nap(const struct twin *t)
{
	uint64_t now_ns = pst_now_ns();
	uint64_t due_ns = t->held[0].due_ns;

	if (t->fault.copy != UINT64_MAX && t->nr_below)
		due_ns = PST_MIN(due_ns, now_ns + NAP_NS);
	if (due_ns > now_ns)
		pst_sleep_ns(due_ns - now_ns);
}

static struct pst_io_read *twin_reap(struct pst_io_backend *be, bool wait)
{
	struct twin *t = to_twin(be);
	struct pst_io_list out = { 0 };

	fetch(t, false);
	for (;;) {
		/*
		 * Waiting below is safe even with completions in hand: the
		 * inner backend ends every attempt.  It makes orders that a
		 * drive with deep queues would.
		 */
		if (wait && (!t->nr_held || (t->fault.shuffle && below(t, 2))))
			fetch(t, true);
		release_due(t, &out);
		if (out.head || !wait)
			return out.head;
		if (t->nr_held)
			nap(t);
		if (t->fault.copy != UINT64_MAX)
			fetch(t, false);
	}
}

static void twin_destroy(struct pst_io_backend *be)
{
	struct twin *t = to_twin(be);

	t->inner->ops->destroy(t->inner);
	free(t);
}

static int twin_add_file(struct pst_io_backend *be, const char *path,
			 uint32_t index, struct pst_io_file *out,
			 struct pst_diag *diag)
{
	struct pst_io_backend *inner = to_twin(be)->inner;

	return inner->ops->add_file(inner, path, index, out, diag);
}

static int twin_add_region(struct pst_io_backend *be, uint32_t index,
			   void *addr, uint64_t size_bytes)
{
	struct pst_io_backend *inner = to_twin(be)->inner;

	return inner->ops->add_region(inner, index, addr, size_bytes);
}

static int twin_drop_region(struct pst_io_backend *be, uint32_t index)
{
	struct pst_io_backend *inner = to_twin(be)->inner;

	return inner->ops->drop_region(inner, index);
}

static void twin_issue(struct pst_io_backend *be, struct pst_io_read *list)
{
	struct twin *t = to_twin(be);

	for (const struct pst_io_read *r = list; r; r = r->next)
		t->nr_below++;
	t->inner->ops->issue(t->inner, list);
}

static enum pst_io_mode twin_mode(const struct pst_io_backend *be)
{
	const struct pst_io_backend *inner = ((const struct twin *)be)->inner;

	return inner->ops->mode(inner);
}

int pst_io_fault_wrap(const struct pst_io_setup *setup,
		      const struct pst_io_fault *fault,
		      struct pst_io_backend *inner, struct pst_io_backend **out)
{
	struct twin *t;

	t = calloc(1, sizeof(*t) + setup->depth * sizeof(t->held[0]));
	if (!t)
		return -ENOMEM;
	t->ops = (struct pst_io_ops){
		.name = inner->ops->name,
		.destroy = twin_destroy,
		.add_file = twin_add_file,
		.add_region = inner->ops->add_region ? twin_add_region : NULL,
		.drop_region = twin_drop_region,
		.issue = twin_issue,
		.mode = inner->ops->mode ? twin_mode : NULL,
		.reap = twin_reap,
	};
	t->base.ops = &t->ops;
	t->setup = setup;
	t->fault = *fault;
	t->inner = inner;
	t->rng = fault->seed;
	*out = &t->base;
	return 0;
}
