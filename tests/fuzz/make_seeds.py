#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes the seeds of the fuzz corpus: one very small valid model per family,
variant of the format and kind of vocabulary.

	make_seeds.py FOLDER
"""
import os
import random
import struct
import sys

U32, I32, F32, BOOL, STR, ARR, U16 = 4, 5, 6, 7, 8, 9, 2
EMBD, HEADS, KV, HD, FF, EXPERTS, USED, FFE, LAYERS = 8, 2, 1, 4, 8, 4, 2, 4, 1


def string(s):
    b = s if isinstance(s, bytes) else s.encode()
    return struct.pack("<Q", len(b)) + b


def value(kind, v):
    if kind == STR:
        return string(v)
    return struct.pack({U32: "<I", I32: "<i", F32: "<f", BOOL: "<B",
                        U16: "<H"}[kind], v)


def pair(key, kind, v):
    return string(key) + struct.pack("<I", kind) + value(kind, v)


def array(key, kind, values):
    return (string(key) + struct.pack("<IIQ", ARR, kind, len(values)) +
            b"".join(value(kind, v) for v in values))


def vocab_spm():
    tokens = ["<unk>", "<s>", "</s>", "<0x00>", "<0x41>", "\u2581", "H", "e",
              "l", "o", "\u2581H", "ll"]
    types = [2, 3, 3, 6, 6] + [1] * 7
    return [pair("tokenizer.ggml.model", STR, "llama"),
            array("tokenizer.ggml.tokens", STR, tokens),
            array("tokenizer.ggml.scores", F32, [float(-i) for i in range(12)]),
            array("tokenizer.ggml.token_type", I32, types),
            pair("tokenizer.ggml.bos_token_id", U32, 1),
            pair("tokenizer.ggml.eos_token_id", U32, 2),
            pair("tokenizer.ggml.add_bos_token", BOOL, 1)], len(tokens)


def vocab_bpe(pre):
    tokens = ["H", "e", "l", "o", "\u0120", "w", "r", "d", "ll", "He", "Hell",
              "<s>", "<|im_end|>"]
    types = [1] * 11 + [4, 3]
    return [pair("tokenizer.ggml.model", STR, "gpt2"),
            pair("tokenizer.ggml.pre", STR, pre),
            array("tokenizer.ggml.tokens", STR, tokens),
            array("tokenizer.ggml.token_type", I32, types),
            array("tokenizer.ggml.merges", STR, ["l l", "H e", "He ll"]),
            pair("tokenizer.ggml.bos_token_id", U32, 11),
            pair("tokenizer.ggml.eos_token_id", U32, 12)], len(tokens)


def hparams(arch, moe, extra):
    keys = {"block_count": LAYERS, "embedding_length": EMBD,
            "context_length": 64, "feed_forward_length": FF,
            "attention.head_count": HEADS, "attention.head_count_kv": KV}
    if moe:
        keys.update({"expert_count": EXPERTS, "expert_used_count": USED,
                     "expert_feed_forward_length": FFE})
    out = [pair("general.architecture", STR, arch)]
    out += [pair(arch + "." + k, U32, v) for k, v in keys.items()]
    out.append(pair(arch + ".attention.layer_norm_rms_epsilon", F32, 1e-5))
    return out + [pair(arch + "." + k, kind, v) for k, kind, v in extra]


def tensors(arch, moe, vocab, fused):
    q, k = HEADS * HD, KV * HD
    out = [("token_embd.weight", EMBD, vocab), ("output_norm.weight", EMBD),
           ("output.weight", EMBD, vocab), ("rope_freqs.weight", HD // 2)]
    for layer in range(LAYERS):
        t = [("attn_norm", EMBD), ("attn_output", q, EMBD), ("ffn_norm", EMBD)]
        t += ([("attn_qkv", EMBD, q + 2 * k)] if fused else
              [("attn_q", EMBD, q), ("attn_k", EMBD, k), ("attn_v", EMBD, k)])
        if arch == "olmoe":
            t += [("attn_q_norm", q), ("attn_k_norm", k)]
        elif arch.startswith("qwen3"):
            t += [("attn_q_norm", HD), ("attn_k_norm", HD)]
        if moe:
            t += [("ffn_gate_inp", EMBD, EXPERTS),
                  ("ffn_down_exps", FFE, EMBD, EXPERTS)]
            t += ([("ffn_gate_up_exps", EMBD, 2 * FFE, EXPERTS)] if fused else
                  [("ffn_gate_exps", EMBD, FFE, EXPERTS),
                   ("ffn_up_exps", EMBD, FFE, EXPERTS)])
        else:
            t += [("ffn_gate", EMBD, FF), ("ffn_up", EMBD, FF),
                  ("ffn_down", FF, EMBD)]
        out += [("blk.%d.%s.weight" % (layer, n), *d) for n, *d in t]
        if arch == "qwen2":
            out += [("blk.%d.attn_%s.bias" % (layer, n), d)
                    for n, d in (("q", q), ("k", k), ("v", k))]
    return out


def model(arch, moe, vocab, version=3, align=32, fused=False, extra=()):
    pairs, nr_tokens = vocab
    pairs = hparams(arch, moe, extra) + pairs
    if align != 32:
        pairs.append(pair("general.alignment", U32, align))
    infos, data = b"", b""
    rng = random.Random(arch)
    table = tensors(arch, moe, nr_tokens, fused)
    for name, *dims in table:
        data += bytes(-len(data) % align)
        infos += (string(name) + struct.pack("<I", len(dims)) +
                  struct.pack("<%dQ" % len(dims), *dims) +
                  struct.pack("<IQ", 0, len(data)))
        nr = 1
        for d in dims:
            nr *= d
        data += struct.pack("<%df" % nr, *(rng.uniform(-.5, .5)
                                           for _ in range(nr)))
    head = (b"GGUF" + struct.pack("<IQQ", version, len(table), len(pairs)) +
            b"".join(pairs) + infos)
    return head + bytes(-len(head) % align) + data


YARN = (("rope.scaling.type", STR, "yarn"),
        ("rope.scaling.factor", F32, 4.0),
        ("rope.scaling.original_context_length", U32, 32),
        ("rope.scaling.yarn_beta_fast", F32, 32.0),
        ("rope.dimension_count", U32, 4), ("rope.freq_base", F32, 1e6))


def main(folder):
    seeds = {
        "llama": model("llama", False, vocab_spm()),
        "llama-moe": model("llama", True, vocab_spm(), version=2),
        "llama-bpe": model("llama", False, vocab_bpe("llama-bpe"), align=8),
        "qwen2": model("qwen2", False, vocab_bpe("qwen2"), align=1),
        "qwen3-yarn": model("qwen3", False, vocab_bpe("qwen2"), extra=YARN),
        "qwen3moe": model("qwen3moe", True, vocab_bpe("qwen2")),
        "qwen3moe-fused": model("qwen3moe", True, vocab_bpe("deepseek-v3"),
                                fused=True),
        "olmoe": model("olmoe", True, vocab_bpe("gpt-2"), align=64,
                       extra=(("expert_weights_norm", BOOL, 0),
                              ("expert_weights_scale", F32, 2.0))),
    }
    for name, data in seeds.items():
        with open(os.path.join(folder, "seed-%s.gguf" % name), "wb") as f:
            f.write(data)


if __name__ == "__main__":
    main(sys.argv[1])
