// SPDX-License-Identifier: MIT
/*
 * See store_testing.h.
 */
#include <stdlib.h>
#include <string.h>

#include "store_testing.h"

/* The byte at a place: differs between files, blocks and neighbours. */
static uint8_t byte_at(uint32_t file, uint64_t off)
{
	uint64_t v = (off ^ (uint64_t)file << 40) * 0x9e3779b97f4a7c15ULL;

	return (uint8_t)(v >> 56);
}

static void make_file(struct sbed *b, uint32_t file, uint64_t size_bytes)
{
	unsigned char *data = malloc(size_bytes);

	assert_non_null(data);
	for (uint64_t i = 0; i < size_bytes; i++)
		data[i] = byte_at(file, i);
	b->files[file] = (struct pst_io_loopfile){ .name = file ? "two" : "one",
						   .data = data,
						   .size_bytes = size_bytes };
}

static void place_layers(struct sbed *b, uint64_t end[2])
{
	const struct sshape *s = &b->shape;

	for (uint32_t l = 0; l < s->nr_layers; l++) {
		if (s->dense >> l & 1)
			continue;
		b->layers[l].nr_parts = s->nr_parts;
		for (uint32_t p = 0; p < s->nr_parts; p++) {
			uint32_t file = (l + p) % 2;

			end[file] += s->gap_bytes;
			b->layers[l].part[p] = (struct pst_store_part){
				.file = file,
				.off_bytes = end[file],
				.size_bytes = s->part_bytes[p],
			};
			end[file] += s->part_bytes[p] * s->nr_experts;
		}
	}
}

void sbed_open(struct sbed *b, const struct sshape *shape)
{
	struct pst_io_args io = { .queue_depth = shape->queue_depth,
				  .fault = shape->fault };
	struct pst_store_args args = {
		.mode = PST_STORE_STREAM,
		.layers = b->layers,
		.nr_layers = shape->nr_layers,
		.nr_experts = shape->nr_experts,
		.nr_slots = shape->nr_slots,
		.nr_per_token = shape->nr_per_token,
		.policy =
			pst_policy_find(shape->policy ? shape->policy : "lru"),
		.huge = PST_MEM_SMALL,
		.node = -1,
		.split_bytes = shape->split_bytes ? shape->split_bytes
						  : 1u << 20,
		.region_bytes = shape->region_bytes,
		.early = shape->early,
		.pool = shape->pool,
		.keep = shape->keep,
	};
	uint64_t end[2] = { 0, 0 };
	struct pst_diag d;

	assert_true(shape->nr_layers <= MAX_LAYERS &&
		    shape->nr_experts <= MAX_EXPERTS);
	memset(b, 0, sizeof(*b));
	b->shape = *shape;
	pst_diag_init(&d);
	place_layers(b, end);
	for (uint32_t f = 0; f < 2; f++)
		make_file(b, f, end[f] ? end[f] : 1);
	b->disk = (struct pst_io_loopdisk){ .files = b->files, .nr = 2 };
	if (pst_io_loopback_create(&io, &b->disk, &b->io, &d))
		fail_msg("io: %s", d.text);
	for (uint32_t f = 0; f < 2; f++)
		assert_int_equal(pst_io_add_file(b->io, b->files[f].name, &d),
				 (int)f);
	args.io = b->io;
	if (pst_store_create(&args, &b->s, &d))
		fail_msg("store: %s", d.text);
}

void sbed_close(struct sbed *b)
{
	pst_store_destroy(b->s);
	pst_io_destroy(b->io);
	for (uint32_t f = 0; f < 2; f++)
		free((void *)(uintptr_t)b->files[f].data);
}

void sbed_check(const struct sbed *b, uint32_t layer,
		const struct pst_expert *e)
{
	const struct pst_store_layer *l = &b->layers[layer];

	assert_true(e->expert < b->shape.nr_experts);
	for (uint32_t p = 0; p < l->nr_parts - !e->finish; p++) {
		const struct pst_store_part *part = &l->part[p];

		assert_memory_equal(e->part[p],
				    b->files[part->file].data +
					    part->off_bytes +
					    e->expert * part->size_bytes,
				    part->size_bytes);
	}
}

int sbed_run(struct sbed *b, uint32_t layer, const uint32_t *ids, uint32_t nr,
	     uint32_t max, struct pst_diag *diag)
{
	bool seen[MAX_EXPERTS] = { false }, begun[MAX_EXPERTS] = { false };
	struct pst_expert got[MAX_EXPERTS];
	uint32_t taken = 0;
	int n;

	pst_store_begin(b->s, layer, ids, nr);
	sbed_invariants(b);
	while ((n = pst_store_take(b->s, got, max, true, diag)) > 0) {
		assert_true((uint32_t)n <= max);
		for (int i = 0; i < n; i++) {
			uint32_t e = got[i].expert;

			assert_false(seen[e]);
			assert_int_equal(got[i].begin, !begun[e]);
			begun[e] = true;
			seen[e] = got[i].finish;
			taken += got[i].finish;
			sbed_check(b, layer, &got[i]);
		}
		sbed_invariants(b);
		for (int i = 0; i < n; i++) {
			/* Others arrive while it is computed. */
			sbed_check(b, layer, &got[i]);
			if (got[i].finish)
				pst_store_done(b->s, got[i].expert);
			sbed_invariants(b);
		}
	}
	for (uint32_t i = 0; !n && i < nr; i++)
		assert_true(seen[ids[i]]);
	if (!n)
		assert_int_equal(taken, nr);
	pst_store_end(b->s);
	sbed_invariants(b);
	return n;
}

void sbed_run_ok(struct sbed *b, uint32_t layer, const uint32_t *ids,
		 uint32_t nr)
{
	struct pst_diag d;

	pst_diag_init(&d);
	if (sbed_run(b, layer, ids, nr, 1, &d))
		fail_msg("take: %s", d.text);
}

bool sbed_resident(const struct sbed *b, uint32_t layer, uint32_t expert)
{
	return b->s->slot_of[layer * b->shape.nr_experts + expert] !=
	       UINT32_MAX;
}

/* Every slot is free or in the table, exactly once; no read is forgotten. */
void sbed_invariants(const struct sbed *b)
{
	const struct pst_store *s = b->s;
	uint32_t nr_keys = s->nr_layers * s->nr_experts;
	uint32_t owners[256] = { 0 };
	uint32_t in_table = 0, pending = 0, demand = 0, ahead = 0;

	assert_true(s->nr_slots <= 256);
	for (uint32_t k = 0; k < nr_keys; k++) {
		uint32_t slot = s->slot_of[k];

		if (slot == UINT32_MAX)
			continue;
		assert_true(slot < s->nr_slots);
		assert_int_equal(s->slots[slot].layer, k / s->nr_experts);
		assert_int_equal(s->slots[slot].expert, k % s->nr_experts);
		owners[slot]++;
		in_table++;
	}
	for (uint32_t i = 0; i < s->nr_free; i++)
		owners[s->free[i]]++;
	for (uint32_t i = 0; i < s->nr_regions; i++)
		for (uint32_t j = 0; j < s->regions[i].nr_slots; j++)
			owners[s->regions[i].first_slot + j] +=
				s->regions[i].away;
	for (uint32_t i = 0; i < s->nr_slots; i++) {
		assert_int_equal(owners[i], 1);
		assert_true(s->slots[i].pins <= 1);
		pending += s->slots[i].nr_pending;
		if (s->slots[i].demand)
			demand += s->slots[i].nr_pending;
		else
			ahead += s->slots[i].nr_pending != 0;
		/* Without a set nothing is pinned. */
		if (!s->nr_left)
			assert_int_equal(s->slots[i].pins, 0);
	}
	assert_int_equal(in_table + s->nr_free + s->nr_away, s->nr_slots);
	assert_int_equal(pending, pst_io_outstanding(s->io));
	assert_int_equal(demand, s->demand_reads);
	assert_int_equal(ahead, s->prefetch_slots);
}
