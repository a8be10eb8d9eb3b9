// SPDX-License-Identifier: MIT
/*
 * A store whose slots outlive it, over a pool of ordinary memory: what the next
 * store begins with, and what it does not believe.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mem_priv.h"
#include "store_testing.h"

/* A named pool: the memory stays when its users go. */
struct kept {
	struct pst_mem_pool pool;
	struct pst_store_keep keep;
	uint8_t *mem;
};

static int kept_take(struct pst_mem_pool *p, struct pst_mem_take *take,
		     struct pst_diag *diag)
{
	p->used_bytes = 0;
	return take->size_bytes == p->size_bytes ? 0 : -EINVAL;
}

static int kept_map(struct pst_mem *m, enum pst_mem_want want,
		    struct pst_diag *diag)
{
	struct pst_mem_pool *p = m->pool;
	struct kept *k = (struct kept *)p;

	m->kind = PST_MEM_KIND_CHUNKS;
	m->page_bytes = PST_MEM_HUGE_2M_BYTES;
	m->size_bytes = pst_align_up(m->size_bytes, m->page_bytes);
	if (m->size_bytes > p->size_bytes - p->used_bytes)
		return -ENOMEM;
	m->addr = k->mem + p->used_bytes;
	p->used_bytes += m->size_bytes;
	return 0;
}

static void kept_unmap(struct pst_mem *m)
{
}

static const struct pst_mem_ops kept_ops = { .take = kept_take,
					     .map = kept_map,
					     .unmap = kept_unmap };

static const struct sshape shape = { .nr_layers = 4,
				     .nr_experts = 16,
				     .nr_slots = 24,
				     .nr_parts = 3,
				     .part_bytes = { 5000, 5000, 7001 },
				     .gap_bytes = 77,
				     .dense = 2,
				     .queue_depth = 8 };

/* Slots of the shape, with its alignment: 4096 each part, twice. */
static uint64_t slot_bytes_of(const struct sbed *b)
{
	return pst_store_slot_bytes(b->layers, b->shape.nr_layers,
				    pst_io_align(b->io));
}

static int setup(void **s)
{
	struct kept *k = calloc(1, sizeof(*k));
	struct sbed b;

	sbed_open(&b, &shape);
	k->keep = (struct pst_store_keep){
		.model_hash = 11,
		.model_bytes = 12,
		.pool_bytes =
			pst_store_keep_bytes(slot_bytes_of(&b), shape.nr_slots),
	};
	sbed_close(&b);
	k->pool = (struct pst_mem_pool){ .ops = &kept_ops,
					 .source = PST_MEM_SOURCE_KMOD,
					 .size_bytes = k->keep.pool_bytes,
					 .name = "kept" };
	k->mem = aligned_alloc(PST_MEM_HUGE_2M_BYTES, k->keep.pool_bytes);
	memset(k->mem, 0x99, k->keep.pool_bytes);
	*s = k;
	return 0;
}

static int teardown(void **s)
{
	struct kept *k = *s;

	free(k->mem);
	free(k);
	return 0;
}

static void open_kept(struct sbed *b, struct kept *k, const char *fault)
{
	struct sshape with = shape;

	with.pool = &k->pool;
	with.keep = &k->keep;
	with.fault = fault;
	sbed_open(b, &with);
	sbed_invariants(b);
}

static struct pst_store_stats stats_of(const struct sbed *b)
{
	struct pst_store_stats st;

	pst_store_stats_read(b->s, &st);
	return st;
}

static uint64_t reads_of(const struct sbed *b)
{
	struct pst_io_stats st;

	pst_io_stats_read(b->io, &st);
	return st.reads;
}

static void fill(struct kept *k)
{
	struct sbed b;

	open_kept(&b, k, NULL);
	assert_int_equal(stats_of(&b).kept, 0);
	assert_int_equal(stats_of(&b).keep_damaged, 0);
	RUN_OK(&b, 0, 1, 2, 3, 4);
	RUN_OK(&b, 2, 5, 6, 7);
	RUN_OK(&b, 3, 0, 15);
	sbed_close(&b);
}

static void the_next_store_reads_nothing_again(void **s)
{
	struct kept *k = *s;
	struct sbed b;

	fill(k);
	open_kept(&b, k, NULL);
	assert_int_equal(stats_of(&b).kept, 9);
	assert_int_equal(stats_of(&b).keep_damaged, 0);
	assert_int_equal(stats_of(&b).keep_unfinished, 0);
	RUN_OK(&b, 3, 15, 0);
	RUN_OK(&b, 0, 4, 3, 2, 1);
	RUN_OK(&b, 2, 7, 6, 5);
	assert_int_equal(stats_of(&b).hits, 9);
	assert_int_equal(reads_of(&b), 0);
	/* And what is adopted can be evicted like the rest. */
	for (uint32_t e = 0; e < 16; e++)
		RUN_OK(&b, 0, e);
	for (uint32_t e = 0; e < 16; e++)
		RUN_OK(&b, 2, e);
	sbed_close(&b);
}

static void a_generation_later_it_is_still_right(void **s)
{
	struct kept *k = *s;
	struct sbed b;

	fill(k);
	for (uint32_t round = 0; round < 5; round++) {
		open_kept(&b, k, NULL);
		assert_true(stats_of(&b).kept >= 9);
		for (uint32_t e = 0; e < 16; e++)
			RUN_OK(&b, round % 2 ? 2 : 3, e, (e + 5) % 16);
		sbed_close(&b);
	}
}

static void a_changed_byte_is_found_and_read_anew(void **s)
{
	struct kept *k = *s;
	struct sbed b;
	uint32_t slot;

	fill(k);
	open_kept(&b, k, NULL);
	slot = b.s->slot_of[2];
	((uint8_t *)(uintptr_t)b.s->slots[slot].part[2])[7000] ^= 1;
	sbed_close(&b);
	open_kept(&b, k, NULL);
	assert_int_equal(stats_of(&b).kept, 8);
	assert_int_equal(stats_of(&b).keep_damaged, 1);
	assert_false(sbed_resident(&b, 0, 2));
	RUN_OK(&b, 0, 1, 2, 3, 4);
	assert_int_equal(stats_of(&b).misses, 1);
	sbed_close(&b);
}

static void slack_of_whole_blocks_is_nobodys(void **s)
{
	struct kept *k = *s;
	struct sbed b;
	uint32_t slot;

	fill(k);
	open_kept(&b, k, NULL);
	slot = b.s->slot_of[2];
	((uint8_t *)(uintptr_t)b.s->slots[slot].part[0])[5000] ^= 1;
	sbed_close(&b);
	open_kept(&b, k, NULL);
	assert_int_equal(stats_of(&b).kept, 9);
	sbed_close(&b);
}

static void what_was_not_all_read_is_dropped(void **s)
{
	struct kept *k = *s;
	struct sbed b;

	fill(k);
	open_kept(&b, k, NULL);
	/* The process ends while a read is on its way into a full slot. */
	pst_slot_dir_begin(&b.s->keep.dir, b.s->slot_of[3], 9);
	sbed_close(&b);
	open_kept(&b, k, NULL);
	assert_int_equal(stats_of(&b).kept, 8);
	assert_int_equal(stats_of(&b).keep_unfinished, 1);
	assert_false(sbed_resident(&b, 0, 3));
	assert_false(sbed_resident(&b, 0, 9));
	RUN_OK(&b, 0, 3, 9);
	sbed_close(&b);
}

/* The bytes of an expert once more, in slot 20. */
static void copy_expert(struct sbed *b, uint32_t key)
{
	struct pst_slot_dir *dir = &b->s->keep.dir;
	uint32_t slot = b->s->slot_of[key], same = 0;
	uint64_t sum = 0;

	assert_int_equal(pst_slot_dir_get(dir, slot, &same, &sum),
			 PST_SLOT_VALID);
	memcpy(b->s->slots[20].base, b->s->slots[slot].base, b->s->slot_bytes);
	pst_slot_dir_begin(dir, 20, key);
	pst_slot_dir_end(dir, 20, sum);
}

static void an_expert_that_is_there_twice_is_taken_once(void **s)
{
	struct kept *k = *s;
	struct sbed b;

	fill(k);
	open_kept(&b, k, NULL);
	copy_expert(&b, 1);
	sbed_close(&b);
	open_kept(&b, k, NULL);
	assert_int_equal(stats_of(&b).kept, 9);
	assert_int_equal(stats_of(&b).keep_damaged, 1);
	sbed_close(&b);
}

static void an_entry_that_makes_no_sense_is_dropped(void **s)
{
	/* Beyond the model, and a layer without experts. */
	static const uint32_t keys[] = { 64, UINT32_MAX, 16, 31 };
	struct kept *k = *s;
	struct sbed b;

	for (size_t i = 0; i < PST_ARRAY_SIZE(keys); i++) {
		fill(k);
		open_kept(&b, k, NULL);
		pst_slot_dir_begin(&b.s->keep.dir, 20, keys[i]);
		/* Without parts that is the right sum. */
		pst_slot_dir_end(&b.s->keep.dir, 20, keys[i]);
		sbed_close(&b);
		open_kept(&b, k, NULL);
		assert_true(stats_of(&b).keep_damaged >= 1);
		RUN_OK(&b, 0, 1, 2, 3, 4);
		sbed_close(&b);
		/* Afterwards the directory is clean. */
		open_kept(&b, k, NULL);
		assert_int_equal(stats_of(&b).keep_damaged, 0);
		sbed_close(&b);
		memset(k->mem, 0, 4096);
	}
}

static void another_model_begins_empty(void **s)
{
	struct kept *k = *s;
	struct sbed b;

	fill(k);
	k->keep.model_hash++;
	open_kept(&b, k, NULL);
	assert_int_equal(stats_of(&b).kept, 0);
	RUN_OK(&b, 0, 1, 2, 3, 4);
	sbed_close(&b);
	k->keep.model_hash--;
	open_kept(&b, k, NULL);
	assert_int_equal(stats_of(&b).kept, 0);
	RUN_OK(&b, 0, 1, 2, 3, 4);
	sbed_close(&b);
}

static void its_memory_is_not_given_back(void **s)
{
	struct kept *k = *s;
	struct sbed b;

	fill(k);
	open_kept(&b, k, NULL);
	assert_int_equal(pst_store_shrink(b.s, 1), 0);
	assert_int_equal(pst_store_nr_slots(b.s), shape.nr_slots);
	sbed_close(&b);
}

static void a_failed_read_is_never_adopted(void **s)
{
	struct kept *k = *s;
	struct pst_diag d;
	struct sbed b;
	uint32_t nr = 0;

	open_kept(&b, k, "seed=3,eio=0.4");
	for (uint32_t e = 0; e < 16; e++) {
		const uint32_t ids[] = { e };

		pst_diag_init(&d);
		sbed_run(&b, 0, ids, 1, 1, &d);
		nr += sbed_resident(&b, 0, e);
	}
	assert_true(nr > 0 && nr < 16);
	sbed_close(&b);
	open_kept(&b, k, NULL);
	assert_int_equal(stats_of(&b).kept, nr);
	for (uint32_t e = 0; e < 16; e++)
		RUN_OK(&b, 0, e);
	sbed_close(&b);
}

static void whatever_is_left_the_bytes_are_right(void **s)
{
	uint64_t seed = test_seed();
	struct kept *k = *s;

	for (int life = 0; life < 30; life++) {
		struct pst_slot_dir dir;
		struct sbed b;

		open_kept(&b, k, "seed=5,short=0.3,eagain=0.2,shuffle=1");
		for (int set = 0; set < 12; set++) {
			uint32_t layer = pst_rng_next(&seed) % 3;
			uint32_t first = pst_rng_next(&seed) % 16;

			layer += layer > 0;
			RUN_OK(&b, layer, first, (first + 1) % 16,
			       (first + 7) % 16);
		}
		/* In mid-set, as a killed process. */
		pst_store_begin(b.s, 0, (const uint32_t[]){ 1, 9 }, 2);
		dir = b.s->keep.dir;
		pst_slot_dir_begin(&dir, pst_rng_next(&seed) % 24,
				   pst_rng_next(&seed) % 64);
		for (int i = 0; i < 3; i++)
			k->mem[PST_MEM_HUGE_2M_BYTES +
			       pst_rng_next(&seed) % (24 * 24576)] ^= 0x10;
		/* What the set waits for lands in the pool meanwhile. */
		pst_store_end(b.s);
		sbed_close(&b);
	}
}

static void bytes_and_slots_of_a_pool_agree(void **s)
{
	uint64_t seed = test_seed();

	for (int i = 0; i < 300; i++) {
		uint64_t slot = 4096 * (1 + pst_rng_next(&seed) % 5000);
		uint32_t nr = 1 + (uint32_t)(pst_rng_next(&seed) % 3000);
		uint64_t bytes = pst_store_keep_bytes(slot, nr);
		uint32_t most = pst_store_keep_slots(slot, bytes);

		assert_true(bytes % PST_MEM_HUGE_2M_BYTES == 0);
		assert_true(most >= nr);
		/* The same again for whoever finds the pool. */
		assert_true(pst_store_keep_bytes(slot, most) <= bytes);
		assert_int_equal(pst_store_keep_slots(slot, bytes), most);
		assert_true(pst_store_keep_bytes(slot, most + 1) > bytes);
	}
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_next_store_reads_nothing_again),
		TEST(a_generation_later_it_is_still_right),
		TEST(a_changed_byte_is_found_and_read_anew),
		TEST(slack_of_whole_blocks_is_nobodys),
		TEST(what_was_not_all_read_is_dropped),
		TEST(an_expert_that_is_there_twice_is_taken_once),
		TEST(an_entry_that_makes_no_sense_is_dropped),
		TEST(another_model_begins_empty),
		TEST(its_memory_is_not_given_back),
		TEST(a_failed_read_is_never_adopted),
		TEST(whatever_is_left_the_bytes_are_right),
		TEST(bytes_and_slots_of_a_pool_agree),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
