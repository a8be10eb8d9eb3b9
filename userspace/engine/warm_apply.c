// SPDX-License-Identifier: MIT
/*
 * The warm start of an engine: at its close the cache's members and their
 * worth go to the state directory, at the next opening they come back.
 *
 * Nothing here can fail a run: what cannot be read or written is said and left.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine_priv.h"
#include "state.h"
#include "warm.h"

void pst_engine_warm_identify(struct pst_engine *e)
{
	struct pst_warm_id *id = &e->warm.id;

	for (uint32_t i = 0; i < pst_gguf_nr_files(e->gguf); i++) {
		const struct pst_gguf_file *f = pst_gguf_file(e->gguf, i);

		id->hash = pst_warm_hash(id->hash, f->map, f->data_off_bytes);
	}
	id->model_bytes = pst_gguf_files_bytes(e->gguf);
	id->nr_layers = e->model->hp.n_layers;
	id->nr_experts = e->model->hp.n_expert;
}

static void name_of(const struct pst_engine *e, char *out)
{
	const char *path = pst_gguf_file(e->gguf, 0)->path;
	const char *base = strrchr(path, '/');
	char key[512];

	snprintf(key, sizeof(key), "%.255s %016" PRIx64 " %" PRIu64,
		 base ? base + 1 : path, e->warm.id.hash,
		 e->warm.id.model_bytes);
	pst_state_name("cache", key, out);
}

static const char *why_not(int rc)
{
	return rc == -ESTALE	? "it is of another model"
	       : rc == -EBADMSG ? "it is damaged"
				: strerror(-rc);
}

static bool in_use(const struct pst_engine *e)
{
	return e->opts.warm_dir && e->store && !e->opts.resident &&
	       e->opts.io != PST_ENGINE_IO_MMAP;
}

static void take_over(struct pst_engine *e, const struct pst_warm_set *set)
{
	uint32_t nr = PST_MIN(set->nr, e->plan.nr_slots);
	uint32_t *keys = pst_calloc(nr + 1ULL, sizeof(*keys));
	bool same = !strcmp(set->policy, pst_store_policy(e->store));

	if (!keys)
		return;
	for (uint32_t i = 0; same && i < set->nr; i++)
		pst_store_seed(e->store, set->entries[i].key,
			       set->entries[i].worth);
	for (uint32_t i = 0; i < nr; i++)
		keys[i] = set->entries[i].key;
	pst_store_warm(e->store, keys, nr);
	free(keys);
}

void pst_engine_warm_load(struct pst_engine *e)
{
	const struct pst_warm_id *id = &e->warm.id;
	char name[PST_STATE_NAME_MAX], *bytes;
	struct pst_warm_set set;
	struct pst_diag diag;
	uint64_t size;
	int rc;

	if (!in_use(e))
		return;
	pst_diag_init(&diag);
	name_of(e, name);
	rc = pst_state_read(
		e->opts.warm_dir, name,
		pst_warm_bytes((uint64_t)id->nr_layers * id->nr_experts),
		&bytes, &size, &diag);
	if (rc == -ENOENT)
		return;
	if (!rc) {
		rc = pst_warm_parse(id, (const uint8_t *)bytes, size, &set);
		free(bytes);
	}
	if (rc) {
		pst_log(e->opts.log, PST_LOG_INFO,
			"starting with an empty expert cache: %s/%s: %s",
			e->opts.warm_dir, name,
			diag.err ? diag.text : why_not(rc));
		return;
	}
	take_over(e, &set);
	free(set.entries);
}

/* Every expert that is in memory or has ever been worth something. */
static int collect(const struct pst_engine *e, struct pst_warm_set *set)
{
	uint32_t nr_keys = e->warm.id.nr_layers * e->warm.id.nr_experts;
	uint32_t *keys = pst_calloc(e->plan.nr_slots + 1ULL, sizeof(*keys));
	bool *resident = pst_calloc(nr_keys, sizeof(*resident));
	uint32_t nr;
	int rc = -ENOMEM;

	set->entries = pst_calloc(nr_keys, sizeof(*set->entries));
	if (!keys || !resident || !set->entries)
		goto out;
	nr = pst_store_resident(e->store, keys);
	for (uint32_t i = 0; i < nr; i++)
		resident[keys[i]] = true;
	for (uint32_t k = 0; k < nr_keys; k++) {
		float worth = pst_store_worth(e->store, k);

		if (resident[k] || worth > 0.0f)
			set->entries[set->nr++] =
				(struct pst_warm_entry){ .key = k,
							 .worth = worth };
	}
	snprintf(set->policy, sizeof(set->policy), "%s",
		 pst_store_policy(e->store));
	rc = pst_warm_order(set, resident);
out:
	free(keys);
	free(resident);
	return rc;
}

void pst_engine_warm_save(struct pst_engine *e)
{
	struct pst_warm_set set = { 0 };
	char name[PST_STATE_NAME_MAX];
	uint8_t *bytes = NULL;
	struct pst_diag diag;
	int rc;

	/* A run that computed nothing knows less than the one before it. */
	if (!e->warm.worth_saving || !in_use(e))
		return;
	pst_diag_init(&diag);
	name_of(e, name);
	rc = collect(e, &set);
	if (!rc)
		bytes = malloc(pst_warm_bytes(set.nr));
	if (bytes) {
		pst_warm_format(&e->warm.id, &set, bytes);
		rc = pst_state_write(e->opts.warm_dir, name, bytes,
				     pst_warm_bytes(set.nr), &diag);
	} else {
		rc = -ENOMEM;
	}
	if (rc)
		pst_log(e->opts.log, PST_LOG_INFO,
			"the next start will be cold: %s%s%s", diag.file,
			diag.file[0] ? ": " : "",
			diag.err ? diag.text : strerror(-rc));
	free(bytes);
	free(set.entries);
}
