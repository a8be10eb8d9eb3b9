#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Tables that stay on the drive: the same bytes as with all of them in memory,
whatever the batch, the way of reading and what the drive does; the plan and the
ceiling know of it; a drive that fails ends the run with the table's name."""
import json
import os
import random
import re
import subprocess
import sys
import tempfile

import pst_e2e as e2e

sys.dont_write_bytecode = True
try:
    import public_tables
except SystemExit as err:
    e2e.skip(str(err))

SEED = int(os.environ.get("PENSTOCK_SEED", "20261121"))
MIB = 1 << 20
NR_TOKENS = 40
SMALL = ("-c", "256", "--batch-size", "16")


def script(name, *args):
    p = subprocess.run([os.path.join(e2e.SRC, "scripts", name),
                        *map(str, args)], capture_output=True, text=True)
    if p.returncode:
        e2e.skip("no model: " + (p.stderr.strip() or name))


class Model:
    def __init__(self, tmp, name, rng):
        self.path = os.path.join(tmp, name + ".gguf")
        self.tokens = os.path.join(tmp, name + ".json")
        self.make(tmp)
        self.vocab = self.show()["geometry"]["tables_on_drive_bytes"] // \
            self.show()["geometry"]["rows_per_token_bytes"]
        some = [rng.randrange(self.vocab) for _ in range(NR_TOKENS // 2)]
        # Repeated ones, the first and the last of the table.
        ids = some + [0, self.vocab - 1] + rng.choices(some,
                                                       k=NR_TOKENS // 2 - 2)
        with open(self.tokens, "w") as f:
            json.dump(ids, f)
        self.want = e2e.logits(self.path, self.tokens, "--resident")

    def show(self):
        return json.loads(e2e.run("show", self.path, "-o", "json").stdout)


class BlockTable(Model):
    """Gemma 4's small models in small: its other table is the output too."""

    table = "per_layer_token_embd.weight"
    options = ()

    def make(self, tmp):
        header = os.path.join(tmp, "header")
        public_tables.gemma4_e2b(7, 1, 16384, 256, 512).write(header)
        script("make-random-like", header, self.path)


class Embeddings(Model):
    """Experts beside it, that share the ring and the memory."""

    table = "token_embd.weight"
    options = ("--expert-cache", "9experts", "--prefetch", "next")

    def make(self, tmp):
        script("make-random-model", self.path, "--tiny", "--vocab", 70000)


def test_same_bytes(tap, m, rng):
    for how in (["--io", "uring"], ["--io", "pread"], ["--io", "mmap"],
                ["--batch-size", "1"], ["--batch-size", "7"],
                ["--direct", "off"], ["--threads", "1"]):
        got = e2e.logits(m.path, m.tokens, *how, *(
            m.options if "mmap" not in how else ()))
        tap.check(got == m.want, "%s, %s" % (m.table, " ".join(how)))
    for spec in ("short=0.4", "eagain=0.4", "shuffle=1,delay_us=200",
                 "short=0.3,eagain=0.3,shuffle=1"):
        spec = "seed=%d,%s" % (rng.randrange(1 << 30), spec)
        got = e2e.logits(m.path, m.tokens, "--io-fault", spec,
                         "--batch-size", "8", *m.options)
        tap.check(got == m.want, "%s, %s" % (m.table, spec))


def test_dead_drive(tap, m, tmp):
    """The trunk is read first: after it, the first reads are a token's rows."""
    out = os.path.join(tmp, "out")
    told = re.compile(r"\.gguf: cannot read row \d+ of '%s': .*"
                      r"\(at byte \d+\)$" % re.escape(m.table))
    met = 0
    for at in range(1, 60):
        p = e2e.run("logits", m.path, "--tokens-file", m.tokens, "--out", out,
                    "--io-fault", "eio_at=%d" % at, *m.options)
        words = p.stderr.decode().strip()
        if m.table not in words:
            continue
        met += 1
        tap.check(p.returncode == 74 and told.search(words) and
                  not os.path.exists(out), "%s: eio_at=%d" % (m.table, at),
                  words)
        if met == 3:
            return
    tap.check(False, "%s: three faults meet the table" % m.table)


def test_counted(tap, m):
    plans = {}
    for held in (False, True):
        p = e2e.run("plan", m.path, "--ram", "512M", "-o", "json",
                    *(["--resident"] if held else []))
        plans[held] = json.loads(p.stdout)
    left = m.show()["geometry"]["tables_on_drive_bytes"]
    tap.check(plans[False]["tables"]["on_drive_bytes"] == left,
              "%s: the plan's tables" % m.table, plans[False])
    less = (plans[True]["memory"]["trunk_bytes"] -
            plans[False]["memory"]["trunk_bytes"])
    # Both are whole huge pages.
    tap.check(abs(less - left) <= 2 * MIB, "%s: the trunk is smaller" %
              m.table, (less, left))
    tap.check("tables" not in plans[True], "%s: --resident holds it" % m.table)


def test_ceiling(tap, m):
    """Less memory than the tables alone would leave."""
    held = json.loads(e2e.run("plan", m.path, "--ram", "512M", "-o", "json",
                              "--resident", *SMALL).stdout)["memory"]
    ram = held["sum_bytes"] - 8 * MIB
    ask = ("run", m.path, "--ram", ram, "-n", "4", "--raw", "--temp", "0",
           "-o", "json", *SMALL, "hello")
    p = e2e.run(*ask, "--resident")
    tap.check(p.returncode == 71, "%s: %d MiB do not hold all" % (
        m.table, ram // MIB), p.stderr)
    p = e2e.run(*ask)
    if not tap.check(p.returncode == 0, "%s: streamed it runs" % m.table,
                     p.stderr):
        return
    s = json.loads(p.stdout)["stats"]
    tap.check(s["peak_bytes"] <= ram, "%s: the ceiling holds" % m.table, s)
    tap.check(0 < s["rows_read"] <= s["rows"] >= s["prompt_tokens"],
              "%s: rows are counted" % m.table, s)


def main():
    tap = e2e.Tap()
    rng = random.Random(SEED)
    print("# PENSTOCK_SEED=%d" % SEED)
    with tempfile.TemporaryDirectory() as tmp:
        for kind in (BlockTable, Embeddings):
            m = kind(tmp, kind.__name__, rng)
            test_same_bytes(tap, m, rng)
            test_dead_drive(tap, m, tmp)
            test_counted(tap, m)
            test_ceiling(tap, m)
    tap.done()


if __name__ == "__main__":
    main()
