# SPDX-License-Identifier: MIT
"""What the end-to-end tests share: the program, the models, TAP output."""
import atexit
import json
import os
import shutil
import subprocess
import sys
import tempfile

SRC = os.environ.get("PENSTOCK_SRC") or os.path.dirname(
    os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("PENSTOCK_BUILD") or os.path.join(SRC, "build")
PROGRAM = os.path.join(BUILD, "userspace", "cli", "penstock")
GOLDEN = os.environ.get("PENSTOCK_GOLDEN") or os.path.join(
    SRC, "..", "shared", "golden")
DATA = os.path.join(SRC, "tests", "data")
SKIP = 77

# What one test leaves must not warm the next one, nor the user's own runs.
if "PENSTOCK_STATE" not in os.environ:
    os.environ["PENSTOCK_STATE"] = tempfile.mkdtemp(prefix="penstock-state-")
    atexit.register(shutil.rmtree, os.environ["PENSTOCK_STATE"],
                    ignore_errors=True)


def skip(why):
    print("skipped: " + why)
    sys.exit(SKIP)


def run(*args, **kw):
    """Run penstock; returns the completed process, output as bytes."""
    return subprocess.run([PROGRAM, *map(str, args)], capture_output=True,
                          timeout=kw.pop("timeout", 300), **kw)


def logits(model, tokens_file, *options):
    """Logits as bytes; raises with the program's words when it fails."""
    with tempfile.NamedTemporaryFile() as out:
        p = run("logits", model, "--tokens-file", tokens_file, "--out",
                out.name, *options)
        if p.returncode:
            raise RuntimeError("penstock logits %s: exit %d: %s" % (
                " ".join(map(str, options)), p.returncode,
                p.stderr.decode(errors="replace").strip()))
        with open(out.name, "rb") as f:
            return f.read()


def cases(where):
    """Golden cases below a folder: (name, folder, case.json)."""
    for name in sorted(os.listdir(where)):
        path = os.path.join(where, name, "case.json")
        if os.path.exists(path):
            with open(path) as f:
                yield name, os.path.join(where, name), json.load(f)


class Tap:
    """Counts and prints TAP; exit_code() for the end."""

    def __init__(self):
        self.nr = 0
        self.failed = 0

    def check(self, ok, name, why=""):
        self.nr += 1
        if not ok:
            self.failed += 1
        print("%s %d - %s%s" % ("ok" if ok else "not ok", self.nr, name,
                                "" if ok or not why else ": " + str(why)),
              flush=True)
        return ok

    def done(self):
        print("1..%d" % self.nr)
        sys.exit(1 if self.failed or not self.nr else 0)
