#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Logits against the references: every golden case of the families that are
supported, on every level of instruction set that this machine has.

Bounds: float weights 1e-9; with keys and values in F16 the error of llama.cpp,
which keeps these in F32 and rounds activations to F16 where the weights are (else
1e-6); quantised weights 1.5 times the error of llama.cpp, which rounds activations
to 8 bits as well.

No position is left out.  Where that rounding turns a near tie of two experts (at
one position in 32 at most) the case is run again with the routing of the same
weights in float32, and all positions are within the bound then. With --activations
q16 every case is within a narrower bound, all positions, by its own routing."""
import array
import json
import os
import platform
import sys
import tempfile

import pst_e2e as e2e

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(e2e.SRC, "scripts"))
try:
    import gguf_io as gguf
except SystemExit as err:
    e2e.skip(str(err))

FAMILIES = ("deepseek2", "deepseek32", "deepseek4", "glm-dsa",
            "llama", "qwen2", "qwen3", "qwen3moe", "olmoe", "gpt-oss",
            "qwen2moe", "glm4moe", "minimax-m2", "minimax-m3", "granite",
            "granitemoe", "ernie4_5-moe", "hunyuan-moe", "dots1", "bailingmoe2", "llama4",
            "phi3", "gemma3", "gemma4", "bert", "qwen3next",
            "qwen35moe", "kimi-linear", "kimi-k3")
MLA = ("deepseek2", "deepseek32", "glm-dsa", "kimi-linear", "kimi-k3")
FLOATS = {"F32", "F16", "BF16"}
# Types that must be computed; a case with others may be refused instead.
TYPES = FLOATS | {"Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K",
                  "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS", "MXFP4",
                  "IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS",
                  "IQ3_S", "TQ1_0", "TQ2_0", "Q1_0", "Q2_0", "NVFP4"}
# Activations of 15 bits: 2e-8 was the most measured.
Q16_NMSE = 1e-6
# In the order of the levels, with the flags of /proc/cpuinfo that each needs.
# Of random models with 8-bit keys and values; 0.001 was the most measured.
Q8_0_NMSE = 2e-3
LEVELS = (("c", ()), ("avx2", ("avx2", "fma", "f16c")),
          ("avxvnni", ("avx_vnni",)),
          ("avx512", ("avx512f", "avx512bw", "avx512vl", "avx512dq", "bmi2")),
          ("vnni", ("avx512_vnni",)))
if platform.machine() == "aarch64":
    LEVELS = (("c", ()), ("neon", ("asimd",)), ("dotprod", ("asimddp",)))


def levels():
    with open("/proc/cpuinfo") as f:
        flags = next((line.split() for line in f
                      if line.startswith(("flags", "Features"))), [])
    for name, needs in LEVELS:
        if set(needs) <= set(flags):
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


class Exact:
    """A quantised model's weights in float32, and how it routes: what the
    quantised one is measured against where rounding turns a choice."""

    def __init__(self, model, tokens, tmp):
        self.path = os.path.join(tmp, "exact.gguf")
        self.trace = os.path.join(tmp, "exact.csv")
        self.free = os.path.join(tmp, "free.csv")
        self.dequantise(model, os.path.join(tmp, "tensor.f32"))
        self.logits = floats(e2e.logits(self.path, tokens, "--record",
                                        self.trace))

    def dequantise(self, model, scratch):
        source = gguf.Reader(model)
        out = gguf.Writer(self.path, source.alignment)
        for key, (vtype, raw) in source.kv.items():
            out.add_raw(key, vtype, raw)
        for t in source.tensors:
            out.add_tensor(t.name, t.dims, 0, lambda t=t: [
                self.values(model, t.name, scratch)])
        out.write()

    @staticmethod
    def values(model, name, scratch):
        p = e2e.run("show", model, "--tensor", name, "--f32", scratch)
        if p.returncode:
            raise RuntimeError(p.stderr.decode(errors="replace"))
        return gguf.np.fromfile(scratch, gguf.np.uint8)

    def turned(self):
        """Positions at which the free run took other experts."""
        return sorted({at[0] for at, _ in
                       choices(self.free) ^ choices(self.trace)})


def choices(trace):
    """{((position, layer), experts)} of a trace."""
    rows = {}
    with open(trace) as f:
        for line in f:
            cells = line.split(",")
            if cells[0] in ("prefill", "decode"):
                rows.setdefault((int(cells[1]), int(cells[2])), set()).add(
                    int(cells[4]))
    return {(at, frozenset(experts)) for at, experts in rows.items()}


def check_unsupported(tap, name, case, p):
    err = p.stderr.decode(errors="replace")
    strange = set(case["weight_types"]) - TYPES
    tap.check(p.returncode == 69 and err.count("\n") == 1 and
              any(" %s:" % t in err for t in strange),
              "%s: %s is refused by name" % (name, ", ".join(strange)),
              "exit %d: %s" % (p.returncode, err.strip()))


def run_case(case, model, tokens, options, exact):
    """Logits of a run; with the exact model's routing where some other choice
    was made, at one position in 32 at most."""
    if not exact:
        return floats(e2e.logits(model, tokens, *options))
    got = floats(e2e.logits(model, tokens, *options, "--record", exact.free))
    turned = exact.turned()
    if not turned:
        return got
    print("# other experts at %s" % turned)
    if len(turned) * 32 > case["n_tokens"]:
        raise RuntimeError("rounding turns choices at %s" % turned)
    return floats(e2e.logits(model, tokens, *options, "--routing",
                             exact.trace))


def check_case(tap, name, folder, case, exact=None):
    model = os.path.join(folder, case["files"][0])
    tokens = os.path.join(folder, "tokens.json")
    with open(os.path.join(folder, case["reference"]), "rb") as f:
        ref = floats(f.read())
    if exact:
        tap.check(nmse(ref, exact.logits) <= 1e-9,
                  "%s: the weights in float32" % name,
                  "NMSE %.3g" % nmse(ref, exact.logits))
    for cpu in levels():
        for kv in ("f32", "f16"):
            what = "%s, --cpu %s, --kv-type %s" % (name, cpu, kv)
            limit = bound(case, kv)
            try:
                err = nmse(ref, run_case(case, model, tokens, (
                    "--cpu", cpu, "--kv-type", kv), exact))
            except RuntimeError as e:
                tap.check(False, what, e)
                continue
            tap.check(err <= limit, what,
                      "NMSE %.3g, at most %.3g" % (err, limit))
            print("# NMSE %.3g of %.3g" % (err, limit))
            check_mla(tap, what, case, (
                model, tokens, "--cpu", cpu, "--kv-type", kv), ref, limit)
            check_q16(tap, what, case, (
                model, tokens, "--cpu", cpu, "--kv-type", kv), ref)
    # Other experts would be chosen now and then.
    if set(case["weight_types"]) <= FLOATS and not case["moe_layers"]:
        err = nmse(ref, floats(e2e.logits(model, tokens, "--kv-type",
                                          "q8_0")))
        tap.check(err <= Q8_0_NMSE, name + ", --kv-type q8_0",
                  "NMSE %.3g, at most %.3g" % (err, Q8_0_NMSE))


def check_mla(tap, what, case, args, ref, limit):
    """Latent attention in its other form."""
    if case["arch"] in MLA and set(case["weight_types"]) <= FLOATS:
        err = nmse(ref, floats(e2e.logits(*args, "--mla", "decompressed")))
        tap.check(err <= limit, what + ", --mla decompressed",
                  "NMSE %.3g, at most %.3g" % (err, limit))


def check_q16(tap, what, case, args, ref):
    """Finer activations: nothing is left out or forced."""
    if set(case["weight_types"]) <= FLOATS:
        return
    limit = min(1.5 * case["nmse_llamacpp_vs_true"], Q16_NMSE)
    err = nmse(ref, floats(e2e.logits(*args, "--activations", "q16")))
    tap.check(err <= limit, what + ", --activations q16",
              "NMSE %.3g, at most %.3g" % (err, limit))
    print("# NMSE %.3g of %.3g" % (err, limit))


def check_long_mla(tap, name, folder, case):
    """With quantised weights the other form pays in texts longer than the golden
    ones; finer activations show that it computes the same."""
    if case["arch"] not in MLA or set(case["weight_types"]) <= FLOATS:
        return
    model = os.path.join(folder, case["files"][0])
    with tempfile.NamedTemporaryFile("w", suffix=".json") as text:
        json.dump([(i * 7919 + 13) % (case["n_vocab"] - 8)
                   for i in range(250)], text)
        text.flush()
        want, got = (floats(e2e.logits(
            model, text.name, "--ctx-size", "256", "--activations", "q16",
            "--mla", form)) for form in ("absorbed", "decompressed"))
    tap.check(want != got, name + ", long: the forms differ")
    tap.check(nmse(want, got) <= Q16_NMSE, name + ", long: by little",
              "NMSE %.3g" % nmse(want, got))


def check(tap, name, folder, case):
    model = os.path.join(folder, case["files"][0])
    types = set(case["weight_types"])
    if not types <= TYPES:
        p = e2e.run("logits", model, "--tokens", "1", "--out", "/dev/null")
        if p.returncode:
            check_unsupported(tap, name, case, p)
            return
    if types <= FLOATS or not case["moe_layers"]:
        check_case(tap, name, folder, case)
        return
    with tempfile.TemporaryDirectory() as tmp:
        check_case(tap, name, folder, case, Exact(
            model, os.path.join(folder, "tokens.json"), tmp))


def main():
    where = os.path.join(e2e.GOLDEN, "logits")
    if not os.path.isdir(where):
        where = os.path.join(e2e.DATA, "logits")
    print("# references in " + where)
    tap = e2e.Tap()
    for name, folder, case in e2e.cases(where):
        if case["arch"] in FAMILIES:
            check(tap, name, folder, case)
            check_long_mla(tap, name, folder, case)
    tap.done()


if __name__ == "__main__":
    main()
