# SPDX-License-Identifier: MIT
"""The dense SmolLM2-135M-Instruct in JAX: reading the weights from GGUF, forward
pass.

Everything is stacked over the 30 layers and scanned.  Products of weights are
bfloat16 with float32 sums, which a CPU is fast at; all else is float32.
"""
import os

os.environ.setdefault('XLA_FLAGS', '--xla_cpu_multi_thread_eigen=false '
                      'intra_op_parallelism_threads=1')

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

from shape import (BASE, EPS, HD, HEADS, KV, L, N, neox_rows,  # noqa: E402
                   weights)


def load_dense(path):
    """Weights as [layer][in][out] in float32, q and k in halves order."""
    get = weights(path)

    def stack(name, rows=None):
        all_layers = [get(f'blk.{i}.{name}') for i in range(L)]
        if rows is not None:
            all_layers = [w[rows] for w in all_layers]
        return np.stack([w.T for w in all_layers])

    return {
        'embd': get('token_embd'), 'out_norm': get('output_norm'),
        'attn_norm': stack('attn_norm'), 'ffn_norm': stack('ffn_norm'),
        'q': stack('attn_q', neox_rows(HEADS)),
        'k': stack('attn_k', neox_rows(KV)), 'v': stack('attn_v'),
        'o': stack('attn_output'), 'gate': stack('ffn_gate'),
        'up': stack('ffn_up'), 'down': stack('ffn_down'),
    }


def bf16(tree):
    """Matrices in bfloat16, vectors (stacked: two axes) as they are."""
    return {k: jnp.asarray(v, jnp.bfloat16 if v.ndim == 3 or k == 'embd'
                           else jnp.float32) for k, v in tree.items()}


def mm(x, w):
    return jnp.matmul(x.astype(jnp.bfloat16), w.astype(jnp.bfloat16),
                      preferred_element_type=jnp.float32)


def norm(x, w):
    return x * jax.lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + EPS) * w


def rotations(pos):
    inv = BASE ** (-jnp.arange(0, HD, 2) / HD)
    a = pos[:, None] * inv
    return jnp.cos(a), jnp.sin(a)


def rope(x, cs):
    """x [b][t][heads][HD]"""
    c, s = cs[0][:, None], cs[1][:, None]
    a, b = x[..., :HD // 2], x[..., HD // 2:]
    return jnp.concatenate([a * c - b * s, a * s + b * c], -1)


def attend(q, k, v, mask):
    """q [b][t][HEADS][HD], k and v [b][s][KV][HD], mask [t][s]; in float32,
    which is faster for products as small as these."""
    b, t = q.shape[:2]
    q = q.reshape(b, t, KV, HEADS // KV, HD)
    s = jnp.einsum('btkgd,bskd->bkgts', q, k) * HD ** -0.5
    p = jax.nn.softmax(jnp.where(mask, s, -1e30), -1)
    return jnp.einsum('bkgts,bskd->btkgd', p, v).reshape(b, t, HEADS * HD)


def attention(p, x, cs, mask):
    b, t = x.shape[:2]
    xn = norm(x, p['attn_norm'])
    q = rope(mm(xn, p['q']).reshape(b, t, HEADS, HD), cs)
    k = rope(mm(xn, p['k']).reshape(b, t, KV, HD), cs)
    v = mm(xn, p['v']).reshape(b, t, KV, HD)
    return mm(attend(q, k, v, mask), p['o'])


def hidden(p, xn):
    return jax.nn.silu(mm(xn, p['gate'])) * mm(xn, p['up'])


def ffn_dense(p, xn):
    return mm(hidden(p, xn), p['down'])


def run(layers, embd, ids, collect):
    """collect(layer params, ffn's input) of every layer, stacked."""
    t = ids.shape[1]
    cs = rotations(jnp.arange(t))
    mask = jnp.tril(jnp.ones((t, t), bool))

    def layer(x, p):
        x = x + attention(p, x, cs, mask)
        xn = norm(x, p['ffn_norm'])
        return x + ffn_dense(p, xn), collect(p, xn)

    return jax.lax.scan(layer, embd[ids].astype(jnp.float32), layers)[1]


def split(params):
    top = {'embd', 'out_norm'}
    return ({k: v for k, v in params.items() if k not in top},
            params['embd'], params['out_norm'])
