/* SPDX-License-Identifier: MIT */
/*
 * What the tests of io share: files whose bytes follow from their offsets, and
 * one way to open any backend over them.
 */
#ifndef PST_IO_TESTING_H
#define PST_IO_TESTING_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "io_priv.h"
#include "temp_dir.h"

#define BLOCK 4096U

/* A file on disk and the same in memory, for the loopback. */
struct tfile {
	char path[512];
	uint64_t size_bytes;
	unsigned char *data;
};

/* Everything a log sink was told. */
struct tlog {
	char text[4096];
	struct pst_log sink;
};

/* A way to read: backend, mode of a ring, and faults. */
struct tengine {
	const char *name;
	enum pst_io_kind kind;
	enum pst_io_mode mode;
	bool loopback;
	const char *fault;
};

/* An engine with one file added, index 0. */
struct tbed {
	struct pst_io *io;
	struct pst_io_loopfile file;
	struct pst_io_loopdisk disk;
};

extern const struct tengine tengines[];
extern const uint32_t nr_tengines;

/* $PENSTOCK_SEED or the clock; printed. */
uint64_t tseed(void);

void tfile_make(struct tfile *f, const char *dir, const char *name,
		uint64_t size_bytes);
void tfile_free(struct tfile *f);

/* What a test of one file begins with; first member of a larger state. */
struct tstate {
	char dir[TEMP_DIR_MAX];
	struct tfile file;
};

/* For cmocka: a state of @state_bytes, zeroed, with a file in a directory. */
int tstate_make(void **s, size_t state_bytes, uint64_t file_bytes);
int tstate_free(void **s);

/* Assert that @buf holds bytes off..off+len of the file. */
void tfile_check(const struct tfile *f, const void *buf, uint64_t off_bytes,
		 uint32_t len_bytes);

void tlog_init(struct tlog *l);

/* False when this machine has no io_uring; said on stdout. */
bool tbed_open(struct tbed *b, const struct tengine *e, const struct tfile *f,
	       uint32_t depth);
void tbed_close(struct tbed *b);

/* Aligned memory, filled with 0xee. */
void *tbuf_alloc(uint64_t size_bytes);

/* Submit one read of file 0 and wait for it; Return: its result. */
int tread(struct pst_io *io, void *buf, uint64_t off_bytes, uint32_t len_bytes,
	  uint32_t need_bytes);

#endif
