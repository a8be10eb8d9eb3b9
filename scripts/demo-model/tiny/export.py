#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Make the tiny demo model's GGUF from a checkpoint of train.c and its tokenizer.

	export.py CHECKPOINT TOKENIZER.json OUT.gguf [--experts Q4_0] [--layers 6] [--ff 64]

Matrices outside of the experts become Q8_0, routers and norms stay F32. The order of
the checkpoint is that of alloc_params() in train.c, which stores matrices as (in, out).
"""

import argparse
import json
import pathlib
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
import gguf_io as gguf
from gguf_io import np

DIM, HEADS, KV_HEADS, HEAD, EXPERTS, USED, CTX = 192, 6, 2, 32, 32, 4, 512
STATE_BYTES = 24
NORM, TABLE, MATRIX = range(3)
CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + "
    "message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|im_start|>assistant\\n' }}{% endif %}")


def layout(layers, ff, vocab):
    """(name, kind, rows, cols, count) in the order of the checkpoint."""
    yield "token_embd", TABLE, vocab, DIM, 1
    for i in range(layers):
        for name, kind, rows, cols, count in (
                ("attn_norm", NORM, 1, DIM, 1),
                ("attn_q", MATRIX, DIM, HEADS * HEAD, 1),
                ("attn_k", MATRIX, DIM, KV_HEADS * HEAD, 1),
                ("attn_v", MATRIX, DIM, KV_HEADS * HEAD, 1),
                ("attn_q_norm", NORM, 1, HEAD, 1), ("attn_k_norm", NORM, 1, HEAD, 1),
                ("attn_output", MATRIX, HEADS * HEAD, DIM, 1), ("ffn_norm", NORM, 1, DIM, 1),
                ("ffn_gate_inp", TABLE, DIM, EXPERTS, 1),
                ("ffn_gate_exps", MATRIX, DIM, ff, EXPERTS),
                ("ffn_up_exps", MATRIX, DIM, ff, EXPERTS),
                ("ffn_down_exps", MATRIX, ff, DIM, EXPERTS)):
            yield f"blk.{i}.{name}", kind, rows, cols, count
    yield "output_norm", NORM, 1, DIM, 1


def read_weights(path, layers, ff, vocab):
    """Arrays by name, in the file format's order: (count,) out, in."""
    raw, at, out = path.read_bytes(), STATE_BYTES, {}
    step = int.from_bytes(raw[8:16], "little")
    for name, kind, rows, cols, count in layout(layers, ff, vocab):
        n = rows * cols * count
        w = np.frombuffer(raw, np.float32, n, at)
        at += 4 * n * (2 if kind == MATRIX else 3)  # Muon keeps one moment
        if kind == NORM:
            out[name] = w
        elif name == "token_embd":
            out[name] = w.reshape(rows, cols)
        else:
            out[name] = w.reshape(count, rows, cols).transpose(0, 2, 1).squeeze(
                (0,) if count == 1 else ())
    if at != len(raw):
        raise SystemExit(f"{path}: {len(raw)} bytes, {at} expected: other --layers or --ff?")
    return out, step


def q8_0(x):
    x = x.reshape(-1, 32)
    d = (np.abs(x).max(1) / 127).astype(np.float16)
    inv = np.divide(1, d.astype(np.float32), where=d > 0, out=np.zeros(len(d), np.float32))
    q = np.clip(np.rint(x * inv[:, None]), -127, 127).astype(np.int8)
    return np.concatenate([d[:, None].view(np.uint8), q.view(np.uint8)], 1)


def levels(x, half):
    """Scale and integers in [0, 2 half) of least squared error, by trying scales."""
    x = x.reshape(-1, 32)
    top = np.take_along_axis(x, np.abs(x).argmax(1)[:, None], 1)[:, 0]
    best = np.full(len(x), np.inf, np.float32)
    scale, ints = np.zeros(len(x), np.float16), np.full(x.shape, half, np.uint8)
    for f in np.linspace(half - 1.6, half + 1.2, 29):
        d = (top / -f).astype(np.float16)
        d32 = d.astype(np.float32)
        inv = np.divide(1, d32, where=d32 != 0, out=np.zeros_like(d32))
        q = np.clip(np.rint(x * inv[:, None]) + half, 0, 2 * half - 1)
        err = (((q - half) * d32[:, None] - x) ** 2).sum(1)
        better = err < best
        best[better], scale[better] = err[better], d[better]
        ints[better] = q[better].astype(np.uint8)
    return scale[:, None].view(np.uint8), ints


def q4_0(x):
    d, q = levels(x, 8)
    return np.concatenate([d, q[:, :16] | q[:, 16:] << 4], 1)


def q5_0(x):
    d, q = levels(x, 16)
    high = np.packbits(q >> 4, axis=1, bitorder="little")
    return np.concatenate([d, high, (q[:, :16] & 15) | (q[:, 16:] & 15) << 4], 1)


def f32(x):
    return np.ascontiguousarray(x, np.float32)


MAKE = {"F32": f32, "Q8_0": q8_0, "Q5_0": q5_0, "Q4_0": q4_0}
FILE_TYPE = {"F32": 0, "Q8_0": 7, "Q5_0": 8, "Q4_0": 2}


def add_tokenizer(out, path):
    tok = json.loads(path.read_text())["model"]
    tokens = [t for t, _ in sorted(tok["vocab"].items(), key=lambda item: item[1])]
    merges = [m if isinstance(m, str) else " ".join(m) for m in tok["merges"]]
    out.add("tokenizer.ggml.model", gguf.STRING, "gpt2")
    out.add("tokenizer.ggml.pre", gguf.STRING, "gpt-2")
    out.add("tokenizer.ggml.tokens", gguf.ARRAY, (gguf.STRING, tokens))
    out.add("tokenizer.ggml.token_type", gguf.ARRAY,
            (gguf.I32, [3] * 3 + [1] * (len(tokens) - 3)))
    out.add("tokenizer.ggml.merges", gguf.ARRAY, (gguf.STRING, merges))
    out.add("tokenizer.ggml.bos_token_id", gguf.U32, 0)
    out.add("tokenizer.ggml.eos_token_id", gguf.U32, 2)
    out.add("tokenizer.ggml.add_bos_token", gguf.BOOL, False)
    out.add("tokenizer.chat_template", gguf.STRING, CHATML)
    return len(tokens)


def add_keys(out, opt):
    for key, value in (
            ("general.architecture", "qwen3moe"), ("general.type", "model"),
            ("general.name", "penstock tiny stories"),
            ("general.description", "A very small Mixture-of-Experts model, trained from "
             "nothing on children's books of Project Gutenberg; recipe: "
             "scripts/demo-model/tiny"),
            ("general.license", "mit")):
        out.add(key, gguf.STRING, value)
    out.add("general.file_type", gguf.U32, FILE_TYPE[opt.experts])
    out.add("general.quantization_version", gguf.U32, 2)
    for key, value in (
            ("block_count", opt.layers), ("context_length", CTX), ("embedding_length", DIM),
            ("feed_forward_length", USED * opt.ff), ("attention.head_count", HEADS),
            ("attention.head_count_kv", KV_HEADS), ("attention.key_length", HEAD),
            ("attention.value_length", HEAD), ("expert_count", EXPERTS),
            ("expert_used_count", USED), ("expert_feed_forward_length", opt.ff)):
        out.add(f"qwen3moe.{key}", gguf.U32, value)
    out.add("qwen3moe.rope.freq_base", gguf.F32, 10000.0)
    out.add("qwen3moe.attention.layer_norm_rms_epsilon", gguf.F32, 1e-6)


def main():
    arg = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arg.add_argument("checkpoint", type=pathlib.Path)
    arg.add_argument("tokenizer", type=pathlib.Path)
    arg.add_argument("out")
    arg.add_argument("--experts", choices=MAKE, default="Q4_0")
    arg.add_argument("--rest", choices=MAKE, default="Q8_0")
    arg.add_argument("--layers", type=int, default=6)
    arg.add_argument("--ff", type=int, default=64)
    opt = arg.parse_args()
    out = gguf.Writer(opt.out)
    add_keys(out, opt)
    vocab = add_tokenizer(out, opt.tokenizer)
    weights, step = read_weights(opt.checkpoint, opt.layers, opt.ff, vocab)
    for name, w in weights.items():
        small = w.ndim == 1 or "gate_inp" in name
        kind = "F32" if small else opt.experts if "_exps" in name else opt.rest
        out.add_tensor(f"{name}.weight", list(w.shape[::-1]), gguf.TYPE_ID[kind],
                       lambda w=w, kind=kind: [np.ascontiguousarray(
                           MAKE[kind](np.ascontiguousarray(w)))])
    size = out.write()
    print(f"{opt.out}: step {step}, {sum(w.size for w in weights.values())} weights, "
          f"{size} bytes")


if __name__ == "__main__":
    main()
