// SPDX-License-Identifier: MIT
/*
 * penstock doctor: what this machine offers, one line per check, with the mend
 * where something could be better.  The checks are in doctor_*.c; to add one:
 * a function and a row here.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "doctor.h"

struct check {
	const char *name;
	void (*run)(const char *path, struct doctor_finding *f);
};

static const struct check checks[] = {
	{ "model", doctor_model },     { "kernel", doctor_kernel },
	{ "cpu", doctor_cpu },	       { "numa", doctor_numa },
	{ "memory", doctor_memory },   { "swap", doctor_swap },
	{ "cgroup", doctor_cgroup },   { "pressure", doctor_pressure },
	{ "huge-pages", doctor_huge }, { "memlock", doctor_memlock },
	{ "io_uring", doctor_uring },  { "o_direct", doctor_direct },
	{ "drive", doctor_drive },     { "queue", doctor_queue },
	{ "link", doctor_link },       { "drives", doctor_drives },
	{ "profile", doctor_profile }, { "io-mode", doctor_io_mode },
	{ "pool", doctor_anon },       { "udmabuf", doctor_udmabuf },
	{ "module", doctor_module },   { "gpu", doctor_gpu },
};

static const char *const status_names[] = {
	[DOCTOR_OK] = "ok", [DOCTOR_WARN] = "warn", [DOCTOR_FAIL] = "fail"
};

void doctor_say(struct doctor_finding *f, enum doctor_status status,
		const char *fmt, ...)
{
	va_list ap;

	f->status = status;
	va_start(ap, fmt);
	vsnprintf(f->text, sizeof(f->text), fmt, ap);
	va_end(ap);
}

void doctor_mend(struct doctor_finding *f, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(f->mend, sizeof(f->mend), fmt, ap);
	va_end(ap);
}

bool doctor_read_line(const char *path, char *out, int size)
{
	FILE *f = fopen(path, "re");
	bool ok = f && fgets(out, size, f);

	if (f)
		fclose(f);
	if (ok)
		out[strcspn(out, "\n")] = 0;
	return ok;
}

static void print_json(const struct check *c, const struct doctor_finding *f,
		       bool first)
{
	printf("%s{\"check\":\"%s\",\"status\":\"%s\",\"finding\":",
	       first ? "" : ",", c->name, status_names[f->status]);
	cli_json_string(stdout, f->text, strlen(f->text));
	printf(",\"mend\":");
	cli_json_string(stdout, f->mend, strlen(f->mend));
	putchar('}');
}

static void print_csv(const struct check *c, const struct doctor_finding *f)
{
	printf("%s,%s,", c->name, status_names[f->status]);
	cli_csv_string(stdout, f->text, strlen(f->text));
	putchar(',');
	cli_csv_string(stdout, f->mend, strlen(f->mend));
	putchar('\n');
}

static void print_text(const struct check *c, const struct doctor_finding *f)
{
	printf("%-5s %-11s ", status_names[f->status], c->name);
	cli_print_text(stdout, f->text, strlen(f->text), SIZE_MAX);
	putchar('\n');
	if (!f->mend[0])
		return;
	printf("%-17s mend: ", "");
	cli_print_text(stdout, f->mend, strlen(f->mend), SIZE_MAX);
	putchar('\n');
}

int cmd_doctor(struct cli_opts *o)
{
	const char *path = o->nr_args ? o->args[0] : ".";
	bool failed = false;

	if (access(path, F_OK)) {
		cli_error("%s: %s", path, strerror(errno));
		return errno == EACCES ? EXIT_PERM : EXIT_NO_MODEL;
	}
	if (o->output == OUT_JSON) {
		printf("{\"schema\":\"penstock.doctor.1\",\"path\":");
		cli_json_string(stdout, path, strlen(path));
		printf(",\"checks\":[");
	} else if (o->output == OUT_CSV) {
		puts("check,status,finding,mend");
	}
	for (size_t i = 0; i < PST_ARRAY_SIZE(checks); i++) {
		struct doctor_finding f = { 0 };

		checks[i].run(path, &f);
		failed |= f.status == DOCTOR_FAIL;
		if (o->output == OUT_JSON)
			print_json(&checks[i], &f, !i);
		else if (o->output == OUT_CSV)
			print_csv(&checks[i], &f);
		else
			print_text(&checks[i], &f);
	}
	if (o->output == OUT_JSON)
		puts("]}");
	return failed ? EXIT_UNAVAIL : EXIT_OK;
}
