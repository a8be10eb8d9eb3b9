#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Published models as keys and tensor tables, made from their public
hyper-parameters, with the types that the usual recipe (Q4_K_M) gives them.

	public_tables.py NAME OUT.gguf

writes the header of one; scripts/make-random-like makes a file of it."""
import os
import struct
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "..", "..", "scripts"))
import gguf_io as gguf

FALLBACK = {"Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0"}


class Table:
    """The tensors and keys of one model."""

    def __init__(self, arch, layers, width, vocab, native=False):
        self.arch, self.layers, self.width = arch, layers, width
        self.vocab, self.native = vocab, native
        self.tensors, self.keys, self.experts = [], {}, 0
        self.stored = {}  # part of a name: type, before any rule
        self.number("block_count", layers)
        self.number("embedding_length", width)
        self.number("context_length", 8192)
        self.keys[arch + ".attention.layer_norm_rms_epsilon"] = (
            gguf.F32, 1e-6)
        self.add("token_embd", width, vocab)
        self.add("output_norm", width)

    def number(self, name, value):
        self.keys["%s.%s" % (self.arch, name)] = (gguf.U32, value)

    def numbers(self, **values):
        for name, value in values.items():
            self.number(name.replace("__", "."), value)

    def add(self, name, *dims, suffix="weight", layer=None):
        full = "%s.%s" % (name, suffix)
        if layer is not None:
            full = "blk.%d.%s" % (layer, full)
        self.tensors.append((full, dims))

    def blocks(self, which, name, *dims, suffix="weight"):
        for i in which:
            self.add(name, *dims, suffix=suffix, layer=i)

    def head(self):
        self.add("output", self.width, self.vocab)

    def attention(self, heads, kv_heads, hd, bias=(), which=None):
        n, every = self.width, which or range(self.layers)
        self.numbers(attention__head_count=heads,
                     attention__head_count_kv=kv_heads,
                     attention__key_length=hd, attention__value_length=hd)
        self.blocks(every, "attn_norm", n)
        for x, out in (("q", heads), ("k", kv_heads), ("v", kv_heads)):
            self.blocks(every, "attn_" + x, n, out * hd)
            if x in bias:
                self.blocks(every, "attn_" + x, out * hd, suffix="bias")
        self.blocks(every, "attn_output", heads * hd, n)

    def dense(self, which, ff, name="ffn"):
        self.number("feed_forward_length", ff)
        for x in ("gate", "up"):
            self.blocks(which, "%s_%s" % (name, x), self.width, ff)
        self.blocks(which, name + "_down", ff, self.width)

    def moe(self, which, experts, used, ff, shared=0, fused=False):
        n, self.experts = self.width, experts
        self.numbers(expert_count=experts, expert_used_count=used,
                     expert_feed_forward_length=ff)
        self.blocks(which, "ffn_gate_inp", n, experts)
        for x in ("gate", "up"):
            self.blocks(which, "ffn_%s_exps" % x, n, ff, experts)
        self.blocks(which, "ffn_down_exps", ff, n, experts)
        if shared:
            for x in ("gate", "up"):
                self.blocks(which, "ffn_%s_shexp" % x, n, shared)
            self.blocks(which, "ffn_down_shexp", shared, n)

    def more_bits(self, i):
        n = self.layers
        return i < n // 8 or i >= 7 * n // 8 or (i - n // 8) % 3 == 2

    def wish(self, name):
        """The type that the recipe has in mind for a matrix."""
        tied = not any(t[0] == "output.weight" for t in self.tensors)
        if name == "output.weight" or (tied and name == "token_embd.weight"):
            return "Q6_K"
        if not name.startswith("blk."):
            return "Q4_K"
        layer, rest = int(name.split(".")[1]), name.split(".")[2]
        if self.experts == 8 and rest in ("attn_k", "attn_v"):
            return "Q8_0"
        if self.experts == 8 and rest == "attn_output":
            return "Q5_K"
        if (rest in ("attn_v", "attn_qkv", "attn_kv_b") or
                rest.startswith("ffn_down")) and self.more_bits(layer):
            return "Q6_K"
        return "Q4_K"

    def type_of(self, name, dims):
        plain = ("_norm." in name or "ffn_gate_inp" in name or
                 "ssm_conv1d" in name or "indexer" in name or
                 not name.endswith(".weight"))
        for part, kind in self.stored.items():
            if part in name:
                return kind
        if len(dims) == 1 or plain:
            return "F32"
        if self.native:
            return "MXFP4" if "_exps" in name else "Q8_0"
        t = self.wish(name)
        return FALLBACK[t] if dims[0] % 256 and t in FALLBACK else t

    def left_bytes(self):
        """Tables that are only looked up, and long enough for the drive."""
        tied = not any(t[0] == "output.weight" for t in self.tensors)
        left = 0
        for name, dims in self.tensors:
            if (name == "per_layer_token_embd.weight" or
                    (name == "token_embd.weight" and not tied)):
                left += gguf.tensor_bytes(
                    dims, gguf.TYPE_ID[self.type_of(name, dims)])
        return left

    def write(self, path):
        """Magic to the last tensor info; the data begins nowhere."""
        keys = {"general.architecture": (gguf.STRING, self.arch),
                "tokenizer.ggml.model": (gguf.STRING, "llama"),
                "tokenizer.ggml.tokens": (gguf.ARRAY, (
                    gguf.STRING, ["t%d" % i for i in range(self.vocab)]))}
        keys.update(self.keys)
        with open(path, "wb") as f:
            f.write(b"GGUF" + struct.pack("<Iqq", 3, len(self.tensors),
                                          len(keys)))
            for key, (vtype, value) in keys.items():
                f.write(gguf.encode_value(gguf.STRING, key) +
                        struct.pack("<i", vtype) +
                        gguf.encode_value(vtype, value))
            at = 0
            for name, dims in self.tensors:
                ttype = gguf.TYPE_ID[self.type_of(name, dims)]
                f.write(gguf.encode_value(gguf.STRING, name) +
                        struct.pack("<I%dqiQ" % len(dims), len(dims), *dims,
                                    ttype, at))
                at += gguf.align_up(gguf.tensor_bytes(dims, ttype), 32)


def mixtral():
    t = Table("llama", 32, 4096, 32000)
    t.head()
    t.attention(32, 8, 128)
    t.blocks(range(32), "ffn_norm", 4096)
    t.number("feed_forward_length", 14336)
    t.moe(range(32), 8, 2, 14336)
    return t


def qwen3moe(layers, width, heads, ff):
    t = Table("qwen3moe", layers, width, 151936)
    t.head()
    t.attention(heads, 4, 128)
    for x in ("attn_q_norm", "attn_k_norm"):
        t.blocks(range(layers), x, 128)
    t.blocks(range(layers), "ffn_norm", width)
    t.moe(range(layers), 128, 8, ff)
    return t


def gpt_oss(layers, experts):
    t = Table("gpt-oss", layers, 2880, 201088, native=True)
    every, fe = range(layers), 2880
    t.head()
    t.number("attention.sliding_window", 128)
    t.attention(64, 8, 64, bias="qkv")
    t.blocks(every, "attn_output", 2880, suffix="bias")
    t.blocks(every, "attn_sinks", 64)
    t.blocks(every, "post_attention_norm", 2880)
    t.moe(every, experts, 4, fe)
    t.blocks(every, "ffn_gate_inp", experts, suffix="bias")
    for x in ("gate", "up", "down"):
        t.blocks(every, "ffn_%s_exps" % x, 2880, experts, suffix="bias")
    return t


def deepseek(layers, width, heads, vocab, q_rank, dense, ff, moe,
             hd=(128, 64, 128)):
    """moe: experts, used, width of one, shared ones; hd: of a head, what is not
    rotated, what is, and its value."""
    t = Table("deepseek2", layers, width, vocab)
    key = hd[0] + hd[1]
    every, first = range(layers), range(dense)
    rest = range(dense, layers)
    t.head()
    t.numbers(attention__head_count=heads, attention__head_count_kv=1,
              attention__q_lora_rank=q_rank, attention__kv_lora_rank=512,
              attention__key_length=576, attention__value_length=512,
              attention__key_length_mla=key,
              attention__value_length_mla=hd[2],
              rope__dimension_count=hd[1], leading_dense_block_count=dense,
              expert_shared_count=moe[3])
    for name, dims in (("attn_norm", (width,)), ("ffn_norm", (width,)),
                       ("attn_kv_a_mqa", (width, 576)),
                       ("attn_kv_a_norm", (512,)),
                       ("attn_k_b", (hd[0], 512, heads)),
                       ("attn_v_b", (512, hd[2], heads)),
                       ("attn_output", (heads * hd[2], width))):
        t.blocks(every, name, *dims)
    if q_rank:
        t.blocks(every, "attn_q_a", width, q_rank)
        t.blocks(every, "attn_q_a_norm", q_rank)
        t.blocks(every, "attn_q_b", q_rank, heads * key)
    else:
        t.blocks(every, "attn_q", width, heads * key)
    t.dense(first, ff)
    t.moe(rest, *moe[:3], shared=moe[2] * moe[3])
    if q_rank:
        t.blocks(rest, "exp_probs_b", moe[0], suffix="bias")
    return t


def gemma4(layers, width, heads, period, kv, window, ff, vocab=262144):
    """kv: heads of keys in blocks with a window, and in the others, which are
    one in @period; the heads of the latter are twice as long.  ff: of each
    block."""
    t = Table("gemma4", layers, width, vocab)
    every = range(layers)
    local = [(i + 1) % period != 0 for i in every]
    t.numbers(attention__head_count=heads, attention__sliding_window=window,
              attention__key_length=512, attention__value_length=512,
              attention__key_length_swa=256, attention__value_length_swa=256,
              rope__dimension_count=512, rope__dimension_count_swa=256)
    t.keys["gemma4.final_logit_softcapping"] = (gguf.F32, 30.0)
    t.keys["gemma4.attention.sliding_window_pattern"] = (gguf.ARRAY, (
        gguf.BOOL, local))
    t.keys["gemma4.attention.head_count_kv"] = (gguf.ARRAY, (
        gguf.U32, [kv[0] if x else kv[1] for x in local]))
    t.add("rope_freqs", 256)
    for name in ("attn_norm", "post_attention_norm", "ffn_norm",
                 "post_ffw_norm"):
        t.blocks(every, name, width)
    for i in every:
        hd = 256 if local[i] else 512
        t.add("attn_q", width, heads * hd, layer=i)
        t.add("attn_q_norm", hd, layer=i)
        t.add("attn_output", heads * hd, width, layer=i)
        t.add("layer_output_scale", 1, layer=i)
    for i in every:
        t.dense([i], ff[i])
    t.keys["gemma4.feed_forward_length"] = (gguf.ARRAY, (gguf.U32, ff))
    return t, local


def gemma4_keys(t, which, local, kv, values):
    """@values: whether blocks without a window have their own."""
    for i in which:
        hd, heads = (256, kv[0]) if local[i] else (512, kv[1])
        t.add("attn_k", t.width, heads * hd, layer=i)
        t.add("attn_k_norm", hd, layer=i)
        if local[i] or values:
            t.add("attn_v", t.width, heads * hd, layer=i)


def gemma4_26b(layers=30):
    t, local = gemma4(layers, 2816, 16, 6, (8, 2), 1024, [2112] * layers)
    every = range(layers)
    gemma4_keys(t, every, local, (8, 2), False)
    t.experts = 128
    t.numbers(expert_count=128, expert_used_count=8,
              expert_feed_forward_length=704)
    t.blocks(every, "ffn_gate_inp", 2816, 128)
    t.blocks(every, "ffn_gate_inp", 2816, suffix="scale")
    t.blocks(every, "ffn_gate_up_exps", 2816, 2 * 704, 128)
    t.blocks(every, "ffn_down_exps", 704, 2816, 128)
    t.blocks(every, "ffn_down_exps", 128, suffix="scale")
    for name in ("pre_ffw_norm_2", "post_ffw_norm_1", "post_ffw_norm_2"):
        t.blocks(every, name, 2816)
    return t


def gemma4_e2b(layers=35, shared=20, vocab=262144, width=1536, ff=6144):
    """The shape of E2B, or a smaller one of its kind: the blocks without keys
    of their own are twice as wide inside."""
    t, local = gemma4(layers, width, 8, 5, (1, 1), 512,
                      [ff] * (layers - shared) + [2 * ff] * shared, vocab)
    every = range(layers)
    gemma4_keys(t, range(layers - shared), local, (1, 1), True)
    t.numbers(attention__shared_kv_layers=shared,
              embedding_length_per_layer_input=256)
    t.stored["per_layer_token_embd"] = "Q6_K"
    t.add("per_layer_token_embd", 256 * layers, vocab)
    t.add("per_layer_model_proj", width, 256 * layers)
    t.add("per_layer_proj_norm", 256)
    t.blocks(every, "inp_gate", width, 256)
    t.blocks(every, "proj", 256, width)
    t.blocks(every, "post_norm", width)
    return t


def glm45_air():
    t = Table("glm4moe", 46, 4096, 151552)
    every, rest = range(46), range(1, 46)
    t.head()
    t.attention(96, 8, 128, bias="qkv")
    t.blocks(every, "post_attention_norm", 4096)
    t.numbers(leading_dense_block_count=1, expert_shared_count=1,
              rope__dimension_count=64)
    t.dense(range(1), 10944)
    t.moe(rest, 128, 8, 1408, shared=1408)
    t.blocks(rest, "exp_probs_b", 128, suffix="bias")
    return t


def minimax_m2():
    t = Table("minimax-m2", 62, 3072, 200064)
    every = range(62)
    t.head()
    t.attention(48, 8, 128)
    t.blocks(every, "attn_q_norm", 48 * 128)
    t.blocks(every, "attn_k_norm", 8 * 128)
    t.blocks(every, "ffn_norm", 3072)
    t.moe(every, 256, 8, 1536)
    t.blocks(every, "exp_probs_b", 256, suffix="bias")
    return t


def minimax_m3():
    t = Table("minimax-m3", 60, 6144, 200064)
    every, rest = range(60), range(3, 60)
    t.stored["indexer.k_proj"] = t.stored["indexer.q_proj"] = "Q4_K"
    t.head()
    t.attention(64, 4, 128)
    for x in ("attn_q_norm", "attn_k_norm"):
        t.blocks(every, x, 128)
    t.blocks(every, "ffn_norm", 6144)
    t.numbers(leading_dense_block_count=3, expert_shared_count=1,
              rope__dimension_count=64, attention__indexer__head_count=4,
              attention__indexer__key_length=128,
              attention__indexer__top_k=16,
              attention__indexer__block_size=128,
              attention__indexer__local_blocks=1)
    t.dense(range(3), 12288)
    t.moe(rest, 128, 4, 3072, shared=3072)
    t.blocks(rest, "exp_probs_b", 128, suffix="bias")
    t.blocks(rest, "indexer.q_proj", 6144, 512)
    t.blocks(rest, "indexer.k_proj", 6144, 128)
    for x in ("q", "k"):
        t.blocks(rest, "indexer.%s_norm" % x, 128)
    return t


def deepseek4(layers, width, heads, q_rank, groups, top_k, moe):
    """moe: experts, width of one.  The first two blocks have a window only."""
    t = Table("deepseek4", layers, width, 129280, native=True)
    every, hd = range(layers), 512
    runs = [0, 0] + [128 if i % 2 else 4 for i in range(layers - 2)]
    packed = {run: [i for i in every if runs[i] == run] for run in (4, 128)}
    t.stored.update({"tid2eid": "I32", "hc_": "F32", "_ape": "F32",
                     "compressor_norm": "F32", "indexer": "Q8_0"})
    t.head()
    t.numbers(attention__head_count=heads, attention__head_count_kv=1,
              attention__key_length=hd, attention__value_length=hd,
              attention__q_lora_rank=q_rank, rope__dimension_count=64,
              attention__sliding_window=128,
              attention__output_group_count=groups,
              attention__output_lora_rank=1024,
              attention__indexer__head_count=64,
              attention__indexer__key_length=128,
              attention__indexer__top_k=top_k, expert_shared_count=1,
              hyper_connection__count=4,
              hyper_connection__sinkhorn_iterations=20, hash_layer_count=3)
    t.keys["deepseek4.attention.compress_ratios"] = (gguf.ARRAY, (
        gguf.U32, runs))
    t.keys["deepseek4.attention.compress_rope_freq_base"] = (gguf.F32, 16e4)
    t.keys["deepseek4.hyper_connection.epsilon"] = (gguf.F32, 1e-6)
    for name, dims in (("output_hc_fn", (4 * width, 4)),
                       ("output_hc_base", (4,)), ("output_hc_scale", (1,))):
        t.add(name, *dims)
    for name, dims in (("attn_norm", (width,)), ("ffn_norm", (width,)),
                       ("attn_sinks", (heads,)),
                       ("attn_q_a", (width, q_rank)),
                       ("attn_q_a_norm", (q_rank,)),
                       ("attn_q_b", (q_rank, heads * hd)),
                       ("attn_kv", (width, hd)), ("attn_kv_a_norm", (hd,)),
                       ("attn_output_a", (heads * hd // groups,
                                          groups * 1024)),
                       ("attn_output_b", (groups * 1024, width)),
                       ("hc_attn_fn", (4 * width, 24)),
                       ("hc_ffn_fn", (4 * width, 24)),
                       ("hc_attn_base", (24,)), ("hc_ffn_base", (24,)),
                       ("hc_attn_scale", (3,)), ("hc_ffn_scale", (3,))):
        t.blocks(every, name, *dims)
    for name, length, run in (("attn_compressor", hd, 4),
                              ("attn_compressor", hd, 128),
                              ("indexer_compressor", 128, 4)):
        wide = 2 * length if run == 4 else length
        t.blocks(packed[run], name + "_kv", width, wide)
        t.blocks(packed[run], name + "_gate", width, wide)
        t.blocks(packed[run], name + "_ape", wide, run)
        t.blocks(packed[run], name + "_norm", length)
    t.blocks(packed[4], "indexer.proj", width, 64)
    t.blocks(packed[4], "indexer.attn_q_b", q_rank, 64 * 128)
    t.moe(every, moe[0], 6, moe[1], shared=moe[1])
    t.blocks(range(3), "ffn_gate_tid2eid", 6, 129280)
    t.blocks(range(3, layers), "exp_probs_b", moe[0], suffix="bias")
    return t


def llama4_scout():
    t = Table("llama4", 48, 5120, 202048)
    every = range(48)
    t.head()
    t.attention(40, 8, 128)
    t.blocks(every, "ffn_norm", 5120)
    t.number("feed_forward_length", 16384)
    t.moe(every, 16, 1, 8192, shared=8192)
    return t


def gated_delta(arch, layers, vocab, experts, used, n_v=32):
    """Qwen3-Next and its successors: three blocks with a state, then one that
    attends; 16 heads of keys and @n_v of values in the former."""
    n, inner = 2048, n_v * 128
    t = Table(arch, layers, n, vocab)
    every = range(layers)
    full = [i for i in every if i % 4 == 3]
    state = [i for i in every if i % 4 != 3]
    t.head()
    t.numbers(attention__head_count=16, attention__head_count_kv=2,
              attention__key_length=256, attention__value_length=256,
              rope__dimension_count=64, full_attention_interval=4,
              ssm__conv_kernel=4, ssm__state_size=128, ssm__group_count=16,
              ssm__time_step_rank=n_v, ssm__inner_size=inner,
              expert_shared_feed_forward_length=512)
    for name in ("attn_norm", "post_attention_norm"):
        t.blocks(every, name, n)
    for name, dims in (("attn_q", (n, 2 * 4096)), ("attn_k", (n, 512)),
                       ("attn_v", (n, 512)), ("attn_output", (4096, n)),
                       ("attn_q_norm", (256,)), ("attn_k_norm", (256,))):
        t.blocks(full, name, *dims)
    for name, dims in (("attn_qkv", (n, 4096 + inner)),
                       ("attn_gate", (n, inner)), ("ssm_out", (inner, n)),
                       ("ssm_conv1d", (4, 4096 + inner)),
                       ("ssm_norm", (128,))):
        t.blocks(state, name, *dims)
    if arch == "qwen3next":
        t.blocks(state, "ssm_ba", n, 2 * n_v)
    else:
        t.blocks(state, "ssm_beta", n, n_v)
        t.blocks(state, "ssm_alpha", n, n_v)
    t.blocks(state, "ssm_dt", n_v, suffix="bias")
    for i in state:
        t.tensors.append(("blk.%d.ssm_a" % i, (n_v,)))
    t.moe(every, experts, used, 512, shared=512)
    t.blocks(every, "ffn_gate_inp_shexp", n)
    return t


def olmoe():
    t = Table("olmoe", 16, 2048, 50304)
    every = range(16)
    t.head()
    t.attention(16, 16, 128)
    for x in ("attn_q_norm", "attn_k_norm", "ffn_norm"):
        t.blocks(every, x, 2048)
    t.moe(every, 64, 8, 1024)
    return t


def dots1():
    t = Table("dots1", 62, 4096, 152064)
    every, rest = range(62), range(1, 62)
    t.head()
    t.attention(32, 32, 128)
    for x in ("attn_q_norm", "attn_k_norm"):
        t.blocks(every, x, 128)
    t.blocks(every, "ffn_norm", 4096)
    t.numbers(leading_dense_block_count=1, expert_shared_count=2)
    t.dense(range(1), 10944)
    t.moe(rest, 128, 6, 1408, shared=2816)
    t.blocks(rest, "exp_probs_b", 128, suffix="bias")
    return t


def granite_3b():
    t = Table("granitemoe", 32, 1536, 49155)
    t.keys["granitemoe.logit_scale"] = (gguf.F32, 6.0)
    t.attention(24, 8, 64)
    t.blocks(range(32), "ffn_norm", 1536)
    t.moe(range(32), 40, 8, 512)
    return t


def phi35_moe():
    t = Table("phimoe", 32, 4096, 32064)
    every = range(32)
    t.head()
    t.add("output", 32064, suffix="bias")
    t.add("output_norm", 4096, suffix="bias")
    t.attention(32, 8, 128, bias="qkv")
    t.blocks(every, "attn_output", 4096, suffix="bias")
    t.blocks(every, "attn_norm", 4096, suffix="bias")
    for suffix in ("weight", "bias"):
        t.blocks(every, "ffn_norm", 4096, suffix=suffix)
    t.moe(every, 16, 2, 6400)
    return t


def qwen2_57b():
    t = Table("qwen2moe", 28, 3584, 151936)
    every = range(28)
    t.head()
    t.attention(28, 4, 128, bias="qkv")
    t.blocks(every, "ffn_norm", 3584)
    t.number("expert_shared_feed_forward_length", 20480)
    t.moe(every, 64, 8, 2560, shared=20480)
    t.blocks(every, "ffn_gate_inp_shexp", 3584)
    return t


# Name, tensors, resident GB, GB of a token's experts.
MODELS = (
    ("Mixtral-8x7B", mixtral(), 1.14, 6.826),
    ("Qwen3-30B-A3B", qwen3moe(48, 2048, 32, 768), 1.00, 1.097),
    ("Qwen3-235B-A22B", qwen3moe(94, 4096, 64, 1536), 4.86, 8.581),
    ("gpt-oss-20b", gpt_oss(24, 32), 1.94, 1.269),
    ("gpt-oss-120b", gpt_oss(36, 128), 2.46, 1.904),
    ("DeepSeek-V2-Lite", deepseek(27, 2048, 16, 102400, 0, 1, 10944,
                                  (64, 6, 1408, 2)), 0.84, 0.893),
    ("DeepSeek-V3", deepseek(61, 7168, 128, 129280, 1536, 3, 18432,
                             (256, 8, 2048, 1)), 10.51, 12.312),
    ("GLM-4.7-Flash", deepseek(47, 2048, 20, 154880, 768, 1, 10240,
                               (64, 4, 1536, 1), (192, 64, 256)), 1.35, 1.048),
    ("Gemma-4-26B-A4B", gemma4_26b(), 1.65, 0.946),
    ("Kimi-K2", deepseek(61, 7168, 64, 163840, 1536, 1, 18432,
                         (384, 8, 2048, 1)), 7.64, 12.769),
    ("GLM-4.5-Air", glm45_air(), 4.41, 4.126),
    ("MiniMax-M2", minimax_m2(), 2.61, 4.241),
    # Without the heads that choose, which are 0.13 GB in Q4_K.
    ("MiniMax-M3", minimax_m3(), 7.90 + 0.13, 7.787),
    ("DeepSeek-V4-Flash", deepseek4(43, 4096, 64, 1024, 8, 512,
                                    (256, 2048)), 8.01, 3.449),
    ("DeepSeek-V4-Pro", deepseek4(61, 7168, 128, 1536, 16, 1024,
                                  (384, 3072)), 27.93, 12.845),
    ("Llama-4-Scout", llama4_scout(), 6.84, 3.657),
    ("Qwen3-Next-80B-A3B", gated_delta("qwen3next", 48, 151936, 512, 10),
     1.67, 0.914),
    ("Qwen3.5-35B-A3B", gated_delta("qwen35moe", 40, 248320, 256, 8),
     1.65, 0.609),
    ("OLMoE-1B-7B", olmoe(), 0.31, 0.488),
    ("dots.llm1", dots1(), 4.83, 4.202),
    ("granite-3.1-3b-a800m", granite_3b(), 0.19, 0.366),
    ("Phi-3.5-MoE", phi35_moe(), 0.96, 3.047),
    ("Qwen2-57B-A14B", qwen2_57b(), 4.98, 3.733),
)


def main():
    tables = {m[0]: m[1] for m in MODELS}
    # No size of these is known from elsewhere.
    tables["Gemma-4-E2B"] = gemma4_e2b()
    tables["DeepSeek-V2-Lite-4-blocks"] = deepseek(
        4, 2048, 16, 102400, 0, 1, 10944, (64, 6, 1408, 2))
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    if sys.argv[1] not in tables:
        sys.exit("penstock: no table of '%s': there are %s" % (
            sys.argv[1], ", ".join(tables)))
    tables[sys.argv[1]].write(sys.argv[2])


if __name__ == "__main__":
    main()
