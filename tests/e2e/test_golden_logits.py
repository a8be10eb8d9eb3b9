#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Logits against the references: every golden case of the families that are
supported, on every level of instruction set that this machine has.

Bounds: float weights 1e-9; with keys and values in F16 the error of llama.cpp,
which keeps these in F32 and rounds activations to F16 where the weights are (else
1e-6); quantised weights
1.5 times the error of llama.cpp, which rounds activations to 8 bits as well,
a position where that turns a choice of experts left out."""
import array
import os
import platform
import sys

import pst_e2e as e2e

FAMILIES = ("deepseek2", "deepseek32", "deepseek4", "glm-dsa",
            "llama", "qwen2", "qwen3", "qwen3moe", "olmoe", "gpt-oss",
            "qwen2moe", "glm4moe", "minimax-m2", "minimax-m3", "granite",
            "granitemoe", "ernie4_5-moe", "hunyuan-moe", "dots1", "bailingmoe2", "llama4",
            "phi3", "gemma3", "gemma4", "bert", "qwen3next",
            "qwen35moe", "kimi-linear", "kimi-k3")
FLOATS = {"F32", "F16", "BF16"}
# Types that must be computed; a case with others may be refused instead.
TYPES = FLOATS | {"Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K",
                  "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS", "MXFP4",
                  "IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS",
                  "IQ3_S", "TQ1_0", "TQ2_0", "Q1_0", "Q2_0", "NVFP4"}
# In the order of the levels, with the flags of /proc/cpuinfo that each needs.
LEVELS = (("c", ()), ("avx2", ("avx2", "fma", "f16c")),
          ("avx512", ("avx512f", "avx512bw", "avx512vl", "avx512dq")),
          ("vnni", ("avx512_vnni",)))
if platform.machine() == "aarch64":
    LEVELS = (("c", ()), ("neon", ("asimd",)), ("dotprod", ("asimddp",)))


def levels():
    with open("/proc/cpuinfo") as f:
        flags = next((line.split() for line in f
                      if line.startswith(("flags", "Features"))), [])
    for name, needs in LEVELS:
        if not set(needs) <= set(flags):
            return
        yield name


def floats(data):
    a = array.array("f")
    a.frombytes(data)
    if sys.byteorder == "big":
        a.byteswap()
    return a


def nmse(ref, got):
    """NaN and infinity anywhere make the result NaN or infinite."""
    if len(ref) != len(got):
        return float("inf")
    return (sum((r - g) * (r - g) for r, g in zip(ref, got)) /
            sum(r * r for r in ref))


def bound(case, kv):
    if set(case["weight_types"]) <= FLOATS:
        # A reference with flash attention has itself rounded to 16 bits.
        if case.get("flash_attention"):
            return 1e-6
        if kv == "f32":
            return 1e-9
        return 1e-6 if set(case["weight_types"]) == {"F32"} else case[
            "nmse_llamacpp_vs_true"]
    return 1.5 * case["nmse_llamacpp_vs_true"]


def without_flips(case, ref, got, limit):
    """Rounding to 8 bits may turn a near tie of two experts: one position in
    32 is left out when its error is far from what rounding alone gives."""
    n = case["n_vocab"]
    if set(case["weight_types"]) <= FLOATS or len(ref) != len(got):
        return ref, got
    rows = range(0, len(ref), n)
    flips = [i for i in rows
             if nmse(ref[i:i + n], got[i:i + n]) > 10 * limit]
    if not flips or len(flips) * 32 > len(rows):
        return ref, got
    print("# left out: position %s" % [i // n for i in flips])
    keep = [i for i in rows if i not in flips]
    return ([x for i in keep for x in ref[i:i + n]],
            [x for i in keep for x in got[i:i + n]])


def check_unsupported(tap, name, case, p):
    err = p.stderr.decode(errors="replace")
    strange = set(case["weight_types"]) - TYPES
    tap.check(p.returncode == 69 and err.count("\n") == 1 and
              any(" %s:" % t in err for t in strange),
              "%s: %s is refused by name" % (name, ", ".join(strange)),
              "exit %d: %s" % (p.returncode, err.strip()))


def check_case(tap, name, folder, case):
    model = os.path.join(folder, case["files"][0])
    tokens = os.path.join(folder, "tokens.json")
    with open(os.path.join(folder, case["reference"]), "rb") as f:
        ref = floats(f.read())
    if not set(case["weight_types"]) <= TYPES:
        p = e2e.run("logits", model, "--tokens", "1", "--out", "/dev/null")
        if p.returncode:
            check_unsupported(tap, name, case, p)
            return
    for cpu in levels():
        for kv in ("f32", "f16"):
            what = "%s, --cpu %s, --kv-type %s" % (name, cpu, kv)
            try:
                got = floats(e2e.logits(model, tokens, "--cpu", cpu,
                                        "--kv-type", kv))
                limit = bound(case, kv)
                err = nmse(*without_flips(case, ref, got, limit))
            except RuntimeError as e:
                tap.check(False, what, e)
                continue
            tap.check(err <= limit, what,
                      "NMSE %.3g, at most %.3g" % (err, limit))
            print("# NMSE %.3g of %.3g" % (err, limit))


def main():
    where = os.path.join(e2e.GOLDEN, "logits")
    if not os.path.isdir(where):
        where = os.path.join(e2e.DATA, "logits")
    print("# references in " + where)
    tap = e2e.Tap()
    for name, folder, case in e2e.cases(where):
        if case["arch"] in FAMILIES:
            check_case(tap, name, folder, case)
    tap.done()


if __name__ == "__main__":
    main()
