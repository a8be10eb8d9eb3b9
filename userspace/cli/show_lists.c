// SPDX-License-Identifier: MIT
/*
 * The lists of `show`: metadata pairs, tensor types, tensors.  Every name and
 * value comes from the file and goes through the printers of text_io.c.
 */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "cli.h"
#include "gguf.h"

/* What an abbreviated value may hold. */
#define SHORT_CHARS 100
#define SHORT_ELEMS 6

static const char *vtype_name(uint32_t type)
{
	static const char *const names[PST_GGUF_VTYPE_COUNT] = {
		"u8",	"i8",	  "u16",   "i16", "u32", "i32", "f32",
		"bool", "string", "array", "u64", "i64", "f64"
	};

	return type < PST_GGUF_VTYPE_COUNT ? names[type] : "unknown";
}

static void print_string(enum cli_output form, struct pst_str s, bool full)
{
	if (form == OUT_JSON)
		cli_json_string(stdout, s.s, s.len);
	else
		cli_print_text(stdout, s.s, s.len,
			       full ? SIZE_MAX : SHORT_CHARS);
}

static void print_number(enum cli_output form, const struct pst_gguf_kv *kv,
			 uint64_t i)
{
	uint64_t u;
	int64_t n;
	double f;

	if (kv->elem_type == PST_GGUF_BOOL)
		printf("%s", kv->data[i] ? "true" : "false");
	else if (!pst_gguf_elem_u64(kv, i, &u))
		printf("%" PRIu64, u);
	else if (!pst_gguf_elem_i64(kv, i, &n))
		printf("%" PRId64, n);
	else if (pst_gguf_elem_f64(kv, i, &f))
		printf("null");
	else if (form == OUT_JSON && !isfinite(f))
		printf("\"%f\"", f);
	else if (form == OUT_TEXT)
		printf("%.6g", f);
	else
		printf(kv->elem_type == PST_GGUF_F64 ? "%.17g" : "%.9g", f);
}

static void print_elems(enum cli_output form, const struct pst_gguf_kv *kv,
			uint64_t nr, bool full)
{
	struct pst_gguf_strings it;
	struct pst_str s;
	bool strings = !pst_gguf_strings_init(&it, kv);

	for (uint64_t i = 0; i < nr; i++) {
		if (i)
			fputs(form == OUT_JSON ? "," : ", ", stdout);
		if (!strings)
			print_number(form, kv, i);
		else if (pst_gguf_strings_next(&it, &s))
			print_string(form, s, full);
	}
}

static void print_value(enum cli_output form, const struct pst_gguf_kv *kv,
			bool full)
{
	uint64_t nr = kv->count;
	struct pst_str s;

	if (kv->type == PST_GGUF_STRING) {
		memcpy(&s.len, kv->data, sizeof(s.len));
		s.s = (const char *)kv->data + sizeof(s.len);
		print_string(form, s, full);
		return;
	}
	if (kv->type != PST_GGUF_ARRAY) {
		print_number(form, kv, 0);
		return;
	}
	if (!full)
		nr = PST_MIN(nr, (uint64_t)SHORT_ELEMS);
	putchar('[');
	print_elems(form, kv, nr, full);
	if (form != OUT_JSON && nr < kv->count)
		printf(", ... %" PRIu64 " in all", kv->count);
	putchar(']');
}

static void meta_json(const struct pst_gguf_kv *kv, bool first, bool full)
{
	printf("%s{\"key\":", first ? "" : ",");
	cli_json_string(stdout, kv->key.s, kv->key.len);
	printf(",\"type\":\"%s\"", vtype_name(kv->type));
	if (kv->type == PST_GGUF_ARRAY)
		printf(",\"elem_type\":\"%s\",\"count\":%" PRIu64,
		       vtype_name(kv->elem_type), kv->count);
	printf(",\"value\":");
	print_value(OUT_JSON, kv, full);
	putchar('}');
}

/* Numbers as they are, everything that holds text in quotes. */
static void meta_csv(const struct pst_gguf_kv *kv)
{
	struct pst_str s;

	printf("metadata,");
	cli_csv_string(stdout, kv->key.s, kv->key.len);
	putchar(',');
	if (kv->type == PST_GGUF_STRING) {
		memcpy(&s.len, kv->data, sizeof(s.len));
		s.s = (const char *)kv->data + sizeof(s.len);
		cli_csv_string(stdout, s.s, s.len);
	} else if (kv->type != PST_GGUF_ARRAY) {
		print_number(OUT_CSV, kv, 0);
	} else {
		printf("\"%s[%" PRIu64 "]\"", vtype_name(kv->elem_type),
		       kv->count);
	}
	putchar('\n');
}

void cli_show_meta(const struct pst_gguf *g, struct cli_report *r, bool full)
{
	uint64_t nr = pst_gguf_nr_kv(g);

	if (cli_report_key(r, "metadata"))
		putchar('[');
	else if (r->form == OUT_TEXT)
		puts("metadata");
	for (uint64_t i = 0; i < nr; i++) {
		const struct pst_gguf_kv *kv = pst_gguf_kv(g, i);

		if (r->form == OUT_JSON) {
			meta_json(kv, !i, full);
		} else if (r->form == OUT_CSV) {
			meta_csv(kv);
		} else {
			printf("  ");
			cli_print_text(stdout, kv->key.s, kv->key.len,
				       SIZE_MAX);
			printf(" = ");
			print_value(OUT_TEXT, kv, full);
			putchar('\n');
		}
	}
	if (r->form == OUT_JSON)
		putchar(']');
}

/* The format's ids end far below this. */
#define TYPES_MAX 256

static void print_type(struct cli_report *r, const char *name,
		       uint64_t nr_tensors, uint64_t bytes)
{
	char buf[32];

	if (r->form == OUT_JSON) {
		printf("%s{\"type\":\"%s\",\"tensors\":%" PRIu64
		       ",\"bytes\":%" PRIu64 "}",
		       r->comma ? "," : "", name, nr_tensors, bytes);
		r->comma = true;
	} else if (r->form == OUT_CSV) {
		printf("types,%s.tensors,%" PRIu64 "\ntypes,%s.bytes,%" PRIu64
		       "\n",
		       name, nr_tensors, name, bytes);
	} else {
		printf("  %-8s %6" PRIu64 " tensors  %s\n", name, nr_tensors,
		       cli_bytes_text(bytes, buf, sizeof(buf)));
	}
}

void cli_show_types(const struct pst_gguf *g, struct cli_report *r)
{
	uint64_t nr[TYPES_MAX] = { 0 }, bytes[TYPES_MAX] = { 0 };

	for (uint64_t i = 0; i < pst_gguf_nr_tensors(g); i++) {
		const struct pst_gguf_tensor *t = pst_gguf_tensor(g, i);

		if (t->type >= TYPES_MAX)
			continue;
		nr[t->type]++;
		bytes[t->type] += t->size_bytes;
	}
	if (cli_report_key(r, "types"))
		putchar('[');
	else if (r->form == OUT_TEXT)
		puts("types");
	r->comma = false;
	for (uint32_t i = 0; i < TYPES_MAX; i++)
		if (nr[i])
			print_type(r, pst_gguf_type(i)->name, nr[i], bytes[i]);
	if (r->form == OUT_JSON)
		putchar(']');
}

static void tensor_json(const struct pst_gguf_tensor *t)
{
	printf("{\"name\":");
	cli_json_string(stdout, t->name, strlen(t->name));
	printf(",\"type\":\"%s\",\"shape\":[", pst_gguf_type(t->type)->name);
	for (uint32_t i = 0; i < t->nr_dims; i++)
		printf("%s%" PRIu64, i ? "," : "", t->ne[i]);
	printf("],\"file\":%u,\"offset_bytes\":%" PRIu64
	       ",\"size_bytes\":%" PRIu64 "}",
	       t->file, t->off_bytes, t->size_bytes);
}

static void print_shape(const struct pst_gguf_tensor *t, int cells)
{
	char buf[PST_GGUF_MAX_DIMS * 24];
	int n = 0;

	for (uint32_t i = 0; i < t->nr_dims; i++)
		n += snprintf(buf + n, sizeof(buf) - (size_t)n, "%s%" PRIu64,
			      i ? " x " : "", t->ne[i]);
	printf("%-*s", cells, buf);
}

static void tensor_line(const struct pst_gguf_tensor *t, enum cli_output form)
{
	const char *type = pst_gguf_type(t->type)->name;
	int pad = 40 - (int)strlen(t->name);

	if (form == OUT_CSV) {
		cli_csv_string(stdout, t->name, strlen(t->name));
		printf(",%s,\"", type);
		print_shape(t, 0);
		printf("\",%u,%" PRIu64 ",%" PRIu64 "\n", t->file, t->off_bytes,
		       t->size_bytes);
		return;
	}
	printf("  ");
	cli_print_text(stdout, t->name, strlen(t->name), SIZE_MAX);
	printf("%*s %-7s ", pad > 0 ? pad : 0, "", type);
	print_shape(t, 22);
	printf(" file %u at %" PRIu64 ", %" PRIu64 " B\n", t->file,
	       t->off_bytes, t->size_bytes);
}

void cli_show_tensors(const struct pst_gguf *g, struct cli_report *r,
		      const struct pst_gguf_tensor *one)
{
	uint64_t nr = one ? 1 : pst_gguf_nr_tensors(g);

	if (cli_report_key(r, "tensors"))
		putchar('[');
	else if (r->form == OUT_TEXT)
		puts("tensors");
	else
		puts("name,type,shape,file,offset_bytes,size_bytes");
	for (uint64_t i = 0; i < nr; i++) {
		const struct pst_gguf_tensor *t = one ? one
						      : pst_gguf_tensor(g, i);

		if (r->form != OUT_JSON) {
			tensor_line(t, r->form);
			continue;
		}
		if (i)
			putchar(',');
		tensor_json(t);
	}
	if (r->form == OUT_JSON)
		putchar(']');
}
