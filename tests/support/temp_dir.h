/* SPDX-License-Identifier: MIT */
/*
 * A directory that a test has for itself, and trees of small files in it that
 * stand for a machine.
 */
#ifndef PST_TEMP_DIR_H
#define PST_TEMP_DIR_H

/* Room for the name of such a directory. */
#define TEMP_DIR_MAX 256

/* Below $PENSTOCK_BUILD, else /var/tmp; @what becomes part of the name. */
void temp_dir_make(char dir[TEMP_DIR_MAX], const char *what);

/* With all that is in it. */
void temp_dir_remove(const char *dir);

/* @dir and @path one after the other into @full [1024]; directories on the way
 * are made.
 */
void temp_dir_path(const char *dir, const char *path, char *full);

/* Write a file in place: a reader may hold it open.  @path begins with /. */
void temp_dir_put(const char *dir, const char *path, const char *text);

#endif
