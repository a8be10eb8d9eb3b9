# SPDX-License-Identifier: MIT
"""The dense model and the cut one (of the form with one group) in torch, for
distill.py: forward passes, divergence of the two, what is learned.

Products of weights are bfloat16 with float32 sums; the residual stream, norms,
rotations and routers are float32.
"""
import functools
import math

import numpy as np
import torch
import torch.nn.functional as F

from shape import (BASE, EPS, EXPERTS, HD, HEADS, KV, L, N, SHARED, SLOTS,
                   USED, WIDTH, neox_rows, weights)

BF16 = torch.bfloat16
# What is added to the matrices: all of these, of low rank.
ADDED = 'gate', 'up', 'down', 'qkv', 'o'
ROWS = 256
# Words that the distributions are compared on, and how many are always the same.
WORDS, FREQUENT = 16384, 12288
# Text that people wrote.
WRITTEN = 'book', 'stories'
# Chains of small operations become one pass over memory.
fused = torch.compile(dynamic=False)


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


class Added(torch.autograd.Function):
    """x @ w.t() of a merged matrix w = base + b @ a.  The gradients of a and b come
    from the rows, since that of w would cost as much as the product."""

    @staticmethod
    def forward(ctx, x, w, a, b):
        ctx.save_for_backward(x, w, a, b)
        return F.linear(x, w)

    @staticmethod
    def backward(ctx, up):
        x, w, a, b = ctx.saved_tensors
        x, rows = x.reshape(-1, x.shape[-1]), up.reshape(-1, up.shape[-1])
        inner, outer = F.linear(x, a.to(BF16)), None
        if ctx.needs_input_grad[2]:
            outer = ((rows @ b.to(BF16)).t() @ x).float()
        return up @ w, None, outer, (rows.t() @ inner).float()


def product(x, p, name):
    """Of a matrix of the cut model if something is added to it."""
    if name + '_a' in p:
        return Added.apply(x, p[name], p[name + '_a'], p[name + '_b'])
    y = F.linear(x, p[name])
    if 'seen' in p:
        p['seen'](name, x, y)
    return y


def norm(x, w):
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + EPS) * w


@fused
def normed(x, w):
    """norm() for a router and for products."""
    x = norm(x, w)
    return x, x.to(BF16)


def rotations(length):
    inv = BASE ** (-torch.arange(0, HD, 2) / HD)
    a = torch.arange(length)[:, None] * inv
    return a.cos()[:, None], a.sin()[:, None]


@fused
def rotate(x, cs):
    x = x.float()
    a, b = x[..., :HD // 2], x[..., HD // 2:]
    return torch.cat([a * cs[0] - b * cs[1], a * cs[1] + b * cs[0]],
                     -1).to(BF16)


def attend(q, k, v):
    """q [b][t][HEADS][HD], k and v [b][t][KV][HD]; heads that share their keys
    are rows of one product, which is faster here than torch's own."""
    b, t = q.shape[:2]
    each = HEADS // KV
    q = q.view(b, t, KV, each, HD).permute(0, 2, 3, 1, 4).reshape(
        b * KV, each * t, HD)
    k = k.permute(0, 2, 3, 1).reshape(b * KV, HD, t)
    v = v.transpose(1, 2).reshape(b * KV, t, HD)
    later = torch.full((t, t), -1e30, dtype=q.dtype).triu(1).repeat(each, 1)
    p = torch.baddbmm(later, q, k, alpha=HD ** -0.5).softmax(-1)
    return torch.bmm(p, v).view(b, KV, each, t, HD).permute(
        0, 3, 1, 2, 4).reshape(b, t, HEADS * HD)


def attention(p, x, cs):
    b, t, _ = x.shape
    y = product(normed(x, p['attn_norm'])[1], p, 'qkv').view(
        b, t, HEADS + 2 * KV, HD)
    qk = rotate(y[:, :, :HEADS + KV], cs)
    a = attend(qk[:, :, :HEADS], qk[:, :, HEADS:], y[:, :, HEADS + KV:])
    return product(a, p, 'o').float()


@fused
def hidden(gate, up, taken, factors):
    """Rows for `down`; `taken` is the weight of each WIDTH neurons, or none."""
    h = F.silu(gate.float()) * up.float()
    if taken is not None:
        h = (h.view(*taken.shape, WIDTH) * taken[..., None]).view(h.shape)
        h = h * factors
    return h.to(BF16)


def choice(logits):
    """Weights of all experts, zero but for those that are taken.  The choice has
    no gradient: routers are fitted to the experts' energy, see routers.py."""
    known = logits.detach()
    near = torch.topk(known, USED + 1, -1).values[..., -2:]
    return torch.sigmoid(logits) * (known > near.mean(-1, keepdim=True))


def feed_forward(p, x):
    """Of the cut model if there is a router."""
    xn, rows = normed(x, p['ffn_norm'])
    taken = None
    if 'router' in p:
        taken = F.pad(choice(xn @ p['router']), (SHARED // WIDTH, 0), value=1.0)
    gate, up = product(rows, p, 'gate'), product(rows, p, 'up')
    if 'streams' in p:
        p['streams'](xn, F.silu(gate.float()) * up.float() * p['neurons'],
                     p['down'])
    h = hidden(gate, up, taken, p.get('neurons'))
    return product(h, p, 'down').float()


def run(layers, embd, ids):
    """The stream behind the last layer."""
    x = F.embedding(ids, embd).float()
    cs = rotations(ids.shape[1])
    for p in layers:
        x = x + attention(p, x, cs)
        x = x + feed_forward(p, x)
    return x


@fused
def compare(mine, dense, shift, hard):
    """(sum of the divergences of rows of logits, gradient to the first); `hard`
    of the wanted distribution is left out of the gradient"""
    a, b = (F.log_softmax(x.float() + shift, -1) for x in (mine, dense))
    p = b.exp()
    return (p * (b - a)).sum(), (a.exp() - (1 - hard) * p).to(BF16)


class Divergence(torch.autograd.Function):
    """Mean Kullback-Leibler divergence of what is said by two sets of normed
    rows, the dense model's second; rows in pieces, since words are many.  The
    gradient is that of the distance from a mixture: a share `hard` of it is the
    word that is there in truth."""

    @staticmethod
    def forward(ctx, mine, dense, words, hard, truth):
        embd, shift = words
        total, grad = 0.0, torch.empty_like(mine)
        for i in range(0, len(mine), ROWS):
            at = slice(i, i + ROWS)
            said, apart = compare(mine[at].to(BF16) @ embd.t(),
                                  dense[at].to(BF16) @ embd.t(), shift,
                                  hard[at, None])
            total += float(said)
            apart.scatter_add_(1, truth[at, None], -hard[at, None].to(BF16))
            grad[at] = (apart @ embd).float()
        ctx.save_for_backward(grad / len(mine))
        return torch.tensor(total / len(mine))

    @staticmethod
    def backward(ctx, up):
        return ctx.saved_tensors[0] * up, None, None, None, None


class Student:
    """The cut model: base weights in the experts' order, and what is learned,
    each kind stacked over the layers."""

    def __init__(self, dense, cut, was=None):
        """`was`: what was learned before; additions become part of the base."""
        self.out_norm, self.embd = dense['out_norm'], dense['embd'].to(BF16)
        self.teacher = [{k: v.to(BF16) if v.ndim == 2 else v
                         for k, v in p.items()} for p in dense['layers']]
        self.base, was = [], was or {}
        for i, (p, order, scale) in enumerate(zip(
                dense['layers'], cut['order'], cut['scale'])):
            order = torch.tensor(order.astype(np.int64))
            factor = torch.tensor(np.repeat(
                scale, [SHARED] + [WIDTH] * EXPERTS))
            p = {**p, 'gate': p['gate'][order], 'up': p['up'][order],
                 'down': p['down'][:, order] * factor}
            for k in ADDED:
                if k + '_a' in was:
                    p[k] = p[k] + torch.tensor(was[k + '_b'][i]) @ torch.tensor(
                        was[k + '_a'][i])
            self.base.append(p)
        self.router = torch.tensor(was.get('router', cut['router']).astype(
            np.float32))
        self.learned = {'attn_norm': torch.ones(L, N),
                        'ffn_norm': torch.ones(L, N),
                        'neurons': torch.ones(L, SLOTS),
                        'out_norm': torch.ones(N)}
        for k, w in self.learned.items():
            if k in was:
                w.copy_(torch.tensor(was[k]))
        # Of what is wanted in text of people, so much is the word they wrote.
        self.hard, self.known = 0.0, {}
        self.frequent = torch.zeros(len(self.embd), dtype=torch.bool)
        # Called with layer, matrix, rows before and behind it, while there are no
        # additions.
        self.seen = None
        # With layer, the router's input, all experts' hidden rows, `down`.
        self.streams = None

    def add(self, inner):
        """Additions, zero for now; `inner` has the inner factors, {kind:
        [layer][rank][in]}."""
        for k in ADDED:
            self.learned[k + '_a'] = inner[k]
            self.learned[k + '_b'] = torch.zeros(
                L, self.base[0][k].shape[0], inner[k].shape[1])

    def result(self):
        """What was learned, and the routers as they were."""
        return {**{k: w.detach() for k, w in self.learned.items()},
                'router': self.router}

    def layers(self):
        of_layer = {k: w.unbind() for k, w in self.learned.items()
                    if k != 'out_norm'}
        for i, p in enumerate(self.base):
            w = {k: ws[i] for k, ws in of_layer.items()}
            out = {k: p[k] * w[k] for k in ('attn_norm', 'ffn_norm')}
            if self.streams:
                out['streams'] = functools.partial(self.streams, i)
            if self.seen:
                out['seen'] = functools.partial(self.seen, i)
            out['router'] = self.router[i]
            out['neurons'] = w['neurons']
            for k in ADDED:
                if k + '_a' not in w:
                    out[k] = p[k].to(BF16)
                    continue
                a, b = w[k + '_a'], w[k + '_b']
                out[k + '_a'], out[k + '_b'] = a, b
                with torch.no_grad():
                    out[k] = (p[k] + b.to(BF16) @ a.to(BF16)).to(BF16)
            yield out

    @torch.no_grad()
    def wanted(self, pieces):
        """Normed rows of the dense model's stream: computed for a piece when it
        is met first, one by one, so that all have one shape."""
        for key, ids in pieces:
            if key not in self.known:
                x = run(self.teacher, self.embd, ids[None])
                self.known[key] = normed(x, self.out_norm)[1][0]
        return torch.stack([self.known[key] for key, _ in pieces])

    def rows(self, pieces):
        """This model's rows and the dense one's, [piece][position][N]."""
        ids = torch.stack([ids for _, ids in pieces])
        w = self.out_norm * self.learned['out_norm']
        return (norm(run(self.layers(), self.embd, ids), w),
                self.wanted(pieces))

    def loss(self, pieces):
        """Divergence at all positions."""
        mine, dense = (x.reshape(-1, N) for x in self.rows(pieces))
        embd, shift, place = self.some_words(pieces)
        hard = torch.zeros(len(pieces), len(pieces[0][1]))
        truth = torch.zeros_like(hard, dtype=torch.int64)
        for i, ((part, _), ids) in enumerate(pieces):
            truth[i, :-1] = place[ids[1:]]
            hard[i, :-1] = self.hard if part in WRITTEN else 0
        return Divergence.apply(mine, dense, (embd, shift), hard.reshape(-1),
                                truth.reshape(-1))

    def some_words(self, pieces):
        """(rows of the embedding, what their logits get, the row of each word
        that is among them for sure): the words that are
        frequent or in the pieces, and of all others a sample that counts for
        them.  A third of the vocabulary is a third of the work."""
        sure = self.frequent.clone()
        for _, ids in pieces:
            sure[ids] = True
        other = (~sure).nonzero()[:, 0]
        sure = sure.nonzero()[:, 0]
        sample = other[torch.randperm(len(other))[:WORDS - len(sure)]]
        shift = torch.zeros(WORDS)
        shift[len(sure):] = math.log(len(other) / len(sample))
        place = torch.zeros(len(self.embd), dtype=torch.int64)
        place[sure] = torch.arange(len(sure))
        return self.embd[torch.cat([sure, sample])], shift, place

    @torch.no_grad()
    def measure(self, pieces):
        """(ratio of the perplexities, divergence) over all positions."""
        sums = np.zeros(2)
        for at in range(0, len(pieces), 8):
            part = pieces[at:at + 8]
            rows = (x[:, :-1].reshape(-1, N) for x in self.rows(part))
            words = torch.stack([ids[1:] for _, ids in part]).reshape(-1, 1)
            for a, b, y in zip(*(x.split(ROWS) for x in (*rows, words))):
                a, b = (F.log_softmax((x.to(BF16) @ self.embd.t()).float(), -1)
                        for x in (a, b))
                sums += [float((b - a).gather(1, y).sum()),
                         float((b.exp() * (b - a)).sum())]
        ratio, said = sums / (len(pieces) * (len(pieces[0][1]) - 1))
        return math.exp(ratio), said
