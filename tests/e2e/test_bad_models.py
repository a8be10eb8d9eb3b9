#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Damaged models are refused in one line, or run: never a crash, a hang or a
large allocation.  Every file of tests/data/gguf-bad, and cuts of a valid one."""
import json
import os
import resource
import subprocess
import tempfile

import pst_e2e as e2e

BAD = os.path.join(e2e.DATA, "gguf-bad")
VALID = os.path.join(e2e.DATA, "logits", "llama-mixtral", "model.gguf")
LIMIT_BYTES = 2 << 30
TIMEOUT_S = 20
SLOW = 10 if os.environ.get("PENSTOCK_TOOL") else 1


def limit_memory():
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT_BYTES, LIMIT_BYTES))


def choose_limit():
    """A sanitizer's shadow needs more address space than any limit leaves."""
    if os.environ.get("PENSTOCK_TOOL"):
        print("# no limit on memory: not under a tool")
        return None
    return limit_memory


def refused(p):
    """65, or 69 for what is not known; nothing on stdout, one line of words."""
    err = p.stderr.decode(errors="replace")
    return (p.returncode in (65, 69) and not p.stdout and err.count("\n") == 1 and
            err.startswith("penstock: ") and len(err) < 1000 and
            all(c.isprintable() for c in err[:-1]))


def attempt(tap, name, path, may_run, limit):
    try:
        p = e2e.run("logits", path, "--tokens", "1,2", "--out", "/dev/null",
                    timeout=TIMEOUT_S * SLOW, preexec_fn=limit)
    except subprocess.TimeoutExpired:
        tap.check(False, name, "still running after %d s" % TIMEOUT_S)
        return
    # 2: a changed vocabulary may not have the tokens that are asked for.
    ok = refused(p) or may_run and p.returncode in (0, 2, 65, 69)
    tap.check(ok, name, "exit %d: %s" % (
        p.returncode, p.stderr.decode(errors="replace").strip()))


def test_catalogue(tap, limit):
    with open(os.path.join(BAD, "index.json")) as f:
        for entry in json.load(f):
            attempt(tap, "%s: %s" % (entry["file"], entry["wrong"]),
                    os.path.join(BAD, entry["file"]),
                    not entry["must_be_refused"], limit)
    p = e2e.run("logits", os.path.join(BAD, "000-valid-control.gguf"),
                "--tokens", "1,2", "--out", "/dev/null", preexec_fn=limit)
    tap.check(p.returncode == 0, "the valid control runs under the limit",
              p.stderr)


def test_cuts(tap, limit):
    """A file that was not copied whole."""
    with open(VALID, "rb") as f:
        data = f.read()
    with tempfile.TemporaryDirectory() as tmp:
        path = os.path.join(tmp, "cut.gguf")
        for cut in (0, 1, 23, 24, 4096, len(data) // 3, len(data) // 2,
                    len(data) - 4096, len(data) - 33, len(data) - 1):
            with open(path, "wb") as f:
                f.write(data[:cut])
            attempt(tap, "cut at %d of %d" % (cut, len(data)), path, False,
                    limit)


def main():
    tap = e2e.Tap()
    limit = choose_limit()
    test_catalogue(tap, limit)
    test_cuts(tap, limit)
    tap.done()


if __name__ == "__main__":
    main()
