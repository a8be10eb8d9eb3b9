// SPDX-License-Identifier: MIT
/*
 * The tensor table: names, shapes, types, places, and what must not get past
 * it.  A tensor that is accepted lies inside the file, aligned and alone.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "alloc_hook.h"
#include "gguf_check.h"
#include "test_seed.h"

/* A file with one record and some data must be refused. */
static void refuse(const struct gb_tensor *t, const char *word)
{
	struct gguf_builder b = { 0 };
	uint8_t data[512] = { 0 };

	gb_tensor_info(&b, t);
	b.data.bytes = malloc(sizeof(data));
	memcpy(b.data.bytes, data, sizeof(data));
	b.data.nr = b.data.cap = sizeof(data);
	alloc_hook_reset();
	open_refused(&b, -EBADMSG, word);
	assert_true(alloc_hook_bytes() < 64 * PST_KIB);
}

static void tensors_are_found_with_their_bytes(void **state)
{
	struct gguf_builder b = { 0 };
	uint8_t bytes[160];
	struct opened o;

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 7);
	gb_tensor(&b,
		  &(struct gb_tensor){ .name = "a", .nr_dims = 1, .ne = { 5 } },
		  bytes, 20);
	gb_tensor(
		&b,
		&(struct gb_tensor){
			.name = "b", .type = 8, .nr_dims = 2, .ne = { 32, 4 } },
		bytes, 136);
	open_ok(&b, &o);
	assert_int_equal(pst_gguf_nr_tensors(o.g), 2);
	for (uint64_t i = 0; i < 2; i++) {
		const struct pst_gguf_tensor *t = pst_gguf_tensor(o.g, i);

		assert_ptr_equal(pst_gguf_find_tensor(o.g, t->name), t);
		assert_int_equal(t->off_bytes % 32, 0);
		assert_int_equal(t->file, 0);
		assert_true(t->off_bytes + t->size_bytes <= o.size);
		assert_memory_equal(pst_gguf_tensor_data(o.g, t), bytes,
				    t->size_bytes);
		assert_ptr_equal(pst_gguf_tensor_data(o.g, t),
				 pst_gguf_file(o.g, 0)->map + t->off_bytes);
	}
	assert_int_equal(pst_gguf_tensor(o.g, 0)->size_bytes, 20);
	assert_int_equal(pst_gguf_tensor(o.g, 1)->size_bytes, 136);
	assert_int_equal(pst_gguf_tensor(o.g, 1)->ne[1], 4);
	assert_int_equal(pst_gguf_tensor(o.g, 1)->ne[2], 1);
	assert_int_equal(pst_gguf_tensor(o.g, 1)->ne[3], 1);
	assert_null(pst_gguf_find_tensor(o.g, "c"));
	assert_null(pst_gguf_find_tensor(o.g, ""));
	opened_close(&o);
}

/* Elements and bytes of a block, from the definition of the format. */
static void the_type_table_is_the_formats(void **state)
{
	static const struct {
		uint32_t id, elems, bytes;
		const char *name;
	} want[] = {
		{ 0, 1, 4, "F32" },	    { 1, 1, 2, "F16" },
		{ 30, 1, 2, "BF16" },	    { 2, 32, 18, "Q4_0" },
		{ 3, 32, 20, "Q4_1" },	    { 6, 32, 22, "Q5_0" },
		{ 7, 32, 24, "Q5_1" },	    { 8, 32, 34, "Q8_0" },
		{ 9, 32, 36, "Q8_1" },	    { 10, 256, 84, "Q2_K" },
		{ 11, 256, 110, "Q3_K" },   { 12, 256, 144, "Q4_K" },
		{ 13, 256, 176, "Q5_K" },   { 14, 256, 210, "Q6_K" },
		{ 15, 256, 292, "Q8_K" },   { 16, 256, 66, "IQ2_XXS" },
		{ 17, 256, 74, "IQ2_XS" },  { 22, 256, 82, "IQ2_S" },
		{ 18, 256, 98, "IQ3_XXS" }, { 21, 256, 110, "IQ3_S" },
		{ 19, 256, 50, "IQ1_S" },   { 29, 256, 56, "IQ1_M" },
		{ 20, 32, 18, "IQ4_NL" },   { 23, 256, 136, "IQ4_XS" },
		{ 34, 256, 54, "TQ1_0" },   { 35, 256, 66, "TQ2_0" },
		{ 39, 32, 17, "MXFP4" },    { 40, 64, 36, "NVFP4" },
		{ 41, 128, 18, "Q1_0" },    { 42, 64, 18, "Q2_0" },
		{ 24, 1, 1, "I8" },	    { 25, 1, 2, "I16" },
		{ 26, 1, 4, "I32" },	    { 27, 1, 8, "I64" },
		{ 28, 1, 8, "F64" },
	};
	uint32_t known = 0;

	for (size_t i = 0; i < PST_ARRAY_SIZE(want); i++) {
		const struct pst_gguf_type *t = pst_gguf_type(want[i].id);

		assert_non_null(t);
		assert_string_equal(t->name, want[i].name);
		assert_int_equal(t->block_elems, want[i].elems);
		assert_int_equal(t->block_bytes, want[i].bytes);
	}
	for (uint32_t id = 0; id < 1024; id++)
		known += pst_gguf_type(id) != NULL;
	assert_int_equal(known, PST_ARRAY_SIZE(want));
	assert_null(pst_gguf_type(UINT32_MAX));
}

static void removed_and_unknown_types_are_refused(void **state)
{
	static const uint32_t bad[] = { 4,   5,	  31,	       32,	  33,
					36,  37,  38,	       43,	  95,
					255, 512, 0x80000000u, UINT32_MAX };

	for (size_t i = 0; i < PST_ARRAY_SIZE(bad); i++)
		refuse(&(struct gb_tensor){ .name = "t",
					    .type = bad[i],
					    .nr_dims = 1,
					    .ne = { 32 } },
		       "type");
	refuse(
		&(struct gb_tensor){
			.name = "t", .type = 137, .nr_dims = 1, .ne = { 32 } },
		"ik_llama");
}

static void dimension_counts_outside_1_to_4_are_refused(void **state)
{
	static const uint32_t bad[] = { 0, 5, 8, 64, 1u << 31, UINT32_MAX };

	for (size_t i = 0; i < PST_ARRAY_SIZE(bad); i++)
		refuse(&(struct gb_tensor){ .name = "t",
					    .nr_dims = bad[i],
					    .ne = { 1, 1, 1, 1, 1, 1, 1, 1 } },
		       "dimensions");
}

static void impossible_dimensions_are_refused(void **state)
{
	static const struct gb_tensor bad[] = {
		{ .name = "t", .nr_dims = 1, .ne = { 0 } },
		{ .name = "t", .nr_dims = 2, .ne = { 8, 0 } },
		{ .name = "t", .nr_dims = 1, .ne = { UINT64_MAX } },
		{ .name = "t", .nr_dims = 1, .ne = { 1ULL << 63 } },
		{ .name = "t", .nr_dims = 2, .ne = { 1ULL << 32, 1ULL << 32 } },
		{ .name = "t", .nr_dims = 2, .ne = { 1ULL << 32, 1ULL << 31 } },
		{ .name = "t",
		  .nr_dims = 4,
		  .ne = { 1ULL << 16, 1ULL << 16, 1ULL << 16, 1ULL << 16 } },
		/* The product wraps to a small number. */
		{ .name = "t",
		  .nr_dims = 2,
		  .ne = { 0x100000001ULL, 0xffffffff00000001ULL } },
	};

	for (size_t i = 0; i < PST_ARRAY_SIZE(bad); i++)
		refuse(&bad[i], "too large");
}

/* nr_elems fits in 63 bits, its bytes do not fit in 64. */
static void byte_sizes_that_wrap_are_refused(void **state)
{
	refuse(&(struct gb_tensor){ .name = "t",
				    .nr_dims = 2,
				    .ne = { (1ULL << 62) - 1, 2 } },
	       "too large");
	refuse(&(struct gb_tensor){ .name = "t",
				    .type = 28,
				    .nr_dims = 1,
				    .ne = { 1ULL << 61 } },
	       "too large");
	refuse(&(struct gb_tensor){ .name = "t",
				    .type = 28,
				    .nr_dims = 1,
				    .ne = { (1ULL << 61) + 4 } },
	       "too large");
	/* Just below: the size is right, and no file is that long. */
	refuse(&(struct gb_tensor){ .name = "t",
				    .nr_dims = 1,
				    .ne = { (1ULL << 62) - 1 } },
	       "beyond");
}

static void broken_rows_are_refused(void **state)
{
	static const struct {
		uint32_t type;
		uint64_t ne0;
	} bad[] = { { 8, 33 },	 { 8, 31 },  { 8, 1 },	 { 12, 32 },
		    { 12, 255 }, { 40, 96 }, { 41, 64 }, { 2, 16 } };

	for (size_t i = 0; i < PST_ARRAY_SIZE(bad); i++)
		refuse(&(struct gb_tensor){ .name = "t",
					    .type = bad[i].type,
					    .nr_dims = 2,
					    .ne = { bad[i].ne0, 256 } },
		       "block");
}

static void names_of_1_to_63_bytes_are_taken(void **state)
{
	char name[80];

	for (size_t len = 0; len < 70; len++) {
		struct gb_tensor t = { .name = name,
				       .nr_dims = 1,
				       .ne = { 8 } };
		struct gguf_builder b = { 0 };
		struct opened o;

		memset(name, 'n', sizeof(name));
		name[len] = 0;
		gb_tensor(&b, &t, NULL, 32);
		if (len == 0 || len > 63) {
			open_refused(&b, -EBADMSG, "name");
			continue;
		}
		open_ok(&b, &o);
		assert_string_equal(pst_gguf_tensor(o.g, 0)->name, name);
		assert_non_null(pst_gguf_find_tensor(o.g, name));
		opened_close(&o);
	}
}

static void a_name_with_nul_is_refused(void **state)
{
	struct gguf_builder b = { .nr_tensors = 1 };
	uint8_t rec[8 + 3 + 4 + 8 + 4 + 8] = { 3,   0, 0,   0, 0, 0, 0, 0,
					       'a', 0, 'b', 1, 0, 0, 0, 1 };

	gb_raw_info(&b, rec, sizeof(rec));
	open_refused(&b, -EBADMSG, "name");
}

static void claimed_name_lengths_are_refused(void **state)
{
	static const uint64_t lens[] = { UINT64_MAX, 1ULL << 63, 1ULL << 32,
					 1000 };

	for (size_t i = 0; i < PST_ARRAY_SIZE(lens); i++) {
		struct gguf_builder b = { .nr_tensors = 1 };
		uint8_t rec[64] = { 0 };

		memcpy(rec, &lens[i], 8);
		gb_raw_info(&b, rec, sizeof(rec));
		open_refused(&b, -EBADMSG, "name");
	}
}

static void a_name_twice_is_refused(void **state)
{
	struct gb_tensor t = { .name = "same", .nr_dims = 1, .ne = { 8 } };
	struct gguf_builder b = { 0 };

	gb_tensor(&b, &t, NULL, 32);
	gb_tensor(&b, &t, NULL, 32);
	open_refused(&b, -EBADMSG, "'same' appears twice");
}

static void offsets_past_the_file_are_refused(void **state)
{
	static const uint64_t offs[] = { 512,
					 480 + 32,
					 1ULL << 32,
					 INT64_MAX & ~31ULL,
					 1ULL << 63,
					 UINT64_MAX & ~31ULL,
					 (UINT64_MAX & ~31ULL) - 64 };

	for (size_t i = 0; i < PST_ARRAY_SIZE(offs); i++)
		refuse(&(struct gb_tensor){ .name = "t",
					    .nr_dims = 1,
					    .ne = { 8 },
					    .off_bytes = offs[i] },
		       "beyond");
	/* Starts inside, ends outside by one element. */
	refuse(&(struct gb_tensor){ .name = "t",
				    .nr_dims = 1,
				    .ne = { 9 },
				    .off_bytes = 480 },
	       "beyond");
}

static void the_last_byte_of_the_file_is_the_last(void **state)
{
	struct gguf_builder b = { 0 };
	struct opened o;

	gb_tensor(&b,
		  &(struct gb_tensor){
			  .name = "t", .type = 24, .nr_dims = 1, .ne = { 33 } },
		  NULL, 33);
	open_ok(&b, &o);
	assert_int_equal(pst_gguf_tensor(o.g, 0)->off_bytes + 33, o.size);
	opened_close(&o);
	gb_tensor(&b,
		  &(struct gb_tensor){
			  .name = "t", .type = 24, .nr_dims = 1, .ne = { 33 } },
		  NULL, 32);
	open_refused(&b, -EBADMSG, "beyond");
}

static void misaligned_offsets_are_refused(void **state)
{
	for (uint64_t off = 1; off < 32; off++)
		refuse(&(struct gb_tensor){ .name = "t",
					    .nr_dims = 1,
					    .ne = { 8 },
					    .off_bytes = off },
		       "alignment");
}

static void the_files_alignment_is_obeyed(void **state)
{
	for (uint32_t align = 1; align <= 4096; align *= 2) {
		struct gguf_builder b = { .align = align };
		struct opened o;

		gb_u32(&b, "general.alignment", align);
		gb_tensor(&b,
			  &(struct gb_tensor){ .name = "a",
					       .type = 24,
					       .nr_dims = 1,
					       .ne = { 3 } },
			  "abc", 3);
		gb_tensor(&b,
			  &(struct gb_tensor){ .name = "b",
					       .type = 24,
					       .nr_dims = 1,
					       .ne = { 3 } },
			  "def", 3);
		open_ok(&b, &o);
		assert_int_equal(pst_gguf_file(o.g, 0)->alignment, align);
		assert_int_equal(pst_gguf_file(o.g, 0)->data_off_bytes % align,
				 0);
		for (uint64_t i = 0; i < 2; i++)
			assert_int_equal(
				pst_gguf_tensor(o.g, i)->off_bytes % align, 0);
		assert_memory_equal(
			pst_gguf_tensor_data(o.g, pst_gguf_tensor(o.g, 1)),
			"def", 3);
		opened_close(&o);
	}
}

static void other_alignments_are_refused(void **state)
{
	static const uint32_t bad[] = { 0, 3, 33, 48, UINT32_MAX };

	for (size_t i = 0; i < PST_ARRAY_SIZE(bad); i++) {
		struct gguf_builder b = { 0 };

		gb_u32(&b, "general.alignment", bad[i]);
		open_refused(&b, -EBADMSG, "general.alignment");
	}
}

static void an_alignment_of_another_type_is_refused(void **state)
{
	struct gguf_builder b = { 0 }, c = { 0 }, d = { 0 };

	gb_value(&b, "general.alignment", PST_GGUF_U64, &(uint64_t){ 32 }, 8);
	open_refused(&b, -EBADMSG, "general.alignment");
	gb_str(&c, "general.alignment", "32");
	open_refused(&c, -EBADMSG, "general.alignment");
	gb_array(&d, "general.alignment", PST_GGUF_U32, 1, &(uint32_t){ 32 },
		 4);
	open_refused(&d, -EBADMSG, "general.alignment");
}

static void a_huge_alignment_is_no_way_out_of_the_file(void **state)
{
	struct gguf_builder b = { 0 };

	gb_u32(&b, "general.alignment", 1u << 31);
	gb_tensor(&b,
		  &(struct gb_tensor){ .name = "t", .nr_dims = 1, .ne = { 8 } },
		  NULL, 32);
	open_refused(&b, -EBADMSG, "beyond");
}

static void overlap_is_refused_in_any_order(void **state)
{
	static const struct {
		uint64_t off, elems;
	} pairs[][2] = {
		{ { 0, 8 }, { 0, 8 } },	  { { 0, 9 }, { 32, 8 } },
		{ { 32, 8 }, { 0, 9 } },  { { 0, 64 }, { 96, 8 } },
		{ { 96, 8 }, { 0, 64 } }, { { 0, 8 }, { 0, 1 } },
	};

	for (size_t i = 0; i < PST_ARRAY_SIZE(pairs); i++) {
		struct gguf_builder b = { 0 };

		for (int k = 0; k < 2; k++)
			gb_tensor_info(&b,
				       &(struct gb_tensor){
					       .name = k ? "b" : "a",
					       .nr_dims = 1,
					       .ne = { pairs[i][k].elems },
					       .off_bytes = pairs[i][k].off });
		b.data.bytes = calloc(1, 512);
		b.data.nr = b.data.cap = 512;
		open_refused(&b, -EBADMSG, "overlap");
	}
}

/* Gaps and any order in the file are fine. */
static void tensors_may_lie_anywhere_without_overlap(void **state)
{
	struct gguf_builder b = { 0 };
	struct opened o;
	static const uint64_t offs[] = { 320, 0, 128, 64 };
	static const char *const names[] = { "a", "b", "c", "d" };

	for (int i = 0; i < 4; i++)
		gb_tensor_info(&b, &(struct gb_tensor){ .name = names[i],
							.nr_dims = 1,
							.ne = { 8 },
							.off_bytes = offs[i] });
	b.data.bytes = calloc(1, 512);
	b.data.nr = b.data.cap = 512;
	open_ok(&b, &o);
	for (int i = 0; i < 4; i++)
		assert_int_equal(pst_gguf_tensor(o.g, (uint64_t)i)->off_bytes,
				 pst_gguf_file(o.g, 0)->data_off_bytes +
					 offs[i]);
	opened_close(&o);
}

/* Each tensor alone fits in 64 bits; their sum wraps. */
static void sizes_whose_sum_wraps_are_refused(void **state)
{
	struct gguf_builder b = { 0 };
	char name[8];

	for (int i = 0; i < 8; i++) {
		snprintf(name, sizeof(name), "t%d", i);
		gb_tensor_info(&b, &(struct gb_tensor){ .name = name,
							.nr_dims = 1,
							.ne = { 1ULL << 59 },
							.off_bytes = (uint64_t)i
								     << 61 });
	}
	open_refused(&b, -EBADMSG, "beyond");
}

/* Flips of one byte anywhere: refused, or everything still lies inside. */
static void what_is_accepted_lies_inside_the_file(void **state)
{
	struct gguf_builder b = { 0 };
	uint64_t rng = test_seed();
	uint32_t accepted = 0;
	struct pst_gguf *g;
	size_t size;
	uint8_t *file;
	char name[16];

	for (int i = 0; i < 6; i++) {
		snprintf(name, sizeof(name), "tensor.%d", i);
		gb_u32(&b, name, 1);
		gb_tensor(&b,
			  &(struct gb_tensor){ .name = name,
					       .type = i % 2 ? 8 : 0,
					       .nr_dims = 2,
					       .ne = { 32, 2 } },
			  NULL, i % 2 ? 68 : 256);
	}
	file = gb_finish(&b, &size);
	for (size_t at = 0; at < size; at++) {
		uint8_t old = file[at];

		file[at] = (uint8_t)pst_rng_next(&rng);
		if (!pst_gguf_open_mem(file, size, &g, NULL)) {
			for (uint64_t i = 0; i < pst_gguf_nr_tensors(g); i++) {
				const struct pst_gguf_tensor *t =
					pst_gguf_tensor(g, i);

				assert_true(t->off_bytes <= size &&
					    t->size_bytes <=
						    size - t->off_bytes);
			}
			accepted++;
			pst_gguf_close(g);
		}
		file[at] = old;
	}
	/* Data, names and padding may change; most of the header may not. */
	assert_true(accepted > 500 && accepted < size);
	free(file);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tensors_are_found_with_their_bytes),
		cmocka_unit_test(the_type_table_is_the_formats),
		cmocka_unit_test(removed_and_unknown_types_are_refused),
		cmocka_unit_test(dimension_counts_outside_1_to_4_are_refused),
		cmocka_unit_test(impossible_dimensions_are_refused),
		cmocka_unit_test(byte_sizes_that_wrap_are_refused),
		cmocka_unit_test(broken_rows_are_refused),
		cmocka_unit_test(names_of_1_to_63_bytes_are_taken),
		cmocka_unit_test(a_name_with_nul_is_refused),
		cmocka_unit_test(claimed_name_lengths_are_refused),
		cmocka_unit_test(a_name_twice_is_refused),
		cmocka_unit_test(offsets_past_the_file_are_refused),
		cmocka_unit_test(the_last_byte_of_the_file_is_the_last),
		cmocka_unit_test(misaligned_offsets_are_refused),
		cmocka_unit_test(the_files_alignment_is_obeyed),
		cmocka_unit_test(other_alignments_are_refused),
		cmocka_unit_test(an_alignment_of_another_type_is_refused),
		cmocka_unit_test(a_huge_alignment_is_no_way_out_of_the_file),
		cmocka_unit_test(overlap_is_refused_in_any_order),
		cmocka_unit_test(tensors_may_lie_anywhere_without_overlap),
		cmocka_unit_test(sizes_whose_sum_wraps_are_refused),
		cmocka_unit_test(what_is_accepted_lies_inside_the_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
