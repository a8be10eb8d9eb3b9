// SPDX-License-Identifier: MIT
/*
 * io over a few threads that call pread(): for kernels and containers without
 * io_uring.  The common layer bounds what is in the lists.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io_priv.h"

struct preader {
	struct pst_io_backend base;
	const struct pst_io_setup *setup;
	pthread_mutex_t lock; /* guards the lists and stop */
	pthread_cond_t more; /* todo has grown, or stop was set */
	pthread_cond_t ended; /* done has grown */
	struct pst_io_list todo[2]; /* by class when they were issued */
	struct pst_io_list done;
	bool stop;
	uint32_t nr_threads;
	pthread_t threads[];
};

static struct preader *to_preader(struct pst_io_backend *be)
{
	return (struct preader *)be;
}

static int read_once(const struct preader *p, const struct pst_io_read *r)
{
	const struct pst_io_file *f = &p->setup->files->v[r->src];
	struct pst_io_span s = pst_io_span_of(r, f);
	ssize_t n;

	n = pread(f->fd, s.buf, s.len_bytes, (off_t)s.off_bytes);
	return n < 0 ? -errno : (int)n;
}

/* Demand first: an idle read may lie here since before it was submitted. */
static struct pst_io_read *pop_todo(struct preader *p)
{
	struct pst_io_read *r = pst_io_list_pop(&p->todo[PST_IO_DEMAND]);

	return r ? r : pst_io_list_pop(&p->todo[PST_IO_IDLE]);
}

static void *reader_main(void *arg)
{
	struct preader *p = arg;
	struct pst_io_read *r;
	int res;

	pthread_mutex_lock(&p->lock);
	for (;;) {
		while (!(r = pop_todo(p)) && !p->stop)
			pthread_cond_wait(&p->more, &p->lock);
		if (!r)
			break;
		pthread_mutex_unlock(&p->lock);
		res = read_once(p, r);
		pthread_mutex_lock(&p->lock);
		r->result = res;
		pst_io_list_add(&p->done, r);
		pthread_cond_signal(&p->ended);
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

static void preader_destroy(struct pst_io_backend *be)
{
	struct preader *p = to_preader(be);

	pthread_mutex_lock(&p->lock);
	p->stop = true;
	pthread_cond_broadcast(&p->more);
	pthread_mutex_unlock(&p->lock);
	for (uint32_t i = 0; i < p->nr_threads; i++)
		pthread_join(p->threads[i], NULL);
	pthread_cond_destroy(&p->ended);
	pthread_cond_destroy(&p->more);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

static int preader_add_file(struct pst_io_backend *be, const char *path,
			    uint32_t index, struct pst_io_file *out,
			    struct pst_diag *diag)
{
	return pst_io_file_open(to_preader(be)->setup, path, out, diag);
}

static void preader_issue(struct pst_io_backend *be, struct pst_io_read *list)
{
	struct preader *p = to_preader(be);
	struct pst_io_read *next;

	pthread_mutex_lock(&p->lock);
	for (; list; list = next) {
		next = list->next;
		pst_io_list_add(&p->todo[list->prio == PST_IO_IDLE], list);
		pthread_cond_signal(&p->more);
	}
	pthread_mutex_unlock(&p->lock);
}

static struct pst_io_read *preader_reap(struct pst_io_backend *be, bool wait)
{
	struct preader *p = to_preader(be);
	struct pst_io_read *r;

	pthread_mutex_lock(&p->lock);
	while (wait && !p->done.head)
		pthread_cond_wait(&p->ended, &p->lock);
	r = pst_io_list_take(&p->done);
	pthread_mutex_unlock(&p->lock);
	return r;
}

static const struct pst_io_ops preader_ops = {
	.name = "pread threads",
	.destroy = preader_destroy,
	.add_file = preader_add_file,
	.issue = preader_issue,
	.reap = preader_reap,
};

/* Signals are the main thread's: these threads start with all blocked. */
static int start_threads(struct preader *p, uint32_t nr)
{
	sigset_t all, old;
	int ret = 0;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	while (p->nr_threads < nr && !ret) {
		ret = pthread_create(&p->threads[p->nr_threads], NULL,
				     reader_main, p);
		if (!ret)
			p->nr_threads++;
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return -ret;
}

int pst_io_pread_create(const struct pst_io_setup *setup,
			struct pst_io_backend **out, struct pst_diag *diag)
{
	uint32_t nr = PST_MIN(setup->nr_threads, setup->depth);
	struct preader *p;
	int ret;

	p = calloc(1, sizeof(*p) + nr * sizeof(p->threads[0]));
	if (!p)
		return pst_diag_set(diag, -ENOMEM, "no memory for I/O threads");
	p->base.ops = &preader_ops;
	p->setup = setup;
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->more, NULL);
	pthread_cond_init(&p->ended, NULL);
	ret = start_threads(p, nr);
	if (ret) {
		preader_destroy(&p->base);
		return pst_diag_set(diag, ret,
				    "cannot start %u I/O threads: %s", nr,
				    strerror(-ret));
	}
	*out = &p->base;
	return 0;
}
