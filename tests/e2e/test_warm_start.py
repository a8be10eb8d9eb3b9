#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A warm start changes what is read and when, never what is answered; and a
state file is believed only when all of it is right."""
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile

import pst_e2e as e2e

PROMPT = "once upon a time"
COMMON = ("--raw", "--temp", "0", "--ctx-size", "256", "-o", "json")


def make_model(folder, name, seed):
    path = os.path.join(folder, name)
    p = subprocess.run(
        [os.path.join(e2e.SRC, "scripts", "make-random-model"), path,
         "--small", "--layers", "6", "--experts", "32", "--embd", "512",
         "--expert-ff", "256", "--vocab", "1024", "--seed", str(seed)],
        capture_output=True, text=True)
    if p.returncode:
        e2e.skip("no model: " + (p.stderr.strip() or "make-random-model"))
    return path


class Runs:
    """Runs over one model with one state directory."""

    def __init__(self, model, folder):
        self.model = model
        self.state = os.path.join(folder, "state")

    def run(self, *options, n=6):
        env = dict(os.environ, PENSTOCK_STATE=self.state)
        p = e2e.run("run", self.model, PROMPT, "-n", str(n), *COMMON,
                    *options, env=env)
        if p.returncode:
            raise RuntimeError(p.stderr.decode(errors="replace"))
        out = json.loads(p.stdout.decode(errors="replace"))
        return out["reply"], out["stats"], p.stderr.decode()

    def files(self):
        if not os.path.isdir(self.state):
            return []
        return [os.path.join(self.state, f)
                for f in sorted(os.listdir(self.state))]

    def forget(self):
        shutil.rmtree(self.state, ignore_errors=True)


def check_gain(tap, runs):
    for policy in ("adaptive", "lru", "lfu", "cycle", "s3fifo"):
        runs.forget()
        # Room for every expert: what was read once is never evicted.
        opts = ("--cache-policy", policy, "--prefetch", "off")
        cold = runs.run(*opts)
        warm = runs.run(*opts)
        tap.check(cold[1]["warm_reads"] == 0, policy + ": the first is cold")
        tap.check(warm[1]["warm_reads"] > 0, policy + ": the second is not")
        tap.check(cold[0] == warm[0], policy + ": they answer the same")
        tap.check(warm[1]["hit_rate"] > cold[1]["hit_rate"],
                  policy + ": hits are more",
                  (cold[1]["hit_rate"], warm[1]["hit_rate"]))
        tap.check(cold[1]["wrote_bytes"] == 0, policy + ": nothing is written "
                  "while it runs")


def check_small_cache(tap, runs):
    """More is known than fits: the same answer, within the cache."""
    want = runs.run(n=24)[0]
    for size in ("6experts", "20%", "100experts"):
        for policy in ("adaptive", "lru"):
            got = runs.run("--expert-cache", size, "--cache-policy", policy,
                           n=24)
            tap.check(got[0] == want, "the same answer from %s, %s" %
                      (size, policy))
    before = runs.run("--expert-cache", "6experts")[1]
    tap.check(before["warm_reads"] <= 6, "no more than fit are read ahead",
              before["warm_reads"])


def check_trained(tap, folder):
    """Trained routing has favourites: even a small cache's are worth having."""
    runs = Runs(os.path.join(e2e.SRC, "share", "tiny-stories.gguf"), folder)
    for policy in ("adaptive", "lfu"):
        runs.forget()
        opts = ("--cache-policy", policy, "--prefetch", "off",
                "--expert-cache", "30%")
        runs.run(*opts, n=200)
        warm = runs.run(*opts, n=8)
        runs.forget()
        cold = runs.run(*opts, n=8)
        tap.check(warm[0] == cold[0], policy + ": a trained model, too")
        tap.check(warm[1]["misses"] < cold[1]["misses"],
                  policy + ": its favourites are there from the start",
                  (warm[1]["misses"], cold[1]["misses"]))


def check_choice(tap, runs):
    runs.forget()
    runs.run("--warm", "off")
    tap.check(not runs.files(), "--warm off leaves no state")
    runs.run()
    tap.check(len(runs.files()) == 1, "a run leaves one file", runs.files())
    with open(runs.files()[0], "rb") as f:
        saved = f.read()
    tap.check(runs.run("--warm", "off")[1]["warm_reads"] == 0,
              "--warm off takes nothing over")
    env = dict(os.environ, PENSTOCK_STATE=runs.state)
    for args in (["bench", runs.model, "-p", "8", "-g", "4"],
                 ["logits", runs.model, "--tokens", "1,2", "--out",
                  os.devnull],
                 ["run", runs.model, "x", "--resident", *COMMON, "-n", "2"],
                 ["run", runs.model, "x", "--io", "mmap", *COMMON, "-n",
                  "2"]):
        p = e2e.run(*args, env=env)
        with open(runs.files()[0], "rb") as f:
            tap.check(p.returncode == 0 and f.read() == saved,
                      "%s leaves the state alone" % " ".join(
                          [args[0], *args[3:5]]), p.stderr.decode())
    p = e2e.run("bench", runs.model, "-p", "8", "-g", "4", "--warm", "on",
                env=env)
    with open(runs.files()[0], "rb") as f:
        tap.check(p.returncode == 0 and f.read() != saved,
                  "bench --warm on does not", p.stderr.decode())


def damage(data):
    """Names and bytes that are not what was written."""
    yield "empty", b""
    yield "cut", data[:len(data) // 2]
    yield "longer", data + b"\0" * 8
    yield "a flipped bit", data[:70] + bytes([data[70] ^ 4]) + data[71:]
    yield "zeros", b"\0" * len(data)
    yield "a huge count", data[:40] + struct.pack("<I", 1 << 31) + data[44:]
    yield "text", b"penstock\n" * 100
    yield "too long", data + b"x" * (1 << 20)


def check_damage(tap, runs, other):
    runs.forget()
    want = runs.run()[0]
    name = runs.files()[0]
    with open(name, "rb") as f:
        data = f.read()
    tap.check(len(data) <= 64 + 8 * 6 * 32, "the file is small", len(data))
    for what, bad in damage(data):
        with open(name, "wb") as f:
            f.write(bad)
        reply, stats, err = runs.run()
        tap.check(reply == want and stats["warm_reads"] == 0,
                  what + ": ignored")
        tap.check("empty expert cache" in err, what + ": said", err)
    with open(name, "rb") as f:
        again = f.read()
    tap.check(len(again) == len(data), "and then it is whole again")
    os.remove(name)
    os.mkfifo(name)
    reply, stats, err = runs.run()
    tap.check(reply == want and "empty expert cache" in err,
              "a pipe of that name does not hang it", err)
    # The state of another model under this one's name.
    runs.forget()
    Runs.run(other)
    theirs = other.files()[0]
    os.makedirs(runs.state)
    shutil.copy(theirs, name)
    reply, stats, err = runs.run()
    tap.check(reply == want and stats["warm_reads"] == 0 and
              "another model" in err, "another model's is ignored", err)


def check_no_directory(tap, runs):
    plain = Runs(runs.model, os.path.join(os.devnull, "x"))
    reply, _, err = plain.run()
    tap.check(reply == runs.run()[0], "without a directory it runs")
    tap.check("next start will be cold" in err, "and says so", err)


def check_interrupt(tap, runs):
    """Ctrl-C keeps what was learned, and shows what there is."""
    runs.forget()
    env = dict(os.environ, PENSTOCK_STATE=runs.state)
    for sig in (signal.SIGINT, signal.SIGTERM):
        child = subprocess.Popen(
            [e2e.PROGRAM, "run", runs.model, PROMPT, "--raw", "--temp", "0",
             "--ctx-size", "8192"], stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, env=env, bufsize=0,
            preexec_fn=lambda: signal.signal(signal.SIGINT,
                                             signal.default_int_handler))
        first = child.stdout.read(8)
        child.send_signal(sig)
        rest, err = child.communicate(timeout=240)
        if b"context" in err:
            print("# the model ended first")
            continue
        tap.check(child.returncode == 128 + sig, "%s: exit code" % sig.name,
                  (child.returncode, err.decode()))
        said = re.search(r"reply (\d+) tok", err.decode())
        tap.check(said, "%s: the figures are shown" % sig.name, err.decode())
        tap.check(len(runs.files()) == 1, "%s: the state is kept" % sig.name)
        want = e2e.run("run", runs.model, PROMPT, "--raw", "--temp", "0",
                       "--ctx-size", "8192", "--warm", "off", "-n",
                       said.group(1) if said else 1, env=env)
        tap.check(first + rest == want.stdout,
                  "%s: what was said is what would have been" % sig.name,
                  (first + rest, want.stdout, want.stderr))


def main():
    tap = e2e.Tap()
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        runs = Runs(make_model(folder, "model.gguf", 1), folder)
        other = Runs(make_model(folder, "other.gguf", 2),
                     os.path.join(folder, "of-other"))
        check_gain(tap, runs)
        check_small_cache(tap, runs)
        check_trained(tap, folder)
        check_choice(tap, runs)
        check_damage(tap, runs, other)
        check_no_directory(tap, runs)
        check_interrupt(tap, runs)
    tap.done()


if __name__ == "__main__":
    sys.dont_write_bytecode = True
    main()
