#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Where the expert cache's memory comes from does not show in the output; what
is asked for and not there is an error that says what to do."""
import os
import subprocess
import sys
import tempfile

import pst_e2e as e2e

DEVICE = "/dev/penstock"
WORDS = {"anon": "", "udmabuf": "memfd, ", "kmod": "penstock.ko, "}


def make_model(folder):
    path = os.path.join(folder, "model.gguf")
    p = subprocess.run(
        [os.path.join(e2e.SRC, "scripts", "make-random-model"), path,
         "--small", "--layers", "4", "--experts", "16", "--embd", "256",
         "--expert-ff", "256", "--vocab", "512"],
        capture_output=True, text=True)
    if p.returncode:
        e2e.skip("no model: " + (p.stderr.strip() or "make-random-model"))
    return path


def check_same(tap, model, folder):
    tokens = os.path.join(folder, "tokens.json")
    with open(tokens, "w") as f:
        f.write(str([(i * 37) % 500 for i in range(12)]))
    want = e2e.logits(model, tokens, "--resident", "--pool", "anon")
    for pool in ("auto", "anon", "udmabuf", "kmod"):
        if pool == "kmod" and not os.access(DEVICE, os.R_OK | os.W_OK):
            continue
        for cache in ("5experts", "50%"):
            got = e2e.logits(model, tokens, "--pool", pool, "--expert-cache",
                             cache)
            tap.check(got == want, "--pool %s, %s: same logits" % (pool,
                                                                   cache))


def check_names(tap, model):
    for pool, word in WORDS.items():
        if pool == "kmod" and not os.access(DEVICE, os.R_OK | os.W_OK):
            continue
        p = e2e.run("bench", model, "-p", 4, "-g", 2, "--pool", pool)
        err = p.stderr.decode()
        tap.check(p.returncode == 0 and "; " + word in err,
                  "bench says what --pool %s is made of" % pool, err)


def check_refusals(tap, model):
    if not os.path.exists(DEVICE):
        for verb, *words in (("run", "hello"), ("plan",)):
            p = e2e.run(verb, model, *words, "--pool", "kmod")
            err = p.stderr.decode()
            tap.check(p.returncode == 69, verb + ": no module, exit 69",
                      p.returncode)
            tap.check("modprobe penstock" in err and "--pool anon" in err,
                      verb + ": the next step is said", err)
        p = e2e.run("pool", "drop", "nothing")
        tap.check(p.returncode == 69, "pool drop: no module", p.returncode)
        p = e2e.run("plan", model, "--pool-name", "x")
        tap.check(p.returncode == 69, "a name wants the module", p.returncode)
    p = e2e.run("plan", model, "--pool", "anon", "--pool-name", "x")
    tap.check(p.returncode == 2 and b"--pool kmod" in p.stderr,
              "anonymous memory has no name", p.stderr)
    p = e2e.run("plan", model, "--io", "mmap", "--pool-name", "x")
    tap.check(p.returncode == 2 and b"--io mmap" in p.stderr,
              "--io mmap keeps nothing", p.stderr)
    p = e2e.run("plan", model, "--pool", "hugetlbfs")
    tap.check(p.returncode == 2 and b"auto|anon|udmabuf|kmod" in p.stderr,
              "an unknown pool is refused", p.stderr)


def main():
    tap = e2e.Tap()
    with tempfile.TemporaryDirectory() as folder:
        model = make_model(folder)
        check_same(tap, model, folder)
        check_names(tap, model)
        check_refusals(tap, model)
    return tap.done()


if __name__ == "__main__":
    sys.exit(main())
