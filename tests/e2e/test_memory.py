#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""--ram is a ceiling: the peak measured from outside stays below it, from the
smallest budget that is accepted to one that holds everything; below that the
open fails and spells out the sum."""
import json
import os
import subprocess
import sys
import tempfile

import pst_e2e as e2e

MIB = 1 << 20
TOKENS = ",".join(str(7 * i % 300 + 3) for i in range(48))


def make_model(folder):
    """About 60 MB of experts, in layers that take turns."""
    path = os.path.join(folder, "model.gguf")
    p = subprocess.run(
        [os.path.join(e2e.SRC, "scripts", "make-random-model"), path,
         "--small", "--layers", "6", "--experts", "32", "--embd", "512",
         "--expert-ff", "256", "--vocab", "1024"],
        capture_output=True, text=True)
    if p.returncode:
        e2e.skip("no model: " + (p.stderr.strip() or "make-random-model"))
    return path


def peak_of(*args):
    """Exit code, stdout, and peak resident bytes as the kernel counted it."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = subprocess.Popen([e2e.PROGRAM, *args], stdout=out, stderr=err)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        return (child.returncode, out.read(), err.read().decode(),
                usage.ru_maxrss * 1024)


def plan(model, ram):
    p = e2e.run("plan", model, "--ram", str(ram), "-o", "json", *COMMON)
    return json.loads(p.stdout) if p.returncode == 0 else None


COMMON = ("--ctx-size", "256", "--huge-pages", "thp")


def smallest(model):
    """The smallest accepted ceiling, to one MiB."""
    lo, hi = 1, 512
    while lo < hi:
        mid = (lo + hi) // 2
        p = e2e.run("plan", model, "--ram", str(mid * MIB), *COMMON)
        if p.returncode == 0:
            hi = mid
        else:
            lo = mid + 1
    return lo


def check_peaks(tap, model):
    low = smallest(model)
    want = None
    for extra in (0, 1, 3, 8, 20, 60, 200):
        ram = (low + extra) * MIB
        rc, got, err, peak = peak_of("bench", model, "--ram", str(ram), "-p",
                                     "32", "-g", "16", "-o", "json", *COMMON)
        if extra == 0 and rc == 71:
            # The plan is made before loading: it may be one page optimistic.
            tap.check("fit" in err, "the smallest budget fails in words", err)
            continue
        name = "--ram %d MiB" % (low + extra)
        if not tap.check(rc == 0, name + " runs", err):
            continue
        result = json.loads(got)["results"][0]
        tap.check(peak <= ram, name + ": peak from outside is below",
                  "%.1f MiB" % (peak / MIB))
        tap.check(result["peak_bytes"] <= ram, name + ": so is the reported")
        tap.check(abs(result["peak_bytes"] - peak) < 2 * MIB,
                  name + ": both figures agree",
                  "%d and %d" % (result["peak_bytes"], peak))
        want = want or result["slots"]
    rc, _, err, _ = peak_of("logits", model, "--tokens", TOKENS, "--ram",
                            str((low - 3) * MIB), *COMMON)
    tap.check(rc == 71, "below the smallest budget the exit code is 71", rc)
    for word in ("trunk", "KV", "scratch", "experts", "ceiling"):
        tap.check(word in err, "the sum names " + word, err)
    tap.check(err.count("\n") == 1, "in one line")


def check_side_costs(tap, model, folder):
    """What grows with options and texts is inside the ceiling too."""
    ram = (smallest(model) + 24) * MIB
    text = os.path.join(folder, "text")
    with open(text, "w") as f:
        f.write("the quick brown fox " * 50000)
    for args in (["bench", model, "-p", "16", "-g", "8", "--read-size",
                  "4KiB"],
                 ["run", model, "-f", text, "--raw", "-n", "1", "--top-k",
                  "0"]):
        rc, _, err, peak = peak_of(*args, "--ram", str(ram), *COMMON)
        # The text is longer than the context: refused, but within bounds.
        tap.check(rc in (0, 1), " ".join(args[::len(args) - 1]) + " ends well",
                  (rc, err))
        tap.check(peak <= ram, "%s %s: peak is below" % (args[0], args[-2]),
                  "%.1f of %.1f MiB" % (peak / MIB, ram / MIB))


def check_cgroup(tap, model):
    """In a real cgroup of the ceiling's size nothing is killed."""
    top = "/sys/fs/cgroup/memory"
    if os.geteuid() != 0 or not os.path.exists(top + "/memory.limit_in_bytes"):
        print("# cgroup part left out: needs root and cgroup v1")
        return
    # Left to itself the program keeps a share of the cgroup free.
    ram = (smallest(model) + 10) * 2 * MIB
    for opts in (["--ram", str(ram)], []):
        group = "%s/penstock-test-%d" % (top, os.getpid())
        os.mkdir(group)
        try:
            with open(group + "/memory.limit_in_bytes", "w") as f:
                f.write(str(ram))

            def join(group=group):
                with open(group + "/cgroup.procs", "w") as f:
                    f.write("0")

            p = e2e.run("bench", model, *opts, "-p", "32", "-g", "16",
                        *COMMON, preexec_fn=join)
            tap.check(p.returncode == 0, "a run in a cgroup of its size %s" %
                      ("with --ram" if opts else "without --ram"),
                      "exit %d %s" % (p.returncode, p.stderr.decode()))
        finally:
            os.rmdir(group)


def main():
    if os.environ.get("PENSTOCK_TOOL"):
        e2e.skip("the memory of an instrumented program is not the program's")
    tap = e2e.Tap()
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        model = make_model(folder)
        check_peaks(tap, model)
        check_side_costs(tap, model, folder)
        check_cgroup(tap, model)
    tap.done()


if __name__ == "__main__":
    sys.dont_write_bytecode = True
    main()
