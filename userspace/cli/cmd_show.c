// SPDX-License-Identifier: MIT
/*
 * penstock show: what a GGUF holds, whether or not penstock can run it.
 *
 * Only a broken container is an error: keys may be missing, odd or of another
 * family, and are then left out.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "gguf.h"

/* Names of general.file_type, the numbers of the format. */
static const char *const file_types[] = {
	[0] = "F32",	   [1] = "F16",	    [2] = "Q4_0",    [3] = "Q4_1",
	[7] = "Q8_0",	   [8] = "Q5_0",    [9] = "Q5_1",    [10] = "Q2_K",
	[11] = "Q3_K_S",   [12] = "Q3_K_M", [13] = "Q3_K_L", [14] = "Q4_K_S",
	[15] = "Q4_K_M",   [16] = "Q5_K_S", [17] = "Q5_K_M", [18] = "Q6_K",
	[19] = "IQ2_XXS",  [20] = "IQ2_XS", [21] = "Q2_K_S", [22] = "IQ3_XS",
	[23] = "IQ3_XXS",  [24] = "IQ1_S",  [25] = "IQ4_NL", [26] = "IQ3_S",
	[27] = "IQ3_M",	   [28] = "IQ2_S",  [29] = "IQ2_M",  [30] = "IQ4_XS",
	[31] = "IQ1_M",	   [32] = "BF16",   [36] = "TQ1_0",  [37] = "TQ2_0",
	[38] = "MXFP4_MOE"
};

static void show_str(struct cli_report *r, const struct pst_gguf *g,
		     const char *name, const char *key)
{
	struct pst_str s;

	if (!pst_gguf_get_str(g, key, &s))
		cli_report_str(r, name, s.s, s.len);
}

/* A number of the family: "<architecture>.<suffix>". */
static void show_arch_u64(struct cli_report *r, const struct pst_gguf *g,
			  const char *name, const char *suffix)
{
	struct pst_str arch;
	char key[160];
	uint64_t v;
	int n;

	if (pst_gguf_get_str(g, "general.architecture", &arch) ||
	    arch.len > 64 || memchr(arch.s, 0, arch.len))
		return;
	n = snprintf(key, sizeof(key), "%.*s.%s", (int)arch.len, arch.s,
		     suffix);
	if (n > 0 && (size_t)n < sizeof(key) && !pst_gguf_get_u64(g, key, &v))
		cli_report_u64(r, name, v);
}

static void show_general(struct cli_report *r, const struct pst_gguf *g)
{
	struct pst_diag why;
	uint64_t type, bytes = 0;
	int rc;

	pst_diag_init(&why);
	cli_report_section(r, "general");
	show_str(r, g, "name", "general.name");
	show_str(r, g, "architecture", "general.architecture");
	show_str(r, g, "size_label", "general.size_label");
	if (!pst_gguf_get_u64(g, "general.file_type", &type)) {
		const char *t = type < PST_ARRAY_SIZE(file_types)
					? file_types[type]
					: NULL;

		t = t ? t : "unknown";
		cli_report_str(r, "file_type", t, strlen(t));
	}
	cli_report_u64(r, "gguf_version", pst_gguf_version(g));
	for (uint32_t i = 0; i < pst_gguf_nr_files(g); i++)
		bytes += pst_gguf_file(g, i)->whole_bytes;
	cli_report_u64(r, "parts", pst_gguf_nr_files(g));
	cli_report_bytes(r, "files_bytes", bytes);
	rc = pst_engine_supports(g, &why);
	cli_report_bool(r, "supported", !rc);
	if (rc)
		cli_report_str(r, "unsupported_because", why.text,
			       strlen(why.text));
}

static void show_numbers(struct cli_report *r, const struct pst_gguf *g)
{
	static const char *const keys[][2] = {
		{ "layers", "block_count" },
		{ "prediction_layers", "nextn_predict_layers" },
		{ "context_length", "context_length" },
		{ "embedding_length", "embedding_length" },
		{ "heads", "attention.head_count" },
		{ "kv_heads", "attention.head_count_kv" },
		{ "feed_forward_length", "feed_forward_length" },
		{ "experts", "expert_count" },
		{ "experts_used", "expert_used_count" },
		{ "expert_feed_forward_length", "expert_feed_forward_length" },
	};
	const struct pst_gguf_kv *tokens =
		pst_gguf_find(g, "tokenizer.ggml.tokens");
	struct pst_str chat = { 0 };

	cli_report_section(r, "model");
	for (size_t i = 0; i < PST_ARRAY_SIZE(keys); i++)
		show_arch_u64(r, g, keys[i][0], keys[i][1]);
	if (tokens && tokens->type == PST_GGUF_ARRAY)
		cli_report_u64(r, "vocabulary", tokens->count);
	show_str(r, g, "tokenizer", "tokenizer.ggml.model");
	show_str(r, g, "pre_tokenizer", "tokenizer.ggml.pre");
	cli_report_bool(r, "chat_template",
			!pst_gguf_get_str(g, "tokenizer.chat_template", &chat));
}

/* What the family makes of it; nothing where it cannot be run. */
static void show_geometry(struct cli_report *r, const struct pst_gguf *g)
{
	struct pst_geometry geo;

	if (pst_engine_geometry(g, &geo, NULL))
		return;
	cli_report_section(r, "geometry");
	cli_report_u64(r, "layers", geo.layers);
	cli_report_str(r, "mixers", geo.mixers, strlen(geo.mixers));
	cli_report_u64(r, "layers_with_window", geo.window_layers);
	cli_report_u64(r, "window", geo.window);
	cli_report_u64(r, "layers_with_experts", geo.moe_layers);
	cli_report_u64(r, "width", geo.width);
	cli_report_u64(r, "heads", geo.heads);
	cli_report_u64(r, "experts", geo.experts);
	cli_report_u64(r, "experts_used", geo.experts_used);
	cli_report_u64(r, "expert_width", geo.expert_width);
	cli_report_u64(r, "shared_expert_width", geo.shared_width);
	cli_report_bytes(r, "resident_bytes", geo.resident_bytes);
	cli_report_bytes(r, "tables_on_drive_bytes", geo.table_bytes);
	cli_report_bytes(r, "rows_per_token_bytes", geo.token_row_bytes);
	cli_report_bytes(r, "experts_per_token_bytes", geo.token_expert_bytes);
	cli_report_bytes(r, "left_out_bytes", geo.unused_bytes);
	cli_report_bytes(r, "kv_per_position_f16_bytes", geo.kv_token_bytes);
}

/* All experts of a block in one tensor: "blk.N.ffn_<part>_exps.weight". */
static bool is_experts(const struct pst_gguf_tensor *t)
{
	return t->nr_dims == 3 && t->ne[2] && strstr(t->name, "_exps.weight");
}

struct expert_sizes {
	uint64_t nr;
	uint64_t bytes;
	uint64_t min;
	uint64_t max;
};

/* One expert of the block that owns this down projection: all its parts. */
static uint64_t expert_bytes(const struct pst_gguf *g,
			     const struct pst_gguf_tensor *down)
{
	static const char *const parts[] = { "gate", "up", "gate_up" };
	const char *mid = strstr(down->name, "_down_exps");
	uint64_t sum = down->size_bytes / down->ne[2];

	for (size_t i = 0; i < PST_ARRAY_SIZE(parts); i++) {
		char name[128];
		const struct pst_gguf_tensor *t;

		snprintf(name, sizeof(name), "%.*s_%s_exps.weight",
			 (int)(mid - down->name), down->name, parts[i]);
		t = pst_gguf_find_tensor(g, name);
		if (t && is_experts(t))
			sum += t->size_bytes / t->ne[2];
	}
	return sum;
}

static struct expert_sizes find_experts(const struct pst_gguf *g)
{
	struct expert_sizes s = { .min = UINT64_MAX };

	for (uint64_t i = 0; i < pst_gguf_nr_tensors(g); i++) {
		const struct pst_gguf_tensor *t = pst_gguf_tensor(g, i);
		uint64_t one;

		if (!is_experts(t))
			continue;
		s.bytes += t->size_bytes;
		if (!strstr(t->name, "_down_exps.weight"))
			continue;
		one = expert_bytes(g, t);
		s.nr += t->ne[2];
		s.min = PST_MIN(s.min, one);
		s.max = PST_MAX(s.max, one);
	}
	return s;
}

static void show_sizes(struct cli_report *r, const struct pst_gguf *g)
{
	struct expert_sizes s = find_experts(g);
	uint64_t all = 0;

	for (uint64_t i = 0; i < pst_gguf_nr_tensors(g); i++)
		all += pst_gguf_tensor(g, i)->size_bytes;
	cli_report_section(r, "sizes");
	cli_report_u64(r, "tensors", pst_gguf_nr_tensors(g));
	cli_report_bytes(r, "all_tensors_bytes", all);
	cli_report_bytes(r, "trunk_bytes", all - s.bytes);
	cli_report_bytes(r, "experts_bytes", s.bytes);
	if (!s.nr)
		return;
	cli_report_u64(r, "experts_in_all_layers", s.nr);
	cli_report_bytes(r, "smallest_expert_bytes", s.min);
	cli_report_bytes(r, "largest_expert_bytes", s.max);
}

static void show_files(struct cli_report *r, const struct pst_gguf *g)
{
	char buf[32];

	if (cli_report_key(r, "files"))
		putchar('[');
	else if (r->form == OUT_TEXT)
		puts("files");
	for (uint32_t i = 0; i < pst_gguf_nr_files(g); i++) {
		const struct pst_gguf_file *f = pst_gguf_file(g, i);

		if (r->form == OUT_JSON) {
			printf("%s{\"path\":", i ? "," : "");
			cli_json_string(stdout, f->path, strlen(f->path));
			printf(",\"size_bytes\":%" PRIu64 "}", f->size_bytes);
		} else if (r->form == OUT_CSV) {
			printf("files,");
			cli_csv_string(stdout, f->path, strlen(f->path));
			printf(",%" PRIu64 "\n", f->size_bytes);
		} else {
			printf("  ");
			cli_print_text(stdout, f->path, strlen(f->path),
				       SIZE_MAX);
			printf("  %s\n",
			       cli_bytes_text(f->size_bytes, buf, sizeof(buf)));
		}
	}
	if (r->form == OUT_JSON)
		putchar(']');
}

static int show_all(const struct cli_opts *o, const struct pst_gguf *g)
{
	struct cli_report r;

	cli_report_begin(&r, o->output, "penstock.show.1");
	show_general(&r, g);
	show_numbers(&r, g);
	show_geometry(&r, g);
	show_sizes(&r, g);
	cli_show_types(g, &r);
	show_files(&r, g);
	cli_show_meta(g, &r, o->full);
	if (o->tensors)
		cli_show_tensors(g, &r, NULL);
	cli_report_end(&r);
	return EXIT_OK;
}

static int put_values(void *ctx, const float *v, uint32_t n)
{
	return cli_out_write(ctx, v, n * sizeof(*v));
}

static int write_f32(const struct cli_opts *o, const struct pst_gguf *g,
		     const struct pst_gguf_tensor *t)
{
	struct cli_out out;
	struct pst_tensor_sink sink = { .put = put_values, .ctx = &out };
	struct pst_diag diag;
	int rc;

	pst_diag_init(&diag);
	/* Before an existing file of that name is lost for nothing. */
	rc = pst_tensor_dequant(g, t, NULL, &diag);
	if (rc)
		return cli_fail(rc, &diag);
	rc = cli_out_open(&out, o->f32);
	if (rc)
		return rc;
	rc = pst_tensor_dequant(g, t, &sink, &diag);
	if (rc && !out.err)
		rc = cli_fail(rc, &diag);
	return cli_out_close(&out, rc);
}

/* Of a table alone: CSV has one header. */
static int show_tensors(const struct cli_opts *o, const struct pst_gguf *g,
			const struct pst_gguf_tensor *one)
{
	struct cli_report r = { .form = o->output };

	if (o->output == OUT_JSON)
		cli_report_begin(&r, o->output, "penstock.show.1");
	cli_show_tensors(g, &r, one);
	cli_report_end(&r);
	return EXIT_OK;
}

static int show_one(const struct cli_opts *o, const struct pst_gguf *g)
{
	const struct pst_gguf_tensor *t = pst_gguf_find_tensor(g, o->tensor);

	if (!t) {
		cli_error("%s: no tensor is named '%s'; 'penstock show "
			  "--tensors' lists them",
			  o->args[0], o->tensor);
		return EXIT_NO_MODEL;
	}
	return o->f32 ? write_f32(o, g, t) : show_tensors(o, g, t);
}

int cmd_show(struct cli_opts *o)
{
	struct pst_gguf *g;
	struct pst_diag diag;
	int rc;

	if (o->f32 && !o->tensor) {
		cli_error("show --f32: which tensor? give --tensor NAME");
		return EXIT_USAGE;
	}
	if (o->f32 && !strcmp(o->f32, "-") && isatty(STDOUT_FILENO)) {
		cli_error("show --f32: raw floats are nothing for a terminal: "
			  "name a file");
		return EXIT_USAGE;
	}
	if (o->f32 && o->engine.header_only) {
		cli_error("show --f32: with --header-only there are no "
			  "values");
		return EXIT_USAGE;
	}
	pst_diag_init(&diag);
	rc = o->engine.header_only ? pst_gguf_open_header(o->args[0], &g, &diag)
				   : pst_gguf_open(o->args[0], &g, &diag);
	if (rc)
		return cli_fail(rc, &diag);
	if (o->tensor)
		rc = show_one(o, g);
	else if (o->tensors && o->output == OUT_CSV)
		rc = show_tensors(o, g, NULL);
	else
		rc = show_all(o, g);
	pst_gguf_close(g);
	return rc;
}
