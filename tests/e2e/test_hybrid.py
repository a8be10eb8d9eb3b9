#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Families with recurrent blocks against a reference in float64, on random
models whose numbers are all different: heads of keys and of values, their
lengths, both layouts of the inputs, and blocks of prediction that are left
out.  The same bits in chunks of any length and streamed."""
import json
import os
import tempfile

import hybrid_model
import pst_e2e as e2e
from float64_model import gguf, nmse, np

MAX_NMSE = 1e-9
# Activations are rounded to 8 bits as well.
MAX_NMSE_Q8 = 0.05
NR_TOKENS = 70
SEED = int(os.environ.get("PENSTOCK_SEED", "21"))
VOCAB, EMBD, HEADS, FF, EXPERTS, USED, FF_EXP = 50, 96, 4, 80, 8, 3, 32
HD, KV = 32, 2
N_K, N_V, DK, DV, TAPS = 2, 6, 24, 16, 4
RANK, Q_RANK, NOPE, ROT, HD_V, KDA = 40, 24, 20, 12, 16, 32
LATENT = 64


def common(arch, layers):
    keys = {"block_count": layers, "context_length": 4096,
            "embedding_length": EMBD, "feed_forward_length": FF,
            "attention.head_count": HEADS,
            "attention.layer_norm_rms_epsilon": 1e-5}
    if arch != "qwen35":
        keys.update({"expert_count": EXPERTS, "expert_used_count": USED,
                     "expert_feed_forward_length": FF_EXP})
    return keys


def dense_shapes():
    return {"ffn_gate": (FF, EMBD), "ffn_up": (FF, EMBD),
            "ffn_down": (EMBD, FF)}


def moe_shapes(width=EMBD):
    return {"ffn_gate_inp": (EXPERTS, EMBD),
            "ffn_gate_exps": (EXPERTS, FF_EXP, width),
            "ffn_up_exps": (EXPERTS, FF_EXP, width),
            "ffn_down_exps": (EXPERTS, width, FF_EXP),
            "ffn_gate_shexp": (FF_EXP, EMBD), "ffn_up_shexp": (FF_EXP, EMBD),
            "ffn_down_shexp": (EMBD, FF_EXP)}


def qwen_block(arch, layer, one_matrix):
    blk = {"attn_norm": (EMBD,), "post_attention_norm": (EMBD,)}
    if layer % 2:
        blk.update({"attn_q": (2 * HEADS * HD, EMBD), "attn_k": (KV * HD, EMBD),
                    "attn_v": (KV * HD, EMBD), "attn_q_norm": (HD,),
                    "attn_k_norm": (HD,), "attn_output": (EMBD, HEADS * HD)})
    else:
        channels = 2 * N_K * DK + N_V * DV
        blk.update({"ssm_conv1d": (channels, TAPS), "ssm_a": (N_V,),
                    "ssm_dt.bias": (N_V,), "ssm_norm": (DV,),
                    "ssm_out": (EMBD, N_V * DV)})
        if one_matrix:
            blk["ssm_in"] = (channels + N_V * DV, EMBD)
        else:
            blk.update({"attn_qkv": (channels, EMBD),
                        "attn_gate": (N_V * DV, EMBD)})
        if arch == "qwen3next":
            blk["ssm_ba"] = (2 * N_V, EMBD)
        else:
            blk.update({"ssm_beta": (N_V, EMBD), "ssm_alpha": (N_V, EMBD)})
    if arch == "qwen35":
        blk.update(dense_shapes())
    else:
        blk.update(moe_shapes())
        blk["ffn_gate_inp_shexp"] = (EMBD,)
    return blk


def qwen(arch, one_matrix=False):
    """Four blocks, and one of prediction that must not be looked at."""
    keys = common(arch, 5)
    keys.update({"nextn_predict_layers": 1, "full_attention_interval": 2,
                 "attention.head_count_kv": KV, "attention.key_length": HD,
                 "attention.value_length": HD, "rope.dimension_count": 16,
                 "rope.freq_base": 1e4, "ssm.conv_kernel": TAPS,
                 "ssm.state_size": DK, "ssm.group_count": N_K,
                 "ssm.time_step_rank": N_V, "ssm.inner_size": N_V * DV})
    if arch != "qwen35":
        keys["expert_shared_feed_forward_length"] = FF_EXP
    return keys, [qwen_block(arch, i, one_matrix) for i in range(4)]


def latent_shapes(arch):
    blk = {"attn_kv_a_mqa": (RANK + ROT, EMBD), "attn_kv_a_norm": (RANK,),
           "attn_k_b": (HEADS, RANK, NOPE), "attn_v_b": (HEADS, HD_V, RANK),
           "attn_output": (EMBD, HEADS * HD_V)}
    if arch == "kimi-linear":
        blk["attn_q"] = (HEADS * (NOPE + ROT), EMBD)
    else:
        blk.update({"attn_q_a": (Q_RANK, EMBD), "attn_q_a_norm": (Q_RANK,),
                    "attn_q_b": (HEADS * (NOPE + ROT), Q_RANK),
                    "attn_gate": (HEADS * HD_V, EMBD)})
    return blk


def kda_shapes(arch):
    wide = HEADS * KDA
    blk = {"attn_" + c: (wide, EMBD) for c in "qkv"}
    blk.update({"ssm_conv1d_" + c: (wide, 1, TAPS) for c in "qkv"})
    blk.update({"ssm_f_a": (KDA, EMBD), "ssm_f_b": (wide, KDA),
                "ssm_a": (HEADS, 1), "ssm_dt.bias": (wide,),
                "ssm_beta": (HEADS, EMBD), "ssm_norm": (KDA,),
                "attn_output": (EMBD, wide)})
    if arch == "kimi-linear":
        blk.update({"ssm_g_a": (KDA, EMBD), "ssm_g_b": (wide, KDA)})
    else:
        blk["ssm_g"] = (wide, EMBD)
    return blk


def kimi_block(arch, layer):
    blk = {"attn_norm": (EMBD,), "ffn_norm": (EMBD,)}
    blk.update(latent_shapes(arch) if layer in (1, 4) else kda_shapes(arch))
    if not layer:
        blk.update(dense_shapes())
    else:
        blk.update(moe_shapes(EMBD if arch == "kimi-linear" else LATENT))
        blk["exp_probs_b.bias"] = (EXPERTS,)
    if arch == "kimi-k3":
        blk.update({"attn_res_score": (EMBD,), "ffn_res_score": (EMBD,)})
        if layer:
            blk.update({"ffn_routed_down": (LATENT, EMBD),
                        "ffn_routed_up": (EMBD, LATENT)})
            # The norm may be missing.
            if layer != 2:
                blk["ffn_routed_norm"] = (LATENT,)
    return blk


def kimi(arch):
    layers = 5
    keys = common(arch, layers)
    keys.update({"attention.head_count_kv": [0, 1, 0, 0, 1],
                 "attention.key_length": RANK + ROT,
                 "attention.key_length_mla": NOPE + ROT,
                 "attention.value_length_mla": HD_V,
                 "attention.kv_lora_rank": RANK, "rope.dimension_count": ROT,
                 "ssm.conv_kernel": TAPS, "kda.head_dim": KDA,
                 "expert_shared_count": 1, "leading_dense_block_count": 1,
                 "expert_weights_scale": 1.5, "expert_gating_func": 2})
    if arch == "kimi-k3":
        keys.update({"attention.q_lora_rank": Q_RANK,
                     "kda.gate_lower_bound": -5.0,
                     "expert_latent_length": LATENT, "attn_res.block_size": 2,
                     "activation.situ_beta": 1.5,
                     "activation.situ_linear_beta": 3.0})
    return keys, [kimi_block(arch, i) for i in range(layers)]


def weight(name, shape, rng):
    x = rng.standard_normal(shape)
    if name.endswith("norm"):
        return 1 + 0.1 * x
    if name.endswith("ssm_a"):
        return -np.exp(x)
    if name.endswith("res_score"):
        return x / np.sqrt(EMBD)
    if len(shape) > 1 and "conv1d" not in name and name != "token_embd":
        return x / np.sqrt(shape[-1])
    return x


def full_name(name):
    return name if name.endswith((".bias", "ssm_a")) else name + ".weight"


def q8_0(x):
    """Rows of whole blocks as bytes of Q8_0."""
    blocks = x.reshape(-1, 32)
    d = (np.abs(blocks).max(1) / 127).astype(np.float16)
    safe = np.maximum(d.astype(np.float32), 1e-30)
    q = np.clip(np.rint(blocks / safe[:, None]), -127, 127).astype(np.int8)
    return np.concatenate([d.view(np.int8).reshape(-1, 2), q],
                          1).tobytes()


def write(path, arch, keys, blocks, rng, quantised=False):
    out = gguf.Writer(path)
    out.add("general.architecture", gguf.STRING, arch)
    for key, value in keys.items():
        vtype = gguf.F32 if isinstance(value, float) else gguf.U32
        if isinstance(value, list):
            vtype, value = gguf.ARRAY, (gguf.U32, value)
        out.add("%s.%s" % (arch, key), vtype, value)
    out.add("tokenizer.ggml.model", gguf.STRING, "llama")
    out.add("tokenizer.ggml.tokens", gguf.ARRAY,
            (gguf.STRING, ["<unk>"] + ["t%02d" % i for i in range(1, VOCAB)]))
    out.add("tokenizer.ggml.scores", gguf.ARRAY, (gguf.F32, [0.0] * VOCAB))
    out.add("tokenizer.ggml.token_type", gguf.ARRAY,
            (gguf.I32, [2] + [1] * (VOCAB - 1)))
    shapes = {"token_embd": (VOCAB, EMBD), "output": (VOCAB, EMBD),
              "output_norm": (EMBD,)}
    if arch == "kimi-k3":
        shapes["output_res_score"] = (EMBD,)
    for i, blk in enumerate(blocks):
        shapes.update({"blk.%d.%s" % (i, n): s for n, s in blk.items()})
    for name, shape in shapes.items():
        x = weight(name, shape, rng).astype(np.float32)
        eight = (quantised and len(shape) > 1 and not shape[-1] % 32 and
                 "conv1d" not in name)
        out.add_tensor(full_name(name), list(reversed(shape)),
                       gguf.TYPE_ID["Q8_0" if eight else "F32"],
                       lambda x=x, e=eight: [q8_0(x) if e else x.reshape(-1)])
    out.write()


def check(tap, tmp, arch, made, rng, name=None, quantised=False):
    keys, blocks = made
    name, bound = name or arch, MAX_NMSE
    if quantised:
        name, bound = name + ", Q8_0", MAX_NMSE_Q8
    path, ids = os.path.join(tmp, "model.gguf"), os.path.join(tmp, "ids.json")
    write(path, arch, keys, blocks, rng, quantised)
    tokens = [int(t) for t in rng.integers(0, VOCAB, NR_TOKENS)]
    with open(ids, "w") as f:
        json.dump(tokens, f)
    want = hybrid_model.KINDS[arch](gguf.Reader(path)).logits(tokens)
    first = e2e.logits(path, ids, "--kv-type", "f32")
    err = nmse(want, np.frombuffer(first, np.float32).reshape(want.shape))
    print("# NMSE %.3g" % err)
    tap.check(err < bound, name + " is the reference", "%g" % err)
    small = ["--expert-cache", "3experts", "--prefetch",
             "next2"] if arch != "qwen35" else []
    for opts in (["--batch-size", "1"], ["--batch-size", "9"],
                 ["--batch-size", "32", "--threads", "3"],
                 ["--batch-size", "1"] + small,
                 ["--batch-size", "5", "--threads", "1"] + small):
        tap.check(e2e.logits(path, ids, "--kv-type", "f32", *opts) == first,
                  name + " " + " ".join(opts))


def check_golden(tap):
    """The reference itself, against the recorded one."""
    where = os.path.join(e2e.GOLDEN, "logits")
    for name, folder, case in (e2e.cases(where) if os.path.isdir(where)
                               else ()):
        if case["arch"] not in hybrid_model.KINDS:
            continue
        with open(os.path.join(folder, "tokens.json")) as f:
            tokens = json.load(f)
        want = np.fromfile(os.path.join(folder, case["reference"]),
                           np.float32).reshape(len(tokens), -1)
        model = hybrid_model.KINDS[case["arch"]](
            gguf.Reader(os.path.join(folder, "model.gguf")))
        err = nmse(want, model.logits(tokens))
        tap.check(err < MAX_NMSE, "the reference gives " + name, "%g" % err)


def main():
    print("# PENSTOCK_SEED=%d" % SEED)
    tap = e2e.Tap()
    rng = np.random.default_rng(SEED)
    with tempfile.TemporaryDirectory() as tmp:
        for eight in (False, True):
            for arch in ("qwen3next", "qwen35", "qwen35moe"):
                check(tap, tmp, arch, qwen(arch), rng, quantised=eight)
            check(tap, tmp, "qwen3next", qwen("qwen3next", True), rng,
                  "qwen3next, one matrix", eight)
            for arch in ("kimi-linear", "kimi-k3"):
                check(tap, tmp, arch, kimi(arch), rng, quantised=eight)
    check_golden(tap)
    tap.done()


if __name__ == "__main__":
    main()
