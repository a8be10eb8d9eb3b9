// SPDX-License-Identifier: MIT
/*
 * From a path to a drive, on machines made of directories and links.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "temp_dir.h"
#include "topo_priv.h"

#define NVME "/sys/devices/pci0/0000:01:00.0/nvme/nvme0/nvme0n1"
#define SDA  "/sys/devices/pci0/0000:02:00.0/host0/block/sda"
#define DM   "/sys/devices/virtual/block/dm-0"

struct state {
	char root[TEMP_DIR_MAX];
};

static void put(const struct state *st, const char *path, const char *text)
{
	temp_dir_put(st->root, path, text);
}

/* A link to a path below the root. */
static void put_link(const struct state *st, const char *path, const char *to)
{
	char full[1024], target[1024];

	temp_dir_path(st->root, path, full);
	snprintf(target, sizeof(target), "%s%s", st->root, to);
	assert_int_equal(symlink(target, full), 0);
}

static int setup(void **s)
{
	struct state *st = calloc(1, sizeof(*st));

	temp_dir_make(st->root, "topo");
	put(st, NVME "/queue/rotational", "0\n");
	put(st, NVME "/nvme0n1p2/partition", "2\n");
	put_link(st, NVME "/device",
		 "/sys/devices/pci0/0000:01:00.0/nvme/nvme0");
	put(st, "/sys/devices/pci0/0000:01:00.0/numa_node", "1\n");
	put_link(st, "/sys/dev/block/259:0", NVME);
	put_link(st, "/sys/dev/block/259:2", NVME "/nvme0n1p2");
	put(st, SDA "/queue/rotational", "1\n");
	put(st, SDA "/sda1/partition", "1\n");
	put_link(st, "/sys/dev/block/8:1", SDA "/sda1");
	put(st, DM "/queue/rotational", "0\n");
	put_link(st, "/sys/dev/block/253:0", DM);
	put_link(st, DM "/slaves/nvme0n1p2", NVME "/nvme0n1p2");
	put_link(st, "/sys/class/block/nvme0n1", NVME);
	put_link(st, "/sys/class/block/sda", SDA);
	*s = st;
	return 0;
}

static int teardown(void **s)
{
	struct state *st = *s;

	temp_dir_remove(st->root);
	free(st);
	return 0;
}

static struct pst_drive drive_of(const struct state *st, unsigned int maj,
				 unsigned int min)
{
	struct pst_drive d = { .numa_node = -7, .rotational = -7 };

	assert_true(pst_drive_of_device(st->root, maj, min, &d));
	return d;
}

static void a_partition_leads_to_its_disk(void **s)
{
	struct pst_drive d = drive_of(*s, 259, 2);

	assert_string_equal(d.name, "nvme0n1");
	assert_int_equal(d.rotational, 0);
	assert_int_equal(d.numa_node, 1);
	assert_string_equal(drive_of(*s, 259, 0).name, "nvme0n1");
}

static void a_spinning_disk_is_said_to_spin(void **s)
{
	struct pst_drive d = drive_of(*s, 8, 1);

	assert_string_equal(d.name, "sda");
	assert_int_equal(d.rotational, 1);
	assert_int_equal(d.numa_node, -1);
}

static void a_mapped_device_leads_to_the_one_below(void **s)
{
	struct pst_drive d = drive_of(*s, 253, 0);

	assert_string_equal(d.name, "nvme0n1");
	assert_int_equal(d.numa_node, 1);
}

static void a_device_over_several_stays_itself(void **s)
{
	struct pst_drive d;

	put_link(*s, DM "/slaves/sda1", SDA "/sda1");
	d = drive_of(*s, 253, 0);
	assert_string_equal(d.name, "dm-0");
	assert_int_equal(d.rotational, 0);
	assert_int_equal(d.numa_node, -1);
}

static void an_unknown_device_is_no_drive(void **s)
{
	struct state *st = *s;
	struct pst_drive d = { .name = "kept" };

	assert_false(pst_drive_of_device(st->root, 1, 2, &d));
	assert_string_equal(d.name, "kept");
}

static void an_nvme_drive_is_described(void **s)
{
	static const char pci[] = "/sys/devices/pci0/0000:01:00.0";
	struct pst_drive_info i;
	struct state *st = *s;
	char path[256];

	snprintf(path, sizeof(path), "%s/nvme/nvme0/model", pci);
	put(st, path, "ACME 990 PRO 2TB                        \n");
	snprintf(path, sizeof(path), "%s/nvme/nvme0/serial", pci);
	put(st, path, "  S6Z1234 \n");
	snprintf(path, sizeof(path), "%s/current_link_speed", pci);
	put(st, path, "16.0 GT/s PCIe\n");
	snprintf(path, sizeof(path), "%s/current_link_width", pci);
	put(st, path, "2\n");
	snprintf(path, sizeof(path), "%s/max_link_width", pci);
	put(st, path, "4\n");
	put(st, NVME "/queue/scheduler", "[none] mq-deadline kyber\n");
	put(st, NVME "/queue/max_sectors_kb", "128\n");
	put(st, NVME "/queue/max_hw_sectors_kb", "2048\n");
	pst_drive_info_at(st->root, "nvme0n1", &i);
	assert_string_equal(i.model, "ACME 990 PRO 2TB");
	assert_string_equal(i.serial, "S6Z1234");
	assert_string_equal(i.scheduler, "none");
	assert_int_equal(i.read_max_bytes, 128 * 1024);
	assert_int_equal(i.read_hw_bytes, 2048 * 1024);
	assert_string_equal(i.link_speed, "16.0 GT/s PCIe");
	assert_string_equal(i.link_width, "2");
	assert_string_equal(i.link_max_speed, "");
	assert_string_equal(i.link_max_width, "4");
}

static void other_names_of_a_device_serve_as_its_serial(void **s)
{
	struct pst_drive_info i;

	put(*s, SDA "/wwid", "naa.5002538e40b1c2d3\n");
	pst_drive_info_at(((struct state *)*s)->root, "sda", &i);
	assert_string_equal(i.serial, "naa.5002538e40b1c2d3");
	put(*s, SDA "/serial", "virtio-7\n");
	pst_drive_info_at(((struct state *)*s)->root, "sda", &i);
	assert_string_equal(i.serial, "virtio-7");
	assert_string_equal(i.link_speed, "");
}

static void of_an_unknown_device_nothing_is_known(void **s)
{
	static const char *const names[] = { "", "sdz", "../sda", "a/b" };
	struct pst_drive_info none = { 0 }, i;

	for (size_t n = 0; n < PST_ARRAY_SIZE(names); n++) {
		memset(&i, 0x5a, sizeof(i));
		pst_drive_info_at(((struct state *)*s)->root, names[n], &i);
		assert_memory_equal(&i, &none, sizeof(i));
	}
}

static void mounts_are_found_by_their_id(void **s)
{
	static const char text[] =
		"27 1 254:0 / / rw shared:1 master:2 - ext4 /dev/vda rw\n"
		"127 1 0:44 /sub /mnt rw - btrfs /dev/nvme0n1p2 rw\n"
		"12 1 0:45 / /x rw\n"
		"30 1 0:5 / /y rw - fuse.a-very-long-name-of-a-thing src rw";
	char type[24] = "kept", source[4096] = "kept";

	assert_true(pst_drive_find_mount(text, 27, type, source));
	assert_string_equal(type, "ext4");
	assert_string_equal(source, "/dev/vda");
	assert_true(pst_drive_find_mount(text, 127, type, source));
	assert_string_equal(type, "btrfs");
	assert_string_equal(source, "/dev/nvme0n1p2");
	assert_false(pst_drive_find_mount(text, 7, type, source));
	/* The separator of the next line is not its own. */
	assert_false(pst_drive_find_mount(text, 12, type, source));
	assert_string_equal(type, "btrfs");
	pst_drive_find_mount(text, 30, type, source);
	assert_true(strlen(type) < sizeof(type));
	assert_false(pst_drive_find_mount("", 0, type, source));
}

static void this_machine_can_be_read(void **s)
{
	struct pst_drive d;

	assert_int_equal(pst_drive_of_path("/no/such/path", &d), -ENOENT);
	assert_int_equal(pst_drive_of_path("/proc/self/status", &d), 0);
	assert_string_equal(d.fs_type, "proc");
	assert_string_equal(d.name, "");
	assert_int_equal(d.rotational, -1);
	assert_int_equal(pst_drive_of_path("/", &d), 0);
	assert_true(*d.fs_type);
	print_message("/: %s on %s, node %d, rotational %d\n", d.fs_type,
		      d.name, d.numa_node, d.rotational);
}

#define WITH_ROOT(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_ROOT(a_partition_leads_to_its_disk),
		WITH_ROOT(a_spinning_disk_is_said_to_spin),
		WITH_ROOT(a_mapped_device_leads_to_the_one_below),
		WITH_ROOT(a_device_over_several_stays_itself),
		WITH_ROOT(an_unknown_device_is_no_drive),
		WITH_ROOT(an_nvme_drive_is_described),
		WITH_ROOT(other_names_of_a_device_serve_as_its_serial),
		WITH_ROOT(of_an_unknown_device_nothing_is_known),
		cmocka_unit_test(mounts_are_found_by_their_id),
		cmocka_unit_test(this_machine_can_be_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
