# SPDX-License-Identifier: MIT
"""Families with recurrent blocks in float64, written from the publications in
the plainest form: tokens one after another through the state, attention over
all at once.  A model's numbers are those of its file."""
from float64_model import np, silu, softmax, weights


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softplus(x):
    return np.logaddexp(0.0, x)


def unit(x, eps):
    return x / np.sqrt(np.sum(x * x, -1, keepdims=True) + eps)


def short_conv(x, w):
    """x is [tokens][channels], w [channels][taps]."""
    taps = w.shape[-1]
    x = np.concatenate([np.zeros((taps - 1, x.shape[1])), x])
    return silu(sum(x[j:len(x) - taps + 1 + j] * w[:, j]
                    for j in range(taps)))


def delta_rule(q, k, v, decay, beta):
    """[tokens][heads][...]; decay has a factor for each channel of a key."""
    tokens, heads, dk = q.shape
    state = np.zeros((heads, dk, v.shape[2]))
    out = np.empty_like(v)
    for t in range(tokens):
        state *= decay[t][..., None]
        seen = np.einsum("hij,hi->hj", state, k[t])
        state += np.einsum("hi,hj->hij", k[t],
                           beta[t][:, None] * (v[t] - seen))
        out[t] = np.einsum("hij,hi->hj", state, q[t])
    return out


class Hybrid:
    """What the families share; a subclass gives mixer()."""
    ffn_norm = "ffn_norm"

    def __init__(self, reader):
        self.w, self.reader = weights(reader), reader
        self.arch = reader.get("general.architecture")
        self.layers = self.get("block_count") - self.get(
            "nextn_predict_layers", 0)
        self.heads = self.get("attention.head_count")
        self.eps = self.get("attention.layer_norm_rms_epsilon")

    def get(self, key, default=None):
        return self.reader.get("%s.%s" % (self.arch, key), default)

    def t(self, layer, name):
        return np.squeeze(self.w["blk.%d.%s" % (layer, name)])

    def lin(self, x, layer, name):
        return x @ self.w["blk.%d.%s.weight" % (layer, name)].T

    def rms(self, x, w=1.0):
        return x / np.sqrt(np.mean(x * x, -1, keepdims=True) + self.eps) * w

    def attend(self, q, k, v, scale):
        """[tokens][heads][...], as many heads of each."""
        s = np.einsum("thd,shd->hts", q, k) * scale
        s[:, np.triu(np.ones(s.shape[1:], bool), 1)] = -np.inf
        return np.einsum("hts,shd->thd", softmax(s), v)

    def glu(self, gate, up):
        return silu(gate) * up

    def scores(self, logits, layer):
        """What weighs the experts, and what chooses them."""
        p = softmax(logits)
        return p, p

    def shared_weight(self, x, layer):
        return 1.0

    def experts_in(self, x, layer):
        return x

    def experts_out(self, y, layer):
        return y

    def moe(self, x, i):
        p, s = self.scores(self.lin(x, i, "ffn_gate_inp"), i)
        z = self.experts_in(x, i)
        y = np.zeros_like(z)
        scale = self.get("expert_weights_scale", 1.0)
        gate, up, down = (self.t(i, "ffn_%s_exps.weight" % n)
                          for n in ("gate", "up", "down"))
        for t in range(len(x)):
            best = np.argsort(-s[t], kind="stable")[
                :self.get("expert_used_count")]
            for e in best:
                y[t] += p[t][e] / p[t][best].sum() * scale * (
                    down[e] @ self.glu(gate[e] @ z[t], up[e] @ z[t]))
        shared = self.lin(self.glu(self.lin(x, i, "ffn_gate_shexp"),
                                   self.lin(x, i, "ffn_up_shexp")),
                          i, "ffn_down_shexp")
        return self.experts_out(y, i) + self.shared_weight(x, i) * shared

    def ffn(self, x, i):
        if "blk.%d.ffn_gate.weight" % i not in self.w:
            return self.moe(x, i)
        return self.lin(self.glu(self.lin(x, i, "ffn_gate"),
                                 self.lin(x, i, "ffn_up")), i, "ffn_down")

    def half(self, stream, i, norm, score, run):
        """One half of a block on the residual stream."""
        return stream + run(self.rms(stream, self.t(i, norm + ".weight")), i)

    def collapse(self, stream):
        return stream

    def start(self, x):
        return x

    def logits(self, tokens):
        s = self.start(self.w["token_embd.weight"][tokens])
        for i in range(self.layers):
            s = self.half(s, i, "attn_norm", "attn_res_score", self.mixer)
            s = self.half(s, i, self.ffn_norm, "ffn_res_score", self.ffn)
        x = self.rms(self.collapse(s), self.w["output_norm.weight"])
        return x @ self.w["output.weight"].T


class Qwen(Hybrid):
    """Gated delta net and gated attention."""
    ffn_norm = "post_attention_norm"

    def __init__(self, reader):
        super().__init__(reader)
        self.tiled = self.arch != "qwen3next"
        self.n_k = self.get("ssm.group_count")
        self.n_v = self.get("ssm.time_step_rank")
        self.dk = self.get("ssm.state_size")
        self.dv = self.get("ssm.inner_size") // self.n_v

    def shared_weight(self, x, layer):
        return sigmoid(x @ self.t(layer, "ffn_gate_inp_shexp.weight"))[:, None]

    def rope(self, x):
        n = self.get("rope.dimension_count")
        theta = np.arange(len(x))[:, None] * self.get("rope.freq_base") ** (
            -2.0 * np.arange(n // 2) / n)
        cos, sin = np.cos(theta)[:, None], np.sin(theta)[:, None]
        a, b, rest = x[..., :n // 2], x[..., n // 2:n], x[..., n:]
        return np.concatenate([a * cos - b * sin, a * sin + b * cos, rest],
                              -1)

    def attention(self, x, i):
        hd, kv = self.get("attention.key_length"), self.get(
            "attention.head_count_kv")
        q = self.lin(x, i, "attn_q").reshape(len(x), self.heads, 2, hd)
        q, gate = q[:, :, 0], q[:, :, 1]
        q = self.rope(self.rms(q, self.t(i, "attn_q_norm.weight")))
        k = self.lin(x, i, "attn_k").reshape(len(x), kv, hd)
        k = self.rope(self.rms(k, self.t(i, "attn_k_norm.weight")))
        v = self.lin(x, i, "attn_v").reshape(len(x), kv, hd)
        k, v = (np.repeat(z, self.heads // kv, 1) for z in (k, v))
        out = self.attend(q, k, v, hd ** -0.5) * sigmoid(gate)
        return self.lin(out.reshape(len(x), -1), i, "attn_output")

    def inputs(self, x, i):
        """q, k and v before the convolution, and the gate."""
        n, r = len(x), self.n_v // self.n_k
        if "blk.%d.ssm_in.weight" % i not in self.w:
            return self.lin(x, i, "attn_qkv"), self.lin(x, i, "attn_gate")
        each = self.lin(x, i, "ssm_in").reshape(n, self.n_k, -1)
        q, k, v, z = np.split(each, np.cumsum(
            [self.dk, self.dk, r * self.dv]), -1)
        return (np.concatenate([a.reshape(n, -1) for a in (q, k, v)], -1),
                z.reshape(n, -1))

    def beta_decay(self, x, i):
        if self.tiled:
            return self.lin(x, i, "ssm_beta"), self.lin(x, i, "ssm_alpha")
        ba = self.lin(x, i, "ssm_ba").reshape(len(x), self.n_k, 2, -1)
        return ba[:, :, 0].reshape(len(x), -1), ba[:, :, 1].reshape(len(x), -1)

    def spread(self, x):
        """Heads of keys to heads of values."""
        r = self.n_v // self.n_k
        return np.tile(x, (1, r, 1)) if self.tiled else np.repeat(x, r, 1)

    def mixer(self, x, i):
        if "blk.%d.attn_q.weight" % i in self.w:
            return self.attention(x, i)
        n = len(x)
        qkv, z = self.inputs(x, i)
        qkv = short_conv(qkv, self.t(i, "ssm_conv1d.weight"))
        q, k, v = np.split(qkv, [self.n_k * self.dk, 2 * self.n_k * self.dk],
                           -1)
        q, k = (self.spread(unit(a.reshape(n, self.n_k, self.dk), self.eps))
                for a in (q, k))
        b, a = self.beta_decay(x, i)
        decay = np.exp(self.t(i, "ssm_a") * softplus(
            a + self.t(i, "ssm_dt.bias")))
        out = delta_rule(q / np.sqrt(self.dk), k,
                         v.reshape(n, self.n_v, self.dv),
                         np.repeat(decay[..., None], self.dk, -1), sigmoid(b))
        out = self.rms(out, self.t(i, "ssm_norm.weight")) * silu(
            z.reshape(out.shape))
        return self.lin(out.reshape(n, -1), i, "ssm_out")


class KimiLinear(Hybrid):
    """Kimi delta attention and latent attention without rotation."""
    unit_eps = 1e-6

    def scores(self, logits, layer):
        p = sigmoid(logits)
        bias = "blk.%d.exp_probs_b.bias" % layer
        return p, p + self.w.get(bias, 0.0)

    def queries(self, x, i):
        return self.lin(x, i, "attn_q")

    def attn_gate(self, x, i):
        return 1.0

    def latent(self, x, i):
        n, hd = len(x), self.get("attention.key_length_mla")
        rank, rot = self.get("attention.kv_lora_rank"), self.get(
            "rope.dimension_count")
        q = self.queries(x, i).reshape(n, self.heads, hd)
        c = self.lin(x, i, "attn_kv_a_mqa")
        c, shared = c[:, :rank], c[:, rank:]
        c = self.rms(c, self.t(i, "attn_kv_a_norm.weight"))
        k = np.einsum("tr,hrd->thd", c, self.t(i, "attn_k_b.weight"))
        k = np.concatenate([k, np.repeat(shared[:, None], self.heads, 1)], -1)
        assert k.shape[-1] == hd and shared.shape[-1] == rot
        v = np.einsum("tr,hdr->thd", c, self.t(i, "attn_v_b.weight"))
        out = self.attend(q, k, v, hd ** -0.5).reshape(n, -1)
        return self.lin(out * self.attn_gate(x, i), i, "attn_output")

    def out_gate(self, x, i):
        return self.lin(self.lin(x, i, "ssm_g_a"), i, "ssm_g_b")

    def log_decay(self, a, x):
        return a * softplus(x)

    def mixer(self, x, i):
        if "blk.%d.attn_kv_a_mqa.weight" % i in self.w:
            return self.latent(x, i)
        n, h, d = len(x), self.heads, self.get("kda.head_dim")
        q, k, v = (short_conv(self.lin(x, i, "attn_" + c), self.t(
            i, "ssm_conv1d_%s.weight" % c)).reshape(n, h, d) for c in "qkv")
        f = self.lin(self.lin(x, i, "ssm_f_a"), i, "ssm_f_b")
        f = (f + self.t(i, "ssm_dt.bias")).reshape(n, h, d)
        decay = np.exp(self.log_decay(self.t(i, "ssm_a")[:, None], f))
        out = delta_rule(unit(q, self.unit_eps) / np.sqrt(d),
                         unit(k, self.unit_eps), v, decay,
                         sigmoid(self.lin(x, i, "ssm_beta")))
        out = self.rms(out, self.t(i, "ssm_norm.weight")).reshape(n, -1)
        return self.lin(out * sigmoid(self.out_gate(x, i)), i, "attn_output")


class KimiK3(KimiLinear):
    """As Kimi Linear, with experts in a narrower space, another activation,
    gated attention, and halves that attend to earlier sums of the stream."""

    def __init__(self, reader):
        super().__init__(reader)
        self.unit_eps = self.eps
        self.beta = self.get("activation.situ_beta")
        self.linear_beta = self.get("activation.situ_linear_beta")

    def glu(self, gate, up):
        return (self.beta * np.tanh(gate / self.beta) * sigmoid(gate) *
                self.linear_beta * np.tanh(up / self.linear_beta))

    def experts_in(self, x, layer):
        return self.lin(x, layer, "ffn_routed_down")

    def experts_out(self, y, layer):
        norm = self.w.get("blk.%d.ffn_routed_norm.weight" % layer)
        return self.lin(y if norm is None else self.rms(y, norm), layer,
                        "ffn_routed_up")

    def queries(self, x, i):
        low = self.rms(self.lin(x, i, "attn_q_a"),
                       self.t(i, "attn_q_a_norm.weight"))
        return self.lin(low, i, "attn_q_b")

    def attn_gate(self, x, i):
        if "blk.%d.attn_gate.weight" % i not in self.w:
            return 1.0
        return sigmoid(self.lin(x, i, "attn_gate"))

    def out_gate(self, x, i):
        return self.lin(x, i, "ssm_g")

    def log_decay(self, a, x):
        return self.get("kda.gate_lower_bound") * sigmoid(-a * x)

    def mix(self, sums, score):
        """Softmax over the sums, by the score of each one's direction."""
        v = np.stack(sums)
        p = softmax(self.rms(v) @ score, 0)
        return np.einsum("bt,btn->tn", p, v)

    def start(self, x):
        return [x]

    def half(self, stream, i, norm, score, run):
        x = self.mix(stream, self.t(i, score + ".weight"))
        y = run(self.rms(x, self.t(i, norm + ".weight")), i)
        every = self.get("attn_res.block_size")
        if score == "attn_res_score" and i % every == 0:
            return stream + [y]
        return stream[:-1] + [stream[-1] + y]

    def collapse(self, stream):
        return self.mix(stream, self.w["output_res_score.weight"])


KINDS = {"qwen3next": Qwen, "qwen35": Qwen, "qwen35moe": Qwen,
         "kimi-linear": KimiLinear, "kimi-k3": KimiK3}
