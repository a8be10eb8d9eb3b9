// SPDX-License-Identifier: MIT
/*
 * Profiles of drives in the state directory: which drive a path means, and the
 * text form of what was measured.  The text is read back as untrusted.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include <penstock/profile.h>

#include "base.h"
#include "state.h"
#include "topo.h"

#define PROFILE_BYTES_MAX 4096
#define FIRST_LINE	  "penstock drive profile 1\n"

#define BANDWIDTH_MAX_BPS 10000000000000ULL
#define CPU_MAX_NS_GB	  1000000000000ULL
#define LATENCY_MAX_NS	  60000000000ULL
#define DEPTH_MAX	  1024
#define SHORT_RATE_MAX	  1000000000ULL
#define SPLIT_MAX_BYTES	  (256 * PST_MIB)

/* Drives without a serial number have a meaning on one machine only. */
static int name_of(const char *path, char *name, struct pst_diag *diag)
{
	struct pst_drive_info info;
	struct pst_drive drive;
	struct utsname u = { 0 };
	char key[512];
	int ret = pst_drive_of_path(path, &drive);

	if (ret)
		return pst_diag_set_at(diag, ret, path, UINT64_MAX, "%s",
				       strerror(-ret));
	pst_drive_info(drive.name, &info);
	uname(&u);
	if (info.serial[0])
		snprintf(key, sizeof(key), "%s %s %s", info.model, info.serial,
			 drive.fs_type);
	else
		snprintf(key, sizeof(key), "%s %s %s %s", u.nodename,
			 drive.name, info.model, drive.fs_type);
	pst_state_name("drive", key, name);
	return 0;
}

/* Lines of the mode and what led to it; none when nobody has looked. */
static const char *modes_text(const struct pst_drive_profile *p, char *text,
			      size_t size)
{
	int n;

	*text = 0;
	if (p->io_mode == PST_ENGINE_MODE_AUTO)
		return text;
	n = snprintf(text, size, "io_mode=%s\n",
		     pst_engine_mode_name(p->io_mode));
	for (uint32_t m = PST_ENGINE_MODE_IRQ; m < PST_ENGINE_NR_MODES; m++) {
		const struct pst_drive_mode_look *l = &p->looks[m];
		const char *mode =
			pst_engine_mode_name((enum pst_engine_io_mode)m);

		if (l->bandwidth_bps)
			n += snprintf(text + n, size - (size_t)n,
				      "%s_bps=%" PRIu64
				      "\n%s_cpu_ns_gb=%" PRIu64 "\n",
				      mode, l->bandwidth_bps, mode,
				      l->cpu_ns_gb);
	}
	return text;
}

int pst_profile_store(const char *state_dir, const char *path,
		      const struct pst_drive_profile *p, const char *io,
		      struct pst_diag *diag)
{
	char name[PST_STATE_NAME_MAX], text[1024], modes[512];
	struct pst_drive drive = { .numa_node = -1 };
	struct pst_drive_info info;
	struct utsname u = { 0 };
	int ret, n;

	ret = name_of(path, name, diag);
	if (ret)
		return ret;
	(void)pst_drive_of_path(path, &drive);
	pst_drive_info(drive.name, &info);
	uname(&u);
	n = snprintf(text, sizeof(text),
		     FIRST_LINE "drive=%s\nmodel=%s\nfs=%s\nkernel=%s\n"
				"io=%s\nwhen_s=%" PRId64 "\ndirect=%d\n"
				"bandwidth_bps=%" PRIu64 "\nlatency_ns=%" PRIu64
				"\ndepth=%u\n"
				"split_bytes=%u\nshort_latency_ns=%" PRIu64
				"\nshort_rate=%" PRIu64 "\n%send=1\n",
		     drive.name, info.model, drive.fs_type, u.release, io,
		     p->when_s, p->direct, p->bandwidth_bps, p->latency_ns,
		     p->depth, p->split_bytes, p->short_latency_ns,
		     p->short_rate, modes_text(p, modes, sizeof(modes)));
	if (n < 0 || (size_t)n >= sizeof(text))
		return pst_diag_set(diag, -E2BIG, "the profile is too long");
	return pst_state_write(state_dir, name, text, (uint64_t)n, diag);
}

void pst_profile_line(const struct pst_drive_profile *p,
		      struct pst_drive_line *out)
{
	double size = p->split_bytes, bps = (double)p->bandwidth_bps;
	double over = size - PST_DRIVE_SHORT_BYTES;
	double each, per_byte;

	*out = (struct pst_drive_line){
		.bps = bps,
		.latency_s =
			PST_MAX((double)p->latency_ns * 1e-9 - size / bps, 0.0),
	};
	if (!p->short_rate || over <= 0.0)
		return;
	each = 1.0 / (double)p->short_rate;
	per_byte = (size / bps - each) / over;
	/* Short reads that are no faster than long ones tell of no line. */
	if (per_byte <= 0.0)
		return;
	out->read_s = each - PST_DRIVE_SHORT_BYTES * per_byte;
	if (out->read_s <= 0.0) {
		out->read_s = 0.0;
		per_byte = 1.0 / bps;
	}
	out->bps = 1.0 / per_byte;
	out->latency_s =
		PST_MAX((double)p->short_latency_ns * 1e-9 - out->read_s -
				PST_DRIVE_SHORT_BYTES * per_byte,
			0.0);
}

/* The value of a line "key=value", copied; false when there is none. */
static bool value_of(const char *text, const char *key, char *out, size_t size)
{
	size_t len = strlen(key);

	for (const char *line = text; line && *line;) {
		const char *end = strchrnul(line, '\n');

		if (!strncmp(line, key, len) && line[len] == '=') {
			snprintf(out, size, "%.*s",
				 (int)(end - line - (ptrdiff_t)len - 1),
				 line + len + 1);
			return true;
		}
		line = *end ? end + 1 : NULL;
	}
	return false;
}

static bool number_of(const char *text, const char *key, uint64_t max,
		      uint64_t *out)
{
	unsigned long long v;
	char value[32], *end;

	if (!value_of(text, key, value, sizeof(value)) || *value < '0' ||
	    *value > '9')
		return false;
	errno = 0;
	v = strtoull(value, &end, 10);
	if (*end || errno || v > max)
		return false;
	*out = v;
	return true;
}

/* A number that need not be there, but must be one. */
static bool maybe_number(const char *text, const char *mode, const char *key,
			 uint64_t max, uint64_t *out)
{
	char name[32], value[32];

	snprintf(name, sizeof(name), "%s_%s", mode, key);
	*out = 0;
	return !value_of(text, name, value, sizeof(value)) ||
	       number_of(text, name, max, out);
}

/* Profiles from before there were modes have no such lines. */
static bool parse_modes(const char *text, struct pst_drive_profile *out)
{
	bool known = false;
	char value[32];

	if (!value_of(text, "io_mode", value, sizeof(value)))
		return true;
	for (uint32_t m = PST_ENGINE_MODE_IRQ; m < PST_ENGINE_NR_MODES; m++) {
		struct pst_drive_mode_look *l = &out->looks[m];
		const char *mode =
			pst_engine_mode_name((enum pst_engine_io_mode)m);

		if (!strcmp(value, mode)) {
			out->io_mode = (enum pst_engine_io_mode)m;
			known = true;
		}
		if (!maybe_number(text, mode, "bps", BANDWIDTH_MAX_BPS,
				  &l->bandwidth_bps) ||
		    !maybe_number(text, mode, "cpu_ns_gb", CPU_MAX_NS_GB,
				  &l->cpu_ns_gb))
			return false;
	}
	return known;
}

static bool parse(const char *text, struct pst_drive_profile *out,
		  struct pst_profile_origin *origin)
{
	uint64_t bps, latency, depth, split, when, direct, end;
	uint64_t short_latency = 0, short_rate = 0;
	struct pst_drive_profile p;

	if (strncmp(text, FIRST_LINE, strlen(FIRST_LINE)) ||
	    !number_of(text, "bandwidth_bps", BANDWIDTH_MAX_BPS, &bps) ||
	    !number_of(text, "latency_ns", LATENCY_MAX_NS, &latency) ||
	    !number_of(text, "depth", DEPTH_MAX, &depth) ||
	    !number_of(text, "split_bytes", SPLIT_MAX_BYTES, &split) ||
	    !number_of(text, "when_s", INT64_MAX, &when) ||
	    !number_of(text, "direct", 1, &direct) ||
	    !number_of(text, "end", 1, &end))
		return false;
	/* Older profiles have no lines of these; damaged ones count as none. */
	if (!number_of(text, "short_latency_ns", LATENCY_MAX_NS,
		       &short_latency) ||
	    !number_of(text, "short_rate", SHORT_RATE_MAX, &short_rate))
		short_latency = short_rate = 0;
	if (!bps || !latency || !depth || !split || split % 4096)
		return false;
	p = (struct pst_drive_profile){ .bandwidth_bps = bps,
					.latency_ns = latency,
					.depth = (uint32_t)depth,
					.split_bytes = (uint32_t)split,
					.when_s = (int64_t)when,
					.direct = direct,
					.short_latency_ns = short_latency,
					.short_rate = short_rate };
	if (!parse_modes(text, &p))
		return false;
	*out = p;
	if (!origin)
		return true;
	*origin = (struct pst_profile_origin){ 0 };
	value_of(text, "kernel", origin->kernel, sizeof(origin->kernel));
	value_of(text, "io", origin->io, sizeof(origin->io));
	return true;
}

int pst_profile_find(const char *state_dir, const char *path,
		     struct pst_drive_profile *out,
		     struct pst_profile_origin *origin, struct pst_diag *diag)
{
	char name[PST_STATE_NAME_MAX], *text;
	uint64_t size_bytes;
	int ret = name_of(path, name, diag);

	if (!ret)
		ret = pst_state_read(state_dir, name, PROFILE_BYTES_MAX, &text,
				     &size_bytes, diag);
	if (ret)
		return ret;
	if (!parse(text, out, origin))
		ret = pst_diag_set_at(diag, -EBADMSG, state_dir, UINT64_MAX,
				      "the drive profile '%s' is damaged: "
				      "'penstock iobench' makes a new one",
				      name);
	free(text);
	return ret;
}
