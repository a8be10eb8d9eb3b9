// SPDX-License-Identifier: MIT
/*
 * Limits: memory cgroup, RLIMIT_MEMLOCK, quota, ceilings; and users who must
 * not see each other's pools.
 */
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kt.h"

#define PARAM  "/sys/module/penstock/parameters/"
#define CGROUP "/sys/fs/cgroup/kt"

static void set_param(const char *name, const char *value)
{
	char path[128];

	snprintf(path, sizeof(path), PARAM "%s", name);
	KT_EQUAL(kt_write_file(path, value), 0);
}

/* For users without rights: the device as a udev rule would make it. */
static void open_to_all(void)
{
	KT_EQUAL(chmod(PENSTOCK_DEVICE, 0666), 0);
}

static void enter_cgroup(const char *limit)
{
	mkdir(CGROUP, 0755);
	kt_write_file("/sys/fs/cgroup/cgroup.subtree_control", "+memory");
	if (kt_write_file(CGROUP "/memory.max", limit))
		kt_skip("no memory cgroup");
	KT_EQUAL(kt_write_file(CGROUP "/cgroup.procs", "0"), 0);
}

static void cgroup_child(void *arg)
{
	struct penstock_create args = { .bytes = 64 * KT_MIB,
					.order = KT_ORDER,
					.min_order = KT_ORDER };
	long before, after;
	int pool;

	(void)arg;
	enter_cgroup("33554432");
	KT_EQUAL(kt_create(&args), -ENOMEM);
	KT_CHECK(args.got_bytes_by_order[KT_ORDER] < 32 * KT_MIB);
	before = kt_read_number(CGROUP "/memory.current");
	args.bytes = 16 * KT_MIB;
	pool = kt_create(&args);
	KT_CHECK(pool >= 0);
	after = kt_read_number(CGROUP "/memory.current");
	KT_CHECK(after - before >= (long)(16 * KT_MIB));
	close(pool);
	KT_EQUAL(kt_info().used_bytes, 0);
	/* Charges of a few pages may stay in per-CPU stocks. */
	KT_CHECK(kt_read_number(CGROUP "/memory.current") - before <
		 (long)KT_MIB);
}

static void the_memory_cgroup_says_no_without_killing(void)
{
	int rc = kt_in_child(cgroup_child, NULL);

	kt_sleep_ms(50);
	rmdir(CGROUP);
	if (rc == KT_SKIP)
		_exit(KT_SKIP);
	KT_EQUAL(rc, 0);
}

static void memlock_child(void *arg)
{
	struct rlimit limit = { 8 * KT_MIB, 8 * KT_MIB };
	struct penstock_create args = { .bytes = 8 * KT_MIB,
					.order = KT_ORDER,
					.min_order = KT_ORDER };
	int pool, dmabuf;

	(void)arg;
	KT_EQUAL(setrlimit(RLIMIT_MEMLOCK, &limit), 0);
	kt_become(1000);
	pool = kt_create(&args);
	KT_CHECK(pool >= 0);
	args.bytes = KT_CHUNK;
	KT_EQUAL(kt_create(&args), -EAGAIN);
	/* Closed, but not gone: a dma-buf still has it. */
	dmabuf = kt_export(pool, 0, 8 * KT_MIB, 0);
	close(pool);
	KT_EQUAL(kt_create(&args), -EAGAIN);
	close(dmabuf);
	pool = kt_create(&args);
	KT_CHECK(pool >= 0);
}

static void memlock_limits_anonymous_pools(void)
{
	open_to_all();
	KT_EQUAL(kt_in_child(memlock_child, NULL), 0);
}

static void quota_child(void *arg)
{
	uint64_t quota_bytes = *(uint64_t *)arg;
	struct penstock_info info;

	kt_become(1000);
	info = kt_info();
	KT_EQUAL(info.quota_bytes, quota_bytes);
	if (!quota_bytes) {
		KT_EQUAL(kt_named("q", KT_CHUNK), -EDQUOT);
		return;
	}
	KT_EQUAL(kt_named("q", quota_bytes + KT_CHUNK), -EDQUOT);
	KT_CHECK(kt_named("q", quota_bytes) >= 0);
	KT_EQUAL(kt_named("q2", KT_CHUNK), -EDQUOT);
	info = kt_info();
	KT_EQUAL(info.named_bytes, quota_bytes);
	KT_EQUAL(kt_unlink("q"), 0);
	/* The file still holds it. */
	KT_EQUAL(kt_named("q2", KT_CHUNK), -EDQUOT);
}

static void named_pools_of_users_are_off_until_allowed(void)
{
	uint64_t quota_bytes = 0;

	open_to_all();
	KT_EQUAL(kt_in_child(quota_child, &quota_bytes), 0);
	set_param("uid_quota_mb", "16");
	quota_bytes = 16 * KT_MIB;
	KT_EQUAL(kt_in_child(quota_child, &quota_bytes), 0);
	set_param("uid_quota_mb", "0");
	KT_EQUAL(kt_info().total_bytes, 0);
}

static void the_ceiling_holds_for_root_too(void)
{
	struct penstock_create args = { .bytes = 64 * KT_MIB,
					.order = KT_ORDER,
					.min_order = KT_ORDER };
	int pool;

	KT_CHECK(kt_info().ceiling_bytes > 512 * KT_MIB);
	set_param("ceiling_mb", "32");
	KT_EQUAL(kt_info().ceiling_bytes, 32 * KT_MIB);
	KT_EQUAL(kt_create(&args), -EDQUOT);
	args.bytes = 32 * KT_MIB;
	pool = kt_create(&args);
	KT_CHECK(pool >= 0);
	args.bytes = KT_CHUNK;
	KT_EQUAL(kt_create(&args), -EDQUOT);
	set_param("ceiling_mb", "0");
	close(pool);
}

static void a_node_is_never_given_away_whole(void)
{
	struct penstock_create args = { .flags = PENSTOCK_C_STRICT_NODES,
					.bytes = 128 * KT_MIB,
					.order = KT_ORDER,
					.min_order = KT_ORDER,
					.nodes = 1 };
	int pool;

	set_param("node_percent", "5");
	KT_EQUAL(kt_create(&args), -ENOMEM);
	args.bytes = 32 * KT_MIB;
	pool = kt_create(&args);
	KT_CHECK(pool >= 0);
	set_param("node_percent", "80");
}

static void stranger(void *arg)
{
	struct penstock_open open = { .size = sizeof(open),
				      .flags = PENSTOCK_O_UID,
				      .name = "secret" };
	int pool;

	(void)arg;
	kt_become(1001);
	KT_EQUAL(kt_open("secret", PENSTOCK_O_OWNER, 0, NULL), -ENOENT);
	KT_EQUAL(kt_open("secret", 0, 0, NULL), -ENOENT);
	KT_EQUAL(kt_unlink("secret"), -ENOENT);
	KT_EQUAL(kt_call(kt_device(), PENSTOCK_OPEN, &open), -EPERM);
	KT_EQUAL(kt_info().used_bytes, 0);
	/* The same name is free for another user. */
	pool = kt_named("secret", KT_CHUNK);
	KT_CHECK(pool >= 0);
	KT_EQUAL(kt_unlink("secret"), 0);
}

static void names_of_one_user_are_invisible_to_another(void)
{
	int pool = kt_named("secret", KT_CHUNK);

	KT_CHECK(pool >= 0);
	open_to_all();
	set_param("uid_quota_mb", "64");
	KT_EQUAL(kt_in_child(stranger, NULL), 0);
	set_param("uid_quota_mb", "0");
	KT_EQUAL(kt_unlink("secret"), 0);
}

static void user_1000(void *arg)
{
	(void)arg;
	kt_become(1000);
	KT_CHECK(kt_named("mine", KT_CHUNK) >= 0);
}

static void root_opens_and_unlinks_for_others(void)
{
	struct penstock_open open = { .size = sizeof(open),
				      .flags = PENSTOCK_O_UID |
					       PENSTOCK_O_OWNER,
				      .uid = 1000,
				      .name = "mine" };
	struct penstock_unlink unlink = { .size = sizeof(unlink),
					  .flags = PENSTOCK_U_UID,
					  .uid = 1000,
					  .name = "mine" };
	int device = kt_device();

	open_to_all();
	set_param("uid_quota_mb", "64");
	KT_EQUAL(kt_in_child(user_1000, NULL), 0);
	set_param("uid_quota_mb", "0");
	KT_EQUAL(kt_open("mine", PENSTOCK_O_OWNER, 0, NULL), -ENOENT);
	KT_EQUAL(kt_call(device, PENSTOCK_OPEN, &open), 0);
	KT_EQUAL(kt_stat(open.fd).uid, 1000);
	KT_EQUAL(kt_call(device, PENSTOCK_UNLINK, &unlink), 0);
}

static void in_user_namespace(void *arg)
{
	struct penstock_open open = { .size = sizeof(open),
				      .flags = PENSTOCK_O_UID,
				      .uid = 0,
				      .name = "host" };

	(void)arg;
	kt_become(1000);
	if (unshare(CLONE_NEWUSER))
		kt_skip("no user namespaces");
	/* A process that has changed its user does not own its /proc files. */
	KT_EQUAL(prctl(PR_SET_DUMPABLE, 1), 0);
	kt_write_file("/proc/self/setgroups", "deny");
	KT_EQUAL(kt_write_file("/proc/self/uid_map", "0 1000 1"), 0);
	/* Root in there is nobody here. */
	KT_EQUAL(kt_open("host", PENSTOCK_O_OWNER, 0, NULL), -ENOENT);
	KT_EQUAL(kt_call(kt_device(), PENSTOCK_OPEN, &open), -ENOENT);
	KT_EQUAL(kt_info().quota_bytes, 0);
}

static void a_user_namespace_gives_no_rights(void)
{
	int pool = kt_named("host", KT_CHUNK);
	int rc;

	KT_CHECK(pool >= 0);
	open_to_all();
	rc = kt_in_child(in_user_namespace, NULL);
	KT_EQUAL(kt_unlink("host"), 0);
	if (rc == KT_SKIP)
		_exit(KT_SKIP);
	KT_EQUAL(rc, 0);
}

static void at_most_1024_pools(void)
{
	struct penstock_create args = { .bytes = 4096 };
	struct rlimit files = { 4096, 4096 };
	int i;

	KT_EQUAL(setrlimit(RLIMIT_NOFILE, &files), 0);
	for (i = 0; i < 1024; i++)
		KT_CHECK(kt_create(&args) >= 0);
	KT_EQUAL(kt_create(&args), -EDQUOT);
}

const struct kt_test kt_limit_tests[] = {
	{ "limit: the memory cgroup says no without killing",
	  the_memory_cgroup_says_no_without_killing },
	{ "limit: RLIMIT_MEMLOCK limits anonymous pools",
	  memlock_limits_anonymous_pools },
	{ "limit: named pools of users are off until allowed",
	  named_pools_of_users_are_off_until_allowed },
	{ "limit: the ceiling holds for root too",
	  the_ceiling_holds_for_root_too },
	{ "limit: a node is never given away whole",
	  a_node_is_never_given_away_whole },
	{ "limit: names of one user are invisible to another",
	  names_of_one_user_are_invisible_to_another },
	{ "limit: root opens and unlinks for others",
	  root_opens_and_unlinks_for_others },
	{ "limit: a user namespace gives no rights",
	  a_user_namespace_gives_no_rights },
	{ "limit: at most 1024 pools per user", at_most_1024_pools },
	{}
};
