// SPDX-License-Identifier: MIT
/*
 * Several copies of a file: which one a read goes to, what happens when one
 * fails, and what is said of drives that fail or fall behind.  How fast a drive
 * is, is learned in io_drive.c.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "io_priv.h"

/* Shares are looked at after so many reads. */
#define WINDOW_READS 512
/* Below this share, and so much slower than the best: worth a word. */
#define SMALL_SHARE 0.03
#define MUCH_SLOWER 2.0

/* "nvme0n1p2"; for a file system without a device of its own its number. */
static void name_drive(struct pst_io_drive *d)
{
	char link[64], target[512];
	const char *base;
	ssize_t n;

	snprintf(link, sizeof(link), "/sys/dev/block/%u:%u", major(d->id),
		 minor(d->id));
	n = readlink(link, target, sizeof(target) - 1);
	if (n <= 0) {
		snprintf(d->name, sizeof(d->name), "%u:%u", major(d->id),
			 minor(d->id));
		return;
	}
	target[n] = 0;
	base = strrchr(target, '/');
	snprintf(d->name, sizeof(d->name), "%.31s", base ? base + 1 : target);
}

int pst_io_copy_drive(struct pst_io *io, uint64_t id, const char *path)
{
	struct pst_io_drive *d = io->drives;
	uint32_t i;

	for (i = 0; i < io->nr_drives; i++)
		if (d[i].id == id)
			return (int)i;
	if (i == PST_IO_DRIVES_MAX)
		return -ENOSPC;
	pst_io_drive_init(&d[i], id);
	name_drive(&d[i]);
	d[i].path = path;
	io->nr_drives++;
	return (int)i;
}

static struct pst_io_drive *drive_of(struct pst_io *io, uint32_t file)
{
	return &io->drives[io->files.v[file].drive];
}

void pst_io_copy_choose(struct pst_io *io, struct pst_io_read *r,
			uint64_t now_ns)
{
	const struct pst_io_source *s = &io->sources[r->file];
	struct pst_io_drive *cand[PST_IO_COPIES_MAX];
	uint32_t file[PST_IO_COPIES_MAX], nr = 0;

	for (uint32_t i = 0; i < s->nr; i++) {
		if (r->tried & 1U << i)
			continue;
		cand[nr] = drive_of(io, s->file[i]);
		file[nr++] = s->file[i];
	}
	r->src = file[pst_io_drive_pick(cand, nr, r->len_bytes, now_ns,
					io->seen_ns)];
}

static double expect_mib_ms(const struct pst_io_drive *d)
{
	return (d->latency_ns + (double)PST_MIB * d->ns_per_byte) * 1e-6;
}

static void judge_shares(struct pst_io *io)
{
	const struct pst_io_drive *best = NULL;
	uint64_t all = 0;

	for (uint32_t i = 0; i < io->nr_drives; i++) {
		struct pst_io_drive *d = &io->drives[i];

		all += d->window_bytes;
		if (d->window_bytes && !d->left_out &&
		    (!best || expect_mib_ms(d) < expect_mib_ms(best)))
			best = d;
	}
	for (uint32_t i = 0; best && i < io->nr_drives; i++) {
		struct pst_io_drive *d = &io->drives[i];
		double share = (double)d->window_bytes / (double)all;

		if (!d->reads || d->said_slow || d->left_out ||
		    share >= SMALL_SHARE ||
		    expect_mib_ms(d) < MUCH_SLOWER * expect_mib_ms(best))
			continue;
		d->said_slow = true;
		pst_log(io->setup.log, PST_LOG_WARN,
			"drive %s (%s) gets only %.1f %% of the reads: it is "
			"expected to take %.1f ms for 1 MiB, drive %s takes "
			"%.1f ms",
			d->name, d->path, share * 100, expect_mib_ms(d),
			best->name, expect_mib_ms(best));
	}
	for (uint32_t i = 0; i < io->nr_drives; i++)
		io->drives[i].window_bytes = 0;
	io->window_reads = 0;
}

void pst_io_copy_begin(struct pst_io *io, struct pst_io_read *r,
		       uint64_t now_ns)
{
	struct pst_io_drive *d = drive_of(io, r->src);
	struct pst_io_span s = pst_io_span_of(r, &io->files.v[r->src]);

	pst_io_drive_begin(d, s.len_bytes, now_ns);
	r->queued_bytes = d->inflight_bytes;
	r->issue_ns = now_ns;
	if (++io->window_reads >= WINDOW_READS)
		judge_shares(io);
}

void pst_io_copy_end(struct pst_io *io, struct pst_io_read *r)
{
	struct pst_io_drive *d = drive_of(io, r->src);
	struct pst_io_span s = pst_io_span_of(r, &io->files.v[r->src]);
	uint64_t took_ns = io->seen_ns - r->issue_ns;

	pst_io_drive_end(d, s.len_bytes, io->seen_ns);
	/* It ended somewhere in the time that nobody looked. */
	if (r->result < 0 || (uint32_t)r->result < s.len_bytes ||
	    io->blind_ns > took_ns / 4)
		return;
	pst_io_drive_learn(d, r->queued_bytes, took_ns - io->blind_ns / 2);
}

static uint32_t copy_index(const struct pst_io_source *s, uint32_t file)
{
	uint32_t i = 0;

	while (i < s->nr - 1 && s->file[i] != file)
		i++;
	return i;
}

static void say_failed(struct pst_io *io, const struct pst_io_read *r,
		       struct pst_io_drive *d)
{
	if (d->said_error)
		return;
	d->said_error = true;
	pst_log(io->setup.log, PST_LOG_WARN,
		"drive %s: %s: cannot read %u bytes at offset %llu (%s): taken "
		"from another copy",
		d->name, io->files.v[r->src].path, r->len_bytes,
		(unsigned long long)r->off_bytes, strerror(-r->result));
}

bool pst_io_copy_retry(struct pst_io *io, struct pst_io_read *r)
{
	const struct pst_io_source *s = &io->sources[r->file];
	struct pst_io_drive *d = drive_of(io, r->src);

	if (!io->nr_copies) {
		d->errors++;
		return false;
	}
	if (pst_io_drive_failed(d))
		pst_log(io->setup.log, PST_LOG_WARN,
			"drive %s (%s): %llu reads failed, the last with: %s; "
			"it is left out where there is another copy",
			d->name, d->path, (unsigned long long)d->errors,
			strerror(-r->result));
	r->tried |= 1U << copy_index(s, r->src);
	if (r->tried == (1U << s->nr) - 1)
		return false;
	say_failed(io, r, d);
	/* What the failed copy brought is not built upon. */
	r->result = 0;
	r->done_bytes = 0;
	r->stalls = 0;
	r->src = PST_IO_NO_FILE;
	io->stats.rerouted++;
	return true;
}

uint32_t pst_io_nr_drives(const struct pst_io *io)
{
	return io->nr_drives;
}

int pst_io_drive_stats(const struct pst_io *io, uint32_t i,
		       struct pst_io_drive_stats *out)
{
	const struct pst_io_drive *d;

	if (i >= io->nr_drives)
		return -EINVAL;
	d = &io->drives[i];
	*out = (struct pst_io_drive_stats){
		.name = d->name,
		.path = d->path,
		.reads = d->reads,
		.read_bytes = d->read_bytes,
		.errors = d->errors,
		.left_out = d->left_out,
	};
	if (!io->nr_copies)
		return 0;
	out->bytes_per_s = (uint64_t)(1e9 / d->ns_per_byte);
	out->latency_ns = (uint64_t)d->latency_ns;
	return 0;
}
