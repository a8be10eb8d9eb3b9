// SPDX-License-Identifier: MIT
/*
 * Opening and closing: files, budget, trunk, buffers, slots, in this order, so
 * that what does not fit is refused before anything big is read.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine_priv.h"
#include "kept.h"

/* Reads in flight where many experts are computed between two looks. */
#define PREFILL_DEPTH 256
#define DEFAULT_SPLIT (1 * PST_MIB)
/* Trunk extents, slots and splits start on this boundary. */
#define MAX_ALIGN   4096
#define MAX_THREADS 1024

enum pst_mem_want pst_engine_huge_want(enum pst_engine_huge h)
{
	static const enum pst_mem_want want[] = {
		[PST_HUGE_AUTO] = PST_MEM_AUTO,
		[PST_HUGE_1G] = PST_MEM_HUGE_1G,
		[PST_HUGE_2M] = PST_MEM_HUGE_2M,
		[PST_HUGE_THP] = PST_MEM_THP,
		[PST_HUGE_OFF] = PST_MEM_SMALL,
	};

	return want[h];
}

uint32_t pst_engine_split(const struct pst_engine *e)
{
	return e->opts.split_bytes ? e->opts.split_bytes : DEFAULT_SPLIT;
}

static const char *policy_name(const struct pst_engine *e)
{
	return e->opts.policy ? e->opts.policy : "default";
}

/* What can be judged before a file is opened. */
static int check_opts(const struct pst_engine *e, struct pst_diag *diag)
{
	char names[128] = "";
	const char *name;

	if (e->opts.threads > MAX_THREADS)
		return pst_diag_set(diag, -EINVAL,
				    "%u threads are more than the %d that are "
				    "supported",
				    e->opts.threads, MAX_THREADS);
	if (pst_policy_find(policy_name(e)))
		return 0;
	for (uint32_t i = 0; (name = pst_policy_name(i)); i++)
		snprintf(names + strlen(names), sizeof(names) - strlen(names),
			 "%s%s", i ? ", " : "", name);
	return pst_diag_set(diag, -EINVAL,
			    "no cache policy is named '%s': there are %s",
			    policy_name(e), names);
}

int pst_engine_open_files(struct pst_engine *e, const char *path,
			  struct pst_diag *diag)
{
	int rc = check_opts(e, diag);

	if (!rc)
		rc = e->opts.header_only
			     ? pst_gguf_open_header(path, &e->gguf, diag)
			     : pst_gguf_open(path, &e->gguf, diag);
	if (rc)
		return rc;
	pst_kernels_init(&e->kernels,
			 e->opts.cpu_mask_set
				 ? e->opts.cpu_mask & pst_cpu_detect()
				 : pst_cpu_detect());
	rc = pst_model_create(e->gguf, &e->kernels, &e->model, diag);
	if (!rc && (e->opts.resident || e->opts.io == PST_ENGINE_IO_MMAP))
		rc = pst_model_leave_tables(e->model, UINT64_MAX, diag);
	if (!rc && e->model->hp.encoder && !e->opts.states_do)
		rc = pst_diag_set_at(diag, -ENOTSUP, path, UINT64_MAX,
				     "%s is an encoder: it turns a text into a "
				     "vector and writes none; use 'penstock "
				     "embed'",
				     pst_arch_name(e->model->arch));
	if (!rc)
		rc = pst_vocab_create(e->gguf, &e->vocab, e->opts.log, diag);
	if (!rc && (e->opts.warm_dir || e->opts.pool_name))
		pst_engine_warm_identify(e);
	/* The header's pages have served: out of the resident set. */
	pst_gguf_drop_pages(e->gguf);
	return rc;
}

/* Several nodes and none chosen: the one that the drive hangs on, where its
 * reads need not cross, if everything fits there.
 */
static int pick_node(const struct pst_engine *e)
{
	const struct pst_plan *p = &e->plan;
	uint64_t need = p->trunk + p->kv + p->scratch + p->cache, room;
	struct pst_topo topo = { .nr_nodes = 1 };
	struct pst_drive drive;

	if (e->opts.numa == PST_NUMA_NODE)
		return (int)e->opts.numa_node;
	pst_topo_read(&topo);
	if (e->opts.numa == PST_NUMA_OFF || topo.nr_nodes < 2 ||
	    pst_drive_of_path(pst_gguf_file(e->gguf, 0)->path, &drive) ||
	    drive.numa_node < 0)
		return -1;
	if (pst_topo_node_free(drive.numa_node, &room) || room < need) {
		pst_log(e->opts.log, PST_LOG_INFO,
			"node %d of drive %s has too little free memory: the "
			"weights are not bound to a node",
			drive.numa_node, drive.name);
		return -1;
	}
	return drive.numa_node;
}

static int open_mem_pool(struct pst_engine *e, struct pst_diag *diag)
{
	static const enum pst_mem_source source[] = {
		[PST_POOL_AUTO] = PST_MEM_SOURCE_AUTO,
		[PST_POOL_ANON] = PST_MEM_SOURCE_ANON,
		[PST_POOL_UDMABUF] = PST_MEM_SOURCE_UDMABUF,
		[PST_POOL_KMOD] = PST_MEM_SOURCE_KMOD,
	};

	if (e->opts.pool_name && e->opts.io == PST_ENGINE_IO_MMAP)
		return pst_diag_set(diag, -EINVAL,
				    "--io mmap has no expert cache that "
				    "--pool-name could keep");
	if (e->opts.pool_name && !e->model->hp.n_expert)
		return pst_diag_set(diag, -EINVAL,
				    "this model has no experts that "
				    "--pool-name could keep");
	return pst_mem_pool_open(source[e->opts.pool], e->opts.pool_name,
				 &e->mem_pool, diag);
}

static int start_pool(struct pst_engine *e, struct pst_diag *diag)
{
	struct pst_topo topo = { .nr_cores = 1 };
	uint32_t n = e->opts.threads;
	int rc;

	if (!n) {
		pst_topo_read(&topo);
		n = topo.nr_cores;
	}
	rc = pst_pool_create(n, !e->opts.no_pin, &e->pool);
	if (rc)
		return pst_diag_set(diag, rc, "cannot start %u threads: %s", n,
				    strerror(-rc));
	return 0;
}

static int open_io(struct pst_engine *e, struct pst_diag *diag)
{
	struct pst_io_args args = {
		.queue_depth = e->opts.queue_depth ? e->opts.queue_depth
						   : PREFILL_DEPTH,
		.fault = e->opts.fault,
		.log = e->opts.log,
	};
	int rc;

	pst_engine_choose_io(e->opts.io, e->opts.io_mode, e->opts.direct,
			     &args);
	rc = pst_io_create(&args, &e->io, diag);
	for (uint32_t i = 0; rc >= 0 && i < pst_gguf_nr_files(e->gguf); i++)
		rc = pst_io_add_file(e->io, pst_gguf_file(e->gguf, i)->path,
				     diag);
	if (rc >= 0)
		rc = pst_engine_add_mirrors(e, diag);
	if (rc >= 0 && pst_io_align(e->io) > MAX_ALIGN)
		return pst_diag_set(diag, -ENOTSUP,
				    "this drive's O_DIRECT needs transfers of "
				    "%u bytes, %d are supported: use --direct "
				    "off",
				    pst_io_align(e->io), MAX_ALIGN);
	return rc < 0 ? rc : 0;
}

static void trunk_progress(void *ctx, uint64_t done, uint64_t all)
{
	struct pst_engine *e = ctx;

	e->opts.progress(e->opts.progress_ctx, "loading trunk", done, all);
}

static void expert_progress(void *ctx, uint64_t done, uint64_t all)
{
	struct pst_engine *e = ctx;

	e->opts.progress(e->opts.progress_ctx, "loading experts", done, all);
}

static int load_trunk(struct pst_engine *e, struct pst_diag *diag)
{
	struct pst_trunk_args args = {
		.io = e->io,
		.use_map = e->opts.io == PST_ENGINE_IO_MMAP,
		.huge = pst_engine_huge_want(e->opts.huge),
		.node = e->node,
		.progress = e->opts.progress ? trunk_progress : NULL,
		.progress_ctx = e,
	};

	return pst_model_load_trunk(e->model, &args, diag);
}

enum pst_kv_type pst_engine_kv_type(const struct pst_engine *e)
{
	static const enum pst_kv_type of[] = {
		[PST_ENGINE_KV_F32] = PST_KV_F32,
		[PST_ENGINE_KV_F16] = PST_KV_F16,
		[PST_ENGINE_KV_Q8_0] = PST_KV_Q8_0,
	};

	return of[e->opts.kv_type];
}

enum pst_activations pst_engine_activations(const struct pst_engine *e)
{
	return e->opts.activations == PST_ENGINE_ACT_Q16 ? PST_ACT_Q16
							 : PST_ACT_Q8;
}

enum pst_mla_form pst_engine_mla(const struct pst_engine *e)
{
	return e->opts.mla == PST_ENGINE_MLA_DECOMPRESSED ? PST_MLA_DECOMPRESSED
							  : PST_MLA_ABSORBED;
}

static int make_buffers(struct pst_engine *e, struct pst_diag *diag)
{
	struct pst_fwd_args args = {
		.model = e->model,
		.kernels = &e->kernels,
		.pool = e->pool,
		.n_batch = e->plan.batch_size,
		.n_ctx = e->plan.ctx_size,
		.activations = pst_engine_activations(e),
		.mla = pst_engine_mla(e),
		.huge = pst_engine_huge_want(e->opts.huge),
		.node = e->node,
		.io = e->io,
		.observer = e->opts.observer,
	};
	struct pst_kv_args kv = {
		.type = pst_engine_kv_type(e),
		.n_ctx = e->plan.ctx_size,
		.n_batch = e->plan.batch_size,
		.huge = args.huge,
		.node = e->node,
	};
	int rc = pst_kv_init(&e->session.kv, &e->model->hp, &kv, diag);

	return rc ? rc : pst_fwd_create(&args, &e->fwd, diag);
}

static int make_store(struct pst_engine *e, struct pst_diag *diag)
{
	struct pst_store_args args = {
		.mode = e->opts.io == PST_ENGINE_IO_MMAP ? PST_STORE_MMAP
							 : PST_STORE_STREAM,
		.layers = e->model->experts,
		.nr_layers = e->model->hp.n_layers,
		.nr_experts = e->model->hp.n_expert,
		.io = e->io,
		.nr_per_token = e->plan.nr_token,
		.policy = pst_policy_find(policy_name(e)),
		.huge = pst_engine_huge_want(e->opts.huge),
		.pool = e->mem_pool,
		.node = e->node,
		.split_bytes = pst_engine_split(e),
		.early = true,
		.depth = e->opts.queue_depth ? 0 : PST_ENGINE_QUEUE_DEPTH,
	};
	struct pst_store_keep keep;
	int rc;

	args.nr_slots = pst_budget_slots(e);
	if (args.mode == PST_STORE_STREAM && args.nr_slots < e->plan.nr_used)
		return pst_diag_set(diag, -ENOMEM,
				    "after loading, %u experts fit in %.1f "
				    "MiB, one token needs %u at once: raise "
				    "--ram",
				    args.nr_slots,
				    (double)e->plan.ram / (double)PST_MIB,
				    e->plan.nr_used);
	if (args.mode == PST_STORE_STREAM &&
	    (e->opts.resident || e->opts.cache_unit != PST_CACHE_AUTO) &&
	    args.nr_slots < e->plan.nr_slots)
		return pst_diag_set(diag, -ENOMEM,
				    "after loading, %u of the %u experts asked "
				    "for fit in %.1f MiB: raise --ram",
				    args.nr_slots, e->plan.nr_slots,
				    (double)e->plan.ram / (double)PST_MIB);
	if (args.mode == PST_STORE_STREAM && e->opts.pool_name) {
		args.keep = &keep;
		rc = pst_engine_keep_args(e, &args.nr_slots, &keep, diag);
		if (rc)
			return rc;
	}
	rc = pst_store_create(&args, &e->store, diag);
	if (rc)
		return rc;
	e->plan.nr_slots = args.nr_slots;
	if (args.keep)
		pst_engine_keep_say(e);
	e->plan.cache = pst_store_arena_bytes(e->plan.slot, args.nr_slots,
					      pst_budget_page(e));
	pst_fwd_set_store(e->fwd, e->store);
	if (e->opts.resident)
		rc = pst_store_load_all(
			e->store, e->opts.progress ? expert_progress : NULL, e,
			diag);
	return rc;
}

/* Below one token's experts most of the cache's worth is gone: say so. */
static void warn_small_cache(const struct pst_engine *e)
{
	const struct pst_plan *p = &e->plan;

	if (!e->store || e->opts.io == PST_ENGINE_IO_MMAP ||
	    p->nr_slots >= p->nr_token)
		return;
	pst_log(e->opts.log, PST_LOG_WARN,
		"the cache holds %u experts, one token uses %u: most of them "
		"are read again for each token (needs %.1f MiB more to change "
		"that)",
		p->nr_slots, p->nr_token,
		(double)(p->nr_token - p->nr_slots) * (double)p->slot /
			(double)PST_MIB);
}

static int open_weights(struct pst_engine *e, struct pst_diag *diag)
{
	int rc = pst_budget_plan(e, &e->plan, diag);

	if (rc)
		return rc;
	e->node = pick_node(e);
	rc = load_trunk(e, diag);
	if (!rc)
		rc = make_buffers(e, diag);
	if (!rc && e->model->hp.n_expert)
		rc = make_store(e, diag);
	if (rc)
		return rc;
	warn_small_cache(e);
	if (e->opts.io == PST_ENGINE_IO_MMAP && e->opts.ram_bytes)
		pst_log(e->opts.log, PST_LOG_WARN,
			"with --io mmap the kernel decides how much of the "
			"model is in memory: --ram does not bound it");
	pst_io_stats_read(e->io, &e->io_before);
	pst_engine_govern_start(e);
	pst_engine_warm_load(e);
	return 0;
}

int pst_engine_open(const char *path, const struct pst_engine_opts *opts,
		    struct pst_engine **out, struct pst_diag *diag)
{
	struct pst_engine *e = calloc(1, sizeof(*e));
	int rc;

	if (!e)
		return pst_diag_set(diag, -ENOMEM, "out of memory");
	e->opts = *opts;
	e->opts.header_only = false;
	rc = pst_engine_open_files(e, path, diag);
	if (!rc)
		rc = open_mem_pool(e, diag);
	if (!rc)
		rc = start_pool(e, diag);
	if (!rc)
		rc = open_io(e, diag);
	if (!rc)
		rc = open_weights(e, diag);
	if (rc) {
		pst_engine_close(e);
		return rc;
	}
	*out = e;
	return 0;
}

int pst_plan_make(const char *path, const struct pst_engine_opts *opts,
		  struct pst_plan *out, struct pst_diag *diag)
{
	struct pst_engine *e = calloc(1, sizeof(*e));
	int rc;

	if (!e)
		return pst_diag_set(diag, -ENOMEM, "out of memory");
	e->opts = *opts;
	memset(out, 0, sizeof(*out));
	rc = pst_engine_open_files(e, path, diag);
	if (!rc)
		rc = open_mem_pool(e, diag);
	if (!rc)
		rc = start_pool(e, diag);
	if (!rc)
		rc = open_io(e, diag);
	if (!rc)
		rc = pst_budget_plan(e, out, diag);
	pst_engine_close(e);
	return rc;
}

void pst_engine_close(struct pst_engine *e)
{
	if (!e)
		return;
	pst_engine_warm_save(e);
	pst_engine_govern_stop(e);
	pst_store_destroy(e->store);
	pst_mem_pool_close(e->mem_pool);
	pst_fwd_destroy(e->fwd);
	pst_kv_fini(&e->session.kv);
	pst_io_destroy(e->io);
	pst_pool_destroy(e->pool);
	pst_model_destroy(e->model);
	pst_vocab_destroy(e->vocab);
	pst_gguf_close(e->gguf);
	free(e);
}

const struct pst_plan *pst_engine_plan(const struct pst_engine *e)
{
	return &e->plan;
}

const struct pst_vocab *pst_engine_vocab(const struct pst_engine *e)
{
	return e->vocab;
}

const struct pst_gguf *pst_engine_gguf(const struct pst_engine *e)
{
	return e->gguf;
}

uint32_t pst_engine_nr_vocab(const struct pst_engine *e)
{
	return e->model->hp.n_vocab;
}

bool pst_engine_is_encoder(const struct pst_engine *e)
{
	return e->model->hp.encoder;
}

uint32_t pst_engine_nr_out(const struct pst_engine *e, bool states)
{
	const struct pst_hparams *hp = &e->model->hp;

	return states || hp->encoder ? hp->n_embd : hp->n_vocab;
}

const char *pst_engine_io_name(const struct pst_engine *e)
{
	return e->opts.io == PST_ENGINE_IO_MMAP ? "mmap" : pst_io_name(e->io);
}

const char *pst_engine_mem_name(const struct pst_engine *e)
{
	const struct pst_mem *m = e->store ? pst_store_mem(e->store)
					   : &e->model->trunk;

	return m && m->addr ? pst_mem_kind_name(m) : "page cache";
}

const char *pst_engine_kernels_name(const struct pst_engine *e)
{
	return e->kernels.name;
}

const char *pst_engine_activations_name(const struct pst_engine *e)
{
	return pst_engine_activations(e) == PST_ACT_Q16 ? "q16" : "q8";
}

const char *pst_engine_mla_name(const struct pst_engine *e)
{
	return pst_engine_mla(e) == PST_MLA_DECOMPRESSED ? "decompressed"
							 : "absorbed";
}

/* write_bytes of /proc/self/io: what this process caused to reach storage. */
static uint64_t written_bytes(void)
{
	FILE *f = fopen("/proc/self/io", "re");
	uint64_t v = 0;
	char line[128];

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "write_bytes: %" SCNu64, &v) == 1)
			break;
	if (f)
		fclose(f);
	return v;
}

void pst_engine_counters(const struct pst_engine *e, struct pst_counters *out)
{
	struct pst_store_stats ss = { 0 };
	struct pst_io_stats is = { 0 };
	struct pst_mem_usage mu = { 0 };
	struct pst_row_stats rs = { 0 };
	struct pst_predict_stats ps;
	uint64_t said = 0, right = 0;

	if (e->store)
		pst_store_stats_read(e->store, &ss);
	pst_io_stats_read(e->io, &is);
	pst_fwd_row_stats(e->fwd, &rs);
	pst_mem_usage_read(&mu);
	for (uint32_t l = 0; l < e->model->hp.n_layers; l++) {
		pst_fwd_predict_stats(e->fwd, l, &ps);
		said += ps.said;
		right += ps.right;
	}
	*out = (struct pst_counters){
		.hits = ss.hits,
		.misses = ss.misses,
		.evictions = ss.evictions,
		.distinct = ss.distinct,
		.prefetch_reads = ss.prefetch_reads,
		.prefetch_used = ss.prefetch_used,
		.prefetch_late = ss.prefetch_late,
		.prefetch_wasted = ss.prefetch_wasted,
		.prefetch_withdrawn = ss.prefetch_withdrawn,
		.predict_said = said,
		.predict_right = right,
		.prefetch_on = e->prefetch_on,
		.read_bytes = is.read_bytes - e->io_before.read_bytes,
		.reads = is.reads - e->io_before.reads,
		.rows = rs.wanted,
		.rows_read = rs.read,
		.wait_ns = ss.wait_ns + rs.wait_ns,
		.io_busy_ns = is.busy_ns - e->io_before.busy_ns,
		.warm_reads = ss.warm_reads,
		.kept = ss.kept,
		.kept_dropped = ss.keep_unfinished + ss.keep_damaged,
		.begun_early = ss.begun_early,
		.nr_slots = e->store ? pst_store_nr_slots(e->store) : 0,
		.given_slots = e->govern.given_slots,
		.taken_slots = e->govern.taken_slots,
		.memory_warnings = e->govern.warnings,
		.peak_bytes = mu.rss_peak + mu.hugetlb,
		.written_bytes = written_bytes(),
	};
}
