// SPDX-License-Identifier: MIT
/*
 * Fuzz target over everything that reads a model's untrusted bytes: container,
 * vocabulary, hyper-parameters and tensor table.  What was accepted is used:
 * every pair is read through every typed access, every tensor's first and last
 * byte is touched, text goes through the tokenizer and back, and small models
 * compute a few tokens from the mapping.
 *
 * Built with libFuzzer by scripts/fuzz; with fuzz_replay.c it replays files.
 */
#include <stdlib.h>
#include <string.h>

#include "forward.h"
#include "fuzz.h"
#include "gguf.h"
#include "model_priv.h"
#include "tokenizer.h"

/* Bounds the work on one input, not what may be in it. */
#define MAX_ELEMS  4096
#define MAX_TOKENS 4096

static void use_byte(uint8_t byte)
{
	__asm__ volatile("" : : "r"(byte));
}

static void walk_strings(const struct pst_gguf_kv *kv)
{
	struct pst_gguf_strings it;
	struct pst_str s;

	if (pst_gguf_strings_init(&it, kv))
		return;
	while (pst_gguf_strings_next(&it, &s))
		if (s.len)
			use_byte((uint8_t)(s.s[0] ^ s.s[s.len - 1]));
}

static void walk_kv(const struct pst_gguf *g, const struct pst_gguf_kv *kv)
{
	uint64_t nr = PST_MIN(kv->count, (uint64_t)MAX_ELEMS);
	char *key = strndup(kv->key.s, kv->key.len);
	struct pst_str s;
	uint64_t u;
	int64_t i;
	double f;
	float f32;
	bool b;

	for (uint64_t e = 0; e <= nr; e++) {
		/* The last round is past the end or the last element. */
		uint64_t at = e == nr ? kv->count - (e & 1) : e;

		pst_gguf_elem_u64(kv, at, &u);
		pst_gguf_elem_i64(kv, at, &i);
		pst_gguf_elem_f64(kv, at, &f);
	}
	walk_strings(kv);
	if (key && pst_gguf_find(g, key) != kv)
		abort();
	if (key) {
		pst_gguf_get_u64(g, key, &u);
		pst_gguf_get_f32(g, key, &f32);
		pst_gguf_get_bool(g, key, &b);
		if (!pst_gguf_get_str(g, key, &s) && s.len)
			use_byte((uint8_t)(s.s[0] ^ s.s[s.len - 1]));
	}
	free(key);
}

static void walk_tensors(const struct pst_gguf *g)
{
	for (uint64_t i = 0; i < pst_gguf_nr_tensors(g); i++) {
		const struct pst_gguf_tensor *t = pst_gguf_tensor(g, i);
		const uint8_t *data = pst_gguf_tensor_data(g, t);

		if (!pst_gguf_type(t->type) ||
		    pst_gguf_find_tensor(g, t->name) != t)
			abort();
		if (t->size_bytes)
			use_byte(data[0] ^ data[t->size_bytes - 1]);
	}
}

static void use_vocab(const struct pst_vocab *v)
{
	static const char text[] =
		"Hello wor\xc3\xb6ld <s>\xff\xf0\x9f 12345\n";
	unsigned int all = PST_TOKENIZE_SPECIAL | PST_TOKENIZE_BOS;
	uint32_t nr = PST_MIN(pst_vocab_nr_tokens(v), (uint32_t)MAX_TOKENS);
	struct pst_tokens t = { 0 };
	const char *piece;
	char *back = NULL;
	size_t len;

	if (!pst_vocab_tokenize(v, text, sizeof(text) - 1, all, &t))
		pst_vocab_detokenize(v, t.ids, t.nr, true, &back, &len);
	free(back);
	pst_tokens_fini(&t);
	for (uint32_t i = 0; i < nr; i++) {
		int n = pst_vocab_piece(v, (int32_t)i, i & 1, &piece);

		if (n > 0)
			use_byte((uint8_t)(piece[0] ^ piece[n - 1]));
		pst_vocab_is_eog(v, (int32_t)i);
		pst_vocab_type(v, (int32_t)i);
	}
	if (pst_vocab_bos(v) >= (int32_t)pst_vocab_nr_tokens(v) ||
	    pst_vocab_eos(v) >= (int32_t)pst_vocab_nr_tokens(v))
		abort();
}

/* A model that was bound: every part of it lies inside the file. */
static void use_model(const struct pst_model *m)
{
	const struct pst_hparams *hp = &m->hp;
	uint64_t size = pst_gguf_file(m->g, 0)->size_bytes;

	for (uint32_t l = 0; l < hp->n_layers; l++) {
		const struct pst_store_layer *sl = &m->experts[l];

		for (uint32_t p = 0; p < sl->nr_parts; p++) {
			const struct pst_store_part *part = &sl->part[p];
			uint64_t all = part->size_bytes * hp->n_expert;

			if (part->off_bytes > size ||
			    all > size - part->off_bytes)
				abort();
			use_byte(part->map[0] ^ part->map[all - 1]);
		}
	}
	for (uint32_t i = 0; i < m->nr_extents; i++)
		if (m->extents[i].end_bytes > size)
			abort();
	if (!hp->n_vocab || hp->n_expert_used > hp->n_expert)
		abort();
	for (uint32_t l = 0; l < hp->n_layers; l++) {
		const struct pst_layer_hp *lh = &hp->layer[l];

		/* Recurrent blocks may have no heads of keys. */
		if (lh->n_head_kv ? lh->n_head % lh->n_head_kv
				  : lh->mixer == &pst_mixer_gqa)
			abort();
		if (lh->rope != PST_ROPE_NONE &&
		    (lh->rope >= hp->nr_ropes ||
		     hp->rope[lh->rope].n_rot > lh->hd_k))
			abort();
	}
}

static int take_logits(void *ctx, uint32_t token, const float *logits)
{
	const uint32_t *nr_vocab = ctx;

	for (uint32_t i = 0; i < *nr_vocab; i++)
		use_byte(logits[i] > 0.0f);
	return 0;
}

/* What a pass works in; all zero before. */
struct runner {
	struct pst_pool *pool;
	struct pst_fwd *f;
	struct pst_store *store;
	struct pst_kv kv;
};

static int runner_init(struct runner *r, const struct pst_kernels *k,
		       struct pst_model *m)
{
	const struct pst_hparams *hp = &m->hp;
	struct pst_trunk_args trunk = { .use_map = true };
	struct pst_fwd_args fwd = { .model = m,
				    .kernels = k,
				    .n_batch = 2,
				    .n_ctx = 4,
				    .huge = PST_MEM_SMALL,
				    .node = -1 };
	struct pst_kv_args kv = {
		.n_ctx = 4, .n_batch = 2, .huge = PST_MEM_SMALL, .node = -1
	};
	struct pst_store_args store = { .mode = PST_STORE_MMAP,
					.layers = m->experts,
					.nr_layers = hp->n_layers,
					.nr_experts = hp->n_expert,
					.policy = pst_policy_find("lru") };

	if (pst_pool_create(1, false, &r->pool))
		return -1;
	fwd.pool = r->pool;
	/* Bounds the time of an input, not what may be in it. */
	if (hp->n_layers > 4 || pst_fwd_bytes(&fwd) > 4 * PST_MIB ||
	    pst_kv_bytes(hp, &kv) > 4 * PST_MIB ||
	    pst_model_load_trunk(m, &trunk, NULL) ||
	    pst_fwd_create(&fwd, &r->f, NULL) ||
	    pst_kv_init(&r->kv, hp, &kv, NULL))
		return -1;
	if (hp->n_expert && pst_store_create(&store, &r->store, NULL))
		return -1;
	pst_fwd_set_store(r->f, r->store);
	return 0;
}

static void run_model(const struct pst_kernels *k, struct pst_model *m)
{
	int32_t tokens[] = { 0, (int32_t)m->hp.n_vocab - 1, 0 };
	struct runner r = { .pool = NULL };
	struct pst_fwd_pass pass = { .kv = &r.kv,
				     .tokens = tokens,
				     .n = 2,
				     .logits = take_logits,
				     .ctx = &m->hp.n_vocab };

	if (!runner_init(&r, k, m)) {
		pst_fwd_run(r.f, &pass, NULL);
		pass.tokens += 2;
		pass.n = 1;
		pst_fwd_run(r.f, &pass, NULL);
	}
	pst_store_destroy(r.store);
	pst_kv_fini(&r.kv);
	pst_fwd_destroy(r.f);
	pst_pool_destroy(r.pool);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct pst_kernels k;
	struct pst_gguf *g;
	struct pst_vocab *v;
	struct pst_model *m;
	struct pst_diag d;

	pst_diag_init(&d);
	if (pst_gguf_open_mem(data, size, &g, &d)) {
		if (!d.err || !d.text[0])
			abort();
		return 0;
	}
	for (uint64_t i = 0; i < pst_gguf_nr_kv(g); i++)
		walk_kv(g, pst_gguf_kv(g, i));
	walk_tensors(g);
	pst_diag_init(&d);
	if (!pst_vocab_create(g, &v, NULL, &d)) {
		use_vocab(v);
		pst_vocab_destroy(v);
	} else if (!d.err || !d.text[0]) {
		abort();
	}
	pst_kernels_init(&k, 0);
	pst_diag_init(&d);
	if (!pst_model_create(g, &k, &m, &d)) {
		use_model(m);
		run_model(&k, m);
		pst_model_destroy(m);
	} else if (!d.err || !d.text[0]) {
		abort();
	}
	pst_gguf_close(g);
	return 0;
}
