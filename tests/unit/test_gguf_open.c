// SPDX-License-Identifier: MIT
/*
 * Opening by path: what is no file, and models in several parts.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "gguf_check.h"
#include "temp_dir.h"

/* The tests work in a directory of their own, which is the current one. */
static int make_dir(void **state)
{
	*state = malloc(TEMP_DIR_MAX);
	temp_dir_make(*state, "gguf");
	return chdir(*state);
}

static int remove_dir(void **state)
{
	int rc = chdir("/");

	temp_dir_remove(*state);
	free(*state);
	return rc;
}

static void write_file(const char *path, const void *bytes, size_t size)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, size), size);
	close(fd);
}

static void finish_to(struct gguf_builder *b, const char *path)
{
	size_t size;
	uint8_t *file = gb_finish(b, &size);

	write_file(path, file, size);
	free(file);
}

static void expect(const char *path, int want, const char *word)
{
	struct pst_gguf *g = NULL;
	struct pst_diag d;
	int rc;

	pst_diag_init(&d);
	rc = pst_gguf_open(path, &g, &d);
	if (rc != want)
		fail_msg("%s: %d (%s), not %d", path, rc, d.text, want);
	assert_null(g);
	if (!strstr(d.text, word))
		fail_msg("%s: '%s' does not say '%s'", path, d.text, word);
	assert_string_not_equal(d.file, "");
}

static void what_is_no_regular_file_is_refused(void **state)
{
	expect("missing.gguf", -ENOENT, "cannot open");
	expect(".", -EBADMSG, "a folder");
	expect("/dev/null", -EBADMSG, "regular");
	write_file("empty.gguf", "", 0);
	expect("empty.gguf", -EBADMSG, "truncated");
	write_file("short.gguf", "GGUF\3\0\0\0", 8);
	expect("short.gguf", -EBADMSG, "truncated");
}

/* Nobody writes to it: an open that waits for a writer waits for ever. */
static void a_fifo_does_not_block(void **state)
{
	const char *path = "fifo.gguf";

	assert_int_equal(mkfifo(path, 0600), 0);
	alarm(20);
	expect(path, -EBADMSG, "regular");
	alarm(0);
}

static void a_file_without_permission_says_so(void **state)
{
	const char *path = "secret.gguf";
	struct gguf_builder b = { 0 };
	uid_t me = geteuid();

	finish_to(&b, path);
	assert_int_equal(chmod(path, 0), 0);
	assert_int_equal(chmod(".", 0755), 0);
	/* Root may read everything: become nobody for a moment. */
	if (!me)
		assert_int_equal(seteuid(65534), 0);
	expect(path, -EACCES, "cannot open");
	assert_int_equal(seteuid(me), 0);
}

/* Part @no of @count with one tensor, as a splitter writes it. */
struct part {
	uint32_t no, count;
	uint32_t claims_no, claims_count;
	uint32_t claims_tensors;
	const char *tensor;
};

static void write_part(const char *prefix, const struct part *p)
{
	struct gguf_builder b = { 0 };
	uint16_t no = (uint16_t)p->claims_no, count = (uint16_t)p->claims_count;
	char name[96];

	if (p->no == 0)
		gb_str(&b, "general.architecture", "test");
	gb_value(&b, "split.no", PST_GGUF_U16, &no, 2);
	gb_value(&b, "split.count", PST_GGUF_U16, &count, 2);
	gb_i32(&b, "split.tensors.count", (int32_t)p->claims_tensors);
	if (p->tensor)
		gb_tensor(&b,
			  &(struct gb_tensor){ .name = p->tensor,
					       .type = 24,
					       .nr_dims = 1,
					       .ne = { 8 } },
			  p->tensor, 8);
	snprintf(name, sizeof(name), "%s-%05u-of-%05u.gguf", prefix, p->no + 1,
		 p->count);
	finish_to(&b, name);
}

/* A right model in three parts; part 1 without a tensor. */
static void write_split(const char *prefix)
{
	struct part p = { .count = 3, .claims_count = 3, .claims_tensors = 2 };

	write_part(prefix, &p);
	p.no = p.claims_no = 1;
	p.tensor = "first  ";
	write_part(prefix, &p);
	p.no = p.claims_no = 2;
	p.tensor = "second ";
	write_part(prefix, &p);
}

static void a_split_model_is_opened_by_its_first_part(void **state)
{
	struct pst_gguf *g;
	struct pst_diag d;

	write_split("good");
	pst_diag_init(&d);
	if (pst_gguf_open("good-00001-of-00003.gguf", &g, &d))
		fail_msg("refused: %s", d.text);
	assert_int_equal(pst_gguf_nr_files(g), 3);
	assert_int_equal(pst_gguf_nr_tensors(g), 2);
	/* The pairs are those of part 1. */
	assert_int_equal(pst_gguf_nr_kv(g), 4);
	assert_non_null(pst_gguf_find(g, "general.architecture"));
	for (uint32_t i = 0; i < 2; i++) {
		const struct pst_gguf_tensor *t =
			pst_gguf_find_tensor(g, i ? "second " : "first  ");

		assert_non_null(t);
		assert_int_equal(t->file, i + 1);
		assert_memory_equal(pst_gguf_tensor_data(g, t), t->name, 8);
	}
	pst_gguf_drop_pages(g);
	assert_memory_equal(pst_gguf_tensor_data(g, pst_gguf_tensor(g, 1)),
			    "second ", 8);
	pst_gguf_close(g);
}

static void a_later_part_is_refused(void **state)
{
	write_split("later");
	expect("later-00002-of-00003.gguf", -EBADMSG, "open part 1");
}

static void a_missing_part_is_named(void **state)
{
	write_split("gap");
	unlink("gap-00003-of-00003.gguf");
	expect("gap-00001-of-00003.gguf", -EBADMSG, "part 3 of 3");
}

static void a_part_with_another_number_is_refused(void **state)
{
	struct part p = { .no = 1,
			  .count = 3,
			  .claims_no = 2,
			  .claims_count = 3,
			  .claims_tensors = 2,
			  .tensor = "first  " };

	write_split("number");
	write_part("number", &p);
	expect("number-00001-of-00003.gguf", -EBADMSG, "split.no");
}

static void a_wrong_sum_of_tensors_is_refused(void **state)
{
	struct part p = { .count = 3, .claims_count = 3, .claims_tensors = 3 };

	write_split("sum");
	write_part("sum", &p);
	expect("sum-00001-of-00003.gguf", -EBADMSG, "split.tensors.count");
}

static void a_tensor_in_two_parts_is_refused(void **state)
{
	struct part p = { .no = 2,
			  .count = 3,
			  .claims_no = 2,
			  .claims_count = 3,
			  .claims_tensors = 2,
			  .tensor = "first  " };

	write_split("twice");
	write_part("twice", &p);
	expect("twice-00001-of-00003.gguf", -EBADMSG, "twice");
}

static void a_damaged_later_part_is_named(void **state)
{
	struct pst_gguf *g;
	struct pst_diag d;

	write_split("torn");
	write_file(
		"torn-00002-of-00003.gguf",
		"GGUF\3\0\0\0\377\377\377\377\377\377\377\377\0\0\0\0\0\0\0\0",
		24);
	pst_diag_init(&d);
	assert_int_equal(pst_gguf_open("torn-00001-of-00003.gguf", &g, &d),
			 -EBADMSG);
	assert_non_null(strstr(d.file, "torn-00002-of-00003.gguf"));
}

static void a_name_that_is_no_part_name_is_refused(void **state)
{
	write_split("name");
	rename("name-00001-of-00003.gguf", "renamed.gguf");
	expect("renamed.gguf", -EBADMSG, "split.count");
	write_split("x");
	rename("x-00001-of-00003.gguf", "x-00001-of-00004.gguf");
	expect("x-00001-of-00004.gguf", -EBADMSG, "split.count");
}

static void a_split_in_memory_is_refused(void **state)
{
	struct gguf_builder b = { 0 };

	gb_value(&b, "split.no", PST_GGUF_U16, &(uint16_t){ 0 }, 2);
	gb_value(&b, "split.count", PST_GGUF_U16, &(uint16_t){ 2 }, 2);
	open_refused(&b, -EBADMSG, "split.count");
}

static void split_counts_of_other_types_are_refused(void **state)
{
	static const int64_t counts[] = { -1, 65536, INT64_MAX, INT64_MIN };
	struct gguf_builder s = { 0 };

	gb_str(&s, "split.count", "2");
	open_refused(&s, -EBADMSG, "split.count");
	for (size_t i = 0; i < PST_ARRAY_SIZE(counts); i++) {
		struct gguf_builder b = { 0 };

		gb_value(&b, "split.no", PST_GGUF_U16, &(uint16_t){ 0 }, 2);
		gb_value(&b, "split.count", PST_GGUF_I64, &counts[i], 8);
		open_refused(&b, -EBADMSG, "split.count");
	}
}

static void a_part_without_a_number_is_refused(void **state)
{
	struct gguf_builder b = { 0 }, c = { 0 };

	gb_u32(&b, "split.count", 2);
	open_refused(&b, -EBADMSG, "split.no is missing");
	gb_u32(&c, "split.count", 2);
	gb_str(&c, "split.no", "0");
	open_refused(&c, -EBADMSG, "split.no is missing");
}

/* One part: a split.count of 1 or 0 says nothing. */
static void a_split_of_one_is_a_plain_file(void **state)
{
	for (uint16_t n = 0; n < 2; n++) {
		struct gguf_builder b = { 0 };
		struct opened o;

		gb_value(&b, "split.no", PST_GGUF_U16, &(uint16_t){ 0 }, 2);
		gb_value(&b, "split.count", PST_GGUF_U16, &n, 2);
		open_ok(&b, &o);
		assert_int_equal(pst_gguf_nr_files(o.g), 1);
		opened_close(&o);
	}
}

/* Each failed open gives back its descriptors and mappings. */
static void nothing_is_left_open(void **state)
{
	struct rlimit old, low;
	struct pst_gguf *g;

	write_split("leak");
	unlink("leak-00003-of-00003.gguf");
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	low = old;
	low.rlim_cur = 64;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	for (int i = 0; i < 200; i++)
		assert_int_equal(pst_gguf_open("leak-00001-of-00003"
					       ".gguf",
					       &g, NULL),
				 -EBADMSG);
	setrlimit(RLIMIT_NOFILE, &old);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_no_regular_file_is_refused),
		cmocka_unit_test(a_fifo_does_not_block),
		cmocka_unit_test(a_file_without_permission_says_so),
		cmocka_unit_test(a_split_model_is_opened_by_its_first_part),
		cmocka_unit_test(a_later_part_is_refused),
		cmocka_unit_test(a_missing_part_is_named),
		cmocka_unit_test(a_part_with_another_number_is_refused),
		cmocka_unit_test(a_wrong_sum_of_tensors_is_refused),
		cmocka_unit_test(a_tensor_in_two_parts_is_refused),
		cmocka_unit_test(a_damaged_later_part_is_named),
		cmocka_unit_test(a_name_that_is_no_part_name_is_refused),
		cmocka_unit_test(a_split_in_memory_is_refused),
		cmocka_unit_test(split_counts_of_other_types_are_refused),
		cmocka_unit_test(a_part_without_a_number_is_refused),
		cmocka_unit_test(a_split_of_one_is_a_plain_file),
		cmocka_unit_test(nothing_is_left_open),
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
