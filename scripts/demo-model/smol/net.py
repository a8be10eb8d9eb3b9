# SPDX-License-Identifier: MIT
"""The dense model and the cut one (of the form with one group) in torch, for
distill.py: forward passes, divergence of the two, what is learned.

Products of weights are bfloat16 with float32 sums; the residual stream, norms,
rotations and routers are float32.
"""
import math

import numpy as np
import torch
import torch.nn.functional as F

from shape import (BASE, EPS, EXPERTS, HD, HEADS, KV, L, N, SHARED, USED,
                   WIDTH, neox_rows, weights)

BF16 = torch.bfloat16
# Ranks of what is added to the matrices.
RANKS = {'gate': 64, 'up': 64, 'down': 64, 'qkv': 24, 'o': 24}
# How soft the choice is to the gradient: logits around the line.
SOFTNESS = 0.5
ROWS = 256


def load(path):
    """The dense model: 'embd', 'out_norm', 'layers' of float32 [out][in]."""
    get = weights(path)

    def one(name, rows=slice(None)):
        return torch.tensor(get(name)[rows])

    return {'embd': one('token_embd'), 'out_norm': one('output_norm'),
            'layers': [{
                'qkv': torch.cat([
                    one(f'blk.{i}.attn_q', neox_rows(HEADS)),
                    one(f'blk.{i}.attn_k', neox_rows(KV)),
                    one(f'blk.{i}.attn_v')]),
                'o': one(f'blk.{i}.attn_output'),
                'gate': one(f'blk.{i}.ffn_gate'),
                'up': one(f'blk.{i}.ffn_up'),
                'down': one(f'blk.{i}.ffn_down'),
                'attn_norm': one(f'blk.{i}.attn_norm'),
                'ffn_norm': one(f'blk.{i}.ffn_norm')} for i in range(L)]}


def norm(x, w):
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + EPS) * w


def rotations(length):
    inv = BASE ** (-torch.arange(0, HD, 2) / HD)
    a = torch.arange(length)[:, None] * inv
    return a.cos()[:, None], a.sin()[:, None]


def rotate(x, cs):
    a, b = x[..., :HD // 2], x[..., HD // 2:]
    return torch.cat([a * cs[0] - b * cs[1], a * cs[1] + b * cs[0]], -1)


def attention(p, x, cs):
    b, t, _ = x.shape
    y = F.linear(norm(x, p['attn_norm']).to(BF16), p['qkv']).view(
        b, t, HEADS + 2 * KV, HD)
    qk = rotate(y[:, :, :HEADS + KV].float(), cs).to(BF16)
    k, v = (z.repeat_interleave(HEADS // KV, 2).transpose(1, 2)
            for z in (qk[:, :, HEADS:], y[:, :, HEADS + KV:]))
    a = F.scaled_dot_product_attention(qk[:, :, :HEADS].transpose(1, 2), k, v,
                                       is_causal=True)
    return F.linear(a.transpose(1, 2).reshape(b, t, N), p['o']).float()


def hidden(p, xn):
    xn = xn.to(BF16)
    return F.silu(F.linear(xn, p['gate']).float()) * \
        F.linear(xn, p['up']).float()


def choice(logits):
    """Weights of all experts, zero but for those that are taken.  The gradient
    also sees how near the line an expert is, on both sides of it."""
    known = logits.detach()
    near = torch.topk(known, USED + 1, -1).values[..., -2:]
    line = near.mean(-1, keepdim=True)
    taken = (known > line).float()
    soft = torch.sigmoid((logits - line) / SOFTNESS)
    return torch.sigmoid(logits) * (taken + soft - soft.detach())


def feed_forward(p, x):
    """Of the cut model if there is a router."""
    xn = norm(x, p['ffn_norm'])
    h = hidden(p, xn)
    if 'router' in p:
        b, t, _ = x.shape
        routed = h[..., SHARED:].view(b, t, EXPERTS, WIDTH)
        routed = routed * choice(xn @ p['router'])[..., None]
        h = torch.cat([h[..., :SHARED], routed.view(b, t, -1)], -1)
    return F.linear(h.to(BF16), p['down']).float()


def run(layers, embd, ids, keep=()):
    """(stream behind the last layer, {layer: stream behind it})"""
    x = F.embedding(ids, embd).float()
    cs, kept = rotations(ids.shape[1]), {}
    for i, p in enumerate(layers):
        x = x + attention(p, x, cs)
        x = x + feed_forward(p, x)
        if i in keep:
            kept[i] = x
    return x, kept


class Divergence(torch.autograd.Function):
    """Mean Kullback-Leibler divergence of what is said by two sets of normed
    rows, the dense model's second; rows in pieces, since words are many."""

    @staticmethod
    def forward(ctx, mine, dense, embd):
        total, grad = 0.0, torch.empty_like(mine)
        for i in range(0, len(mine), ROWS):
            at = slice(i, i + ROWS)
            a, b = (F.log_softmax((x[at].to(BF16) @ embd.t()).float(), -1)
                    for x in (mine, dense))
            p = b.exp()
            total += float((p * b.sub_(a)).sum())
            grad[at] = (a.exp_().sub_(p).to(BF16) @ embd).float()
        ctx.save_for_backward(grad / len(mine))
        return torch.tensor(total / len(mine))

    @staticmethod
    def backward(ctx, up):
        return ctx.saved_tensors[0] * up, None, None


class Student:
    """The cut model: base weights in the experts' order, and what is learned,
    each kind stacked over the layers."""

    def __init__(self, dense, cut):
        self.out_norm, self.embd = dense['out_norm'], dense['embd'].to(BF16)
        self.teacher = [{k: v.to(BF16) if v.ndim == 2 else v
                         for k, v in p.items()} for p in dense['layers']]
        self.base = []
        for p, order, scale in zip(dense['layers'], cut['order'], cut['scale']):
            order = torch.tensor(order.astype(np.int64))
            factor = torch.tensor(np.repeat(
                scale, [SHARED] + [WIDTH] * EXPERTS))
            self.base.append({**p, 'gate': p['gate'][order],
                              'up': p['up'][order],
                              'down': p['down'][:, order] * factor})
        router = torch.tensor(cut['router'].astype(np.float32))
        # Learned in units of its own size.
        self.router_unit = router.square().mean((1, 2), keepdim=True).sqrt()
        self.learned = {'router': router / self.router_unit,
                        'attn_norm': torch.ones(L, N),
                        'ffn_norm': torch.ones(L, N),
                        'out_norm': torch.ones(N)}
        for k, r in RANKS.items():
            n_out, n_in = self.base[0][k].shape
            self.learned[k + '_a'] = torch.randn(L, r, n_in) / math.sqrt(n_in)
            self.learned[k + '_b'] = torch.zeros(L, n_out, r)
        for w in self.learned.values():
            w.requires_grad_()

    def resume(self, was):
        with torch.no_grad():
            for k, w in self.learned.items():
                w.copy_(torch.tensor(was[k]))
            self.learned['router'] /= self.router_unit

    def result(self):
        """What was learned, the routers in their own size."""
        out = {k: w.detach() for k, w in self.learned.items()}
        return {**out, 'router': out['router'] * self.router_unit}

    def layers(self):
        w = self.learned
        for i, p in enumerate(self.base):
            out = {k: p[k] * w[k][i] for k in ('attn_norm', 'ffn_norm')}
            out['router'] = w['router'][i] * self.router_unit[i]
            for k in RANKS:
                out[k] = (p[k] + w[k + '_b'][i] @ w[k + '_a'][i]).to(BF16)
            yield out

    def both(self, ids, keep=()):
        """run() of this model, then of the dense one."""
        with torch.no_grad():
            dense = run(self.teacher, self.embd, ids, keep)
        return *run(self.layers(), self.embd, ids, keep), *dense

    def rows(self, mine, dense, at):
        """Normed rows of the two streams at some positions."""
        return (norm(mine[:, at], self.out_norm *
                     self.learned['out_norm']).reshape(-1, N),
                norm(dense[:, at], self.out_norm).reshape(-1, N))

    def loss(self, ids, at, keep):
        """(divergence at some positions, distance of the streams behind some
        layers relative to the dense one's spread)"""
        mine, kept, dense, want = self.both(ids, keep)
        said = Divergence.apply(*self.rows(mine, dense, at), self.embd)
        apart = 0.0
        for i in keep:
            # The first positions of a piece hold a stream's few huge values.
            a, b = want[i][:, 4:], kept[i][:, 4:]
            apart = apart + (a - b).square().mean() / a.var((0, 1)).mean()
        return said, apart / len(keep)

    @torch.no_grad()
    def measure(self, ids):
        """(ratio of the perplexities, divergence) over all positions."""
        sums = np.zeros(2)
        for part in ids.split(4):
            mine, _, dense, _ = self.both(part)
            rows = self.rows(mine, dense, slice(0, -1))
            for a, b, y in zip(*(x.split(ROWS) for x in rows),
                               part[:, 1:].reshape(-1, 1).split(ROWS)):
                a, b = (F.log_softmax((x.to(BF16) @ self.embd.t()).float(), -1)
                        for x in (a, b))
                sums += [float((b - a).gather(1, y).sum()),
                         float((b.exp() * (b - a)).sum())]
        ratio, said = sums / (len(ids) * (ids.shape[1] - 1))
        return math.exp(ratio), said
