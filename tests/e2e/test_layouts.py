#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The same weights in another layout give the same bytes: gate and up of the
experts in one tensor, q, k and v in one tensor, and both, streamed too."""
import os
import re
import sys
import tempfile

import pst_e2e as e2e

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(e2e.SRC, "scripts"))
try:
    import gguf_io as gguf
    from gguf_io import np
except SystemExit as err:
    e2e.skip(str(err))

QKV = re.compile(r"blk\.(\d+)\.attn_([qkv])\.weight$")
EXPERTS = re.compile(r"blk\.(\d+)\.ffn_(gate|up)_exps\.weight$")


def rows(model, name):
    t = model.find(name)
    return np.asarray(model.data(t)).reshape(-1)


def fused_qkv(model, layer):
    names = ["blk.%s.attn_%s.weight" % (layer, x) for x in "qkv"]
    parts = [model.find(n) for n in names]
    if len({t.type for t in parts}) != 1:
        raise ValueError("q, k and v have different types")
    dims = [parts[0].dims[0], sum(t.dims[1] for t in parts)]
    return ("blk.%s.attn_qkv.weight" % layer, dims, parts[0].type,
            np.concatenate([rows(model, n) for n in names]))


def fused_experts(model, layer):
    gate = model.find("blk.%s.ffn_gate_exps.weight" % layer)
    n_in, ff, nr = gate.dims
    both = [rows(model, "blk.%s.ffn_%s_exps.weight" % (layer, x)).reshape(
        nr, -1) for x in ("gate", "up")]
    return ("blk.%s.ffn_gate_up_exps.weight" % layer, [n_in, 2 * ff, nr],
            gate.type, np.concatenate(both, axis=1).reshape(-1))


def rewrite(model, path, qkv, experts):
    out = gguf.Writer(path, model.alignment)
    for key, (vtype, raw) in model.kv.items():
        out.add_raw(key, vtype, raw)
    for t in model.tensors:
        q, e = QKV.match(t.name), EXPERTS.match(t.name)
        made = None
        if qkv and q:
            if q.group(2) != "q":
                continue
            made = fused_qkv(model, q.group(1))
        elif experts and e:
            if e.group(2) != "gate":
                continue
            made = fused_experts(model, e.group(1))
        name, dims, ttype, data = made or (t.name, t.dims, t.type,
                                           model.data(t))
        out.add_tensor(name, dims, ttype, lambda data=data: [data])
    out.write()


def one_unpacking(model, path):
    """attn_kv_b for attn_k_b and attn_v_b, with the keys of that layout."""
    out, arch = gguf.Writer(path, model.alignment), "deepseek2.attention."
    hd = model.get(arch + "key_length_mla")
    hd_v = model.get(arch + "value_length_mla")
    new = {arch + "key_length": hd, arch + "value_length": hd_v,
           arch + "head_count_kv": model.get(arch + "head_count")}
    for key, (vtype, raw) in model.kv.items():
        if key in new:
            raw = new[key].to_bytes(4, "little")
        if not key.endswith("_length_mla"):
            out.add_raw(key, vtype, raw)
    for t in model.tensors:
        name, dims, data = t.name, t.dims, model.data(t)
        if name.endswith("attn_v_b.weight"):
            continue
        if name.endswith("attn_k_b.weight"):
            nope, rank, heads = dims
            vs = np.frombuffer(model.data(model.find(name.replace(
                "k_b", "v_b"))), np.float16).reshape(heads, hd_v, rank)
            ks = np.frombuffer(data, np.float16).reshape(heads, rank, nope)
            data = np.concatenate([ks.transpose(0, 2, 1), vs], axis=1)
            data = np.ascontiguousarray(data).tobytes()
            name = name.replace("k_b", "kv_b")
            dims = [rank, heads * (nope + hd_v)]
        out.add_tensor(name, dims, t.type, lambda data=data: [data])
    out.write()


def check_unpacking(tap):
    """Heads unpacked by one matrix: the same sums in another order."""
    for case in ("deepseek2-v3", "deepseek2-v2lite"):
        folder = os.path.join(e2e.GOLDEN, "logits", case)
        tokens = os.path.join(folder, "tokens.json")
        if not os.path.isdir(folder):
            print("# %s is not there" % folder)
            continue
        with open(os.path.join(folder, "logits_true.f32"), "rb") as f:
            ref = np.frombuffer(f.read(), np.float32).astype(np.float64)
        with tempfile.TemporaryDirectory() as tmp:
            made = os.path.join(tmp, "model.gguf")
            one_unpacking(gguf.Reader(os.path.join(folder, "model.gguf")),
                          made)
            want = e2e.logits(made, tokens, "--kv-type", "f32")
            err = ref - np.frombuffer(want, np.float32)
            nmse = (err * err).sum() / (ref * ref).sum()
            tap.check(nmse <= 1e-9, case + ", attn_kv_b", "NMSE %g" % nmse)
            print("# NMSE %.3g" % nmse)
            for opts in (["--batch-size", "1"], ["--batch-size", "7"],
                         ["--expert-cache", "4experts"]):
                tap.check(e2e.logits(made, tokens, "--kv-type", "f32",
                                     *opts) == want,
                          case + ", attn_kv_b, " + " ".join(opts))


def main():
    tap = e2e.Tap()
    check_unpacking(tap)
    for case in ("llama-mixtral", "olmoe", "q-qwen3moe-Q8_0"):
        folder = os.path.join(e2e.DATA, "logits", case)
        path = os.path.join(folder, "model.gguf")
        tokens = os.path.join(folder, "tokens.json")
        model = gguf.Reader(path)
        want = e2e.logits(path, tokens)
        used = next(model.get(k) for k in model.kv
                    if k.endswith("expert_used_count"))
        with tempfile.TemporaryDirectory() as tmp:
            made = os.path.join(tmp, "model.gguf")
            for qkv, experts in ((1, 0), (0, 1), (1, 1)):
                rewrite(model, made, qkv, experts)
                name = "%s, fused%s%s" % (case, " qkv" * qkv,
                                          " gate_up" * experts)
                tap.check(e2e.logits(made, tokens) == want, name)
                tap.check(e2e.logits(made, tokens, "--expert-cache",
                                     "%dexperts" % used) == want,
                          name + ", streamed")
    tap.done()


if __name__ == "__main__":
    main()
