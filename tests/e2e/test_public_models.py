#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Published models by their headers alone (public_tables.py).
`show` must find the bytes of a token's experts and of what is always resident;
the figures to compare with were computed apart from this program, from published
configurations, and agree with the sizes of published files within 0.3 %."""
import json
import os
import sys
import tempfile

import pst_e2e as e2e

sys.dont_write_bytecode = True
try:
    from public_tables import MODELS, olmoe
except SystemExit as err:
    e2e.skip(str(err))

GB = 1e9
# The figures have two to four digits; what is resident is without small biases.
MAX_ERROR = 0.01


def run_json(tap, verb, path, *options):
    p = e2e.run(verb, path, "--header-only", "-o", "json", *options)
    # A plan that does not fit this machine is one all the same.
    if p.returncode and (verb, p.returncode) != ("plan", 71):
        tap.check(False, "%s %s" % (verb, path), p.stderr.decode())
        return None
    return json.loads(p.stdout)


def near(got, want):
    return abs(got / GB - want) <= max(MAX_ERROR * want, 0.0051)


def check_model(tap, tmp, name, table, resident, experts):
    path = os.path.join(tmp, "model.gguf")
    table.write(path)
    shown = run_json(tap, "show", path)
    if not shown:
        return
    g = shown.get("geometry")
    if not tap.check(bool(g), "%s: the family knows its tensors" % name,
                     shown["general"].get("unsupported_because")):
        return
    # The figures know of no tables that stay on the drive.
    left = g["tables_on_drive_bytes"]
    row = g["rows_per_token_bytes"]
    tap.check(near(g["resident_bytes"] + left, resident),
              "%s: resident" % name, "%.3f GB and %.3f GB, not %.2f" % (
                  g["resident_bytes"] / GB, left / GB, resident))
    tap.check(left == table.left_bytes() and row * table.vocab == left,
              "%s: tables on the drive" % name, g)
    tap.check(near(g["experts_per_token_bytes"], experts),
              "%s: experts of a token" % name, "%.3f GB, not %.3f" % (
                  g["experts_per_token_bytes"] / GB, experts))
    tap.check(g["left_out_bytes"] == 0, "%s: nothing is left out" % name)
    plan = run_json(tap, "plan", path, "--ram", "64G", "--ctx-size", "4096")
    if plan:
        tap.check(near(plan["memory"]["trunk_bytes"] + left, resident),
                  "%s: the plan's trunk" % name, plan["memory"])
        tap.check(plan.get("tables", {}).get("on_drive_bytes", 0) == left,
                  "%s: the plan's tables" % name, plan)
    plan = run_json(tap, "plan", path, "--ram", "64G", "--ctx-size", "4096",
                    "--resident")
    if plan:
        tap.check(near(plan["memory"]["trunk_bytes"], resident) and
                  "tables" not in plan,
                  "%s: the trunk, all of it resident" % name, plan)


def check_refusals(tap, tmp):
    path = os.path.join(tmp, "model.gguf")
    olmoe().write(path)
    for verb in (["show"], ["plan"], ["run", "--header-only"]):
        p = e2e.run(verb[0], path, *verb[1:])
        tap.check(p.returncode in (2, 65) and p.stderr.count(b"\n") == 1,
                  "%s refuses a file without data" % " ".join(verb),
                  p.stderr)
    p = e2e.run("show", path, "--header-only", "--tensor",
                "token_embd.weight", "--f32", os.path.join(tmp, "x"))
    tap.check(p.returncode == 2, "show has no values of such a file",
              p.stderr)


def main():
    tap = e2e.Tap()
    with tempfile.TemporaryDirectory() as tmp:
        for name, table, resident, experts in MODELS:
            check_model(tap, tmp, name, table, resident, experts)
        check_refusals(tap, tmp)
    tap.done()


if __name__ == "__main__":
    main()
