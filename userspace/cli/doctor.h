/* SPDX-License-Identifier: MIT */
/*
 * Private to the doctor: what a check finds, and the checks.
 */
#ifndef PST_DOCTOR_H
#define PST_DOCTOR_H

#include "base.h"

enum doctor_status {
	DOCTOR_OK,
	DOCTOR_WARN, /* works, slower or with less memory */
	DOCTOR_FAIL /* penstock cannot run a model here */
};

/**
 * struct doctor_finding - one line of the report
 * @text: what is there
 * @mend: what would change it, empty when nothing needs to
 */
struct doctor_finding {
	enum doctor_status status;
	char text[768];
	char mend[256];
};

/** doctor_say() - what is there, and how good that is */
void doctor_say(struct doctor_finding *f, enum doctor_status status,
		const char *fmt, ...) PST_PRINTF(3, 4);

/** doctor_mend() - what would change it */
void doctor_mend(struct doctor_finding *f, const char *fmt, ...)
	PST_PRINTF(2, 3);

/* Checks: @path is what the person gave, a file or a folder that exists. */
void doctor_model(const char *path, struct doctor_finding *f);
void doctor_kernel(const char *path, struct doctor_finding *f);
void doctor_cpu(const char *path, struct doctor_finding *f);
void doctor_numa(const char *path, struct doctor_finding *f);
void doctor_memory(const char *path, struct doctor_finding *f);
void doctor_swap(const char *path, struct doctor_finding *f);
void doctor_huge(const char *path, struct doctor_finding *f);
void doctor_memlock(const char *path, struct doctor_finding *f);
void doctor_anon(const char *path, struct doctor_finding *f);
void doctor_udmabuf(const char *path, struct doctor_finding *f);
void doctor_module(const char *path, struct doctor_finding *f);
void doctor_gpu(const char *path, struct doctor_finding *f);
void doctor_uring(const char *path, struct doctor_finding *f);
void doctor_direct(const char *path, struct doctor_finding *f);
void doctor_drive(const char *path, struct doctor_finding *f);
void doctor_link(const char *path, struct doctor_finding *f);
void doctor_drives(const char *path, struct doctor_finding *f);
void doctor_queue(const char *path, struct doctor_finding *f);
void doctor_profile(const char *path, struct doctor_finding *f);
void doctor_io_mode(const char *path, struct doctor_finding *f);
void doctor_cgroup(const char *path, struct doctor_finding *f);
void doctor_pressure(const char *path, struct doctor_finding *f);

/** doctor_uring_register() - does a ring take 64 KiB there as its buffer? */
bool doctor_uring_register(void *buf);

/** doctor_read_line() - first line of a small file; false when there is none */
bool doctor_read_line(const char *path, char *out, int size);

#endif
