#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Copies of a model on several drives: the same bytes come out whichever copy
is read, whatever fails, and what is no copy is refused."""
import contextlib
import json
import os
import random
import re
import shutil
import subprocess
import tempfile
import time

import pst_e2e as e2e

SEED = int(os.environ.get("PENSTOCK_SEED", "20261121"))
print("# PENSTOCK_SEED=%d" % SEED)
RNG = random.Random(SEED)
SINGLE = os.path.join(e2e.DATA, "logits", "llama-mixtral")
SPLIT = os.path.join(e2e.DATA, "logits", "qwen3moe-split")
PARTS = ["model-%05d-of-00003.gguf" % i for i in (1, 2, 3)]
# A small cache, so that experts are read all the time.
FEW = ("--expert-cache", "9experts", "--batch-size", "4")
MIB = 1 << 20


def tokens(folder):
    return os.path.join(folder, "tokens.json")


def attempt(folder, *options, **kw):
    """Logits with their exit status and words, whatever they are."""
    model = os.path.join(folder, "model.gguf")
    if not os.path.exists(model):
        model = os.path.join(folder, PARTS[0])
    with tempfile.NamedTemporaryFile() as out:
        p = e2e.run("logits", model, "--tokens-file", tokens(folder), "--out",
                    out.name, *FEW, *options, **kw)
        with open(out.name, "rb") as f:
            return p.returncode, f.read(), p.stderr.decode(errors="replace")


def words_only(err):
    return [x for x in err.splitlines() if ": warning: " not in x]


def same_as(tap, want, name, folder, *options, says="", **kw):
    rc, got, err = attempt(folder, *options, **kw)
    tap.check(rc == 0 and got == want and re.search(says, err), name,
              "exit %d, %s: %s" % (rc, "same bytes" if got == want else
                                   "other bytes", err.strip()))
    return err


def refused(tap, name, status, pattern, folder, *options):
    rc, _, err = attempt(folder, *options)
    lines = words_only(err)
    tap.check(rc == status and len(lines) == 1 and
              re.search(pattern, lines[0]), name,
              "exit %d: %s" % (rc, err.strip()))


def flip(path, at):
    with open(path, "r+b") as f:
        f.seek(at)
        byte = f.read(1)[0]
        f.seek(at)
        f.write(bytes([byte ^ 1 << RNG.randrange(8)]))


def data_start(path):
    """Where the weights begin."""
    p = e2e.run("show", path, "--tensors", "-o", "json")
    tensors = json.loads(p.stdout)["tensors"]
    return min(t["offset_bytes"] for t in tensors)


def test_same_bytes(tap, tmp, want):
    model = os.path.join(SINGLE, "model.gguf")
    other = os.path.join(tmp, "other-name.gguf")
    shutil.copy(model, other)
    folder = os.path.join(tmp, "single")
    os.mkdir(folder)
    shutil.copy(model, folder)
    same_as(tap, want[SINGLE], "a file of another name", SINGLE, "--mirror",
            other)
    for io in ("uring", "pread", "mmap"):
        same_as(tap, want[SINGLE], "a folder, --io " + io, SINGLE, "--mirror",
                folder, "--io", io, says="not read" if io == "mmap" else "")
    same_as(tap, want[SINGLE], "two mirrors and the model itself", SINGLE,
            "--mirror", other, "--mirror", folder, "--mirror", model,
            says="same drive")
    same_as(tap, want[SINGLE], "a mirror, all experts in memory", SINGLE,
            "--mirror", other, "--resident")
    parts = os.path.join(tmp, "parts")
    os.mkdir(parts)
    for name in PARTS:
        shutil.copy(os.path.join(SPLIT, name), parts)
        shutil.copy(os.path.join(SPLIT, name),
                    os.path.join(tmp, name.replace("model", "copy")))
    same_as(tap, want[SPLIT], "a folder of parts", SPLIT, "--mirror", parts)
    same_as(tap, want[SPLIT], "a first part of another name", SPLIT,
            "--mirror", os.path.join(tmp, "copy-00001-of-00003.gguf"))
    some = os.path.join(tmp, "some")
    os.mkdir(some)
    for name in PARTS[1:]:
        shutil.copy(os.path.join(SPLIT, name), some)
    for fault in ("eio_after=20,copy=1", "copy=1,eio=1", "shuffle=1"):
        same_as(tap, want[SPLIT], "a folder of some parts, " + fault, SPLIT,
                "--mirror", some, "--io-fault", fault,
                says="some mirrors 2 of the model's 3 files")
    return other, parts


def test_failing_copy(tap, want, mirrors):
    """A drive that dies, at once or in mid-run, is left out and said once."""
    for folder, mirror in zip((SINGLE, SPLIT), mirrors):
        for copy in (0, 1):
            for fault in ("eio=1", "eio_after=20", "eio=0.1",
                          "short=0.3,eagain=0.2,shuffle=1", "eagain=1",
                          "delay_us=2000,shuffle=1"):
                spec = "seed=%d,copy=%d,%s" % (RNG.randrange(1 << 30), copy,
                                               fault)
                for io in ("uring", "pread"):
                    err = same_as(tap, want[folder], "%s, --io %s" % (
                        spec, io), folder, "--mirror", mirror, "--io", io,
                        "--io-fault", spec)
                    tap.check(err.count("left out") <= 1, "said once", err)
    # The second copy lies on the same drive: it is read when the first fails.
    for at in (0, 20):
        same_as(tap, want[SINGLE], "the first copy dies after %d reads" % at,
                SINGLE, "--mirror", mirrors[0], "--io-fault",
                "copy=0,eio_after=%d" % at, says="(?s)another copy.*left out")
    refused(tap, "both copies dead", 74, r"cannot read .*\(at byte \d+\)$",
            SINGLE, "--mirror", mirrors[0], "--io-fault", "eio=1")


def test_wrong_mirrors(tap, tmp, mirror, parts):
    bad = os.path.join(tmp, "bad.gguf")
    size = os.path.getsize(mirror)
    start = data_start(mirror)
    # Of a small model every byte is compared, of a large one samples.
    for at in [0, 5, start - 1, start, size - 1] + [RNG.randrange(size)
                                                    for _ in range(20)]:
        shutil.copy(mirror, bad)
        flip(bad, at)
        refused(tap, "byte %d differs" % at, 65,
                r"bad\.gguf: no mirror of .*differ.*\(at byte %d\)$" % at,
                SINGLE, "--mirror", bad)
    for length in (0, 100, start, size - 1, size + 1):
        shutil.copy(mirror, bad)
        os.truncate(bad, length)
        refused(tap, "%d bytes" % length, 65,
                r"bad\.gguf: no mirror of .*%d bytes, not %d" % (length, size),
                SINGLE, "--mirror", bad)
    os.remove(bad)
    refused(tap, "a missing file", 66, r"bad\.gguf: .*No such file", SINGLE,
            "--mirror", bad)
    empty = os.path.join(tmp, "empty")
    os.mkdir(empty)
    refused(tap, "a folder without it", 66,
            r"empty/model\.gguf: .*No such file", SINGLE, "--mirror", empty)
    fifo = os.path.join(tmp, "fifo")
    os.mkfifo(fifo)
    refused(tap, "a fifo does not block", 65, r"regular file", SINGLE,
            "--mirror", fifo)
    refused(tap, "a later part", 65, r"00002-of-00003\.gguf: .*first part",
            SPLIT, "--mirror", os.path.join(parts, PARTS[1]))
    refused(tap, "no name of a part", 65, r"first part", SPLIT, "--mirror",
            mirror)
    flip(os.path.join(parts, PARTS[2]), 150000)
    refused(tap, "the last part differs", 65,
            r"00003-of-00003\.gguf: no mirror.*\(at byte 150000\)$", SPLIT,
            "--mirror", parts)
    os.remove(os.path.join(parts, PARTS[1]))
    refused(tap, "a part beside the first is missing", 66,
            r"00002-of-00003\.gguf: .*No such",
            SPLIT, "--mirror", os.path.join(parts, PARTS[0]))
    refused(tap, "a folder without any part", 66,
            r"00001-of-00003\.gguf: .*No such", SPLIT, "--mirror", tmp)
    refused(tap, "eight mirrors", 2, r"more than 7 mirrors", SINGLE,
            *(["--mirror", mirror] * 8))


def run_json(model, *options, **kw):
    p = e2e.run("run", model, "--raw", "some words to begin with", "-n", "24",
                "--temp", "0", "-o", "json", *FEW, *options, **kw)
    if p.returncode:
        raise RuntimeError(p.stderr.decode(errors="replace"))
    return json.loads(p.stdout), p.stderr.decode(errors="replace")


def test_stats(tap, mirror):
    model = os.path.join(SINGLE, "model.gguf")
    alone = run_json(model)[0]["stats"]["drives"]
    tap.check(len(alone) == 1 and alone[0]["read_bytes"] > 0 and
              alone[0]["path"] == model and alone[0]["errors"] == 0 and
              alone[0]["learned_bytes_s"] == 0, "one drive is listed", alone)
    both = run_json(model, "--mirror", mirror, "--io-fault",
                    "copy=0,eio=1")[0]["stats"]["drives"]
    tap.check(both[0]["errors"] >= 4 and both[0]["left_out"],
              "errors are counted", both)


def unmount(where):
    """The kernel takes a ring down, and lets go of its files, after the end
    of the process."""
    for _ in range(100):
        if not subprocess.run(["umount", where], stderr=subprocess.DEVNULL,
                              check=False, timeout=60).returncode:
            return
        time.sleep(0.1)
    subprocess.run(["umount", "-l", where], check=False, timeout=60)


@contextlib.contextmanager
def loop_drive(tmp, name, mib):
    """A file system on a loop device; yields where it is mounted, and its
    device's number."""
    image = os.path.join(tmp, name + ".img")
    where = os.path.join(tmp, name)
    os.mkdir(where)
    with open(image, "wb") as f:
        f.truncate(mib * MIB)
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE,
             "timeout": 60, "check": True}
    loop = None
    try:
        subprocess.run(["mkfs.ext4", "-q", "-F", image], **quiet)
        loop = subprocess.run(["losetup", "-f", "--show", image],
                              capture_output=True, timeout=60,
                              check=True).stdout.decode().strip()
        subprocess.run(["mount", loop, where], **quiet)
        try:
            number = os.stat(loop).st_rdev
            yield where, "%d:%d" % (os.major(number), os.minor(number))
        finally:
            unmount(where)
    except (OSError, subprocess.SubprocessError) as e:
        raise EnvironmentError("no loop device: %s %s" % (
            e, getattr(e, "stderr", b"") or b"")) from e
    finally:
        if loop:
            subprocess.run(["losetup", "-d", loop], check=False)
        os.remove(image)


@contextlib.contextmanager
def throttled(number, bytes_s):
    """A cgroup in which a drive gives only so much; yields a preexec_fn."""
    v1, v2 = "/sys/fs/cgroup/blkio", "/sys/fs/cgroup"
    name = "penstock-test-%d" % os.getpid()
    if os.path.exists(os.path.join(v1, "blkio.throttle.read_bps_device")):
        group = os.path.join(v1, name)
        limit = ("blkio.throttle.read_bps_device", "%s %d" % (number, bytes_s))
    else:
        group = os.path.join(v2, name)
        limit = ("io.max", "%s rbps=%d" % (number, bytes_s))
    os.mkdir(group)
    try:
        with open(os.path.join(group, limit[0]), "w") as f:
            f.write(limit[1])

        def enter():
            with open(os.path.join(group, "cgroup.procs"), "w") as f:
                f.write(str(os.getpid()))
        yield enter
    finally:
        os.rmdir(group)


def slow_and_fast(tap, tmp, want):
    with loop_drive(tmp, "fast", 24) as (fast, _), \
            loop_drive(tmp, "slow", 24) as (slow, number), \
            throttled(number, 2 * MIB) as enter:
        for where in (fast, slow):
            shutil.copy(os.path.join(SINGLE, "model.gguf"), where)
            shutil.copy(tokens(SINGLE), where)
        os.sync()
        same_as(tap, want[SINGLE], "two drives of different speed", fast,
                "--mirror", slow, preexec_fn=enter)
        model = os.path.join(slow, "model.gguf")
        alone = run_json(os.path.join(fast, "model.gguf"))[0]
        both, err = run_json(model, "--mirror", fast, preexec_fn=enter)
        tap.check(both["reply"] == alone["reply"], "the same reply")
        drives = both["stats"]["drives"]
        print("# %s%s" % (json.dumps(drives), err and "\n# " + err.strip()))
        tap.check(len(drives) == 2 and drives[0]["path"] == model and
                  drives[0]["read_bytes"] < drives[1]["read_bytes"] / 2,
                  "the throttled drive is read less", drives)
        spec = "copy=1,eio_after=20"
        same_as(tap, want[SINGLE], "the fast drive dies in mid-run", slow,
                "--mirror", fast, "--io-fault", spec, preexec_fn=enter)


def test_slow_and_fast(tap, tmp, want):
    if os.geteuid():
        print("# skipped: loop devices and throttling need root")
        return
    try:
        slow_and_fast(tap, tmp, want)
    except EnvironmentError as e:
        print("# skipped: two drives of different speed: %s" % e)


def main():
    tap = e2e.Tap()
    want = {}
    for folder in (SINGLE, SPLIT):
        rc, want[folder], err = attempt(folder)
        if rc:
            raise RuntimeError(err)
    with tempfile.TemporaryDirectory() as tmp:
        mirror, parts = test_same_bytes(tap, tmp, want)
        test_failing_copy(tap, want, (mirror, parts))
        test_stats(tap, mirror)
        test_wrong_mirrors(tap, tmp, mirror, parts)
        test_slow_and_fast(tap, tmp, want)
    tap.done()


if __name__ == "__main__":
    main()
