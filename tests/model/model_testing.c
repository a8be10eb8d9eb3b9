// SPDX-License-Identifier: MIT
/*
 * See model_testing.h.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "model_testing.h"

static void open_weights(struct mbed *b, const struct mbed_args *args,
			 struct pst_diag *d)
{
	struct pst_io_args io = { .kind = PST_IO_PREAD, .fault = args->fault };
	struct pst_trunk_args trunk = { .huge = PST_MEM_SMALL, .node = -1 };

	assert_int_equal(pst_io_create(&io, &b->io, d), 0);
	for (uint32_t i = 0; i < pst_gguf_nr_files(b->g); i++)
		assert_true(pst_io_add_file(b->io, pst_gguf_file(b->g, i)->path,
					    d) >= 0);
	trunk.io = b->io;
	if (pst_model_load_trunk(b->m, &trunk, d))
		fail_msg("trunk: %s", d->text);
}

static void open_store(struct mbed *b, const struct mbed_args *args,
		       struct pst_diag *d)
{
	const struct pst_hparams *hp = &b->m->hp;
	struct pst_store_args st = {
		.mode = PST_STORE_STREAM,
		.layers = b->m->experts,
		.nr_layers = hp->n_layers,
		.nr_experts = hp->n_expert,
		.io = b->io,
		.nr_slots = args->nr_slots ? args->nr_slots : hp->n_expert_used,
		.nr_per_token = hp->n_expert_used * hp->n_layers,
		.policy = pst_policy_find("default"),
		.huge = PST_MEM_SMALL,
		.node = -1,
		.split_bytes = 64 << 10,
		.region_bytes = args->region_bytes,
		.early = args->early,
	};

	if (!hp->n_expert)
		return;
	if (pst_store_create(&st, &b->store, d))
		fail_msg("store: %s", d->text);
	pst_fwd_set_store(b->f, b->store);
}

void mbed_open(struct mbed *b, const struct mbed_args *args)
{
	struct pst_fwd_args fwd = { .kernels = &b->k,
				    .n_batch = args->n_batch,
				    .n_ctx = args->n_ctx,
				    .activations = args->activations,
				    .mla = args->mla,
				    .huge = PST_MEM_SMALL,
				    .node = -1,
				    .nr_rows = args->nr_rows };
	struct pst_kv_args kv = { .type = args->kv,
				  .n_ctx = args->n_ctx,
				  .n_batch = args->n_batch,
				  .huge = PST_MEM_SMALL,
				  .node = -1 };
	struct pst_diag d;

	memset(b, 0, sizeof(*b));
	pst_diag_init(&d);
	pst_kernels_init(&b->k, args->cpu_mask & pst_cpu_detect());
	if (pst_gguf_open(args->path, &b->g, &d) ||
	    pst_model_create(b->g, &b->k, &b->m, &d))
		fail_msg("%s: %s", args->path, d.text);
	if (args->tables)
		assert_int_equal(pst_model_leave_tables(b->m, 0, &d), 0);
	assert_int_equal(pst_pool_create(args->threads, false, &b->pool), 0);
	open_weights(b, args, &d);
	fwd.model = b->m;
	fwd.pool = b->pool;
	fwd.io = b->io;
	assert_int_equal(pst_fwd_create(&fwd, &b->f, &d), 0);
	assert_int_equal(pst_kv_init(&b->kv, &b->m->hp, &kv, &d), 0);
	open_store(b, args, &d);
}

void mbed_close(struct mbed *b)
{
	pst_store_destroy(b->store);
	pst_fwd_destroy(b->f);
	pst_kv_fini(&b->kv);
	pst_io_destroy(b->io);
	pst_pool_destroy(b->pool);
	pst_model_destroy(b->m);
	pst_gguf_close(b->g);
}

struct collect {
	float *out;
	uint32_t n_vocab;
	uint32_t next;
};

static int on_logits(void *ctx, uint32_t token, const float *logits)
{
	struct collect *c = ctx;

	assert_int_equal(token, c->next++);
	memcpy(c->out + (size_t)token * c->n_vocab, logits,
	       c->n_vocab * sizeof(*logits));
	return 0;
}

int mbed_eval(struct mbed *b, const int32_t *tokens, uint32_t nr,
	      uint32_t n_batch, float *out)
{
	uint32_t n_vocab = b->m->hp.n_vocab;
	int rc = 0;

	for (uint32_t at = 0; !rc && at < nr; at += n_batch) {
		struct collect c = { .out = out + (size_t)at * n_vocab,
				     .n_vocab = n_vocab };
		struct pst_fwd_pass pass = { .kv = &b->kv,
					     .tokens = tokens + at,
					     .n = PST_MIN(n_batch, nr - at),
					     .logits = on_logits,
					     .ctx = &c };
		struct pst_diag d;

		pst_diag_init(&d);
		rc = pst_fwd_run(b->f, &pass, &d);
		assert_int_equal(d.err, rc);
	}
	return rc;
}

float *mbed_logits(const struct mbed_args *args, uint32_t nr, uint32_t pass,
		   uint32_t *n_vocab)
{
	int32_t *tokens = calloc(nr, sizeof(*tokens));
	uint64_t rng = 20261121;
	struct mbed b;
	float *out;

	mbed_open(&b, args);
	*n_vocab = b.m->hp.n_vocab;
	out = calloc((size_t)nr * *n_vocab, sizeof(*out));
	assert_non_null(tokens);
	assert_non_null(out);
	for (uint32_t i = 0; i < nr; i++)
		tokens[i] = (int32_t)(pst_rng_next(&rng) % *n_vocab);
	assert_int_equal(mbed_eval(&b, tokens, nr, pass, out), 0);
	mbed_close(&b);
	free(tokens);
	return out;
}

double mbed_nmse(const float *want, const float *got, size_t nr)
{
	double diff = 0.0, all = 0.0;

	for (size_t i = 0; i < nr; i++) {
		double d = (double)got[i] - (double)want[i];

		diff += d * d;
		all += (double)want[i] * (double)want[i];
	}
	return diff / all;
}

char *mbed_write(const struct tiny_model *m)
{
	char *path = strdup("/tmp/pst-model-XXXXXX");
	size_t size;
	uint8_t *file = tm_build(m, &size);
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, file, size), size);
	close(fd);
	free(file);
	return path;
}

char *mbed_data(const char *name)
{
	const char *src = getenv("PENSTOCK_SRC");
	char *path;

	assert_true(asprintf(&path, "%s/tests/data/%s", src ? src : ".", name) >
		    0);
	return path;
}
