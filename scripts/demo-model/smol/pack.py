# SPDX-License-Identifier: MIT
"""What distill.py has learned, packed for scripts/make-demo-model: what is added
to the matrices in fewer ranks, as int8 with a scale for each, routers as float16.

	pack.py DENSE.gguf LEARNED.npz OUT.npz --aim AIM.npz
"""
import argparse
import os
import sys

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, '..', '..'))
import gguf_io as gguf  # noqa: E402

ADDED = 'qkv', 'o', 'gate', 'up', 'down'


def int8(w, axis):
    """(q, scale) of [layer][..][..]; one scale along `axis`."""
    scale = np.abs(w).max(axis, keepdims=True) / 127 + 1e-20
    return np.rint(w / scale).astype(np.int8), scale.astype(np.float32)


def fewer(a, b, moments, most):
    """The same product with at most so many ranks, by falling size of what they
    give for rows with these second moments; a's rows are as long as b's columns,
    so that both lose as little by rounding."""
    e, v = np.linalg.eigh(moments)
    e = e.clip(0) + 0.003 * e.clip(0).mean()
    qa, ra = np.linalg.qr((a @ (v * e ** 0.5) @ v.T).T)
    qb, rb = np.linalg.qr(b)
    u, s, vt = np.linalg.svd(rb @ ra.T)
    u, s, vt = u[:, :most], s[:most], vt[:most]
    a, b = vt @ qa.T @ (v * e ** -0.5) @ v.T * s[:, None], qb @ u
    size = np.sqrt(np.linalg.norm(b, axis=0) / np.linalg.norm(a, axis=1))
    return a * size[:, None], b / size


def neurons(learned):
    """Each neuron's factor of `down`: the expert's times its own."""
    width, experts, _, shared, _ = learned['geometry']
    return np.repeat(learned['scale'], [shared] + [width] * experts,
                     1) * learned['neurons']


def norms(dense, factors):
    """{name: weights}: the dense model's times what was learned."""
    by_name = {t.name: t for t in dense.tensors}

    def get(name):
        return np.frombuffer(dense.data(by_name[name + '.weight']), np.float32)

    out = {'out_norm': get('output_norm') * factors['out_norm']}
    for name in ('attn_norm', 'ffn_norm'):
        out[name] = np.stack([get(f'blk.{i}.{name}') * f
                              for i, f in enumerate(factors[name])])
    return {k: w.astype(np.float32) for k, w in out.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument('dense')
    parser.add_argument('learned')
    parser.add_argument('out')
    parser.add_argument('--aim', required=True,
                        help='what aim.py wrote: the moments')
    parser.add_argument('--ranks', type=int, nargs=2, default=(80, 40),
                        metavar=('FEED_FORWARD', 'ATTENTION'))
    args = parser.parse_args()

    learned = dict(np.load(args.learned))
    out = {
        'name': np.array('SmolLM2 135M Instruct, cut into experts'),
        'geometry': learned['geometry'],
        'order': learned['order'].astype(np.int16),
        'scale': neurons(learned).astype(np.float32),
        'router': learned['router'].astype(np.float16),
        **norms(gguf.Reader(args.dense), learned),
    }
    aim, (feed, attention) = np.load(args.aim), args.ranks
    for k in ADDED:
        pairs = [fewer(*abm, attention if k in ('qkv', 'o') else feed)
                 for abm in zip(learned[k + '_a'], learned[k + '_b'],
                                aim[k + '_x'])]
        for f, axis, w in zip('ab', (2, 1), map(np.stack, zip(*pairs))):
            name = f'{k}_{f}'
            if name == 'down_a':
                # Each neuron's factor is of what is added, too.
                w = w * learned['neurons'][:, None]
            out[name], out[name + '_scale'] = int8(w.astype(np.float32), axis)
    np.savez_compressed(args.out, **out)
    print(f'{args.out}: {os.path.getsize(args.out)} bytes')


if __name__ == '__main__':
    main()
