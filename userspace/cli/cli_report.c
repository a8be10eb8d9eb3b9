// SPDX-License-Identifier: MIT
/*
 * Reports: figures with names, in sections, written as text, JSON or CSV from
 * one description, so that the three never differ.
 */
#include <inttypes.h>
#include <string.h>

#include "cli.h"

#define NAME_CELLS 28

const char *cli_bytes_text(uint64_t v, char *buf, size_t size)
{
	if (v >= PST_GIB)
		snprintf(buf, size, "%.2f GiB", (double)v / (double)PST_GIB);
	else if (v >= PST_MIB)
		snprintf(buf, size, "%.2f MiB", (double)v / (double)PST_MIB);
	else if (v >= 10 * PST_KIB)
		snprintf(buf, size, "%.2f KiB", (double)v / (double)PST_KIB);
	else
		snprintf(buf, size, "%" PRIu64 " B", v);
	return buf;
}

void cli_report_begin(struct cli_report *r, enum cli_output form,
		      const char *schema)
{
	*r = (struct cli_report){ .form = form };
	if (form == OUT_JSON)
		printf("{\"schema\":\"%s\"", schema);
	else if (form == OUT_CSV)
		printf("section,name,value\n");
}

static void close_section(struct cli_report *r)
{
	if (r->open && r->form == OUT_JSON)
		putchar('}');
	r->open = false;
}

/* Names of the tables use underscores; people read spaces. */
static int print_label(const char *name, size_t len)
{
	for (size_t i = 0; i < len; i++)
		putchar(name[i] == '_' ? ' ' : name[i]);
	return (int)len;
}

void cli_report_section(struct cli_report *r, const char *name)
{
	close_section(r);
	if (r->form == OUT_JSON) {
		printf(",\"%s\":{", name);
	} else if (r->form == OUT_TEXT) {
		print_label(name, strlen(name));
		putchar('\n');
	}
	r->section = name;
	r->open = true;
	r->comma = false;
}

bool cli_report_key(struct cli_report *r, const char *name)
{
	close_section(r);
	if (r->form == OUT_JSON)
		printf(",\"%s\":", name);
	return r->form == OUT_JSON;
}

static void print_name(struct cli_report *r, const char *name, size_t len)
{
	int n;

	if (r->form == OUT_JSON) {
		printf("%s\"%s\":", r->comma ? "," : "", name);
		r->comma = true;
	} else if (r->form == OUT_CSV) {
		printf("%s,%s,", r->section, name);
	} else {
		printf("  ");
		n = print_label(name, len);
		printf("%*s", n < NAME_CELLS ? NAME_CELLS - n : 1, "");
	}
}

static void end_value(const struct cli_report *r)
{
	if (r->form != OUT_JSON)
		putchar('\n');
}

void cli_report_str(struct cli_report *r, const char *name, const char *s,
		    size_t len)
{
	print_name(r, name, strlen(name));
	if (r->form == OUT_JSON)
		cli_json_string(stdout, s, len);
	else if (r->form == OUT_CSV)
		cli_csv_string(stdout, s, len);
	else
		cli_print_text(stdout, s, len, SIZE_MAX);
	end_value(r);
}

void cli_report_u64(struct cli_report *r, const char *name, uint64_t v)
{
	print_name(r, name, strlen(name));
	printf("%" PRIu64, v);
	end_value(r);
}

void cli_report_f64(struct cli_report *r, const char *name, double v)
{
	print_name(r, name, strlen(name));
	printf(r->form == OUT_TEXT ? "%.4g" : "%.9g", v);
	end_value(r);
}

void cli_report_bool(struct cli_report *r, const char *name, bool v)
{
	print_name(r, name, strlen(name));
	if (r->form == OUT_TEXT)
		printf("%s", v ? "yes" : "no");
	else
		printf("%s", v ? "true" : "false");
	end_value(r);
}

void cli_report_bytes(struct cli_report *r, const char *name, uint64_t v)
{
	char buf[32];

	print_name(r, name, strlen(name) - strlen("_bytes"));
	if (r->form == OUT_TEXT)
		printf("%s", cli_bytes_text(v, buf, sizeof(buf)));
	else
		printf("%" PRIu64, v);
	end_value(r);
}

void cli_report_end(struct cli_report *r)
{
	close_section(r);
	if (r->form == OUT_JSON)
		printf("}\n");
}
