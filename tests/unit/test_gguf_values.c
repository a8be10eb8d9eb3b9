// SPDX-License-Identifier: MIT
/*
 * Metadata that is right: every value type as it was written, and the typed
 * access that converts what fits and refuses the rest.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "gguf_check.h"

/* One value of each scalar type under the key of its name. */
static void add_scalars(struct gguf_builder *b)
{
	gb_value(b, "u8", PST_GGUF_U8, &(uint8_t){ 200 }, 1);
	gb_value(b, "i8", PST_GGUF_I8, &(int8_t){ -100 }, 1);
	gb_value(b, "u16", PST_GGUF_U16, &(uint16_t){ 65000 }, 2);
	gb_value(b, "i16", PST_GGUF_I16, &(int16_t){ -30000 }, 2);
	gb_value(b, "u32", PST_GGUF_U32, &(uint32_t){ 4000000000u }, 4);
	gb_value(b, "i32", PST_GGUF_I32, &(int32_t){ INT32_MIN }, 4);
	gb_value(b, "f32", PST_GGUF_F32, &(float){ 1.5f }, 4);
	gb_value(b, "bool", PST_GGUF_BOOL, &(uint8_t){ 1 }, 1);
	gb_str(b, "string", "text");
	gb_value(b, "u64", PST_GGUF_U64, &(uint64_t){ UINT64_MAX }, 8);
	gb_value(b, "i64", PST_GGUF_I64, &(int64_t){ INT64_MIN }, 8);
	gb_value(b, "f64", PST_GGUF_F64, &(double){ 0.1 }, 8);
}

static int open_scalars(void **state)
{
	struct gguf_builder b = { .version = 2 };
	struct opened *o = calloc(1, sizeof(*o));

	add_scalars(&b);
	open_ok(&b, o);
	*state = o;
	return 0;
}

static int close_scalars(void **state)
{
	opened_close(*state);
	free(*state);
	return 0;
}

static void both_versions_are_read(void **state)
{
	for (uint32_t v = 2; v <= 3; v++) {
		struct gguf_builder b = { .version = v };
		struct opened o;
		uint64_t u;

		add_scalars(&b);
		open_ok(&b, &o);
		assert_int_equal(pst_gguf_version(o.g), v);
		assert_int_equal(pst_gguf_nr_kv(o.g), 12);
		assert_int_equal(pst_gguf_nr_files(o.g), 1);
		assert_int_equal(pst_gguf_get_u64(o.g, "u64", &u), 0);
		assert_int_equal(u, UINT64_MAX);
		opened_close(&o);
	}
}

static void an_empty_model_is_read(void **state)
{
	struct gguf_builder b = { 0 };
	struct opened o;

	open_ok(&b, &o);
	assert_int_equal(pst_gguf_nr_kv(o.g), 0);
	assert_int_equal(pst_gguf_nr_tensors(o.g), 0);
	assert_null(pst_gguf_find(o.g, "x"));
	assert_null(pst_gguf_find_tensor(o.g, "x"));
	opened_close(&o);
}

static void pairs_keep_their_order_and_type(void **state)
{
	static const char *const names[] = { "u8",     "i8",  "u16", "i16",
					     "u32",    "i32", "f32", "bool",
					     "string", "u64", "i64", "f64" };
	static const uint32_t types[] = {
		PST_GGUF_U8,	 PST_GGUF_I8,  PST_GGUF_U16, PST_GGUF_I16,
		PST_GGUF_U32,	 PST_GGUF_I32, PST_GGUF_F32, PST_GGUF_BOOL,
		PST_GGUF_STRING, PST_GGUF_U64, PST_GGUF_I64, PST_GGUF_F64
	};
	static const uint64_t sizes[] = { 1, 1, 2, 2, 4, 4, 4, 1, 12, 8, 8, 8 };
	const struct opened *o = *state;

	for (uint64_t i = 0; i < PST_ARRAY_SIZE(names); i++) {
		const struct pst_gguf_kv *kv = pst_gguf_kv(o->g, i);

		assert_int_equal(kv->key.len, strlen(names[i]));
		assert_memory_equal(kv->key.s, names[i], kv->key.len);
		assert_int_equal(kv->type, types[i]);
		assert_int_equal(kv->elem_type, types[i]);
		assert_int_equal(kv->count, 1);
		assert_int_equal(kv->size_bytes, sizes[i]);
		assert_ptr_equal(pst_gguf_find(o->g, names[i]), kv);
	}
	/* A prefix and an extension of a key are other keys. */
	assert_null(pst_gguf_find(o->g, "u"));
	assert_null(pst_gguf_find(o->g, "u8x"));
	assert_null(pst_gguf_find(o->g, ""));
}

static void integers_are_converted_when_they_fit(void **state)
{
	static const struct {
		const char *key;
		int rc;
		uint64_t u;
	} want[] = {
		{ "u8", 0, 200 },	   { "i8", -EINVAL, 0 },
		{ "u16", 0, 65000 },	   { "i16", -EINVAL, 0 },
		{ "u32", 0, 4000000000u }, { "i32", -EINVAL, 0 },
		{ "f32", -EINVAL, 0 },	   { "bool", -EINVAL, 0 },
		{ "string", -EINVAL, 0 },  { "u64", 0, UINT64_MAX },
		{ "i64", -EINVAL, 0 },	   { "f64", -EINVAL, 0 },
		{ "missing", -ENOENT, 0 },
	};
	const struct opened *o = *state;

	for (size_t i = 0; i < PST_ARRAY_SIZE(want); i++) {
		uint64_t u = 77;

		assert_int_equal(pst_gguf_get_u64(o->g, want[i].key, &u),
				 want[i].rc);
		assert_int_equal(u, want[i].rc ? 77 : want[i].u);
	}
}

static void signed_access_covers_both_signs(void **state)
{
	static const struct {
		const char *key;
		int rc;
		int64_t i;
	} want[] = {
		{ "u8", 0, 200 },	    { "i8", 0, -100 },
		{ "u16", 0, 65000 },	    { "i16", 0, -30000 },
		{ "u32", 0, 4000000000LL }, { "i32", 0, INT32_MIN },
		{ "u64", -EINVAL, 0 },	    { "i64", 0, INT64_MIN },
		{ "f32", -EINVAL, 0 },	    { "f64", -EINVAL, 0 },
		{ "string", -EINVAL, 0 },
	};
	const struct opened *o = *state;

	for (size_t i = 0; i < PST_ARRAY_SIZE(want); i++) {
		const struct pst_gguf_kv *kv = pst_gguf_find(o->g, want[i].key);
		int64_t v = 77;

		assert_int_equal(pst_gguf_elem_i64(kv, 0, &v), want[i].rc);
		assert_int_equal(v, want[i].rc ? 77 : want[i].i);
		assert_int_equal(pst_gguf_elem_i64(kv, 1, &v), -ERANGE);
	}
}

static void floats_come_from_floats_only(void **state)
{
	const struct opened *o = *state;
	float f = 7.0f;

	assert_int_equal(pst_gguf_get_f32(o->g, "f32", &f), 0);
	assert_true(f == 1.5f);
	assert_int_equal(pst_gguf_get_f32(o->g, "f64", &f), 0);
	assert_true(f == 0.1f);
	f = 7.0f;
	assert_int_equal(pst_gguf_get_f32(o->g, "u32", &f), -EINVAL);
	assert_int_equal(pst_gguf_get_f32(o->g, "string", &f), -EINVAL);
	assert_int_equal(pst_gguf_get_f32(o->g, "missing", &f), -ENOENT);
	assert_true(f == 7.0f);
}

static void bools_come_from_bools_only(void **state)
{
	const struct opened *o = *state;
	bool b = false;

	assert_int_equal(pst_gguf_get_bool(o->g, "bool", &b), 0);
	assert_true(b);
	b = false;
	assert_int_equal(pst_gguf_get_bool(o->g, "u8", &b), -EINVAL);
	assert_int_equal(pst_gguf_get_bool(o->g, "missing", &b), -ENOENT);
	assert_false(b);
}

/* Some writers store other bytes than 0 and 1. */
static void any_byte_but_zero_is_true(void **state)
{
	struct gguf_builder b = { 0 };
	struct opened o;
	bool v = false;

	gb_value(&b, "a", PST_GGUF_BOOL, &(uint8_t){ 255 }, 1);
	gb_value(&b, "b", PST_GGUF_BOOL, &(uint8_t){ 0 }, 1);
	open_ok(&b, &o);
	assert_int_equal(pst_gguf_get_bool(o.g, "a", &v), 0);
	assert_true(v);
	assert_int_equal(pst_gguf_get_bool(o.g, "b", &v), 0);
	assert_false(v);
	opened_close(&o);
}

static void strings_come_from_strings_only(void **state)
{
	const struct opened *o = *state;
	struct pst_str s = { .len = 99 };

	assert_int_equal(pst_gguf_get_str(o->g, "string", &s), 0);
	assert_int_equal(s.len, 4);
	assert_memory_equal(s.s, "text", 4);
	s.len = 99;
	assert_int_equal(pst_gguf_get_str(o->g, "u64", &s), -EINVAL);
	assert_int_equal(pst_gguf_get_str(o->g, "missing", &s), -ENOENT);
	assert_int_equal(s.len, 99);
}

/* The bytes of each element type, twice, and the width that must be used. */
static void arrays_of_every_width_are_indexed(void **state)
{
	static const struct {
		uint32_t type, width;
	} elems[] = {
		{ PST_GGUF_U8, 1 },  { PST_GGUF_I8, 1 },  { PST_GGUF_U16, 2 },
		{ PST_GGUF_I16, 2 }, { PST_GGUF_U32, 4 }, { PST_GGUF_I32, 4 },
		{ PST_GGUF_U64, 8 }, { PST_GGUF_I64, 8 }, { PST_GGUF_BOOL, 1 },
	};

	for (size_t e = 0; e < PST_ARRAY_SIZE(elems); e++) {
		struct gguf_builder b = { 0 };
		const struct pst_gguf_kv *kv;
		struct opened o;
		uint8_t bytes[3 * 8] = { 0 };
		uint64_t u;

		for (uint32_t i = 0; i < 3; i++)
			bytes[i * elems[e].width] = (uint8_t)(i + 1);
		gb_array(&b, "a", elems[e].type, 3, bytes, 3 * elems[e].width);
		open_ok(&b, &o);
		kv = pst_gguf_find(o.g, "a");
		assert_int_equal(kv->type, PST_GGUF_ARRAY);
		assert_int_equal(kv->elem_type, elems[e].type);
		assert_int_equal(kv->count, 3);
		assert_int_equal(kv->size_bytes, 3 * elems[e].width);
		for (uint64_t i = 0; i < 3; i++) {
			assert_int_equal(pst_gguf_elem_u64(kv, i, &u), 0);
			assert_int_equal(u, i + 1);
		}
		assert_int_equal(pst_gguf_elem_u64(kv, 3, &u), -ERANGE);
		assert_int_equal(pst_gguf_elem_u64(kv, UINT64_MAX, &u),
				 -ERANGE);
		/* An array is no scalar, even with one element. */
		assert_int_equal(pst_gguf_get_u64(o.g, "a", &u), -EINVAL);
		opened_close(&o);
	}
}

static void arrays_of_floats_are_indexed(void **state)
{
	struct gguf_builder b = { 0 };
	const struct pst_gguf_kv *kv;
	struct opened o;
	uint64_t u;
	double v;

	gb_f32s(&b, "f", (float[]){ 0.5f, NAN }, 2);
	gb_array(&b, "d", PST_GGUF_F64, 1, &(double){ -1e300 }, 8);
	open_ok(&b, &o);
	kv = pst_gguf_find(o.g, "f");
	assert_int_equal(pst_gguf_elem_f64(kv, 0, &v), 0);
	assert_true(v == 0.5);
	assert_int_equal(pst_gguf_elem_f64(kv, 1, &v), 0);
	assert_true(isnan(v));
	assert_int_equal(pst_gguf_elem_f64(kv, 2, &v), -ERANGE);
	assert_int_equal(pst_gguf_elem_u64(kv, 0, &u), -EINVAL);
	kv = pst_gguf_find(o.g, "d");
	assert_int_equal(pst_gguf_elem_f64(kv, 0, &v), 0);
	assert_true(v == -1e300);
	opened_close(&o);
}

static void arrays_of_strings_are_walked_once(void **state)
{
	static const char *const texts[] = { "one", "", "three" };
	struct gguf_builder b = { 0 };
	struct pst_gguf_strings it;
	struct opened o;
	struct pst_str s;
	uint64_t u;

	gb_strs(&b, "a", texts, 3);
	gb_strs(&b, "none", texts, 0);
	gb_u32(&b, "u", 1);
	open_ok(&b, &o);
	assert_int_equal(pst_gguf_strings_init(&it, pst_gguf_find(o.g, "a")),
			 0);
	for (int i = 0; i < 3; i++) {
		assert_true(pst_gguf_strings_next(&it, &s));
		assert_int_equal(s.len, strlen(texts[i]));
		assert_memory_equal(s.s, texts[i], s.len);
	}
	assert_false(pst_gguf_strings_next(&it, &s));
	assert_false(pst_gguf_strings_next(&it, &s));
	assert_int_equal(pst_gguf_strings_init(&it, pst_gguf_find(o.g, "none")),
			 0);
	assert_false(pst_gguf_strings_next(&it, &s));
	assert_int_equal(pst_gguf_strings_init(&it, pst_gguf_find(o.g, "u")),
			 -EINVAL);
	/* Elements of strings are no numbers. */
	assert_int_equal(pst_gguf_elem_u64(pst_gguf_find(o.g, "a"), 0, &u),
			 -EINVAL);
	opened_close(&o);
}

static void strings_may_hold_any_bytes(void **state)
{
	static const uint8_t bytes[] = { 4, 0, 0, 0,	0,    0,
					 0, 0, 0, 0xff, 0x80, 'x' };
	struct gguf_builder b = { 0 };
	struct opened o;
	struct pst_str s;

	gb_value(&b, "a", PST_GGUF_STRING, bytes, sizeof(bytes));
	gb_str(&b, "last", "");
	open_ok(&b, &o);
	assert_int_equal(pst_gguf_get_str(o.g, "a", &s), 0);
	assert_int_equal(s.len, 4);
	assert_memory_equal(s.s, bytes + 8, 4);
	assert_int_equal(pst_gguf_get_str(o.g, "last", &s), 0);
	assert_int_equal(s.len, 0);
	opened_close(&o);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(both_versions_are_read),
		cmocka_unit_test(an_empty_model_is_read),
		cmocka_unit_test(pairs_keep_their_order_and_type),
		cmocka_unit_test(integers_are_converted_when_they_fit),
		cmocka_unit_test(signed_access_covers_both_signs),
		cmocka_unit_test(floats_come_from_floats_only),
		cmocka_unit_test(bools_come_from_bools_only),
		cmocka_unit_test(any_byte_but_zero_is_true),
		cmocka_unit_test(strings_come_from_strings_only),
		cmocka_unit_test(arrays_of_every_width_are_indexed),
		cmocka_unit_test(arrays_of_floats_are_indexed),
		cmocka_unit_test(arrays_of_strings_are_walked_once),
		cmocka_unit_test(strings_may_hold_any_bytes),
	};

	return cmocka_run_group_tests(tests, open_scalars, close_scalars);
}
