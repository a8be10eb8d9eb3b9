/* SPDX-License-Identifier: MIT */
/*
 * state: small files that outlive a run: what was measured of a drive, which
 * experts were in the cache.  They make the next run better and are never
 * needed: whoever cannot read or write one says so and goes on.
 *
 * This file knows of names and bytes, not of what they mean.  What it reads is
 * untrusted.
 */
#ifndef PST_STATE_H
#define PST_STATE_H

#include "base.h"

/* Of a path of the state directory, NUL included. */
#define PST_STATE_DIR_MAX 1024
/* Of a file name in it, NUL included. */
#define PST_STATE_NAME_MAX 128

/**
 * struct pst_state_env - what the environment says; members may be NULL
 * @override: the directory itself ($PENSTOCK_STATE)
 * @xdg_state_home: $XDG_STATE_HOME
 * @home: $HOME
 */
struct pst_state_env {
	const char *override;
	const char *xdg_state_home;
	const char *home;
};

/**
 * pst_state_dir() - where the state of this user belongs
 * @out: [PST_STATE_DIR_MAX] the override; else $XDG_STATE_HOME/penstock; else
 *	$HOME/.local/state/penstock; else /var/lib/penstock.  Empty and relative
 *	values of the last two variables count as not set, as the XDG
 *	specification wants it.
 *
 * Return: 0, -ENAMETOOLONG.
 */
int pst_state_dir(const struct pst_state_env *env, char *out);

/**
 * pst_state_name() - a file name for the state of one object
 * @kind: what it is, letters: "drive", "cache"
 * @key: which one, any text; different keys give different names
 * @out: [PST_STATE_NAME_MAX]
 *
 * The name is the kind, the legible part of the key, and a hash of all of it.
 */
void pst_state_name(const char *kind, const char *key, char *out);

/**
 * pst_state_write() - replace a file as a whole, or leave it as it was
 * @dir: made, with its parents and for this user only, when it is missing
 * @name: from pst_state_name()
 * @data: [size_bytes]
 * @diag: the directory or file and why, may be NULL
 *
 * The bytes are on the drive before the name points to them.  Blocks.
 *
 * Return: 0; -EACCES, -EPERM, -EROFS; -ENOSPC, -EDQUOT, -EFBIG (the caller
 * ignores SIGXFSZ); -EINVAL for a name with a slash; -errno.
 */
int pst_state_write(const char *dir, const char *name, const void *data,
		    uint64_t size_bytes, struct pst_diag *diag);

/**
 * pst_state_read() - a whole file
 * @max_bytes: more than this is refused
 * @out: [size], then a NUL byte that does not count; the caller's, free()
 * @diag: may be NULL
 *
 * Return: 0; -ENOENT when there is none, without a text; -EFBIG; -EBADMSG when
 * it is no regular file; -ENOMEM; -errno.
 */
int pst_state_read(const char *dir, const char *name, uint64_t max_bytes,
		   char **out, uint64_t *size_bytes, struct pst_diag *diag);

#endif
