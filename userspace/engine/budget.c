// SPDX-License-Identifier: MIT
/*
 * The memory budget: a ceiling, what must be there, and the slots that the
 * rest holds.
 *
 * The ceiling covers everything that the process holds: anonymous memory, huge
 * pages (which no memory cgroup counts) and the resident pages of files.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "engine_priv.h"

#define DEFAULT_CTX   4096
#define DEFAULT_BATCH 512
#define MIN_BATCH     16
#define MAX_BATCH     8192
/* Shorter than this nobody is advised to make it. */
#define MIN_CONTEXT 256
/* For the choice of a batch only: a middling drive, unless it was measured, and a
 * middling core.
 */
#define GUESS_DRIVE_BPS	 3e9
#define GUESS_MACS_PER_S 1e11
/* Kept free for the rest of the machine when no ceiling was given. */
#define RESERVE_MIN_BYTES (512 * PST_MIB)
#define RESERVE_SHARE	  16
/* Heap that still grows while opening, page tables, stdio, signal stacks. */
#define SLACK_BYTES (3 * PST_MIB)
/* Touched part of a worker's stack and its pool state. */
#define THREAD_BYTES (256 * PST_KIB)

uint64_t pst_budget_page(const struct pst_engine *e)
{
	return e->opts.huge == PST_HUGE_1G ? PST_GIB : 2 * PST_MIB;
}

/* Free pages of the pools that the wanted page kind may draw on. */
static uint64_t hugetlb_room(const struct pst_engine *e,
			     const struct pst_mem_limits *lim)
{
	/* The slots, most of all there is, do not come from there. */
	if (pst_mem_pool_source(e->mem_pool) == PST_MEM_SOURCE_KMOD)
		return 0;
	switch (e->opts.huge) {
	case PST_HUGE_AUTO:
	case PST_HUGE_2M:
		return lim->hugetlb_free_2m;
	case PST_HUGE_1G:
		return lim->hugetlb_free_1g;
	case PST_HUGE_THP:
	case PST_HUGE_OFF:
		break;
	}
	return 0;
}

/* What this process could hold in all, by the machine and by its cgroup. */
static int find_room(const struct pst_engine *e, uint64_t own, uint64_t *out)
{
	struct pst_mem_limits lim;
	int rc = pst_mem_limits_read(&lim);

	if (rc)
		return rc;
	/* No memory cgroup counts hugetlb pages; a named pool is ours. */
	*out = pst_mem_room(&lim) + own + hugetlb_room(e, &lim) +
	       pst_mem_pool_held(e->mem_pool);
	return 0;
}

static int find_ceiling(const struct pst_engine *e, uint64_t own, uint64_t *out,
			struct pst_diag *diag)
{
	uint64_t room, reserve;
	int rc = find_room(e, own, &room);

	if (rc && !e->opts.ram_bytes)
		return pst_diag_set(diag, rc,
				    "cannot read the machine's memory: give "
				    "--ram");
	*out = e->opts.ram_bytes;
	if (rc || (*out && *out <= room))
		return 0;
	if (*out) {
		/* More than there is would end in the kernel's killing. */
		*out = room - room / 64;
		pst_log(e->opts.log, PST_LOG_WARN,
			"--ram asks for %.2f GiB, %.2f GiB are available: "
			"using %.2f GiB",
			(double)e->opts.ram_bytes / (double)PST_GIB,
			(double)room / (double)PST_GIB,
			(double)*out / (double)PST_GIB);
		return 0;
	}
	reserve = PST_MAX(RESERVE_MIN_BYTES, room / RESERVE_SHARE);
	/* A small cgroup or machine: a share instead of half a gigabyte. */
	reserve = PST_MIN(reserve, room / 4);
	*out = room - reserve;
	return 0;
}

static uint64_t own_bytes(void)
{
	struct pst_mem_usage u = { 0 };

	pst_mem_usage_read(&u);
	return u.rss + u.hugetlb;
}

/* The directory of a cache in a named pool. */
static uint64_t dir_bytes(const struct pst_engine *e)
{
	const struct pst_hparams *hp = &e->model->hp;

	if (!pst_mem_pool_named(e->mem_pool))
		return 0;
	return pst_store_keep_dir_bytes(hp->n_layers * hp->n_expert);
}

/* What the source of the slots' memory gives for slots. */
static uint64_t pool_room(const struct pst_engine *e)
{
	uint64_t room = pst_mem_pool_room(e->mem_pool);

	return room - PST_MIN(room, dir_bytes(e));
}

static uint64_t scratch_of(const struct pst_engine *e, uint32_t batch,
			   uint32_t ctx)
{
	struct pst_fwd_args a = { .model = e->model,
				  .kernels = &e->kernels,
				  .pool = e->pool,
				  .n_batch = batch,
				  .n_ctx = ctx,
				  .activations = pst_engine_activations(e),
				  .mla = pst_engine_mla(e),
				  .io = e->io };

	return pst_align_up(pst_fwd_bytes(&a), pst_budget_page(e));
}

static uint64_t key_bytes(const struct pst_engine *e)
{
	const struct pst_hparams *hp = &e->model->hp;

	if (!hp->n_expert)
		return 0;
	return (uint64_t)hp->n_layers *
	       (hp->n_expert * PST_STORE_KEY_BYTES + PST_STORE_LAYER_BYTES);
}

/* A sampler ranks every token: a logit and an id each. */
static uint64_t sampler_bytes(const struct pst_engine *e)
{
	return (uint64_t)e->model->hp.n_vocab * 8;
}

static uint64_t meta_bytes(const struct pst_engine *e)
{
	return pst_store_meta_bytes(e->model->experts, e->model->hp.n_layers,
				    pst_io_align(e->io), pst_engine_split(e));
}

static void plan_model(const struct pst_engine *e, struct pst_plan *p)
{
	const struct pst_hparams *hp = &e->model->hp;

	for (uint32_t i = 0; i < pst_gguf_nr_files(e->gguf); i++)
		p->model_file += pst_gguf_file(e->gguf, i)->whole_bytes;
	p->expert_file = e->model->expert_bytes;
	p->table_file = e->model->table_bytes;
	p->token_rows = pst_model_row_bytes(e->model);
	p->nr_used = hp->n_expert_used;
	p->nr_token = hp->n_expert_used * e->model->nr_moe_layers;
	p->nr_experts = hp->n_expert * e->model->nr_moe_layers;
	p->threads = pst_pool_nr_workers(e->pool);
	p->ctx_size = e->opts.ctx_size;
	if (!p->ctx_size)
		p->ctx_size = PST_MIN(hp->n_ctx_train, DEFAULT_CTX);
	else if (p->ctx_size > hp->n_ctx_train && !hp->n_positions)
		pst_log(e->opts.log, PST_LOG_WARN,
			"--ctx-size %u is more than the %u tokens that the "
			"model is made for: what it says after them may be "
			"worthless",
			p->ctx_size, hp->n_ctx_train);
	if (hp->n_positions)
		p->ctx_size = PST_MIN(p->ctx_size, hp->n_positions);
}

static uint64_t kv_bytes(const struct pst_engine *e, const struct pst_plan *p)
{
	struct pst_kv_args a = { .type = pst_engine_kv_type(e),
				 .n_ctx = p->ctx_size,
				 .n_batch = p->batch_size };
	uint64_t n = pst_kv_bytes(&e->model->hp, &a);

	return n == UINT64_MAX ? n : pst_align_up(n, pst_budget_page(e));
}

static uint32_t wanted_slots(const struct pst_engine *e,
			     const struct pst_plan *p)
{
	uint64_t v = e->opts.cache_value, n = p->nr_experts;

	if (e->opts.resident)
		return p->nr_experts;
	switch (e->opts.cache_unit) {
	case PST_CACHE_BYTES:
		n = pst_store_fit_slots(p->slot, v, pst_budget_page(e));
		break;
	case PST_CACHE_PERCENT:
		n = (p->nr_experts * v + 99) / 100;
		break;
	case PST_CACHE_EXPERTS:
		n = v;
		break;
	case PST_CACHE_AUTO:
		break;
	}
	return (uint32_t)PST_MIN(n, (uint64_t)p->nr_experts);
}

/* The time that the known prompt would take with a batch; the cores' speed is
 * not known yet, only the balance of passes and cache matters.
 */
static double prompt_s(const struct pst_engine *e, const struct pst_plan *p,
		       uint64_t base, uint32_t batch)
{
	uint64_t fixed = base + scratch_of(e, batch, p->ctx_size);
	uint64_t slot = pst_store_slot_bytes(
		e->model->experts, e->model->hp.n_layers, pst_io_align(e->io));
	struct pst_prefill_model m = pst_engine_prefill_model(e);

	m.token_s = pst_model_macs(e->model) / (GUESS_MACS_PER_S * p->threads);
	m.drive_bps = e->opts.drive_bps ? (double)e->opts.drive_bps
					: GUESS_DRIVE_BPS;
	if (p->ram > fixed)
		m.nr_slots = PST_MIN((p->ram - fixed) / (slot + meta_bytes(e)),
				     wanted_slots(e, p));
	return pst_prefill_predict(&m, e->opts.prompt_tokens, batch).total_s;
}

static bool has_cache(const struct pst_engine *e, const struct pst_plan *p)
{
	return p->nr_experts && e->opts.io != PST_ENGINE_IO_MMAP;
}

static bool cache_is_chosen(const struct pst_engine *e)
{
	return e->opts.resident || e->opts.cache_unit != PST_CACHE_AUTO;
}

/* The smallest cache that the plan may have, 0 without one. */
static uint64_t least_cache(const struct pst_engine *e,
			    const struct pst_plan *p)
{
	uint32_t n = p->nr_used;

	if (!has_cache(e, p))
		return 0;
	if (cache_is_chosen(e))
		n = wanted_slots(e, p);
	return pst_store_arena_bytes(p->slot + meta_bytes(e), n,
				     pst_budget_page(e));
}

/* What the rest of the plan leaves for the buffers of a batch and for a cache
 * that is more than the least.
 */
static uint64_t batch_room(const struct pst_engine *e, const struct pst_plan *p,
			   uint64_t base)
{
	uint64_t taken;

	if (!pst_add_u64(base, kv_bytes(e, p), &taken) ||
	    !pst_add_u64(taken, least_cache(e, p), &taken))
		return 0;
	return p->ram > taken ? p->ram - taken : 0;
}

/* A long prompt that is known: fewer passes over the experts may be worth more
 * than the slots that a longer batch's buffers take.
 */
static uint32_t longer_batch(const struct pst_engine *e,
			     const struct pst_plan *p, uint64_t base)
{
	uint32_t most = PST_MIN(e->opts.prompt_tokens, p->ctx_size);
	uint32_t b = p->batch_size;

	if (!has_cache(e, p) || p->ram <= base)
		return b;
	while (b < most && b < MAX_BATCH &&
	       scratch_of(e, 2 * b, p->ctx_size) <=
		       batch_room(e, p, base) / 4 &&
	       prompt_s(e, p, base, 2 * b) < 0.95 * prompt_s(e, p, base, b))
		b *= 2;
	return PST_MIN(b, p->ctx_size);
}

/* What does not depend on the cache; the batch shrinks until its buffers are
 * a modest part of what all that is needed leaves.
 */
static void plan_fixed(const struct pst_engine *e, struct pst_plan *p)
{
	uint64_t base;

	p->process = own_bytes() + SLACK_BYTES + p->threads * THREAD_BYTES +
		     key_bytes(e) + sampler_bytes(e) + dir_bytes(e) +
		     e->opts.extra_bytes;
	p->trunk = e->opts.io == PST_ENGINE_IO_MMAP
			   ? 0
			   : pst_align_up(e->model->trunk_bytes,
					  pst_budget_page(e));
	if (has_cache(e, p))
		p->slot = pst_store_slot_bytes(e->model->experts,
					       e->model->hp.n_layers,
					       pst_io_align(e->io));
	base = p->process + p->trunk;
	/* A chunk never holds more tokens than the context. */
	p->batch_size = PST_MIN(e->opts.batch_size, p->ctx_size);
	if (!p->batch_size) {
		p->batch_size = PST_MIN(DEFAULT_BATCH, p->ctx_size);
		while (p->batch_size > MIN_BATCH &&
		       scratch_of(e, p->batch_size, p->ctx_size) >
			       batch_room(e, p, base) / 8)
			p->batch_size /= 2;
	}
	if (!e->opts.batch_size)
		p->batch_size = longer_batch(e, p, base);
	/* Each token sees all others: there are no parts. */
	if (e->model->hp.encoder)
		p->batch_size = p->ctx_size;
	p->scratch = scratch_of(e, p->batch_size, p->ctx_size);
	p->kv = kv_bytes(e, p);
}

/* A context with which @others would fit, half as long or shorter; 0 for none
 * that is worth while.
 */
static uint32_t shorter_context(const struct pst_engine *e,
				const struct pst_plan *p, uint64_t others)
{
	struct pst_plan q = *p;
	uint64_t need;

	for (q.ctx_size /= 2; q.ctx_size >= MIN_CONTEXT; q.ctx_size /= 2) {
		q.batch_size = PST_MIN(p->batch_size, q.ctx_size);
		if (pst_add_u64(others, kv_bytes(e, &q), &need) &&
		    need + scratch_of(e, q.batch_size, q.ctx_size) <= p->ram)
			return q.ctx_size;
	}
	return 0;
}

static int does_not_fit(const struct pst_engine *e, const struct pst_plan *p,
			uint32_t slots, uint64_t arena, struct pst_diag *diag)
{
	uint64_t others = p->trunk + p->process + arena;
	uint64_t need = others + p->kv + p->scratch;
	uint32_t ctx = shorter_context(e, p, others);
	double m = 1.0 / (double)PST_MIB;
	char advice[96];
	int n;

	/* The process is never twice of exactly the same size. */
	n = snprintf(advice, sizeof(advice), "%s %.0fMiB",
		     e->opts.ram_bytes ? "raise --ram to" : "free memory up to",
		     (double)need * m + 2.0);
	if (ctx)
		n += snprintf(advice + n, sizeof(advice) - (size_t)n,
			      ", or lower --ctx-size to %u", ctx);
	if (e->opts.batch_size > MIN_BATCH)
		snprintf(advice + n, sizeof(advice) - (size_t)n,
			 ", or lower --batch-size");
	return pst_diag_set(
		diag, -ENOMEM,
		"does not fit: trunk %.1f + KV %.1f (%u tokens) + scratch "
		"%.1f (batch %u) + process %.1f + %u experts %.1f = %.1f MiB, "
		"the ceiling is %.1f MiB: %s",
		(double)p->trunk * m, (double)p->kv * m, p->ctx_size,
		(double)p->scratch * m, p->batch_size, (double)p->process * m,
		slots, (double)arena * m, (double)need * m, (double)p->ram * m,
		advice);
}

/* The slots of @bytes, or of what the source of their memory gives. */
static uint32_t fit_slots(const struct pst_engine *e, const struct pst_plan *p,
			  uint64_t bytes)
{
	uint64_t room = pool_room(e);

	if (room < bytes)
		pst_log(e->opts.log, PST_LOG_INFO,
			"the kernel module gives %.1f MiB at most (its "
			"ceiling_mb or uid_quota_mb), %.1f MiB are free for "
			"the expert cache",
			(double)room / (double)PST_MIB,
			(double)bytes / (double)PST_MIB);
	return pst_store_fit_slots(p->slot + meta_bytes(e),
				   PST_MIN(bytes, room), pst_budget_page(e));
}

static int plan_cache(const struct pst_engine *e, struct pst_plan *p,
		      uint64_t fixed, struct pst_diag *diag)
{
	bool chosen = cache_is_chosen(e);
	uint32_t want, fit = 0;

	if (p->slot > PST_GIB)
		return pst_diag_set(diag, -ENOTSUP,
				    "one expert needs %.1f MiB, at most 1024 "
				    "are supported: use --io mmap",
				    (double)p->slot / (double)PST_MIB);
	want = wanted_slots(e, p);
	if (p->ram > fixed)
		fit = fit_slots(e, p, p->ram - fixed);
	p->nr_slots = PST_MIN(want, fit);
	p->cache =
		pst_store_arena_bytes(p->slot, p->nr_slots, pst_budget_page(e));
	if (chosen && want < p->nr_used)
		return pst_diag_set(diag, -EINVAL,
				    "the expert cache holds %u experts, one "
				    "token needs %u at once: raise "
				    "--expert-cache",
				    want, p->nr_used);
	if (fit < p->nr_used || (chosen && fit < want)) {
		uint32_t n = chosen ? want : p->nr_used;

		return does_not_fit(e, p, n,
				    pst_store_arena_bytes(p->slot, n,
							  pst_budget_page(e)),
				    diag);
	}
	return 0;
}

int pst_budget_plan(const struct pst_engine *e, struct pst_plan *out,
		    struct pst_diag *diag)
{
	struct pst_plan p = { 0 };
	uint64_t fixed;
	int rc = find_ceiling(e, own_bytes(), &p.ram, diag);

	if (!rc)
		rc = pst_kv_check(&e->model->hp, pst_engine_kv_type(e), diag);
	if (!rc)
		rc = pst_mla_check(e->model, pst_engine_mla(e), diag);
	if (rc)
		return rc;
	plan_model(e, &p);
	plan_fixed(e, &p);
	if (p.kv == UINT64_MAX || !pst_add_u64(p.kv, p.process, &fixed) ||
	    !pst_add_u64(fixed, p.trunk + p.scratch, &fixed)) {
		*out = p;
		return pst_diag_set(diag, -ENOMEM,
				    "a context of %u tokens needs more memory "
				    "than can be addressed",
				    p.ctx_size);
	}
	if (has_cache(e, &p))
		rc = plan_cache(e, &p, fixed, diag);
	else if (fixed > p.ram)
		rc = does_not_fit(e, &p, 0, 0, diag);
	*out = p;
	return rc;
}

uint32_t pst_budget_slots(const struct pst_engine *e)
{
	uint64_t used = own_bytes() + SLACK_BYTES / 2 + key_bytes(e) +
			sampler_bytes(e) + dir_bytes(e) + e->opts.extra_bytes;
	uint32_t fit = 0;

	if (e->plan.ram > used)
		fit = pst_store_fit_slots(e->plan.slot + meta_bytes(e),
					  PST_MIN(e->plan.ram - used,
						  pool_room(e)),
					  pst_budget_page(e));
	return PST_MIN(fit, e->plan.nr_slots);
}
