// SPDX-License-Identifier: MIT
/*
 * An expert cache in a named pool: how large it is to be, so that the next
 * process finds what it can use, which model is in it, and what came of it.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "engine_priv.h"
#include "kept.h"

/* Reads of a killed process end within the drive's own time-outs. */
#define WAIT_NS 60000000000ULL
/* Left out of a new pool, so that the next process's own memory may be a little
 * larger; and how much smaller an old pool may be than a new one would be.
 */
#define SPARE_SHARE 64
#define LACK_SHARE  8

/*
 * The headers alone do not tell a model from one that was trained on; the files
 * do.  Not the drive they are on: its number changes when it is plugged again.
 */
static int hash_files(const struct pst_engine *e, uint64_t *out,
		      struct pst_diag *diag)
{
	uint64_t hash = e->warm.id.hash;

	for (uint32_t i = 0; i < pst_gguf_nr_files(e->gguf); i++) {
		const char *path = pst_gguf_file(e->gguf, i)->path;
		uint64_t facts[4];
		struct stat st;

		if (stat(path, &st))
			return pst_diag_set_at(diag, -errno, path, UINT64_MAX,
					       "%s", strerror(errno));
		facts[0] = st.st_ino;
		facts[1] = (uint64_t)st.st_size;
		facts[2] = (uint64_t)st.st_mtim.tv_sec;
		facts[3] = (uint64_t)st.st_mtim.tv_nsec;
		hash = pst_warm_hash(hash, (const uint8_t *)facts,
				     sizeof(facts));
	}
	*out = hash;
	return 0;
}

/* As many as the pool of @nr slots has room for: rounding leaves some. */
static uint32_t rounded(const struct pst_engine *e, uint32_t nr)
{
	uint64_t bytes = pst_store_keep_bytes(e->plan.slot, nr);
	uint32_t most = pst_store_keep_slots(e->plan.slot, bytes);

	return PST_MIN(most, e->plan.nr_experts);
}

/* Those of the pool that is there, if they are of use; else of a new one. */
static uint32_t choose(const struct pst_engine *e, uint32_t nr_slots)
{
	bool chosen = e->opts.resident || e->opts.cache_unit != PST_CACHE_AUTO;
	uint32_t make = nr_slots, most = rounded(e, nr_slots), held;

	if (!chosen && nr_slots < e->plan.nr_experts)
		make = PST_MAX(nr_slots - nr_slots / SPARE_SHARE,
			       e->plan.nr_used);
	make = rounded(e, make);
	held = pst_store_keep_slots(e->plan.slot,
				    pst_mem_pool_held(e->mem_pool));
	held = PST_MIN(held, e->plan.nr_experts);
	if (chosen)
		return make;
	return held <= most && held >= make - make / LACK_SHARE ? held : make;
}

int pst_engine_keep_args(const struct pst_engine *e, uint32_t *nr_slots,
			 struct pst_store_keep *keep, struct pst_diag *diag)
{
	uint64_t held = pst_mem_pool_held(e->mem_pool);
	uint32_t nr = choose(e, *nr_slots);
	uint64_t hash = 0;
	int rc = hash_files(e, &hash, diag);

	if (rc)
		return rc;
	*keep = (struct pst_store_keep){
		.model_hash = hash,
		.model_bytes = e->warm.id.model_bytes,
		.pool_bytes = pst_store_keep_bytes(e->plan.slot, nr),
		.wait_ns = WAIT_NS,
		.log = e->opts.log,
	};
	/* Sizes that hold the same slots differ in slack only. */
	if (held > keep->pool_bytes &&
	    rounded(e, pst_store_keep_slots(e->plan.slot, held)) == nr)
		keep->pool_bytes = held;
	*nr_slots = nr;
	return 0;
}

void pst_engine_keep_say(const struct pst_engine *e)
{
	struct pst_store_stats st;

	pst_store_stats_read(e->store, &st);
	pst_log(e->opts.log, PST_LOG_INFO,
		"pool %s: %" PRIu64 " of %u experts were left by the last "
		"process; %" PRIu64 " were not all read, %" PRIu64
		" were damaged; its reads were waited for %.2f s",
		e->opts.pool_name, st.kept, e->plan.nr_slots,
		st.keep_unfinished, st.keep_damaged,
		(double)st.keep_wait_ns * 1e-9);
}
