#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Memory is taken away in mid-run: by a lowered limit, by another process in
the same cgroup.  The run lives, answers the same, and grows back."""
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time

import pst_e2e as e2e

MIB = 1 << 20
RAM = 560 * MIB
ROOM = 240 * MIB
COMMON = ("--raw", "--temp", "0", "--ctx-size", "4096", "--huge-pages", "thp",
          "--warm", "off", "--ram", str(RAM))
PROMPT = "once upon a time"
DEADLINE_S = 90

# Takes memory while so much is left, keeps it until it is told to end.
HOG = """
import sys, time
limit, used, amount, left = sys.argv[1:]
held = []
while len(held) < int(amount):
    if (int(open(limit).read()) - int(open(used).read()) >> 20) > int(left):
        held.append(bytearray(b'x') * (1 << 20))
    else:
        time.sleep(0.02)
print('full', flush=True)
sys.stdin.read()
"""


class Group:
    """A memory cgroup of either version, made for this test."""

    def __init__(self, limit):
        for top, names in (
                ("/sys/fs/cgroup/memory",
                 ("memory.limit_in_bytes", "memory.usage_in_bytes")),
                ("/sys/fs/cgroup/unified", ("memory.high", "memory.current")),
                ("/sys/fs/cgroup", ("memory.high", "memory.current"))):
            self.dir = os.path.join(top, "penstock-governor-%d" % os.getpid())
            try:
                os.mkdir(self.dir)
            except OSError:
                continue
            self.limit_file = os.path.join(self.dir, names[0])
            self.used_file = os.path.join(self.dir, names[1])
            try:
                self.write(self.limit_file, limit)
                return
            except OSError:
                os.rmdir(self.dir)
        e2e.skip("no memory cgroup can be made here (root is needed)")

    @staticmethod
    def write(path, value):
        with open(path, "w") as f:
            f.write(str(value))

    def used(self):
        with open(self.used_file) as f:
            return int(f.read())

    def join(self):
        self.write(os.path.join(self.dir, "cgroup.procs"), 0)

    def lower(self, target):
        """The kernel of version 1 refuses a limit below the use: as near as
        it goes, again and again.  Return: whether it got there."""
        end = time.monotonic() + DEADLINE_S
        while time.monotonic() < end:
            try:
                self.write(self.limit_file,
                           max(target, self.used() + 4 * MIB))
            except OSError:
                pass
            with open(self.limit_file) as f:
                if int(f.read()) <= target + MIB:
                    return True
            time.sleep(0.05)
        return False

    def remove(self):
        end = time.monotonic() + 10
        while time.monotonic() < end:
            try:
                os.rmdir(self.dir)
                return
            except OSError:
                time.sleep(0.1)


class Child:
    """A run whose standard error is a file that can be looked at."""

    def __init__(self, model, folder, group, *options):
        self.err = open(os.path.join(folder, "err"), "wb+")
        self.out = open(os.path.join(folder, "out"), "wb+")
        self.p = subprocess.Popen(
            [e2e.PROGRAM, "run", model, PROMPT, *COMMON, *options],
            stdout=self.out, stderr=self.err, preexec_fn=group.join)

    def text(self, f):
        f.flush()
        with open(f.name, "rb") as again:
            return again.read()

    def wait_for(self, done):
        """Until done() or the end of the run or of patience."""
        end = time.monotonic() + DEADLINE_S
        while time.monotonic() < end and self.p.poll() is None:
            if done():
                return True
            time.sleep(0.02)
        return done()

    def says(self, what):
        return self.wait_for(
            lambda: what in self.text(self.err).decode(errors="replace"))

    def speaks(self):
        return self.wait_for(lambda: self.text(self.out))

    def stop(self):
        """Ctrl-C, and the end.  Return: exit code, reply, errors."""
        if self.p.poll() is None:
            self.p.send_signal(signal.SIGINT)
        code = self.p.wait(timeout=120)
        return (code, self.text(self.out),
                self.text(self.err).decode(errors="replace"))


def make_model(folder, name="model.gguf", experts=64, used=4):
    path = os.path.join(folder, name)
    p = subprocess.run(
        [os.path.join(e2e.SRC, "scripts", "make-random-model"), path,
         "--small", "--layers", "12", "--experts", str(experts), "--used",
         str(used), "--embd", "1024", "--expert-ff", "512", "--vocab", "1024"],
        capture_output=True, text=True)
    if p.returncode:
        e2e.skip("no model: " + (p.stderr.strip() or "make-random-model"))
    return path


def check_end(tap, child, model, name):
    """The run is ended by us, not by the kernel, and said the right thing."""
    code, out, err = child.stop()
    tap.check(code == 130, name + ": the run lived until it was stopped",
              (code, err))
    said = re.search(r"reply (\d+) tok", err)
    if not tap.check(said, name + ": it ends with its figures", err):
        return
    want = e2e.run("run", model, PROMPT, *COMMON, "-n", said.group(1))
    tap.check(out == want.stdout, name + ": the same answer as undisturbed "
              "(%s tokens)" % said.group(1))
    given = re.search(r"(\d+) experts given, (\d+) taken back", err)
    tap.check(given and int(given.group(1)) > 0,
              name + ": the last line says what was given", err)
    return given and int(given.group(2))


def check_limit(tap, model, folder):
    group = Group(RAM + ROOM)
    try:
        child = Child(model, folder, group)
        tap.check(child.speaks(), "limit: it starts", child.text(child.err))
        before = group.used()
        tap.check(group.lower(RAM - 100 * MIB),
                  "limit: it makes room for a lower limit",
                  child.text(child.err))
        tap.check(child.says("memory is short"), "limit: it says so",
                  child.text(child.err))
        tap.check(group.used() < before, "limit: it uses less")
        group.write(group.limit_file, RAM + ROOM)
        tap.check(child.says("are free again"), "limit: it grows again",
                  child.text(child.err))
        back = check_end(tap, child, model, "limit")
        tap.check(back, "limit: what it took back is counted", back)
    finally:
        group.remove()


def check_hog(tap, model, folder):
    group = Group(RAM + ROOM)
    hog = None
    try:
        child = Child(model, folder, group)
        tap.check(child.speaks(), "hog: it starts", child.text(child.err))
        hog = subprocess.Popen(
            [sys.executable, "-c", HOG, group.limit_file, group.used_file,
             "450", "60"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            preexec_fn=group.join)
        tap.check(child.says("memory is short"),
                  "hog: it gives memory to the other", child.text(child.err))
        # More than there was room for: only what was given can make it full.
        tap.check(hog.stdout.readline() == b"full\n",
                  "hog: the other gets what it wants")
        hog.stdin.close()
        hog.wait(timeout=60)
        tap.check(child.says("are free again"), "hog: it grows again",
                  child.text(child.err))
        check_end(tap, child, model, "hog")
    finally:
        if hog and hog.poll() is None:
            hog.kill()
            hog.wait()
        group.remove()


def check_off(tap, model, folder):
    """--governor off keeps what it has, and the limit stays where it was."""
    group = Group(RAM + ROOM)
    try:
        child = Child(model, folder, group, "--governor", "off", "-n", "48")
        tap.check(child.speaks(), "off: it starts", child.text(child.err))
        try:
            group.write(group.limit_file, group.used() + 4 * MIB)
        except OSError:
            pass
        code = child.p.wait(timeout=300)
        tap.check(code == 0, "off: it runs to its end", code)
        err = child.text(child.err).decode()
        tap.check("memory" not in err, "off: nothing is given", err)
    finally:
        group.remove()


def check_small(tap, folder):
    """The cache falls below the experts of one token, 12 x 16: a warning."""
    model = make_model(folder, "wide.gguf", 24, 16)
    ram = 400 * MIB
    group = Group(ram + ROOM)
    try:
        child = Child(model, folder, group, "--ram", str(ram))
        tap.check(child.speaks(), "small: it starts", child.text(child.err))
        group.lower(ram - 20 * MIB)
        tap.check(child.says("one token uses 192: most of them are now read "
                             "again"), "small: it warns",
                  child.text(child.err))
        err = child.stop()[2]
        tap.check(err.count("one token uses") == 1, "small: it warns once",
                  err)
    finally:
        group.remove()
        os.remove(model)


def check_quiet(tap, model):
    """Where nobody takes anything nothing happens."""
    p = e2e.run("run", model, PROMPT, *COMMON, "-n", "32", "-o", "json")
    stats = json.loads(p.stdout.decode(errors="replace"))["stats"]
    tap.check(stats["slots_given"] == 0 and stats["slots_taken"] == 0 and
              stats["slots_now"] == stats["slots"] and
              stats["memory_warnings"] == 0,
              "an undisturbed run keeps its cache", stats)


def main():
    if os.environ.get("PENSTOCK_TOOL"):
        e2e.skip("the memory of an instrumented program is not the program's")
    stat = os.statvfs("/var/tmp")
    if stat.f_bavail * stat.f_frsize < 2048 * MIB:
        e2e.skip("2 GiB are needed in /var/tmp")
    Group(RAM).remove()
    tap = e2e.Tap()
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        model = make_model(folder)
        check_quiet(tap, model)
        check_limit(tap, model, folder)
        check_hog(tap, model, folder)
        check_off(tap, model, folder)
        check_small(tap, folder)
    tap.done()


if __name__ == "__main__":
    sys.dont_write_bytecode = True
    main()
