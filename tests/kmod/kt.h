/* SPDX-License-Identifier: MIT */
/*
 * What the guest's tests share: a table of tests that each run in a process of
 * their own, checks that end it, and short forms of the module's calls.
 */
#ifndef KT_H
#define KT_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <linux/penstock.h>

#include "kt_importer.h"

#define KT_SKIP	 77
#define KT_MIB	 (1UL << 20)
#define KT_CHUNK (2 * KT_MIB)
#define KT_ORDER 9

/*
 * The emulated drives by their serial numbers, because they come up in any
 * order; the slow one is throttled to 2 MiB/s.
 */
#define KT_DRIVE      "fast"
#define KT_SLOW_DRIVE "slow"

struct kt_test {
	const char *name; /* "area: what holds" */
	void (*run)(void);
};

/* One list per file, ended by an empty element. */
extern const struct kt_test kt_place_tests[];
extern const struct kt_test kt_call_tests[];
extern const struct kt_test kt_io_tests[];
extern const struct kt_test kt_export_tests[];
extern const struct kt_test kt_life_tests[];
extern const struct kt_test kt_lease_tests[];
extern const struct kt_test kt_limit_tests[];
extern const struct kt_test kt_fuzz_tests[];
extern const struct kt_test kt_fault_tests[];

/* Ends the test when a condition does not hold. */
#define KT_CHECK(cond)                                      \
	do {                                                \
		if (!(cond))                                \
			kt_fail(__FILE__, __LINE__, #cond); \
	} while (0)
/* The same for two numbers, which are shown. */
#define KT_EQUAL(got, want) \
	kt_equal(__FILE__, __LINE__, #got, (long long)(got), (long long)(want))

void kt_fail(const char *file, int line, const char *what)
	__attribute__((noreturn));
void kt_equal(const char *file, int line, const char *what, long long got,
	      long long want);
void kt_skip(const char *why) __attribute__((noreturn));
void kt_note(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The module's calls: a result or -errno. */
int kt_call(int fd, unsigned long cmd, void *args);
int kt_device(void);
struct penstock_info kt_info(void);
struct penstock_stat kt_stat(int pool);
int kt_create(struct penstock_create *args);
int kt_pool(uint64_t bytes); /* anonymous, order 9; ends the test on failure */
int kt_named(const char *name, uint64_t bytes);
int kt_open(const char *name, uint32_t flags, uint64_t timeout_ms,
	    struct penstock_open *out); /* out may be NULL */
int kt_unlink(const char *name);
void kt_unlink_all(void); /* of all users, by the list in debugfs */
int kt_export(int pool, uint64_t off_bytes, uint64_t bytes, uint32_t flags);
int kt_wait_idle(int pool, uint64_t off_bytes, uint64_t bytes,
		 uint64_t timeout_ms);
int kt_import(int importer, int dmabuf, struct kt_import *args);
int kt_importer(void);

void *kt_map(int fd, uint64_t off_bytes, uint64_t bytes);
void *kt_map_read(int fd, uint64_t off_bytes, uint64_t bytes);
void kt_unmap(void *at, uint64_t bytes);

/* Contents: the drives hold kt_word(i) in their 8-byte word i. */
uint64_t kt_word(uint64_t i);
bool kt_is_drive_data(const void *at, uint64_t off_bytes, uint64_t bytes);
bool kt_is_zero(const void *at, uint64_t bytes);
uint64_t kt_byte_sum(const void *at, uint64_t bytes);
int kt_drive(const char *serial); /* O_DIRECT; skips where there is none */
long kt_drive_reads(const char *serial); /* commands so far */

/* Runs a function in a child; -1 when a signal ended it, else its status. */
int kt_in_child(void (*run)(void *), void *arg);
bool kt_dies_of(int sig, void (*run)(void *), void *arg);
void kt_become(unsigned int uid);
void kt_sleep_ms(unsigned int ms);
uint64_t kt_now_ns(void);
int kt_write_file(const char *path, const char *text); /* 0 or -errno */
long kt_read_number(const char *path); /* or -errno */
bool kt_is_61(void); /* io_uring refuses device mappings there */
uint64_t kt_seed(void);
uint64_t kt_random(uint64_t *state);

#endif /* KT_H */
