#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Drives that fail, files that are not there or cannot be read, results that
cannot be written: the exit status, the words, and that no half result stays."""
import os
import random
import re
import resource
import shutil
import subprocess
import tempfile
import time

import pst_e2e as e2e

SEED = int(os.environ.get("PENSTOCK_SEED", "20261120"))
CASES = ("llama-mixtral", "qwen3moe-split")
# A small cache, so that experts are read all the time.
FEW = ("--expert-cache", "9experts", "--batch-size", "4")


class Folder:
    """A golden case: the model, its tokens."""

    def __init__(self, name):
        self.folder = os.path.join(e2e.DATA, "logits", name)
        self.case = next(c for n, _, c in e2e.cases(os.path.dirname(
            self.folder)) if n == name)
        self.model = os.path.join(self.folder, self.case["files"][0])
        self.tokens = os.path.join(self.folder, "tokens.json")

    def run(self, *options, model=None, **kw):
        return e2e.run("logits", model or self.model, "--tokens-file",
                       self.tokens, *options, **kw)


def words(p):
    return p.stderr.decode(errors="replace")


def expect(tap, name, p, status, pattern):
    err = words(p)
    lines = [x for x in err.splitlines() if ": warning: " not in x]
    return tap.check(p.returncode == status and len(lines) == 1 and
                     re.search(pattern, lines[0]), name,
                     "exit %d: %s" % (p.returncode, err.strip()))


def test_dead_drive(tap, tmp, io):
    """74, the file, the offset, and nothing left behind."""
    out = os.path.join(tmp, "out.f32")
    for name in CASES:
        f = Folder(name)
        for fault in ["eio=1"] + ["eio_after=%d" % n for n in
                                  (0, 1, 3, 8, 20, 50, 100)]:
            p = f.run("--out", out, "--io", io, "--io-fault", fault, *FEW)
            expect(tap, "%s, %s, %s" % (name, io, fault), p, 74,
                   r"model.*\.gguf: cannot read .*\(at byte \d+\)$")
            tap.check(not os.path.exists(out), "no output file is left")


def test_one_bad_read(tap, tmp):
    """One EIO anywhere ends the run; it never changes the result."""
    f = Folder("llama-mixtral")
    out = os.path.join(tmp, "out.f32")
    want = e2e.logits(f.model, f.tokens)
    failed = 0
    for at in (1, 2, 3, 5, 9, 17, 33, 65, 129, 100000):
        p = f.run("--out", out, "--io-fault", "eio_at=%d" % at, *FEW)
        if p.returncode:
            failed += 1
            expect(tap, "eio_at=%d" % at, p, 74, r"\(at byte \d+\)$")
            tap.check(not os.path.exists(out), "no output file is left")
            continue
        with open(out, "rb") as result:
            tap.check(result.read() == want,
                      "eio_at=%d: the read was never made" % at)
        os.remove(out)
    tap.check(3 <= failed < 10, "some runs meet the error, not all")


def test_slow_and_short(tap, rng):
    for name in CASES:
        f = Folder(name)
        want = e2e.logits(f.model, f.tokens)
        for spec in ("short=0.5", "eagain=0.5", "delay_us=500", "shuffle=1",
                     "short=0.3,eagain=0.3,delay_us=100,shuffle=1"):
            for io in ("uring", "pread"):
                spec_seeded = "seed=%d,%s" % (rng.randrange(1 << 30), spec)
                try:
                    got, why = e2e.logits(f.model, f.tokens, "--io", io,
                                          "--io-fault", spec_seeded,
                                          *FEW), "the bytes differ"
                except RuntimeError as e:
                    got, why = None, e
                tap.check(got == want, "%s, %s, %s" % (name, io, spec_seeded),
                          why)


def test_bad_fault_text(tap):
    f = Folder("llama-mixtral")
    for spec in ("eio", "eio=2", "nonsense=1", "eio=0.5,,", "seed=-1"):
        expect(tap, "--io-fault '%s'" % spec, f.run("--io-fault", spec), 2,
               r"fault")


def test_no_such_model(tap, tmp):
    f = Folder("llama-mixtral")
    expect(tap, "a missing model", f.run(model=os.path.join(tmp, "none")), 66,
           r"none: .*No such file")
    expect(tap, "a folder", f.run(model=tmp), 65, r"a folder: give the GGUF")
    expect(tap, "/dev/null", f.run(model="/dev/null"), 65, r"regular file")
    fifo = os.path.join(tmp, "fifo")
    os.mkfifo(fifo)
    expect(tap, "a fifo does not block", f.run(model=fifo, timeout=60), 65,
           r"regular file")
    split = Folder("qwen3moe-split")
    for i in range(2):
        shutil.copy(os.path.join(split.folder, split.case["files"][i]), tmp)
    expect(tap, "a missing part", f.run(
        model=os.path.join(tmp, split.case["files"][0])), 65,
        r"00003-of-00003\.gguf: part 3 of 3 .* missing")


def nobody_can_run():
    """Not when the build is in a folder that only its owner may enter."""
    try:
        return e2e.run("version", user=65534).returncode == 0
    except (OSError, subprocess.SubprocessError):
        return False


def test_permission(tap, tmp):
    f = Folder("llama-mixtral")
    os.chmod(tmp, 0o755)
    secret = os.path.join(tmp, "secret.gguf")
    shutil.copy(f.model, secret)
    os.chmod(secret, 0)
    if os.geteuid():
        expect(tap, "an unreadable model", f.run(model=secret), 77,
               r"Permission denied")
    elif nobody_can_run():
        p = e2e.run("logits", secret, "--tokens", "1", user=65534)
        expect(tap, "an unreadable model", p, 77, r"Permission denied")
    else:
        print("# skipped: root may read everything")
    os.remove(secret)


def limit_files():
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))


def test_full_disk(tap, tmp):
    f = Folder("llama-mixtral")
    # By a link: a program that removes what it could not write takes the
    # link, not the machine's device.
    link = os.path.join(tmp, "full")
    os.symlink("/dev/full", link)
    expect(tap, "no space", f.run("--out", link), 74, r"full: .*No space left")
    tap.check(os.path.islink(link), "a device is not removed")
    out = os.path.join(tmp, "out.f32")
    expect(tap, "a file size limit", f.run("--out", out,
                                           preexec_fn=limit_files), 74,
           r"out\.f32: .*File too large")
    tap.check(not os.path.exists(out), "no output file is left")
    p = f.run("--out", os.path.join(tmp, "no", "such", "folder"))
    tap.check(p.returncode in (66, 74, 77) and words(p).count("\n") == 1,
              "a folder that is not there", words(p))
    with open("/dev/full", "wb") as full:
        p = subprocess.run([e2e.PROGRAM, "logits", f.model, "--tokens", "1,2"],
                           stdout=full, stderr=subprocess.PIPE, timeout=300)
    expect(tap, "no space on stdout", p, 74, r"write")


def wait_until_asleep(pid, model):
    """The model is mapped and the main thread makes no progress."""
    same, last = 0, None
    for _ in range(600):
        time.sleep(0.05)
        try:
            with open("/proc/%d/maps" % pid) as f:
                mapped = model in f.read()
            with open("/proc/%d/stat" % pid) as f:
                fields = f.read().rpartition(")")[2].split()
        except OSError:
            return False
        now = (fields[0], fields[11], fields[12])
        same = same + 1 if mapped and now == last and now[0] == "S" else 0
        last = now
        if same == 6:
            return True
    return False


def test_truncated_mapping(tap, tmp):
    """The file shrinks under --io mmap.  Between opening the model and the
    first token the program waits for the reader of its result."""
    f = Folder("llama-mixtral")
    model = os.path.join(tmp, "shrinks.gguf")
    fifo = os.path.join(tmp, "result")
    shutil.copy(f.model, model)
    os.mkfifo(fifo)
    with subprocess.Popen([e2e.PROGRAM, "logits", model, "--tokens-file",
                           f.tokens, "--out", fifo, "--io", "mmap"],
                          stderr=subprocess.PIPE) as p:
        asleep = wait_until_asleep(p.pid, model)
        os.truncate(model, 4096)
        reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
        try:
            err = p.communicate(timeout=60)[1].decode(errors="replace")
        finally:
            p.kill()
            os.close(reader)
    tap.check(asleep, "the program waits for its reader")
    tap.check(p.returncode == 74 and "truncated" in err and
              err.count("\n") == 1, "a mapped file that shrank",
              "exit %d: %s" % (p.returncode, err.strip()))


def main():
    print("# PENSTOCK_SEED=%d" % SEED)
    rng = random.Random(SEED)
    tap = e2e.Tap()
    with tempfile.TemporaryDirectory() as tmp:
        test_dead_drive(tap, tmp, "uring")
        test_dead_drive(tap, tmp, "pread")
        test_one_bad_read(tap, tmp)
        test_slow_and_short(tap, rng)
        test_bad_fault_text(tap)
        test_no_such_model(tap, tmp)
        test_permission(tap, tmp)
        test_full_disk(tap, tmp)
        test_truncated_mapping(tap, tmp)
    tap.done()


if __name__ == "__main__":
    main()
