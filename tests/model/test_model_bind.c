// SPDX-License-Identifier: MIT
/*
 * Which tensor is which: each one that is needed, missing, misshapen or of a
 * type that cannot be computed is refused by name, for every family.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "alloc_hook.h"
#include "gguf_check.h"
#include "model.h"
#include "tiny_model.h"

/* A model that was bound, with what it points into. */
struct bound {
	struct opened o;
	struct pst_model *m;
};

static int bind(const struct tiny_model *tm, struct bound *b,
		struct pst_diag *d)
{
	struct pst_kernels k;
	int rc;

	pst_kernels_init(&k, 0);
	pst_diag_init(d);
	b->m = NULL;
	b->o.file = tm_build(tm, &b->o.size);
	if (pst_gguf_open_mem(b->o.file, b->o.size, &b->o.g, d))
		fail_msg("container: %s", d->text);
	rc = pst_model_create(b->o.g, &k, &b->m, d);
	return rc;
}

static void unbind(struct bound *b)
{
	pst_model_destroy(b->m);
	opened_close(&b->o);
}

static void bind_ok(const struct tiny_model *tm, struct bound *b)
{
	struct pst_diag d;

	if (bind(tm, b, &d))
		fail_msg("refused: %s", d.text);
}

static void refused(const struct tiny_model *tm, int err, const char *name,
		    const char *word)
{
	struct pst_diag d;
	struct bound b;
	int rc = bind(tm, &b, &d);

	if (rc != err)
		fail_msg("%s %s: %d (%s), not %d", tm->arch, name, rc, d.text,
			 err);
	assert_null(b.m);
	if (!strstr(d.text, name) || !strstr(d.text, word))
		fail_msg("%s: '%s' does not say '%s' and '%s'", tm->arch,
			 d.text, name, word);
	unbind(&b);
}

static void every_family_binds(void **state)
{
	for (size_t i = 0; i < tm_nr_families; i++) {
		struct tiny_model tm;
		struct bound b;

		tm_init(&tm, tm_families[i].arch, tm_families[i].moe);
		bind_ok(&tm, &b);
		assert_string_equal(pst_arch_name(b.m->arch),
				    tm_families[i].arch);
		assert_int_equal(b.m->nr_moe_layers,
				 tm_families[i].moe ? TM_LAYERS : 0);
		assert_true(b.m->trunk_bytes > 0);
		unbind(&b);
	}
	pst_model_destroy(NULL);
}

static void an_unknown_family_is_refused_with_the_known_ones(void **state)
{
	struct tiny_model tm;

	tm_init(&tm, "qwen9", false);
	refused(&tm, -ENOTSUP, "'qwen9'", "known: ");
	for (uint32_t i = 0; pst_arch_at(i); i++)
		refused(&tm, -ENOTSUP, "'qwen9'",
			pst_arch_name(pst_arch_at(i)));
}

static void experts_lie_where_the_tensors_do(void **state)
{
	static const char *const names[] = { "ffn_gate_exps", "ffn_up_exps",
					     "ffn_down_exps" };
	struct tiny_model tm;
	struct bound b;

	tm_init(&tm, "qwen3moe", true);
	bind_ok(&tm, &b);
	for (uint32_t l = 0; l < TM_LAYERS; l++) {
		const struct pst_store_layer *sl = &b.m->experts[l];

		assert_int_equal(sl->nr_parts, 3);
		for (uint32_t p = 0; p < 3; p++) {
			const struct pst_gguf_tensor *t;
			char name[64];

			snprintf(name, sizeof(name), "blk.%u.%s.weight", l,
				 names[p]);
			t = pst_gguf_find_tensor(b.o.g, name);
			assert_int_equal(sl->part[p].off_bytes, t->off_bytes);
			assert_int_equal(sl->part[p].size_bytes * TM_EXPERTS,
					 t->size_bytes);
			assert_ptr_equal(sl->part[p].map,
					 pst_gguf_tensor_data(b.o.g, t));
		}
	}
	unbind(&b);
}

static void every_missing_tensor_is_named(void **state)
{
	for (size_t i = 0; i < tm_nr_families; i++) {
		struct tiny_model full;

		tm_init(&full, tm_families[i].arch, tm_families[i].moe);
		for (uint32_t t = 0; t < full.nr_tensors; t++) {
			const char *name = full.tensors[t].name;
			struct tiny_model tm = full;

			if (!strcmp(name, "output.weight"))
				continue;
			tm_drop_tensor(&tm, name);
			refused(&tm, -EBADMSG, name, "missing");
		}
	}
}

static void without_output_the_embedding_serves_twice(void **state)
{
	struct tiny_model tm;
	struct bound b;

	tm_init(&tm, "qwen3", false);
	tm_drop_tensor(&tm, "output.weight");
	bind_ok(&tm, &b);
	assert_int_equal(b.m->output.n_out, TM_VOCAB);
	assert_int_equal(b.m->output.n_in, TM_EMBD);
	unbind(&b);
}

/* Each dimension of each tensor, one too many and one too few. */
static void every_wrong_shape_is_named(void **state)
{
	for (size_t i = 0; i < tm_nr_families; i++) {
		struct tiny_model full;

		tm_init(&full, tm_families[i].arch, tm_families[i].moe);
		for (uint32_t t = 0; t < full.nr_tensors; t++) {
			for (uint32_t k = 0; k < 6; k++) {
				struct tiny_model tm = full;
				uint64_t *ne = &tm.tensors[t].ne[k / 2];

				if (k % 2 && *ne == 1)
					continue;
				*ne += k % 2 ? -1ULL : 1;
				tm.tensors[t].nr_dims = 3;
				refused(&tm, -EBADMSG, tm.tensors[t].name,
					"shape");
			}
		}
	}
}

static void a_fourth_dimension_is_refused(void **state)
{
	struct tiny_model tm;

	tm_init(&tm, "qwen3moe", true);
	tm_tensor(&tm, "blk.1.ffn_up_exps.weight")->nr_dims = 4;
	tm_tensor(&tm, "blk.1.ffn_up_exps.weight")->ne[3] = 2;
	refused(&tm, -EBADMSG, "blk.1.ffn_up_exps.weight", "shape");
}

static void transposed_matrices_are_refused(void **state)
{
	struct tiny_model tm;
	struct tm_tensor *t;

	tm_init(&tm, "llama", false);
	t = tm_tensor(&tm, "blk.0.ffn_down.weight");
	t->ne[0] = TM_EMBD;
	t->ne[1] = TM_FF;
	refused(&tm, -EBADMSG, "blk.0.ffn_down.weight", "shape");
}

/* Types of the format that the container takes and no kernel computes. */
static void types_without_a_kernel_are_unsupported(void **state)
{
	static const char *const where[] = {
		"token_embd.weight",	     "output.weight",
		"blk.0.attn_q.weight",	     "blk.1.attn_output.weight",
		"blk.0.ffn_gate_inp.weight", "blk.1.ffn_up_exps.weight"
	};
	struct pst_kernels k;
	uint32_t nr = 0;

	pst_kernels_init(&k, 0);
	for (uint32_t id = 0; id < 256; id++) {
		const struct pst_gguf_type *ty = pst_gguf_type(id);

		if (!ty || TM_EMBD % ty->block_elems ||
		    (id < PST_KTYPE_COUNT && k.types[id].block_elems))
			continue;
		for (size_t w = 0; w < PST_ARRAY_SIZE(where); w++) {
			struct tiny_model tm;

			tm_init(&tm, "qwen3moe", true);
			tm_tensor(&tm, where[w])->type = id;
			refused(&tm, -ENOTSUP, where[w], ty->name);
		}
		nr++;
	}
	/* Integers and the formats of activations are never weights. */
	assert_true(nr >= 6);
}

static void vectors_must_be_f32(void **state)
{
	static const char *const where[] = { "output_norm.weight",
					     "blk.0.attn_norm.weight",
					     "blk.1.attn_k_norm.weight",
					     "blk.1.ffn_norm.weight" };

	for (size_t w = 0; w < PST_ARRAY_SIZE(where); w++) {
		struct tiny_model tm;

		tm_init(&tm, "qwen3moe", true);
		tm_tensor(&tm, where[w])->type = 1;
		refused(&tm, -ENOTSUP, where[w], "F32");
	}
}

/* A file that aligns its tensors to one byte. */
static void vectors_off_a_multiple_of_4_are_unsupported(void **state)
{
	struct tiny_model tm;
	uint32_t refusals = 0;

	tm_init(&tm, "qwen2", false);
	tm.align = 1;
	for (uint32_t i = 1; i <= 4; i++) {
		char name[8] = "xxxx";
		struct pst_diag d;
		struct bound b;
		int rc;

		/* The data follows the header, however long it is. */
		name[i] = 0;
		tm_str(&tm, "%general.name", name);
		rc = bind(&tm, &b, &d);
		assert_int_equal(rc == 0, d.err == 0);
		if (rc) {
			assert_int_equal(rc, -ENOTSUP);
			assert_non_null(strstr(d.text, "aligned to 4"));
			refusals++;
		}
		unbind(&b);
	}
	assert_int_equal(refusals, 3);
}

static void quantised_matrices_bind_with_their_row_size(void **state)
{
	struct tiny_model tm;
	struct bound b;

	tm_init(&tm, "qwen3moe", true);
	tm_tensor(&tm, "blk.0.ffn_gate_exps.weight")->type = 8;
	tm_tensor(&tm, "blk.0.attn_q.weight")->type = 2;
	bind_ok(&tm, &b);
	assert_int_equal(b.m->layers[0].gate.row_bytes, TM_EMBD / 32 * 34);
	assert_int_equal(b.m->layers[0].gqa.wq.row_bytes, TM_EMBD / 32 * 18);
	assert_int_equal(b.m->layers[1].gate.row_bytes, TM_EMBD * 4);
	assert_int_equal(b.m->experts[0].part[0].size_bytes,
			 TM_EMBD / 32 * 34 * TM_FF_EXP);
	unbind(&b);
}

static void fused_forms_bind_to_the_same_shapes(void **state)
{
	uint64_t rows = (TM_HEADS + 2 * TM_HEADS_KV) * TM_HD;
	struct tiny_model tm;
	struct bound b;

	tm_init(&tm, "qwen3moe", true);
	tm_drop_tensor(&tm, "blk.0.attn_q.weight");
	tm_drop_tensor(&tm, "blk.0.attn_k.weight");
	tm_drop_tensor(&tm, "blk.0.attn_v.weight");
	tm_add(&tm, "blk.0.attn_qkv.weight", TM_EMBD, rows, 1);
	tm_drop_tensor(&tm, "blk.1.ffn_gate_exps.weight");
	tm_drop_tensor(&tm, "blk.1.ffn_up_exps.weight");
	tm_add(&tm, "blk.1.ffn_gate_up_exps.weight", TM_EMBD, 2 * TM_FF_EXP,
	       TM_EXPERTS);
	bind_ok(&tm, &b);
	assert_int_equal(b.m->layers[0].gqa.wq.n_out, TM_HEADS * TM_HD);
	assert_int_equal(b.m->layers[0].gqa.wk.n_out, TM_HEADS_KV * TM_HD);
	assert_int_equal(b.m->layers[0].gqa.wv.n_out, TM_HEADS_KV * TM_HD);
	assert_false(b.m->layers[0].moe.fused_gate_up);
	assert_true(b.m->layers[1].moe.fused_gate_up);
	assert_int_equal(b.m->experts[1].nr_parts, 2);
	assert_int_equal(b.m->layers[1].gate.n_out, TM_FF_EXP);
	assert_int_equal(b.m->layers[1].up.n_out, TM_FF_EXP);
	unbind(&b);
	tm_tensor(&tm, "blk.0.attn_qkv.weight")->ne[1]--;
	refused(&tm, -EBADMSG, "blk.0.attn_qkv.weight", "shape");
	tm_tensor(&tm, "blk.0.attn_qkv.weight")->ne[1]++;
	tm_add(&tm, "blk.0.attn_qkv.bias", rows + 1, 1, 1);
	refused(&tm, -EBADMSG, "blk.0.attn_qkv.bias", "");
}

static void an_optional_bias_is_checked_when_it_is_there(void **state)
{
	struct tiny_model tm;
	struct bound b;

	tm_init(&tm, "llama", false);
	tm_add(&tm, "blk.0.attn_output.bias", TM_EMBD, 1, 1);
	bind_ok(&tm, &b);
	unbind(&b);
	tm_tensor(&tm, "blk.0.attn_output.bias")->ne[0]++;
	refused(&tm, -EBADMSG, "blk.0.attn_output.bias", "shape");
}

static void rope_factors_are_half_the_rotated_length(void **state)
{
	struct tiny_model tm;
	struct bound b;

	tm_init(&tm, "llama", false);
	tm_add(&tm, "rope_freqs.weight", TM_HD / 2, 1, 1);
	bind_ok(&tm, &b);
	unbind(&b);
	tm_tensor(&tm, "rope_freqs.weight")->ne[0] = TM_HD;
	refused(&tm, -EBADMSG, "rope_freqs.weight", "shape");
}

static void other_tensors_are_ignored(void **state)
{
	struct tiny_model tm;
	struct bound b;

	tm_init(&tm, "llama", false);
	tm_add(&tm, "blk.7.unknown", 3, 5, 7);
	tm_add(&tm, "mystery", 1, 1, 1);
	bind_ok(&tm, &b);
	unbind(&b);
}

static void the_architecture_must_be_a_known_string(void **state)
{
	struct tiny_model tm;

	tm_init(&tm, "llama", false);
	tm_str(&tm, "%general.architecture", "llamb");
	refused(&tm, -ENOTSUP, "llamb", "not supported");
	tm_u32(&tm, "%general.architecture", 1);
	refused(&tm, -EBADMSG, "general.architecture", "");
	tm_drop(&tm, "%general.architecture");
	refused(&tm, -EBADMSG, "general.architecture", "missing");
}

/* Everything that is planned lies inside the file. */
static void trunk_extents_cover_the_trunk_once(void **state)
{
	for (size_t i = 0; i < tm_nr_families; i++) {
		struct tiny_model tm;
		struct bound b;
		uint64_t at = 0;

		tm_init(&tm, tm_families[i].arch, tm_families[i].moe);
		bind_ok(&tm, &b);
		for (uint32_t e = 0; e < b.m->nr_extents; e++) {
			const struct pst_trunk_extent *x = &b.m->extents[e];

			assert_true(x->off_bytes < x->end_bytes);
			assert_true(x->end_bytes <= b.o.size);
			assert_int_equal(x->off_bytes % 4096, 0);
			assert_int_equal(x->mem_off, at);
			at += pst_align_up(x->end_bytes - x->off_bytes, 4096);
			if (e)
				assert_true(x[-1].end_bytes <= x->off_bytes);
		}
		assert_int_equal(at, b.m->trunk_bytes);
		for (uint32_t r = 0; r < b.m->nr_refs; r++) {
			const struct pst_gguf_tensor *t = b.m->refs[r].t;
			uint32_t holders = 0;

			for (uint32_t e = 0; e < b.m->nr_extents; e++)
				holders += b.m->extents[e].off_bytes <=
						   t->off_bytes &&
					   t->off_bytes + t->size_bytes <=
						   b.m->extents[e].end_bytes;
			assert_int_equal(holders, 1);
		}
		unbind(&b);
	}
}

static void every_failed_allocation_is_an_error(void **state)
{
	struct tiny_model tm;
	struct pst_kernels k;
	struct opened o;
	uint64_t nr, failed = 0;

	pst_kernels_init(&k, 0);
	tm_init(&tm, "qwen3moe", true);
	o.file = tm_build(&tm, &o.size);
	assert_int_equal(pst_gguf_open_mem(o.file, o.size, &o.g, NULL), 0);
	alloc_hook_reset();
	{
		struct pst_model *m;

		assert_int_equal(pst_model_create(o.g, &k, &m, NULL), 0);
		pst_model_destroy(m);
	}
	nr = alloc_hook_nr();
	for (uint64_t i = 1; i <= nr; i++) {
		struct pst_model *m = NULL;
		struct pst_diag d;

		pst_diag_init(&d);
		alloc_hook_fail_at(i);
		if (!pst_model_create(o.g, &k, &m, &d)) {
			pst_model_destroy(m);
			continue;
		}
		assert_null(m);
		assert_int_equal(d.err, -ENOMEM);
		failed++;
	}
	assert_int_equal(failed, nr);
	alloc_hook_reset();
	opened_close(&o);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_family_binds),
		cmocka_unit_test(
			an_unknown_family_is_refused_with_the_known_ones),
		cmocka_unit_test(experts_lie_where_the_tensors_do),
		cmocka_unit_test(every_missing_tensor_is_named),
		cmocka_unit_test(without_output_the_embedding_serves_twice),
		cmocka_unit_test(every_wrong_shape_is_named),
		cmocka_unit_test(a_fourth_dimension_is_refused),
		cmocka_unit_test(transposed_matrices_are_refused),
		cmocka_unit_test(types_without_a_kernel_are_unsupported),
		cmocka_unit_test(vectors_must_be_f32),
		cmocka_unit_test(vectors_off_a_multiple_of_4_are_unsupported),
		cmocka_unit_test(quantised_matrices_bind_with_their_row_size),
		cmocka_unit_test(fused_forms_bind_to_the_same_shapes),
		cmocka_unit_test(an_optional_bias_is_checked_when_it_is_there),
		cmocka_unit_test(rope_factors_are_half_the_rotated_length),
		cmocka_unit_test(other_tensors_are_ignored),
		cmocka_unit_test(the_architecture_must_be_a_known_string),
		cmocka_unit_test(trunk_extents_cover_the_trunk_once),
		cmocka_unit_test(every_failed_allocation_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
