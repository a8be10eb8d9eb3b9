// SPDX-License-Identifier: MIT
/*
 * The bytes of a warm start, little-endian:
 *
 *	 0  "PSTWARM1"
 *	 8  u64 hash of everything that follows
 *	16  u64 hash of the model's headers
 *	24  u64 bytes of the model's files
 *	32  u32 layers, u32 experts of a layer
 *	40  u32 entries, u32 zero
 *	48  name of the policy, 16 bytes, filled up with zeros
 *	64  entries: u32 key, f32 worth
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "warm.h"

#define MAGIC	     "PSTWARM1"
#define HEAD_BYTES   64
#define HASHED_BYTES 16 /* that the hash does not cover */
#define ENTRY_BYTES  8

static uint64_t mix(uint64_t h)
{
	h ^= h >> 33;
	h *= 0xff51afd7ed558ccdULL;
	h ^= h >> 33;
	h *= 0xc4ceb9fe1a85ec53ULL;
	return h ^ (h >> 33);
}

static void put32(uint8_t *p, uint32_t v)
{
	for (int i = 0; i < 4; i++)
		p[i] = (uint8_t)(v >> (8 * i));
}

static void put64(uint8_t *p, uint64_t v)
{
	put32(p, (uint32_t)v);
	put32(p + 4, (uint32_t)(v >> 32));
}

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 |
	       (uint32_t)p[3] << 24;
}

static uint64_t get64(const uint8_t *p)
{
	return get32(p) | (uint64_t)get32(p + 4) << 32;
}

uint64_t pst_warm_hash(uint64_t hash, const uint8_t *bytes, uint64_t size_bytes)
{
	uint8_t last[8] = { 0 };
	uint64_t i;

	for (i = 0; i + 8 <= size_bytes; i += 8)
		hash = mix(hash ^ get64(bytes + i)) + i;
	if (i < size_bytes)
		memcpy(last, bytes + i, size_bytes - i);
	return mix(hash ^ get64(last)) + size_bytes;
}

uint64_t pst_warm_bytes(uint64_t nr)
{
	return HEAD_BYTES + nr * ENTRY_BYTES;
}

struct ranked {
	struct pst_warm_entry e;
	bool resident;
};

static int by_rank(const void *a, const void *b)
{
	const struct ranked *x = a, *y = b;
	uint64_t hx, hy;

	if (x->resident != y->resident)
		return y->resident - x->resident;
	if (x->e.worth != y->e.worth)
		return x->e.worth < y->e.worth ? 1 : -1;
	hx = mix(x->e.key + 1ULL);
	hy = mix(y->e.key + 1ULL);
	return (hx > hy) - (hx < hy);
}

int pst_warm_order(struct pst_warm_set *set, const bool *resident)
{
	struct ranked *r = pst_calloc(set->nr, sizeof(*r));

	if (!r)
		return -ENOMEM;
	for (uint32_t i = 0; i < set->nr; i++) {
		r[i].e = set->entries[i];
		r[i].resident = resident[r[i].e.key];
	}
	qsort(r, set->nr, sizeof(*r), by_rank);
	for (uint32_t i = 0; i < set->nr; i++)
		set->entries[i] = r[i].e;
	free(r);
	return 0;
}

void pst_warm_format(const struct pst_warm_id *id,
		     const struct pst_warm_set *set, uint8_t *out)
{
	uint8_t *p = out + HEAD_BYTES;
	uint32_t bits;

	memset(out, 0, HEAD_BYTES);
	memcpy(out, MAGIC, 8);
	put64(out + 16, id->hash);
	put64(out + 24, id->model_bytes);
	put32(out + 32, id->nr_layers);
	put32(out + 36, id->nr_experts);
	put32(out + 40, set->nr);
	memcpy(out + 48, set->policy, PST_WARM_POLICY_MAX);
	for (uint32_t i = 0; i < set->nr; i++, p += ENTRY_BYTES) {
		put32(p, set->entries[i].key);
		memcpy(&bits, &set->entries[i].worth, 4);
		put32(p + 4, bits);
	}
	put64(out + 8, pst_warm_hash(0, out + HASHED_BYTES,
				     pst_warm_bytes(set->nr) - HASHED_BYTES));
}

static int read_entries(const uint8_t *p, uint32_t nr, uint64_t nr_keys,
			struct pst_warm_entry *out)
{
	bool *seen = pst_calloc(nr_keys, sizeof(*seen));
	int rc = seen ? 0 : -ENOMEM;

	for (uint32_t i = 0; !rc && i < nr; i++, p += ENTRY_BYTES) {
		uint32_t bits = get32(p + 4);

		out[i].key = get32(p);
		memcpy(&out[i].worth, &bits, 4);
		if (out[i].key >= nr_keys || seen[out[i].key] ||
		    !isfinite(out[i].worth) || out[i].worth < 0.0f)
			rc = -EBADMSG;
		else
			seen[out[i].key] = true;
	}
	free(seen);
	return rc;
}

int pst_warm_parse(const struct pst_warm_id *id, const uint8_t *bytes,
		   uint64_t size_bytes, struct pst_warm_set *out)
{
	uint64_t nr_keys = (uint64_t)id->nr_layers * id->nr_experts;
	struct pst_warm_set s = { 0 };
	int rc;

	if (size_bytes < HEAD_BYTES || memcmp(bytes, MAGIC, 8))
		return -EBADMSG;
	s.nr = get32(bytes + 40);
	if (size_bytes != pst_warm_bytes(s.nr) ||
	    get64(bytes + 8) != pst_warm_hash(0, bytes + HASHED_BYTES,
					      size_bytes - HASHED_BYTES))
		return -EBADMSG;
	if (get64(bytes + 16) != id->hash ||
	    get64(bytes + 24) != id->model_bytes ||
	    get32(bytes + 32) != id->nr_layers ||
	    get32(bytes + 36) != id->nr_experts)
		return -ESTALE;
	if (s.nr > nr_keys || bytes[48 + PST_WARM_POLICY_MAX - 1])
		return -EBADMSG;
	memcpy(s.policy, bytes + 48, PST_WARM_POLICY_MAX);
	s.entries = pst_calloc(s.nr + 1ULL, sizeof(*s.entries));
	if (!s.entries)
		return -ENOMEM;
	rc = read_entries(bytes + HEAD_BYTES, s.nr, nr_keys, s.entries);
	if (rc) {
		free(s.entries);
		return rc;
	}
	*out = s;
	return 0;
}
